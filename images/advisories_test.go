package images

import (
	"bytes"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	files "kilonova/diskformat/diskformattest"
	"kilonova/schema/schematest"
)

// refusedUpload checks that a file is refused as data and as an import, and that the image
// is queued afterwards with nothing left of it.
func refusedUpload(t *testing.T, format string, data []byte) {
	t.Helper()
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, format)
		c.must(415, alice, "PUT", "/v2/images/"+id+"/file", data)
		c.clear(id)
		c.must(415, "", "PUT", "/v2/images/"+id+"/file", data, ticketHeader, ticketFor(ticketWrite, id))
		c.clear(id)
		c.must(204, alice, "PUT", "/v2/images/"+id+"/stage", data)
		c.must(202, alice, "POST", "/v2/images/"+id+"/import", `{"method": {"name": "glance-direct"}}`)
		c.keep()
		c.clear(id)
	})
}

func TestOSSA_2015_014_BackingFileOfAnUpload(t *testing.T) {
	refusedUpload(t, "qcow2", files.Qcow2(files.Backing))
}

func TestOSSA_2015_011_BackingFileOfAVersion2Upload(t *testing.T) {
	refusedUpload(t, "qcow2", files.Qcow2(files.Put32(4, 2), files.Backing))
}

func TestOSSA_2024_001_ExternalDataFile(t *testing.T) {
	refusedUpload(t, "qcow2", files.Qcow2(files.Put64(72, 4), files.Extension(files.ExtDataFile, "/etc/passwd")))
}

func TestOSSA_2024_001_ExternalDataFileNameWithoutTheBit(t *testing.T) {
	refusedUpload(t, "qcow2", files.Qcow2(files.Extension(files.ExtDataFile, "/etc/passwd")))
}

func TestOSSA_2024_002_RawThatIsQcow2(t *testing.T) {
	refusedUpload(t, "raw", files.Qcow2(files.Backing))
}

func TestOSSA_2024_002_RawThatIsVMDK(t *testing.T) {
	refusedUpload(t, "raw", []byte(strings.Replace(files.GoodVMDK, `SPARSE "disk.vmdk"`, `FLAT "/etc/passwd" 0`, 1)))
}

func TestOSSA_2023_002_FlatExtentOfAVMDK(t *testing.T) {
	refusedUpload(t, "vmdk", files.VMDK(strings.Replace(files.GoodVMDK, `SPARSE "disk.vmdk"`, `FLAT "/etc/passwd" 0`, 1)))
}

func TestOSSA_2023_002_DescriptorAlone(t *testing.T) {
	refusedUpload(t, "vmdk", []byte(strings.Replace(files.GoodVMDK, "disk.vmdk", "/etc/passwd", 1)))
}

func TestOSSA_2013_012_VirtualSizeBomb(t *testing.T) {
	refusedUpload(t, "qcow2", files.Qcow2(files.Put64(24, 1<<55), files.Put32(36, 4<<20)))
}

func TestOSSA_2013_029_VirtualSizeBombOfAnotherFormat(t *testing.T) {
	refusedUpload(t, "vhd", files.VHD(3, files.Put64(48, 1<<55)))
}

func TestOSSA_2016_012_CraftedTables(t *testing.T) {
	refusedUpload(t, "qcow2", files.Qcow2(files.Put32(36, 0x7fffffff), files.Put32(56, 0x7fffffff)))
}

// A guest that writes a qcow2 header on its raw disk cannot make its snapshot one: the
// format of a snapshot is what the service's own record says.
func TestOSSA_2016_001_SnapshotOfARewrittenDisk(t *testing.T) {
	refusedUpload(t, "raw", files.Qcow2(files.Put64(8, 512)))
}

func TestOSSA_2014_041_LocationsFromClients(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice)
		for _, url := range []string{"file:///etc/passwd", "filesystem:///etc/passwd", "http://127.0.0.1/", "swift+config://x"} {
			c.must(403, alice, "POST", "/v2/images", `{"location": "`+url+`"}`)
			c.must(403, alice, "POST", "/v2/images", `{"locations": [{"url": "`+url+`", "metadata": {}}]}`)
			c.must(403, alice, "POST", "/v2/images", `{"direct_url": "`+url+`"}`)
			c.must(403, admin, "PATCH", "/v2/images/"+id, `[{"op": "add", "path": "/locations", "value": [{"url": "`+url+`"}]}]`)
			w := c.do(alice, "PATCH", "/v2/images/"+id, `[{"op": "add", "path": "/locations/-", "value": {"url": "`+url+`"}}]`)
			if w.Code < 400 {
				t.Errorf("a location is taken: %d", w.Code)
			}
			c.must(404, alice, "POST", "/v2/images/"+id+"/locations", `{"url": "`+url+`"}`)
		}
	})
}

func TestOSSA_2015_002_LocationsOfAQueuedImage(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		c.must(403, alice, "PATCH", "/v2/images/"+id, `[{"op": "replace", "path": "/locations", "value": [{"url": "file:///etc/passwd", "metadata": {}}]}]`)
		c.clear(id)
	})
}

func TestOSSA_2026_004_ImportFromAnAddress(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		for _, method := range []string{"web-download", "glance-download", "copy-image"} {
			c.must(400, alice, "POST", "/v2/images/"+id+"/import", `{"method": {"name": "`+method+`", "uri": "http://169.254.169.254/"}}`)
			c.must(400, admin, "POST", "/v2/images/"+id+"/import", `{"method": {"name": "`+method+`", "uri": "file:///etc/passwd"}}`)
		}
		c.clear(id)
	})
}

func TestOSSA_2014_001_DataFolderIsClosed(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice)
		st, err := os.Stat(c.dir)
		if err != nil || st.Mode().Perm() != 0o700 {
			t.Errorf("folder mode %v, %v", st.Mode(), err)
		}
		for _, name := range c.files() {
			st, err := os.Stat(filepath.Join(c.dir, name))
			if err != nil || st.Mode().Perm() != 0o600 || !strings.HasPrefix(name, id) {
				t.Errorf("file %s: mode %v, %v", name, st.Mode(), err)
			}
		}
	})
}

func TestOSSA_2014_028_HugeUpload(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		c.must(413, alice, "PUT", "/v2/images/"+id+"/file", io.LimitReader(zeros{}, 1<<40))
		c.clear(id)
		c.must(413, alice, "PUT", "/v2/images/"+id+"/stage", io.LimitReader(zeros{}, 1<<40))
		c.clear(id)
	}, func(cfg *Config) { cfg.ProjectBytes = 3 << 20 })
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// Deleting an image while it is being uploaded must not make room before the bytes are gone.
func TestOSSA_2015_003_DeleteWhileUploading(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id, second := c.image(alice, "raw"), c.image(alice, "raw")
		c.must(410, alice, "PUT", "/v2/images/"+id+"/file", &during{left: 30, do: func() {
			c.must(204, alice, "DELETE", "/v2/images/"+id, nil)
			c.must(413, alice, "PUT", "/v2/images/"+second+"/file", make([]byte, 30<<20))
		}})
		c.must(204, alice, "PUT", "/v2/images/"+second+"/file", make([]byte, 30<<20))
	}, func(cfg *Config) { cfg.ProjectBytes = 40 << 20 })
}

func TestOSSA_2015_020_DeleteWhileStaging(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		c.must(410, alice, "PUT", "/v2/images/"+id+"/stage", &during{left: 30, do: func() {
			c.must(204, alice, "DELETE", "/v2/images/"+id, nil)
		}})
		if n, b := c.usage("p1"); n != 0 || b != 0 || len(c.files()) != 0 {
			t.Errorf("left: %d images, %d bytes, %v", n, b, c.files())
		}
	})
}

func TestOSSA_2015_019_StatusFromTheClient(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice)
		at := "/v2/images/" + id
		for _, h := range []string{"X-Image-Meta-Status", "X-Image-Status", "X-Openstack-Image-Status"} {
			c.must(409, alice, "PUT", at+"/file", "other bytes", h, Queued)
		}
		c.must(403, alice, "PATCH", at, `[{"op": "replace", "path": "/status", "value": "queued"}]`)
		c.must(403, alice, "POST", "/v2/images", `{"status": "active"}`)
		c.must(409, alice, "PUT", at+"/stage", "other bytes")
	})
}

func TestOSSA_2016_006_BytesOfAnActiveImageNeverChange(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice)
		at := "/v2/images/" + id
		c.must(204, alice, "POST", at+"/actions/deactivate", nil)
		c.must(409, alice, "PUT", at+"/file", "other bytes")
		c.must(204, alice, "POST", at+"/actions/reactivate", nil)
		c.must(409, admin, "PUT", at+"/file", "other bytes", ticketHeader, ticketFor(ticketWrite, id))
		c.must(204, alice, "DELETE", at, nil)
		c.must(409, alice, "POST", "/v2/images", `{"id": "`+id+`", "disk_format": "raw", "container_format": "bare"}`)
	})
}

func TestOSSA_2013_027_DownloadAndDeleteOfAnothersImage(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice, `"visibility": "private"`)
		at := "/v2/images/" + id
		for range 2 { // whatever has been read before
			c.must(404, bob, "GET", at+"/file", nil)
			c.must(404, bob, "DELETE", at, nil)
			c.must(404, bob, "GET", at+"/file", nil, "Range", "bytes=0-3")
			c.must(200, alice, "GET", at+"/file", nil)
		}
	})
}

func TestOSSA_2012_017_DeleteOfAPublicImage(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(admin, `"visibility": "public"`)
		c.must(403, alice, "DELETE", "/v2/images/"+id, nil)
		id = c.active(alice, `"visibility": "shared"`)
		c.must(200, alice, "POST", "/v2/images/"+id+"/members", `{"member": "p2"}`)
		c.must(403, bob, "DELETE", "/v2/images/"+id, nil)
		c.must(200, alice, "GET", "/v2/images/"+id, nil)
	})
}

func TestOSSA_2012_020_DeletedBytesDoNotComeBack(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.image(alice, "raw")
		c.must(204, alice, "PUT", "/v2/images/"+id+"/file", "a secret")
		c.must(204, alice, "DELETE", "/v2/images/"+id, nil)
		next := c.image(bob, "raw")
		c.must(204, bob, "PUT", "/v2/images/"+next+"/file", "public!!")
		w := c.do(bob, "GET", "/v2/images/"+next+"/file", nil)
		if w.Body.String() != "public!!" {
			t.Errorf("data %q", w.Body)
		}
	})
}

// Names of files come from the service alone.
func TestOSSA_2012_008_PathTraversal(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		for _, id := range []string{"..%2f..%2f..%2fetc%2fpasswd", "../../etc/passwd", ".lock", "%2e%2e"} {
			for _, path := range []string{"", "/file"} {
				w := c.do(admin, "GET", "/v2/images/"+id+path, nil)
				if w.Code != 404 {
					t.Errorf("GET %s%s = %d", id, path, w.Code)
				}
			}
			c.must(400, alice, "POST", "/v2/images", `{"id": "`+id+`"}`)
		}
	})
}

func TestOSSA_2026_006_NoMarkupComesBack(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		for _, accept := range []string{"text/html", "*/*", "", "application/json"} {
			w := c.do(alice, "GET", "/v2/images?sort_key=<script>alert(1)</script>", nil, "Accept", accept)
			kind := w.Header().Get("Content-Type")
			markup := strings.Contains(w.Body.String(), "<script") && !strings.Contains(kind, "json")
			if w.Code != 400 || markup || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("Accept %q: %d %s %s", accept, w.Code, kind, w.Body)
			}
		}
		id := c.active(alice, `"p": "<script>"`)
		w := c.do(alice, "GET", "/v2/images/"+id, nil)
		if bytes.Contains(w.Body.Bytes(), []byte("<script>")) {
			t.Errorf("markup in %s", w.Body)
		}
	})
}

// strange are requests that have to be answered with anything but a 500.
var strange = [][3]string{
	{"GET", "/v2/images?sort=name:asc&limit=1&name=in:%22a%22", ""},
	{"POST", "/v2/images", `{"name": "x", "tags": ["a", "a "], "p": "q", "p ": "r"}`},
	{"POST", "/v2/images", `{"id": "A0000000-0000-4000-8000-000000000000"}`},
	{"PATCH", "/v2/images/" + killedID, `[{"op": "add", "path": "/a~0b", "value": "x"}, {"op": "add", "path": "/a~0b ", "value": "x"}]`},
	{"PATCH", "/v2/images/" + killedID, `[{"op": "add", "path": "/tags", "value": ["ä", "a", "A", "a\t", "\u2028"]}]`},
	{"POST", "/v2/images/" + killedID + "/members", `{"member": "p "}`},
	{"PUT", "/v2/images/" + killedID + "/tags/%20", ""},
	{"PUT", "/v2/images/" + killedID + "/tags/%F0%9F%92%A5", ""},
	{"PUT", "/v2/images/" + killedID + "/file", "data"},
	{"GET", "/v2/images?created_at=gt:9999-12-31T23:59:59Z&size_min=9223372036854775807", ""},
	{"GET", "/v2/images?created_at=gt:0000-01-01", ""},
	{"GET", "/v2/images?min_ram=9223372036854775807&%F0%9F%92%A5=%F0%9F%92%A5&tag=%F0%9F%92%A5", ""},
	{"GET", "/v2/images?marker=" + killedID + "&sort_key=size", ""},
	{"GET", "/v2/images?name=%5C%27%22%3B--", ""},
}

func TestStrangeRequestsAreNo500(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.image(alice, "raw", `"id": "`+killedID+`"`)
		for _, r := range strange {
			c.do(alice, r[0], r[1], r[2]) // reports a 500
		}
	})
}

// FuzzRequests sends any path, query and body: no answer is a 500.
func FuzzRequests(f *testing.F) {
	for _, r := range strange {
		f.Add(r[0], r[1], r[2])
	}
	c := newCloud(f, schematest.SQLite(f))
	c.image(alice, "raw", `"id": "`+killedID+`"`)
	f.Fuzz(func(t *testing.T, method, path, body string) {
		if len(path)+len(body) > 4096 || !validRequest(method, path) {
			t.Skip()
		}
		c.t = t
		c.do(alice, method, path, body) // reports a 500
		c.keep()
	})
}
