package lifecycle

import (
	"context"
	"errors"
	"slices"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/work"
)

// beginning is an operation on a server in the transaction that begins it.
type beginning struct {
	s      *Service
	ctx    context.Context //nolint:containedctx // it lives as long as one call
	tx     *schema.Tx
	caller *compat.Caller
	v      *Server // as it was read
	set    Change  // of the row; a preparation may add to it
	input  any     // what the request says, in the form that the operation's preparation takes
}

// guest is the server as its host sees it.
func (b *beginning) guest() (*work.Guest, error) { return b.s.guest(b.ctx, b.tx, b.v) }

// Act is how every action starts: the state table's check, its preparation, the
// compare-and-set of the row, the record, and the work, in one transaction. When another
// request was first, the check runs again on what it left, so that the caller learns the
// true state.
func (s *Service) Act(ctx context.Context, c *compat.Caller, v *Server, op string, input any) (*Server, error) {
	for {
		begun, err := s.beginOnce(ctx, c, v, op, input)
		if !errors.Is(err, ErrLostRace) {
			return begun, err
		}
		v, err = Get(ctx, s.DB, v.UUID)
		if err != nil {
			return nil, err
		}
		if v == nil || v.Deleted {
			return nil, compat.NotFound("Instance could not be found")
		}
	}
}

// beginOnce is Act for a caller that has more to decide when another request was first,
// which is errLostRace.
func (s *Service) beginOnce(ctx context.Context, c *compat.Caller, v *Server, op string, input any) (*Server, error) {
	t := transitions[op]
	err := t.Check(v, c)
	if err != nil {
		return nil, err
	}
	if t.Kind != "" && v.HostName() == "" { // nobody would ever do it
		return nil, compat.Conflict("Instance %s is not ready", v.UUID)
	}
	var begun *Server
	err = s.DB.Tx(ctx, func(tx *schema.Tx) error {
		copied := *v
		begun = &copied
		return s.beginTx(&beginning{s: s, ctx: ctx, tx: tx, caller: c, v: begun, set: Change{}, input: input}, op, t)
	})
	err = s.DB.Settled(ctx, err, s.acted(v, t))
	if err == nil && t.Kind != "" {
		s.Bell.Ring(begun.HostName())
	}
	return begun, err
}

func (s *Service) beginTx(b *beginning, op string, t transition) error {
	if t.Task != "" {
		b.set["task_state"] = t.Task
	}
	var args *work.Args
	var err error
	if t.Prepare != nil {
		args, err = t.Prepare(b)
		if errors.Is(err, errNoRoom) {
			return s.noRoom(b, t)
		}
		if err != nil {
			return err
		}
	}
	if t.Unlocked || b.caller.IsAdmin() {
		err = s.Set(b.ctx, b.tx, b.v, t.moves(), b.set)
	} else {
		err = s.setIf(b.ctx, b.tx, b.v, t.moves(), b.set, unlockedStill, deref(b.v.LockedBy))
	}
	if err != nil {
		return err
	}
	actionID, err := s.record(b.ctx, b.tx, b.v, b.caller, t)
	if err != nil {
		return err
	}
	if t.Kind == "" { // done with this transaction
		return s.endAction(b.ctx, b.tx, actionID, true, "", "")
	}
	if args == nil {
		args, err = prepareGuest(b)
		if err != nil {
			return err
		}
	}
	_, err = s.queue(b.ctx, b.tx, b.v, op, t.Kind, *args, actionID)
	return err
}

// prepareGuest tells the host nothing but the guest.
func prepareGuest(b *beginning) (*work.Args, error) {
	g, err := b.guest()
	if err != nil {
		return nil, err
	}
	return &work.Args{Guest: *g}, nil
}

// errNoRoom says that no host has room for what the request asks of a server.
var errNoRoom = errors.New("no valid host")

// noRoom leaves the server as it is and keeps on record that the request came to nothing:
// it was accepted, and clients read the failure off the action.
func (s *Service) noRoom(b *beginning, t transition) error {
	err := s.Set(b.ctx, b.tx, b.v, false, faultOf(internalError, noValidHost, noValidHost, s.Clock.Now()))
	if err != nil {
		return err
	}
	t.Events = slices.DeleteFunc(slices.Clone(t.Events), func(e string) bool { return e != conductorMigrate && e != coldMigrate })
	actionID, err := s.record(b.ctx, b.tx, b.v, b.caller, t)
	if err != nil {
		return err
	}
	return s.endAction(b.ctx, b.tx, actionID, false, "NoValidHost", noValidHost)
}
