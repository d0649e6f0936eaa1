package servers

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"kilonova/compat"
	"kilonova/schema"
)

type metadataBody struct {
	Metadata map[string]string `json:"metadata"`
	Meta     map[string]string `json:"meta"`
}

// checkMetadata holds a number of items against the quota.
func (s *Service) checkMetadata(r *compat.Request, m map[string]string) error {
	limit, err := s.Quotas.Limit(r.Context(), r.Caller.ProjectID, r.Caller.UserID, "metadata_items")
	if err != nil {
		return err
	}
	if limit >= 0 && len(m) > limit {
		return compat.Forbidden("Maximum number of metadata items exceeds %d", limit)
	}
	return nil
}

func (v *Server) metadata() map[string]string {
	m := map[string]string{}
	decode(v.Metadata, &m)
	return m
}

func (s *Service) metadataIndex(w http.ResponseWriter, r *compat.Request) error {
	return r.Answer(w, map[string]any{"metadata": of(r).metadata()})
}

func (s *Service) metadataShow(w http.ResponseWriter, r *compat.Request) error {
	key := r.Var("key")
	value, ok := of(r).metadata()[key]
	if !ok {
		return compat.NotFound("Metadata item was not found")
	}
	return r.Answer(w, map[string]any{"meta": map[string]string{key: value}})
}

// changeMetadata replaces the items by what f makes of them; the compare-and-set on the
// old text makes two writers follow each other.
func (s *Service) changeMetadata(r *compat.Request, op string, f func(map[string]string) (map[string]string, error)) (map[string]string, error) {
	v := of(r)
	for {
		err := transitions[op].Check(v, r.Caller)
		if err != nil {
			return nil, err
		}
		m, err := f(v.metadata())
		if err != nil {
			return nil, err
		}
		err = s.checkMetadata(r, m)
		if err != nil {
			return nil, err
		}
		ok, err := schema.Changed(s.DB.ExecContext(r.Context(),
			`UPDATE servers SET metadata = ?, updated_at = ? WHERE id = ? AND deleted = 0 AND metadata = ?`,
			encode(m), s.Clock.Now(), v.ID, v.Metadata))
		if err != nil {
			return nil, fmt.Errorf("change metadata of server %s: %w", v.UUID, err)
		}
		if ok {
			return m, nil
		}
		v, err = s.find(r.Context(), s.DB, r.Caller, v.UUID, false)
		if err != nil {
			return nil, err
		}
	}
}

func (s *Service) metadataMerge(w http.ResponseWriter, r *compat.Request) error {
	return s.metadataWrite(w, r, func(old, sent map[string]string) map[string]string {
		maps.Copy(old, sent)
		return old
	})
}

func (s *Service) metadataReplace(w http.ResponseWriter, r *compat.Request) error {
	return s.metadataWrite(w, r, func(_, sent map[string]string) map[string]string { return orEmpty(sent) })
}

func (s *Service) metadataWrite(w http.ResponseWriter, r *compat.Request, f func(old, sent map[string]string) map[string]string) error {
	var body metadataBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	m, err := s.changeMetadata(r, opMetaUpdate, func(old map[string]string) (map[string]string, error) { return f(old, body.Metadata), nil })
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"metadata": m})
}

func (s *Service) metadataSet(w http.ResponseWriter, r *compat.Request) error {
	var body metadataBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	key := r.Var("key")
	value, ok := body.Meta[key]
	if !ok {
		return compat.BadRequest("Request body and URI mismatch")
	}
	_, err = s.changeMetadata(r, opMetaUpdate, func(m map[string]string) (map[string]string, error) {
		m[key] = value
		return m, nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"meta": map[string]string{key: value}})
}

func (s *Service) metadataDelete(w http.ResponseWriter, r *compat.Request) error {
	key := r.Var("key")
	_, err := s.changeMetadata(r, opMetaDelete, func(m map[string]string) (map[string]string, error) {
		_, ok := m[key]
		if !ok {
			return nil, compat.NotFound("Metadata item was not found")
		}
		delete(m, key)
		return m, nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

// maxTags is how many tags a server may have.
const maxTags = 50

// setTags adds the tags that a new server was created with.
func setTags(ctx context.Context, tx *schema.Tx, id int64, tags []string) error {
	seen := map[string]bool{}
	for _, t := range tags {
		if seen[t] {
			continue
		}
		seen[t] = true
		_, err := tx.ExecContext(ctx, `INSERT INTO server_tags (server_id, tag) VALUES (?, ?)`, id, t)
		if err != nil {
			return fmt.Errorf("tag server: %w", err)
		}
	}
	return nil
}

// tagsOf reads the tags of many servers in one statement for each thousand.
func (s *Service) tagsOf(ctx context.Context, q schema.Querier, ids []int64) (map[int64][]string, error) {
	out := map[int64][]string{}
	if len(ids) == 0 {
		return out, nil
	}
	stmt, args, err := sqlx.In(`SELECT server_id, tag FROM server_tags WHERE server_id IN (?) ORDER BY server_id, tag`, ids)
	if err != nil {
		return nil, fmt.Errorf("read tags: %w", err)
	}
	var rows []struct {
		ServerID int64  `db:"server_id"`
		Tag      string `db:"tag"`
	}
	err = q.SelectContext(ctx, &rows, stmt, args...)
	if err != nil {
		return nil, fmt.Errorf("read tags: %w", err)
	}
	for _, row := range rows {
		out[row.ServerID] = append(out[row.ServerID], row.Tag)
	}
	return out, nil
}

func (s *Service) tags(r *compat.Request) ([]string, error) {
	v := of(r)
	m, err := s.tagsOf(r.Context(), s.DB, []int64{v.ID})
	if err != nil || m[v.ID] == nil {
		return []string{}, err
	}
	return m[v.ID], nil
}

func (s *Service) tagsIndex(w http.ResponseWriter, r *compat.Request) error {
	tags, err := s.tags(r)
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"tags": tags})
}

func (s *Service) tagsReplace(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Tags []string `json:"tags"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	v := of(r)
	err = transitions[opTagsUpdate].Check(v, r.Caller)
	if err != nil {
		return err
	}
	if len(body.Tags) > maxTags {
		return tooManyTags()
	}
	err = s.DB.Tx(r.Context(), func(tx *schema.Tx) error {
		err := s.touch(r.Context(), tx, v) // first: it keeps others from adding meanwhile
		if err != nil {
			return err
		}
		err = clearTags(r.Context(), tx, v.ID)
		if err != nil {
			return err
		}
		return setTags(r.Context(), tx, v.ID, body.Tags)
	})
	if err != nil {
		return err
	}
	return s.tagsIndex(w, r)
}

func clearTags(ctx context.Context, tx *schema.Tx, id int64) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM server_tags WHERE server_id = ?`, id)
	return wrap(err, "remove tags")
}

// touch moves "updated" without changing anything else, and keeps the row for the rest of
// the transaction. A server that was deleted meanwhile is a 404 Fault.
func (s *Service) touch(ctx context.Context, tx *schema.Tx, v *Server) error {
	ok, err := schema.Changed(tx.ExecContext(ctx, `UPDATE servers SET updated_at = ? WHERE id = ? AND deleted = 0`, s.Clock.Now(), v.ID))
	if err == nil && !ok {
		return notFound(v.UUID)
	}
	return wrap(err, "touch server %s", v.UUID)
}

func (s *Service) tagsClear(w http.ResponseWriter, r *compat.Request) error {
	v := of(r)
	err := transitions[opTagsDelete].Check(v, r.Caller)
	if err != nil {
		return err
	}
	err = s.DB.Tx(r.Context(), func(tx *schema.Tx) error {
		err := s.touch(r.Context(), tx, v)
		if err != nil {
			return err
		}
		return clearTags(r.Context(), tx, v.ID)
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

func (s *Service) tagShow(w http.ResponseWriter, r *compat.Request) error {
	has, err := s.hasTag(r)
	if err != nil {
		return err
	}
	if !has {
		return compat.NotFound("Server %s has no tag '%s'", of(r).UUID, r.Var("tag"))
	}
	return r.Answer(w, nil)
}

func (s *Service) hasTag(r *compat.Request) (bool, error) {
	var n int
	err := s.DB.GetContext(r.Context(), &n, `SELECT COUNT(*) FROM server_tags WHERE server_id = ? AND tag = ?`, of(r).ID, r.Var("tag"))
	return n > 0, wrap(err, "look for a tag")
}

func (s *Service) tagSet(w http.ResponseWriter, r *compat.Request) error {
	v, tag := of(r), r.Var("tag")
	err := transitions[opTagUpdate].Check(v, r.Caller)
	if err != nil {
		return err
	}
	const longest = 60
	if n := len([]rune(tag)); n == 0 || n > longest || !utf8.ValidString(tag) {
		return compat.BadRequest("Tag '%.100s' is invalid. It must be a non empty string without characters '/' and ','. Maximum length is %d characters", strings.ToValidUTF8(tag, "?"), longest)
	}
	for _, c := range tag {
		if c == '/' || c == ',' {
			return compat.BadRequest("Tag '%s' is invalid. It must be a non empty string without characters '/' and ','. Maximum length is %d characters", tag, longest)
		}
	}
	added, err := s.addTag(r.Context(), v, tag)
	if err != nil {
		return err
	}
	if !added {
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	w.Header().Set("Location", r.SelfURL("/servers/"+v.UUID+"/tags/"+url.PathEscape(tag)))
	w.WriteHeader(http.StatusCreated)
	return nil
}

// addTag tags a server; false says that it had the tag. The server's row is changed first,
// so that of two requests for its last place one counts what the other has added.
func (s *Service) addTag(ctx context.Context, v *Server, tag string) (added bool, err error) {
	err = s.DB.Tx(ctx, func(tx *schema.Tx) error {
		err := s.touch(ctx, tx, v)
		if err != nil {
			return err
		}
		all, err := s.tagsOf(ctx, tx, []int64{v.ID})
		if err != nil {
			return err
		}
		if len(all[v.ID]) >= maxTags {
			return tooManyTags()
		}
		if slices.Contains(all[v.ID], tag) {
			return errHasTag
		}
		return setTags(ctx, tx, v.ID, []string{tag})
	})
	if errors.Is(err, errHasTag) || schema.Duplicate(err) {
		return false, nil
	}
	return err == nil, err
}

var errHasTag = errors.New("the server has the tag")

func tooManyTags() error {
	return compat.BadRequest("The number of tags exceeded the per-server limit %d", maxTags)
}

func (s *Service) tagDelete(w http.ResponseWriter, r *compat.Request) error {
	v, tag := of(r), r.Var("tag")
	err := transitions[opTagDelete].Check(v, r.Caller)
	if err != nil {
		return err
	}
	err = s.DB.Tx(r.Context(), func(tx *schema.Tx) error {
		err := s.touch(r.Context(), tx, v)
		if err != nil {
			return err
		}
		gone, err := schema.Changed(tx.ExecContext(r.Context(), `DELETE FROM server_tags WHERE server_id = ? AND tag = ?`, v.ID, tag))
		if err == nil && !gone {
			return compat.NotFound("Server %s has no tag '%s'", v.UUID, tag)
		}
		return wrap(err, "remove a tag")
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
