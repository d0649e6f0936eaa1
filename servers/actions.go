package servers

import (
	"context"
	"errors"
	"net/http"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/work"
)

// simple makes the handler of an action that needs nothing but the state table and the
// guest: start, stop, pause and their kind.
func (s *Service) simple(op string) compat.Handler {
	return func(w http.ResponseWriter, r *compat.Request) error {
		_, err := s.begin(r.Context(), r.Caller, of(r), op, s.withTimeout(r.Context(), s.ShutdownTimeout.Seconds()))
		if err != nil {
			return err
		}
		return r.Answer(w, nil)
	}
}

// withTimeout prepares work that may have to shut the guest down.
func (s *Service) withTimeout(ctx context.Context, seconds float64) func(*schema.Tx, *Server, change) (*work.Args, error) {
	return func(tx *schema.Tx, v *Server, _ change) (*work.Args, error) {
		g, err := s.guest(ctx, tx, v)
		if err != nil {
			return nil, err
		}
		return &work.Args{Guest: *g, ShutdownTimeout: int(seconds)}, nil
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
	op := opRebootSoft
	if body.Reboot.Type == "HARD" || body.Reboot.Type == "hard" || body.Reboot.Type == "Hard" {
		op = opRebootHard
	}
	_, err = s.begin(r.Context(), r.Caller, of(r), op, s.withTimeout(r.Context(), softRebootTimeout.Seconds()))
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

func (s *Service) delete(w http.ResponseWriter, r *compat.Request) error {
	return s.destroy(w, r, opDelete)
}

func (s *Service) forceDelete(w http.ResponseWriter, r *compat.Request) error {
	return s.destroy(w, r, opForceDelete)
}

// destroy deletes a server. One without a host is gone at once; so is one whose host is
// down: the host clears up when it comes back and finds a guest that is none of its own.
func (s *Service) destroy(w http.ResponseWriter, r *compat.Request, op string) error {
	err := s.end(r.Context(), r.Caller, of(r), op)
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

// end deletes a server, by its host where there is one that answers. A server that is being
// deleted is left alone. When somebody acted on the server meanwhile all is decided again:
// it may have got a host, lost it, or be deleted.
func (s *Service) end(ctx context.Context, c *compat.Caller, v *Server, op string) error {
	for {
		err := s.endOnce(ctx, c, v, op)
		if !errors.Is(err, errLostRace) {
			return err
		}
		v, err = get(ctx, s.DB, v.UUID)
		if err != nil || v == nil || v.Deleted {
			return err
		}
	}
}

func (s *Service) endOnce(ctx context.Context, c *compat.Caller, v *Server, op string) error {
	err := transitions[op].Check(v, c)
	if err != nil {
		return err
	}
	if v.Task() == Deleting {
		return nil
	}
	here, err := s.hostAnswers(ctx, v)
	if err != nil {
		return err
	}
	if !here {
		return s.destroyLocally(ctx, c, v, op)
	}
	_, err = s.beginOnce(ctx, c, v, op, nil)
	return err
}

func (s *Service) hostAnswers(ctx context.Context, v *Server) (bool, error) {
	if v.HostName() == "" {
		return false, nil
	}
	h, err := s.Hosts.ByName(ctx, v.HostName())
	if err != nil || h == nil {
		return false, err
	}
	return h.Up(s.Clock.Now()), nil
}

func (s *Service) destroyLocally(ctx context.Context, c *compat.Caller, v *Server, op string) error {
	return wrap(s.DB.Tx(ctx, func(tx *schema.Tx) error {
		copied := *v
		actionID, err := s.record(ctx, tx, &copied, c, transitions[op])
		if err != nil {
			return err
		}
		err = s.bury(ctx, tx, &copied)
		if err != nil {
			return err
		}
		return s.endAction(ctx, tx, actionID, true, "", "")
	}), "delete server %s", v.UUID)
}

// bury makes the row a deleted one and gives back all that the server held.
func (s *Service) bury(ctx context.Context, tx *schema.Tx, v *Server) error {
	now := s.Clock.Now()
	err := s.set(ctx, tx, v, true, change{"vm_state": DeletedVM, "task_state": nil, "deleted": true,
		"terminated_at": now, "power_state": work.NoState, "claimed": false, "old_state": nil})
	if err != nil {
		return err
	}
	err = s.release(ctx, tx, v)
	if err != nil {
		return err
	}
	held := v.quota()
	return s.Quotas.Give(ctx, tx, v.ProjectID, v.UserID, held)
}

// release gives back the server's capacity and ports.
func (s *Service) release(ctx context.Context, tx *schema.Tx, v *Server) error {
	if v.Claimed && v.Host != nil {
		err := s.Hosts.Give(ctx, tx, *v.Host, v.held(), 1)
		if err != nil {
			return err
		}
	}
	return s.Networks.Release(ctx, tx, v.UUID)
}

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
	_, err = s.begin(r.Context(), r.Caller, of(r), opPassword, func(tx *schema.Tx, v *Server, _ change) (*work.Args, error) {
		g, err := s.guest(r.Context(), tx, v)
		if err != nil {
			return nil, err
		}
		return &work.Args{Guest: *g, Password: body.Change.AdminPass}, nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

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
	_, err = s.begin(r.Context(), r.Caller, of(r), opResetState, func(tx *schema.Tx, v *Server, set change) (*work.Args, error) {
		set["vm_state"], set["task_state"], set["old_state"] = VMState(body.Reset.State), nil, nil
		if o := v.before(); o.Old != nil && o.New != nil {
			// A resize that was under way is over: the server keeps the flavor it shows.
			return nil, s.shrinkTo(r.Context(), tx, v, v.Flavor())
		}
		return nil, nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

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
	_, err := s.begin(r.Context(), r.Caller, v, opLock, func(_ *schema.Tx, _ *Server, set change) (*work.Args, error) {
		set["locked_by"], set["locked_reason"] = by, nil
		if body.Lock != nil {
			set["locked_reason"] = body.Lock.Reason
		}
		return nil, nil
	})
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
	_, err := s.begin(r.Context(), r.Caller, v, opUnlock, func(_ *schema.Tx, _ *Server, set change) (*work.Args, error) {
		set["locked_by"], set["locked_reason"] = nil, nil
		return nil, nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
