package libvirt

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"syscall"

	virt "libvirt.org/go/libvirt"
)

// releaseLeases gives back, in the guests' stead, the leases that match. Without it
// dnsmasq keeps an address from its next holder until the lease of the last one is over.
// It is best effort: the lease then ends by itself.
func (d *Driver) releaseLeases(n *virt.Network, match func(*virt.NetworkDHCPLease) bool) {
	leases, err := n.GetDHCPLeases()
	if err != nil {
		d.log.Debug("list leases", "err", err)
		return
	}
	for i := range leases {
		if !match(&leases[i]) {
			continue
		}
		err := d.release(n, &leases[i])
		if err != nil {
			d.log.Debug("release lease", "address", leases[i].IPaddr, "err", err)
		}
	}
}

// release sends the DHCP server of the network a DHCPRELEASE.
func (d *Driver) release(n *virt.Network, l *virt.NetworkDHCPLease) error {
	live, err := readNetwork(n, 0)
	if err != nil {
		return err
	}
	addr, err := netip.ParseAddr(l.IPaddr)
	if err != nil || !addr.Is4() {
		return err
	}
	var server netip.Addr
	for _, ip := range live.IPs {
		a, err := netip.ParseAddr(ip.Address)
		if err == nil && a.Is4() && netip.PrefixFrom(a, ip.Prefix).Contains(addr) {
			server = a
		}
	}
	if !server.IsValid() {
		return nil
	}
	packet, err := releasePacket(l.Mac, l.Clientid, addr, server)
	if err != nil {
		return err
	}
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) error {
		var bindErr error
		err := c.Control(func(fd uintptr) {
			bindErr = syscall.SetsockoptString(int(fd), syscall.SOL_SOCKET, syscall.SO_BINDTODEVICE, live.Bridge.Name)
		})
		if err != nil {
			return err
		}
		return bindErr
	}}
	conn, err := dialer.Dial("udp4", net.JoinHostPort(server.String(), "67"))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = conn.Write(packet)
	return err
}

// releasePacket makes a DHCPRELEASE (RFC 2131, section 4.4.6).
func releasePacket(mac, clientID string, addr, server netip.Addr) ([]byte, error) {
	hw, err := net.ParseMAC(mac)
	if err != nil {
		return nil, err
	}
	p := make([]byte, 236, 300)
	p[0], p[1], p[2] = 1, 1, byte(len(hw)) // request, Ethernet
	binary.BigEndian.PutUint32(p[4:], 0x6b6e)
	copy(p[12:16], addr.AsSlice())
	copy(p[28:44], hw)
	p = append(p, 99, 130, 83, 99)
	p = append(p, 53, 1, 7) // DHCPRELEASE
	p = append(p, 54, 4)
	p = append(p, server.AsSlice()...)
	if clientID != "" {
		id, err := hex.DecodeString(strings.ReplaceAll(clientID, ":", ""))
		if err != nil || len(id) > 255 {
			return nil, fmt.Errorf("client id %q", clientID)
		}
		p = append(p, 61, byte(len(id)))
		p = append(p, id...)
	}
	return append(p, 255), nil
}
