package servers

import (
	"net/http"
	"slices"

	"kilonova/compat"
	"kilonova/images"
	"kilonova/work"
)

// createImage makes a snapshot: the image exists at once, queued, and the host fills it.
func (s *Service) createImage(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		CreateImage struct {
			Name     string            `json:"name"`
			Metadata map[string]string `json:"metadata"`
		} `json:"createImage"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	v := of(r)
	err = transitions[opCreateImage].Check(v, r.Caller)
	if err != nil {
		return err
	}
	if checksImageQuota.Has(r.Version) {
		err = s.checkMetadata(r, body.CreateImage.Metadata)
		if err != nil {
			return err
		}
	}
	wanted := &snapshotWanted{name: body.CreateImage.Name, metadata: body.CreateImage.Metadata}
	_, err = s.begin(r.Context(), r.Caller, v, opCreateImage, wanted)
	if err != nil {
		return err
	}
	if answersImageID.Has(r.Version) {
		return r.Answer(w, map[string]string{"image_id": wanted.image.ID})
	}
	w.Header().Set("Location", r.SelfURL("/images/"+wanted.image.ID))
	return r.Answer(w, nil)
}

// snapshotWanted is what a snapshot is asked to be, and then its image.
type snapshotWanted struct {
	name     string
	metadata map[string]string
	image    *images.Image
}

func prepareSnapshot(b *beginning) (*work.Args, error) {
	args, err := prepareGuest(b)
	if err != nil {
		return nil, err
	}
	wanted := b.input.(*snapshotWanted)
	// With the work that fills it or not at all: nothing would end an image alone.
	wanted.image, err = b.s.Images.CreateSnapshot(b.ctx, b.tx, b.caller, b.s.snapshotOf(b.v, wanted.name, wanted.metadata))
	if err != nil {
		return nil, err
	}
	args.Upload = &work.Transfer{ImageID: wanted.image.ID}
	return args, nil
}

var (
	checksImageQuota = compat.Range{Min: compat.MinVersion, Max: 38}
	answersImageID   = compat.Range{Min: 45, Max: compat.MaxVersion}
)

// inherited says which properties of the image that a server was booted from its
// snapshots carry on.
func inherited(name string) bool {
	return !slices.Contains([]string{"instance_uuid", "user_id", "image_type", "base_image_ref", "boot_roles",
		"owner_user_name", "owner_project_name", "backup_type", "owner_specified.openstack.md5",
		"owner_specified.openstack.sha256", "owner_specified.openstack.object"}, name)
}

func (s *Service) snapshotOf(v *Server, name string, metadata map[string]string) images.Snapshot {
	var base work.Image
	decode(v.ImageMeta, &base)
	properties := map[string]string{}
	for k, val := range base.Properties {
		if inherited(k) {
			properties[k] = val
		}
	}
	properties["image_type"] = "snapshot"
	for k, val := range metadata {
		properties[k] = val
	}
	properties["instance_uuid"] = v.UUID
	properties["user_id"] = v.UserID
	return images.Snapshot{Name: name, Properties: properties, DiskFormat: "qcow2", ContainerFormat: "bare",
		MinDisk: int64(max(base.MinDiskGB, v.RootGB)), BaseImageID: v.ImageID}
}
