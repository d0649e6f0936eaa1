package computed

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kilonova/room"
	"kilonova/work"
)

// source serves data to those who show the ticket, and counts them.
func source(t *testing.T, data []byte) (*work.Image, *atomic.Int32) {
	t.Helper()
	var count atomic.Int32
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		count.Add(1)
		if r.Header.Get("X-Image-Ticket") != "let me in" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		time.Sleep(50 * time.Millisecond)
		w.Write(data)
	}))
	t.Cleanup(srv.Close)
	sum := sha512.Sum512(data)
	return &work.Image{
		ID: "img", DiskFormat: "raw", Size: int64(len(data)), SHA512: hex.EncodeToString(sum[:]),
		Source: &work.Transfer{URL: srv.URL, Ticket: "let me in"},
	}, &count
}

func newCache(t *testing.T, o CacheOptions) *ImageCache {
	t.Helper()
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	c, err := NewImageCache(o)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestCacheDownloadsOnce(t *testing.T) {
	data := bytes.Repeat([]byte("kilonova"), 4096)
	img, count := source(t, data)
	c := newCache(t, CacheOptions{})
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			path, err := c.Fetch(t.Context(), img)
			if err != nil {
				t.Errorf("fetch: %v", err)
				return
			}
			got, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(got, data) {
				t.Errorf("cached file: %d bytes, %v", len(got), err)
			}
		})
	}
	wg.Wait()
	_, err := c.Fetch(t.Context(), img)
	if err != nil {
		t.Fatal(err)
	}
	if count.Load() != 1 {
		t.Errorf("%d downloads, want 1", count.Load())
	}
}

// A download that was refused for one job's ticket is another's to try with its own.
func TestCacheTriesTheOthersTickets(t *testing.T) {
	data := []byte("kilonova")
	img, _ := source(t, data)
	over := make(chan struct{})
	var asked atomic.Int32
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Add(1)
		if r.Header.Get("X-Image-Ticket") == "over" {
			<-over
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Write(data)
	}))
	defer front.Close()
	c := newCache(t, CacheOptions{})
	with := func(ticket string) *work.Image {
		i := *img
		i.Source = &work.Transfer{URL: front.URL, Ticket: ticket}
		return &i
	}
	ended := make(chan error, 3)
	go func() { _, err := c.Fetch(t.Context(), with("over")); ended <- err }()
	for asked.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 2 {
		go func() { _, err := c.Fetch(t.Context(), with("good")); ended <- err }()
	}
	for c.waiting() < 3 {
		time.Sleep(time.Millisecond)
	}
	close(over)
	refused := 0
	for range 3 {
		err := <-ended
		if errors.Is(err, ErrImageUnavailable) {
			refused++
		} else if err != nil {
			t.Error(err)
		}
	}
	if refused != 1 || asked.Load() != 2 {
		t.Errorf("%d were refused, %d downloads", refused, asked.Load())
	}
}

// waiting is how many wait for downloads.
func (c *ImageCache) waiting() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	n := 0
	for _, f := range c.flights {
		n += f.waiters
	}
	return n
}

func TestCacheRefuses(t *testing.T) {
	refused := errors.New("has a backing file")
	tests := []struct {
		name    string
		change  func(*work.Image)
		inspect func(context.Context, string, *work.Image) error
		want    error
	}{
		{"wrong checksum", func(i *work.Image) { i.SHA512 = strings.Repeat("0", 128) }, nil, ErrImageCorrupt},
		{"shorter than promised", func(i *work.Image) { i.Size++ }, nil, ErrImageCorrupt},
		{"longer than promised", func(i *work.Image) { i.Size-- }, nil, ErrImageCorrupt},
		{"no checksum", func(i *work.Image) { i.SHA512 = "" }, nil, ErrImageUnavailable},
		{"checksum that is a path", func(i *work.Image) { i.SHA512 = "../../etc/passwd" }, nil, ErrImageUnavailable},
		{"foreign format", func(i *work.Image) { i.DiskFormat = "vmdk" }, nil, ErrImageRefused},
		{"the API's word for a format", func(i *work.Image) { i.DiskFormat = "iso" }, nil, ErrImageRefused},
		{"container", func(i *work.Image) { i.Container = "ova" }, nil, ErrImageRefused},
		{"content of another format", func(i *work.Image) { i.DiskFormat = "qcow2" }, nil, ErrImageRefused},
		{"wrong ticket", func(i *work.Image) { i.Source.Ticket = "" }, nil, ErrImageUnavailable},
		{"no source", func(i *work.Image) { i.Source = nil }, nil, ErrImageUnavailable},
		{"refused by inspection", func(*work.Image) {}, func(context.Context, string, *work.Image) error { return refused }, refused},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			img, _ := source(t, []byte("data"))
			tt.change(img)
			c := newCache(t, CacheOptions{Inspect: tt.inspect})
			_, err := c.Fetch(t.Context(), img)
			if !errors.Is(err, tt.want) {
				t.Errorf("fetch: %v, want %v", err, tt.want)
			}
			if left := files(t, c.dir); len(left) != 0 {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestCacheFollowsNoRedirect(t *testing.T) {
	img, count := source(t, []byte("data"))
	there := img.Source.URL
	srv := httptest.NewServer(http.RedirectHandler(there, http.StatusFound))
	t.Cleanup(srv.Close)
	img.Source.URL = srv.URL
	_, err := newCache(t, CacheOptions{}).Fetch(t.Context(), img)
	if !errors.Is(err, ErrImageUnavailable) || count.Load() != 0 {
		t.Errorf("fetch: %v, %d requests at the redirect's target", err, count.Load())
	}
}

// One caller who gives up must not spoil the download for the other; when all give up, it
// ends.
func TestCacheCancel(t *testing.T) {
	started, end, ended := make(chan bool), make(chan bool), make(chan bool)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		started <- true
		select {
		case <-end:
			w.Write([]byte("data"))
		case <-r.Context().Done():
			close(ended)
		}
	}))
	t.Cleanup(srv.Close)
	img, _ := source(t, []byte("data"))
	img.Source.URL = srv.URL
	c := newCache(t, CacheOptions{})

	first, cancel := context.WithCancel(t.Context())
	errs := make(chan error, 2)
	go func() { _, err := c.Fetch(first, img); errs <- err }()
	<-started
	go func() { _, err := c.Fetch(t.Context(), img); errs <- err }()
	for waiting := 0; waiting < 2; time.Sleep(time.Millisecond) {
		c.mu.Lock()
		for _, f := range c.flights {
			waiting = f.waiters
		}
		c.mu.Unlock()
	}
	cancel()
	if err := <-errs; !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled fetch: %v", err)
	}
	end <- true
	if err := <-errs; err != nil {
		t.Errorf("the other fetch: %v", err)
	}

	img.SHA512 = strings.Repeat("0", 128)
	second, cancel := context.WithCancel(t.Context())
	go func() { _, err := c.Fetch(second, img); errs <- err }()
	<-started
	cancel()
	<-errs
	select {
	case <-ended:
	case <-time.After(5 * time.Second):
		t.Error("the download goes on though nobody waits")
	}
}

func TestCacheClean(t *testing.T) {
	dir := t.TempDir()
	err := os.WriteFile(filepath.Join(dir, "part-of-a-dead-process"), nil, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	c := newCache(t, CacheOptions{Dir: dir})
	used, _ := source(t, []byte("used"))
	old, _ := source(t, []byte("old"))
	young, _ := source(t, []byte("young"))
	paths := map[*work.Image]string{}
	for _, img := range []*work.Image{used, old, young} {
		p, err := c.Fetch(t.Context(), img)
		if err != nil {
			t.Fatal(err)
		}
		paths[img] = p
	}
	past := time.Now().Add(-48 * time.Hour)
	for _, img := range []*work.Image{used, old} {
		err := os.Chtimes(paths[img], past, past)
		if err != nil {
			t.Fatal(err)
		}
	}
	removed, err := c.Clean(t.Context(), map[string]bool{filepath.Base(paths[used]): true}, 24*time.Hour)
	if err != nil || len(removed) != 1 || removed[0] != filepath.Base(paths[old]) {
		t.Errorf("removed %v, %v", removed, err)
	}
	if left := files(t, dir); len(left) != 2 {
		t.Errorf("left: %v", left)
	}
}

// What the disk has no room for is not fetched, or no further than to the floor, and nothing
// of it stays.
func TestCacheLeavesTheFloorFree(t *testing.T) {
	dir := t.TempDir()
	size := int64(1 << 20)
	floor := &room.Floor{Path: dir, Probe: func(dir string) (room.Space, error) {
		left := size
		entries, err := os.ReadDir(dir)
		for _, e := range entries {
			st, err := e.Info()
			if err == nil {
				left -= st.Size()
			}
		}
		return room.Space{Size: size, Free: left}, err
	}}
	c := newCache(t, CacheOptions{Dir: dir, Floor: floor})
	img, count := source(t, bytes.Repeat([]byte("x"), 900<<10))
	_, err := c.Fetch(t.Context(), img)
	if !room.Full(err) || count.Load() != 0 {
		t.Errorf("an image that says its size: %v, %d downloads", err, count.Load())
	}
	unsized := *img
	unsized.Size = 0
	_, err = c.Fetch(t.Context(), &unsized)
	if !room.Full(err) || count.Load() != 1 || len(files(t, dir)) > 0 {
		t.Errorf("one that does not: %v, %d downloads, left %v", err, count.Load(), files(t, dir))
	}
	size *= 2
	_, err = c.Fetch(t.Context(), img)
	if err != nil {
		t.Errorf("with room: %v", err)
	}
}
