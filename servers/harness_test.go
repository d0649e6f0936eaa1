package servers

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/flavors"
	"kilonova/hosts"
	"kilonova/identity"
	"kilonova/images"
	"kilonova/keypairs"
	"kilonova/networks"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// The projects of the tests.
const (
	ours   = "11111111111111111111111111111111"
	theirs = "22222222222222222222222222222222"
)

// fakeTokens is a token check for tests: a token is "project role".
func fakeTokens(next http.Handler) http.Handler {
	roles := map[string][]string{"reader": {"reader"}, "member": {"member", "reader"}, "nobody": {},
		"admin": {"admin", "manager", "member", "reader"}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		project, role, ok := strings.Cut(r.Header.Get("X-Auth-Token"), " ")
		if !ok {
			compat.TitledFault(w, r, compat.Unauthorized("The request you have made requires authentication."))
			return
		}
		c := &compat.Caller{UserID: "user-of-" + project[:4], ProjectID: project, Roles: roles[role]}
		next.ServeHTTP(w, r.WithContext(compat.WithCaller(r.Context(), c)))
	})
}

// noTickets signs nothing: the hosts of these tests fetch no image.
type noTickets struct{}

func (noTickets) SignTicket(purpose, subject string, _ time.Duration) string {
	return purpose + subject
}

func (noTickets) VerifyTicket(string, string) (string, error) {
	return "", fmt.Errorf("no tickets here")
}

// testHostKey is the pair of keys of all hosts of the tests.
var testHostKey = func() *secrets.HostKey {
	h, err := secrets.Random().Host("every host")
	if err != nil {
		panic(err)
	}
	return h
}()

// cloud is the compute API with everything behind it, and hosts that do what they are told
// when the test says so.
type cloud struct {
	t       testing.TB
	db      *schema.DB
	s       *Service
	api     http.Handler
	bare    http.Handler // the same, keeping no documents
	hosts   *hosts.Service
	quotas  *quotas.Service
	image   string
	flavor  string
	mu      sync.Mutex
	refuse  map[work.Kind]work.Result // kinds that fail, with what they say
	answers map[work.Kind]work.Result
}

func newCloud(t testing.TB, db *schema.DB) *cloud { return newCloudAt(t, db, nil) }

// newCloudAt is a cloud whose servers and hosts have a clock of their own.
func newCloudAt(t testing.TB, db *schema.DB, clock schema.Clock) *cloud {
	t.Helper()
	ctx := context.Background()
	c := &cloud{t: t, db: db, flavor: "1", refuse: map[work.Kind]work.Result{}, answers: map[work.Kind]work.Result{}}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	img, err := images.New(images.Config{DB: db, Dir: t.TempDir(), Auth: fakeTokens, Tickets: noTickets{}})
	must(err)
	t.Cleanup(func() { img.Close() })
	net, err := networks.New(networks.Config{DB: db, Auth: fakeTokens, Base: compat.Base{}, Owner: theirs})
	must(err)
	must(net.Bootstrap(ctx))
	fl := flavors.New(db, nil)
	must(fl.Seed(ctx))
	c.quotas = quotas.New(db, nil)
	c.hosts = hosts.New(db, clock)
	keys := keypairs.New(db, nil, c.quotas)
	for i := range 2 {
		must(c.hosts.Add(ctx, fmt.Sprintf("host-%d", i+1), work.HostInfo{VCPUs: 16, MemoryMB: 32768, DiskGB: 500, Arch: "x86_64"}))
	}
	_, err = db.Exec("UPDATE hosts SET last_seen = ?, public_key = ?", schema.MicrosOf(time.Now().Add(time.Hour)), testHostKey.Public())
	must(err)
	life := lifecycle.New(lifecycle.Config{DB: db, Clock: clock, Bell: work.NewBells(), Images: img, Networks: net, Quotas: c.quotas, Hosts: c.hosts})
	c.s = New(Config{DB: db, Clock: clock, Flavors: fl, Keypairs: keys, Images: img, Networks: net, Quotas: c.quotas, Hosts: c.hosts, Life: life})
	net.PortsChanged = c.s.Life.PortsChanged
	api := compat.NewCompute(compat.Base{}, identity.NewPolicy(), fakeTokens)
	c.s.Register(api)
	must(api.Build())
	c.api = compat.Front(api)
	bare := *c.s
	bare.renderings = nil
	api = compat.NewCompute(compat.Base{}, identity.NewPolicy(), fakeTokens)
	bare.Register(api)
	must(api.Build())
	c.bare = compat.Front(api)
	c.makeImage(img)
	return c
}

func (c *cloud) makeImage(img *images.Service) {
	c.t.Helper()
	h := img.Handler()
	do := func(method, path, kind string, body []byte) *httptest.ResponseRecorder {
		r := httptest.NewRequest(method, path, bytes.NewReader(body))
		r.Header.Set("X-Auth-Token", ours+" admin")
		r.Header.Set("Content-Type", kind)
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		if w.Code/100 != 2 {
			c.t.Fatalf("%s %s = %d %s", method, path, w.Code, w.Body)
		}
		return w
	}
	w := do("POST", "/v2/images", "application/json", []byte(`{"name":"i","disk_format":"raw","container_format":"bare","visibility":"public","hw_disk_bus":"virtio"}`))
	var doc struct{ ID string }
	if json.Unmarshal(w.Body.Bytes(), &doc) != nil {
		c.t.Fatal(w.Body)
	}
	do("PUT", "/v2/images/"+doc.ID+"/file", "application/octet-stream", make([]byte, 4096))
	c.image = doc.ID
}

// answer is what came back.
type answer struct {
	code int
	body string
	http.Header
}

// get reads a value of the answer by keys.
func (a answer) get(keys ...string) any {
	var v any
	_ = json.Unmarshal([]byte(a.body), &v)
	for _, k := range keys {
		m, _ := v.(map[string]any)
		v = m[k]
	}
	return v
}

func (a answer) text(keys ...string) string {
	s, _ := a.get(keys...).(string)
	return s
}

// as sends a request as "project role" at a microversion.
func (c *cloud) as(who, version, method, path, body string) answer {
	c.t.Helper()
	return ask(c.api, who, version, method, path, body)
}

func ask(api http.Handler, who, version, method, path, body string) answer {
	r := httptest.NewRequest(method, "/v2.1"+path, strings.NewReader(body))
	r.Header.Set("X-Auth-Token", who)
	r.Header.Set("Content-Type", "application/json")
	if version != "" {
		r.Header.Set(compat.VersionHeader, "compute "+version)
	}
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return answer{w.Code, w.Body.String(), w.Header()}
}

// fresh tells of the first document that is not what the tables hold, "" for none.
func (c *cloud) fresh(who, version string, servers ...string) string {
	paths := []string{"/servers/detail", "/servers"}
	for _, id := range servers {
		paths = append(paths, "/servers/"+id)
	}
	for _, path := range paths {
		kept, made := ask(c.api, who, version, "GET", path, ""), ask(c.bare, who, version, "GET", path, "")
		if kept.code != made.code || kept.body != made.body && made.code == 200 { // a 404 may bear the request's id
			return fmt.Sprintf("GET %s at %s as %s = %d %s\nthe tables say %d %s", path, version, who, kept.code, kept.body, made.code, made.body)
		}
	}
	return ""
}

func (c *cloud) do(method, path, body string) answer {
	return c.as(ours+" member", "2.1", method, path, body)
}

// want sends a request as a member at 2.1 and fails the test on another code.
func (c *cloud) want(code int, method, path, body string) answer {
	c.t.Helper()
	a := c.do(method, path, body)
	if a.code != code {
		c.t.Fatalf("%s %s %.200s = %d %s; want %d", method, path, body, a.code, a.body, code)
	}
	return a
}

func (c *cloud) act(code int, id, body string) answer {
	c.t.Helper()
	return c.want(code, "POST", "/servers/"+id+"/action", body)
}

// boot makes a server and lets its host finish.
func (c *cloud) boot(name string) string {
	c.t.Helper()
	id := c.want(202, "POST", "/servers", c.createBody(name, "")).text("server", "id")
	c.settle()
	c.is(id, "ACTIVE")
	return id
}

func (c *cloud) createBody(name, more string) string {
	return fmt.Sprintf(`{"server":{"name":%q,"imageRef":%q,"flavorRef":%q%s}}`, name, c.image, c.flavor, more)
}

// is fails the test unless the server has the status.
func (c *cloud) is(id, want string) answer {
	c.t.Helper()
	a := c.as(ours+" admin", "2.96", "GET", "/servers/"+id, "")
	if got := a.text("server", "status"); got != want {
		c.t.Fatalf("server is %q (%d %.900s), want %q", got, a.code, a.body, want)
	}
	return a
}

// settle is the hosts doing all queued work and the finisher applying it, until nothing is
// left.
func (c *cloud) settle() {
	c.t.Helper()
	ctx := context.Background()
	for range 50 {
		var list []struct {
			ID   int64     `db:"id"`
			Kind work.Kind `db:"kind"`
		}
		err := c.db.Select(&list, "SELECT id, kind FROM work WHERE state = 'queued' ORDER BY id")
		if err != nil {
			c.t.Fatal(err)
		}
		for _, w := range list {
			c.finish(w.ID, w.Kind)
		}
		n, err := c.s.Life.FinishSome(ctx)
		if err != nil {
			c.t.Fatal(err)
		}
		if len(list) == 0 && n == 0 {
			return
		}
	}
	c.t.Fatal("work never ends")
}

// after is the power state in which work leaves a guest.
var after = map[work.Kind]work.PowerState{work.Stop: work.Shutdown, work.Pause: work.Paused, work.Suspend: work.Shutdown, work.Delete: work.NoState}

func (c *cloud) finish(id int64, kind work.Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	state, res := work.Done, work.Result{PowerState: work.PoweredOn}
	if p, ok := after[kind]; ok {
		res.PowerState = p
	}
	if a, ok := c.answers[kind]; ok {
		res = a
	}
	if r, ok := c.refuse[kind]; ok {
		state, res = work.Failed, r
	}
	_, err := c.db.Exec("UPDATE work SET state = ?, result = ?, finished_at = 1 WHERE id = ?", state, lifecycle.Encode(res), id)
	if err != nil {
		c.t.Error(err)
	}
}

// audit compares what hosts and projects have on record with what the servers hold.
func (c *cloud) audit() {
	c.t.Helper()
	ctx := context.Background()
	want, err := lifecycle.Total(ctx, c.db)
	if err != nil {
		c.t.Fatal(err)
	}
	list, err := c.hosts.List(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	claimed, err := hosts.AllClaimed(ctx, c.db)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, h := range list {
		if rows := claimed[h.Name]; rows.Need != want.Hosts[h.Name] || rows.Servers != want.Claims[h.Name] {
			c.t.Errorf("host %s has claims of %+v; its servers hold %+v", h.Name, rows, want.Hosts[h.Name])
		}
		have := hosts.Need{VCPUs: h.VCPUsUsed, MemoryMB: h.MemoryMBUsed, DiskGB: h.DiskGBUsed}
		if have != want.Hosts[h.Name] || h.Servers != want.Claims[h.Name] {
			c.t.Errorf("host %s has %+v for %d servers on record; they hold %+v for %d", h.Name, have, h.Servers, want.Hosts[h.Name], want.Claims[h.Name])
		}
	}
	for _, p := range []string{ours, theirs} {
		used, err := c.quotas.Usage(ctx, p)
		if err != nil || used != want.Projects[p] {
			c.t.Errorf("project %s has %+v on record (%v); its servers use %+v", p, used, err, want.Projects[p])
		}
	}
}

func newID() string { return uuid.NewString() }
