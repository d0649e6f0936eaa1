package networks

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) ruleKind() *kind {
	k := &kind{
		single: "security_group_rule", plural: "security_group_rules", path: "security-group-rules", writers: members,
		from: ruleFrom, columns: ruleColumns, alias: "r", filters: map[string]specialFilter{"normalized_cidr": (*kind).withCIDR},
		attrs: append(standard("r"), []attribute{
			{name: "security_group_id", column: "g.uuid", post: members, required: true},
			{name: "direction", column: "r.direction", oneOf: []string{"ingress", "egress"}, post: members, required: true},
			{name: "ethertype", column: "r.ethertype", form: anything, filter: filterEtherType, post: members},
			{name: "protocol", column: "COALESCE(r.protocol, '')", form: anything, filter: filterProtocol, post: members},
			{name: "port_range_min", column: "COALESCE(r.port_range_min, -1)", form: anything, filter: filterPort, post: members},
			{name: "port_range_max", column: "COALESCE(r.port_range_max, -1)", form: anything, filter: filterPort, post: members},
			{name: "remote_ip_prefix", column: "COALESCE(r.remote_ip_prefix, '')", form: anything, filter: filterPrefix, post: members},
			{name: "remote_address_group_id", column: "''"},
			{name: "belongs_to_default_sg", column: "(g.default_of IS NOT NULL)", form: boolean},
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

// The filters of rules read their values as the attributes do.

func filterEtherType(v string) (any, error) {
	r := &Rule{}
	err := r.read(values{"ethertype": v})
	return r.EtherType, err
}

func filterProtocol(v string) (any, error) {
	p, err := readProtocol(v)
	return p.String, err
}

func filterPort(v string) (any, error) {
	p, err := readPort(v)
	return p.Int64, err
}

func filterPrefix(v string) (any, error) {
	r := &Rule{}
	err := r.read(values{"remote_ip_prefix": v})
	return r.Prefix.String, err
}

// withCIDR finds rules by the range that they mean, which stands in their meaning; that of
// everybody does not.
func (k *kind) withCIDR(vs []string) (condition, error) {
	var either []string
	var args []any
	for _, v := range vs {
		p, ok := parsePrefix(v)
		switch {
		case !ok || p != p.Masked():
			either = append(either, "1 = 0")
		case p.Bits() == 0:
			either = append(either, "r.remote_ip_prefix LIKE ? AND r.ethertype = ?")
			args = append(args, "%/0", map[bool]string{true: "IPv4", false: "IPv6"}[p.Addr().Is4()])
		default:
			either = append(either, "r.meaning LIKE ?")
			args = append(args, "%|"+p.String()+"|%")
		}
	}
	return condition{"(" + strings.Join(either, " OR ") + ")", args}, nil
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
	rule := &Rule{ID: s.newUUID(), Direction: v.text("direction", ""), Description: v.text("description", "")}
	err = rule.read(v)
	if err != nil {
		return "", err
	}
	return rule.ID, s.newRule(r.Context(), tx, r.caller, g, rule, v.text("remote_group_id", ""))
}

func nullInt(v any) sql.NullInt64 {
	n, ok := v.(int64)
	return sql.NullInt64{Int64: n, Valid: ok}
}

// read takes over what has words and types of its own: protocols by name or number, ports
// as numbers or digits, a prefix with or without its length.
func (r *Rule) read(v values) error {
	ethertype, given := v["ethertype"]
	text, _ := ethertype.(string)
	switch {
	case !given || strings.EqualFold(text, "IPv4"):
		r.EtherType = "IPv4"
	case strings.EqualFold(text, "IPv6"):
		r.EtherType = "IPv6"
	default:
		return fault(400, "SecurityGroupRuleInvalidEtherType",
			"Security group rule for ethertype '%s' not supported. Allowed values are ['IPv4', 'IPv6'].", shown(ethertype))
	}
	var err error
	r.Protocol, err = readProtocol(v["protocol"])
	if err == nil {
		r.PortMin, err = readPort(v["port_range_min"])
	}
	if err == nil {
		r.PortMax, err = readPort(v["port_range_max"])
	}
	if prefix := v["remote_ip_prefix"]; err == nil && prefix != nil && prefix != "" {
		p, ok := parseRange(prefix)
		if !ok {
			return fault(400, "InvalidCIDR", "Invalid CIDR %s given as IP prefix.", shown(prefix))
		}
		r.Prefix = nullString(p.String())
	}
	return err
}

func readProtocol(v any) (sql.NullString, error) {
	text := shown(v)
	_, isText := v.(string)
	_, isNumber := v.(json.Number)
	n, err := strconv.ParseInt(text, 10, 64)
	_, known := protocolNumbers[strings.ToLower(text)]
	switch {
	case v == nil || text == "any" && isText:
		return sql.NullString{}, nil
	case err == nil && (isText || isNumber) && n >= 0 && n <= 255:
		return nullString(strconv.FormatInt(n, 10)), nil
	case isText && strings.EqualFold(text, "any"):
		return sql.NullString{}, nil
	case isText && known:
		return nullString(strings.ToLower(text)), nil
	}
	return sql.NullString{}, fault(400, "SecurityGroupRuleInvalidProtocol",
		"Security group rule protocol %s not supported. Only protocol values [%s] and integer representations [0 to 255] are supported.",
		text, strings.Join(sortedKeys(protocolNumbers), ", "))
}

func readPort(v any) (sql.NullInt64, error) {
	if v == nil {
		return sql.NullInt64{}, nil
	}
	n, ok := integer(v)
	if !ok || n < 0 || n > 65535 {
		return sql.NullInt64{}, fault(400, "SecurityGroupInvalidPortValue", "Invalid value for port %s", shown(v))
	}
	return nullInt(n), nil
}

const rulesAlike = `SELECT uuid FROM security_group_rules WHERE group_id = ? AND meaning IN (?) ORDER BY id`

// newRule checks and stores a rule of g. Faults: 400 for what it cannot say, 404 for an
// unknown remote group, 409 (SecurityGroupRuleExists, OverQuota).
func (s *Service) newRule(ctx context.Context, tx *schema.Tx, c *compat.Caller, g *Group, rule *Rule, remoteGroup string) error {
	err := rule.check()
	if err != nil {
		return err
	}
	if remoteGroup != "" {
		if rule.Prefix.Valid {
			return fault(400, "SecurityGroupMultipleRemoteEntites", "Only one of remote_ip_prefix or remote_group_id or remote_address_group_id may be provided.")
		}
		row, err := s.find(ctx, tx, s.groupKind(), c, remoteGroup)
		if err != nil {
			return err
		}
		rule.RemoteKey = sql.NullInt64{Int64: row.about().key, Valid: true}
	}
	err = s.ruleIsNew(ctx, tx, g, rule)
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
		return s.ruleIsNew(ctx, tx, g, rule)
	case schema.ForeignKey(err):
		return groupNotFound(g.ID)
	}
	return err
}

// ruleIsNew gives a 409 Fault (SecurityGroupRuleExists) if the group has a rule that says the
// same in any of the ways of saying it.
func (s *Service) ruleIsNew(ctx context.Context, tx *schema.Tx, g *Group, rule *Rule) error {
	ids, err := selectIn[string](ctx, tx, rulesAlike, []any{g.Key}, rule.meanings())
	if err != nil {
		return fmt.Errorf("read the rules of security group %s: %w", g.ID, err)
	}
	if len(ids) > 0 {
		return fault(409, "SecurityGroupRuleExists", "Security group rule already exists. Rule id is %s.", strings.Join(ids, ", "))
	}
	return nil
}

// protocolNumbers are the names that Neutron knows for IP protocols.
var protocolNumbers = map[string]int{
	"ah": 51, "dccp": 33, "egp": 8, "esp": 50, "gre": 47, "hopopt": 0, "icmp": 1, "igmp": 2, "ip": 0, "ipip": 4, "ipv6-encap": 41, "ipv6-frag": 44,
	"ipv6-icmp": 58, "icmpv6": 58, "ipv6-nonxt": 59, "ipv6-opts": 60, "ipv6-route": 43, "ospf": 89, "pgm": 113, "rsvp": 46,
	"sctp": 132, "tcp": 6, "udp": 17, "udplite": 136, "vrrp": 112,
}

// onlyIPv6 are the protocols that IPv4 does not have.
var onlyIPv6 = []int{41, 44, 58, 59, 60, 43}

// withPorts are the protocols whose rules may name ports.
var withPorts = []int{6, 17, 33, 132, 136}

const (
	protocolICMP   = 1
	protocolICMPv6 = 58
	nameICMPv6     = "ipv6-icmp"
	firstPort      = 1
	lastPort       = 65535
)

// number is the protocol's, and whether the rule is about one.
func (r *Rule) number() (int, bool) {
	if !r.Protocol.Valid {
		return 0, false
	}
	n, named := protocolNumbers[r.Protocol.String]
	if !named {
		n, _ = strconv.Atoi(r.Protocol.String)
	}
	return n, true
}

// check brings a rule into its stored form and refuses what makes no sense.
func (r *Rule) check() error {
	if r.EtherType == "IPv6" {
		switch r.Protocol.String {
		case "icmp", "icmpv6":
			r.Protocol.String = nameICMPv6
		case strconv.Itoa(protocolICMP):
			r.Protocol.String = strconv.Itoa(protocolICMPv6)
		}
	}
	if r.PortMin.Int64 == firstPort && r.PortMax.Int64 == lastPort {
		r.PortMin, r.PortMax = sql.NullInt64{}, sql.NullInt64{} // all ports are as good as none
	}
	err := r.checkPorts()
	if err != nil {
		return err
	}
	if p, ok := parsePrefix(r.Prefix.String); ok && p.Addr().Is4() != (r.EtherType == "IPv4") {
		return fault(400, "SecurityGroupRuleParameterConflict", "Conflicting value ethertype %s for CIDR %s", r.EtherType, p)
	}
	n, is := r.number()
	if is && r.EtherType == "IPv4" && slices.Contains(onlyIPv6, n) {
		return fault(400, "SecurityGroupEthertypeConflictWithProtocol", "Invalid ethertype IPv4 for protocol %s.", r.Protocol.String)
	}
	return nil
}

func (r *Rule) checkPorts() error {
	lo, hi := r.PortMin, r.PortMax
	if !lo.Valid && !hi.Valid {
		return nil
	}
	n, is := r.number()
	switch {
	case !is:
		return fault(400, "SecurityGroupProtocolRequiredWithPorts", "Must also specify protocol if port range is given.")
	case n == protocolICMP || n == protocolICMPv6:
		return checkICMP(lo, hi)
	case !slices.Contains(withPorts, n):
		return fault(400, "SecurityGroupInvalidProtocolForPort",
			"Ports cannot be specified for protocol %d. Ports are only supported for TCP, UDP, UDPLITE, SCTP, DCCP.", n)
	case lo.Valid && lo.Int64 == 0 || hi.Valid && hi.Int64 == 0:
		return fault(400, "SecurityGroupInvalidPortValue", "Invalid value for port 0")
	case lo.Valid != hi.Valid || lo.Int64 > hi.Int64:
		return fault(400, "SecurityGroupInvalidPortRange", "For TCP/UDP protocols, port_range_min must be <= port_range_max")
	}
	return nil
}

// checkICMP checks the type and code that an ICMP rule has in place of ports.
func checkICMP(kind, code sql.NullInt64) error {
	for _, f := range []struct {
		name, attribute string
		value           sql.NullInt64
	}{{"type", "port_range_min", kind}, {"code", "port_range_max", code}} {
		if f.value.Valid && (f.value.Int64 < 0 || f.value.Int64 > 255) {
			return fault(400, "SecurityGroupInvalidIcmpValue", "Invalid value for ICMP %s (%s) %d. It must be 0 to 255.", f.name, f.attribute, f.value.Int64)
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
