package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/mattn/go-sqlite3"

	"kilonova/room"
)

// spare keeps an SQLite database alive on a full disk. Files beside it hold disk, which is
// given up when a write finds none, and taken again when there is room. Before it comes to
// that, and until all of it is back, the disk is scarce: what can wait is refused (see
// DB.Spare), so that reads, deletes and what hosts report have the little that is left.
type spare struct {
	path  string
	disk  int64 // the size of it
	probe func(string) (room.Space, error)

	run   room.Reserve // given up by a write
	start room.Reserve // given up by a start alone, so that no restart finds nothing at all
	low   int64        // with less than this free the disk is scarce
	least int64        // what a start needs

	scarce atomic.Bool
	kept   atomic.Bool // somebody runs DB.KeepSpare
	mu     sync.Mutex
}

// What is held for the database, at most: of a small disk it is a part.
const (
	spareRun   = 64 << 20
	spareStart = 1 << 20
	spareLow   = 256 << 20
)

func newSpare(path string) (*spare, error) {
	s := &spare{path: path, probe: room.Of}
	disk, err := s.probe(path)
	if err != nil {
		return nil, err
	}
	s.disk = disk.Size
	s.run = room.Reserve{Path: path + ".reserve", Size: min(spareRun, disk.Size/16)}
	s.start = room.Reserve{Path: path + ".reserve-start", Size: min(spareStart, disk.Size/64)}
	s.low = min(spareLow, disk.Size/20)
	s.least = 2 * s.start.Size
	return s, nil
}

// opening makes sure that a database can be opened, which makes files and writes a little.
func (s *spare) opening() {
	for _, r := range []room.Reserve{s.run, s.start} {
		disk, err := s.probe(s.path)
		if err != nil || disk.Free >= s.least {
			return
		}
		s.scarce.Store(true)
		if r.GiveUp() {
			slog.Warn("the database's disk is full: it starts on its reserve", "database", s.path, "bytes", r.Size)
		}
	}
}

// full is told that a write found no disk, and reports whether it gave some up.
func (s *spare) full() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.scarce.Store(true)
	if !s.run.GiveUp() {
		return false
	}
	slog.Error("the database's disk is full: it lives on its reserve, and what can wait is refused until there is room", "database", s.path, "bytes", s.run.Size)
	return true
}

// look finds out how scarce the disk is, and takes back what was given up.
func (s *spare) look(log *slog.Logger) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	disk, err := s.probe(s.path)
	if err != nil {
		return err
	}
	was := s.scarce.Load()
	missing := int64(0)
	for _, r := range []room.Reserve{s.start, s.run} {
		if r.Whole() {
			continue
		}
		missing += r.Size
		// Room that comes and goes is not taken: the disk would be scarce again at once.
		if disk.Free < 2*s.low+missing {
			continue
		}
		err = errors.Join(err, r.Take())
	}
	whole := s.run.Whole()
	switch {
	case disk.Free < s.low || !whole:
		s.scarce.Store(true)
	case disk.Free >= s.low+s.low/2:
		s.scarce.Store(false)
	}
	switch is := s.scarce.Load(); {
	case is && !was:
		log.Warn("the database's disk is nearly full: what can wait is refused until there is room", "database", s.path, "free", disk.Free, "reserve", s.run.Held())
	case was && !is:
		log.Info("the database's disk has room again", "database", s.path, "free", disk.Free)
	}
	return err
}

// closed takes what a start may need, or what there is of it, from the room that the
// database's own files gave back.
func (s *spare) closed() {
	if !s.kept.Load() || s.start.Whole() {
		return
	}
	s.start.GiveUp()
	disk, err := s.probe(s.path)
	if err != nil {
		return
	}
	part := room.Reserve{Path: s.start.Path, Size: min(s.start.Size, disk.Free)}
	if part.Size > 0 {
		_ = part.Take() // the next start finds what there is
	}
}

// spareEvery is how often the disk is looked at.
const spareEvery = time.Second

// KeepSpare holds disk for an SQLite database until ctx ends, and watches what is left. One
// process does so for all that have the database open.
func (db *DB) KeepSpare(ctx context.Context, log *slog.Logger) {
	if db.spare == nil {
		return
	}
	db.spare.kept.Store(true)
	told := false
	tick := time.NewTicker(spareEvery)
	defer tick.Stop()
	for {
		err := db.spare.look(log)
		if err != nil && !told {
			log.Warn("no disk is held for the database", "err", err)
		}
		told = err != nil
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// ErrScarce refuses what can wait. It is told once that the disk is scarce, not of each that
// is refused.
var ErrScarce = fmt.Errorf("the database's disk is nearly full: %w", room.ErrFull)

type spareKey struct{}

// Spare is a context of something that can wait until there is disk again: while that is
// scarce, as it is now, all that it writes is refused with an error that is Full. What began
// before is not cut short.
func (db *DB) Spare(ctx context.Context) context.Context {
	if db.spare == nil || !db.spare.scarce.Load() {
		return ctx
	}
	return context.WithValue(ctx, spareKey{}, true)
}

func spared(ctx context.Context) error {
	if ctx.Value(spareKey{}) != nil {
		return ErrScarce
	}
	return nil
}

// mysqlFull are the words of MariaDB and MySQL for a full disk.
var mysqlFull = map[uint16]bool{
	3: true, 1021: true, 1026: true, // a file could not be written
	1114: true, // a table, or the disk under it, is full
}

// Full reports whether err says that there is no disk: nothing of the transaction is in the
// database, and what frees some may go on.
func Full(err error) bool {
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return mysqlFull[my.Number]
	}
	return sqliteFull(err) || room.Full(err)
}

func sqliteFull(err error) bool {
	var lite sqlite3.Error
	if !errors.As(err, &lite) {
		return false
	}
	switch lite.Code {
	case sqlite3.ErrFull:
		return true
	case sqlite3.ErrIoErr, sqlite3.ErrCantOpen:
		return lite.SystemErrno == syscall.ENOSPC || lite.SystemErrno == syscall.EDQUOT || lite.ExtendedCode == sqlite3.ErrIoErrSHMSize
	}
	return false
}

// makeRoom gives up what is held for a write that found no disk, and lets the log be used
// from its beginning again.
func (w *writer) makeRoom() {
	w.spare.full()
	db, err := sql.Open(sqliteDriver, sqliteAddress(w.path))
	if err != nil {
		return
	}
	defer db.Close()
	_, _ = db.Exec("PRAGMA wal_checkpoint(PASSIVE)") // the write that is tried again tells
}
