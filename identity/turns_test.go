package identity

import (
	"context"
	"fmt"
	"testing"
	"time"
)

// waits reports whether nobody got a place, or the 429, within a moment.
func waits(c chan error) bool {
	select {
	case <-c:
		return false
	case <-time.After(20 * time.Millisecond):
		return true
	}
}

func TestTurns(t *testing.T) {
	turns := newTurns(1)
	ctx, cancel := context.WithCancel(context.Background())
	enter := func(ctx context.Context, address string) chan error {
		c := make(chan error, 1)
		n := turns.waitingNow()
		go func() { c <- turns.enter(ctx, address) }()
		for range 1000 { // until it waits or has its answer
			if turns.waitingNow() > n || len(c) > 0 {
				break
			}
			time.Sleep(time.Millisecond)
		}
		return c
	}
	if err := <-enter(ctx, "a"); err != nil {
		t.Fatal(err)
	}
	var greedy []chan error
	for range waitingEach {
		greedy = append(greedy, enter(ctx, "a"))
	}
	if err := <-enter(ctx, "a"); err == nil {
		t.Error("one more of an address that has enough waiting")
	}
	other := enter(ctx, "b")
	turns.leave() // to the first of a
	if err := <-greedy[0]; err != nil || !waits(other) {
		t.Errorf("the first = %v", err)
	}
	turns.leave()
	if err := <-other; err != nil || !waits(greedy[1]) {
		t.Errorf("the other address, before the second of the first = %v", err)
	}
	for i := range waitingAll {
		enter(ctx, fmt.Sprint("many ", i))
	}
	if err := <-enter(ctx, "last"); err == nil {
		t.Error("one more when enough wait in all")
	}
	cancel()
	for range 1000 {
		if turns.waitingNow() == 0 {
			break
		}
		time.Sleep(time.Millisecond)
	}
	turns.leave()
	if turns.free != 1 || turns.all != 0 || len(turns.waiting) != 0 || len(turns.order) != 0 {
		t.Errorf("left: %d free, %d waiting, %v, %v", turns.free, turns.all, turns.waiting, turns.order)
	}
}

func (t *turns) waitingNow() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.all
}
