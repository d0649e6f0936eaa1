package computed_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"testing"

	"github.com/google/uuid"

	"kilonova/computed"
	"kilonova/computed/sim"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/secrets"
	"kilonova/work"
)

// seal moves the secrets of a piece of work into what only the holder of a public key opens.
func (d *desk) seal(n int64, public, label string) {
	d.t.Helper()
	var raw string
	err := d.db.Get(&raw, "SELECT args FROM work WHERE id = ?", n)
	var args work.Args
	if err == nil {
		err = json.Unmarshal([]byte(raw), &args)
	}
	if err != nil {
		d.t.Fatal(err)
	}
	secret := args.TakeSecrets()
	text, err := secrets.SealFor(public, label, secret.Encode())
	if err != nil {
		d.t.Fatal(err)
	}
	rest, err := json.Marshal(args)
	if err == nil {
		_, err = d.db.Exec("UPDATE work SET args = ?, secret = ?, host = 'h' WHERE id = ?", string(rest), text, n)
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// TestAgentOpensWhatIsSealedForIt: the daemon tells its key, and with it reads what nobody else
// does; what was sealed for another, or moved from another row, it refuses.
func TestAgentOpensWhatIsSealedForIt(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		d := newDesk(t, db)
		key, err := secrets.Random().Host("h")
		if err != nil {
			t.Fatal(err)
		}
		other, err := secrets.Random().Host("h")
		if err != nil {
			t.Fatal(err)
		}
		var mu sync.Mutex
		var tickets []string
		drv := sim.New(sim.Options{World: sim.NewWorld(), Hostname: "h", Fetch: func(_ context.Context, img *work.Image) error {
			mu.Lock()
			defer mu.Unlock()
			tickets = append(tickets, img.Source.Ticket)
			return nil
		}})
		stop := runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h", Key: key})
		defer stop()
		var public string
		err = db.Get(&public, "SELECT public_key FROM hosts WHERE name = 'h'")
		if err != nil || public != key.Public() {
			t.Errorf("the host's key on record is %q, %v", public, err)
		}
		for name, tt := range map[string]struct {
			public string
			label  func(id string) string
			opens  bool
		}{
			"its own":        {public, func(id string) string { return work.SecretsLabel(id, 1) }, true},
			"another host's": {other.Public(), func(id string) string { return work.SecretsLabel(id, 1) }, false},
			"another row's":  {public, func(string) string { return work.SecretsLabel("another", 1) }, false},
			"an older row's": {public, func(id string) string { return work.SecretsLabel(id, 2) }, false},
		} {
			id := uuid.NewString()
			d.server(id)
			args := argsFor(work.Spawn, id, nil)
			args.Guest.Image.Source = &work.Transfer{ImageID: "i", URL: "http://x", Ticket: "ticket-" + name}
			// While it is sealed, the daemon must not see it: its host is none.
			n := d.queue(id, work.Spawn, 1, args, "nowhere")
			d.seal(n, tt.public, tt.label(id))
			st, res := d.wait(n)
			mu.Lock()
			got := strings.Join(tickets, " ")
			mu.Unlock()
			if (st == work.Done) != tt.opens || strings.Contains(got, "ticket-"+name) != tt.opens {
				t.Errorf("%s: %s %+v, fetched with %q", name, st, res, got)
			}
			if !tt.opens && !res.Retry {
				t.Errorf("%s: no other host may try", name)
			}
			var left int
			err := db.Get(&left, "SELECT COUNT(*) FROM work WHERE secret IS NOT NULL")
			if err != nil || left != 0 {
				t.Errorf("%s: %d secrets are left (%v)", name, left, err)
			}
		}
	})
}

// TestDriversWordsHoldNoSecret: what a driver was told may be in what it says of its failure.
func TestDriversWordsHoldNoSecret(t *testing.T) {
	db := schematest.SQLite(t)
	d, book := newDesk(t, db), &logBook{}
	const mark = "MarkedSecret"
	drv := sim.New(sim.Options{World: sim.NewWorld(), Hostname: "h", Faults: []sim.Fault{{Op: sim.OpSetPassword, Err: errors.New("chpasswd: bad password '" + mark + "'")}}})
	stop := runAgent(t, computed.Config{DB: db, Driver: drv, Host: "h", Log: book.logger()})
	defer stop()
	id := uuid.NewString()
	d.server(id)
	st, res := d.wait(d.queue(id, work.Spawn, 1, argsFor(work.Spawn, id, nil)))
	if st != work.Done {
		t.Fatalf("%+v", res)
	}
	args := argsFor(work.SetPassword, id, nil)
	args.Password = mark
	st, res = d.wait(d.queue(id, work.SetPassword, 1, args))
	if st != work.Failed || !strings.Contains(res.Detail, "bad password '[secret]'") || strings.Contains(res.Message, mark) {
		t.Errorf("%s %+v", st, res)
	}
	if text := book.text(); strings.Contains(text, mark) || !strings.Contains(text, "bad password") {
		t.Errorf("logged: %s", text)
	}
}
