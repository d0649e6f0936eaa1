package identity

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
)

// scopeKey is who, where: what the worth of a token depends on.
type scopeKey struct {
	user, project, domain, appCred string
	system                         bool
}

// facts are what the database says about a user in a scope. They are read once and hold as
// long as the version does.
type facts struct {
	version int64
	user    userFacts
	project projectFacts
	domain  domainFacts
	appCred *appCredFacts
	roles   []roleName // implied ones included, by name
}

type userFacts struct {
	ID             string `db:"id"`
	Name           string `db:"name"`
	DomainID       string `db:"domain_id"`
	DomainName     string `db:"domain_name"`
	Enabled        bool   `db:"enabled"`
	DomainEnabled  bool   `db:"domain_enabled"`
	DefaultProject string `db:"default_project_id"`
}

type projectFacts struct {
	ID            string `db:"id"`
	Name          string `db:"name"`
	DomainID      string `db:"domain_id"`
	DomainName    string `db:"domain_name"`
	Enabled       bool   `db:"enabled"`
	DomainEnabled bool   `db:"domain_enabled"`
}

type domainFacts struct {
	ID      string `db:"id"`
	Name    string `db:"name"`
	Enabled bool   `db:"enabled"`
}

type appCredFacts struct {
	ID           string        `db:"id"`
	Name         string        `db:"name"`
	UserID       string        `db:"user_id"`
	ProjectID    string        `db:"project_id"`
	SecretHash   string        `db:"secret_hash"`
	Unrestricted bool          `db:"unrestricted"`
	Expires      schema.Micros `db:"expires_at"`
	roles        []string
}

// roleName is an id with its name, as tokens list roles.
type roleName struct {
	ID   string `db:"id" json:"id"`
	Name string `db:"name" json:"name"`
}

// errNoAccess says that somebody does not exist, is disabled, or has no role there: one
// answer for all of them, so that nobody learns which.
var errNoAccess = errors.New("no such user with a role in that scope")

const (
	selectUserFacts = `
SELECT u.id, u.name, u.domain_id, d.name AS domain_name, u.enabled, d.enabled AS domain_enabled, u.default_project_id
FROM identity_users u JOIN identity_domains d ON d.id = u.domain_id
WHERE u.id = ?`
	selectProjectFacts = `
SELECT p.id, p.name, p.domain_id, d.name AS domain_name, p.enabled, d.enabled AS domain_enabled
FROM identity_projects p JOIN identity_domains d ON d.id = p.domain_id
WHERE p.id = ?`
	selectDomainFacts = `SELECT id, name, enabled FROM identity_domains WHERE id = ?`
	//nolint:gosec // G101 takes a statement for a secret (2026-11)
	selectAppCredFacts = `
SELECT id, name, user_id, project_id, secret_hash, unrestricted, expires_at
FROM identity_app_credentials
WHERE id = ?`
	selectAppCredRoles = `SELECT role_id FROM identity_app_credential_roles WHERE credential_id = ?` //nolint:gosec // G101 takes a statement for a secret (2026-11)
	selectGrantedRoles = `
SELECT DISTINCT role_id
FROM identity_grants
WHERE target_kind = ? AND target_id = ? AND (
  actor_kind = 'user' AND actor_id = ?
  OR actor_kind = 'group' AND actor_id IN (SELECT group_id FROM identity_memberships WHERE user_id = ?))`
)

// getExact reads one row, and none for a key that the database finds only by its collation.
func getExact(ctx context.Context, q schema.Querier, dest any, found *string, query, id string) error {
	err := q.GetContext(ctx, dest, query, id)
	if errors.Is(err, sql.ErrNoRows) || err == nil && *found != id {
		return errNoAccess
	}
	return err
}

// factsOf gives the facts of a user in a scope, or errNoAccess.
func (s *Service) factsOf(ctx context.Context, k scopeKey) (*facts, error) {
	version := s.version.Load() // before the reading: what changes meanwhile makes it old
	if f, ok := s.facts.Get(k); ok && f.version == version {
		return f, nil
	}
	f := &facts{version: version}
	err := s.readFacts(ctx, k, f)
	if errors.Is(err, errNoAccess) {
		return nil, err
	}
	if err != nil {
		return nil, fmt.Errorf("read user %s in its scope: %w", k.user, err)
	}
	s.facts.Add(k, f)
	return f, nil
}

func (s *Service) readFacts(ctx context.Context, k scopeKey, f *facts) error {
	err := getExact(ctx, s.db, &f.user, &f.user.ID, selectUserFacts, k.user)
	if err == nil && !(f.user.Enabled && f.user.DomainEnabled) {
		err = errNoAccess
	}
	if err != nil {
		return err
	}
	kind, target := "", ""
	switch {
	case k.project != "":
		kind, target = "project", k.project
		err = getExact(ctx, s.db, &f.project, &f.project.ID, selectProjectFacts, k.project)
		if err == nil && !(f.project.Enabled && f.project.DomainEnabled) {
			err = errNoAccess
		}
	case k.domain != "":
		kind, target = "domain", k.domain
		err = getExact(ctx, s.db, &f.domain, &f.domain.ID, selectDomainFacts, k.domain)
		if err == nil && !f.domain.Enabled {
			err = errNoAccess
		}
	case k.system:
		kind, target = "system", "all"
	default:
		return nil
	}
	if err != nil {
		return err
	}
	var granted []string
	err = s.db.SelectContext(ctx, &granted, selectGrantedRoles, kind, target, k.user, k.user)
	if err != nil {
		return err
	}
	return s.readRoles(ctx, k, f, granted)
}

// readRoles expands the granted roles, cut down to those of an application credential.
func (s *Service) readRoles(ctx context.Context, k scopeKey, f *facts, granted []string) error {
	graph, err := s.roleGraph(ctx)
	if err != nil {
		return err
	}
	f.roles = graph.expand(granted)
	if k.appCred != "" {
		f.appCred, err = s.readAppCred(ctx, k.appCred)
		if err != nil {
			return err
		}
		if f.appCred.UserID != k.user || f.appCred.ProjectID != k.project {
			return errNoAccess
		}
		allowed := graph.expand(f.appCred.roles)
		f.roles = slices.DeleteFunc(f.roles, func(r roleName) bool { return !slices.Contains(allowed, r) })
	}
	if len(f.roles) == 0 {
		return errNoAccess
	}
	return nil
}

func (s *Service) readAppCred(ctx context.Context, id string) (*appCredFacts, error) {
	var c appCredFacts
	err := getExact(ctx, s.db, &c, &c.ID, selectAppCredFacts, id)
	if err != nil {
		return nil, err
	}
	return &c, s.db.SelectContext(ctx, &c.roles, selectAppCredRoles, id)
}

// caller gives the facts in the form that all services know.
func (f *facts) caller(c *claims, token string) *compat.Caller {
	out := &compat.Caller{
		UserID: f.user.ID, UserName: f.user.Name, UserDomainID: f.user.DomainID, UserDomainName: f.user.DomainName,
		ProjectID: f.project.ID, ProjectName: f.project.Name,
		ProjectDomainID: f.project.DomainID, ProjectDomainName: f.project.DomainName,
		DomainID: f.domain.ID, DomainName: f.domain.Name, System: c.System != "",
		ExpiresAt: schema.Micros(c.Expires * microsPerSecond).Time(), Token: compat.Token(token),
	}
	for _, r := range f.roles {
		out.Roles = append(out.Roles, strings.ToLower(r.Name))
	}
	return out
}

// roleGraph is all roles and what each implies. There are few.
type roleGraph struct {
	version int64
	names   map[string]string
	implied map[string][]string
}

const (
	selectRoleNames = `SELECT id, name FROM identity_roles`
	selectImplied   = `SELECT prior_id, implied_id FROM identity_implied_roles ORDER BY prior_id, implied_id`
)

func (s *Service) roleGraph(ctx context.Context) (*roleGraph, error) {
	version := s.version.Load()
	if g := s.roles.Load(); g != nil && g.version == version {
		return g, nil
	}
	g, err := readRoleGraph(ctx, s.db)
	if err != nil {
		return nil, err
	}
	g.version = version
	s.roles.Store(g)
	return g, nil
}

func readRoleGraph(ctx context.Context, q schema.Querier) (*roleGraph, error) {
	g := &roleGraph{names: map[string]string{}, implied: map[string][]string{}}
	var names []roleName
	err := q.SelectContext(ctx, &names, selectRoleNames)
	if err != nil {
		return nil, fmt.Errorf("read roles: %w", err)
	}
	for _, r := range names {
		g.names[r.ID] = r.Name
	}
	var pairs []struct {
		Prior   string `db:"prior_id"`
		Implied string `db:"implied_id"`
	}
	err = q.SelectContext(ctx, &pairs, selectImplied)
	if err != nil {
		return nil, fmt.Errorf("read implied roles: %w", err)
	}
	for _, p := range pairs {
		g.implied[p.Prior] = append(g.implied[p.Prior], p.Implied)
	}
	return g, nil
}

// expand adds the implied roles, by any number of steps, and sorts by name.
func (g *roleGraph) expand(ids []string) []roleName {
	seen := map[string]bool{}
	for len(ids) > 0 {
		var next []string
		for _, id := range ids {
			if g.names[id] != "" && !seen[id] {
				seen[id] = true
				next = append(next, g.implied[id]...)
			}
		}
		ids = next
	}
	var out []roleName
	for _, id := range slices.Collect(maps.Keys(seen)) {
		out = append(out, roleName{id, g.names[id]})
	}
	slices.SortFunc(out, func(a, b roleName) int { return cmp.Compare(a.Name, b.Name) })
	return out
}

// name is a remembered name.
type name struct {
	version int64
	text    string
}

const (
	selectProjectName = `SELECT id, name FROM identity_projects WHERE id = ?`
	selectUserName    = `SELECT id, name FROM identity_users WHERE id = ?`
)

// ProjectName gives a project's name as q sees it, "" for one that does not exist.
func (s *Service) ProjectName(ctx context.Context, q schema.Querier, id string) string {
	n, _ := s.nameOf(ctx, q, "project ", selectProjectName, id) // a name for show; the id stands anyway
	return n
}

// UserName gives a user's name as q sees it, "" for one that does not exist.
func (s *Service) UserName(ctx context.Context, q schema.Querier, id string) string {
	n, _ := s.nameOf(ctx, q, "user ", selectUserName, id) // a name for show; the id stands anyway
	return n
}

// ProjectExists reports whether there is such a project.
func (s *Service) ProjectExists(ctx context.Context, id string) (bool, error) {
	n, err := s.nameOf(ctx, s.db, "project ", selectProjectName, id)
	return n != "", err
}

// nameOf gives a name that is remembered, or reads it. What a transaction reads may be older
// than what this process knows of, so it is not remembered; and a transaction waits for no
// connection but its own.
func (s *Service) nameOf(ctx context.Context, q schema.Querier, kind, query, id string) (string, error) {
	if !validID(id) {
		return "", nil
	}
	_, inside := q.(*schema.Tx)
	if !inside {
		err := s.fresh(ctx)
		if err != nil {
			return "", err
		}
	}
	version := s.version.Load()
	if n, ok := s.names.Get(kind + id); ok && n.version == version {
		return n.text, nil
	}
	var row roleName
	err := getExact(ctx, q, &row, &row.ID, query, id)
	if errors.Is(err, errNoAccess) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("read the name of %s%s: %w", kind, id, err)
	}
	if !inside {
		s.names.Add(kind+id, name{version, row.Name})
	}
	return row.Name, nil
}
