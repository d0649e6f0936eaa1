package computed_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"kilonova/computed"
	"kilonova/computed/sim"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

// daemon is one that runs, or was refused.
type daemon struct {
	agent *computed.Agent
	stop  context.CancelFunc
	ended chan error
}

func startDaemon(t *testing.T, db *schema.DB, machine string, beat time.Duration) *daemon {
	t.Helper()
	a, err := computed.New(computed.Config{DB: db, Driver: sim.New(sim.Options{World: sim.NewWorld(), Hostname: "h"}), Host: "h",
		Machine: machine, Poll: 5 * time.Millisecond, Heartbeat: beat})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	d := &daemon{agent: a, stop: stop, ended: make(chan error, 1)}
	go func() { d.ended <- a.Run(ctx) }()
	return d
}

// ready waits until the daemon works, and fails if it ends instead.
func (d *daemon) ready(t *testing.T) {
	t.Helper()
	select {
	case <-d.agent.Ready():
	case err := <-d.ended:
		t.Fatalf("the daemon ended: %v", err)
	}
}

// refused waits until the daemon ends, and wants certain words.
func (d *daemon) refused(t *testing.T, words string) {
	t.Helper()
	select {
	case err := <-d.ended:
		if err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("the daemon ended with %v, want %q", err, words)
		}
	case <-time.After(time.Minute):
		t.Errorf("the daemon was not refused: want %q", words)
	}
}

func holder(t *testing.T, db *schema.DB) string {
	t.Helper()
	var machine string
	err := db.Get(&machine, "SELECT daemon FROM hosts WHERE name = 'h'")
	if err != nil {
		t.Fatal(err)
	}
	machine, _, _ = strings.Cut(machine, "/")
	return machine
}

// TestOneDaemonOfAHost: a second daemon with the name of a host is refused in words while the
// first is heard, and takes nothing over; it follows one that has ended, was killed on the
// same machine, or was silent for long.
func TestOneDaemonOfAHost(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		t.Cleanup(computed.SetPatience(300 * time.Millisecond))
		d := newDesk(t, db)
		first := startDaemon(t, db, "one", time.Hour)
		first.ready(t)

		second := startDaemon(t, db, "two", time.Hour)
		second.refused(t, "another daemon runs for this host, heard")
		if at := holder(t, db); at != "one" {
			t.Errorf("the host is held by %q", at)
		}
		first.stop()
		if err := <-first.ended; err != nil {
			t.Errorf("the first: %v", err)
		}
		if at := holder(t, db); at != "" {
			t.Errorf("the host that was let go is held by %q", at)
		}

		third := startDaemon(t, db, "two", 20*time.Millisecond)
		third.ready(t)
		// It is as good as killed: one on its machine follows at once, and it notices.
		fourth := startDaemon(t, db, "two", time.Hour)
		fourth.ready(t)
		third.refused(t, "another daemon has started for this host")

		_, err := db.Exec("UPDATE hosts SET last_seen = last_seen - ? WHERE name = 'h'", schema.HostLease.Microseconds()/2)
		if err != nil {
			t.Fatal(err)
		}
		fifth := startDaemon(t, db, "three", time.Hour)
		fifth.refused(t, "it must end, or stay silent for 20 s")
		_, err = db.Exec("UPDATE hosts SET last_seen = last_seen - ? WHERE name = 'h'", schema.HostLease.Microseconds())
		if err != nil {
			t.Fatal(err)
		}
		sixth := startDaemon(t, db, "three", time.Hour)
		sixth.ready(t)
		if at := holder(t, db); at != "three" {
			t.Errorf("the host is held by %q", at)
		}
		fourth.stop() // it lets go of nothing that is not its own
		<-fourth.ended
		if at := holder(t, db); at != "three" {
			t.Errorf("the host is held by %q after the end of another daemon", at)
		}
		id := "00000000-0000-4000-8000-00000000000a"
		d.server(id)
		n := d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil))
		if st, res := d.wait(n); st != work.Done {
			t.Errorf("work on the host: %s %+v", st, res)
		}
		sixth.stop()
		<-sixth.ended
	})
}
