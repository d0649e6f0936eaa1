package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"
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
