package tempestlite

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

// Ledger is the list of what the run has made for itself, to be taken away at its end.
// Only what is in it is ever deleted.
type Ledger struct {
	mu      sync.Mutex
	entries []*entry
}

type entry struct {
	what   string
	remove func(context.Context) error
	gone   atomic.Bool
}

// Left names what was made and is not yet taken away.
func (l *Ledger) Left() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []string
	for _, e := range l.entries {
		if !e.gone.Load() {
			out = append(out, e.what)
		}
	}
	return out
}

// add notes a thing that was made. The returned function takes it away early.
func (l *Ledger) add(what string, remove func(context.Context) error) (early func(context.Context) error) {
	e := &entry{what: what, remove: remove}
	l.mu.Lock()
	l.entries = append(l.entries, e)
	l.mu.Unlock()
	return func(ctx context.Context) error { return e.clear(ctx) }
}

// clear removes a thing, with patience: what uses it may take a moment to go.
func (e *entry) clear(ctx context.Context) error {
	if e.gone.Load() {
		return nil
	}
	var err error
	for try := range 6 {
		err = e.remove(ctx)
		if err == nil || gophercloud.ResponseCodeIs(err, http.StatusNotFound) {
			e.gone.Store(true)
			return nil
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try+1) * 300 * time.Millisecond):
		}
	}
	return fmt.Errorf("removing %s: %w", e.what, err)
}

// Close takes away what the run has made, last first, and says what it could not remove.
func (c *Cloud) Close(ctx context.Context) []error {
	if c.cfg.Keep {
		return nil
	}
	c.ledger.mu.Lock()
	entries := slices.Clone(c.ledger.entries)
	c.ledger.mu.Unlock()
	var errs []error
	for i := len(entries) - 1; i >= 0; i-- {
		err := entries[i].clear(ctx)
		if err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}
