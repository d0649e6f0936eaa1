package identity

import (
	"context"
	"fmt"
	"net/http"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) groupRoutes() []route {
	return []route{
		{"GET", "/v3/groups", readers, "list_groups", s.listGroups},
		{"POST", "/v3/groups", admins, "create_group", s.createGroup},
		{"GET", "/v3/groups/{id}", readers, "get_group", s.showGroup},
		{"PATCH", "/v3/groups/{id}", admins, "update_group", s.updateGroup},
		{"DELETE", "/v3/groups/{id}", admins, "delete_group", s.deleteGroup},
		{"GET", "/v3/groups/{id}/users", readers, "list_users_in_group", s.groupUsers},
		{"GET", "/v3/groups/{id}/users/{user}", self, "check_user_in_group", s.checkMember},
		{"PUT", "/v3/groups/{id}/users/{user}", admins, "add_user_to_group", s.addMember},
		{"DELETE", "/v3/groups/{id}/users/{user}", admins, "remove_user_from_group", s.removeMember},
	}
}

type groupRow struct {
	ID       string `db:"id"`
	DomainID string `db:"domain_id"`
	named
	Description string        `db:"description"`
	Extra       string        `db:"extra"`
	CreatedAt   schema.Micros `db:"created_at"`
}

const (
	selectGroups = `SELECT id, domain_id, name, description, extra FROM identity_groups`
	selectGroup  = selectGroups + ` WHERE id = ?`
	insertGroup  = `
INSERT INTO identity_groups (id, domain_id, name, name_key, description, extra, created_at)
VALUES (:id, :domain_id, :name, :name_key, :description, :extra, :created_at)`
	updateGroup = `
UPDATE identity_groups SET name = :name, name_key = :name_key, description = :description, extra = :extra
WHERE id = :id`
	deleteGroup       = `DELETE FROM identity_groups WHERE id = ?`
	deleteGroupGrants = `DELETE FROM identity_grants WHERE actor_kind = 'group' AND actor_id = ?`
	selectMembers     = `SELECT user_id FROM identity_memberships WHERE group_id = ?`
	selectMember      = `SELECT user_id FROM identity_memberships WHERE group_id = ? AND user_id = ?`
	insertMember      = `INSERT INTO identity_memberships (group_id, user_id) VALUES (?, ?)`
	deleteMember      = `DELETE FROM identity_memberships WHERE group_id = ? AND user_id = ?`
)

func (s *Service) groupView(r *http.Request, g *groupRow) object {
	return view(g.Extra, object{"id": g.ID, "name": g.Name, "domain_id": g.DomainID, "description": g.Description,
		"links": s.self(r, "groups", g.ID)})
}

func (s *Service) answerGroups(w http.ResponseWriter, r *http.Request, q *query) error {
	return answerList(s, w, r, "groups", q, selectGroups, func(g *groupRow) (object, string) {
		return s.groupView(r, g), g.ID
	})
}

func (s *Service) listGroups(w http.ResponseWriter, r *http.Request) error {
	return s.answerGroups(w, r, newQuery(r).name().id("domain_id").sorted(map[string]string{"name": "name_key", "domain_id": "domain_id"}))
}

// userGroups answers GET /v3/users/{id}/groups.
func (s *Service) userGroups(w http.ResponseWriter, r *http.Request) error {
	err := s.mustExist(r.Context(), s.db, "user", pathVar(r, "user"))
	if err != nil {
		return err
	}
	q := newQuery(r).name().id("domain_id")
	q.and("id IN (SELECT group_id FROM identity_memberships WHERE user_id = ?)", pathVar(r, "user"))
	return s.answerGroups(w, r, q)
}

// groupUsers answers GET /v3/groups/{id}/users.
func (s *Service) groupUsers(w http.ResponseWriter, r *http.Request) error {
	err := s.mustExist(r.Context(), s.db, "group", pathVar(r, "id"))
	if err != nil {
		return err
	}
	q := newQuery(r).userFilters()
	q.and("id IN (SELECT user_id FROM identity_memberships WHERE group_id = ?)", pathVar(r, "id"))
	return answerList(s, w, r, "users", q, selectUsers, func(u *userRow) (object, string) {
		return s.userView(r, u), u.ID
	})
}

func (s *Service) showGroup(w http.ResponseWriter, r *http.Request) error {
	var g groupRow
	err := find(r.Context(), s.db, &g, "group", selectGroup, pathVar(r, "id"))
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"group": s.groupView(r, &g)})
}

func (s *Service) createGroup(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "group")
	if err != nil {
		return err
	}
	f := fields{in: in}
	g := groupRow{ID: newID(), named: f.named(), DomainID: f.id("domain_id"),
		Description: f.text("description", maxText), CreatedAt: s.now()}
	g.Extra = f.extra("")
	if f.err != nil {
		return f.err
	}
	if g.DomainID == "" {
		g.DomainID = callerDomain(r)
	}
	err = s.insert(r.Context(), insertGroup, &g)
	if schema.ForeignKey(err) {
		return homeless(err, g.DomainID)
	}
	if err != nil {
		return taken(err, "group", g.Name)
	}
	return compat.WriteJSON(w, http.StatusCreated, object{"group": s.groupView(r, &g)})
}

func (s *Service) updateGroup(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "group")
	if err != nil {
		return err
	}
	var g groupRow
	err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		g = groupRow{}
		err := find(r.Context(), tx, &g, "group", selectGroup, pathVar(r, "id"))
		if err != nil {
			return err
		}
		f := fields{in: in}
		if f.has("name") {
			g.named = f.named()
		}
		if f.has("description") {
			g.Description = f.text("description", maxText)
		}
		f.unchanged("domain_id", g.DomainID)
		f.unchanged("id", g.ID)
		g.Extra = f.extra(g.Extra)
		if f.err != nil {
			return f.err
		}
		err = execNamed(r.Context(), tx, updateGroup, &g)
		if err != nil {
			return taken(err, "group", g.Name)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"group": s.groupView(r, &g)})
}

// deleteGroup ends the tokens of the group's members, whose roles it may have carried.
func (s *Service) deleteGroup(w http.ResponseWriter, r *http.Request) error {
	id := pathVar(r, "id")
	err := s.change(r.Context(), func(c *change) error {
		err := s.mustExist(r.Context(), c, "group", id)
		if err != nil {
			return err
		}
		err = c.revokeMembers(r.Context(), id, "")
		if err != nil {
			return err
		}
		for _, statement := range []string{deleteGroupGrants, deleteGroup} {
			_, err = c.ExecContext(r.Context(), statement, id)
			if err != nil {
				return fmt.Errorf("delete group %s: %w", id, err)
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

// revokeMembers ends the tokens of a group's members, in one scope or in all.
func (c *change) revokeMembers(ctx context.Context, group, scope string) error {
	var members []string
	err := c.SelectContext(ctx, &members, selectMembers, group)
	if err != nil {
		return fmt.Errorf("list the members of group %s: %w", group, err)
	}
	for _, user := range members {
		err = c.revoke(ctx, revocation{UserID: user, Scope: scope})
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Service) checkMember(w http.ResponseWriter, r *http.Request) error {
	var found string
	user := pathVar(r, "user")
	if !validID(user) || !validID(pathVar(r, "id")) {
		return missing("user in group", user)
	}
	err := s.db.GetContext(r.Context(), &found, selectMember, pathVar(r, "id"), user)
	if err != nil {
		return noRow(err, "user in group", user)
	}
	return noContent(w)
}

func (s *Service) addMember(w http.ResponseWriter, r *http.Request) error {
	group, user := pathVar(r, "id"), pathVar(r, "user")
	err := s.change(r.Context(), func(c *change) error {
		err := s.mustExist(r.Context(), c, "group", group)
		if err == nil {
			err = s.mustExist(r.Context(), c, "user", user)
		}
		if err != nil {
			return err
		}
		_, err = c.ExecContext(r.Context(), deleteMember, group, user) // it may be there already
		if err == nil {
			_, err = c.ExecContext(r.Context(), insertMember, group, user)
		}
		return err
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

func (s *Service) removeMember(w http.ResponseWriter, r *http.Request) error {
	group, user := pathVar(r, "id"), pathVar(r, "user")
	if !validID(group) || !validID(user) {
		return missing("user in group", user)
	}
	err := s.change(r.Context(), func(c *change) error {
		ok, err := schema.Changed(c.ExecContext(r.Context(), deleteMember, group, user))
		if err != nil {
			return fmt.Errorf("remove user %s from group %s: %w", user, group, err)
		}
		if !ok {
			return missing("user in group", user)
		}
		return c.revoke(r.Context(), revocation{UserID: user})
	})
	if err != nil {
		return err
	}
	return noContent(w)
}
