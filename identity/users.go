package identity

import (
	"fmt"
	"net/http"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) userRoutes() []route {
	return []route{
		{"GET", "/v3/users", readers, "list_users", s.listUsers},
		{"POST", "/v3/users", admins, "create_user", s.createUser},
		{"GET", "/v3/users/{user}", self, "get_user", s.showUser},
		{"PATCH", "/v3/users/{user}", admins, "update_user", s.updateUser},
		{"DELETE", "/v3/users/{user}", admins, "delete_user", s.deleteUser},
		{"POST", "/v3/users/{user}/password", owner, "change_password", s.changePassword},
		{"GET", "/v3/users/{user}/groups", self, "list_groups_for_user", s.userGroups},
	}
}

type userRow struct {
	ID       string `db:"id"`
	DomainID string `db:"domain_id"`
	named
	Enabled        bool          `db:"enabled"`
	DefaultProject string        `db:"default_project_id"`
	PasswordHash   string        `db:"password_hash"`
	Extra          string        `db:"extra"`
	CreatedAt      schema.Micros `db:"created_at"`
}

const (
	selectUsers = `
SELECT id, domain_id, name, enabled, default_project_id, password_hash, extra
FROM identity_users`
	selectUser = selectUsers + ` WHERE id = ?`
	insertUser = `
INSERT INTO identity_users (id, domain_id, name, name_key, enabled, default_project_id, password_hash, extra, created_at)
VALUES (:id, :domain_id, :name, :name_key, :enabled, :default_project_id, :password_hash, :extra, :created_at)`
	updateUser = `
UPDATE identity_users
SET name = :name, name_key = :name_key, enabled = :enabled, default_project_id = :default_project_id, password_hash = :password_hash, extra = :extra
WHERE id = :id`
	deleteUser       = `DELETE FROM identity_users WHERE id = ?`
	deleteUserGrants = `DELETE FROM identity_grants WHERE actor_kind = 'user' AND actor_id = ?`
)

func (s *Service) userView(r *http.Request, u *userRow) object {
	known := object{"id": u.ID, "name": u.Name, "domain_id": u.DomainID, "enabled": u.Enabled,
		"password_expires_at": nil, "options": object{}, "links": s.self(r, "users", u.ID)}
	if u.DefaultProject != "" {
		known["default_project_id"] = u.DefaultProject
	}
	return view(u.Extra, known)
}

// userFilters are the filters of lists of users.
func (q *query) userFilters() *query {
	return q.name().enabled().id("domain_id").equal("default_project_id").passwordExpiry().nothing("idp_id", "protocol_id", "unique_id")
}

func (s *Service) listUsers(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r).userFilters().sorted(map[string]string{"name": "name_key", "domain_id": "domain_id", "enabled": "enabled"})
	return answerList(s, w, r, "users", q, selectUsers, func(u *userRow) (object, string) {
		return s.userView(r, u), u.ID
	})
}

func (s *Service) showUser(w http.ResponseWriter, r *http.Request) error {
	var u userRow
	err := find(r.Context(), s.db, &u, "user", selectUser, pathVar(r, "user"))
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"user": s.userView(r, &u)})
}

// password reads a new password; set is false for none or null.
func (f *fields) password(key string) (password string, set bool) {
	password = f.text(key, maxBody)
	if f.in[key] == nil {
		return "", false
	}
	if f.err == nil && (password == "" || len(password) > maxPassword) {
		f.wrong(key, "it must have 1 to 4096 bytes")
	}
	return password, true
}

// reservedUser are members that the view makes by itself.
var reservedUser = []string{"password_expires_at", "original_password", "password_hash"}

func (s *Service) createUser(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "user")
	if err != nil {
		return err
	}
	f := fields{in: in}
	u := userRow{ID: newID(), named: f.named(), DomainID: f.id("domain_id"), Enabled: f.boolean("enabled", true),
		DefaultProject: f.id("default_project_id"), CreatedAt: s.now()}
	password, set := f.password("password")
	u.Extra = f.extra("", reservedUser...)
	if f.err != nil {
		return f.err
	}
	if u.DomainID == "" {
		u.DomainID = callerDomain(r)
	}
	if set {
		u.PasswordHash, err = s.hasher.hash(r.Context(), password)
		if err != nil {
			return err
		}
	}
	err = s.insert(r.Context(), insertUser, &u)
	if schema.ForeignKey(err) {
		return homeless(err, u.DomainID)
	}
	if err != nil {
		return taken(err, "user", u.Name)
	}
	return compat.WriteJSON(w, http.StatusCreated, object{"user": s.userView(r, &u)})
}

// updateUser answers PATCH; a new password and disabling end the user's tokens.
func (s *Service) updateUser(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "user")
	if err != nil {
		return err
	}
	pw := fields{in: in}
	password, set := pw.password("password")
	if pw.err != nil {
		return pw.err
	}
	hash := ""
	if set {
		hash, err = s.hasher.hash(r.Context(), password)
		if err != nil {
			return err
		}
	}
	var u userRow
	err = s.change(r.Context(), func(c *change) error {
		u = userRow{}
		err := find(r.Context(), c, &u, "user", selectUser, pathVar(r, "user"))
		if err != nil {
			return err
		}
		err = editUser(&u, in)
		if err != nil {
			return err
		}
		if set {
			u.PasswordHash = hash
		}
		err = execNamed(r.Context(), c, updateUser, &u)
		if err != nil {
			return taken(err, "user", u.Name)
		}
		if u.Enabled && !set {
			return nil
		}
		return c.revoke(r.Context(), revocation{UserID: u.ID})
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"user": s.userView(r, &u)})
}

func editUser(u *userRow, in object) error {
	f := fields{in: in, read: []string{"password"}}
	if f.has("name") {
		u.named = f.named()
	}
	if f.has("default_project_id") {
		u.DefaultProject = f.id("default_project_id")
	}
	u.Enabled = f.boolean("enabled", u.Enabled)
	f.unchanged("domain_id", u.DomainID)
	f.unchanged("id", u.ID)
	u.Extra = f.extra(u.Extra, reservedUser...)
	return f.err
}

func (s *Service) deleteUser(w http.ResponseWriter, r *http.Request) error {
	id := pathVar(r, "user")
	err := s.change(r.Context(), func(c *change) error {
		err := s.mustExist(r.Context(), c, "user", id)
		if err != nil {
			return err
		}
		for _, statement := range []string{deleteUserGrants, deleteUser} {
			_, err = c.ExecContext(r.Context(), statement, id)
			if err != nil {
				return fmt.Errorf("delete user %s: %w", id, err)
			}
		}
		return c.revoke(r.Context(), revocation{UserID: id})
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

const updatePassword = `UPDATE identity_users SET password_hash = ? WHERE id = ? AND password_hash = ?`

// changePassword answers POST /v3/users/{id}/password. It ends all the user's tokens, the
// one that it was called with too.
func (s *Service) changePassword(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "user")
	if err != nil {
		return err
	}
	id := pathVar(r, "user")
	f := fields{in: in}
	fresh, set := f.password("password")
	old, given := f.password("original_password")
	if f.err == nil && !(set && given) {
		f.wrong("password", "password and original_password must both be given")
	}
	if f.err != nil {
		return f.err
	}
	row, err := s.findLogin(r.Context(), reference{id: id})
	if err != nil {
		return err
	}
	_, err = s.checkSecret(r, row, old)
	if err != nil {
		return err
	}
	hash, err := s.hasher.hash(r.Context(), fresh)
	if err != nil {
		return err
	}
	err = s.change(r.Context(), func(c *change) error {
		ok, err := schema.Changed(c.ExecContext(r.Context(), updatePassword, hash, id, row.Hash))
		if err != nil {
			return fmt.Errorf("change a password: %w", err)
		}
		if !ok {
			return compat.Conflict("The password was changed by another request.")
		}
		return c.revoke(r.Context(), revocation{UserID: id})
	})
	if err != nil {
		return err
	}
	return noContent(w)
}
