package computed

import (
	"context"
	"fmt"
	"time"

	"kilonova/schema"
	"kilonova/work"
)

// imageCleaner is a driver that keeps a cache of images.
type imageCleaner interface {
	CleanCache(ctx context.Context, olderThan time.Duration) ([]string, error)
}

// Base images that no guest uses are kept for a day, as Nova does: the next server of the
// same image starts at once.
const (
	cleanEvery = time.Hour
	keepImages = 24 * time.Hour
)

// cleanImages removes base images that are no longer needed, now and then.
func (a *Agent) cleanImages(ctx context.Context) {
	cleaner, ok := a.Driver.(imageCleaner)
	if !ok {
		return
	}
	for {
		pause(ctx, cleanEvery)
		if ctx.Err() != nil {
			return
		}
		gone, err := cleaner.CleanCache(ctx, keepImages)
		if err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "clean the image cache", "err", err)
		}
		if len(gone) > 0 {
			a.Log.InfoContext(ctx, "base images removed", "images", len(gone))
		}
	}
}

// reconciles compares the hypervisor with the database now and then: after a crash, a
// reboot of the host, or events that were missed.
func (a *Agent) reconciles(ctx context.Context) {
	wait := min(a.Reconcile, 2*time.Second) // soon after the start
	for {
		pause(ctx, wait)
		if ctx.Err() != nil {
			return
		}
		wait = a.Reconcile
		found, err := a.reconcile(ctx)
		if err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "compare with the hypervisor", "err", err)
		}
		if found {
			wait = min(a.Reconcile, 5*time.Second) // strange guests are looked at again before they go
		}
	}
}

type serverRow struct {
	UUID       string          `db:"uuid"`
	PowerState work.PowerState `db:"power_state"`
	TaskState  *string         `db:"task_state"`
	VMState    string          `db:"vm_state"`
}

// reconcile reports power states that differ and destroys guests that no row of this host
// knows, when it sees them for the second time. It tells whether it saw such guests.
func (a *Agent) reconcile(ctx context.Context) (bool, error) {
	guests, err := a.Driver.Instances(ctx)
	if err != nil {
		return false, fmt.Errorf("list guests: %w", err)
	}
	var rows []serverRow
	err = a.ask(ctx, &rows, schema.AskServers)
	if err != nil {
		return false, fmt.Errorf("list servers: %w", err)
	}
	var busy []string
	err = a.ask(ctx, &busy, schema.AskBusy)
	if err != nil {
		return false, fmt.Errorf("list work: %w", err)
	}
	known := map[string]bool{}
	for _, id := range busy {
		known[id] = true
	}
	state := map[string]work.PowerState{}
	for _, g := range guests {
		state[g.UUID] = g.State
	}
	for i := range rows {
		row := &rows[i]
		known[row.UUID] = true
		now, there := state[row.UUID]
		if !there {
			now = work.NoState
		}
		if now != row.PowerState && row.TaskState == nil && row.VMState != "building" {
			a.tellPower(ctx, row.UUID, now)
		}
	}
	return a.destroyStrangers(ctx, guests, known), nil
}

func (a *Agent) destroyStrangers(ctx context.Context, guests []work.Instance, known map[string]bool) bool {
	a.mu.Lock()
	before := a.strange
	a.strange = map[string]bool{}
	for _, g := range guests {
		if !known[g.UUID] && a.busy[g.UUID] == nil {
			a.strange[g.UUID] = true
		}
	}
	now := a.strange
	a.mu.Unlock()
	for id := range now {
		if !before[id] {
			continue
		}
		a.Log.WarnContext(ctx, "destroying a guest that is not this host's any more", "server", id)
		args := &work.Args{Guest: work.Guest{UUID: id}}
		err := runSteps(ctx, destroy(a, args), false, func(context.Context, *Step) error { return nil })
		if err != nil {
			a.Log.WarnContext(ctx, "destroy a stranger", "server", id, "err", err)
		}
	}
	return len(now) > 0
}

// follow reports power changes as they happen.
func (a *Agent) follow(ctx context.Context) {
	for e := range a.Driver.Events(ctx) {
		a.tellPower(ctx, e.UUID, e.State)
	}
}

// tellPower writes a power state that nobody here asked for. What follows from it is the
// API's to decide.
func (a *Agent) tellPower(ctx context.Context, uuid string, p work.PowerState) {
	_, err := a.tell(ctx, schema.TellPower, p, uuid)
	if err != nil && ctx.Err() == nil {
		a.Log.WarnContext(ctx, "report a power state", "server", uuid, "err", err)
	}
}
