package schema_test

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"kilonova/schema"
)

// TestWatchEndsSessions: what a host's account leaves open or lets run is ended, whatever
// its session has set; sessions that behave are left alone.
func TestWatchEndsSessions(t *testing.T) {
	h := newTwoHosts(t)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		h.wide.WatchHostAccounts(ctx, slog.New(slog.NewTextHandler(io.Discard, nil)))
	}()
	t.Cleanup(func() { stop(); <-done })

	lift := []string{"SET SESSION max_statement_time = 0, wait_timeout = 1000000, interactive_timeout = 1000000, net_write_timeout = 1000000",
		"SET SESSION idle_transaction_timeout = 0, idle_readonly_transaction_timeout = 0, idle_write_transaction_timeout = 0, max_session_mem_used = 1000000000000"}
	naughty := map[string][]string{
		"a long sleep":                       {"SELECT SLEEP(120)"},
		"a long sum":                         {"SELECT BENCHMARK(1000000000000000, MD5('x'))"},
		"a long sum with a clock of its own": {"SET timestamp = 4102444800", "SELECT BENCHMARK(1000000000000000, MD5('x'))"},
		"rows without an end":                {"SET max_recursive_iterations = 4294967295", "WITH RECURSIVE t AS (SELECT 1 AS n UNION ALL SELECT n + 1 FROM t) SELECT COUNT(*) FROM t"},
		"a loop over long statements":        {"BEGIN NOT ATOMIC WHILE 1 DO DO SLEEP(20); END WHILE; END"},
		"waiting for its own":                {"SELECT GET_LOCK('" + h.main + "', 1000)", "SELECT SLEEP(100)"},
		"old rows kept":                      {"START TRANSACTION WITH CONSISTENT SNAPSHOT", ""},
		"much memory":                        {"SET @a = REPEAT('x', 15000000)", "SET @b = CONCAT(@a, 'b'), @c = CONCAT(@a, 'c')", ""},
	}
	good := session(t, h.mine)
	var all sync.WaitGroup
	for name, stmts := range naughty {
		c := session(t, h.open(t))
		all.Add(1)
		go func() {
			defer all.Done()
			for _, st := range append(slices.Clone(lift), stmts...) {
				if st == "" {
					continue // it stays idle
				}
				_, err := c.ExecContext(context.Background(), st)
				if errors.Is(err, mysql.ErrInvalidConn) || errors.Is(err, driver.ErrBadConn) {
					break // it was ended
				}
				if err != nil {
					t.Errorf("%s: %.60s: %v", name, st, err)
				}
			}
			waitGone(t, h.wide, name, c.id)
		}()
	}
	all.Wait()
	_, err := good.ExecContext(context.Background(), "CALL kn_queue()")
	if err != nil {
		t.Errorf("the session that did nothing wrong: %v", err)
	}
}

// one is a session of a database, with its number there.
type one struct {
	*sql.Conn
	id int64
}

func session(t *testing.T, db *schema.DB) *one {
	t.Helper()
	c, err := db.Conn(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() }) // it may have been ended
	s := &one{Conn: c}
	err = c.QueryRowContext(context.Background(), "SELECT CONNECTION_ID()").Scan(&s.id)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// open logs in as the host's account once more.
func (h *twoHosts) open(t *testing.T) *schema.DB {
	t.Helper()
	db, err := schema.Open(context.Background(), h.cred.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	return db
}

func waitGone(t *testing.T, db *schema.DB, name string, id int64) {
	t.Helper()
	var n int
	for range 300 {
		err := db.Get(&n, "SELECT COUNT(*) FROM information_schema.processlist WHERE id = ?", id)
		if err != nil {
			t.Errorf("look for the session of %s: %v", name, err)
			return
		}
		if n == 0 {
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	var what string
	_ = db.Get(&what, "SELECT CONCAT_WS(' ', command, time, state, info, memory_used) FROM information_schema.processlist WHERE id = ?", id)
	t.Errorf("the session of %s is still there: %s", name, strings.TrimSpace(what))
}
