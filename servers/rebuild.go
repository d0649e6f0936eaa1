package servers

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"

	"kilonova/compat"
	"kilonova/images"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/work"
)

// optional tells a field that was not sent from one that is null.
type optional[T any] struct {
	sent  bool
	value *T
}

// UnmarshalJSON is called only for fields that were sent.
func (o *optional[T]) UnmarshalJSON(raw []byte) error {
	o.sent = true
	if string(raw) == "null" {
		return nil
	}
	o.value = new(T)
	return json.Unmarshal(raw, o.value)
}

// into puts a sent value into the row's changes under its column.
func (o optional[T]) into(set change, column string) {
	if o.sent {
		set[column] = o.value
	}
}

type rebuildBody struct {
	Rebuild struct {
		ImageRef    string             `json:"imageRef"`
		Name        *string            `json:"name"`
		AdminPass   string             `json:"adminPass"`
		Metadata    *map[string]string `json:"metadata"`
		Personality []work.File        `json:"personality"`
		AccessIPv4  *string            `json:"accessIPv4"`
		AccessIPv6  *string            `json:"accessIPv6"`
		DiskConfig  *string            `json:"OS-DCF:diskConfig"`
		Description optional[string]   `json:"description"`
		KeyName     optional[string]   `json:"key_name"`
		UserData    optional[string]   `json:"user_data"`
		Trusted     optional[[]string] `json:"trusted_image_certificates"`
		Hostname    *string            `json:"hostname"`
	} `json:"rebuild"`
}

// rebuild puts a new system on the server's disk. It makes the same checks of the image
// as create does (OSSA-2017-005), and takes no capacity beside what the server holds.
func (s *Service) rebuild(w http.ResponseWriter, r *compat.Request) error {
	var body rebuildBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	b := &body.Rebuild
	v := of(r)
	err = transitions[opRebuild].Check(v, r.Caller)
	if err != nil {
		return err
	}
	img, err := s.rebuildImage(r, v, b.ImageRef)
	if err != nil {
		return err
	}
	err = s.checkFiles(r, b.Personality)
	if err != nil {
		return err
	}
	set, err := s.rebuildChanges(r, &body)
	if err != nil {
		return err
	}
	password := cmp.Or(b.AdminPass, newPassword())
	begun, err := s.begin(r.Context(), r.Caller, v, opRebuild, func(tx *schema.Tx, v *Server, c change) (*work.Args, error) {
		old, err := s.guest(r.Context(), tx, v)
		if err != nil {
			return nil, err
		}
		for col, val := range set {
			c[col] = val
		}
		before := work.Image{}
		decode(v.ImageMeta, &before)
		c["old_state"] = encode(oldState{VMState: v.VMState, Image: &before})
		c["image_id"], c["image_meta"] = img.ID, encode(img.guest)
		if wantsConfigDrive(img.Properties) {
			c["config_drive"] = true
		}
		g := *old
		g.Image = img.guest
		s.applyRebuild(&g, &body, c)
		s.withSource(&g)
		g.AdminPass = password
		return &work.Args{Guest: g, Old: old, PowerOn: v.VMState != Stopped, ShutdownTimeout: int(s.ShutdownTimeout.Seconds())}, nil
	})
	if err != nil {
		return err
	}
	fresh, err := get(r.Context(), s.DB, begun.UUID)
	if err != nil {
		return err
	}
	w.Header().Set("Location", r.SelfURL("/servers/"+fresh.UUID))
	return s.answerOne(w, r, fresh, viewRebuild, password)
}

func (s *Service) rebuildImage(r *compat.Request, v *Server, ref string) (*bootImage, error) {
	img, err := s.bootImage(r, string(lastElement(ref)), "Cannot find image for rebuild")
	if err != nil {
		return nil, err
	}
	f := v.Flavor()
	err = img.fits(f.MemoryMB, f.RootGB)
	if err != nil {
		return nil, err
	}
	return img, checkImageProperties(f, img.Image)
}

func lastElement(ref string) reference {
	var f reference
	_ = f.UnmarshalJSON([]byte(encode(ref))) // a string always decodes
	return f
}

// rebuildChanges are the columns that the request sets.
func (s *Service) rebuildChanges(r *compat.Request, body *rebuildBody) (change, error) {
	b := &body.Rebuild
	set := change{}
	if b.Name != nil {
		set["name"] = *b.Name
	}
	if b.AccessIPv4 != nil {
		set["access_ip_v4"] = canonical(*b.AccessIPv4)
	}
	if b.AccessIPv6 != nil {
		set["access_ip_v6"] = canonical(*b.AccessIPv6)
	}
	if b.DiskConfig != nil {
		set["disk_config"] = *b.DiskConfig
	}
	if b.Hostname != nil {
		set["hostname"] = *b.Hostname
	}
	if b.Metadata != nil {
		err := s.checkMetadata(r, *b.Metadata)
		if err != nil {
			return nil, err
		}
		set["metadata"] = encode(orEmpty(*b.Metadata))
	}
	if b.Personality != nil {
		set["files"] = encode(b.Personality)
	}
	b.Description.into(set, "description")
	b.UserData.into(set, "user_data")
	if b.Trusted.sent {
		set["trusted_certs"] = nil
		if b.Trusted.value != nil {
			set["trusted_certs"] = encode(*b.Trusted.value)
		}
	}
	if b.KeyName.sent {
		set["key_name"], set["key_data"] = nil, nil
		if b.KeyName.value != nil {
			k, err := s.Keypairs.Get(r.Context(), of(r).UserID, *b.KeyName.value)
			if compat.IsNotFound(err) {
				return nil, compat.BadRequest("Invalid key_name provided.")
			}
			if err != nil {
				return nil, err
			}
			set["key_name"], set["key_data"] = k.Name, encode(work.Key{Name: k.Name, Type: k.Type, PublicKey: k.PublicKey})
		}
	}
	return set, nil
}

// applyRebuild gives the host's picture of the guest the same changes as the row.
func (s *Service) applyRebuild(g *work.Guest, body *rebuildBody, set change) {
	b := &body.Rebuild
	if b.Name != nil {
		g.Name = *b.Name
	}
	if b.Hostname != nil {
		g.Hostname = *b.Hostname
	}
	if b.Metadata != nil {
		g.Metadata = *b.Metadata
	}
	if b.Personality != nil {
		g.Files = b.Personality
	}
	if b.UserData.sent {
		g.UserData = ""
		if b.UserData.value != nil {
			g.UserData = *b.UserData.value
		}
	}
	if b.KeyName.sent {
		g.Key = nil
		if data, ok := set["key_data"].(string); ok {
			g.Key = &work.Key{}
			decode(data, g.Key)
		}
	}
}

// resize gives the server another flavor on its host. The claim and the quota grow to the
// larger of both flavors at once and shrink when the resize is confirmed or reverted.
func (s *Service) resize(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Resize struct {
			FlavorRef  reference `json:"flavorRef"`
			DiskConfig *string   `json:"OS-DCF:diskConfig"`
		} `json:"resize"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	v := of(r)
	err = transitions[opResize].Check(v, r.Caller)
	if err != nil {
		return err
	}
	f, err := s.Flavors.Get(r.Context(), r.Caller, string(body.Resize.FlavorRef))
	if compat.IsNotFound(err) || err == nil && f.Disabled {
		return compat.BadRequest("Flavor %.255s could not be found.", string(body.Resize.FlavorRef))
	}
	if err != nil {
		return err
	}
	if f.FlavorID == v.FlavorID {
		return compat.BadRequest("When resizing, instances must change flavor!")
	}
	if f.RootGB == 0 && v.RootGB > 0 {
		return compat.BadRequest("Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.")
	}
	var image work.Image
	decode(v.ImageMeta, &image)
	err = meet(f.Work(), image.ID, presentProperties(image.Properties))
	if err != nil {
		return err
	}
	answers, err := s.hostAnswers(r.Context(), v)
	if err != nil {
		return err
	}
	if !answers {
		return compat.Conflict("Compute service of %s is unavailable at this time.", v.UUID)
	}
	_, err = s.begin(r.Context(), r.Caller, v, opResize, func(tx *schema.Tx, v *Server, set change) (*work.Args, error) {
		if body.Resize.DiskConfig != nil {
			set["disk_config"] = *body.Resize.DiskConfig
		}
		return s.prepareResize(r, tx, v, f.Work(), set)
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

func (s *Service) prepareResize(r *compat.Request, tx *schema.Tx, v *Server, to work.Flavor, set change) (*work.Args, error) {
	from := v.Flavor()
	more := larger(needOf(from), needOf(to)).Minus(needOf(from))
	extra := quotas.Delta{Cores: max(to.VCPUs-from.VCPUs, 0), RAM: max(to.MemoryMB-from.MemoryMB, 0)}
	err := s.Quotas.Take(r.Context(), tx, v.ProjectID, v.UserID, extra)
	if err != nil {
		return nil, err
	}
	ok, err := s.Hosts.Grow(r.Context(), tx, v.HostName(), more)
	if err != nil {
		return nil, err
	}
	if !ok {
		err = s.Quotas.Give(r.Context(), tx, v.ProjectID, v.UserID, extra)
		if err != nil {
			return nil, err
		}
		return nil, errNoRoom
	}
	set["old_state"] = encode(oldState{VMState: v.VMState, Old: &from, New: &to})
	old, err := s.guest(r.Context(), tx, v)
	if err != nil {
		return nil, err
	}
	g := *old
	g.Flavor = to
	return &work.Args{Guest: g, Old: old, PowerOn: v.VMState == Active, ShutdownTimeout: int(s.ShutdownTimeout.Seconds())}, nil
}

// quota is what the server counts for in its project now: in a resize the larger of both
// flavors.
func (v *Server) quota() quotas.Delta {
	d := quotas.Delta{Instances: 1, Cores: v.VCPUs, RAM: v.MemoryMB}
	o := v.before()
	if o.Old != nil && o.New != nil {
		d.Cores, d.RAM = max(o.Old.VCPUs, o.New.VCPUs), max(o.Old.MemoryMB, o.New.MemoryMB)
	}
	return d
}

func (s *Service) confirmResize(w http.ResponseWriter, r *compat.Request) error {
	_, err := s.begin(r.Context(), r.Caller, of(r), opConfirm, func(tx *schema.Tx, v *Server, set change) (*work.Args, error) {
		o := v.before()
		if o.Old == nil || o.Confirming {
			return nil, compat.BadRequest("Instance has not been resized.")
		}
		// The state stays "resized" while the host clears up, so this keeps a second
		// confirmation and a late revert away.
		o.Confirming = true
		set["old_state"] = encode(o)
		g, err := s.guest(r.Context(), tx, v)
		if err != nil {
			return nil, err
		}
		return &work.Args{Guest: *g}, nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

func (s *Service) revertResize(w http.ResponseWriter, r *compat.Request) error {
	_, err := s.begin(r.Context(), r.Caller, of(r), opRevert, func(tx *schema.Tx, v *Server, _ change) (*work.Args, error) {
		o := v.before()
		if o.Old == nil || o.Confirming {
			return nil, compat.BadRequest("Instance has not been resized.")
		}
		now, err := s.guest(r.Context(), tx, v)
		if err != nil {
			return nil, err
		}
		g := *now
		g.Flavor = *o.Old
		return &work.Args{Guest: g, Old: now, PowerOn: o.VMState != Stopped}, nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

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
	var img *images.Image
	_, err = s.begin(r.Context(), r.Caller, v, opCreateImage, func(tx *schema.Tx, v *Server, _ change) (*work.Args, error) {
		g, err := s.guest(r.Context(), tx, v)
		if err != nil {
			return nil, err
		}
		// With the work that fills it or not at all: nothing would end an image alone.
		img, err = s.Images.CreateSnapshot(r.Context(), tx, r.Caller, s.snapshotOf(v, body.CreateImage.Name, body.CreateImage.Metadata))
		if err != nil {
			return nil, err
		}
		return &work.Args{Guest: *g, Upload: &work.Transfer{ImageID: img.ID}}, nil
	})
	if err != nil {
		return err
	}
	if answersImageID.Has(r.Version) {
		return r.Answer(w, map[string]string{"image_id": img.ID})
	}
	w.Header().Set("Location", r.SelfURL("/images/"+img.ID))
	return r.Answer(w, nil)
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
