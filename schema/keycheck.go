package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

const (
	selectKeyCheck = `SELECT check_value FROM secret_keys WHERE name = ?`
	insertKeyCheck = `INSERT INTO secret_keys (name, check_value, created_at) VALUES (?, ?, ?)`
	deleteKeyCheck = `DELETE FROM secret_keys WHERE name = ?`
)

// KeyCheck gives the check value of the key that the database was written with, "" when there
// was none yet.
func (db *DB) KeyCheck(ctx context.Context, name string) (string, error) {
	var value string
	err := db.GetContext(ctx, &value, selectKeyCheck, name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look at the check value of key %s: %w", name, err)
	}
	return value, nil
}

// ClaimKey puts the check value of the first process's key on record, and gives the one that
// is there: a process whose own is another has the wrong key.
func (db *DB) ClaimKey(ctx context.Context, name, value string) (string, error) {
	have, err := db.KeyCheck(ctx, name)
	if err != nil || have != "" {
		return have, err
	}
	_, err = db.ExecContext(ctx, insertKeyCheck, name, value, Clock(nil).Now())
	if err != nil && !Duplicate(err) {
		return "", fmt.Errorf("put the check value of key %s on record: %w", name, err)
	}
	return db.KeyCheck(ctx, name)
}

// ForgetKey lets another key be claimed.
func (db *DB) ForgetKey(ctx context.Context, name string) error {
	_, err := db.ExecContext(ctx, deleteKeyCheck, name)
	if err != nil {
		return fmt.Errorf("forget key %s: %w", name, err)
	}
	return nil
}
