package schema_test

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"kilonova/computed"
	"kilonova/computed/sim"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/secrets"
	"kilonova/work"
)

// twoHosts is a database with two hosts, a server and a piece of work on each, and an
// account of the first.
type twoHosts struct {
	wide, mine *schema.DB
	main       string
	cred       schema.Credentials
}

const (
	ownServer    = "00000000-0000-4000-8000-000000000001"
	othersServer = "00000000-0000-4000-8000-000000000002"
)

func newTwoHosts(t *testing.T) *twoHosts {
	t.Helper()
	ctx := context.Background()
	wide := schematest.MySQL(t)
	for i, host := range []string{"mine", "other"} {
		exec(t, wide, `INSERT INTO hosts (uuid, name, hypervisor_hostname, hypervisor_type, hypervisor_version, host_ip, arch, cpu_info, vcpus, memory_mb,
			disk_gb, disk_available_gb, uptime, doorbell, last_seen, started_at, created_at, updated_at) VALUES (?, ?, ?, '', 0, '', '', '{}', 0, 0, 0, 0, '', '', 0, 0, 0, 0)`, host, host, host)
		id := []string{ownServer, othersServer}[i]
		exec(t, wide, `INSERT INTO servers (uuid, project_id, user_id, name, hostname, vm_state, task_state, generation, host, flavor_id, flavor_name,
			vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, extra_specs, image_id, image_meta, metadata, disk_config, reservation_id, security_groups,
			scheduler_hints, created_at, updated_at) VALUES (?, 'p', 'u', 'n', 'n', 'building', 'scheduling', 1, ?, '1', 'f', 1, 1, 1, 0, 0, '{}', '', '{}', '{}', 'AUTO', 'r', '[]', '{}', 1, 1)`, id, host)
	}
	cred, err := schema.AddHostAccount(ctx, wide, "mine", "%")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		err := schema.RemoveHostAccount(ctx, wide, "mine")
		if err != nil {
			t.Error(err)
		}
		var left int
		err = wide.Get(&left, "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name = ?", cred.Database)
		if err != nil || left > 0 {
			t.Errorf("the host database stayed (%v)", err)
		}
	})
	mine, err := schema.Open(ctx, cred.DSN())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { mine.Close() })
	return &twoHosts{wide: wide, mine: mine, main: strings.TrimSuffix(cred.Database, "_host"), cred: cred}
}

func exec(t *testing.T, db *schema.DB, stmt string, args ...any) {
	t.Helper()
	_, err := db.Exec(stmt, args...)
	if err != nil {
		t.Fatalf("%.80s: %v", stmt, err)
	}
}

func (h *twoHosts) queue(t *testing.T, host, server string, k work.Kind) {
	t.Helper()
	raw, err := json.Marshal(work.Args{Guest: work.Guest{UUID: server, Flavor: work.Flavor{RootGB: 1}, Image: work.Image{ID: "i", DiskFormat: "raw"}}})
	if err != nil {
		t.Fatal(err)
	}
	exec(t, h.wide, `INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state) VALUES (?, 1, ?, ?, ?, 1, 9e18, 1, 'queued')`, host, server, k, string(raw))
}

// TestAgentOnItsOwnAccount: computed needs nothing but the host's account.
func TestAgentOnItsOwnAccount(t *testing.T) {
	h := newTwoHosts(t)
	world := sim.NewWorld()
	a, err := computed.New(computed.Config{DB: h.mine, Driver: sim.New(sim.Options{World: world, Hostname: "mine"}), Host: "mine", Poll: 10 * time.Millisecond, Heartbeat: 100 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	for _, k := range []work.Kind{work.Spawn, work.Stop, work.Delete} {
		h.queue(t, "mine", ownServer, k)
		var state string
		for range 500 {
			err := h.wide.Get(&state, "SELECT state FROM work ORDER BY id DESC LIMIT 1")
			if err != nil {
				t.Fatal(err)
			}
			if state == "done" || state == "failed" {
				break
			}
			time.Sleep(10 * time.Millisecond)
		}
		if state != "done" {
			var res *string
			_ = h.wide.Get(&res, "SELECT result FROM work ORDER BY id DESC LIMIT 1")
			t.Fatalf("%s is %s: %v", k, state, res)
		}
	}
	var key string
	err = h.wide.Get(&key, "SELECT public_key FROM hosts WHERE name = 'mine'")
	if err != nil || len(key) != secrets.PublicSize {
		t.Errorf("the host's key is %q, %v", key, err)
	}
	var seen int64
	err = h.wide.Get(&seen, "SELECT last_seen FROM hosts WHERE name = 'mine'")
	if err != nil || seen == 0 {
		t.Errorf("no heartbeat: %d, %v", seen, err)
	}
	// A removed account has no session left, and its daemon ends, saying why.
	burning := session(t, h.open(t))
	burned := make(chan error, 1)
	go func() {
		_, err := burning.ExecContext(ctx, "SELECT SLEEP(100)")
		burned <- err
	}()
	for n := 0; n == 0; {
		err := h.wide.Get(&n, "SELECT COUNT(*) FROM information_schema.processlist WHERE id = ? AND command = 'Query'", burning.id)
		if err != nil {
			t.Fatal(err)
		}
	}
	err = schema.RemoveHostAccount(ctx, h.wide, "mine")
	if err != nil {
		t.Fatal(err)
	}
	if err := <-burned; err == nil {
		t.Error("a session of the removed account went on")
	}
	err = <-done
	if err == nil || !strings.Contains(err.Error(), "account of this host was removed") {
		t.Errorf("the daemon says %v", err)
	}
}

func TestNoHostAccountsOnSQLite(t *testing.T) {
	_, err := schema.AddHostAccount(context.Background(), schematest.SQLite(t), "h", "%")
	if err == nil || !strings.Contains(err.Error(), "MariaDB") {
		t.Errorf("error %v", err)
	}
}
