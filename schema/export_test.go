package schema

import "context"

// SettleCollations is one migration by itself, for a test that must not undo the others.
var SettleCollations = (*DB).settleCollations

// MigrateDownTo takes the database back to an earlier release's version.
func MigrateDownTo(ctx context.Context, db *DB, version int64) error {
	p, err := db.provider(ctx, db.DB.DB)
	if err != nil {
		return err
	}
	_, err = p.DownTo(ctx, version)
	return err
}
