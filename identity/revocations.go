package identity

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
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
SELECT id, audit_id, user_id, scope, domain_id, issued_before, expires_at
FROM identity_revocations
WHERE version > ? AND expires_at > ?`
	insertRevocation = `
INSERT INTO identity_revocations (version, audit_id, user_id, scope, domain_id, issued_before, expires_at)
VALUES (?, ?, ?, ?, ?, ?, ?)`
	deleteRevocations = `DELETE FROM identity_revocations WHERE expires_at < ?`
	mendRevocation    = `UPDATE identity_revocations SET issued_before = ?, expires_at = ? WHERE id = ?`
)

// revocation says which tokens are worth nothing: those of the audit id, of the user, of
// the scope, of the user in the scope, or of the domain.
type revocation struct {
	AuditID      string        `db:"audit_id"`
	UserID       string        `db:"user_id"`
	Scope        string        `db:"scope"`
	DomainID     string        `db:"domain_id"`
	IssuedBefore schema.Micros `db:"-"`
}

// storedRevocation is a revocation as it is read: SQLite keeps what it is given, whatever the
// column is for, and so does a damaged file.
type storedRevocation struct {
	ID int64 `db:"id"`
	revocation
	Issued  moment `db:"issued_before"`
	Expires moment `db:"expires_at"`
}

// moment reads a time, and anything else without an error.
type moment struct {
	at schema.Micros
	ok bool
}

// Scan is called by database/sql.
func (m *moment) Scan(src any) error {
	var n sql.NullInt64
	err := n.Scan(src)
	m.at, m.ok = schema.Micros(n.Int64), err == nil && n.Valid
	return nil
}

// readRevocations gives those since a version. One whose time cannot be read counts as made
// now: it stops no other, and no token of the past gets by it.
func (s *Service) readRevocations(ctx context.Context, since int64) (events []revocation, broken []storedRevocation, err error) {
	var rows []storedRevocation
	now := s.now()
	err = s.db.SelectContext(ctx, &rows, selectRevocations, since, now)
	if err != nil {
		return nil, nil, fmt.Errorf("read revocations: %w", err)
	}
	for i := range rows {
		row := &rows[i]
		if !row.Issued.ok || !row.Expires.ok {
			slog.ErrorContext(ctx, "a revocation cannot be read; it counts as made now", "id", row.ID)
			if !row.Issued.ok {
				row.Issued.at = now
			}
			broken = append(broken, *row)
		}
		row.IssuedBefore = row.Issued.at
		events = append(events, row.revocation)
	}
	return events, broken, nil
}

// revokedUntil is when no token can be alive any more that was issued up to now.
func (s *Service) revokedUntil(now schema.Micros) schema.Micros {
	return now + schema.Micros((s.cfg.TokenTTL + expiredWindow).Microseconds())
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
		events, _, err := s.readRevocations(ctx, known)
		if err != nil {
			return err
		}
		s.revoked.add(events)
		s.version.Store(version)
	}
	s.polled.Store(int64(at))
	return nil
}

// purge removes revocations that no living token can meet, from the database by one
// process of the cluster and from memory by each. The one also writes anew what cannot be read.
func (s *Service) purge(ctx context.Context, holder string) error {
	now := s.now()
	got, err := s.db.Lease(ctx, "identity-purge", holder, now, time.Minute)
	if err == nil && got {
		_, err = s.db.ExecContext(ctx, deleteRevocations, now)
	}
	if err != nil {
		return err
	}
	broken, err := s.rereadRevocations(ctx)
	if err != nil || !got {
		return err
	}
	_, err = schema.EachRow(ctx, broken, func(ctx context.Context, row *storedRevocation) error {
		_, err := s.db.ExecContext(ctx, mendRevocation, row.Issued.at, s.revokedUntil(now), row.ID)
		return err
	})
	if err != nil {
		return fmt.Errorf("mend revocations: %w", err)
	}
	return nil
}

func (s *Service) rereadRevocations(ctx context.Context) (broken []storedRevocation, err error) {
	s.pollMu.Lock()
	defer s.pollMu.Unlock()
	all, broken, err := s.readRevocations(ctx, 0)
	if err == nil {
		s.revoked.replace(all)
	}
	return broken, err
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
	_, err := c.ExecContext(ctx, insertRevocation, c.version, e.AuditID, e.UserID, e.Scope, e.DomainID, now, c.s.revokedUntil(now))
	if err != nil {
		return fmt.Errorf("revoke tokens: %w", err)
	}
	return nil
}
