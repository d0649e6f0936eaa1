package schema

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"
)

func openWriter(t testing.TB) *DB {
	t.Helper()
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "k.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	_, err = db.Exec("CREATE TABLE a (n INTEGER PRIMARY KEY, t TEXT)")
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func insert(ctx context.Context, tx *Tx, n int) error {
	_, err := tx.ExecContext(ctx, "INSERT INTO a (n) VALUES (?)", n)
	return err
}

func rows(t *testing.T, db *DB) int {
	t.Helper()
	var n int
	err := db.GetContext(t.Context(), &n, "SELECT COUNT(*) FROM a")
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// together starts all the pieces so that they share one commit: a first one holds the turn
// until the others wait for theirs.
func together(t *testing.T, db *DB, pieces ...func(tx *Tx) error) []error {
	t.Helper()
	errs := make([]error, len(pieces))
	held, begun := make(chan struct{}), make(chan struct{})
	var first sync.Once
	var wg sync.WaitGroup
	wg.Add(1)
	go func() {
		defer wg.Done()
		err := db.Tx(t.Context(), func(*Tx) error {
			first.Do(func() { close(begun) }) // it may run again
			<-held
			return nil
		})
		if err != nil {
			t.Errorf("the first: %v", err)
		}
	}()
	<-begun
	for i, piece := range pieces {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() {
				if r := recover(); r != nil {
					errs[i] = fmt.Errorf("panic: %v", r)
				}
			}()
			errs[i] = db.Tx(t.Context(), piece)
		}()
		for waiting := i + 1; ; runtime.Gosched() {
			db.writer.mu.Lock()
			n := len(db.writer.waiting)
			db.writer.mu.Unlock()
			if n == waiting {
				break
			}
		}
	}
	db.writer.patience = time.Hour // on a slow machine too all of them share one commit
	close(held)
	wg.Wait()
	return errs
}

// What waits together is committed together, and what one of them does wrong is its own.
func TestCommitTogether(t *testing.T) {
	db := openWriter(t)
	mine := errors.New("mine")
	before := db.writer.commits.Load()
	errs := together(t, db,
		func(tx *Tx) error { return insert(t.Context(), tx, 1) },
		func(tx *Tx) error { return errors.Join(insert(t.Context(), tx, 2), mine) },
		func(tx *Tx) error { return insert(t.Context(), tx, 1) }, // there is one
		func(tx *Tx) error { _ = insert(t.Context(), tx, 3); panic("mine too") },
		func(tx *Tx) error { return insert(t.Context(), tx, 4) },
	)
	if errs[0] != nil || !errors.Is(errs[1], mine) || !Duplicate(errs[2]) || errs[3] == nil || errs[4] != nil {
		t.Errorf("%v", errs)
	}
	if n := db.writer.commits.Load() - before; n != 1 {
		t.Errorf("%d commits", n)
	}
	if n := rows(t, db); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// When SQLite undoes the whole transaction for one of its members, as it does when the disk
// is full, the others run again without it.
func TestOneMemberUndoesAll(t *testing.T) {
	db := openWriter(t)
	var runs atomic.Int64
	good := func(n int) func(tx *Tx) error {
		return func(tx *Tx) error { runs.Add(1); return insert(t.Context(), tx, n) }
	}
	errs := together(t, db, good(1), func(tx *Tx) error {
		_, err := tx.ExecContext(t.Context(), "INSERT OR ROLLBACK INTO a (n) VALUES (1)")
		return err
	}, good(2), good(3))
	if errs[0] != nil || !Duplicate(errs[1]) || errs[2] != nil || errs[3] != nil {
		t.Errorf("%v", errs)
	}
	if n := rows(t, db); n != 3 || runs.Load() != 4 {
		t.Errorf("%d rows after %d runs", n, runs.Load())
	}
}

// A database with no room left for what one member writes refuses that one alone.
func TestFullDatabaseRefusesOne(t *testing.T) {
	db := openWriter(t)
	_, err := db.Exec("PRAGMA max_page_count = 8")
	if err != nil {
		t.Fatal(err)
	}
	errs := together(t, db,
		func(tx *Tx) error { return insert(t.Context(), tx, 1) },
		func(tx *Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO a (n, t) VALUES (2, hex(zeroblob(1000000)))")
			return err
		},
		func(tx *Tx) error { return insert(t.Context(), tx, 3) },
	)
	var full sqlite3.Error
	if errs[0] != nil || !errors.As(errs[1], &full) || full.Code != sqlite3.ErrFull || errs[2] != nil {
		t.Errorf("%v", errs)
	}
	if n := rows(t, db); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// A commit that fails is nobody's success: who shared it tries alone.
func TestCommitFails(t *testing.T) {
	db := openWriter(t)
	_, err := db.Exec("CREATE TABLE b (a INTEGER REFERENCES a (n) DEFERRABLE INITIALLY DEFERRED)")
	if err != nil {
		t.Fatal(err)
	}
	errs := together(t, db,
		func(tx *Tx) error { return insert(t.Context(), tx, 1) },
		func(tx *Tx) error { // found out at the commit
			_, err := tx.ExecContext(t.Context(), "INSERT INTO b (a) VALUES (99)")
			return err
		},
		func(tx *Tx) error { return insert(t.Context(), tx, 2) },
	)
	if errs[0] != nil || !ForeignKey(errs[1]) || errs[2] != nil {
		t.Errorf("%v", errs)
	}
	if n := rows(t, db); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// Those who give up, panic or end their goroutine in the middle leave the turn to the next.
func TestTurnIsNeverLost(t *testing.T) {
	db := openWriter(t)
	var wg sync.WaitGroup
	var done atomic.Int64
	for i := range 400 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { _ = recover() }()
			ctx, stop := context.WithCancel(t.Context())
			defer stop()
			if i%4 == 0 {
				time.AfterFunc(time.Duration(i)*20*time.Microsecond, stop)
			}
			err := db.Tx(ctx, func(tx *Tx) error {
				err := insert(ctx, tx, i)
				switch {
				case i%10 == 3:
					panic("on purpose")
				case i%10 == 7:
					runtime.Goexit()
				}
				return err
			})
			switch {
			case err == nil:
				done.Add(1)
			case i%4 != 0 || !errors.Is(err, context.Canceled):
				t.Errorf("%d: %v", i, err)
			}
		}()
	}
	wg.Wait()
	if n := rows(t, db); int64(n) != done.Load() {
		t.Errorf("%d rows of %d that succeeded", n, done.Load())
	}
	if err := db.Tx(t.Context(), func(tx *Tx) error { return insert(t.Context(), tx, 1000) }); err != nil {
		t.Error(err)
	}
}

// A request that ends in the middle of its transaction undoes its own part and interrupts
// nothing of the others'.
func TestCallerGoesAway(t *testing.T) {
	db := openWriter(t)
	ctx, stop := context.WithCancel(t.Context())
	errs := together(t, db,
		func(tx *Tx) error { return insert(t.Context(), tx, 1) },
		func(tx *Tx) error {
			err := insert(ctx, tx, 2)
			stop()
			return errors.Join(err, insert(ctx, tx, 3))
		},
		func(tx *Tx) error { return insert(t.Context(), tx, 4) },
	)
	if errs[0] != nil || !errors.Is(errs[1], context.Canceled) || errs[2] != nil {
		t.Errorf("%v", errs)
	}
	if n := rows(t, db); n != 2 {
		t.Errorf("%d rows", n)
	}
}

// The log does not grow without end while writers never pause.
func TestLogIsCheckpointed(t *testing.T) {
	db := openWriter(t)
	_, err := db.Exec("INSERT INTO a (n) VALUES (1)")
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		_, err := db.Exec("UPDATE a SET t = ? WHERE n = 1", fmt.Sprintf("%d%0100000d", i, 0))
		if err != nil {
			t.Fatal(err)
		}
	}
	size := fileSize(db.writer.path + "-wal")
	if size > largeLog.limit+largeLog.limit/4 {
		t.Errorf("the log has %d bytes", size)
	}
	// Between two turns too, and the next turn finds nothing in its way.
	err = db.Tx(t.Context(), func(tx *Tx) error { return insert(t.Context(), tx, 2) })
	if err != nil {
		t.Fatal(err)
	}
	err = db.writer.take(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db.writer.checkpoint(0)
	db.writer.pass()
	err = db.Tx(t.Context(), func(tx *Tx) error { return insert(t.Context(), tx, 3) })
	if err != nil {
		t.Error(err)
	}
}

// A closed database answers, and at once.
func TestWriteAfterClose(t *testing.T) {
	db := openWriter(t)
	err := db.Close()
	if err != nil {
		t.Fatal(err)
	}
	_, err = db.Exec("INSERT INTO a (n) VALUES (1)")
	if !errors.Is(err, errClosed) {
		t.Error(err)
	}
}

func BenchmarkCommit(b *testing.B) {
	for _, writers := range []int{1, 8, 64} {
		b.Run(fmt.Sprint(writers), func(b *testing.B) {
			db := openWriter(b)
			var next atomic.Int64
			b.ResetTimer()
			var wg sync.WaitGroup
			for range writers {
				wg.Add(1)
				go func() {
					defer wg.Done()
					for {
						n := next.Add(1)
						if n > int64(b.N) {
							return
						}
						err := db.Tx(b.Context(), func(tx *Tx) error { return insert(b.Context(), tx, int(n)) })
						if err != nil {
							b.Error(err)
						}
					}
				}()
			}
			wg.Wait()
			b.ReportMetric(float64(db.writer.commits.Load())/float64(b.N), "commits/op")
		})
	}
}
