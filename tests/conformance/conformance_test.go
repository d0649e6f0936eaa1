// Package conformance runs tempest-lite, as a user would, against the server with the
// simulator. What the server does not do yet stands in expected.txt, which may only get
// shorter: a line that nothing needs any more fails the test.
package conformance

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestKilonova(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of checks: left out with -short")
	}
	dir := t.TempDir()
	build(t, dir, "kilonova", "tempest-lite")
	clouds := start(t, dir)
	cmd := exec.Command(filepath.Join(dir, "tempest-lite"), "run", "--cloud", "kilonova", "--policy", "new", "--disturb", "--expect", "expected.txt")
	cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+clouds)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Errorf("tempest-lite ends with %d:\n%s", exit.ExitCode(), said.Bytes())
	case err != nil:
		t.Fatal(err)
	default:
		t.Logf("%s", tail(said.String(), 80))
	}
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

func build(t *testing.T, dir string, programs ...string) {
	t.Helper()
	for _, p := range programs {
		said, err := exec.Command("go", "build", "-o", filepath.Join(dir, p), "../../cmd/"+p).CombinedOutput()
		if err != nil {
			t.Fatalf("building %s: %s: %v", p, said, err)
		}
	}
}

// start runs a cloud until the test has ended, and names its clouds.yaml.
func start(t *testing.T, dir string) string {
	t.Helper()
	state := filepath.Join(dir, "state")
	cmd := exec.Command(filepath.Join(dir, "kilonova"), "up", "--driver", "sim", "--sim-hosts", "3", "--state-dir", state, "--listen", "127.0.0.1:0")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = log
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	err = cmd.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		log.Close()
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if strings.HasPrefix(lines.Text(), "kilonova: ready ") {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			return filepath.Join(state, "clouds.yaml")
		}
	}
	said, _ := os.ReadFile(log.Name())
	t.Fatalf("the cloud did not start: %s", said)
	return ""
}
