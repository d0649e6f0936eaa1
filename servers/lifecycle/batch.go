package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strconv"
	"time"

	"kilonova/compat"
	"kilonova/hosts"
	"kilonova/quotas"
	"kilonova/schema"
)

// PieceSize is how many servers one transaction makes at most: it holds the database's
// write lock, and the rows of hosts, for the time that they take.
const PieceSize = 10

// batchLease is how long a process that stopped keeps others from ending its batch.
const batchLease = 30 * time.Second

// The states of a batch.
const (
	batchMaking  = "making"
	batchUndoing = "undoing"
)

// batch is a create of more servers than one transaction makes. Its quota is taken at once;
// then the servers come piece by piece, and its row goes with the last. Until then all of
// them can be taken back, by whoever made them or, when that process is gone, by the keeper:
// a client is answered for all or for none.
type batch struct {
	ID            int64  `db:"id"`
	ReservationID string `db:"reservation_id"`
	ProjectID     string `db:"project_id"`
	UserID        string `db:"user_id"`
	Left          int    `db:"left_over"`
	Cores         int    `db:"cores"`
	RAM           int    `db:"ram"`
	State         string `db:"state"`
}

const batchColumns = `id, reservation_id, project_id, user_id, left_over, cores, ram, state`

// quota is what the servers that are not made yet hold.
func (b *batch) quota() quotas.Delta {
	return times(quotas.Delta{Instances: 1, Cores: b.Cores, RAM: b.RAM}, b.Left)
}

const insertBatch = `
INSERT INTO server_batches (reservation_id, project_id, user_id, left_over, cores, ram, state, lease_until)
VALUES (?, ?, ?, ?, ?, ?, ?, ?)`

func (s *Service) leaseOf() schema.Micros {
	return s.Clock.Now() + schema.Micros(batchLease.Microseconds())
}

func (s *Service) openBatch(ctx context.Context, tx *schema.Tx, v *Server, n int) (*batch, error) {
	b := &batch{ReservationID: v.ReservationID, ProjectID: v.ProjectID, UserID: v.UserID, Left: n, Cores: v.VCPUs, RAM: v.MemoryMB, State: batchMaking}
	res, err := tx.ExecContext(ctx, insertBatch, b.ReservationID, b.ProjectID, b.UserID, b.Left, b.Cores, b.RAM, b.State, s.leaseOf())
	if err != nil {
		return nil, fmt.Errorf("open a batch: %w", err)
	}
	b.ID, err = res.LastInsertId()
	return b, wrap(err, "open a batch")
}

var errBatchTaken = errors.New("the batch was taken for abandoned")

// makeBatch makes the servers of a batch and gives the first. The client may hang up
// meanwhile: what it asked for is made.
func (s *Service) makeBatch(ctx context.Context, p *Launch, template *Server, b *batch) (*Server, error) {
	ctx = context.WithoutCancel(ctx)
	var first *Server
	n := b.Left
	for b.Left > 0 {
		size := min(b.Left, PieceSize)
		all, err := s.Hosts.Snapshot(ctx)
		var made []*Server
		if err == nil {
			err = s.DB.Tx(ctx, func(tx *schema.Tx) error {
				made, err = s.makePiece(ctx, tx, p, template, b, n, size, all)
				return err
			})
		}
		if err != nil {
			return first, s.giveUpBatch(ctx, b, size, err)
		}
		if first == nil {
			first = made[0]
		}
		b.Left -= size
		s.ringFor(made)
	}
	return first, nil
}

const (
	takePiece  = `UPDATE server_batches SET left_over = ?, lease_until = ? WHERE id = ? AND state = 'making' AND left_over = ?`
	closeBatch = `DELETE FROM server_batches WHERE id = ? AND state = 'making' AND left_over = ?`
)

func (s *Service) makePiece(ctx context.Context, tx *schema.Tx, p *Launch, template *Server, b *batch, n, size int, all []hosts.Host) ([]*Server, error) {
	var mine bool
	var err error
	if left := b.Left - size; left > 0 {
		mine, err = schema.Changed(tx.ExecContext(ctx, takePiece, left, s.leaseOf(), b.ID, b.Left))
	} else {
		mine, err = schema.Changed(tx.ExecContext(ctx, closeBatch, b.ID, b.Left))
	}
	if err != nil {
		return nil, fmt.Errorf("take a piece of a batch: %w", err)
	}
	if !mine {
		return nil, errBatchTaken
	}
	made := make([]*Server, 0, size)
	for i := range size {
		v := template.numbered(n-b.Left+i, n)
		err := s.launchOne(ctx, tx, p, v, all)
		if err != nil {
			return nil, err
		}
		made = append(made, v)
	}
	return made, nil
}

const (
	selectBatch  = `SELECT ` + batchColumns + ` FROM server_batches WHERE id = ?`
	beginUndo    = `UPDATE server_batches SET state = 'undoing', left_over = 0, lease_until = ? WHERE id = ? AND state = ? AND left_over = ?`
	renewBatch   = `UPDATE server_batches SET lease_until = ? WHERE id = ?`
	removeBatch  = `DELETE FROM server_batches WHERE id = ? AND state = 'undoing'`
	selectLapsed = `SELECT ` + batchColumns + ` FROM server_batches WHERE lease_until < ? ORDER BY id LIMIT 100`
)

// giveUpBatch takes back what a batch has made after cause came between, and gives the
// error for the client. When it was the answer to the last commit that was lost, and the
// commit had happened, there is none.
func (s *Service) giveUpBatch(ctx context.Context, b *batch, size int, cause error) error {
	var now []batch
	err := s.DB.SelectContext(ctx, &now, selectBatch, b.ID)
	if err != nil {
		return errors.Join(cause, err) // the keeper ends it
	}
	if len(now) == 0 && size == b.Left && errors.Is(cause, schema.ErrUnknownOutcome) {
		return nil
	}
	if len(now) > 0 {
		err = s.undoBatch(ctx, &now[0], math.MaxInt)
		if err != nil {
			s.Log.WarnContext(ctx, "take back a create of many", "reservation", b.ReservationID, "err", err) // the keeper goes on
		}
	}
	if errors.Is(cause, errBatchTaken) {
		return compat.Unavailable("The servers could not be made in time. None of them is left.")
	}
	return cause
}

// endLapsed takes back the batches whose process has gone.
func (s *Service) endLapsed(ctx context.Context) error {
	var list []batch
	err := s.DB.SelectContext(ctx, &list, selectLapsed, s.Clock.Now())
	if err != nil {
		return fmt.Errorf("look for abandoned batches: %w", err)
	}
	_, err = schema.EachRow(ctx, list, func(ctx context.Context, b *batch) error { return s.undoBatch(ctx, b, undoAtOnce) })
	return err
}

// undoAtOnce is how many pieces the keeper takes back before it does its other work.
const undoAtOnce = 50

const selectOfBatch = `SELECT ` + Columns + ` FROM servers
WHERE reservation_id = ? AND id > ? AND deleted = 0 AND (task_state IS NULL OR task_state <> 'deleting') ORDER BY id LIMIT `

// undoBatch gives back the quota of what was not made and deletes what was, at most so many
// pieces of it. It may be begun any number of times.
func (s *Service) undoBatch(ctx context.Context, b *batch, pieces int) error {
	mine := false
	err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
		var err error
		mine, err = schema.Changed(tx.ExecContext(ctx, beginUndo, s.leaseOf(), b.ID, b.State, b.Left))
		if err != nil || !mine {
			return err
		}
		return s.Quotas.Give(ctx, tx, b.ProjectID, b.UserID, b.quota())
	})
	if err != nil {
		return fmt.Errorf("begin to take back batch %s: %w", b.ReservationID, err)
	}
	if !mine {
		return nil // somebody else is at it
	}
	c := &compat.Caller{UserID: b.UserID, ProjectID: b.ProjectID, Roles: []string{"admin"}} // a lock is not in the way
	for last := int64(0); ; pieces-- {
		if pieces == 0 {
			_, err = s.DB.ExecContext(ctx, renewBatch, s.Clock.Now()-1, b.ID)
			return wrap(err, "leave batch %s", b.ReservationID)
		}
		var list []Server
		err := s.DB.SelectContext(ctx, &list, selectOfBatch+strconv.Itoa(PieceSize), b.ReservationID, last)
		if err != nil {
			return fmt.Errorf("read batch %s: %w", b.ReservationID, err)
		}
		if len(list) == 0 {
			break
		}
		for i := range list {
			err := s.End(ctx, c, &list[i], OpDelete)
			if err != nil && !compat.IsNotFound(err) {
				return fmt.Errorf("take back server %s: %w", list[i].UUID, err)
			}
			last = list[i].ID
		}
		_, err = s.DB.ExecContext(ctx, renewBatch, s.leaseOf(), b.ID)
		if err != nil {
			return fmt.Errorf("take back batch %s: %w", b.ReservationID, err)
		}
	}
	_, err = s.DB.ExecContext(ctx, removeBatch, b.ID)
	return wrap(err, "take back batch %s", b.ReservationID)
}
