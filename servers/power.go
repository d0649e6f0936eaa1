package servers

import (
	"net/http"
	"strings"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

// simple makes the handler of an action whose request says nothing but its name.
func (s *Service) simple(op string) compat.Handler {
	return func(w http.ResponseWriter, r *compat.Request) error {
		_, err := s.Life.Act(r.Context(), r.Caller, of(r), op, nil)
		if err != nil {
			return err
		}
		return r.Answer(w, nil)
	}
}

func (s *Service) reboot(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Reboot struct {
			Type string `json:"type"`
		} `json:"reboot"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	op := lifecycle.OpRebootSoft
	if strings.EqualFold(body.Reboot.Type, "HARD") {
		op = lifecycle.OpRebootHard
	}
	return s.simple(op)(w, r)
}
