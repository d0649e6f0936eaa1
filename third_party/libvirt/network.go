package libvirt

// #include "binding.h"
import "C"

import (
	"time"
	"unsafe"
)

// Network is a virtual network.
type Network struct {
	ptr C.virNetworkPtr
}

// NetworkUpdateCommand is how Update changes a section.
type NetworkUpdateCommand int

// The ways to change a section.
const (
	NETWORK_UPDATE_COMMAND_NONE      = NetworkUpdateCommand(0)
	NETWORK_UPDATE_COMMAND_MODIFY    = NetworkUpdateCommand(1)
	NETWORK_UPDATE_COMMAND_DELETE    = NetworkUpdateCommand(2)
	NETWORK_UPDATE_COMMAND_ADD_LAST  = NetworkUpdateCommand(3)
	NETWORK_UPDATE_COMMAND_ADD_FIRST = NetworkUpdateCommand(4)
)

// NetworkUpdateSection is the part of the network that Update changes.
type NetworkUpdateSection int

// The parts of a network.
const (
	NETWORK_SECTION_NONE              = NetworkUpdateSection(0)
	NETWORK_SECTION_BRIDGE            = NetworkUpdateSection(1)
	NETWORK_SECTION_DOMAIN            = NetworkUpdateSection(2)
	NETWORK_SECTION_IP                = NetworkUpdateSection(3)
	NETWORK_SECTION_IP_DHCP_HOST      = NetworkUpdateSection(4)
	NETWORK_SECTION_IP_DHCP_RANGE     = NetworkUpdateSection(5)
	NETWORK_SECTION_FORWARD           = NetworkUpdateSection(6)
	NETWORK_SECTION_FORWARD_INTERFACE = NetworkUpdateSection(7)
	NETWORK_SECTION_FORWARD_PF        = NetworkUpdateSection(8)
	NETWORK_SECTION_PORTGROUP         = NetworkUpdateSection(9)
	NETWORK_SECTION_DNS_HOST          = NetworkUpdateSection(10)
	NETWORK_SECTION_DNS_TXT           = NetworkUpdateSection(11)
	NETWORK_SECTION_DNS_SRV           = NetworkUpdateSection(12)
)

// NetworkUpdateFlags says what Update changes.
type NetworkUpdateFlags uint

// Update changes the present state, the live network or the persistent one.
const (
	NETWORK_UPDATE_AFFECT_CURRENT = NetworkUpdateFlags(0)
	NETWORK_UPDATE_AFFECT_LIVE    = NetworkUpdateFlags(1)
	NETWORK_UPDATE_AFFECT_CONFIG  = NetworkUpdateFlags(2)
)

// NetworkXMLFlags says which XML GetXMLDesc gives.
type NetworkXMLFlags uint

// NETWORK_XML_INACTIVE asks for the persistent definition.
const NETWORK_XML_INACTIVE = NetworkXMLFlags(1)

// IPAddrType is the family of an address.
type IPAddrType int

// The address families.
const (
	IP_ADDR_TYPE_IPV4 = IPAddrType(0)
	IP_ADDR_TYPE_IPV6 = IPAddrType(1)
)

// NetworkDHCPLease is an address that a guest holds.
type NetworkDHCPLease struct {
	Iface      string
	ExpiryTime time.Time
	Type       IPAddrType
	Mac        string
	Iaid       string
	IPaddr     string
	Prefix     uint
	Hostname   string
	Clientid   string
}

// Free lets go of the network's handle.
func (n *Network) Free() error {
	var e C.kn_error
	C.kn_virNetworkFree(&e, n.ptr)
	err := take(&e)
	if err != nil {
		return err
	}
	n.ptr = nil
	return nil
}

// GetName gives the network's name.
func (n *Network) GetName() (string, error) {
	var e C.kn_error
	s := C.kn_virNetworkGetName(&e, n.ptr)
	err := take(&e)
	if err != nil {
		return "", err
	}
	return C.GoString(s), nil
}

// GetBridgeName gives the name of the network's bridge.
func (n *Network) GetBridgeName() (string, error) {
	var e C.kn_error
	s := C.kn_virNetworkGetBridgeName(&e, n.ptr)
	return takeString(s), take(&e)
}

// Create starts the network.
func (n *Network) Create() error {
	var e C.kn_error
	C.kn_virNetworkCreate(&e, n.ptr)
	return take(&e)
}

// Destroy stops the network.
func (n *Network) Destroy() error {
	var e C.kn_error
	C.kn_virNetworkDestroy(&e, n.ptr)
	return take(&e)
}

// Undefine removes the persistent definition.
func (n *Network) Undefine() error {
	var e C.kn_error
	C.kn_virNetworkUndefine(&e, n.ptr)
	return take(&e)
}

// IsActive reports whether the network runs.
func (n *Network) IsActive() (bool, error) {
	var e C.kn_error
	r := C.kn_virNetworkIsActive(&e, n.ptr)
	return r == 1, take(&e)
}

// SetAutostart says whether the network starts with the daemon.
func (n *Network) SetAutostart(autostart bool) error {
	var on C.int
	if autostart {
		on = 1
	}
	var e C.kn_error
	C.kn_virNetworkSetAutostart(&e, n.ptr, on)
	return take(&e)
}

// GetAutostart reports whether the network starts with the daemon.
func (n *Network) GetAutostart() (bool, error) {
	var on C.int
	var e C.kn_error
	C.kn_virNetworkGetAutostart(&e, n.ptr, &on)
	return on != 0, take(&e)
}

// Update changes one section of the network.
func (n *Network) Update(cmd NetworkUpdateCommand, section NetworkUpdateSection, parentIndex int, xml string, flags NetworkUpdateFlags) error {
	cXML := C.CString(xml)
	defer C.free(unsafe.Pointer(cXML))
	var e C.kn_error
	C.kn_virNetworkUpdate(&e, n.ptr, C.uint(cmd), C.uint(section), C.int(parentIndex), cXML, C.uint(flags))
	return take(&e)
}

// GetXMLDesc describes the network in XML.
func (n *Network) GetXMLDesc(flags NetworkXMLFlags) (string, error) {
	var e C.kn_error
	s := C.kn_virNetworkGetXMLDesc(&e, n.ptr, C.uint(flags))
	return takeString(s), take(&e)
}

// GetDHCPLeases lists the addresses that guests hold.
func (n *Network) GetDHCPLeases() ([]NetworkDHCPLease, error) {
	var list **C.kn_dhcp_lease
	var e C.kn_error
	count := C.kn_virNetworkGetDHCPLeases(&e, n.ptr, nil, &list, 0)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	defer C.kn_freeLeases(list, count)
	leases := make([]NetworkDHCPLease, 0, int(count))
	for _, l := range unsafe.Slice(list, int(count)) {
		leases = append(leases, NetworkDHCPLease{
			Iface: C.GoString(l.iface), ExpiryTime: time.Unix(int64(l.expirytime), 0), Type: IPAddrType(l._type),
			Mac: C.GoString(l.mac), Iaid: C.GoString(l.iaid), IPaddr: C.GoString(l.ipaddr), Prefix: uint(l.prefix),
			Hostname: C.GoString(l.hostname), Clientid: C.GoString(l.clientid),
		})
	}
	return leases, nil
}
