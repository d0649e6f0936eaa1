package networks

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"kilonova/compat"
	"kilonova/schema"
)

const selectTags = `SELECT resource, tag FROM network_tags WHERE resource IN (?) ORDER BY resource, tag`

// tagsOf reads the tags of records, by the records' ids.
func tagsOf(ctx context.Context, q schema.Querier, rows []record) (map[string][]string, error) {
	ids := make([]string, 0, len(rows))
	for _, r := range rows {
		ids = append(ids, r.about().id)
	}
	found, err := selectIn[struct {
		Resource string `db:"resource"`
		Tag      string `db:"tag"`
	}](ctx, q, selectTags, nil, ids)
	if err != nil {
		return nil, fmt.Errorf("read tags: %w", err)
	}
	out := map[string][]string{}
	for _, f := range found {
		out[f.Resource] = append(out[f.Resource], f.Tag)
	}
	return out, nil
}

// maxTags bounds the tags of one resource.
const maxTags = 100

func checkTag(tag string) error {
	n := utf8.RuneCountInString(tag)
	if n < 1 || n > 255 || strings.Contains(tag, ",") || !validText(tag) {
		return badRequest("Invalid input for tags. Reason: '%s' is not a valid tag.", clip(tag))
	}
	return nil
}

// listTags answers GET /{plural}/{id}/tags.
func (s *Service) listTags(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		row, err := s.find(r.Context(), s.db, k, r.caller, r.id())
		if err != nil {
			return err
		}
		tags, err := tagsOf(r.Context(), s.db, []record{row})
		if err != nil {
			return err
		}
		return compat.WriteJSON(w, http.StatusOK, map[string]any{"tags": orEmpty(tags[r.id()])})
	}
}

// hasTag answers GET /{plural}/{id}/tags/{tag}.
func (s *Service) hasTag(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		row, err := s.find(r.Context(), s.db, k, r.caller, r.id())
		if err != nil {
			return err
		}
		tags, err := tagsOf(r.Context(), s.db, []record{row})
		if err != nil {
			return err
		}
		if !slices.Contains(tags[r.id()], r.tag()) {
			return tagNotFound(r.tag())
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

func tagNotFound(tag string) error {
	return fault(404, "TagNotFound", "Tag %s could not be found.", clip(tag))
}

// changeTags runs a change of tags of a resource that the caller owns. The changes of one
// resource follow one another, so that its limit holds.
func (s *Service) changeTags(k *kind, r *request, change func(tx *schema.Tx, have []string) error) error {
	return s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		err := tx.Turn(r.Context(), "tags of "+r.id())
		if err != nil {
			return err
		}
		row, err := s.owned(r.Context(), tx, k, r.caller, r.id(), "update")
		if err != nil {
			return err
		}
		tags, err := tagsOf(r.Context(), tx, []record{row})
		if err != nil {
			return err
		}
		return change(tx, tags[r.id()])
	})
}

const insertTag = `INSERT INTO network_tags (resource, tag) VALUES (?, ?)`

func addTag(ctx context.Context, tx *schema.Tx, id, tag string) error {
	_, err := tx.ExecContext(ctx, insertTag, id, tag)
	if err != nil && !schema.Duplicate(err) {
		return fmt.Errorf("add a tag: %w", err)
	}
	return nil
}

// replaceTags answers PUT /{plural}/{id}/tags.
func (s *Service) replaceTags(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		doc, err := readJSON(r.Request)
		if err != nil {
			return err
		}
		raw, ok := doc["tags"].([]any)
		if !ok || len(raw) > maxTags {
			return badRequest("Invalid input for tags. Reason: it is not a list of at most %d tags.", maxTags)
		}
		tags := []string{}
		for _, one := range raw {
			tag, ok := one.(string)
			if !ok {
				return badRequest("Invalid input for tags. Reason: a tag is not a string.")
			}
			err = checkTag(tag)
			if err != nil {
				return err
			}
			if !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
		}
		err = s.changeTags(k, r, func(tx *schema.Tx, _ []string) error {
			_, err := tx.ExecContext(r.Context(), deleteTags, r.id())
			if err != nil {
				return fmt.Errorf("replace tags: %w", err)
			}
			for _, tag := range tags {
				err = addTag(r.Context(), tx, r.id(), tag)
				if err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
		return compat.WriteJSON(w, http.StatusOK, map[string]any{"tags": tags})
	}
}

// clearTags answers DELETE /{plural}/{id}/tags.
func (s *Service) clearTags(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		err := s.changeTags(k, r, func(tx *schema.Tx, _ []string) error {
			_, err := tx.ExecContext(r.Context(), deleteTags, r.id())
			return err
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// addTag answers PUT /{plural}/{id}/tags/{tag}.
func (s *Service) addTag(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		err := checkTag(r.tag())
		if err != nil {
			return err
		}
		err = s.changeTags(k, r, func(tx *schema.Tx, have []string) error {
			if len(have) >= maxTags {
				return badRequest("The number of tags exceeds %d.", maxTags)
			}
			return addTag(r.Context(), tx, r.id(), r.tag())
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusCreated)
		return nil
	}
}

const deleteTag = `DELETE FROM network_tags WHERE resource = ? AND tag = ?`

// removeTag answers DELETE /{plural}/{id}/tags/{tag}.
func (s *Service) removeTag(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		err := s.changeTags(k, r, func(tx *schema.Tx, _ []string) error {
			got, err := schema.Changed(tx.ExecContext(r.Context(), deleteTag, r.id(), r.tag()))
			if err == nil && !got {
				return tagNotFound(r.tag())
			}
			return err
		})
		if err != nil {
			return err
		}
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}
