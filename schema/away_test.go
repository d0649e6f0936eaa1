package schema

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"testing"

	"github.com/go-sql-driver/mysql"
	"github.com/mattn/go-sqlite3"
)

func TestAway(t *testing.T) {
	for _, numbers := range []map[uint16]string{mysqlAway, mysqlTransient} {
		for n := range numbers {
			if !Away(fmt.Errorf("insert: %w", &mysql.MySQLError{Number: n})) {
				t.Errorf("error %d is taken for a mistake", n)
			}
		}
	}
	tests := []struct {
		err  error
		want bool
	}{
		{sqlite3.Error{Code: sqlite3.ErrBusy}, true}, {sqlite3.Error{Code: sqlite3.ErrFull}, true}, {sqlite3.Error{Code: sqlite3.ErrIoErr}, true},
		{driver.ErrBadConn, true}, {mysql.ErrInvalidConn, true}, {commitError(mysql.ErrInvalidConn), true},
		{sql.ErrConnDone, true}, {context.DeadlineExceeded, true}, {errClosed, true},
		{sqlite3.Error{Code: sqlite3.ErrConstraint}, false}, {sqlite3.Error{Code: sqlite3.ErrCorrupt}, false}, {sqlite3.Error{Code: sqlite3.ErrError}, false},
		{&mysql.MySQLError{Number: 1062}, false}, {&mysql.MySQLError{Number: 1064}, false}, {&mysql.MySQLError{Number: 1146}, false},
		{sql.ErrNoRows, false}, {context.Canceled, false},
		// A client's network is not the database's.
		{io.EOF, false}, {io.ErrUnexpectedEOF, false}, {os.ErrDeadlineExceeded, false}, {&net.OpError{Op: "read", Err: errors.New("reset")}, false},
	}
	for _, tt := range tests {
		if got := Away(fmt.Errorf("x: %w", tt.err)); got != tt.want {
			t.Errorf("%v: %v", tt.err, got)
		}
	}
}

// No connection is one of the ways to be away, whatever the network says.
func TestUnreachedIsAway(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	_, err = Open(t.Context(), "root:x@tcp("+address+")/kilonova")
	if err == nil || !Away(err) {
		t.Errorf("nobody listens: %v", err)
	}
}
