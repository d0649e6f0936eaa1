package servers

import (
	"context"
	"errors"
	"fmt"
	"net/http/httptest"
	"runtime"
	"strings"
	"testing"
	"time"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

func (c *cloud) noQuota(project string) {
	c.t.Helper()
	for _, r := range []string{"instances", "cores", "ram"} {
		c.exec("INSERT INTO quota_limits (project_id, user_id, resource, hard_limit) VALUES (?, '', ?, -1)", project, r)
	}
}

// A create of many is pieces behind one request: all of them are there, each with its number,
// and what they hold is on record at every moment.
func TestCreatesOfMany(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.noQuota(ours)
		n := 3*lifecycle.PieceSize + 2
		a := c.want(202, "POST", "/servers", c.createBody("many", fmt.Sprintf(`,"min_count":%d`, n)))
		if n := strings.Count(a.body, `"id"`); n != 1 {
			t.Errorf("the answer shows %d servers", n)
		}
		c.audit()
		if got := c.count("SELECT COUNT(DISTINCT name) FROM servers WHERE name LIKE 'many-%'"); got != n || c.count("SELECT COUNT(*) FROM server_batches") != 0 {
			t.Errorf("%d servers of %d", got, n)
		}
		if got := c.count("SELECT COUNT(DISTINCT launch_index) FROM servers WHERE launch_index < ?", n); got != n {
			t.Errorf("%d numbers of %d", got, n)
		}
		c.settle()
		// A quota that holds fewer refuses all or gives what fits.
		c.exec("UPDATE quota_limits SET hard_limit = ? WHERE resource = 'instances'", n+lifecycle.PieceSize+5)
		c.want(403, "POST", "/servers", c.createBody("more", fmt.Sprintf(`,"min_count":%d`, 2*lifecycle.PieceSize)))
		c.want(202, "POST", "/servers", c.createBody("more", fmt.Sprintf(`,"min_count":1,"max_count":%d`, 4*lifecycle.PieceSize)))
		if got := c.count("SELECT COUNT(*) FROM servers WHERE name LIKE 'more-%'"); got != lifecycle.PieceSize+5 {
			t.Errorf("%d servers where %d fit", got, lifecycle.PieceSize+5)
		}
		c.settle()
	})
}

// TestCreatesOfManyFailWhole: a create that fails between its pieces leaves nothing.
func TestCreatesOfManyFailWhole(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.noQuota(ours)
		// The ports of half of them are taken after the plan has found room for all.
		c.exec("INSERT INTO network_quotas (project_id, resource, allowed) VALUES (?, 'port', ?)", ours, 2*lifecycle.PieceSize+5)
		s := c.s
		p := c.planFor("half", 3*lifecycle.PieceSize)
		_, err := s.Life.Launch(context.Background(), p.launch())
		var f *compat.Fault
		if !errors.As(err, &f) || f.Code != 403 {
			t.Fatalf("a create beyond the ports: %v", err)
		}
		c.settle()
		if n := c.count("SELECT COUNT(*) FROM servers WHERE deleted = 0"); n != 0 || c.count("SELECT COUNT(*) FROM server_batches") != 0 || c.count("SELECT COUNT(*) FROM ports WHERE device_id <> ''") != 0 {
			t.Errorf("%d servers are left", n)
		}
		c.audit()

		// Before it begins the number is what the ports allow, as in Nova.
		c.want(403, "POST", "/servers", c.createBody("ports", fmt.Sprintf(`,"min_count":%d`, 3*lifecycle.PieceSize)))
	})
}

// planFor is a good create request for n servers, whatever the quota of ports says.
func (c *cloud) planFor(name string, n int) *plan {
	c.t.Helper()
	r := httptest.NewRequest("POST", "/v2.1/servers", strings.NewReader(""))
	caller := &compat.Caller{UserID: "user-of-" + ours[:4], ProjectID: ours, Roles: []string{"member", "reader"}}
	flavor, image := c.flavor, c.image
	count := compat.Int(1)
	req := &compat.Request{Request: r, Caller: caller, Version: compat.MinVersion}
	p, err := c.s.plan(req, &createBody{Server: createServer{Name: name, FlavorRef: reference(flavor), ImageRef: &image, MinCount: &count}})
	if err != nil {
		c.t.Fatal(err)
	}
	p.min, p.max = n, n
	return p
}

// TestCreatesOfManyKeepNobodyOut: while one project makes thousands of servers another's
// writes wait for a piece at most, and memory does not grow with the number.
func TestCreatesOfManyKeepNobodyOut(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.noQuota(ours)
		id := c.as(theirs+" member", "2.37", "POST", "/servers", c.createBody("other", `,"networks":"none"`)).text("server", "id")
		c.settle()
		const many = 1200
		done := make(chan int, 1)
		go func() {
			done <- c.as(ours+" member", "2.37", "POST", "/servers", c.createBody("many", fmt.Sprintf(`,"networks":"none","min_count":%d`, many))).code
		}()
		var waits []time.Duration
		var before, most runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&before)
		for code := 0; code == 0; {
			select {
			case code = <-done:
				if code != 202 {
					t.Errorf("the create of many = %d", code)
				}
			default:
				start := time.Now()
				a := c.as(theirs+" member", "2.1", "PUT", "/servers/"+id+"/metadata/k", `{"meta":{"k":"v"}}`)
				if a.code != 200 {
					t.Fatalf("another project's write = %d %s", a.code, a.body)
				}
				waits = append(waits, time.Since(start))
				time.Sleep(5 * time.Millisecond)
			}
		}
		runtime.GC()
		runtime.ReadMemStats(&most)
		var longest, sum time.Duration
		for _, w := range waits {
			longest, sum = max(longest, w), sum+w
		}
		grown := int64(most.HeapAlloc) - int64(before.HeapAlloc)
		t.Logf("%d writes beside %d servers: mean %v, longest %v; %d KiB of memory more", len(waits), many, sum/time.Duration(len(waits)), longest, grown/1024)
		if len(waits) < 5 || sum/time.Duration(len(waits)) > 100*time.Millisecond {
			t.Errorf("%d writes of another project in all, of %v each", len(waits), sum/time.Duration(len(waits)))
		}
		if grown > 16<<20 {
			t.Errorf("memory grew by %d KiB", grown/1024)
		}
		c.exec("UPDATE work SET state = 'gone'") // what is queued is not the subject
		c.exec("DELETE FROM work")
	})
}
