package images

import (
	"context"

	"kilonova/compat"
	"kilonova/schema"
)

const (
	addImage    = `UPDATE image_usage SET images = images + 1 WHERE project_id = ? AND images + 1 <= ?`
	insertUsage = `INSERT INTO image_usage (project_id) VALUES (?)`
	subImage    = `UPDATE image_usage SET images = images - 1 WHERE project_id = ?`
	addBytes    = `UPDATE image_usage SET bytes = bytes + ? WHERE project_id = ? AND bytes + ? <= ?`
	unlimited   = int64(1) << 62
)

// takeImage counts one more image of a project, or is a 413 Fault at its limit.
func takeImage(ctx context.Context, tx *schema.Tx, project string, limit int64) error {
	for range 2 {
		ok, err := schema.Changed(tx.ExecContext(ctx, addImage, project, limit))
		if err != nil || ok {
			return err
		}
		var rows int
		err = tx.GetContext(ctx, &rows, `SELECT COUNT(*) FROM image_usage WHERE project_id = ?`, project)
		if err != nil {
			return err
		}
		if rows > 0 {
			break
		}
		_, err = tx.ExecContext(ctx, insertUsage, project)
		if err != nil && !schema.Duplicate(err) {
			return err
		}
	}
	return compat.TooLarge("The project has as many images as it may have: %d.", limit)
}

func dropImage(ctx context.Context, tx *schema.Tx, project string) error {
	_, err := tx.ExecContext(ctx, subImage, project)
	return err
}

// takeBytes charges n more bytes to a project, or is a 413 Fault at its limit. Bytes are
// given back with a negative n, which has no limit. Images without an owner are free.
func takeBytes(ctx context.Context, tx *schema.Tx, project string, n, limit int64) error {
	if n == 0 || project == "" {
		return nil
	}
	if n < 0 {
		limit = unlimited
	}
	ok, err := schema.Changed(tx.ExecContext(ctx, addBytes, n, project, n, limit))
	if err != nil || ok {
		return err
	}
	var held int64
	err = tx.GetContext(ctx, &held, `SELECT bytes FROM image_usage WHERE project_id = ?`, project)
	if err != nil {
		return err
	}
	return compat.TooLarge("Image exceeds the storage quota: The size of the data %d will exceed the limit. %d bytes remaining.", n, max(limit-held, 0))
}

// moveUsage follows an image to another owner, whom an administrator chose: no limit holds.
func moveUsage(ctx context.Context, tx *schema.Tx, rec *record, to string) error {
	err := dropImage(ctx, tx, rec.Owner)
	if err != nil {
		return err
	}
	err = takeBytes(ctx, tx, rec.Owner, -rec.Charged, unlimited)
	if err != nil || to == "" {
		return err
	}
	err = takeImage(ctx, tx, to, unlimited)
	if err != nil {
		return err
	}
	return takeBytes(ctx, tx, to, rec.Charged, unlimited)
}
