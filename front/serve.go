package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strings"
	"time"

	"kilonova/compat"
)

// Config is what Serve needs besides a listener and a handler.
type Config struct {
	Limits
	TLS *Certificate // nil: plain HTTP
}

type connKey struct{}

// Serve answers on the listener until ctx ends, and then lets requests finish.
func Serve(ctx context.Context, l net.Listener, h http.Handler, cfg Config) error {
	const grace, head = 10 * time.Second, 64 << 10
	g := newGate(l, cfg.withDefaults())
	srv := &http.Server{
		Handler: g.watch(h), ReadHeaderTimeout: g.limits.Head, IdleTimeout: g.limits.Idle, MaxHeaderBytes: head,
		ErrorLog: slog.NewLogLogger(slog.Default().Handler(), slog.LevelDebug),
		ConnContext: func(ctx context.Context, c net.Conn) context.Context {
			if t, ok := c.(*tls.Conn); ok {
				c = t.NetConn()
			}
			return context.WithValue(ctx, connKey{}, c)
		},
	}
	var inner net.Listener = g
	if cfg.TLS != nil {
		inner = tls.NewListener(g, cfg.TLS.config())
	}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(inner) }()
	select {
	case err := <-done:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	return srv.Shutdown(end)
}

// watch puts a request's body under the limits, and tells the gate when the server works
// and when it waits.
func (g *gate) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c, ok := r.Context().Value(connKey{}).(*conn)
		if !ok {
			next.ServeHTTP(w, r)
			return
		}
		c.begin(g.forwarded(c, r))
		defer c.wait()
		r = r.WithContext(compat.WithVoucher(r.Context(), c.vouch))
		if r.Body != nil && r.Body != http.NoBody {
			b := &body{ReadCloser: r.Body, conn: c, began: time.Now()}
			r.Body = b
			b.allow(g.limits.Body)
			defer b.end()
		}
		next.ServeHTTP(w, r)
	})
}

// forwarded makes the client's own address the request's, behind a proxy, and gives it; the
// zero address where the other end is the client.
func (g *gate) forwarded(c *conn, r *http.Request) netip.Addr {
	if len(g.limits.Proxies) == 0 && r.Header.Get("X-Forwarded-For") != "" {
		g.hidden.Do(func() {
			slog.Warn("requests come through a proxy that --trusted-proxy does not name: all its clients are one to the limits of logins and connections",
				"proxy", c.peer)
		})
	}
	if !g.isProxy(c.peer) { // so without proxies nobody is believed
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Forwarded-") {
				r.Header.Del(name)
			}
		}
		return netip.Addr{}
	}
	hops := strings.Split(strings.Join(r.Header.Values("X-Forwarded-For"), ","), ",")
	for i := len(hops) - 1; i >= 0; i-- {
		at, err := netip.ParseAddr(strings.Trim(strings.TrimSpace(hops[i]), "[]"))
		if err != nil {
			break // whoever wrote this is no proxy of ours
		}
		at = at.Unmap()
		if !g.isProxy(at) {
			r.RemoteAddr = netip.AddrPortFrom(at, 0).String()
			return at
		}
	}
	return netip.Addr{}
}

// body is a request's body, which does not keep the server waiting for long.
type body struct {
	io.ReadCloser
	conn  *conn
	began time.Time
	ended bool
}

func (b *body) allow(d time.Duration) {
	_ = b.conn.SetReadDeadline(time.Now().Add(d)) // a connection that is gone says so when it is read
}

// Read waits for the client: while the request is vouched for, from byte to byte, else for
// all of the body together.
func (b *body) Read(p []byte) (int, error) {
	if b.conn.isVouched() {
		b.allow(b.conn.gate.limits.Silence)
	} else {
		b.allow(time.Until(b.began.Add(b.conn.gate.limits.Body)))
	}
	b.conn.wait()
	n, err := b.ReadCloser.Read(p)
	b.conn.work()
	if err == nil {
		return n, nil
	}
	b.ended = true
	var tooLarge *http.MaxBytesError
	switch {
	case err == io.EOF: //nolint:errorlint // a wrapped EOF is no end
		_ = b.conn.SetReadDeadline(time.Time{}) // from here the server watches for the client's leaving
		return n, err
	case errors.As(err, &tooLarge):
		return n, err
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, &compat.Fault{Code: http.StatusRequestTimeout, Message: "The request's body did not come in time.", Err: err}
	}
	return n, &compat.Fault{Code: http.StatusBadRequest, Message: "The request's body ended before it was complete.", Err: err}
}

// end bounds how long the server then reads what the handler did not, so that a client
// which is still sending sees its answer: a stranger gets hardly more than what is here.
func (b *body) end() {
	const known, stranger = 5 * time.Second, 100 * time.Millisecond
	switch {
	case b.ended:
	case b.conn.isVouched():
		b.allow(known)
	default:
		b.allow(stranger)
	}
}
