package networks

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"github.com/google/uuid"

	"kilonova/compat"
)

// The modes of Requested.
const (
	ModeList    = "list"    // the networks of Nets
	ModeAuto    = "auto"    // the project's network, or one made for it
	ModeNone    = "none"    // no network
	ModeDefault = "default" // nothing asked for: the project's network if there is one
)

// Requested is what a client asked for in a server's "networks".
type Requested struct {
	Mode string
	Nets []RequestedNet
}

// RequestedNet is one entry of the list: a port, or a network with perhaps an address.
type RequestedNet struct {
	NetworkID string
	PortID    string
	FixedIP   string
	Tag       string
}

// Plan is a validated request: the networks, ports and groups that each server will get.
type Plan struct {
	project string
	nics    []plannedNIC
	groups  []SecurityGroup
	fits    int
}

type plannedNIC struct {
	network *Network
	port    *portRow // a port that the client gave; nil: to be made
	address netip.Addr
	subnet  *Subnet // of address
	tag     string
}

// Fits is how many servers, at most the count that was asked about, the project's port
// quota has room for at the moment.
func (p *Plan) Fits() int { return p.fits }

// Empty reports whether a server of this plan has no network.
func (p *Plan) Empty() bool { return len(p.nics) == 0 }

// Plan checks what a client asked for, for count servers of the caller's project. Of the
// database it changes nothing, but that a project's default security group comes into
// being at its first use.
//
// Faults: 400 for an unknown network, port, group or address and for what cannot go
// together, 403 (port quota), 409 for a port or address in use and for several networks to
// choose from.
func (s *Service) Plan(ctx context.Context, c *compat.Caller, req Requested, securityGroups []string, count int) (*Plan, error) {
	p := &Plan{project: c.ProjectID, fits: count}
	err := s.planNICs(ctx, c, req, count, p)
	if err != nil {
		return nil, err
	}
	made := 0
	for _, nic := range p.nics {
		if nic.port == nil {
			made++
		}
	}
	err = s.planGroups(ctx, p, securityGroups, made > 0)
	if err != nil || made == 0 {
		return p, err
	}
	room, err := s.portRoom(ctx, s.db, p.project)
	if err != nil {
		return nil, err
	}
	p.fits = min(count, room/made)
	if p.fits == 0 {
		return nil, portsExceeded()
	}
	return p, nil
}

func portsExceeded() error { return compat.Forbidden("Maximum number of ports exceeded") }

func (s *Service) planNICs(ctx context.Context, c *compat.Caller, req Requested, count int, p *Plan) error {
	if req.Mode == ModeNone {
		return nil
	}
	if req.Mode == ModeList && len(req.Nets) > 0 {
		return s.planList(ctx, c, req.Nets, count, p)
	}
	nets, err := s.available(ctx, p.project)
	if err != nil {
		return err
	}
	switch {
	case len(nets) > 1:
		return compat.Conflict("Multiple possible networks found, use a Network ID to be more specific.")
	case len(nets) == 1:
		p.nics = []plannedNIC{{network: nets[0]}}
	case req.Mode == ModeAuto:
		return compat.BadRequest("Unable to automatically allocate a network for project %s", p.project)
	}
	return nil
}

const availableNetworks = `
SELECT ` + networkColumns + `
FROM networks n
WHERE n.project_id = ? OR n.shared = 1
ORDER BY n.id LIMIT 100`

// available gives the networks that a project's server may get without naming one: its own
// and shared ones that have a subnet. Two of them are as good as many.
func (s *Service) available(ctx context.Context, project string) ([]*Network, error) {
	var nets []*Network
	err := s.db.SelectContext(ctx, &nets, availableNetworks, project)
	if err != nil {
		return nil, fmt.Errorf("read the project's networks: %w", err)
	}
	if len(nets) == 0 {
		return nil, nil
	}
	err = addSubnets(ctx, s.db, nets)
	if err != nil {
		return nil, err
	}
	usable := nets[:0]
	for _, n := range nets {
		if len(n.Subnets) > 0 {
			usable = append(usable, n)
		}
	}
	return usable, nil
}

func (s *Service) planList(ctx context.Context, c *compat.Caller, nets []RequestedNet, count int, p *Plan) error {
	var portIDs, netIDs []string
	seen := map[string]bool{}
	for _, r := range nets {
		switch {
		case r.PortID != "":
			if r.FixedIP != "" {
				return compat.BadRequest("Specified Fixed IP '%s' cannot be used with port '%s': the two cannot be specified together.", r.FixedIP, r.PortID)
			}
			if seen[r.PortID] {
				return compat.BadRequest("Port %s is given twice.", r.PortID)
			}
			seen[r.PortID] = true
			portIDs = append(portIDs, r.PortID)
		case r.NetworkID == "":
			return compat.BadRequest("Bad network format: missing 'uuid'")
		case uuid.Validate(r.NetworkID) != nil:
			return compat.BadRequest("Bad networks format: network uuid is not in proper format (%s)", clip(r.NetworkID))
		default:
			netIDs = append(netIDs, r.NetworkID)
		}
		if r.FixedIP != "" && count > 1 {
			return compat.BadRequest("Failed to launch instances: max_count cannot be greater than 1 if an fixed_ip is specified.")
		}
	}
	if len(portIDs) > 0 && count > 1 {
		return compat.BadRequest("Failed to launch instances: Unable to launch multiple instances with a single configured port ID. Please launch your instance one by one with different ports.")
	}
	ports, err := s.givenPorts(ctx, c, portIDs)
	if err != nil {
		return err
	}
	byID, err := s.namedNetworks(ctx, c, netIDs, ports)
	if err != nil {
		return err
	}
	for _, r := range nets {
		nic := plannedNIC{tag: r.Tag}
		if r.PortID != "" {
			nic.port = ports[r.PortID]
			nic.network = byID[nic.port.NetworkID]
		} else {
			nic.network = byID[canonical(r.NetworkID)]
		}
		if r.FixedIP != "" && r.PortID == "" {
			if !nic.network.chosenBy(c) {
				return compat.Forbidden("%s", forbidden("rule:create_port:fixed_ips:ip_address").Message)
			}
			err = s.planAddress(ctx, &nic, r.FixedIP)
			if err != nil {
				return err
			}
		}
		p.nics = append(p.nics, nic)
	}
	return nil
}

// canonical gives a uuid in the form of the database.
func canonical(id string) string {
	u, err := uuid.Parse(id)
	if err != nil {
		return id
	}
	return u.String()
}

const portsByID = `
SELECT ` + portColumns + `
FROM ports p JOIN networks n ON n.id = p.network_id
WHERE p.uuid IN (?)`

// givenPorts finds the ports that a client wants to use, which must be its own and free.
func (s *Service) givenPorts(ctx context.Context, c *compat.Caller, ids []string) (map[string]*portRow, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	rows, err := selectIn[*portRow](ctx, s.db, portsByID, nil, ids)
	if err != nil {
		return nil, fmt.Errorf("read ports: %w", err)
	}
	byID := make(map[string]*portRow, len(rows))
	keys := make([]int64, 0, len(rows))
	for _, r := range rows {
		byID[r.ID] = r
		keys = append(keys, r.Key)
	}
	fixed, err := addressesOf(ctx, s.db, keys)
	if err != nil {
		return nil, err
	}
	for _, id := range ids {
		r := byID[id]
		switch {
		case r == nil || (r.ProjectID != c.ProjectID && !c.IsAdmin()):
			return nil, compat.BadRequest("Port id %s could not be found.", clip(id))
		case r.DeviceID != "":
			return nil, compat.Conflict("Port %s is still in use.", id)
		case r.ProjectID != c.ProjectID:
			return nil, compat.BadRequest("Port %s not usable for instance.", id)
		case len(fixed[r.Key]) == 0:
			return nil, compat.BadRequest("Port %s requires a FixedIP in order to be used.", id)
		}
	}
	return byID, nil
}

const networksByID = `
SELECT ` + networkColumns + `
FROM networks n
WHERE n.uuid IN (?)`

// namedNetworks finds the networks of a request and those of its ports, by id.
func (s *Service) namedNetworks(ctx context.Context, c *compat.Caller, ids []string, ports map[string]*portRow) (map[string]*Network, error) {
	all := make([]string, 0, len(ids)+len(ports))
	for _, id := range ids {
		all = append(all, canonical(id))
	}
	for _, p := range ports {
		all = append(all, p.NetworkID)
	}
	nets, err := selectIn[*Network](ctx, s.db, networksByID, nil, all)
	if err != nil {
		return nil, fmt.Errorf("read networks: %w", err)
	}
	if len(nets) > 0 {
		err = addSubnets(ctx, s.db, nets)
		if err != nil {
			return nil, err
		}
	}
	byID := make(map[string]*Network, len(nets))
	for _, n := range nets {
		byID[n.ID] = n
	}
	var lost []string
	for _, id := range ids {
		n := byID[canonical(id)]
		if n == nil || !n.visibleTo(c) {
			lost = append(lost, id)
		}
	}
	if len(lost) > 0 {
		return nil, compat.BadRequest("Network %s could not be found.", strings.Join(lost, ", "))
	}
	for _, id := range ids {
		n := byID[canonical(id)]
		if len(n.Subnets) == 0 {
			return nil, compat.BadRequest("Network %s requires a subnet in order to boot instances on.", n.ID)
		}
	}
	return byID, nil
}

func (n *Network) visibleTo(c *compat.Caller) bool {
	return n.Shared || n.ProjectID == c.ProjectID || c.IsAdmin()
}

// chosenBy reports whether the caller may choose addresses on the network, as with a port: on
// a network that is only shared, whoever chose could take what others rely on.
func (n *Network) chosenBy(c *compat.Caller) bool {
	return everything(c) || n.ProjectID == c.ProjectID
}

const addressHolder = `
SELECT p.device_id FROM port_addresses a JOIN ports p ON p.id = a.port_id
WHERE a.subnet_id = ? AND a.ip = ?`

// planAddress checks an address that the client chose.
func (s *Service) planAddress(ctx context.Context, nic *plannedNIC, text string) error {
	a, err := netip.ParseAddr(text)
	if err != nil || a.Zone() != "" {
		return compat.BadRequest("Invalid fixed IP address (%s)", clip(text))
	}
	nic.address = a.Unmap()
	for _, sub := range nic.network.Subnets {
		if sub.usable(nic.address) {
			nic.subnet = sub
		}
	}
	if nic.subnet == nil {
		return compat.BadRequest("Fixed IP %s is not a valid ip address for network %s.", clip(text), nic.network.ID)
	}
	var holders []string
	err = s.db.SelectContext(ctx, &holders, addressHolder, nic.subnet.Key, addressKey(nic.address))
	if err != nil {
		return fmt.Errorf("look for the holder of an address: %w", err)
	}
	if len(holders) > 0 {
		return addressInUse(nic.address, holders[0])
	}
	return nil
}

func addressInUse(a netip.Addr, holder string) error {
	return compat.BadRequest("Fixed IP address %s is already in use on instance %s.", a, holder)
}

// planGroups finds the security groups. They matter to ports that are made, and are checked
// whether or not there are any.
func (s *Service) planGroups(ctx context.Context, p *Plan, names []string, makesPorts bool) error {
	if len(names) == 0 {
		names = []string{defaultGroupName}
	}
	named := make([]string, 0, len(names))
	wantsDefault := false
	for _, name := range names {
		wantsDefault = wantsDefault || name == defaultGroupName
		if name != defaultGroupName {
			named = append(named, name)
		}
	}
	groups, err := s.resolveGroups(ctx, s.db, p.project, named)
	if err != nil {
		return err
	}
	if !makesPorts {
		return nil
	}
	if wantsDefault {
		g, err := s.defaultGroup(ctx, p.project)
		if err != nil {
			return err
		}
		if !hasGroup(groups, g.key) {
			groups = append(groups, g)
		}
	}
	p.groups = groups
	for _, nic := range p.nics {
		if nic.port == nil && !nic.network.PortSecurity && len(named) > 0 {
			return compat.BadRequest("Network requires port_security_enabled and subnet associated in order to apply security groups.")
		}
	}
	return nil
}

// clip bounds what a client sent before it goes into a message.
func clip(text string) string {
	const limit = 255
	if len(text) > limit {
		text = text[:limit] + "..."
	}
	return strings.ToValidUTF8(text, "?")
}
