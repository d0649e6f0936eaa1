package apitest

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/jmoiron/sqlx"

	"kilonova/schema"
)

// Counting opens a new SQLite database that counts the statements it is sent.
func Counting(t testing.TB) (*schema.DB, *atomic.Int64) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kilonova.db")
	db, err := schema.Open(t.Context(), file)
	if err == nil {
		err = db.Migrate(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
	c := &connector{driver: db.Driver(), file: "file:" + file + "?_txlock=immediate&_foreign_keys=1"}
	counted := sqlx.NewDb(sql.OpenDB(c), "sqlite3")
	t.Cleanup(func() { _, _ = counted.Close(), db.Close() }) // the test is over
	return &schema.DB{DB: counted, Dialect: schema.SQLite}, &c.statements
}

type connector struct {
	driver     driver.Driver
	file       string
	statements atomic.Int64
}

func (c *connector) Driver() driver.Driver { return c.driver }

func (c *connector) Connect(context.Context) (driver.Conn, error) {
	inner, err := c.driver.Open(c.file)
	if err != nil {
		return nil, err
	}
	return conn{inner, c}, nil
}

// conn counts, and leaves the rest to the driver.
type conn struct {
	driver.Conn
	from *connector
}

func (c conn) BeginTx(ctx context.Context, o driver.TxOptions) (driver.Tx, error) {
	return c.Conn.(driver.ConnBeginTx).BeginTx(ctx, o)
}

func (c conn) QueryContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Rows, error) {
	c.from.statements.Add(1)
	return c.Conn.(driver.QueryerContext).QueryContext(ctx, query, args)
}

func (c conn) ExecContext(ctx context.Context, query string, args []driver.NamedValue) (driver.Result, error) {
	c.from.statements.Add(1)
	return c.Conn.(driver.ExecerContext).ExecContext(ctx, query, args)
}

// Indexed fails when a statement reads a whole table, other than one that it derives from
// rows that an index has found.
func Indexed(t testing.TB, db *schema.DB, statement string, args ...any) {
	t.Helper()
	explain := "EXPLAIN "
	if db.Dialect == schema.SQLite {
		explain = "EXPLAIN QUERY PLAN "
	}
	rows, err := db.QueryxContext(t.Context(), explain+statement, args...)
	if err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
	defer func() { _ = rows.Close() }() // nothing is left to read
	for rows.Next() {
		row := map[string]any{}
		err = rows.MapScan(row)
		if err != nil {
			t.Fatal(err)
		}
		whole := strings.HasPrefix(text(row["detail"]), "SCAN ")
		if db.Dialect == schema.MySQL {
			whole = text(row["type"]) == "ALL" || text(row["type"]) == "index"
		}
		name := text(row["detail"]) + text(row["table"])
		if whole && !strings.Contains(name, "mine") && !strings.Contains(name, "<derived") && !strings.Contains(name, "CONSTANT") {
			t.Errorf("a whole table is read: %v by %s", row, statement)
		}
	}
	err = rows.Err()
	if err != nil {
		t.Fatal(err)
	}
}

// text gives a column's text, which MariaDB's driver hands out as bytes.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return v
	case []byte:
		return string(v)
	}
	return ""
}
