package lifecycle

import (
	"context"
	"fmt"
	"testing"
	"time"

	"kilonova/compat"
	"kilonova/hosts"
	"kilonova/networks"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/secrets"
	"kilonova/work"
)

// The project of the tests, and a user of it.
const ours = "11111111111111111111111111111111"

var member = &compat.Caller{UserID: "user-of-1111", ProjectID: ours, Roles: []string{"member", "reader"}}

// cloud is the life cycle with what it stands on, and hosts that do what they are told when
// the test says so. No request comes into it.
type cloud struct {
	t      *testing.T
	db     *schema.DB
	s      *Service
	net    *networks.Service
	hosts  *hosts.Service
	quotas *quotas.Service
}

// each runs a test on a new cloud on SQLite and, where there is one, on MariaDB.
func each(t *testing.T, fn func(t *testing.T, c *cloud)) {
	t.Helper()
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		c := newCloud(t, db)
		fn(t, c)
		c.audit()
	})
}

func newCloud(t *testing.T, db *schema.DB) *cloud {
	t.Helper()
	ctx := context.Background()
	c := &cloud{t: t, db: db, hosts: hosts.New(db, nil), quotas: quotas.New(db, nil)}
	var err error
	c.net, err = networks.New(networks.Config{DB: db, Owner: ours})
	c.must(err)
	c.must(c.net.Bootstrap(ctx))
	key, err := secrets.Random().Host("every host")
	c.must(err)
	for i := range 2 {
		c.must(c.hosts.Add(ctx, fmt.Sprintf("host-%d", i+1), work.HostInfo{VCPUs: 16, MemoryMB: 32768, DiskGB: 500, Arch: "x86_64"}))
	}
	c.exec("UPDATE hosts SET last_seen = ?, public_key = ?", schema.MicrosOf(time.Now().Add(time.Hour)), key.Public())
	c.s = New(Config{DB: db, Bell: work.NewBells(), Networks: c.net, Quotas: c.quotas, Hosts: c.hosts})
	c.net.PortsChanged = c.s.PortsChanged
	return c
}

func (c *cloud) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *cloud) exec(stmt string, args ...any) {
	c.t.Helper()
	_, err := c.db.Exec(stmt, args...)
	c.must(err)
}

func (c *cloud) count(stmt string, args ...any) int {
	c.t.Helper()
	var n int
	c.must(c.db.Get(&n, stmt, args...))
	return n
}

// noQuota lifts the limits on servers.
func (c *cloud) noQuota() {
	c.t.Helper()
	for _, r := range []string{"instances", "cores", "ram"} {
		c.exec("INSERT INTO quota_limits (project_id, user_id, resource, hard_limit) VALUES (?, '', ?, -1)", ours, r)
	}
}

// wanted is a good request for n servers, each with a port.
func (c *cloud) wanted(name string, n int) *Launch {
	c.t.Helper()
	nets, err := c.net.Plan(c.t.Context(), member, networks.Requested{Mode: "default"}, nil, 1)
	c.must(err)
	return &Launch{Caller: member, Nets: nets, Min: n, Max: n, AdminPass: "secret", Template: &Server{
		ProjectID: ours, UserID: member.UserID, Name: name, FlavorID: "1", FlavorName: "m1.tiny", VCPUs: 1, MemoryMB: 512, RootGB: 1,
		ExtraSpecs: "{}", ImageMeta: "{}", Metadata: "{}", DiskConfig: "MANUAL", SecurityGroups: `["default"]`, SchedulerHints: "{}"}}
}

// server reads a server that is there.
func (c *cloud) server(id string) *Server {
	c.t.Helper()
	v, err := Get(c.t.Context(), c.db, id)
	c.must(err)
	if v == nil {
		c.t.Fatalf("server %s is gone", id)
	}
	return v
}

// settle is the hosts doing all queued work well, until nothing is left.
func (c *cloud) settle() {
	c.t.Helper()
	for range 50 {
		c.exec("UPDATE work SET state = 'done', finished_at = 1, result = CASE kind WHEN 'delete' THEN ? ELSE ? END WHERE state = 'queued'",
			Encode(work.Result{PowerState: work.NoState}), Encode(work.Result{PowerState: work.PoweredOn}))
		n, err := c.s.FinishSome(c.t.Context())
		c.must(err)
		if n == 0 {
			return
		}
	}
	c.t.Fatal("work never ends")
}

// audit compares what hosts and the project have on record with what the servers hold.
func (c *cloud) audit() {
	c.t.Helper()
	ctx := context.Background()
	want, err := Total(ctx, c.db)
	c.must(err)
	list, err := c.hosts.List(ctx)
	c.must(err)
	claimed, err := hosts.AllClaimed(ctx, c.db)
	c.must(err)
	for _, h := range list {
		have := hosts.Need{VCPUs: h.VCPUsUsed, MemoryMB: h.MemoryMBUsed, DiskGB: h.DiskGBUsed}
		if rows := claimed[h.Name]; rows.Need != want.Hosts[h.Name] || have != want.Hosts[h.Name] || h.Servers != want.Claims[h.Name] {
			c.t.Errorf("host %s has %+v and claims of %+v for %d servers; they hold %+v for %d", h.Name, have, rows, h.Servers, want.Hosts[h.Name], want.Claims[h.Name])
		}
	}
	used, err := c.quotas.Usage(ctx, ours)
	if err != nil || used != want.Projects[ours] {
		c.t.Errorf("the project has %+v on record (%v); its servers use %+v", used, err, want.Projects[ours])
	}
}
