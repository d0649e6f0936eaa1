package networks

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/schema"
)

// novaGroupView is a group as the compute API shows it: incoming rules only, and no
// protocol without its ports.
func novaGroupView(g *Group) map[string]any {
	rules := []map[string]any{}
	for _, r := range g.Rules {
		if r.Direction == "ingress" {
			rules = append(rules, novaRuleView(r))
		}
	}
	return map[string]any{"id": g.ID, "name": groupName(g.Name, g.ID), "description": g.Description, "tenant_id": g.ProjectID, "rules": rules}
}

// groupName is what the compute API calls a group: one without a name goes by its id.
func groupName(name, id string) string { return cmp.Or(name, id) }

func novaRuleView(r *Rule) map[string]any {
	from, to := numberOrNull(r.PortMin), numberOrNull(r.PortMax)
	if r.Protocol.Valid && !r.PortMin.Valid && !r.PortMax.Valid {
		from, to = -1, -1
		if r.Protocol.String == "tcp" || r.Protocol.String == "udp" {
			from, to = 1, 65535
		}
	}
	group, ipRange := map[string]any{}, map[string]any{}
	switch {
	case r.RemoteKey.Valid:
		group = map[string]any{"name": groupName(r.RemoteName.String, r.RemoteID.String), "tenant_id": r.ProjectID}
	case r.Prefix.Valid:
		ipRange["cidr"] = r.Prefix.String
	case r.EtherType == "IPv6":
		ipRange["cidr"] = "::/0"
	default:
		ipRange["cidr"] = "0.0.0.0/0"
	}
	return map[string]any{"id": r.ID, "parent_group_id": r.GroupID, "ip_protocol": orNull(r.Protocol),
		"from_port": from, "to_port": to, "group": group, "ip_range": ipRange}
}

// novaGroupFault turns the network service's faults into the compute proxies' answers.
func novaGroupFault(err error) error {
	var f *compat.Fault
	if !errors.As(err, &f) || f.Type == "" {
		return err
	}
	switch {
	case f.Type == "OverQuota":
		return compat.Forbidden("Maximum number of security groups or rules exceeded")
	case f.Code == http.StatusNotFound:
		return compat.NotFound("%s", f.Message)
	}
	return compat.BadRequest("%s", f.Message)
}

// maxNovaGroups is the largest page, as of all compute lists.
const maxNovaGroups = 1000

func (s *Service) novaGroups(w http.ResponseWriter, r *compat.Request) error {
	_, err := s.defaultGroup(r.Context(), r.Caller.ProjectID)
	if err != nil {
		return err
	}
	limit, offset := maxNovaGroups, 0
	for name, to := range map[string]*int{"limit": &limit, "offset": &offset} {
		text := r.Query.Get(name)
		if text == "" {
			continue
		}
		n, err := strconv.ParseUint(text, 10, 31)
		if err != nil {
			return compat.BadRequest("Invalid input for query parameters %s. Value: %s. '%s' does not match '^[0-9]*$'", name, clip(text), clip(text))
		}
		*to = int(n)
	}
	if limit == 0 || limit > maxNovaGroups {
		limit = maxNovaGroups // zero is no limit here
	}
	all, _ := parseBool(r.Query.Get("all_tenants"))
	query := `SELECT ` + groupColumns + ` FROM security_groups g WHERE (g.project_id = ? OR ?) ORDER BY g.project_id, g.name, g.id LIMIT ? OFFSET ?`
	groups, err := groupsWithRules(r.Context(), s.db, query, []any{r.Caller.ProjectID, all && r.Caller.IsAdmin(), limit, offset})
	if err != nil {
		return fmt.Errorf("list security groups: %w", err)
	}
	out := make([]map[string]any, 0, len(groups))
	for _, g := range groups {
		out = append(out, novaGroupView(g))
	}
	return r.Answer(w, map[string]any{"security_groups": out})
}

func groupUUID(id string) error {
	if uuid.Validate(id) != nil {
		return compat.BadRequest("Security group id should be uuid")
	}
	return nil
}

// groupOf finds a group that the caller owns, or a 404 Fault.
func (s *Service) groupOf(ctx context.Context, q schema.Querier, c *compat.Caller, id string) (*Group, error) {
	err := groupUUID(id)
	if err != nil {
		return nil, err
	}
	row, err := s.find(ctx, q, s.groupKind(), c, canonical(id))
	if compat.IsNotFound(err) {
		return nil, compat.NotFound("Security group %s not found.", id)
	}
	if err != nil {
		return nil, err
	}
	return row.(*Group), nil
}

func (s *Service) novaGroup(w http.ResponseWriter, r *compat.Request) error {
	g, err := s.groupOf(r.Context(), s.db, r.Caller, r.Var("id"))
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"security_group": novaGroupView(g)})
}

type novaGroupBody struct {
	Group *struct {
		Name        any `json:"name"`
		Description any `json:"description"`
	} `json:"security_group"`
}

// decodeNovaGroup reads and checks a group's name and description.
func decodeNovaGroup(r *compat.Request) (name, description string, err error) {
	var body novaGroupBody
	err = r.Decode(&body)
	if err != nil {
		return "", "", err
	}
	if body.Group == nil {
		return "", "", compat.BadRequest("Malformed request body")
	}
	name, err = novaGroupText("name", body.Group.Name)
	if err != nil {
		return "", "", err
	}
	if name == "" {
		return "", "", compat.BadRequest("Security group name cannot be empty.")
	}
	description, err = novaGroupText("description", body.Group.Description)
	return name, description, err
}

func novaGroupText(what string, value any) (string, error) {
	text, ok := value.(string)
	if !ok {
		return "", compat.BadRequest("Security group %s is not a string or unicode", what)
	}
	if !validText(text) {
		return "", compat.BadRequest("Security group %s should not be greater than 255 characters.", what)
	}
	return text, nil
}

func (s *Service) createNovaGroup(w http.ResponseWriter, r *compat.Request) error {
	name, description, err := decodeNovaGroup(r)
	if err != nil {
		return err
	}
	_, err = s.defaultGroup(r.Context(), r.Caller.ProjectID)
	if err != nil {
		return err
	}
	g := &Group{ID: s.newUUID(), ProjectID: r.Caller.ProjectID, Name: name, Description: description, Stateful: true}
	err = s.db.Tx(r.Context(), func(tx *schema.Tx) error { return s.newGroup(r.Context(), tx, g) })
	if err != nil {
		return novaGroupFault(err)
	}
	return r.Answer(w, map[string]any{"security_group": novaGroupView(g)})
}

func (s *Service) updateNovaGroup(w http.ResponseWriter, r *compat.Request) error {
	err := groupUUID(r.Var("id"))
	if err != nil {
		return err
	}
	name, description, err := decodeNovaGroup(r)
	if err != nil {
		return err
	}
	var g *Group
	err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		var err error
		g, err = s.groupOf(r.Context(), tx, r.Caller, r.Var("id"))
		if err != nil {
			return err
		}
		if g.DefaultOf.Valid {
			return compat.BadRequest("Unable to update system group '%s'", g.Name)
		}
		if name == defaultGroupName {
			return compat.BadRequest("Default security group already exists.")
		}
		g.Name, g.Description = name, description
		var u setter
		u.set("name", name)
		u.set("description", description)
		return u.run(r.Context(), tx, "security_groups", g.Key, s.clock.Now())
	})
	if err != nil {
		return novaGroupFault(err)
	}
	return r.Answer(w, map[string]any{"security_group": novaGroupView(g)})
}

func (s *Service) deleteNovaGroup(w http.ResponseWriter, r *compat.Request) error {
	err := s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		g, err := s.groupOf(r.Context(), tx, r.Caller, r.Var("id"))
		if err != nil {
			return err
		}
		if g.DefaultOf.Valid {
			return compat.BadRequest("Unable to delete system group '%s'", g.Name)
		}
		return s.dropGroup(r.Context(), tx, g, false)
	})
	if err != nil {
		return novaGroupFault(err)
	}
	return r.Answer(w, nil)
}

type novaRuleBody struct {
	Rule *struct {
		Parent   any `json:"parent_group_id"`
		Group    any `json:"group_id"`
		CIDR     any `json:"cidr"`
		Protocol any `json:"ip_protocol"`
		From     any `json:"from_port"`
		To       any `json:"to_port"`
	} `json:"security_group_rule"`
}

func (s *Service) createNovaRule(w http.ResponseWriter, r *compat.Request) error {
	var body novaRuleBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	if body.Rule == nil {
		return compat.BadRequest("Malformed request body")
	}
	parent, _ := body.Rule.Parent.(string)
	err = groupUUID(parent)
	if err != nil {
		return err
	}
	remote, _ := body.Rule.Group.(string)
	if body.Rule.Group != nil {
		err = groupUUID(remote)
		if err != nil {
			return err
		}
		remote = canonical(remote)
	}
	rule, err := novaRule(remote, body.Rule.CIDR, body.Rule.Protocol, body.Rule.From, body.Rule.To)
	if err != nil {
		return err
	}
	err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		rule.ID = s.newUUID()
		g, err := s.groupOf(r.Context(), tx, r.Caller, parent)
		if err != nil {
			return err
		}
		err = s.newRule(r.Context(), tx, r.Caller, g, rule, remote)
		if err != nil {
			return err
		}
		row, err := s.find(r.Context(), tx, s.ruleKind(), r.Caller, rule.ID)
		if err == nil {
			rule = row.(*Rule)
		}
		return err
	})
	if err != nil {
		return novaGroupFault(err)
	}
	return r.Answer(w, map[string]any{"security_group_rule": novaRuleView(rule)})
}

// novaRule reads a rule in nova-network's words. Faults: 400.
func novaRule(remote string, cidr, protocol, from, to any) (*Rule, error) {
	rule := &Rule{Direction: "ingress", EtherType: "IPv4"}
	if remote == "" {
		text, given := cidr.(string)
		if !given || text == "" {
			text = "0.0.0.0/0"
		}
		p, err := netip.ParsePrefix(text)
		if err != nil {
			return nil, compat.BadRequest("Invalid cidr %s.", clip(text))
		}
		if p.Addr().Is6() {
			rule.EtherType = "IPv6"
		}
		rule.Prefix = nullString(p.String())
	}
	if protocol == nil || from == nil || to == nil {
		if remote == "" {
			return nil, compat.BadRequest("Not enough parameters to build a valid rule.")
		}
		return rule, nil
	}
	name := strings.ToLower(compat.PythonText(protocol))
	if name != "tcp" && name != "udp" && name != "icmp" {
		return nil, compat.BadRequest("Invalid IP protocol %s.", clip(name))
	}
	rule.Protocol = nullString(name)
	lo, err1 := portNumber(from)
	hi, err2 := portNumber(to)
	if err1 != nil || err2 != nil {
		return nil, compat.BadRequest("Invalid input for from_port and to_port: they must be integers.")
	}
	if lo > hi && name != "icmp" {
		return nil, compat.BadRequest("Invalid port range %d:%d. Former value cannot be greater than the later", lo, hi)
	}
	if name != "icmp" && (lo < 1 || hi > 65535) {
		return nil, compat.BadRequest("Invalid port range %d:%d. Valid %s ports should be between 1-65535", lo, hi, strings.ToUpper(name))
	}
	if name == "icmp" && (lo < -1 || lo > 255 || hi < -1 || hi > 255) {
		return nil, compat.BadRequest("Invalid port range %d:%d. For ICMP, the type:code must be valid", lo, hi)
	}
	if lo >= 0 {
		rule.PortMin = nullInt(lo)
	}
	if hi >= 0 {
		rule.PortMax = nullInt(hi)
	}
	return rule, nil
}

// portNumber reads an integer that came as a number or as its digits.
func portNumber(v any) (int64, error) {
	switch n := v.(type) {
	case float64:
		if n != float64(int64(n)) {
			return 0, strconv.ErrSyntax
		}
		return int64(n), nil
	case json.Number:
		return n.Int64()
	case string:
		return strconv.ParseInt(n, 10, 32)
	}
	return 0, strconv.ErrSyntax
}

func (s *Service) deleteNovaRule(w http.ResponseWriter, r *compat.Request) error {
	id := r.Var("id")
	if uuid.Validate(id) != nil {
		return compat.BadRequest("Security group rule id should be uuid")
	}
	err := s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		row, err := s.find(r.Context(), tx, s.ruleKind(), r.Caller, canonical(id))
		if err != nil {
			return err
		}
		return s.dropRule(r.Context(), tx, row.(*Rule))
	})
	if err != nil {
		return novaGroupFault(err)
	}
	return r.Answer(w, nil)
}
