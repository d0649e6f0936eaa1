package servers

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"time"

	"kilonova/compat"
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
var workColumns = fmt.Sprintf(`id, host, server_uuid, kind, generation, action_id, image_id, state, created_at, deadline, kept,
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
		n, err := s.finishSome(ctx)
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

// finishSome applies all that is reported and tells how many reports it applied.
func (s *Service) finishSome(ctx context.Context) (int, error) {
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
	return ctx.Err() == nil && !schema.Transient(err) && !errors.Is(err, errLostRace) && !errors.Is(err, schema.ErrUnknownOutcome) && !schema.Away(err)
}

// applyOnce applies the outcome of work and removes its row, in one transaction: it happens
// once or not at all.
func (s *Service) applyOnce(ctx context.Context, f *finished, ok bool, res work.Result) error {
	err := s.dropSnapshot(ctx, f)
	if err != nil {
		return err
	}
	all, err := s.Hosts.Snapshot(ctx)
	if err != nil {
		return err
	}
	var ring string
	err = s.DB.Tx(ctx, func(tx *schema.Tx) error {
		ring = ""
		mine, err := schema.Changed(tx.ExecContext(ctx, removeWork, f.ID, f.State))
		if err != nil || !mine {
			return wrap(err, "remove work %d", f.ID)
		}
		v, err := get(ctx, tx, f.ServerUUID)
		if err != nil {
			return err
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
		_, err = tx.ExecContext(ctx, abandonServer, ErrorVM, http.StatusInternalServerError, unreadable, res.Detail, now, now, f.ServerUUID, f.Generation)
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

// apply changes the server as the state table says, and what belongs to the kind of work.
// It gives the host to ring when it queued more work.
func (s *Service) apply(ctx context.Context, tx *schema.Tx, v *Server, f *finished, ok bool, res work.Result, all []hosts.Host) (string, error) {
	t, known := byKind(f.Kind)
	if !known {
		return "", fmt.Errorf("work of unknown kind %q", f.Kind)
	}
	if f.Kind == work.Spawn && !ok {
		return s.failedSpawn(ctx, tx, v, f, res, all)
	}
	err := s.endAction(ctx, tx, f.ActionID, ok, res.Message, res.Detail)
	if err != nil {
		return "", err
	}
	if f.Kind == work.Delete && ok {
		return "", s.bury(ctx, tx, v)
	}
	set := s.outcome(v, t, ok, res)
	err = s.settle(ctx, tx, v, f.Kind, ok, set)
	if err != nil {
		return "", err
	}
	return "", s.set(ctx, tx, v, true, set)
}

// outcome is what the state table says of a finished piece of work.
func (s *Service) outcome(v *Server, t transition, ok bool, res work.Result) change {
	set := change{"task_state": nil, "power_state": res.PowerState, "progress": 0}
	now := s.Clock.Now()
	if ok {
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
	failed := t.Failed
	if failed == ErrorVM && t.Kind != work.Rebuild && t.Kind != work.Delete && res.PowerState == work.PoweredOn && (t.Kind == work.HardReboot || t.Kind == work.SoftReboot) {
		failed = Active
	}
	if failed != "" {
		set["vm_state"] = failed
	}
	for k, val := range faultOf(http.StatusInternalServerError, res.Message, res.Detail, now) {
		set[k] = val
	}
	return set
}

func faultOf(code int, message, detail string, now schema.Micros) change {
	if message == "" {
		message = "The operation failed on the compute host."
	}
	return change{"fault_code": code, "fault_message": message, "fault_details": detail, "fault_at": now}
}

// settle does what the kinds of work want beside the state: flavors, claims and quota of a
// resize, the vm_state that a rebuild or resize comes back to, images that failed.
func (s *Service) settle(ctx context.Context, tx *schema.Tx, v *Server, kind work.Kind, ok bool, set change) error {
	o := v.before()
	switch kind {
	case work.Spawn:
		err := s.Hosts.Built(ctx, tx, v.HostName(), ok)
		if err != nil {
			return err
		}
		return s.Networks.SetActive(ctx, tx, v.UUID, true)
	case work.Delete: // it failed; what it ended is over all the same
		now := v.Flavor()
		return s.endResize(ctx, tx, v, set, &now)
	case work.Rebuild:
		set["old_state"] = nil
		if ok && o.VMState == Stopped {
			set["vm_state"] = Stopped
		}
	case work.ResizePrep:
		switch {
		case o.Old == nil || o.New == nil:
		case !ok:
			set["old_state"] = nil
			return s.shrinkTo(ctx, tx, v, *o.Old)
		default:
			flavorColumns(set, *o.New)
		}
	case work.ConfirmResize:
		if ok && (o.VMState == Stopped || set["power_state"] == work.Shutdown) {
			set["vm_state"] = Stopped
		}
		return s.endResize(ctx, tx, v, set, o.New)
	case work.RevertResize:
		if ok && o.VMState == Stopped {
			set["vm_state"] = Stopped
		}
		return s.endResize(ctx, tx, v, set, o.Old)
	}
	return nil
}

// endResize leaves the server with one of the two flavors, whether its host could do its
// part or not: a failure shows in the state, and holds nothing.
func (s *Service) endResize(ctx context.Context, tx *schema.Tx, v *Server, set change, f *work.Flavor) error {
	set["old_state"] = nil
	if f == nil {
		return nil
	}
	flavorColumns(set, *f)
	return s.shrinkTo(ctx, tx, v, *f)
}

func flavorColumns(set change, f work.Flavor) {
	set["flavor_id"], set["flavor_name"], set["vcpus"], set["memory_mb"] = f.ID, f.Name, f.VCPUs, f.MemoryMB
	set["root_gb"], set["ephemeral_gb"], set["swap_mb"], set["extra_specs"] = f.RootGB, f.EphemeralGB, f.SwapMB, encode(orEmpty(f.ExtraSpecs))
}

// shrinkTo gives back what the server holds beyond the flavor that it ends up with.
func (s *Service) shrinkTo(ctx context.Context, tx *schema.Tx, v *Server, f work.Flavor) error {
	err := s.Hosts.Shrink(ctx, tx, v.HostName(), v.held().Minus(needOf(f)))
	if err != nil {
		return err
	}
	now := v.quota()
	now.Instances, now.Cores, now.RAM = 0, now.Cores-f.VCPUs, now.RAM-f.MemoryMB
	return s.Quotas.Give(ctx, tx, v.ProjectID, v.UserID, now)
}

// failedSpawn tries the next host, up to the limit, and then leaves the server in ERROR
// with nothing held but its quota, which ERROR servers count for.
func (s *Service) failedSpawn(ctx context.Context, tx *schema.Tx, v *Server, f *finished, res work.Result, all []hosts.Host) (string, error) {
	err := s.Hosts.Built(ctx, tx, v.HostName(), false)
	if err != nil {
		return "", err
	}
	err = s.Hosts.Give(ctx, tx, v.HostName(), v.held(), 1)
	if err != nil {
		return "", err
	}
	if res.Retry && v.Attempts < s.MaxAttempts && !v.placement().Forced {
		host, err := s.reschedule(ctx, tx, v, f, all)
		if err != nil || host != "" {
			return host, err
		}
	}
	err = s.Networks.Release(ctx, tx, v.UUID)
	if err != nil {
		return "", err
	}
	err = s.endAction(ctx, tx, f.ActionID, false, res.Message, res.Detail)
	if err != nil {
		return "", err
	}
	message := res.Message
	if v.Attempts > 1 {
		message = fmt.Sprintf("Exceeded maximum number of retries. Exhausted all hosts available for retrying build failures for instance %s.", v.UUID)
	}
	set := faultOf(http.StatusInternalServerError, message, res.Detail, s.Clock.Now())
	set["vm_state"], set["task_state"], set["claimed"] = ErrorVM, nil, false
	set["host"], set["node"], set["zone"] = nil, nil, nil
	set["power_state"] = work.NoState
	return "", s.set(ctx, tx, v, true, set)
}

// reschedule gives the server to another host; "" when none has room.
func (s *Service) reschedule(ctx context.Context, tx *schema.Tx, v *Server, f *finished, all []hosts.Host) (string, error) {
	tried := []string{}
	if v.TriedHosts != nil {
		decode(*v.TriedHosts, &tried)
	}
	tried = append(tried, v.HostName())
	v.TriedHosts = encodePtr(tried)
	spec, err := s.specFor(ctx, tx, v)
	if err != nil {
		return "", err
	}
	again := *v
	again.VMState = Building
	err = s.place(ctx, tx, &again, &spec, all)
	if err != nil || again.Host == nil {
		return "", err
	}
	err = s.Networks.BindHost(ctx, tx, v.UUID, *again.Host)
	if err != nil {
		return "", err
	}
	err = s.set(ctx, tx, v, true, change{"host": again.Host, "node": again.Node, "zone": again.Zone, "attempts": again.Attempts,
		"tried_hosts": v.TriedHosts, "task_state": Scheduling})
	if err != nil {
		return "", err
	}
	again.Generation = v.Generation
	g, err := s.guest(ctx, tx, &again)
	if err != nil {
		return "", err
	}
	s.withSource(g)
	g.AdminPass = s.keptPassword(ctx, f)
	_, err = s.queue(ctx, tx, &again, work.Spawn, work.Args{Guest: *g, PowerOn: true}, f.ActionID)
	return *again.Host, err
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

// call asks the server's host something and waits for the answer: console output,
// diagnostics. Nothing of the server changes.
func (s *Service) call(r *compat.Request, v *Server, kind work.Kind, args work.Args) (work.Result, error) {
	ctx, cancel := context.WithTimeout(r.Context(), work.Deadlines[kind])
	defer cancel()
	id, err := s.queue(ctx, s.DB, v, kind, args, 0)
	if err != nil {
		return work.Result{}, err
	}
	s.Bell.Ring(v.HostName())
	defer func() {
		_, err := s.DB.ExecContext(context.WithoutCancel(ctx), `DELETE FROM work WHERE id = ?`, id)
		if err != nil {
			s.Log.WarnContext(ctx, "remove an answered call", "err", err) // the keeper removes it at its deadline
		}
	}()
	const first, longest = 2 * time.Millisecond, 50 * time.Millisecond
	for wait := first; ; wait = min(wait*2, longest) {
		select {
		case <-ctx.Done():
			return work.Result{}, compat.Conflict("Compute service of %s is unavailable at this time.", v.UUID)
		case <-time.After(wait):
		}
		var f finished
		err := s.DB.GetContext(ctx, &f, `SELECT `+workColumns+` FROM work WHERE id = ?`, id)
		if err != nil {
			return work.Result{}, fmt.Errorf("wait for %s of server %s: %w", kind, v.UUID, err)
		}
		if f.State != work.Done && f.State != work.Failed {
			continue
		}
		res, err := f.report()
		if err != nil {
			return res, fmt.Errorf("%s of server %s: %w", kind, v.UUID, err)
		}
		if f.State == work.Failed && res.Reason == "" {
			return res, fmt.Errorf("%s of server %s: %s", kind, v.UUID, res.Detail)
		}
		return res, nil
	}
}
