package networks

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"sort"

	"kilonova/compat"
	"kilonova/schema"
)

var ipv6Modes = []string{"dhcpv6-stateful", "dhcpv6-stateless", "slaac"}

func (s *Service) subnetKind() *kind {
	k := &kind{
		single: "subnet", plural: "subnets", path: "subnets", tagged: true, writers: members,
		from: "subnets s JOIN networks n ON n.id = s.network_id", columns: subnetColumns, alias: "s",
		shared: "n.shared = 1", landlord: []string{"update", "delete"},
		attrs: append(standard("s"), []attribute{
			{name: "name", column: "s.name", form: nameText, post: members, put: members},
			{name: "network_id", column: "n.uuid", form: idRef, post: members, required: true},
			{name: "ip_version", column: "s.ip_version", form: number, post: members, required: true},
			{name: "cidr", column: "s.cidr", form: textNull, filter: filterRange, post: members},
			{name: "gateway_ip", column: "COALESCE(s.gateway_ip, '')", form: textNull, filter: filterAddress, post: members, put: members},
			{name: "enable_dhcp", column: "s.enable_dhcp", form: boolean, post: members, put: members},
			{name: "allocation_pools", form: list, valid: checkPools, post: members, put: members},
			{name: "dns_nameservers", form: list, valid: checkNameServers, post: members, put: members},
			{name: "host_routes", form: list, valid: checkHostRoutes, post: members, put: members},
			{name: "ipv6_ra_mode", column: "''", oneOf: ipv6Modes, post: members},
			{name: "ipv6_address_mode", column: "''", oneOf: ipv6Modes, post: members},
			{name: "subnetpool_id", column: "''", form: idNull, post: members},
			{name: "prefixlen", form: numNull, post: members},
			{name: "segment_id", column: "''", form: idNull, post: admins, put: admins},
			{name: "service_types", form: list, post: admins, put: admins},
			{name: "shared", column: "n.shared", form: boolean}, {name: "router:external", column: never, form: boolean},
		}...),
		missing: subnetNotFound,
		insert:  s.createSubnet, change: s.changeSubnet, delete: s.removeSubnet,
	}
	k.read = func(ctx context.Context, q schema.Querier, query string, args []any) ([]record, error) {
		var subs []*Subnet
		err := q.SelectContext(ctx, &subs, query, args...)
		if err != nil {
			return nil, err
		}
		for _, sub := range subs {
			err = sub.unpack()
			if err != nil {
				return nil, err
			}
		}
		return recordsOf(subs), nil
	}
	return k
}

func subnetNotFound(id string) *compat.Fault {
	return fault(404, "SubnetNotFound", "Subnet %s could not be found.", id)
}

// filterRange reads a range to look for, as clients see ranges.
func filterRange(v string) (any, error) {
	p, ok := parseRange(v)
	if !ok {
		return nil, invalidInput("%s is not in a CIDR format", clip(v))
	}
	return p.String(), nil
}

// filterAddress folds the ways of writing an IPv6 address; what is none finds nothing.
func filterAddress(v string) (any, error) {
	a, ok := parseAddress(v)
	if !ok {
		return v, nil
	}
	return a.String(), nil
}

func (sub *Subnet) about() about {
	return about{key: sub.Key, id: sub.ID, project: sub.ProjectID, landlord: sub.NetworkOwner}
}

func (sub *Subnet) view() map[string]any {
	pools := make([]Range, 0, len(sub.Pools))
	routes := make([]Route, 0, len(sub.Routes))
	return map[string]any{
		"id": sub.ID, "name": sub.Name, "project_id": sub.ProjectID, "description": sub.Description,
		"network_id": sub.NetworkID, "cidr": sub.CIDR, "ip_version": sub.Version, "gateway_ip": orNull(sub.Gateway),
		"enable_dhcp": sub.DHCP, "allocation_pools": append(pools, sub.Pools...), "dns_nameservers": orEmpty(sub.DNS),
		"host_routes": append(routes, sub.Routes...), "ipv6_ra_mode": nil, "ipv6_address_mode": nil, "subnetpool_id": nil,
		"segment_id": nil, "service_types": []string{}, "dns_publish_fixed_ip": false,
		"created_at": sub.CreatedAt.ISO(), "updated_at": sub.UpdatedAt.ISO(), "revision_number": sub.Revision,
	}
}

const touchNetwork = `UPDATE networks SET revision = revision + 1, updated_at = ? WHERE uuid = ?`

func (s *Service) createSubnet(r *request, tx *schema.Tx, v values) (string, error) {
	ctx := r.Context()
	// The update comes first: it makes requests for one network wait for each other, so that
	// each sees the subnets of those before it.
	_, err := tx.ExecContext(ctx, touchNetwork, s.clock.Now(), v.text("network_id", ""))
	if err != nil {
		return "", fmt.Errorf("update the network: %w", err)
	}
	row, err := s.owned(ctx, tx, s.networkKind(), r.caller, v.text("network_id", ""), "create_subnet:")
	if err != nil {
		return "", err
	}
	n := row.(*Network)
	sub := &Subnet{ID: s.newUUID(), ProjectID: v.text("project_id", ""), Name: v.text("name", ""),
		Description: v.text("description", ""), DHCP: v.bool("enable_dhcp", true), Version: v.int("ip_version", 0)}
	err = checkOffered(v)
	if err != nil {
		return "", err
	}
	err = sub.setRange(n, v)
	if err == nil {
		err = s.guardSubnet(ctx, tx, r.caller, n.Key, sub)
	}
	if err == nil {
		err = sub.setLists(v)
	}
	if err != nil {
		return "", err
	}
	err = s.takeQuota(ctx, tx, sub.ProjectID, resSubnet, 1)
	if err != nil {
		return "", err
	}
	return sub.ID, s.insertSubnet(ctx, tx, n, sub)
}

// checkOffered refuses what this release's subnets cannot be.
func checkOffered(v values) error {
	if v["cidr"] != nil && v.has("prefixlen") {
		return badRequest("Bad subnets request: cidr and prefixlen must not be supplied together.")
	}
	for _, name := range []string{"ipv6_ra_mode", "ipv6_address_mode"} {
		if v[name] != nil && v.int("ip_version", 0) == 4 {
			return invalidInput("%s is not valid when ip_version is 4", name)
		}
	}
	for _, name := range []string{"subnetpool_id", "prefixlen", "segment_id", "ipv6_ra_mode", "ipv6_address_mode"} {
		if v[name] != nil {
			return invalidInput("%s is not available in this release", name)
		}
	}
	return nil
}

// sameVersion refuses an address or a range of the other IP version.
func (sub *Subnet) sameVersion(name string, is6 bool, text string) error {
	if is6 != (sub.Version == 6) {
		return invalidInput("%s '%s' does not match the ip_version '%d'", name, clip(text), sub.Version)
	}
	return nil
}

// minIPv6MTU is the least that IPv6 runs over, in bytes.
const minIPv6MTU = 1280

func mtuConflict(networkID string) error {
	return fault(409, "NetworkMTUSubnetConflict", "MTU of network %s is not valid, its subnets require %d at the least.", networkID, minIPv6MTU)
}

// checkDHCP refuses ranges in which there is nothing to give out.
func (sub *Subnet) checkDHCP(p netip.Prefix) error {
	switch {
	case (p.Addr().Is4() && p.Bits() > 30) || (p.Addr().Is6() && p.Bits() > 126):
		return invalidInput("Subnet has a prefix length that is incompatible with DHCP service enabled")
	case p.Addr().IsMulticast():
		return invalidInput("Multicast IP subnet is not supported if enable_dhcp is True")
	case p.Addr().IsLoopback():
		return invalidInput("Loopback IP subnet is not supported if enable_dhcp is True")
	case p.Addr().Is4() && p.Addr().IsUnspecified():
		return invalidInput("First IP '0.0.0.0' of network is not supported if enable_dhcp is True")
	}
	return nil
}

// setRange sets what a subnet keeps for life: its range, which no other of the network may
// touch, and the gateway and pools that follow from it unless they are given.
func (sub *Subnet) setRange(n *Network, v values) error {
	if v["cidr"] == nil {
		return badRequest("Bad subnets request: a subnetpool must be specified in the absence of a cidr.")
	}
	p, ok := parseRange(v["cidr"])
	if !ok {
		return invalidInput("%s is not in a CIDR format", shown(v["cidr"]))
	}
	p = p.Masked()
	err := sub.sameVersion("cidr", p.Addr().Is6(), p.String())
	if err != nil {
		return err
	}
	if sub.Version == 6 && n.MTU < minIPv6MTU {
		return mtuConflict(n.ID)
	}
	if sub.DHCP {
		err = sub.checkDHCP(p)
		if err != nil {
			return err
		}
	}
	if p.Bits() == 0 || p.Addr().IsMulticast() || p.Addr().IsLoopback() || p.Addr().IsUnspecified() {
		return invalidInput("the range %s cannot be a subnet", p)
	}
	for _, other := range n.Subnets {
		if other.prefix().Overlaps(p) {
			return invalidInput("Requested subnet with cidr: %s for network: %s overlaps with another subnet", p, n.ID)
		}
	}
	sub.CIDR = p.String()
	gateway := p.Addr().Next()
	if v.has("gateway_ip") {
		gateway, err = sub.gateway(v["gateway_ip"], p)
		if err != nil {
			return err
		}
	} else if !p.Contains(gateway) {
		gateway = netip.Addr{}
	}
	sub.setGateway(gateway)
	if !v.has("allocation_pools") {
		sub.Pools = defaultPools(p, gateway)
		return nil
	}
	sub.Pools, err = parsePools(v.list("allocation_pools"), p)
	if err == nil {
		err = outsidePools(gateway, sub.Pools)
	}
	return err
}

func (sub *Subnet) setGateway(gateway netip.Addr) {
	sub.Gateway = sql.NullString{}
	if gateway.IsValid() {
		sub.Gateway = nullString(gateway.String())
	}
}

// gateway reads a gateway's address; null is none. It may be anywhere but on the network or
// broadcast address of its own subnet: one outside is somebody else's router.
func (sub *Subnet) gateway(value any, p netip.Prefix) (netip.Addr, error) {
	if value == nil {
		return netip.Addr{}, nil
	}
	a, ok := parseAddress(value)
	if !ok {
		return a, wrong("gateway_ip", "'%s' is not a valid IP address", shown(value))
	}
	err := sub.sameVersion("gateway_ip", a.Is6(), a.String())
	if err != nil {
		return a, err
	}
	if a.Is4() && p.Bits() < 31 && (a == p.Masked().Addr() || a == lastOf(p)) {
		return a, invalidInput("Gateway is not valid on subnet")
	}
	return a, nil
}

func parsePools(given []any, p netip.Prefix) ([]Range, error) {
	first, last := p.Addr(), lastOf(p)
	if p.Addr().Is4() && p.Bits() < 31 {
		first, last = first.Next(), last.Prev()
	}
	if p.Addr().Is6() && p.Bits() < 127 {
		first = first.Next() // the address of all routers
	}
	pools := make([]Range, 0, len(given))
	for _, one := range given {
		m, _ := one.(map[string]any)
		start, okStart := parseAddress(m["start"])
		end, okEnd := parseAddress(m["end"])
		if !okStart || !okEnd || start.BitLen() != end.BitLen() || end.Less(start) || start.BitLen() != p.Addr().BitLen() {
			return nil, fault(400, "InvalidAllocationPool", "The allocation pool %s-%s is not valid.", shown(m["start"]), shown(m["end"]))
		}
		if start.Less(first) || last.Less(end) {
			return nil, fault(400, "OutOfBoundsAllocationPool", "The allocation pool %s-%s spans beyond the subnet cidr %s.", start, end, p)
		}
		pools = append(pools, Range{start, end})
	}
	sort.Slice(pools, func(i, j int) bool { return pools[i].Start.Less(pools[j].Start) })
	for i := 1; i < len(pools); i++ {
		if pools[i].Start.Compare(pools[i-1].End) <= 0 {
			return nil, fault(409, "OverlappingAllocationPools", "Found overlapping allocation pools: %s-%s %s-%s for subnet %s.",
				pools[i-1].Start, pools[i-1].End, pools[i].Start, pools[i].End, p)
		}
	}
	return pools, nil
}

// outsidePools refuses a gateway address that would be given to ports.
func outsidePools(gateway netip.Addr, pools []Range) error {
	for _, pool := range pools {
		if gateway.IsValid() && pool.Start.Compare(gateway) <= 0 && gateway.Compare(pool.End) <= 0 {
			return fault(409, "GatewayConflictWithAllocationPools", "Gateway ip %s conflicts with allocation pool %s-%s.", gateway, pool.Start, pool.End)
		}
	}
	return nil
}

// maxNameServers and maxRoutes are Neutron's defaults.
const (
	maxNameServers = 5
	maxRoutes      = 20
)

// setLists takes over the name servers and routes that a client gave.
func (sub *Subnet) setLists(v values) error {
	if len(v.list("service_types")) > 0 {
		return invalidInput("service_types is not available in this release")
	}
	if v.has("dns_nameservers") {
		err := sub.setNameServers(v.list("dns_nameservers"))
		if err != nil {
			return err
		}
	}
	if !v.has("host_routes") {
		return nil
	}
	return sub.setRoutes(v.list("host_routes"))
}

func (sub *Subnet) setNameServers(given []any) error {
	if len(given) > maxNameServers {
		return fault(400, "DNSNameServersExhausted", "Unable to complete operation for %s. The number of DNS nameservers exceeds the limit %d.", sub.ID, maxNameServers)
	}
	sub.DNS = nil
	for _, one := range given {
		a, _ := parseAddress(one)
		err := sub.sameVersion("dns_nameserver", a.Is6(), shown(one))
		if err != nil {
			return err
		}
		sub.DNS = append(sub.DNS, a.String())
	}
	return nil
}

func (sub *Subnet) setRoutes(given []any) error {
	if len(given) > maxRoutes {
		return fault(400, "HostRoutesExhausted", "Unable to complete operation for %s. The number of host routes exceeds the limit %d.", sub.ID, maxRoutes)
	}
	sub.Routes = nil
	for _, one := range given {
		m, _ := one.(map[string]any)
		to, _ := parsePrefix(m["destination"])
		via, _ := parseAddress(m["nexthop"])
		err := sub.sameVersion("nexthop", via.Is6(), via.String())
		if err == nil {
			err = sub.sameVersion("destination", to.Addr().Is6(), to.String())
		}
		if err != nil {
			return err
		}
		sub.Routes = append(sub.Routes, Route{Destination: to.String(), NextHop: via.String()})
	}
	return nil
}

func (s *Service) changeSubnet(r *request, tx *schema.Tx, old record, v values) error {
	sub := old.(*Subnet)
	p := sub.prefix()
	if v.bool("enable_dhcp", false) && !sub.DHCP {
		err := sub.checkDHCP(p)
		if err != nil {
			return err
		}
	}
	err := sub.changeRange(v, p)
	if err == nil && v.has("gateway_ip") {
		err = s.guardSubnet(r.Context(), tx, r.caller, sub.NetworkKey, sub)
	}
	if err == nil {
		err = sub.setLists(v)
	}
	if err != nil {
		return err
	}
	sub.pack()
	var u setter
	u.plain(v, map[string]string{"name": "name", "description": "description", "enable_dhcp": "enable_dhcp"})
	u.set("gateway_ip", sub.Gateway)
	u.set("allocation_pools", sub.RawPools)
	u.set("dns_nameservers", sub.RawDNS)
	u.set("host_routes", sub.RawRoutes)
	return u.run(r.Context(), tx, "subnets", sub.Key, s.clock.Now())
}

// changeRange takes over a new gateway and new pools, which must fit each other. A port may
// have the gateway's address: then it is the router.
func (sub *Subnet) changeRange(v values, p netip.Prefix) error {
	if !v.has("gateway_ip") && !v.has("allocation_pools") {
		return nil
	}
	gateway, _ := netip.ParseAddr(sub.Gateway.String) // none, if there is none
	var err error
	if v.has("gateway_ip") {
		gateway, err = sub.gateway(v["gateway_ip"], p)
	}
	if err == nil && v.has("allocation_pools") {
		sub.Pools, err = parsePools(v.list("allocation_pools"), p)
	}
	if err == nil {
		err = outsidePools(gateway, sub.Pools)
	}
	sub.setGateway(gateway)
	return err
}

func (s *Service) removeSubnet(r *request, tx *schema.Tx, old record) error {
	sub := old.(*Subnet)
	err := s.dropSubnet(r.Context(), tx, sub)
	if schema.ForeignKey(err) {
		return fault(409, "SubnetInUse", "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", sub.ID)
	}
	return err
}
