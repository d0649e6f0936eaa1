package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"time"

	"kilonova/compat"
)

// The paths at which one listener carries all services.
const (
	identityPath = "/identity"
	imagePath    = "/image"
	networkPath  = "/networking"
	computePath  = "/compute"
)

// serviceOfProbes is what the log and the figures call what asks whether the process is well.
const serviceOfProbes = "health"

// serve puts all services behind one handler.
func (c *cloud) serve(context.Context) error {
	compute := compat.Serves("compute", c.compute)
	mounts := map[string]http.Handler{computePath: compat.Serves("compute", c.compute.Mounted(computePath))}
	for service, at := range map[string]struct {
		path    string
		handler http.Handler
	}{
		"identity": {identityPath, c.identity.Handler()},
		"image":    {imagePath, c.images.Handler()},
		"network":  {networkPath, c.networks.Handler()},
	} {
		mounts[at.path] = compat.Serves(service, mounted(at.path, at.handler))
	}
	health := map[string]http.Handler{
		"/healthz": probe("healthz", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") }),
		"/readyz":  probe("readyz", c.ready),
	}
	c.handler = compat.Front(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := health[r.URL.Path]; h != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			h.ServeHTTP(w, r)
			return
		}
		if waits(r) {
			r = r.WithContext(c.db.Spare(r.Context()))
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if h := mounts["/"+first]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		compute.ServeHTTP(w, r)
	}), c.watchers()...)
	return nil
}

// watchers see each exchange when it is over.
func (c *cloud) watchers() []func(*compat.Exchange) {
	if !c.cfg.AccessLog {
		return nil
	}
	return []func(*compat.Exchange){compat.AccessLog(slog.Default(), accessLevel)}
}

// accessLevel is Info, but for those who ask every few seconds whether all is well.
func accessLevel(x *compat.Exchange) slog.Level {
	if x.Service == serviceOfProbes {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func probe(name string, h http.HandlerFunc) http.Handler {
	return compat.Serves(serviceOfProbes, compat.Named(name, h))
}

func mounted(path string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := *r.URL
		u.Path = strings.TrimPrefix(u.Path, path)
		u.RawPath = strings.TrimPrefix(u.RawPath, path)
		if u.Path == "" {
			u.Path = "/"
		}
		inner := new(http.Request)
		*inner = *r
		inner.URL = &u
		h.ServeHTTP(w, inner)
	})
}

// readyWait is how long a database may take to answer, for the services to be called ready.
const readyWait = 2 * time.Second

func (c *cloud) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyWait)
	defer cancel()
	err := c.db.Answers(ctx)
	if err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}
