package machines

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"kilonova/hosts"
	"kilonova/schema"
	"kilonova/tests/program"
	"kilonova/work"
)

// insideVar is set in the process that plays the API's machine.
const insideVar = "KILONOVA_TEST_MACHINE"

func TestMain(m *testing.M) {
	if os.Getenv(insideVar) != "" || os.Getuid() != 0 {
		os.Exit(m.Run())
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	cmd := exec.Command(self, os.Args[1:]...)
	cmd.Env = append(os.Environ(), insideVar+"=1")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err = cmd.Run()
	if err == nil {
		os.Exit(0)
	}
	if cmd.ProcessState != nil {
		os.Exit(cmd.ProcessState.ExitCode())
	}
	fmt.Fprintln(os.Stderr, "no network namespace can be made:", err)
	os.Exit(m.Run()) // the tests say why they are skipped
}

// The addresses of the two machines.
const (
	apiAddress  = "10.99.0.1"
	hostAddress = "10.99.0.2"
)

func run(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// secondMachine is a network namespace that a cable joins to this one; it gives the words
// that run a command in there.
func secondMachine(t *testing.T) []string {
	t.Helper()
	holder := exec.Command("sleep", "infinity")
	holder.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET, Pdeathsig: syscall.SIGKILL}
	err := holder.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = holder.Process.Kill(); _ = holder.Wait() })
	pid := strconv.Itoa(holder.Process.Pid)
	there := []string{"nsenter", "--net=/proc/" + pid + "/ns/net"}
	run(t, "ip", "link", "set", "lo", "up")
	run(t, "ip", "link", "add", "cable0", "type", "veth", "peer", "name", "cable1", "netns", pid)
	run(t, "ip", "addr", "add", apiAddress+"/24", "dev", "cable0")
	run(t, "ip", "link", "set", "cable0", "up")
	run(t, append(there, "ip", "link", "set", "lo", "up")...)
	run(t, append(there, "ip", "addr", "add", hostAddress+"/24", "dev", "cable1")...)
	run(t, append(there, "ip", "link", "set", "cable1", "up")...)
	return there
}

// start runs a program until the test's end and gives what follows want in the line that
// says that it is ready.
func start(t *testing.T, want string, args ...string) string {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	cmd.Stderr = &said
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%v said:\n%s", args, said.String())
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if rest, ok := strings.CutPrefix(lines.Text(), want); ok {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return strings.TrimSpace(rest)
		}
	}
	t.Fatalf("%v ended before it was ready", args)
	return ""
}

// client speaks to the API.
type client struct {
	t           *testing.T
	base, token string
}

func (c *client) do(code int, method, path, contentType, body string) (http.Header, map[string]any) {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), method, c.base+path, strings.NewReader(body))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", contentType)
	req.Header.Set("X-Auth-Token", c.token)
	req.Header.Set("OpenStack-API-Version", "compute 2.45") // createImage names the image, and networks may be none
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != code {
		c.t.Fatalf("%s %s: %d, want %d: %s (%v)", method, path, resp.StatusCode, code, raw, err)
	}
	var doc map[string]any
	_ = json.Unmarshal(raw, &doc) // some answers are empty
	return resp.Header, doc
}

func (c *client) json(code int, method, path, body string) map[string]any {
	c.t.Helper()
	_, doc := c.do(code, method, path, "application/json", body)
	return doc
}

func (c *client) login(password string) {
	c.t.Helper()
	head, _ := c.do(http.StatusCreated, "POST", "/identity/v3/auth/tokens", "application/json", fmt.Sprintf(
		`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":%q}}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`, password))
	c.token = head.Get("X-Subject-Token")
}

// until asks again and again until the value is wanted.
func (c *client) until(path, within, key, want string) {
	c.t.Helper()
	var got map[string]any
	for end := time.Now().Add(20 * time.Second); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		got = c.json(http.StatusOK, "GET", path, "")
		if within != "" {
			got, _ = got[within].(map[string]any)
		}
		if got[key] == want {
			return
		}
	}
	c.t.Fatalf("%s: %s is %v, want %s: %v", path, key, got[key], want, got)
}

// A host on another machine fetches an image and stores a snapshot, from an API that
// listens on all addresses and was told of none.
func TestHostOnAnotherMachine(t *testing.T) {
	if os.Getenv(insideVar) == "" {
		t.Skip("network namespaces need root")
	}
	dir := t.TempDir()
	bin, err := program.Build(dir, "kilonova")
	if err != nil {
		t.Fatal(err)
	}
	there := secondMachine(t)
	state, dsn := filepath.Join(dir, "state"), filepath.Join(dir, "cloud.db")
	base := start(t, "kilonova: ready ", bin, "api", "--db", dsn, "--listen", "0.0.0.0:0", "--state-dir", state)
	if !strings.HasPrefix(base, "http://"+apiAddress+":") {
		t.Errorf("the API calls itself %s, which is not where others reach it", base)
	}
	addHost(t, dsn, "far")
	start(t, "kilonova: computed ready ", append(there, bin, "computed", "--driver", "sim", "--sim-fetch", "--db", dsn,
		"--host", "far", "--state-dir", filepath.Join(dir, "far"))...)

	password, err := os.ReadFile(filepath.Join(state, "admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	c := &client{t: t, base: base}
	c.login(strings.TrimSpace(string(password)))
	image := c.json(http.StatusCreated, "POST", "/image/v2/images", `{"name":"i","disk_format":"raw","container_format":"bare"}`)["id"].(string)
	c.do(http.StatusNoContent, "PUT", "/image/v2/images/"+image+"/file", "application/octet-stream", strings.Repeat("\x00", 1<<20))
	flavors := c.json(http.StatusOK, "GET", "/v2.1/flavors?limit=1", "")["flavors"].([]any)
	server := c.json(http.StatusAccepted, "POST", "/v2.1/servers", fmt.Sprintf(
		`{"server":{"name":"s","imageRef":%q,"flavorRef":%q,"networks":"none"}}`, image, flavors[0].(map[string]any)["id"]))["server"].(map[string]any)["id"].(string)
	c.until("/v2.1/servers/"+server, "server", "status", "ACTIVE")
	fetched, err := filepath.Glob(filepath.Join(dir, "far", "sim", "far-images", "*.raw"))
	if err != nil || len(fetched) != 1 {
		t.Errorf("the host has fetched %v (%v)", fetched, err)
	}
	snapshot := c.json(http.StatusAccepted, "POST", "/v2.1/servers/"+server+"/action", `{"createImage":{"name":"snap"}}`)["image_id"].(string)
	c.until("/image/v2/images/"+snapshot, "", "status", "active")
}

func addHost(t *testing.T, dsn, name string) {
	t.Helper()
	db, err := schema.Open(context.Background(), dsn)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = hosts.New(db, nil).Add(t.Context(), name, work.HostInfo{Hostname: name})
	if err != nil {
		t.Fatal(err)
	}
}
