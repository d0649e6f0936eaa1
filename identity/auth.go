package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) authRoutes() []route {
	return []route{
		{"GET", "/", public, "", s.versions},
		{"GET", "/v3", public, "", s.v3},
		{"POST", "/v3/auth/tokens", public, "", s.login},
		{"GET", "/v3/auth/tokens", anyToken, "validate_token", s.showToken},
		{"DELETE", "/v3/auth/tokens", anyToken, "revoke_token", s.revokeToken},
		{"GET", "/v3/auth/catalog", anyToken, "get_auth_catalog", s.authCatalog},
		{"GET", "/v3/auth/projects", anyToken, "get_auth_projects", s.authProjects},
		{"GET", "/v3/auth/domains", anyToken, "get_auth_domains", s.authDomains},
		{"GET", "/v3/auth/system", anyToken, "get_auth_system", s.authSystem},
	}
}

// errLogin is the one answer to all that can be wrong with a login.
func errLogin() error { return compat.Unauthorized(unauthenticated) }

// login answers POST /v3/auth/tokens. It first reads what other processes have changed, so
// that no token is made from a state that is a second old.
func (s *Service) login(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "auth")
	if err != nil {
		return err
	}
	err = s.poll(r.Context())
	if err != nil {
		return refused(err)
	}
	g, err := s.prove(r, in)
	if err != nil {
		return err
	}
	scope, err := s.wantedScope(r.Context(), in, g)
	if err != nil {
		return err
	}
	text, t, err := s.issue(r.Context(), g, scope)
	if errors.Is(err, errNoAccess) {
		return errLogin()
	}
	if err != nil {
		return err
	}
	return s.answerToken(w, r, http.StatusCreated, text, t)
}

// prove checks all methods of the request, each at most once; they must agree on the user.
func (s *Service) prove(r *http.Request, in object) (*grant, error) {
	f := fields{in: in}
	who := fields{in: f.object("identity")}
	const knownMethods = 3
	methods := who.texts("methods", 2*knownMethods)
	if f.err == nil {
		f.err = who.err
	}
	if f.err == nil && len(methods) == 0 {
		f.wrong("methods", "it is empty or missing")
	}
	if f.err != nil {
		return nil, f.err
	}
	provers := map[string]func(*http.Request, object, *grant) (string, error){
		"password": s.provePassword, "token": s.proveToken, "application_credential": s.proveAppCred,
	}
	g := &grant{at: s.tick()}
	for _, m := range methods {
		prover := provers[m]
		if prover == nil {
			return nil, errLogin()
		}
		part := who.object(m)
		if who.err != nil || part == nil {
			return nil, compat.BadRequest("Invalid input for field '%s': it is not an object", m)
		}
		user, err := prover(r, part, g)
		if err != nil {
			return nil, err
		}
		if g.user != "" && g.user != user {
			return nil, errLogin()
		}
		g.user = user
		g.methods = append(g.methods, m)
	}
	if g.appCred != nil && (g.parent != nil || len(methods) > 1) {
		return nil, errLogin() // a credential stands for itself; nothing may be added to it
	}
	return g, nil
}

type loginRow struct {
	ID   string `db:"id"`
	Hash string `db:"password_hash"`
}

const (
	selectLoginByID   = `SELECT id, password_hash FROM identity_users WHERE id = ?`
	selectLoginByName = `SELECT id, password_hash FROM identity_users WHERE domain_id = ? AND name = ?`
	selectDomainNamed = `SELECT id FROM identity_domains WHERE name = ?`
)

// reference is {"id"} or {"name", "domain": {"id" or "name"}}.
type reference struct{ id, name, domainID, domainName string }

func readReference(f *fields) reference {
	ref := reference{id: f.text("id", maxName), name: f.text("name", maxName)}
	if d := f.object("domain"); d != nil {
		inner := fields{in: d}
		ref.domainID, ref.domainName = inner.text("id", maxName), inner.text("name", maxName)
		if f.err == nil {
			f.err = inner.err
		}
	}
	switch {
	case f.err != nil:
	case ref.id == "" && ref.name == "":
		f.wrong("id", "neither id nor name is given")
	case ref.id == "" && ref.domainID == "" && ref.domainName == "":
		f.wrong("domain", "a name needs a domain")
	}
	return ref
}

// provePassword checks {"user": {...}}. A user who does not exist takes as long as one with
// another password.
func (s *Service) provePassword(r *http.Request, in object, _ *grant) (string, error) {
	outer := fields{in: in}
	f := fields{in: outer.object("user")}
	ref := readReference(&f)
	password := f.text("password", maxBody)
	if _, ok := f.in["password"].(string); !ok {
		f.wrong("password", "it is missing or not a string")
	}
	err := errors.Join(outer.err, f.err)
	if err != nil {
		return "", err
	}
	row, err := s.findLogin(r.Context(), ref)
	if err != nil {
		return "", err
	}
	return s.checkSecret(r, attemptKey(r, "user", ref.id, ref.domainID, ref.domainName, ref.name), row, password)
}

// checkSecret compares a password or a credential's secret, with a limit on failures. An
// empty row fails like a wrong secret does.
func (s *Service) checkSecret(r *http.Request, key string, row loginRow, secret string) (string, error) {
	now := s.now().Time()
	err := s.attempts.allow(key, now)
	if err != nil {
		return "", err
	}
	ok, err := s.hasher.matches(r.Context(), row.Hash, secret)
	if err != nil {
		return "", err
	}
	if !ok {
		s.attempts.failed(key, now)
		return "", errLogin()
	}
	return row.ID, nil
}

// findLogin gives the user whom ref names, or an empty row.
func (s *Service) findLogin(ctx context.Context, ref reference) (loginRow, error) {
	var row loginRow
	var err error
	if ref.id != "" {
		err = getExact(ctx, s.db, &row, &row.ID, selectLoginByID, ref.id)
	} else {
		var domain string
		domain, err = s.findDomain(ctx, ref)
		if err == nil {
			err = s.db.GetContext(ctx, &row, selectLoginByName, domain, ref.name)
		}
	}
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, errNoAccess) {
		return loginRow{}, nil
	}
	if err != nil {
		return loginRow{}, fmt.Errorf("find a user: %w", err)
	}
	return row, nil
}

// findDomain gives the id of the domain that a reference by name is in, or errNoAccess.
func (s *Service) findDomain(ctx context.Context, ref reference) (string, error) {
	if ref.domainID != "" {
		return ref.domainID, nil
	}
	var id string
	err := s.db.GetContext(ctx, &id, selectDomainNamed, ref.domainName)
	if errors.Is(err, sql.ErrNoRows) {
		return "", errNoAccess
	}
	return id, err
}

// proveToken checks {"id": TOKEN}. A token that came from an application credential makes
// no other: it would have rights that the credential does not.
func (s *Service) proveToken(r *http.Request, in object, g *grant) (string, error) {
	f := fields{in: in}
	text := f.text("id", maxBody)
	if f.err == nil && text == "" {
		f.wrong("id", "it is empty or missing")
	}
	if f.err != nil {
		return "", f.err
	}
	t, err := s.verify(r.Context(), text, 0)
	if err != nil {
		return "", refused(err)
	}
	if t.claims.AppCred != "" {
		return "", compat.Forbidden("Using an application credential's token to get another token is not allowed.")
	}
	g.parent = t
	return t.claims.User, nil
}

// wantedScope reads what the token shall be for, and finds it.
func (s *Service) wantedScope(ctx context.Context, in object, g *grant) (scopeKey, error) {
	k := scopeKey{user: g.user}
	v, given := in["scope"]
	if g.appCred != nil {
		if given && v != nil {
			return k, compat.Forbidden("Error authenticating with application credential: Application credentials cannot request a scope.")
		}
		k.project, k.appCred = g.appCred.ProjectID, g.appCred.ID
		return k, nil
	}
	if !given || v == nil {
		return s.defaultScope(ctx, k)
	}
	if v == "unscoped" {
		return k, nil
	}
	scope, ok := v.(map[string]any)
	if !ok {
		return k, compat.BadRequest("Invalid input for field 'scope': it is not an object")
	}
	if _, ok := scope["unscoped"]; ok && len(scope) == 1 {
		return k, nil
	}
	err := s.readScope(ctx, scope, &k)
	if errors.Is(err, errNoAccess) {
		return k, errLogin()
	}
	return k, err
}

func (s *Service) readScope(ctx context.Context, scope object, k *scopeKey) error {
	if len(scope) != 1 {
		return compat.BadRequest("Invalid input for field 'scope': it must name one of project, domain and system")
	}
	f := fields{in: scope}
	switch {
	case f.has("project"):
		inner := fields{in: f.object("project")}
		ref := readReference(&inner)
		err := errors.Join(f.err, inner.err)
		if err != nil {
			return err
		}
		k.project, err = s.findProject(ctx, ref)
		return err
	case f.has("domain"):
		inner := fields{in: f.object("domain")}
		ref := reference{domainID: inner.text("id", maxName), domainName: inner.text("name", maxName)}
		if f.err == nil && inner.err == nil && ref == (reference{}) {
			inner.wrong("domain", "neither id nor name is given")
		}
		err := errors.Join(f.err, inner.err)
		if err != nil {
			return err
		}
		k.domain, err = s.findDomain(ctx, ref)
		return err
	case f.has("system"):
		inner := fields{in: f.object("system")}
		if f.err != nil || !inner.boolean("all", false) || inner.err != nil {
			return compat.BadRequest("Invalid input for field 'system': it must be {\"all\": true}")
		}
		k.system = true
		return nil
	}
	return compat.BadRequest("Invalid input for field 'scope': it must name one of project, domain and system")
}

const selectProjectNamed = `SELECT id FROM identity_projects WHERE domain_id = ? AND name = ?`

// findProject gives the id of the project that ref names, or errNoAccess.
func (s *Service) findProject(ctx context.Context, ref reference) (string, error) {
	if ref.id != "" {
		return ref.id, nil
	}
	domain, err := s.findDomain(ctx, ref)
	if err != nil {
		return "", err
	}
	var id string
	err = s.db.GetContext(ctx, &id, selectProjectNamed, domain, ref.name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", errNoAccess
	}
	return id, err
}

// defaultScope is the user's default project where that is usable, and else no scope.
func (s *Service) defaultScope(ctx context.Context, k scopeKey) (scopeKey, error) {
	f, err := s.factsOf(ctx, k)
	if errors.Is(err, errNoAccess) {
		return k, errLogin()
	}
	if err != nil || f.user.DefaultProject == "" {
		return k, err
	}
	scoped := k
	scoped.project = f.user.DefaultProject
	_, err = s.factsOf(ctx, scoped)
	if errors.Is(err, errNoAccess) {
		return k, nil
	}
	return scoped, err
}

// isoTime is the form of times in tokens.
func isoTime(m schema.Micros) string { return m.ISOMicros() + "Z" }
