package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

func (s *Service) delete(w http.ResponseWriter, r *compat.Request) error {
	return s.destroy(w, r, lifecycle.OpDelete)
}

func (s *Service) forceDelete(w http.ResponseWriter, r *compat.Request) error {
	return s.destroy(w, r, lifecycle.OpForceDelete)
}

// destroy deletes a server. One without a host is gone at once; so is one whose host is
// down: the host clears up when it comes back and finds a guest that is none of its own.
func (s *Service) destroy(w http.ResponseWriter, r *compat.Request, op string) error {
	err := s.Life.End(r.Context(), r.Caller, of(r), op)
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
