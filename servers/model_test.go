package servers

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"

	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// The model test plays random sequences of requests against hosts that finish, fail, lose
// or are late with their work at random moments, and holds every answer against a table of
// what Nova allows that is written here a second time, not read from the state table. After
// each sequence the cloud is let come to rest: no server may be left in the middle of
// anything, and the books must be even.
//
// `make model` runs it long. The environment chooses:
//
//	KILONOVA_MODEL_COUNT    sequences for each worker
//	KILONOVA_MODEL_SEED     a seed, which every run prints
//	KILONOVA_MODEL_FIRST    number of the first sequence, to play one again
//	KILONOVA_MODEL_WORKERS  that play side by side, each on a database of its own
const (
	modelCount   = "KILONOVA_MODEL_COUNT"
	modelSeed    = "KILONOVA_MODEL_SEED"
	modelFirst   = "KILONOVA_MODEL_FIRST"
	modelWorkers = "KILONOVA_MODEL_WORKERS"
)

func setting(t *testing.T, name string, def int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	return n
}

func TestModelSQLite(t *testing.T) {
	playModel(t, 150, func(t *testing.T) *schema.DB { return memoryDB(t) })
}

func TestModelMariaDB(t *testing.T) {
	playModel(t, 20, func(t *testing.T) *schema.DB { return schematest.MySQL(t) })
}

// memoryDB is an SQLite database in memory where the machine has a file system for that:
// this test asks for thousands of commits, and not whether they survive.
func memoryDB(t *testing.T) *schema.DB {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "kilonova-model")
	if err != nil {
		return schematest.SQLite(t)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) }) // the test is over
	db, err := schema.Open(t.Context(), filepath.Join(dir, "kilonova.db"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() }) // the test is over
	err = db.Migrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return db
}

func playModel(t *testing.T, short int, open func(t *testing.T) *schema.DB) {
	quiet(t)
	count, first := setting(t, modelCount, short), setting(t, modelFirst, 0)
	seed := setting(t, modelSeed, int(rand.Uint32()))
	workers := setting(t, modelWorkers, 1)
	t.Logf("%s=%d %s=%d %s=%d %s=%d", modelSeed, seed, modelFirst, first, modelCount, count, modelWorkers, workers)
	var asked, sequences atomic.Int64
	began := time.Now()
	var wg sync.WaitGroup
	for w := range workers {
		m := newModel(t, open(t))
		wg.Add(1)
		go func() {
			defer wg.Done()
			defer func() { asked.Add(m.asked); t.Log(m.told) }()
			for i := first + w*count; i < first+(w+1)*count; i++ {
				if t.Failed() {
					return
				}
				m.play(uint64(seed), uint64(i))
				if n := sequences.Add(1); n%1000 == 0 {
					t.Logf("%d sequences after %s", n, time.Since(began).Round(time.Second))
				}
			}
		}()
	}
	wg.Wait()
	t.Logf("%d sequences, %d requests in %s", sequences.Load(), asked.Load(), time.Since(began).Round(time.Millisecond))
}

// quiet keeps what is logged of the failures that this test is made of from the output.
func quiet(t *testing.T) {
	old := slog.Default()
	slog.SetDefault(slog.New(slog.DiscardHandler))
	t.Cleanup(func() { slog.SetDefault(old) })
}

// model is one cloud and what the test knows of it beside its database.
type model struct {
	t      *testing.T
	c      *cloud
	now    atomic.Int64 // microseconds
	rnd    *rand.Rand
	asked  int64
	trace  []string
	broken bool

	told    map[string]int    // reports by kind and outcome, over all sequences
	up      map[string]bool   // hosts that beat
	daemon  map[string]string // the life of each host's daemon
	guests  map[string]work.PowerState
	servers []string
}

const modelHost = 3

func newModel(t *testing.T, db *schema.DB) *model {
	t.Helper()
	m := &model{t: t, told: map[string]int{}}
	m.now.Store(int64(schema.MicrosOf(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))))
	m.c = newCloudAt(t, db, func() time.Time { return schema.Micros(m.now.Load()).Time() })
	err := m.c.hosts.Add(t.Context(), "host-3", work.HostInfo{VCPUs: 4, MemoryMB: 4096, DiskGB: 100, Arch: "x86_64"})
	if err != nil {
		t.Fatal(err)
	}
	m.c.exec("UPDATE hosts SET public_key = ? WHERE name = 'host-3'", testHostKey.Public())
	return m
}

// fail tells what went wrong and all that led to it, once for each sequence.
func (m *model) fail(format string, a ...any) {
	m.t.Helper()
	if !m.broken {
		m.t.Errorf("%s\n%s", fmt.Sprintf(format, a...), strings.Join(m.trace, "\n"))
	}
	m.broken = true
}

func (m *model) note(format string, a ...any) { m.trace = append(m.trace, fmt.Sprintf(format, a...)) }

func (m *model) must(err error) {
	m.t.Helper()
	if err != nil {
		m.fail("%v", err)
	}
}

func (m *model) exec(stmt string, args ...any) {
	m.t.Helper()
	_, err := m.c.db.Exec(stmt, args...)
	m.must(err)
}

// chance is true n times of a hundred.
func (m *model) chance(n int) bool { return m.rnd.IntN(100) < n }

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

func (m *model) play(seed, number uint64) {
	m.rnd = rand.New(rand.NewPCG(seed, number))
	m.trace = []string{fmt.Sprintf("%s=%d %s=%d %s=1 plays it again", modelSeed, seed, modelFirst, number, modelCount)}
	m.broken, m.servers = false, nil
	m.up, m.daemon, m.guests = map[string]bool{}, map[string]string{}, map[string]work.PowerState{}
	for i := range modelHost {
		name := fmt.Sprintf("host-%d", i+1)
		m.up[name], m.daemon[name] = true, uuid.NewString()
	}
	m.exec("UPDATE hosts SET memory_mb = ?, failures = 0 WHERE name = 'host-1'", pick(m.rnd, []int{1024, 3072, 32768}))
	m.c.s.Life.ResizeConfirmWindow = time.Duration(m.rnd.IntN(2)) * 10 * time.Minute
	m.beat()
	m.create()
	if m.chance(70) { // most have something that runs to begin with
		for m.hostWorks(true) {
		}
		m.finish()
	}
	for range 10 + m.rnd.IntN(25) {
		m.step()
		if m.broken {
			return
		}
	}
	m.rest()
	m.even("at rest")
	m.shown()
	m.clear()
}

// beat is the heartbeat of the hosts that are up.
func (m *model) beat() {
	for name, up := range m.up {
		seen := int64(0)
		if up {
			seen = m.now.Load()
		}
		m.exec("UPDATE hosts SET last_seen = ? WHERE name = ?", seen, name)
	}
	m.c.hosts.Forget()
}

func (m *model) pass(d time.Duration) {
	m.now.Add(d.Microseconds())
	m.beat()
}

func (m *model) step() {
	m.now.Add(int64(m.rnd.IntN(20_000)))
	switch n := m.rnd.IntN(100); {
	case n < 46:
		m.request()
	case n < 48:
		m.together()
	case n < 50 && len(m.servers) < 3:
		m.create()
	case n < 52:
		m.port()
	case n < 75:
		m.hostWorks(false)
	case n < 88:
		m.finish()
	case n < 91:
		m.note("keeper")
		m.must(m.c.s.Life.KeepOnce(context.Background()))
	case n < 93:
		d := pick(m.rnd, []time.Duration{time.Second, 3 * time.Minute, 2 * time.Hour})
		m.note("%s pass", d)
		m.pass(d)
	case n < 96:
		name := m.someHost()
		m.up[name] = !m.up[name]
		m.note("%s up: %v", name, m.up[name])
		m.beat()
	case n < 98:
		name := m.someHost()
		m.daemon[name] = uuid.NewString()
		m.note("the daemon of %s is killed and comes back", name)
	default:
		m.guestMoves()
	}
	if m.chance(30) {
		m.shown()
	}
}

// shown holds the documents that are kept against the tables.
func (m *model) shown() {
	who, version := pick(m.rnd, []string{ours + " admin", ours + " member"}), pick(m.rnd, []string{"2.1", "2.96"})
	if stale := m.c.fresh(who, version, m.servers...); stale != "" {
		m.fail("%s", stale)
	}
}

func (m *model) someHost() string { return fmt.Sprintf("host-%d", 1+m.rnd.IntN(modelHost)) }

func (m *model) finish() {
	n, err := m.c.s.Life.FinishSome(context.Background())
	m.note("finisher: %d", n)
	m.must(err)
}

// guestMoves is a guest that changes its power state by itself, and its host telling.
func (m *model) guestMoves() {
	if len(m.servers) == 0 {
		return
	}
	id := pick(m.rnd, m.servers)
	if _, there := m.guests[id]; !there {
		return
	}
	p := pick(m.rnd, []work.PowerState{work.PoweredOn, work.Shutdown, work.Crashed, work.Paused})
	m.guests[id] = p
	m.note("guest %s is %s", id, p)
	m.exec("UPDATE servers SET power_state = ? WHERE uuid = ? AND host IS NOT NULL AND task_state IS NULL", p, id)
}

// port changes or deletes a port of a server, whose host is to be told.
func (m *model) port() {
	if len(m.servers) == 0 {
		return
	}
	var ports []string
	m.must(m.c.db.Select(&ports, "SELECT uuid FROM ports WHERE device_id = ? AND nic >= 0 ORDER BY id", pick(m.rnd, m.servers)))
	if len(ports) == 0 {
		return
	}
	id := pick(m.rnd, ports)
	if m.chance(15) {
		m.note("port %s is deleted", id)
		m.c.neutron(http.StatusNoContent, ours+" admin", "DELETE", "/ports/"+id, "")
		return
	}
	body := pick(m.rnd, []string{`"allowed_address_pairs":[{"ip_address":"10.77.0.200"}]`, `"allowed_address_pairs":[]`, `"security_groups":[]`, `"name":"p"`})
	m.note("port %s gets %s", id, body)
	m.c.neutron(http.StatusOK, ours+" admin", "PUT", "/ports/"+id, `{"port":{`+body+`}}`)
}

func (m *model) create() {
	more := pick(m.rnd, []string{"", "", "", `,"min_count":1,"max_count":2`, `,"availability_zone":"nova:host-1"`, `,"host":"host-2","networks":"none"`, `,"metadata":{"a":"b"}`})
	flavor := pick(m.rnd, []string{"1", "1", "1", "2", "5"})
	who, version := ours+" member", "2.1"
	if strings.Contains(more, "host-") {
		who = ours + " admin"
	}
	if strings.Contains(more, `"host"`) {
		version = "2.74"
	}
	if len(m.servers) > 0 && m.chance(20) {
		more += fmt.Sprintf(`},"os:scheduler_hints":{%q:%q`, pick(m.rnd, []string{"same_host", "different_host"}), pick(m.rnd, m.servers))
	}
	body := fmt.Sprintf(`{"server":{"name":"m","imageRef":%q,"flavorRef":%q,"return_reservation_id":true%s}}`, m.c.image, flavor, more)
	m.asked++
	a := m.c.as(who, version, "POST", "/servers", body)
	m.note("create %s %s = %d %.200s", flavor, more, a.code, a.body)
	if a.code != 202 {
		if a.code != 403 { // a quota
			m.fail("create = %d", a.code)
		}
		return
	}
	var ids []string
	m.must(m.c.db.Select(&ids, "SELECT uuid FROM servers WHERE reservation_id = ? ORDER BY id", a.text("reservation_id")))
	if len(ids) == 0 {
		m.fail("create made nothing")
	}
	m.servers = append(m.servers, ids...)
}

// rule is what Nova allows: an action's name in messages, the states it is for, and what
// else it minds.
type rule struct {
	name    string
	from    string // vm_states; "" any
	tasks   string // allowed beside none; "*" all
	unborn  bool
	locked  bool // also on a locked server
	mute    bool // a lock's message names the action alone
	host    bool
	admin   bool // administrators alone
	codes   string
	version string
	bodies  []string // to choose from; the action's key alone where there is none
	method  string   // "" is an action
	path    string
}

var modelRules = map[string]rule{
	"delete":        {name: "delete", tasks: "*", unborn: true, codes: "204", method: "DELETE"},
	"forceDelete":   {name: "forceDelete", tasks: "*", unborn: true, codes: "202"},
	"restore":       {name: "restore", from: "soft-delete", mute: true},
	"os-start":      {name: "start", from: "stopped", host: true, codes: "202"},
	"os-stop":       {name: "stop", from: "active error", host: true, codes: "202"},
	"reboot-soft":   {name: "reboot", from: "active", codes: "202", bodies: []string{`{"reboot":{"type":"SOFT"}}`}},
	"reboot-hard":   {name: "reboot", from: "active stopped paused suspended error", tasks: "rebooting reboot_pending reboot_started rebooting_hard resuming unpausing pausing suspending", codes: "202", bodies: []string{`{"reboot":{"type":"HARD"}}`}},
	"pause":         {name: "pause", from: "active", codes: "202"},
	"unpause":       {name: "unpause", from: "paused", codes: "202"},
	"suspend":       {name: "suspend", from: "active", codes: "202"},
	"resume":        {name: "resume", from: "suspended", codes: "202"},
	"rebuild":       {name: "rebuild", from: "active stopped error", codes: "202", bodies: []string{`{"rebuild":{"imageRef":"IMAGE"}}`, `{"rebuild":{"imageRef":"IMAGE","name":"again","metadata":{"r":"1"}}}`}},
	"resize":        {name: "resize", from: "active stopped", host: true, codes: "202 400 403 409", bodies: []string{`{"resize":{"flavorRef":"1"}}`, `{"resize":{"flavorRef":"2"}}`, `{"resize":{"flavorRef":"3"}}`, `{"resize":{"flavorRef":"5"}}`}},
	"confirmResize": {name: "confirmResize", from: "resized", codes: "204 400"},
	"revertResize":  {name: "revertResize", from: "resized", codes: "202 400"},
	"createImage":   {name: "createImage", from: "active stopped paused suspended", locked: true, codes: "202", bodies: []string{`{"createImage":{"name":"snap"}}`}},
	"changePassword": {name: "changePassword", from: "active", mute: true, codes: "202",
		bodies: []string{`{"changePassword":{"adminPass":"secret"}}`}},
	"os-getConsoleOutput": {name: "get_console_output", tasks: "*", unborn: true, locked: true, host: true, codes: "200", bodies: []string{`{"os-getConsoleOutput":{"length":0}}`}},
	"os-resetState": {name: "resetState", tasks: "*", unborn: true, locked: true, admin: true, codes: "202",
		bodies: []string{`{"os-resetState":{"state":"active"}}`, `{"os-resetState":{"state":"error"}}`}},
	"lock":            {name: "lock", tasks: "*", unborn: true, locked: true, codes: "202"},
	"unlock":          {name: "unlock", tasks: "*", unborn: true, locked: true, codes: "202 403"},
	"update":          {name: "update", tasks: "*", unborn: true, locked: true, codes: "200", method: "PUT", bodies: []string{`{"server":{"name":"other"}}`, `{"server":{"accessIPv4":"192.0.2.1"}}`}},
	"update metadata": {name: "update metadata", from: "active paused suspended stopped", tasks: "*", codes: "200", method: "POST", path: "/metadata", bodies: []string{`{"metadata":{"a":"1"}}`, `{"metadata":{"a":"2","b":"3"}}`}},
	"delete metadata": {name: "delete metadata", from: "active paused suspended stopped", tasks: "*", codes: "204 404", method: "DELETE", path: "/metadata/a"},
	"update tag":      {name: "update tag", from: "active paused suspended stopped", tasks: "*", unborn: true, locked: true, codes: "201 204", version: "2.26", method: "PUT", path: "/tags/t"},
	"update tags":     {name: "update tags", from: "active paused suspended stopped", tasks: "*", unborn: true, locked: true, codes: "200", version: "2.26", method: "PUT", path: "/tags", bodies: []string{`{"tags":["t","u"]}`}},
	"delete tag":      {name: "delete tag", from: "active paused suspended stopped", tasks: "*", unborn: true, locked: true, codes: "204 404", version: "2.26", method: "DELETE", path: "/tags/t"},
	"delete tags":     {name: "delete tags", from: "active paused suspended stopped", tasks: "*", unborn: true, locked: true, codes: "204", version: "2.26", method: "DELETE", path: "/tags"},
}

var modelOps = func() []string {
	var ops []string
	for op := range modelRules {
		ops = append(ops, op)
	}
	// What leads far is asked for more often.
	ops = append(ops, "os-stop", "os-start", "createImage", "rebuild", "pause", "unpause", "suspend", "resume", "os-resetState")
	for range 4 {
		ops = append(ops, "resize", "confirmResize", "revertResize")
	}
	slices.Sort(ops)
	return ops
}()

// call is a request that has been chosen and not been sent.
type call struct{ op, id, who, version, method, path, body string }

func (m *model) choose(id string) call {
	op := pick(m.rnd, modelOps)
	r := modelRules[op]
	// One who asks for what the state forbids learns little: most are for what it allows.
	v := m.row(id)
	for v != nil && m.chance(90) && !r.allows(v) {
		op = pick(m.rnd, modelOps)
		r = modelRules[op]
	}
	if v != nil && v.VMState == lifecycle.Resized && m.chance(40) {
		op = pick(m.rnd, []string{"confirmResize", "revertResize"})
		r = modelRules[op]
	}
	k := call{op: op, id: id, who: ours + " member", version: "2.1", method: "POST", path: "/servers/" + id + "/action"}
	switch n := m.rnd.IntN(40); {
	case n == 0:
		k.who = ours + " reader"
	case n == 1:
		k.who = theirs + " member"
	case n < 6:
		k.who = ours + " admin"
	case n == 6:
		k.who = theirs + " admin"
	}
	if r.admin && m.chance(90) {
		k.who = ours + " admin"
	}
	if r.version != "" {
		k.version = r.version
	}
	if r.method != "" {
		k.method, k.path = r.method, "/servers/"+id+r.path
	} else {
		k.body = fmt.Sprintf("{%q:null}", op)
	}
	if len(r.bodies) > 0 {
		k.body = strings.ReplaceAll(pick(m.rnd, r.bodies), "IMAGE", m.c.image)
	}
	return k
}

// allows reports whether vm_state and task_state let the action pass.
func (r rule) allows(v *lifecycle.Server) bool {
	return (r.from == "" || slices.Contains(strings.Fields(r.from), string(v.VMState))) &&
		(v.Task() == "" || r.tasks == "*" || slices.Contains(strings.Fields(r.tasks), string(v.Task())))
}

func (m *model) row(id string) *lifecycle.Server {
	v, err := lifecycle.Get(context.Background(), m.c.db, id)
	m.must(err)
	return v
}

func (m *model) send(k call) answer { return m.c.as(k.who, k.version, k.method, k.path, k.body) }

func (m *model) request() {
	if len(m.servers) == 0 {
		return
	}
	k := m.choose(pick(m.rnd, m.servers))
	before := m.row(k.id)
	if before == nil {
		m.fail("server %s has no row", k.id)
		return
	}
	m.asked++
	a := m.send(k)
	m.note("%s of %s (%s, %s, locked %s) by %.4s %s = %d %.160s", k.op, k.id, before.VMState, before.Task(), text(before.LockedBy), k.who, k.who[33:], a.code, a.body)
	m.judge(k, before, a)
	if a.code < 300 && m.chance(45) { // a quick host
		for m.hostWorks(true) {
		}
		m.finish()
	}
}

// judge holds an answer against the table.
func (m *model) judge(k call, v *lifecycle.Server, a answer) {
	r := modelRules[k.op]
	admin := strings.HasSuffix(k.who, "admin")
	want, text := r.codes, ""
	conflict := func(attr, state string) {
		want, text = "409", fmt.Sprintf("Cannot '%s' instance %s while it is in %s %s", r.name, v.UUID, attr, state)
	}
	switch {
	case v.Deleted || strings.HasPrefix(k.who, theirs) && !admin:
		want = "404"
	case strings.HasSuffix(k.who, "reader") || r.admin && !admin:
		want = "403"
	case v.LockedBy != nil && !admin && !r.locked && r.mute:
		want, text = "409", fmt.Sprintf("Instance %s is in an invalid state for '%s'", v.UUID, r.name)
	case v.LockedBy != nil && !admin && !r.locked:
		want, text = "409", fmt.Sprintf("Instance %s is locked", v.UUID)
	case r.from != "" && !slices.Contains(strings.Fields(r.from), string(v.VMState)):
		conflict("vm_state", string(v.VMState))
	case v.Task() != "" && r.tasks != "*" && !slices.Contains(strings.Fields(r.tasks), string(v.Task())):
		conflict("task_state", string(v.Task()))
	case v.LaunchedAt == 0 && !r.unborn:
		conflict("launched_at", "None")
	case r.host && v.Host == nil:
		want, text = "409", fmt.Sprintf("Instance %s is not ready", v.UUID)
	}
	if !slices.Contains(strings.Fields(want), strconv.Itoa(a.code)) {
		m.fail("%s answered %d %s, want %s", k.op, a.code, a.body, want)
	}
	if said := a.text("conflictingRequest", "message"); text != "" && said != text {
		m.fail("%s said %q, want %q", k.op, said, text)
	}
	if text == "" && a.code == 409 && strings.Contains(a.body, "Cannot '") {
		m.fail("%s was refused for its state: %s", k.op, a.body)
	}
}

// together sends several requests for one server at once, while hosts and finisher work.
func (m *model) together() {
	if len(m.servers) == 0 {
		return
	}
	id := pick(m.rnd, m.servers)
	var calls []call
	for range 2 + m.rnd.IntN(2) {
		calls = append(calls, m.choose(id))
	}
	answers := make([]answer, len(calls))
	var wg sync.WaitGroup
	for i, k := range calls {
		wg.Add(1)
		go func() {
			defer wg.Done()
			answers[i] = m.send(k)
		}()
	}
	_, err := m.c.s.Life.FinishSome(context.Background())
	if err != nil {
		m.fail("finisher beside requests: %v", err)
	}
	wg.Wait()
	m.asked += int64(len(calls))
	for i, k := range calls {
		m.note("at once: %s of %s by %s = %d %.160s", k.op, k.id, k.who[33:], answers[i].code, answers[i].body)
		if c := answers[i].code; c >= 500 || c != 403 && c != 404 && c != 409 && !slices.Contains(strings.Fields(modelRules[k.op].codes), strconv.Itoa(c)) {
			m.fail("%s answered %d %s", k.op, c, answers[i].body)
		}
	}
}

type modelWork struct {
	ID         int64             `db:"id"`
	Host       string            `db:"host"`
	ServerUUID string            `db:"server_uuid"`
	Kind       work.Kind         `db:"kind"`
	Generation int64             `db:"generation"`
	State      work.State        `db:"state"`
	ImageID    string            `db:"image_id"`
	ClaimedBy  string            `db:"claimed_by"`
	VMState    lifecycle.VMState `db:"vm_state"`
}

// open lists what hosts that are up can work on: of each server the oldest piece.
func (m *model) open() []modelWork {
	var rows, out []modelWork
	m.must(m.c.db.Select(&rows, "SELECT id, host, server_uuid, kind, generation, state, image_id, claimed_by, vm_state FROM work WHERE state IN ('queued', 'running') ORDER BY id"))
	seen := map[string]bool{}
	for _, w := range rows {
		if m.up[w.Host] && !seen[w.Host+w.ServerUUID] {
			out = append(out, w)
		}
		seen[w.Host+w.ServerUUID] = true
	}
	return out
}

// hostWorks is one host doing one thing: it claims work, shows how far it is, or reports.
// In earnest it reports at once.
func (m *model) hostWorks(earnest bool) bool {
	rows := m.open()
	if len(rows) == 0 {
		return false
	}
	w := pick(m.rnd, rows)
	if w.State == work.Queued || w.ClaimedBy != m.daemon[w.Host] {
		m.exec("UPDATE work SET state = 'running', claimed_by = ?, attempts = attempts + 1 WHERE id = ? AND state IN ('queued', 'running')", m.daemon[w.Host], w.ID)
		m.note("%s takes %s of %s", w.Host, w.Kind, w.ServerUUID)
		if !earnest {
			return true
		}
	}
	v := m.row(w.ServerUUID)
	current := v != nil && !v.Deleted && (v.Generation == w.Generation || w.Kind == work.Replug) && v.HostName() == w.Host
	if !earnest && current && m.chance(30) {
		phase := phaseOf[w.Kind]
		if phase != "" {
			m.exec("UPDATE servers SET task_state = ? WHERE uuid = ? AND host = ? AND generation = ? AND task_state IS NOT NULL", phase, w.ServerUUID, w.Host, w.Generation)
			m.note("%s shows %s of %s", w.Host, phase, w.ServerUUID)
		}
		return true
	}
	state, res := m.carryOut(w, current)
	m.told[string(w.Kind)+" "+string(state)]++
	said := lifecycle.Encode(res)
	if !earnest && m.chance(2) {
		said = pick(m.rnd, []string{"{", `{"power_state":99}`, `{"message":` + strings.Repeat("x", 70_000) + `"}`, ""})
	}
	m.exec("UPDATE work SET state = ?, result = ?, finished_at = 1 WHERE id = ? AND claimed_by = ? AND state = 'running'", state, said, w.ID, m.daemon[w.Host])
	m.note("%s says %s of %s is %s %.60s", w.Host, w.Kind, w.ServerUUID, state, said)
	return true
}

var phaseOf = map[work.Kind]string{work.Spawn: "networking", work.SoftReboot: "reboot_started", work.HardReboot: "reboot_started_hard",
	work.Rebuild: "rebuild_spawning", work.ResizePrep: "resize_migrating", work.Snapshot: "image_uploading"}

// carryOut is what becomes of the guest, and what the host reports of it.
func (m *model) carryOut(w modelWork, current bool) (work.State, work.Result) {
	id := w.ServerUUID
	_, there := m.guests[id]
	switch {
	case w.Kind == work.Delete && m.chance(92):
		delete(m.guests, id)
		return work.Done, work.Result{}
	case !current:
		if w.Kind == work.Spawn {
			delete(m.guests, id)
		}
		return work.Failed, work.Result{Message: "Another operation came first.", PowerState: m.guests[id]}
	case !there && w.Kind != work.Spawn && w.Kind != work.Rebuild:
		return work.Failed, work.Result{Message: "There is no such guest.", Reason: work.ReasonNoInstance}
	case m.chance(12):
		if w.Kind == work.Spawn {
			delete(m.guests, id)
		}
		return work.Failed, work.Result{Message: "No.", Detail: "because", PowerState: m.guests[id], Retry: w.Kind == work.Spawn && m.chance(80)}
	}
	switch w.Kind {
	case work.Stop, work.Suspend:
		m.guests[id] = work.Shutdown
	case work.Pause:
		m.guests[id] = work.Paused
	case work.Spawn, work.Start, work.SoftReboot, work.HardReboot, work.Unpause, work.Resume:
		m.guests[id] = work.PoweredOn
	case work.Rebuild:
		m.guests[id] = work.PoweredOn
		if w.VMState == lifecycle.Stopped {
			m.guests[id] = work.Shutdown
		}
	case work.Snapshot:
		if m.chance(80) { // else it says so, and nothing came
			m.exec("UPDATE images SET status = 'active', checksum = 'c', hash_value = 'h', size = 0 WHERE uuid = ? AND status = 'queued' AND deleted_at = 0", w.ImageID)
		}
	}
	return work.Done, work.Result{PowerState: m.guests[id]}
}

// rest lets everything come to its end: hosts come back and finish, or never do, until
// their deadlines pass.
func (m *model) rest() {
	if m.chance(30) {
		m.note("nobody works any more, and the deadlines pass")
		for range 4 { // a keeper's own work has a deadline too
			m.pass(2 * time.Hour)
			m.must(m.c.s.Life.KeepOnce(context.Background()))
			m.finish()
		}
	}
	for name := range m.up {
		m.up[name] = true
	}
	m.beat()
	for range 200 {
		for m.hostWorks(true) {
		}
		m.finish()
		m.pass(time.Second)
		m.must(m.c.s.Life.KeepOnce(context.Background()))
		if m.broken || m.count("SELECT COUNT(*) FROM work") == 0 {
			return
		}
	}
	m.fail("work never ends")
}

func (m *model) count(stmt string, args ...any) int {
	m.t.Helper()
	var n int
	m.must(m.c.db.Get(&n, stmt, args...))
	return n
}

// even checks that no server is in the middle of anything and that the books are even.
func (m *model) even(when string) {
	none := func(what, stmt string, args ...any) {
		if n := m.count("SELECT COUNT(*) FROM "+stmt, args...); n != 0 {
			m.fail("%s: %d %s", when, n, what)
		}
	}
	none("pieces of work", "work")
	none("servers with a task", "servers WHERE deleted = 0 AND task_state IS NOT NULL")
	none("servers in no final state", "servers WHERE deleted = 0 AND vm_state NOT IN ('active', 'stopped', 'paused', 'suspended', 'resized', 'error')")
	none("servers that remember an operation", "servers WHERE migration_id IS NOT NULL AND vm_state <> 'resized'")
	none("servers that forgot their resize", "servers WHERE deleted = 0 AND migration_id IS NULL AND vm_state = 'resized'")
	none("migrations in no final status", "migrations WHERE status NOT IN ('finished', 'confirmed', 'reverted', 'error')")
	none("resizes that no server waits for", "migrations m WHERE m.status = 'finished' AND NOT EXISTS (SELECT 1 FROM servers s WHERE s.migration_id = m.id AND s.vm_state = 'resized')")
	none("claims of no server on that host", "claims c WHERE NOT EXISTS (SELECT 1 FROM servers s WHERE s.uuid = c.server_uuid AND s.host = c.host AND s.deleted = 0)")
	none("servers on a host without one claim to be there", "servers s WHERE deleted = 0 AND host IS NOT NULL AND (SELECT COUNT(*) FROM claims c WHERE c.server_uuid = s.uuid AND c.host = s.host AND c.purpose = 'server') <> 1")
	none("claims of a resize that is over", "claims c WHERE c.purpose = 'resize' AND NOT EXISTS (SELECT 1 FROM servers s WHERE s.uuid = c.server_uuid AND s.migration_id IS NOT NULL)")
	none("events that never ended", "instance_events WHERE finish_time = 0 OR result IS NULL")
	none("failed events of actions that look well", "instance_events e JOIN instance_actions a ON a.id = e.action_id WHERE e.result = 'Error' AND a.message IS NULL")
	none("images that stay queued", "images WHERE deleted_at = 0 AND status <> 'active'")
	none("ports of servers that are gone", "ports p WHERE p.device_id <> '' AND p.nic >= 0 AND NOT EXISTS (SELECT 1 FROM servers s WHERE s.uuid = p.device_id AND s.deleted = 0)")
	none("projects whose ports are miscounted", "network_usage u WHERE u.resource = 'port' AND u.used <> (SELECT COUNT(*) FROM ports p WHERE p.project_id = u.project_id)")
	none("projects whose images are miscounted", "image_usage u WHERE u.images <> (SELECT COUNT(*) FROM images i WHERE i.owner = u.project_id AND i.deleted_at = 0)")
	totals, err := lifecycle.Total(context.Background(), m.c.db)
	m.must(err)
	if err != nil {
		return
	}
	m.must(quotas.Audit(context.Background(), m.c.db, func(p string) quotas.Delta { return totals.Projects[p] }))
	list, err := m.c.hosts.List(context.Background())
	m.must(err)
	for _, h := range list {
		want := totals.Hosts[h.Name]
		if h.VCPUsUsed != want.VCPUs || h.MemoryMBUsed != want.MemoryMB || h.DiskGBUsed != want.DiskGB || h.Servers != totals.Claims[h.Name] {
			m.fail("%s: host %s has %d vcpus, %d MiB, %d GiB for %d servers on record; they hold %+v for %d",
				when, h.Name, h.VCPUsUsed, h.MemoryMBUsed, h.DiskGBUsed, h.Servers, want, totals.Claims[h.Name])
		}
	}
}

// clear deletes what the sequence made, and checks that nothing is left of it.
func (m *model) clear() {
	if m.broken {
		return
	}
	for _, id := range m.servers {
		if v := m.row(id); v != nil && !v.Deleted {
			a := m.c.as(ours+" admin", "2.1", "DELETE", "/servers/"+id, "")
			m.note("delete %s = %d", id, a.code)
			if a.code != 204 {
				m.fail("delete at the end = %d %s", a.code, a.body)
			}
		}
	}
	for range 20 { // a delete may fail; it is asked for again
		m.rest()
		var ids []string
		m.must(m.c.db.Select(&ids, "SELECT uuid FROM servers WHERE deleted = 0"))
		if len(ids) == 0 || m.broken {
			break
		}
		for _, id := range ids {
			m.c.as(ours+" admin", "2.1", "DELETE", "/servers/"+id, "")
		}
	}
	m.even("when all is deleted")
	if n := m.count("SELECT COUNT(*) FROM servers WHERE deleted = 0"); n != 0 {
		m.fail("%d servers cannot be deleted", n)
	}
	if n := m.count("SELECT COUNT(*) FROM hosts WHERE vcpus_used <> 0 OR memory_mb_used <> 0 OR disk_gb_used <> 0 OR servers <> 0"); n != 0 {
		m.fail("%d hosts hold something for nobody", n)
	}
	m.exec("DELETE FROM instance_events")
	m.exec("DELETE FROM instance_actions")
	m.exec("DELETE FROM server_tags")
	m.exec("DELETE FROM servers")
	m.exec("DELETE FROM image_properties WHERE image_id IN (SELECT id FROM images WHERE uuid <> ?)", m.c.image)
	m.exec("DELETE FROM images WHERE uuid <> ?", m.c.image)
	m.exec("UPDATE image_usage SET images = (SELECT COUNT(*) FROM images i WHERE i.owner = image_usage.project_id)")
}
