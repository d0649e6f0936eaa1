package identity

import (
	"context"
	"fmt"
	"net/http"

	"kilonova/schema"
)

// grantRow is one role that an actor has at a target.
type grantRow struct {
	ActorKind  string `db:"actor_kind"`
	ActorID    string `db:"actor_id"`
	TargetKind string `db:"target_kind"`
	TargetID   string `db:"target_id"`
	RoleID     string `db:"role_id"`
}

const (
	insertGrant = `
INSERT INTO identity_grants (actor_kind, actor_id, target_kind, target_id, role_id)
VALUES (:actor_kind, :actor_id, :target_kind, :target_id, :role_id)`
	whereGrant = `
WHERE actor_kind = ? AND actor_id = ? AND target_kind = ? AND target_id = ? AND role_id = ?`
	selectGrant = `SELECT role_id FROM identity_grants` + whereGrant
	deleteGrant = `DELETE FROM identity_grants` + whereGrant
	whereRoleAt = `
id IN (SELECT role_id FROM identity_grants WHERE actor_kind = ? AND actor_id = ? AND target_kind = ? AND target_id = ?)`
)

// systemID is the id of the one target of the kind system.
const systemID = "all"

// grantRoutes are the same four calls for each kind of target and of actor.
func (s *Service) grantRoutes() []route {
	out := []route{{"GET", "/v3/role_assignments", readers, "list_role_assignments", s.listAssignments}}
	for _, at := range []struct{ kind, path string }{
		{"project", "/v3/projects/{target}"}, {"domain", "/v3/domains/{target}"}, {"system", "/v3/system"},
	} {
		for _, actor := range []string{"user", "group"} {
			// The variable is not called user: a grant is not shown to the one who has it.
			roles := at.path + "/" + actor + "s/{actor}/roles"
			of := func(r *http.Request) grantRow {
				g := grantRow{actor, pathVar(r, "actor"), at.kind, pathVar(r, "target"), pathVar(r, "role")}
				if at.kind == "system" {
					g.TargetID = systemID
				}
				return g
			}
			out = append(out,
				route{"GET", roles, readers, "list_grants", func(w http.ResponseWriter, r *http.Request) error {
					return s.listGrants(w, r, of(r))
				}},
				route{"GET", roles + "/{role}", readers, "check_grant", func(w http.ResponseWriter, r *http.Request) error {
					return s.checkGrant(w, r, of(r))
				}},
				route{"PUT", roles + "/{role}", admins, "create_grant", func(w http.ResponseWriter, r *http.Request) error {
					return s.addGrant(w, r, of(r))
				}},
				route{"DELETE", roles + "/{role}", admins, "revoke_grant", func(w http.ResponseWriter, r *http.Request) error {
					return s.removeGrant(w, r, of(r))
				}})
		}
	}
	return out
}

// ends is the 404 Fault when actor, target or role of a grant does not exist.
func (g *grantRow) ends(ctx context.Context, s *Service, q schema.Querier, withRole bool) error {
	err := s.mustExist(ctx, q, g.ActorKind, g.ActorID)
	if err == nil && g.TargetKind != "system" {
		err = s.mustExist(ctx, q, g.TargetKind, g.TargetID)
	}
	if err == nil && withRole {
		err = s.mustExist(ctx, q, "role", g.RoleID)
	}
	return err
}

func (s *Service) listGrants(w http.ResponseWriter, r *http.Request, g grantRow) error {
	err := g.ends(r.Context(), s, s.db, false)
	if err != nil {
		return err
	}
	q := newQuery(r)
	q.and(whereRoleAt, g.ActorKind, g.ActorID, g.TargetKind, g.TargetID)
	return answerList(s, w, r, "roles", q, selectRoles, func(row *roleRow) (object, string) {
		return s.roleView(r, row), row.ID
	})
}

func (g *grantRow) args() []any {
	return []any{g.ActorKind, g.ActorID, g.TargetKind, g.TargetID, g.RoleID}
}

func (s *Service) checkGrant(w http.ResponseWriter, r *http.Request, g grantRow) error {
	err := g.ends(r.Context(), s, s.db, true)
	if err != nil {
		return err
	}
	var found string
	err = s.db.GetContext(r.Context(), &found, selectGrant, g.args()...)
	if err != nil {
		return noRow(err, "role assignment with role", g.RoleID)
	}
	return noContent(w)
}

func (s *Service) addGrant(w http.ResponseWriter, r *http.Request, g grantRow) error {
	err := s.change(r.Context(), func(c *change) error {
		err := g.ends(r.Context(), s, c, true)
		if err != nil {
			return err
		}
		return c.grant(r.Context(), &g)
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

// grant gives a role; to give it twice is no error.
func (c *change) grant(ctx context.Context, g *grantRow) error {
	_, err := c.ExecContext(ctx, deleteGrant, g.args()...)
	if err == nil {
		err = execNamed(ctx, c, insertGrant, g)
	}
	if err != nil {
		return fmt.Errorf("grant role %s: %w", g.RoleID, err)
	}
	return nil
}

// removeGrant takes a role away and ends the tokens that may have carried it.
func (s *Service) removeGrant(w http.ResponseWriter, r *http.Request, g grantRow) error {
	err := s.change(r.Context(), func(c *change) error {
		err := g.ends(r.Context(), s, c, true)
		if err != nil {
			return err
		}
		ok, err := schema.Changed(c.ExecContext(r.Context(), deleteGrant, g.args()...))
		if err != nil {
			return fmt.Errorf("remove a grant: %w", err)
		}
		if !ok {
			return missing("role assignment with role", g.RoleID)
		}
		return c.revokeGrant(r.Context(), &g)
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

// revokeGrant ends the tokens that a grant's actors have for its target.
func (c *change) revokeGrant(ctx context.Context, g *grantRow) error {
	scope := g.TargetKind + ":" + g.TargetID
	if g.ActorKind == "group" {
		return c.revokeMembers(ctx, g.ActorID, scope)
	}
	return c.revoke(ctx, revocation{UserID: g.ActorID, Scope: scope})
}
