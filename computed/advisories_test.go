package computed_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"kilonova/computed"
	"kilonova/computed/sim"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

type logBook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logBook) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *logBook) logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug}))
}

// TestOSSA_2017_001_2017_002_2014_036_2016_002_2013_002_2013_007_2014_004_SecretsOfWork:
// each call of each kind of work fails, and neither the log nor the report has a password,
// a ticket or user data.
func TestOSSA_2017_001_2017_002_2014_036_2016_002_2013_002_2013_007_2014_004_SecretsOfWork(t *testing.T) {
	db := schematest.SQLite(t)
	const mark = "MarkedSecret"
	d, book := newDesk(t, db), &logBook{}
	deaf := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte("no entry with " + r.Header.Get("X-Image-Ticket")))
	}))
	defer deaf.Close()
	hidden := base64.StdEncoding.EncodeToString([]byte(mark))
	failed := 0
	for k := range before {
		for _, op := range append([]sim.Op{""}, sim.Ops...) {
			id := uuid.NewString()
			faults := []sim.Fault{{Op: op, UUID: id, Times: 1}}
			if op == "" {
				faults = nil // only the image service refuses
			}
			world := sim.NewWorld()
			stop := runAgent(t, computed.Config{DB: db, Driver: sim.New(sim.Options{World: world, Hostname: "h"}), Host: "h", Log: book.logger()})
			d.server(id)
			secret := func(k work.Kind) *work.Args {
				a := argsFor(k, id, &work.Transfer{ImageID: "i", URL: deaf.URL, Ticket: mark})
				a.Guest.AdminPass, a.Password, a.Guest.UserData = mark, mark, hidden
				a.Guest.Files = []work.File{{Path: "/x", Contents: hidden}}
				a.Guest.Image.Source = &work.Transfer{URL: deaf.URL, Ticket: mark}
				return a
			}
			for _, b := range before[k] {
				st, res := d.wait(d.queue(id, b, 1, secret(b)))
				if st != work.Done {
					t.Fatalf("%s before %s: %+v", b, k, res)
				}
			}
			stop()
			stop = runAgent(t, computed.Config{DB: db, Driver: sim.New(sim.Options{World: world, Hostname: "h", Faults: faults}), Host: "h", Log: book.logger()})
			st, _ := d.wait(d.queue(id, k, 1, secret(k)))
			stop()
			if st == work.Failed {
				failed++
			}
		}
		if testing.Short() && failed > 20 {
			break
		}
	}
	if failed == 0 || !strings.Contains(book.text(), "work failed") {
		t.Error("nothing failed: the test cannot fail")
	}
	var results []string
	err := db.Select(&results, "SELECT result FROM work WHERE result IS NOT NULL")
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range append(results, book.text()) {
		for _, s := range []string{mark, hidden} {
			if at := strings.Index(text, s); at >= 0 {
				t.Fatalf("a secret in %.400s", text[max(0, at-200):])
			}
		}
	}
}

// TestOSSA_2019_003_ReportsKeepTheInsideApart: what people are told is one of our sentences;
// the driver's own words are for administrators.
func TestOSSA_2019_003_ReportsKeepTheInsideApart(t *testing.T) {
	db := schematest.SQLite(t)
	d := newDesk(t, db)
	inside := errors.New("libvirt: /var/lib/kilonova/instances/marked-inside: permission denied")
	drv := sim.New(sim.Options{Hostname: "h", Faults: []sim.Fault{{Op: sim.OpStart, Err: inside}, {Op: sim.OpDefine, N: 2, Err: inside}}})
	defer runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h"})()
	for range 3 {
		id := uuid.NewString()
		d.server(id)
		st, res := d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil)))
		if st != work.Failed || strings.Contains(res.Message, "marked-inside") || !strings.Contains(res.Detail, "marked-inside") {
			t.Errorf("%s %+v", st, res)
		}
	}
}

// TestCVE_2022_37394_OneBadGuestNeverStopsTheDaemon: a guest on which every call fails or
// panics, work that cannot be read, and ports of a kind that nobody knows: the daemon starts
// again with all of them, and others are served.
func TestCVE_2022_37394_OneBadGuestNeverStopsTheDaemon(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		d, world := newDesk(t, db), sim.NewWorld()
		bad, odd, stranger := uuid.NewString(), uuid.NewString(), uuid.NewString()
		quiet := sim.New(sim.Options{World: world, Hostname: "h"})
		stop := runAgent(t, computed.Config{DB: db, Driver: quiet, Host: "h"})
		for _, id := range []string{bad, odd, stranger} {
			d.server(id)
			if st, res := d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil))); st != work.Done {
				t.Fatalf("spawn: %+v", res)
			}
		}
		stop()
		_, err := db.Exec("DELETE FROM servers WHERE uuid = ?", stranger)
		if err != nil {
			t.Fatal(err)
		}
		breaks := func(c sim.Call) bool { return c.UUID == bad || c.UUID == stranger }
		for range 2 { // the daemon is started again while all of this waits for it
			drv := sim.New(sim.Options{World: world, Hostname: "h", Faults: []sim.Fault{{Match: breaks, Die: func(c sim.Call) {
				if c.N%2 == 0 {
					panic("this guest breaks things")
				}
			}}}})
			for _, k := range []work.Kind{work.HardReboot, work.Pause, work.ConsoleOutput, work.Delete} {
				d.queue(bad, k, 1, argsFor(k, bad, nil))
			}
			strange := argsFor(work.HardReboot, odd, nil)
			strange.Guest.Ports[0].MAC, strange.Guest.Ports[0].Network.Bridge, strange.Guest.Ports[0].ID = "", "", ""
			strange.Guest.Ports[0].Network.Subnets = []work.Subnet{{CIDR: "nonsense"}}
			d.queue(odd, work.HardReboot, 1, strange)
			for _, text := range []string{"{", "null", "[]", `{"guest":{"ports":"x"}}`, ""} {
				_, err := db.Exec("INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state) VALUES ('h', 1, ?, 'spawn', ?, 1, 9e18, 1, 'queued')",
					uuid.NewString(), text)
				if err != nil {
					t.Fatal(err)
				}
			}
			_, err := db.Exec("INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state) VALUES ('h', 1, ?, 'unheard of', '{}', 1, 9e18, 1, 'queued')", uuid.NewString())
			if err != nil {
				t.Fatal(err)
			}
			agent, err := computed.New(computed.Config{DB: db, Driver: drv, Host: "h", Poll: 5 * time.Millisecond})
			if err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			ended := make(chan error, 1)
			go func() { ended <- agent.Run(ctx) }()
			select {
			case <-agent.Ready():
			case err := <-ended:
				t.Fatalf("the daemon does not start: %v", err)
			}
			for range 2 {
				err := agent.ReconcileOnce(ctx)
				if err != nil {
					t.Errorf("reconcile: %v", err)
				}
			}
			good := uuid.NewString()
			d.server(good)
			for _, k := range []work.Kind{work.Spawn, work.Stop, work.Start, work.Delete} {
				if st, res := d.wait(d.queue(good, k, 1, argsFor(k, good, nil))); st != work.Done {
					t.Errorf("%s of a good server: %+v", k, res)
				}
			}
			cancel()
			err = <-ended
			if err != nil && !errors.Is(err, context.Canceled) {
				t.Errorf("the daemon ended: %v", err)
			}
		}
	})
}

// TestOSSA_2015_015_2015_017_2016_011_DeleteDuringAResize: a delete that comes while the
// host resizes stops the resize, and nothing stays on the host.
func TestOSSA_2015_015_2015_017_2016_011_DeleteDuringAResize(t *testing.T) {
	db := schematest.SQLite(t)
	d, world := newDesk(t, db), sim.NewWorld()
	for _, slow := range []sim.Op{sim.OpShutdown, sim.OpSaveDisks, sim.OpResizeDisks, sim.OpDefine, sim.OpStart} {
		id := uuid.NewString()
		d.server(id)
		stop := runAgent(t, computed.Config{DB: db, Driver: sim.New(sim.Options{World: world, Hostname: "h"}), Host: "h"})
		d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil)))
		stop()
		stop = runAgent(t, computed.Config{DB: db, Host: "h", Driver: sim.New(sim.Options{World: world, Hostname: "h",
			Latency: sim.Latencies(map[sim.Op]time.Duration{slow: 200 * time.Millisecond})})})
		resized := d.queue(id, work.ResizePrep, 1, argsFor(work.ResizePrep, id, nil))
		time.Sleep(50 * time.Millisecond)
		_, err := db.Exec("UPDATE servers SET generation = 2, task_state = 'deleting' WHERE uuid = ?", id)
		if err != nil {
			t.Fatal(err)
		}
		st, res := d.wait(d.queue(id, work.Delete, 2, argsFor(work.Delete, id, nil)))
		d.wait(resized)
		if left := world.Left("h", id); st != work.Done || len(left) > 0 {
			t.Errorf("during %s: delete %s %+v, left %v", slow, st, res, left)
		}
		stop()
	}
}
