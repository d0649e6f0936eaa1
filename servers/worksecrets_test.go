package servers

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"kilonova/images"
	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// everything gives all that a database holds, as text.
func everything(t *testing.T, db *schema.DB) string {
	t.Helper()
	list := "SELECT name FROM sqlite_master WHERE type = 'table'"
	if db.Dialect == schema.MySQL {
		list = "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_type = 'BASE TABLE'"
	}
	var tables []string
	err := db.Select(&tables, list)
	if err != nil || len(tables) < 20 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	var out strings.Builder
	for _, table := range tables {
		rows, err := db.Queryx("SELECT * FROM " + table)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			row, err := rows.SliceScan()
			if err != nil {
				t.Fatal(err)
			}
			for _, v := range row {
				if raw, ok := v.([]byte); ok {
					v = string(raw)
				}
				fmt.Fprintf(&out, "%s: %v\n", table, v)
			}
		}
		if rows.Err() != nil {
			t.Fatal(rows.Err())
		}
		rows.Close()
	}
	return out.String()
}

type workRow struct {
	ID         int64   `db:"id"`
	Host       string  `db:"host"`
	Args       string  `db:"args"`
	Secret     *string `db:"secret"`
	Kept       *string `db:"kept"`
	Generation int64   `db:"generation"`
}

// newest gives the last piece of work of a server, and its secrets as its host reads them.
func (c *cloud) newest(server string) (workRow, work.Secrets) {
	c.t.Helper()
	var row workRow
	err := c.db.Get(&row, "SELECT id, host, args, secret, kept, generation FROM work WHERE server_uuid = ? ORDER BY id DESC LIMIT 1", server)
	if err != nil {
		c.t.Fatal(err)
	}
	var s work.Secrets
	if row.Secret == nil {
		return row, s
	}
	plain, err := testHostKey.Open(work.SecretsLabel(server, row.Generation), *row.Secret)
	if err == nil {
		err = json.Unmarshal(plain, &s)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return row, s
}

// What only a host may know is nowhere in the database in a readable form, and its host reads
// it all the same.
func TestNoSecretIsReadableInTheDatabase(t *testing.T) {
	const password = "Tops3cret-password"
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("x")
		named := func(purpose string, s work.Secrets) string {
			row, _ := c.newest(id)
			return fmt.Sprintf("%s%s %s %d", purpose, c.image, id, row.Generation)
		}
		for _, tt := range []struct {
			name, body string
			code       int
			want       func(work.Secrets) bool
		}{
			{"create", "", 202, func(s work.Secrets) bool {
				return s.AdminPass == password && s.ReadTicket == named("image-read", s) && s.Password == "" && s.WriteTicket == ""
			}},
			{"rebuild", `{"rebuild":{"imageRef":"` + c.image + `","adminPass":"` + password + `"}}`, 202,
				func(s work.Secrets) bool { return s.AdminPass == password && s.ReadTicket == named("image-read", s) }},
			{"change of the password", `{"changePassword":{"adminPass":"` + password + `"}}`, 202, func(s work.Secrets) bool { return s == work.Secrets{Password: password} }},
			{"snapshot", `{"createImage":{"name":"` + "s" + `"}}`, 202, func(s work.Secrets) bool { return strings.HasPrefix(s.WriteTicket, "image-write") && s.AdminPass == "" }},
			{"stop", `{"os-stop":null}`, 202, func(s work.Secrets) bool { return s == work.Secrets{} }},
		} {
			if tt.name == "create" {
				id = c.want(202, "POST", "/servers", c.createBody("x", `,"adminPass":"`+password+`"`)).text("server", "id")
			} else {
				c.act(tt.code, id, tt.body)
			}
			row, got := c.newest(id)
			if !tt.want(got) || (row.Secret == nil) != (got == work.Secrets{}) {
				t.Errorf("%s: the host reads %+v", tt.name, got)
			}
			if (row.Kept == nil) == (got.AdminPass != "") {
				t.Errorf("%s: kept for another host: %v", tt.name, row.Kept != nil)
			}
			all := everything(t, c.db)
			for _, secret := range []string{password, "image-read", "image-write"} {
				if at := strings.Index(all, secret); at >= 0 {
					t.Errorf("%s: a secret is readable: %.300s", tt.name, all[max(0, at-150):])
				}
			}
			// With the host's report they go, in the very statement.
			ctx := context.Background()
			now := schema.MicrosOf(time.Now())
			_, err := c.db.Tell(ctx, schema.TellClaim, row.Host, now, "me", 1, row.ID, "")
			var ok bool
			if err == nil {
				ok, err = c.db.Tell(ctx, schema.TellFinish, row.Host, now, work.Done, work.Result{PowerState: work.PoweredOn}.Encode(work.Spawn), row.ID, "me")
			}
			if err != nil || !ok {
				t.Fatalf("%s: report: %v, %v", tt.name, ok, err)
			}
			if left, _ := c.newest(id); left.Secret != nil {
				t.Errorf("%s: a finished piece of work has its secrets", tt.name)
			}
			c.settle()
			if n := c.count("SELECT COUNT(*) FROM work"); n != 0 {
				t.Errorf("%s: %d rows are left", tt.name, n)
			}
		}
	})
}

// A server that is tried on another host has the password there that its user was told.
func TestThePasswordGoesToTheNextHost(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.want(202, "POST", "/servers", c.createBody("x", ""))
		id, told := a.text("server", "id"), a.text("server", "adminPass")
		first, s := c.newest(id)
		if told == "" || s.AdminPass != told {
			t.Fatalf("told %q, the host reads %q", told, s.AdminPass)
		}
		fail := func(id int64) {
			c.exec("UPDATE work SET state = 'failed', secret = NULL, result = ? WHERE id = ?", lifecycle.Encode(work.Result{Retry: true}), id)
			_, err := c.s.Life.FinishSome(context.Background())
			if err != nil {
				t.Fatal(err)
			}
		}
		fail(first.ID)
		second, again := c.newest(id)
		if second.ID == first.ID || second.Host == first.Host || second.Generation == first.Generation {
			t.Fatalf("tried again as %+v", second)
		}
		if again.AdminPass != told || again.ReadTicket == s.ReadTicket || again.ReadTicket == "" {
			t.Errorf("the next host reads %+v, the first %+v", again, s)
		}
		// What cannot be opened costs the password alone.
		c.exec("UPDATE work SET kept = ? WHERE id = ?", secrets.Random().Keep("x", []byte("y")), second.ID)
		c.exec("UPDATE servers SET tried_hosts = '[]'")
		fail(second.ID)
		third, lost := c.newest(id)
		if third.ID == second.ID || lost.AdminPass != "" || lost.ReadTicket == "" {
			t.Errorf("with another key: %+v, %+v", third, lost)
		}
		c.settle()
		c.is(id, "ACTIVE")
	})
}

// A ticket is good while its host is at the job, and its server wants it.
func TestTicketsEndWithTheJobAndTheServer(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.exec("INSERT INTO quota_limits (project_id, user_id, resource, hard_limit) VALUES (?, '', 'instances', -1)", ours)
		for name, tt := range map[string]struct {
			end  func(id string, w workRow)
			runs bool
		}{
			"at it":                 {func(string, workRow) {}, true},
			"locked meanwhile":      {func(id string, _ workRow) { c.act(202, id, `{"lock":null}`) }, true},
			"not begun":             {func(_ string, w workRow) { c.exec("UPDATE work SET state = 'queued' WHERE id = ?", w.ID) }, false},
			"done":                  {func(_ string, w workRow) { c.exec("UPDATE work SET state = 'done' WHERE id = ?", w.ID) }, false},
			"failed":                {func(_ string, w workRow) { c.exec("UPDATE work SET state = 'failed' WHERE id = ?", w.ID) }, false},
			"applied":               {func(_ string, w workRow) { c.exec("DELETE FROM work WHERE id = ?", w.ID) }, false},
			"past its deadline":     {func(_ string, w workRow) { c.exec("UPDATE work SET deadline = 1 WHERE id = ?", w.ID) }, false},
			"the server is reset":   {func(id string, _ workRow) { c.reset(id, "active") }, false},
			"the server is deleted": {func(id string, _ workRow) { c.want(204, "DELETE", "/servers/"+id, "") }, false},
			"deleted, its host is down": {func(id string, _ workRow) {
				c.exec("UPDATE hosts SET forced_down = 1")
				c.hosts.Forget()
				c.want(204, "DELETE", "/servers/"+id, "")
				c.exec("UPDATE hosts SET forced_down = 0")
				c.hosts.Forget()
			}, false},
		} {
			id := c.want(202, "POST", "/servers", c.createBody("x", "")).text("server", "id")
			w, _ := c.newest(id)
			c.exec("UPDATE work SET state = 'running', claimed_by = 'me' WHERE id = ?", w.ID)
			tt.end(id, w)
			runs, err := c.s.Life.Runs(context.Background(), images.Job{Server: id, Generation: w.Generation})
			if err != nil || runs != tt.runs {
				t.Errorf("%s: %v, %v", name, runs, err)
			}
			for _, j := range []images.Job{{Server: id, Generation: w.Generation + 1}, {Server: id}, {Server: "x", Generation: w.Generation}, {}} {
				runs, err := c.s.Life.Runs(context.Background(), j)
				if err != nil || runs {
					t.Errorf("%s: %+v runs (%v)", name, j, err)
				}
			}
			c.exec("DELETE FROM work")
		}
	})
}

// Nothing secret is given to a host whose daemon has told no key, and nothing else fails for it.
func TestAHostWithoutAKey(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("x")
		c.exec("UPDATE hosts SET public_key = ''")
		c.hosts.Forget()
		for _, zone := range []string{"", `,"availability_zone":"nova:host-1"`} {
			made := c.as(ours+" admin", "2.1", "POST", "/servers", c.createBody("y", zone)).text("server", "id")
			c.settle()
			if a := c.is(made, "ERROR"); !strings.Contains(a.body, "No valid host") {
				t.Errorf("%q: %s", zone, a.body)
			}
		}
		for _, body := range []string{`{"changePassword":{"adminPass":"x"}}`, `{"createImage":{"name":"x"}}`, `{"rebuild":{"imageRef":"` + c.image + `"}}`} {
			c.act(409, id, body)
		}
		if n := c.count("SELECT COUNT(*) FROM work") + c.count("SELECT COUNT(*) FROM images WHERE name = 'x' AND deleted_at = 0"); n != 0 {
			t.Errorf("%d things are left of what was refused", n)
		}
		c.act(202, id, `{"os-stop":null}`)
		c.settle()
		c.is(id, "SHUTOFF")
	})
}

// What an earlier release queued with its secrets among the rest goes on, with tickets that
// are good now.
func TestWorkOfAnEarlierRelease(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ids := map[string]string{}
		for _, state := range []string{"queued", "running", "done"} {
			id := c.want(202, "POST", "/servers", c.createBody(state, "")).text("server", "id")
			row, s := c.newest(id)
			var args work.Args
			lifecycle.Decode(row.Args, &args)
			args.GiveSecrets(s)
			args.Guest.Image.Source.Ticket = "old"
			c.exec("UPDATE work SET args = ?, secret = NULL, kept = NULL, state = ? WHERE id = ?", lifecycle.Encode(args), state, row.ID)
			ids[state] = id
		}
		sealedOne := c.want(202, "POST", "/servers", c.createBody("new", "")).text("server", "id")
		before, _ := c.newest(sealedOne)
		c.exec(`INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state)
			VALUES ('host-1', 1, 'bad', 'spawn', '{"ticket":"x', 1, 9e15, 1, 'queued')`)
		for range 2 {
			err := c.s.Life.RenewReadable(context.Background())
			if err != nil {
				t.Fatal(err)
			}
		}
		for state, id := range ids {
			row, _ := c.newest(id)
			var args work.Args
			lifecycle.Decode(row.Args, &args)
			want := fmt.Sprintf("image-read%s %s %d", c.image, id, row.Generation)
			if state == "done" {
				want = "old"
			}
			if args.Guest.Image.Source.Ticket != want || args.Guest.AdminPass == "" || row.Secret != nil {
				t.Errorf("%s: %s", state, row.Args)
			}
		}
		after, _ := c.newest(sealedOne)
		if after.Args != before.Args || *after.Secret != *before.Secret {
			t.Errorf("sealed work was changed: %+v", after)
		}
	})
}

func TestForgetKept(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.want(202, "POST", "/servers", c.createBody("x", "")).text("server", "id")
		err := lifecycle.ForgetKept(context.Background(), c.db)
		row, s := c.newest(id)
		if err != nil || row.Kept != nil || s.AdminPass == "" {
			t.Errorf("%v, %+v, %+v", err, row, s)
		}
	})
}
