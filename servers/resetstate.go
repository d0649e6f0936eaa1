package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

// resetState sets vm_state to active or error, whatever goes on: the generation moves, so
// that work which is still under way no longer counts.
func (s *Service) resetState(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Reset struct {
			State string `json:"state"`
		} `json:"os-resetState"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	_, err = s.Life.Act(r.Context(), r.Caller, of(r), lifecycle.OpResetState, lifecycle.VMState(body.Reset.State))
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
