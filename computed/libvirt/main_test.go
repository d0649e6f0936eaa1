package libvirt

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The tests that need a libvirtd get one of their own, in network, mount, process and
// host name namespaces of their own: the test binary runs itself again in there. Nothing
// of the machine's own libvirt and network is touched, and all daemons and guests end with
// the first process of the process namespace.

const (
	insideVar = "KILONOVA_TEST_LIBVIRT_INSIDE"
	imageVar  = "KILONOVA_TEST_IMAGE" // the test guest's image, built if it is not set
)

// whyNot says why the driver cannot be tested here, if so.
var whyNot string

// daemon is the libvirtd under test.
var daemon struct {
	dir string
	cmd *exec.Cmd
}

func TestMain(m *testing.M) {
	if os.Getenv(insideVar) != "" {
		daemon.dir = os.Getenv(insideVar)
		err := startDaemons()
		if err != nil {
			fmt.Fprintln(os.Stderr, "start libvirtd:", err)
			os.Exit(1)
		}
		os.Exit(m.Run())
	}
	os.Exit(outside(m))
}

// outside runs the test binary again in its namespaces, and cleans up after they are gone.
func outside(m *testing.M) int {
	flag.Parse()
	whyNot = cannotRun()
	if whyNot != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "kilonova-libvirt-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	env := append(os.Environ(), insideVar+"="+dir)
	if !testing.Short() {
		path, err := buildImage() // here, as it may need the network
		if err != nil {
			fmt.Fprintln(os.Stderr, "build test image:", err)
			return 1
		}
		env = append(env, imageVar+"="+path)
	}
	self, err := os.Executable()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	// The shell is process 1, and buries the guests' processes.
	args := []string{"--net", "--mount", "--uts", "--pid", "--fork", "--kill-child", "--mount-proc",
		"--", "sh", "-c", `"$@"; exit $?`, "sh", self}
	cmd := exec.Command("unshare", append(args, os.Args[1:]...)...)
	cmd.Env = env
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

func cannotRun() string {
	if os.Getuid() != 0 {
		return "not root"
	}
	for _, bin := range []string{"libvirtd", "virtlogd", "qemu-system-x86_64", "qemu-img", "dnsmasq", "ebtables", "nft", "unshare", "prlimit", "ip"} {
		_, err := exec.LookPath(bin)
		if err != nil {
			return bin + " is not installed"
		}
	}
	err := exec.Command("unshare", "--net", "--mount", "--uts", "--pid", "--fork", "true").Run()
	if err != nil {
		return "namespaces cannot be made: " + err.Error()
	}
	return ""
}

// startDaemons makes the namespaces a host: state directories of their own over the usual
// ones, the loopback device, and the daemons with their stock configuration.
func startDaemons() error {
	dir := daemon.dir
	err := os.Chmod(dir, 0o711)
	if err != nil {
		return err
	}
	mounts := map[string]string{
		"run": "/run/libvirt", "lib": "/var/lib/libvirt", "cache": "/var/cache/libvirt", "log": "/var/log/libvirt", "etc": "/etc/libvirt",
	}
	for name, over := range mounts {
		own := filepath.Join(dir, name)
		err := os.MkdirAll(over, 0o755)
		if err != nil {
			return err
		}
		if name == "etc" {
			out, err := exec.Command("cp", "-a", over, own).CombinedOutput()
			if err != nil {
				return fmt.Errorf("copy %s: %w: %s", over, err, out)
			}
			err = appendTo(filepath.Join(own, "qemu.conf"), "\ncgroup_controllers = []\nnamespaces = []\n")
			if err != nil {
				return err
			}
			// The machine's own guests and networks are none of the tests' business.
			os.RemoveAll(filepath.Join(own, "qemu"))
			os.RemoveAll(filepath.Join(own, "storage"))
			left, err := filepath.Glob(filepath.Join(own, "nwfilter", filterPrefix+"*"))
			if err != nil {
				return err
			}
			for _, path := range left {
				os.Remove(path)
			}
		} else {
			err := os.Mkdir(own, 0o755)
			if err != nil {
				return err
			}
		}
		err = syscall.Mount(own, over, "", syscall.MS_BIND, "")
		if err != nil {
			return fmt.Errorf("mount over %s: %w", over, err)
		}
	}
	// /sys must show the devices of this network namespace.
	err = syscall.Mount("sysfs", "/sys", "sysfs", 0, "")
	if err != nil {
		return fmt.Errorf("mount /sys: %w", err)
	}
	err = ownKVM()
	if err != nil {
		return err
	}
	err = syscall.Sethostname([]byte("kn-test"))
	if err != nil {
		return err
	}
	out, err := exec.Command("ip", "link", "set", "lo", "up").CombinedOutput()
	if err != nil {
		return fmt.Errorf("ip link: %w: %s", err, out)
	}
	_, err = launch("virtlogd", "/run/libvirt/virtlogd-sock")
	if err != nil {
		return err
	}
	daemon.cmd, err = launch("libvirtd", "/run/libvirt/libvirt-sock")
	return err
}

// ownKVM puts a node that QEMU's account may open over /dev/kvm. Where that account may
// not, libvirt takes its picture of QEMU for outdated at each definition, and probes
// QEMU again for several seconds.
func ownKVM() error {
	var st syscall.Stat_t
	err := syscall.Stat("/dev/kvm", &st)
	if err != nil {
		return nil //nolint:nilerr // no such device: nothing to mend
	}
	node := filepath.Join(daemon.dir, "kvm")
	err = syscall.Mknod(node, syscall.S_IFCHR|0o666, int(st.Rdev))
	if err != nil {
		return fmt.Errorf("make device node: %w", err)
	}
	err = os.Chmod(node, 0o666)
	if err != nil {
		return err
	}
	err = syscall.Mount(node, "/dev/kvm", "", syscall.MS_BIND, "")
	if err != nil {
		return fmt.Errorf("mount over /dev/kvm: %w", err)
	}
	return nil
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.WriteString(text)
	return err
}

// launch starts a daemon in the foreground and waits for its socket.
func launch(name, socket string) (*exec.Cmd, error) {
	os.Remove(socket)
	cmd := exec.Command(name, "--pid-file", filepath.Join(daemon.dir, name+".pid"))
	log, err := os.OpenFile(filepath.Join(daemon.dir, name+".log"), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	cmd.Stdout, cmd.Stderr = log, log
	err = cmd.Start()
	if err != nil {
		return nil, err
	}
	for range 200 {
		_, err := os.Stat(socket)
		if err == nil {
			return cmd, nil
		}
		time.Sleep(50 * time.Millisecond)
	}
	text, _ := os.ReadFile(log.Name())
	return nil, fmt.Errorf("%s does not start:\n%s", name, text)
}

// needDaemon skips a test where there is no libvirtd to test with.
func needDaemon(t testing.TB) {
	t.Helper()
	if whyNot != "" {
		t.Skip("no libvirt driver here: ", whyNot)
	}
	if testing.Short() {
		t.Skip("boots guests")
	}
}

// buildImage gives the path of the test guest's image.
func buildImage() (string, error) {
	path := os.Getenv(imageVar)
	if path != "" {
		return path, nil
	}
	root, err := filepath.Abs("../..")
	if err != nil {
		return "", err
	}
	path = filepath.Join(root, ".cache", "testvm.qcow2")
	err = os.MkdirAll(filepath.Dir(path), 0o755)
	if err != nil {
		return "", err
	}
	out, err := exec.Command(filepath.Join(root, "scripts", "build-testvm.sh"), path).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	return path, nil
}

// forwarding reads whether the namespace forwards packets.
func forwarding(t testing.TB) bool {
	t.Helper()
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(text)) == "1"
}
