package fault

import (
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// codes counts answers; 0 is none at all.
type codes struct {
	mu sync.Mutex
	by map[int]int
}

func (c *codes) add(code int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.by[code]++
}

// TestDatabaseComesAndGoes kills the database under load, twice. Meanwhile every answer is a
// proper one or 503, and afterwards all works again without anybody's help.
func TestDatabaseComesAndGoes(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	needsMariaDB(t)
	dir, listen := t.TempDir(), freeAddress(t)
	db, dsn := mariaDB(t, dir)
	db.start(t)
	waitDB(t, bin, dsn)
	up := &part{name: "up", ready: "kilonova: ready", log: filepath.Join(dir, "log"), make: func() *exec.Cmd {
		return exec.Command(bin, "up", "--db", dsn, "--state-dir", filepath.Join(dir, "s"), "--listen", listen, "--driver", "sim", "--sim-hosts", "2", "--log-level", "warn")
	}}
	sc := &scenario{base: "http://" + listen, state: filepath.Join(dir, "s"), dsn: dsn, parts: []*part{db, up}}
	s := sc.begin(t)
	image := prepare(t, s, s.login(t))
	seen := &codes{by: map[int]int{}}
	stop := make(chan struct{})
	var known sync.Map
	var wg sync.WaitGroup
	for n := range 4 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ; i++ {
				select {
				case <-stop:
					return
				default:
				}
				code := s.something(image, fmt.Sprintf("c%d-%d", n, i), &known)
				if i%3 == 0 {
					code, _, _ = s.call("GET", "/v2.1/servers/detail", "", nil)
				}
				seen.add(code)
				if code == http.StatusServiceUnavailable || code == 0 {
					time.Sleep(20 * time.Millisecond)
				}
			}
		}()
	}
	for range 2 {
		time.Sleep(time.Second)
		db.kill()
		time.Sleep(2 * time.Second)
		db.start(t)
		waitDB(t, bin, dsn)
	}
	time.Sleep(time.Second)
	close(stop)
	wg.Wait()
	for code, n := range seen.by {
		if code/100 != 2 && code/100 != 4 && code != http.StatusServiceUnavailable {
			t.Errorf("%d answers of %d", n, code)
		}
	}
	if seen.by[http.StatusServiceUnavailable] == 0 || seen.by[http.StatusAccepted] == 0 {
		t.Error("the database was not away under load")
	}
	t.Logf("answers: %v", seen.by)
	sc.settled(t, s)
	sc.addsUp(t, bin)
	tail(t, up.log)
}

// TestSilentClients holds 500 connections that say nothing, half of a request, or the
// beginning of a body, while others go on with their work.
func TestSilentClients(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, listen := t.TempDir(), freeAddress(t)
	up := &part{name: "up", ready: "kilonova: ready", log: filepath.Join(dir, "log"), make: func() *exec.Cmd {
		return exec.Command(bin, "up", "--state-dir", filepath.Join(dir, "s"), "--listen", listen, "--driver", "sim", "--log-level", "warn")
	}}
	sc := &scenario{base: "http://" + listen, state: filepath.Join(dir, "s"), dsn: filepath.Join(dir, "s", "kilonova.db"), parts: []*part{up}}
	s := sc.begin(t)
	image := prepare(t, s, s.login(t))
	says := []string{"", "GET /v2.1/ser", "POST /v2.1/servers HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{",
		"POST /identity/v3/auth/tokens HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"}
	var held []net.Conn
	for i := range 500 {
		c, err := net.Dial("tcp", listen)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
		_, _ = c.Write([]byte(says[i%len(says)])) // it may have been hung up on already
		held = append(held, c)
	}
	work := func(when string) {
		t.Helper()
		s.http.CloseIdleConnections()
		for _, path := range []string{"/healthz", "/readyz", "/v2.1/flavors"} {
			code, raw, err := s.call("GET", path, "", nil)
			if err != nil || code != http.StatusOK {
				t.Errorf("%s, GET %s = %d %.200s (%v)", when, path, code, raw, err)
			}
		}
		code, raw, err := s.call("POST", "/v2.1/servers", "2.37", fmt.Sprintf(`{"server":{"name":"n","imageRef":%q,"flavorRef":"42","networks":"auto"}}`, image))
		if err != nil || code != http.StatusAccepted {
			t.Errorf("%s, a create = %d %.200s (%v)", when, code, raw, err)
		}
	}
	for range 10 {
		work("beside 500 silent clients")
	}
	for _, c := range held {
		c.Close()
	}
	work("afterwards")
	sc.settled(t, s)
	sc.addsUp(t, bin)
	if t.Failed() {
		tail(t, up.log)
	}
}
