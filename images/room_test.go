package images

import (
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"

	"kilonova/room"
	"kilonova/schema/schematest"
)

// smallDisk gives the service a disk of so many bytes, of which its files take their part.
func smallDisk(size int64) func(*Config) {
	return func(cfg *Config) {
		cfg.ProjectBytes = room.Unlimited
		cfg.Floor = &room.Floor{Path: cfg.Dir, Probe: func(dir string) (room.Space, error) {
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
	}
}

// unsized hides the length of a body.
func unsized(n int64) io.Reader { return io.MultiReader(io.LimitReader(zeros{}, n)) }

func sized(n int64) io.Reader { return strings.NewReader(strings.Repeat("\x00", int(n))) }

// TestUploadsLeaveTheFloorFree: an upload that the disk has no room for is refused in
// Glance's words, by its length before a byte of it is read, and else at the floor; nothing
// of it stays, and the image can be filled again.
func TestUploadsLeaveTheFloorFree(t *testing.T) {
	const disk, floor = 20 << 20, 4 << 20
	each(t, func(t *testing.T, c *cloud) {
		c.must(204, alice, "PUT", "/v2/images/"+c.image(alice, "raw")+"/file", sized(6<<20))
		kept := c.files()
		for name, send := range map[string]struct {
			caller, path string
			body         func(int64) io.Reader
		}{
			"length told":        {alice, "/file", sized},
			"length not told":    {alice, "/file", unsized},
			"staged, told":       {alice, "/stage", sized},
			"staged":             {alice, "/stage", unsized},
			"an administrator's": {admin, "/file", unsized},
			"a host's snapshot":  {"", "/file", unsized},
		} {
			id := c.image(alice, "raw")
			var headers []string
			if send.caller == "" {
				headers = []string{ticketHeader, ticketFor(ticketWrite, id)}
			}
			w := c.do(send.caller, "PUT", "/v2/images/"+id+send.path, send.body(11<<20), headers...)
			if w.Code != http.StatusRequestEntityTooLarge || !strings.Contains(w.Body.String(), "Image storage media is full: There is not enough disk space on the image storage media.") {
				t.Errorf("%s: %d %.300s", name, w.Code, w.Body)
			}
			if got := c.files(); strings.Join(got, " ") != strings.Join(kept, " ") {
				t.Errorf("%s: left %v beside %v", name, got, kept)
			}
			if st := c.status(id); st != Queued {
				t.Errorf("%s: the image is %s", name, st)
			}
		}
		if _, held := c.usage("p1"); held != 6<<20 {
			t.Errorf("%d bytes are charged", held)
		}
		// What leaves the floor is taken, and room that comes back is used.
		id := c.image(alice, "raw")
		c.must(204, alice, "PUT", "/v2/images/"+id+"/file", unsized(disk-floor-6<<20))
		next := c.image(alice, "raw")
		c.must(413, alice, "PUT", "/v2/images/"+next+"/file", "x")
		c.must(204, alice, "DELETE", "/v2/images/"+id, nil)
		c.must(204, alice, "PUT", "/v2/images/"+next+"/file", "x")
	}, smallDisk(disk))
}

// TestUploadsAtOnceLeaveTheFloorFree: nobody gets past the floor because others ask in the
// same moment.
func TestUploadsAtOnceLeaveTheFloorFree(t *testing.T) {
	const disk = 20 << 20
	each(t, func(t *testing.T, c *cloud) {
		var wg sync.WaitGroup
		for range 8 {
			id := c.image(alice, "raw")
			wg.Add(1)
			go func() {
				defer wg.Done()
				c.do(alice, "PUT", "/v2/images/"+id+"/file", unsized(5<<20))
			}()
		}
		wg.Wait()
		sum := int64(0)
		for _, name := range c.files() {
			st, err := os.Stat(c.dir + "/" + name)
			if err != nil || strings.HasSuffix(name, partSuffix) {
				t.Errorf("%s stayed: %v", name, err)
				continue
			}
			sum += st.Size()
		}
		if sum > disk/5*4 {
			t.Errorf("%d of %d bytes are taken", sum, disk)
		}
	}, smallDisk(disk))
}

// TestPartialDataGoesFirst: a failed upload gives its disk back also when the database
// cannot be told of it.
func TestPartialDataGoesFirst(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		body := &during{left: 40, do: func() {
			if len(c.files()) != 1 {
				t.Errorf("there is no partial data: %v", c.files())
			}
			_ = c.db.Close() // as if it had gone
		}}
		w := c.send(alice, "PUT", "/v2/images/"+id+"/file", &broken{body, io.ErrUnexpectedEOF})
		if w.Code < 400 {
			t.Errorf("%d %.300s", w.Code, w.Body)
		}
		if left := c.files(); len(left) > 0 {
			t.Errorf("left %v", left)
		}
	})
}

// TestProjectsHaveAQuotaOfBytes: without a word from the operator no project takes more
// than a quarter of the disk; what it says is Glance's.
func TestProjectsHaveAQuotaOfBytes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		disk, err := room.Of(c.dir)
		if err != nil || c.s.ProjectBytes != disk.Size/4 {
			t.Errorf("the default is %d of %d, %v", c.s.ProjectBytes, disk.Size, err)
		}
		c.s.ProjectBytes = 1000
		c.must(204, alice, "PUT", "/v2/images/"+c.image(alice, "raw")+"/file", sized(600))
		w := c.do(alice, "PUT", "/v2/images/"+c.image(alice, "raw")+"/file", sized(401))
		if w.Code != 413 || !strings.Contains(w.Body.String(), "Image exceeds the storage quota: The size of the data 401 will exceed the limit. 400 bytes remaining.") {
			t.Errorf("%d %.300s", w.Code, w.Body)
		}
		c.must(204, alice, "PUT", "/v2/images/"+c.image(alice, "raw")+"/file", sized(400))
		c.must(204, bob, "PUT", "/v2/images/"+c.image(bob, "raw")+"/file", sized(1000))
	})
}

// TestTidyRemovesPartsOfAnEarlierProcess: and nothing else, and only of a folder that nobody
// has open.
func TestTidyRemovesPartsOfAnEarlierProcess(t *testing.T) {
	c := newCloud(t, schematest.SQLite(t))
	id := c.active(alice)
	whole := c.files()
	part := c.dir + "/" + id + ".0123" + partSuffix
	make := func() {
		err := os.WriteFile(part, []byte("half"), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	make()
	n, err := Tidy(c.dir)
	if n != 0 || err != nil || len(c.files()) != 2 {
		t.Errorf("beside a process that has it open: %d, %v, %v", n, err, c.files())
	}
	_ = c.s.Close() // the process ends
	n, err = Tidy(c.dir)
	if n != 1 || err != nil || strings.Join(c.files(), " ") != strings.Join(whole, " ") {
		t.Errorf("alone: %d, %v, %v", n, err, c.files())
	}
	n, err = Tidy(c.dir + "/nothing")
	if n != 0 || err != nil {
		t.Errorf("where there is no folder: %d, %v", n, err)
	}
}
