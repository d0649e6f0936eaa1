package identity_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"kilonova/schema/schematest"
)

// FuzzToken shows that no text passes the token check but a token that was issued.
func FuzzToken(f *testing.F) {
	c := newCloud(f, schematest.SQLite(f))
	good := c.admin()
	p := strings.Split(good, ".")
	for _, seed := range []string{"", ".", "..", "a.b.c", good + "=", p[0] + "." + p[1] + ".", "eyJhbGciOiJub25lIn0." + p[1] + ".",
		p[0] + "..", good[:100], strings.Repeat("A", 9000), "\x00", "\xff\xfe", p[0] + "." + p[0] + "." + p[2]} {
		f.Add(seed)
	}
	h := c.s.Authenticate(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusOK) }))
	f.Fuzz(func(t *testing.T, token string) {
		if token == good {
			return
		}
		for _, header := range []string{"X-Auth-Token", "X-Service-Token"} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header.Set("X-Auth-Token", good)
			r.Header[header] = []string{token}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != 401 && !(header == "X-Service-Token" && token == "") {
				t.Errorf("%s %q = %d", header, token, w.Code)
			}
		}
		_, err := c.s.VerifyTicket("read", token)
		if err == nil {
			t.Errorf("ticket %q", token)
		}
	})
}

// FuzzBody sends any body to each call that reads one: never a 500, and JSON in answer.
func FuzzBody(f *testing.F) {
	c := newCloud(f, schematest.SQLite(f))
	admin := c.admin()
	user := c.create(admin, "users", "user", `{"name":"victim"}`)
	project := c.create(admin, "projects", "project", `{"name":"victim"}`)
	for _, key := range []string{"auth", "user", "project", "domain", "group", "role", "service", "endpoint", "region", "application_credential"} {
		for _, seed := range []string{`{"K":{"name":"a"}}`, `{"K":{"name":5,"enabled":"no","domain_id":[],"description":{}}}`, `{"K":null}`,
			`{"K":{"name":"\u0000"}}`, `{"K":{"name":"\ud800"}}`, `{"K":{"name":"a","name":"b"}}`, `{"K":{"type":"t","url":"http://x","interface":"public"}}`,
			`{"K":{"identity":{"methods":["password"],"password":{"user":{"name":"a","domain":{"id":"default"},"password":"b"}}},"scope":{"project":{"id":"x"}}}}`} {
			f.Add(strings.ReplaceAll(seed, "K", key))
		}
	}
	f.Add(`[`)
	f.Add(strings.Repeat(`{"user":`, 3000))
	f.Add("{\"user\":{\"name\":\"\xff\"}}")
	calls := []string{"POST /v3/users", "PATCH /v3/users/" + user, "POST /v3/projects", "PATCH /v3/projects/" + project, "POST /v3/domains",
		"POST /v3/groups", "POST /v3/roles", "POST /v3/services", "POST /v3/endpoints", "POST /v3/regions", "PUT /v3/regions/r",
		"PUT /v3/projects/" + project + "/tags", "POST /v3/auth/tokens", "POST /v3/users/" + user + "/application_credentials"}
	f.Fuzz(func(t *testing.T, body string) {
		for _, call := range calls {
			method, path, _ := strings.Cut(call, " ")
			w := request(c, method, path, admin, body)
			if w.Code >= 500 {
				t.Errorf("%s with %q = %d: %s", call, body, w.Code, w.Body)
			}
			if w.Body.Len() > 0 && !json.Valid(w.Body.Bytes()) {
				t.Errorf("%s with %q: no JSON: %s", call, body, w.Body)
			}
		}
	})
}

// FuzzQuery sends any query to each list.
func FuzzQuery(f *testing.F) {
	c := newCloud(f, schematest.SQLite(f))
	admin := c.admin()
	for _, seed := range []string{"limit=-1", "limit=99999999999999", "marker=%00", "marker=%27%20OR%201=1--", "name=%ff", "name__contains=%25",
		"enabled=maybe", "sort_key=name;DROP TABLE identity_users", "user.id=x&effective", "scope.project.id=%00&include_names", "%zz", "a=b;c=d",
		"name__or 1=1=1", "limit=1&limit=x", "domain_id[]=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"users", "projects", "domains", "groups", "roles", "services", "endpoints", "regions", "role_assignments", "auth/projects"} {
			w := request(c, "GET", "/v3/"+path+"?"+url.PathEscape(query), admin, "")
			v := request(c, "GET", "/v3/"+path+"?"+strings.NewReplacer(" ", "+", "\r", "", "\n", "", "#", "").Replace(query), admin, "")
			if w.Code >= 500 || v.Code >= 500 {
				t.Errorf("%s?%q = %d, %d: %s", path, query, w.Code, v.Code, v.Body)
			}
		}
	})
}

func request(c *cloud, method, path, token, body string) *httptest.ResponseRecorder {
	u, err := url.Parse("http://cloud.example" + path)
	if err != nil {
		u = &url.URL{Path: "/v3/users"}
	}
	r := httptest.NewRequest(method, "http://cloud.example/", strings.NewReader(body))
	r.URL = u
	r.Header.Set("X-Auth-Token", token)
	w := httptest.NewRecorder()
	c.s.Handler().ServeHTTP(w, r)
	return w
}
