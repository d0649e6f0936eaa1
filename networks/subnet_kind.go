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

func (s *Service) subnetKind() *kind {
	k := &kind{
		single: "subnet", plural: "subnets", path: "subnets", tagged: true, writers: members,
		from: "subnets s JOIN networks n ON n.id = s.network_id", columns: subnetColumns, alias: "s", shared: "n.shared = 1",
		attrs: append(standard("s"), []attribute{
			{name: "name", column: "s.name", post: members, put: members},
			{name: "network_id", column: "n.uuid", form: idRef, post: members, required: true},
			{name: "ip_version", column: "s.ip_version", form: number, post: members, required: true},
			{name: "cidr", column: "s.cidr", form: textNull, post: members},
			{name: "gateway_ip", column: "COALESCE(s.gateway_ip, '')", form: textNull, post: members, put: members},
			{name: "enable_dhcp", column: "s.enable_dhcp", form: boolean, post: members, put: members},
			{name: "allocation_pools", form: list, post: members, put: members},
			{name: "dns_nameservers", form: list, post: members, put: members},
			{name: "host_routes", form: list, post: members, put: members},
			{name: "ipv6_ra_mode", form: textNull, post: members},
			{name: "ipv6_address_mode", form: textNull, post: members},
			{name: "subnetpool_id", form: idNull, post: members},
			{name: "prefixlen", form: numNull, post: members},
			{name: "segment_id", form: idNull, post: admins, put: admins},
			{name: "service_types", form: list, post: admins, put: admins},
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

func (sub *Subnet) about() about { return about{key: sub.Key, id: sub.ID, project: sub.ProjectID} }

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
	for _, name := range []string{"subnetpool_id", "prefixlen", "segment_id", "ipv6_ra_mode", "ipv6_address_mode"} {
		if v[name] != nil {
			return "", invalidInput("%s is not available in this release", name)
		}
	}
	err = sub.setRange(n, v)
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

// setRange sets what a subnet keeps for life: its range, which no other of the network may
// touch, and the gateway and pools that follow from it unless they are given.
func (sub *Subnet) setRange(n *Network, v values) error {
	if v["cidr"] == nil {
		return badRequest("Bad subnets request: a subnetpool must be specified in the absence of a cidr.")
	}
	p, err := netip.ParsePrefix(v.text("cidr", ""))
	if err != nil || p.Addr().Is4In6() {
		return badRequest("Invalid input for cidr. Reason: '%s' is not a valid IP subnet.", clip(v.text("cidr", "")))
	}
	p = p.Masked()
	version := 4
	if p.Addr().Is6() {
		version = 6
	}
	if sub.Version != version {
		return invalidInput("cidr %s does not match the ip_version '%d'", p, sub.Version)
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
		gateway, err = parseGateway(v["gateway_ip"], p)
		if err != nil {
			return err
		}
	} else if !p.Contains(gateway) {
		gateway = netip.Addr{}
	}
	sub.setGateway(gateway)
	sub.Pools = defaultPools(p, gateway)
	if len(v.list("allocation_pools")) > 0 {
		sub.Pools, err = parsePools(v.list("allocation_pools"), p, gateway)
	}
	return err
}

func (sub *Subnet) setGateway(gateway netip.Addr) {
	sub.Gateway = sql.NullString{}
	if gateway.IsValid() {
		sub.Gateway = nullString(gateway.String())
	}
}

func parseGateway(value any, p netip.Prefix) (netip.Addr, error) {
	text, ok := value.(string)
	if !ok {
		return netip.Addr{}, nil
	}
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" || a.Is4In6() {
		return a, badRequest("Invalid input for gateway_ip. Reason: '%s' is not a valid IP address.", clip(text))
	}
	if !p.Contains(a) || (p.Addr().Is4() && p.Bits() < 31 && (a == p.Addr() || a == lastOf(p))) {
		return a, invalidInput("Gateway is not valid on subnet")
	}
	return a, nil
}

func parsePools(given []any, p netip.Prefix, gateway netip.Addr) ([]Range, error) {
	pools := make([]Range, 0, len(given))
	for _, one := range given {
		m, _ := one.(map[string]any)
		start, err1 := netip.ParseAddr(fmt.Sprint(m["start"]))
		end, err2 := netip.ParseAddr(fmt.Sprint(m["end"]))
		if len(m) != 2 || err1 != nil || err2 != nil || start.BitLen() != end.BitLen() || end.Less(start) ||
			start.Zone() != "" || end.Zone() != "" {
			return nil, fault(400, "InvalidAllocationPool", "The allocation pool is not valid.")
		}
		if !p.Contains(start) || !p.Contains(end) || (p.Addr().Is4() && p.Bits() < 31 && (start == p.Addr() || end == lastOf(p))) {
			return nil, fault(400, "OutOfBoundsAllocationPool", "The allocation pool %s-%s spans beyond the subnet cidr %s.", start, end, p)
		}
		if gateway.IsValid() && start.Compare(gateway) <= 0 && gateway.Compare(end) <= 0 {
			return nil, fault(409, "GatewayConflictWithAllocationPools", "Gateway ip %s conflicts with allocation pool %s-%s.", gateway, start, end)
		}
		pools = append(pools, Range{start, end})
	}
	sort.Slice(pools, func(i, j int) bool { return pools[i].Start.Less(pools[j].Start) })
	for i := 1; i < len(pools); i++ {
		if pools[i].Start.Compare(pools[i-1].End) <= 0 {
			return nil, fault(409, "OverlappingAllocationPools", "Found overlapping allocation pools for subnet %s.", p)
		}
	}
	return pools, nil
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
		sub.DNS = nil
		for _, one := range v.list("dns_nameservers") {
			a, err := netip.ParseAddr(fmt.Sprint(one))
			if err != nil || a.Zone() != "" {
				return badRequest("Invalid input for dns_nameservers. Reason: '%s' is not a valid nameserver.", clip(fmt.Sprint(one)))
			}
			sub.DNS = append(sub.DNS, a.String())
		}
		if len(sub.DNS) > maxNameServers {
			return fault(400, "DNSNameServersExhausted", "Unable to complete operation for %s. The number of DNS nameservers exceeds the limit %d.", sub.ID, maxNameServers)
		}
	}
	if !v.has("host_routes") {
		return nil
	}
	sub.Routes = nil
	for _, one := range v.list("host_routes") {
		m, _ := one.(map[string]any)
		to, err1 := netip.ParsePrefix(fmt.Sprint(m["destination"]))
		via, err2 := netip.ParseAddr(fmt.Sprint(m["nexthop"]))
		if len(m) != 2 || err1 != nil || err2 != nil || via.Zone() != "" {
			return badRequest("Invalid input for host_routes. Reason: '%s' is not a valid route.", clip(fmt.Sprint(one)))
		}
		sub.Routes = append(sub.Routes, Route{Destination: to.String(), NextHop: via.String()})
	}
	if len(sub.Routes) > maxRoutes {
		return fault(400, "HostRoutesExhausted", "Unable to complete operation for %s. The number of host routes exceeds the limit %d.", sub.ID, maxRoutes)
	}
	return nil
}

func (s *Service) changeSubnet(r *request, tx *schema.Tx, old record, v values) error {
	sub := old.(*Subnet)
	p := sub.prefix()
	var u setter
	u.plain(v, map[string]string{"name": "name", "description": "description", "enable_dhcp": "enable_dhcp"})
	gateway, _ := netip.ParseAddr(sub.Gateway.String)
	var err error
	if v.has("gateway_ip") {
		gateway, err = parseGateway(v["gateway_ip"], p)
		if err != nil {
			return err
		}
		err = s.gatewayFree(r.Context(), tx, sub, gateway)
		if err != nil {
			return err
		}
		sub.setGateway(gateway)
		u.set("gateway_ip", sub.Gateway)
	}
	given := make([]any, 0, len(sub.Pools))
	for _, pool := range sub.Pools {
		given = append(given, map[string]any{"start": pool.Start, "end": pool.End})
	}
	if v.has("allocation_pools") {
		given = v.list("allocation_pools")
	}
	sub.Pools, err = parsePools(given, p, gateway)
	if err == nil {
		err = sub.setLists(v)
	}
	if err != nil {
		return err
	}
	sub.pack()
	u.set("allocation_pools", sub.RawPools)
	u.set("dns_nameservers", sub.RawDNS)
	u.set("host_routes", sub.RawRoutes)
	return u.run(r.Context(), tx, "subnets", sub.Key, s.clock.Now())
}

const addressTaken = `SELECT COUNT(*) FROM port_addresses WHERE subnet_id = ? AND ip = ?`

// gatewayFree refuses a gateway address that a port has.
func (s *Service) gatewayFree(ctx context.Context, q schema.Querier, sub *Subnet, gateway netip.Addr) error {
	if !gateway.IsValid() {
		return nil
	}
	var n int
	err := q.GetContext(ctx, &n, addressTaken, sub.Key, addressKey(gateway))
	if err != nil {
		return fmt.Errorf("look for the gateway's address: %w", err)
	}
	if n > 0 {
		return fault(409, "GatewayIpInUse", "Current gateway ip %s already in use by a port. Unable to update.", gateway)
	}
	return nil
}

func (s *Service) removeSubnet(r *request, tx *schema.Tx, old record) error {
	sub := old.(*Subnet)
	err := s.dropSubnet(r.Context(), tx, sub)
	if schema.ForeignKey(err) {
		return fault(409, "SubnetInUse", "Unable to complete operation on subnet %s: One or more ports have an IP allocation from this subnet.", sub.ID)
	}
	return err
}
