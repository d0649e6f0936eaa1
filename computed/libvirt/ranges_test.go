package libvirt

import (
	"errors"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"

	"kilonova/computed"
	"kilonova/hostnet"
	"kilonova/work"
)

// rangesHost is a host with a LAN, routes and neighbours, and a driver that plugs ports of
// networks with given ranges.
type rangesHost struct {
	t *testing.T
	d *Driver
	h *host
	n int
}

func newRangesHost(t *testing.T, given ...string) *rangesHost {
	t.Helper()
	if whyNot != "" {
		t.Skip("no libvirt driver here: ", whyNot)
	}
	dir, err := os.MkdirTemp(daemon.dir, "state-")
	if err != nil {
		t.Fatal(err)
	}
	var ranges []netip.Prefix
	for _, text := range given {
		ranges = append(ranges, netip.MustParsePrefix(text))
	}
	d, err := New(Config{StateDir: dir, VirtType: "qemu", GuestRanges: ranges, Peers: hostnet.NewPeers("10.60.0.53")})
	if err != nil {
		t.Fatal(err)
	}
	command(t, "sh", "-ec", `ip link add eth0 type veth peer name far0; ip addr add 172.20.0.2/24 dev eth0; ip addr add fd20::2/64 dev eth0 nodad
		ip link set far0 up; ip link set eth0 up; ip route add default via 172.20.0.1
		ip route add 10.40.0.0/16 via 172.20.0.9; ip neigh add 10.50.0.5 lladdr 02:00:00:00:00:01 dev eth0`)
	t.Cleanup(func() {
		command(t, "ip", "link", "del", "eth0")
		d.Close()
	})
	return &rangesHost{t: t, d: d, h: &host{dir: dir}}
}

// plug plugs a port of a new network with the range, and gives the guest.
func (r *rangesHost) plug(cidr, gateway string) (*work.Guest, error) {
	r.t.Helper()
	r.n++
	g := r.h.guest(r.t)
	n := &g.Ports[0].Network
	n.ID, n.Bridge = string(rune('a'+r.n%6))+string(rune('0'+r.n/6))+"333333-0000-4000-8000-000000000000", "knrange"+string(rune('a'+r.n))
	version := 4
	if strings.Contains(cidr, ":") {
		version = 6
	}
	n.Subnets = []work.Subnet{{ID: "s", CIDR: cidr, Gateway: gateway, Version: version}}
	g.Ports[0].Fixed = nil
	r.t.Cleanup(func() {
		exec.Command("virsh", "net-destroy", networkName(n)).Run()
		exec.Command("virsh", "net-undefine", networkName(n)).Run()
		exec.Command("virsh", "nwfilter-undefine", filterName(g.Ports[0].ID)).Run()
	})
	return g, r.d.PlugPorts(r.t.Context(), g)
}

// Whatever the API let through: a network that would take an address, a route or a neighbour
// of the host is refused, and the host stays as it was.
func TestHostsKeepWhatIsTheirs(t *testing.T) {
	r := newRangesHost(t)
	before := command(t, "ip", "route") + command(t, "ip", "-6", "route") + command(t, "ip", "-br", "addr")
	for cidr, gateway := range map[string]string{
		"172.20.0.8/29": "172.20.0.10", "172.16.0.0/12": "172.16.0.1", // the LAN, all of it and a part
		"10.40.3.0/24": "10.40.3.1", "10.0.0.0/8": "10.0.0.1", // a route
		"10.50.0.0/24": "10.50.0.1", "10.60.0.0/24": "10.60.0.1", // a neighbour, a machine that it needs
		"fd20::/80": "fd20::1", "fd00::/16": "fd00::1",
		"8.8.8.0/24": "8.8.8.8", "128.0.0.0/1": "128.0.0.1", "2001:4860::/64": "2001:4860::1", // the Internet
		"169.254.0.0/16": "169.254.1.1", "127.0.1.0/24": "127.0.1.1", "224.1.0.0/24": "224.1.0.1", "fe80::/64": "fe80::1", // special
		"10.1.0.0/24": "10.2.0.1", // a gateway that is not of the range
	} {
		g, err := r.plug(cidr, gateway)
		var port *computed.PortError
		if !errors.Is(err, computed.ErrRange) || !errors.As(err, &port) || port.Port != g.Ports[0].ID {
			t.Errorf("%s: %v", cidr, err)
		}
	}
	if now := command(t, "ip", "route") + command(t, "ip", "-6", "route") + command(t, "ip", "-br", "addr"); now != before {
		t.Errorf("the host was\n%s\nand is\n%s", before, now)
	}
	if _, err := r.plug("10.40.3.0/24", ""); err != nil { // it gives the host nothing
		t.Errorf("a range without a gateway: %v", err)
	}
}

// What comes later is seen at the next plug: another project's network over the same range, a
// route of the host's own.
func TestRangesAreLookedAtEachTime(t *testing.T) {
	r := newRangesHost(t)
	first, err := r.plug("10.90.0.0/24", "10.90.0.1")
	if err != nil {
		t.Fatal(err)
	}
	command(t, "virsh", "net-autostart", networkName(&first.Ports[0].Network)) // as an earlier release did
	again := func() error { return r.d.PlugPorts(t.Context(), first) }
	for _, other := range []string{"10.90.0.0/24", "10.90.0.0/25", "10.90.0.0/16"} {
		if _, err := r.plug(other, "10.90.0.2"); !errors.Is(err, computed.ErrRange) {
			t.Errorf("%s of another network: %v", other, err)
		}
	}
	if err := again(); err != nil {
		t.Errorf("its own range: %v", err)
	}
	if out := virsh(t, "net-list", "--all", "--autostart"); strings.Contains(out, networkName(&first.Ports[0].Network)) {
		t.Errorf("libvirt starts networks by itself: %s", out)
	}
	command(t, "ip", "route", "add", "10.90.0.128/25", "via", "172.20.0.9")
	if err := again(); !errors.Is(err, computed.ErrRange) {
		t.Errorf("under a route that came later: %v", err)
	}
	command(t, "ip", "route", "del", "10.90.0.128/25")
	if err := again(); err != nil {
		t.Errorf("when the route is gone: %v", err)
	}
}

// The operator may give guests a part of what the host routes, or ranges of the Internet.
func TestGuestRanges(t *testing.T) {
	r := newRangesHost(t, "10.40.8.0/22", "192.0.2.0/24")
	for cidr, ok := range map[string]bool{"10.40.9.0/24": true, "192.0.2.0/25": true, "10.40.0.0/20": false, "10.77.0.0/24": false} {
		_, err := r.plug(cidr, netip.MustParsePrefix(cidr).Addr().Next().String())
		if ok != (err == nil) {
			t.Errorf("%s: %v", cidr, err)
		}
	}
	info, err := r.d.Host(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"172.20.0.0/24", "10.40.0.0/16", "10.50.0.5/32", "10.60.0.53/32", "fd20::/64"} {
		if !strings.Contains(" "+info.HeldRanges+" ", " "+want+" ") {
			t.Errorf("the host reports %q, without %s", info.HeldRanges, want)
		}
	}
}
