package hostnet

import (
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"
)

func TestSpecial(t *testing.T) {
	for _, bad := range []string{"0.0.0.0/0", "0.0.0.0/1", "0.1.2.0/24", "127.0.0.1/32", "127.0.0.0/8", "126.0.0.0/7", "169.254.169.254/32", "169.254.0.0/16",
		"168.0.0.0/7", "224.0.0.0/24", "239.1.1.0/24", "192.0.0.0/2", "255.255.255.255/32", "240.0.0.0/8", "128.0.0.0/1", "::/0", "::/1", "::1/128", "fe80::/64",
		"fe80::a9fe:a9fe/128", "ff02::/16", "::ffff:10.0.0.0/104", "64:ff9b::a00:1/128", "fd00:ec2::/64", "fc00::/7"} {
		if Special(netip.MustParsePrefix(bad)) == "" {
			t.Errorf("%s is taken for a network of guests", bad)
		}
	}
	if Special(netip.Prefix{}) == "" {
		t.Error("no range is taken for a network of guests")
	}
	for _, good := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.1.0/24", "8.8.8.0/24", "100.64.0.0/10", "fd12:3456::/48", "2001:db8::/64"} {
		if why := Special(netip.MustParsePrefix(good)); why != "" {
			t.Errorf("%s: %s", good, why)
		}
	}
}

func TestReports(t *testing.T) {
	held := []Held{}
	for _, p := range []string{"10.1.0.0/24", "10.1.0.7/32", "10.1.0.0/24", "10.2.0.0/16", "fd00:1::/64", "10.0.0.0/8"} {
		held = append(held, Held{netip.MustParsePrefix(p), Route, "eth0"})
	}
	if got := Encode(held); got != "10.0.0.0/8 10.2.0.0/16 10.1.0.0/24 fd00:1::/64" {
		t.Errorf("encoded %q", got)
	}
	for report, want := range map[string][2]int{
		"":                                     {0, 0},
		"10.1.0.0/24 fd00:1::/64":              {2, 0},
		"10.0.0.0/8 0.0.0.0/0 x /":             {0, 1},
		"fc00::/7 ::/0 fd00::/16 fd01::/32":    {1, 2},
		"10.1.0.1/24 127.0.0.1/32":             {0, 0},
		strings.Repeat("10.1.0.0/24 ", 10_000): {MaxRanges, 0},
	} {
		narrow, broad := Decode(report)
		if len(narrow) != want[0] || len(broad) != want[1] {
			t.Errorf("%.40q: %d ranges and %d wide ones, want %d", report, len(narrow), len(broad), want)
		}
	}
}

// In a namespace of its own the machine has what the test gives it.
func TestRead(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("network namespaces need root")
	}
	runtime.LockOSThread() // the thread ends with the goroutine, and the namespace with it
	err := syscall.Unshare(syscall.CLONE_NEWNET)
	if err != nil {
		t.Skip("no network namespace can be made: ", err)
	}
	out, err := exec.Command("sh", "-ec", `
		ip link set lo up
		ip link add eth0 type veth peer name far0; ip addr add 192.0.2.2/24 dev eth0; ip addr add 2001:db8:1::2/64 dev eth0 nodad; ip link set far0 up; ip link set eth0 up
		ip route add default via 192.0.2.1; ip route add 128.0.0.0/1 via 192.0.2.1; ip route add 10.40.0.0/16 via 192.0.2.9; ip route add fd00::/8 via 2001:db8:1::9 metric 7
		ip neigh add 10.50.0.5 lladdr 02:00:00:00:00:01 dev eth0
		ip addr add 198.51.100.1 peer 198.51.100.9 dev eth0
		ip route add 10.41.0.0/16 via 192.0.2.9 table 77; ip route add local 10.42.0.0/16 dev lo; ip route add 10.43.0.0/16 nexthop via 192.0.2.8 nexthop via 192.0.2.9
		ip link add knbr0 type bridge; ip addr add 10.60.0.1/24 dev knbr0; ip link set knbr0 up`).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	held, err := Read(func(dev string) bool { return dev == "knbr0" })
	if err != nil {
		t.Fatal(err)
	}
	for _, taken := range []string{"192.0.2.0/29", "192.0.2.128/25", "192.0.0.0/16", "10.40.3.0/24", "10.41.3.0/24", "10.42.1.0/24", "10.43.1.0/24", "10.50.0.0/24", "2001:db8:1::/80", "198.51.100.8/29", "fd00:9::/64"} {
		if _, ok := Clash(netip.MustParsePrefix(taken), held, nil); !ok {
			t.Errorf("%s touches nothing of %v", taken, held)
		}
	}
	for _, free := range []string{"8.8.8.0/24", "10.60.0.0/24", "10.77.0.0/16", "200.1.0.0/16", "fe80::/64", "fc09::/64"} {
		if h, ok := Clash(netip.MustParsePrefix(free), held, nil); ok {
			t.Errorf("%s touches %s", free, h)
		}
	}
}

// What an operator gives to guests of a wider route is theirs; an address in it is not.
func TestGivenRanges(t *testing.T) {
	p := netip.MustParsePrefix
	held := []Held{{p("10.0.0.0/8"), Route, "tun0"}, {p("10.77.9.9/32"), Neighbour, "tun0"}}
	for _, c := range []struct {
		subnet string
		given  []netip.Prefix
		clash  bool
	}{
		{"10.77.0.0/24", nil, true},
		{"10.77.0.0/24", []netip.Prefix{p("10.0.0.0/8")}, true}, // the same as the route: nobody chose
		{"10.77.0.0/24", []netip.Prefix{p("10.77.0.0/16")}, false},
		{"10.78.0.0/24", []netip.Prefix{p("10.77.0.0/16")}, true},
		{"10.77.9.0/24", []netip.Prefix{p("10.77.0.0/16")}, true}, // the neighbour
		{"10.0.0.0/7", []netip.Prefix{p("10.77.0.0/16")}, true},
	} {
		if h, clash := Clash(p(c.subnet), held, c.given); clash != c.clash {
			t.Errorf("%s of %v: %v %s", c.subnet, c.given, clash, h)
		}
	}
}
