package servers

import (
	"cmp"
	"net/http"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

type rebuildBody struct {
	Rebuild struct {
		ImageRef    string                       `json:"imageRef"`
		Name        *string                      `json:"name"`
		AdminPass   string                       `json:"adminPass"`
		Metadata    *map[string]string           `json:"metadata"`
		Personality []work.File                  `json:"personality"`
		AccessIPv4  *string                      `json:"accessIPv4"`
		AccessIPv6  *string                      `json:"accessIPv6"`
		DiskConfig  *string                      `json:"OS-DCF:diskConfig"`
		Description lifecycle.Optional[string]   `json:"description"`
		KeyName     lifecycle.Optional[string]   `json:"key_name"`
		UserData    lifecycle.Optional[string]   `json:"user_data"`
		Trusted     lifecycle.Optional[[]string] `json:"trusted_image_certificates"`
		Hostname    *string                      `json:"hostname"`
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
	err = lifecycle.Check(lifecycle.OpRebuild, v, r.Caller)
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
	to, err := s.rebuildAs(r, &body, img)
	if err != nil {
		return err
	}
	begun, err := s.Life.Act(r.Context(), r.Caller, v, lifecycle.OpRebuild, to)
	if err != nil {
		return err
	}
	fresh, err := lifecycle.Get(r.Context(), s.DB, begun.UUID)
	if err != nil {
		return err
	}
	w.Header().Set("Location", r.SelfURL("/servers/"+fresh.UUID))
	return s.answerOne(w, r, fresh, viewRebuild, to.AdminPass)
}

func (s *Service) rebuildImage(r *compat.Request, v *lifecycle.Server, ref string) (*bootImage, error) {
	img, err := s.bootImage(r, string(lastElement(ref)), "Cannot find image for rebuild")
	if err != nil {
		return nil, err
	}
	f := v.Flavor()
	err = img.fits(f.MemoryMB, f.RootGB)
	if err != nil {
		return nil, err
	}
	return img, lifecycle.CheckImageProperties(f, img.Image)
}

func lastElement(ref string) reference {
	var f reference
	_ = f.UnmarshalJSON([]byte(lifecycle.Encode(ref))) // a string always decodes
	return f
}

// rebuildAs is what the request asks for, with what it names looked up.
func (s *Service) rebuildAs(r *compat.Request, body *rebuildBody, img *bootImage) (*lifecycle.RebuildAs, error) {
	b := &body.Rebuild
	to := &lifecycle.RebuildAs{
		ImageID: img.ID, Image: img.guest, ConfigDrive: lifecycle.WantsConfigDrive(img.Properties), AdminPass: cmp.Or(b.AdminPass, lifecycle.NewPassword()),
		Name: b.Name, Hostname: b.Hostname, DiskConfig: b.DiskConfig, AccessIPv4: canonicalPtr(b.AccessIPv4), AccessIPv6: canonicalPtr(b.AccessIPv6),
		Metadata: b.Metadata, Files: b.Personality, Description: b.Description, UserData: b.UserData, Trusted: b.Trusted,
	}
	if b.Metadata != nil {
		err := s.checkMetadata(r, *b.Metadata)
		if err != nil {
			return nil, err
		}
	}
	to.Key.Sent = b.KeyName.Sent
	if b.KeyName.Value == nil {
		return to, nil
	}
	var err error
	to.Key.Value, err = s.key(r, of(r).UserID, *b.KeyName.Value)
	return to, err
}
