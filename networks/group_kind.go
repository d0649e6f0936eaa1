package networks

import (
	"context"
	"fmt"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) groupKind() *kind {
	k := &kind{
		single: "security_group", plural: "security_groups", path: "security-groups", tagged: true, writers: members,
		from: "security_groups g", columns: groupColumns, alias: "g",
		attrs: append(standard("g"), []attribute{
			{name: "name", column: "g.name", post: members, put: members},
			{name: "stateful", column: "g.stateful", form: boolean, post: members, put: members},
			{name: "shared", column: never, form: boolean},
		}...),
		missing:    func(id string) *compat.Fault { return compat.AsFault(groupNotFound(id)) },
		beforeRead: s.ensureDefaultGroup,
		beforeWrite: func(r *request, v values) error {
			_, err := s.defaultGroup(r.Context(), v.text("project_id", ""))
			return err
		},
		insert: s.createGroup, change: s.changeGroup, delete: s.removeGroup,
	}
	k.read = s.readGroups
	return k
}

// ensureDefaultGroup makes the caller's default group before groups are listed.
func (s *Service) ensureDefaultGroup(r *request) error {
	if r.caller.ProjectID == "" {
		return nil
	}
	_, err := s.defaultGroup(r.Context(), r.caller.ProjectID)
	return err
}

const rulesOfGroups = `SELECT ` + ruleColumns + ` FROM ` + ruleFrom + ` WHERE r.group_id IN (?) ORDER BY r.id`

func (s *Service) readGroups(ctx context.Context, q schema.Querier, query string, args []any) ([]record, error) {
	groups, err := groupsWithRules(ctx, q, query, args)
	if err != nil {
		return nil, err
	}
	return recordsOf(groups), nil
}

// groupsWithRules runs a SELECT of groupColumns and adds the rules.
func groupsWithRules(ctx context.Context, q schema.Querier, query string, args []any) ([]*Group, error) {
	var groups []*Group
	err := q.SelectContext(ctx, &groups, query, args...)
	if err != nil || len(groups) == 0 {
		return nil, err
	}
	byKey := make(map[int64]*Group, len(groups))
	keys := make([]int64, 0, len(groups))
	for _, g := range groups {
		byKey[g.Key] = g
		keys = append(keys, g.Key)
	}
	rules, err := selectIn[*Rule](ctx, q, rulesOfGroups, nil, keys)
	if err != nil {
		return nil, err
	}
	for _, r := range rules {
		g := byKey[r.GroupKey]
		g.Rules = append(g.Rules, r)
	}
	return groups, nil
}

func (g *Group) about() about { return about{key: g.Key, id: g.ID, project: g.ProjectID} }

func (g *Group) view() map[string]any {
	rules := make([]map[string]any, 0, len(g.Rules))
	for _, r := range g.Rules {
		v := r.view()
		v["tenant_id"] = v["project_id"]
		v["tags"] = []string{}
		rules = append(rules, v)
	}
	return map[string]any{
		"id": g.ID, "name": g.Name, "project_id": g.ProjectID, "description": g.Description, "stateful": g.Stateful,
		"shared": false, "security_group_rules": rules,
		"created_at": g.CreatedAt.ISO(), "updated_at": g.UpdatedAt.ISO(), "revision_number": g.Revision,
	}
}

func (s *Service) createGroup(r *request, tx *schema.Tx, v values) (string, error) {
	g := &Group{ID: s.newUUID(), ProjectID: v.text("project_id", ""), Name: v.text("name", ""),
		Description: v.text("description", ""), Stateful: v.bool("stateful", true)}
	return g.ID, s.newGroup(r.Context(), tx, g)
}

// newGroup stores a group with the two rules that let everything out. Faults: 409 (OverQuota,
// SecurityGroupDefaultAlreadyExists).
func (s *Service) newGroup(ctx context.Context, tx *schema.Tx, g *Group) error {
	if strings.EqualFold(g.Name, defaultGroupName) {
		return fault(409, "SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
	}
	err := s.takeQuota(ctx, tx, g.ProjectID, resSecurityGroup, 1)
	if err != nil {
		return err
	}
	err = s.insertGroup(ctx, tx, g)
	if err != nil {
		return err
	}
	for _, ethertype := range []string{"IPv4", "IPv6"} {
		err = s.insertRule(ctx, tx, g, &Rule{Direction: "egress", EtherType: ethertype})
		if err != nil {
			return err
		}
	}
	return countAnyway(ctx, tx, g.ProjectID, resSecurityRule, 2)
}

const portsInGroup = `SELECT COUNT(*) FROM port_security_groups WHERE group_id = ?`

func (s *Service) changeGroup(r *request, tx *schema.Tx, old record, v values) error {
	g := old.(*Group)
	if v.has("name") && v.text("name", "") != g.Name {
		switch {
		case g.DefaultOf.Valid:
			return fault(409, "SecurityGroupCannotUpdateDefault", "Updating default security group not allowed.")
		case strings.EqualFold(v.text("name", ""), defaultGroupName):
			return fault(409, "SecurityGroupDefaultAlreadyExists", "Default security group already exists.")
		}
	}
	if v.bool("stateful", g.Stateful) != g.Stateful {
		var ports int
		err := tx.GetContext(r.Context(), &ports, portsInGroup, g.Key)
		if err != nil {
			return fmt.Errorf("count the ports of security group %s: %w", g.ID, err)
		}
		if ports > 0 {
			return fault(409, "SecurityGroupInUse", "Security Group %s in use.", g.ID)
		}
	}
	var u setter
	u.plain(v, map[string]string{"name": "name", "description": "description", "stateful": "stateful"})
	return u.run(r.Context(), tx, "security_groups", g.Key, s.clock.Now())
}

func (s *Service) removeGroup(r *request, tx *schema.Tx, old record) error {
	return s.dropGroup(r.Context(), tx, old.(*Group), r.caller.IsAdmin())
}

const (
	rulesWith   = `SELECT id, project_id FROM security_group_rules WHERE group_id = ? OR remote_group_id = ? ORDER BY id`
	deleteRule  = `DELETE FROM security_group_rules WHERE id = ?`
	deleteGroup = `DELETE FROM security_groups WHERE id = ?`
)

// dropGroup deletes a group, its rules and those that name it, and gives their quota back.
// An administrator may remove a default group: it is made again when it is needed.
// Faults: 409 (SecurityGroupInUse, SecurityGroupCannotRemoveDefault).
func (s *Service) dropGroup(ctx context.Context, tx *schema.Tx, g *Group, admin bool) error {
	if g.DefaultOf.Valid && !admin {
		return fault(409, "SecurityGroupCannotRemoveDefault", "Insufficient rights for removing default security group.")
	}
	var rules []struct {
		Key       int64  `db:"id"`
		ProjectID string `db:"project_id"`
	}
	err := tx.SelectContext(ctx, &rules, rulesWith, g.Key, g.Key)
	if err != nil {
		return fmt.Errorf("read rules: %w", err)
	}
	byProject := map[string]int{}
	for _, r := range rules {
		got, err := schema.Changed(tx.ExecContext(ctx, deleteRule, r.Key))
		if err != nil {
			return fmt.Errorf("delete rule: %w", err)
		}
		if got {
			byProject[r.ProjectID]++
		}
	}
	for _, project := range sortedKeys(byProject) {
		err = giveQuota(ctx, tx, project, resSecurityRule, byProject[project])
		if err != nil {
			return err
		}
	}
	got, err := schema.Changed(tx.ExecContext(ctx, deleteGroup, g.Key))
	if schema.ForeignKey(err) {
		return fault(409, "SecurityGroupInUse", "Security Group %s in use.", g.ID)
	}
	if err != nil {
		return fmt.Errorf("delete security group %s: %w", g.ID, err)
	}
	if !got {
		return groupNotFound(g.ID)
	}
	return giveQuota(ctx, tx, g.ProjectID, resSecurityGroup, 1)
}
