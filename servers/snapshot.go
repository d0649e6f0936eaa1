package servers

import (
	"net/http"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
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
	err = lifecycle.Check(lifecycle.OpCreateImage, v, r.Caller)
	if err != nil {
		return err
	}
	if checksImageQuota.Has(r.Version) {
		err = s.checkMetadata(r, body.CreateImage.Metadata)
		if err != nil {
			return err
		}
	}
	wanted := lifecycle.SnapshotWanted{ImageID: uuid.NewString(), Name: body.CreateImage.Name, Metadata: body.CreateImage.Metadata}
	_, err = s.Life.Act(r.Context(), r.Caller, v, lifecycle.OpCreateImage, wanted)
	if err != nil {
		return err
	}
	if answersImageID.Has(r.Version) {
		return r.Answer(w, map[string]string{"image_id": wanted.ImageID})
	}
	w.Header().Set("Location", r.SelfURL("/images/"+wanted.ImageID))
	return r.Answer(w, nil)
}

var (
	checksImageQuota = compat.Range{Min: compat.MinVersion, Max: 38}
	answersImageID   = compat.Range{Min: 45, Max: compat.MaxVersion}
)
