package compat

import (
	"net/http"
	"net/url"
	"regexp"
	"strings"

	"github.com/gorilla/mux"
)

var projectSegment = regexp.MustCompile(`^[0-9a-f-]+$`)

// route finds the endpoint of a versioned path and calls it with the path's version,
// project and microversion.
func (c *Compute) route(w http.ResponseWriter, r *http.Request) {
	req := &Request{Request: r, Caller: CallerFrom(r.Context()), policy: c.policy, root: c.base.URL(r)}
	rest, ok := strings.CutPrefix(r.URL.EscapedPath(), "/v2.1/")
	req.versionPrefix = "/v2.1"
	if !ok {
		rest, ok = strings.CutPrefix(r.URL.EscapedPath(), "/v2/")
		req.versionPrefix, req.Legacy = "/v2", true
	}
	if !ok {
		notRouted(w, r)
		return
	}
	v := MinVersion
	if !req.Legacy {
		var err error
		v, err = Negotiate(r.Header)
		if err != nil {
			Fail(w, r, ComputeFault, err)
			return
		}
		h := w.Header()
		h.Set(VersionHeader, "compute "+v.String())
		h.Set(LegacyVersionHeader, v.String())
		h["Vary"] = []string{VersionHeader, LegacyVersionHeader}
	}
	req.Version = v
	if x := ExchangeOf(r.Context()); x != nil {
		x.Version = v
	}

	rest = strings.TrimSuffix(rest, "/")
	seg, below, _ := strings.Cut(rest, "/")
	urlProject := ""
	if projectSegment.MatchString(seg) {
		urlProject, rest = seg, below
		req.projectPrefix = "/" + seg
	}
	seg, below, _ = strings.Cut(rest, "/")
	if seg == "versions" && (r.Method == http.MethodGet || r.Method == http.MethodHead) && below != "" && !strings.Contains(below, "/") {
		err := c.serveVersion(w, req, below)
		if err != nil {
			Fail(w, r, ComputeFault, err)
		}
		return
	}
	if other, ok := aliases()[seg]; ok {
		if !other.Has(v) {
			Fail(w, r, ComputeFault, errNotThere)
			return
		}
		seg, rest = other.collection, strings.TrimSuffix(other.collection+"/"+below, "/")
	}
	router := c.routers[seg]
	if router == nil {
		notRouted(w, r)
		return
	}
	u := *r.URL
	u.RawPath = "/" + rest
	u.Path = pathOf(rest)
	inner := r.Clone(r.Context())
	inner.URL = &u
	var match mux.RouteMatch
	if !router.Match(inner, &match) || match.MatchErr != nil {
		notRouted(w, r)
		return
	}
	req.Request = mux.SetURLVars(inner, unescaped(match.Vars))
	e := match.Handler.(*endpoint)
	err := e.serve(w, req, urlProject)
	if err != nil {
		Fail(w, r, ComputeFault, err)
	}
}

func pathOf(escaped string) string {
	p, err := url.PathUnescape("/" + escaped)
	if err != nil {
		return "/" + escaped
	}
	return p
}

func unescaped(vars map[string]string) map[string]string {
	for k, v := range vars {
		u, err := url.PathUnescape(v)
		if err == nil {
			vars[k] = u
		}
	}
	return vars
}

// notRouted is the answer to a path or method that does not exist, which is not in the
// form of the other faults.
func notRouted(w http.ResponseWriter, r *http.Request) {
	FrameworkFault(w, r, NotFound("The resource could not be found."))
}
