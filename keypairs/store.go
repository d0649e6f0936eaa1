package keypairs

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"unicode/utf8"

	"kilonova/compat"
	"kilonova/schema"
)

const columns = `id, user_id, name, type, fingerprint, public_key, created_at`

const selectKeypair = `SELECT ` + columns + ` FROM keypairs WHERE user_id = ? AND name = ?`

// Get returns a user's keypair, or a 404 Fault.
func (s *Service) Get(ctx context.Context, userID, name string) (*Keypair, error) {
	missing := compat.NotFound("Keypair %s not found for user %s", clip(name), clip(userID))
	if !utf8.ValidString(name) || !utf8.ValidString(userID) {
		return nil, missing
	}
	var k Keypair
	err := s.db.GetContext(ctx, &k, selectKeypair, userID, name)
	// MariaDB takes "a " for equal to "a".
	if errors.Is(err, sql.ErrNoRows) || err == nil && (k.Name != name || k.UserID != userID) {
		return nil, missing
	}
	if err != nil {
		return nil, fmt.Errorf("read keypair: %w", err)
	}
	return &k, nil
}

// clip bounds what a client sent before it goes into a message.
func clip(s string) string {
	const limit = 255
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

const selectPage = `SELECT ` + columns + ` FROM keypairs WHERE user_id = ? AND name > ? ORDER BY name`

// list gives a user's keypairs by name, behind marker; limit below 0 is all.
func (s *Service) list(ctx context.Context, userID, marker string, limit int) ([]Keypair, error) {
	out := []Keypair{}
	if limit == 0 {
		return out, nil
	}
	query, args := selectPage, []any{userID, marker}
	if limit > 0 {
		query += " LIMIT ?"
		args = append(args, limit)
	}
	err := s.db.SelectContext(ctx, &out, query, args...)
	if err != nil {
		return nil, fmt.Errorf("list keypairs: %w", err)
	}
	return out, nil
}

const insertKeypair = `
INSERT INTO keypairs (user_id, name, type, fingerprint, public_key, created_at) VALUES (?, ?, ?, ?, ?, ?)`

const countKeypairs = `SELECT COUNT(*) FROM keypairs WHERE user_id = ?`

var errQuota = compat.Forbidden("Quota exceeded, too many key pairs.")

// room gives a 403 Fault when the user has as many keypairs as limit allows.
func room(ctx context.Context, q schema.Querier, userID string, limit int) error {
	var have int
	err := q.GetContext(ctx, &have, countKeypairs, userID)
	if err != nil {
		return fmt.Errorf("count keypairs: %w", err)
	}
	if have >= limit {
		return errQuota
	}
	return nil
}

// insert makes the keypair unless the user has limit others, which is a 403 Fault; a name
// that is taken is a 409 one.
func (s *Service) insert(ctx context.Context, k *Keypair, limit int) error {
	err := s.db.Tx(ctx, func(tx *schema.Tx) error {
		err := tx.Turn(ctx, "keypairs of "+k.UserID)
		if err != nil {
			return err
		}
		err = room(ctx, tx, k.UserID, limit)
		if err != nil {
			return err
		}
		_, err = tx.ExecContext(ctx, insertKeypair, k.UserID, k.Name, k.Type, k.Fingerprint, k.PublicKey, k.CreatedAt)
		return err
	})
	if schema.Duplicate(err) {
		return compat.Conflict("Key pair '%s' already exists.", k.Name)
	}
	if err != nil {
		return fmt.Errorf("make keypair: %w", err)
	}
	return nil
}

const deleteKeypair = `DELETE FROM keypairs WHERE id = ?`

// remove deletes a user's keypair, or gives a 404 Fault. Servers keep what they were given.
func (s *Service) remove(ctx context.Context, userID, name string) error {
	k, err := s.Get(ctx, userID, name)
	if err != nil {
		return err
	}
	ok, err := schema.Changed(s.db.ExecContext(ctx, deleteKeypair, k.ID))
	if err != nil {
		return fmt.Errorf("delete keypair: %w", err)
	}
	if !ok {
		return compat.NotFound("Keypair %s not found for user %s", name, userID)
	}
	return nil
}
