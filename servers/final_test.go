package servers

import (
	"fmt"
	"strings"
	"testing"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

func (c *cloud) reset(id, state string) {
	c.t.Helper()
	a := c.as(ours+" admin", "2.1", "POST", "/servers/"+id+"/action", `{"os-resetState":{"state":"`+state+`"}}`)
	if a.code != 202 {
		c.t.Fatal(a.body)
	}
}

// lastAction gives the newest action of a server.
func (c *cloud) lastAction(id string) map[string]any {
	c.t.Helper()
	list, _ := c.as(ours+" admin", "2.62", "GET", "/servers/"+id+"/os-instance-actions", "").get("instanceActions").([]any)
	if len(list) == 0 {
		c.t.Fatal("no action on record")
	}
	return list[0].(map[string]any)
}

// TestWhatQueuesNoWorkLeavesWorkBe: a lock in the middle of a stop made the host's report
// count for nothing, and the server kept its task for ever.
func TestWhatQueuesNoWorkLeavesWorkBe(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		requests := []struct{ version, method, path, body string }{
			{"2.73", "POST", "/action", `{"lock":{"locked_reason":"r"}}`}, {"2.1", "POST", "/action", `{"unlock":null}`},
			{"2.1", "PUT", "", `{"server":{"name":"n"}}`}, {"2.1", "PUT", "/metadata", `{"metadata":{"a":"b"}}`},
			{"2.1", "DELETE", "/metadata/a", ""}, {"2.26", "PUT", "/tags/x", ""}, {"2.26", "DELETE", "/tags", ""},
		}
		id := c.boot("busy")
		for _, r := range requests {
			c.act(202, id, `{"os-stop":null}`)
			a := c.as(ours+" member", r.version, r.method, "/servers/"+id+r.path, r.body)
			if a.code >= 300 {
				t.Fatalf("%s %s = %d %s", r.method, r.path, a.code, a.body)
			}
			c.settle()
			c.is(id, "SHUTOFF")
			c.as(ours+" admin", "2.1", "POST", "/servers/"+id+"/action", `{"os-start":null}`)
			c.settle()
			c.is(id, "ACTIVE")
			c.act(202, id, `{"unlock":null}`)
		}
	})
}

// TestFailedConfirmsAndRevertsShow: they leave ERROR, a fault, an action in error, and one
// flavor's claim and quota.
func TestFailedConfirmsAndRevertsShow(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		for action, want := range map[string]struct {
			kind   work.Kind
			code   int
			flavor string
		}{"confirmResize": {work.ConfirmResize, 204, "m1.small"}, "revertResize": {work.RevertResize, 202, "m1.tiny"}} {
			for _, stopped := range []bool{false, true} {
				id := c.boot("r")
				if stopped {
					c.act(202, id, `{"os-stop":null}`)
					c.settle()
				}
				c.act(202, id, `{"resize":{"flavorRef":"2"}}`)
				c.settle()
				c.refuse[want.kind] = work.Result{Message: "No.", PowerState: work.Shutdown}
				c.act(want.code, id, `{"`+action+`":null}`)
				c.settle()
				delete(c.refuse, want.kind)
				a := c.is(id, "ERROR")
				if a.text("server", "fault", "message") != "No." || a.text("server", "flavor", "original_name") != want.flavor {
					t.Errorf("%s failed: %s", action, a.body)
				}
				if last := c.lastAction(id); last["action"] != action || last["message"] != "Error" {
					t.Errorf("%s failed: the newest action is %v", action, last)
				}
				v, err := lifecycle.Get(t.Context(), c.db, id)
				if err != nil || v.MigrationID != nil {
					t.Errorf("%s failed: migration %v, %v", action, v.MigrationID, err)
				}
				if n := c.count("SELECT COUNT(*) FROM migrations WHERE server_uuid = '" + id + "' AND status = 'error'"); n != 1 {
					t.Errorf("%s failed: %d failed migrations on record", action, n)
				}
				c.audit()
			}
		}
	})
}

// TestNoImageStaysQueued: whatever happens to a server while its snapshot is made, the
// image ends with the work.
func TestNoImageStaysQueued(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		queued := func() int {
			return c.count("SELECT COUNT(*) FROM images WHERE deleted_at = 0 AND status = 'queued'")
		}
		for name, then := range map[string]func(id string){
			"reset": func(id string) { c.reset(id, "active") }, "reset to error": func(id string) { c.reset(id, "error") },
			"deleted":      func(id string) { c.want(204, "DELETE", "/servers/"+id, "") },
			"deadline":     func(string) { c.exec("UPDATE work SET deadline = 1") },
			"reset, after": func(id string) { c.reset(id, "active"); c.exec("UPDATE work SET deadline = 1") },
		} {
			id := c.boot("s")
			c.act(202, id, `{"createImage":{"name":"snap"}}`)
			if queued() != 1 {
				t.Fatalf("%s: %d images queued", name, queued())
			}
			then(id)
			err := c.s.Life.KeepOnce(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			c.settle() // the hosts say that all went well, though no data ever came
			if n := queued(); n != 0 {
				t.Errorf("%s: %d images stay queued", name, n)
			}
		}
		// One that cannot be begun leaves none.
		id := c.boot("s")
		c.act(202, id, `{"pause":null}`)
		c.act(409, id, `{"createImage":{"name":"snap"}}`)
		if n := queued(); n != 0 {
			t.Errorf("a snapshot that was refused left %d images", n)
		}
	})
}

// TestDeletedIsDeleted: a state reset while the host removes the guest brings it not back.
func TestDeletedIsDeleted(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("d")
		c.want(204, "DELETE", "/servers/"+id, "")
		c.reset(id, "active")
		c.settle()
		c.want(404, "GET", "/servers/"+id, "")
	})
}

// TestRetriesAskWhatTheCreateAsked: a spawn that failed goes to no host that the create
// would not have taken.
func TestRetriesAskWhatTheCreateAsked(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.exec("UPDATE hosts SET zone = 'west' WHERE name = 'host-2'")
		c.exec("INSERT INTO hosts (uuid, name, hypervisor_hostname, hypervisor_type, hypervisor_version, host_ip, arch, cpu_info, vcpus, memory_mb, disk_gb, disk_available_gb, uptime, doorbell, last_seen, public_key, started_at, created_at, updated_at) " +
			"SELECT 'u3', 'host-3', 'node-3', hypervisor_type, hypervisor_version, host_ip, arch, cpu_info, vcpus, memory_mb, disk_gb, disk_available_gb, uptime, doorbell, last_seen, public_key, started_at, created_at, updated_at FROM hosts WHERE name = 'host-1'")
		c.hosts.Forget()
		boot := func(more string) string {
			c.t.Helper()
			a := c.as(ours+" admin", "2.74", "POST", "/servers", strings.TrimSuffix(c.createBody("x", `,"networks":"none"`+more), "}")+"}")
			if a.code != 202 {
				t.Fatalf("%s = %d %s", more, a.code, a.body)
			}
			return a.text("server", "id")
		}
		at := func(host string) string {
			id := boot(`,"availability_zone":"nova:` + host + `"`)
			c.settle()
			return id
		}
		one := at("host-1")
		c.refuse[work.Spawn] = work.Result{Message: "No.", Retry: true}
		hints := func(s string) string { return `},"os:scheduler_hints":{` + s }
		for name, tt := range map[string]struct {
			more  string
			tried string // hosts that may be tried
		}{
			"zone":           {`,"availability_zone":"west"`, "host-2"},
			"zone:host":      {`,"availability_zone":"nova:host-1"`, "host-1"},
			"zone::node":     {`,"availability_zone":"nova::node-3"`, "host-3"},
			"host":           {`,"host":"host-3"`, "host-3"},
			"hypervisor":     {`,"hypervisor_hostname":"node-3"`, "host-3"},
			"same_host":      {hints(fmt.Sprintf(`"same_host":%q`, one)), "host-1"},
			"different_host": {hints(fmt.Sprintf(`"different_host":%q`, one)), "host-2 host-3"},
		} {
			id := boot(tt.more)
			for range 4 { // one try at a time, so that each is seen
				v, err := lifecycle.Get(t.Context(), c.db, id)
				if err != nil {
					t.Fatal(err)
				}
				if v.Host != nil && !strings.Contains(tt.tried, *v.Host) {
					t.Errorf("%s: tried on %s, want one of %s", name, *v.Host, tt.tried)
				}
				var w struct {
					ID   int64     `db:"id"`
					Kind work.Kind `db:"kind"`
				}
				if c.db.Get(&w, "SELECT id, kind FROM work WHERE server_uuid = ?", id) != nil {
					break
				}
				c.finish(w.ID, w.Kind)
				_, err = c.s.Life.FinishSome(t.Context())
				if err != nil {
					t.Fatal(err)
				}
			}
			c.is(id, "ERROR")
			if got, want := c.tried(id), len(strings.Fields(tt.tried)); got != want {
				t.Errorf("%s: tried %d times, want %d", name, got, want)
			}
		}
	})
}

// TestNamesOfMany: names and host names of servers that are made together, as in Nova.
func TestNamesOfMany(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		long := strings.Repeat("x", 70)
		for _, tt := range []struct {
			name, more  string
			names, host []string
		}{
			{"web", `,"min_count":2`, []string{"web-1", "web-2"}, []string{"web-1", "web-2"}},
			{"A b", `,"min_count":2`, []string{"A b-1", "A b-2"}, []string{"a-b-1", "a-b-2"}},
			{"web", `,"min_count":1,"max_count":1`, []string{"web"}, []string{"web"}},
			{"!!", `,"min_count":2`, []string{"!!-1", "!!-2"}, []string{"Server-", "Server-"}},
			{long, `,"min_count":2`, []string{long + "-1", long + "-2"}, []string{long[:63] + "-1", long[:63] + "-2"}},
			// Of the ten that the quota allows nine are there: it is no server of many.
			{"last", `,"min_count":1,"max_count":5`, []string{"last"}, []string{"last"}},
		} {
			a := c.want(202, "POST", "/servers", c.createBody(tt.name, tt.more+`,"return_reservation_id":true`))
			c.settle()
			var got []struct{ Name, Hostname, UUID string }
			err := c.db.Select(&got, "SELECT name, hostname, uuid FROM servers WHERE reservation_id = ? ORDER BY launch_index", a.text("reservation_id"))
			if err != nil || len(got) != len(tt.names) {
				t.Fatalf("%s: %v, %v", tt.name, got, err)
			}
			for i, v := range got {
				want := tt.host[i]
				if want == "Server-" {
					want += v.UUID
				}
				if v.Name != tt.names[i] || v.Hostname != want {
					t.Errorf("%d of %q is %q, host name %q, want %q and %q", i, tt.name, v.Name, v.Hostname, tt.names[i], want)
				}
			}
		}
	})
}

// TestDeletesDecideAnew: a delete that read the server before somebody else acted on it asks
// the host that the server has now, or nobody, and once.
func TestDeletesDecideAnew(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := &compat.Caller{UserID: "u", ProjectID: ours, Roles: []string{"admin"}}
		for name, meanwhile := range map[string]func(id string){
			"its host failed": func(string) {
				c.refuse[work.Spawn] = work.Result{Message: "No."}
				c.settle()
				delete(c.refuse, work.Spawn)
			},
			"it runs":           func(string) { c.settle() },
			"it is being ended": func(id string) { c.want(204, "DELETE", "/servers/"+id, "") },
			"it is gone":        func(id string) { c.want(204, "DELETE", "/servers/"+id, ""); c.settle() },
		} {
			id := c.want(202, "POST", "/servers", c.createBody("d", "")).text("server", "id")
			before, err := lifecycle.Get(t.Context(), c.db, id)
			if err != nil {
				t.Fatal(err)
			}
			meanwhile(id)
			err = c.s.Life.End(t.Context(), admin, before, lifecycle.OpDelete)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if n := c.count("SELECT COUNT(*) FROM work WHERE kind = 'delete' OR host = ''"); n > 1 {
				t.Errorf("%s: %d pieces of work to delete it", name, n)
			}
			c.settle()
			c.want(404, "GET", "/servers/"+id, "")
			if n := c.count("SELECT COUNT(*) FROM work"); n != 0 {
				t.Errorf("%s: %d pieces of work are left", name, n)
			}
			c.audit()
		}
	})
}
