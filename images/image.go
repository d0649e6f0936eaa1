package images

import (
	"maps"
	"slices"

	"kilonova/compat"
	"kilonova/diskformat"
	"kilonova/schema"
	"kilonova/work"
)

// The states of an image.
const (
	Queued      = "queued"    // no data yet
	Saving      = "saving"    // data comes in
	Uploading   = "uploading" // data is staged, or comes in to be staged
	Importing   = "importing" // staged data is inspected
	Active      = "active"    // can be read; its bytes never change again
	Deactivated = "deactivated"
	Deleted     = "deleted"
)

// Who sees an image.
const (
	Public    = "public"
	Community = "community" // everybody by id, nobody else's lists
	Shared    = "shared"    // the owner and the members
	Private   = "private"
)

// Image is what clients see of an image. Empty strings stand for null, but for Name.
type Image struct {
	ID              string        `db:"uuid"`
	Owner           string        `db:"owner"` // project
	Name            string        `db:"name"`
	Unnamed         bool          `db:"unnamed"` // the name is null
	Status          string        `db:"status"`
	Visibility      string        `db:"visibility"`
	Protected       bool          `db:"protected"`
	Hidden          bool          `db:"os_hidden"`
	ContainerFormat string        `db:"container_format"`
	DiskFormat      string        `db:"disk_format"`
	MinRAM          int64         `db:"min_ram"`      // MiB
	MinDisk         int64         `db:"min_disk"`     // GiB
	Size            int64         `db:"size"`         // bytes; null without a checksum
	VirtualSize     int64         `db:"virtual_size"` // bytes; 0 is unknown
	Checksum        string        `db:"checksum"`     // md5
	SHA512          string        `db:"hash_value"`
	Failure         string        `db:"failure"` // why the last upload or import failed
	CreatedAt       schema.Micros `db:"created_at"`
	UpdatedAt       schema.Micros `db:"updated_at"`

	Properties map[string]string `db:"-"`
	Null       names             `db:"null_properties"` // properties that are null
	Tags       []string          `db:"-"`
}

// record is an image with what no client sees.
type record struct {
	Image
	Key      int64         `db:"id"`
	DataFile string        `db:"data_file"`
	Staged   string        `db:"staged_file"`
	Upload   string        `db:"upload"`
	Beat     schema.Micros `db:"beat"`
	Charged  int64         `db:"charged"`
	Revision int64         `db:"revision"`
}

func (r *record) clone() *record {
	c := *r
	c.Properties = maps.Clone(r.Properties)
	c.Tags = slices.Clone(r.Tags)
	return &c
}

// HasData reports whether the image's bytes are there.
func (i *Image) HasData() bool { return i.Checksum != "" }

// Guest gives the image as a host needs it, without the source to read it from. There is
// no other way from an image to a disk, so this is where images are refused that no guest
// boots from, with a 400 Fault in the compute API's words: those that are not active, in a
// container, kernels and ramdisks, of a format that hosts do not take, or encrypted with a
// volume's key.
func (i *Image) Guest() (work.Image, error) {
	if i.Status != Active {
		return work.Image{}, compat.BadRequest("Image %s is not active.", i.ID)
	}
	err := diskformat.Boots(i.DiskFormat, i.ContainerFormat)
	if err != nil {
		return work.Image{}, compat.BadRequest("Image %s is unacceptable: %s", i.ID, err)
	}
	if i.Properties["cinder_encryption_key_id"] != "" {
		return work.Image{}, compat.BadRequest("Image %s is unacceptable: Direct booting of an image uploaded from an encrypted volume is unsupported.", i.ID)
	}
	return work.Image{
		ID: i.ID, Name: i.Name, DiskFormat: diskformat.OnHost(i.DiskFormat), Container: i.ContainerFormat,
		Size: i.Size, VirtualSize: i.VirtualSize, SHA512: i.SHA512, MinDiskGB: int(i.MinDisk),
		Properties: maps.Clone(i.Properties),
	}, nil
}
