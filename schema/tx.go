package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"
)

// Tx is a transaction; the packages' statements run on it by its sqlx methods.
type Tx struct {
	runner
	Dialect Dialect
}

// runner is what runs the statements of a transaction: sqlx's own, or a turn of the writer.
type runner interface {
	Querier
	NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error)
	QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row
}

// Querier is what both DB and Tx can do: a method that takes one may run inside a
// transaction or outside.
type Querier interface {
	sqlx.QueryerContext
	sqlx.ExecerContext
	GetContext(ctx context.Context, dest any, query string, args ...any) error
	SelectContext(ctx context.Context, dest any, query string, args ...any) error
}

// Tx runs fn in a transaction and commits it. When the database says that the transaction
// lost a deadlock, waited too long for a lock or met a busy node, also at the commit, the
// whole of fn runs again after a jittered wait, so fn touches nothing but tx and variables
// that it sets anew.
//
// On SQLite the writers of a process go one after the other in the order in which they came,
// and those who wait for the disk wait together (see writer). What Tx answered is there after
// a power cut.
//
// A connection that breaks at the commit leaves the outcome unknown: the error then is
// ErrUnknownOutcome, and a caller that must know looks for a key that it chose before.
func (db *DB) Tx(ctx context.Context, fn func(tx *Tx) error) error {
	err := spared(ctx)
	if err != nil {
		return err
	}
	return again(ctx, func() error { return db.tryTx(ctx, fn) })
}

func (db *DB) tryTx(ctx context.Context, fn func(tx *Tx) error) error {
	if db.writer != nil {
		return db.writer.do(ctx, func(r runner) error { return fn(&Tx{runner: r, Dialect: db.Dialect}) })
	}
	tx, err := db.writePool().BeginTxx(ctx, nil)
	if err != nil {
		return fmt.Errorf("begin a transaction: %w", err)
	}
	defer func() {
		_ = tx.Rollback() // after a commit this does nothing
	}()
	err = fn(&Tx{runner: tx, Dialect: db.Dialect})
	if err != nil {
		return err
	}
	err = tx.Commit()
	if err != nil {
		return fmt.Errorf("commit: %w", commitError(err))
	}
	return nil
}

// How often, and for how long, Settled asks.
const (
	settleEvery = 100 * time.Millisecond
	settleFor   = 15 * time.Second
)

// Settled finds out what became of a commit whose answer was lost: happened looks for what
// the transaction wrote, by a key that was chosen before. It gives nil when it is there, and
// err when not, or when the database does not come back for long. Any other err it gives as
// it is.
func (db *DB) Settled(ctx context.Context, err error, happened func(context.Context) (bool, error)) error {
	if !errors.Is(err, ErrUnknownOutcome) {
		return err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), settleFor)
	defer cancel()
	for {
		did, askErr := happened(ctx)
		switch {
		case askErr == nil && did:
			return nil
		case askErr == nil:
			return err
		case ctx.Err() != nil:
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(settleEvery):
		}
	}
}

// ExecContext runs one statement as a transaction of its own, with the retries of Tx.
func (db *DB) ExecContext(ctx context.Context, query string, args ...any) (sql.Result, error) {
	return db.one(ctx, func(on statement) (sql.Result, error) { return on.ExecContext(ctx, query, args...) })
}

// NamedExecContext is ExecContext with the arguments in a struct or map.
func (db *DB) NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error) {
	return db.one(ctx, func(on statement) (sql.Result, error) { return on.NamedExecContext(ctx, query, arg) })
}

// statement is what runs one.
type statement interface {
	sqlx.ExecerContext
	NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error)
}

func (db *DB) one(ctx context.Context, exec func(on statement) (sql.Result, error)) (sql.Result, error) {
	var res sql.Result
	err := spared(ctx)
	if err != nil {
		return nil, err
	}
	err = again(ctx, func() (err error) {
		if db.writer != nil {
			return db.writer.do(ctx, func(r runner) error {
				res, err = exec(r)
				return err
			})
		}
		res, err = exec(db.writePool())
		if err != nil {
			return commitError(err) // the statement is its own commit
		}
		return nil
	})
	return res, err
}

// MySQL error numbers, as its manual lists them.
const (
	mysqlDuplicate   = 1062
	mysqlForeignKey1 = 1451
	mysqlForeignKey2 = 1452
)

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
