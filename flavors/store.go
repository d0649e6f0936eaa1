package flavors

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"kilonova/compat"
	"kilonova/schema"
)

const columns = `f.id, f.flavorid, f.name, f.description, f.vcpus, f.memory_mb, f.root_gb, f.ephemeral_gb, f.swap_mb,
  f.rxtx_factor, f.is_public, f.disabled, f.created_at`

const selectFlavor = `SELECT ` + columns + ` FROM flavors f WHERE f.flavorid = ?`

const selectProjects = `SELECT project_id FROM flavor_access WHERE flavor_id = ? ORDER BY project_id`

// load reads a flavor with its extra specs and projects; ID 0 is one that does not exist.
func (s *Service) load(ctx context.Context, flavorID string) (*shared, error) {
	f, err := find(ctx, s.db, flavorID)
	if compat.IsNotFound(err) {
		return &shared{}, nil
	}
	if err != nil {
		return nil, err
	}
	out := &shared{Flavor: *f, projects: map[string]bool{}}
	list := []Flavor{*f}
	err = s.fillSpecs(ctx, list)
	if err != nil {
		return nil, err
	}
	out.ExtraSpecs = list[0].ExtraSpecs
	if f.Public {
		return out, nil
	}
	projects, err := projectsOf(ctx, s.db, f.ID)
	if err != nil {
		return nil, err
	}
	for _, p := range projects {
		out.projects[p] = true
	}
	return out, nil
}

// find reads a flavor as an administrator sees it, without its extra specs, or gives a 404
// Fault.
func find(ctx context.Context, q schema.Querier, flavorID string) (*Flavor, error) {
	if !utf8.ValidString(flavorID) {
		return nil, notFound(flavorID)
	}
	var f Flavor
	err := q.GetContext(ctx, &f, selectFlavor, flavorID)
	// MariaDB takes "1 " for equal to "1".
	if errors.Is(err, sql.ErrNoRows) || err == nil && f.FlavorID != flavorID {
		return nil, notFound(flavorID)
	}
	if err != nil {
		return nil, fmt.Errorf("read flavor: %w", err)
	}
	return &f, nil
}

func projectsOf(ctx context.Context, q schema.Querier, id int64) ([]string, error) {
	out := []string{}
	err := q.SelectContext(ctx, &out, selectProjects, id)
	if err != nil {
		return nil, fmt.Errorf("read flavor access: %w", err)
	}
	return out, nil
}

const selectSpecs = `SELECT flavor_id, name, value FROM flavor_extra_specs WHERE flavor_id IN (?)`

type specRow struct {
	FlavorID int64  `db:"flavor_id"`
	Name     string `db:"name"`
	Value    string `db:"value"`
}

// fillSpecs reads the extra specs of a page of flavors with one statement.
func (s *Service) fillSpecs(ctx context.Context, list []Flavor) error {
	if len(list) == 0 {
		return nil
	}
	at := map[int64]int{}
	ids := make([]int64, len(list))
	for i := range list {
		ids[i], at[list[i].ID] = list[i].ID, i
		list[i].ExtraSpecs = map[string]string{}
	}
	query, args, err := sqlx.In(selectSpecs, ids)
	if err != nil {
		return fmt.Errorf("read extra specs: %w", err)
	}
	var rows []specRow
	err = s.db.SelectContext(ctx, &rows, query, args...)
	if err != nil {
		return fmt.Errorf("read extra specs: %w", err)
	}
	for _, row := range rows {
		list[at[row.FlavorID]].ExtraSpecs[row.Name] = row.Value
	}
	return nil
}

const insertFlavor = `
INSERT INTO flavors (flavorid, name, description, vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, rxtx_factor,
  is_public, disabled, created_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

const selectSameID = `SELECT COUNT(*) FROM flavors WHERE flavorid = ?`

// insert makes a flavor, or gives a 409 Fault where its id or its name is taken.
func insert(ctx context.Context, q schema.Querier, f *Flavor) (int64, error) {
	res, err := q.ExecContext(ctx, insertFlavor, f.FlavorID, f.Name, f.Description, f.VCPUs, f.MemoryMB, f.RootGB,
		f.EphemeralGB, f.SwapMB, f.RXTXFactor, f.Public, f.Disabled, f.CreatedAt)
	if schema.Duplicate(err) {
		var n int
		err = q.GetContext(ctx, &n, selectSameID, f.FlavorID)
		if err == nil && n > 0 {
			return 0, compat.Conflict("Flavor with ID %s already exists.", f.FlavorID)
		}
		if err == nil {
			return 0, compat.Conflict("Flavor with name %s already exists.", f.Name)
		}
	}
	if err != nil {
		return 0, fmt.Errorf("make flavor: %w", err)
	}
	return res.LastInsertId()
}

const updateDescription = `UPDATE flavors SET description = ?, updated_at = ? WHERE flavorid = ?`

func (s *Service) describe(ctx context.Context, flavorID string, description *string) error {
	defer s.seen.forget()
	ok, err := schema.Changed(s.db.ExecContext(ctx, updateDescription, description, s.clock.Now(), flavorID))
	if err != nil {
		return fmt.Errorf("update flavor: %w", err)
	}
	if !ok {
		return notFound(flavorID)
	}
	return nil
}

const deleteFlavor = `DELETE FROM flavors WHERE id = ?`

// remove deletes a flavor; its extra specs and access go with it. Servers keep their own
// copy of what they were booted with.
func (s *Service) remove(ctx context.Context, flavorID string) error {
	defer s.seen.forget()
	f, err := find(ctx, s.db, flavorID)
	if err != nil {
		return err
	}
	var ok bool
	err = s.db.Tx(ctx, func(tx *schema.Tx) error {
		var err error
		ok, err = schema.Changed(tx.ExecContext(ctx, deleteFlavor, f.ID))
		return err
	})
	if err != nil {
		return fmt.Errorf("delete flavor: %w", err)
	}
	if !ok {
		return notFound(flavorID)
	}
	return nil
}

const (
	updateSpec = `UPDATE flavor_extra_specs SET value = ? WHERE flavor_id = ? AND name = ?`
	insertSpec = `INSERT INTO flavor_extra_specs (flavor_id, name, value) VALUES (?, ?, ?)`
	deleteSpec = `DELETE FROM flavor_extra_specs WHERE flavor_id = ? AND name = ?`
)

// setSpecs merges extra specs into a flavor's.
func (s *Service) setSpecs(ctx context.Context, f *Flavor, names []string, specs map[string]string) error {
	defer s.seen.forget()
	err := s.db.Tx(ctx, func(tx *schema.Tx) error {
		for _, name := range names {
			ok, err := schema.Changed(tx.ExecContext(ctx, updateSpec, specs[name], f.ID, name))
			if err == nil && !ok {
				_, err = tx.ExecContext(ctx, insertSpec, f.ID, name, specs[name])
			}
			if schema.Duplicate(err) {
				return compat.Conflict("Flavor %s extra spec cannot be updated or created after 5 retries.", f.FlavorID)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if schema.ForeignKey(err) {
		return notFound(f.FlavorID) // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("set extra specs: %w", err)
	}
	return nil
}

// unsetSpec removes one extra spec; false says that there was none.
func (s *Service) unsetSpec(ctx context.Context, f *Flavor, name string) (bool, error) {
	defer s.seen.forget()
	ok, err := schema.Changed(s.db.ExecContext(ctx, deleteSpec, f.ID, name))
	if err != nil {
		return false, fmt.Errorf("unset extra spec: %w", err)
	}
	return ok, nil
}

const (
	insertAccess = `INSERT INTO flavor_access (flavor_id, project_id) VALUES (?, ?)`
	deleteAccess = `DELETE FROM flavor_access WHERE flavor_id = ? AND project_id = ?`
)

func (s *Service) allow(ctx context.Context, f *Flavor, projectID string) error {
	defer s.seen.forget()
	_, err := s.db.ExecContext(ctx, insertAccess, f.ID, projectID)
	if schema.Duplicate(err) {
		return compat.Conflict("Flavor access already exists for flavor %s and project %s combination.", f.FlavorID, projectID)
	}
	if schema.ForeignKey(err) {
		return notFound(f.FlavorID) // deleted meanwhile
	}
	if err != nil {
		return fmt.Errorf("allow flavor: %w", err)
	}
	return nil
}

func (s *Service) forbid(ctx context.Context, f *Flavor, projectID string) error {
	defer s.seen.forget()
	ok, err := schema.Changed(s.db.ExecContext(ctx, deleteAccess, f.ID, projectID))
	if err != nil {
		return fmt.Errorf("forbid flavor: %w", err)
	}
	if !ok {
		return compat.NotFound("Flavor access not found for %s / %s combination.", f.FlavorID, projectID)
	}
	return nil
}
