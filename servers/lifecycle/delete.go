package lifecycle

import (
	"context"
	"errors"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/work"
)

// End deletes a server, by its host where there is one that answers. A server that is being
// deleted is left alone. When somebody acted on the server meanwhile all is decided again:
// it may have got a host, lost it, or be deleted.
func (s *Service) End(ctx context.Context, c *compat.Caller, v *Server, op string) error {
	for {
		err := s.endOnce(ctx, c, v, op)
		if !errors.Is(err, ErrLostRace) {
			return err
		}
		v, err = Get(ctx, s.DB, v.UUID)
		if err != nil || v == nil || v.Deleted {
			return err
		}
	}
}

func (s *Service) endOnce(ctx context.Context, c *compat.Caller, v *Server, op string) error {
	err := transitions[op].Check(v, c)
	if err != nil {
		return err
	}
	if v.Task() == Deleting {
		return nil
	}
	here, err := s.HostAnswers(ctx, v)
	if err != nil {
		return err
	}
	if !here {
		return s.destroyLocally(ctx, c, v, op)
	}
	_, err = s.beginOnce(ctx, c, v, op, nil)
	return err
}

// HostAnswers reports whether the server has a host that is heard.
func (s *Service) HostAnswers(ctx context.Context, v *Server) (bool, error) {
	if v.HostName() == "" {
		return false, nil
	}
	h, err := s.Hosts.ByName(ctx, v.HostName())
	if err != nil || h == nil {
		return false, err
	}
	return h.Up(s.Clock.Now()), nil
}

func (s *Service) destroyLocally(ctx context.Context, c *compat.Caller, v *Server, op string) error {
	t := transitions[op]
	err := s.DB.Tx(ctx, func(tx *schema.Tx) error {
		copied := *v
		actionID, err := s.record(ctx, tx, &copied, c, t)
		if err != nil {
			return err
		}
		err = s.bury(ctx, tx, &copied)
		if err != nil {
			return err
		}
		return s.endAction(ctx, tx, actionID, true, "", "")
	})
	return wrap(s.DB.Settled(ctx, err, s.acted(v, t)), "delete server %s", v.UUID)
}

// bury makes the row a deleted one and gives back all that the server held.
func (s *Service) bury(ctx context.Context, tx *schema.Tx, v *Server) error {
	m, err := migrationOf(ctx, tx, v)
	if err != nil {
		return err
	}
	err = s.Set(ctx, tx, v, true, Change{"vm_state": DeletedVM, "task_state": nil, "deleted": true,
		"terminated_at": s.Clock.Now(), "power_state": work.NoState, "migration_id": nil})
	if err != nil {
		return err
	}
	if m != nil {
		as := failedMigration
		if m.Status == migrated || m.Status == confirming {
			as = confirmed
		}
		err = s.advance(ctx, tx, m, as)
		if err != nil {
			return err
		}
	}
	err = s.Hosts.Release(ctx, tx, v.UUID)
	if err != nil {
		return err
	}
	err = s.Networks.Release(ctx, tx, v.UUID)
	if err != nil {
		return err
	}
	return s.Quotas.Give(ctx, tx, v.ProjectID, v.UserID, v.quotaIn(m))
}

// settleDelete buries the server. When its host could not delete the guest, what the delete
// came into is over all the same.
func settleDelete(x *settling) error {
	if x.ok {
		x.set = nil
		return x.s.bury(x.ctx, x.tx, x.v)
	}
	m, err := migrationOf(x.ctx, x.tx, x.v)
	if err != nil || m == nil {
		return err
	}
	return x.s.endMigration(x.ctx, x.tx, x.v, m, failedMigration, x.v.Flavor(), x.set)
}
