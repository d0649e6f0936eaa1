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

// TestHostAccountAttacks: what a host that was broken into might try is refused by the
// database, with an error or by finding no row.
func TestHostAccountAttacks(t *testing.T) {
	h := newTwoHosts(t)
	h.queue(t, "mine", ownServer, work.Spawn)
	h.queue(t, "other", othersServer, work.Spawn)
	main := "`" + h.main + "`."
	attacks := []struct{ name, stmt string }{
		{"read others' servers", "SELECT uuid FROM servers WHERE host = 'other'"},
		{"read others' work", "SELECT id FROM work WHERE host = 'other'"},
		{"read others' secrets of work", "SELECT args FROM work WHERE server_uuid = '" + othersServer + "'"},
		{"finish others' work", "UPDATE work SET state = 'done' WHERE server_uuid = '" + othersServer + "'"},
		{"move own work to another host", "UPDATE work SET host = 'other'"},
		{"forge a state of work", "UPDATE work SET state = 'gone' WHERE server_uuid = '" + ownServer + "'"},
		{"change what own work is", "UPDATE work SET kind = 'delete'"},
		{"change for what generation", "UPDATE work SET generation = 9"},
		{"put off a deadline", "UPDATE work SET deadline = 1"},
		{"make work", "INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state) VALUES ('mine', 1, 'x', 'spawn', '{}', 1, 1, 1, 'queued')"},
		{"delete work", "DELETE FROM work"},
		{"forge vm_state", "UPDATE servers SET vm_state = 'active'"},
		{"forge a generation", "UPDATE servers SET generation = 99"},
		{"give a server to another project", "UPDATE servers SET project_id = 'evil'"},
		{"move a server to another host", "UPDATE servers SET host = 'other'"},
		{"take a server from another host", "UPDATE servers SET power_state = 1 WHERE uuid = '" + othersServer + "'"},
		{"delete a server", "UPDATE servers SET deleted = 1"},
		{"remove a server", "DELETE FROM servers"},
		{"read a server's user data", "SELECT user_data FROM servers"},
		{"raise own ratio", "UPDATE hosts SET cpu_ratio = 100"},
		{"hide own use", "UPDATE hosts SET vcpus_used = 0"},
		{"enable itself", "UPDATE hosts SET disabled = 0"},
		{"change its zone", "UPDATE hosts SET zone = 'vip'"},
		{"become another host", "UPDATE hosts SET name = 'other'"},
		{"report for another host", "UPDATE hosts SET last_seen = 1 WHERE name = 'other'"},
		{"read quotas", "SELECT * FROM " + main + "quota_usages"},
		{"raise a quota", "UPDATE " + main + "quota_limits SET hard_limit = 1000000"},
		{"read users", "SELECT * FROM " + main + "identity_users"},
		{"read images", "SELECT * FROM " + main + "images"},
		{"read keypairs", "SELECT * FROM " + main + "keypairs"},
		{"read the wide servers table", "SELECT uuid FROM " + main + "servers"},
		{"write the wide work table", "UPDATE " + main + "work SET state = 'done'"},
		{"read who is who", "SELECT * FROM " + main + "host_accounts"},
		{"become another host by the mapping", "UPDATE " + main + "host_accounts SET host = 'other'"},
		{"read the database's accounts", "SELECT user FROM mysql.user"},
		{"make a user", "CREATE USER evil IDENTIFIED BY 'x'"},
		{"make a view", "CREATE VIEW evil AS SELECT 1"},
		{"make a table", "CREATE TABLE evil (a INT)"},
		{"pass its rights on", "GRANT SELECT ON work TO evil"},
		{"lock tables", "LOCK TABLES " + main + "servers WRITE"},
		{"read files", "SELECT LOAD_FILE('/etc/passwd') FROM work WHERE LOAD_FILE('/etc/passwd') IS NOT NULL"},
		{"see others' accounts", "SELECT grantee FROM information_schema.user_privileges WHERE grantee NOT LIKE '%" + h.cred.User + "%'"},
	}
	for _, a := range attacks {
		var n int64
		var err error
		if strings.HasPrefix(a.stmt, "SELECT") {
			rows, qerr := h.mine.Query(a.stmt)
			err = qerr
			if qerr == nil {
				for rows.Next() {
					n++
				}
				err = rows.Err()
				rows.Close()
			}
		} else {
			res, xerr := h.mine.Exec(a.stmt)
			err = xerr
			if xerr == nil {
				n, err = res.RowsAffected()
			}
		}
		if err == nil && n > 0 {
			t.Errorf("%s went through: %s", a.name, a.stmt)
		}
	}
}

// TestAgentOnItsOwnAccount: computed needs nothing but the host's account.
func TestAgentOnItsOwnAccount(t *testing.T) {
	h := newTwoHosts(t)
	world := sim.NewWorld()
	a, err := computed.New(computed.Config{DB: h.mine, Driver: sim.New(sim.Options{World: world, Hostname: "mine"}), Host: "mine", Poll: 10 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Run(ctx) }()
	defer func() {
		stop()
		err := <-done
		if err != nil {
			t.Error(err)
		}
	}()
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
	err = schema.RemoveHostAccount(ctx, h.wide, "mine")
	if err != nil {
		t.Fatal(err)
	}
	var n int
	err = h.mine.Get(&n, "SELECT COUNT(*) FROM work")
	if err == nil && n > 0 {
		t.Errorf("after its removal the account still sees %d rows", n)
	}
}

func TestNoHostAccountsOnSQLite(t *testing.T) {
	_, err := schema.AddHostAccount(context.Background(), schematest.SQLite(t), "h", "%")
	if err == nil || !strings.Contains(err.Error(), "MariaDB") {
		t.Errorf("error %v", err)
	}
}
