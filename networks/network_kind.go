package networks

import (
	"context"
	"database/sql"
	"fmt"

	"kilonova/compat"
	"kilonova/schema"
)

// never is the SQL of what nothing here is. A bare 0 would be a column's number to ORDER BY.
const never = "(0 + 0)"

func (s *Service) networkKind() *kind {
	k := &kind{
		single: "network", plural: "networks", path: "networks", tagged: true, writers: members,
		from: "networks n", columns: networkColumns, alias: "n", shared: "n.shared = 1",
		attrs: append(standard("n"), []attribute{
			{name: "name", column: "n.name", form: nameText, post: members, put: members},
			{name: "admin_state_up", column: "n.admin_state_up", form: boolean, post: members, put: members},
			{name: "shared", column: "n.shared", form: boolean, post: admins, put: admins},
			{name: "mtu", column: "n.mtu", form: number, post: members, put: members},
			{name: "port_security_enabled", column: "n.port_security_enabled", form: boolean, post: members, put: members},
			{name: "router:external", column: never, form: boolean, post: admins, put: admins},
			{name: "is_default", column: never, form: boolean, post: admins, put: admins},
			{name: "availability_zone_hints", form: listOnly, valid: checkZones, post: members},
			{name: "provider:network_type", column: "n.network_type", form: textNull, post: admins, put: admins, hidden: true},
			{name: "provider:physical_network", column: "COALESCE(n.physical_network, '')", form: textNull, post: admins, put: admins, hidden: true},
			{name: "provider:segmentation_id", column: "COALESCE(n.segmentation_id, 0)", form: numNull, post: admins, put: admins, hidden: true},
			{name: "status", column: "'ACTIVE'"},
			{name: "vlan_transparent", column: never, form: boolean}, {name: "qinq", column: never, form: boolean},
		}...),
		missing: networkNotFound,
		insert:  s.createNetwork, change: s.changeNetwork, delete: s.deleteNetwork,
	}
	k.read = func(ctx context.Context, q schema.Querier, query string, args []any) ([]record, error) {
		var nets []*Network
		err := q.SelectContext(ctx, &nets, query, args...)
		if err != nil || len(nets) == 0 {
			return nil, err
		}
		err = addSubnets(ctx, q, nets)
		return recordsOf(nets), err
	}
	return k
}

func recordsOf[T record](rows []T) []record {
	out := make([]record, len(rows))
	for i, r := range rows {
		out[i] = r
	}
	return out
}

func networkNotFound(id string) *compat.Fault {
	return fault(404, "NetworkNotFound", "Network %s could not be found.", id)
}

func (n *Network) about() about { return about{key: n.Key, id: n.ID, project: n.ProjectID} }

func (n *Network) view() map[string]any {
	subnets := make([]string, 0, len(n.Subnets))
	for _, sub := range n.Subnets {
		subnets = append(subnets, sub.ID)
	}
	zones := []string{}
	if len(subnets) > 0 {
		zones = append(zones, zone)
	}
	return map[string]any{
		"id": n.ID, "name": n.Name, "project_id": n.ProjectID, "description": n.Description,
		"admin_state_up": n.AdminStateUp, "status": "ACTIVE", "shared": n.Shared, "subnets": subnets, "mtu": n.MTU,
		"router:external": false, "port_security_enabled": n.PortSecurity,
		"availability_zones": zones, "availability_zone_hints": []string{},
		"ipv4_address_scope": nil, "ipv6_address_scope": nil,
		"provider:network_type": n.Type, "provider:physical_network": orNull(n.Physical), "provider:segmentation_id": numberOrNull(n.Segmentation),
		"created_at": n.CreatedAt.ISO(), "updated_at": n.UpdatedAt.ISO(), "revision_number": n.Revision,
	}
}

func orNull(s sql.NullString) any {
	if !s.Valid {
		return nil
	}
	return s.String
}

func numberOrNull(n sql.NullInt64) any {
	if !n.Valid {
		return nil
	}
	return n.Int64
}

// checkNetwork refuses what this release's networks cannot be.
func (s *Service) checkNetwork(v values) error {
	if v.bool("router:external", false) || v.bool("is_default", false) {
		return invalidInput("external networks are not available in this release")
	}
	if kind := v.text("provider:network_type", "local"); kind != "local" || v["provider:physical_network"] != nil || v["provider:segmentation_id"] != nil {
		return invalidInput("only networks of type local, without a physical network, are available")
	}
	for _, hint := range v.list("availability_zone_hints") {
		if hint != zone {
			return fault(404, "AvailabilityZoneNotFound", "AvailabilityZone %s could not be found.", clip(compat.PythonText(hint)))
		}
	}
	mtu := v.int("mtu", s.cfg.MTU)
	if v.has("mtu") && mtu != 0 && (mtu < minMTU || mtu > maxMTU) {
		return invalidInput("MTU %d is not between %d and %d", mtu, minMTU, maxMTU)
	}
	return nil
}

func (s *Service) createNetwork(r *request, tx *schema.Tx, v values) (string, error) {
	err := s.checkNetwork(v)
	if err != nil {
		return "", err
	}
	n := &Network{
		ID: s.newUUID(), ProjectID: v.text("project_id", ""), Name: v.text("name", ""), Description: v.text("description", ""),
		AdminStateUp: v.bool("admin_state_up", true), Shared: v.bool("shared", false),
		PortSecurity: v.bool("port_security_enabled", true), MTU: v.int("mtu", s.cfg.MTU), Type: "local",
	}
	if n.MTU == 0 {
		n.MTU = s.cfg.MTU
	}
	err = s.takeQuota(r.Context(), tx, n.ProjectID, resNetwork, 1)
	if err != nil {
		return "", err
	}
	return n.ID, s.insertNetwork(r.Context(), tx, n)
}

const foreignPorts = `SELECT COUNT(*) FROM ports WHERE network_id = ? AND project_id <> ?`

func (s *Service) changeNetwork(r *request, tx *schema.Tx, old record, v values) error {
	err := s.checkNetwork(v)
	if err != nil {
		return err
	}
	n := old.(*Network)
	if n.Shared && v.has("shared") && !v.bool("shared", true) {
		var others int
		err = tx.GetContext(r.Context(), &others, foreignPorts, n.Key, n.ProjectID)
		if err != nil {
			return fmt.Errorf("count ports of other projects: %w", err)
		}
		if others > 0 {
			return fault(409, "InvalidSharedSetting", "Unable to reconfigure sharing settings for network %s. Multiple tenants are using it.", n.ID)
		}
	}
	if v.has("mtu") && v.int("mtu", 0) == 0 {
		v["mtu"] = int64(s.cfg.MTU)
	}
	for _, sub := range n.Subnets {
		if sub.Version == 6 && v.int("mtu", n.MTU) < minIPv6MTU && v.has("mtu") {
			return mtuConflict(n.ID)
		}
	}
	var u setter
	u.plain(v, map[string]string{"name": "name", "description": "description", "admin_state_up": "admin_state_up",
		"shared": "shared", "mtu": "mtu", "port_security_enabled": "port_security_enabled"})
	return u.run(r.Context(), tx, "networks", n.Key, s.clock.Now())
}

const (
	deleteSubnet  = `DELETE FROM subnets WHERE id = ?`
	deleteNetwork = `DELETE FROM networks WHERE id = ?`
)

// deleteNetwork deletes a network with the subnets that were seen on it. One that came
// meanwhile keeps the network, as a port does.
func (s *Service) deleteNetwork(r *request, tx *schema.Tx, old record) error {
	n := old.(*Network)
	ctx := r.Context()
	inUse := fault(409, "NetworkInUse", "Unable to complete operation on network %s. There are one or more ports still in use on the network.", n.ID)
	for _, sub := range n.Subnets {
		err := s.dropSubnet(ctx, tx, sub)
		if schema.ForeignKey(err) {
			return inUse
		}
		if err != nil && !compat.IsNotFound(err) {
			return err
		}
	}
	got, err := schema.Changed(tx.ExecContext(ctx, deleteNetwork, n.Key))
	if schema.ForeignKey(err) {
		return inUse
	}
	if err != nil {
		return fmt.Errorf("delete network %s: %w", n.ID, err)
	}
	if !got {
		return networkNotFound(n.ID)
	}
	return giveQuota(ctx, tx, n.ProjectID, resNetwork, 1)
}

// dropSubnet deletes a subnet with its tags and gives its quota back; the error keeps the
// database's refusal while addresses are in use.
func (s *Service) dropSubnet(ctx context.Context, tx *schema.Tx, sub *Subnet) error {
	got, err := schema.Changed(tx.ExecContext(ctx, deleteSubnet, sub.Key))
	if err != nil {
		return fmt.Errorf("delete subnet %s: %w", sub.ID, err)
	}
	if !got {
		return subnetNotFound(sub.ID)
	}
	_, err = tx.ExecContext(ctx, deleteTags, sub.ID)
	if err != nil {
		return fmt.Errorf("delete tags: %w", err)
	}
	return giveQuota(ctx, tx, sub.ProjectID, resSubnet, 1)
}
