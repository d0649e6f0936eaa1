package servers

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

// poisonReports are what a broken or stolen host may leave in its rows.
var poisonReports = []string{
	`{"power_state": 99999999999}`, `{"power_state": -1}`, `{"power_state": 2}`, `{"power_state": 1e400}`, `{"power_state": NaN}`,
	``, `{`, `[]`, `null"`, "\x01", strings.Repeat("[", 20000), `{"detail":"` + strings.Repeat("x", work.MaxReport) + `"}`,
	`{"reason":"none of ours"}`, `{"message":{"a":1}}`,
}

// report makes the host say something of all work that it has.
func (c *cloud) report(raw string) {
	c.t.Helper()
	_, err := c.db.Exec("UPDATE work SET state = 'done', result = ? WHERE state = 'queued'", raw)
	if err != nil {
		c.t.Fatal(err)
	}
}

// TestPoisonReportsFail: each report that cannot be applied is a failure of its own work, at
// once, and the reports behind it are applied in the same round.
func TestPoisonReportsFail(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		c := newCloud(t, db)
		want := map[string]string{}
		for i, raw := range poisonReports {
			id := c.boot(fmt.Sprintf("poison-%d", i))
			c.act(202, id, `{"os-stop":null}`)
			c.report(raw)
			want[id] = "ERROR"
			if i%2 == 0 { // its work ends, whatever it was
				c.as(ours+" admin", "2.1", "DELETE", "/servers/"+id, "")
				want[id] = ""
			}
		}
		good := c.boot("good")
		c.act(202, good, `{"os-stop":null}`)
		c.report(`{"power_state": 4}`)
		_, err := c.s.Life.FinishSome(context.Background())
		if err != nil {
			t.Error(err)
		}
		var left int
		err = db.Get(&left, "SELECT COUNT(*) FROM work WHERE state IN ('done', 'failed')")
		if err != nil || left > 0 {
			t.Errorf("%d reports are still there (%v)", left, err)
		}
		c.is(good, "SHUTOFF")
		c.settle()
		for id, status := range want {
			if status == "ERROR" {
				a := c.is(id, status)
				if m := a.text("server", "fault", "message"); m != "The compute host's report could not be applied." {
					t.Errorf("fault %q", m)
				}
			}
		}
		c.audit()
	})
}

// TestPoisonServersStopNobody: servers that cannot be changed at all, more than a page of
// them, stop neither the finisher nor the keeper.
func TestPoisonServersStopNobody(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		c := newCloud(t, db)
		c.exec("UPDATE hosts SET cpu_ratio = 1000, ram_ratio = 1000, disk_ratio = 1000")
		c.hosts.Forget()
		for _, resource := range []string{"instances", "cores", "ram"} {
			c.exec("INSERT INTO quota_limits (project_id, user_id, resource, hard_limit) VALUES (?, '', ?, -1)", ours, resource)
		}
		const poison = schema.PageSize + 3
		for i := range poison {
			a := c.as(ours+" member", "2.37", "POST", "/servers", c.createBody(fmt.Sprintf("poison-%d", i), `,"networks":"none"`))
			if a.code != 202 {
				t.Fatal(a.body)
			}
		}
		c.settle()
		good := c.boot("good")
		c.exec("UPDATE servers SET power_state = 4")
		when := map[schema.Dialect]string{
			schema.SQLite: `CREATE TRIGGER poison BEFORE UPDATE ON servers WHEN OLD.name LIKE 'poison%' BEGIN SELECT RAISE(ABORT, 'poison'); END`,
			schema.MySQL: `CREATE TRIGGER poison BEFORE UPDATE ON servers FOR EACH ROW BEGIN
				IF OLD.name LIKE 'poison%' THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'poison'; END IF; END`,
		}
		c.exec(when[db.Dialect])
		err := c.s.Life.KeepOnce(context.Background())
		if err == nil || !strings.Contains(err.Error(), "poison") {
			t.Errorf("the keeper says %v", err)
		}
		c.is(good, "SHUTOFF")
		for range 2 { // reports that cannot be ended in any way stay, and stop nobody
			c.exec(`INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state, result)
				SELECT 'host-1', id, uuid, 'stop', '{}', generation, 1, 1, 'done', '{"power_state": 4}' FROM servers`)
		}
		n, err := c.s.Life.FinishSome(context.Background())
		if err == nil || n != 2 {
			t.Errorf("%d reports applied, want 2: %.200v", n, err)
		}
		err = c.s.Life.KeepOnce(context.Background())
		if err == nil || len(err.Error()) > 4096 {
			t.Errorf("the keeper says %.300v", err)
		}
	})
}
