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
		if hidden.body != unknown.body {
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
			return encode(list)
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
				if took > time.Second {
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
