package servers

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// each runs a test on a new cloud on SQLite and, where there is one, on MariaDB.
func each(t *testing.T, fn func(t *testing.T, c *cloud)) {
	t.Helper()
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		c := newCloud(t, db)
		fn(t, c)
		c.audit()
	})
}

func TestLifeCycle(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.want(202, "POST", "/servers", c.createBody("web", ""))
		id := a.text("server", "id")
		if a.Get("Location") == "" || len(a.text("server", "adminPass")) != 12 {
			t.Errorf("create answered %v %s", a.Header, a.body)
		}
		first := c.is(id, "BUILD")
		if got := first.get("server", "addresses"); len(got.(map[string]any)) != 0 {
			t.Errorf("addresses while building: %v", got)
		}
		c.settle()
		active := c.is(id, "ACTIVE")
		if nets := active.get("server", "addresses").(map[string]any); len(nets["private"].([]any)) != 1 {
			t.Errorf("addresses of an active server: %v", nets)
		}
		steps := []struct{ body, during, after string }{
			{`{"os-stop":null}`, "ACTIVE", "SHUTOFF"}, {`{"os-start":null}`, "SHUTOFF", "ACTIVE"},
			{`{"reboot":{"type":"SOFT"}}`, "REBOOT", "ACTIVE"}, {`{"reboot":{"type":"HARD"}}`, "HARD_REBOOT", "ACTIVE"},
			{`{"pause":null}`, "ACTIVE", "PAUSED"}, {`{"unpause":null}`, "PAUSED", "ACTIVE"},
			{`{"suspend":null}`, "ACTIVE", "SUSPENDED"}, {`{"resume":null}`, "SUSPENDED", "ACTIVE"},
			{`{"resize":{"flavorRef":"2"}}`, "RESIZE", "VERIFY_RESIZE"}, {`{"revertResize":null}`, "REVERT_RESIZE", "ACTIVE"},
			{`{"resize":{"flavorRef":"2"}}`, "RESIZE", "VERIFY_RESIZE"},
			{`{"rebuild":{"imageRef":"` + c.image + `"}}`, "", ""},
			{`{"changePassword":{"adminPass":"x"}}`, "", ""},
		}
		for _, s := range steps {
			if s.after == "" {
				c.act(409, id, s.body) // not while a resize waits
				continue
			}
			c.act(202, id, s.body)
			c.is(id, s.during)
			c.settle()
			c.is(id, s.after)
			c.audit()
		}
		c.act(204, id, `{"confirmResize":null}`)
		c.settle()
		if got := c.is(id, "ACTIVE").text("server", "flavor", "original_name"); got != "m1.small" {
			t.Errorf("flavor after a resize is %q", got)
		}
		c.act(202, id, `{"rebuild":{"imageRef":"`+c.image+`","name":"again"}}`)
		c.is(id, "REBUILD")
		c.settle()
		if got := c.is(id, "ACTIVE").text("server", "name"); got != "again" {
			t.Errorf("name after a rebuild is %q", got)
		}
		c.want(204, "DELETE", "/servers/"+id, "")
		c.want(204, "DELETE", "/servers/"+id, "") // again while deleting
		c.settle()
		c.want(404, "GET", "/servers/"+id, "")
		c.want(404, "DELETE", "/servers/"+id, "")
		actions := c.as(ours+" member", "2.21", "GET", "/servers/"+id+"/os-instance-actions", "")
		if n := len(actions.get("instanceActions").([]any)); actions.code != 200 || n < 10 {
			t.Errorf("a deleted server's actions: %d, %d of them", actions.code, n)
		}
	})
}

func TestStateTableRefuses(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("web")
		tests := []struct{ action, name, body string }{
			{"start", "os-start", `{"os-start":null}`}, {"unpause", "unpause", `{"unpause":null}`}, {"resume", "resume", `{"resume":null}`},
			{"confirmResize", "confirmResize", `{"confirmResize":null}`}, {"revertResize", "revertResize", `{"revertResize":null}`},
		}
		for _, tt := range tests {
			a := c.act(409, id, tt.body)
			want := fmt.Sprintf("Cannot '%s' instance %s while it is in vm_state active", tt.action, id)
			if got := a.text("conflictingRequest", "message"); got != want {
				t.Errorf("%s: %q, want %q", tt.name, got, want)
			}
		}
		c.act(202, id, `{"os-stop":null}`)
		a := c.act(409, id, `{"pause":null}`)
		if got := a.text("conflictingRequest", "message"); !strings.Contains(got, "task_state powering-off") {
			t.Errorf("while a task runs: %q", got)
		}
		c.settle()
	})
}

func TestFailures(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.refuse[work.Spawn] = work.Result{Message: "Build of instance failed.", Detail: "secret path", Retry: true}
		id := c.want(202, "POST", "/servers", c.createBody("broken", "")).text("server", "id")
		c.settle()
		a := c.is(id, "ERROR")
		if a.get("server", "OS-EXT-SRV-ATTR:host") != nil || c.tried(id) < 2 {
			t.Errorf("after failing everywhere: %s, tried %d hosts", a.body, c.tried(id))
		}
		seen := c.want(200, "GET", "/servers/"+id, "")
		if strings.Contains(seen.body, "secret path") || seen.get("server", "fault", "code") == nil {
			t.Errorf("OSSA-2019-003: a member sees %s", seen.body)
		}
		c.want(204, "DELETE", "/servers/"+id, "")
		c.want(404, "GET", "/servers/"+id, "")
		delete(c.refuse, work.Spawn)

		id = c.boot("works")
		for kind, bodies := range map[work.Kind][2]string{
			work.Pause: {`{"pause":null}`, "ERROR"}, work.ResizePrep: {`{"resize":{"flavorRef":"2"}}`, "ACTIVE"},
			work.SetPassword: {`{"changePassword":{"adminPass":"x"}}`, "ACTIVE"}, work.Snapshot: {`{"createImage":{"name":"s"}}`, "ACTIVE"},
		} {
			c.refuse[kind] = work.Result{Message: "No.", PowerState: work.PoweredOn}
			c.act(202, id, bodies[0])
			c.settle()
			c.is(id, bodies[1])
			c.audit()
			if bodies[1] == "ERROR" {
				a := c.as(ours+" admin", "2.1", "POST", "/servers/"+id+"/action", `{"os-resetState":{"state":"active"}}`)
				if a.code != 202 {
					t.Fatalf("reset state = %d %s", a.code, a.body)
				}
			}
		}
	})
}

func (c *cloud) tried(id string) int {
	var n int
	err := c.db.Get(&n, "SELECT attempts FROM servers WHERE uuid = ?", id)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

// A resize for which no host has room is accepted; the action tells that it came to nothing.
func TestResizeWithoutRoom(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("tight")
		_, err := c.db.Exec("UPDATE hosts SET memory_mb = 100")
		if err != nil {
			t.Fatal(err)
		}
		c.hosts.Forget()
		c.act(202, id, `{"resize":{"flavorRef":"2"}}`)
		c.settle()
		a := c.is(id, "ACTIVE")
		if got := a.text("server", "flavor", "original_name"); got == "2" || a.get("server", "OS-EXT-STS:task_state") != nil {
			t.Errorf("after the resize: flavor %q, task %v", got, a.get("server", "OS-EXT-STS:task_state"))
		}
		c.audit() // quota and room are as before
		actions, _ := c.as(ours+" member", "2.62", "GET", "/servers/"+id+"/os-instance-actions", "").get("instanceActions").([]any)
		last, _ := actions[0].(map[string]any)
		if last["action"] != "resize" || last["message"] != "Error" {
			t.Errorf("the newest action is %v", last)
		}
	})
}

func TestNoValidHost(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		_, err := c.db.Exec("UPDATE hosts SET memory_mb = 100")
		if err != nil {
			t.Fatal(err)
		}
		c.hosts.Forget()
		id := c.want(202, "POST", "/servers", c.createBody("none", "")).text("server", "id")
		a := c.is(id, "ERROR")
		if got := a.text("server", "fault", "message"); !strings.HasPrefix(got, "No valid host was found.") {
			t.Errorf("fault %q", got)
		}
		admin, path := ours+" admin", "/servers/"+id+"/os-instance-actions"
		actions, _ := c.as(admin, "2.62", "GET", path, "").get("instanceActions").([]any)
		request, _ := actions[0].(map[string]any)["request_id"].(string)
		events, _ := c.as(admin, "2.62", "GET", path+"/"+request, "").get("instanceAction", "events").([]any)
		if host := events[0].(map[string]any)["host"]; host != "" {
			t.Errorf("an event without a host names %v, want a text", host)
		}
		c.want(204, "DELETE", "/servers/"+id, "")
		c.want(404, "GET", "/servers/"+id, "")
	})
}

func TestManyAndQuota(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.want(202, "POST", "/servers", c.createBody("many", `,"min_count":2,"max_count":30,"return_reservation_id":true`))
		if !strings.HasPrefix(a.text("reservation_id"), "r-") {
			t.Errorf("reservation: %s", a.body)
		}
		c.settle()
		list := c.want(200, "GET", "/servers?reservation_id="+a.text("reservation_id"), "").get("servers").([]any)
		if len(list) != 10 { // as many as the quota of instances allows
			t.Errorf("%d servers, want 10", len(list))
		}
		over := c.want(403, "POST", "/servers", c.createBody("more", ""))
		if got := over.text("forbidden", "message"); !strings.HasPrefix(got, "Quota exceeded for instances: Requested 1, but already used 10 of 10 instances") {
			t.Errorf("quota: %q", got)
		}
		names := map[string]bool{}
		for _, v := range list {
			names[v.(map[string]any)["name"].(string)] = true
		}
		if !names["many-1"] || !names["many-10"] {
			t.Errorf("names %v", names)
		}
	})
}

func TestIsolation(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("mine")
		tests := []struct {
			name, who, method, path, body string
			code                          int
		}{
			{"another project shows", theirs + " member", "GET", "/servers/" + id, "", 404},
			{"another project deletes", theirs + " member", "DELETE", "/servers/" + id, "", 404},
			{"another project acts", theirs + " member", "POST", "/servers/" + id + "/action", `{"os-stop":null}`, 404},
			{"a reader acts", ours + " reader", "POST", "/servers/" + id + "/action", `{"os-stop":null}`, 403},
			{"a reader shows", ours + " reader", "GET", "/servers/" + id, "", 200},
			{"no role shows", ours + " nobody", "GET", "/servers/" + id, "", 403},
			{"no role lists", ours + " nobody", "GET", "/servers", "", 403},
			{"an admin of another project", theirs + " admin", "GET", "/servers/" + id, "", 200},
			{"all tenants by a member", ours + " member", "GET", "/servers?all_tenants=1", "", 403},
			{"all tenants by an admin", theirs + " admin", "GET", "/servers/detail?all_tenants=1", "", 200},
			{"reset state by a member", ours + " member", "POST", "/servers/" + id + "/action", `{"os-resetState":{"state":"active"}}`, 403},
			{"a forced host by a member", ours + " member", "POST", "/servers", c.createBody("x", `,"availability_zone":"nova:host-1"`), 403},
			{"a marker of another project", theirs + " member", "GET", "/servers?marker=" + id, "", 400},
		}
		for _, tt := range tests {
			a := c.as(tt.who, "2.1", tt.method, tt.path, tt.body)
			if a.code != tt.code {
				t.Errorf("%s = %d %s, want %d", tt.name, a.code, a.body, tt.code)
			}
		}
		if a := c.as(theirs+" member", "2.1", "GET", "/servers/detail", ""); strings.Contains(a.body, id) {
			t.Error("another project's list holds our server")
		}
	})
}

func TestLock(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("locked")
		c.act(202, id, `{"lock":null}`)
		if a := c.act(409, id, `{"os-stop":null}`); a.text("conflictingRequest", "message") != "Instance "+id+" is locked" {
			t.Errorf("locked: %s", a.body)
		}
		c.act(202, id, `{"unlock":null}`)
		a := c.as(theirs+" admin", "2.73", "POST", "/servers/"+id+"/action", `{"lock":{"locked_reason":"audit"}}`)
		if a.code != 202 {
			t.Fatalf("lock by an admin = %d %s", a.code, a.body)
		}
		c.act(403, id, `{"unlock":null}`)
		a = c.as(ours+" admin", "2.73", "GET", "/servers/"+id, "")
		if a.get("server", "locked") != true || a.text("server", "locked_reason") != "audit" {
			t.Errorf("view of a locked server: %s", a.body)
		}
		a = c.as(ours+" admin", "2.73", "POST", "/servers/"+id+"/action", `{"unlock":null}`)
		if a.code != 202 {
			t.Errorf("unlock by an admin = %d %s", a.code, a.body)
		}
	})
}

func TestMetadataAndTags(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("m")
		at := "/servers/" + id
		c.want(200, "POST", at+"/metadata", `{"metadata":{"a":"1","b":"2"}}`)
		c.want(200, "PUT", at+"/metadata/a", `{"meta":{"a":"3"}}`)
		c.want(400, "PUT", at+"/metadata/a", `{"meta":{"z":"3"}}`)
		c.want(204, "DELETE", at+"/metadata/b", "")
		c.want(404, "DELETE", at+"/metadata/b", "")
		if a := c.want(200, "GET", at+"/metadata", ""); a.body != `{"metadata":{"a":"3"}}` {
			t.Errorf("metadata: %s", a.body)
		}
		var many []string
		for i := range 129 {
			many = append(many, fmt.Sprintf(`"k%d":"v"`, i))
		}
		c.want(403, "PUT", at+"/metadata", `{"metadata":{`+strings.Join(many, ",")+`}}`)
		tags := []struct {
			method, path, body string
			code               int
		}{
			{"PUT", "/tags/red", "", 201}, {"PUT", "/tags/red", "", 204}, {"GET", "/tags/red", "", 204}, {"GET", "/tags/blue", "", 404},
			{"PUT", "/tags", `{"tags":["x","y"]}`, 200}, {"DELETE", "/tags/red", "", 404}, {"DELETE", "/tags/x", "", 204}, {"DELETE", "/tags", "", 204},
			{"PUT", "/tags/a,b", "", 400}, {"PUT", "/tags/" + strings.Repeat("a", 61), "", 400},
		}
		for _, tt := range tags {
			if a := c.as(ours+" member", "2.26", tt.method, at+tt.path, tt.body); a.code != tt.code {
				t.Errorf("%s %s = %d %s, want %d", tt.method, tt.path, a.code, a.body, tt.code)
			}
		}
	})
}

func TestListFiltersSortingAndPages(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		var ids []string
		for _, name := range []string{"alpha", "beta", "gamma", "delta"} {
			ids = append(ids, c.boot(name))
		}
		c.act(202, ids[1], `{"os-stop":null}`)
		c.settle()
		c.want(204, "DELETE", "/servers/"+ids[3], "")
		c.settle()
		if a := c.as(ours+" member", "2.26", "PUT", "/servers/"+ids[0]+"/tags", `{"tags":["t1","t2"]}`); a.code != 200 {
			t.Fatal(a.body)
		}
		ip := c.is(ids[2], "ACTIVE").get("server", "addresses").(map[string]any)["private"].([]any)[0].(map[string]any)["addr"].(string)
		tests := []struct{ query, version, want string }{
			{"", "2.1", "gamma beta alpha"},
			{"sort_key=display_name&sort_dir=asc", "2.1", "alpha beta gamma"},
			{"name=^.*a$", "2.1", "gamma beta alpha"},
			{"name=bet", "2.1", "beta"},
			{"status=SHUTOFF", "2.1", "beta"},
			{"status=active&status=shutoff", "2.1", "gamma beta alpha"},
			{"status=nonsense", "2.1", ""},
			{"tags=t1,t2", "2.26", "alpha"},
			{"tags-any=t2,t9", "2.26", "alpha"},
			{"not-tags=t1,t2", "2.26", "gamma beta"},
			{"not-tags-any=t1", "2.26", "gamma beta"},
			{"ip=" + ip, "2.1", "gamma"},
			{"flavor=1", "2.1", "gamma beta alpha"},
			{"flavor=unknown", "2.1", ""},
			{"image=" + c.image, "2.1", "gamma beta alpha"},
			{"limit=0", "2.1", ""},
			{"limit=2", "2.1", "gamma beta"},
			{"limit=2&marker=" + ids[1], "2.1", "alpha"},
			{"changes-since=2020-01-01T00:00:00Z", "2.1", "delta gamma beta alpha"},
			{"changes-since=2099-01-01T00:00:00Z", "2.1", ""},
			{"deleted=True", "2.1", "gamma beta alpha"},
			{"host=host-1", "2.1", "gamma beta alpha"},
		}
		for _, tt := range tests {
			a := c.as(ours+" member", tt.version, "GET", "/servers/detail?"+tt.query, "")
			var names []string
			list, _ := a.get("servers").([]any)
			for _, v := range list {
				names = append(names, v.(map[string]any)["name"].(string))
			}
			if got := strings.Join(names, " "); a.code != 200 || got != tt.want {
				t.Errorf("%s = %d %q, want %q", tt.query, a.code, got, tt.want)
			}
		}
		for query, code := range map[string]int{"limit=-1": 400, "limit=a": 400, "marker=" + newID(): 400, "changes-since=never": 400,
			"sort_key=x%27--": 400, "sort_dir=up": 400, "sort_key=host": 403, "status=deleted": 403, "marker=%27%20OR%201=1": 400} {
			if a := c.do("GET", "/servers?"+query, ""); a.code != code {
				t.Errorf("%s = %d %s, want %d", query, a.code, a.body, code)
			}
		}
		if a := c.do("GET", "/servers?limit=2", ""); len(a.get("servers_links").([]any)) != 1 {
			t.Errorf("no next link: %s", a.body)
		}
		if a := c.as(ours+" admin", "2.1", "GET", "/servers?deleted=true", ""); !strings.Contains(a.body, ids[3]) || strings.Contains(a.body, ids[0]) {
			t.Errorf("deleted ones for an admin: %s", a.body)
		}
	})
}

// TestListIsAFixedHandfulOfStatements: the number of statements of a list does not grow
// with its length.
func TestListIsAFixedHandfulOfStatements(t *testing.T) {
	c := newCloud(t, schematest.SQLite(t))
	c.boot("one")
	a := c.as(ours+" admin", "2.96", "GET", "/servers/detail", "")
	if a.code != 200 {
		t.Fatal(a.body)
	}
	var plan []struct {
		ID, Parent, NotUsed int
		Detail              string
	}
	rows, err := c.db.Queryx("EXPLAIN QUERY PLAN SELECT "+lifecycle.Columns+" FROM servers WHERE project_id = ? AND deleted = ? ORDER BY created_at DESC, id DESC LIMIT 51", ours, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer rows.Close()
	detail := ""
	for rows.Next() {
		v, err := rows.SliceScan()
		if err != nil {
			t.Fatal(err)
		}
		detail += fmt.Sprint(v[3]) + "; "
	}
	if !strings.Contains(detail, "servers_project") || strings.Contains(detail, "TEMP B-TREE") {
		t.Errorf("the list is not served by its index: %s %v", detail, plan)
	}
}

func TestDeadlineEndsWork(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ctx := context.Background()
		id := c.want(202, "POST", "/servers", c.createBody("late", "")).text("server", "id")
		gone := c.boot("gone") // boots both
		_ = id
		c.act(202, id, `{"os-stop":null}`)
		c.want(204, "DELETE", "/servers/"+gone, "")
		_, err := c.db.Exec("UPDATE work SET deadline = 1")
		if err != nil {
			t.Fatal(err)
		}
		err = c.s.Life.KeepOnce(ctx)
		if err != nil {
			t.Fatal(err)
		}
		c.is(id, "ERROR")
		c.want(404, "GET", "/servers/"+gone, "")
	})
}

func TestFencing(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("fenced")
		c.act(202, id, `{"os-stop":null}`)
		a := c.as(ours+" admin", "2.1", "POST", "/servers/"+id+"/action", `{"os-resetState":{"state":"active"}}`)
		if a.code != 202 {
			t.Fatal(a.body)
		}
		c.settle() // the host stops the guest and says so, too late
		c.is(id, "ACTIVE")
	})
}

func TestGuestStopsByItself(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("self")
		_, err := c.db.Exec("UPDATE servers SET power_state = 4")
		if err != nil {
			t.Fatal(err)
		}
		err = c.s.Life.KeepOnce(context.Background())
		if err != nil {
			t.Fatal(err)
		}
		c.is(id, "SHUTOFF")
	})
}

func TestConsoleOutput(t *testing.T) {
	c := newCloud(t, schematest.SQLite(t))
	id := c.boot("talks")
	c.answers[work.ConsoleOutput] = work.Result{Output: "boot\x00\x1b[1mline\nlogin:"}
	stop := make(chan struct{})
	go func() {
		for {
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
				var ids []int64
				if c.db.Select(&ids, "SELECT id FROM work WHERE state = 'queued'") == nil {
					for _, n := range ids {
						c.finish(n, work.ConsoleOutput)
					}
				}
			}
		}
	}()
	a := c.act(http.StatusOK, id, `{"os-getConsoleOutput":{"length":5}}`)
	close(stop)
	if got := a.text("output"); got != "boot[1mline\nlogin:" {
		t.Errorf("output %q", got)
	}
}

// TestResetInAResizeGivesBackWhatItHeld: found by killing things: a reset in the middle of
// a resize left the larger claim on record, and the next resize took it again.
func TestResetInAResizeGivesBackWhatItHeld(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("reset")
		reset := func() {
			t.Helper()
			a := c.as(ours+" admin", "2.1", "POST", "/servers/"+id+"/action", `{"os-resetState":{"state":"active"}}`)
			if a.code != 202 {
				t.Fatal(a.body)
			}
			c.audit()
		}
		for range 3 {
			c.act(202, id, `{"resize":{"flavorRef":"2"}}`)
			reset()
			c.settle()
			c.audit()
		}
		c.act(202, id, `{"resize":{"flavorRef":"2"}}`)
		c.settle()
		reset() // in VERIFY_RESIZE: it keeps the new flavor
		if got := c.is(id, "ACTIVE").text("server", "flavor", "original_name"); got != "m1.small" {
			t.Errorf("flavor %q", got)
		}
	})
}
