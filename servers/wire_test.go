package servers

import (
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"kilonova/compat"
)

// under sends a request below a prefix of another version than /v2.1.
func (c *cloud) under(prefix, method, path, body string) answer {
	c.t.Helper()
	r := httptest.NewRequest(method, prefix+path, strings.NewReader(body))
	r.Header.Set("X-Auth-Token", ours+" member")
	r.Header.Set("Content-Type", "application/json")
	w := httptest.NewRecorder()
	c.api.ServeHTTP(w, r)
	return answer{w.Code, w.Body.String(), w.Header()}
}

// TestLegacyBodies: /v2 takes what the API before 2.1 took.
func TestLegacyBodies(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		tests := []struct {
			name, more     string
			legacy, modern int
		}{
			{"plain", ``, 202, 202},
			{"no user data", `,"user_data":null`, 202, 400},
			{"bad user data", `,"user_data":"%"`, 400, 400},
			{" spaces ", ``, 202, 400},
			{"unknown keys", `,"nonsense":{"a":null},"networks":[{"uuid":null,"nonsense":1}]`, 400, 400}, // a network of no name is none
			{"unknown key", `,"nonsense":{"a":null}`, 202, 400},
			{"keys in groups", `,"security_groups":[{"name":"default","nonsense":1}]`, 202, 400},
			{"nameless group", `,"security_groups":[{}]`, 202, 202},
			{"no group", `,"security_groups":[]`, 202, 202},
			{"null group", `,"security_groups":[{"name":null}]`, 400, 400},
			{"null key", `,"key_name":null`, 400, 400},
			{"key of spaces", `,"key_name":" k "`, 400, 400}, // there is none, or it is no name
		}
		for _, tt := range tests {
			for prefix, want := range map[string]int{"/v2": tt.legacy, "/v2.1": tt.modern} {
				a := c.under(prefix, "POST", "/servers", c.createBody(tt.name, tt.more))
				if a.code != want {
					t.Errorf("%s: %s under %s = %d %s; want %d", tt.name, tt.more, prefix, a.code, a.body, want)
				}
				if a.code != 202 {
					continue
				}
				c.settle()
				id := a.text("server", "id")
				if name := c.is(id, "ACTIVE").text("server", "name"); name != strings.TrimSpace(tt.name) {
					t.Errorf("%q is called %q", tt.name, name)
				}
				c.want(204, "DELETE", "/servers/"+id, "")
				c.settle()
			}
		}
		a := c.under("/v2.1", "POST", "/servers", c.createBody("g", `,"security_groups":[{}]`))
		if groups := a.get("server", "security_groups"); !strings.Contains(a.body, `"security_groups":[{}]`) {
			t.Errorf("groups as they were sent: %v", groups)
		}
		c.settle()
	})
}

// TestLockReasonsBefore273: until they exist, whatever an action's key holds says nothing.
func TestLockReasonsBefore273(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("web")
		for _, tt := range []struct {
			version, value string
			code           int
			reason         any
		}{
			{"2.1", `null`, 202, nil}, {"2.1", `"text"`, 202, nil}, {"2.72", `{"locked_reason":"x"}`, 202, nil}, {"2.72", `{"locked_reason":5,"more":1}`, 202, nil},
			{"2.72", `[1]`, 202, nil}, {"2.73", `{"locked_reason":"x"}`, 202, "x"}, {"2.73", `null`, 202, nil}, {"2.73", `{}`, 202, nil},
			{"2.73", `"text"`, 400, nil}, {"2.73", `{"locked_reason":""}`, 400, nil}, {"2.73", `{"locked_reason":null}`, 400, nil}, {"2.73", `{"more":1}`, 400, nil},
		} {
			a := c.as(ours+" member", tt.version, "POST", "/servers/"+id+"/action", `{"lock":`+tt.value+`}`)
			if a.code != tt.code {
				t.Errorf("lock %s at %s = %d %s", tt.value, tt.version, a.code, a.body)
			}
			if got := c.is(id, "ACTIVE").get("server", "locked_reason"); tt.code == 202 && got != tt.reason {
				t.Errorf("lock %s at %s: the reason is %v, want %v", tt.value, tt.version, got, tt.reason)
			}
			c.act(202, id, `{"unlock":["anything"]}`)
		}
	})
}

// TestTimesAreSeconds: whatever time a server shows, a list of what changed since or before
// that time holds it.
func TestTimesAreSeconds(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("web")
		c.exec("UPDATE servers SET updated_at = (updated_at / 1000000) * 1000000 + 999999, created_at = (created_at / 1000000) * 1000000 + 999999")
		if c.db.Dialect == "mysql" { // there / is no whole number
			c.exec("UPDATE servers SET updated_at = updated_at DIV 1000000 * 1000000 + 999999, created_at = created_at DIV 1000000 * 1000000 + 999999")
		}
		v := c.is(id, "ACTIVE")
		updated, created := v.text("server", "updated"), v.text("server", "created")
		actions := c.as(ours+" member", "2.66", "GET", "/servers/"+id+"/os-instance-actions", "")
		acted, _ := actions.get("instanceActions").([]any)[0].(map[string]any)["updated_at"].(string)
		shift := func(text string, by int) string {
			at, err := compat.ParseTime(text)
			if err != nil {
				t.Fatal(err)
			}
			return at.Add(time.Duration(by) * time.Second).Format("2006-01-02T15:04:05Z")
		}
		tests := []struct {
			path  string
			query url.Values
			holds bool
		}{
			{"/servers", url.Values{"changes-before": {updated}}, true},
			{"/servers", url.Values{"changes-since": {updated}}, true},
			{"/servers", url.Values{"changes-since": {updated}, "changes-before": {updated}}, true},
			{"/servers", url.Values{"changes-before": {shift(updated, -1)}}, false},
			{"/servers", url.Values{"changes-since": {shift(updated, 1)}}, false},
			{"/servers", url.Values{"created_at": {created}}, true},
			{"/servers", url.Values{"created_at": {shift(created, 1)}}, false},
			{"/servers/" + id + "/os-instance-actions", url.Values{"changes-before": {acted}}, true},
			{"/servers/" + id + "/os-instance-actions", url.Values{"changes-since": {acted}}, true},
			{"/servers/" + id + "/os-instance-actions", url.Values{"changes-before": {acted[:19] + "Z"}}, true},
			{"/servers/" + id + "/os-instance-actions", url.Values{"changes-since": {shift(acted, 1)}}, false},
		}
		for _, tt := range tests {
			a := c.as(ours+" member", "2.83", "GET", tt.path+"?"+tt.query.Encode(), "")
			list, _ := a.get("servers").([]any)
			if strings.HasSuffix(tt.path, "actions") {
				list, _ = a.get("instanceActions").([]any)
			}
			if a.code != 200 || (len(list) == 1) != tt.holds {
				t.Errorf("%s?%s = %d %s", tt.path, tt.query.Encode(), a.code, a.body)
			}
		}
		if a := c.as(ours+" member", "2.66", "GET", "/servers?changes-since="+shift(updated, 1)+"&changes-before="+updated, ""); a.code != 400 {
			t.Errorf("since after before = %d %s", a.code, a.body)
		}

		// Servers of one second follow each other over pages, by every time.
		for _, name := range []string{"b", "c", "d"} {
			c.boot(name)
		}
		c.exec("UPDATE servers SET created_at = 1700000000000000 + id, updated_at = 1700000000000000 + id, launched_at = 1700000000000000")
		for _, key := range []string{"created_at", "updated_at", "launched_at"} {
			for _, dir := range []string{"asc", "desc"} {
				var seen []string
				marker := ""
				for range 5 {
					a := c.want(200, "GET", "/servers?limit=1&sort_key="+key+"&sort_dir="+dir+marker, "")
					page := a.get("servers").([]any)
					if len(page) == 0 {
						break
					}
					next := page[0].(map[string]any)["id"].(string)
					if slices.Contains(seen, next) {
						t.Errorf("%s %s: %s comes twice", key, dir, next)
					}
					seen = append(seen, next)
					marker = "&marker=" + next
				}
				if len(seen) != 4 {
					t.Errorf("%s %s: %d of 4 servers", key, dir, len(seen))
				}
			}
		}
	})
}

// TestOddRequests: methods that no operation has, queries and types of content as clients
// send them.
func TestOddRequests(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.boot("a;b")
		for _, tt := range []struct {
			method, path, kind string
			code, found        int
		}{
			{"GET", "/servers?name=a;b", "", 200, 1}, {"GET", "/servers?name=a%3Bb", "", 200, 1}, {"GET", "/servers?&&name=a%&", "", 200, 0},
			{"GET", "/servers?name=x&name=a", "", 200, 1}, {"GET", "/servers?limit=", "", 400, 0}, {"GET", "/servers?limit=-1", "", 400, 0},
			{"GET", "/servers?limit=0", "", 200, 0}, {"GET", "/servers?limit=5&limit=1", "", 200, 1}, {"GET", "/servers?%ff=1", "", 400, 0},
			{"HEAD", "/servers", "", 404, 0}, {"OPTIONS", "/servers", "", 404, 0}, {"PATCH", "/servers", "", 404, 0},
			{"POST", "/servers", "application/json; charset=utf-8", 400, 0}, {"POST", "/servers", "application/json;charset=latin-1", 400, 0},
			{"POST", "/servers", "text/plain", 400, 0}, {"POST", "/servers", "application/xml", 415, 0}, {"POST", "/servers", "", 400, 0},
		} {
			r := httptest.NewRequest(tt.method, "/v2.1"+tt.path, strings.NewReader("{}"))
			r.Header.Set("X-Auth-Token", ours+" member")
			r.Header.Set("Content-Type", tt.kind)
			w := httptest.NewRecorder()
			c.api.ServeHTTP(w, r)
			a := answer{w.Code, w.Body.String(), w.Header()}
			list, _ := a.get("servers").([]any)
			if a.code != tt.code || len(list) != tt.found {
				t.Errorf("%s %s (%s) = %d %s; want %d with %d", tt.method, tt.path, tt.kind, a.code, a.body, tt.code, tt.found)
			}
			if !strings.HasPrefix(a.Get("X-Openstack-Request-Id"), "req-") || a.Get("X-Compute-Request-Id") != a.Get("X-Openstack-Request-Id") {
				t.Errorf("%s %s: request ids %v", tt.method, tt.path, a.Header)
			}
			for _, syntax := range []string{"%!", "map[", "<nil>", "[]string", "&{"} {
				if strings.Contains(a.body, syntax) {
					t.Errorf("%s %s: %q in %s", tt.method, tt.path, syntax, a.body)
				}
			}
		}
	})
}
