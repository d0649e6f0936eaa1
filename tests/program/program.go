package program

import (
	"bufio"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// Build makes the program of cmd/name and returns its path, in dir.
func Build(dir, name string) (string, error) {
	root, err := root()
	if err != nil {
		return "", err
	}
	err = depend(root)
	if err != nil {
		return "", fmt.Errorf("look at the sources: %w", err)
	}
	path := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-o", path, "./cmd/"+name)
	cmd.Dir = root
	said, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("build %s: %s: %w", name, said, err)
	}
	return path, nil
}

func root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("find the module: %w", err)
	}
	return filepath.Dir(strings.TrimSpace(string(out))), nil
}

// depend reads the module's folders. The go command repeats the result of a test while
// nothing that the test has opened changes; what a child of the test opens, as the
// compiler opens the sources, it does not see.
func depend(root string) error {
	return filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.IsDir() || path == root {
			return err
		}
		if strings.HasPrefix(d.Name(), ".") || d.Name() == "bin" {
			return fs.SkipDir
		}
		return nil
	})
}

// Cloud is a running server with the simulator and one SQLite database.
type Cloud struct {
	Base  string // the address of its API, without a slash at its end
	State string // its folder, with clouds.yaml and admin-password

	cmd *exec.Cmd
	log *os.File
}

// StartCloud builds the server and runs it in dir with so many simulated hosts, on a free
// port of the loopback, until it is stopped. It is killed if the test dies.
func StartCloud(dir string, hosts int) (*Cloud, error) {
	bin, err := Build(dir, "kilonova")
	if err != nil {
		return nil, err
	}
	return Start(bin, filepath.Join(dir, "state"), filepath.Join(dir, "log"), "--sim-hosts", strconv.Itoa(hosts))
}

// Start runs a server that was built with the state folder and the flags, as StartCloud does.
// What it says is appended to a file.
func Start(bin, state, logFile string, flags ...string) (*Cloud, error) {
	log, err := os.OpenFile(logFile, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the log: %w", err)
	}
	c := &Cloud{State: state, log: log}
	c.cmd = exec.Command(bin, append([]string{"up", "--driver", "sim", "--state-dir", state, "--listen", "127.0.0.1:0"}, flags...)...)
	c.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	c.cmd.Env = append(os.Environ(), "KILONOVA_CONFIG="+os.DevNull) // not the machine's
	c.cmd.Stderr = log
	out, err := c.cmd.StdoutPipe()
	if err == nil {
		err = c.cmd.Start()
	}
	if err != nil {
		log.Close()
		return nil, fmt.Errorf("start the cloud: %w", err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		if base, ok := strings.CutPrefix(lines.Text(), "kilonova: ready "); ok {
			go func() { _, _ = io.Copy(io.Discard, out) }()
			c.Base = strings.TrimSuffix(base, "/")
			return c, nil
		}
	}
	c.Stop()
	said, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("the cloud ended before it was ready: %s", said)
}

// ClientConfig is the path of the cloud's clouds.yaml.
func (c *Cloud) ClientConfig() string { return filepath.Join(c.State, "clouds.yaml") }

// Kill ends the cloud as a power cut would.
func (c *Cloud) Kill() {
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	c.log.Close()
}

// Stop asks the cloud to end and waits for it.
func (c *Cloud) Stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	_ = c.cmd.Wait()
	c.log.Close()
}
