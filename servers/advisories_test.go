package servers

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// logs keeps what is logged from now until the test ends, down to the finest level.
type logs struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func captureLogs(t *testing.T) *logs {
	t.Helper()
	l, old := &logs{}, slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(old) })
	return l
}

func (c *cloud) exec(stmt string, args ...any) {
	c.t.Helper()
	_, err := c.db.Exec(stmt, args...)
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) count(stmt string, args ...any) int {
	c.t.Helper()
	var n int
	err := c.db.Get(&n, stmt, args...)
	if err != nil {
		c.t.Fatal(err)
	}
	return n
}

func (c *cloud) servers() int {
	c.t.Helper()
	return c.count("SELECT COUNT(*) FROM servers WHERE deleted = 0")
}

// newImage makes an active image of "project role".
func (c *cloud) newImage(who, doc string) string {
	c.t.Helper()
	send := func(method, path, kind, body string) []byte {
		r := httptest.NewRequest(method, path, strings.NewReader(body))
		r.Header.Set("X-Auth-Token", who)
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		c.s.Images.Handler().ServeHTTP(w, r)
		if w.Code/100 != 2 {
			c.t.Fatalf("%s %s = %d %s", method, path, w.Code, w.Body)
		}
		return w.Body.Bytes()
	}
	var made struct{ ID string }
	err := json.Unmarshal(send("POST", "/v2/images", "application/json", `{"disk_format":"raw","container_format":"bare",`+doc+`}`), &made)
	if err != nil {
		c.t.Fatal(err)
	}
	send("PUT", "/v2/images/"+made.ID+"/file", "application/octet-stream", strings.Repeat("x", 4096))
	return made.ID
}

// network makes something of "project role" by the network API and gives its id.
func (c *cloud) network(who, kind, body string) string {
	c.t.Helper()
	r := httptest.NewRequest("POST", "/v2.0/"+kind+"s", strings.NewReader(`{"`+strings.ReplaceAll(kind, "-", "_")+`":`+body+`}`))
	r.Header.Set("X-Auth-Token", who)
	w := httptest.NewRecorder()
	c.s.Networks.Handler().ServeHTTP(w, r)
	var doc map[string]struct{ ID string }
	err := json.Unmarshal(w.Body.Bytes(), &doc)
	if err != nil || w.Code != 201 {
		c.t.Fatalf("make %s = %d %s", kind, w.Code, w.Body)
	}
	for _, one := range doc {
		return one.ID
	}
	return ""
}

func TestOSSA_2012_001_TheProjectInTheURLIsTheTokens(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("mine")
		at := "/" + theirs
		tests := []struct{ who, method, path, body string }{
			{ours + " member", "GET", at + "/servers", ""},
			{ours + " member", "GET", at + "/servers/" + id, ""},
			{ours + " member", "POST", at + "/servers", c.createBody("x", "")},
			{ours + " member", "DELETE", at + "/servers/" + id, ""},
			{ours + " member", "POST", at + "/servers/" + id + "/action", `{"os-stop":null}`},
			{ours + " admin", "DELETE", at + "/servers/" + id, ""},
			{theirs + " member", "DELETE", "/" + ours + "/servers/" + id, ""},
		}
		for _, tt := range tests {
			a := c.as(tt.who, "2.1", tt.method, tt.path, tt.body)
			if a.code != 400 || !strings.Contains(a.text("badRequest", "message"), "doesn't match Context's project_id") {
				t.Errorf("%s %s as %s = %d %s", tt.method, tt.path, tt.who, a.code, a.body)
			}
		}
		c.is(id, "ACTIVE")
		c.want(200, "GET", "/"+ours+"/servers/"+id, "")
		if n := c.servers(); n != 1 {
			t.Errorf("%d servers, want the one", n)
		}
	})
}

func TestOSSA_2013_019_2013_024_PrivateFlavorsBootNothing(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("mine")
		c.exec(`INSERT INTO flavors (flavorid, name, vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, is_public, created_at)
			VALUES ('hidden', 'hidden', 1, 512, 1, 0, 0, 0, 1)`)
		body := strings.ReplaceAll(c.createBody("x", ""), `"flavorRef":"1"`, `"flavorRef":%q`)
		hidden := c.want(400, "POST", "/servers", fmt.Sprintf(body, "hidden"))
		unknown := c.want(400, "POST", "/servers", fmt.Sprintf(body, "absent"))
		if strings.ReplaceAll(hidden.body, "hidden", "absent") != unknown.body {
			t.Errorf("a private flavor answers %s, an unknown one %s", hidden.body, unknown.body)
		}
		hidden = c.act(400, id, `{"resize":{"flavorRef":"hidden"}}`)
		unknown = c.act(400, id, `{"resize":{"flavorRef":"absent"}}`)
		if strings.ReplaceAll(hidden.body, "hidden", "absent") != unknown.body {
			t.Errorf("resize to a private flavor answers %s, to an unknown one %s", hidden.body, unknown.body)
		}
		f := c.count("SELECT id FROM flavors WHERE flavorid = 'hidden'")
		c.exec("INSERT INTO flavor_access (flavor_id, project_id) VALUES (?, ?)", f, ours)
		time.Sleep(1100 * time.Millisecond) // what other processes change is seen after a second
		c.want(202, "POST", "/servers", fmt.Sprintf(body, "hidden"))
		c.settle()
	})
}

func TestOSSA_2012_003_LongNamesFillNoLogs(t *testing.T) {
	seen := captureLogs(t)
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot(strings.Repeat("n", 255))
		long := strings.Repeat("marked", 10_000)
		before := len(seen.text())
		tests := []struct {
			method, path, body string
			code               int
		}{
			{"POST", "/servers", c.createBody(strings.Repeat("n", 256), ""), 400},
			{"POST", "/servers", c.createBody(long, ""), 400},
			{"PUT", "/servers/" + id, `{"server":{"name":"` + long + `"}}`, 400},
			{"POST", "/servers/" + id + "/action", `{"rebuild":{"imageRef":"` + c.image + `","name":"` + long + `"}}`, 400},
			{"POST", "/servers/" + id + "/action", `{"createImage":{"name":"` + long + `"}}`, 400},
			{"POST", "/servers", c.createBody(strings.Repeat(long, 20), ""), 413},
			{"GET", "/servers/" + long, "", 404},
			{"GET", "/servers?limit=1&marker=" + long, "", 400},
		}
		for _, tt := range tests {
			a := c.as(ours+" member", "2.96", tt.method, tt.path, tt.body)
			if a.code != tt.code {
				t.Errorf("%s %.40s %.40s = %d %.200s, want %d", tt.method, tt.path, tt.body, a.code, a.body, tt.code)
			}
		}
		if n := len(seen.text()) - before; n > len(tests)*1000 {
			t.Errorf("%d requests with long names wrote %d bytes of log", len(tests), n)
		}
		if c.is(id, "ACTIVE").text("server", "name") != strings.Repeat("n", 255) {
			t.Error("a name that was refused was kept")
		}
	})
}

func TestOSSA_2012_009_SchedulerHintsAreBounded(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		create := func(hints string) answer {
			return c.do("POST", "/servers", strings.TrimSuffix(c.createBody("x", ""), "}")+`,"os:scheduler_hints":`+hints+`}`)
		}
		ids := func(n int) string {
			list := make([]string, n)
			for i := range list {
				list[i] = newID()
			}
			return lifecycle.Encode(list)
		}
		for _, name := range []string{"same_host", "different_host"} {
			for n, code := range map[int]int{101: 400, 2500: 400, 5000: 413} {
				if a := create(`{"` + name + `":` + ids(n) + `}`); a.code != code {
					t.Errorf("%s with %d ids = %d %.300s, want %d", name, n, a.code, a.body, code)
				}
			}
		}
		if n := c.servers(); n != 0 {
			t.Errorf("%d servers were made", n)
		}
		if a := create(`{"different_host":` + ids(100) + `}`); a.code != 202 {
			t.Errorf("100 ids = %d %.300s", a.code, a.body)
		}
		// Hints that nothing reads are kept, but not without end.
		if a := create(`{"note":"` + strings.Repeat("x", 100_000) + `"}`); a.code != 400 {
			t.Errorf("a hint of 100,000 bytes = %d %.300s", a.code, a.body)
		}
		c.settle()
	})
}

func TestOSSA_2014_038_PatternsTakeNoTime(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot(strings.Repeat("a", 250) + "!")
		c.boot("other")
		hard := []string{`^(a+)+$`, `(a*)*(a*)*(a*)*b`, `^(([a-z])+.)+[A-Z]([a-z])+$`, `(a|aa)+$`, `(a|a?)+$`, `(.*a){25}$`, `^(1+)+$`, strings.Repeat("a?", 2000) + "$",
			`(x+x+)+y`, strings.Repeat("a{0,1000}", 20) + "$", strings.Repeat("x?", 50_000), strings.Repeat("(", 200), "[", "(?<=a)b", `\K`, `(?R)`, `(a)\1`, "\x00", "\xff\xfe"}
		for _, p := range hard {
			for _, name := range []string{"ip", "ip6", "name", "reservation_id"} {
				start := time.Now()
				a := c.as(ours+" member", "2.5", "GET", "/servers?"+name+"="+url.QueryEscape(p), "")
				took := time.Since(start)
				if a.code != 200 && a.code != 400 {
					t.Errorf("%s=%.60q = %d %.300s", name, p, a.code, a.body)
				}
				if took > 10*time.Second {
					t.Errorf("%s=%.60q took %v", name, p, took)
				}
			}
		}
		c.is(id, "ACTIVE")
	})
}

func TestOSSA_2013_008_2012_005_EachCountableThingHasAQuota(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("one")
		at := "/servers/" + id
		until := func(what, version string, most int, send func(i int) (method, path, body string)) {
			t.Helper()
			for i := range most + 10 {
				method, path, body := send(i)
				a := c.as(ours+" member", version, method, path, body)
				if a.code == 403 || a.code == 400 || a.code == 413 {
					if i > most {
						t.Errorf("%s: the %d. was still taken", what, i)
					}
					return
				}
				if a.code/100 != 2 {
					t.Fatalf("%s: the %d. = %d %s", what, i, a.code, a.body)
				}
			}
			t.Errorf("%s: %d and no end", what, most+10)
		}
		until("tags", "2.26", 50, func(i int) (string, string, string) { return "PUT", fmt.Sprintf("%s/tags/t%d", at, i), "" })
		until("metadata", "2.1", 128, func(i int) (string, string, string) {
			return "POST", at + "/metadata", fmt.Sprintf(`{"metadata":{"k%d":"v"}}`, i)
		})
		until("files", "2.1", 5, func(i int) (string, string, string) {
			c.settle()
			f := strings.Repeat(`{"path":"/f","contents":""},`, i+1)
			return "POST", at + "/action", `{"rebuild":{"imageRef":"` + c.image + `","personality":[` + strings.TrimSuffix(f, ",") + `]}}`
		})
	})
}

// The servers, their cores and their memory are counted too, and no way of asking for many
// at once goes around it.
func TestOSSA_2013_008_ServersAreCounted(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.exec("UPDATE hosts SET vcpus = 1000, memory_mb = 9000000, disk_gb = 90000")
		c.hosts.Forget()
		c.want(403, "POST", "/servers", c.createBody("x", `,"min_count":11,"max_count":11`))
		c.want(403, "POST", "/servers", strings.ReplaceAll(c.createBody("x", `,"min_count":6`), `"flavorRef":"1"`, `"flavorRef":"4"`)) // 6 times 4 cores
		if n := c.servers(); n != 0 {
			t.Errorf("%d servers were made", n)
		}
		for i := range 12 {
			a := c.do("POST", "/servers", c.createBody("x", ""))
			if want := 202; i < 10 && a.code != want || i >= 10 && a.code != 403 {
				t.Errorf("server %d = %d %s", i, a.code, a.body)
			}
		}
		c.settle()
		id := ""
		for _, v := range c.want(200, "GET", "/servers", "").get("servers").([]any) {
			id = v.(map[string]any)["id"].(string)
			c.do("POST", "/servers/"+id+"/action", `{"resize":{"flavorRef":"3"}}`)
			c.audit()
		}
		used, err := c.quotas.Usage(context.Background(), ours)
		if err != nil || used.Cores > 20 || used.RAM > 51200 {
			t.Errorf("resizes brought the use to %+v (%v)", used, err)
		}
		c.settle()
	})
}

func TestOSSA_2015_015_2015_017_2016_011_DeleteDuringAResizeLeavesNothing(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		resize := `{"resize":{"flavorRef":"2"}}`
		verify := func(id string) { c.act(202, id, resize); c.settle(); c.is(id, "VERIFY_RESIZE") }
		cases := map[string]func(id string){
			"before the host begins":   func(id string) { c.act(202, id, resize) },
			"while the host works":     func(id string) { c.act(202, id, resize); c.exec("UPDATE work SET state = 'running', claimed_by = 'x'") },
			"before it is confirmed":   verify,
			"while it is confirmed":    func(id string) { verify(id); c.act(204, id, `{"confirmResize":null}`) },
			"while it is reverted":     func(id string) { verify(id); c.act(202, id, `{"revertResize":null}`) },
			"when the host has failed": func(id string) { c.refuse[work.ResizePrep] = work.Result{Message: "No."}; c.act(202, id, resize) },
		}
		for name, prepare := range cases {
			for range 3 {
				id := c.boot("brief")
				prepare(id)
				c.audit()
				c.want(204, "DELETE", "/servers/"+id, "")
				c.exec("UPDATE work SET state = 'queued' WHERE state = 'running'")
				c.settle()
				delete(c.refuse, work.ResizePrep)
				c.want(404, "GET", "/servers/"+id, "")
				c.audit()
				if n := c.count("SELECT COUNT(*) FROM work"); n != 0 {
					t.Errorf("%s: %d pieces of work are left", name, n)
				}
				if n := c.count("SELECT COUNT(*) FROM ports WHERE device_id = ?", id); n != 0 {
					t.Errorf("%s: %d ports are left", name, n)
				}
			}
		}
		if n := c.count("SELECT COALESCE(SUM(vcpus_used + memory_mb_used + disk_gb_used), 0) FROM hosts"); n != 0 {
			t.Errorf("hosts hold %d of something for no server", n)
		}
	})
}

func TestOSSA_2017_006_RebuildsTakeNoRoom(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("again")
		used := func() int { return c.count("SELECT SUM(vcpus_used + memory_mb_used + disk_gb_used) FROM hosts") }
		want := used()
		for i := range 6 {
			if i%2 == 1 {
				c.refuse[work.Rebuild] = work.Result{Message: "No.", PowerState: work.PoweredOn}
			}
			c.act(202, id, `{"rebuild":{"imageRef":"`+c.image+`"}}`)
			c.audit()
			c.settle()
			c.audit()
			if got := used(); got != want {
				t.Errorf("after %d rebuilds hosts hold %d, at first %d", i+1, got, want)
			}
			delete(c.refuse, work.Rebuild)
			a := c.as(ours+" admin", "2.1", "POST", "/servers/"+id+"/action", `{"os-resetState":{"state":"active"}}`)
			if a.code != 202 {
				t.Fatal(a.body)
			}
		}
	})
}

func TestOSSA_2017_005_RebuildChecksWhatCreateChecks(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("strict")
		mine := ours + " member"
		large := c.newImage(mine, `"name":"large"`)
		c.exec("UPDATE images SET virtual_size = ? WHERE uuid = ?", int64(2)<<30, large) // the flavor has 1 GiB
		asleep := c.newImage(mine, `"name":"asleep"`)
		c.exec("UPDATE images SET status = 'deactivated' WHERE uuid = ?", asleep)
		bad := map[string]string{
			"another project's":      c.newImage(theirs+" member", `"name":"theirs","visibility":"private"`),
			"unknown":                newID(),
			"too large":              large,
			"not active":             asleep,
			"with too much memory":   c.newImage(mine, `"name":"m","min_ram":4096`),
			"with too large a disk":  c.newImage(mine, `"name":"d","min_disk":2`),
			"with a forbidden value": c.newImage(mine, `"name":"p","hw_disk_bus":"floppy"`),
			"a path":                 "../../" + newID(),
		}
		for name, image := range bad {
			made := c.do("POST", "/servers", strings.ReplaceAll(c.createBody("x", ""), c.image, image))
			rebuilt := c.do("POST", "/servers/"+id+"/action", `{"rebuild":{"imageRef":"`+image+`"}}`)
			if made.code/100 != 4 || rebuilt.code != made.code {
				t.Errorf("an image %s: create = %d %s, rebuild = %d %s", name, made.code, made.body, rebuilt.code, rebuilt.body)
			}
		}
		c.is(id, "ACTIVE")
		if n := c.servers(); n != 1 {
			t.Errorf("%d servers, want the one", n)
		}
	})
}

func TestOSSA_2019_003_FaultsSayNothingOfTheInside(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		const inside = "internal error: process exited: /var/lib/kilonova/instances/x/disk marked-inside"
		actions := map[work.Kind]string{
			work.Spawn: "", work.Pause: `{"pause":null}`, work.Stop: `{"os-stop":null}`, work.HardReboot: `{"reboot":{"type":"HARD"}}`,
			work.Rebuild: `{"rebuild":{"imageRef":"` + c.image + `"}}`, work.ResizePrep: `{"resize":{"flavorRef":"2"}}`,
			work.SetPassword: `{"changePassword":{"adminPass":"x"}}`, work.Suspend: `{"suspend":null}`, work.Snapshot: `{"createImage":{"name":"s"}}`,
		}
		told := 0
		for kind, body := range actions {
			// What the host says may be long: it must neither stop the finisher nor get out.
			c.refuse[kind] = work.Result{Message: "The operation failed.", Detail: strings.Repeat(inside, 1000)}
			id := ""
			if kind == work.Spawn {
				id = c.want(202, "POST", "/servers", c.createBody("x", "")).text("server", "id")
			} else {
				id = c.boot("x")
				c.act(202, id, body)
			}
			c.settle()
			delete(c.refuse, kind)
			for _, path := range []string{"", "/os-instance-actions"} {
				a := c.as(ours+" member", "2.96", "GET", "/servers/"+id+path, "")
				if a.code != 200 || strings.Contains(a.body, "marked-inside") {
					t.Errorf("%s: a member's %s shows %.600s", kind, path, a.body)
				}
			}
			for _, v := range c.as(ours+" member", "2.96", "GET", "/servers/"+id+"/os-instance-actions", "").get("instanceActions").([]any) {
				at := "/servers/" + id + "/os-instance-actions/" + v.(map[string]any)["request_id"].(string)
				a := c.as(ours+" member", "2.96", "GET", at, "")
				if a.code != 200 || strings.Contains(a.body, "marked-inside") {
					t.Errorf("%s: a member's action shows %.600s", kind, a.body)
				}
				if strings.Contains(c.as(ours+" admin", "2.96", "GET", at, "").body, "marked-inside") {
					told++
				}
			}
			if a := c.want(200, "GET", "/servers/detail", ""); strings.Contains(a.body, "marked-inside") {
				t.Errorf("%s: a member's list shows %.600s", kind, a.body)
			}
			c.want(204, "DELETE", "/servers/"+id, "")
			c.settle()
		}
		if told == 0 {
			t.Error("administrators are told nothing either: the test cannot fail")
		}
	})
}

func TestOSSA_2017_001_2017_002_2014_036_2016_002_2013_002_2013_007_2014_004_SecretsStayWhereTheyAre(t *testing.T) {
	seen := captureLogs(t)
	each(t, func(t *testing.T, c *cloud) {
		const mark = "MarkedSecret"
		data := base64.StdEncoding.EncodeToString([]byte(mark + "-user-data"))
		secrets := []string{mark, data}
		more := `,"adminPass":"` + mark + `1","user_data":"` + data + `","personality":[{"path":"/etc/x","contents":"` + data + `"}]`
		who := ours + " member"
		requests := func(id string) map[string]string {
			return map[string]string{
				`{"changePassword":{"adminPass":"` + mark + `2"}}`:                       id,
				`{"rebuild":{"imageRef":"` + c.image + `","adminPass":"` + mark + `3"}}`: id,
			}
		}
		for _, fails := range []bool{false, true} {
			for _, kind := range []work.Kind{work.Spawn, work.SetPassword, work.Rebuild} {
				delete(c.refuse, kind)
				if fails && kind != work.Spawn {
					c.refuse[kind] = work.Result{Message: "No.", Detail: "it failed", PowerState: work.PoweredOn}
				}
			}
			id := c.want(202, "POST", "/servers", c.createBody("x", more)).text("server", "id")
			c.settle()
			for body := range requests(id) {
				c.act(202, id, body)
				c.settle()
				a := c.as(ours+" admin", "2.1", "POST", "/servers/"+id+"/action", `{"os-resetState":{"state":"active"}}`)
				if a.code != 202 {
					t.Fatal(a.body)
				}
			}
			// Requests that are refused, and one that breaks inside.
			c.do("POST", "/servers", strings.ReplaceAll(c.createBody("x", more), c.image, newID()))
			c.do("POST", "/servers", strings.TrimSuffix(c.createBody("x", more), "}"))
			c.do("POST", "/servers/"+id+"/action", `{"changePassword":{"adminPass":["`+mark+`"]}}`)
			for _, path := range []string{"/servers/" + id, "/servers/detail", "/servers/" + id + "/os-instance-actions"} {
				a := c.want(200, "GET", path, "")
				for _, s := range secrets {
					if strings.Contains(a.body, s) {
						t.Errorf("%s shows %s: %s", path, s, a.body)
					}
				}
			}
		}
		for _, table := range []string{"work", "instance_actions", "instance_events", "servers"} {
			var rows []map[string]any
			list, err := c.db.Queryx("SELECT * FROM " + table)
			if err != nil {
				t.Fatal(err)
			}
			for list.Next() {
				row := map[string]any{}
				err = list.MapScan(row)
				if err != nil {
					t.Fatal(err)
				}
				// These two are the client's own data, which the guest's config drive is made of.
				delete(row, "user_data")
				delete(row, "files")
				rows = append(rows, row)
			}
			_ = list.Close() // it was read to its end
			for _, row := range rows {
				if text := fmt.Sprintf("%s", row); strings.Contains(text, mark) || strings.Contains(text, data) {
					t.Errorf("table %s keeps a secret: %.800s", table, text)
				}
			}
		}
		c.exec("DROP TABLE instance_actions")
		broken := c.do("POST", "/servers", c.createBody("x", more+`,"name":"y"`))
		if broken.code != 500 {
			t.Errorf("create without a table = %d", broken.code)
		}
		for _, s := range append(secrets, who, strings.Split(who, " ")[0]+" ") {
			if strings.Contains(broken.body, s) {
				t.Errorf("an answer shows %s: %s", s, broken.body)
			}
			if strings.Contains(seen.text(), s) {
				t.Errorf("the log shows %s", s)
			}
		}
		if !strings.Contains(seen.text(), "request failed") {
			t.Error("nothing was logged: the test cannot fail")
		}
	})
}

func TestOSSA_2013_001_WhatStrangersOwnIsOutOfReach(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		them := theirs + " member"
		net := c.network(them, "network", `{"name":"theirs"}`)
		c.network(them, "subnet", `{"network_id":"`+net+`","ip_version":4,"cidr":"10.9.0.0/24"}`)
		port := c.network(them, "port", `{"network_id":"`+net+`"}`)
		group := c.network(them, "security-group", `{"name":"theirs"}`)
		image := c.newImage(them, `"name":"theirs","visibility":"private"`)
		c.exec("INSERT INTO keypairs (user_id, name, type, fingerprint, public_key, created_at) VALUES ('user-of-2222', 'theirs', 'ssh', 'f', 'ssh-rsa AAAA', 1)")
		volume := func(kind, id string) string {
			return `,"block_device_mapping_v2":[{"source_type":"` + kind + `","destination_type":"volume","boot_index":0,"uuid":"` + id + `"}]`
		}
		body := func(more string) string { return c.createBody("x", more) }
		tests := map[string]string{
			"volume":       strings.Replace(body(volume("volume", newID())), `"imageRef":"`+c.image+`"`, `"imageRef":""`, 1),
			"extra volume": body(`,"block_device_mapping_v2":[{"source_type":"volume","destination_type":"volume","uuid":"` + newID() + `"}]`),
			"snapshot":     strings.Replace(body(volume("snapshot", newID())), `"imageRef":"`+c.image+`"`, `"imageRef":""`, 1),
			"image":        strings.ReplaceAll(body(""), c.image, image),
			"image disk":   body(`,"block_device_mapping_v2":[{"source_type":"image","destination_type":"local","boot_index":0,"uuid":"` + image + `"}]`),
			"image alone":  strings.Replace(body(`,"block_device_mapping_v2":[{"source_type":"image","destination_type":"local","boot_index":0,"uuid":"`+image+`"}]`), `"imageRef":"`+c.image+`"`, `"imageRef":""`, 1),
			"port":         body(`,"networks":[{"port":"` + port + `"}]`),
			"network":      body(`,"networks":[{"uuid":"` + net + `"}]`),
			"keypair":      body(`,"key_name":"theirs"`),
			"group":        body(`,"security_groups":[{"name":"` + group + `"}]`),
			"group's name": body(`,"security_groups":[{"name":"theirs"}]`),
		}
		for name, b := range tests {
			if a := c.do("POST", "/servers", b); a.code != 400 && a.code != 404 {
				t.Errorf("a stranger's %s = %d %s", name, a.code, a.body)
			}
		}
		if n := c.servers(); n != 0 {
			t.Errorf("%d servers were made", n)
		}
		for name, b := range map[string]string{"port": tests["port"], "network": tests["network"], "keypair": tests["keypair"], "group": tests["group"]} {
			if name == "group" || name == "keypair" {
				b = strings.Replace(b, `,"flavorRef"`, `,"networks":"none","flavorRef"`, 1)
			}
			if a := c.as(them, "2.37", "POST", "/servers", b); name == "port" && a.code != 202 || name == "keypair" && a.code != 202 {
				t.Errorf("their own %s = %d %s", name, a.code, a.body)
			}
		}
		c.settle()
	})
}

func TestOSSA_2012_004_2013_036_2014_027_2026_006_ScriptsStayText(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		const script = `<script>alert(1)</script>`
		id := c.want(202, "POST", "/servers", c.createBody(script, `,"metadata":{"k":"`+script+`"}`)).text("server", "id")
		c.settle()
		at := "/servers/" + id
		requests := []struct{ method, path, body string }{
			{"GET", at, ""}, {"GET", "/servers/detail", ""}, {"GET", "/servers", ""}, {"GET", at + "/metadata", ""}, {"GET", at + "/metadata/k", ""},
			{"PUT", at, `{"server":{"name":"` + script + `2"}}`},
			{"PUT", at + "/metadata/k", `{"meta":{"k":"` + script + `"}}`},
			{"POST", at + "/action", `{"rebuild":{"imageRef":"` + c.image + `","name":"` + script + `"}}`},
			{"GET", "/servers/" + url.PathEscape(script), ""},
			{"GET", "/" + url.PathEscape(script), ""},
			{"GET", "/servers?marker=" + url.QueryEscape(script), ""},
			{"GET", "/servers?limit=" + url.QueryEscape(script), ""},
			{"POST", at + "/action", `{"` + script + `":null}`},
			{"POST", "/servers", c.createBody("x", `,"`+script+`":1`)},
			{"POST", "/servers", `<script>`},
		}
		for _, r := range requests {
			a := c.do(r.method, r.path, r.body)
			kind := a.Header.Get("Content-Type")
			if a.body == "" {
				continue
			}
			// A path of no version is answered before any resource, in the form of its own.
			text := strings.HasPrefix(kind, "text/plain") && !strings.Contains(a.body, "<")
			data := strings.HasPrefix(kind, "application/json") && json.Valid([]byte(a.body))
			if !text && !data || a.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s %s = %d, %q, %q: %.300s", r.method, r.path, a.code, kind, a.Header.Get("X-Content-Type-Options"), a.body)
			}
		}
		c.settle()
		if got := c.is(id, "ACTIVE").text("server", "name"); got != script {
			t.Errorf("the name is %q", got)
		}
	})
}

func TestOSSA_2012_008_2012_011_2011_001_FilesGoToTheGuestAlone(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		paths := []string{"../../../../etc/passwd", "/etc/shadow", `..\..\x`, "openstack/latest/meta_data.json", "content/0000"}
		var list []work.File
		for _, p := range paths {
			list = append(list, work.File{Path: p, Contents: "eA=="})
		}
		id := c.want(202, "POST", "/servers", c.createBody("x", `,"personality":`+lifecycle.Encode(list))).text("server", "id")
		// What the host gets is the list as it came, for the config drive to hold.
		var raw string
		err := c.db.Get(&raw, "SELECT args FROM work WHERE server_uuid = ?", id)
		if err != nil {
			t.Fatal(err)
		}
		var args work.Args
		lifecycle.Decode(raw, &args)
		if lifecycle.Encode(args.Guest.Files) != lifecycle.Encode(list) {
			t.Errorf("the host gets %s", lifecycle.Encode(args.Guest.Files))
		}
		c.settle()
		bad := []struct{ more, what string }{
			{`[{"path":"` + strings.Repeat("a", 256) + `","contents":"eA=="}]`, "a long path"},
			{`[{"path":"/x","contents":"no base64"}]`, "what is no base64"},
			{`[{"path":"/x","contents":"` + base64.StdEncoding.EncodeToString(make([]byte, 10_241)) + `"}]`, "a large file"},
			{`[{"path":"/x","contents":"eA==","target":"/etc"}]`, "a key more"},
		}
		for _, b := range bad {
			if a := c.do("POST", "/servers", c.createBody("x", `,"personality":`+b.more)); a.code != 400 && a.code != 403 {
				t.Errorf("%s = %d %s", b.what, a.code, a.body)
			}
		}
		if a := c.as(ours+" member", "2.57", "POST", "/servers", c.createBody("x", `,"networks":"none","personality":[]`)); a.code != 400 {
			t.Errorf("files since 2.57 = %d %s", a.code, a.body)
		}
	})
}

func TestOwn_SQLInNames(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("mine")
		them := c.as(theirs+" member", "2.1", "POST", "/servers", c.createBody("theirs", "")).text("server", "id")
		c.settle()
		words := []string{`' OR '1'='1`, `'; DROP TABLE servers; --`, `") OR 1=1 --`, `\' OR 1=1 #`, "id) OR (1=1", "name`", `%`, `_`, "1 UNION SELECT * FROM servers"}
		names := []string{"name", "image", "flavor", "status", "host", "uuid", "reservation_id", "ip", "changes-since", "marker", "sort_key", "sort_dir", "limit",
			"tags", "not-tags", "tags-any", "tenant_id", "project_id", "task_state", "deleted", "all_tenants", "locked", "description", "key_name", "power_state"}
		for _, who := range []string{ours + " member", ours + " admin"} {
			for _, word := range words {
				for _, name := range names {
					a := c.as(who, "2.73", "GET", "/servers?"+name+"="+url.QueryEscape(word), "")
					if a.code >= 500 || strings.Contains(a.body, them) {
						t.Errorf("%s=%s as %s = %d %.300s", name, word, who, a.code, a.body)
					}
				}
				if a := c.as(who, "2.73", "GET", "/servers?"+url.QueryEscape(word)+"=1", ""); a.code >= 500 || strings.Contains(a.body, them) {
					t.Errorf("a filter called %s = %d %.300s", word, a.code, a.body)
				}
				a := c.as(who, "2.73", "GET", "/servers/"+url.PathEscape(word), "")
				if a.code != 404 {
					t.Errorf("a server called %s = %d %.300s", word, a.code, a.body)
				}
				a = c.as(who, "2.73", "PUT", "/servers/"+id+"/tags/"+url.PathEscape(word), "")
				if a.code >= 500 {
					t.Errorf("a tag %s = %d %.300s", word, a.code, a.body)
				}
				a = c.as(who, "2.73", "PUT", "/servers/"+id, `{"server":{"name":`+lifecycle.Encode(word)+`}}`)
				if a.code != 200 || a.text("server", "name") != word {
					t.Errorf("a name %s = %d %.300s", word, a.code, a.body)
				}
			}
		}
		if n := c.servers(); n != 2 {
			t.Errorf("%d servers, want both", n)
		}
	})
}

func TestOwn_HardJSON(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("mine")
		at := "/servers/" + id
		many := make([]string, 5000)
		for i := range many {
			many[i] = fmt.Sprintf("t%d", i)
		}
		data := func(n int) string { return strings.Repeat("QUJD", (n+3)/4)[:n/4*4] }
		tests := []struct {
			name, version, method, path, body string
			codes                             []int
		}{
			{"keys that come twice", "2.1", "POST", "/servers", `{"server":{"name":"a","name":"` + strings.Repeat("n", 300) + `","imageRef":"` + c.image + `","flavorRef":"1"}}`, []int{400}},
			{"keys that come twice, the good one last", "2.1", "PUT", at, `{"server":{"name":"` + strings.Repeat("n", 300) + `","name":"twice"}}`, []int{400, 200}},
			{"two actions", "2.1", "POST", at + "/action", `{"os-stop":null,"os-start":null}`, []int{400}},
			{"the same action twice", "2.1", "POST", at + "/action", `{"unlock":null,"unlock":null}`, []int{400, 202}},
			{"min_count of 2^31", "2.1", "POST", "/servers", c.createBody("x", `,"min_count":2147483648`), []int{400, 403}},
			{"min_count of 2^63", "2.1", "POST", "/servers", c.createBody("x", `,"min_count":9223372036854775808`), []int{400, 403}},
			{"max_count of 2^64+1", "2.1", "POST", "/servers", c.createBody("x", `,"min_count":11,"max_count":18446744073709551617`), []int{400, 403}},
			{"min_count of 1e400", "2.1", "POST", "/servers", c.createBody("x", `,"min_count":1e400`), []int{400, 403}},
			{"negative min_count", "2.1", "POST", "/servers", c.createBody("x", `,"min_count":-1`), []int{400}},
			{"flavor that is a huge number", "2.1", "POST", "/servers", strings.ReplaceAll(c.createBody("x", ""), `"flavorRef":"1"`, `"flavorRef":99999999999999999999999999`), []int{400}},
			{"boot index beyond int32", "2.1", "POST", "/servers", c.createBody("x", `,"block_device_mapping_v2":[{"source_type":"blank","destination_type":"local","boot_index":4294967296}]`), []int{400}},
			{"volume size beyond int32", "2.1", "POST", "/servers", c.createBody("x", `,"block_device_mapping_v2":[{"source_type":"blank","destination_type":"local","volume_size":9223372036854775807}]`), []int{400}},
			{"sizes that overflow when added", "2.1", "POST", "/servers", c.createBody("x", `,"block_device_mapping_v2":[{"source_type":"blank","destination_type":"local","volume_size":9223372036854775807},{"source_type":"blank","destination_type":"local","volume_size":9223372036854775807},{"source_type":"blank","destination_type":"local","volume_size":2}]`), []int{400}},
			{"swap that overflows in MiB", "2.1", "POST", "/servers", c.createBody("x", `,"block_device_mapping_v2":[{"source_type":"blank","destination_type":"local","guest_format":"swap","volume_size":9007199254740993}]`), []int{400}},
			{"limit beyond int64", "2.1", "GET", "/servers?limit=99999999999999999999", "", []int{400, 200}},
			{"console length beyond int64", "2.1", "POST", at + "/action", `{"os-getConsoleOutput":{"length":99999999999999999999}}`, []int{400}},
			{"NUL in a name", "2.1", "PUT", at, `{"server":{"name":"a\u0000b"}}`, []int{400}},
			{"NUL in metadata", "2.1", "POST", at + "/metadata", `{"metadata":{"k":"a\u0000b"}}`, []int{200, 400}},
			{"NUL in a tag", "2.26", "PUT", at + "/tags/a%00b", "", []int{201, 400}},
			{"NUL in an id", "2.1", "GET", "/servers/a%00b", "", []int{404, 400}},
			{"NUL in a filter", "2.1", "GET", "/servers?name=a%00b", "", []int{200, 400}},
			{"bytes that are no UTF-8 in a name", "2.1", "PUT", at, "{\"server\":{\"name\":\"a\xff\xfeb\"}}", []int{400, 200}},
			{"bytes that are no UTF-8 in a tag", "2.26", "PUT", at + "/tags/%ff%fe", "", []int{400}},
			{"bytes that are no UTF-8 in a tag to find", "2.26", "GET", at + "/tags/%ff%fe", "", []int{400, 404}},
			{"bytes that are no UTF-8 in a tag to remove", "2.26", "DELETE", at + "/tags/%ff%fe", "", []int{400, 404}},
			{"bytes that are no UTF-8 in a key", "2.1", "GET", at + "/metadata/%ff%fe", "", []int{400, 404}},
			{"bytes that are no UTF-8 in a request's id", "2.1", "GET", at + "/os-instance-actions/%ff%fe", "", []int{400, 404}},
			{"bytes that are no UTF-8 in a filter of tags", "2.26", "GET", "/servers?tags=%ff&not-tags-any=%fe", "", []int{200, 400}},
			{"bytes that are no UTF-8 in an address", "2.5", "GET", "/servers?ip=%ff&ip6=%fe", "", []int{200, 400}},
			{"bytes that are no UTF-8 in an id", "2.1", "GET", "/servers/%ff%fe", "", []int{404, 400}},
			{"bytes that are no UTF-8 in a filter", "2.1", "GET", "/servers?name=%ff%fe&image=%ff", "", []int{200, 400}},
			{"bytes that are no UTF-8 in a marker", "2.1", "GET", "/servers?marker=%ff", "", []int{400}},
			{"half a surrogate in a name", "2.1", "PUT", at, `{"server":{"name":"a\ud800b"}}`, []int{200, 400}},
			{"four bytes a character", "2.1", "PUT", at, `{"server":{"name":"` + strings.Repeat("😀", 255) + `"}}`, []int{200}},
			{"10,000 tags", "2.26", "PUT", at + "/tags", `{"tags":` + lifecycle.Encode(append(many, many...)) + `}`, []int{400, 413}},
			{"5,000 tags", "2.52", "POST", "/servers", c.createBody("x", `,"networks":"none","tags":`+lifecycle.Encode(many)), []int{400}},
			{"a filter with 5,000 tags", "2.26", "GET", "/servers?tags=" + strings.Join(many, ","), "", []int{200, 400}},
			{"user data of 65,532 characters", "2.1", "POST", "/servers", c.createBody("x", `,"user_data":"`+data(65_532)+`"`), []int{202}},
			{"user data of 65,536 characters", "2.1", "POST", "/servers", c.createBody("x", `,"user_data":"`+data(65_536)+`"`), []int{400}},
			{"user data that is no base64", "2.1", "POST", "/servers", c.createBody("x", `,"user_data":"###"`), []int{400}},
			{"10,000 levels", "2.1", "POST", "/servers", `{"server":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `}`, []int{400}},
			{"no object", "2.1", "POST", "/servers", `[]`, []int{400}},
			{"nothing", "2.1", "POST", "/servers", ``, []int{400}},
		}
		for _, tt := range tests {
			a := c.as(ours+" member", tt.version, tt.method, tt.path, tt.body)
			ok := false
			for _, code := range tt.codes {
				ok = ok || a.code == code
			}
			if !ok {
				t.Errorf("%s = %d %.300s, want %v", tt.name, a.code, a.body, tt.codes)
			}
		}
		c.settle()
		if n := c.servers(); n != 2 { // the first, and that with much user data
			t.Errorf("%d servers, want 2", n)
		}
		if n := len(c.is(id, "ACTIVE").text("server", "name")); n > 255*4 {
			t.Errorf("a name of %d bytes was kept", n)
		}
	})
}

// The version header may name many services; what it says about others is not ours to refuse.
func TestOwn_VersionHeaderWithManyServices(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		many := strings.Repeat("volume 3.1, ", 3000)
		for header, code := range map[string]int{"identity 3.1, compute 2.1": 200, "compute 2.1, compute 2.2": 200, "compute 2.999": 406, "compute 99999999999999999999.1": 406, "compute two": 400,
			many + "compute 2.1": 200, "compute 2.1 2.1": 400} {
			r := httptest.NewRequest("GET", "/v2.1/servers", nil)
			r.Header.Set("X-Auth-Token", ours+" member")
			r.Header.Set("OpenStack-API-Version", header)
			w := httptest.NewRecorder()
			c.api.ServeHTTP(w, r)
			if w.Code != code && (code != 200 || w.Code/100 != 4) {
				t.Errorf("%.60q = %d %.200s, want %d", header, w.Code, w.Body, code)
			}
		}
	})
}

// The clock may go back or far ahead: nothing is lost, and no work is taken for late.
func TestOwn_ClockJumps(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		shift := time.Duration(0)
		c.s.Clock = func() time.Time { return time.Now().Add(shift) }
		id := c.boot("steady")
		last := ""
		for _, by := range []time.Duration{-time.Minute, 0, time.Minute, -time.Hour, 24 * time.Hour, 0} {
			shift = by
			c.act(202, id, `{"os-stop":null}`)
			c.settle()
			c.is(id, "SHUTOFF")
			c.act(202, id, `{"os-start":null}`)
			if by.Abs() > time.Minute {
				c.settle() // no work survives a jump that is longer than its time limit
			}
			shift = 0
			err := c.s.Life.KeepOnce(context.Background())
			if err != nil {
				t.Fatal(err)
			}
			c.settle()
			c.is(id, "ACTIVE")
			c.audit()
			made := c.boot("made-by-" + strings.ReplaceAll(by.String(), "-", "minus"))
			list := c.want(200, "GET", "/servers?limit=100", "").get("servers").([]any)
			seen := map[string]bool{}
			for _, v := range list {
				seen[v.(map[string]any)["id"].(string)] = true
			}
			if !seen[id] || !seen[made] || last != "" && !seen[last] {
				t.Errorf("after %v the list has %v", by, seen)
			}
			last = made
		}
	})
}
