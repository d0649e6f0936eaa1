package hostnet

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// The ways in which a machine holds a range.
const (
	Address   = "address"
	Route     = "route"
	Neighbour = "neighbour"
	Peer      = "peer" // beyond a router, and the machine cannot do without it
)

// Held is a range of addresses that a machine has or sends somewhere by a rule of its own.
type Held struct {
	Prefix netip.Prefix
	Kind   string // Address, Route, Neighbour or Peer
	Device string
}

// String says what is held, for operators.
func (h Held) String() string {
	if h.Device == "" {
		return h.Kind + " " + h.Prefix.String()
	}
	return fmt.Sprintf("%s %s of %s", h.Kind, h.Prefix, h.Device)
}

// special are ranges that mean the same everywhere: none of them is a network of guests.
var special = []struct {
	prefix netip.Prefix
	why    string
}{
	{netip.MustParsePrefix("0.0.0.0/8"), "unspecified"},
	{netip.MustParsePrefix("127.0.0.0/8"), "loopback"},
	{netip.MustParsePrefix("169.254.0.0/16"), "link-local, with the metadata service in it"},
	{netip.MustParsePrefix("224.0.0.0/4"), "multicast"},
	{netip.MustParsePrefix("240.0.0.0/4"), "reserved, with the broadcast address in it"},
	{netip.MustParsePrefix("::/96"), "unspecified and loopback"},
	{netip.MustParsePrefix("::ffff:0:0/96"), "IPv4 in the clothes of IPv6"},
	{netip.MustParsePrefix("64:ff9b::/96"), "IPv4 in the clothes of IPv6"},
	{netip.MustParsePrefix("fe80::/10"), "link-local"},
	{netip.MustParsePrefix("ff00::/8"), "multicast"},
	{netip.MustParsePrefix("fd00:ec2::254/128"), "the metadata service"},
}

// SpecialRanges lists the ranges of Special.
func SpecialRanges() []netip.Prefix {
	out := make([]netip.Prefix, 0, len(special))
	for _, s := range special {
		out = append(out, s.prefix)
	}
	return out
}

// Private lists the ranges that belong to nobody, and so to guests: those of RFC 1918 and RFC
// 4193, and IPv6's for examples, which nobody routes either.
func Private() []netip.Prefix {
	var out []netip.Prefix
	for _, p := range []string{"10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "fc00::/7", "2001:db8::/32"} {
		out = append(out, netip.MustParsePrefix(p))
	}
	return out
}

// Special says why a range can be no network of guests: it touches one that has a meaning
// of its own. "" means that it can.
func Special(p netip.Prefix) string {
	if !p.IsValid() {
		return "no range"
	}
	if p.Bits() == 0 {
		return "everything"
	}
	if p.Addr().Is4In6() {
		return "IPv4 in the clothes of IPv6"
	}
	for _, s := range special {
		if s.prefix.Overlaps(p) {
			return s.why
		}
	}
	return ""
}

// meaningless reports whether a machine's having a range says nothing: all machines do.
func meaningless(p netip.Prefix) bool { return !p.IsValid() || Within(p, SpecialRanges()) }

// A route to half of the Internet is a default route in disguise: it says nothing of whose
// the range is.
const (
	widest4 = 8
	widest6 = 7
)

func tooWide(p netip.Prefix) bool {
	return p.Addr().Is6() && p.Bits() < widest6 || p.Addr().Is4() && p.Bits() < widest4
}

// Read lists what this machine, or the network namespace of this process, holds by its
// addresses, routes and neighbours. Special ranges and default routes are left out, and what
// is on the devices that skip names.
func Read(skip func(device string) bool) ([]Held, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list network devices: %w", err)
	}
	names := make(map[int]string, len(links))
	for _, l := range links {
		names[l.Attrs().Index] = l.Attrs().Name
	}
	var out []Held
	add := func(p netip.Prefix, kind string, link int) {
		name := names[link]
		if name != "" && skip != nil && skip(name) || tooWide(p) || meaningless(p) {
			return
		}
		out = append(out, Held{p, kind, name})
	}
	addresses, err := netlink.AddrList(nil, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list addresses: %w", err)
	}
	for _, a := range addresses {
		p, ok := prefixOf(a.IPNet)
		if ok {
			add(netip.PrefixFrom(p.Addr(), p.Addr().BitLen()), Address, a.LinkIndex)
			add(p.Masked(), Route, a.LinkIndex)
		}
		if peer, ok := prefixOf(a.Peer); ok {
			add(peer.Masked(), Route, a.LinkIndex)
		}
	}
	// Every table: which of them a packet is looked up in is the machine's own affair.
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_UNSPEC}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	via := func(gateway net.IP, link int) {
		if a, ok := netip.AddrFromSlice(gateway); ok {
			add(netip.PrefixFrom(a.Unmap(), a.Unmap().BitLen()), Neighbour, link)
		}
	}
	for _, r := range routes {
		if p, ok := prefixOf(r.Dst); ok {
			add(p.Masked(), Route, r.LinkIndex)
		}
		via(r.Gw, r.LinkIndex)
		for _, hop := range r.MultiPath {
			via(hop.Gw, hop.LinkIndex)
		}
	}
	neighbours, err := netlink.NeighList(0, netlink.FAMILY_ALL)
	if err != nil {
		return nil, fmt.Errorf("list neighbours: %w", err)
	}
	for _, n := range neighbours {
		ip, ok := netip.AddrFromSlice(n.IP)
		if ok && n.State&(netlink.NUD_NOARP|netlink.NUD_FAILED|netlink.NUD_INCOMPLETE) == 0 {
			add(netip.PrefixFrom(ip.Unmap(), ip.Unmap().BitLen()), Neighbour, n.LinkIndex)
		}
	}
	return out, nil
}

func prefixOf(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a, ok := netip.AddrFromSlice(n.IP)
	ones, bits := n.Mask.Size()
	if !ok || bits == 0 {
		return netip.Prefix{}, false
	}
	a = a.Unmap()
	if a.Is4() && bits == 128 {
		ones -= 96
	}
	p := netip.PrefixFrom(a, ones)
	return p, p.IsValid()
}

// Clash gives what of held a range touches. A route that is wider than one of the given
// ranges, within which the range lies, is no clash: whoever gave a part of a machine's route
// to guests meant it.
func Clash(p netip.Prefix, held []Held, given []netip.Prefix) (Held, bool) {
	for _, h := range held {
		if h.Prefix.Overlaps(p) && !slices.ContainsFunc(given, func(g netip.Prefix) bool { return within(g, h.Prefix) && g != h.Prefix && within(p, g) }) {
			return h, true
		}
	}
	return Held{}, false
}

// within reports whether a range lies in another, or is the same.
func within(inner, outer netip.Prefix) bool {
	return outer.Bits() <= inner.Bits() && outer.Overlaps(inner)
}

// Within reports whether a range lies in one of several.
func Within(p netip.Prefix, ranges []netip.Prefix) bool {
	return slices.ContainsFunc(ranges, func(r netip.Prefix) bool { return within(p, r) })
}

// Merge gives the ranges, each once and none within another, the wide ones first.
func Merge(ranges []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(ranges)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if d := a.Bits() - b.Bits(); d != 0 {
			return d
		}
		return a.Addr().Compare(b.Addr())
	})
	var out []netip.Prefix
	for _, p := range sorted {
		if !slices.ContainsFunc(out, func(o netip.Prefix) bool { return o.Overlaps(p) }) {
			out = append(out, p)
		}
	}
	return out
}

// MaxRanges bounds what a host says of itself, and what is read of it.
const MaxRanges = 64

// The widest range that a host's word alone counts for. A host that lies can keep a few
// ranges from projects, and not all that there are.
const (
	believed4 = 16
	believed6 = 32
)

func wide(p netip.Prefix) bool {
	return p.Addr().Is4() && p.Bits() < believed4 || p.Addr().Is6() && p.Bits() < believed6
}

// Encode writes ranges for a host's report, at most MaxRanges of them. A wide one, which may
// not be believed, hides none of those within it.
func Encode(held []Held) string {
	var narrow, broad []netip.Prefix
	for _, h := range held {
		if wide(h.Prefix) {
			broad = append(broad, h.Prefix)
		} else {
			narrow = append(narrow, h.Prefix)
		}
	}
	broad = Merge(broad)
	all := append(broad[:min(len(broad), MaxRanges/4)], Merge(narrow)...)
	words := make([]string, 0, len(all))
	for _, p := range all[:min(len(all), MaxRanges)] {
		words = append(words, p.String())
	}
	return strings.Join(words, " ")
}

// Decode reads a host's report, of which nothing is certain: what is no range, what lies
// in one that has a meaning of its own and what is beyond MaxRanges is left out. Wide ranges
// count where other hosts say the same.
func Decode(report string) (narrow, broad []netip.Prefix) {
	for _, word := range strings.Fields(report) {
		p, err := netip.ParsePrefix(word)
		switch {
		case err != nil || p != p.Masked() || meaningless(p) || tooWide(p):
			continue
		case wide(p):
			broad = append(broad, p)
		default:
			narrow = append(narrow, p)
		}
		if len(narrow)+len(broad) == MaxRanges {
			break
		}
	}
	return narrow, broad
}
