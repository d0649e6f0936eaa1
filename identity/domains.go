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

// DefaultDomain is the id of the domain that is always there, whose name is Default.
const DefaultDomain = "default"

func (s *Service) domainRoutes() []route {
	return []route{
		{"GET", "/v3/domains", readers, "list_domains", s.listDomains},
		{"POST", "/v3/domains", admins, "create_domain", s.createDomain},
		{"GET", "/v3/domains/{id}", anyToken, "get_domain", s.showDomain},
		{"PATCH", "/v3/domains/{id}", admins, "update_domain", s.updateDomain},
		{"DELETE", "/v3/domains/{id}", admins, "delete_domain", s.deleteDomain},
	}
}

type domainRow struct {
	ID string `db:"id"`
	named
	Description string        `db:"description"`
	Enabled     bool          `db:"enabled"`
	Extra       string        `db:"extra"`
	CreatedAt   schema.Micros `db:"created_at"`
}

const (
	selectDomains = `SELECT id, name, description, enabled, extra FROM identity_domains`
	selectDomain  = selectDomains + ` WHERE id = ?`
	insertDomain  = `
INSERT INTO identity_domains (id, name, name_key, description, enabled, extra, created_at)
VALUES (:id, :name, :name_key, :description, :enabled, :extra, :created_at)`
	updateDomain = `
UPDATE identity_domains SET name = :name, name_key = :name_key, description = :description, enabled = :enabled, extra = :extra
WHERE id = :id`
	deleteDomain = `DELETE FROM identity_domains WHERE id = ?`
)

func (s *Service) domainView(r *http.Request, d *domainRow) object {
	return view(d.Extra, object{"id": d.ID, "name": d.Name, "description": d.Description, "enabled": d.Enabled,
		"tags": []string{}, "options": object{}, "links": s.self(r, "domains", d.ID)})
}

// find reads one row by its id, or gives the 404 Fault of its kind.
func find(ctx context.Context, q schema.Querier, dest any, kind, query, id string) error {
	if !validID(id) {
		return missing(kind, id)
	}
	err := q.GetContext(ctx, dest, query, id)
	if errors.Is(err, sql.ErrNoRows) {
		return missing(kind, id)
	}
	if err != nil {
		return fmt.Errorf("find %s %s: %w", kind, id, err)
	}
	return nil
}

// insert adds a row, in a transaction so that a lost deadlock is tried again.
func (s *Service) insert(ctx context.Context, statement string, row any) error {
	return s.db.Tx(ctx, func(tx *schema.Tx) error {
		return execNamed(ctx, tx, statement, row)
	})
}

// taken makes a 409 Fault of a refused second row.
func taken(err error, kind, name string) error {
	if schema.Duplicate(err) {
		return compat.Conflict("Conflict occurred attempting to store %s - Duplicate entry found with name %s.", kind, clip(name))
	}
	return fmt.Errorf("store %s: %w", kind, err)
}

func (s *Service) listDomains(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r).name().enabled()
	return answerList(s, w, r, "domains", q, selectDomains, func(d *domainRow) (object, string) {
		return s.domainView(r, d), d.ID
	})
}

// showDomain lets users see the domains that their token is of.
func (s *Service) showDomain(w http.ResponseWriter, r *http.Request) error {
	id := pathVar(r, "id")
	c := compat.CallerFrom(r.Context())
	if !isReader(r) && id != c.UserDomainID && id != c.ProjectDomainID && id != c.DomainID {
		return forbidden("get_domain")
	}
	var d domainRow
	err := find(r.Context(), s.db, &d, "domain", selectDomain, id)
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"domain": s.domainView(r, &d)})
}

func (s *Service) createDomain(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "domain")
	if err != nil {
		return err
	}
	f := fields{in: in}
	d := domainRow{ID: f.id("explicit_domain_id"), named: f.named(), Description: f.text("description", maxText),
		Enabled: f.boolean("enabled", true), CreatedAt: s.now()}
	d.Extra = f.extra("", "tags")
	if f.err != nil {
		return f.err
	}
	if d.ID == "" {
		d.ID = newID()
	}
	err = s.insert(r.Context(), insertDomain, &d)
	if err != nil {
		return taken(err, "domain", d.Name)
	}
	return compat.WriteJSON(w, http.StatusCreated, object{"domain": s.domainView(r, &d)})
}

// updateDomain answers PATCH; disabling the domain ends all tokens of it.
func (s *Service) updateDomain(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "domain")
	if err != nil {
		return err
	}
	var d domainRow
	err = s.change(r.Context(), func(c *change) error {
		err := find(r.Context(), c, &d, "domain", selectDomain, pathVar(r, "id"))
		if err != nil {
			return err
		}
		f := fields{in: in}
		if f.has("name") {
			d.named = f.named()
		}
		if f.has("description") {
			d.Description = f.text("description", maxText)
		}
		d.Enabled = f.boolean("enabled", d.Enabled)
		d.Extra = f.extra(d.Extra, "tags")
		if f.err != nil {
			return f.err
		}
		err = execNamed(r.Context(), c, updateDomain, &d)
		if err != nil {
			return taken(err, "domain", d.Name)
		}
		if d.Enabled {
			return nil
		}
		return c.revoke(r.Context(), revocation{DomainID: d.ID})
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"domain": s.domainView(r, &d)})
}

// Grants name their actors and targets without foreign keys; these remove those of what is
// in a domain, before the domain's rows go by their foreign keys.
var deleteDomainGrants = []string{
	`DELETE FROM identity_grants WHERE target_kind = 'domain' AND target_id = ?`,
	`DELETE FROM identity_grants WHERE target_kind = 'project' AND target_id IN (SELECT id FROM identity_projects WHERE domain_id = ?)`,
	`DELETE FROM identity_grants WHERE actor_kind = 'user' AND actor_id IN (SELECT id FROM identity_users WHERE domain_id = ?)`,
	`DELETE FROM identity_grants WHERE actor_kind = 'group' AND actor_id IN (SELECT id FROM identity_groups WHERE domain_id = ?)`,
}

// deleteDomain removes a domain with all that is in it; it must be disabled before.
func (s *Service) deleteDomain(w http.ResponseWriter, r *http.Request) error {
	id := pathVar(r, "id")
	err := s.change(r.Context(), func(c *change) error {
		var d domainRow
		err := find(r.Context(), c, &d, "domain", selectDomain, id)
		if err != nil {
			return err
		}
		if d.Enabled {
			return compat.Forbidden("Cannot delete a domain that is enabled, please disable it first.")
		}
		if d.ID == DefaultDomain {
			return compat.Forbidden("You are not authorized to perform the requested action: delete the default domain.")
		}
		for _, statement := range append(deleteDomainGrants, deleteDomain) {
			_, err = c.ExecContext(r.Context(), statement, id)
			if err != nil {
				return fmt.Errorf("delete domain %s: %w", id, err)
			}
		}
		return c.revoke(r.Context(), revocation{DomainID: id})
	})
	if err != nil {
		return err
	}
	return noContent(w)
}
