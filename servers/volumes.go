package servers

import (
	"net/http"

	"kilonova/compat"
)

// There is no volume service: no server has a volume attached, which is an answer of its
// own and not the lack of one.

func (s *Service) attachmentsIndex(w http.ResponseWriter, r *compat.Request) error {
	return r.Answer(w, map[string]any{"volumeAttachments": []any{}})
}

func (s *Service) attachmentsShow(_ http.ResponseWriter, r *compat.Request) error {
	return compat.NotFound("Instance %s is not attached to volume %s", of(r).UUID, r.Var("volume_id"))
}
