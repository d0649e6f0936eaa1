package servers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kilonova/schema"
	"kilonova/work"
)

// Keep does the periodic tasks of the servers until ctx ends, in the one process of the
// cluster that holds the lease: it ends work that passed its deadline, follows guests that
// stopped or started by themselves, and confirms resizes whose window is over.
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
			err = s.keepOnce(ctx)
		}
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "keep servers", "err", err)
		}
	}
}

func (s *Service) keepOnce(ctx context.Context) error {
	for _, task := range []func(context.Context) error{s.endOverdue, s.followStopped, s.followStarted, s.confirmOld} {
		err := task(ctx)
		if err != nil {
			return err
		}
	}
	return nil
}

const selectOverdue = `SELECT ` + workColumns + ` FROM work WHERE deadline < ? ORDER BY deadline LIMIT 100`

// endOverdue gives work that passed its deadline the outcome of a failure. The server's
// generation moves on, so that a host that comes back too late changes nothing.
func (s *Service) endOverdue(ctx context.Context) error {
	var list []finished
	err := s.DB.SelectContext(ctx, &list, selectOverdue, s.Clock.Now())
	if err != nil {
		return fmt.Errorf("look for overdue work: %w", err)
	}
	for i := range list {
		err := s.endOne(ctx, &list[i])
		if err != nil {
			return fmt.Errorf("end overdue %s of server %s: %w", list[i].Kind, list[i].ServerUUID, err)
		}
	}
	return nil
}

func (s *Service) endOne(ctx context.Context, f *finished) error {
	err := s.dropSnapshot(ctx, f)
	if err != nil {
		return err
	}
	return s.DB.Tx(ctx, func(tx *schema.Tx) error {
		mine, err := schema.Changed(tx.ExecContext(ctx, removeWork, f.ID, f.State))
		if err != nil || !mine {
			return wrap(err, "remove work %d", f.ID)
		}
		if f.Kind == work.ConsoleOutput || f.Kind == work.Diagnose {
			return nil
		}
		res := work.Result{Message: "The compute host did not finish in time.", Detail: fmt.Sprintf("%s on host %s passed its deadline", f.Kind, f.Host)}
		v, err := get(ctx, tx, f.ServerUUID)
		if err != nil {
			return err
		}
		if v == nil || v.Deleted || v.Generation != f.Generation {
			return s.endAction(ctx, tx, f.ActionID, false, res.Message, res.Detail)
		}
		if f.Kind == work.Delete {
			// The host clears up when it comes back and finds a guest that is not its own.
			err = s.endAction(ctx, tx, f.ActionID, true, "", "")
			if err != nil {
				return err
			}
			return s.bury(ctx, tx, v)
		}
		res.PowerState = v.PowerState
		_, err = s.apply(ctx, tx, v, f, false, res)
		return err
	})
}

const selectStopped = `SELECT ` + columns + ` FROM servers
WHERE deleted = 0 AND vm_state = 'active' AND power_state IN (4, 6) AND task_state IS NULL LIMIT 100`

// followStopped makes servers stopped whose guests shut down by themselves.
func (s *Service) followStopped(ctx context.Context) error {
	var list []Server
	err := s.DB.SelectContext(ctx, &list, selectStopped)
	if err != nil {
		return fmt.Errorf("look for guests that stopped: %w", err)
	}
	for i := range list {
		err := s.set(ctx, s.DB, &list[i], true, change{"vm_state": Stopped})
		if err != nil && !errors.Is(err, errLostRace) {
			return err
		}
	}
	return nil
}

const selectStarted = `SELECT ` + columns + ` FROM servers
WHERE deleted = 0 AND vm_state = 'stopped' AND power_state = 1 AND task_state IS NULL LIMIT 100`

// followStarted stops guests again that somebody started behind the cloud's back.
func (s *Service) followStarted(ctx context.Context) error {
	var list []Server
	err := s.DB.SelectContext(ctx, &list, selectStarted)
	if err != nil {
		return fmt.Errorf("look for guests that started: %w", err)
	}
	for i := range list {
		v := &list[i]
		err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
			copied := *v
			err := s.set(ctx, tx, &copied, true, change{"task_state": PoweringOff})
			if err != nil {
				return err
			}
			g, err := s.guest(ctx, tx, &copied)
			if err != nil {
				return err
			}
			_, err = s.queue(ctx, tx, &copied, work.Stop, work.Args{Guest: *g, ShutdownTimeout: int(s.ShutdownTimeout.Seconds())}, 0)
			return err
		})
		if err != nil && !errors.Is(err, errLostRace) {
			return err
		}
		s.Bell.Ring(v.HostName())
	}
	return nil
}

const selectResized = `SELECT ` + columns + ` FROM servers
WHERE deleted = 0 AND vm_state = 'resized' AND task_state IS NULL AND updated_at < ? LIMIT 100`

// confirmOld confirms resizes that nobody confirmed or reverted in the window, if there is
// one.
func (s *Service) confirmOld(ctx context.Context) error {
	if s.ResizeConfirmWindow == 0 {
		return nil
	}
	var list []Server
	err := s.DB.SelectContext(ctx, &list, selectResized, s.Clock.Now()-schema.Micros(s.ResizeConfirmWindow.Microseconds()))
	if err != nil {
		return fmt.Errorf("look for resizes to confirm: %w", err)
	}
	for i := range list {
		v := &list[i]
		err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
			copied := *v
			o := v.before()
			if o.Confirming {
				return nil
			}
			o.Confirming = true
			err := s.set(ctx, tx, &copied, true, change{"old_state": encode(o)})
			if err != nil {
				return err
			}
			g, err := s.guest(ctx, tx, &copied)
			if err != nil {
				return err
			}
			_, err = s.queue(ctx, tx, &copied, work.ConfirmResize, work.Args{Guest: *g}, 0)
			return err
		})
		if err != nil && !errors.Is(err, errLostRace) {
			return err
		}
		s.Bell.Ring(v.HostName())
	}
	return nil
}
