package computed_test

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"kilonova/computed"
	"kilonova/computed/sim"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

func newGuest(id string) work.Guest {
	return work.Guest{ID: 1, UUID: id, Name: "g", Hostname: "g", Flavor: work.Flavor{ID: "1", VCPUs: 1, MemoryMB: 64, RootGB: 1},
		Image: work.Image{ID: uuid.NewString(), DiskFormat: "raw", Size: 10, SHA512: "x", Source: &work.Transfer{}},
		Ports: []work.Port{{ID: uuid.NewString(), MAC: "fa:16:3e:00:00:01", Network: work.Network{ID: "n", Bridge: "kn0"}}}}
}

// bench is a simulated host and an agent on it that never polls.
type rig struct {
	world  *sim.World
	driver *sim.Driver
	agent  *computed.Agent
}

func newRig(t *testing.T, db *schema.DB) *rig {
	t.Helper()
	r := &rig{world: sim.NewWorld()}
	r.driver = sim.New(sim.Options{World: r.world, Hostname: "h"})
	var err error
	r.agent, err = computed.New(computed.Config{DB: db, Driver: r.driver, Host: "h"})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func (r *rig) run(t *testing.T, k work.Kind, args *work.Args) {
	t.Helper()
	err := computed.RunSteps(context.Background(), r.agent.StepsOf(k, args))
	if err != nil {
		t.Fatalf("%s: %v", k, err)
	}
}

// before brings a guest to where a kind of work begins.
var before = map[work.Kind][]work.Kind{
	work.Spawn: nil, work.Delete: {work.Spawn}, work.Start: {work.Spawn, work.Stop}, work.Stop: {work.Spawn},
	work.SoftReboot: {work.Spawn}, work.HardReboot: {work.Spawn}, work.Pause: {work.Spawn}, work.Unpause: {work.Spawn, work.Pause},
	work.Suspend: {work.Spawn}, work.Resume: {work.Spawn, work.Suspend}, work.Rebuild: {work.Spawn}, work.ResizePrep: {work.Spawn},
	work.ConfirmResize: {work.Spawn, work.ResizePrep}, work.RevertResize: {work.Spawn, work.ResizePrep},
	work.Snapshot: {work.Spawn}, work.SetPassword: {work.Spawn}, work.Replug: {work.Spawn},
}

func argsFor(k work.Kind, id string, upload *work.Transfer) *work.Args {
	g := newGuest(id)
	old := g
	if k == work.ResizePrep {
		g.Flavor.RootGB, g.Flavor.MemoryMB = 2, 128
	}
	return &work.Args{Guest: g, Old: &old, PowerOn: true, Upload: upload, Password: "x"}
}

// images takes uploads.
func imageServer(t *testing.T) *work.Transfer {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		if r.Header.Get("X-Image-Ticket") != "ticket" {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	t.Cleanup(s.Close)
	return &work.Transfer{ImageID: "i", URL: s.URL, Ticket: "ticket"}
}

func (r *rig) holds(t *testing.T, id string) string {
	t.Helper()
	p, err := r.driver.State(context.Background(), id)
	if errors.Is(err, computed.ErrNoInstance) {
		return fmt.Sprint(r.world.Left("h", id))
	}
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(p, r.world.Left("h", id))
}

// TestFailAfterEachStep: wherever a piece of work breaks, before or after the step did its
// part, the host is as it was before.
func TestFailAfterEachStep(t *testing.T) {
	db, up := schematest.SQLite(t), imageServer(t)
	undoes := []work.Kind{work.Spawn, work.Rebuild, work.ResizePrep}
	for _, k := range undoes {
		for fail := range len(newRig(t, db).agent.StepsOf(k, argsFor(k, "g", up))) {
			for _, after := range []bool{false, true} {
				r, id := newRig(t, db), uuid.NewString()
				for _, b := range before[k] {
					r.run(t, b, argsFor(b, id, up))
				}
				want := r.holds(t, id)
				steps := r.agent.StepsOf(k, argsFor(k, id, up))
				if k == work.Rebuild && fail == len(steps)-1 {
					continue // the old disks are gone by then: the rebuild is done
				}
				do := steps[fail].Do
				steps[fail].Do = func(ctx context.Context) error {
					if after {
						err := do(ctx)
						if err != nil {
							t.Fatalf("%s step %s: %v", k, steps[fail].Name, err)
						}
					}
					return errors.New("broken here")
				}
				err := computed.RunSteps(context.Background(), steps)
				if err == nil {
					t.Fatalf("%s did not notice that %s failed", k, steps[fail].Name)
				}
				if got := r.holds(t, id); got != want {
					t.Errorf("%s failed at %s (after: %v): host holds %s, before %s; %v", k, steps[fail].Name, after, got, want, err)
				}
			}
		}
	}
}

// TestEachStepTwice: a step that runs twice does what it does once.
func TestEachStepTwice(t *testing.T) {
	db, up := schematest.SQLite(t), imageServer(t)
	for _, k := range computed.Kinds() {
		prepare, ok := before[k]
		if !ok {
			t.Errorf("no test says where %s begins", k)
			continue
		}
		var got [2]string
		for twice := range 2 {
			r, id := newRig(t, db), uuid.NewString()
			for _, b := range prepare {
				r.run(t, b, argsFor(b, id, up))
			}
			steps := r.agent.StepsOf(k, argsFor(k, id, up))
			if twice == 1 {
				var doubled []computed.Step
				for _, s := range steps {
					doubled = append(doubled, s, s)
				}
				steps = doubled
			}
			err := computed.RunSteps(context.Background(), steps)
			if err != nil {
				t.Errorf("%s (twice: %v): %v", k, twice == 1, err)
			}
			got[twice] = r.holds(t, id)
		}
		if got[0] != got[1] {
			t.Errorf("%s leaves %s, with each step twice %s", k, got[0], got[1])
		}
	}
}

// desk is the API's side of the work table.
type desk struct {
	t  *testing.T
	db *schema.DB
}

func newDesk(t *testing.T, db *schema.DB) *desk {
	t.Helper()
	_, err := db.Exec(`INSERT INTO hosts (uuid, name, hypervisor_hostname, hypervisor_type, hypervisor_version, host_ip, arch, cpu_info,
		vcpus, memory_mb, disk_gb, disk_available_gb, uptime, doorbell, last_seen, started_at, created_at, updated_at)
		VALUES ('u', 'h', 'h', '', 0, '', '', '{}', 0, 0, 0, 0, '', '', 0, 0, 0, 0)`)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{t, db}
}

func (d *desk) server(id string) {
	d.t.Helper()
	_, err := d.db.Exec(`INSERT INTO servers (uuid, project_id, user_id, name, hostname, vm_state, task_state, generation, host, flavor_id, flavor_name,
		vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, extra_specs, image_id, image_meta, metadata, disk_config, reservation_id,
		security_groups, scheduler_hints, created_at, updated_at)
		VALUES (?, 'p', 'u', 'n', 'n', 'building', 'scheduling', 1, 'h', '1', 'f', 1, 1, 1, 0, 0, '{}', '', '{}', '{}', 'AUTO', 'r', '[]', '{}', 1, 1)`, id)
	if err != nil {
		d.t.Fatal(err)
	}
}

func (d *desk) queue(id string, k work.Kind, generation int64, args *work.Args, host ...string) int64 {
	d.t.Helper()
	raw, err := json.Marshal(args)
	if err != nil {
		d.t.Fatal(err)
	}
	res, err := d.db.Exec(`INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state) VALUES (?, 1, ?, ?, ?, ?, 9e18, 1, 'queued')`,
		append(host, "h")[0], id, k, string(raw), generation)
	if err != nil {
		d.t.Fatal(err)
	}
	n, err := res.LastInsertId()
	if err != nil {
		d.t.Fatal(err)
	}
	return n
}

func (d *desk) wait(n int64) (work.State, work.Result) {
	d.t.Helper()
	for range 1000 {
		var row struct {
			State  work.State
			Result *string
		}
		err := d.db.Get(&row, "SELECT state, result FROM work WHERE id = ?", n)
		if err != nil {
			d.t.Fatal(err)
		}
		if row.State == work.Done || row.State == work.Failed {
			var res work.Result
			err = json.Unmarshal([]byte(*row.Result), &res)
			if err != nil {
				d.t.Fatal(err)
			}
			return row.State, res
		}
		time.Sleep(5 * time.Millisecond)
	}
	d.t.Fatalf("work %d never ends", n)
	return "", work.Result{}
}

func runAgent(t *testing.T, cfg computed.Config) (stop func()) {
	t.Helper()
	cfg.Poll = 5 * time.Millisecond
	cfg.Machine = cmp.Or(cfg.Machine, "the-one-machine")
	a, err := computed.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	select {
	case <-a.Ready():
	case err := <-done:
		t.Fatalf("agent: %v", err)
	}
	return func() {
		cancel()
		<-done
	}
}

func TestAgentCarriesWorkOut(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		d, world := newDesk(t, db), sim.NewWorld()
		stop := runAgent(t, computed.Config{DB: db, Driver: sim.New(sim.Options{World: world, Hostname: "h"}), Host: "h"})
		defer stop()
		id := uuid.NewString()
		d.server(id)
		st, res := d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil)))
		if st != work.Done || res.PowerState != work.PoweredOn {
			t.Fatalf("spawn: %s %+v", st, res)
		}
		st, res = d.wait(d.queue(id, work.ConsoleOutput, 1, argsFor(work.ConsoleOutput, id, nil)))
		if st != work.Done || res.Output == "" {
			t.Errorf("console: %s %+v", st, res)
		}
		_, err := db.Exec("INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state) VALUES ('h', 1, 'bad', 'spawn', '{', 1, 9e18, 1, 'queued')")
		if err != nil {
			t.Fatal(err)
		}
		st, _ = d.wait(d.queue(id, work.Stop, 2, argsFor(work.Stop, id, nil)))
		if st != work.Failed { // made for a generation that the server does not have
			t.Errorf("fenced work: %s", st)
		}
		st, _ = d.wait(d.queue(id, work.Delete, 1, argsFor(work.Delete, id, nil)))
		if left := world.Left("h", id); st != work.Done || len(left) > 0 {
			t.Errorf("delete: %s, left %v", st, left)
		}
	})
}

// TestLongStepsAreShown: while a step takes its time people see which it is; one that is
// over at once writes nothing, and nothing is shown when the work is done.
func TestLongStepsAreShown(t *testing.T) {
	db := schematest.SQLite(t)
	d := newDesk(t, db)
	ready := make(chan struct{})
	slow := func(c sim.Call) time.Duration {
		if c.Op == sim.OpCreateDisks {
			<-ready
		}
		return 0
	}
	stop := runAgent(t, computed.Config{DB: db, Driver: sim.New(sim.Options{Hostname: "h", Latency: slow}), Host: "h"})
	defer stop()
	id := uuid.NewString()
	d.server(id)
	task := func() string {
		var is string
		err := db.Get(&is, "SELECT task_state FROM servers WHERE uuid = ?", id)
		if err != nil {
			t.Fatal(err)
		}
		return is
	}
	n := d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil))
	deadline := time.Now().Add(10 * time.Second)
	for task() != "spawning" {
		if time.Now().After(deadline) {
			t.Fatalf("the disks are being made, and people are shown %q", task())
		}
		time.Sleep(5 * time.Millisecond)
	}
	close(ready)
	if st, res := d.wait(n); st != work.Done {
		t.Fatalf("%s %+v", st, res)
	}
	_, err := db.Exec("UPDATE servers SET task_state = 'mine' WHERE uuid = ?", id)
	if err != nil {
		t.Fatal(err)
	}
	if st, res := d.wait(d.queue(id, work.HardReboot, 1, argsFor(work.HardReboot, id, nil))); st != work.Done {
		t.Fatalf("%s %+v", st, res)
	}
	time.Sleep(150 * time.Millisecond)
	if got := task(); got != "mine" && got != "reboot_started_hard" { // the latter on a machine that is very slow
		t.Errorf("after the work people are shown %q", got)
	}
}

// TestHostRefusesWhatIsNoDisk: whatever the API let through, a host makes no disk of an
// archive or a kernel, asks no other host to, and says so.
func TestHostRefusesWhatIsNoDisk(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		d, world := newDesk(t, db), sim.NewWorld()
		stop := runAgent(t, computed.Config{DB: db, Driver: sim.New(sim.Options{World: world, Hostname: "h"}), Host: "h"})
		defer stop()
		for _, container := range []string{"ova", "ovf", "docker", "compressed", "aki", "ari", "novel"} {
			id := uuid.NewString()
			d.server(id)
			args := argsFor(work.Spawn, id, nil)
			args.Guest.Image.Container = container
			st, res := d.wait(d.queue(id, work.Spawn, 1, args))
			if st != work.Failed || res.Retry || res.Message != "The image is not of a kind that hosts boot from." || len(world.Left("h", id)) > 0 {
				t.Errorf("%s: %s %+v, left %v", container, st, res, world.Left("h", id))
			}
		}
		id := uuid.NewString()
		d.server(id)
		st, res := d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil)))
		if st != work.Done {
			t.Fatalf("spawn: %s %+v", st, res)
		}
		args := argsFor(work.Rebuild, id, nil)
		args.Guest.Image.DiskFormat = "vmdk"
		st, res = d.wait(d.queue(id, work.Rebuild, 1, args))
		if st != work.Failed || res.PowerState != work.PoweredOn {
			t.Errorf("rebuild: %s %+v", st, res)
		}
	})
}

// TestPortsGoBesideTheServersState: what ports became is done whatever generation the server has
// come to, unless it is gone; a port that cannot be plugged is named with the reason.
func TestPortsGoBesideTheServersState(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		d, world := newDesk(t, db), sim.NewWorld()
		id := uuid.NewString()
		args := argsFor(work.Replug, id, nil)
		fault := &computed.PortError{Port: args.Guest.Ports[0].ID, Err: fmt.Errorf("%w: the route of eth0", computed.ErrRange)}
		drv := sim.New(sim.Options{World: world, Hostname: "h", Faults: []sim.Fault{{Op: sim.OpPlugPorts, N: 3, Err: fault}}})
		stop := runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h"})
		defer stop()
		d.server(id)
		d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil)))
		d.exec("UPDATE servers SET generation = 7 WHERE uuid = ?", id)
		if st, res := d.wait(d.queue(id, work.Replug, 1, args)); st != work.Done || res.PowerState != work.PoweredOn {
			t.Errorf("of an earlier generation: %s %+v", st, res)
		}
		st, res := d.wait(d.queue(id, work.Replug, 7, args))
		if st != work.Failed || len(res.Ports) != 1 || res.Ports[0].Port != fault.Port || res.Ports[0].Why != fault.Err.Error() || res.PowerState != work.PoweredOn {
			t.Errorf("that cannot be plugged: %s %+v", st, res)
		}
		if res.Message != "The range of the server's network is not free on the compute host." {
			t.Errorf("people read %q", res.Message)
		}
		d.exec("UPDATE servers SET deleted = 1 WHERE uuid = ?", id)
		if st, _ = d.wait(d.queue(id, work.Replug, 7, args)); st != work.Failed {
			t.Errorf("of a server that is gone: %s", st)
		}
	})
}

// TestPortsDoNotWaitForSnapshots, which may take an hour; for other work they do.
func TestPortsDoNotWaitForSnapshots(t *testing.T) {
	db := schematest.SQLite(t)
	d, world := newDesk(t, db), sim.NewWorld()
	drv := sim.New(sim.Options{World: world, Hostname: "h", Latency: func(c sim.Call) time.Duration {
		if c.Op == sim.OpSnapshot || c.Op == sim.OpPause {
			return time.Hour
		}
		return 0
	}})
	defer runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h"})()
	for _, k := range []work.Kind{work.Snapshot, work.Pause} {
		id := uuid.NewString()
		d.server(id)
		d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil)))
		d.running(d.queue(id, k, 1, argsFor(k, id, imageServer(t))))
		if k == work.Snapshot {
			for range 2 {
				if st, res := d.wait(d.queue(id, work.Replug, 1, argsFor(work.Replug, id, nil))); st != work.Done {
					t.Errorf("beside a snapshot: %s %+v", st, res)
				}
			}
		}
		stop := d.queue(id, work.Stop, 1, argsFor(work.Stop, id, nil))
		late := d.queue(id, work.Replug, 1, argsFor(work.Replug, id, nil))
		other := uuid.NewString()
		d.server(other)
		d.wait(d.queue(other, work.Spawn, 1, argsFor(work.Spawn, other, nil))) // the host has looked again
		var open int
		err := db.Get(&open, "SELECT COUNT(*) FROM work WHERE id IN (?, ?) AND state = 'queued'", stop, late)
		if err != nil || open != 2 {
			t.Errorf("%d pieces wait behind %s, %v; want both", open, k, err)
		}
	}
}

func TestOrderWithinAServerAndParallelAcross(t *testing.T) {
	db := schematest.SQLite(t)
	d := newDesk(t, db)
	drv := sim.New(sim.Options{Hostname: "h", Latency: func(sim.Call) time.Duration { return 2 * time.Millisecond }})
	stop := runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h"})
	defer stop()
	var last []int64
	for range 8 {
		id := uuid.NewString()
		d.server(id)
		for _, k := range []work.Kind{work.Spawn, work.Stop, work.Start, work.Pause, work.Unpause} {
			n := d.queue(id, k, 1, argsFor(k, id, nil))
			if k == work.Unpause {
				last = append(last, n)
			}
		}
	}
	for _, n := range last {
		d.wait(n)
	}
	var failed int
	err := db.Get(&failed, "SELECT COUNT(*) FROM work WHERE state <> 'done' AND result NOT LIKE '%came first%'")
	if err != nil || failed > 0 {
		t.Errorf("%d pieces of work failed (%v): they ran out of order", failed, err)
	}
}

// TestKilledAtAnyCall: the daemon dies before and after each driver call of a spawn; the
// next one finishes, and there is one guest.
func TestKilledAtAnyCall(t *testing.T) {
	db := schematest.SQLite(t)
	d := newDesk(t, db)
	for _, op := range []sim.Op{sim.OpFetchImage, sim.OpPlugPorts, sim.OpCreateDisks, sim.OpDefine, sim.OpStart, sim.OpState} {
		for _, after := range []bool{false, true} {
			world, id := sim.NewWorld(), uuid.NewString()
			d.server(id)
			n := d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil))
			died := make(chan struct{})
			hang := make(chan struct{})
			first := sim.New(sim.Options{World: world, Hostname: "h", Faults: []sim.Fault{{Op: op, UUID: id, After: after, Times: 1, Die: func(sim.Call) {
				close(died)
				<-hang // dead: it does nothing any more
			}}}})
			stop := runAgent(t, computed.Config{DB: db, Driver: first, Host: "h"})
			<-died
			stopNext := runAgent(t, computed.Config{DB: db, Driver: sim.New(sim.Options{World: world, Hostname: "h"}), Host: "h"})
			st, res := d.wait(n)
			if left := world.Left("h", id); st != work.Done || res.PowerState != work.PoweredOn || !slices.Contains(left, "guest") {
				t.Errorf("killed at %s (after: %v): %s %+v, host holds %v", op, after, st, res, left)
			}
			close(hang)
			stop()
			stopNext()
		}
	}
}

func TestDeleteOvertakesSpawn(t *testing.T) {
	db := schematest.SQLite(t)
	d, world, id := newDesk(t, db), sim.NewWorld(), uuid.NewString()
	slow := sim.New(sim.Options{World: world, Hostname: "h", Latency: sim.Latencies(map[sim.Op]time.Duration{sim.OpFetchImage: time.Minute})})
	stop := runAgent(t, computed.Config{DB: db, Driver: slow, Host: "h"})
	defer stop()
	d.server(id)
	spawn := d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil))
	time.Sleep(50 * time.Millisecond)
	_, err := db.Exec("UPDATE servers SET generation = 2, task_state = 'deleting' WHERE uuid = ?", id)
	if err != nil {
		t.Fatal(err)
	}
	gone := d.queue(id, work.Delete, 2, argsFor(work.Delete, id, nil))
	st, _ := d.wait(gone)
	spawned, _ := d.wait(spawn)
	if left := world.Left("h", id); st != work.Done || spawned != work.Failed || len(left) > 0 {
		t.Errorf("delete %s, spawn %s, left %v", st, spawned, left)
	}
}

func TestStrangersGoAndPowerIsTold(t *testing.T) {
	db := schematest.SQLite(t)
	d, r := newDesk(t, db), newRig(t, db)
	ours, stranger := uuid.NewString(), uuid.NewString()
	d.server(ours)
	for _, id := range []string{ours, stranger} {
		r.run(t, work.Spawn, argsFor(work.Spawn, id, nil))
	}
	_, err := db.Exec("UPDATE servers SET vm_state = 'active', task_state = NULL, power_state = 1 WHERE uuid = ?", ours)
	if err != nil {
		t.Fatal(err)
	}
	err = r.world.Set("h", ours, work.Shutdown)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		err := r.agent.ReconcileOnce(context.Background())
		if err != nil {
			t.Fatal(err)
		}
	}
	var power work.PowerState
	err = db.Get(&power, "SELECT power_state FROM servers WHERE uuid = ?", ours)
	if err != nil || power != work.Shutdown {
		t.Errorf("power state %v, %v", power, err)
	}
	if left := r.world.Left("h", stranger); len(left) > 0 {
		t.Errorf("the stranger left %v", left)
	}
	if left := r.world.Left("h", ours); len(left) == 0 {
		t.Error("our own guest went too")
	}
}
