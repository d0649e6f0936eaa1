package networks

import (
	"context"
	"database/sql"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) ruleKind() *kind {
	k := &kind{
		single: "security_group_rule", plural: "security_group_rules", path: "security-group-rules", writers: members,
		from: ruleFrom, columns: ruleColumns, alias: "r",
		attrs: append(standard("r"), []attribute{
			{name: "security_group_id", column: "g.uuid", post: members, required: true},
			{name: "direction", column: "r.direction", post: members, required: true},
			{name: "ethertype", column: "r.ethertype", form: textNull, post: members},
			{name: "protocol", column: "COALESCE(r.protocol, '')", form: textNull, post: members},
			{name: "port_range_min", column: "COALESCE(r.port_range_min, -1)", form: numNull, post: members},
			{name: "port_range_max", column: "COALESCE(r.port_range_max, -1)", form: numNull, post: members},
			{name: "remote_ip_prefix", column: "COALESCE(r.remote_ip_prefix, '')", form: textNull, post: members},
			{name: "remote_group_id", column: "COALESCE(o.uuid, '')", form: textNull, post: members},
		}...),
		missing: func(id string) *compat.Fault {
			return fault(404, "SecurityGroupRuleNotFound", "Security group rule %s does not exist", id)
		},
		beforeRead: s.ensureDefaultGroup,
		insert:     s.createRule, change: s.changeRule, delete: s.removeRule,
	}
	k.read = func(ctx context.Context, q schema.Querier, query string, args []any) ([]record, error) {
		var rules []*Rule
		err := q.SelectContext(ctx, &rules, query, args...)
		return recordsOf(rules), err
	}
	return k
}

func (r *Rule) about() about { return about{key: r.Key, id: r.ID, project: r.ProjectID} }

func (r *Rule) view() map[string]any {
	return map[string]any{
		"id": r.ID, "project_id": r.ProjectID, "security_group_id": r.GroupID, "direction": r.Direction,
		"ethertype": r.EtherType, "protocol": orNull(r.Protocol), "port_range_min": numberOrNull(r.PortMin),
		"port_range_max": numberOrNull(r.PortMax), "remote_ip_prefix": orNull(r.Prefix), "normalized_cidr": orNull(nullString(r.cidr())),
		"remote_group_id": orNull(r.RemoteID), "remote_address_group_id": nil, "belongs_to_default_sg": r.IsDefault,
		"description": r.Description,
		"created_at":  r.CreatedAt.ISO(), "updated_at": r.UpdatedAt.ISO(), "revision_number": r.Revision,
	}
}

func (s *Service) createRule(r *request, tx *schema.Tx, v values) (string, error) {
	row, err := s.owned(r.Context(), tx, s.groupKind(), r.caller, v.text("security_group_id", ""), "create_security_group_rule:")
	if err != nil {
		return "", err
	}
	g := row.(*Group)
	rule := &Rule{
		ID: s.newUUID(), Direction: v.text("direction", ""), EtherType: v.text("ethertype", "IPv4"),
		Protocol: nullString(v.text("protocol", "")), PortMin: nullInt(v["port_range_min"]), PortMax: nullInt(v["port_range_max"]),
		Prefix: nullString(v.text("remote_ip_prefix", "")), Description: v.text("description", ""),
	}
	return rule.ID, s.newRule(r.Context(), tx, r.caller, g, rule, v.text("remote_group_id", ""))
}

func nullInt(v any) sql.NullInt64 {
	n, ok := v.(int64)
	return sql.NullInt64{Int64: n, Valid: ok}
}

const ruleMeaning = `SELECT uuid FROM security_group_rules WHERE group_id = ? AND meaning = ?`

// newRule checks and stores a rule of g. Faults: 400 for what it cannot say, 404 for an
// unknown remote group, 409 (SecurityGroupRuleExists, OverQuota).
func (s *Service) newRule(ctx context.Context, tx *schema.Tx, c *compat.Caller, g *Group, rule *Rule, remoteGroup string) error {
	if remoteGroup != "" {
		if rule.Prefix.Valid {
			return fault(400, "SecurityGroupRemoteGroupAndRemoteIpPrefix", "Only remote_ip_prefix or remote_group_id may be provided.")
		}
		row, err := s.find(ctx, tx, s.groupKind(), c, remoteGroup)
		if err != nil {
			return err
		}
		rule.RemoteKey = sql.NullInt64{Int64: row.about().key, Valid: true}
	}
	err := rule.check()
	if err != nil {
		return err
	}
	err = s.takeQuota(ctx, tx, g.ProjectID, resSecurityRule, 1)
	if err != nil {
		return err
	}
	err = s.insertRule(ctx, tx, g, rule)
	switch {
	case schema.Duplicate(err):
		var ids []string
		err = tx.SelectContext(ctx, &ids, ruleMeaning, g.Key, rule.meaning())
		if err != nil {
			return fmt.Errorf("read the rule that exists: %w", err)
		}
		return fault(409, "SecurityGroupRuleExists", "Security group rule already exists. Rule id is %s.", strings.Join(ids, ", "))
	case schema.ForeignKey(err):
		return groupNotFound(g.ID)
	}
	return err
}

// protocolNumbers are the names that Neutron knows for IP protocols.
var protocolNumbers = map[string]int{
	"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "icmp": 1, "igmp": 2, "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44,
	"ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46,
	"sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}

// check brings a rule into its stored form and refuses what makes no sense.
func (r *Rule) check() error {
	if r.Direction != "ingress" && r.Direction != "egress" {
		return badRequest("Invalid input for direction. Reason: '%s' is not in ['ingress', 'egress'].", clip(r.Direction))
	}
	switch strings.ToLower(r.EtherType) {
	case "ipv4":
		r.EtherType = "IPv4"
	case "ipv6":
		r.EtherType = "IPv6"
	default:
		return badRequest("Invalid input for ethertype. Reason: '%s' is not in ['IPv4', 'IPv6'].", clip(r.EtherType))
	}
	if r.Prefix.Valid {
		p, err := netip.ParsePrefix(r.Prefix.String)
		if err != nil {
			a, addrErr := netip.ParseAddr(r.Prefix.String)
			if addrErr != nil || a.Zone() != "" {
				return badRequest("Invalid input for remote_ip_prefix. Reason: '%s' is not a valid IP subnet.", clip(r.Prefix.String))
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		if p.Addr().Is4() != (r.EtherType == "IPv4") {
			return fault(400, "SecurityGroupRuleParameterConflict", "Conflicting value ethertype %s for CIDR %s", r.EtherType, p)
		}
		r.Prefix.String = p.String()
	}
	return r.checkProtocol()
}

func (r *Rule) checkProtocol() error {
	name := strings.ToLower(r.Protocol.String)
	if name == "any" {
		r.Protocol = sql.NullString{}
	}
	if !r.Protocol.Valid || name == "any" {
		if r.PortMin.Valid || r.PortMax.Valid {
			return fault(400, "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
		}
		return nil
	}
	n, ok := protocolNumbers[name]
	if !ok {
		parsed, err := strconv.ParseUint(name, 10, 8)
		if err != nil {
			return fault(400, "SecurityGroupRuleInvalidProtocol",
				"Security group rule protocol %s not supported. Only protocol values [%s] and integer representations [0 to 255] are supported.",
				clip(name), strings.Join(sortedKeys(protocolNumbers), ", "))
		}
		n, name = int(parsed), strconv.Itoa(int(parsed))
	}
	r.Protocol.String = name
	if n == 58 && r.EtherType == "IPv4" {
		return fault(400, "SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype IPv4 for protocol %s.", name)
	}
	lo, hi := r.PortMin, r.PortMax
	if n == 1 || n == 58 {
		return checkICMP(lo, hi)
	}
	if !slices.Contains([]int{6, 17, 33, 132, 136}, n) {
		if lo.Valid || hi.Valid {
			return fault(400, "SecurityGroupInvalidProtocolForPort", "Invalid protocol %s for port range, only supported for [dccp, sctp, tcp, udp, udplite].", name)
		}
		return nil
	}
	if !lo.Valid && !hi.Valid {
		return nil
	}
	if lo.Valid != hi.Valid || lo.Int64 > hi.Int64 {
		return fault(400, "SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max")
	}
	if lo.Int64 < 1 || hi.Int64 > 65535 {
		return fault(400, "SecurityGroupInvalidPortValue", "Invalid value for port %d", hi.Int64)
	}
	return nil
}

// checkICMP checks the type and code that an ICMP rule has in place of ports.
func checkICMP(kind, code sql.NullInt64) error {
	for name, n := range map[string]sql.NullInt64{"type": kind, "code": code} {
		if n.Valid && (n.Int64 < 0 || n.Int64 > 255) {
			return fault(400, "SecurityGroupInvalidIcmpValue", "Invalid value for ICMP %s: %d. It must be 0 to 255.", name, n.Int64)
		}
	}
	if code.Valid && !kind.Valid {
		return fault(400, "SecurityGroupMissingIcmpType", "ICMP code (port-range-max) %d is provided but ICMP type (port-range-min) is missing.", code.Int64)
	}
	return nil
}

func (s *Service) changeRule(r *request, tx *schema.Tx, old record, v values) error {
	var u setter
	u.plain(v, map[string]string{"description": "description"})
	return u.run(r.Context(), tx, "security_group_rules", old.about().key, s.clock.Now())
}

func (s *Service) removeRule(r *request, tx *schema.Tx, old record) error {
	return s.dropRule(r.Context(), tx, old.(*Rule))
}

// dropRule deletes a rule and gives its quota back.
func (s *Service) dropRule(ctx context.Context, tx *schema.Tx, rule *Rule) error {
	got, err := schema.Changed(tx.ExecContext(ctx, deleteRule, rule.Key))
	if err != nil {
		return fmt.Errorf("delete rule %s: %w", rule.ID, err)
	}
	if !got {
		return s.ruleKind().missing(rule.ID)
	}
	return giveQuota(ctx, tx, rule.ProjectID, resSecurityRule, 1)
}
