package fulldisk

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"kilonova/room/roomtest"
	"kilonova/tests/program"
)

// cloud is a server whose state is on a disk of 24 MiB.
type cloud struct {
	*program.Cloud
	t     *testing.T
	disk  string
	bin   string
	log   string
	flags []string
	token string
}

var build = func() (string, error) { return "", errors.New("it is not built") }

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "fulldisk-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	build = sync.OnceValues(func() (string, error) { return program.Build(dir, "kilonova") })
	code := m.Run()
	_ = os.RemoveAll(dir) // the tests are over
	os.Exit(code)
}

func start(t *testing.T, flags ...string) *cloud {
	t.Helper()
	c := &cloud{t: t, disk: roomtest.Disk(t, "24m"), flags: flags}
	dir := t.TempDir()
	c.log = filepath.Join(dir, "log")
	var err error
	c.bin, err = build()
	if err != nil {
		t.Fatal(err)
	}
	c.up()
	t.Cleanup(func() {
		if c.Cloud != nil {
			c.Stop()
		}
		if t.Failed() {
			said, _ := os.ReadFile(c.log)
			t.Logf("the cloud said: %s", said[max(0, len(said)-8000):])
		}
	})
	return c
}

// up starts the cloud on its disk, which may be full, and logs in.
func (c *cloud) up() {
	c.t.Helper()
	var err error
	c.Cloud, err = program.Start(c.bin, filepath.Join(c.disk, "state"), c.log, c.flags...)
	if err != nil {
		c.t.Fatal(err)
	}
	password, err := os.ReadFile(filepath.Join(c.State, "admin-password"))
	if err != nil {
		c.t.Fatal(err)
	}
	c.token = ""
	code, head, body := c.send("POST", "/identity/v3/auth/tokens", map[string]any{"auth": map[string]any{
		"identity": map[string]any{"methods": []string{"password"}, "password": map[string]any{"user": map[string]any{
			"name": "admin", "domain": map[string]any{"id": "default"}, "password": strings.TrimSpace(string(password))}}},
		"scope": map[string]any{"project": map[string]any{"name": "admin", "domain": map[string]any{"id": "default"}}}}})
	if code != http.StatusCreated {
		c.t.Fatalf("log in: %d %s", code, body)
	}
	c.token = head.Get("X-Subject-Token")
}

func (c *cloud) send(method, path string, body any) (int, http.Header, []byte) {
	c.t.Helper()
	kind := "application/json"
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case io.Reader:
		in, kind = b, "application/octet-stream"
	default:
		doc, err := json.Marshal(body)
		if err != nil {
			c.t.Fatal(err)
		}
		in = bytes.NewReader(doc)
	}
	req, err := http.NewRequest(method, c.Base+path, in)
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", kind)
	req.Header.Set("X-Auth-Token", c.token)
	req.Header.Set("OpenStack-API-Version", "compute 2.90")
	resp, err := http.DefaultClient.Do(req)
	if err != nil { // the answer to an upload may come before all of it is sent
		return 0, nil, []byte(err.Error())
	}
	defer resp.Body.Close()
	said, err := io.ReadAll(resp.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, said
}

// must is send for what has to be answered with one of the codes.
func (c *cloud) must(method, path string, body any, codes ...int) map[string]any {
	c.t.Helper()
	code, _, said := c.send(method, path, body)
	if !slices.Contains(codes, code) {
		c.t.Fatalf("%s %s: %d, want %v: %.300s", method, path, code, codes, said)
	}
	var doc map[string]any
	_ = json.Unmarshal(said, &doc) // there may be none
	return doc
}

func (c *cloud) image() string {
	c.t.Helper()
	return c.must("POST", "/image/v2/images", map[string]any{"name": "im", "disk_format": "raw", "container_format": "bare"}, 201)["id"].(string)
}

// upload sends n bytes of which the server is told, or not, how many they are. It gives the
// code, or 0 where the connection ended first.
func (c *cloud) upload(image string, n int64, told bool) int {
	c.t.Helper()
	var body io.Reader = bytes.NewReader(make([]byte, n))
	if !told {
		body = io.MultiReader(body)
	}
	code, _, _ := c.send("PUT", "/image/v2/images/"+image+"/file", body)
	return code
}

func (c *cloud) keypair(name string) (code int, head http.Header) {
	c.t.Helper()
	code, head, _ = c.send("POST", "/v2.1/os-keypairs", map[string]any{"keypair": map[string]any{"name": name, "type": "ssh",
		"public_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIDKnb3Y6bM5yE3aC0n2hQ6S1i8r7U5yqkKXn0m0c3o1P x"}})
	return code, head
}

// server makes a server and waits until it is ACTIVE.
func (c *cloud) server(image string) string {
	c.t.Helper()
	id := c.must("POST", "/v2.1/servers", map[string]any{"server": map[string]any{"name": "s", "imageRef": image, "flavorRef": "1", "networks": "none"}}, 202)["server"].(map[string]any)["id"].(string)
	c.eventually("the server is ACTIVE", func() bool {
		return c.must("GET", "/v2.1/servers/"+id, nil, 200)["server"].(map[string]any)["status"] == "ACTIVE"
	})
	return id
}

func (c *cloud) gone(server string) {
	c.t.Helper()
	c.must("DELETE", "/v2.1/servers/"+server, nil, 204)
	c.eventually("the server is gone", func() bool {
		code, _, _ := c.send("GET", "/v2.1/servers/"+server, nil)
		return code == 404
	})
}

func (c *cloud) eventually(what string, so func() bool) {
	c.t.Helper()
	for range 1200 {
		if so() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("it never came to be that %s", what)
}

// works checks that the cloud does everything.
func (c *cloud) works(image, name string) {
	c.t.Helper()
	if code, _ := c.keypair(name); code != 201 {
		c.t.Errorf("a keypair: %d", code)
	}
	c.gone(c.server(image))
	c.must("DELETE", "/v2.1/os-keypairs/"+name, nil, 204)
}

// reads checks that everything can be read.
func (c *cloud) reads() {
	c.t.Helper()
	for _, path := range []string{"/v2.1/servers/detail", "/v2.1/flavors", "/v2.1/os-keypairs", "/image/v2/images", "/identity/v3/projects", "/networking/v2.0/networks", "/readyz"} {
		c.must("GET", path, nil, 200)
	}
}

// TestUploadsStopNobody: users upload until nothing more is taken. The uploads are refused, and
// nothing else is: the cloud reads, makes, deletes and starts again, and takes uploads when
// others are deleted.
func TestUploadsStopNobody(t *testing.T) {
	t.Parallel()
	c := start(t, "--image-quota", "unlimited")
	boot := c.image()
	if code := c.upload(boot, 4096, true); code != 204 {
		t.Fatalf("a first upload: %d", code)
	}
	before := roomtest.Free(t, c.disk)
	if code := c.upload(c.image(), 40<<20, true); code != 413 && code != 0 {
		t.Errorf("one of more than the disk has: %d", code)
	}
	if code := c.upload(c.image(), 40<<20, false); code != 413 && code != 0 {
		t.Errorf("one of more than the disk has, without a word of that: %d", code)
	}
	c.eventually("what was refused is gone", func() bool { return roomtest.Free(t, c.disk) > before/2 })
	var mu sync.Mutex
	var full []string
	var wg sync.WaitGroup
	for range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for {
				id := c.image()
				code := c.upload(id, 1<<20, false)
				if code != 204 {
					return
				}
				mu.Lock()
				full = append(full, id)
				mu.Unlock()
			}
		}()
	}
	wg.Wait()
	if len(full) < 4 {
		t.Fatalf("%d uploads fit", len(full))
	}
	if code := c.upload(c.image(), 1<<20, true); code != 413 && code != 0 {
		t.Errorf("an upload to the full disk: %d", code)
	}
	c.reads()
	c.works(boot, "beside")
	c.Kill()
	c.up()
	c.reads()
	c.works(boot, "killed")
	c.Stop()
	c.up()
	c.works(boot, "started")
	for _, id := range full {
		c.must("DELETE", "/image/v2/images/"+id, nil, 204)
	}
	if code := c.upload(c.image(), 1<<20, true); code != 204 {
		t.Errorf("an upload when others are deleted: %d", code)
	}
	c.works(boot, "after")
}

// TestAProjectStopsAtItsQuota: without a word from the operator one project alone does not
// get as far as the floor.
func TestAProjectStopsAtItsQuota(t *testing.T) {
	t.Parallel()
	c := start(t)
	for n := 0; ; n++ {
		if code := c.upload(c.image(), 1<<20, true); code == 204 {
			continue
		}
		if n != 6 {
			t.Errorf("%d MiB of 24 fit", n)
		}
		break
	}
	if free := roomtest.Free(t, c.disk); free < 8<<20 {
		t.Errorf("%d bytes are free", free)
	}
}

// TestADiskThatOthersFilled: with no byte left the cloud starts, reads and deletes, and says
// to whoever makes something that it has to wait. When there is room it does all again, by
// itself.
func TestADiskThatOthersFilled(t *testing.T) {
	t.Parallel()
	c := start(t)
	boot := c.image()
	if code := c.upload(boot, 1<<20, true); code != 204 {
		t.Fatalf("upload: %d", code)
	}
	var servers []string
	for range 4 {
		servers = append(servers, c.server(boot))
	}
	for i := range 4 {
		if code, _ := c.keypair(fmt.Sprint("k", i)); code != 201 {
			t.Fatalf("keypair: %d", code)
		}
	}
	release := roomtest.Fill(t, c.disk, 0)
	c.eventually("it says that there is no disk", func() bool {
		code, head := c.keypair("late")
		if code == 201 {
			c.must("DELETE", "/v2.1/os-keypairs/late", nil, 204)
			return false
		}
		if code != 503 || head.Get("Retry-After") == "" {
			t.Fatalf("a keypair: %d, %v", code, head)
		}
		return true
	})
	for method, calls := range map[string]map[string]any{
		"POST": {
			"/v2.1/servers": map[string]any{"server": map[string]any{"name": "s", "imageRef": boot, "flavorRef": "1", "networks": "none"}},
			"/v2.1/servers/" + servers[0] + "/action": map[string]any{"createImage": map[string]any{"name": "x"}},
			"/image/v2/images":                        map[string]any{"name": "x"},
			"/networking/v2.0/networks":               map[string]any{"network": map[string]any{"name": "x"}},
			"/identity/v3/projects":                   map[string]any{"project": map[string]any{"name": "x", "domain_id": "default"}},
		},
		"PUT": {"/v2.1/servers/" + servers[0]: map[string]any{"server": map[string]any{"name": "x"}}},
	} {
		for path, body := range calls {
			code, head, said := c.send(method, path, body)
			if code != 503 || head.Get("Retry-After") == "" {
				t.Errorf("%s %s: %d, %v, %.300s", method, path, code, head, said)
			}
		}
	}
	c.reads()
	c.gone(servers[0])
	c.must("DELETE", "/v2.1/os-keypairs/k0", nil, 204)
	for i, end := range []func(*program.Cloud){(*program.Cloud).Kill, (*program.Cloud).Stop, (*program.Cloud).Kill} {
		roomtest.Fill(t, c.disk, 0)
		end(c.Cloud)
		roomtest.Fill(t, c.disk, 0)
		c.up()
		c.reads()
		c.gone(servers[i+1])
		c.must("DELETE", fmt.Sprint("/v2.1/os-keypairs/k", i+1), nil, 204)
	}
	release()
	c.eventually("it makes things again", func() bool {
		code, _ := c.keypair("again")
		return code == 201
	})
	c.works(boot, "after")
	c.must("DELETE", "/image/v2/images/"+boot, nil, 204)
}
