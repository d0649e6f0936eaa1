package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"kilonova/compat"
	"kilonova/schema"
)

// MaxTags is how many tags a server may have.
const MaxTags = 50

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

// TagsOf reads the tags of many servers in one statement for each thousand.
func (s *Service) TagsOf(ctx context.Context, q schema.Querier, ids []int64) (map[int64][]string, error) {
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

func clearTags(ctx context.Context, tx *schema.Tx, id int64) error {
	_, err := tx.ExecContext(ctx, `DELETE FROM server_tags WHERE server_id = ?`, id)
	return wrap(err, "remove tags")
}

// touch moves "updated" without changing anything else, and keeps the row for the rest of
// the transaction. A server that was deleted meanwhile is a 404 Fault.
func (s *Service) touch(ctx context.Context, tx *schema.Tx, v *Server) error {
	ok, err := schema.Changed(tx.ExecContext(ctx, `UPDATE servers SET updated_at = ? WHERE id = ? AND deleted = 0`, s.Clock.Now(), v.ID))
	if err == nil && !ok {
		return NotFound(v.UUID)
	}
	return wrap(err, "touch server %s", v.UUID)
}

// AddTag tags a server; false says that it had the tag. The server's row is changed first,
// so that of two requests for its last place one counts what the other has added.
func (s *Service) AddTag(ctx context.Context, v *Server, tag string) (added bool, err error) {
	err = s.DB.Tx(ctx, func(tx *schema.Tx) error {
		err := s.touch(ctx, tx, v)
		if err != nil {
			return err
		}
		all, err := s.TagsOf(ctx, tx, []int64{v.ID})
		if err != nil {
			return err
		}
		if len(all[v.ID]) >= MaxTags {
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
	return compat.BadRequest("The number of tags exceeded the per-server limit %d", MaxTags)
}

// ReplaceTags gives a server these tags and no others.
func (s *Service) ReplaceTags(ctx context.Context, v *Server, tags []string) error {
	if len(tags) > MaxTags {
		return tooManyTags()
	}
	return s.DB.Tx(ctx, func(tx *schema.Tx) error {
		err := s.touch(ctx, tx, v) // first: it keeps others from adding meanwhile
		if err != nil {
			return err
		}
		err = clearTags(ctx, tx, v.ID)
		if err != nil {
			return err
		}
		return setTags(ctx, tx, v.ID, tags)
	})
}

// RemoveTag takes a tag off a server: a 404 Fault when it has not got it.
func (s *Service) RemoveTag(ctx context.Context, v *Server, tag string) error {
	return s.DB.Tx(ctx, func(tx *schema.Tx) error {
		err := s.touch(ctx, tx, v)
		if err != nil {
			return err
		}
		gone, err := schema.Changed(tx.ExecContext(ctx, `DELETE FROM server_tags WHERE server_id = ? AND tag = ?`, v.ID, tag))
		if err == nil && !gone {
			return compat.NotFound("Server %s has no tag '%s'", v.UUID, tag)
		}
		return wrap(err, "remove a tag")
	})
}
