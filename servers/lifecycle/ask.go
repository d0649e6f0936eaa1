package lifecycle

import (
	"context"
	"fmt"
	"time"

	"kilonova/compat"
	"kilonova/work"
)

// Ask asks the server's host something and waits for the answer: console output,
// diagnostics. Nothing of the server changes.
func (s *Service) Ask(ctx context.Context, v *Server, op string, args work.Args) (work.Result, error) {
	kind := transitions[op].Kind
	ctx, cancel := context.WithTimeout(ctx, work.Deadlines[kind])
	defer cancel()
	id, err := s.queue(ctx, s.DB, v, op, kind, args, 0)
	if err != nil {
		return work.Result{}, err
	}
	s.Bell.Ring(v.HostName())
	defer func() {
		_, err := s.DB.ExecContext(context.WithoutCancel(ctx), `DELETE FROM work WHERE id = ?`, id)
		if err != nil {
			s.Log.WarnContext(ctx, "remove an answered call", "err", err) // the keeper removes it at its deadline
		}
	}()
	const first, longest = 2 * time.Millisecond, 50 * time.Millisecond
	for wait := first; ; wait = min(wait*2, longest) {
		select {
		case <-ctx.Done():
			return work.Result{}, compat.Conflict("Compute service of %s is unavailable at this time.", v.UUID)
		case <-time.After(wait):
		}
		var f finished
		err := s.DB.GetContext(ctx, &f, `SELECT `+workColumns+` FROM work WHERE id = ?`, id)
		if err != nil {
			return work.Result{}, fmt.Errorf("wait for %s of server %s: %w", kind, v.UUID, err)
		}
		if f.State != work.Done && f.State != work.Failed {
			continue
		}
		res, err := f.report()
		if err != nil {
			return res, fmt.Errorf("%s of server %s: %w", kind, v.UUID, err)
		}
		if f.State == work.Failed && res.Reason == "" {
			return res, fmt.Errorf("%s of server %s: %s", kind, v.UUID, res.Detail)
		}
		return res, nil
	}
}
