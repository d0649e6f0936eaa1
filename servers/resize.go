package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

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
	err = lifecycle.Check(lifecycle.OpResize, v, r.Caller)
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
	lifecycle.Decode(v.ImageMeta, &image)
	err = lifecycle.Meet(f.Work(), image.ID, lifecycle.PresentProperties(image.Properties))
	if err != nil {
		return err
	}
	answers, err := s.Life.HostAnswers(r.Context(), v)
	if err != nil {
		return err
	}
	if !answers {
		return compat.Conflict("Compute service of %s is unavailable at this time.", v.UUID)
	}
	_, err = s.Life.Act(r.Context(), r.Caller, v, lifecycle.OpResize, lifecycle.ResizeTo{Flavor: f.Work(), DiskConfig: body.Resize.DiskConfig})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

func (s *Service) confirmResize(w http.ResponseWriter, r *compat.Request) error {
	return s.simple(lifecycle.OpConfirm)(w, r)
}

func (s *Service) revertResize(w http.ResponseWriter, r *compat.Request) error {
	return s.simple(lifecycle.OpRevert)(w, r)
}
