package identity

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"unicode/utf8"

	"kilonova/compat"
	"kilonova/schema"
)

type regionRow struct {
	ID          string `db:"id"`
	Parent      string `db:"parent_id"`
	Description string `db:"description"`
	Extra       string `db:"extra"`
}

const (
	selectRegions = `SELECT id, parent_id, description, extra FROM identity_regions`
	selectRegion  = selectRegions + ` WHERE id = ?`
	existsRegion  = `SELECT id FROM identity_regions WHERE id = ?`
	insertRegion  = `
INSERT INTO identity_regions (id, parent_id, description, extra)
VALUES (:id, :parent_id, :description, :extra)`
	updateRegion = `
UPDATE identity_regions SET parent_id = :parent_id, description = :description, extra = :extra
WHERE id = :id`
	deleteRegion   = `DELETE FROM identity_regions WHERE id = ?`
	countRegionUse = `
SELECT (SELECT COUNT(*) FROM identity_endpoints WHERE region_id = ?)
  + (SELECT COUNT(*) FROM identity_regions WHERE parent_id = ?)`
)

func (s *Service) regionView(r *http.Request, row *regionRow) object {
	return view(row.Extra, object{"id": row.ID, "description": row.Description,
		"parent_region_id": orNull(row.Parent), "links": s.self(r, "regions", row.ID)})
}

func (s *Service) listRegions(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r)
	q.equalAs("parent_region_id", "parent_id")
	return answerList(s, w, r, "regions", q, selectRegions, func(row *regionRow) (object, string) {
		return s.regionView(r, row), row.ID
	})
}

// findRegion reads a region, whose id is a name of the operator's.
func findRegion(ctx context.Context, q schema.Querier, row *regionRow, id string) error {
	if !validText(id) || utf8.RuneCountInString(id) > maxName {
		return missing("region", id)
	}
	err := q.GetContext(ctx, row, selectRegion, id)
	if err != nil {
		return noRow(err, "region", id)
	}
	return nil
}

func (s *Service) showRegion(w http.ResponseWriter, r *http.Request) error {
	var row regionRow
	err := findRegion(r.Context(), s.db, &row, pathVar(r, "id"))
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"region": s.regionView(r, &row)})
}

func editRegion(f *fields, row *regionRow) error {
	if f.has("description") {
		row.Description = f.text("description", maxText)
	}
	if f.has("parent_region_id") {
		row.Parent = f.text("parent_region_id", maxName)
	}
	if row.Parent == row.ID {
		f.wrong("parent_region_id", "a region is not its own parent")
	}
	row.Extra = f.extra(row.Extra)
	return f.err
}

// storeRegion writes a region whose parent exists.
func (c *change) storeRegion(ctx context.Context, statement string, row *regionRow) error {
	if row.Parent != "" {
		err := findRegion(ctx, c, &regionRow{}, row.Parent)
		if err != nil {
			return err
		}
	}
	err := execNamed(ctx, c, statement, row)
	if err != nil {
		return taken(err, "region", row.ID)
	}
	return nil
}

func (s *Service) createRegion(w http.ResponseWriter, r *http.Request) error {
	return s.newRegion(w, r, "")
}

// putRegion answers PUT /v3/regions/{id}.
func (s *Service) putRegion(w http.ResponseWriter, r *http.Request) error {
	return s.newRegion(w, r, pathVar(r, "id"))
}

func (s *Service) newRegion(w http.ResponseWriter, r *http.Request, id string) error {
	in, err := readBody(r, "region")
	if err != nil {
		return err
	}
	f := fields{in: in}
	row := regionRow{ID: f.text("id", maxName)}
	switch {
	case id != "" && row.ID != "" && row.ID != id:
		f.wrong("id", "it is not the one in the URL")
	case id != "":
		row.ID = id
	case row.ID == "":
		row.ID = newID()
	}
	if !validText(row.ID) || utf8.RuneCountInString(row.ID) > maxName || strings.TrimSpace(row.ID) == "" {
		f.wrong("id", "it is not 1 to 255 characters")
	}
	err = editRegion(&f, &row)
	if err != nil {
		return err
	}
	err = s.change(r.Context(), func(c *change) error { return c.storeRegion(r.Context(), insertRegion, &row) })
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusCreated, object{"region": s.regionView(r, &row)})
}

func (s *Service) updateRegion(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "region")
	if err != nil {
		return err
	}
	var row regionRow
	err = s.change(r.Context(), func(c *change) error {
		row = regionRow{}
		err := findRegion(r.Context(), c, &row, pathVar(r, "id"))
		if err != nil {
			return err
		}
		f := fields{in: in}
		f.unchanged("id", row.ID)
		err = editRegion(&f, &row)
		if err != nil {
			return err
		}
		return c.storeRegion(r.Context(), updateRegion, &row)
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"region": s.regionView(r, &row)})
}

// deleteRegion refuses a region that endpoints or other regions are in.
func (s *Service) deleteRegion(w http.ResponseWriter, r *http.Request) error {
	id := pathVar(r, "id")
	err := s.change(r.Context(), func(c *change) error {
		err := findRegion(r.Context(), c, &regionRow{}, id)
		if err != nil {
			return err
		}
		var uses int
		err = c.GetContext(r.Context(), &uses, countRegionUse, id, id)
		if err != nil {
			return fmt.Errorf("count the uses of region %s: %w", id, err)
		}
		if uses > 0 {
			return compat.Forbidden("Unable to delete region %s because it or its child regions have associated endpoints.", clip(id))
		}
		_, err = c.ExecContext(r.Context(), deleteRegion, id)
		return err
	})
	if err != nil {
		return err
	}
	return noContent(w)
}
