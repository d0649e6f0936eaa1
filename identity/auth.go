package identity

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"

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

// prover checks one method's part of a login and gives the user whom it proves.
type prover func(r *http.Request, in object, g *grant) (string, error)

// readMethods gives the methods that a login names, each once, with their parts.
func (s *Service) readMethods(in object) (methods []string, parts map[string]object, err error) {
	f := fields{in: in}
	who := fields{in: f.object("identity")}
	if f.err == nil && who.in == nil {
		return nil, nil, expecting("identity", "auth")
	}
	if _, ok := who.in["methods"].([]any); f.err == nil && !ok {
		who.wrong("methods", "it is missing or not a list")
	}
	const knownMethods = 3
	methods = who.texts("methods", 2*knownMethods)
	parts = map[string]object{}
	for _, m := range methods {
		if !who.has(m) {
			return nil, nil, cmp.Or(f.err, who.err, expecting(clip(m), "identity"))
		}
		parts[m] = who.object(m)
		if parts[m] == nil {
			who.wrong(clip(m), "it is not an object")
		}
	}
	return methods, parts, cmp.Or(f.err, who.err)
}

// prove checks all methods of the request, each at most once; they must agree on the user.
func (s *Service) prove(r *http.Request, in object) (*grant, error) {
	methods, parts, err := s.readMethods(in)
	if err != nil {
		return nil, err
	}
	provers := map[string]prover{
		"password": s.provePassword, "token": s.proveToken, "application_credential": s.proveAppCred,
	}
	for _, m := range methods {
		if provers[m] == nil {
			return nil, errLogin()
		}
	}
	err = checkScope(in, slices.Contains(methods, "application_credential"))
	if err != nil {
		return nil, err
	}
	g := &grant{at: s.tick()}
	for _, m := range methods {
		user, err := provers[m](r, parts[m], g)
		if err != nil {
			return nil, err
		}
		if g.user != "" && g.user != user {
			return nil, errLogin()
		}
		g.user = user
		g.methods = append(g.methods, m)
	}
	if g.user == "" {
		return nil, errLogin() // no method at all
	}
	if g.appCred != nil && (g.parent != nil || len(methods) > 1) {
		return nil, errLogin() // a credential stands for itself; nothing may be added to it
	}
	return g, nil
}

// scopeWords are what a scope may be, as Keystone lists them in its refusal.
var scopeWords = []string{"system", "project", "domain", trustScope, unscoped}

const (
	trustScope = "OS-TRUST:trust"
	unscoped   = "unscoped"
)

// checkScope refuses, before anything is proved, a scope that nothing could be.
func checkScope(in object, byCredential bool) error {
	v := in["scope"]
	if v == nil {
		return nil
	}
	scope, ok := v.(map[string]any)
	if !ok && v != unscoped {
		if _, text := v.(string); !text {
			return compat.BadRequest("Invalid input for field 'scope': it is not an object")
		}
	}
	if byCredential {
		return compat.Unauthorized("Error authenticating with application credential: Application credentials cannot request a scope.")
	}
	if v == unscoped {
		return nil
	}
	named := 0
	for _, word := range scopeWords {
		if _, ok := scope[word]; ok {
			named++
		}
	}
	if named != 1 {
		return expecting("system, project, domain, OS-TRUST:trust or unscoped", "scope")
	}
	return nil
}

type loginRow struct {
	ID      string `db:"id"`
	Hash    string `db:"password_hash"` // "" matches nothing
	account string // what failures are counted for
}

const (
	selectLoginByID   = `SELECT id, password_hash FROM identity_users WHERE id = ?`
	selectLoginByName = `SELECT id, password_hash FROM identity_users WHERE domain_id = ? AND name_key = ?`
	selectDomainNamed = `SELECT id FROM identity_domains WHERE name_key = ?`
)

// reference is {"id"} or {"name", "domain": {"id" or "name"}}.
type reference struct{ id, name, domainID, domainName string }

// readReference reads one; as in Keystone a name comes before an id that is there besides.
func readReference(f *fields, kind string) reference {
	ref := reference{id: f.text("id", maxName), name: f.text("name", maxName)}
	d := f.object("domain")
	if ref.name != "" {
		ref.id = ""
	}
	switch {
	case f.err != nil:
	case ref.id == "" && ref.name == "":
		f.err = expecting("id or name", kind)
	case ref.id == "" && d == nil:
		f.err = expecting("domain", kind)
	case ref.id == "":
		inner := fields{in: d}
		ref.domainID, ref.domainName = readDomainReference(&inner)
		f.err = inner.err
	}
	return ref
}

// readDomainReference reads {"id" or "name"}.
func readDomainReference(f *fields) (id, name string) {
	id, name = f.text("id", maxName), f.text("name", maxName)
	if f.err == nil && id == "" && name == "" {
		f.err = expecting("id or name", "domain")
	}
	if name != "" {
		id = ""
	}
	return id, name
}

// provePassword checks {"user": {...}}. A user who does not exist takes as long as one with
// another password.
func (s *Service) provePassword(r *http.Request, in object, _ *grant) (string, error) {
	outer := fields{in: in}
	f := fields{in: outer.object("user")}
	if outer.err == nil && f.in == nil {
		return "", expecting("user", "password")
	}
	ref := readReference(&f, "user")
	password := f.secret("password")
	err := cmp.Or(outer.err, f.err)
	if err != nil {
		return "", err
	}
	row, err := s.findLogin(r.Context(), ref)
	if err != nil {
		return "", err
	}
	return s.checkSecret(r, row, password)
}

// secret reads what proves somebody: a string, or nothing at all, which proves nobody.
func (f *fields) secret(key string) string {
	text := f.text(key, maxBody)
	if f.has(key) && f.in[key] == nil {
		f.wrong(key, "it is not a string")
	}
	return text
}

// checkSecret compares a password or a credential's secret, with a limit on failures. A row
// without a hash fails like a wrong secret does.
func (s *Service) checkSecret(r *http.Request, row loginRow, secret string) (string, error) {
	ok, err := s.try(r.Context(), guess{account: row.account, address: clientAddress(r), hash: row.Hash, secret: secret})
	if err != nil {
		return "", err
	}
	if !ok {
		return "", errLogin()
	}
	return row.ID, nil
}

// accountOf names what is guessed at, for the limiter: by its id when there is such a thing,
// and else by what it was called, each part in the form in which it is compared.
func accountOf(kind, id string, parts ...string) string {
	if id != "" {
		return kind + " " + id
	}
	key := kind + " no"
	for _, p := range parts {
		key += "\x00" + foldName(p)
	}
	return key
}

// findLogin gives the user whom ref names, or a row with no more than an account.
func (s *Service) findLogin(ctx context.Context, ref reference) (loginRow, error) {
	var row loginRow
	var err error
	domain := ""
	if ref.id != "" {
		err = getExact(ctx, s.db, &row, &row.ID, selectLoginByID, ref.id)
	} else {
		domain, err = s.findDomain(ctx, ref)
		if err == nil {
			err = s.db.GetContext(ctx, &row, selectLoginByName, domain, foldName(ref.name))
		}
	}
	if errors.Is(err, sql.ErrNoRows) || errors.Is(err, errNoAccess) {
		row, err = loginRow{}, nil
	}
	if err != nil {
		return loginRow{}, fmt.Errorf("find a user: %w", err)
	}
	row.account = accountOf("user", row.ID, ref.id, cmp.Or(domain, ref.domainName), ref.name)
	return row, nil
}

// findDomain gives the id of the domain that a reference by name is in, or errNoAccess.
func (s *Service) findDomain(ctx context.Context, ref reference) (string, error) {
	if ref.domainID != "" {
		return ref.domainID, nil
	}
	var id string
	err := s.db.GetContext(ctx, &id, selectDomainNamed, foldName(ref.domainName))
	if errors.Is(err, sql.ErrNoRows) {
		return "", errNoAccess
	}
	return id, err
}

// proveToken checks {"id": TOKEN}.
func (s *Service) proveToken(r *http.Request, in object, g *grant) (string, error) {
	f := fields{in: in}
	text := f.text("id", maxBody)
	if f.err == nil && text == "" {
		f.err = expecting("id", "token")
	}
	if f.err != nil {
		return "", f.err
	}
	t, err := s.verify(r.Context(), text, 0)
	if err != nil {
		return "", refused(err)
	}
	if t.claims.AppCred != "" {
		// It would have rights that the credential does not.
		return "", compat.Forbidden("Using an application credential's token to get another token is not allowed.")
	}
	g.parent = t
	return t.claims.User, nil
}

// wantedScope reads what the token shall be for, and finds it.
func (s *Service) wantedScope(ctx context.Context, in object, g *grant) (scopeKey, error) {
	k := scopeKey{user: g.user}
	if g.appCred != nil {
		k.project, k.appCred = g.appCred.ProjectID, g.appCred.ID
		return k, nil
	}
	v := in["scope"]
	if v == nil {
		return s.defaultScope(ctx, k)
	}
	scope, ok := v.(map[string]any)
	if _, none := scope[unscoped]; !ok || none {
		return k, nil
	}
	err := s.readScope(ctx, scope, &k)
	if err == nil && g.parent != nil && g.parent.claims.System != "" && !k.system {
		return k, compat.Forbidden("You are not authorized to perform the requested action: " +
			"Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed.")
	}
	if errors.Is(err, errNoAccess) {
		return k, errLogin()
	}
	return k, err
}

// readScope reads a scope that checkScope has let through.
func (s *Service) readScope(ctx context.Context, scope object, k *scopeKey) error {
	f := fields{in: scope}
	switch {
	case f.has("project"):
		inner := fields{in: f.object("project")}
		ref := readReference(&inner, "project")
		err := cmp.Or(f.err, inner.err)
		if err != nil {
			return err
		}
		k.project, err = s.findProject(ctx, ref)
		return err
	case f.has("domain"):
		inner := fields{in: f.object("domain")}
		var ref reference
		ref.domainID, ref.domainName = readDomainReference(&inner)
		err := cmp.Or(f.err, inner.err)
		if err != nil {
			return err
		}
		k.domain, err = s.findDomain(ctx, ref)
		return err
	case f.has(trustScope):
		inner := fields{in: f.object(trustScope)}
		if inner.text("id", maxName) == "" && inner.err == nil {
			inner.err = expecting("trust_id", "trust")
		}
		return cmp.Or(f.err, inner.err, errNoAccess) // there are no trusts
	default:
		inner := fields{in: f.object("system")}
		if f.err != nil || inner.in == nil || !inner.boolean("all", true) || inner.err != nil {
			return compat.BadRequest("Invalid input for field 'system': it must be {\"all\": true}")
		}
		k.system = true
		return nil
	}
}

const selectProjectNamed = `SELECT id FROM identity_projects WHERE domain_id = ? AND name_key = ?`

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
	err = s.db.GetContext(ctx, &id, selectProjectNamed, domain, foldName(ref.name))
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
