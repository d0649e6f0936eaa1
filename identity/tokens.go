package identity

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"time"

	"kilonova/compat"
	"kilonova/schema"
)

// session is a token that has been checked: what it says, and what that is worth at a
// version of the database.
type session struct {
	version int64
	claims  *claims
	facts   *facts
	caller  *compat.Caller
}

// verify checks a token: its signature, its expiry (which may lie up to grace ago), the
// revocations, and that user and scope still exist with a role. It is the only way in: all
// kinds of token and all services come through here. The error is errToken for a token that
// is not good, and another when that could not be found out.
func (s *Service) verify(ctx context.Context, text string, grace time.Duration) (*session, error) {
	if text == "" || len(text) > maxToken {
		return nil, errToken
	}
	err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	version := s.version.Load()
	key := sha256.Sum256([]byte(text))
	known, ok := s.tokens.Get(key)
	if ok && known.version == version {
		if !s.alive(known, grace) {
			return nil, errToken
		}
		return known, nil
	}
	next := &session{version: version}
	if ok {
		next.claims = known.claims // its signature was checked before
	} else {
		next.claims = &claims{}
		err = s.keys.open(tokenType, text, next.claims)
		if err == nil {
			err = next.claims.check()
		}
		if err != nil {
			return nil, err
		}
	}
	next.facts, err = s.factsOf(ctx, next.claims.key())
	if errors.Is(err, errNoAccess) {
		return nil, fmt.Errorf("%w: %w", errToken, err)
	}
	if err != nil {
		return nil, err
	}
	if !s.alive(next, grace) || s.revoked.hit(next.claims, next.facts) {
		return nil, errToken
	}
	next.caller = next.facts.caller(next.claims, text)
	s.tokens.Add(key, next)
	return next, nil
}

// alive reports whether neither the token nor the credential that it came from has expired.
func (s *Service) alive(t *session, grace time.Duration) bool {
	now := s.now() - schema.Micros(grace.Microseconds())
	if cred := t.facts.appCred; cred != nil && cred.Expires != 0 && now >= cred.Expires {
		return false
	}
	return now < schema.Micros(t.claims.Expires*microsPerSecond)
}

// key is what the token's worth depends on.
func (c *claims) key() scopeKey {
	return scopeKey{user: c.User, project: c.Project, domain: c.Domain, appCred: c.AppCred, system: c.System != ""}
}

// grant is what a login has proved.
type grant struct {
	at      schema.Micros // before anything was looked up: what changes later revokes the token
	methods []string
	user    string
	parent  *session      // the token that it was proved with
	appCred *appCredFacts // the credential that it was proved with
}

// issue makes a token for a grant in a scope, or errNoAccess. The token ends no later than
// what it was made from.
func (s *Service) issue(ctx context.Context, g *grant, k scopeKey) (string, *session, error) {
	f, err := s.factsOf(ctx, k)
	if err != nil {
		return "", nil, err
	}
	at := g.at
	c := &claims{
		User: k.user, IssuedAt: int64(at) / microsPerSecond,
		Expires: int64(at)/microsPerSecond + int64(s.cfg.TokenTTL/time.Second),
		Methods: g.methods, AuditIDs: []string{newAuditID(at)},
		Domain: k.domain, Project: k.project, AppCred: k.appCred,
	}
	if k.system {
		c.System = "all"
	}
	if g.parent != nil {
		c.Expires = min(c.Expires, g.parent.claims.Expires)
		c.AuditIDs = append(c.AuditIDs, g.parent.claims.AuditIDs[len(g.parent.claims.AuditIDs)-1])
		for _, m := range g.parent.claims.Methods {
			if !slices.Contains(c.Methods, m) {
				c.Methods = append(c.Methods, m)
			}
		}
	}
	if g.appCred != nil && g.appCred.Expires != 0 {
		c.Expires = min(c.Expires, int64(g.appCred.Expires)/microsPerSecond)
	}
	text, err := s.keys.sign(tokenType, c)
	if err != nil {
		return "", nil, fmt.Errorf("sign a token: %w", err)
	}
	return text, &session{version: f.version, claims: c, facts: f, caller: f.caller(c, text)}, nil
}
