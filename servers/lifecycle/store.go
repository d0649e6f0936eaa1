package lifecycle

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/work"
)

const selectByUUID = `SELECT ` + Columns + ` FROM servers WHERE uuid = ?`

// Get reads one server, also a deleted one; nil when there is none.
func Get(ctx context.Context, q schema.Querier, id string) (*Server, error) {
	var srv Server
	err := q.GetContext(ctx, &srv, selectByUUID, id)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get server %s: %w", id, err)
	}
	return &srv, nil
}

var insertServer = func() string {
	cols := strings.TrimPrefix(Columns, "id, ")
	return "INSERT INTO servers (" + cols + ") VALUES (" +
		strings.TrimSuffix(strings.Repeat("?, ", strings.Count(cols, ",")+1), ", ") + ")"
}()

// Insert makes the row and sets the server's integer key.
func Insert(ctx context.Context, tx *schema.Tx, v *Server) error {
	res, err := tx.ExecContext(ctx, insertServer, v.UUID, v.ProjectID, v.UserID, v.Name, v.Hostname, v.Description,
		v.VMState, v.TaskState, v.PowerState, v.Progress, v.Generation, v.Host, v.Node, v.FlavorID, v.FlavorName,
		v.VCPUs, v.MemoryMB, v.RootGB, v.EphemeralGB, v.SwapMB, v.ExtraSpecs, v.ImageID, v.ImageMeta, v.Metadata,
		v.KeyName, v.KeyData, v.UserData, v.Files, v.ConfigDrive, v.AccessIPv4, v.AccessIPv6, v.DiskConfig,
		v.RequestedZone, v.Zone, v.PinnedZone, v.LaunchIndex, v.ReservationID, v.RootDeviceName, v.SecurityGroups,
		v.SchedulerHints, v.Placement, v.TrustedCerts, v.LockedBy, v.LockedReason, v.Attempts, v.TriedHosts,
		v.MigrationID, v.FaultCode, v.FaultMessage, v.FaultDetails, v.FaultAt, v.CreatedAt, v.UpdatedAt,
		v.LaunchedAt, v.TerminatedAt, v.Deleted)
	if err != nil {
		return fmt.Errorf("insert server %s: %w", v.UUID, err)
	}
	v.ID, err = res.LastInsertId()
	return wrap(err, "insert server %s", v.UUID)
}

// Change is a set of column = value for one server. Keys are names of ours, never a
// client's.
type Change map[string]any

// ErrLostRace says that the row is no longer what was read: whoever sees it reads again.
var ErrLostRace = errors.New("the server changed meanwhile")

// Set changes a server that is still at the generation that was read. Changes of state
// pass bump, so that work begun before changes nothing any more.
func (s *Service) Set(ctx context.Context, tx schema.Querier, v *Server, bump bool, c Change) error {
	return s.setIf(ctx, tx, v, bump, c, "")
}

// unlockedStill holds while nobody has changed the lock that an action was checked against:
// locks do not move the generation.
const unlockedStill = " AND COALESCE(locked_by, '') = ?"

// setIf is set with one more condition of the row.
func (s *Service) setIf(ctx context.Context, tx schema.Querier, v *Server, bump bool, c Change, cond string, condArgs ...any) error {
	var sets []string
	var args []any
	for col, val := range c {
		sets = append(sets, col+" = ?")
		args = append(args, val)
	}
	if bump {
		sets = append(sets, "generation = generation + 1")
	}
	args = append(append(args, s.Clock.Now(), v.ID, v.Generation), condArgs...)
	sets = append(sets, "updated_at = ?")
	ok, err := schema.Changed(tx.ExecContext(ctx,
		"UPDATE servers SET "+strings.Join(sets, ", ")+" WHERE id = ? AND generation = ? AND deleted = 0"+cond, args...))
	if err != nil {
		return fmt.Errorf("change server %s: %w", v.UUID, err)
	}
	if !ok {
		return ErrLostRace
	}
	if bump {
		v.Generation++
	}
	return nil
}

const insertAction = `
INSERT INTO instance_actions (server_uuid, request_id, action, user_id, project_id, start_time, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?)`

const insertEvents = `INSERT INTO instance_events (action_id, event, host, start_time) VALUES (?, ?, ?, ?)`

// record writes the instance action of a request and its events, which the finisher ends.
func (s *Service) record(ctx context.Context, tx *schema.Tx, v *Server, c *compat.Caller, t transition) (int64, error) {
	if t.Action == "" {
		return 0, nil
	}
	now := s.Clock.Now()
	res, err := tx.ExecContext(ctx, insertAction, v.UUID, compat.RequestID(ctx), t.Action, c.UserID, c.ProjectID, now, now)
	if err != nil {
		return 0, fmt.Errorf("record action %s: %w", t.Action, err)
	}
	id, err := res.LastInsertId()
	if err != nil {
		return id, fmt.Errorf("record action %s: %w", t.Action, err)
	}
	if len(t.Events) == 0 {
		return id, nil
	}
	args := make([]any, 0, 4*len(t.Events))
	for _, event := range t.Events {
		args = append(args, id, event, v.Host, now)
	}
	_, err = tx.ExecContext(ctx, insertEvents+strings.Repeat(", (?, ?, ?, ?)", len(t.Events)-1), args...)
	return id, wrap(err, "record the events of %s", t.Action)
}

const insertWork = `
INSERT INTO work (host, server_id, server_uuid, kind, operation, vm_state, args, secret, kept, generation, action_id, image_id, deadline, created_at, state)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued')`

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

// queue gives the server's host a piece of work of an operation, at the server's present
// generation and with the vm_state that it comes from.
// All that is secret in args is sealed on the way.
func (s *Service) queue(ctx context.Context, tx schema.Querier, v *Server, op string, kind work.Kind, args work.Args, actionID int64) (int64, error) {
	now := s.Clock.Now()
	deadline := now + schema.Micros(work.Deadlines[kind].Microseconds())
	image := "" // that the work is to fill
	if args.Upload != nil {
		image = args.Upload.ImageID
	}
	s.ticketed(v, &args, work.Deadlines[kind])
	sealed, err := s.seal(ctx, tx, v, &args)
	if err != nil {
		return 0, err
	}
	res, err := tx.ExecContext(ctx, insertWork, v.HostName(), v.ID, v.UUID, kind, op, v.VMState, Encode(args), sealed.secret, sealed.kept, v.Generation, actionID, image, deadline, now)
	if err != nil {
		return 0, fmt.Errorf("queue %s for server %s: %w", kind, v.UUID, err)
	}
	id, err := res.LastInsertId()
	return id, wrap(err, "queue %s for server %s", kind, v.UUID)
}

// NotFound is the answer for a server that is not there for this caller.
func NotFound(id string) error { return compat.NotFound("Instance %s could not be found.", id) }

func wrap(err error, format string, a ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(a, err)...)
}
