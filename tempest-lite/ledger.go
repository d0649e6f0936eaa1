package tempestlite

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
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
		if gophercloud.ResponseCodeIs(err, http.StatusNotImplemented) {
			break // it will not learn it
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(time.Duration(try+1) * 300 * time.Millisecond):
		}
	}
	return fmt.Errorf("removing %s: %w", e.what, err)
}

// Close takes away what the run has made, and says what it could not remove: the servers
// first and several at a time, for they take longest; then the rest, last first.
func (c *Cloud) Close(ctx context.Context) []error {
	if c.cfg.Keep {
		return nil
	}
	c.ledger.mu.Lock()
	entries := slices.Clone(c.ledger.entries)
	c.ledger.mu.Unlock()
	slices.Reverse(entries)
	errs := make([]error, len(entries))
	var servers sync.WaitGroup
	slots := make(chan struct{}, 8)
	for i, e := range entries {
		if !e.isServer() {
			continue
		}
		slots <- struct{}{}
		servers.Go(func() {
			errs[i] = e.clear(ctx)
			<-slots
		})
	}
	servers.Wait()
	for i, e := range entries {
		if !e.isServer() {
			errs[i] = e.clear(ctx)
		}
	}
	return slices.DeleteFunc(errs, func(err error) bool { return err == nil })
}

func (e *entry) isServer() bool {
	id, ok := strings.CutPrefix(e.what, "/servers/")
	return ok && !strings.Contains(id, "/") || strings.HasPrefix(e.what, "server ")
}
