package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"kilonova/schema"
	"kilonova/work"
)

// Keep does the periodic tasks of the servers until ctx ends, in the one process of the
// cluster that holds the lease: it ends work that passed its deadline and creates of many
// whose process is gone, follows guests that stopped or started by themselves, and confirms
// resizes whose window is over.
func (s *Service) Keep(ctx context.Context) {
	const every, lease = time.Second, 15 * time.Second
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		mine, err := s.DB.Lease(ctx, "servers-keeper", s.holder, s.Clock.Now(), lease)
		if err == nil && mine {
			err = s.KeepOnce(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "keep servers", "err", err)
		}
	}
}

func (s *Service) KeepOnce(ctx context.Context) error {
	return schema.Tasks(ctx, s.endOverdue, s.endLapsed, s.followStopped, s.followStarted, s.confirmOld)
}

var selectOverdue = `SELECT ` + workColumns + ` FROM work WHERE deadline < ? AND id > ? ORDER BY id LIMIT ` + strconv.Itoa(schema.PageSize)

// endOverdue gives work that passed its deadline the outcome of a failure. The server's
// generation moves on, so that a host that comes back too late changes nothing.
func (s *Service) endOverdue(ctx context.Context) error {
	_, err := s.sweepWork(ctx, "end overdue", selectOverdue, []any{s.Clock.Now()}, s.endOne)
	return err
}

func (s *Service) endOne(ctx context.Context, f *finished) error {
	switch t := transitions[f.Operation]; {
	case t.Asks || f.Kind == work.Replug:
		_, err := s.DB.ExecContext(ctx, removeWork, f.ID, f.State)
		return wrap(err, "remove work %d", f.ID)
	case t.Buries:
		return s.endDelete(ctx, f)
	}
	res := work.Result{Message: "The compute host did not finish in time.", Detail: fmt.Sprintf("%s on host %s passed its deadline", f.Kind, f.Host)}
	v, err := Get(ctx, s.DB, f.ServerUUID)
	if err != nil {
		return err
	}
	if v != nil {
		res.PowerState = v.PowerState
	}
	return s.failWork(ctx, f, res)
}

// endDelete buries the server: its host clears up when it comes back and finds a guest that
// is not its own.
func (s *Service) endDelete(ctx context.Context, f *finished) error {
	return s.DB.Tx(ctx, func(tx *schema.Tx) error {
		mine, err := schema.Changed(tx.ExecContext(ctx, removeWork, f.ID, f.State))
		if err != nil || !mine {
			return wrap(err, "remove work %d", f.ID)
		}
		v, err := Get(ctx, tx, f.ServerUUID)
		if err != nil {
			return err
		}
		current := v != nil && !v.Deleted && v.Generation == f.Generation
		err = s.endAction(ctx, tx, f.ActionID, current, "", "")
		if err != nil || !current {
			return err
		}
		return s.bury(ctx, tx, v)
	})
}

// sweepServers calls f for each server that the condition finds. A server that changed
// meanwhile is looked at again in the next round.
func (s *Service) sweepServers(ctx context.Context, what, where string, args []any, f func(context.Context, *Server) error) error {
	query := "SELECT " + Columns + " FROM servers WHERE deleted = 0 AND " + where + " AND id > ? ORDER BY id LIMIT " + strconv.Itoa(schema.PageSize)
	page := func(ctx context.Context, after int64) ([]Server, error) {
		var list []Server
		err := s.DB.SelectContext(ctx, &list, query, append(slices.Clone(args), after)...)
		return list, wrap(err, "look for servers to %s", what)
	}
	_, err := schema.Sweep(ctx, page, func(v *Server) int64 { return v.ID }, func(ctx context.Context, v *Server) error {
		err := f(ctx, v)
		if errors.Is(err, ErrLostRace) {
			return nil
		}
		return wrap(err, "%s server %s", what, v.UUID)
	})
	return err
}

const guestStopped = `vm_state = 'active' AND power_state IN (4, 6) AND task_state IS NULL`

// followStopped makes servers stopped whose guests shut down by themselves.
func (s *Service) followStopped(ctx context.Context) error {
	return s.sweepServers(ctx, "follow the stopped guest of", guestStopped, nil, func(ctx context.Context, v *Server) error {
		return s.Set(ctx, s.DB, v, true, Change{"vm_state": Stopped})
	})
}

const guestStarted = `vm_state = 'stopped' AND power_state = 1 AND task_state IS NULL`

// followStarted stops guests again that somebody started behind the cloud's back.
func (s *Service) followStarted(ctx context.Context) error {
	return s.sweepServers(ctx, "stop the started guest of", guestStarted, nil, func(ctx context.Context, v *Server) error {
		return s.keep(ctx, v, OpStop)
	})
}

const oldResize = `vm_state = 'resized' AND task_state IS NULL AND updated_at < ?
  AND migration_id IN (SELECT id FROM migrations WHERE status = 'finished')`

// confirmOld confirms resizes that nobody confirmed or reverted in the window, if there is
// one.
func (s *Service) confirmOld(ctx context.Context) error {
	if s.ResizeConfirmWindow == 0 {
		return nil
	}
	before := s.Clock.Now() - schema.Micros(s.ResizeConfirmWindow.Microseconds())
	return s.sweepServers(ctx, "confirm the resize of", oldResize, []any{before}, func(ctx context.Context, v *Server) error {
		return s.keep(ctx, v, OpConfirm)
	})
}

// keep begins an operation for which nobody asked: it is no action on record.
func (s *Service) keep(ctx context.Context, v *Server, op string) error {
	t := transitions[op]
	err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
		copied := *v
		b := &beginning{s: s, ctx: ctx, tx: tx, v: &copied, set: Change{}}
		if t.Task != "" {
			b.set["task_state"] = t.Task
		}
		prepare := t.Prepare
		if prepare == nil {
			prepare = prepareGuest
		}
		args, err := prepare(b)
		if err != nil {
			return err
		}
		err = s.Set(ctx, tx, b.v, true, b.set)
		if err != nil {
			return err
		}
		_, err = s.queue(ctx, tx, b.v, op, t.Kind, *args, 0)
		return err
	})
	if err == nil {
		s.Bell.Ring(v.HostName())
	}
	return err
}
