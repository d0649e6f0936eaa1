package main

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

// testCloud is all services behind one handler, as `up` serves them.
type testCloud struct {
	*cloud
	t     testing.TB
	token string
}

func newTestCloud(t testing.TB, db *schema.DB) *testCloud {
	t.Helper()
	bells := work.NewBells()
	c, err := newCloud(context.Background(), db, cloudConfig{StateDir: t.TempDir(), InternalURL: "http://127.0.0.1:1", Bell: bells, Bells: bells})
	if err != nil {
		t.Fatal(err)
	}
	return loggedIn(t, c)
}

// loggedIn is the cloud with its administrator's token.
func loggedIn(t testing.TB, c *cloud) *testCloud {
	t.Helper()
	tc := &testCloud{cloud: c, t: t}
	w := tc.do("POST", "/identity/v3/auth/tokens", `{"auth": {"identity": {"methods": ["password"], "password": {"user":
		{"name": "admin", "domain": {"id": "default"}, "password": "`+c.password+`"}}},
		"scope": {"project": {"name": "admin", "domain": {"id": "default"}}}}}`)
	tc.token = w.Header().Get("X-Subject-Token")
	if w.Code != http.StatusCreated || tc.token == "" {
		t.Fatalf("log in: %d %s", w.Code, w.Body)
	}
	return tc
}

func (c *testCloud) do(method, path, body string) *httptest.ResponseRecorder {
	return c.send(method, path, strings.NewReader(body), "application/json")
}

func (c *testCloud) send(method, path string, body io.Reader, kind string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://cloud"+path, body)
	r.RequestURI = path
	if c.token != "" {
		r.Header.Set("X-Auth-Token", c.token)
	}
	r.Header.Set("Content-Type", kind)
	w := httptest.NewRecorder()
	c.handler.ServeHTTP(w, r)
	return w
}

// Several slashes are one, in every service and place of a path, without a redirect.
func TestSeveralSlashesAreOne(t *testing.T) {
	c := newTestCloud(t, schematest.SQLite(t))
	for _, path := range []string{
		"/", "/v2.1/", "/v2.1/servers", "/v2.1/servers/detail", "/v2.1/flavors/1", "/v2.1/{project}/servers/detail", "/v2/servers",
		"/compute/v2.1/", "/compute/v2.1/servers/detail", "/compute/v2.1/os-quota-sets/{project}",
		"/identity", "/identity/v3", "/identity/v3/projects", "/identity/v3/projects/{project}", "/identity/v3/auth/projects",
		"/image", "/image/v2/images", "/image/v2/schemas/image", "/networking", "/networking/v2.0", "/networking/v2.0/networks",
		"/networking/v2.0/quotas/{project}/details", "/healthz", "/readyz", "/nothing/here", "/image/v2/images/nothing",
	} {
		path = strings.ReplaceAll(path, "{project}", c.owner)
		want := c.do("GET", path, "")
		if want.Code == http.StatusNotFound != strings.Contains(path, "nothing") && !strings.HasPrefix(path, "/nothing") {
			t.Errorf("GET %s: %d", path, want.Code)
		}
		for _, spelling := range []string{"/" + path, strings.ReplaceAll(path, "/", "//"), "//" + strings.Replace(path, "/", "///", 1)} {
			got := c.do("GET", spelling, "")
			if got.Code != want.Code || got.Header().Get("Location") != want.Header().Get("Location") || len(got.Body.String()) != len(want.Body.String()) {
				t.Errorf("GET %s: %d %.80s, want what %s answers: %d %.80s", spelling, got.Code, got.Body, path, want.Code, want.Body)
			}
		}
	}
	// A slash that was escaped belongs to a name.
	if w := c.do("GET", "/v2.1//flavors//a%2F%2Fb", ""); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "a//b") {
		t.Errorf("an escaped name: %d %s", w.Code, w.Body)
	}
	// A body goes with its request.
	w := c.do("POST", "//compute//v2.1//flavors", `{"flavor": {"name": "x", "ram": 1, "vcpus": 1, "disk": 1}}`)
	if w.Code != http.StatusOK {
		t.Errorf("POST through doubled slashes: %d %s", w.Code, w.Body)
	}
}

// A slash at the end is what each original takes it for: Glance alone heeds it.
func TestASlashAtTheEnd(t *testing.T) {
	c := newTestCloud(t, schematest.SQLite(t))
	for path, same := range map[string]bool{
		"/v2.1/servers": true, "/compute/v2.1/flavors/detail": true, "/identity/v3/projects": true,
		"/networking/v2.0/networks": true, "/image/v2/images": false,
	} {
		for _, end := range []string{"/", "//"} {
			if w := c.do("GET", path+end, ""); (w.Code == http.StatusOK) != same || !same && w.Code != http.StatusNotFound {
				t.Errorf("GET %s%s: %d", path, end, w.Code)
			}
		}
	}
}

// unread is a body that must not be read.
type unread struct{ t *testing.T }

func (u unread) Read([]byte) (int, error) {
	u.t.Error("a stranger's body was read")
	return 0, os.ErrClosed
}

// No service reads what a caller without a token sends; logging in is the exception.
func TestNoBodyIsReadWithoutAToken(t *testing.T) {
	c := newTestCloud(t, schematest.SQLite(t))
	c.token = ""
	for _, call := range []string{
		"POST /v2.1/servers", "POST /compute/v2.1/servers/x/action", "PUT /v2.1/os-quota-sets/x", "POST /v2/os-keypairs", "PATCH /v2.1/nothing", "POST /v2.1/os-volumes_boot",
		"POST /identity/v3/users", "PATCH /identity/v3/projects/x", "POST /identity/v3/users/x/password", "PUT /identity/v3/auth/tokens", "DELETE /identity/v3/auth/tokens",
		"POST /image/v2/images", "PATCH /image/v2/images/x", "PUT /image/v2/images/x/file", "PUT /image/v2/images/x/stage", "POST /image/v2/nothing",
		"POST /networking/v2.0/networks", "PUT /networking/v2.0/ports/x", "POST /networking/v2.0/nothing",
		"POST /healthz", "POST /", "POST /identity", "POST /image", "POST /networking", "POST /nothing",
	} {
		method, path, _ := strings.Cut(call, " ")
		w := c.send(method, path, unread{t}, "application/json")
		if w.Code/100 != 4 && w.Code != http.StatusMultipleChoices && w.Code != http.StatusOK {
			t.Errorf("%s: %d %s", call, w.Code, w.Body)
		}
	}
}
