package main

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"kilonova/computed"
	"kilonova/front"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/tests/program"
	"kilonova/work"
)

// stuckAfter is how long one may wait for the only connection before somebody must be
// holding it for good. Work on a busy machine takes a fraction of that.
const stuckAfter = 30 * time.Second

// TestOneConnection: no transaction asks for a second connection of the database, whatever
// the cloud is asked to do. With a pool of one it would wait for itself, and all behind it.
func TestOneConnection(t *testing.T) {
	checker, err := program.Build(t.TempDir(), "tempest-lite")
	if err != nil {
		t.Fatal(err)
	}
	usual := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler)) // it would tell of each operation that is refused
	t.Cleanup(func() { slog.SetDefault(usual) })
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		db.Narrow()
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		t.Cleanup(func() { stop(); running.Wait() })
		dir := t.TempDir()
		serveAll(ctx, t, &running, db, dir)
		// What is refused before it is done opens no transaction: the rest is enough.
		args := []string{"run", "--cloud", "kilonova", "--policy", "new", "--disturb", "--timeout", "1m", "--only", "success|behaviour",
			"--expect", filepath.Join("..", "..", "tests", "conformance", "expected.txt")}
		walk, stopWalk := context.WithCancel(ctx)
		defer stopWalk()
		go watchTheOne(walk, t, db, stopWalk)
		cmd := exec.CommandContext(walk, checker, args...)
		cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+filepath.Join(dir, "clouds.yaml"))
		said, err := cmd.CombinedOutput()
		var exit *exec.ExitError
		if err != nil && !errors.As(err, &exit) {
			t.Fatal(err)
		}
		if err != nil {
			t.Errorf("tempest-lite: %v\n%s", err, said)
		}
		lines := strings.Split(strings.TrimSpace(string(said)), "\n")
		t.Log(lines[len(lines)-1])
	})
}

// serveAll runs a whole cloud with simulated hosts in this process, as `up` does.
func serveAll(ctx context.Context, t *testing.T, running *sync.WaitGroup, db *schema.DB, dir string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	base, bells := "http://"+l.Addr().String(), work.NewBells()
	c, err := newCloud(ctx, db, cloudConfig{StateDir: dir, InternalURL: base, Bell: bells, Bells: bells})
	if err != nil {
		t.Fatal(err)
	}
	hv := &hypervisor{hostConfig: hostConfig{SimHosts: 3, Driver: driverSim, SimFetch: true}}
	agents, err := localAgents(ctx, hv, dir, db, c.hosts, bells)
	if err == nil {
		err = writeCredentials(dir, base, c.password, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	start := func(f func()) {
		running.Add(1)
		go func() {
			defer running.Done()
			f()
		}()
	}
	start(func() { c.run(ctx) })
	start(func() { _ = front.Serve(ctx, l, http.Handler(c.handler), front.Config{}) }) // it ends with the test
	for _, a := range agents {
		start(func() { runAgent(ctx, t, a) })
		<-a.Ready()
	}
	c.hosts.Forget()
}

func runAgent(ctx context.Context, t *testing.T, a *computed.Agent) {
	err := a.Run(ctx)
	if err != nil && ctx.Err() == nil {
		t.Errorf("computed: %v", err)
	}
}

// watchTheOne asks for the connection now and then; when it comes to nobody, it tells who
// waits for it inside a transaction, and ends the walk.
func watchTheOne(ctx context.Context, t *testing.T, db *schema.DB, stop func()) {
	for ctx.Err() == nil {
		asked, cancel := context.WithTimeout(ctx, stuckAfter)
		err := db.PingContext(asked)
		cancel()
		if err != nil && ctx.Err() == nil {
			t.Errorf("nobody gets the connection any more (%v):\n%s", err, culprits())
			stop()
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// culprits gives the stacks of those who wait for a connection while they have one.
func culprits() string {
	buf := make([]byte, 16<<20)
	var out []string
	for _, stack := range bytes.Split(buf[:runtime.Stack(buf, true)], []byte("\n\n")) {
		s := string(stack)
		waits := strings.Contains(s, "database/sql.(*DB).conn(")
		inside := strings.Contains(s, "schema.(*DB).tryTx(") && !strings.Contains(s, "BeginTxx") || strings.Count(s, "schema.(*DB).tryTx(") > 1
		if waits && inside {
			out = append(out, s)
		}
	}
	if len(out) == 0 {
		return "whoever holds it waits for something else"
	}
	return strings.Join(out[:min(len(out), 3)], "\n\n")
}
