package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/mattn/go-sqlite3"
)

func TestTransient(t *testing.T) {
	for n := range mysqlTransient {
		if !Transient(fmt.Errorf("insert: %w", &mysql.MySQLError{Number: n})) {
			t.Errorf("error %d is not tried again", n)
		}
	}
	tests := []struct {
		err  error
		want bool
	}{
		{sqlite3.Error{Code: sqlite3.ErrBusy}, true}, {sqlite3.Error{Code: sqlite3.ErrLocked}, true},
		{sqlite3.Error{Code: sqlite3.ErrFull}, false}, {sqlite3.Error{Code: sqlite3.ErrConstraint}, false},
		{&mysql.MySQLError{Number: 1062}, false}, {&mysql.MySQLError{Number: 1406}, false}, {&mysql.MySQLError{Number: 1045}, false},
		{driver.ErrBadConn, true}, {mysql.ErrInvalidConn, true}, {commitError(mysql.ErrInvalidConn), false},
		{commitError(&mysql.MySQLError{Number: 1927}), false}, {commitError(&mysql.MySQLError{Number: 1213}), true},
		{errors.New("dial tcp: connection refused"), false}, {context.DeadlineExceeded, false},
	}
	for _, tt := range tests {
		if got := Transient(fmt.Errorf("x: %w", tt.err)); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}

// Whatever writes tries again: a transaction, and a statement alone.
func TestWritersTryAgain(t *testing.T) {
	for n := range mysqlTransient {
		tries := 0
		err := again(t.Context(), func() error {
			tries++
			if tries < 4 {
				return &mysql.MySQLError{Number: n}
			}
			return nil
		})
		if err != nil || tries != 4 {
			t.Errorf("error %d: %d tries, %v", n, tries, err)
		}
	}
	tries := 0
	err := again(t.Context(), func() error { tries++; return commitError(mysql.ErrInvalidConn) })
	if tries != 1 || !errors.Is(err, ErrUnknownOutcome) {
		t.Errorf("an unknown outcome: %d tries, %v", tries, err)
	}
}

// A writer that never pauses does not keep the others out, and those who wait hold no
// connection that a reader needs.
func TestWritersTakeTurns(t *testing.T) {
	db, err := Open(t.Context(), filepath.Join(t.TempDir(), "k.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.ExecContext(t.Context(), "CREATE TABLE a (n INTEGER)")
	if err != nil {
		t.Fatal(err)
	}
	const hold = 5 * time.Millisecond
	ctx, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	for range 12 { // more than there are connections
		wg.Add(1)
		go func() {
			defer wg.Done()
			for ctx.Err() == nil {
				err := db.Tx(context.WithoutCancel(ctx), func(tx *Tx) error {
					_, err := tx.ExecContext(t.Context(), "INSERT INTO a VALUES (1)")
					time.Sleep(hold)
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		}()
	}
	time.Sleep(10 * hold)
	for range 10 {
		start := time.Now()
		var n int
		err = db.Get(&n, "SELECT COUNT(*) FROM a")
		read := time.Since(start)
		if err != nil {
			t.Error(err)
		}
		_, err = db.ExecContext(t.Context(), "INSERT INTO a VALUES (2)")
		if err != nil {
			t.Error(err)
		}
		if wrote := time.Since(start) - read; read > 100*hold || wrote > 100*hold {
			t.Errorf("a read took %v, a write %v", read, wrote)
		}
	}
	stop()
	wg.Wait()
}
