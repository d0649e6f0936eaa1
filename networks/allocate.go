package networks

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/jmoiron/sqlx"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/work"
)

// Device is the server that gets ports.
type Device struct {
	ServerID  string
	ProjectID string
	Host      string // "" until one is chosen
	AZ        string // for the ports' device_owner; "nova" when ""
}

func (d Device) owner() string {
	if d.AZ == "" {
		return "compute:nova"
	}
	return "compute:" + d.AZ
}

// Allocate makes the ports of a plan for one server and binds the given ones. It touches
// nothing but the transaction, so it may be repeated with it.
//
// Faults: 400 or 409 when an address, port or group that Plan found has gone to another
// request meanwhile, 403 for the port quota, 400 when the network has no address left.
func (s *Service) Allocate(ctx context.Context, tx *schema.Tx, p *Plan, d Device) ([]Port, error) {
	made := 0
	for _, nic := range p.nics {
		if nic.port == nil {
			made++
		}
	}
	if made > 0 {
		err := s.takeQuota(ctx, tx, d.ProjectID, resPort, made)
		if err != nil {
			return nil, novaFault(err, d)
		}
	}
	ports := make([]Port, 0, len(p.nics))
	for i, nic := range p.nics {
		var port Port
		var err error
		if nic.port == nil {
			port, err = s.makeServerPort(ctx, tx, p, nic, i, d)
		} else {
			port, err = s.bindServerPort(ctx, tx, nic, i, d)
		}
		if err != nil {
			return nil, novaFault(err, d)
		}
		ports = append(ports, port)
	}
	return ports, nil
}

// novaFault turns the network service's faults into what Nova answers for them.
func novaFault(err error, _ Device) error {
	var f *compat.Fault
	if !errors.As(err, &f) {
		return err
	}
	switch f.Type {
	case "OverQuota":
		return portsExceeded()
	case "IpAddressGenerationFailure":
		return compat.BadRequest("No fixed IP addresses available for network: %s", f.Message[strings.LastIndex(f.Message, " ")+1:len(f.Message)-1])
	case "SecurityGroupNotFound":
		return compat.BadRequest("%s", f.Message)
	}
	return err
}

func (s *Service) makeServerPort(ctx context.Context, tx *schema.Tx, p *Plan, nic plannedNIC, place int, d Device) (Port, error) {
	row := &portRow{
		ID: s.newUUID(), NetworkKey: nic.network.Key, NetworkID: nic.network.ID, ProjectID: d.ProjectID,
		AdminStateUp: true, Status: statusDown, DeviceID: d.ServerID, DeviceOwner: d.owner(), NIC: place, Tag: nic.tag,
		Created: true, Host: d.Host, VNICType: "normal", Profile: "{}", PortSecurity: nic.network.PortSecurity,
		Pairs: "[]", DHCPOpts: "[]",
	}
	err := s.insertPort(ctx, tx, row)
	if schema.ForeignKey(err) {
		return Port{}, compat.BadRequest("Network %s could not be found.", nic.network.ID)
	}
	if err != nil {
		return Port{}, err
	}
	fixed, err := s.addressPort(ctx, tx, nic, row.Key)
	if err != nil {
		return Port{}, err
	}
	groups := p.groups
	if !row.PortSecurity {
		groups = nil
	}
	err = putInGroups(ctx, tx, row.Key, groups)
	if err != nil {
		return Port{}, err
	}
	return Port{
		ID: row.ID, ServerID: d.ServerID, NetworkID: nic.network.ID, NetworkName: nic.network.Name, MAC: row.MAC,
		Status: row.Status, Tag: nic.tag, FixedIPs: fixed, SecurityGroups: groups, Created: true,
		key: row.Key, network: nic.network.guest(s.cfg.Outbound),
		guard: portGuard{ID: row.ID, Security: row.PortSecurity, Pairs: row.Pairs},
	}, nil
}

func (s *Service) addressPort(ctx context.Context, tx *schema.Tx, nic plannedNIC, portKey int64) ([]FixedIP, error) {
	if nic.subnet == nil {
		return s.takeAddresses(ctx, tx, nic.network, portKey)
	}
	ip, err := s.takeThisAddress(ctx, tx, nic.subnet, nic.address, portKey, 0)
	if compat.IsConflict(err) {
		return nil, addressInUse(nic.address, "")
	}
	if err != nil {
		return nil, err
	}
	return []FixedIP{ip}, nil
}

// takeAddresses gives a port one address of each IP version that its network has, from the
// first subnet of the version with room.
func (s *Service) takeAddresses(ctx context.Context, tx *schema.Tx, n *Network, portKey int64) ([]FixedIP, error) {
	var fixed []FixedIP
	for _, version := range []int{4, 6} {
		var full error
		got := false
		for _, sub := range n.Subnets {
			if sub.Version != version {
				continue
			}
			ip, err := s.takeAddress(ctx, tx, sub, portKey, len(fixed))
			if err == nil {
				fixed = append(fixed, ip)
				got = true
				break
			}
			if !compat.IsConflict(err) {
				return nil, err
			}
			full = err
		}
		if !got && full != nil {
			return nil, full
		}
	}
	return fixed, nil
}

const bindPort = `
UPDATE ports SET device_id = ?, device_owner = ?, host = ?, nic = ?, nic_tag = ?, made_for_server = 0,
  status = 'DOWN', binding_failure = '', revision = revision + 1, updated_at = ?
WHERE id = ? AND device_id = ''`

// bindServerPort gives a port that the client made to the server, if nobody was first.
func (s *Service) bindServerPort(ctx context.Context, tx *schema.Tx, nic plannedNIC, place int, d Device) (Port, error) {
	got, err := schema.Changed(tx.ExecContext(ctx, bindPort, d.ServerID, d.owner(), d.Host, place, nic.tag, s.clock.Now(), nic.port.Key))
	if err != nil {
		return Port{}, fmt.Errorf("bind port %s: %w", nic.port.ID, err)
	}
	if !got {
		return Port{}, compat.Conflict("Port %s is still in use.", nic.port.ID)
	}
	fixed, err := addressesOf(ctx, tx, []int64{nic.port.Key})
	if err != nil {
		return Port{}, err
	}
	guard, err := guards(ctx, tx, d.ServerID)
	if err != nil {
		return Port{}, err
	}
	return Port{
		ID: nic.port.ID, ServerID: d.ServerID, NetworkID: nic.network.ID, NetworkName: nic.network.Name, MAC: nic.port.MAC,
		Status: nic.port.Status, Tag: nic.tag, FixedIPs: fixed[nic.port.Key],
		key: nic.port.Key, network: nic.network.guest(s.cfg.Outbound), guard: guard[nic.port.ID],
	}, nil
}

const portKeysOfServer = `SELECT id, uuid, project_id, made_for_server, binding_failure FROM ports WHERE device_id = ? AND nic >= 0`

type heldPort struct {
	Key       int64  `db:"id"`
	ID        string `db:"uuid"`
	ProjectID string `db:"project_id"`
	Created   bool   `db:"made_for_server"`
	Failure   string `db:"binding_failure"`
}

// held finds a server's ports. They are then changed by primary key: a change by device_id
// would lock the gaps of that index, in which other servers' ports are made.
func held(ctx context.Context, q schema.Querier, serverID string) ([]heldPort, error) {
	if serverID == "" {
		return nil, errors.New("ports of no server asked for")
	}
	var ports []heldPort
	err := q.SelectContext(ctx, &ports, portKeysOfServer, serverID)
	if err != nil {
		return nil, fmt.Errorf("read the ports of server %s: %w", serverID, err)
	}
	return ports, nil
}

func keysOf(ports []heldPort) []int64 {
	keys := make([]int64, len(ports))
	for i, p := range ports {
		keys[i] = p.Key
	}
	return keys
}

const bindHost = `
UPDATE ports SET host = ?, status = CASE WHEN binding_failure <> '' THEN 'DOWN' ELSE status END, binding_failure = '',
  revision = revision + 1, updated_at = ?
WHERE id IN (?)`

// BindHost records on which host a server's ports are; "" is none.
func (s *Service) BindHost(ctx context.Context, tx *schema.Tx, serverID, host string) error {
	return s.updatePorts(ctx, tx, serverID, bindHost, host, s.clock.Now())
}

const setStatus = `UPDATE ports SET status = ?, binding_failure = '', updated_at = ? WHERE id IN (?)`

// SetActive sets the state of a server's ports: ACTIVE while the guest is plugged, else DOWN.
func (s *Service) SetActive(ctx context.Context, q schema.Querier, serverID string, active bool) error {
	status := statusDown
	if active {
		status = statusActive
	}
	return s.updatePorts(ctx, q, serverID, setStatus, status, s.clock.Now())
}

const failPort = `UPDATE ports SET status = ?, binding_failure = ?, updated_at = ? WHERE id = ?`

// Plugged keeps what a host says of plugging a server's ports: which of them it could not
// plug, and why, or that all is well with them. Ports that are not the server's are left out.
func (s *Service) Plugged(ctx context.Context, tx *schema.Tx, serverID string, failures []work.PortFailure) error {
	ports, err := held(ctx, tx, serverID)
	if err != nil {
		return err
	}
	if len(failures) == 0 && slices.ContainsFunc(ports, func(p heldPort) bool { return p.Failure != "" }) {
		return s.SetActive(ctx, tx, serverID, true)
	}
	for _, f := range failures {
		for _, p := range ports {
			if p.ID != f.Port {
				continue
			}
			_, err = tx.ExecContext(ctx, failPort, statusError, work.Clip(f.Why, work.MaxWhy), s.clock.Now(), p.Key)
			if err != nil {
				return fmt.Errorf("keep the failure of port %s: %w", p.ID, err)
			}
		}
	}
	return nil
}

func (s *Service) updatePorts(ctx context.Context, q schema.Querier, serverID, statement string, args ...any) error {
	ports, err := held(ctx, q, serverID)
	if err != nil || len(ports) == 0 {
		return err
	}
	text, bound, err := sqlx.In(statement, append(args, keysOf(ports))...)
	if err != nil {
		return err
	}
	_, err = q.ExecContext(ctx, text, bound...)
	if err != nil {
		return fmt.Errorf("update the ports of server %s: %w", serverID, err)
	}
	return nil
}

const unbindPorts = `
UPDATE ports SET device_id = '', device_owner = '', host = '', nic = -1, nic_tag = '', profile = '{}', status = 'DOWN',
  revision = revision + 1, updated_at = ?
WHERE id IN (?)`

// Release deletes the ports that were made for the server and sets free those that were
// given. A server without ports is no error, so it may be done twice.
func (s *Service) Release(ctx context.Context, tx *schema.Tx, serverID string) error {
	ports, err := held(ctx, tx, serverID)
	if err != nil {
		return err
	}
	var given []int64
	byProject := map[string][]int64{}
	for _, p := range ports {
		if p.Created {
			byProject[p.ProjectID] = append(byProject[p.ProjectID], p.Key)
		} else {
			given = append(given, p.Key)
		}
	}
	for _, project := range sortedKeys(byProject) {
		err = s.deletePorts(ctx, tx, project, byProject[project])
		if err != nil {
			return err
		}
	}
	if len(given) == 0 {
		return nil
	}
	text, args, err := sqlx.In(unbindPorts, s.clock.Now(), given)
	if err != nil {
		return err
	}
	_, err = tx.ExecContext(ctx, text, args...)
	if err != nil {
		return fmt.Errorf("unbind the ports of server %s: %w", serverID, err)
	}
	return nil
}

// Addresses and memberships go with their port, by the tables' foreign keys.
const deletePorts = `DELETE FROM ports WHERE id IN (?)`

// deletePorts deletes ports of one project and gives their quota back.
func (s *Service) deletePorts(ctx context.Context, tx *schema.Tx, project string, keys []int64) error {
	text, args, err := sqlx.In(deletePorts, keys)
	if err != nil {
		return err
	}
	res, err := tx.ExecContext(ctx, text, args...)
	if err != nil {
		return fmt.Errorf("delete ports: %w", err)
	}
	n, err := res.RowsAffected()
	if err != nil {
		return fmt.Errorf("delete ports: %w", err)
	}
	return giveQuota(ctx, tx, project, resPort, int(n))
}

var plainAddress = regexp.MustCompile(`^\^?[0-9a-fA-F.:]*\$?$`)

// ServerIDsByAddress gives the uuids of the servers that have a fixed address of the IP
// version (4 or 6) in which the pattern is found; project "" means all. Faults: 400 for an
// invalid regular expression.
func (s *Service) ServerIDsByAddress(ctx context.Context, project, pattern string, version int) ([]string, error) {
	if len(pattern) > 255 {
		return nil, compat.BadRequest("The address filter is too long.")
	}
	re, err := regexp.Compile(pattern)
	if err != nil {
		return nil, compat.BadRequest("Invalid address filter '%s'.", clip(pattern))
	}
	query := `
SELECT p.device_id, a.address
FROM port_addresses a JOIN ports p ON p.id = a.port_id
WHERE a.version = ? AND p.device_id <> '' AND p.nic >= 0`
	args := []any{version}
	if project != "" {
		query += ` AND p.project_id = ?`
		args = append(args, project)
	}
	if plainAddress.MatchString(pattern) {
		// Almost every pattern is a part of an address. LIKE narrows it down in the database,
		// in time that a hostile pattern cannot stretch.
		query += ` AND a.address LIKE ?`
		args = append(args, likeOf(pattern))
	}
	rows, err := s.db.QueryContext(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("find servers by address: %w", err)
	}
	defer rows.Close()
	var out []string
	seen := map[string]bool{}
	for rows.Next() {
		var id, address string
		err = rows.Scan(&id, &address)
		if err != nil {
			return nil, fmt.Errorf("find servers by address: %w", err)
		}
		if !seen[id] && re.MatchString(address) {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out, rows.Err()
}

// likeOf is the LIKE pattern of a regular expression of digits, colons, dots and anchors.
func likeOf(pattern string) string {
	inner := strings.TrimPrefix(strings.TrimSuffix(pattern, "$"), "^")
	like := strings.ReplaceAll(inner, ".", "_")
	if !strings.HasPrefix(pattern, "^") {
		like = "%" + like
	}
	if !strings.HasSuffix(pattern, "$") {
		like += "%"
	}
	return like
}
