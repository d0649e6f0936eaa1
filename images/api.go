package images

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/schema"
)

// Get gives an image as the caller sees it, or the 404 Fault of the compute API.
func (s *Service) Get(ctx context.Context, c *compat.Caller, id string) (*Image, error) {
	rec, err := s.see(ctx, s.DB, c, id)
	if compat.IsNotFound(err) {
		return nil, compat.NotFound("Image %s could not be found.", clip(id))
	}
	if err != nil {
		return nil, err
	}
	return &rec.Image, nil
}

// Names gives the names of images that exist, by id, whoever may see them: they go into
// views of servers that were made from them.
func (s *Service) Names(ctx context.Context, ids []string) (map[string]string, error) {
	names := map[string]string{}
	if len(ids) == 0 {
		return names, nil
	}
	var rows []struct {
		ID   string `db:"uuid"`
		Name string `db:"name"`
	}
	err := selectIn(ctx, s.DB, &rows, `SELECT uuid, COALESCE(name, '') AS name FROM images WHERE deleted_at = 0 AND uuid IN (?)`, ids)
	if err != nil {
		return nil, fmt.Errorf("read image names: %w", err)
	}
	for _, row := range rows {
		names[row.ID] = row.Name
	}
	return names, nil
}

// Snapshot is an image that is to be made of a server.
type Snapshot struct {
	ID              string // "" for a new one
	Name            string
	Properties      map[string]string
	DiskFormat      string // "" and ContainerFormat "": qcow2, bare
	ContainerFormat string
	MinDisk         int64  // GiB
	MinRAM          int64  // MiB
	Visibility      string // "": private, as Nova makes its snapshots
	// BaseImageID becomes the property base_image_ref.
	BaseImageID string
	// Empty makes the image active at once, without data: the image of a server whose
	// disks are volumes is its properties alone.
	Empty bool
}

// The hashes of no bytes at all.
const (
	emptyMD5    = "d41d8cd98f00b204e9800998ecf8427e"
	emptySHA512 = "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e"
)

// CreateSnapshot makes a queued image that the caller's project owns, in the transaction of
// what will fill it; a host then writes
// its data with a WriteTransfer. Properties whose names mean something else to the image
// service are left out. It returns a 413 Fault when the project has its fill of images.
func (s *Service) CreateSnapshot(ctx context.Context, tx *schema.Tx, c *compat.Caller, snap Snapshot) (*Image, error) {
	if c.ProjectID == "" {
		return nil, compat.Forbidden("A snapshot needs a project that owns it.")
	}
	img := &Image{
		ID: snap.ID, Owner: c.ProjectID, Name: snap.Name, Status: Queued, Visibility: snap.Visibility,
		DiskFormat: snap.DiskFormat, ContainerFormat: snap.ContainerFormat, MinDisk: snap.MinDisk,
		MinRAM: snap.MinRAM, Properties: map[string]string{}, Tags: []string{},
	}
	if img.ID == "" {
		img.ID = uuid.NewString()
	}
	if img.Visibility == "" {
		img.Visibility = Private
	}
	if img.DiskFormat == "" {
		img.DiskFormat = "qcow2"
	}
	if img.ContainerFormat == "" {
		img.ContainerFormat = "bare"
	}
	if snap.Empty {
		img.Status, img.Checksum, img.SHA512 = Active, emptyMD5, emptySHA512
	}
	if !clean(img.Name) || utf8.RuneCountInString(img.Name) > 255 {
		return nil, compat.BadRequest("Invalid image name.")
	}
	for name, value := range snap.Properties {
		if _, base := attributes[name]; base || forbidden(name) != nil {
			continue
		}
		err := setProperty(img, name, value)
		if err != nil {
			return nil, err
		}
	}
	if snap.BaseImageID != "" {
		img.Properties["base_image_ref"] = snap.BaseImageID
	}
	err := s.insertIn(ctx, tx, img)
	if err != nil {
		return nil, err
	}
	return img, nil
}

// Fail ends a snapshot that came to nothing: the image is deleted, as Nova deletes it,
// whatever of it has arrived. An image that is active already stays.
func (s *Service) Fail(ctx context.Context, id, reason string) error {
	err := s.remove(ctx, &compat.Caller{Roles: []string{"admin"}}, id, func(rec *record) error {
		if rec.HasData() {
			return errHasData
		}
		return nil
	})
	if errors.Is(err, errHasData) || compat.IsNotFound(err) {
		return nil
	}
	if err == nil {
		s.Log.InfoContext(ctx, "snapshot failed", "image", id, "reason", reason)
	}
	return err
}

var errHasData = errors.New("the image has its data")

// Delete removes an image that the caller owns. It returns a 404 Fault for one that the
// caller does not see, a 403 Fault for a stranger's or a protected one.
func (s *Service) Delete(ctx context.Context, c *compat.Caller, id string) error {
	err := s.remove(ctx, c, id, func(rec *record) error {
		err := require("delete_image", c, &rec.Image, "")
		if err != nil {
			return err
		}
		return mayDelete(rec)
	})
	if compat.IsNotFound(err) {
		return compat.NotFound("Image %s could not be found.", clip(id))
	}
	return err
}

// Find gives the images of a project whose properties have all the given values, newest
// first: the backups of a server, for their rotation.
func (s *Service) Find(ctx context.Context, projectID string, properties map[string]string) ([]*Image, error) {
	var args []any
	var sb strings.Builder
	sb.WriteString("SELECT " + columns + " FROM images i WHERE i.deleted_at = 0 AND i.owner = ?")
	args = append(args, projectID)
	for name, value := range properties {
		sb.WriteString(" AND EXISTS (SELECT 1 FROM image_properties p WHERE p.image_id = i.id AND p.name = ? AND p.value = ?)")
		args = append(args, name, value)
	}
	sb.WriteString(" ORDER BY i.created_at DESC, i.id DESC LIMIT 1000")
	var recs []*record
	err := s.DB.SelectContext(ctx, &recs, sb.String(), args...)
	if err == nil {
		err = loadChildren(ctx, s.DB, recs)
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, fmt.Errorf("find images: %w", err)
	}
	images := make([]*Image, len(recs))
	for i, rec := range recs {
		images[i] = &rec.Image
	}
	return images, nil
}
