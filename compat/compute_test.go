package compat

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"reflect"
	"strings"
	"testing"
)

// allow is a policy that knows every rule and lets in whom its list names.
type allow map[string]bool

func (allow) Known(string) bool { return true }

func (a allow) Allows(rule string, c *Caller, t Target) bool {
	return c.IsAdmin() || a[rule] && t.ProjectID == c.ProjectID
}

// asCaller is a token check for tests: the token's text says who calls.
func asCaller(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		who := r.Header.Get("X-Auth-Token")
		if who == "" {
			TitledFault(w, r, Unauthorized("The request you have made requires authentication."))
			return
		}
		c := &Caller{UserID: "u-" + who, ProjectID: "abc1", Roles: []string{"reader", "member"}}
		if who == "admin" {
			c.Roles = append(c.Roles, "admin")
		}
		next.ServeHTTP(w, r.WithContext(WithCaller(r.Context(), c)))
	})
}

type owned struct{ project string }

func (o owned) PolicyTarget() Target { return Target{ProjectID: o.project} }

func testAPI(t *testing.T) http.Handler {
	t.Helper()
	api := NewCompute(Base{}, allow{"os_compute_api:servers:show": true, "os_compute_api:servers:start": true}, asCaller)
	ok := func(w http.ResponseWriter, r *Request) error {
		return r.Answer(w, map[string]string{"version": r.Version.String(), "id": r.Var("id"), "self": r.SelfURL("/servers/x")})
	}
	api.Resolve("servers", func(r *Request) (Resource, error) {
		switch r.Var("id") {
		case "gone":
			return nil, NotFound("Instance gone could not be found.")
		case "theirs":
			return owned{"other"}, nil
		}
		return owned{"abc1"}, nil
	})
	api.Handle("GET /servers/{id}", ok)
	api.Handle("GET /servers/{id}/tags", ok)
	api.Handle("DELETE /servers/{id}", ok)
	api.Handle("POST /servers/{id}/action os-start", ok)
	api.Handle("PUT /flavors/{id}", ok)
	err := api.Build()
	if err != nil {
		t.Fatal(err)
	}
	return Front(api)
}

func TestAnswersBearTheKindThatWasAskedFor(t *testing.T) {
	h := testAPI(t)
	for accept, want := range map[string]string{
		"": "application/json", "application/json": "application/json", "text/xml": "application/json",
		"application/vnd.openstack.compute+json": "application/vnd.openstack.compute+json",
	} {
		r := httptest.NewRequest("GET", "/v2.1/servers/a", nil)
		r.Header.Set("X-Auth-Token", "u")
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if got := w.Header().Get("Content-Type"); got != want {
			t.Errorf("Accept %q gets %q, want %q", accept, got, want)
		}
	}
}

// The microversion headers in the forms in which clients and proxies send them.
func TestNegotiate(t *testing.T) {
	type list = []string
	tests := []struct {
		standard, legacy list
		want             Version
		code             int
	}{
		{nil, nil, 1, 0},
		{list{"compute 2.50"}, nil, 50, 0}, {list{"Compute   2.50 "}, nil, 50, 0}, {list{"compute\t2.50"}, nil, 50, 0},
		{list{"compute latest"}, nil, 104, 0}, {list{"compute LATEST"}, nil, 0, 400},
		{list{"volume 3.59, compute 2.7"}, nil, 7, 0}, {list{"compute 2.7, compute 2.9"}, nil, 9, 0},
		{list{"compute 2.7", "identity 3.1"}, nil, 7, 0}, {list{"compute 2.7", "compute 2.8"}, nil, 8, 0},
		{list{"volume 3.59"}, nil, 1, 0}, {list{"2.50"}, nil, 1, 0}, {list{"compute"}, nil, 1, 0}, {list{""}, nil, 1, 0},
		{list{"compute 2.7"}, list{"2.9"}, 7, 0}, {list{"volume 3.59"}, list{"2.9"}, 9, 0},
		{nil, list{"2.9"}, 9, 0}, {nil, list{"2.9, 2.10"}, 10, 0}, {nil, list{"2.9", "2.11"}, 11, 0}, {nil, list{"latest"}, 104, 0},
		{nil, list{""}, 0, 400}, {nil, list{"compute 2.9"}, 0, 400},
		{list{"compute 2.07"}, nil, 0, 400}, {list{"compute 2"}, nil, 0, 400}, {list{"compute 2.1.1"}, nil, 0, 400}, {list{"compute 2.1 2.2"}, nil, 0, 400},
		{list{"compute 2.0"}, nil, 0, 406}, {list{"compute 2.105"}, nil, 0, 406}, {list{"compute 3.1"}, nil, 0, 406}, {list{"compute 2.99999999"}, nil, 0, 406},
	}
	for _, tt := range tests {
		h := http.Header{}
		for _, v := range tt.standard {
			h.Add(VersionHeader, v)
		}
		for _, v := range tt.legacy {
			h.Add(LegacyVersionHeader, v)
		}
		got, err := Negotiate(h)
		var f *Fault
		code := 0
		if errors.As(err, &f) {
			code = f.Code
		}
		if got != tt.want || code != tt.code {
			t.Errorf("%q and %q: %v, %v; want %v, %d", tt.standard, tt.legacy, got, err, tt.want, tt.code)
		}
	}
}

func TestParseQuery(t *testing.T) {
	tests := []struct {
		raw  string
		want url.Values
	}{
		{"", url.Values{}}, {"&&", url.Values{}}, {"a", url.Values{"a": {""}}}, {"a=", url.Values{"a": {""}}}, {"=b", url.Values{"": {"b"}}},
		{"a=1&a=2", url.Values{"a": {"1", "2"}}}, {"a=1;b=2", url.Values{"a": {"1;b=2"}}}, {"a=b=c", url.Values{"a": {"b=c"}}},
		{"a=x+y%20z", url.Values{"a": {"x y z"}}}, {"a=100%&b=%zz+%41", url.Values{"a": {"100%"}, "b": {"%zz A"}}}, {"n%61me=%C3%A9", url.Values{"name": {"é"}}},
	}
	for _, tt := range tests {
		if got := ParseQuery(tt.raw); !reflect.DeepEqual(got, tt.want) {
			t.Errorf("%q: %q, want %q", tt.raw, got, tt.want)
		}
	}
}

func TestOrderOfChecks(t *testing.T) {
	h := testAPI(t)
	tests := []struct {
		name, method, path, version, token, body string
		code                                     int
		want                                     string
	}{
		{"version list without token", "GET", "/", "", "", "", 200, `"v2.1"`},
		{"version document without token", "GET", "/v2.1", "", "", "", 200, `"min_version":"2.1"`},
		{"unknown root is choices", "GET", "/foo", "", "", "", 300, `choices`},
		{"no token", "GET", "/v2.1/servers/a", "", "", "", 401, `"title":"Unauthorized"`},
		{"default version", "GET", "/v2.1/servers/a", "", "u", "", 200, `"version":"2.1"`},
		{"latest", "GET", "/v2.1/servers/a", "latest", "u", "", 200, `"version":"2.104"`},
		{"too new", "GET", "/v2.1/servers/a", "2.105", "u", "", 406, "computeFault"},
		{"too old", "GET", "/v2.1/servers/a", "2.0", "u", "", 406, "Minimum is 2.1"},
		{"malformed version", "GET", "/v2.1/servers/a", "2.01", "u", "", 400, "badRequest"},
		{"with the project", "GET", "/v2.1/abc1/servers/a", "", "u", "", 200, "/v2.1/abc1/servers/x"},
		{"another project in the path", "GET", "/v2.1/def2/servers/a", "", "u", "", 400, "Malformed request URL"},
		{"slash at the end", "GET", "/v2.1/servers/a/", "", "u", "", 200, `"id":"a"`},
		{"not there", "GET", "/v2.1/servers/gone", "", "u", "", 404, "itemNotFound"},
		{"not allowed", "DELETE", "/v2.1/servers/a", "", "u", "", 403, "Policy doesn't allow os_compute_api:servers:delete"},
		{"admin is", "DELETE", "/v2.1/servers/theirs", "", "admin", "", 204, ""},
		{"before its version", "GET", "/v2.1/servers/a/tags", "2.25", "u", "", 404, "itemNotFound"},
		{"unknown path", "GET", "/v2.1/nothing", "", "u", "", 404, "404 Not Found\n\nThe resource could not be found.\n\n   "},
		{"unknown method", "PATCH", "/v2.1/servers/a", "", "u", "", 404, "404 Not Found"},
		{"action", "POST", "/v2.1/servers/a/action", "", "u", `{"os-start":null}`, 202, `"id":"a"`},
		{"unknown action", "POST", "/v2.1/servers/a/action", "", "u", `{"fly":null}`, 400, "There is no such action: fly"},
		{"two actions", "POST", "/v2.1/servers/a/action", "", "u", `{"os-start":null,"os-stop":null}`, 400, "Malformed request body"},
		{"no JSON", "POST", "/v2.1/servers/a/action", "", "u", `{`, 400, "Malformed request body"},
		{"bad UTF-8", "POST", "/v2.1/servers/a/action", "", "u", "{\"os-start\":\"\xff\"}", 400, "Malformed request body"},
		{"too deep", "POST", "/v2.1/servers/a/action", "", "u", `{"os-start":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, 400, "Malformed"},
		{"too large", "POST", "/v2.1/servers/a/action", "", "u", strings.Repeat(" ", MaxBody+1), 413, "413 Request Entity Too Large"},
		{"gone for good", "GET", "/v2.1/os-agents", "", "admin", "", 410, "computeFault"},
		{"traversal is no other path", "GET", "/v2.1/servers/..%2f..%2fetc", "", "u", "", 200, `"id":"../../etc"`},
		{"legacy mode knows no versions", "GET", "/v2/servers/a", "2.50", "u", "", 200, `"version":"2.1"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.path, strings.NewReader(tt.body))
			r.Header.Set("X-Auth-Token", tt.token)
			if tt.version != "" {
				r.Header.Set(LegacyVersionHeader, tt.version)
			}
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%s %s = %d %s; want %d with %q", tt.method, tt.path, w.Code, w.Body, tt.code, tt.want)
			}
			if !strings.HasPrefix(w.Header().Get("X-Openstack-Request-Id"), "req-") {
				t.Error("no request id")
			}
			echoed := w.Header().Get(LegacyVersionHeader)
			if tt.code == 406 && echoed != "" || tt.name == "latest" && echoed != "2.104" {
				t.Errorf("version header %q on a %d", echoed, w.Code)
			}
		})
	}
}

func TestNegotiateHeaders(t *testing.T) {
	tests := []struct {
		name, modern, legacy string
		want                 Version
	}{
		{"none", "", "", 1},
		{"modern wins", "compute 2.30", "2.40", 30},
		{"last entry for compute", "compute 2.30, volume 3.1, compute 2.31", "", 31},
		{"other services are not ours", "volume 3.60", "2.40", 40},
		{"the service without case", "COMPUTE latest", "", MaxVersion},
		{"a thousand services", strings.Repeat("volume 3.1, ", 1000) + "compute 2.5", "", 5},
	}
	for _, tt := range tests {
		h := http.Header{}
		if tt.modern != "" {
			h.Set(VersionHeader, tt.modern)
		}
		if tt.legacy != "" {
			h.Set(LegacyVersionHeader, tt.legacy)
		}
		got, err := Negotiate(h)
		if err != nil || got != tt.want {
			t.Errorf("%s: version %v, %v; want %v", tt.name, got, err, tt.want)
		}
	}
}

// TestOSSA_2026_001_ForgedIdentityHeaders: what a client says of itself is dropped.
func TestOSSA_2026_001_ForgedIdentityHeaders(t *testing.T) {
	h := Front(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		for _, name := range identityHeaders {
			if r.Header.Get(name) != "" {
				t.Errorf("header %s came through", name)
			}
		}
	}))
	r := httptest.NewRequest("GET", "/", nil)
	for _, name := range identityHeaders {
		r.Header.Set(name, "admin")
	}
	h.ServeHTTP(httptest.NewRecorder(), r)
}

// TestOSSA_2021_002_OpenRedirect: no path is ever answered with a redirect elsewhere.
func TestOSSA_2021_002_OpenRedirect(t *testing.T) {
	h := testAPI(t)
	for _, path := range []string{"//evil.example/", "//evil.example/%2e%2e", "/v2.1//evil.example", "/\\evil.example"} {
		r := httptest.NewRequest("GET", "/", nil)
		r.URL.Path = path
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code/100 == 3 && w.Code != 300 || strings.Contains(w.Header().Get("Location"), "evil") {
			t.Errorf("%s = %d, Location %q", path, w.Code, w.Header().Get("Location"))
		}
	}
}

func TestLinksFollowProxy(t *testing.T) {
	tests := []struct {
		name    string
		base    Base
		headers map[string]string
		want    string
	}{
		{"the request's host", Base{Mount: "/identity"}, nil, "http://example.com/identity"},
		{"forwarded", Base{}, map[string]string{"X-Forwarded-Proto": "https", "X-Forwarded-Host": "cloud.test"}, "https://cloud.test"},
		{"hostile host", Base{}, map[string]string{"X-Forwarded-Host": `x"><script>`}, "http://example.com"},
		{"hostile prefix", Base{}, map[string]string{"X-Forwarded-Prefix": "//evil"}, "http://example.com"},
		{"configured", Base{Public: "https://api.test", Mount: "/image"}, map[string]string{"X-Forwarded-Host": "other"}, "https://api.test/image"},
	}
	for _, tt := range tests {
		r := httptest.NewRequest("GET", "http://example.com/", nil)
		for k, v := range tt.headers {
			r.Header.Set(k, v)
		}
		if got := tt.base.URL(r); got != tt.want {
			t.Errorf("%s: %s, want %s", tt.name, got, tt.want)
		}
	}
}

func TestEveryOperationHasPolicy(t *testing.T) {
	seen := map[string]bool{}
	for _, op := range Operations() {
		if len(op.Rules) == 0 || op.Rules[0].Name == "" {
			t.Errorf("%s has no policy", op.Name())
		}
		key := op.Name() + " " + op.Min.String()
		if seen[key] {
			t.Errorf("%s stands twice in the table", key)
		}
		seen[key] = true
	}
}

func TestPanicIsA500WithoutDetail(t *testing.T) {
	h := Front(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("secret-marker") }))
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil).WithContext(context.Background()))
	var doc map[string]map[string]any
	err := json.Unmarshal(w.Body.Bytes(), &doc)
	if err != nil || w.Code != 500 || strings.Contains(w.Body.String(), "secret-marker") {
		t.Errorf("panic = %d %s", w.Code, w.Body)
	}
}
