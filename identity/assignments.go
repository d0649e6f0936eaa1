package identity

import (
	"fmt"
	"net/http"
	"strings"

	"kilonova/compat"
)

const (
	selectAssignments = `
SELECT actor_kind, actor_id, target_kind, target_id, role_id
FROM identity_grants`
	// A group's grant in the effective list is one of each of its members.
	selectMemberAssignments = `
SELECT 'user' AS actor_kind, m.user_id AS actor_id, g.target_kind, g.target_id, g.role_id, g.actor_id AS via_group
FROM identity_grants g JOIN identity_memberships m ON g.actor_kind = 'group' AND g.actor_id = m.group_id`
	selectUserNames    = `SELECT u.id, u.name, u.domain_id, d.name AS domain_name FROM identity_users u JOIN identity_domains d ON d.id = u.domain_id`
	selectGroupNames   = `SELECT g.id, g.name, g.domain_id, d.name AS domain_name FROM identity_groups g JOIN identity_domains d ON d.id = g.domain_id`
	selectProjectNames = `SELECT p.id, p.name, p.domain_id, d.name AS domain_name FROM identity_projects p JOIN identity_domains d ON d.id = p.domain_id`
	selectDomainNames  = `SELECT id, name, '' AS domain_id, '' AS domain_name FROM identity_domains`
)

// assignment is a grant as the list of role assignments shows it.
type assignment struct {
	grantRow
	ViaGroup string `db:"via_group"` // the group whose member has it
	prior    string // the role that implies it
}

// fullName is what include_names adds to an id.
type fullName struct {
	ID         string `db:"id"`
	Name       string `db:"name"`
	DomainID   string `db:"domain_id"`
	DomainName string `db:"domain_name"`
}

// flag reads a parameter that is on when it is there, whatever it says but 0.
func flag(r *http.Request, key string) bool {
	v, ok := r.URL.Query()[key]
	return ok && v[len(v)-1] != "0"
}

// assignmentQuery are the filters of the list of role assignments.
type assignmentQuery struct {
	*query
	user, group, role string
	effective         bool
}

const inheritedTo = "scope.OS-INHERIT:inherited_to"

func readAssignmentQuery(r *http.Request) *assignmentQuery {
	q := &assignmentQuery{query: &query{values: r.URL.Query()}, effective: flag(r, "effective")}
	q.user, q.group, q.role = q.last("user.id"), q.last("group.id"), q.last("role.id")
	project, domain, system := q.last("scope.project.id"), q.last("scope.domain.id"), q.last("scope.system")
	inherited := q.last(inheritedTo) == "projects"
	for _, param := range []string{"user.id", "group.id", "role.id", "scope.project.id", "scope.domain.id"} {
		q.valid(param)
	}
	for _, rule := range []struct {
		broken bool
		says   string
	}{
		{domain != "" && project != "", "Specify a domain or project, not both"},
		{domain != "" && system != "", "Specify system or domain, not both"},
		{project != "" && system != "", "Specify system or project, not both"},
		{q.user != "" && q.group != "", "Specify a user or group, not both"},
		{q.effective && q.group != "", "Combining effective and group filter will always result in an empty list."},
		{q.effective && inherited && domain != "", "Combining effective, domain and inherited filters will always result in an empty list."},
		{flag(r, "include_subtree") && project == "", "scope.project.id must be specified if include_subtree is also specified"},
	} {
		if rule.broken && q.err == nil {
			q.err = compat.BadRequest("%s", rule.says)
		}
	}
	switch {
	case project != "":
		q.and("target_kind = 'project'")
	case domain != "":
		q.and("target_kind = 'domain' AND target_id = ?", domain)
	case system == systemID:
		q.and("target_kind = 'system'")
	}
	if inherited {
		q.and("1 = 0") // no grant is inherited
	}
	if q.role != "" && !q.effective { // an implied role is found after it is worked out
		q.and("role_id = ?", q.role)
	}
	return q
}

// listAssignments answers GET /v3/role_assignments.
func (s *Service) listAssignments(w http.ResponseWriter, r *http.Request) error {
	q := readAssignmentQuery(r)
	if q.err != nil {
		return q.err
	}
	if project := q.last("scope.project.id"); project != "" {
		ids := []string{project}
		if flag(r, "include_subtree") {
			var err error
			ids, err = s.subtree(r, project)
			if err != nil {
				return err
			}
		}
		q.and("target_id IN (?"+strings.Repeat(", ?", len(ids)-1)+")", anys(ids)...)
	}
	rows, err := s.assignments(r, q.query, q.user, q.group, q.effective)
	if err != nil {
		return err
	}
	return s.answerAssignments(w, r, rows)
}

func anys(list []string) []any {
	out := make([]any, len(list))
	for i, s := range list {
		out[i] = s
	}
	return out
}

const selectProjectParents = `SELECT id, parent_id AS name FROM identity_projects`

// subtree gives the ids of a project, which must exist, and of all that are below it.
func (s *Service) subtree(r *http.Request, project string) ([]string, error) {
	err := s.mustExist(r.Context(), s.db, "project", project)
	if err != nil {
		return nil, err
	}
	var pairs []roleName
	err = s.db.SelectContext(r.Context(), &pairs, selectProjectParents)
	if err != nil {
		return nil, fmt.Errorf("read the tree of projects: %w", err)
	}
	children := map[string][]string{}
	for _, p := range pairs {
		children[p.Name] = append(children[p.Name], p.ID)
	}
	ids := []string{project}
	for i := 0; i < len(ids); i++ { // a project has one parent, made before it: no circle
		ids = append(ids, children[ids[i]]...)
	}
	return ids, nil
}

func (s *Service) assignments(r *http.Request, q *query, user, group string, effective bool) ([]assignment, error) {
	where := func(more ...string) string {
		all := append(append([]string{}, q.where...), more...)
		if len(all) == 0 {
			return ""
		}
		return " WHERE " + strings.Join(all, " AND ")
	}
	var direct []string
	args := q.args
	for kind, id := range map[string]string{"user": user, "group": group} {
		if id != "" {
			direct = append(direct, "actor_kind = '"+kind+"' AND actor_id = ?")
			args = append(append([]any{}, args...), id)
		}
	}
	if effective && user == "" {
		direct = append(direct, "actor_kind = 'user'")
	}
	var rows []assignment
	err := s.db.SelectContext(r.Context(), &rows, selectAssignments+where(direct...)+
		" ORDER BY actor_kind, actor_id, target_kind, target_id, role_id", args...)
	if err != nil || !effective {
		return rows, err
	}
	var member []string
	args = q.args
	if user != "" {
		member = append(member, "m.user_id = ?")
		args = append(append([]any{}, args...), user)
	}
	var through []assignment
	err = s.db.SelectContext(r.Context(), &through, selectMemberAssignments+where(member...)+
		" ORDER BY m.user_id, g.target_kind, g.target_id, g.role_id", args...)
	if err != nil {
		return nil, err
	}
	return s.expandAssignments(r, append(rows, through...), q.last("role.id"))
}

// expandAssignments adds the implied roles and then keeps those of the wanted role.
func (s *Service) expandAssignments(r *http.Request, rows []assignment, role string) ([]assignment, error) {
	g, err := readRoleGraph(r.Context(), s.db)
	if err != nil {
		return nil, err
	}
	var out []assignment
	for _, a := range rows {
		for _, n := range g.expand([]string{a.RoleID}) {
			b := a
			if n.ID != a.RoleID {
				b.RoleID, b.prior = n.ID, a.RoleID
			}
			if role == "" || role == b.RoleID {
				out = append(out, b)
			}
		}
	}
	return out, nil
}

// fullNames reads the names that include_names shows, once for the whole list.
func (s *Service) fullNames(r *http.Request) (map[string]map[string]fullName, error) {
	out := map[string]map[string]fullName{}
	for kind, statement := range map[string]string{"user": selectUserNames, "group": selectGroupNames,
		"project": selectProjectNames, "domain": selectDomainNames} {
		var rows []fullName
		err := s.db.SelectContext(r.Context(), &rows, statement)
		if err != nil {
			return nil, err
		}
		out[kind] = make(map[string]fullName, len(rows))
		for _, n := range rows {
			out[kind][n.ID] = n
		}
	}
	return out, nil
}

func (s *Service) answerAssignments(w http.ResponseWriter, r *http.Request, rows []assignment) error {
	var names map[string]map[string]fullName
	graph, err := readRoleGraph(r.Context(), s.db)
	if err == nil && flag(r, "include_names") {
		names, err = s.fullNames(r)
	}
	if err != nil {
		return err
	}
	ref := func(kind, id string) object {
		n, ok := names[kind][id]
		switch {
		case !ok:
			return object{"id": id}
		case kind == "domain":
			return object{"id": id, "name": n.Name}
		}
		return object{"id": id, "name": n.Name, "domain": object{"id": n.DomainID, "name": n.DomainName}}
	}
	members := make([]object, 0, len(rows))
	for i := range rows {
		a := &rows[i]
		role := object{"id": a.RoleID}
		if names != nil {
			role["name"] = graph.names[a.RoleID]
		}
		scope := object{"system": object{"all": true}}
		if a.TargetKind != "system" {
			scope = object{a.TargetKind: ref(a.TargetKind, a.TargetID)}
		}
		members = append(members, object{"role": role, a.ActorKind: ref(a.ActorKind, a.ActorID), "scope": scope,
			"links": s.assignmentLinks(r, a)})
	}
	return s.collection(w, r, "role_assignments", members, "")
}

// assignmentLinks point at the grant, and at what led from it to here.
func (s *Service) assignmentLinks(r *http.Request, a *assignment) object {
	kind, id, role := a.ActorKind, a.ActorID, a.RoleID
	links := object{}
	if a.ViaGroup != "" {
		kind, id = "group", a.ViaGroup
		links["membership"] = s.self(r, "groups", a.ViaGroup, "users", a.ActorID)["self"]
	}
	if a.prior != "" {
		role = a.prior
		links["prior_role"] = s.self(r, "roles", a.prior, "implies", a.RoleID)["self"]
	}
	target := []string{a.TargetKind + "s", a.TargetID}
	if a.TargetKind == "system" {
		target = []string{"system"}
	}
	links["assignment"] = s.self(r, append(target, kind+"s", id, "roles", role)...)["self"]
	return links
}
