package fault

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// answered is what clients have been told.
type answered struct {
	mu      sync.Mutex
	servers []string
	keys    map[string]bool // name → is there
	images  map[string][]byte
}

// work asks for things until the power goes, and remembers what was answered.
func (a *answered) work(s *session, image string, client int) {
	for i := 0; ; i++ {
		code, raw, err := s.call("POST", "/v2.1/servers", "2.37", fmt.Sprintf(`{"server":{"name":"n","imageRef":%q,"flavorRef":"42","networks":"auto"}}`, image))
		if err != nil {
			return
		}
		var doc struct{ Server struct{ ID string } }
		if code == http.StatusAccepted && json.Unmarshal(raw, &doc) == nil {
			a.mu.Lock()
			a.servers = append(a.servers, doc.Server.ID)
			a.mu.Unlock()
		}
		name := fmt.Sprintf("k%d-%d", client, i)
		if !a.change(s, name, true) || i%2 == 0 && !a.change(s, name, false) {
			return
		}
		if i%10 == 0 && !a.upload(s, name) {
			return
		}
	}
}

// change makes or deletes a keypair. Until the answer comes either may be.
func (a *answered) change(s *session, name string, there bool) bool {
	a.mu.Lock()
	delete(a.keys, name)
	a.mu.Unlock()
	code, err := 0, error(nil)
	if there {
		code, _, err = s.call("POST", "/v2.1/os-keypairs", "", fmt.Sprintf(`{"keypair":{"name":%q,"public_key":%q}}`, name, publicKey))
	} else {
		code, _, err = s.call("DELETE", "/v2.1/os-keypairs/"+name, "", nil)
	}
	if err != nil {
		return false
	}
	if code/100 == 2 {
		a.mu.Lock()
		a.keys[name] = there
		a.mu.Unlock()
	}
	return true
}

func (a *answered) upload(s *session, name string) bool {
	code, raw, err := s.call("POST", "/image/v2/images", "", fmt.Sprintf(`{"name":%q,"disk_format":"raw","container_format":"bare"}`, name))
	var img struct{ ID string }
	if err != nil || code != http.StatusCreated || json.Unmarshal(raw, &img) != nil {
		return err == nil
	}
	data := bytes.Repeat([]byte(name), 3000)
	code, _, err = s.call("PUT", "/image/v2/images/"+img.ID+"/file", "", data)
	if err == nil && code == http.StatusNoContent {
		a.mu.Lock()
		a.images[img.ID] = data
		a.mu.Unlock()
	}
	return err == nil
}

const publicKey = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIBq3UPmkxP9nYDQ7kFvQ2SPMUvOGkNxRxZPYPq0cDC1I k"

// holds asks for everything that was answered.
func (a *answered) holds(t *testing.T, s *session) {
	t.Helper()
	lost := 0
	check := func(what, path string, want int) {
		code, raw, err := s.call("GET", path, "", nil)
		if err != nil || code != want {
			if lost++; lost < 10 {
				t.Errorf("%s was answered; now it is %d %.200s (%v)", what, code, raw, err)
			}
		}
	}
	for _, id := range a.servers {
		check("server "+id, "/v2.1/servers/"+id, http.StatusOK)
	}
	for name, there := range a.keys {
		if there {
			check("keypair "+name, "/v2.1/os-keypairs/"+name, http.StatusOK)
		} else {
			check("the removal of keypair "+name, "/v2.1/os-keypairs/"+name, http.StatusNotFound)
		}
	}
	for id, data := range a.images {
		code, raw, err := s.call("GET", "/image/v2/images/"+id+"/file", "", nil)
		if err != nil || code != http.StatusOK || !bytes.Equal(raw, data) {
			lost++
			t.Errorf("image %s was answered; now its data is %d, %d bytes of %d (%v)", id, code, len(raw), len(data), err)
		}
	}
	t.Logf("%d servers, %d keypairs and %d images were answered before the cut, %d lost", len(a.servers), len(a.keys), len(a.images), lost)
	if len(a.servers) < 10 || len(a.keys) < 10 {
		t.Error("too little was answered for this to show anything")
	}
}

// cutPower lets eight clients work for a while, takes the power away under them, starts
// everything on what is left, and looks whether all that was answered is there.
func (sc *scenario) cutPower(t *testing.T, d *disk) {
	t.Helper()
	s := sc.begin(t)
	project := s.login(t)
	image := prepare(t, s, project)
	s.must(t, "PUT", "/v2.1/os-quota-sets/"+project, "", `{"quota_set":{"instances":-1,"cores":-1,"ram":-1,"key_pairs":-1}}`, http.StatusOK)
	a := &answered{keys: map[string]bool{}, images: map[string][]byte{}}
	var wg sync.WaitGroup
	for n := range clients {
		wg.Add(1)
		go func() { defer wg.Done(); a.work(s, image, n) }()
	}
	time.Sleep(3 * time.Second)
	d.cut()
	for _, p := range sc.parts {
		p.kill()
	}
	wg.Wait()
	d.again(t)
	for _, p := range sc.parts {
		p.start(t)
	}
	s.login(t)
	a.holds(t, s)
}

func TestPowerCutSQLite(t *testing.T) {
	d := newDisk(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, listen := filepath.Join(d.mount, "state"), freeAddress(t)
	log := filepath.Join(t.TempDir(), "log")
	sc := &scenario{base: "http://" + listen, state: dir}
	sc.parts = []*part{{name: "up", ready: "kilonova: ready", log: log, make: func() *exec.Cmd {
		return exec.Command(bin, "up", "--state-dir", dir, "--listen", listen, "--driver", "sim", "--sim-hosts", "3", "--log-level", "warn")
	}}}
	sc.cutPower(t, d)
	tail(t, log)
}

func TestPowerCutMariaDB(t *testing.T) {
	d := newDisk(t)
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	needsMariaDB(t)
	dir, listen := filepath.Join(d.mount, "state"), freeAddress(t)
	logs := t.TempDir()
	db, dsn := mariaDBIn(t, d.mount, logs)
	log := filepath.Join(logs, "log")
	up := &part{name: "up", ready: "kilonova: ready", log: log, make: func() *exec.Cmd {
		waitDB(t, bin, dsn)
		return exec.Command(bin, "up", "--db", dsn, "--state-dir", dir, "--listen", listen, "--driver", "sim", "--sim-hosts", "3", "--log-level", "warn")
	}}
	sc := &scenario{base: "http://" + listen, state: dir, parts: []*part{db, up}}
	sc.cutPower(t, d)
	tail(t, log)
}

// tail shows the end of the log of a test that failed.
func tail(t *testing.T, path string) {
	if !t.Failed() {
		return
	}
	raw, _ := os.ReadFile(path)
	lines := strings.Split(string(raw), "\n")
	t.Log(strings.Join(lines[max(0, len(lines)-20):], "\n"))
}
