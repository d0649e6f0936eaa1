package work

import "sync"

// API is the name under which the API's side listens for finished work.
const API = "api"

// Bell tells a host, or API, that there may be work for it. A lost ring costs a polling
// interval and nothing else, so ringing never fails and never waits.
type Bell interface {
	Ring(name string)
}

// Bells is the Bell inside one process: each listener has a channel of its own.
type Bells struct {
	mu sync.Mutex
	by map[string]chan struct{}
}

// NewBells makes an empty hub.
func NewBells() *Bells { return &Bells{by: map[string]chan struct{}{}} }

// Listen gives the channel that rings for name; several rings may become one.
func (b *Bells) Listen(name string) <-chan struct{} { return b.channel(name) }

// Ring wakes the listener of name, if it sleeps.
func (b *Bells) Ring(name string) {
	select {
	case b.channel(name) <- struct{}{}:
	default: // it has not yet heard the last ring
	}
}

func (b *Bells) channel(name string) chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	c := b.by[name]
	if c == nil {
		c = make(chan struct{}, 1)
		b.by[name] = c
	}
	return c
}
