package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	virt "libvirt.org/go/libvirt"

	"kilonova/hostnet"
	"kilonova/work"
)

// Each port has a filter of its own, which the guest's definition names. So a change of the
// port is a change of its filter, which libvirt brings to the running guest. A port without
// port security has one without rules. What libvirt's filters cannot see is in neighbours.go.

const filterPrefix = "kn-port-"

func filterName(port string) string { return filterPrefix + port }

type (
	filterDoc struct {
		XMLName xml.Name  `xml:"filter"`
		Name    string    `xml:"name,attr"`
		Chain   string    `xml:"chain,attr"`
		UUID    string    `xml:"uuid,omitempty"`
		Rules   []ruleDoc `xml:"rule"`
	}
	ruleDoc struct {
		Action    string `xml:"action,attr"`
		Direction string `xml:"direction,attr"`
		Priority  int    `xml:"priority,attr"`
		Match     *matchDoc
	}
	matchDoc struct {
		XMLName xml.Name
		Attrs   []xml.Attr `xml:",any,attr"`
	}
)

// match makes the element of a rule from its name and pairs of attribute and value.
func match(protocol string, words ...string) *matchDoc {
	m := &matchDoc{XMLName: xml.Name{Local: protocol}}
	for i := 0; i+1 < len(words); i += 2 {
		m.Attrs = append(m.Attrs, xml.Attr{Name: xml.Name{Local: words[i]}, Value: words[i+1]})
	}
	return m
}

func (f *filterDoc) add(action string, m *matchDoc) {
	const first, step = -900, 1 // before all that libvirt's own filters have
	f.Rules = append(f.Rules, ruleDoc{action, "out", first + step*len(f.Rules), m})
}

const (
	accept = "accept"
	drop   = "drop"
)

// speaker is who a guest may be: a hardware address with a range.
type speaker struct {
	mac string
	ip  netip.Prefix
}

// describeFilter gives the rules of a port. What a guest sends is dropped unless it comes
// from an address of the port or of its pairs. Nothing may answer as a DHCP server or
// router, and no pair makes a guest the host's own address, or one of own, which are ranges
// that the host has elsewhere: it would take the guest for one of its neighbours.
func describeFilter(p *work.Port, own []netip.Prefix) (*filterDoc, error) {
	err := checkUUID(p.ID)
	if err != nil {
		return nil, err
	}
	doc := &filterDoc{Name: filterName(p.ID), Chain: "root", UUID: p.ID}
	if p.Unguarded {
		return doc, nil
	}
	mac, all, err := speakers(p)
	if err != nil {
		return nil, err
	}
	doc.add(drop, match("ip", "protocol", "udp", "srcportstart", "67", "dstportstart", "68"))
	doc.add(drop, match("ipv6", "protocol", "udp", "srcportstart", "547", "dstportstart", "546"))
	for _, routers := range []string{"134", "137"} { // advertisements and redirects
		doc.add(drop, match("ipv6", "protocol", "icmpv6", "type", routers))
	}
	for _, r := range foreign(p, own) {
		if slices.ContainsFunc(all, func(s speaker) bool { return s.ip.Overlaps(r) }) {
			for _, m := range fromRange("", r) {
				doc.add(drop, m)
			}
		}
	}
	doc.add(accept, match("ip", "srcmacaddr", mac, "srcipaddr", "0.0.0.0", "dstipaddr", "255.255.255.255",
		"protocol", "udp", "srcportstart", "68", "dstportstart", "67"))
	var macs []string
	for _, s := range all {
		for _, m := range fromRange(s.mac, s.ip) {
			doc.add(accept, m)
		}
		if !slices.Contains(macs, s.mac) {
			macs = append(macs, s.mac)
		}
	}
	if !slices.Contains(macs, mac) {
		macs = append(macs, mac)
	}
	for _, mac := range macs {
		a, err := linkLocal(mac)
		if err != nil {
			return nil, err
		}
		doc.add(accept, match("ipv6", "srcmacaddr", mac, "srcipaddr", a.String()))
		// Before it has an address a guest asks whether another one has it, and says which
		// groups it hears.
		for _, kind := range []string{"135", "143"} {
			doc.add(accept, match("ipv6", "srcmacaddr", mac, "srcipaddr", "::", "protocol", "icmpv6", "type", kind))
		}
	}
	doc.add(drop, nil)
	return doc, nil
}

// fromRange matches what comes from a range, by IP and, where it has one, by ARP.
func fromRange(mac string, ip netip.Prefix) []*matchDoc {
	var frame, arp, packet []string
	if mac != "" {
		frame = []string{"srcmacaddr", mac}
		arp = []string{"arpsrcmacaddr", mac}
	}
	if ip.Bits() > 0 {
		mask := strconv.Itoa(ip.Bits())
		packet = []string{"srcipaddr", ip.Addr().String(), "srcipmask", mask}
		arp = append(arp, "arpsrcipaddr", ip.Addr().String(), "arpsrcipmask", mask)
	}
	if ip.Addr().Is6() {
		return []*matchDoc{match("ipv6", append(slices.Clone(frame), packet...)...)}
	}
	return []*matchDoc{match("ip", append(slices.Clone(frame), packet...)...), match("arp", append(slices.Clone(frame), arp...)...)}
}

// speakers gives the port's hardware address and all that may be said from it.
func speakers(p *work.Port) (string, []speaker, error) {
	own, err := hardware(p.MAC)
	if err != nil {
		return "", nil, err
	}
	var all []speaker
	add := func(mac, ip string) error {
		r, err := netip.ParsePrefix(ip)
		if err != nil {
			var a netip.Addr
			a, err = netip.ParseAddr(ip)
			if a.Zone() != "" {
				err = errors.New("it has a zone")
			}
			r = netip.PrefixFrom(a, a.BitLen())
		}
		if err != nil {
			return fmt.Errorf("address %q: %w", ip, ErrProperty)
		}
		s := speaker{mac, r.Masked()}
		if !slices.Contains(all, s) {
			all = append(all, s)
		}
		return nil
	}
	for _, f := range p.Fixed {
		err = add(own, f.Address)
		if err != nil {
			return "", nil, err
		}
	}
	for _, pair := range p.Pairs {
		mac := own
		if pair.MAC != "" {
			mac, err = hardware(pair.MAC)
			if err != nil {
				return "", nil, err
			}
		}
		err = add(mac, pair.IP)
		if err != nil {
			return "", nil, err
		}
	}
	return own, all, nil
}

func hardware(text string) (string, error) {
	mac, err := net.ParseMAC(text)
	if err != nil || len(mac) != 6 {
		return "", fmt.Errorf("hardware address %q: %w", text, ErrProperty)
	}
	return mac.String(), nil
}

// heldByHost are the addresses that the host itself has on a network.
func heldByHost(n *work.Network) []netip.Prefix {
	out := []netip.Prefix{netip.MustParsePrefix(metadataAddress + "/32")}
	for _, s := range n.Subnets {
		a, err := netip.ParseAddr(s.Gateway)
		if err == nil {
			out = append(out, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return out
}

// foreign are ranges that are the host's, whatever the port's pairs say.
func foreign(p *work.Port, own []netip.Prefix) []netip.Prefix {
	return append(heldByHost(&p.Network), elsewhere(&p.Network, own)...)
}

// elsewhere leaves out what touches the network itself.
func elsewhere(n *work.Network, ranges []netip.Prefix) []netip.Prefix {
	return slices.DeleteFunc(slices.Clone(ranges), func(r netip.Prefix) bool {
		return slices.ContainsFunc(n.Subnets, func(s work.Subnet) bool {
			p, err := netip.ParsePrefix(s.CIDR)
			return err == nil && p.Overlaps(r)
		})
	})
}

// linkLocal is the address that a guest gives itself from its hardware address (RFC 4291,
// appendix A).
func linkLocal(mac string) (netip.Addr, error) {
	m, err := net.ParseMAC(mac)
	if err != nil {
		return netip.Addr{}, err
	}
	return netip.AddrFrom16([16]byte{0: 0xfe, 1: 0x80, 8: m[0] ^ 2, 9: m[1], 10: m[2], 11: 0xff, 12: 0xfe, 13: m[3], 14: m[4], 15: m[5]}), nil
}

// setFilter makes the port's filter, or brings it up to date for a running guest.
func (d *Driver) setFilter(ctx context.Context, c *virt.Connect, p *work.Port) error {
	held, err := d.held(ctx, work.IsBridge)
	if err != nil {
		return err
	}
	own := make([]netip.Prefix, 0, len(held))
	for _, h := range held {
		own = append(own, h.Prefix)
	}
	own = hostnet.Merge(own)
	doc, err := describeFilter(p, own)
	if err != nil {
		return fmt.Errorf("describe filter of port %s: %w", p.ID, err)
	}
	err = d.neighbours.set(ctx, p, foreign(p, own))
	if err != nil {
		return fmt.Errorf("guard the neighbours of port %s: %w", p.ID, err)
	}
	return defineFilter(c, doc)
}

func defineFilter(c *virt.Connect, doc *filterDoc) error {
	text, err := xml.Marshal(doc)
	if err != nil {
		return err
	}
	f, err := c.NWFilterDefineXML(string(text))
	if err != nil {
		return fmt.Errorf("define filter %s: %w", doc.Name, err)
	}
	return f.Free()
}

// dropFilter removes a port's filter, which no guest names any more.
func (d *Driver) dropFilter(ctx context.Context, c *virt.Connect, name string) error {
	err := d.neighbours.drop(ctx, strings.TrimPrefix(name, filterPrefix))
	if err != nil {
		return fmt.Errorf("remove what goes with filter %s: %w", name, err)
	}
	f, err := c.LookupNWFilterByName(name)
	if errors.Is(err, virt.ERR_NO_NWFILTER) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("look up filter %s: %w", name, err)
	}
	defer f.Free()
	err = f.Undefine()
	if err != nil && !errors.Is(err, virt.ERR_NO_NWFILTER) {
		return fmt.Errorf("remove filter %s: %w", name, err)
	}
	return nil
}

// muteFilters closes the filters of a guest's interfaces whose ports it has no more: their
// addresses may be another's already.
func muteFilters(dom *virt.Domain, c *virt.Connect, keep []work.Port) error {
	names, err := filtersOf(dom)
	if err != nil {
		return err
	}
	for _, name := range without(names, keep) {
		doc := &filterDoc{Name: name, Chain: "root", UUID: strings.TrimPrefix(name, filterPrefix)}
		doc.add(drop, nil)
		err = defineFilter(c, doc)
		if err != nil {
			return err
		}
	}
	return nil
}

// filtersOf lists the filters of ports that a guest's interfaces name.
func filtersOf(dom *virt.Domain) ([]string, error) {
	live, err := liveXML(dom)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, i := range live.Interfaces {
		if strings.HasPrefix(i.Filter.Filter, filterPrefix) {
			names = append(names, i.Filter.Filter)
		}
	}
	return names, nil
}

// without gives the filters that are none of the ports'.
func without(names []string, ports []work.Port) []string {
	return slices.DeleteFunc(names, func(name string) bool {
		return slices.ContainsFunc(ports, func(p work.Port) bool { return filterName(p.ID) == name })
	})
}
