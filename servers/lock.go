package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

const (
	lockOwner          = "owner"
	lockAdmin          = "admin"
	ruleUnlockOverride = "os_compute_api:os-lock-server:unlock:unlock_override"
)

func (s *Service) lock(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Lock *struct {
			Reason *string `json:"locked_reason"`
		} `json:"lock"`
	}
	if knowsLocked.Has(r.Version) { // before, whatever stands there says nothing
		err := r.Decode(&body)
		if err != nil {
			return err
		}
	}
	v := of(r)
	owner := r.Caller.ProjectID == v.ProjectID
	if v.LockedBy != nil && owner {
		return r.Answer(w, nil)
	}
	by := lockAdmin
	if owner {
		by = lockOwner
	}
	held := lifecycle.LockedBy{By: by}
	if body.Lock != nil {
		held.Reason = body.Lock.Reason
	}
	_, err := s.Life.Act(r.Context(), r.Caller, v, lifecycle.OpLock, held)
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

func (s *Service) unlock(w http.ResponseWriter, r *compat.Request) error {
	v := of(r)
	if v.LockedBy != nil && *v.LockedBy == lockAdmin && r.Caller.ProjectID == v.ProjectID || v.LockedBy != nil && r.Caller.ProjectID != v.ProjectID && *v.LockedBy == lockOwner {
		err := r.Require(ruleUnlockOverride)
		if err != nil {
			return err
		}
	}
	_, err := s.Life.Act(r.Context(), r.Caller, v, lifecycle.OpUnlock, nil)
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
