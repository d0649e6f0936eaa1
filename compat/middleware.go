package compat

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/google/uuid"
)

var requestIDForm = regexp.MustCompile(`^req-[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$`)

// identityHeaders are set by a token check for the application behind it, never by a
// client: whatever comes in under these names is dropped before anything reads it.
var identityHeaders = []string{
	"X-Identity-Status", "X-User-Id", "X-User-Name", "X-User-Domain-Id", "X-User-Domain-Name",
	"X-Project-Id", "X-Project-Name", "X-Project-Domain-Id", "X-Project-Domain-Name",
	"X-Domain-Id", "X-Domain-Name", "X-Roles", "X-Role", "X-User", "X-Tenant", "X-Tenant-Id",
	"X-Tenant-Name", "X-Is-Admin-Project", "X-Service-Catalog", "Openstack-System-Scope",
	"X-Service-Identity-Status", "X-Service-User-Id", "X-Service-User-Name",
	"X-Service-User-Domain-Id", "X-Service-User-Domain-Name", "X-Service-Project-Id",
	"X-Service-Project-Name", "X-Service-Project-Domain-Id", "X-Service-Project-Domain-Name",
	"X-Service-Roles",
}

// Front is the outermost handler of every service: it gives the request its id, drops
// identity headers that a client sent, makes one slash of several in the path, catches a
// panic, and shows the exchange to those who watch, when it is over.
func Front(next http.Handler, watch ...func(*Exchange)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		x := &Exchange{ID: "req-" + uuid.NewString(), Began: time.Now()}
		ctx := context.WithValue(r.Context(), exchangeKey, x)
		if global := r.Header.Get("X-Openstack-Request-Id"); requestIDForm.MatchString(global) {
			x.GlobalID = global
		}
		for _, name := range identityHeaders {
			r.Header.Del(name)
		}
		w.Header().Set("X-Openstack-Request-Id", x.ID)
		seen := &statusWriter{ResponseWriter: w, x: x}
		r = r.WithContext(ctx)
		x.Request = r
		r.URL = oneSlash(r.URL)
		defer func() {
			x.Took = time.Since(x.Began)
			for _, f := range watch {
				f(x)
			}
		}()
		defer func() {
			if p := recover(); p != nil {
				if err, ok := p.(error); ok && errors.Is(err, http.ErrAbortHandler) {
					panic(p)
				}
				slog.ErrorContext(ctx, "panic in a request", "request_id", x.ID, "panic", p)
				if x.Code == 0 {
					ComputeFault(seen, r, &Fault{Code: 500, Message: "The server has either erred or is incapable of performing the requested operation."})
				}
			}
		}()
		next.ServeHTTP(seen, r)
		if x.Code == 0 { // as the server then does
			x.Code = http.StatusOK
		}
	})
}

var slashes = regexp.MustCompile(`//+`)

// oneSlash makes one slash of several in a path, as the originals' URL maps do: clients
// join an address that ends with a slash and a path that begins with one.
func oneSlash(u *url.URL) *url.URL {
	if !strings.Contains(u.Path, "//") {
		return u
	}
	clean := *u
	clean.RawPath = ""
	if u.RawPath == "" {
		clean.Path = slashes.ReplaceAllLiteralString(u.Path, "/")
		return &clean
	}
	// A slash that the client escaped belongs to a name.
	raw := slashes.ReplaceAllLiteralString(u.RawPath, "/")
	path, err := url.PathUnescape(raw)
	if err != nil {
		return u
	}
	clean.Path, clean.RawPath = path, raw
	return &clean
}

// statusWriter notes what was answered.
type statusWriter struct {
	http.ResponseWriter
	x *Exchange
}

func (w *statusWriter) WriteHeader(code int) {
	if w.x.Code == 0 {
		w.x.Code = code
	}
	w.ResponseWriter.WriteHeader(code)
}

func (w *statusWriter) Write(b []byte) (int, error) {
	if w.x.Code == 0 {
		w.x.Code = http.StatusOK
	}
	n, err := w.ResponseWriter.Write(b)
	w.x.Bytes += int64(n)
	return n, err
}

// Unwrap lets http.ResponseController reach the connection.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// GlobalRequestID is the caller's own request id, kept to be passed on to other services.
func GlobalRequestID(ctx context.Context) string {
	if x := ExchangeOf(ctx); x != nil {
		return x.GlobalID
	}
	return ""
}
