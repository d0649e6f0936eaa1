package images

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

// cloud is a service under test with a hand-moved clock.
type cloud struct {
	t    testing.TB
	db   *schema.DB
	s    *Service
	h    http.Handler
	dir  string
	mu   sync.Mutex
	time time.Time
}

type fakeTickets struct{}

func (fakeTickets) SignTicket(purpose, subject string, _ time.Duration) string {
	return purpose + "!" + subject
}

func (fakeTickets) VerifyTicket(purpose, ticket string) (string, error) {
	p, subject, ok := strings.Cut(ticket, "!")
	if !ok || p != purpose {
		return "", errors.New("bad ticket")
	}
	return subject, nil
}

// anyJob takes every job for one that runs, but for those of a server "gone".
func anyJob(_ context.Context, j Job) (bool, error) { return j.Server != "gone", nil }

// ticketFor is a ticket of a job that runs.
func ticketFor(purpose, image string) string {
	return fakeTickets{}.SignTicket(purpose, ticketSubject(image, Job{Server: "s", Generation: 1}), time.Hour)
}

// fakeAuth reads the caller from a header: "project:role,role". Without one it is a 401.
func fakeAuth(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := callerOf(r.Header.Get("X-Test-Caller"))
		if c == nil {
			compat.TitledFault(w, r, compat.Unauthorized("no token"))
			return
		}
		next.ServeHTTP(w, r.WithContext(compat.WithCaller(r.Context(), c)))
	})
}

func callerOf(s string) *compat.Caller {
	project, roles, ok := strings.Cut(s, ":")
	if !ok {
		return nil
	}
	return &compat.Caller{ProjectID: project, UserID: "u-" + project, Roles: strings.Split(roles, ",")}
}

// The callers of most tests: two projects' members, a reader and an administrator.
const (
	alice  = "p1:member,reader"
	bob    = "p2:member,reader"
	viewer = "p1:reader"
	admin  = "p0:admin,member,reader"
)

func newCloud(t testing.TB, db *schema.DB, edit ...func(*Config)) *cloud {
	t.Helper()
	return reopen(t, db, t.TempDir(), edit...)
}

func reopen(t testing.TB, db *schema.DB, dir string, edit ...func(*Config)) *cloud {
	t.Helper()
	c := &cloud{t: t, db: db, dir: dir, time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	cfg := Config{
		DB: db, Clock: c.now, Dir: dir, Auth: fakeAuth, Tickets: fakeTickets{}, Jobs: anyJob, InternalURL: "http://internal/image",
		Base: compat.Base{Mount: "/image"}, Log: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
	for _, f := range edit {
		f(&cfg)
	}
	s, err := New(cfg)
	if err != nil {
		t.Fatalf("make service: %v", err)
	}
	t.Cleanup(func() { _ = s.Close() }) // a test may have closed it
	c.s, c.h = s, s.Handler()
	return c
}

// now moves on by a millisecond each time, so that rows have an order.
func (c *cloud) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(time.Millisecond)
	return c.time
}

func (c *cloud) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.time = c.time.Add(d)
}

// keep does what Run does.
func (c *cloud) keep() {
	c.t.Helper()
	err := errors.Join(c.s.sweep(context.Background()), c.s.importAll(context.Background()))
	if err != nil {
		c.t.Fatalf("keeper: %v", err)
	}
}

// do sends a request that the service can answer.
func (c *cloud) do(caller, method, path string, body any, headers ...string) *httptest.ResponseRecorder {
	c.t.Helper()
	w := c.send(caller, method, path, body, headers...)
	if w.Code >= 500 {
		c.t.Errorf("%s %s = %d: %s", method, path, w.Code, w.Body)
	}
	return w
}

func (c *cloud) send(caller, method, path string, body any, headers ...string) *httptest.ResponseRecorder {
	c.t.Helper()
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case string:
		in = strings.NewReader(b)
	case []byte:
		in = bytes.NewReader(b)
	case io.Reader:
		in = b
	default:
		c.t.Fatalf("body of type %T", body)
	}
	r := httptest.NewRequest(method, "http://cloud"+path, in)
	r.Header.Set("X-Test-Caller", caller)
	r.Header.Set("Content-Type", "application/json")
	if strings.HasSuffix(path, "/file") || strings.HasSuffix(path, "/stage") {
		r.Header.Set("Content-Type", "application/octet-stream")
	}
	if method == http.MethodPatch {
		r.Header.Set("Content-Type", patchV21)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	c.h.ServeHTTP(w, r)
	return w
}

// must is do for a call that has to give the code.
func (c *cloud) must(code int, caller, method, path string, body any, headers ...string) map[string]any {
	c.t.Helper()
	w := c.do(caller, method, path, body, headers...)
	if w.Code != code {
		c.t.Fatalf("%s %s = %d, want %d: %.300s", method, path, w.Code, code, w.Body)
	}
	var doc map[string]any
	if w.Body.Len() > 0 && strings.Contains(w.Header().Get("Content-Type"), "json") {
		err := json.Unmarshal(w.Body.Bytes(), &doc)
		if err != nil {
			c.t.Fatalf("%s %s: not JSON: %.300s", method, path, w.Body)
		}
	}
	return doc
}

// image makes a queued image and gives its id. more is JSON members, such as `"a": "b"`.
func (c *cloud) image(caller, format string, more ...string) string {
	c.t.Helper()
	body := fmt.Sprintf(`{"name": "im", "disk_format": %q, "container_format": "bare"`, format)
	for _, m := range more {
		body += ", " + m
	}
	return c.must(201, caller, "POST", "/v2/images", body+"}")["id"].(string)
}

// active makes an image with data.
func (c *cloud) active(caller string, more ...string) string {
	c.t.Helper()
	id := c.image(caller, "raw", more...)
	c.must(204, caller, "PUT", "/v2/images/"+id+"/file", "some bytes of a disk")
	return id
}

// decoded is an answer's document.
func decoded(t *testing.T, w *httptest.ResponseRecorder) map[string]any {
	t.Helper()
	var doc map[string]any
	err := json.Unmarshal(w.Body.Bytes(), &doc)
	if err != nil {
		t.Fatalf("not JSON: %.300s", w.Body)
	}
	return doc
}

func (c *cloud) status(id string) string {
	c.t.Helper()
	return c.must(200, admin, "GET", "/v2/images/"+id, nil)["status"].(string)
}

// ids gives what a list shows.
func (c *cloud) ids(caller, query string) []string {
	c.t.Helper()
	doc := c.must(200, caller, "GET", "/v2/images"+query, nil)
	out := []string{}
	for _, i := range doc["images"].([]any) {
		out = append(out, i.(map[string]any)["id"].(string))
	}
	return out
}

// usage gives what the service holds against a project.
func (c *cloud) usage(project string) (images, bytes int64) {
	c.t.Helper()
	err := c.db.QueryRow(`SELECT images, bytes FROM image_usage WHERE project_id = ?`, project).Scan(&images, &bytes)
	if err != nil {
		c.t.Fatalf("usage of %s: %v", project, err)
	}
	return images, bytes
}

func each(t *testing.T, fn func(t *testing.T, c *cloud), edit ...func(*Config)) {
	t.Helper()
	t.Parallel()
	schematest.Each(t, func(t *testing.T, db *schema.DB) { fn(t, newCloud(t, db, edit...)) })
}

// files lists the data folder.
func (c *cloud) files() []string {
	c.t.Helper()
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		c.t.Fatal(err)
	}
	names := []string{}
	for _, e := range entries {
		if e.Name() != ".lock" {
			names = append(names, e.Name())
		}
	}
	return names
}

// validRequest reports whether net/http would let a request line through to the handler.
func validRequest(method, path string) bool {
	switch method {
	case "GET", "POST", "PUT", "PATCH", "DELETE":
	default:
		return false
	}
	if !strings.HasPrefix(path, "/") {
		return false
	}
	for i := range len(path) {
		if path[i] <= ' ' || path[i] >= 0x7f {
			return false
		}
	}
	_, err := url.ParseRequestURI(path)
	return err == nil
}
