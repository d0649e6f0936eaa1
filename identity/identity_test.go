package identity_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"kilonova/compat"
	"kilonova/identity"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

const adminPassword = "first-Password"

// cloud is an identity service with a clock that the test moves.
type cloud struct {
	t       testing.TB
	s       *identity.Service
	db      *schema.DB
	keys    string
	mu      sync.Mutex
	now     time.Time
	address string
}

func (c *cloud) clock() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *cloud) move(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func newCloud(t testing.TB, db *schema.DB) *cloud {
	t.Helper()
	c := &cloud{t: t, db: db, keys: filepath.Join(t.TempDir(), "jws-keys"), now: time.Now().Truncate(time.Microsecond), address: "192.0.2.1:999"}
	c.s = c.another()
	err := c.bootstrap(adminPassword)
	if err != nil {
		t.Fatalf("bootstrap: %v", err)
	}
	return c
}

// another opens the service of a second process on the same database and keys.
func (c *cloud) another() *identity.Service {
	c.t.Helper()
	s, err := identity.New(context.Background(), identity.Config{DB: c.db, Clock: c.clock, KeyDir: c.keys, BcryptCost: 4})
	if err != nil {
		c.t.Fatalf("new: %v", err)
	}
	return s
}

// answer is what a request got.
type answer struct {
	code   int
	header http.Header
	raw    []byte
	body   map[string]any
}

// get reads a value of the body by its path.
func (a answer) get(path ...string) any {
	var v any = a.body
	for _, p := range path {
		m, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = m[p]
	}
	return v
}

func (a answer) text(path ...string) string { s, _ := a.get(path...).(string); return s }

func (a answer) list(path ...string) []any { l, _ := a.get(path...).([]any); return l }

// do sends a request to the identity API; header values come in pairs.
func (c *cloud) do(method, path, token, body string, header ...string) answer {
	c.t.Helper()
	return c.send(c.s.Handler(), method, path, token, body, header...)
}

func (c *cloud) send(h http.Handler, method, path, token, body string, header ...string) answer {
	c.t.Helper()
	var in io.Reader
	if body != "" {
		in = strings.NewReader(body)
	}
	r := httptest.NewRequest(method, "http://cloud.example"+path, in)
	r.RemoteAddr = c.address
	if token != "" {
		r.Header.Set("X-Auth-Token", token)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	a := answer{code: w.Code, header: w.Header(), raw: w.Body.Bytes()}
	if w.Code >= 500 {
		c.t.Errorf("%s %.200s = %d: %s", method, path, w.Code, a.raw)
	}
	if a.header.Get("Content-Type") == "application/json" && len(bytes.TrimSpace(a.raw)) > 0 {
		err := json.Unmarshal(a.raw, &a.body)
		if err != nil {
			c.t.Errorf("%s %.200s: body is no JSON: %v: %.200s", method, path, err, a.raw)
		}
	}
	return a
}

// sendQuiet asks the token check where a 503 is what the test wants.
func (c *cloud) sendQuiet(method, path, token string) int {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("X-Auth-Token", token)
	w := httptest.NewRecorder()
	c.s.Authenticate(http.NotFoundHandler()).ServeHTTP(w, r)
	return w.Code
}

// must is do with a code that the test relies on.
func (c *cloud) must(code int, method, path, token, body string, header ...string) answer {
	c.t.Helper()
	a := c.do(method, path, token, body, header...)
	if a.code != code {
		c.t.Fatalf("%s %s = %d, want %d: %s", method, path, a.code, code, a.raw)
	}
	return a
}

func quote(s string) string {
	raw, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(raw)
}

// login gives a token, and the code; scope is JSON or "".
func (c *cloud) login(user, password, scope string) (string, answer) {
	c.t.Helper()
	return c.auth(`{"methods":["password"],"password":{"user":{"name":`+quote(user)+`,"domain":{"id":"default"},"password":`+quote(password)+`}}}`, scope)
}

func (c *cloud) auth(identity, scope string) (string, answer) {
	c.t.Helper()
	body := `{"auth":{"identity":` + identity
	if scope != "" {
		body += `,"scope":` + scope
	}
	a := c.do("POST", "/v3/auth/tokens", "", body+"}}")
	return a.header.Get("X-Subject-Token"), a
}

func (c *cloud) rescope(token, scope string) (string, answer) {
	c.t.Helper()
	return c.auth(`{"methods":["token"],"token":{"id":`+quote(token)+`}}`, scope)
}

const adminScope = `{"project":{"name":"admin","domain":{"name":"default"}}}`

func (c *cloud) admin() string {
	c.t.Helper()
	token, a := c.login("admin", adminPassword, adminScope)
	if a.code != 201 {
		c.t.Fatalf("admin login = %d: %s", a.code, a.raw)
	}
	return token
}

// create makes a resource and gives its id.
func (c *cloud) create(token, plural, key, body string) string {
	c.t.Helper()
	return c.must(201, "POST", "/v3/"+plural, token, `{"`+key+`":`+body+`}`).text(key, "id")
}

func (c *cloud) role(token, name string) string {
	c.t.Helper()
	l := c.must(200, "GET", "/v3/roles?name="+name, token, "").list("roles")
	if len(l) != 1 {
		c.t.Fatalf("roles named %s: %v", name, l)
	}
	return l[0].(map[string]any)["id"].(string)
}

// member makes a project and a user with a role in it, both of the given name, whose
// password is "pw-" and the name.
func (c *cloud) member(admin, name, role string) (user, project string) {
	c.t.Helper()
	project = c.create(admin, "projects", "project", `{"name":"`+name+`"}`)
	user = c.create(admin, "users", "user", `{"name":"`+name+`","password":"pw-`+name+`"}`)
	c.must(204, "PUT", "/v3/projects/"+project+"/users/"+user+"/roles/"+c.role(admin, role), admin, "")
	return user, project
}

func projectScope(id string) string { return `{"project":{"id":"` + id + `"}}` }

// check asks the token check of the other services.
func (c *cloud) check(token string, header ...string) (int, *compat.Caller) {
	c.t.Helper()
	return c.checkAt(c.s, token, header...)
}

func (c *cloud) checkAt(s *identity.Service, token string, header ...string) (int, *compat.Caller) {
	c.t.Helper()
	var caller *compat.Caller
	a := c.send(s.Authenticate(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		caller = compat.CallerFrom(r.Context())
		w.WriteHeader(http.StatusOK)
	})), "GET", "/servers", token, "", header...)
	return a.code, caller
}

func each(t *testing.T, fn func(t *testing.T, c *cloud)) {
	t.Helper()
	schematest.Each(t, func(t *testing.T, db *schema.DB) { fn(t, newCloud(t, db)) })
}

func TestLoginAndCatalog(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		token, a := c.login("admin", adminPassword, adminScope)
		if a.code != 201 || token == "" {
			t.Fatalf("login = %d: %s", a.code, a.raw)
		}
		for path, want := range map[string]any{
			"user.name": "admin", "user.domain.name": "Default", "project.name": "admin", "project.domain.id": "default", "is_domain": false,
		} {
			if got := a.get(append([]string{"token"}, strings.Split(path, ".")...)...); got != want {
				t.Errorf("token.%s = %v, want %v", path, got, want)
			}
		}
		if v, ok := a.body["token"].(map[string]any)["user"].(map[string]any)["password_expires_at"]; !ok || v != nil {
			t.Errorf("password_expires_at = %v, %v; want null", v, ok)
		}
		var roles []string
		for _, r := range a.list("token", "roles") {
			roles = append(roles, r.(map[string]any)["name"].(string))
		}
		if strings.Join(roles, " ") != "admin manager member reader" {
			t.Errorf("roles %v", roles)
		}
		if !strings.HasSuffix(a.text("token", "expires_at"), ".000000Z") {
			t.Errorf("expires_at %q", a.text("token", "expires_at"))
		}
		if ids := a.list("token", "audit_ids"); len(ids) != 1 || len(ids[0].(string)) != 22 {
			t.Errorf("audit_ids %v", ids)
		}
		catalog := a.list("token", "catalog")
		if len(catalog) != 2 {
			t.Fatalf("catalog %v", catalog)
		}
		nova := catalog[1].(map[string]any)
		endpoints := nova["endpoints"].([]any)
		if nova["type"] != "compute" || len(endpoints) != 3 {
			t.Fatalf("catalog entry %v", nova)
		}
		e := endpoints[0].(map[string]any)
		if e["url"] != "http://cloud.example/compute/v2.1" || e["region"] != "RegionOne" || e["region_id"] != "RegionOne" {
			t.Errorf("endpoint %v", e)
		}
		body := `{"auth":{"identity":{"methods":["token"],"token":{"id":"` + token + `"}},"scope":` + adminScope + `}}`
		a = c.must(201, "POST", "/v3/auth/tokens?nocatalog", "", body)
		if a.get("token", "catalog") != nil {
			t.Errorf("a catalog with nocatalog")
		}
		a = c.must(200, "GET", "/v3/auth/catalog", token, "", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "public.example")
		if !strings.Contains(string(a.raw), `"https://public.example/compute/v2.1"`) {
			t.Errorf("the catalog does not follow the forwarded headers: %s", a.raw)
		}
		code, caller := c.check(token)
		if code != 200 || caller.UserName != "admin" || caller.ProjectName != "admin" || !caller.IsAdmin() || !caller.Has("reader") || string(caller.Token) != token {
			t.Errorf("check = %d, %+v", code, caller)
		}
		unscoped, a := c.login("admin", adminPassword, `"unscoped"`)
		if a.code != 201 || a.get("token", "roles") != nil || a.get("token", "catalog") != nil {
			t.Errorf("unscoped login = %d: %s", a.code, a.raw)
		}
		c.must(403, "GET", "/v3/auth/catalog", unscoped, "")
		a = c.must(200, "GET", "/v3/auth/projects", unscoped, "")
		if len(a.list("projects")) != 1 {
			t.Errorf("auth/projects %s", a.raw)
		}
	})
}

func (c *cloud) bootstrap(password string) error {
	return c.s.Bootstrap(context.Background(), identity.Bootstrap{AdminPassword: password, Region: "RegionOne",
		Services: []identity.CatalogService{
			{Type: "identity", Name: "keystone", Path: "/identity"}, {Type: "compute", Name: "nova", Path: "/compute/v2.1"},
		}})
}

// rowOf gives the id of a resource by its name.
func (c *cloud) rowOf(token, plural, name string) (string, answer) {
	c.t.Helper()
	a := c.must(200, "GET", "/v3/"+plural+"?name="+name, token, "")
	if len(a.list(plural)) != 1 {
		c.t.Fatalf("%s named %s: %s", plural, name, a.raw)
	}
	return a.list(plural)[0].(map[string]any)["id"].(string), a
}

// census is all that there is.
func (c *cloud) census(token string) string {
	c.t.Helper()
	var b strings.Builder
	for _, plural := range []string{"users", "projects", "domains", "roles", "services", "endpoints", "regions", "role_assignments", "role_inferences"} {
		b.Write(c.must(200, "GET", "/v3/"+plural, token, "").raw)
		b.WriteString("\n")
	}
	return b.String()
}
