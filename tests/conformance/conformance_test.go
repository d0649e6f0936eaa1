// Package conformance runs tempest-lite, as a user would, against the server with the
// simulator. What the server does not do yet stands in expected.txt, which may only get
// shorter: a line that nothing needs any more fails the test.
package conformance

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"kilonova/tests/program"
)

func TestKilonova(t *testing.T) {
	if testing.Short() {
		t.Skip("thousands of checks: left out with -short")
	}
	dir := t.TempDir()
	checker, err := program.Build(dir, "tempest-lite")
	if err != nil {
		t.Fatal(err)
	}
	cloud, err := program.StartCloud(dir, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Stop)
	cmd := exec.Command(checker, "run", "--cloud", "kilonova", "--policy", "new", "--disturb", "--expect", "expected.txt")
	cmd.Env = append(os.Environ(), "OS_CLIENT_CONFIG_FILE="+cloud.ClientConfig())
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err = cmd.Run()
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
