package identity

import (
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) roleRoutes() []route {
	return []route{
		{"GET", "/v3/roles", readers, "list_roles", s.listRoles},
		{"POST", "/v3/roles", admins, "create_role", s.createRole},
		{"GET", "/v3/roles/{role}", readers, "get_role", s.showRole},
		{"PATCH", "/v3/roles/{role}", admins, "update_role", s.updateRole},
		{"DELETE", "/v3/roles/{role}", admins, "delete_role", s.deleteRole},
		{"GET", "/v3/roles/{role}/implies", readers, "list_implied_roles", s.listImplied},
		{"GET", "/v3/roles/{role}/implies/{implied}", readers, "get_implied_role", s.showImplied},
		{"PUT", "/v3/roles/{role}/implies/{implied}", admins, "create_implied_role", s.addImplied},
		{"DELETE", "/v3/roles/{role}/implies/{implied}", admins, "delete_implied_role", s.removeImplied},
		{"GET", "/v3/role_inferences", readers, "list_role_inference_rules", s.inferences},
	}
}

type roleRow struct {
	ID string `db:"id"`
	named
	Description *string       `db:"description"`
	Extra       string        `db:"extra"`
	CreatedAt   schema.Micros `db:"created_at"`
}

const (
	selectRoles = `SELECT id, name, description, extra FROM identity_roles`
	selectRole  = selectRoles + ` WHERE id = ?`
	insertRole  = `
INSERT INTO identity_roles (id, name, name_key, description, extra, created_at)
VALUES (:id, :name, :name_key, :description, :extra, :created_at)`
	updateRole = `
UPDATE identity_roles SET name = :name, name_key = :name_key, description = :description, extra = :extra
WHERE id = :id`
	deleteRole         = `DELETE FROM identity_roles WHERE id = ?`
	selectGrantsOfRole = `SELECT actor_kind, actor_id, target_kind, target_id, role_id FROM identity_grants WHERE role_id = ?`
	insertImplied      = `INSERT INTO identity_implied_roles (prior_id, implied_id) VALUES (?, ?)`
	deleteImplied      = `DELETE FROM identity_implied_roles WHERE prior_id = ? AND implied_id = ?`
)

// noRow makes the 404 Fault of its kind of a query that found nothing.
func noRow(err error, kind, id string) error {
	if errors.Is(err, sql.ErrNoRows) {
		return missing(kind, id)
	}
	return err
}

func (s *Service) roleView(r *http.Request, row *roleRow) object {
	return view(row.Extra, object{"id": row.ID, "name": row.Name, "description": row.Description, "domain_id": nil,
		"options": object{}, "links": s.self(r, "roles", row.ID)})
}

func (s *Service) listRoles(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r).name()
	if d := q.last("domain_id"); d != "" && d != "None" {
		q.and("1 = 0") // there are no roles of a domain
	}
	return answerList(s, w, r, "roles", q, selectRoles, func(row *roleRow) (object, string) {
		return s.roleView(r, row), row.ID
	})
}

func (s *Service) showRole(w http.ResponseWriter, r *http.Request) error {
	var row roleRow
	err := find(r.Context(), s.db, &row, "role", selectRole, pathVar(r, "role"))
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"role": s.roleView(r, &row)})
}

// editRole reads the members of a role that a client may set.
func editRole(f *fields, row *roleRow) error {
	if f.has("name") || row.Name == "" {
		row.Name = f.name("name")
	}
	if f.has("description") {
		row.Description = nil
		if text := f.text("description", maxText); f.in["description"] != nil {
			row.Description = &text
		}
	}
	if f.get("domain_id") != nil {
		f.wrong("domain_id", "roles of a domain are not supported")
	}
	row.Extra = f.extra(row.Extra)
	return f.err
}

func (s *Service) createRole(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "role")
	if err != nil {
		return err
	}
	row := roleRow{ID: newID(), CreatedAt: s.now()}
	err = editRole(&fields{in: in}, &row)
	if err != nil {
		return err
	}
	// Remembered grants do not name the new role, but the remembered graph must.
	err = s.change(r.Context(), func(c *change) error {
		return execNamed(r.Context(), c, insertRole, &row)
	})
	if err != nil {
		return taken(err, "role", row.Name)
	}
	return compat.WriteJSON(w, http.StatusCreated, object{"role": s.roleView(r, &row)})
}

func (s *Service) updateRole(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "role")
	if err != nil {
		return err
	}
	var row roleRow
	err = s.change(r.Context(), func(c *change) error {
		row = roleRow{}
		err := find(r.Context(), c, &row, "role", selectRole, pathVar(r, "role"))
		if err == nil {
			err = editRole(&fields{in: in}, &row)
		}
		if err != nil {
			return err
		}
		err = execNamed(r.Context(), c, updateRole, &row)
		if err != nil {
			return taken(err, "role", row.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"role": s.roleView(r, &row)})
}

// deleteRole takes the role from all who had it, and ends their tokens.
func (s *Service) deleteRole(w http.ResponseWriter, r *http.Request) error {
	id := pathVar(r, "role")
	err := s.change(r.Context(), func(c *change) error {
		err := s.mustExist(r.Context(), c, "role", id)
		if err != nil {
			return err
		}
		var grants []grantRow
		err = c.SelectContext(r.Context(), &grants, selectGrantsOfRole, id)
		if err != nil {
			return fmt.Errorf("list the grants of role %s: %w", id, err)
		}
		for i := range grants {
			err = c.revokeGrant(r.Context(), &grants[i])
			if err != nil {
				return err
			}
		}
		_, err = c.ExecContext(r.Context(), deleteRole, id)
		if err != nil {
			return fmt.Errorf("delete role %s: %w", id, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

func (s *Service) roleReference(r *http.Request, g *roleGraph, id string) object {
	return object{"id": id, "name": g.names[id], "description": nil, "links": s.self(r, "roles", id)}
}

func (s *Service) inference(r *http.Request, g *roleGraph, prior string) object {
	implies := []object{}
	for _, id := range g.implied[prior] {
		implies = append(implies, s.roleReference(r, g, id))
	}
	return object{"prior_role": s.roleReference(r, g, prior), "implies": implies}
}

// inferences answers GET /v3/role_inferences.
func (s *Service) inferences(w http.ResponseWriter, r *http.Request) error {
	g, err := readRoleGraph(r.Context(), s.db)
	if err != nil {
		return err
	}
	all := []object{}
	for _, prior := range slices.Sorted(maps.Keys(g.implied)) {
		all = append(all, s.inference(r, g, prior))
	}
	return compat.WriteJSON(w, http.StatusOK, object{"role_inferences": all, "links": s.self(r, "role_inferences")})
}

func (s *Service) listImplied(w http.ResponseWriter, r *http.Request) error {
	prior := pathVar(r, "role")
	g, err := readRoleGraph(r.Context(), s.db)
	if err != nil {
		return err
	}
	if g.names[prior] == "" {
		return missing("role", prior)
	}
	return compat.WriteJSON(w, http.StatusOK, object{"role_inference": s.inference(r, g, prior),
		"links": s.self(r, "roles", prior, "implies")})
}

func (s *Service) impliedPair(w http.ResponseWriter, r *http.Request, code int) error {
	prior, implied := pathVar(r, "role"), pathVar(r, "implied")
	g, err := readRoleGraph(r.Context(), s.db)
	if err != nil {
		return err
	}
	if !slices.Contains(g.implied[prior], implied) {
		return missing("implied role", implied)
	}
	return compat.WriteJSON(w, code, object{"role_inference": object{
		"prior_role": s.roleReference(r, g, prior), "implies": s.roleReference(r, g, implied)},
		"links": s.self(r, "roles", prior, "implies", implied)})
}

func (s *Service) showImplied(w http.ResponseWriter, r *http.Request) error {
	return s.impliedPair(w, r, http.StatusOK)
}

// addImplied makes one role carry another. A role that carried itself, by whatever steps,
// or the role admin being carried by a lesser one, is refused.
func (s *Service) addImplied(w http.ResponseWriter, r *http.Request) error {
	prior, implied := pathVar(r, "role"), pathVar(r, "implied")
	err := s.change(r.Context(), func(c *change) error {
		g, err := readRoleGraph(r.Context(), c)
		if err != nil {
			return err
		}
		for _, id := range []string{prior, implied} {
			if g.names[id] == "" {
				return missing("role", id)
			}
		}
		if g.names[implied] == "admin" {
			return compat.Forbidden("Role %s cannot be an implied role.", implied)
		}
		if slices.ContainsFunc(g.expand([]string{implied}), func(n roleName) bool { return n.ID == prior }) {
			return compat.BadRequest("Role %s cannot imply %s, which implies it.", prior, implied)
		}
		if slices.Contains(g.implied[prior], implied) {
			return nil
		}
		_, err = c.ExecContext(r.Context(), insertImplied, prior, implied)
		return err
	})
	if err != nil {
		return err
	}
	return s.impliedPair(w, r, http.StatusCreated)
}

func (s *Service) removeImplied(w http.ResponseWriter, r *http.Request) error {
	prior, implied := pathVar(r, "role"), pathVar(r, "implied")
	if !validID(prior) || !validID(implied) {
		return missing("implied role", implied)
	}
	err := s.change(r.Context(), func(c *change) error {
		ok, err := schema.Changed(c.ExecContext(r.Context(), deleteImplied, prior, implied))
		if err == nil && !ok {
			return missing("implied role", implied)
		}
		return err
	})
	if err != nil {
		return err
	}
	return noContent(w)
}
