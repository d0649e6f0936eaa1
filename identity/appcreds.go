package identity

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) appCredRoutes() []route {
	const path = "/v3/users/{user}/application_credentials"
	return []route{
		{"GET", path, self, "list_application_credentials", s.listAppCreds},
		{"POST", path, owner, "create_application_credential", s.createAppCred},
		{"GET", path + "/{id}", self, "get_application_credential", s.showAppCred},
		{"DELETE", path + "/{id}", self, "delete_application_credential", s.deleteAppCred},
	}
}

type appCredRow struct {
	ID        string `db:"id"`
	UserID    string `db:"user_id"`
	ProjectID string `db:"project_id"`
	named
	Description  *string       `db:"description"`
	SecretHash   string        `db:"secret_hash"`
	Unrestricted bool          `db:"unrestricted"`
	Expires      schema.Micros `db:"expires_at"`
	CreatedAt    schema.Micros `db:"created_at"`
}

const (
	//nolint:gosec // G101 takes a statement for a secret (2026-11)
	selectAppCreds = `
SELECT id, user_id, project_id, name, description, unrestricted, expires_at
FROM identity_app_credentials`
	selectAppCred = selectAppCreds + ` WHERE id = ? AND user_id = ?`
	//nolint:gosec // G101 takes a statement for a secret (2026-11)
	insertAppCred = `
INSERT INTO identity_app_credentials (id, user_id, project_id, name, name_key, description, secret_hash, unrestricted, expires_at, created_at)
VALUES (:id, :user_id, :project_id, :name, :name_key, :description, :secret_hash, :unrestricted, :expires_at, :created_at)`
	insertAppCredRole   = `INSERT INTO identity_app_credential_roles (credential_id, role_id) VALUES (?, ?)`
	deleteAppCred       = `DELETE FROM identity_app_credentials WHERE id = ? AND user_id = ?`
	selectAppCredByName = `SELECT id FROM identity_app_credentials WHERE user_id = ? AND name_key = ?`
)

func (s *Service) appCredView(r *http.Request, c *appCredRow) (object, error) {
	g, err := readRoleGraph(r.Context(), s.db)
	if err != nil {
		return nil, err
	}
	var ids []string
	err = s.db.SelectContext(r.Context(), &ids, selectAppCredRoles, c.ID)
	if err != nil {
		return nil, fmt.Errorf("read the roles of application credential %s: %w", c.ID, err)
	}
	roles := []object{}
	for _, id := range ids {
		roles = append(roles, object{"id": id, "name": g.names[id], "domain_id": nil})
	}
	v := object{"id": c.ID, "name": c.Name, "description": c.Description, "user_id": c.UserID, "project_id": c.ProjectID,
		"roles": roles, "unrestricted": c.Unrestricted, "expires_at": nil, "system": nil,
		"links": s.self(r, "users", c.UserID, "application_credentials", c.ID)}
	if c.Expires != 0 {
		v["expires_at"] = c.Expires.ISOMicros()
	}
	return v, nil
}

func (s *Service) listAppCreds(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r).name()
	q.and("user_id = ?", pathVar(r, "user"))
	rows, more, err := list[appCredRow](r.Context(), s, q, selectAppCreds)
	if err != nil {
		return err
	}
	members, last := []object{}, ""
	for i := range rows {
		v, err := s.appCredView(r, &rows[i])
		if err != nil {
			return err
		}
		members = append(members, v)
		if more {
			last = rows[i].ID
		}
	}
	return s.collection(w, r, "application_credentials", members, last)
}

func (s *Service) showAppCred(w http.ResponseWriter, r *http.Request) error {
	id := pathVar(r, "id")
	if !validID(id) {
		return missing("application credential", id)
	}
	var row appCredRow
	err := s.db.GetContext(r.Context(), &row, selectAppCred, id, pathVar(r, "user"))
	if err != nil {
		return noRow(err, "application credential", id)
	}
	v, err := s.appCredView(r, &row)
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"application_credential": v})
}

// restricted refuses what a token of a restricted credential may not do.
func restricted(r *http.Request, action string) error {
	cred := sessionFrom(r.Context()).facts.appCred
	if cred != nil && !cred.Unrestricted {
		return forbidden(action)
	}
	return nil
}

// createAppCred makes a credential for the caller, in the project and with at most the
// roles of the caller's token.
func (s *Service) createAppCred(w http.ResponseWriter, r *http.Request) error {
	err := restricted(r, "create_application_credential")
	if err != nil {
		return err
	}
	t := sessionFrom(r.Context())
	if t.claims.Project == "" {
		return compat.Forbidden("An application credential is made with a token for its project.")
	}
	in, err := readBody(r, "application_credential")
	if err != nil {
		return err
	}
	f := fields{in: in}
	row := appCredRow{ID: newID(), UserID: t.claims.User, ProjectID: t.claims.Project, named: named{Name: f.name("name")},
		Expires: f.time("expires_at"), CreatedAt: s.now()}
	if in["unrestricted"] != nil {
		row.Unrestricted = f.boolean("unrestricted", false)
	}
	if text := f.text("description", maxText); in["description"] != nil {
		row.Description = &text
	}
	secret, set := f.password("secret")
	if !set {
		secret = newSecret()
	}
	roles := f.roles(t)
	f.unchanged("project_id", row.ProjectID)
	f.unchanged("user_id", row.UserID)
	if rules, ok := in["access_rules"].([]any); in["access_rules"] != nil && (!ok || len(rules) > 0) {
		f.wrong("access_rules", "access rules are not supported")
	}
	if row.Expires != 0 && row.Expires <= s.now() {
		f.wrong("expires_at", "it is in the past")
	}
	if f.err != nil {
		return f.err
	}
	// A credential made by a credential lives no longer than that one.
	if parent := t.facts.appCred; parent != nil && parent.Expires != 0 && (row.Expires == 0 || row.Expires > parent.Expires) {
		row.Expires = parent.Expires
	}
	row.SecretHash, err = s.hasher.hash(r.Context(), secret)
	if err != nil {
		return err
	}
	err = s.insertAppCred(r, &row, roles)
	if err != nil {
		return err
	}
	v, err := s.appCredView(r, &row)
	if err != nil {
		return err
	}
	v["secret"] = secret
	return compat.WriteJSON(w, http.StatusCreated, object{"application_credential": v})
}

func (s *Service) insertAppCred(r *http.Request, row *appCredRow, roles []string) error {
	return s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		err := execNamed(r.Context(), tx, insertAppCred, row)
		if err != nil {
			return taken(err, "application_credential", row.Name)
		}
		for _, id := range roles {
			_, err = tx.ExecContext(r.Context(), insertAppCredRole, row.ID, id)
			if err != nil {
				return fmt.Errorf("store a role of an application credential: %w", err)
			}
		}
		return nil
	})
}

// time reads a moment in ISO 8601, 0 for none.
func (f *fields) time(key string) schema.Micros {
	text := f.text(key, maxName)
	if text == "" {
		return 0
	}
	for _, form := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02T15:04:05.999999", "2006-01-02"} {
		at, err := time.Parse(form, text)
		if err == nil && at.Year() > 1970 && at.Year() < 9999 {
			return schema.MicrosOf(at)
		}
	}
	f.wrong(key, "it is not a time")
	return 0
}

// roles reads [{"id" or "name"}], which must be roles of the token; none means all of them.
func (f *fields) roles(t *session) []string {
	v := f.get("roles")
	wanted, ok := v.([]any)
	if v != nil && !ok {
		f.wrong("roles", "it is not a list")
	}
	var ids []string
	for _, member := range wanted {
		o, ok := member.(map[string]any)
		if !ok {
			f.wrong("roles", "a member is not an object")
			return nil
		}
		at := slices.IndexFunc(t.facts.roles, func(n roleName) bool {
			name, _ := o["name"].(string)
			return o["id"] == n.ID || o["id"] == nil && name != "" && strings.EqualFold(name, n.Name)
		})
		if at < 0 {
			f.wrong("roles", "a role is not one that the token has")
			return nil
		}
		if id := t.facts.roles[at].ID; !slices.Contains(ids, id) {
			ids = append(ids, id)
		}
	}
	if len(wanted) == 0 {
		for _, n := range t.facts.roles {
			ids = append(ids, n.ID)
		}
	}
	return ids
}

// deleteAppCred ends the credential's tokens too: without it they are worth nothing.
func (s *Service) deleteAppCred(w http.ResponseWriter, r *http.Request) error {
	err := restricted(r, "delete_application_credential")
	if err != nil {
		return err
	}
	id := pathVar(r, "id")
	if !validID(id) {
		return missing("application credential", id)
	}
	err = s.change(r.Context(), func(c *change) error {
		ok, err := schema.Changed(c.ExecContext(r.Context(), deleteAppCred, id, pathVar(r, "user")))
		if err == nil && !ok {
			return missing("application credential", id)
		}
		return err
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

// proveAppCred checks {"id" or "name" and "user", "secret"} of a login.
func (s *Service) proveAppCred(r *http.Request, in object, g *grant) (string, error) {
	f := fields{in: in}
	id, name, secret := f.text("id", maxName), f.text("name", maxName), f.secret("secret")
	var ref reference
	switch {
	case f.err != nil || id != "":
	case name == "":
		f.err = expecting("name or ID", "application credential")
	case f.object("user") == nil:
		f.err = cmp.Or(f.err, expecting("user", "application credential"))
	default:
		user := fields{in: f.object("user")}
		ref = readReference(&user, "user")
		f.err = user.err
	}
	if f.err != nil {
		return "", f.err
	}
	cred, account, err := s.findAppCred(r, id, name, ref)
	if err != nil {
		return "", err
	}
	user, err := s.checkSecret(r, loginRow{cred.UserID, cred.SecretHash, account}, secret)
	if err != nil {
		return "", err
	}
	if cred.Expires != 0 && s.now() >= cred.Expires {
		return "", errLogin()
	}
	g.appCred = cred
	return user, nil
}

// findAppCred gives the credential, or an empty one that no secret matches, and what
// failures are counted for.
func (s *Service) findAppCred(r *http.Request, id, name string, ref reference) (*appCredFacts, string, error) {
	account := accountOf("credential", "", id)
	if id == "" {
		user, err := s.findLogin(r.Context(), ref)
		if err != nil {
			return nil, "", err
		}
		account = accountOf("credential", "", user.account, name)
		err = s.db.GetContext(r.Context(), &id, selectAppCredByName, user.ID, foldName(name))
		if errors.Is(err, sql.ErrNoRows) {
			return &appCredFacts{}, account, nil
		}
		if err != nil {
			return nil, "", fmt.Errorf("find an application credential: %w", err)
		}
	}
	cred, err := s.readAppCred(r.Context(), id)
	if errors.Is(err, errNoAccess) {
		return &appCredFacts{}, account, nil
	}
	if err != nil {
		return nil, "", err
	}
	return cred, accountOf("credential", cred.ID), nil
}
