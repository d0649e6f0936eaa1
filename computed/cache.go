package computed

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"sync"
	"time"

	"kilonova/diskformat"
	"kilonova/private"
	"kilonova/room"
	"kilonova/work"
)

// ImageCache keeps the images that a host boots from, so that each is downloaded once
// and a guest's disk can be a small overlay of it. A file's name is the SHA-512 of its
// content and its format: two images with equal content share one file, and what stands
// under a name has been verified.
type ImageCache struct {
	dir     string
	client  *http.Client
	floor   *room.Floor
	inspect func(ctx context.Context, path string, img *work.Image) error

	mu      sync.Mutex
	flights map[string]*flight
}

// CacheOptions configure an ImageCache.
type CacheOptions struct {
	// Dir is where images are kept; it is made if it is absent.
	Dir string
	// Client fetches images, http.DefaultClient if nil. Redirects are not followed, as
	// they would carry the ticket to another server.
	Client *http.Client
	// Floor is what of the cache's disk stays free; its default if nil.
	Floor *room.Floor
	// Inspect, if set, sees each downloaded file before it gets its name, after the
	// cache's own look at its headers, and refuses it by an error.
	Inspect func(ctx context.Context, path string, img *work.Image) error
}

// flight is a download under way. It is cancelled when the last one who waits leaves.
type flight struct {
	done    chan struct{}
	err     error
	waiters int
	cancel  context.CancelFunc
}

// errRefused says that the image service took the ticket for no good: its job may have ended.
var errRefused = fmt.Errorf("%w: the image service refused the ticket", ErrImageUnavailable)

// Errors of the cache, for callers to test with errors.Is.
var (
	ErrImageCorrupt     = errors.New("the image's data is not what its checksum says")
	ErrImageUnavailable = errors.New("the image cannot be fetched")
)

// NewImageCache makes a cache in o.Dir. What earlier processes left half downloaded there
// is removed.
func NewImageCache(o CacheOptions) (*ImageCache, error) {
	client := http.Client{}
	if o.Client != nil {
		client = *o.Client
	}
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	err := private.MakeDir(o.Dir, private.Pass)
	if err != nil {
		return nil, fmt.Errorf("make image cache: %w", err)
	}
	old, err := filepath.Glob(filepath.Join(o.Dir, partPrefix+"*"))
	if err != nil {
		return nil, fmt.Errorf("list image cache: %w", err)
	}
	for _, p := range old {
		err := os.Remove(p)
		if err != nil {
			return nil, fmt.Errorf("clear image cache: %w", err)
		}
	}
	if o.Floor == nil {
		o.Floor = &room.Floor{Path: o.Dir}
	}
	return &ImageCache{dir: o.Dir, client: &client, floor: o.Floor, inspect: o.Inspect, flights: map[string]*flight{}}, nil
}

const (
	partPrefix = "part-"
	// maxVirtualSize bounds the disk that an image may claim, whatever the API allows.
	maxVirtualSize = 1 << 50
)

var (
	sha512RE = regexp.MustCompile(`^[0-9a-f]{128}$`)
	baseRE   = regexp.MustCompile(`^([0-9a-f]{128})\.(qcow2|raw)$`)
)

// Path gives the name that the image has, or would have, in the cache.
func (c *ImageCache) Path(img *work.Image) (string, error) {
	if !sha512RE.MatchString(img.SHA512) {
		return "", fmt.Errorf("image %s has no SHA-512: %w", img.ID, ErrImageUnavailable)
	}
	err := diskformat.Boots(img.DiskFormat, img.Container)
	if err == nil && img.DiskFormat != diskformat.OnHost(img.DiskFormat) {
		err = fmt.Errorf("disk format %q", img.DiskFormat)
	}
	if err != nil {
		return "", fmt.Errorf("image %s: %w: %w", img.ID, ErrImageRefused, err)
	}
	return filepath.Join(c.dir, img.SHA512+"."+img.DiskFormat), nil
}

// Fetch makes sure that the image is in the cache and gives its path. Callers who want
// the same image share one download, which goes on while one of them waits. One that was
// refused because the job of its ticket is over is tried again with the others' tickets.
func (c *ImageCache) Fetch(ctx context.Context, img *work.Image) (string, error) {
	for {
		path, own, err := c.fetch(ctx, img)
		if err == nil || own || !errors.Is(err, errRefused) {
			return path, err
		}
	}
}

// fetch tells whether the download, if any, was made with this image's own ticket.
func (c *ImageCache) fetch(ctx context.Context, img *work.Image) (at string, own bool, err error) {
	path, err := c.Path(img)
	if err != nil {
		return "", true, err
	}
	c.mu.Lock()
	f := c.flights[path]
	if f == nil {
		own = true
		// The age of an unused base counts from its last use.
		now := time.Now()
		err := os.Chtimes(path, now, now)
		if err == nil {
			c.mu.Unlock()
			return path, own, nil
		}
		dctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
		f = &flight{done: make(chan struct{}), cancel: cancel}
		c.flights[path] = f
		go func() {
			f.err = c.download(dctx, img, path)
			cancel()
			c.mu.Lock()
			if c.flights[path] == f {
				delete(c.flights, path)
			}
			c.mu.Unlock()
			close(f.done)
		}()
	}
	f.waiters++
	c.mu.Unlock()

	select {
	case <-f.done:
	case <-ctx.Done():
		c.mu.Lock()
		f.waiters--
		if f.waiters == 0 {
			f.cancel()
			if c.flights[path] == f {
				delete(c.flights, path) // a later caller starts afresh
			}
		}
		c.mu.Unlock()
		return "", own, fmt.Errorf("fetch image %s: %w", img.ID, ctx.Err())
	}
	if f.err != nil {
		return "", own, fmt.Errorf("fetch image %s: %w", img.ID, f.err)
	}
	return path, own, nil
}

// download gets the image into a temporary file, verifies it, and gives it its name.
func (c *ImageCache) download(ctx context.Context, img *work.Image, path string) error {
	if img.Source == nil {
		return fmt.Errorf("no source given: %w", ErrImageUnavailable)
	}
	err := c.floor.Check(img.Size)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, img.Source.URL, nil)
	if err != nil {
		return fmt.Errorf("make request: %w", err)
	}
	req.Header.Set("X-Image-Ticket", img.Source.Ticket)
	resp, err := c.client.Do(req)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImageUnavailable, err)
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return errRefused
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%w: the image service answered %d", ErrImageUnavailable, resp.StatusCode)
	}
	tmp, err := os.CreateTemp(c.dir, partPrefix+"*")
	if err != nil {
		return fmt.Errorf("make temporary file: %w", err)
	}
	defer os.Remove(tmp.Name()) // fails once the file has its final name, as it should
	defer tmp.Close()

	// One byte more than promised is enough to know that there is too much.
	body := io.Reader(resp.Body)
	if img.Size > 0 {
		body = io.LimitReader(resp.Body, img.Size+1)
	}
	sum := sha512.New()
	n, err := io.Copy(io.MultiWriter(c.floor.Writer(tmp), sum), body)
	if room.Full(err) {
		return fmt.Errorf("after %d bytes: %w", n, err)
	}
	if err != nil {
		return fmt.Errorf("%w: after %d bytes: %w", ErrImageUnavailable, n, err)
	}
	if img.Size > 0 && n != img.Size {
		return fmt.Errorf("%w: size is not %d bytes", ErrImageCorrupt, img.Size)
	}
	if got := hex.EncodeToString(sum.Sum(nil)); got != img.SHA512 {
		return fmt.Errorf("%w: SHA-512 is %s", ErrImageCorrupt, got)
	}
	err = tmp.Sync()
	if err != nil {
		return fmt.Errorf("sync: %w", err)
	}
	err = tmp.Close()
	if err != nil {
		return fmt.Errorf("close: %w", err)
	}
	_, err = diskformat.InspectFile(tmp.Name(), img.DiskFormat, "bare", maxVirtualSize)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrImageRefused, err)
	}
	if c.inspect != nil {
		err := c.inspect(ctx, tmp.Name(), img)
		if err != nil {
			return fmt.Errorf("inspect: %w", err)
		}
	}
	err = os.Rename(tmp.Name(), path)
	if err != nil {
		return fmt.Errorf("rename: %w", err)
	}
	return nil
}

// Clean removes images that are not in use and whose last Fetch is longer ago than
// olderThan. The keys of inUse are the base names of cached files, as Path gives them.
// It returns the names that it removed.
func (c *ImageCache) Clean(ctx context.Context, inUse map[string]bool, olderThan time.Duration) ([]string, error) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return nil, fmt.Errorf("list image cache: %w", err)
	}
	var removed []string
	for _, e := range entries {
		if ctx.Err() != nil {
			return removed, ctx.Err()
		}
		if !baseRE.MatchString(e.Name()) || inUse[e.Name()] {
			continue
		}
		gone, err := c.removeOld(e.Name(), olderThan)
		if err != nil {
			return removed, err
		}
		if gone {
			removed = append(removed, e.Name())
		}
	}
	return removed, nil
}

// removeOld looks at the age and removes under the lock, so that a Fetch either comes
// before, and the file is young, or after, and the file is absent.
func (c *ImageCache) removeOld(name string, olderThan time.Duration) (bool, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	path := filepath.Join(c.dir, name)
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("look at cached image: %w", err)
	}
	if time.Since(info.ModTime()) < olderThan {
		return false, nil
	}
	err = os.Remove(path)
	if err != nil {
		return false, fmt.Errorf("remove cached image: %w", err)
	}
	return true, nil
}
