package networks

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
)

// SecurityGroup names a security group of a port or server.
type SecurityGroup struct {
	ID   string
	Name string
	key  int64
}

// Group is a row of security_groups with its rules.
type Group struct {
	Key         int64          `db:"id"`
	ID          string         `db:"uuid"`
	ProjectID   string         `db:"project_id"`
	Name        string         `db:"name"`
	Description string         `db:"description"`
	Stateful    bool           `db:"stateful"`
	DefaultOf   sql.NullString `db:"default_of"`
	Revision    int64          `db:"revision"`
	CreatedAt   schema.Micros  `db:"created_at"`
	UpdatedAt   schema.Micros  `db:"updated_at"`

	Rules []*Rule `db:"-"`
}

const groupColumns = `g.id, g.uuid, g.project_id, g.name, g.description, g.stateful, g.default_of,
  g.revision, g.created_at, g.updated_at`

// Rule is a row of security_group_rules.
type Rule struct {
	Key         int64          `db:"id"`
	ID          string         `db:"uuid"`
	GroupKey    int64          `db:"group_id"`
	GroupID     string         `db:"group_uuid"`
	IsDefault   bool           `db:"of_default"`
	ProjectID   string         `db:"project_id"`
	Direction   string         `db:"direction"`
	EtherType   string         `db:"ethertype"`
	Protocol    sql.NullString `db:"protocol"`
	PortMin     sql.NullInt64  `db:"port_range_min"`
	PortMax     sql.NullInt64  `db:"port_range_max"`
	Prefix      sql.NullString `db:"remote_ip_prefix"`
	RemoteKey   sql.NullInt64  `db:"remote_group_id"`
	RemoteID    sql.NullString `db:"remote_uuid"`
	RemoteName  sql.NullString `db:"remote_name"`
	Description string         `db:"description"`
	Revision    int64          `db:"revision"`
	CreatedAt   schema.Micros  `db:"created_at"`
	UpdatedAt   schema.Micros  `db:"updated_at"`
}

const ruleFrom = `security_group_rules r JOIN security_groups g ON g.id = r.group_id
  LEFT JOIN security_groups o ON o.id = r.remote_group_id`

const ruleColumns = `r.id, r.uuid, r.group_id, g.uuid AS group_uuid, g.default_of IS NOT NULL AS of_default,
  r.project_id, r.direction, r.ethertype, r.protocol, r.port_range_min, r.port_range_max, r.remote_ip_prefix,
  r.remote_group_id, o.uuid AS remote_uuid, o.name AS remote_name, r.description, r.revision, r.created_at, r.updated_at`

// meaning is the rule's effect in one word: it is the same for all ways of saying it.
func (r *Rule) meaning() string {
	return r.say(protocolName(r.Protocol.String), r.source())
}

// meanings are the words that rules with the same effect may bear: earlier releases told
// numbers of protocols from their names, and everybody from nobody in particular.
func (r *Rule) meanings() []string {
	var all []string
	name := protocolName(r.Protocol.String)
	protocols := []string{name}
	if n, is := r.number(); is {
		protocols = append(protocols, strconv.Itoa(n))
	}
	for _, p := range protocols {
		all = append(all, r.say(p, r.source()))
		if r.source() == "" {
			all = append(all, r.say(p, "0.0.0.0/0"), r.say(p, "::/0"))
		}
	}
	return all
}

func (r *Rule) say(protocol, source string) string {
	return strings.Join([]string{r.Direction, r.EtherType, protocol,
		nullNumber(r.PortMin), nullNumber(r.PortMax), source, nullNumber(r.RemoteKey)}, "|")
}

// source is the range that the rule is about, "" for everybody.
func (r *Rule) source() string {
	c := r.cidr()
	if c == "0.0.0.0/0" || c == "::/0" {
		return ""
	}
	return c
}

// protocolName gives the one name under which rules about a protocol are compared; a number
// without a name stands for itself.
func protocolName(protocol string) string {
	n, err := strconv.Atoi(protocol)
	if err != nil {
		n = protocolNumbers[protocol]
	}
	for _, name := range sortedKeys(protocolNumbers) {
		if protocol != "" && protocolNumbers[name] == n && name != "icmpv6" {
			return name
		}
	}
	return protocol
}

// cidr is the prefix without its host bits: what the rule means. The prefix itself is shown
// as it was given.
func (r *Rule) cidr() string {
	p, err := netip.ParsePrefix(r.Prefix.String)
	if err != nil {
		return ""
	}
	return p.Masked().String()
}

func nullNumber(n sql.NullInt64) string {
	if !n.Valid {
		return ""
	}
	return fmt.Sprint(n.Int64)
}

const defaultGroupName = "default"

const selectDefaultGroup = `SELECT id, uuid FROM security_groups WHERE default_of = ?`

// defaultGroup finds the project's default group and makes it at its first use.
func (s *Service) defaultGroup(ctx context.Context, project string) (SecurityGroup, error) {
	if project == "" {
		return SecurityGroup{}, compat.BadRequest("A project is needed for a security group.")
	}
	g := SecurityGroup{Name: defaultGroupName}
	for attempt := 0; ; attempt++ {
		err := s.db.QueryRowContext(ctx, selectDefaultGroup, project).Scan(&g.key, &g.ID)
		if err == nil {
			return g, nil
		}
		if !errors.Is(err, sql.ErrNoRows) || attempt == 2 {
			return SecurityGroup{}, fmt.Errorf("read the default security group: %w", err)
		}
		err = s.db.Tx(ctx, func(tx *schema.Tx) error { return s.makeDefaultGroup(ctx, tx, project) })
		if err != nil && !schema.Duplicate(err) {
			return SecurityGroup{}, fmt.Errorf("make the default security group: %w", err)
		}
	}
}

// makeDefaultGroup stores the group that a project cannot be without, so whatever its
// quota is; it counts all the same.
func (s *Service) makeDefaultGroup(ctx context.Context, tx *schema.Tx, project string) error {
	g := &Group{ID: s.newUUID(), ProjectID: project, Name: defaultGroupName,
		Description: "Default security group", Stateful: true, DefaultOf: nullString(project)}
	err := s.insertGroup(ctx, tx, g)
	if err != nil {
		return err
	}
	self := sql.NullInt64{Int64: g.Key, Valid: true}
	rules := []*Rule{
		{Direction: "egress", EtherType: "IPv4"}, {Direction: "egress", EtherType: "IPv6"},
		{Direction: "ingress", EtherType: "IPv4", RemoteKey: self}, {Direction: "ingress", EtherType: "IPv6", RemoteKey: self},
	}
	for _, r := range rules {
		err = s.insertRule(ctx, tx, g, r)
		if err != nil {
			return err
		}
	}
	err = countAnyway(ctx, tx, project, resSecurityGroup, 1)
	if err != nil {
		return err
	}
	return countAnyway(ctx, tx, project, resSecurityRule, len(rules))
}

const insertGroup = `
INSERT INTO security_groups (uuid, project_id, name, description, stateful, default_of, revision, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, 1, ?, ?)`

func (s *Service) insertGroup(ctx context.Context, tx *schema.Tx, g *Group) error {
	now := s.clock.Now()
	g.CreatedAt, g.UpdatedAt, g.Revision = now, now, 1
	res, err := tx.ExecContext(ctx, insertGroup, g.ID, g.ProjectID, g.Name, g.Description, g.Stateful, g.DefaultOf, now, now)
	if err != nil {
		return fmt.Errorf("insert security group %s: %w", g.ID, err)
	}
	g.Key, err = res.LastInsertId()
	return err
}

const insertRule = `
INSERT INTO security_group_rules (uuid, group_id, project_id, direction, ethertype, protocol, port_range_min,
  port_range_max, remote_ip_prefix, remote_group_id, description, meaning, revision, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?)`

// insertRule stores a rule of g and sets its key and times.
func (s *Service) insertRule(ctx context.Context, tx *schema.Tx, g *Group, r *Rule) error {
	now := s.clock.Now()
	if r.ID == "" {
		r.ID = s.newUUID()
	}
	r.GroupKey, r.GroupID, r.ProjectID, r.IsDefault = g.Key, g.ID, g.ProjectID, g.DefaultOf.Valid
	r.CreatedAt, r.UpdatedAt, r.Revision = now, now, 1
	res, err := tx.ExecContext(ctx, insertRule, r.ID, g.Key, r.ProjectID, r.Direction, r.EtherType, r.Protocol, r.PortMin,
		r.PortMax, r.Prefix, r.RemoteKey, r.Description, r.meaning(), now, now)
	if err != nil {
		return fmt.Errorf("insert security group rule %s: %w", r.ID, err)
	}
	r.Key, err = res.LastInsertId()
	return err
}

const groupsNamed = `
SELECT id, uuid, name, default_of FROM security_groups
WHERE project_id = ? AND (name IN (?) OR uuid IN (?))
ORDER BY id`

// resolveGroups finds a project's groups by names or ids, in the order asked and each once.
// Faults: 400 for an unknown group, 409 for a name that several groups have.
func (s *Service) resolveGroups(ctx context.Context, q schema.Querier, project string, names []string) ([]SecurityGroup, error) {
	if len(names) == 0 {
		return nil, nil
	}
	rows, err := selectIn2[groupRow](ctx, q, groupsNamed, project, names)
	if err != nil {
		return nil, fmt.Errorf("read security groups: %w", err)
	}
	var out []SecurityGroup
	seen := map[int64]bool{}
	for _, name := range names {
		g, err := pickGroup(rows, project, name)
		if err != nil {
			return nil, err
		}
		if !seen[g.key] {
			seen[g.key] = true
			out = append(out, g)
		}
	}
	return out, nil
}

type groupRow struct {
	Key       int64          `db:"id"`
	ID        string         `db:"uuid"`
	Name      string         `db:"name"`
	DefaultOf sql.NullString `db:"default_of"`
}

func (r groupRow) group() SecurityGroup { return SecurityGroup{ID: r.ID, Name: r.Name, key: r.Key} }

func pickGroup(rows []groupRow, project, name string) (SecurityGroup, error) {
	var found []SecurityGroup
	for _, r := range rows {
		if r.ID == name || (name == defaultGroupName && r.DefaultOf.Valid) {
			return r.group(), nil
		}
		if r.Name == name {
			found = append(found, r.group())
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return SecurityGroup{}, compat.BadRequest("Security group %s not found for project %s.", name, project)
	}
	return SecurityGroup{}, compat.Conflict("Multiple security groups found matching '%s'. Use an ID to be more specific.", name)
}

// serverGroup finds a group for the actions addSecurityGroup and removeSecurityGroup.
func (s *Service) serverGroup(ctx context.Context, q schema.Querier, project, nameOrID string) (SecurityGroup, error) {
	groups, err := s.resolveGroups(ctx, q, project, []string{nameOrID})
	var f *compat.Fault
	if errors.As(err, &f) && f.Code == 400 {
		return SecurityGroup{}, compat.NotFound("Security group %s is not found for project %s", clip(nameOrID), project)
	}
	if err != nil {
		return SecurityGroup{}, err
	}
	return groups[0], nil
}

const portSecurityOff = `SELECT COUNT(*) FROM ports WHERE device_id = ? AND nic >= 0 AND port_security_enabled = 0`

// AddSecurityGroup puts all ports of a server into a group of its project. Faults: 404 when
// there is no such group or the server has no port, 400 when a port has its security off,
// 409 when several groups have the name.
func (s *Service) AddSecurityGroup(ctx context.Context, tx *schema.Tx, serverID, project, nameOrID string) error {
	g, err := s.serverGroup(ctx, tx, project, nameOrID)
	if err != nil {
		return err
	}
	ports, err := held(ctx, tx, serverID)
	if err != nil {
		return err
	}
	if len(ports) == 0 {
		return compat.NotFound("instance_id %s could not be found as device id on any ports", serverID)
	}
	var open int
	err = tx.GetContext(ctx, &open, portSecurityOff, serverID)
	if err != nil {
		return fmt.Errorf("read port security: %w", err)
	}
	if open > 0 {
		return compat.BadRequest("Network requires port_security_enabled and subnet associated in order to apply security groups.")
	}
	for _, p := range ports {
		err = putInGroups(ctx, tx, p.Key, []SecurityGroup{g})
		if err != nil {
			return err
		}
	}
	return nil
}

const deletePortGroup = `DELETE FROM port_security_groups WHERE port_id = ? AND group_id = ?`

// RemoveSecurityGroup takes all ports of a server out of a group. Faults: 404 when there is
// no such group or the server is not in it.
func (s *Service) RemoveSecurityGroup(ctx context.Context, tx *schema.Tx, serverID, project, nameOrID string) error {
	g, err := s.serverGroup(ctx, tx, project, nameOrID)
	if err != nil {
		return err
	}
	ports, err := held(ctx, tx, serverID)
	if err != nil {
		return err
	}
	removed := false
	for _, p := range ports {
		got, err := schema.Changed(tx.ExecContext(ctx, deletePortGroup, p.Key, g.key))
		if err != nil {
			return fmt.Errorf("take port %s out of security group %s: %w", p.ID, g.ID, err)
		}
		removed = removed || got
	}
	if !removed {
		return compat.NotFound("Security group %s not associated with the instance %s", clip(nameOrID), serverID)
	}
	return nil
}
