package libvirt

import (
	"context"
	"sync"
	"time"

	virt "libvirt.org/go/libvirt"

	"kilonova/work"
)

// eventHub passes power changes from libvirt's event loop to those who listen.
type eventHub struct {
	changed chan string // uuids whose state may have changed

	mu        sync.Mutex
	listeners map[chan work.Instance]bool
	busy      map[string]int       // operations of our own under way, by uuid
	quiet     map[string]time.Time // until when changes count as our own
}

// echo is how long after an operation its events may still come.
const echo = 500 * time.Millisecond

func (h *eventHub) init() {
	h.changed = make(chan string, 1024)
	h.listeners = map[chan work.Instance]bool{}
	h.busy = map[string]int{}
	h.quiet = map[string]time.Time{}
}

// own marks changes of the guest as our own until the result is called, and shortly after.
func (h *eventHub) own(uuid string) func() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.busy[uuid]++
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		h.busy[uuid]--
		if h.busy[uuid] == 0 {
			delete(h.busy, uuid)
		}
		now := time.Now()
		for u, t := range h.quiet {
			if now.After(t) {
				delete(h.quiet, u)
			}
		}
		h.quiet[uuid] = now.Add(echo)
	}
}

func (h *eventHub) isOwn(uuid string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.busy[uuid] > 0 || time.Now().Before(h.quiet[uuid])
}

// send gives the event to all listeners; one that does not keep up loses it.
func (h *eventHub) send(i work.Instance) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for l := range h.listeners {
		select {
		case l <- i:
		default:
		}
	}
}

// onLifecycle runs on libvirt's event loop and must not call libvirt's daemon.
func (d *Driver) onLifecycle(_ *virt.Connect, dom *virt.Domain, e *virt.DomainEventLifecycle) {
	switch e.Event {
	case virt.DOMAIN_EVENT_DEFINED, virt.DOMAIN_EVENT_UNDEFINED:
		return
	}
	uuid, err := dom.GetUUIDString()
	if err != nil || d.events.isOwn(uuid) {
		return
	}
	select {
	case d.events.changed <- uuid:
	default: // the periodic sync sees it
	}
}

// tell looks up what became of changed guests and sends it to the listeners.
func (d *Driver) tell() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	for {
		select {
		case <-d.closed:
			return
		case uuid := <-d.events.changed:
			var inst work.Instance
			ours := false
			err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
				i, o, err := instance(dom)
				inst, ours = i, o
				return err
			})
			if err != nil {
				d.log.Debug("look at changed guest", "server", uuid, "err", err)
				continue
			}
			if ours {
				d.events.send(inst)
			}
		}
	}
}

// Events tells of power changes that nobody here asked for, until ctx ends.
func (d *Driver) Events(ctx context.Context) <-chan work.Instance {
	l := make(chan work.Instance, 256)
	d.events.mu.Lock()
	d.events.listeners[l] = true
	d.events.mu.Unlock()
	out := make(chan work.Instance)
	go func() { // ends with ctx or with the driver
		defer close(out)
		defer func() {
			d.events.mu.Lock()
			delete(d.events.listeners, l)
			d.events.mu.Unlock()
		}()
		for {
			select {
			case <-ctx.Done():
				return
			case <-d.closed:
				return
			case i := <-l:
				select {
				case out <- i:
				case <-ctx.Done():
					return
				case <-d.closed:
					return
				}
			}
		}
	}()
	return out
}
