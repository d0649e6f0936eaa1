package servers

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"unicode/utf8"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
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

func metadataOf(v *lifecycle.Server) map[string]string {
	m := map[string]string{}
	lifecycle.Decode(v.Metadata, &m)
	return m
}

func (s *Service) metadataIndex(w http.ResponseWriter, r *compat.Request) error {
	return r.Answer(w, map[string]any{"metadata": metadataOf(of(r))})
}

func (s *Service) metadataShow(w http.ResponseWriter, r *compat.Request) error {
	key := r.Var("key")
	value, ok := metadataOf(of(r))[key]
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
		err := lifecycle.Check(op, v, r.Caller)
		if err != nil {
			return nil, err
		}
		m, err := f(metadataOf(v))
		if err != nil {
			return nil, err
		}
		err = s.checkMetadata(r, m)
		if err != nil {
			return nil, err
		}
		err = s.Life.SetMetadata(r.Context(), v, m)
		if !errors.Is(err, lifecycle.ErrLostRace) {
			return m, err
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
	return s.metadataWrite(w, r, func(_, sent map[string]string) map[string]string { return lifecycle.OrEmpty(sent) })
}

func (s *Service) metadataWrite(w http.ResponseWriter, r *compat.Request, f func(old, sent map[string]string) map[string]string) error {
	var body metadataBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	m, err := s.changeMetadata(r, lifecycle.OpMetaUpdate, func(old map[string]string) (map[string]string, error) { return f(old, body.Metadata), nil })
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
	_, err = s.changeMetadata(r, lifecycle.OpMetaUpdate, func(m map[string]string) (map[string]string, error) {
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
	_, err := s.changeMetadata(r, lifecycle.OpMetaDelete, func(m map[string]string) (map[string]string, error) {
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

func (s *Service) tags(r *compat.Request) ([]string, error) {
	v := of(r)
	m, err := s.Life.TagsOf(r.Context(), s.DB, []int64{v.ID})
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
	err = lifecycle.Check(lifecycle.OpTagsUpdate, v, r.Caller)
	if err != nil {
		return err
	}
	err = s.Life.ReplaceTags(r.Context(), v, body.Tags)
	if err != nil {
		return err
	}
	return s.tagsIndex(w, r)
}

func (s *Service) tagsClear(w http.ResponseWriter, r *compat.Request) error {
	v := of(r)
	err := lifecycle.Check(lifecycle.OpTagsDelete, v, r.Caller)
	if err != nil {
		return err
	}
	err = s.Life.ReplaceTags(r.Context(), v, nil)
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
	if err != nil {
		return false, fmt.Errorf("look for a tag: %w", err)
	}
	return n > 0, nil
}

func (s *Service) tagSet(w http.ResponseWriter, r *compat.Request) error {
	v, tag := of(r), r.Var("tag")
	err := lifecycle.Check(lifecycle.OpTagUpdate, v, r.Caller)
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
	added, err := s.Life.AddTag(r.Context(), v, tag)
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

func (s *Service) tagDelete(w http.ResponseWriter, r *compat.Request) error {
	v, tag := of(r), r.Var("tag")
	err := lifecycle.Check(lifecycle.OpTagDelete, v, r.Caller)
	if err != nil {
		return err
	}
	err = s.Life.RemoveTag(r.Context(), v, tag)
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
