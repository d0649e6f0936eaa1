package lifecycle

import (
	"context"
	"fmt"

	"kilonova/hosts"
	"kilonova/schema"
	"kilonova/work"
)

// settling is a finished piece of work in the transaction that applies it.
type settling struct {
	s   *Service
	ctx context.Context //nolint:containedctx // it lives as long as one call
	tx  *schema.Tx
	v   *Server // as it is now
	f   *finished
	ok  bool
	res work.Result
	all []hosts.Host

	// set is what the state table says of the row. An operation's own settling may add to
	// it, or leave nil when it has changed the row itself.
	set Change
	// goesOn says that the action is not over: more work was queued for it, on the host ring.
	goesOn bool
	ring   string
}

// apply changes the server as the operation's row of the state table says. It gives the
// host to ring when it queued more work.
func (s *Service) apply(ctx context.Context, tx *schema.Tx, v *Server, f *finished, ok bool, res work.Result, all []hosts.Host) (string, error) {
	t, known := transitions[f.Operation]
	if !known || t.Kind != f.Kind {
		return "", fmt.Errorf("work %q of unknown operation %q", f.Kind, f.Operation)
	}
	err := s.keepPlugged(ctx, tx, v, f.Kind, ok, res)
	if err != nil {
		return "", err
	}
	x := &settling{s: s, ctx: ctx, tx: tx, v: v, f: f, ok: ok, res: res, all: all, set: t.outcome(ok, res, s.Clock.Now())}
	if t.Settle != nil {
		err := t.Settle(x)
		if err != nil {
			return "", err
		}
	}
	if !x.goesOn {
		err := s.endAction(ctx, tx, f.ActionID, ok, res.Message, res.Detail)
		if err != nil {
			return "", err
		}
	}
	if x.set == nil {
		return x.ring, nil
	}
	return x.ring, s.Set(ctx, tx, v, true, x.set)
}

// outcome is what the row says of a finished piece of work.
func (t transition) outcome(ok bool, res work.Result, now schema.Micros) Change {
	set := Change{"task_state": nil, "power_state": res.PowerState, "progress": 0}
	if !ok {
		if t.Failed != "" {
			set["vm_state"] = t.Failed
		}
		for k, val := range faultOf(internalError, res.Message, res.Detail, now) {
			set[k] = val
		}
		return set
	}
	if t.Done != "" {
		set["vm_state"] = t.Done
	}
	if t.Launches {
		set["launched_at"] = now
	}
	if t.Done == Active {
		set["fault_code"], set["fault_message"], set["fault_details"] = 0, nil, nil
	}
	return set
}

// internalError is the code of the faults that servers have: what went wrong is the cloud's.
const internalError = 500

func faultOf(code int, message, detail string, now schema.Micros) Change {
	if message == "" {
		message = "The operation failed on the compute host."
	}
	return Change{"fault_code": code, "fault_message": message, "fault_details": detail, "fault_at": now}
}
