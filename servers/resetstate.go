package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/work"
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
	_, err = s.begin(r.Context(), r.Caller, of(r), opResetState, VMState(body.Reset.State))
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

// prepareReset takes the vm_state. A resize that was under way is over: the server keeps
// the flavor that it shows.
func prepareReset(b *beginning) (*work.Args, error) {
	b.set["vm_state"], b.set["task_state"] = b.input.(VMState), nil
	m, err := migrationOf(b.ctx, b.tx, b.v)
	if err != nil || m == nil {
		return nil, err
	}
	return nil, b.s.endMigration(b.ctx, b.tx, b.v, m, failedMigration, b.v.Flavor(), b.set)
}
