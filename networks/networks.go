package networks

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"net/netip"

	"github.com/jmoiron/sqlx"

	"kilonova/schema"
	"kilonova/work"
)

// Network is a row of networks with its subnets.
type Network struct {
	Key          int64          `db:"id"`
	ID           string         `db:"uuid"`
	ProjectID    string         `db:"project_id"`
	Name         string         `db:"name"`
	Description  string         `db:"description"`
	AdminStateUp bool           `db:"admin_state_up"`
	Shared       bool           `db:"shared"`
	PortSecurity bool           `db:"port_security_enabled"`
	MTU          int            `db:"mtu"`
	Type         string         `db:"network_type"`
	Physical     sql.NullString `db:"physical_network"`
	Segmentation sql.NullInt64  `db:"segmentation_id"`
	MadeFor      sql.NullString `db:"made_for"`
	Revision     int64          `db:"revision"`
	CreatedAt    schema.Micros  `db:"created_at"`
	UpdatedAt    schema.Micros  `db:"updated_at"`

	Subnets []*Subnet `db:"-"`
}

const networkColumns = `n.id, n.uuid, n.project_id, n.name, n.description, n.admin_state_up, n.shared,
  n.port_security_enabled, n.mtu, n.network_type, n.physical_network, n.segmentation_id, n.made_for,
  n.revision, n.created_at, n.updated_at`

// Range is one allocation pool, both ends included.
type Range struct {
	Start netip.Addr `json:"start"`
	End   netip.Addr `json:"end"`
}

// Route is one entry of a subnet's host_routes.
type Route struct {
	Destination string `json:"destination"`
	NextHop     string `json:"nexthop"`
}

// Subnet is a row of subnets.
type Subnet struct {
	Key          int64          `db:"id"`
	ID           string         `db:"uuid"`
	NetworkKey   int64          `db:"network_id"`
	NetworkID    string         `db:"network_uuid"`
	NetworkOwner string         `db:"network_owner"`
	ProjectID    string         `db:"project_id"`
	Name         string         `db:"name"`
	Description  string         `db:"description"`
	Version      int            `db:"ip_version"`
	CIDR         string         `db:"cidr"`
	Gateway      sql.NullString `db:"gateway_ip"`
	DHCP         bool           `db:"enable_dhcp"`
	RawPools     string         `db:"allocation_pools"`
	RawDNS       string         `db:"dns_nameservers"`
	RawRoutes    string         `db:"host_routes"`
	Revision     int64          `db:"revision"`
	CreatedAt    schema.Micros  `db:"created_at"`
	UpdatedAt    schema.Micros  `db:"updated_at"`
	GatewayHeld  bool           `db:"gateway_held"` // by a port, which is the router then

	Pools  []Range  `db:"-"`
	DNS    []string `db:"-"`
	Routes []Route  `db:"-"`
}

const subnetColumns = `s.id, s.uuid, s.network_id, n.uuid AS network_uuid, n.project_id AS network_owner, s.project_id, s.name, s.description, s.ip_version,
  s.cidr, s.gateway_ip, s.enable_dhcp, s.allocation_pools, s.dns_nameservers, s.host_routes,
  s.revision, s.created_at, s.updated_at,
  EXISTS (SELECT 1 FROM port_addresses ga WHERE ga.subnet_id = s.id AND ga.address = s.gateway_ip) AS gateway_held`

// unpack reads the JSON columns.
func (sub *Subnet) unpack() error {
	err := json.Unmarshal([]byte(sub.RawPools), &sub.Pools)
	if err == nil {
		err = json.Unmarshal([]byte(sub.RawDNS), &sub.DNS)
	}
	if err == nil {
		err = json.Unmarshal([]byte(sub.RawRoutes), &sub.Routes)
	}
	if err != nil {
		return fmt.Errorf("subnet %s: stored lists: %w", sub.ID, err)
	}
	return nil
}

// pack writes the JSON columns; what it encodes always can be.
func (sub *Subnet) pack() {
	sub.RawPools, sub.RawDNS, sub.RawRoutes = listJSON(sub.Pools), listJSON(sub.DNS), listJSON(sub.Routes)
}

func listJSON[T any](list []T) string {
	if len(list) == 0 {
		return "[]"
	}
	raw, err := json.Marshal(list)
	if err != nil {
		return "[]"
	}
	return string(raw)
}

func (sub *Subnet) prefix() netip.Prefix {
	p, err := netip.ParsePrefix(sub.CIDR)
	if err != nil {
		return netip.Prefix{} // contains nothing
	}
	return p
}

// hostRoutes reports whether the gateway's address is for the host to hold: not if it is of
// another range, where it may be anybody's, and not if a port has it.
func (sub *Subnet) hostRoutes() bool {
	a, err := netip.ParseAddr(sub.Gateway.String)
	return err == nil && sub.prefix().Contains(a) && !sub.GatewayHeld
}

// guest gives the network as a hypervisor host needs it.
func (n *Network) guest(outbound string) work.Network {
	w := work.Network{ID: n.ID, Name: n.Name, Bridge: work.BridgeName(n.ID), MTU: n.MTU, Outbound: outbound}
	for _, sub := range n.Subnets {
		out := work.Subnet{ID: sub.ID, CIDR: sub.CIDR, DHCP: sub.DHCP, DNS: sub.DNS, Version: sub.Version}
		if sub.hostRoutes() {
			out.Gateway = sub.Gateway.String
		} else {
			out.Router = sub.Gateway.String
		}
		w.Subnets = append(w.Subnets, out)
	}
	return w
}

const insertNetwork = `
INSERT INTO networks (uuid, project_id, name, description, admin_state_up, shared, port_security_enabled,
  mtu, network_type, physical_network, segmentation_id, made_for, revision, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`

// insertNetwork stores a network and sets its key and times.
func (s *Service) insertNetwork(ctx context.Context, tx *schema.Tx, n *Network) error {
	now := s.clock.Now()
	n.CreatedAt, n.UpdatedAt, n.Revision = now, now, 1
	res, err := tx.ExecContext(ctx, insertNetwork, n.ID, n.ProjectID, n.Name, n.Description, n.AdminStateUp,
		n.Shared, n.PortSecurity, n.MTU, n.Type, n.Physical, n.Segmentation, n.MadeFor, now, now)
	if err != nil {
		return fmt.Errorf("insert network %s: %w", n.ID, err)
	}
	n.Key, err = res.LastInsertId()
	return err
}

const insertSubnet = `
INSERT INTO subnets (uuid, network_id, project_id, name, description, ip_version, cidr, gateway_ip, enable_dhcp,
  allocation_pools, dns_nameservers, host_routes, revision, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`

// insertSubnet stores a subnet of n and sets its key and times.
func (s *Service) insertSubnet(ctx context.Context, tx *schema.Tx, n *Network, sub *Subnet) error {
	now := s.clock.Now()
	sub.NetworkKey, sub.NetworkID = n.Key, n.ID
	sub.CreatedAt, sub.UpdatedAt, sub.Revision = now, now, 1
	sub.pack()
	res, err := tx.ExecContext(ctx, insertSubnet, sub.ID, n.Key, sub.ProjectID, sub.Name, sub.Description, sub.Version,
		sub.CIDR, sub.Gateway, sub.DHCP, sub.RawPools, sub.RawDNS, sub.RawRoutes, now, now)
	if err != nil {
		return fmt.Errorf("insert subnet %s: %w", sub.ID, err)
	}
	sub.Key, err = res.LastInsertId()
	return err
}

// chunk bounds an IN list.
const chunk = 1000

// selectIn runs a query whose only variable part is one IN list, in chunks, and appends the
// rows to dest. before and after are the arguments on either side of the list.
func selectIn[T any, K any](ctx context.Context, q schema.Querier, query string, before []any, in []K, after ...any) ([]T, error) {
	var out []T
	for len(in) > 0 {
		n := min(len(in), chunk)
		args := append(append([]any{}, before...), any(in[:n]))
		text, bound, err := sqlx.In(query, append(args, after...)...)
		if err != nil {
			return nil, err
		}
		var rows []T
		err = q.SelectContext(ctx, &rows, text, bound...)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
		in = in[n:]
	}
	return out, nil
}

const subnetsOfNetworks = `
SELECT ` + subnetColumns + `
FROM subnets s JOIN networks n ON n.id = s.network_id
WHERE s.network_id IN (?)
ORDER BY s.id`

// addSubnets reads the subnets of networks into them.
func addSubnets(ctx context.Context, q schema.Querier, nets []*Network) error {
	byKey := make(map[int64]*Network, len(nets))
	keys := make([]int64, 0, len(nets))
	for _, n := range nets {
		byKey[n.Key] = n
		keys = append(keys, n.Key)
		n.Subnets = nil
	}
	subs, err := selectIn[*Subnet](ctx, q, subnetsOfNetworks, nil, keys)
	if err != nil {
		return fmt.Errorf("read subnets: %w", err)
	}
	for _, sub := range subs {
		err = sub.unpack()
		if err != nil {
			return err
		}
		n := byKey[sub.NetworkKey]
		n.Subnets = append(n.Subnets, sub)
	}
	return nil
}

// selectIn2 is selectIn for a query that has the same list twice, after one argument.
func selectIn2[T any](ctx context.Context, q schema.Querier, query string, first any, in []string) ([]T, error) {
	var out []T
	for len(in) > 0 {
		n := min(len(in), chunk)
		text, bound, err := sqlx.In(query, first, in[:n], in[:n])
		if err != nil {
			return nil, err
		}
		var rows []T
		err = q.SelectContext(ctx, &rows, text, bound...)
		if err != nil {
			return nil, err
		}
		out = append(out, rows...)
		in = in[n:]
	}
	return out, nil
}
