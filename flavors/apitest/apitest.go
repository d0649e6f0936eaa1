package apitest

import (
	"encoding/json"
	"flag"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kilonova/compat"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// API is a compute API with the operations of some packages.
type API struct{ handler http.Handler }

// New makes an API; register adds the operations.
func New(t testing.TB, register ...func(*compat.Compute)) *API {
	t.Helper()
	c := compat.NewCompute(compat.Base{Public: "http://openstack.example.com"}, policy{}, authenticate)
	for _, f := range register {
		f(c)
	}
	err := c.Build()
	if err != nil {
		t.Fatalf("build the API: %v", err)
	}
	return &API{compat.Front(c)}
}

// authenticate takes the token USER@PROJECT for what it says; the user admin is one.
func authenticate(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		user, project, ok := strings.Cut(r.Header.Get("X-Auth-Token"), "@")
		if !ok {
			compat.Fail(w, r, compat.TitledFault, compat.Unauthorized("The request you have made requires authentication."))
			return
		}
		c := Caller(user, project)
		next.ServeHTTP(w, r.WithContext(compat.WithCaller(r.Context(), c)))
	})
}

// Caller is whom the token USER@PROJECT stands for.
func Caller(user, project string) *compat.Caller {
	c := &compat.Caller{UserID: user, UserName: user, ProjectID: project, ProjectName: project, Roles: []string{"member", "reader"}}
	if user == "admin" {
		c.Roles = append(c.Roles, "manager", "admin")
	}
	return c
}

// policy is the default policy of the operations that its map names: who but an
// administrator may use them. Administrators may use all.
type policy struct{}

var open = map[string]string{
	"os_compute_api:extensions":                  "any",
	"os_compute_api:limits":                      "any",
	"os_compute_api:os-quota-sets:defaults":      "any",
	"os_compute_api:os-quota-sets:show":          "project",
	"os_compute_api:os-quota-sets:detail":        "project",
	"os_compute_api:os-flavor-extra-specs:index": "project",
	"os_compute_api:os-flavor-extra-specs:show":  "project",
	"os_compute_api:os-keypairs:index":           "user",
	"os_compute_api:os-keypairs:show":            "user",
	"os_compute_api:os-keypairs:create":          "user",
	"os_compute_api:os-keypairs:delete":          "user",
}

func (policy) Known(string) bool { return true }

func (policy) Allows(rule string, c *compat.Caller, t compat.Target) bool {
	switch {
	case c.IsAdmin() || open[rule] == "any":
		return true
	case open[rule] == "project":
		return c.ProjectID == t.ProjectID
	case open[rule] == "user":
		return c.UserID == t.UserID
	}
	return false
}

// Call is one request. Token is USER@PROJECT; the path has no version segment unless it
// begins with /v2.
type Call struct{ Token, Version, Method, Path, Body string }

// Do sends a request and gives the answer.
func (a *API) Do(t testing.TB, c Call) *httptest.ResponseRecorder {
	t.Helper()
	path := c.Path
	if !strings.HasPrefix(path, "/v2") {
		path = "/v2.1" + path
	}
	r := httptest.NewRequest(c.Method, path, strings.NewReader(c.Body))
	if c.Token != "" {
		r.Header.Set("X-Auth-Token", c.Token)
	}
	if c.Version != "" {
		r.Header.Set(compat.VersionHeader, "compute "+c.Version)
	}
	if c.Body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	rec := httptest.NewRecorder()
	a.handler.ServeHTTP(rec, r)
	return rec
}

// Must sends a request that has to be answered with the code, and gives the body.
func (a *API) Must(t testing.TB, code int, c Call) string {
	t.Helper()
	rec := a.Do(t, c)
	if rec.Code != code {
		t.Fatalf("%s %s at %s by %s = %d, want %d: %s", c.Method, c.Path, c.Version, c.Token, rec.Code, code, rec.Body)
	}
	return rec.Body.String()
}

// Case is a row of a table of requests.
type Case struct {
	name         string
	call         Call
	code         int
	want, forbid string
}

// Row makes a Case: a request, the code of its answer, what the body holds and, unless it
// is empty, what it must not hold.
func Row(name string, c Call, code int, want, forbid string) Case {
	return Case{name, c, code, want, forbid}
}

// As makes a Call.
func As(token, version, method, path, body string) Call {
	return Call{token, version, method, path, body}
}

// Run sends the requests of a table one after the other.
func (a *API) Run(t *testing.T, cases []Case) {
	t.Helper()
	for _, row := range cases {
		t.Run(row.name, func(t *testing.T) {
			t.Helper()
			c := row.call
			rec := a.Do(t, c)
			body := rec.Body.String()
			if rec.Code != row.code {
				t.Errorf("%s %s at %s by %s = %d, want %d: %s", c.Method, c.Path, c.Version, c.Token, rec.Code, row.code, body)
			}
			if !strings.Contains(body, row.want) {
				t.Errorf("%s %s at %s: body %s lacks %q", c.Method, c.Path, c.Version, body, row.want)
			}
			if row.forbid != "" && strings.Contains(body, row.forbid) {
				t.Errorf("%s %s at %s: body %s holds %q", c.Method, c.Path, c.Version, body, row.forbid)
			}
		})
	}
}

// Golden compares a body with testdata/NAME.json, or writes it there with -update.
func Golden(t testing.TB, name, body string) {
	t.Helper()
	var doc any
	err := json.Unmarshal([]byte(body), &doc)
	if err != nil {
		t.Fatalf("%s: %v in %s", name, err, body)
	}
	got, err := json.MarshalIndent(doc, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	file := filepath.Join("testdata", name+".json")
	if *update {
		err = os.MkdirAll("testdata", 0o750)
		if err == nil {
			err = os.WriteFile(file, got, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(file) //nolint:gosec // a name of the test's own
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != string(want) {
		t.Errorf("%s:\n%s\nwant:\n%s", file, got, want)
	}
}

// Hostile are bodies and path segments that no operation may answer with a 500.
var Hostile = struct{ Bodies, Words []string }{
	Bodies: []string{
		``, `null`, `[]`, `"x"`, `{}`, `{`, `{"flavor":null}`, `{"flavor":[]}`, `{"flavor":{}}`, `{"flavor":{"name":null}}`,
		`{"flavor":{"name":"x","ram":1e400,"vcpus":1,"disk":1}}`, `{"flavor":{"name":"x","ram":99999999999999999999,"vcpus":1,"disk":1}}`,
		`{"flavor":{"name":"x","ram":"0x10","vcpus":-1,"disk":1}}`, `{"flavor":{"name":"` + strings.Repeat("n", 10000) + `","ram":1,"vcpus":1,"disk":1}}`,
		`{"flavor":{"name":"x\u0000y","id":"\u0000","ram":1,"vcpus":1,"disk":1}}`, `{"flavor":{"name":"x","ram":1,"vcpus":1,"disk":1,"rxtx_factor":"NaN"}}`,
		`{"flavor":{"name":"x","ram":1,"vcpus":1,"disk":1,"rxtx_factor":1e-400,"id":{}}}`, `{"flavor":{"description":5}}`,
		`{"extra_specs":null}`, `{"extra_specs":{"k":{}}}`, `{"extra_specs":{"k":"` + strings.Repeat("v", 10000) + `"}}`, `{"extra_specs":{"\u0000":"v"}}`, `{"extra_specs":[]}`, `{"k":null}`,
		`{"addTenantAccess":null}`, `{"addTenantAccess":{"tenant":5}}`, `{"addTenantAccess":{"tenant":"` + strings.Repeat("a", 10000) + `"}}`, `{"removeTenantAccess":{"tenant":"\u0000"}}`, `{"addTenantAccess":{"tenant":"a"},"removeTenantAccess":{"tenant":"a"}}`,
		`{"keypair":null}`, `{"keypair":{}}`, `{"keypair":{"name":5}}`, `{"keypair":{"name":"\ud800"}}`, `{"keypair":{"name":"k","public_key":""}}`, `{"keypair":{"name":"k","public_key":"ssh-rsa !!"}}`,
		`{"keypair":{"name":"k","public_key":"ssh-rsa AAAA"}}`, `{"keypair":{"name":"k","type":"dsa","public_key":"x"}}`, `{"keypair":{"name":"k","type":"x509","public_key":"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"}}`,
		`{"keypair":{"name":"k","public_key":"ssh-rsa AAAA","user_id":"` + strings.Repeat("u", 10000) + `"}}`,
		`{"quota_set":null}`, `{"quota_set":{"cores":null}}`, `{"quota_set":{"cores":-2}}`, `{"quota_set":{"cores":99999999999999999999}}`, `{"quota_set":{"cores":1.5}}`, `{"quota_set":{"cores":"x"}}`, `{"quota_set":{"nope":1}}`, `{"quota_set":{"force":"maybe"}}`,
		`{"quota_class_set":{"cores":{}}}`, `{"quota_class_set":{"nope":1}}`, "{\"flavor\":{\"name\":\"\xff\"}}",
	},
	Words: []string{"x", "%00", "%FF%FE", "%27%20OR%201%3D1--", strings.Repeat("a", 3000), "..%2F..", "%F0%9F%98%80", "1%20", "-1", "None", "%25s"},
}

// Never500 sends the hostile bodies and words to every operation of the table whose path
// begins with a prefix, in several versions.
func (a *API) Never500(t *testing.T, prefix string) {
	t.Helper()
	for _, op := range compat.Operations() {
		if !strings.HasPrefix(op.Path, prefix) {
			continue
		}
		for _, version := range []string{"2.1", "2.40", "2.104"} {
			for _, word := range Hostile.Words {
				path := strings.NewReplacer("{id}", word, "{key}", word).Replace(op.Path)
				query := "?limit=" + word + "&marker=" + word + "&user_id=" + word + "&minRam=" + word + "&sort_key=" + word + "&is_public=" + word + "&tenant_id=" + word
				for _, q := range []string{"", query, "?marker=" + word, "?user_id=" + word, "?name=" + word, "?tenant_id=" + word} {
					a.check500(t, Call{"admin@p1", version, op.Method, path + q, `{}`})
				}
				if op.Method == "POST" || op.Method == "PUT" {
					for _, body := range Hostile.Bodies {
						a.check500(t, Call{"admin@p1", version, op.Method, path, body})
					}
				}
			}
		}
	}
}

func (a *API) check500(t *testing.T, c Call) {
	t.Helper()
	rec := a.Do(t, c)
	if rec.Code >= 500 {
		t.Errorf("%s %.200s at %s with %.200q = %d", c.Method, c.Path, c.Version, c.Body, rec.Code)
	}
}
