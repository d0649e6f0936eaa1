package compat

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Exchange is a request and its answer, as far as logs, figures and traces tell of them. Front
// makes it, what the request meets further in adds what it finds out, and whoever watches
// sees it when it is over. Nothing of it but the path, the method and the client's address is
// the client's to choose.
type Exchange struct {
	ID        string // req- and a uuid
	GlobalID  string // the caller's own id of it, ""
	Service   string // which service it went to, "" for none
	Operation string // of a service's table: what its cardinality is does not depend on clients; "" for none
	Version   Version
	Caller    *Caller // nil: nobody has logged in
	Request   *http.Request
	Began     time.Time
	Took      time.Duration
	Code      int // 0: nothing was answered
	Bytes     int64
}

// ExchangeOf gives the exchange that a context belongs to, nil outside of requests.
func ExchangeOf(ctx context.Context) *Exchange {
	x, _ := ctx.Value(exchangeKey).(*Exchange)
	return x
}

// Serves names the service that answers.
func Serves(service string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if x := ExchangeOf(r.Context()); x != nil {
			x.Service = service
		}
		next.ServeHTTP(w, r)
	})
}

// Means names the operation that a request turned out to be.
func Means(ctx context.Context, operation string) {
	if x := ExchangeOf(ctx); x != nil {
		x.Operation = operation
	}
}

// Named is a handler of one operation.
func Named(operation string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Means(r.Context(), operation)
		next.ServeHTTP(w, r)
	})
}

// AccessLog writes one line for each request, at a level: what was asked, by whom, and how it
// went. A query, which may hold anything, and headers stay out of it.
func AccessLog(log *slog.Logger, level func(*Exchange) slog.Level) func(*Exchange) {
	return func(x *Exchange) {
		ctx, at := x.Request.Context(), level(x)
		if !log.Enabled(ctx, at) {
			return
		}
		var who Caller
		if x.Caller != nil {
			who = *x.Caller
		}
		version := ""
		if x.Version != LegacyVersion {
			version = x.Version.String()
		}
		log.LogAttrs(ctx, at, "request",
			slog.String("method", clip(x.Request.Method)), slog.String("path", clip(x.Request.URL.Path)),
			slog.String("service", x.Service), slog.String("operation", x.Operation), slog.String("version", version),
			slog.String("project", who.ProjectID), slog.String("user", who.UserID), slog.String("client", x.Request.RemoteAddr),
			slog.Int("code", x.Code), slog.Int64("bytes", x.Bytes), slog.Float64("ms", float64(x.Took.Microseconds())/1000),
			slog.String("request_id", x.ID))
	}
}
