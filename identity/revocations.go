package identity

import (
	"context"
	"fmt"
	"sync"
	"time"

	"kilonova/schema"
)

const (
	// pollEvery is how often a process reads the version row, and so how long another
	// process's change may take to reach it.
	pollEvery = time.Second
	// stale is how old that reading may be before a check reads it by itself. A check that
	// cannot is refused: a revoked token must not pass because the database is away.
	stale = 3 * time.Second
	// expiredWindow is how long after its end a token may still be used together with a
	// service token.
	expiredWindow = 48 * time.Hour
)

const (
	selectVersion     = `SELECT version FROM identity_version WHERE id = 1`
	bumpVersion       = `UPDATE identity_version SET version = version + 1 WHERE id = 1`
	selectRevocations = `
SELECT audit_id, user_id, scope, domain_id, issued_before
FROM identity_revocations
WHERE version > ? AND expires_at > ?`
	insertRevocation = `
INSERT INTO identity_revocations (version, audit_id, user_id, scope, domain_id, issued_before, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?)`
	deleteRevocations = `DELETE FROM identity_revocations WHERE expires_at < ?`
)

// revocation says which tokens are worth nothing: those of the audit id, of the user, of
// the scope, of the user in the scope, or of the domain.
type revocation struct {
	AuditID      string        `db:"audit_id"`
	UserID       string        `db:"user_id"`
	Scope        string        `db:"scope"`
	DomainID     string        `db:"domain_id"`
	IssuedBefore schema.Micros `db:"issued_before"`
}

// key is what a revocation is remembered under, and looked for by revocations.hit.
func (e *revocation) key() string {
	switch {
	case e.AuditID != "":
		return "audit " + e.AuditID
	case e.UserID != "" && e.Scope != "":
		return "grant " + e.UserID + " " + e.Scope
	case e.UserID != "":
		return "user " + e.UserID
	case e.Scope != "":
		return "scope " + e.Scope
	}
	return "domain " + e.DomainID
}

// revocations are all those that a living token could meet: the last moment by key.
type revocations struct {
	mu      sync.RWMutex
	moments map[string]schema.Micros
}

func (l *revocations) add(events []revocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	addMoments(l.moments, events)
}

func (l *revocations) replace(events []revocation) {
	next := map[string]schema.Micros{}
	addMoments(next, events)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.moments = next
}

func addMoments(to map[string]schema.Micros, events []revocation) {
	for i := range events {
		k := events[i].key()
		to[k] = max(to[k], events[i].IssuedBefore)
	}
}

// hit reports whether one of them names the token.
func (l *revocations) hit(c *claims, f *facts) bool {
	scope := c.scope()
	keys := []revocation{
		{AuditID: c.AuditIDs[0]}, {UserID: c.User}, {UserID: c.User, Scope: scope}, {Scope: scope},
		{DomainID: f.user.DomainID}, {DomainID: f.project.DomainID}, {DomainID: c.Domain},
	}
	issued := c.issued()
	l.mu.RLock()
	defer l.mu.RUnlock()
	for i := range keys {
		if before, ok := l.moments[keys[i].key()]; ok && issued <= before {
			return true
		}
	}
	return false
}

// scope is the form of a token's scope in revocations; "" for an unscoped one.
func (c *claims) scope() string {
	switch {
	case c.Project != "":
		return "project:" + c.Project
	case c.Domain != "":
		return "domain:" + c.Domain
	case c.System != "":
		return "system:all"
	}
	return ""
}

// isFresh reports whether the revocations and the version were read lately.
func (s *Service) isFresh() bool {
	return time.Since(s.started)-time.Duration(s.polled.Load()) < stale
}

// fresh sees to it that they were; of many requests that find them old one reads.
func (s *Service) fresh(ctx context.Context) error {
	if s.isFresh() {
		return nil
	}
	s.pollMu.Lock()
	defer s.pollMu.Unlock()
	if s.isFresh() {
		return nil
	}
	return s.pollLocked(ctx)
}

// poll reads the version and, when it has changed, the new revocations.
func (s *Service) poll(ctx context.Context) error {
	s.pollMu.Lock()
	defer s.pollMu.Unlock()
	return s.pollLocked(ctx)
}

func (s *Service) pollLocked(ctx context.Context) error {
	at := time.Since(s.started)
	var version int64
	err := s.db.GetContext(ctx, &version, selectVersion)
	if err != nil {
		return fmt.Errorf("read the version of identity: %w", err)
	}
	if known := s.version.Load(); version != known {
		if version < known {
			known = 0 // the database went back to a backup
		}
		var events []revocation
		err = s.db.SelectContext(ctx, &events, selectRevocations, known, s.now())
		if err != nil {
			return fmt.Errorf("read revocations: %w", err)
		}
		s.revoked.add(events)
		s.version.Store(version)
	}
	s.polled.Store(int64(at))
	return nil
}

// purge removes revocations that no living token can meet, from the database by one
// process of the cluster and from memory by each.
func (s *Service) purge(ctx context.Context, holder string) error {
	now := s.now()
	got, err := s.db.Lease(ctx, "identity-purge", holder, now, time.Minute)
	if err == nil && got {
		_, err = s.db.ExecContext(ctx, deleteRevocations, now)
	}
	if err != nil {
		return err
	}
	s.pollMu.Lock()
	defer s.pollMu.Unlock()
	var all []revocation
	err = s.db.SelectContext(ctx, &all, selectRevocations, 0, now)
	if err != nil {
		return fmt.Errorf("read revocations: %w", err)
	}
	s.revoked.replace(all)
	return nil
}

// change is a transaction that may alter what issued tokens are worth. It holds the version
// row from its start, so changes run one after another, and what one of them looks at is
// still so when it writes.
type change struct {
	*schema.Tx
	s       *Service
	version int64
}

// change runs fn in such a transaction. When it returns, this process knows of the change;
// others do after their next poll.
func (s *Service) change(ctx context.Context, fn func(*change) error) error {
	err := s.db.Tx(ctx, func(tx *schema.Tx) error {
		c := &change{Tx: tx, s: s}
		_, err := tx.ExecContext(ctx, bumpVersion)
		if err != nil {
			return fmt.Errorf("begin a change of identity: %w", err)
		}
		err = tx.GetContext(ctx, &c.version, selectVersion)
		if err != nil {
			return fmt.Errorf("begin a change of identity: %w", err)
		}
		return fn(c)
	})
	if err != nil {
		return err
	}
	// The change is made, whether or not the client is still there to hear of it.
	err = s.poll(context.WithoutCancel(ctx))
	if err != nil {
		s.polled.Store(int64(-stale)) // the next check must read it
	}
	return nil
}

// revoke makes all tokens that e matches and that exist now worth nothing.
func (c *change) revoke(ctx context.Context, e revocation) error {
	now := c.s.tick()
	until := now + schema.Micros((c.s.cfg.TokenTTL + expiredWindow).Microseconds())
	_, err := c.ExecContext(ctx, insertRevocation, c.version, e.AuditID, e.UserID, e.Scope, e.DomainID, now, until)
	if err != nil {
		return fmt.Errorf("revoke tokens: %w", err)
	}
	return nil
}
