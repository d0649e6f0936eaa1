package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
)

// Tx is a transaction; the packages' statements run on it by its sqlx methods.
type Tx struct {
	*sqlx.Tx
	Dialect Dialect
}

// Querier is what both DB and Tx can do: a method that takes one may run inside a
// transaction or outside.
type Querier interface {
	sqlx.ExtContext
	GetContext(ctx context.Context, dest any, query string, args ...any) error
	SelectContext(ctx context.Context, dest any, query string, args ...any) error
}

const (
	txAttempts  = 12
	txFirstWait = 2 * time.Millisecond
	txMaxWait   = 250 * time.Millisecond
)

// Tx runs fn in a transaction and commits it. When the database says that the transaction
// lost a deadlock, waited too long for a lock or met a busy node, also at the commit, the
// whole of fn runs again after a jittered wait, so fn touches nothing but tx and variables
// that it sets anew.
//
// A connection that breaks at the commit leaves the outcome unknown: the error then is
// ErrUnknownOutcome, and a caller that must know looks for a key that it chose before.
func (db *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	wait := txFirstWait
	for attempt := 1; ; attempt++ {
		err := db.tryTx(ctx, fn)
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

func (db *DB) tryTx(ctx context.Context, fn func(tx *Tx) error) error {
	tx, err := db.BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() {
		_ = tx.Rollback() // after a commit this does nothing
	}()
	err = fn(&Tx{Tx: tx, Dialect: db.Dialect})
	if err != nil {
		return err
	}
	err = tx.Commit()
	if err != nil && lostConnection(err) {
		return fmt.Errorf("commit: %w: %w", ErrUnknownOutcome, err)
	}
	if err != nil {
		return fmt.Errorf("commit: %w", err)
	}
	return nil
}

// ErrUnknownOutcome says that a commit was sent and its answer lost: it may have happened.
var ErrUnknownOutcome = errors.New("the outcome of a commit is unknown")

// Away reports whether err says that the database could not be reached, or not be heard to
// the end: the same statement may succeed when it is back.
func Away(err error) bool {
	var network net.Error
	return lostConnection(err) || errors.Is(err, sql.ErrConnDone) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.As(err, &network) || errors.Is(err, context.DeadlineExceeded)
}

func lostConnection(err error) bool {
	return errors.Is(err, driver.ErrBadConn) || errors.Is(err, mysql.ErrInvalidConn)
}

// MySQL error numbers, as its manual lists them.
const (
	mysqlDuplicate   = 1062
	mysqlLockWait    = 1205
	mysqlDeadlock    = 1213
	mysqlNotReady    = 1047 // a Galera node that has lost its cluster
	mysqlForeignKey1 = 1451
	mysqlForeignKey2 = 1452
)

// Transient reports whether the database refused err's transaction for a reason that may
// be gone at the next try.
func Transient(err error) bool {
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return my.Number == mysqlDeadlock || my.Number == mysqlLockWait || my.Number == mysqlNotReady
	}
	var lite sqlite3.Error
	if errors.As(err, &lite) {
		return lite.Code == sqlite3.ErrBusy || lite.Code == sqlite3.ErrLocked
	}
	return false
}

// Duplicate reports whether err is the refusal of a second row with a unique key.
func Duplicate(err error) bool {
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return my.Number == mysqlDuplicate
	}
	var lite sqlite3.Error
	if errors.As(err, &lite) {
		return lite.ExtendedCode == sqlite3.ErrConstraintUnique || lite.ExtendedCode == sqlite3.ErrConstraintPrimaryKey
	}
	return false
}

// ForeignKey reports whether err is the refusal of a row whose parent is missing, or of the
// removal of a parent that has children.
func ForeignKey(err error) bool {
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		return my.Number == mysqlForeignKey1 || my.Number == mysqlForeignKey2
	}
	var lite sqlite3.Error
	if errors.As(err, &lite) {
		return lite.ExtendedCode == sqlite3.ErrConstraintForeignKey
	}
	return false
}

// Changed tells whether the statement matched a row: false is a lost compare-and-set.
func Changed(res interface{ RowsAffected() (int64, error) }, err error) (bool, error) {
	if err != nil {
		return false, err
	}
	n, err := res.RowsAffected()
	return n > 0, err
}
