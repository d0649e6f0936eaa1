// Package fault kills parts of a running cloud again and again while clients are at work,
// and then asks that every request that was accepted has come to an end, that no server is
// on two hosts, and that everything on record adds up.
package fault

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"kilonova/tests/program"
)

const (
	clients = 8
	// settleTime is how long a cloud may take to come to rest when nothing is killed any
	// more. It is shorter than any deadline of work: what was interrupted goes on.
	settleTime = 90 * time.Second
)

// seconds is how long things are killed: short in make test, a minute in make fault.
func seconds(t *testing.T) time.Duration {
	text := os.Getenv("KILONOVA_FAULT_SECONDS")
	if text == "" {
		return 10 * time.Second
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("KILONOVA_FAULT_SECONDS: %v", err)
	}
	return time.Duration(n) * time.Second
}

// binary builds the program once, in a folder that goes with the tests.
var (
	binary = sync.OnceValues(func() (string, error) {
		var err error
		binaryDir, err = os.MkdirTemp("", "kilonova-fault-")
		if err != nil {
			return "", err
		}
		return program.Build(binaryDir, "kilonova")
	})
	binaryDir string // "" until it was built
)

func TestMain(m *testing.M) {
	code := m.Run()
	if binaryDir != "" {
		_ = os.RemoveAll(binaryDir) // nothing runs from it any more
	}
	os.Exit(code)
}

// part is a process of the cloud that may be killed and started again.
type part struct {
	name  string
	make  func() *exec.Cmd
	ready string // a line with this beginning says that it is ready; "" for none
	log   string

	mu   sync.Mutex
	cmd  *exec.Cmd
	done chan struct{}
}

func (p *part) start(t *testing.T) {
	t.Helper()
	p.mu.Lock()
	defer p.mu.Unlock()
	cmd := p.make()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.OpenFile(p.log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	if err != nil {
		t.Fatal(err)
	}
	p.cmd, p.done = cmd, make(chan struct{})
	sc := bufio.NewScanner(out)
	for p.ready != "" && sc.Scan() {
		if strings.HasPrefix(sc.Text(), p.ready) {
			break
		}
	}
	go func(done chan struct{}) {
		_, _ = io.Copy(io.Discard, out)
		_ = cmd.Wait() // it is meant to be killed
		close(done)
	}(p.done)
}

func (p *part) kill() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd != nil {
		_ = p.cmd.Process.Kill() // it may be gone already
		<-p.done
	}
}

// session is a client's view of the cloud.
type session struct {
	base, password string
	http           http.Client
	mu             sync.Mutex
	token          string
}

func (s *session) call(method, path, version string, body any) (int, []byte, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	case string:
		in = strings.NewReader(b)
	}
	req, err := http.NewRequest(method, s.base+path, in)
	if err != nil {
		return 0, nil, err
	}
	s.mu.Lock()
	req.Header.Set("X-Auth-Token", s.token)
	s.mu.Unlock()
	req.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(path, "/file") {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if version != "" {
		req.Header.Set("OpenStack-API-Version", "compute "+version)
	}
	resp, err := s.http.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if resp.Header.Get("X-Subject-Token") != "" {
		s.mu.Lock()
		s.token = resp.Header.Get("X-Subject-Token")
		s.mu.Unlock()
	}
	return resp.StatusCode, raw, err
}

// must calls until the answer has the wanted code.
func (s *session) must(t *testing.T, method, path, version string, body any, want int) []byte {
	t.Helper()
	var code int
	var raw []byte
	var err error
	for range 100 {
		code, raw, err = s.call(method, path, version, body)
		if err == nil && code == want {
			return raw
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("%s %s = %d %.500s (%v); want %d", method, path, code, raw, err, want)
	return nil
}

func (s *session) login(t *testing.T) (project string) {
	t.Helper()
	raw := s.must(t, "POST", "/identity/v3/auth/tokens", "", fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":
		{"name":"admin","domain":{"id":"default"},"password":%q}}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`, s.password), 201)
	var doc struct {
		Token struct{ Project struct{ ID string } }
	}
	err := json.Unmarshal(raw, &doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc.Token.Project.ID
}

// scenario is a cloud under test.
type scenario struct {
	parts []*part
	base  string
	state string   // of the API
	sims  []string // folders of the simulated hosts
	dsn   string
}

func TestKillSQLite(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, listen := t.TempDir(), freeAddress(t)
	sc := &scenario{base: "http://" + listen, state: dir, sims: []string{filepath.Join(dir, "sim")}, dsn: filepath.Join(dir, "kilonova.db")}
	sc.parts = []*part{{name: "up", ready: "kilonova: ready", log: filepath.Join(dir, "log"), make: func() *exec.Cmd {
		return exec.Command(bin, "up", "--state-dir", dir, "--listen", listen, "--driver", "sim", "--sim-hosts", "3", "--sim-latency", "5ms", "--log-level", "warn")
	}}}
	sc.run(t, bin)
}

func TestKillMariaDB(t *testing.T) {
	bin, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	needsMariaDB(t)
	dir, listen := t.TempDir(), freeAddress(t)
	db, dsn := mariaDB(t, dir)
	api := &part{name: "api", ready: "kilonova: ready", log: filepath.Join(dir, "api.log"), make: func() *exec.Cmd {
		return onDatabase(dsn, bin, "api", "--state-dir", filepath.Join(dir, "api"), "--listen", listen, "--log-level", "warn")
	}}
	db.start(t)
	waitDB(t, bin, dsn)
	sc := &scenario{parts: []*part{db, api}, base: "http://" + listen, state: filepath.Join(dir, "api"), dsn: dsn}
	for _, host := range []string{"one", "two"} {
		own := addHost(t, bin, dsn, host)
		state := filepath.Join(dir, host)
		sc.sims = append(sc.sims, filepath.Join(state, "sim"))
		sc.parts = append(sc.parts, &part{name: host, ready: "kilonova: computed ready", log: filepath.Join(dir, host+".log"), make: func() *exec.Cmd {
			return onDatabase(own, bin, "computed", "--state-dir", state, "--host", host, "--driver", "sim", "--sim-latency", "5ms", "--log-level", "warn")
		}})
	}
	sc.run(t, bin)
}

func needsMariaDB(t *testing.T) {
	t.Helper()
	for _, need := range []string{"mariadbd", "mariadb-install-db"} {
		_, err := exec.LookPath(need)
		if err != nil {
			t.Skipf("no MariaDB to kill: %s is not installed (make test installs it)", need)
		}
	}
}

// mariaDB prepares a database server of the test's own, which it may kill.
func mariaDB(t *testing.T, dir string) (*part, string) {
	t.Helper()
	return mariaDBIn(t, "/var/tmp", dir)
}

// mariaDBIn is mariaDB with its data in a new folder in the folder in, and its log in dir.
func mariaDBIn(t *testing.T, in, dir string) (*part, string) {
	t.Helper()
	data, err := os.MkdirTemp(in, "kilonova-fault-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(data) })
	var account []string
	if os.Geteuid() == 0 {
		// The server does not run as root; any other account will do.
		name := "mysql"
		_, err := user.Lookup(name)
		if err != nil {
			name = "nobody"
		}
		account = []string{"--user=" + name}
		said, err := exec.Command("chown", name, data).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v", said, err)
		}
	}
	said, err := exec.Command("mariadb-install-db", append([]string{"--no-defaults", "--datadir=" + data + "/d", "--auth-root-authentication-method=normal", "--skip-test-db"}, account...)...).CombinedOutput()
	if err != nil {
		t.Fatalf("set MariaDB up: %s: %v", said, err)
	}
	_, port, err := net.SplitHostPort(freeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	args := append([]string{"--no-defaults", "--datadir=" + data + "/d", "--socket=" + data + "/s", "--pid-file=" + data + "/p", "--bind-address=127.0.0.1",
		"--port=" + port, "--skip-name-resolve", "--innodb-flush-log-at-trx-commit=1", "--innodb-buffer-pool-size=128M", "--max-connections=300",
		"--max-session-mem-used=128M", "--maximum-max-session-mem-used=128M"}, account...)
	p := &part{name: "mariadb", log: filepath.Join(dir, "mariadb.log"), make: func() *exec.Cmd { return exec.Command("mariadbd", args...) }}
	return p, "root@tcp(127.0.0.1:" + port + ")/kilonova"
}

func waitDB(t *testing.T, bin, dsn string) {
	t.Helper()
	var said []byte
	var err error
	for range 200 {
		port := dsn[strings.LastIndex(dsn, ":")+1 : strings.LastIndex(dsn, ")")]
		_, err = exec.Command("mariadb", "--no-defaults", "--protocol=tcp", "-h", "127.0.0.1", "-P", port, "-u", "root", "-e",
			"CREATE DATABASE IF NOT EXISTS kilonova CHARACTER SET utf8mb4 COLLATE utf8mb4_bin").CombinedOutput()
		if err == nil {
			said, err = onDatabase(dsn, bin, "db", "migrate").CombinedOutput()
			if err == nil {
				return
			}
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("the database does not come up: %s (%v)", said, err)
}

// onDatabase is a command of the program whose database is at this address.
func onDatabase(dsn, bin string, args ...string) *exec.Cmd {
	cmd := exec.Command(bin, args...)
	cmd.Env = append(os.Environ(), "KILONOVA_DB="+dsn)
	return cmd
}

// addHost makes a host's own database account and gives its address.
func addHost(t *testing.T, bin, dsn, host string) string {
	t.Helper()
	said, err := onDatabase(dsn, bin, "host", "add", host).Output()
	if err != nil {
		t.Fatalf("host add: %s: %v", said, err)
	}
	_, rest, ok := strings.Cut(string(said), "KILONOVA_DB='")
	own, _, ok2 := strings.Cut(rest, "'")
	if !ok || !ok2 {
		t.Fatalf("host add said %s", said)
	}
	return own
}

func freeAddress(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// begin starts what does not run yet and gives an administrator's session.
func (sc *scenario) begin(t *testing.T) *session {
	t.Helper()
	for _, p := range sc.parts {
		if p.cmd == nil {
			p.start(t)
		}
	}
	t.Cleanup(func() {
		for _, p := range sc.parts {
			p.kill()
		}
	})
	pw, err := os.ReadFile(filepath.Join(sc.state, "admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	return &session{base: sc.base, password: strings.TrimSpace(string(pw)), http: http.Client{Timeout: 20 * time.Second}}
}

// run is the test: start, work and kill, rest, look.
func (sc *scenario) run(t *testing.T, bin string) {
	s := sc.begin(t)
	project := s.login(t)
	image := prepare(t, s, project)

	ctx, stop := context.WithTimeout(context.Background(), seconds(t))
	defer stop()
	var known sync.Map // server id → true
	var accepted, refused, broken, kills atomic.Int64
	var wg sync.WaitGroup
	for n := range clients {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := 0; ctx.Err() == nil; i++ {
				switch code := s.something(image, fmt.Sprintf("c%d-%d", n, i), &known); {
				case code == 202 || code == 204:
					accepted.Add(1)
				case code >= 400 && code < 500:
					refused.Add(1)
				default:
					broken.Add(1)
					time.Sleep(20 * time.Millisecond)
				}
			}
		}()
	}
	for ctx.Err() == nil {
		time.Sleep(time.Duration(300+rand.IntN(1500)) * time.Millisecond)
		p := sc.parts[rand.IntN(len(sc.parts))]
		p.kill()
		kills.Add(1)
		time.Sleep(time.Duration(rand.IntN(300)) * time.Millisecond)
		p.start(t)
	}
	wg.Wait()
	rest := time.Now()
	sc.settled(t, s)
	t.Logf("%d kills; %d requests accepted, %d refused, %d without an answer or with a 5xx; at rest after %.1f s",
		kills.Load(), accepted.Load(), refused.Load(), broken.Load(), time.Since(rest).Seconds())
	sc.addsUp(t, bin)
	sc.onOneHost(t)
}

// start starts what does not run yet, until the end of the test.
func (sc *scenario) start(t *testing.T) {
	t.Helper()
	t.Cleanup(func() {
		for _, p := range sc.parts {
			p.kill()
		}
	})
	for _, p := range sc.parts {
		if p.cmd == nil {
			p.start(t)
		}
	}
}

// session is that of an administrator, who has still to log in.
func (sc *scenario) session(t *testing.T) *session {
	t.Helper()
	pw, err := os.ReadFile(filepath.Join(sc.state, "admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	return &session{base: sc.base, password: strings.TrimSpace(string(pw)), http: http.Client{Timeout: 20 * time.Second}}
}

// prepare makes what servers need.
func prepare(t *testing.T, s *session, project string) string {
	t.Helper()
	var img struct{ ID string }
	err := json.Unmarshal(s.must(t, "POST", "/image/v2/images", "", `{"name":"fault","disk_format":"raw","container_format":"bare"}`, 201), &img)
	if err != nil {
		t.Fatal(err)
	}
	s.must(t, "PUT", "/image/v2/images/"+img.ID+"/file", "", make([]byte, 4096), 204)
	s.must(t, "PUT", "/v2.1/os-quota-sets/"+project, "", `{"quota_set":{"instances":40,"cores":80,"ram":80000}}`, 200)
	return img.ID
}

// something does one thing that a client might do, and gives the answer's code; 0 is none.
func (s *session) something(image, name string, known *sync.Map) int {
	var ids []string
	known.Range(func(k, _ any) bool { ids = append(ids, k.(string)); return len(ids) < 200 })
	do := rand.IntN(10)
	if len(ids) < 5 || do < 3 {
		code, raw, err := s.call("POST", "/v2.1/servers", "2.37", fmt.Sprintf(`{"server":{"name":%q,"imageRef":%q,"flavorRef":"42","networks":"auto"}}`, name, image))
		var doc struct{ Server struct{ ID string } }
		if err == nil && code == 202 && json.Unmarshal(raw, &doc) == nil {
			known.Store(doc.Server.ID, true)
		}
		return code
	}
	id := ids[rand.IntN(len(ids))]
	if do < 6 {
		code, _, _ := s.call("DELETE", "/v2.1/servers/"+id, "", nil)
		if code == 404 {
			known.Delete(id)
		}
		return code
	}
	bodies := []string{`{"os-stop":null}`, `{"os-start":null}`, `{"reboot":{"type":"HARD"}}`, `{"pause":null}`, `{"unpause":null}`,
		`{"resize":{"flavorRef":"1"}}`, `{"revertResize":null}`, `{"confirmResize":null}`, `{"rebuild":{"imageRef":"` + image + `"}}`, `{"os-resetState":{"state":"active"}}`}
	code, _, _ := s.call("POST", "/v2.1/servers/"+id+"/action", "", bodies[rand.IntN(len(bodies))])
	return code
}

// settled waits until nothing is under way any more.
func (sc *scenario) settled(t *testing.T, s *session) {
	t.Helper()
	s.login(t)
	deadline := time.Now().Add(settleTime)
	for {
		raw := s.must(t, "GET", "/v2.1/servers/detail?limit=1000", "", nil, 200)
		var doc struct {
			Servers []struct {
				ID     string  `json:"id"`
				Status string  `json:"status"`
				Task   *string `json:"OS-EXT-STS:task_state"`
			}
		}
		err := json.Unmarshal(raw, &doc)
		if err != nil {
			t.Fatal(err)
		}
		open := ""
		for _, v := range doc.Servers {
			if v.Task != nil || v.Status == "BUILD" {
				open = fmt.Sprintf("%s is %s, task %v", v.ID, v.Status, v.Task)
				if v.Task != nil {
					open += " " + *v.Task
				}
			}
		}
		if open == "" {
			return
		}
		if time.Now().After(deadline) {
			t.Errorf("still under way: %s", open)
			return
		}
		time.Sleep(200 * time.Millisecond)
	}
}

// addsUp compares all records with what the servers add up to.
func (sc *scenario) addsUp(t *testing.T, bin string) {
	t.Helper()
	said, err := onDatabase(sc.dsn, bin, "db", "check").CombinedOutput()
	if err != nil {
		t.Errorf("db check: %v\n%s", err, said)
		return
	}
	t.Logf("db check: %s", strings.TrimSpace(string(said)))
}

// onOneHost reads what the simulated hypervisors hold: no guest twice.
func (sc *scenario) onOneHost(t *testing.T) {
	t.Helper()
	where := map[string][]string{}
	for _, dir := range sc.sims {
		files, err := filepath.Glob(filepath.Join(dir, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			raw, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			var world map[string]struct {
				Guests map[string]json.RawMessage `json:"guests"`
			}
			err = json.Unmarshal(raw, &world)
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			for host, h := range world {
				for id := range h.Guests {
					where[id] = append(where[id], host)
				}
			}
		}
	}
	for id, hosts := range where {
		if len(hosts) > 1 {
			t.Errorf("server %s is on hosts %v", id, hosts)
		}
	}
	t.Logf("%d guests on the hosts", len(where))
}
