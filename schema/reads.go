package schema

import (
	"context"
	"strings"
	"sync"

	"github.com/jmoiron/sqlx"
)

// readStatements are the prepared ones of SQLite's readers, by their text: to prepare a join
// takes SQLite longer than to run it. MariaDB is sent each statement in one round trip.
type readStatements struct {
	mu sync.RWMutex
	by map[string]*sqlx.Stmt
}

// manyArguments is in the text of statements whose length is that of a list: those hardly
// come twice.
const manyArguments = "?, ?, ?, ?, ?"

// prepared is the statement query, or nil where it is better sent as it is.
func (db *DB) prepared(query string) *sqlx.Stmt {
	if db.writer == nil || strings.Contains(query, manyArguments) {
		return nil
	}
	r := &db.reads
	r.mu.RLock()
	stmt, full := r.by[query], len(r.by) >= statementsKept
	r.mu.RUnlock()
	if stmt != nil || full {
		return stmt
	}
	stmt, err := db.DB.PreparexContext(context.Background(), query)
	if err != nil {
		return nil // whoever runs it will be told
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if other := r.by[query]; other != nil {
		_ = stmt.Close() // nobody has it yet
		return other
	}
	if r.by == nil {
		r.by = map[string]*sqlx.Stmt{}
	}
	r.by[query] = stmt
	return stmt
}

// GetContext is sqlx's, with the statement prepared once.
func (db *DB) GetContext(ctx context.Context, dest any, query string, args ...any) error {
	if stmt := db.prepared(query); stmt != nil {
		return stmt.GetContext(ctx, dest, args...)
	}
	return db.DB.GetContext(ctx, dest, query, args...)
}

// SelectContext is sqlx's, with the statement prepared once.
func (db *DB) SelectContext(ctx context.Context, dest any, query string, args ...any) error {
	if stmt := db.prepared(query); stmt != nil {
		return stmt.SelectContext(ctx, dest, args...)
	}
	return db.DB.SelectContext(ctx, dest, query, args...)
}
