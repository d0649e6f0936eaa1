package computed_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/uuid"

	"kilonova/computed"
	"kilonova/computed/sim"
	"kilonova/room"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

func (d *desk) exec(stmt string, args ...any) {
	d.t.Helper()
	_, err := d.db.Exec(stmt, args...)
	if err != nil {
		d.t.Fatal(err)
	}
}

// running waits until the host has taken a piece of work up.
func (d *desk) running(n int64) {
	d.t.Helper()
	for range 1000 {
		var state work.State
		err := d.db.Get(&state, "SELECT state FROM work WHERE id = ?", n)
		if err != nil {
			d.t.Fatal(err)
		}
		if state == work.Running {
			return
		}
		time.Sleep(time.Millisecond)
	}
	d.t.Fatalf("work %d never runs", n)
}

// stuckHost is a host whose only slot is held by a spawn that takes an hour.
func stuckHost(t *testing.T, db *schema.DB) (d *desk, world *sim.World, server string, spawn int64) {
	t.Helper()
	d, world, server = newDesk(t, db), sim.NewWorld(), uuid.NewString()
	drv := sim.New(sim.Options{World: world, Hostname: "h", Latency: func(c sim.Call) time.Duration {
		if c.Op == sim.OpFetchImage && c.UUID == server {
			return time.Hour
		}
		return 0
	}})
	t.Cleanup(runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h", Parallel: 1}))
	d.server(server)
	spawn = d.queue(server, work.Spawn, 1, argsFor(work.Spawn, server, nil))
	d.running(spawn)
	return d, world, server, spawn
}

// TestFullSlotsHideNothing: a host with no room for more work, and with a queue longer than
// it looks at in one go, still answers reads, deletes, and sees what is superseded.
func TestFullSlotsHideNothing(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		d, world, stuck, spawn := stuckHost(t, db)
		for range 250 {
			id := uuid.NewString()
			d.queue(id, work.Start, 1, argsFor(work.Start, id, nil))
		}
		waiting := uuid.NewString()
		d.server(waiting)
		never := d.queue(waiting, work.Spawn, 1, argsFor(work.Spawn, waiting, nil))
		d.exec("UPDATE servers SET generation = 2 WHERE uuid = ?", waiting)
		gone := d.queue(waiting, work.Delete, 2, argsFor(work.Delete, waiting, nil))
		read := d.queue(stuck, work.Diagnose, 1, argsFor(work.Diagnose, stuck, nil))
		if st, res := d.wait(gone); st != work.Done {
			t.Errorf("a delete behind a full queue: %s %+v", st, res)
		}
		d.wait(read) // there is no guest yet: that it is answered counts
		d.exec("UPDATE servers SET generation = 2 WHERE uuid = ?", stuck)
		again := d.queue(stuck, work.Delete, 2, argsFor(work.Delete, stuck, nil))
		if st, res := d.wait(again); st != work.Done {
			t.Errorf("a delete of what holds the slot: %s %+v", st, res)
		}
		for _, n := range []int64{spawn, never} {
			if st, _ := d.wait(n); st != work.Failed {
				t.Errorf("superseded work: %s", st)
			}
		}
		for _, id := range []string{stuck, waiting} {
			if left := world.Left("h", id); len(left) > 0 {
				t.Errorf("left of %s: %v", id, left)
			}
		}
	})
}

// TestWhatNobodyWantsEnds: a running job ends when its row is gone, or its server has gone
// on without new work; what it did is undone.
func TestWhatNobodyWantsEnds(t *testing.T) {
	for name, change := range map[string]string{
		"row gone":       "DELETE FROM work WHERE server_uuid = ?",
		"state reset":    "UPDATE servers SET generation = generation + 1, task_state = NULL WHERE uuid = ?",
		"server deleted": "UPDATE servers SET deleted = 1 WHERE uuid = ?",
	} {
		t.Run(name, func(t *testing.T) {
			d, world, server, _ := stuckHost(t, schematest.SQLite(t))
			d.exec(change, server)
			other := uuid.NewString()
			d.server(other)
			st, res := d.wait(d.queue(other, work.Spawn, 1, argsFor(work.Spawn, other, nil))) // needs the slot
			if left := world.Left("h", server); st != work.Done || len(left) > 0 {
				t.Errorf("the next spawn: %s %+v; the first left %v", st, res, left)
			}
		})
	}
}

// TestDeadlinesReachTheJob: the deadline ends the running job, its driver calls and its
// HTTP calls, and the host says so.
func TestDeadlinesReachTheJob(t *testing.T) {
	silent := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(silent.CloseClientConnections)
	drv := sim.New(sim.Options{World: sim.NewWorld(), Hostname: "h", Latency: func(c sim.Call) time.Duration {
		if c.Op == sim.OpShutdown {
			return time.Hour
		}
		return 0
	}})
	db := schematest.SQLite(t)
	d := newDesk(t, db)
	defer runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h"})()
	upload := &work.Transfer{ImageID: "i", URL: silent.URL, Ticket: "ticket"}
	for _, k := range []work.Kind{work.Stop, work.Snapshot} {
		id := uuid.NewString()
		d.server(id)
		d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil)))
		n := d.queue(id, k, 1, argsFor(k, id, upload))
		d.running(n)
		// A row's deadline does not move: the next one is made with a near one.
		d.exec("DELETE FROM work WHERE id = ?", n)
		n = d.queue(id, k, 1, argsFor(k, id, upload))
		d.exec("UPDATE work SET deadline = ? WHERE id = ?", schema.MicrosOf(time.Now().Add(100*time.Millisecond)), n)
		if st, res := d.wait(n); st != work.Failed || res.Retry {
			t.Errorf("%s past its deadline: %s %+v", k, st, res)
		}
	}
}

// TestAHostWithAFullDisk: a server that it has no room for is made on another host, and what
// is left of it is nothing; a guest that cannot be kept aside stays as it is. People are told
// what it was.
func TestAHostWithAFullDisk(t *testing.T) {
	const said = "The compute host has no disk left for that."
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		d, world, id := newDesk(t, db), sim.NewWorld(), uuid.NewString()
		d.server(id)
		full := func(op sim.Op, uuid string) sim.Fault {
			return sim.Fault{Op: op, UUID: uuid, Err: fmt.Errorf("make it: %w", room.ErrFull)}
		}
		late := uuid.NewString()
		drv := sim.New(sim.Options{World: world, Hostname: "h", Faults: []sim.Fault{full(sim.OpCreateDisks, late), full(sim.OpSuspend, ""), {Op: sim.OpSnapshot, N: 1, Err: fmt.Errorf("copy it: %w", room.ErrFull)}}})
		t.Cleanup(runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h"}))
		if st, res := d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil))); st != work.Done {
			t.Fatalf("spawn: %s %+v", st, res)
		}
		d.server(late)
		if st, res := d.wait(d.queue(late, work.Spawn, 1, argsFor(work.Spawn, late, nil))); st != work.Failed || !res.Retry || res.Message != said || len(world.Left("h", late)) > 0 {
			t.Errorf("a server for which there is no room: %s %+v, left %v", st, res, world.Left("h", late))
		}
		for kind, to := range map[work.Kind]*work.Transfer{work.Suspend: nil, work.Snapshot: {URL: "http://127.0.0.1:1/"}} {
			if st, res := d.wait(d.queue(id, kind, 1, argsFor(kind, id, to))); st != work.Failed || res.Retry || res.Message != said || res.PowerState != work.PoweredOn {
				t.Errorf("%s: %s %+v", kind, st, res)
			}
		}
		busy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusRequestEntityTooLarge) }))
		defer busy.Close()
		if st, res := d.wait(d.queue(id, work.Snapshot, 1, argsFor(work.Snapshot, id, &work.Transfer{URL: busy.URL}))); st != work.Failed || res.Message != "There is no room left for the image of the server." {
			t.Errorf("a snapshot that the image service has no room for: %s %+v", st, res)
		}
		if st, res := d.wait(d.queue(id, work.Delete, 1, argsFor(work.Delete, id, nil))); st != work.Done || len(world.Left("h", id)) > 0 {
			t.Errorf("delete: %s %+v, left %v", st, res, world.Left("h", id))
		}
	})
}
