package tempestlite

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// pool keeps servers for the checks that change them. A check takes one in the state that
// it needs and has it to itself; what it leaves behind goes back by the state that it is
// in then, so that servers go round: one check stops it, another starts it.
type pool struct {
	free map[shelf][]string // ids
	full bool               // waiting for room has led nowhere
}

// noRoom begins the reason of a check that a quota kept from running.
const noRoom = "the project's quota has no room, and these credentials may not raise it: "

// makeRoom deletes a server of the pool that no check has, or waits a while for one.
func (f *fixtures) makeRoom(ctx context.Context) bool {
	const patience = 40
	for try := range patience {
		id, full := f.takeAny()
		if id != "" {
			return f.cloud.deleteServer(Member, id)(ctx) == nil
		}
		if full && try > 0 {
			return false
		}
		select {
		case <-ctx.Done():
			return false
		case <-time.After(250 * time.Millisecond):
		}
	}
	f.mu.Lock()
	f.pool.full = true
	f.mu.Unlock()
	return false
}

// takeAny takes whatever server is free.
func (f *fixtures) takeAny() (id string, full bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for place, free := range f.pool.free {
		if n := len(free); n > 0 {
			f.pool.free[place] = free[:n-1]
			return free[n-1], false
		}
	}
	return "", f.pool.full
}

// shelf is a place in the pool. Most checks have nothing to do with a server's network, and
// a port is the dearest part of it: half of what a run costs Nova had been asked of the
// network service. So their servers have none, where the cloud lets a server be without.
type shelf struct {
	status  string
	plugged bool // into the member's network
}

// A way from ACTIVE to each status that servers can be asked into.
var ways = map[string][]struct {
	action map[string]any
	status string
}{
	"SHUTOFF":           {{map[string]any{"os-stop": nil}, "SHUTOFF"}},
	"PAUSED":            {{map[string]any{"pause": nil}, "PAUSED"}},
	"SUSPENDED":         {{map[string]any{"suspend": nil}, "SUSPENDED"}},
	"RESCUE":            {{map[string]any{"rescue": nil}, "RESCUE"}},
	"SHELVED_OFFLOADED": {{map[string]any{"shelve": nil}, "SHELVED_OFFLOADED"}},
	"VERIFY_RESIZE":     {{nil, "VERIFY_RESIZE"}}, // the body names a flavor
	"ERROR":             {{map[string]any{"os-resetState": map[string]any{"state": "error"}}, "ERROR"}},
	"ACTIVE":            nil,
}

// withoutNetwork is the first microversion at which a server can be had without a network.
const withoutNetwork Version = 37

// Server is the id of a server of the member's project, in a status, that the check has to
// itself until it ends. It may be without a network.
func (t *T) Server(status string) string {
	return t.fromPool(shelf{status, t.Cloud.Max < withoutNetwork})
}

// Plugged is Server for a check that has to do with the server's network.
func (t *T) Plugged(status string) string { return t.fromPool(shelf{status, true}) }

func (t *T) fromPool(want shelf) string {
	_, known := ways[want.status]
	if !known {
		t.Fatalf("no way is known to a server that is %s", want.status)
	}
	id := t.takeFree(want)
	if id != "" {
		t.Cleanup(func(ctx context.Context) { t.giveBack(ctx, id, want.plugged) })
		return id
	}
	id = t.takeFree(shelf{"ACTIVE", want.plugged})
	if id == "" {
		return t.lead(t.newForPool(want.plugged), want.status)
	}
	t.Cleanup(func(ctx context.Context) { t.giveBack(ctx, id, want.plugged) })
	return t.lead(id, want.status)
}

func (t *T) newForPool(plugged bool) string {
	v, extra := First, map[string]any(nil)
	if !plugged {
		v, extra = withoutNetwork, map[string]any{"networks": "none"}
	}
	id := t.Must(Member, v, "POST", "/servers", t.ServerBody(Member, extra), 202).Str("server", "id")
	t.Cloud.ledger.add("server "+id, t.Cloud.deleteServer(Member, id))
	t.Cleanup(func(ctx context.Context) { t.giveBack(ctx, id, plugged) })
	t.WaitStatus(Member, First, id, "ACTIVE")
	return id
}

// lead brings a server that runs to a status.
func (t *T) lead(id, status string) string {
	for _, step := range ways[status] {
		action, as, code := step.action, Member, 202
		switch step.status {
		case "VERIFY_RESIZE":
			action = map[string]any{"resize": map[string]any{"flavorRef": t.Flavor(1)}}
		case "RESCUE":
			code = 200
		case "ERROR":
			as = Admin // nobody else may
		}
		t.Must(as, First, "POST", "/servers/"+id+"/action", action, code)
		if step.status == "SHELVED_OFFLOADED" {
			t.offload(id)
			continue
		}
		t.WaitStatus(Member, First, id, step.status)
	}
	return id
}

// flavorIn is the flavor of a server of the pool: the second while a resize waits to be
// confirmed (a migration waits too, with the first), else the first.
func (t *T) flavorIn(status string) string {
	if status == "VERIFY_RESIZE" {
		return t.Flavor(1)
	}
	return t.Flavor(0)
}

func (t *T) takeFree(want shelf) string {
	t.fix.mu.Lock()
	defer t.fix.mu.Unlock()
	free := t.fix.pool.free[want]
	if len(free) == 0 {
		return ""
	}
	id := free[len(free)-1]
	t.fix.pool.free[want] = free[:len(free)-1]
	return id
}

// giveBack puts a server into the pool if it is in a state that others may want. Any other
// is deleted: what the failure of a check has left is nothing to go on with.
func (t *T) giveBack(ctx context.Context, id string, plugged bool) {
	resp, err := t.Cloud.send(ctx, request{as: Member, version: First, method: "GET", path: "/servers/" + id})
	if err != nil || resp.Status == 404 {
		return
	}
	status := resp.Str("server", "status")
	_, known := ways[status]
	usable := known && !t.Failed() && resp.Get("server", "OS-EXT-STS:task_state") == nil &&
		resp.Str("server", "flavor", "id") == t.flavorIn(status) &&
		len(fmt.Sprint(resp.Get("server", "metadata"))) <= len("map[]") && status != "ERROR"
	if !usable {
		_ = t.Cloud.deleteAs(t.Cloud.maker(), "/servers/"+id)(ctx)
		return
	}
	t.fix.mu.Lock()
	defer t.fix.mu.Unlock()
	place := shelf{status, plugged}
	if !slices.Contains(t.fix.pool.free[place], id) {
		t.fix.pool.free[place] = append(t.fix.pool.free[place], id)
	}
}
