package images

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kilonova/compat"
	files "kilonova/diskformat/diskformattest"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

// broken is a body that ends with an error, as a lost connection does.
type broken struct {
	data io.Reader
	err  error
}

func (b *broken) Read(p []byte) (int, error) {
	n, err := b.data.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

// during is a body that does something when twenty reads are left.
type during struct {
	left int
	do   func()
}

func (d *during) Read(p []byte) (int, error) {
	if d.left == 0 {
		return 0, io.EOF
	}
	if d.do != nil && d.left == 20 {
		d.do()
	}
	d.left--
	return len(p), nil
}

// clear checks that an image is queued and nothing of an upload is left.
func (c *cloud) clear(id string) {
	c.t.Helper()
	if st := c.status(id); st != Queued {
		c.t.Errorf("status %s, want queued", st)
	}
	if files := c.files(); len(files) != 0 {
		c.t.Errorf("files are left: %v", files)
	}
	if _, bytes := c.usage("p1"); bytes != 0 {
		c.t.Errorf("%d bytes are still charged", bytes)
	}
}

func TestFailedUploadLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		at := "/v2/images/" + id + "/file"
		c.must(400, alice, "PUT", at, &broken{strings.NewReader(strings.Repeat("x", 3<<20)), io.ErrUnexpectedEOF})
		c.clear(id)
		c.must(413, alice, "PUT", at, strings.NewReader(strings.Repeat("x", 5<<20)))
		c.clear(id)
		c.must(413, alice, "PUT", at, io.MultiReader(strings.NewReader(strings.Repeat("x", 5<<20))))
		c.clear(id)
		c.must(415, alice, "PUT", at, files.Qcow2())
		c.clear(id)
		c.must(204, alice, "PUT", at, "good")
		c.must(409, alice, "PUT", at, "again")
		w := c.do(alice, "GET", at, nil)
		if w.Body.String() != "good" {
			t.Errorf("data = %q", w.Body)
		}
	}, func(cfg *Config) { cfg.MaxImageSize = 4 << 20 })
}

// wait gives something that goes on elsewhere a while to come true.
func (c *cloud) wait(done func() bool) {
	c.t.Helper()
	for end := time.Now().Add(10 * time.Second); !done(); {
		if time.Now().After(end) {
			c.t.Error("it does not come true")
			return
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestAbortedConnectionReturnsTheImageToQueued(t *testing.T) {
	t.Parallel()
	c := newCloud(t, schematest.SQLite(t))
	server := httptest.NewServer(c.h)
	defer server.Close()
	for _, sized := range []bool{true, false} {
		id := c.image(alice, "raw")
		ctx, cancel := context.WithCancel(context.Background())
		body, in := io.Pipe()
		r, err := http.NewRequestWithContext(ctx, "PUT", server.URL+"/v2/images/"+id+"/file", body)
		if err != nil {
			t.Fatal(err)
		}
		if sized {
			r.ContentLength = 64 << 20
		}
		r.Header.Set("X-Test-Caller", alice)
		r.Header.Set("Content-Type", "application/octet-stream")
		go func() {
			_, _ = in.Write(make([]byte, 3<<20)) // the connection is cut on purpose
			c.wait(func() bool { return c.status(id) == Saving })
			cancel()
			_ = in.CloseWithError(io.ErrUnexpectedEOF) // the client's writer waits for more
		}()
		res, err := http.DefaultClient.Do(r)
		if err == nil {
			_ = res.Body.Close() // only the end of the connection matters
		}
		c.wait(func() bool { return c.status(id) == Queued && len(c.files()) == 0 })
		c.clear(id)
	}
}

func TestSilentClientIsCutOff(t *testing.T) {
	t.Parallel()
	c := newCloud(t, schematest.SQLite(t), func(cfg *Config) { cfg.IdleTimeout = 50 * time.Millisecond })
	server := httptest.NewServer(c.h)
	defer server.Close()
	id := c.image(alice, "raw")
	body, in := io.Pipe()
	defer func() { _ = in.Close() }() // the test is over
	r, err := http.NewRequest("PUT", server.URL+"/v2/images/"+id+"/file", body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Test-Caller", alice)
	r.Header.Set("Content-Type", "application/octet-stream")
	go func() { _, _ = in.Write([]byte("a little")) }() // and then nothing
	// Were the client not cut off, this would be the end of a good upload.
	defer time.AfterFunc(2*time.Second, func() { _ = in.Close() }).Stop()
	res, err := http.DefaultClient.Do(r)
	if err == nil {
		defer func() { _ = res.Body.Close() }()
		if res.StatusCode != 400 {
			t.Errorf("status %d", res.StatusCode)
		}
	}
	c.wait(func() bool { return c.status(id) == Queued && len(c.files()) == 0 })
	c.clear(id)
}

func TestDeleteDuringUploadCannotEscape(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		var held int64
		w := c.do(alice, "PUT", "/v2/images/"+id+"/file", &during{left: 40, do: func() {
			c.must(204, alice, "DELETE", "/v2/images/"+id, nil)
			_, held = c.usage("p1")
		}})
		if w.Code != http.StatusGone {
			t.Errorf("upload = %d %s", w.Code, w.Body)
		}
		if held == 0 {
			t.Error("the bytes were not held while they were there")
		}
		c.must(404, alice, "GET", "/v2/images/"+id, nil)
		n, bytes := c.usage("p1")
		if n != 0 || bytes != 0 || len(c.files()) != 0 {
			t.Errorf("left: %d images, %d bytes, %v", n, bytes, c.files())
		}
	})
}

func TestOneOfManyUploadsWins(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for i := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				w := c.do(alice, "PUT", "/v2/images/"+id+"/file", strings.Repeat(fmt.Sprint(i), 100000))
				mu.Lock()
				defer mu.Unlock()
				codes[w.Code]++
			}()
		}
		wg.Wait()
		if codes[204] != 1 || codes[409] != 7 {
			t.Errorf("codes %v", codes)
		}
		data := c.do(alice, "GET", "/v2/images/"+id+"/file", nil).Body.Bytes()
		if len(data) != 100000 || bytes.Count(data, data[:1]) != len(data) {
			t.Error("the data is a mixture")
		}
	})
}

func TestQuotasAreExact(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		var wg sync.WaitGroup
		var mu sync.Mutex
		codes := map[int]int{}
		for range 9 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				w := c.do(alice, "POST", "/v2/images", `{"disk_format": "raw", "container_format": "bare"}`)
				mu.Lock()
				defer mu.Unlock()
				codes[w.Code]++
			}()
		}
		wg.Wait()
		if codes[201] != 5 || codes[413] != 4 {
			t.Errorf("codes %v", codes)
		}
		ids := c.ids(alice, "")
		c.must(204, alice, "PUT", "/v2/images/"+ids[0]+"/file", strings.Repeat("x", 600))
		c.must(413, alice, "PUT", "/v2/images/"+ids[1]+"/file", strings.Repeat("x", 401))
		c.must(413, alice, "PUT", "/v2/images/"+ids[1]+"/file", io.MultiReader(strings.NewReader(strings.Repeat("x", 401))))
		c.must(204, alice, "PUT", "/v2/images/"+ids[1]+"/file", io.MultiReader(strings.NewReader(strings.Repeat("x", 400))))
		if _, n := c.usage("p1"); n != 1000 {
			t.Errorf("%d bytes charged", n)
		}
		c.must(204, alice, "DELETE", "/v2/images/"+ids[0], nil)
		if n, b := c.usage("p1"); n != 4 || b != 400 {
			t.Errorf("%d images, %d bytes", n, b)
		}
	}, func(cfg *Config) { cfg.ProjectImages = 5; cfg.ProjectBytes = 1000 })
}

func TestImport(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		doc := c.must(200, alice, "GET", "/v2/info/import", nil)
		if fmt.Sprint(doc["import-methods"].(map[string]any)["value"]) != "[glance-direct]" {
			t.Errorf("methods %v", doc)
		}
		id := c.image(alice, "qcow2")
		at := "/v2/images/" + id
		c.must(204, alice, "PUT", at+"/stage", files.Qcow2())
		if st := c.status(id); st != Uploading {
			t.Errorf("staged: %s", st)
		}
		c.must(409, alice, "PUT", at+"/stage", files.Qcow2())
		c.must(409, alice, "PUT", at+"/file", files.Qcow2())
		c.must(204, alice, "GET", at+"/file", nil)
		c.must(202, alice, "POST", at+"/import", `{"method": {"name": "glance-direct"}}`)
		c.must(409, alice, "POST", at+"/import", `{"method": {"name": "glance-direct"}}`)
		if st := c.status(id); st != Importing {
			t.Errorf("importing: %s", st)
		}
		c.keep()
		img := c.must(200, alice, "GET", at, nil)
		if img["status"] != Active || img["size"] != float64(4*files.Cluster) || img["virtual_size"] != float64(1<<20) {
			t.Errorf("imported: %v", img)
		}
		if w := c.do(alice, "GET", at+"/file", nil); !bytes.Equal(w.Body.Bytes(), files.Qcow2()) {
			t.Error("the data differs")
		}
		bad := c.image(alice, "raw")
		c.must(204, alice, "PUT", "/v2/images/"+bad+"/stage", files.Qcow2(files.Backing))
		c.must(202, alice, "POST", "/v2/images/"+bad+"/import", `{"method": {"name": "glance-direct"}}`)
		c.keep()
		if st := c.status(bad); st != Queued || len(c.files()) != 1 {
			t.Errorf("a refused import is %s, files %v", st, c.files())
		}
		if _, n := c.usage("p1"); n != 4*files.Cluster {
			t.Errorf("%d bytes charged", n)
		}
		gone := c.image(alice, "raw")
		c.must(204, alice, "PUT", "/v2/images/"+gone+"/stage", "data")
		c.must(204, alice, "DELETE", "/v2/images/"+gone, nil)
		if len(c.files()) != 1 {
			t.Errorf("files %v", c.files())
		}
	})
}

func TestImportSurvivesARestart(t *testing.T) {
	t.Parallel()
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		c := newCloud(t, db)
		id := c.image(alice, "raw")
		c.must(204, alice, "PUT", "/v2/images/"+id+"/stage", "data")
		c.must(202, alice, "POST", "/v2/images/"+id+"/import", `{"method": {"name": "glance-direct"}}`)
		// A process claims the import and dies.
		rec, err := find(context.Background(), db, id)
		if err == nil {
			_, err = c.s.begin(context.Background(), rec, Importing, Importing)
		}
		if err == nil {
			err = c.s.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		c2 := reopen(t, db, c.dir)
		c2.pass(time.Hour)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); c2.s.Run(ctx) }()
		for end := time.Now().Add(10 * time.Second); c2.status(id) != Active && time.Now().Before(end); {
			time.Sleep(5 * time.Millisecond)
		}
		cancel()
		<-done
		if st := c2.status(id); st != Active {
			t.Errorf("after the restart: %s", st)
		}
	})
}

const (
	envKillDir = "KILONOVA_IMAGES_KILL_DIR"
	envKillDB  = "KILONOVA_IMAGES_KILL_DB"
	killedID   = "11111111-2222-4333-8444-555555555555"
)

// TestKillMinusNine uploads in a process of its own, which kills itself half way.
func TestKillMinusNine(t *testing.T) {
	if dir := os.Getenv(envKillDir); dir != "" {
		db, err := schema.Open(context.Background(), os.Getenv(envKillDB))
		if err != nil {
			t.Fatal(err)
		}
		c := reopen(t, db, dir)
		c.do(alice, "PUT", "/v2/images/"+killedID+"/file", &during{left: 60, do: func() {
			p, err := os.FindProcess(os.Getpid())
			if err == nil {
				err = p.Kill()
			}
			t.Fatalf("still alive: %v", err)
		}})
		return
	}
	t.Parallel()
	path := filepath.Join(t.TempDir(), "kill.db")
	db, err := schema.Open(context.Background(), path)
	if err == nil {
		err = db.Migrate(context.Background())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := newCloud(t, db)
	c.image(alice, "raw", `"id": "`+killedID+`"`)
	err = c.s.Close()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestKillMinusNine$")
	cmd.Env = append(os.Environ(), envKillDir+"="+c.dir, envKillDB+"="+path)
	out, err := cmd.CombinedOutput()
	if err == nil || cmd.ProcessState.ExitCode() != -1 {
		t.Fatalf("the process was not killed: %v %s", err, out)
	}
	if st := c.status(killedID); st != Saving || len(c.files()) != 1 {
		t.Fatalf("after the kill: %s, %v", st, c.files())
	}
	// Another process that runs must not be disturbed: only silence ends its uploads.
	both := reopen(t, db, c.dir)
	other := reopen(t, db, c.dir)
	if !both.s.alone || other.s.alone {
		t.Error("who was first is not clear")
	}
	other.keep()
	if st := other.status(killedID); st != Saving {
		t.Errorf("a second process ended the upload at once: %s", st)
	}
	both.pass(time.Hour)
	both.s.started = both.s.Clock.Now()
	both.keep()
	both.clear(killedID)
	both.must(204, alice, "PUT", "/v2/images/"+killedID+"/file", "data")
}

func TestSweepRemovesOrphansOnly(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice)
		staged := c.image(alice, "raw")
		c.must(204, alice, "PUT", "/v2/images/"+staged+"/stage", "x")
		for _, name := range []string{id + ".0123", killedID + ".abc.part", killedID + ".abc", "README", "notes.txt"} {
			err := os.WriteFile(filepath.Join(c.dir, name), []byte("x"), 0o600)
			if err != nil {
				t.Fatal(err)
			}
		}
		c.pass(24 * time.Hour)
		c.keep()
		files := strings.Join(c.files(), " ")
		if len(c.files()) != 4 || !strings.Contains(files, "README") || !strings.Contains(files, "notes.txt") {
			t.Errorf("files %s", files)
		}
		c.must(200, alice, "GET", "/v2/images/"+id+"/file", nil)
		if st := c.status(staged); st != Uploading {
			t.Errorf("staged data is %s", st)
		}
	})
}

func TestTickets(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		job := Job{Server: "s", Generation: 7, Limit: time.Hour}
		id := c.active(alice, `"visibility": "private"`)
		other := c.active(bob)
		read := c.s.ReadTransfer(id, job)
		if read.URL != "http://internal/image/v2/images/"+id+"/file" || read.ImageID != id {
			t.Errorf("transfer %+v", read)
		}
		at := "/v2/images/" + id + "/file"
		c.must(200, "", "GET", at, nil, ticketHeader, read.Ticket)
		c.must(401, "", "GET", "/v2/images/"+other+"/file", nil, ticketHeader, read.Ticket)
		c.must(401, "", "GET", at, nil, ticketHeader, "")
		c.must(401, "", "GET", at, nil, ticketHeader, c.s.WriteTransfer(id, job).Ticket)
		c.must(401, "", "GET", at, nil, ticketHeader, strings.Repeat("x", 5000))
		c.must(401, "", "GET", "/v2/images/"+id, nil, ticketHeader, read.Ticket)
		c.must(401, "", "PUT", at, "x", ticketHeader, read.Ticket)
		c.must(409, "", "PUT", at, "x", ticketHeader, c.s.WriteTransfer(id, job).Ticket)
		c.must(405, "", "DELETE", at, nil, ticketHeader, read.Ticket)
		over := job
		over.Server = "gone"
		c.must(401, "", "GET", at, nil, ticketHeader, c.s.ReadTransfer(id, over).Ticket)
		c.must(401, "", "PUT", at, "x", ticketHeader, c.s.WriteTransfer(id, over).Ticket)
		for _, subject := range []string{id, id + " s", id + " s x", id + " s 7 7", id + "  s 7", other + " s 7"} {
			c.must(401, "", "GET", at, nil, ticketHeader, fakeTickets{}.SignTicket(ticketRead, subject, time.Hour))
		}
		jobs := c.s.Jobs
		c.s.Jobs = nil
		c.must(401, "", "GET", at, nil, ticketHeader, read.Ticket)
		c.s.Jobs = jobs

		img, err := snapshotOf(context.Background(), c.s, callerOf(alice), Snapshot{Name: "snap", BaseImageID: id, MinDisk: 1,
			Properties: map[string]string{"image_type": "snapshot", "status": "active", "name": "x", "hw_x": "1"}})
		if err != nil {
			t.Fatal(err)
		}
		write := c.s.WriteTransfer(img.ID, job)
		c.must(415, "", "PUT", "/v2/images/"+img.ID+"/file", "raw bytes", ticketHeader, write.Ticket)
		c.must(204, "", "PUT", "/v2/images/"+img.ID+"/file", files.Qcow2(), ticketHeader, write.Ticket)
		got, err := c.s.Get(context.Background(), callerOf(alice), img.ID)
		if err != nil {
			t.Fatal(err)
		}
		guest, err := got.Guest()
		if err != nil || guest.DiskFormat != "qcow2" || guest.VirtualSize != 1<<20 || guest.MinDiskGB != 1 || len(guest.SHA512) != 128 ||
			got.Properties["base_image_ref"] != id || got.Properties["hw_x"] != "1" || len(got.Properties) != 3 || got.Visibility != Private {
			t.Errorf("snapshot %+v", got)
		}
		_, err = c.s.Get(context.Background(), callerOf(bob), img.ID)
		if err == nil || err.Error() != "404 Image "+img.ID+" could not be found." {
			t.Errorf("a stranger gets %v", err)
		}
	})
}

func TestSnapshotsOfServers(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ctx, who := context.Background(), callerOf(alice)
		make := func(snap Snapshot) *Image {
			img, err := snapshotOf(ctx, c.s, who, snap)
			if err != nil {
				t.Fatal(err)
			}
			return img
		}
		failed := make(Snapshot{Name: "failed"})
		for range 2 {
			err := c.s.Fail(ctx, failed.ID, "no agent")
			if err != nil {
				t.Fatal(err)
			}
		}
		c.must(404, alice, "GET", "/v2/images/"+failed.ID, nil)
		volume := make(Snapshot{Name: "volume", Empty: true, Properties: map[string]string{"bdm_v2": "True", "block_device_mapping": "[]"}})
		doc := c.must(200, alice, "GET", "/v2/images/"+volume.ID, nil)
		if doc["status"] != Active || doc["size"] != float64(0) || doc["checksum"] != emptyMD5 {
			t.Errorf("image of a volume-backed server: %v", doc)
		}
		c.must(204, alice, "GET", "/v2/images/"+volume.ID+"/file", nil)
		err := c.s.Fail(ctx, volume.ID, "late")
		if err != nil || c.status(volume.ID) != Active {
			t.Errorf("an active image failed: %v", err)
		}
		var backups []string
		for range 3 {
			backups = append(backups, make(Snapshot{Name: "b", Properties: map[string]string{"instance_uuid": "s1", "backup_type": "daily"}}).ID)
		}
		found, err := c.s.Find(ctx, "p1", map[string]string{"instance_uuid": "s1", "backup_type": "daily"})
		if err != nil || len(found) != 3 || found[0].ID != backups[2] || found[2].ID != backups[0] {
			t.Errorf("backups %v, %v", found, err)
		}
		names, err := c.s.Names(ctx, []string{volume.ID, backups[0], failed.ID, "zz"})
		if err != nil || len(names) != 2 || names[volume.ID] != "volume" {
			t.Errorf("names %v, %v", names, err)
		}
		err = c.s.Delete(ctx, callerOf(bob), backups[0])
		if err == nil || !strings.HasPrefix(err.Error(), "404") {
			t.Errorf("a stranger deletes: %v", err)
		}
		err = c.s.Delete(ctx, who, backups[0])
		if err != nil {
			t.Error(err)
		}
	})
}

// snapshotOf makes a snapshot's image in a transaction that does nothing else.
func snapshotOf(ctx context.Context, s *Service, c *compat.Caller, snap Snapshot) (img *Image, err error) {
	err = s.DB.Tx(ctx, func(tx *schema.Tx) error {
		var err error
		img, err = s.CreateSnapshot(ctx, tx, c, snap)
		return err
	})
	return img, err
}
