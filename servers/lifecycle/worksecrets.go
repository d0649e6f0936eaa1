package lifecycle

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"kilonova/compat"
	"kilonova/images"
	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/work"
)

// sealed is what of a piece of work is written so that not everybody who reads the row reads
// it: for its host, and for the API that may have to give it to another. Both go when the
// work is over: the host's with its report, all with the row.
type sealed struct{ secret, kept *string }

// ticketed fills in where images are, and by what right this very piece of work may fetch or
// store them.
func (s *Service) ticketed(v *Server, args *work.Args, limit time.Duration) {
	j := images.Job{Server: v.UUID, Generation: v.Generation, Limit: limit}
	if at := args.Guest.Image.Source; at != nil {
		t := s.Images.ReadTransfer(at.ImageID, j)
		args.Guest.Image.Source = &t
	}
	if args.Upload != nil {
		t := s.Images.WriteTransfer(args.Upload.ImageID, j)
		args.Upload = &t
	}
}

// seal takes the secrets out of args and gives them sealed.
func (s *Service) seal(ctx context.Context, q schema.Querier, v *Server, args *work.Args) (sealed, error) {
	var out sealed
	secret := args.TakeSecrets()
	plain := secret.Encode()
	if plain == nil {
		return out, nil
	}
	key, err := s.Hosts.PublicKey(ctx, q, v.HostName())
	if err != nil {
		return out, err
	}
	if key == "" { // a daemon tells its key before anything is given to its host
		return out, compat.Conflict("Compute service of %s is unavailable at this time.", v.HostName())
	}
	label := work.SecretsLabel(v.UUID, v.Generation)
	text, err := secrets.SealFor(key, label, plain)
	if err != nil {
		return out, fmt.Errorf("seal work of server %s for host %s: %w", v.UUID, v.HostName(), err)
	}
	out.secret = &text
	if again := (work.Secrets{AdminPass: secret.AdminPass}).Encode(); again != nil {
		text := s.Key.Keep(label, again)
		out.kept = &text
	}
	return out, nil
}

// keptPassword gives the password that a server was to have, for the next host that tries; ""
// when it is not to be had any more.
func (s *Service) keptPassword(ctx context.Context, f *finished) string {
	if f.Kept == nil {
		return ""
	}
	plain, err := s.Key.Open(work.SecretsLabel(f.ServerUUID, f.Generation), *f.Kept)
	var secret work.Secrets
	if err == nil {
		err = json.Unmarshal(plain, &secret)
	}
	if err != nil { // nothing that another try would mend: the guest gets its other keys
		s.Log.WarnContext(ctx, "the administrator's password of a server is lost", "server", f.ServerUUID, "err", err)
		return ""
	}
	return secret.AdminPass
}

const jobRuns = `
SELECT COUNT(*) FROM work w JOIN servers s ON s.uuid = w.server_uuid
WHERE w.server_uuid = ? AND w.generation = ? AND w.state = 'running' AND w.deadline > ? AND s.generation = w.generation AND s.deleted = 0`

// Runs reports whether a host is doing a piece of work that its server still wants: for that
// long its tickets are good.
func (s *Service) Runs(ctx context.Context, j images.Job) (bool, error) {
	var n int
	err := s.DB.GetContext(ctx, &n, jobRuns, j.Server, j.Generation, s.Clock.Now())
	if err != nil {
		return false, fmt.Errorf("look for the work of server %s: %w", j.Server, err)
	}
	return n > 0, nil
}

var selectReadable = `
SELECT id, server_uuid, generation, args, deadline FROM work
WHERE secret IS NULL AND state IN ('queued', 'running') AND args LIKE '%"ticket":"_%' AND id > ? ORDER BY id LIMIT ` + strconv.Itoa(schema.PageSize)

const renewReadable = `UPDATE work SET args = ? WHERE id = ? AND args = ? AND secret IS NULL`

// RenewReadable gives the work of an earlier release, which has its secrets among its
// arguments, tickets that are good now. Hosts carry it out as it is; within an hour there is
// none left.
func (s *Service) RenewReadable(ctx context.Context) error {
	type row struct {
		ID         int64         `db:"id"`
		Server     string        `db:"server_uuid"`
		Generation int64         `db:"generation"`
		Args       string        `db:"args"`
		Deadline   schema.Micros `db:"deadline"`
	}
	page := func(ctx context.Context, after int64) ([]row, error) {
		var list []row
		err := s.DB.SelectContext(ctx, &list, selectReadable, after)
		return list, wrap(err, "look for work of an earlier release")
	}
	_, err := schema.Sweep(ctx, page, func(r *row) int64 { return r.ID }, func(ctx context.Context, r *row) error {
		var args work.Args
		err := json.Unmarshal([]byte(r.Args), &args)
		if err != nil {
			return nil //nolint:nilerr // its host cannot read it either, and says so
		}
		left := time.Duration(r.Deadline-s.Clock.Now()) * time.Microsecond
		s.ticketed(&Server{UUID: r.Server, Generation: r.Generation}, &args, left)
		_, err = s.DB.ExecContext(ctx, renewReadable, Encode(args), r.ID, r.Args)
		return wrap(err, "renew the tickets of work %d", r.ID)
	})
	return err
}

// ForgetKept drops what was kept with a key that is lost.
func ForgetKept(ctx context.Context, db *schema.DB) error {
	_, err := db.ExecContext(ctx, `UPDATE work SET kept = NULL WHERE kept IS NOT NULL`)
	return wrap(err, "drop what was kept with the old key")
}
