package servers

import (
	"cmp"
	"encoding/json"
	"maps"
	"net/http"

	"kilonova/compat"
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
	begun, err := s.begin(r.Context(), r.Caller, v, opRebuild, &rebuildAs{body: &body, set: set, image: img, password: password})
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

// rebuildAs is a rebuild request that has been found good.
type rebuildAs struct {
	body     *rebuildBody
	set      change
	image    *bootImage
	password string
}

func prepareRebuild(b *beginning) (*work.Args, error) {
	to := b.input.(*rebuildAs)
	args, err := b.withTimeout(b.s.ShutdownTimeout)
	if err != nil {
		return nil, err
	}
	maps.Copy(b.set, to.set)
	b.set["image_id"], b.set["image_meta"] = to.image.ID, encode(to.image.guest)
	if wantsConfigDrive(to.image.Properties) {
		b.set["config_drive"] = true
	}
	old := args.Guest
	args.Old, args.PowerOn = &old, b.v.VMState != Stopped
	g := &args.Guest
	g.Image = to.image.guest
	applyRebuild(g, to.body, b.set)
	b.s.withSource(g)
	g.AdminPass = to.password
	return args, nil
}

// settleRebuild leaves a server that was stopped so.
func settleRebuild(x *settling) error {
	if x.ok && x.f.VMState == Stopped {
		x.set["vm_state"] = Stopped
	}
	return nil
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
func applyRebuild(g *work.Guest, body *rebuildBody, set change) {
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
