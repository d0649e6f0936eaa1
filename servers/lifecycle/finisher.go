package lifecycle

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"kilonova/hosts"
	"kilonova/schema"
	"kilonova/work"
)

// finished is a piece of work that its host reported.
type finished struct {
	ID         int64         `db:"id"`
	Host       string        `db:"host"`
	ServerUUID string        `db:"server_uuid"`
	Kind       work.Kind     `db:"kind"`
	Operation  string        `db:"operation"` // of the state table, that made it
	VMState    VMState       `db:"vm_state"`  // of the server, before
	Generation int64         `db:"generation"`
	ActionID   int64         `db:"action_id"`
	ImageID    string        `db:"image_id"` // that a snapshot was to fill
	State      work.State    `db:"state"`
	Result     *string       `db:"result"`
	CreatedAt  schema.Micros `db:"created_at"`
	Deadline   schema.Micros `db:"deadline"`
	Kept       *string       `db:"kept"` // sealed, for another host

	ResultLength int64 `db:"result_length"` // bytes
}

// workColumns are the columns of finished. A result that is longer than any that may be
// believed is not read: only its length is.
var workColumns = fmt.Sprintf(`id, host, server_uuid, kind, operation, vm_state, generation, action_id, image_id, state, created_at, deadline, kept,
  CASE WHEN LENGTH(result) <= CASE WHEN kind IN ('console_output', 'diagnostics') THEN %d ELSE %d END THEN result END AS result,
  COALESCE(LENGTH(result), 0) AS result_length`, work.MaxAnswer, work.MaxReport)

var selectFinished = `
SELECT ` + workColumns + ` FROM work WHERE state IN ('done', 'failed') AND kind NOT IN ('console_output', 'diagnostics') AND id > ?
ORDER BY id LIMIT ` + strconv.Itoa(schema.PageSize)

// report is what the host said, if it can be believed.
func (f *finished) report() (work.Result, error) {
	if f.Result == nil && f.ResultLength > 0 {
		return work.Result{}, fmt.Errorf("a report of %d bytes", f.ResultLength)
	}
	if f.Result == nil {
		return work.Result{}, errors.New("no report")
	}
	return work.ReadResult(f.Kind, *f.Result)
}

// idlePoll is how often an API process looks for finished work that nobody rang for.
const idlePoll = 250 * time.Millisecond

// Finish applies what hosts report until ctx ends. Every API process runs it: the removal
// of the work row decides which of them applied it.
func (s *Service) Finish(ctx context.Context, rung <-chan struct{}) {
	tick := time.NewTicker(idlePoll)
	defer tick.Stop()
	for {
		n, err := s.FinishSome(ctx)
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "apply finished work", "err", err)
		}
		if n > 0 && err == nil {
			continue // more may be waiting
		}
		select {
		case <-ctx.Done():
			return
		case <-rung:
		case <-tick.C:
		}
	}
}

// FinishSome applies all that is reported and tells how many reports it applied.
func (s *Service) FinishSome(ctx context.Context) (int, error) {
	return s.sweepWork(ctx, "apply", selectFinished, nil, s.finishOne)
}

// sweepWork calls f for each row of work that query finds. Its last argument is the id
// after which a page begins.
func (s *Service) sweepWork(ctx context.Context, what, query string, args []any, f func(context.Context, *finished) error) (int, error) {
	page := func(ctx context.Context, after int64) ([]finished, error) {
		var list []finished
		err := s.DB.SelectContext(ctx, &list, query, append(slices.Clone(args), after)...)
		return list, wrap(err, "look for work to %s", what)
	}
	return schema.Sweep(ctx, page, func(row *finished) int64 { return row.ID }, func(ctx context.Context, row *finished) error {
		return wrap(schema.Guard(ctx, func(ctx context.Context) error { return f(ctx, row) }), "%s %s of server %s", what, row.Kind, row.ServerUUID)
	})
}

const removeWork = `DELETE FROM work WHERE id = ? AND state = ?`

// unreadable is what people are told when a report cannot be believed.
const unreadable = "The compute host's report could not be applied."

// finishOne applies one report and removes its row. A report that cannot be applied is
// applied as a failure, and where that is not possible either, the server goes to ERROR: no
// report stays to be tried for ever.
func (s *Service) finishOne(ctx context.Context, f *finished) error {
	res, err := f.report()
	if err == nil {
		err = schema.Guard(ctx, func(ctx context.Context) error { return s.applyOnce(ctx, f, f.State == work.Done, res) })
		if err == nil || !lasting(ctx, err) {
			return err
		}
	}
	s.Log.ErrorContext(ctx, "a report cannot be applied", "host", f.Host, "kind", f.Kind, "server", f.ServerUUID, "err", err)
	return s.failWork(ctx, f, work.Result{Message: unreadable, Detail: work.Clip(err.Error(), work.MaxDetail)})
}

// failWork gives work the outcome of a failure, and the server ERROR where its outcome
// cannot be worked out.
func (s *Service) failWork(ctx context.Context, f *finished, res work.Result) error {
	err := schema.Guard(ctx, func(ctx context.Context) error { return s.applyOnce(ctx, f, false, res) })
	if err == nil || !lasting(ctx, err) {
		return err
	}
	s.Log.ErrorContext(ctx, "a failure cannot be applied", "host", f.Host, "kind", f.Kind, "server", f.ServerUUID, "err", err)
	return s.abandon(ctx, f, res)
}

// lasting reports whether an error comes back whenever the same is tried.
func lasting(ctx context.Context, err error) bool {
	return ctx.Err() == nil && !schema.Transient(err) && !errors.Is(err, ErrLostRace) && !errors.Is(err, schema.ErrUnknownOutcome) && !schema.Away(err)
}

// lostRaces is how often an outcome is applied to a server that requests change all the while,
// before it waits for the next look at finished work.
const lostRaces = 5

// applyOnce applies the outcome of work and removes its row, in one transaction: it happens
// once or not at all. When a request changed the server meanwhile, it meets what that left.
func (s *Service) applyOnce(ctx context.Context, f *finished, ok bool, res work.Result) error {
	err := s.dropSnapshot(ctx, f)
	if err != nil {
		return err
	}
	all, err := s.Hosts.Snapshot(ctx)
	if err != nil {
		return err
	}
	for range lostRaces {
		err = s.applyTx(ctx, f, ok, res, all)
		if !errors.Is(err, ErrLostRace) {
			break
		}
	}
	return err
}

func (s *Service) applyTx(ctx context.Context, f *finished, ok bool, res work.Result, all []hosts.Host) error {
	var ring string
	err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
		ring = ""
		mine, err := schema.Changed(tx.ExecContext(ctx, removeWork, f.ID, f.State))
		if err != nil || !mine {
			return wrap(err, "remove work %d", f.ID)
		}
		v, err := Get(ctx, tx, f.ServerUUID)
		if err != nil {
			return err
		}
		if f.Kind == work.Replug { // the server's own state is not concerned
			return s.replugged(ctx, tx, v, f, ok, res)
		}
		if v != nil && !v.Deleted && f.Kind == work.Delete && ok && v.HostName() == f.Host {
			// Whatever was asked for meanwhile, there is no guest any more.
			err = s.endAction(ctx, tx, f.ActionID, true, "", "")
			if err != nil {
				return err
			}
			return s.bury(ctx, tx, v)
		}
		if v == nil || v.Deleted || v.Generation != f.Generation {
			// The server went on without this work: its report changes nothing.
			return s.endAction(ctx, tx, f.ActionID, ok, res.Message, res.Detail)
		}
		ring, err = s.apply(ctx, tx, v, f, ok, res, all)
		return err
	})
	if err == nil && ring != "" {
		s.Bell.Ring(ring)
	}
	return err
}

const abandonServer = `
UPDATE servers SET vm_state = ?, task_state = NULL, generation = generation + 1, fault_code = ?, fault_message = ?, fault_details = ?,
  fault_at = ?, updated_at = ? WHERE uuid = ? AND generation = ? AND deleted = 0`

// abandon is the last way out: the row goes, the server is in ERROR and says why. What it
// holds it keeps, for whoever deletes it.
func (s *Service) abandon(ctx context.Context, f *finished, res work.Result) error {
	return s.DB.Tx(ctx, func(tx *schema.Tx) error {
		mine, err := schema.Changed(tx.ExecContext(ctx, removeWork, f.ID, f.State))
		if err != nil || !mine {
			return wrap(err, "remove work %d", f.ID)
		}
		now := s.Clock.Now()
		_, err = tx.ExecContext(ctx, abandonServer, ErrorVM, internalError, unreadable, res.Detail, now, now, f.ServerUUID, f.Generation)
		if err != nil {
			return fmt.Errorf("give up %s of server %s: %w", f.Kind, f.ServerUUID, err)
		}
		return s.endAction(ctx, tx, f.ActionID, false, res.Message, res.Detail)
	})
}

// dropSnapshot ends the image of a snapshot whose work is over, unless it has its data,
// whatever has become of the server: no image stays queued for ever. It comes before the
// report is applied, in a transaction of the image's own: to do it twice is to do it once.
func (s *Service) dropSnapshot(ctx context.Context, f *finished) error {
	if f.ImageID == "" {
		return nil
	}
	return s.Images.Fail(ctx, f.ImageID, "the snapshot failed")
}

const (
	endEvent = `
UPDATE instance_events SET finish_time = ?, result = ?, traceback = ?, details = ? WHERE action_id = ? AND finish_time = 0`
	endActionRow = `UPDATE instance_actions SET updated_at = ?, message = COALESCE(?, message) WHERE id = ?`
)

// endAction closes the record of a request; details and traceback are for administrators.
func (s *Service) endAction(ctx context.Context, tx *schema.Tx, actionID int64, ok bool, details, traceback string) error {
	if actionID == 0 {
		return nil
	}
	now := s.Clock.Now()
	result, message := "Success", sql.NullString{}
	tb, det := sql.NullString{}, sql.NullString{}
	if !ok {
		result, message = "Error", sql.NullString{String: "Error", Valid: true}
		tb = sql.NullString{String: traceback, Valid: true}
		det = sql.NullString{String: details, Valid: details != ""}
	}
	_, err := tx.ExecContext(ctx, endEvent, now, result, tb, det, actionID)
	if err != nil {
		return fmt.Errorf("end event of action %d: %w", actionID, err)
	}
	_, err = tx.ExecContext(ctx, endActionRow, now, message, actionID)
	return wrap(err, "end action %d", actionID)
}
