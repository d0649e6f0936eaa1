package compat

import (
	"context"
	"log/slog"
	"slices"
	"time"
)

// Caller is who a token speaks for. The token check of identity makes it; nothing in it
// comes from a header that a client may set.
type Caller struct {
	UserID, UserName, UserDomainID, UserDomainName             string
	ProjectID, ProjectName, ProjectDomainID, ProjectDomainName string
	DomainID, DomainName                                       string   // domain scope
	System                                                     bool     // system scope
	Roles                                                      []string // lower case, implied ones included
	ExpiresAt                                                  time.Time
	Token                                                      Token
}

// Token is a bearer secret; prints and logs show only that one was there.
type Token string

// String hides the token.
func (Token) String() string { return "[token]" }

// LogValue hides the token.
func (Token) LogValue() slog.Value { return slog.StringValue("[token]") }

// Has reports whether the caller holds a role, directly or implied.
func (c *Caller) Has(role string) bool { return slices.Contains(c.Roles, role) }

// IsAdmin reports whether the caller may act on all projects.
func (c *Caller) IsAdmin() bool { return c.Has("admin") }

type contextKey int

const (
	callerKey contextKey = iota
	exchangeKey
	voucherKey
)

// WithCaller puts the caller into a request's context, and vouches for the request.
func WithCaller(ctx context.Context, c *Caller) context.Context {
	Vouch(ctx)
	if x := ExchangeOf(ctx); x != nil {
		x.Caller = c
	}
	return context.WithValue(ctx, callerKey, c)
}

// WithVoucher makes f hear when the request turns out to be somebody's whom a service
// knows. The listener waits longer for those.
func WithVoucher(ctx context.Context, f func()) context.Context {
	return context.WithValue(ctx, voucherKey, f)
}

// Vouch says that a token or a ticket of the request is good.
func Vouch(ctx context.Context) {
	f, ok := ctx.Value(voucherKey).(func())
	if ok {
		f()
	}
}

// CallerFrom gives the caller of a request; nil before the token check.
func CallerFrom(ctx context.Context) *Caller {
	c, _ := ctx.Value(callerKey).(*Caller)
	return c
}

// RequestID gives the request's own id, "req-" and a uuid.
func RequestID(ctx context.Context) string {
	if x := ExchangeOf(ctx); x != nil {
		return x.ID
	}
	return ""
}

// Target is what a policy rule is asked about: whose resource.
type Target struct{ ProjectID, UserID string }

// Policy decides what a caller may do. identity has the one that kilonova runs with.
type Policy interface {
	// Known reports whether the rule exists; an operation with an unknown rule stops the
	// start-up.
	Known(rule string) bool
	// Allows reports whether the caller may do what the rule names to the target.
	Allows(rule string, c *Caller, t Target) bool
}
