package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

func (s *Service) changePassword(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Change struct {
			AdminPass string `json:"adminPass"`
		} `json:"changePassword"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	_, err = s.Life.Act(r.Context(), r.Caller, of(r), lifecycle.OpPassword, body.Change.AdminPass)
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
