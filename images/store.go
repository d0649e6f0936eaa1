package images

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"kilonova/compat"
	"kilonova/schema"
)

const columns = `i.id, i.uuid, COALESCE(i.owner, '') AS owner, COALESCE(i.name, '') AS name,
 i.name IS NULL AS unnamed, i.status, i.visibility, i.protected, i.os_hidden,
 COALESCE(i.container_format, '') AS container_format, COALESCE(i.disk_format, '') AS disk_format,
 i.min_ram, i.min_disk, COALESCE(i.size, 0) AS size, COALESCE(i.virtual_size, 0) AS virtual_size,
 COALESCE(i.checksum, '') AS checksum, COALESCE(i.hash_value, '') AS hash_value, i.data_file,
 i.staged_file, i.upload, i.beat, i.charged, i.failure, i.revision, i.null_properties, i.created_at, i.updated_at`

const selectImage = `SELECT ` + columns + ` FROM images i WHERE i.uuid = ? AND i.deleted_at = 0`

// find reads one image, whoever may see it, with properties and tags. The error is
// sql.ErrNoRows when there is none.
func find(ctx context.Context, q schema.Querier, id string) (*record, error) {
	if len(id) != 36 {
		return nil, sql.ErrNoRows
	}
	rec := &record{}
	err := q.GetContext(ctx, rec, selectImage, id)
	if err != nil {
		return nil, err
	}
	err = loadChildren(ctx, q, []*record{rec})
	if err != nil {
		return nil, err
	}
	return rec, nil
}

// see is find for what the caller sees; other images do not exist (404 Fault).
func (s *Service) see(ctx context.Context, q schema.Querier, c *compat.Caller, id string) (*record, error) {
	rec, err := find(ctx, q, id)
	if err == nil {
		var ok bool
		ok, err = sees(ctx, q, c, rec)
		if err == nil && ok {
			return rec, nil
		}
	}
	if err == nil || errors.Is(err, sql.ErrNoRows) {
		return nil, compat.NotFound("No image found with ID %s", clip(id))
	}
	return nil, fmt.Errorf("get image %s: %w", clip(id), err)
}

const selectIsMember = `SELECT COUNT(*) FROM image_members WHERE image_id = ? AND member = ?`

// sees decides whether an image exists for a caller.
func sees(ctx context.Context, q schema.Querier, c *compat.Caller, rec *record) (bool, error) {
	switch {
	case c.IsAdmin(), rec.Visibility == Public, rec.Visibility == Community:
		return true, nil
	case c.ProjectID == "":
		return false, nil
	case rec.Owner == c.ProjectID:
		return true, nil
	case rec.Visibility != Shared:
		return false, nil
	}
	var n int
	err := q.GetContext(ctx, &n, selectIsMember, rec.Key, c.ProjectID)
	return n > 0, err
}

const (
	selectProperties = `SELECT image_id, name, value FROM image_properties WHERE image_id IN (?)`
	selectTags       = `SELECT image_id, tag FROM image_tags WHERE image_id IN (?) ORDER BY image_id, tag`
)

// loadChildren reads the properties and tags of a page with one statement each.
func loadChildren(ctx context.Context, q schema.Querier, page []*record) error {
	if len(page) == 0 {
		return nil
	}
	byKey := make(map[int64]*record, len(page))
	ids := make([]int64, 0, len(page))
	for _, rec := range page {
		rec.Properties, rec.Tags = map[string]string{}, []string{}
		byKey[rec.Key] = rec
		ids = append(ids, rec.Key)
	}
	var props []struct {
		ImageID int64  `db:"image_id"`
		Name    string `db:"name"`
		Value   string `db:"value"`
	}
	err := selectIn(ctx, q, &props, selectProperties, ids)
	if err != nil {
		return fmt.Errorf("read image properties: %w", err)
	}
	for _, p := range props {
		byKey[p.ImageID].Properties[p.Name] = p.Value
	}
	var tags []struct {
		ImageID int64  `db:"image_id"`
		Tag     string `db:"tag"`
	}
	err = selectIn(ctx, q, &tags, selectTags, ids)
	if err != nil {
		return fmt.Errorf("read image tags: %w", err)
	}
	for _, t := range tags {
		byKey[t.ImageID].Tags = append(byKey[t.ImageID].Tags, t.Tag)
	}
	return nil
}

func selectIn(ctx context.Context, q schema.Querier, dest any, statement string, args ...any) error {
	statement, args, err := sqlx.In(statement, args...)
	if err != nil {
		return err
	}
	return q.SelectContext(ctx, dest, statement, args...)
}

func nullable(s string) sql.NullString { return sql.NullString{String: s, Valid: s != ""} }

func boolean(b bool) int {
	if b {
		return 1
	}
	return 0
}

const insertImage = `
INSERT INTO images (uuid, owner, name, status, visibility, protected, os_hidden, container_format,
 disk_format, min_ram, min_disk, size, checksum, hash_value, null_properties, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// insert makes an image and counts it against its owner's quota. It returns a 409 Fault
// when the id was ever used, and a 413 Fault when the project has its fill.
func (s *Service) insert(ctx context.Context, img *Image) error {
	return s.DB.Tx(ctx, func(tx *schema.Tx) error { return s.insertIn(ctx, tx, img) })
}

func (s *Service) insertIn(ctx context.Context, tx *schema.Tx, img *Image) error {
	now := s.Clock.Now()
	img.CreatedAt, img.UpdatedAt = now, now
	err := func() error {
		if img.Owner != "" {
			err := takeImage(ctx, tx, img.Owner, s.ProjectImages)
			if err != nil {
				return err
			}
		}
		size := sql.NullInt64{Int64: img.Size, Valid: img.HasData()}
		res, err := tx.ExecContext(ctx, insertImage, img.ID, nullable(img.Owner),
			sql.NullString{String: img.Name, Valid: !img.Unnamed}, img.Status, img.Visibility,
			boolean(img.Protected), boolean(img.Hidden), nullable(img.ContainerFormat),
			nullable(img.DiskFormat), img.MinRAM, img.MinDisk, size, nullable(img.Checksum),
			nullable(img.SHA512), img.Null, now, now)
		if schema.Duplicate(err) {
			return compat.Conflict("Image ID %s already exists!", img.ID)
		}
		if err != nil {
			return err
		}
		key, err := res.LastInsertId()
		if err != nil {
			return err
		}
		return writeChildren(ctx, tx, &record{Key: key}, &record{Key: key, Image: *img})
	}()
	if err != nil {
		return fmt.Errorf("create image: %w", err)
	}
	return nil
}

const updateImage = `
UPDATE images SET owner = ?, name = ?, visibility = ?, protected = ?, os_hidden = ?,
 container_format = ?, disk_format = ?, min_ram = ?, min_disk = ?, null_properties = ?, updated_at = ?,
 revision = revision + 1
WHERE id = ? AND revision = ? AND deleted_at = 0`

// errRevision says that another request changed the image since it was read.
var errRevision = errors.New("the image has changed")

// update writes what clients may change, if nobody else has changed the image since was
// was read; otherwise the error is errRevision.
func (s *Service) update(ctx context.Context, tx *schema.Tx, was, is *record) error {
	is.UpdatedAt = s.Clock.Now()
	ok, err := schema.Changed(tx.ExecContext(ctx, updateImage, nullable(is.Owner),
		sql.NullString{String: is.Name, Valid: !is.Unnamed}, is.Visibility, boolean(is.Protected),
		boolean(is.Hidden), nullable(is.ContainerFormat), nullable(is.DiskFormat), is.MinRAM,
		is.MinDisk, is.Null, is.UpdatedAt, was.Key, was.Revision))
	if err != nil {
		return err
	}
	if !ok {
		return errRevision
	}
	if was.Owner != is.Owner {
		err = moveUsage(ctx, tx, was, is.Owner)
		if err != nil {
			return err
		}
	}
	return writeChildren(ctx, tx, was, is)
}

const (
	deleteProperty = `DELETE FROM image_properties WHERE image_id = ? AND name = ?`
	insertProperty = `INSERT INTO image_properties (image_id, name, value) VALUES (?, ?, ?)`
	deleteTag      = `DELETE FROM image_tags WHERE image_id = ? AND tag = ?`
	insertTag      = `INSERT INTO image_tags (image_id, tag) VALUES (?, ?)`
)

// writeChildren brings properties and tags from what was to what is. Names that a database
// takes for one, such as "a" and "a " on MariaDB, are a 400 Fault.
func writeChildren(ctx context.Context, tx *schema.Tx, was, is *record) error {
	for name, value := range was.Properties {
		if v, ok := is.Properties[name]; ok && v == value {
			continue
		}
		_, err := tx.ExecContext(ctx, deleteProperty, was.Key, name)
		if err != nil {
			return err
		}
	}
	for name, value := range is.Properties {
		if v, ok := was.Properties[name]; ok && v == value {
			continue
		}
		_, err := tx.ExecContext(ctx, insertProperty, was.Key, name, value)
		if schema.Duplicate(err) {
			return compat.BadRequest("Duplicate property name: '%s'", clip(name))
		}
		if err != nil {
			return err
		}
	}
	for _, tag := range was.Tags {
		if slices.Contains(is.Tags, tag) {
			continue
		}
		_, err := tx.ExecContext(ctx, deleteTag, was.Key, tag)
		if err != nil {
			return err
		}
	}
	for _, tag := range is.Tags {
		if slices.Contains(was.Tags, tag) {
			continue
		}
		_, err := tx.ExecContext(ctx, insertTag, was.Key, tag)
		if schema.Duplicate(err) {
			return compat.BadRequest("Duplicate tag: '%s'", clip(tag))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// change reads an image, lets fn alter a copy, and writes the copy back. When another
// request was faster, it starts again, so fn may run more than once. fn's error ends it.
func (s *Service) change(ctx context.Context, c *compat.Caller, id string, fn func(*record) error) (*record, error) {
	for range 8 {
		var is *record
		err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
			was, err := s.see(ctx, tx, c, id)
			if err != nil {
				return err
			}
			is = was.clone()
			err = fn(is)
			if err != nil {
				return err
			}
			return s.update(ctx, tx, was, is)
		})
		if err == nil {
			return is, nil
		}
		if !errors.Is(err, errRevision) {
			return nil, err
		}
	}
	return nil, compat.Conflict("Image %s is being changed by other requests.", id)
}

const deleteImage = `
UPDATE images SET status = 'deleted', deleted_at = ?, updated_at = ?, revision = revision + 1,
 beat = CASE WHEN upload = '' THEN ? ELSE beat END,
 upload = CASE WHEN upload = '' THEN 'purge' ELSE upload END
WHERE id = ? AND revision = ? AND deleted_at = 0`

// remove deletes an image. Its bytes stay charged to the owner until they are gone; when
// an upload is running it is the upload that removes them, as soon as it notices.
func (s *Service) remove(ctx context.Context, c *compat.Caller, id string, may func(*record) error) error {
	for range 8 {
		var rec *record
		err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
			var err error
			rec, err = s.see(ctx, tx, c, id)
			if err != nil {
				return err
			}
			err = may(rec)
			if err != nil {
				return err
			}
			now := s.Clock.Now()
			ok, err := schema.Changed(tx.ExecContext(ctx, deleteImage, now, now, now, rec.Key, rec.Revision))
			if err != nil {
				return err
			}
			if !ok {
				return errRevision
			}
			for _, statement := range []string{
				`DELETE FROM image_properties WHERE image_id = ?`,
				`DELETE FROM image_tags WHERE image_id = ?`,
				`DELETE FROM image_members WHERE image_id = ?`,
			} {
				_, err = tx.ExecContext(ctx, statement, rec.Key)
				if err != nil {
					return err
				}
			}
			return dropImage(ctx, tx, rec.Owner)
		})
		if errors.Is(err, errRevision) {
			continue
		}
		if err != nil {
			return err
		}
		if rec.Upload == "" {
			err = s.purge(ctx, rec.Key)
			if err != nil {
				// The image is deleted; the keeper tries again to free its bytes.
				s.Log.WarnContext(ctx, "image data not removed yet", "image", id, "err", err)
			}
		}
		return nil
	}
	return compat.Conflict("Image %s is being changed by other requests.", id)
}
