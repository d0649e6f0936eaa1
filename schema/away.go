package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"

	"github.com/go-sql-driver/mysql"
	"github.com/mattn/go-sqlite3"
)

// mysqlAway are the refusals of MariaDB and MySQL, beside those that are tried again at once,
// that are about the server's state and not about the statement.
var mysqlAway = map[uint16]string{
	1026: "a file could not be written",
	1030: "the storage engine failed",
	1037: "the server has no memory left",
	1038: "the server has no memory left for sorting",
	1040: "there are too many connections",
	1041: "the server has no memory left for the connection",
	1045: "the account may not log in",
	1049: "the server has no such database, yet or any more",
	1129: "the server takes no connections from here",
	1152: "the connection was aborted",
	1184: "the connection was aborted",
	1203: "the account has too many connections",
	1226: "the account has used up what it may",
	1290: "the server is read-only",
	1792: "the server is read-only",
	1836: "the server is read-only",
	1969: "the statement took too long",
	3024: "the statement took too long",
	3032: "the server takes no new connections",
	4031: "the server ended an idle connection",
}

// sqliteAway are the same of SQLite.
var sqliteAway = map[sqlite3.ErrNo]string{
	sqlite3.ErrNomem:     "there is no memory left",
	sqlite3.ErrReadonly:  "the file system is read-only",
	sqlite3.ErrInterrupt: "the statement was interrupted",
	sqlite3.ErrIoErr:     "the disk failed",
	sqlite3.ErrCantOpen:  "the file cannot be opened",
	sqlite3.ErrAuth:      "the file cannot be accessed",
	sqlite3.ErrPerm:      "the file cannot be accessed",
}

// errUnreached says that no connection to the database came about.
var errUnreached = errors.New("the database is not reached")

// reaching marks what keeps a connection from coming about: a network's errors look the same
// wherever they come from, and clients have networks too.
type reaching struct{ driver.Connector }

func (c reaching) Connect(ctx context.Context) (driver.Conn, error) {
	conn, err := c.Connector.Connect(ctx)
	if err != nil && !errors.Is(err, context.Canceled) {
		return nil, fmt.Errorf("%w: %w", errUnreached, err)
	}
	return conn, err
}

// Away reports whether err is about the database's state: it could not be reached, not be
// heard to the end, has no room, or is held by others for longer than a statement waits. The
// same statement may succeed later. Whoever serves clients says so (503); it is true of what
// Transient knows too, when trying again at once was no use.
func Away(err error) bool {
	var my *mysql.MySQLError
	if errors.As(err, &my) {
		_, ok := mysqlAway[my.Number]
		if ok {
			return true
		}
	}
	var lite sqlite3.Error
	if errors.As(err, &lite) {
		_, ok := sqliteAway[lite.Code]
		if ok {
			return true
		}
	}
	for _, one := range []error{errUnreached, ErrUnknownOutcome, errClosed, sql.ErrConnDone, context.DeadlineExceeded} {
		if errors.Is(err, one) {
			return true
		}
	}
	return Full(err) || Transient(err)
}

// Answers asks the database for something that is in it.
func (db *DB) Answers(ctx context.Context) error {
	var n int
	err := db.DB.GetContext(ctx, &n, "SELECT COUNT(*) FROM goose_db_version WHERE version_id = 0")
	if err != nil {
		return fmt.Errorf("ask the database: %w", err)
	}
	return nil
}
