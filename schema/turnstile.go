package schema

import (
	"context"
	"fmt"
	"time"

	"github.com/mattn/go-sqlite3"
)

// turnstile lets one writer at a time to a database that has room for one, in the order of
// their coming: SQLite's own waiting is by chance, so that one that writes without a pause
// keeps others out. A nil turnstile lets everybody through.
type turnstile chan struct{}

// turnWait is how long a writer waits for its turn: as long as SQLite's busy timeout.
const turnWait = 10 * time.Second

// take waits for the caller's turn and gives what ends it.
func (t turnstile) take(ctx context.Context) (end func(), err error) {
	if t == nil {
		return func() {}, nil
	}
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	default:
	}
	late := time.NewTimer(turnWait)
	defer late.Stop()
	select {
	case t <- struct{}{}:
		return func() { <-t }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-late.C:
		return nil, fmt.Errorf("another writer of this process holds the database: %w", sqlite3.Error{Code: sqlite3.ErrBusy})
	}
}
