// Package networks is the embedded network service: Neutron's v2.0 API for networks,
// subnets, ports, security groups and quotas, the addresses of every server, and the
// compute API's proxies of all that.
//
// Ports are made in the transaction that makes their server (Allocate), so that neither is
// left without the other, and an address is a row whose primary key is (subnet, address):
// whatever the number of processes, the database refuses to give one address twice. Which
// address to try next is a hint that each process keeps in memory.
//
// The guests' side of it, bridges and DHCP, is a hypervisor host's work; it learns from
// work.Port all that it needs.
//
// Known differences from Neutron: routers, floating IPs, subnet pools and agents are empty
// lists; a port is bound as soon as it has a host. The host serves DHCP from the gateway's
// address, so a subnet without one has none, nor one whose gateway is of another range or a
// port's.
package networks
