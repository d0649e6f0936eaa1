package libvirt

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kilonova/work"
)

func virsh(t testing.TB, args ...string) string {
	t.Helper()
	return command(t, append([]string{"virsh", "-q"}, args...)...)
}

func command(t testing.TB, args ...string) string {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
	return string(out)
}

// wire is a device on which frames are sent and heard as they are.
type wire struct {
	t  testing.TB
	fd int
}

func openWire(t testing.TB, device string) *wire {
	t.Helper()
	i, err := net.InterfaceByName(device)
	if err != nil {
		t.Fatal(err)
	}
	const all = 0x0300 // ETH_P_ALL in network order
	fd, err := syscall.Socket(syscall.AF_PACKET, syscall.SOCK_RAW|syscall.SOCK_CLOEXEC, all)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	err = syscall.Bind(fd, &syscall.SockaddrLinklayer{Protocol: all, Ifindex: i.Index})
	if err == nil {
		err = syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &syscall.Timeval{Usec: 50_000})
	}
	if err != nil {
		t.Fatal(err)
	}
	return &wire{t, fd}
}

func (w *wire) send(frame []byte) {
	w.t.Helper()
	_, err := syscall.Write(w.fd, frame)
	if err != nil {
		w.t.Fatal(err)
	}
}

// hears tells whether the frame comes by.
func (w *wire) hears(frame []byte, wait time.Duration) bool {
	buf := make([]byte, 4096)
	for end := time.Now().Add(wait); time.Now().Before(end); {
		n, err := syscall.Read(w.fd, buf)
		if err == nil && n >= len(frame) && string(buf[:len(frame)]) == string(frame) {
			return true
		}
	}
	return false
}

// The frames that guests send. Each has a number of its own, to tell them apart.
var serial uint16

func ethernet(src string, kind uint16, payload []byte) []byte {
	mac, err := net.ParseMAC(src)
	if err != nil {
		panic(err)
	}
	f := append([]byte{255, 255, 255, 255, 255, 255}, mac...)
	f = binary.BigEndian.AppendUint16(f, kind)
	return append(f, payload...)
}

func arpFrame(src, sender, ip string) []byte {
	serial++
	mac, err := net.ParseMAC(sender)
	if err != nil {
		panic(err)
	}
	p := []byte{0, 1, 8, 0, 6, 4, 0, 2}
	p = append(p, mac...)
	p = append(p, netip.MustParseAddr(ip).AsSlice()...)
	p = append(p, 255, 255, 255, 255, 255, 255, 10, 77, byte(serial>>8), byte(serial))
	return ethernet(src, 0x0806, append(p, make([]byte, 18)...))
}

func udp(from, to uint16) []byte {
	serial++
	u := binary.BigEndian.AppendUint16(nil, from)
	u = binary.BigEndian.AppendUint16(u, to)
	u = append(u, 0, 12, 0, 0)
	return binary.BigEndian.AppendUint32(u, uint32(serial))
}

func ipFrame(src, from, to string, proto byte, payload []byte) []byte {
	a, b := netip.MustParseAddr(from), netip.MustParseAddr(to)
	if a.Is6() {
		p := []byte{0x60, 0, 0, 0, 0, byte(len(payload)), proto, 255}
		p = append(append(p, a.AsSlice()...), b.AsSlice()...)
		return ethernet(src, 0x86dd, append(p, payload...))
	}
	p := []byte{0x45, 0, 0, byte(20 + len(payload)), 0, 0, 0, 0, 64, proto, 0, 0}
	p = append(append(p, a.AsSlice()...), b.AsSlice()...)
	sum := uint32(0)
	for i := 0; i < 20; i += 2 {
		sum += uint32(binary.BigEndian.Uint16(p[i:]))
	}
	for sum>>16 > 0 {
		sum = sum&0xffff + sum>>16
	}
	binary.BigEndian.PutUint16(p[10:], ^uint16(sum))
	return ethernet(src, 0x0800, append(p, payload...))
}

// claim is a neighbour advertisement, that the address is the sender's.
func claim(target string) []byte { return append(icmp6(136), netip.MustParseAddr(target).AsSlice()...) }

func icmp6(kind byte) []byte {
	serial++
	return append([]byte{kind, 0, 0, 0}, binary.BigEndian.AppendUint32(nil, uint32(serial))...)
}

// guarded is a port of which the test holds the guest's end: a cable ends on the bridge,
// under the filter that the port's tap would have.
type guarded struct {
	d             *Driver
	g             *work.Guest
	guest, bridge *wire
}

func newGuarded(t *testing.T, change func(*work.Port)) *guarded {
	h := newHost(t)
	d := h.driver(t)
	t.Cleanup(func() { d.Close() })
	g := h.guest(t)
	p := &g.Ports[0]
	p.ID, p.MAC = "cafe0000-1111-4000-8000-000000000001", "fa:16:3e:00:00:aa"
	p.Network.ID, p.Network.Bridge = "77777777-0000-4000-8000-000000000000", "knbrf"
	p.Network.Subnets[0].CIDR, p.Network.Subnets[0].Gateway = "10.81.0.0/24", "10.81.0.1"
	p.Network.Subnets = append(p.Network.Subnets, work.Subnet{ID: "s6", CIDR: "fd81::/64", Gateway: "fd81::1", Version: 6})
	p.Fixed = []work.FixedIP{{SubnetID: "s", Address: "10.81.0.9"}, {SubnetID: "s6", Address: "fd81::9"}}
	if change != nil {
		change(p)
	}
	err := d.PlugPorts(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
	endName := tapName(p.ID)
	command(t, "ip", "link", "add", endName, "type", "veth", "peer", "name", "knend1")
	command(t, "ip", "link", "set", endName, "master", "knbrf", "up")
	command(t, "ip", "link", "set", "knend1", "up")
	command(t, "ip", "link", "set", "knbrf", "up")
	binding := filepath.Join(t.TempDir(), "binding.xml")
	err = os.WriteFile(binding, []byte(fmt.Sprintf(`<filterbinding><owner><name>x</name><uuid>%s</uuid></owner>
		<portdev name='%s'/><mac address='%s'/><filterref filter='%s'/></filterbinding>`, g.UUID, endName, p.MAC, filterName(p.ID))), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	virsh(t, "nwfilter-binding-create", binding)
	t.Cleanup(func() {
		virsh(t, "nwfilter-binding-delete", endName)
		command(t, "ip", "link", "del", endName)
		for range 2 {
			err := d.UnplugPorts(t.Context(), g)
			if err != nil && t.Context().Err() == nil {
				t.Error(err)
			}
		}
		exec.Command("virsh", "net-destroy", "kn-77777777").Run()
		exec.Command("virsh", "net-undefine", "kn-77777777").Run()
		exec.Command("virsh", "nwfilter-undefine", filterName(p.ID)).Run()
	})
	return &guarded{d: d, g: g, guest: openWire(t, "knend1"), bridge: openWire(t, "knbrf")}
}

// frame is what a guest may try to send.
type frame struct {
	name string
	raw  []byte
}

// expect sends all frames and looks which of them the bridge hears.
func (n *guarded) expect(t *testing.T, pass, dropped []frame) {
	t.Helper()
	for _, f := range dropped {
		n.guest.send(f.raw)
		if n.bridge.hears(f.raw, 60*time.Millisecond) {
			t.Errorf("%s came through", f.name)
		}
	}
	for _, f := range pass {
		n.guest.send(f.raw)
		if !n.bridge.hears(f.raw, 2*time.Second) {
			t.Errorf("%s was dropped", f.name)
		}
	}
}

const (
	ownMAC   = "fa:16:3e:00:00:aa"
	otherMAC = "fa:16:3e:00:00:bb"
)

func honest() []frame {
	const bcast = "10.81.0.255"
	return []frame{
		{"IPv4", ipFrame(ownMAC, "10.81.0.9", bcast, 17, udp(1000, 2000))},
		{"ARP", arpFrame(ownMAC, ownMAC, "10.81.0.9")},
		{"a question for an address", ipFrame(ownMAC, "0.0.0.0", "255.255.255.255", 17, udp(68, 67))},
		{"IPv6", ipFrame(ownMAC, "fd81::9", "ff02::1", 17, udp(1000, 2000))},
		{"IPv6 of the link", ipFrame(ownMAC, "fe80::f816:3eff:fe00:aa", "ff02::1", 58, icmp6(135))},
		{"a claim of its own address", ipFrame(ownMAC, "fd81::9", "ff02::1", 58, claim("fd81::9"))},
		{"a claim of its link address", ipFrame(ownMAC, "fd81::9", "ff02::1", 58, claim("fe80::f816:3eff:fe00:aa"))},
		{"detection of duplicates", ipFrame(ownMAC, "::", "ff02::1", 58, icmp6(135))},
	}
}

func spoofed() []frame {
	const bcast = "10.81.0.255"
	return []frame{
		{"IPv4 from another MAC", ipFrame(otherMAC, "10.81.0.9", bcast, 17, udp(1000, 2000))},
		{"IPv4 of a neighbour", ipFrame(ownMAC, "10.81.0.10", bcast, 17, udp(1000, 2000))},
		{"IPv4 of the gateway", ipFrame(ownMAC, "10.81.0.1", bcast, 17, udp(1000, 2000))},
		{"IPv4 of the metadata service", ipFrame(ownMAC, "169.254.169.254", bcast, 17, udp(1000, 2000))},
		{"IPv4 of the Internet", ipFrame(ownMAC, "8.8.8.8", bcast, 17, udp(1000, 2000))},
		{"IPv4 of nobody", ipFrame(ownMAC, "0.0.0.0", bcast, 17, udp(1000, 2000))},
		{"ARP from another MAC", arpFrame(otherMAC, ownMAC, "10.81.0.9")},
		{"ARP for another MAC", arpFrame(ownMAC, otherMAC, "10.81.0.9")},
		{"ARP for a neighbour", arpFrame(ownMAC, ownMAC, "10.81.0.10")},
		{"ARP for the gateway", arpFrame(ownMAC, ownMAC, "10.81.0.1")},
		{"an answer of a DHCP server", ipFrame(ownMAC, "10.81.0.9", "255.255.255.255", 17, udp(67, 68))},
		{"IPv6 from another MAC", ipFrame(otherMAC, "fd81::9", "ff02::1", 17, udp(1000, 2000))},
		{"IPv6 of a neighbour", ipFrame(ownMAC, "fd81::a", "ff02::1", 17, udp(1000, 2000))},
		{"IPv6 of another link address", ipFrame(ownMAC, "fe80::1", "ff02::1", 58, icmp6(136))},
		{"a router's advertisement", ipFrame(ownMAC, "fe80::f816:3eff:fe00:aa", "ff02::1", 58, icmp6(134))},
		{"a router's redirect", ipFrame(ownMAC, "fe80::f816:3eff:fe00:aa", "ff02::1", 58, icmp6(137))},
		{"a claim of a neighbour's address", ipFrame(ownMAC, "fd81::9", "ff02::1", 58, claim("fd81::a"))},
		{"a claim of the gateway", ipFrame(ownMAC, "fe80::f816:3eff:fe00:aa", "ff02::1", 58, claim("fd81::1"))},
		{"a claim of another link address", ipFrame(ownMAC, "fe80::f816:3eff:fe00:aa", "ff02::1", 58, claim("fe80::1"))},
		{"a claim behind options", ipFrame(ownMAC, "fd81::9", "ff02::1", 60, append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, claim("fd81::a")...))},
		{"an advertisement behind hop-by-hop options", ipFrame(ownMAC, "fe80::f816:3eff:fe00:aa", "ff02::1", 0, append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, icmp6(134)...))},
		{"an advertisement behind options", ipFrame(ownMAC, "fd81::9", "ff02::1", 60, append([]byte{58, 0, 1, 4, 0, 0, 0, 0}, icmp6(134)...))},
		{"an advertisement behind two headers", ipFrame(ownMAC, "fe80::f816:3eff:fe00:aa", "ff02::1", 0, append([]byte{60, 0, 1, 4, 0, 0, 0, 0, 58, 0, 1, 4, 0, 0, 0, 0}, icmp6(134)...))},
		{"an advertisement's first fragment", ipFrame(ownMAC, "fe80::f816:3eff:fe00:aa", "ff02::1", 44, append([]byte{58, 0, 0, 1, 0, 0, 0, 1}, icmp6(134)...))},
		{"an answer of a DHCPv6 server behind options", ipFrame(ownMAC, "fd81::9", "ff02::1", 60, append([]byte{17, 0, 1, 4, 0, 0, 0, 0}, udp(547, 546)...))},
		{"an answer of a DHCPv6 server", ipFrame(ownMAC, "fd81::9", "ff02::1", 17, udp(547, 546))},
		{"a frame in a VLAN", ethernet(ownMAC, 0x8100, append([]byte{0, 5, 8, 0}, make([]byte, 46)...))},
		{"another protocol", ethernet(ownMAC, 0x88cc, make([]byte, 50))},
	}
}

// What a guest sends is its own, or it goes nowhere.
func TestNoGuestSpeaksAsAnother(t *testing.T) {
	n := newGuarded(t, nil)
	n.expect(t, honest(), spoofed())
}

// Address pairs open what they name, and at once; port security that is off opens all.
func TestAddressPairs(t *testing.T) {
	n := newGuarded(t, nil)
	p := &n.g.Ports[0]
	const bcast = "10.81.0.255"
	vip := []frame{
		{"IPv4 of a pair", ipFrame(ownMAC, "10.81.0.200", bcast, 17, udp(1, 2))},
		{"ARP of a pair", arpFrame(ownMAC, ownMAC, "10.81.0.200")},
		{"IPv4 of a pair's range", ipFrame(ownMAC, "10.244.3.7", bcast, 17, udp(1, 2))},
		{"ARP of a pair's range", arpFrame(ownMAC, ownMAC, "10.244.3.7")},
		{"IPv4 of a pair's MAC", ipFrame(otherMAC, "10.81.0.201", bcast, 17, udp(1, 2))},
		{"ARP of a pair's MAC", arpFrame(otherMAC, otherMAC, "10.81.0.201")},
		{"IPv6 of a pair", ipFrame(ownMAC, "fd99::5", "ff02::1", 17, udp(1, 2))},
		{"a claim of a pair's range", ipFrame(ownMAC, "fd81::9", "ff02::1", 58, claim("fd99::77"))},
		{"link address of a pair's MAC", ipFrame(otherMAC, "fe80::f816:3eff:fe00:bb", "ff02::1", 58, icmp6(135))},
	}
	n.expect(t, honest(), vip)
	p.Pairs = []work.AddressPair{{IP: "10.81.0.200"}, {IP: "10.244.0.0/16", MAC: ownMAC}, {IP: "10.81.0.201", MAC: strings.ToUpper(otherMAC)}, {IP: "fd99::/64"}}
	plug := func() {
		t.Helper()
		err := n.d.PlugPorts(t.Context(), n.g)
		if err != nil {
			t.Fatal(err)
		}
	}
	plug()
	n.expect(t, append(honest(), vip...), append(spoofed(), frame{"a pair's address from the port's MAC", ipFrame(ownMAC, "10.81.0.201", bcast, 17, udp(1, 2))}))
	// A pair of everything makes a router of the guest, but neither the host nor whom the host
	// knows elsewhere.
	command(t, "sh", "-ec", `ip link add eth0 type veth peer name far0; ip addr add 172.20.0.2/24 dev eth0; ip link set far0 up; ip link set eth0 up
		ip addr add fd20::2/64 dev eth0 nodad`)
	t.Cleanup(func() { command(t, "ip", "link", "del", "eth0") })
	p.Pairs = []work.AddressPair{{IP: "0.0.0.0/0"}, {IP: "::/0"}}
	plug()
	n.expect(t, append(honest(), frame{"IPv4 of anybody", ipFrame(ownMAC, "8.8.8.8", bcast, 17, udp(1, 2))}, frame{"ARP for anybody", arpFrame(ownMAC, ownMAC, "10.81.0.33")}),
		[]frame{
			{"IPv4 of the gateway", ipFrame(ownMAC, "10.81.0.1", bcast, 17, udp(1, 2))},
			{"ARP for the gateway", arpFrame(ownMAC, ownMAC, "10.81.0.1")},
			{"ARP for the metadata service", arpFrame(ownMAC, ownMAC, "169.254.169.254")},
			{"IPv6 of the gateway", ipFrame(ownMAC, "fd81::1", "ff02::1", 17, udp(1, 2))},
			{"a claim of the gateway", ipFrame(ownMAC, "fd81::9", "ff02::1", 58, claim("fd81::1"))},
			{"a claim of the host's LAN", ipFrame(ownMAC, "fd81::9", "ff02::1", 58, claim("fd20::7"))},
			{"another MAC", ipFrame(otherMAC, "10.81.0.9", bcast, 17, udp(1, 2))},
			{"IPv4 of the host's LAN", ipFrame(ownMAC, "172.20.0.7", bcast, 17, udp(1, 2))},
			{"ARP for the host's LAN", arpFrame(ownMAC, ownMAC, "172.20.0.1")},
			{"IPv6 of the host's LAN", ipFrame(ownMAC, "fd20::7", "ff02::1", 17, udp(1, 2))},
		})
	p.Pairs, p.Unguarded = nil, true
	plug()
	// The kernel takes the tag off a frame in a VLAN before the test sees it.
	open := slices.DeleteFunc(spoofed(), func(f frame) bool { return f.name == "a frame in a VLAN" })
	n.expect(t, append(honest(), open...), nil)
	p.Unguarded = false
	plug()
	n.expect(t, honest(), spoofed())
}

// A filter comes with the guest, goes with it, and outlives libvirtd.
func TestFiltersComeAndGo(t *testing.T) {
	h := newHost(t)
	d := h.driver(t)
	defer d.Close()
	ctx, g := t.Context(), h.guest(t)
	g.Flavor.MemoryMB = 64
	name := filterName(g.Ports[0].ID)
	defined := func() bool { return strings.Contains(virsh(t, "nwfilter-list"), name) }
	rules := func() string {
		out := command(t, "ebtables", "-t", "nat", "-L")
		_, chain, ok := strings.Cut(out, "Bridge chain: libvirt-I-"+tapName(g.Ports[0].ID))
		if !ok {
			return ""
		}
		chain, _, _ = strings.Cut(chain, "Bridge chain:")
		return chain
	}
	for _, do := range []func() error{
		func() error { return d.CreateDisks(ctx, g) },
		func() error { return d.PlugPorts(ctx, g) },
		func() error { return d.Define(ctx, g) },
		func() error { return d.Start(ctx, g.UUID) },
	} {
		for range 2 {
			err := do()
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	if !defined() || !strings.Contains(rules(), g.Ports[0].Fixed[0].Address) || !strings.Contains(rules(), "DROP") {
		t.Errorf("the running guest's rules: %q", rules())
	}
	if out := command(t, "nft", "list", "table", "bridge", "kilonova"); !strings.Contains(out, chainOf(g.Ports[0].ID)) {
		t.Errorf("no neighbours are guarded: %s", out)
	}
	err := daemon.cmd.Process.Kill()
	if err != nil {
		t.Fatal(err)
	}
	daemon.cmd.Wait()
	daemon.cmd, err = launch("libvirtd", "/run/libvirt/libvirt-sock")
	if err != nil {
		t.Fatal(err)
	}
	g.Ports[0].Pairs = []work.AddressPair{{IP: "10.77.0.222"}}
	err = d.PlugPorts(ctx, g)
	if err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(5 * time.Second); !strings.Contains(rules(), "10.77.0.222") && time.Now().Before(end); {
		time.Sleep(100 * time.Millisecond)
	}
	if !strings.Contains(rules(), "10.77.0.222") {
		t.Errorf("the pair did not reach the running guest: %q", rules())
	}
	// The port is gone while the guest runs: it is silent.
	lost := *g
	lost.Ports = nil
	err = d.PlugPorts(ctx, &lost)
	if err != nil || strings.Contains(rules(), g.Ports[0].Fixed[0].Address) {
		t.Errorf("a guest without its port still speaks (%v): %q", err, rules())
	}
	for _, do := range []func() error{
		func() error { return d.PowerOff(ctx, g.UUID) },
		func() error { return d.Undefine(ctx, g.UUID) },
		func() error { return d.UnplugPorts(ctx, g) },
		func() error { return d.DeleteDisks(ctx, g.UUID) },
	} {
		for range 2 {
			err := do()
			if err != nil {
				t.Error(err)
			}
		}
	}
	if out := command(t, "nft", "list", "table", "bridge", "kilonova"); strings.Contains(out, chainOf(g.Ports[0].ID)) || defined() || rules() != "" {
		t.Errorf("left behind: defined %v, rules %q, %s", defined(), rules(), out)
	}
}

func TestHostileFilters(t *testing.T) {
	good := work.Port{ID: "cafe0000-1111-4000-8000-000000000001", MAC: ownMAC}
	for name, change := range map[string]func(*work.Port){
		"id":          func(p *work.Port) { p.ID = "../x" },
		"MAC":         func(p *work.Port) { p.MAC = "x' foo='" },
		"address":     func(p *work.Port) { p.Fixed = []work.FixedIP{{Address: "$IP"}} },
		"pair":        func(p *work.Port) { p.Pairs = []work.AddressPair{{IP: "10.0.0.0/99"}} },
		"pair's zone": func(p *work.Port) { p.Pairs = []work.AddressPair{{IP: "fe80::1%eth0"}} },
		"pair's MAC":  func(p *work.Port) { p.Pairs = []work.AddressPair{{IP: "10.0.0.1", MAC: "$MAC"}} },
	} {
		p := good
		change(&p)
		_, err := describeFilter(&p, nil)
		if err == nil {
			t.Errorf("%s was taken", name)
		}
	}
}
