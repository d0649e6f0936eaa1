package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"strings"

	virt "libvirt.org/go/libvirt"

	"kilonova/computed"
	"kilonova/work"
)

// metadataAddress is held by every bridge, so that no guest's request leaves the host.
const metadataAddress = "169.254.169.254"

// networkName is the libvirt network of a network.
func networkName(n *work.Network) string { return "kn-" + n.ID[:min(8, len(n.ID))] }

type (
	networkDoc struct {
		XMLName xml.Name     `xml:"network"`
		NS      string       `xml:"xmlns:dnsmasq,attr"`
		Name    string       `xml:"name"`
		UUID    string       `xml:"uuid,omitempty"`
		Forward *mode        `xml:"forward"`
		Bridge  bridgeDoc    `xml:"bridge"`
		MTU     *sizeAttr    `xml:"mtu"`
		DNS     enabled      `xml:"dns"`
		IPs     []ipDoc      `xml:"ip"`
		Options []optionAttr `xml:"dnsmasq:options>dnsmasq:option"`
	}
	bridgeDoc struct {
		Name  string `xml:"name,attr"`
		STP   string `xml:"stp,attr"`
		Delay string `xml:"delay,attr"`
	}
	ipDoc struct {
		Family  string   `xml:"family,attr,omitempty"`
		Address string   `xml:"address,attr"`
		Prefix  int      `xml:"prefix,attr"`
		DHCP    *dhcpDoc `xml:"dhcp"`
	}
	dhcpDoc struct {
		Hosts []hostDoc `xml:"host"`
	}
	hostDoc struct {
		XMLName xml.Name `xml:"host"`
		MAC     string   `xml:"mac,attr"`
		IP      string   `xml:"ip,attr"`
	}
	optionAttr struct {
		Value string `xml:"value,attr"`
	}

	// liveNetwork is what we read of a network's XML.
	liveNetwork struct {
		UUID        string `xml:"uuid"`
		Connections int    `xml:"connections,attr"`
		Forward     mode   `xml:"forward"`
		Bridge      struct {
			Name string `xml:"name,attr"`
		} `xml:"bridge"`
		MTU sizeAttr `xml:"mtu"`
		IPs []struct {
			Address string `xml:"address,attr"`
			Prefix  int    `xml:"prefix,attr"`
			DHCP    *struct {
				Hosts []hostDoc `xml:"host"`
			} `xml:"dhcp"`
		} `xml:"ip"`
		Options []optionAttr `xml:"options>option"`
	}
)

var bridgeRE = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,14}$`)

// describeNetwork gives the network as libvirt shall have it, without DHCP hosts.
// libvirt's dnsmasq serves one IPv4 range a network: that of the first subnet with DHCP.
func (d *Driver) describeNetwork(n *work.Network) (*networkDoc, error) {
	if !bridgeRE.MatchString(n.Bridge) {
		return nil, fmt.Errorf("bridge name %q: %w", n.Bridge, ErrProperty)
	}
	doc := &networkDoc{
		NS:   "http://libvirt.org/schemas/network/dnsmasq/1.0",
		Name: networkName(n), Bridge: bridgeDoc{n.Bridge, "off", "0"}, DNS: enabled{"no"},
	}
	if n.MTU > 0 {
		doc.MTU = &sizeAttr{n.MTU}
	}
	switch n.Outbound {
	case "":
	case "nat":
		doc.Forward = &mode{"nat"}
	default:
		return nil, fmt.Errorf("outbound %q: %w", n.Outbound, ErrProperty)
	}
	served := false
	for _, s := range n.Subnets {
		if s.Gateway == "" {
			continue // nothing for the host to hold, so no DHCP either
		}
		prefix, err := netip.ParsePrefix(s.CIDR)
		if err != nil {
			return nil, fmt.Errorf("subnet %s: %w", s.ID, err)
		}
		gateway, err := netip.ParseAddr(s.Gateway)
		if err != nil {
			return nil, fmt.Errorf("gateway of subnet %s: %w", s.ID, err)
		}
		ip := ipDoc{Address: gateway.String(), Prefix: prefix.Bits()}
		if gateway.Is6() {
			ip.Family = "ipv6"
		}
		if s.DHCP && gateway.Is4() && !served {
			served = true
			ip.DHCP = &dhcpDoc{}
			doc.Options, err = dhcpOptions(n, &s, gateway, d.cfg.NoMetadataAddress)
			if err != nil {
				return nil, err
			}
		}
		doc.IPs = append(doc.IPs, ip)
	}
	if !d.cfg.NoMetadataAddress {
		doc.IPs = append(doc.IPs, ipDoc{Address: metadataAddress, Prefix: 32})
	}
	return doc, nil
}

// dhcpOptions are for dnsmasq itself. Without no-ping it holds each new lease for three
// seconds. Guests of an isolated network have no router, and reach the metadata address
// by a route of its own.
func dhcpOptions(n *work.Network, s *work.Subnet, gateway netip.Addr, noMetadata bool) ([]optionAttr, error) {
	options := []optionAttr{{"no-ping"}}
	if len(s.DNS) > 0 {
		for _, a := range s.DNS {
			_, err := netip.ParseAddr(a)
			if err != nil {
				return nil, fmt.Errorf("name server of subnet %s: %w", s.ID, err)
			}
		}
		options = append(options, optionAttr{"dhcp-option=option:dns-server," + strings.Join(s.DNS, ",")})
	}
	if !noMetadata {
		routes := fmt.Sprintf("dhcp-option=option:classless-static-route,%s/32,%s", metadataAddress, gateway)
		if n.Outbound == "nat" { // clients that heed this option ignore the router option
			routes += ",0.0.0.0/0," + gateway.String()
		}
		options = append(options, optionAttr{routes})
	}
	return options, nil
}

// PlugPorts makes and starts the ports' networks and tells their DHCP servers of the
// ports. It mends what a reboot of the host left: networks that are defined but down.
func (d *Driver) PlugPorts(ctx context.Context, g *work.Guest) error {
	d.networks.Lock()
	defer d.networks.Unlock()
	for i := range g.Ports {
		p := &g.Ports[i]
		err := d.checkRanges(ctx, &p.Network)
		if err != nil {
			return &computed.PortError{Port: p.ID, Err: err}
		}
		err = d.do(ctx, func(c *virt.Connect) error {
			net, err := d.ensureNetwork(c, &p.Network)
			if err != nil {
				return err
			}
			defer net.Free()
			err = d.setFilter(ctx, c, p)
			if err != nil {
				return err
			}
			for _, f := range p.Fixed {
				err := d.setHosts(net, hostDoc{MAC: p.MAC, IP: f.Address})
				if err != nil {
					return fmt.Errorf("tell DHCP server: %w", err)
				}
			}
			return nil
		})
		if err != nil {
			return &computed.PortError{Port: p.ID, Err: err}
		}
	}
	return wrap(d.mute(ctx, g), "silence the lost ports of", g.UUID)
}

// mute closes the interfaces of a running guest whose ports are gone.
func (d *Driver) mute(ctx context.Context, g *work.Guest) error {
	return nothingIsDone(d.domain(ctx, g.UUID, func(dom *virt.Domain) error {
		active, err := dom.IsActive()
		if err != nil || !active {
			return err
		}
		return d.do(ctx, func(c *virt.Connect) error { return muteFilters(dom, c, g.Ports) })
	}))
}

// UnplugPorts makes the DHCP servers forget the ports; networks stay.
func (d *Driver) UnplugPorts(ctx context.Context, g *work.Guest) error {
	d.networks.Lock()
	defer d.networks.Unlock()
	for _, p := range g.Ports {
		err := d.do(ctx, func(c *virt.Connect) error {
			err := d.dropFilter(ctx, c, filterName(p.ID))
			if err != nil {
				return err
			}
			net, err := c.LookupNetworkByName(networkName(&p.Network))
			if errors.Is(err, virt.ERR_NO_NETWORK) {
				return nil
			}
			if err != nil {
				return err
			}
			defer net.Free()
			err = d.dropHosts(net, p.MAC)
			if err != nil {
				return err
			}
			d.releaseLeases(net, func(l *virt.NetworkDHCPLease) bool { return strings.EqualFold(l.Mac, p.MAC) })
			return nil
		})
		if err != nil {
			return fmt.Errorf("unplug port %s of %s: %w", p.ID, g.UUID, err)
		}
	}
	return nil
}

// ensureNetwork makes the network as described and starts it. A network that is in use
// gets a changed description with its next start.
func (d *Driver) ensureNetwork(c *virt.Connect, n *work.Network) (*virt.Network, error) {
	doc, err := d.describeNetwork(n)
	if err != nil {
		return nil, err
	}
	net, err := c.LookupNetworkByName(doc.Name)
	restart := false
	switch {
	case errors.Is(err, virt.ERR_NO_NETWORK):
		net, err = defineNetwork(c, doc)
	case err == nil:
		net, restart, err = d.redefineNetwork(c, net, doc)
	}
	if err != nil {
		return nil, fmt.Errorf("define network %s: %w", doc.Name, err)
	}
	active, err := net.IsActive()
	if err == nil && active && restart {
		err = net.Destroy()
		active = false
	}
	if err == nil && !active {
		err = net.Create()
		if errors.Is(err, virt.ERR_OPERATION_INVALID) { // libvirtd started it meanwhile
			err = nil
		}
	}
	if err == nil {
		// After a reboot libvirt would start it without a look at what the host has by then; the
		// next guest's port starts it.
		err = net.SetAutostart(false)
	}
	if err != nil {
		net.Free()
		return nil, fmt.Errorf("start network %s: %w", doc.Name, err)
	}
	return net, nil
}

func defineNetwork(c *virt.Connect, doc *networkDoc) (*virt.Network, error) {
	text, err := xml.Marshal(doc)
	if err != nil {
		return nil, err
	}
	return c.NetworkDefineXML(string(text))
}

// redefineNetwork changes the definition if it differs, keeping DHCP hosts, and says
// whether a restart would bring the change in without disturbing a guest.
func (d *Driver) redefineNetwork(c *virt.Connect, net *virt.Network, doc *networkDoc) (*virt.Network, bool, error) {
	present, err := readNetwork(net, virt.NETWORK_XML_INACTIVE)
	if err != nil {
		net.Free()
		return nil, false, err
	}
	if sameNetwork(present, doc) {
		return net, false, nil
	}
	doc.UUID = present.UUID
	for i := range doc.IPs {
		for _, ip := range present.IPs {
			if doc.IPs[i].DHCP != nil && ip.DHCP != nil && ip.Address == doc.IPs[i].Address {
				doc.IPs[i].DHCP.Hosts = ip.DHCP.Hosts
			}
		}
	}
	live, err := readNetwork(net, 0)
	net.Free()
	if err != nil {
		return nil, false, err
	}
	net, err = defineNetwork(c, doc)
	if err != nil {
		return nil, false, err
	}
	if live.Connections > 0 {
		d.log.Warn("a network changed while guests are connected; the change takes effect at its next start", "network", doc.Name)
	}
	return net, live.Connections == 0, nil
}

func readNetwork(net *virt.Network, flags virt.NetworkXMLFlags) (*liveNetwork, error) {
	text, err := net.GetXMLDesc(flags)
	if err != nil {
		return nil, fmt.Errorf("get network XML: %w", err)
	}
	var l liveNetwork
	err = xml.Unmarshal([]byte(text), &l)
	if err != nil {
		return nil, fmt.Errorf("read network XML: %w", err)
	}
	return &l, nil
}

// sameNetwork compares all but DHCP hosts.
func sameNetwork(l *liveNetwork, doc *networkDoc) bool {
	forward, mtu := "", 0
	if doc.Forward != nil {
		forward = doc.Forward.Mode
	}
	if doc.MTU != nil {
		mtu = doc.MTU.Size
	}
	if l.Forward.Mode != forward || l.Bridge.Name != doc.Bridge.Name || l.MTU.Size != mtu ||
		len(l.IPs) != len(doc.IPs) || len(l.Options) != len(doc.Options) {
		return false
	}
	for i, ip := range doc.IPs {
		if l.IPs[i].Address != ip.Address || l.IPs[i].Prefix != ip.Prefix {
			return false
		}
	}
	for i, o := range doc.Options {
		if l.Options[i].Value != o.Value {
			return false
		}
	}
	return true
}

// The live network and its definition are changed one by one, as one may lack what the
// other has.
var networkSides = []struct {
	xml    virt.NetworkXMLFlags
	update virt.NetworkUpdateFlags
}{
	{virt.NETWORK_XML_INACTIVE, virt.NETWORK_UPDATE_AFFECT_CONFIG},
	{0, virt.NETWORK_UPDATE_AFFECT_LIVE},
}

// setHosts makes want the only DHCP host with its MAC or its address. An address outside
// of the served range is no matter of DHCP.
func (d *Driver) setHosts(net *virt.Network, want hostDoc) error {
	addr, err := netip.ParseAddr(want.IP)
	if err != nil {
		return err
	}
	for _, side := range networkSides {
		l, err := readNetwork(net, side.xml)
		if err != nil {
			return err
		}
		parent := -1
		for i, ip := range l.IPs {
			gateway, err := netip.ParseAddr(ip.Address)
			if err == nil && gateway.Is4() == addr.Is4() && ip.Address != metadataAddress &&
				netip.PrefixFrom(gateway, ip.Prefix).Contains(addr) {
				parent = i
			}
		}
		if parent < 0 || !addr.Is4() {
			continue
		}
		have := false
		if dhcp := l.IPs[parent].DHCP; dhcp != nil {
			for _, h := range dhcp.Hosts {
				same := strings.EqualFold(h.MAC, want.MAC)
				if same && h.IP == want.IP {
					have = true
					continue
				}
				if same || h.IP == want.IP {
					err := updateHost(net, virt.NETWORK_UPDATE_COMMAND_DELETE, parent, h, side.update)
					if err != nil {
						return fmt.Errorf("remove %s: %w", h.IP, err)
					}
				}
			}
		}
		if !have {
			err := updateHost(net, virt.NETWORK_UPDATE_COMMAND_ADD_LAST, parent, want, side.update)
			if err != nil {
				return fmt.Errorf("add %s: %w", want.IP, err)
			}
		}
	}
	// A lease of an earlier holder would keep the address from the new one.
	d.releaseLeases(net, func(l *virt.NetworkDHCPLease) bool {
		return l.IPaddr == want.IP && !strings.EqualFold(l.Mac, want.MAC)
	})
	return nil
}

// dropHosts removes the DHCP hosts with the MAC.
func (d *Driver) dropHosts(net *virt.Network, mac string) error {
	for _, side := range networkSides {
		if side.update == virt.NETWORK_UPDATE_AFFECT_LIVE {
			active, err := net.IsActive()
			if err != nil {
				return err
			}
			if !active {
				continue
			}
		}
		l, err := readNetwork(net, side.xml)
		if err != nil {
			return err
		}
		for i, ip := range l.IPs {
			if ip.DHCP == nil {
				continue
			}
			for _, h := range ip.DHCP.Hosts {
				if !strings.EqualFold(h.MAC, mac) {
					continue
				}
				err := updateHost(net, virt.NETWORK_UPDATE_COMMAND_DELETE, i, h, side.update)
				if err != nil {
					return fmt.Errorf("remove %s: %w", h.IP, err)
				}
			}
		}
	}
	return nil
}

func updateHost(net *virt.Network, cmd virt.NetworkUpdateCommand, parent int, h hostDoc, flags virt.NetworkUpdateFlags) error {
	text, err := xml.Marshal(h)
	if err != nil {
		return err
	}
	return net.Update(cmd, virt.NETWORK_SECTION_IP_DHCP_HOST, parent, string(text), flags)
}
