package lifecycle

import (
	"slices"

	"kilonova/images"
	"kilonova/work"
)

// SnapshotWanted is what a snapshot is asked to be. Its image's id is chosen before the
// transaction: every attempt makes the same image.
type SnapshotWanted struct {
	ImageID  string
	Name     string
	Metadata map[string]string
}

func prepareSnapshot(b *beginning) (*work.Args, error) {
	args, err := prepareGuest(b)
	if err != nil {
		return nil, err
	}
	wanted := b.input.(SnapshotWanted)
	// With the work that fills it or not at all: nothing would end an image alone.
	img, err := b.s.Images.CreateSnapshot(b.ctx, b.tx, b.caller, snapshotOf(b.v, wanted))
	if err != nil {
		return nil, err
	}
	args.Upload = &work.Transfer{ImageID: img.ID}
	return args, nil
}

// inherited says which properties of the image that a server was booted from its
// snapshots carry on.
func inherited(name string) bool {
	return !slices.Contains([]string{"instance_uuid", "user_id", "image_type", "base_image_ref", "boot_roles",
		"owner_user_name", "owner_project_name", "backup_type", "owner_specified.openstack.md5",
		"owner_specified.openstack.sha256", "owner_specified.openstack.object"}, name)
}

func snapshotOf(v *Server, wanted SnapshotWanted) images.Snapshot {
	var base work.Image
	Decode(v.ImageMeta, &base)
	properties := map[string]string{}
	for k, val := range base.Properties {
		if inherited(k) {
			properties[k] = val
		}
	}
	properties["image_type"] = "snapshot"
	for k, val := range wanted.Metadata {
		properties[k] = val
	}
	properties["instance_uuid"] = v.UUID
	properties["user_id"] = v.UserID
	return images.Snapshot{ID: wanted.ImageID, Name: wanted.Name, Properties: properties, DiskFormat: "qcow2", ContainerFormat: "bare",
		MinDisk: int64(max(base.MinDiskGB, v.RootGB)), BaseImageID: v.ImageID}
}
