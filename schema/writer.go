package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
)

// writer is the one connection by which a process writes to an SQLite file. SQLite has room
// for one writer, and a durable commit waits for the disk; so those who write take turns in
// the order of their coming, and what waits meanwhile is committed together: each in a
// savepoint of its own, all with one wait for the disk. Nobody is answered before it.
//
// The work of a turn runs on its caller's own goroutine.
type writer struct {
	patience time.Duration // groupTime, but in tests

	path  string
	pool  *sqlx.DB // of one connection
	spare *spare
	log   logBounds

	mu      sync.Mutex
	busy    bool
	waiting []*waiter
	closed  bool

	// What follows belongs to whoever has the turn.
	conn   *sqlx.Conn
	stmts  statements
	group  *group
	narrow func(context.Context) (func(), error) // see DB.Narrow

	commits       atomic.Int64
	checkpointing atomic.Bool
}

// waiter is one who waits for a turn.
type waiter struct {
	ready chan struct{}
	taken bool // under writer.mu: ready is closed
}

// group is a transaction that several share.
type group struct {
	began time.Time
	size  int
	done  chan struct{}
	err   error // once done is closed: why nothing of the group is in the database
	free  func()
}

// What one commit takes in at most: more would not save much, and lets the first ones wait.
const (
	groupSize = 128
	groupTime = 5 * time.Millisecond
)

// turnWait is how long a writer waits for its turn: as long as SQLite's busy timeout.
const turnWait = 10 * time.Second

// errAgain tells a member of a group that fell through that it has to run alone.
var errAgain = errors.New("what was committed together fell through")

var errClosed = errors.New("the database is closed")

// do runs fn in a transaction that is on the disk when do returns nil.
func (w *writer) do(ctx context.Context, fn func(runner) error) error {
	err := w.once(ctx, fn)
	if sqliteFull(err) {
		w.makeRoom()
		err = w.once(ctx, fn)
	}
	return err
}

func (w *writer) once(ctx context.Context, fn func(runner) error) error {
	err := w.attempt(ctx, fn, false)
	if errors.Is(err, errAgain) {
		err = w.attempt(ctx, fn, true)
	}
	return err
}

// attempt runs fn as a part of the open group, or as the first of a new one. One that is
// alone shares its transaction with nobody, and so learns what is wrong with itself.
func (w *writer) attempt(ctx context.Context, fn func(runner) error, alone bool) error {
	err := w.take(ctx)
	if err != nil {
		return err
	}
	if alone && w.group != nil {
		w.end()
	}
	g, err := w.join(ctx)
	if err != nil {
		w.pass()
		return err
	}
	failed := errors.New("the transaction's function did not return") // it panicked, or ended its goroutine
	left := false
	defer func() {
		if !left {
			_ = w.leave(g, failed, alone) // the panic, or the end of the goroutine, says more
		}
	}()
	failed = fn(&session{w: w, ctx: ctx})
	left = true
	return w.leave(g, failed, alone)
}

// take waits for the turn.
func (w *writer) take(ctx context.Context) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	if !w.busy {
		w.busy = true
		w.mu.Unlock()
		return nil
	}
	me := &waiter{ready: make(chan struct{})}
	w.waiting = append(w.waiting, me)
	w.mu.Unlock()
	late := time.NewTimer(turnWait)
	defer late.Stop()
	var err error
	select {
	case <-me.ready:
		w.mu.Lock()
		defer w.mu.Unlock()
		if w.closed {
			return errClosed
		}
		return nil
	case <-ctx.Done():
		err = ctx.Err()
	case <-late.C:
		err = fmt.Errorf("another writer of this process holds the database: %w", sqlite3.Error{Code: sqlite3.ErrBusy})
	}
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return errClosed
	}
	if !me.taken {
		w.waiting = drop(w.waiting, me)
		w.mu.Unlock()
		return err
	}
	w.mu.Unlock()
	// The turn came in the same moment. The open group waits for whoever has it.
	if w.group != nil {
		w.end()
	}
	w.pass()
	return err
}

func drop(all []*waiter, one *waiter) []*waiter {
	for i := range all {
		if all[i] == one {
			return append(all[:i], all[i+1:]...)
		}
	}
	return all
}

// pass gives the turn to the next who waits.
func (w *writer) pass() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.waiting) == 0 {
		w.busy = false
		return
	}
	next := w.waiting[0]
	w.waiting = w.waiting[1:]
	next.taken = true
	close(next.ready)
}

// others reports whether somebody waits.
func (w *writer) others() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return len(w.waiting) > 0
}

// join opens a group, unless one is open, and a savepoint in it.
func (w *writer) join(ctx context.Context) (*group, error) {
	if w.group == nil {
		err := w.begin(ctx)
		if err != nil {
			return nil, err
		}
	}
	g := w.group
	err := w.exec("SAVEPOINT piece")
	if err != nil {
		w.abandon(err)
		return nil, fmt.Errorf("begin a transaction: %w", err)
	}
	g.size++
	return g, nil
}

func (w *writer) begin(ctx context.Context) error {
	free := func() {}
	if w.narrow != nil {
		var err error
		free, err = w.narrow(ctx)
		if err != nil {
			return err
		}
	}
	err := w.connect()
	if err == nil {
		err = w.exec("BEGIN IMMEDIATE")
	}
	if err != nil {
		free()
		w.disconnect(err)
		return fmt.Errorf("begin a transaction: %w", err)
	}
	w.group = &group{began: time.Now(), done: make(chan struct{}), free: free}
	return nil
}

// leave settles what a member did, and either hands the open group on to one who waits or
// ends it. It returns when what the member did is on the disk, or not in the database.
func (w *writer) leave(g *group, failed error, alone bool) error {
	if w.gone() {
		// SQLite undid the whole transaction, as it does when the disk is full. That is this
		// one's doing, so it is told so, and the others run again without it.
		w.abandon(failed)
		w.pass()
		if failed == nil && alone {
			return errors.New("the database undid the transaction")
		}
		return firstOf(failed, errAgain)
	}
	var err error
	if failed != nil {
		err = w.exec("ROLLBACK TO piece")
	}
	if err == nil {
		err = w.exec("RELEASE piece")
	}
	if err != nil {
		w.abandon(err)
		w.pass()
		return firstOf(failed, err)
	}
	if !alone && g.size < groupSize && time.Since(g.began) < w.patience && w.others() {
		w.pass()
		<-g.done
	} else {
		w.end()
		w.pass()
	}
	switch {
	case g.err == nil:
		return failed
	case alone || g.size == 1:
		return fmt.Errorf("commit: %w", g.err)
	}
	// What it saw, its own failure too, may not have come to be.
	return errAgain
}

// firstOf is the first that is one.
func firstOf(first, second error) error {
	if first != nil {
		return first
	}
	return second
}

// gone reports whether SQLite ended the transaction by itself.
func (w *writer) gone() bool {
	gone := true
	err := w.conn.Raw(func(c any) error {
		gone = c.(*sqlite3.SQLiteConn).AutoCommit()
		return nil
	})
	return gone || err != nil
}

// end commits the open group.
func (w *writer) end() {
	g := w.group
	err := w.exec("COMMIT")
	if err != nil {
		w.abandon(err)
		return
	}
	w.group = nil
	g.free()
	close(g.done)
	w.committed()
}

// abandon undoes the open group, for err.
func (w *writer) abandon(err error) {
	g := w.group
	_ = w.exec("ROLLBACK") // there is nothing left of it where SQLite undid it
	if !w.gone() {
		w.disconnect(err)
	}
	w.group = nil
	g.free()
	g.err = err
	if g.err == nil {
		g.err = errors.New("the transaction was undone")
	}
	close(g.done)
}

func (w *writer) connect() error {
	if w.conn != nil {
		return nil
	}
	conn, err := w.pool.Connx(context.Background())
	if err != nil {
		return err
	}
	// The log is copied into the database by checkpoints of our own, see committed.
	_, err = conn.ExecContext(context.Background(), fmt.Sprintf("PRAGMA wal_autocheckpoint = 0; PRAGMA journal_size_limit = %d", w.log.limit))
	if err != nil {
		_ = conn.Close() // the first error is the one to tell
		return err
	}
	w.conn = conn
	w.stmts = statements{}
	return nil
}

// disconnect gives up a connection that does not even begin or undo a transaction, unless
// it only met another process's lock.
func (w *writer) disconnect(err error) {
	if w.conn == nil || Transient(err) && w.gone() {
		return
	}
	w.stmts.close()
	_ = w.conn.Close() // another is opened for the next
	w.conn = nil
}

func (w *writer) exec(query string) error {
	stmt, err := w.stmts.get(w.conn, query)
	if err != nil {
		return err
	}
	_, err = stmt.Exec()
	return err
}

// close ends the connection when the turn is free.
func (w *writer) close() error {
	err := w.take(context.Background())
	if err != nil {
		return err
	}
	if w.group != nil {
		w.end()
	}
	w.mu.Lock()
	w.closed = true
	for _, other := range w.waiting {
		other.taken = true
		close(other.ready)
	}
	w.waiting = nil
	w.mu.Unlock()
	if w.conn != nil {
		w.stmts.close()
		err = w.conn.Close()
		w.conn = nil
	}
	return errors.Join(err, w.pool.Close())
}

// logBounds say how long the log grows before it is copied into the database: by somebody who
// is not in anybody's way, and, when that does not keep up, between two turns.
type logBounds struct {
	every       int64 // commits; to look costs little
	size, limit int64 // bytes
}

// largeLog is good on any disk that is not small.
var largeLog = logBounds{every: 64, size: 4 << 20, limit: 64 << 20}

// logFor are the bounds on a disk of so many bytes.
func logFor(disk int64) logBounds {
	if disk >= 8*largeLog.limit {
		return largeLog
	}
	return logBounds{every: 4, size: min(largeLog.size, max(disk/96, 128<<10)), limit: disk / 8}
}

// committed copies the log into the database now and then, beside the writers.
func (w *writer) committed() {
	if w.commits.Add(1)%w.log.every == 0 {
		w.checkpoint(w.log.limit)
	}
}

// checkpoint copies a log that has grown; one of more than limit bytes in this very turn.
func (w *writer) checkpoint(limit int64) {
	size := fileSize(w.path + "-wal")
	if size < w.log.size {
		return
	}
	if size > limit {
		// What is left of it; the next tries again. It answers with a row, so that a statement
		// that is kept would stay open, and nothing could be written beside it.
		_, _ = w.conn.ExecContext(context.Background(), "PRAGMA wal_checkpoint(PASSIVE)")
	}
	if w.checkpointing.Swap(true) {
		return
	}
	go func() {
		defer w.checkpointing.Store(false)
		db, err := sql.Open(sqliteDriver, sqliteAddress(w.path))
		if err != nil {
			return
		}
		defer db.Close()
		_, _ = db.Exec("PRAGMA wal_checkpoint(PASSIVE)") // as above
	}()
}

func fileSize(path string) int64 {
	info, err := os.Stat(path)
	if err != nil {
		return 0
	}
	return info.Size()
}

// statements are the prepared ones of a connection, by their text.
type statements map[string]*sqlx.Stmt

// statementsKept is how many a connection keeps: more than the program has, apart from those
// whose text depends on the number of their arguments.
const statementsKept = 1000

func (s statements) get(conn *sqlx.Conn, query string) (*sqlx.Stmt, error) {
	if stmt, ok := s[query]; ok {
		return stmt, nil
	}
	if len(s) >= statementsKept {
		for text, stmt := range s {
			_ = stmt.Close() // it is idle
			delete(s, text)
		}
	}
	stmt, err := conn.PreparexContext(context.Background(), query)
	if err != nil {
		return nil, err
	}
	s[query] = stmt
	return stmt, nil
}

func (s statements) close() {
	for _, stmt := range s {
		_ = stmt.Close() // its connection goes too
	}
}

// session is the writer in the turn of one caller. A statement is not interrupted: SQLite
// would undo the whole transaction, with what others did in it. A caller that has gone gets
// no further statement.
type session struct {
	w   *writer
	ctx context.Context
}

// steady is ctx without its end, which it gives beside.
func (s *session) steady(ctx context.Context) (context.Context, error) {
	return context.WithoutCancel(ctx), firstOf(ctx.Err(), s.ctx.Err())
}

func (s *session) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	ctx, err := s.steady(ctx)
	if err != nil {
		return nil, err
	}
	stmt, err := s.w.stmts.get(s.w.conn, query)
	if err != nil {
		return nil, err
	}
	return stmt.ExecContext(ctx, args...)
}

func (s *session) NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error) {
	query, args, err := sqlx.Named(query, arg)
	if err != nil {
		return nil, err
	}
	return s.ExecContext(ctx, query, args...)
}

func (s *session) GetContext(ctx context.Context, dest any, query string, args ...any) error {
	ctx, err := s.steady(ctx)
	if err != nil {
		return err
	}
	stmt, err := s.w.stmts.get(s.w.conn, query)
	if err != nil {
		return err
	}
	return stmt.GetContext(ctx, dest, args...)
}

func (s *session) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	ctx, err := s.steady(ctx)
	if err != nil {
		return err
	}
	stmt, err := s.w.stmts.get(s.w.conn, query)
	if err != nil {
		return err
	}
	return stmt.SelectContext(ctx, dest, args...)
}

// The following read row by row, and something else may run the same statement meanwhile: it
// is prepared for them alone.

func (s *session) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	ctx, err := s.steady(ctx)
	if err != nil {
		return nil, err
	}
	return s.w.conn.QueryContext(ctx, query, args...)
}

func (s *session) QueryxContext(ctx context.Context, query string, args ...any) (*sqlx.Rows, error) {
	ctx, err := s.steady(ctx)
	if err != nil {
		return nil, err
	}
	return s.w.conn.QueryxContext(ctx, query, args...)
}

func (s *session) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return s.w.conn.QueryRowContext(context.WithoutCancel(ctx), query, args...)
}

func (s *session) QueryRowxContext(ctx context.Context, query string, args ...any) *sqlx.Row {
	return s.w.conn.QueryRowxContext(context.WithoutCancel(ctx), query, args...)
}
