package networks

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/work"
)

// vnicTypes are the kinds of interface that Neutron knows; of them there is one here.
var vnicTypes = []string{"normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic",
	"vdpa", "accelerator-direct", "accelerator-direct-physical", "remote-managed"}

func (s *Service) portKind() *kind {
	k := &kind{
		single: "port", plural: "ports", path: "ports", tagged: true, writers: plugs, landlord: []string{"delete"},
		filters: map[string]specialFilter{"fixed_ips": (*kind).withAddresses, "security_groups": (*kind).inGroups},
		from:    "ports p JOIN networks n ON n.id = p.network_id", columns: portColumns, alias: "p",
		attrs: append(standard("p"), []attribute{
			{name: "name", column: "p.name", form: nameText, post: plugs, put: plugs},
			{name: "network_id", column: "n.uuid", form: idRef, post: plugs, required: true},
			{name: "mac_address", column: "p.mac_address", form: hardware, post: landlords, put: managers},
			{name: "admin_state_up", column: "p.admin_state_up", form: boolean, post: plugs, put: plugs},
			{name: "status", column: "p.status"},
			{name: "device_id", column: "p.device_id", form: textNull, post: plugs, put: plugs},
			{name: "device_owner", column: "p.device_owner", form: textNull, post: plugs, put: plugs,
				parts: []part{{post: landlords, put: landlords, in: ofNetworkService}}},
			{name: "fixed_ips", form: listOnly, valid: checkFixedIPs, post: plugs, put: landlords,
				parts: []part{{name: "ip_address", post: landlords, put: landlords, in: member("ip_address")}}},
			{name: "security_groups", form: list, valid: checkUUIDs, post: plugs, put: plugs},
			{name: "port_security_enabled", column: "p.port_security_enabled", form: boolean, post: landlords, put: landlords},
			{name: "allowed_address_pairs", form: list, valid: checkPairs, post: landlords, put: landlords},
			{name: "extra_dhcp_opts", form: list, post: plugs, put: plugs},
			{name: "binding:vnic_type", column: "p.vnic_type", oneOf: vnicTypes, post: plugs, put: plugs},
			{name: "binding:host_id", column: "p.host", form: textNull, post: services, put: services, hidden: true},
			{name: "binding:profile", form: object, post: services, put: services, hidden: true},
			{name: "ip_allocation", column: "CASE WHEN EXISTS (SELECT 1 FROM port_addresses ia WHERE ia.port_id = p.id) THEN 'immediate' ELSE 'none' END"},
			{name: "binding:vif_type", hidden: true}, {name: "binding:vif_details", hidden: true},
		}...),
		missing: portNotFound,
		insert:  s.createPort, change: s.changePort, delete: s.removePort,
	}
	k.beforeWrite = func(r *request, v values) error {
		_, err := s.defaultGroup(r.Context(), v.text("project_id", ""))
		return err
	}
	k.read = readPorts
	return k
}

// ofNetworkService tells whether a device_owner is that of a part of the network itself, whose
// ports are trusted.
func ofNetworkService(value any) bool {
	owner, _ := value.(string)
	return strings.HasPrefix(owner, "network:")
}

func portNotFound(id string) *compat.Fault {
	return fault(404, "PortNotFound", "Port %s could not be found.", id)
}

const groupsOfPorts = `
SELECT m.port_id, '' AS device_id, g.id, g.uuid, g.name
FROM port_security_groups m JOIN security_groups g ON g.id = m.group_id
WHERE m.port_id IN (?)
ORDER BY m.port_id, g.id`

func readPorts(ctx context.Context, q schema.Querier, query string, args []any) ([]record, error) {
	var ports []*portRow
	err := q.SelectContext(ctx, &ports, query, args...)
	if err != nil || len(ports) == 0 {
		return nil, err
	}
	keys := make([]int64, 0, len(ports))
	for _, p := range ports {
		keys = append(keys, p.Key)
	}
	fixed, err := addressesOf(ctx, q, keys)
	if err != nil {
		return nil, err
	}
	members, err := selectIn[memberRow](ctx, q, groupsOfPorts, nil, keys)
	if err != nil {
		return nil, fmt.Errorf("read security groups: %w", err)
	}
	groups := map[int64][]SecurityGroup{}
	for _, m := range members {
		groups[m.PortKey] = append(groups[m.PortKey], SecurityGroup{ID: m.ID, Name: m.Name, key: m.Key})
	}
	for _, p := range ports {
		p.fixed, p.groups = fixed[p.Key], groups[p.Key]
	}
	return recordsOf(ports), nil
}

func (p *portRow) about() about {
	return about{key: p.Key, id: p.ID, project: p.ProjectID, landlord: p.NetworkOwner}
}

func (p *portRow) view() map[string]any {
	fixed := make([]map[string]string, 0, len(p.fixed))
	for _, ip := range p.fixed {
		fixed = append(fixed, map[string]string{"subnet_id": ip.SubnetID, "ip_address": ip.Address})
	}
	groups := make([]string, 0, len(p.groups))
	for _, g := range p.groups {
		groups = append(groups, g.ID)
	}
	vif, details := "unbound", map[string]any{}
	if p.Host != "" {
		vif, details = "bridge", map[string]any{"bridge_name": work.BridgeName(p.NetworkID), "port_filter": p.PortSecurity}
	}
	if p.Failure != "" {
		vif, details = "binding_failed", map[string]any{"reason": p.Failure}
	}
	return map[string]any{
		"id": p.ID, "name": p.Name, "project_id": p.ProjectID, "description": p.Description,
		"network_id": p.NetworkID, "mac_address": p.MAC, "admin_state_up": p.AdminStateUp, "status": p.Status,
		"device_id": p.DeviceID, "device_owner": p.DeviceOwner, "fixed_ips": fixed, "security_groups": groups,
		"port_security_enabled": p.PortSecurity, "allowed_address_pairs": validJSON(p.Pairs, "[]"),
		"extra_dhcp_opts": validJSON(p.DHCPOpts, "[]"), "dns_name": "", "dns_assignment": []string{}, "qos_policy_id": nil,
		"binding:vnic_type": p.VNICType, "binding:host_id": p.Host, "binding:profile": validJSON(p.Profile, "{}"),
		"binding:vif_type": vif, "binding:vif_details": details,
		"created_at": p.CreatedAt.ISO(), "updated_at": p.UpdatedAt.ISO(), "revision_number": p.Revision,
	}
}

// maxFixedIPs is Neutron's default.
const maxFixedIPs = 5

func (s *Service) createPort(r *request, tx *schema.Tx, v values) (string, error) {
	ctx := r.Context()
	row, err := s.find(ctx, tx, s.networkKind(), r.caller, v.text("network_id", ""))
	if err != nil {
		return "", err
	}
	n := row.(*Network)
	err = s.portKind().guard(r, n.ProjectID, v)
	if err != nil {
		return "", err
	}
	p := &portRow{
		ID: s.newUUID(), NetworkKey: n.Key, NetworkID: n.ID, ProjectID: v.text("project_id", ""), Name: v.text("name", ""),
		Description: v.text("description", ""), AdminStateUp: v.bool("admin_state_up", true), Status: statusDown,
		DeviceID: v.text("device_id", ""), DeviceOwner: v.text("device_owner", ""), NIC: noNIC, Host: v.text("binding:host_id", ""),
		Profile: "{}", PortSecurity: newPortSecurity(n, v), Pairs: "[]", DHCPOpts: "[]",
	}
	err = p.accept(v)
	if err == nil {
		err = s.guardPairs(ctx, tx, r.caller, p.pairs)
	}
	if err != nil {
		return "", err
	}
	if !p.PortSecurity && len(v.list("allowed_address_pairs")) > 0 {
		return "", pairsNeedSecurity()
	}
	err = s.takeQuota(ctx, tx, p.ProjectID, resPort, 1)
	if err != nil {
		return "", err
	}
	err = s.insertPort(ctx, tx, p)
	if schema.ForeignKey(err) {
		return "", networkNotFound(n.ID)
	}
	if err != nil {
		return "", err
	}
	if v.has("fixed_ips") && len(v.list("fixed_ips")) > 0 {
		err = s.giveAddresses(ctx, tx, n, p, v.list("fixed_ips"), nil)
	} else if !v.has("fixed_ips") {
		_, err = s.takeAddresses(ctx, tx, n, p.Key)
	}
	if err != nil {
		return "", err
	}
	groups, err := s.portGroups(ctx, tx, p, v)
	if err != nil {
		return "", err
	}
	return p.ID, putInGroups(ctx, tx, p.Key, groups)
}

// newPortSecurity tells whether a new port is guarded: as asked, never for the network's own
// ports, always for a port with an address that asks for security groups, else as its network.
func newPortSecurity(n *Network, v values) bool {
	if ofNetworkService(v["device_owner"]) {
		return false
	}
	hasAddress := len(n.Subnets) > 0 && (!v.has("fixed_ips") || len(v.list("fixed_ips")) > 0)
	return v.bool("port_security_enabled", n.PortSecurity || (hasAddress && v.has("security_groups")))
}

func pairsNeedSecurity() error {
	return fault(409, "AddressPairAndPortSecurityRequired", "Port Security must be enabled in order to have allowed address pairs on a port.")
}

func groupsNeedSecurity() error {
	return fault(400, "PortSecurityAndIPRequiredForSecurityGroups", "Port security must be enabled and port must have an IP address in order to use security groups.")
}

// accept checks and takes over the attributes that need more than their form.
func (p *portRow) accept(v values) error {
	p.MAC = v.text("mac_address", p.MAC)
	if v.has("binding:vnic_type") || p.VNICType == "" {
		p.VNICType = v.text("binding:vnic_type", "normal")
	}
	if p.VNICType != "normal" {
		return invalidInput("binding:vnic_type %s is not available in this release", clip(p.VNICType))
	}
	if len(v.list("extra_dhcp_opts")) > 0 {
		return invalidInput("extra_dhcp_opts is not available in this release")
	}
	if m, ok := v["binding:profile"].(map[string]any); ok {
		raw, err := json.Marshal(m)
		if err != nil || len(raw) > 4095 {
			return invalidInput("binding:profile is too large")
		}
		p.Profile = string(raw)
	} else if v.has("binding:profile") {
		p.Profile = "{}"
	}
	if !v.has("allowed_address_pairs") {
		return nil
	}
	p.pairs = pairsOf(v.list("allowed_address_pairs"))
	return p.packPairs()
}

type addressPair struct {
	IP  string `json:"ip_address"`
	MAC string `json:"mac_address"`
}

// pairsOf gives the pairs of a list that checkPairs has passed.
func pairsOf(given []any) []addressPair {
	pairs := make([]addressPair, 0, len(given))
	for _, one := range given {
		m, _ := one.(map[string]any)
		ip, _ := m["ip_address"].(string)
		mac, _ := m["mac_address"].(string)
		pairs = append(pairs, addressPair{IP: ip, MAC: mac})
	}
	return pairs
}

// storedPairs reads the column that packPairs writes.
func storedPairs(column string) []addressPair {
	if column == "" || column == "[]" {
		return nil
	}
	var pairs []addressPair
	err := json.Unmarshal([]byte(column), &pairs)
	if err != nil {
		return nil // nobody else writes it: what cannot be read allows nothing
	}
	return pairs
}

// packPairs writes the JSON column. A pair without a hardware address has the port's, which
// may make it the same as another.
func (p *portRow) packPairs() error {
	if p.pairs == nil || p.MAC == "" {
		return nil
	}
	full := make([]addressPair, 0, len(p.pairs))
	for _, pair := range p.pairs {
		if pair.MAC == "" {
			pair.MAC = p.MAC
		}
		if slices.Contains(full, pair) {
			return duplicatePair(pair.MAC, pair.IP)
		}
		full = append(full, pair)
	}
	p.Pairs = listJSON(full)
	return nil
}

// portGroups gives the groups that a new port is in: those asked for, else the default.
func (s *Service) portGroups(ctx context.Context, tx *schema.Tx, p *portRow, v values) ([]SecurityGroup, error) {
	if v.has("security_groups") {
		return s.groupsByID(ctx, tx, p, v.list("security_groups"))
	}
	if !p.PortSecurity {
		return nil, nil
	}
	g := SecurityGroup{Name: defaultGroupName}
	err := tx.QueryRowContext(ctx, selectDefaultGroup, p.ProjectID).Scan(&g.key, &g.ID)
	if err != nil {
		return nil, fmt.Errorf("read the default security group: %w", err)
	}
	return []SecurityGroup{g}, nil
}

// groupsByID finds the groups that a client lists by id, of the port's project.
func (s *Service) groupsByID(ctx context.Context, tx *schema.Tx, p *portRow, ids []any) ([]SecurityGroup, error) {
	if len(ids) > 0 && !p.PortSecurity {
		return nil, groupsNeedSecurity()
	}
	names := make([]string, 0, len(ids))
	for _, one := range ids {
		names = append(names, one.(string)) // checkUUIDs saw to it
	}
	rows, err := selectIn2[groupRow](ctx, tx, groupsNamed, p.ProjectID, names)
	if err != nil {
		return nil, fmt.Errorf("read security groups: %w", err)
	}
	var out []SecurityGroup
	for _, name := range names {
		found := false
		for _, row := range rows {
			if row.ID == name && !hasGroup(out, row.Key) {
				out = append(out, row.group())
			}
			found = found || row.ID == name
		}
		if !found {
			return nil, groupNotFound(name)
		}
	}
	return out, nil
}

// giveAddresses gives a port the addresses of a fixed_ips list: each entry names a subnet,
// an address or both. kept are addresses that the port has already. Named addresses go
// first, so that none of them is taken for an entry that leaves the choice.
func (s *Service) giveAddresses(ctx context.Context, tx *schema.Tx, n *Network, p *portRow, given []any, kept []FixedIP) error {
	if len(given)+len(kept) > maxFixedIPs {
		return invalidInput("Exceeded maximum amount of fixed ips per port")
	}
	place := len(kept)
	for _, named := range []bool{true, false} {
		for _, one := range given {
			m, _ := one.(map[string]any)
			_, is := m["ip_address"]
			if is != named {
				continue
			}
			err := s.giveAddress(ctx, tx, n, p, m, place)
			if err != nil {
				return err
			}
			place++
		}
	}
	return nil
}

func (s *Service) giveAddress(ctx context.Context, tx *schema.Tx, n *Network, p *portRow, entry map[string]any, place int) error {
	sub, a, err := n.fixedIP(entry, p.DeviceOwner)
	if err != nil {
		return err
	}
	if a.IsValid() {
		_, err = s.takeThisAddress(ctx, tx, sub, a, p.Key, place)
	} else {
		_, err = s.takeAddress(ctx, tx, sub, p.Key, place)
	}
	if schema.ForeignKey(err) {
		return subnetNotFound(sub.ID)
	}
	return err
}

// fixedIP finds the subnet that one entry of fixed_ips means, and the address if it names one.
func (n *Network) fixedIP(entry map[string]any, deviceOwner string) (*Subnet, netip.Addr, error) {
	var a netip.Addr
	address, named := entry["ip_address"]
	if named {
		a, _ = parseAddress(address)
	}
	if len(n.Subnets) == 0 {
		return nil, a, invalidInput("IP allocation requires subnets for network")
	}
	id, inSubnet := entry["subnet_id"].(string)
	if !inSubnet && !named {
		return nil, a, invalidInput("IP allocation requires subnet_id or ip_address")
	}
	for _, sub := range n.Subnets {
		if inSubnet && sub.ID != canonical(id) {
			continue
		}
		if !named || sub.holds(a, deviceOwner) {
			return sub, a, nil
		}
		if inSubnet {
			return nil, a, fault(400, "InvalidIpForSubnet", "IP address %s is not a valid IP for the specified subnet.", a)
		}
	}
	if inSubnet {
		return nil, a, subnetNotFound(clip(id))
	}
	return nil, a, fault(400, "InvalidIpForNetwork", "IP address %s is not a valid IP for any of the subnets on the specified network.", a)
}

const clearGroups = `DELETE FROM port_security_groups WHERE port_id = ?`

func (s *Service) changePort(r *request, tx *schema.Tx, old record, v values) error {
	ctx := r.Context()
	p := old.(*portRow)
	row, err := s.find(ctx, tx, s.networkKind(), adminView, p.NetworkID)
	if err != nil {
		return err
	}
	n := row.(*Network)
	err = s.portKind().guard(r, n.ProjectID, v)
	if err != nil {
		return err
	}
	for _, name := range []string{"device_id", "device_owner"} {
		if v.has(name) && v[name] == nil {
			v[name] = ""
		}
	}
	if p.NIC != noNIC && !everything(r.caller) && (v.text("device_id", p.DeviceID) != p.DeviceID || v.text("device_owner", p.DeviceOwner) != p.DeviceOwner) {
		return fault(409, "PortInUse", "Unable to complete operation on port %s for network %s. Port already has an attached device %s.", p.ID, p.NetworkID, p.DeviceID)
	}
	if v.has("mac_address") && p.Host != "" {
		return fault(409, "PortBound", "Unable to complete operation on port %s, port is already bound, port type: bridge, old_mac %s.", p.ID, p.MAC)
	}
	p.PortSecurity = v.bool("port_security_enabled", p.PortSecurity)
	p.DeviceOwner = v.text("device_owner", p.DeviceOwner)
	err = p.accept(v)
	if err == nil && v.has("allowed_address_pairs") {
		err = s.guardPairs(ctx, tx, r.caller, p.pairs)
	}
	if err != nil {
		return err
	}
	if !p.PortSecurity && p.Pairs != "[]" {
		return pairsNeedSecurity()
	}
	err = s.regroup(ctx, tx, p, v)
	if err == nil && v.has("fixed_ips") {
		err = s.readdress(ctx, tx, n, p, v.list("fixed_ips"))
	}
	if err != nil {
		return err
	}
	var u setter
	u.plain(v, map[string]string{"name": "name", "description": "description", "admin_state_up": "admin_state_up",
		"device_id": "device_id", "device_owner": "device_owner", "port_security_enabled": "port_security_enabled"})
	if v.has("binding:host_id") {
		u.set("host", v.text("binding:host_id", ""))
	}
	u.set("mac_address", p.MAC)
	u.set("profile", p.Profile)
	u.set("allowed_address_pairs", p.Pairs)
	err = u.run(ctx, tx, "ports", p.Key, s.clock.Now())
	if schema.Duplicate(err) {
		return macInUse(p)
	}
	if err != nil || !enforced(v) {
		return err
	}
	return s.tellHost(r, tx, p)
}

// enforced reports whether an update changes what a port's host makes of it.
func enforced(v values) bool {
	return slices.ContainsFunc([]string{"allowed_address_pairs", "port_security_enabled", "fixed_ips", "mac_address"}, v.has)
}

// tellHost lets the host of a server's port know that the port is another now, or gone.
func (s *Service) tellHost(r *request, tx *schema.Tx, p *portRow) error {
	r.ring = ""
	if p.NIC == noNIC || s.PortsChanged == nil {
		return nil
	}
	host, err := s.PortsChanged(r.Context(), tx, p.DeviceID)
	r.ring = host
	return err
}

// regroup puts a port into the groups that an update names.
func (s *Service) regroup(ctx context.Context, tx *schema.Tx, p *portRow, v values) error {
	if !v.has("security_groups") {
		if !p.PortSecurity && len(p.groups) > 0 {
			return fault(409, "PortSecurityPortHasSecurityGroup", "Port has security group associated. Cannot disable port security or IP address until security group is removed.")
		}
		return nil
	}
	groups, err := s.groupsByID(ctx, tx, p, v.list("security_groups"))
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, clearGroups, p.Key)
	if err != nil {
		return fmt.Errorf("clear security groups of port %s: %w", p.ID, err)
	}
	return putInGroups(ctx, tx, p.Key, groups)
}

const dropAddress = `DELETE FROM port_addresses WHERE port_id = ? AND address = ?`

// readdress makes a port's addresses those of a fixed_ips list. Those that the list names
// stay, and so does one for each entry that only wants some address of its subnet.
func (s *Service) readdress(ctx context.Context, tx *schema.Tx, n *Network, p *portRow, given []any) error {
	rest := slices.Clone(p.fixed)
	var kept []FixedIP
	keep := func(fits func(FixedIP) bool) bool {
		i := slices.IndexFunc(rest, fits)
		if i < 0 {
			return false
		}
		kept, rest = append(kept, rest[i]), slices.Delete(rest, i, i+1)
		return true
	}
	var fresh, open []any
	for _, one := range given {
		m, _ := one.(map[string]any)
		a, named := parseAddress(m["ip_address"])
		id, inSubnet := m["subnet_id"].(string)
		switch {
		case !named:
			open = append(open, one)
		case !keep(func(ip FixedIP) bool {
			return ip.Address == a.String() && (!inSubnet || ip.SubnetID == canonical(id))
		}):
			fresh = append(fresh, one)
		}
	}
	for _, one := range open {
		m, _ := one.(map[string]any)
		id, _ := m["subnet_id"].(string)
		if !keep(func(ip FixedIP) bool { return ip.SubnetID == canonical(id) }) {
			fresh = append(fresh, one)
		}
	}
	for _, ip := range rest {
		_, err := tx.ExecContext(ctx, dropAddress, p.Key, ip.Address)
		if err != nil {
			return fmt.Errorf("drop address of port %s: %w", p.ID, err)
		}
	}
	return s.giveAddresses(ctx, tx, n, p, fresh, kept)
}

func (s *Service) removePort(r *request, tx *schema.Tx, old record) error {
	p := old.(*portRow)
	err := s.deletePorts(r.Context(), tx, p.ProjectID, []int64{p.Key})
	if err != nil {
		return err
	}
	return s.tellHost(r, tx, p)
}
