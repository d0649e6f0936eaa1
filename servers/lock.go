package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/work"
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
	held := lockedBy{by: by}
	if body.Lock != nil {
		held.reason = body.Lock.Reason
	}
	_, err := s.begin(r.Context(), r.Caller, v, opLock, held)
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
	_, err := s.begin(r.Context(), r.Caller, v, opUnlock, nil)
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

// lockedBy is who locks a server, and why.
type lockedBy struct {
	by     string
	reason *string
}

func prepareLock(b *beginning) (*work.Args, error) {
	held := b.input.(lockedBy)
	b.set["locked_by"], b.set["locked_reason"] = held.by, held.reason
	return nil, nil
}

func prepareUnlock(b *beginning) (*work.Args, error) {
	b.set["locked_by"], b.set["locked_reason"] = nil, nil
	return nil, nil
}
