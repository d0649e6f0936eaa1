package schema

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/mattn/go-sqlite3"
)

// mysqlTransient are the refusals of MariaDB and MySQL after which the same transaction may
// go through. All of them leave nothing of it behind.
var mysqlTransient = map[uint16]string{
	1020: "a row changed since this transaction read it",
	1047: "a Galera node is not ready",
	1053: "the server is shutting down",
	1158: "the connection broke while reading",
	1159: "the connection timed out while reading",
	1160: "the connection broke while writing",
	1161: "the connection timed out while writing",
	1180: "a Galera cluster refused the commit",
	1205: "a lock was waited for too long",
	1206: "the lock table is full",
	1213: "a deadlock was found",
	1317: "the statement was interrupted",
	1412: "a migration changed the table",
	1467: "the storage engine could not read its counter",
	1615: "the statement must be prepared again",
	1637: "there are too many transactions",
	1689: "a migration waits for the table",
	1927: "the connection was killed",
}

// sqliteTransient are the same of SQLite.
var sqliteTransient = map[sqlite3.ErrNo]string{
	sqlite3.ErrBusy:     "another writer holds the database",
	sqlite3.ErrLocked:   "another connection holds the table",
	sqlite3.ErrProtocol: "the log's locks are contended",
}

// Transient reports whether the database refused err's transaction for a reason that may
// be gone at the next try. A connection that was lost is one, unless it was lost at the
// commit: what was not committed is gone.
func Transient(err error) bool {
	if errors.Is(err, ErrUnknownOutcome) {
		return false
	}
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		_, ok := mysqlTransient[my.Number]
		return ok
	}
	var lite sqlite3.Error
	if errors.As(err, &lite) {
		_, ok := sqliteTransient[lite.Code]
		return ok
	}
	return lostConnection(err)
}

// ErrUnknownOutcome says that a commit was sent and its answer lost: it may have happened.
var ErrUnknownOutcome = errors.New("the outcome of a commit is unknown")

func lostConnection(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn)
}

// commitError tells of a commit whose answer was lost. With ErrBadConn it was never sent.
func commitError(err error) error {
	var my *mysql.MySQLError
	lost := errors.Is(err, mysql.ErrInvalidConn) || errors.As(err, &my) && (my.Number >= 1158 && my.Number <= 1161 || my.Number == 1927 || my.Number == 1053)
	if lost {
		return fmt.Errorf("%w: %w", ErrUnknownOutcome, err)
	}
	return err
}

const (
	txAttempts  = 12
	txFirstWait = 2 * time.Millisecond
	txMaxWait   = 250 * time.Millisecond
)

// again runs fn until it does not fail for a transient reason, with jittered waits.
func again(ctx context.Context, fn func() error) error {
	wait := txFirstWait
	for attempt := 1; ; attempt++ {
		err := fn()
		if err == nil || !Transient(err) || attempt == txAttempts {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(wait/2 + rand.N(wait)):
		}
		wait = min(wait*2, txMaxWait)
	}
}
