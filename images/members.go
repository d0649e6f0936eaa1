package images

import (
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"unicode/utf8"

	"kilonova/compat"
	"kilonova/schema"
)

var memberStatuses = []string{"pending", "accepted", "rejected"}

type member struct {
	Member    string        `db:"member"`
	Status    string        `db:"status"`
	CreatedAt schema.Micros `db:"created_at"`
	UpdatedAt schema.Micros `db:"updated_at"`
}

func (m member) view(rec *record) map[string]any {
	return map[string]any{
		"member_id": m.Member, "image_id": rec.ID, "status": m.Status, "schema": "/v2/schemas/member",
		"created_at": m.CreatedAt.ISO(), "updated_at": m.UpdatedAt.ISO(),
	}
}

func onlyShared(rec *record) error {
	if rec.Visibility != Shared {
		return compat.Forbidden("Only shared images have members.")
	}
	return nil
}

const selectMembers = `SELECT member, status, created_at, updated_at FROM image_members WHERE image_id = ? ORDER BY created_at, member`

// members answers a list: the owner sees every member, a member only itself.
func (s *Service) members(w http.ResponseWriter, c *call) error {
	err := onlyShared(c.rec)
	if err != nil {
		return err
	}
	var all []member
	err = s.DB.SelectContext(c.Context(), &all, selectMembers, c.rec.Key)
	if err != nil {
		return fmt.Errorf("list members of image %s: %w", c.rec.ID, err)
	}
	views := []any{}
	for _, m := range all {
		if c.caller.IsAdmin() || c.rec.Owner == c.caller.ProjectID || m.Member == c.caller.ProjectID {
			views = append(views, m.view(c.rec))
		}
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"members": views, "schema": "/v2/schemas/members"})
}

const selectMember = `SELECT member, status, created_at, updated_at FROM image_members WHERE image_id = ? AND member = ?`

// findMember gives the membership that the path names, if the caller may know of it.
func (s *Service) findMember(c *call) (*member, error) {
	err := onlyShared(c.rec)
	if err != nil {
		return nil, err
	}
	id := c.param("member")
	var m member
	err = sql.ErrNoRows
	if c.caller.IsAdmin() || c.rec.Owner == c.caller.ProjectID || id == c.caller.ProjectID {
		err = s.DB.GetContext(c.Context(), &m, selectMember, c.rec.Key, id)
	}
	if errors.Is(err, sql.ErrNoRows) {
		return nil, compat.NotFound("%s not found in the member list of the image %s.", clip(id), c.rec.ID)
	}
	if err != nil {
		return nil, fmt.Errorf("get member of image %s: %w", c.rec.ID, err)
	}
	return &m, nil
}

func (s *Service) member(w http.ResponseWriter, c *call) error {
	m, err := s.findMember(c)
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, m.view(c.rec))
}

const (
	insertMember = `INSERT INTO image_members (image_id, member, status, created_at, updated_at) VALUES (?, ?, 'pending', ?, ?)`
	updateMember = `UPDATE image_members SET status = ?, updated_at = ? WHERE image_id = ? AND member = ?`
	deleteMember = `DELETE FROM image_members WHERE image_id = ? AND member = ?`
)

func (s *Service) addMember(w http.ResponseWriter, c *call) error {
	body, err := readObject(w, c.Request)
	if err != nil {
		return err
	}
	id, ok := body["member"].(string)
	if !ok || id == "" || utf8.RuneCountInString(id) > 255 || !clean(id) {
		return compat.BadRequest("Expected a member in the form: {\"member\": \"image_id\"}")
	}
	err = onlyShared(c.rec)
	if err != nil {
		return err
	}
	now := s.Clock.Now()
	err = s.DB.Tx(c.Context(), func(tx *schema.Tx) error {
		// Whoever adds a member changes the image's row first, so that two cannot both be
		// the last one that fits.
		ok, err := schema.Changed(tx.ExecContext(c.Context(),
			`UPDATE images SET revision = revision + 1 WHERE id = ? AND visibility = 'shared' AND deleted_at = 0`, c.rec.Key))
		if err != nil {
			return err
		}
		if !ok {
			return onlyShared(&record{})
		}
		var n int
		err = tx.GetContext(c.Context(), &n, `SELECT COUNT(*) FROM image_members WHERE image_id = ?`, c.rec.Key)
		if err != nil {
			return err
		}
		if n >= maxMembers {
			return compat.TooLarge("The limit has been exceeded on the number of allowed image members for this image. Attempted: %d, Maximum: %d", n+1, maxMembers)
		}
		_, err = tx.ExecContext(c.Context(), insertMember, c.rec.Key, id, now, now)
		if schema.Duplicate(err) {
			return compat.Conflict("Member '%s' is duplicated for image '%s'", clip(id), c.rec.ID)
		}
		return err
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, member{id, "pending", now, now}.view(c.rec))
}

func (s *Service) setMember(w http.ResponseWriter, c *call) error {
	body, err := readObject(w, c.Request)
	if err != nil {
		return err
	}
	status, ok := body["status"].(string)
	if !ok {
		return compat.BadRequest("Expected a status in the form: {\"status\": \"status\"}")
	}
	if !slices.Contains(memberStatuses, status) {
		return compat.BadRequest("Invalid status: %s", clip(status))
	}
	m, err := s.findMember(c)
	if err != nil {
		return err
	}
	m.Status, m.UpdatedAt = status, s.Clock.Now()
	ok, err = schema.Changed(s.DB.ExecContext(c.Context(), updateMember, m.Status, m.UpdatedAt, c.rec.Key, m.Member))
	if err != nil {
		return fmt.Errorf("update member of image %s: %w", c.rec.ID, err)
	}
	if !ok {
		return compat.NotFound("%s not found in the member list of the image %s.", clip(m.Member), c.rec.ID)
	}
	return compat.WriteJSON(w, http.StatusOK, m.view(c.rec))
}

func (s *Service) removeMember(w http.ResponseWriter, c *call) error {
	m, err := s.findMember(c)
	if err != nil {
		return err
	}
	_, err = s.DB.ExecContext(c.Context(), deleteMember, c.rec.Key, m.Member)
	if err != nil {
		return fmt.Errorf("remove member of image %s: %w", c.rec.ID, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
