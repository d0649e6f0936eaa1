package networks

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/work"
)

// Port is a network interface of a server.
type Port struct {
	ID             string
	ServerID       string
	NetworkID      string
	NetworkName    string // the label under which a server shows its addresses
	MAC            string
	Status         string // ACTIVE, DOWN or ERROR
	Tag            string
	FixedIPs       []FixedIP
	SecurityGroups []SecurityGroup
	Created        bool // made for the server, and deleted with it

	key        int64
	networkKey int64
	network    work.Network
	guard      portGuard
}

// portGuard is how a host keeps a port from speaking as others.
type portGuard struct {
	ID       string `db:"uuid"`
	Security bool   `db:"port_security_enabled"`
	Pairs    string `db:"allowed_address_pairs"` // JSON list
}

// Guest gives the port as a hypervisor host needs it. Only ports of Allocate and
// GuestPorts know their network's subnets, and their guard.
func (p Port) Guest() work.Port {
	w := work.Port{ID: p.ID, MAC: p.MAC, Tag: p.Tag, Network: p.network, Fixed: make([]work.FixedIP, 0, len(p.FixedIPs))}
	w.Unguarded = p.guard.ID != "" && !p.guard.Security
	for _, pair := range storedPairs(p.guard.Pairs) {
		w.Pairs = append(w.Pairs, work.AddressPair{IP: pair.IP, MAC: pair.MAC})
	}
	for _, ip := range p.FixedIPs {
		w.Fixed = append(w.Fixed, work.FixedIP{SubnetID: ip.SubnetID, Address: ip.Address})
	}
	return w
}

// The states of a port.
const (
	statusActive = "ACTIVE"
	statusDown   = "DOWN"
	statusError  = "ERROR" // its host could not plug it
)

// noNIC is the place of a port that no server has, whatever its device_id says.
const noNIC = -1

// portRow is a row of ports with its network's id and owner.
type portRow struct {
	Key          int64         `db:"id"`
	ID           string        `db:"uuid"`
	NetworkKey   int64         `db:"network_id"`
	NetworkID    string        `db:"network_uuid"`
	NetworkOwner string        `db:"network_owner"`
	ProjectID    string        `db:"project_id"`
	Name         string        `db:"name"`
	Description  string        `db:"description"`
	MAC          string        `db:"mac_address"`
	AdminStateUp bool          `db:"admin_state_up"`
	Status       string        `db:"status"`
	DeviceID     string        `db:"device_id"`
	DeviceOwner  string        `db:"device_owner"`
	NIC          int           `db:"nic"`
	Tag          string        `db:"nic_tag"`
	Created      bool          `db:"made_for_server"`
	Host         string        `db:"host"`
	VNICType     string        `db:"vnic_type"`
	Profile      string        `db:"profile"`
	PortSecurity bool          `db:"port_security_enabled"`
	Pairs        string        `db:"allowed_address_pairs"`
	DHCPOpts     string        `db:"extra_dhcp_opts"`
	Failure      string        `db:"binding_failure"` // why its host could not plug it
	Revision     int64         `db:"revision"`
	CreatedAt    schema.Micros `db:"created_at"`
	UpdatedAt    schema.Micros `db:"updated_at"`

	fixed  []FixedIP
	groups []SecurityGroup
	pairs  []addressPair // as the client gave them; nil: not at all
}

const portColumns = `p.id, p.uuid, p.network_id, n.uuid AS network_uuid, n.project_id AS network_owner, p.project_id,
  p.name, p.description, p.mac_address, p.admin_state_up, p.status, p.device_id, p.device_owner, p.nic, p.nic_tag,
  p.made_for_server, p.host, p.vnic_type, p.profile, p.port_security_enabled, p.allowed_address_pairs,
  p.extra_dhcp_opts, p.binding_failure, p.revision, p.created_at, p.updated_at`

const insertPort = `
INSERT INTO ports (uuid, network_id, project_id, name, description, mac_address, admin_state_up, status, device_id,
  device_owner, nic, nic_tag, made_for_server, host, vnic_type, profile, port_security_enabled,
  allowed_address_pairs, extra_dhcp_opts, revision, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`

// maxMACs is how many hardware addresses are tried; a network of 100,000 ports refuses one
// of 160.
const maxMACs = 16

// insertPort stores a port and sets its key, times and, when it has none, its hardware
// address. Faults: 409 (MacAddressInUse, MacAddressGenerationFailure).
func (s *Service) insertPort(ctx context.Context, tx *schema.Tx, p *portRow) error {
	now := s.clock.Now()
	p.CreatedAt, p.UpdatedAt, p.Revision = now, now, 1
	chosen := p.MAC != ""
	for range maxMACs {
		if !chosen {
			p.MAC = s.newMAC()
		}
		err := p.packPairs()
		if err != nil {
			return err
		}
		res, err := tx.ExecContext(ctx, insertPort, p.ID, p.NetworkKey, p.ProjectID, p.Name, p.Description, p.MAC, p.AdminStateUp,
			p.Status, p.DeviceID, p.DeviceOwner, p.NIC, p.Tag, p.Created, p.Host, p.VNICType, p.Profile, p.PortSecurity,
			p.Pairs, p.DHCPOpts, now, now)
		if schema.Duplicate(err) && !chosen {
			continue
		}
		if schema.Duplicate(err) {
			return macInUse(p)
		}
		if err != nil {
			return fmt.Errorf("insert port %s: %w", p.ID, err)
		}
		p.Key, err = res.LastInsertId()
		return err
	}
	return &compat.Fault{Code: 409, Type: "MacAddressGenerationFailure", Message: "Unable to generate unique mac on network " + p.NetworkID + "."}
}

func macInUse(p *portRow) error {
	return &compat.Fault{Code: 409, Type: "MacAddressInUse", Message: fmt.Sprintf(
		"Unable to complete operation for network %s. The mac address %s is in use.", p.NetworkID, p.MAC)}
}

const insertPortGroup = `INSERT INTO port_security_groups (port_id, group_id) VALUES (?, ?)`

// putInGroups adds a port to security groups. A group that was deleted meanwhile is a 404
// Fault.
func putInGroups(ctx context.Context, tx *schema.Tx, portKey int64, groups []SecurityGroup) error {
	for _, g := range groups {
		_, err := tx.ExecContext(ctx, insertPortGroup, portKey, g.key)
		if schema.ForeignKey(err) {
			return groupNotFound(g.ID)
		}
		if err != nil && !schema.Duplicate(err) {
			return fmt.Errorf("insert port into security group %s: %w", g.ID, err)
		}
	}
	return nil
}

func groupNotFound(id string) error {
	return &compat.Fault{Code: 404, Type: "SecurityGroupNotFound", Message: fmt.Sprintf("Security group %s does not exist", clip(id))}
}

const addressesOfPorts = `
SELECT a.port_id, s.uuid, a.address, a.version
FROM port_addresses a JOIN subnets s ON s.id = a.subnet_id
WHERE a.port_id IN (?)
ORDER BY a.port_id, a.place`

type addressRow struct {
	PortKey int64  `db:"port_id"`
	Subnet  string `db:"uuid"`
	Address string `db:"address"`
	Version int    `db:"version"`
}

// addressesOf reads the addresses of ports, by the ports' keys.
func addressesOf(ctx context.Context, q schema.Querier, keys []int64) (map[int64][]FixedIP, error) {
	rows, err := selectIn[addressRow](ctx, q, addressesOfPorts, nil, keys)
	if err != nil {
		return nil, fmt.Errorf("read addresses: %w", err)
	}
	out := make(map[int64][]FixedIP, len(keys))
	for _, r := range rows {
		out[r.PortKey] = append(out[r.PortKey], FixedIP{SubnetID: r.Subnet, Address: r.Address, Version: r.Version})
	}
	for _, fixed := range out {
		sortAddresses(fixed)
	}
	return out, nil
}

// sortAddresses brings a port's addresses into the order in which clients see them, which is
// that of their text.
func sortAddresses(fixed []FixedIP) {
	if len(fixed) < 2 {
		return
	}
	slices.SortFunc(fixed, func(a, b FixedIP) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), strings.Compare(a.SubnetID, b.SubnetID))
	})
}

// One column, because reading a column costs more than finding its row, and ports of a
// thousand servers are read for each list of them. The tag comes last: it may hold anything.
const portsOfServers = `
SELECT CONCAT_WS('|', p.id, p.uuid, p.device_id, p.mac_address, p.status, p.made_for_server, p.network_id,
  COALESCE(a.subnet_id, 0), COALESCE(a.address, ''), COALESCE(a.version, 0),
  COALESCE((SELECT GROUP_CONCAT(m.group_id) FROM port_security_groups m WHERE m.port_id = p.id), ''), p.nic_tag)
FROM ports p LEFT JOIN port_addresses a ON a.port_id = p.id
WHERE p.device_id IN (?) AND p.nic >= 0
ORDER BY p.device_id, p.nic, p.id, a.place`

const portColumnsRead = 12

// What ports refer to by key; there is little of it, however many the ports are.
const portNeighbours = `
SELECT 'n' AS kind, id, uuid, name, mtu FROM networks WHERE id IN (?)
UNION ALL SELECT 's', id, uuid, '', 0 FROM subnets WHERE id IN (?)
UNION ALL SELECT 'g', id, uuid, name, 0 FROM security_groups WHERE id IN (?)`

// portScan collects the ports of servers and the keys of what they refer to.
type portScan struct {
	ports                     map[string][]Port
	networks, subnets, groups map[int64]*neighbour
}

type neighbour struct {
	Kind string `db:"kind"`
	Key  int64  `db:"id"`
	ID   string `db:"uuid"`
	Name string `db:"name"`
	MTU  int    `db:"mtu"`
}

// OfServers gives the ports of servers, with addresses and security groups, by the servers'
// uuids, in the order of each server's interfaces. A server without ports is not in the
// map. It takes two statements for each thousand servers.
func (s *Service) OfServers(ctx context.Context, q schema.Querier, ids []string) (map[string][]Port, error) {
	out := make(map[string][]Port, len(ids))
	for len(ids) > 0 {
		n := min(len(ids), chunk)
		scan := &portScan{ports: out, networks: map[int64]*neighbour{}, subnets: map[int64]*neighbour{}, groups: map[int64]*neighbour{}}
		err := scan.read(ctx, q, ids[:n])
		if err != nil {
			return nil, fmt.Errorf("read the ports of servers: %w", err)
		}
		if len(scan.networks) > 0 {
			err = scan.resolve(ctx, q, ids[:n])
		}
		if err != nil {
			return nil, fmt.Errorf("read the networks of servers: %w", err)
		}
		ids = ids[n:]
	}
	return out, nil
}

func (scan *portScan) read(ctx context.Context, q schema.Querier, ids []string) error {
	query, args, err := sqlx.In(portsOfServers, ids)
	if err != nil {
		return err
	}
	rows, err := q.QueryContext(ctx, query, args...)
	if err != nil {
		return err
	}
	defer rows.Close()
	for rows.Next() {
		var line string
		err = rows.Scan(&line)
		if err != nil {
			return err
		}
		err = scan.add(line)
		if err != nil {
			return err
		}
	}
	return rows.Err()
}

// add takes in a row of portsOfServers; further rows of one port are further addresses.
func (scan *portScan) add(line string) error {
	var f [portColumnsRead]string
	rest := line
	for i := range portColumnsRead - 1 {
		var ok bool
		f[i], rest, ok = strings.Cut(rest, "|")
		if !ok {
			return fmt.Errorf("a row of ports has %d columns", i+1)
		}
	}
	f[portColumnsRead-1] = rest
	key, networkKey, subnetKey := number64(f[0]), number64(f[6]), number64(f[7])
	list := scan.ports[f[2]]
	if len(list) == 0 || list[len(list)-1].key != key {
		p := Port{ID: f[1], ServerID: f[2], MAC: f[3], Status: f[4], Created: f[5] == "1", Tag: f[11], key: key, networkKey: networkKey}
		if f[10] != "" {
			for _, g := range strings.Split(f[10], ",") {
				p.SecurityGroups = append(p.SecurityGroups, SecurityGroup{key: number64(g)})
			}
			sort.Slice(p.SecurityGroups, func(i, j int) bool { return p.SecurityGroups[i].key < p.SecurityGroups[j].key })
		}
		for _, g := range p.SecurityGroups {
			scan.groups[g.key] = nil
		}
		scan.networks[networkKey] = nil
		list = append(list, p)
		scan.ports[f[2]] = list
	}
	if f[8] != "" {
		last := &list[len(list)-1]
		last.FixedIPs = append(last.FixedIPs, FixedIP{Address: f[8], Version: int(number64(f[9])), subnetKey: subnetKey})
		scan.subnets[subnetKey] = nil
	}
	return nil
}

// number64 reads a number that the database wrote.
func number64(text string) int64 {
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// resolve reads the neighbours and sets what the ports of ids take from them.
func (scan *portScan) resolve(ctx context.Context, q schema.Querier, ids []string) error {
	query, args, err := sqlx.In(portNeighbours, neighbourKeys(scan.networks), neighbourKeys(scan.subnets), neighbourKeys(scan.groups))
	if err != nil {
		return err
	}
	var found []neighbour
	err = q.SelectContext(ctx, &found, query, args...)
	if err != nil {
		return err
	}
	byKind := map[string]map[int64]*neighbour{"n": scan.networks, "s": scan.subnets, "g": scan.groups}
	for i := range found {
		byKind[found[i].Kind][found[i].Key] = &found[i]
	}
	for _, id := range ids {
		ports := scan.ports[id]
		for i := range ports {
			scan.finish(&ports[i])
		}
	}
	return nil
}

func (scan *portScan) finish(p *Port) {
	if n := scan.networks[p.networkKey]; n != nil {
		p.NetworkID, p.NetworkName = n.ID, n.Name
		p.network = work.Network{ID: n.ID, Name: n.Name, MTU: n.MTU}
	}
	for i := range p.FixedIPs {
		if n := scan.subnets[p.FixedIPs[i].subnetKey]; n != nil {
			p.FixedIPs[i].SubnetID = n.ID
		}
	}
	sortAddresses(p.FixedIPs)
	for i := range p.SecurityGroups {
		if n := scan.groups[p.SecurityGroups[i].key]; n != nil {
			p.SecurityGroups[i].ID, p.SecurityGroups[i].Name = n.ID, groupName(n.Name, n.ID)
		}
	}
}

func neighbourKeys(m map[int64]*neighbour) []int64 {
	keys := []int64{0} // no row has it, and an IN list must not be empty
	for k := range m {
		keys = append(keys, k)
	}
	return keys
}

const groupsOfServers = `
SELECT p.id AS port_id, p.device_id, g.id, g.uuid, g.name
FROM ports p JOIN port_security_groups m ON m.port_id = p.id JOIN security_groups g ON g.id = m.group_id
WHERE p.device_id IN (?) AND p.nic >= 0
ORDER BY p.device_id, p.nic, p.id, g.id`

type memberRow struct {
	PortKey  int64  `db:"port_id"`
	ServerID string `db:"device_id"`
	Key      int64  `db:"id"`
	ID       string `db:"uuid"`
	Name     string `db:"name"`
}

// SecurityGroupsOf gives the security groups of servers' ports, each once, by the servers'
// uuids.
func (s *Service) SecurityGroupsOf(ctx context.Context, q schema.Querier, ids []string) (map[string][]SecurityGroup, error) {
	rows, err := selectIn[memberRow](ctx, q, groupsOfServers, nil, ids)
	if err != nil {
		return nil, fmt.Errorf("read the security groups of servers: %w", err)
	}
	out := make(map[string][]SecurityGroup, len(ids))
	for _, r := range rows {
		if !hasGroup(out[r.ServerID], r.Key) {
			out[r.ServerID] = append(out[r.ServerID], SecurityGroup{ID: r.ID, Name: groupName(r.Name, r.ID), key: r.Key})
		}
	}
	return out, nil
}

func hasGroup(groups []SecurityGroup, key int64) bool {
	for _, g := range groups {
		if g.key == key {
			return true
		}
	}
	return false
}

const portGuards = `SELECT uuid, port_security_enabled, allowed_address_pairs FROM ports WHERE device_id = ? AND nic >= 0`

// guards reads how the ports of a server are guarded, by their ids.
func guards(ctx context.Context, q schema.Querier, serverID string) (map[string]portGuard, error) {
	var rows []portGuard
	err := q.SelectContext(ctx, &rows, portGuards, serverID)
	if err != nil {
		return nil, fmt.Errorf("read the guards of ports: %w", err)
	}
	out := make(map[string]portGuard, len(rows))
	for _, g := range rows {
		out[g.ID] = g
	}
	return out, nil
}

// GuestPorts gives a server's ports with all that a hypervisor host needs of their networks.
func (s *Service) GuestPorts(ctx context.Context, q schema.Querier, serverID string) ([]work.Port, error) {
	byServer, err := s.OfServers(ctx, q, []string{serverID})
	if err != nil {
		return nil, err
	}
	ports := byServer[serverID]
	if len(ports) == 0 {
		return nil, nil
	}
	var ids []string
	for _, p := range ports {
		ids = append(ids, p.NetworkID)
	}
	nets, err := selectIn[*Network](ctx, q, networksByID, nil, ids)
	if err != nil {
		return nil, fmt.Errorf("read networks: %w", err)
	}
	err = addSubnets(ctx, q, nets)
	if err != nil {
		return nil, err
	}
	guest := make(map[string]work.Network, len(nets))
	for _, n := range nets {
		guest[n.ID] = n.guest(s.cfg.Outbound)
	}
	guard, err := guards(ctx, q, serverID)
	if err != nil {
		return nil, err
	}
	out := make([]work.Port, 0, len(ports))
	for _, p := range ports {
		p.network, p.guard = guest[p.NetworkID], guard[p.ID]
		out = append(out, p.Guest())
	}
	return out, nil
}

// sortedKeys gives the keys of a map of counts in order, so that transactions lock rows in
// the same order.
func sortedKeys[V any](m map[string]V) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// validJSON gives raw if it is JSON, else what stands for nothing.
func validJSON(raw, empty string) json.RawMessage {
	if raw == "" || !json.Valid([]byte(raw)) {
		return json.RawMessage(empty)
	}
	return json.RawMessage(raw)
}

const boundPorts = `SELECT uuid, device_id FROM ports WHERE nic >= 0`

// StrayPorts gives the ids of ports that are bound to a server which is not among the
// living: after a crash there must be none.
func StrayPorts(ctx context.Context, q schema.Querier, living []string) ([]string, error) {
	alive := make(map[string]bool, len(living))
	for _, id := range living {
		alive[id] = true
	}
	var rows []struct {
		ID     string `db:"uuid"`
		Device string `db:"device_id"`
	}
	err := q.SelectContext(ctx, &rows, boundPorts)
	if err != nil {
		return nil, fmt.Errorf("read bound ports: %w", err)
	}
	var out []string
	for _, r := range rows {
		if !alive[r.Device] {
			out = append(out, r.ID)
		}
	}
	return out, nil
}
