package identity

import (
	"context"
	"slices"
	"sync"
)

// turns gives a few places to the many who want one, in turn by address: whoever sends
// logins faster than they can be checked waits behind the own ones, and everybody else
// behind no more than one of each address.
type turns struct {
	mu      sync.Mutex
	free    int
	waiting map[string][]chan struct{} // by address, first come first
	order   []string                   // of addresses with somebody waiting
	all     int
}

// How many may wait, in all and of one address. The next is told to come back.
const (
	waitingAll  = 256
	waitingEach = 32
)

func newTurns(places int) *turns { return &turns{free: places, waiting: map[string][]chan struct{}{}} }

// enter waits for a place, or is a 429 Fault when too many do.
func (t *turns) enter(ctx context.Context, address string) error {
	t.mu.Lock()
	if t.free > 0 {
		t.free--
		t.mu.Unlock()
		return nil
	}
	if t.all >= waitingAll || len(t.waiting[address]) >= waitingEach {
		t.mu.Unlock()
		return tooMany(1)
	}
	turn := make(chan struct{})
	if len(t.waiting[address]) == 0 {
		t.order = append(t.order, address)
	}
	t.waiting[address] = append(t.waiting[address], turn)
	t.all++
	t.mu.Unlock()
	select {
	case <-turn:
		return nil
	case <-ctx.Done():
		t.giveUp(address, turn)
		return tooMany(1) // nobody waits for this answer any more
	}
}

// leave gives the place to the next.
func (t *turns) leave() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.all == 0 {
		t.free++
		return
	}
	address := t.order[0]
	t.order = t.order[1:]
	turn := t.waiting[address][0]
	t.waiting[address] = t.waiting[address][1:]
	t.all--
	if len(t.waiting[address]) > 0 {
		t.order = append(t.order, address)
	} else {
		delete(t.waiting, address)
	}
	close(turn)
}

// giveUp ends the waiting for a turn that may have come meanwhile.
func (t *turns) giveUp(address string, turn chan struct{}) {
	t.mu.Lock()
	at := slices.Index(t.waiting[address], turn)
	if at >= 0 {
		t.waiting[address] = slices.Delete(t.waiting[address], at, at+1)
		t.all--
		if len(t.waiting[address]) == 0 {
			delete(t.waiting, address)
			t.order = slices.DeleteFunc(t.order, func(a string) bool { return a == address })
		}
	}
	t.mu.Unlock()
	if at < 0 {
		t.leave()
	}
}
