package schema

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/mattn/go-sqlite3"

	"kilonova/room"
	"kilonova/room/roomtest"
)

// onADisk is a database that keeps its spare on a small disk of its own.
func onADisk(t *testing.T, dir string) (db *DB, end func()) {
	t.Helper()
	db, err := Open(context.Background(), filepath.Join(dir, "kilonova.db"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	kept := make(chan struct{})
	go func() {
		defer close(kept)
		db.KeepSpare(ctx, slog.New(slog.DiscardHandler))
	}()
	end = func() {
		cancel()
		<-kept
		err := db.Close()
		if err != nil {
			t.Errorf("close: %v", err)
		}
	}
	return db, end
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, so func() bool) {
	t.Helper()
	for range 600 {
		if so() {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Fatalf("it never came to be that %s", what)
}

func roomy(db *DB) bool { return spared(db.Spare(context.Background())) == nil }

// TestADatabaseOutlivesAFullDisk: with a disk that others have filled to the last byte it
// starts, reads, changes and deletes; what can wait is refused; and when there is room all is
// as before, with no help.
func TestADatabaseOutlivesAFullDisk(t *testing.T) {
	dir := roomtest.Disk(t, "24m")
	db, end := onADisk(t, dir)
	defer func() { end() }()
	ctx := t.Context()
	must := func(query string, args ...any) {
		t.Helper()
		_, err := db.ExecContext(ctx, query, args...)
		if err != nil {
			t.Fatalf("%.40s: %v", query, err)
		}
	}
	must("CREATE TABLE a (n INTEGER PRIMARY KEY, t TEXT)")
	for i := range 500 {
		must("INSERT INTO a (n, t) VALUES (?, ?)", i, strings.Repeat("x", 500))
	}
	eventually(t, "the disk is held", func() bool { return db.spare.run.Whole() && db.spare.start.Whole() && roomy(db) })
	release := roomtest.Fill(t, dir, 0)
	eventually(t, "what can wait is refused", func() bool { return !roomy(db) })
	_, err := db.ExecContext(db.Spare(ctx), "INSERT INTO a (n) VALUES (-1)")
	if !Full(err) {
		t.Errorf("what can wait: %v", err)
	}
	err = db.Tx(db.Spare(ctx), func(*Tx) error { t.Error("it ran"); return nil })
	if !Full(err) {
		t.Errorf("a transaction that can wait: %v", err)
	}
	// What cannot wait is written, on the reserve when there is nothing else.
	added := 0
	for ; db.spare.run.Held() > 0; added++ {
		must("INSERT INTO a (n, t) VALUES (?, ?)", 1000+added, strings.Repeat("y", 500))
		if added > 20000 {
			t.Fatal("the reserve was never given up")
		}
	}
	for i := range 400 {
		must("DELETE FROM a WHERE n = ?", i)
	}
	for range 3 {
		roomtest.Fill(t, dir, 0)
		end()
		roomtest.Fill(t, dir, 0)
		db, end = onADisk(t, dir)
		if n := rows(t, db); n != 100+added {
			t.Fatalf("%d rows after a start with a full disk, want %d", n, 100+added)
		}
		if roomy(db) {
			t.Error("a start with a full disk thinks that there is room")
		}
		must("UPDATE a SET t = 'z' WHERE n = 1001")
	}
	release()
	eventually(t, "the disk is held again", func() bool { return roomy(db) && db.spare.run.Whole() && db.spare.start.Whole() })
	_, err = db.ExecContext(db.Spare(ctx), "INSERT INTO a (n) VALUES (-1)")
	if err != nil {
		t.Errorf("with room again: %v", err)
	}
}

// TestAFullDiskIsAnErrorAndNoMore: when nothing at all is left a write fails, is there not
// even in part, and the next one with room goes through on the same database.
func TestAFullDiskIsAnErrorAndNoMore(t *testing.T) {
	dir := roomtest.Disk(t, "24m")
	db, err := Open(context.Background(), filepath.Join(dir, "kilonova.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	_, err = db.Exec("CREATE TABLE a (n INTEGER PRIMARY KEY, t TEXT)")
	if err != nil {
		t.Fatal(err)
	}
	release := roomtest.Fill(t, dir, 0)
	big := strings.Repeat("x", 1<<20)
	for i := range 3 {
		err = db.Tx(t.Context(), func(tx *Tx) error {
			_, err := tx.ExecContext(t.Context(), "INSERT INTO a (n) VALUES (?)", i)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(t.Context(), "INSERT INTO a (n, t) VALUES (?, ?)", 100+i, big)
			return err
		})
		if !Full(err) || Transient(err) {
			t.Errorf("a write on a full disk: %v", err)
		}
		_, err = db.Exec("INSERT INTO a (n, t) VALUES (?, ?)", 200+i, big)
		if !Full(err) {
			t.Errorf("a statement on a full disk: %v", err)
		}
	}
	if n := rows(t, db); n != 0 {
		t.Errorf("%d rows of what failed", n)
	}
	release()
	for i, err := range together(t, db,
		func(tx *Tx) error { return insert(t.Context(), tx, 1) },
		func(tx *Tx) error { return insert(t.Context(), tx, 2) },
	) {
		if err != nil {
			t.Errorf("write %d with room again: %v", i, err)
		}
	}
	if n := rows(t, db); n != 2 {
		t.Errorf("%d rows", n)
	}
}

func TestFull(t *testing.T) {
	for _, tt := range []struct {
		err  error
		want bool
	}{
		{sqlite3.Error{Code: sqlite3.ErrFull}, true},
		{sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EDQUOT}, true},
		{sqlite3.Error{Code: sqlite3.ErrCantOpen, SystemErrno: syscall.ENOSPC}, true},
		{sqlite3.Error{Code: sqlite3.ErrIoErr, ExtendedCode: sqlite3.ErrIoErrSHMSize}, true},
		{sqlite3.Error{Code: sqlite3.ErrIoErr, SystemErrno: syscall.EIO}, false},
		{sqlite3.Error{Code: sqlite3.ErrBusy, SystemErrno: syscall.ENOSPC}, false},
		{&mysql.MySQLError{Number: 1114}, true},
		{&mysql.MySQLError{Number: 1021}, true},
		{&mysql.MySQLError{Number: 1062}, false},
		{room.ErrFull, true}, {ErrScarce, true}, {syscall.ENOSPC, true}, {errors.New("x"), false}, {nil, false},
	} {
		if Full(fmt.Errorf("do a thing: %w", tt.err)) != tt.want {
			t.Errorf("Full(%#v) is %v", tt.err, !tt.want)
		}
	}
}
