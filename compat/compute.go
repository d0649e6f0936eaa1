package compat

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/gorilla/mux"
)

// Handler carries out an operation. An error that is a Fault goes to the client.
type Handler func(w http.ResponseWriter, r *Request) error

// Resolver finds the resource that {id} of a path names, as the caller sees it: a 404
// Fault for what another project owns.
type Resolver func(r *Request) (Resource, error)

// Compute is the compute API: the table of operations, with the handlers of the packages
// that own the resources.
type Compute struct {
	policy    Policy
	base      Base
	auth      func(http.Handler) http.Handler
	handlers  map[string]Handler
	resolvers map[string]Resolver
	targets   map[string]func(*Request) Target
	dispatch  http.Handler
	routers   map[string]*mux.Router // by the first segment of the path
}

// NewCompute makes an API without handlers. auth is the token check; it puts the Caller
// into the context.
func NewCompute(base Base, policy Policy, auth func(http.Handler) http.Handler) *Compute {
	return &Compute{
		policy: policy, base: base, auth: auth,
		handlers: map[string]Handler{}, resolvers: map[string]Resolver{},
		targets: map[string]func(*Request) Target{}, routers: map[string]*mux.Router{},
	}
}

// Handle registers the handler of an operation of the table, by its Name: "GET /servers"
// or "POST /servers/{id}/action os-start".
func (c *Compute) Handle(name string, h Handler) {
	if _, twice := c.handlers[name]; twice {
		panic("compat: two handlers for " + name)
	}
	c.handlers[name] = h
}

// Resolve registers how {id} below a collection ("servers") is looked up.
func (c *Compute) Resolve(collection string, f Resolver) { c.resolvers[collection] = f }

// Target registers whom the operations of a path act on, where neither a resolved resource
// nor the caller's own project is meant ("/os-quota-sets/{id}", "/os-keypairs").
func (c *Compute) Target(path string, f func(*Request) Target) { c.targets[path] = f }

// endpoint is one method and path, with its operations by action and version.
type endpoint struct {
	api        *Compute
	collection string
	actions    map[string][]*Operation // under "" for what is no action
}

// ServeHTTP makes an endpoint something that a router can hold; route calls serve, which
// needs the version and the caller.
func (*endpoint) ServeHTTP(w http.ResponseWriter, r *http.Request) { notRouted(w, r) }

// Build checks that every handler belongs to an operation of the table and every operation
// has a policy, and makes the routes. Nothing may be registered after it.
func (c *Compute) Build() error {
	return c.build(Operations())
}

func (c *Compute) build(operations []*Operation) error {
	var problems []error
	known := map[string]bool{}
	endpoints := map[string]*endpoint{}
	var order []*Operation
	for _, op := range operations {
		known[op.Name()] = true
		if !op.guarded() {
			problems = append(problems, fmt.Errorf("operation %s has no policy rule that can refuse a caller", op.Name()))
		}
		for _, rule := range op.Rules {
			for _, name := range rule.names() {
				if name != AnyCaller && !c.policy.Known(name) {
					problems = append(problems, fmt.Errorf("operation %s: no policy row for %s", op.Name(), name))
				}
			}
		}
		key := op.Method + " " + op.Path
		e := endpoints[key]
		if e == nil {
			e = &endpoint{api: c, collection: firstSegment(op.Path), actions: map[string][]*Operation{}}
			endpoints[key] = e
			order = append(order, op)
		}
		e.actions[op.Action] = append(e.actions[op.Action], op)
	}
	for name := range c.handlers {
		if !known[name] {
			problems = append(problems, fmt.Errorf("handler %q has no row in the table of operations", name))
		}
	}
	// Literal paths go first, so that /servers/detail is not the server named "detail".
	for _, literal := range []bool{true, false} {
		for _, op := range order {
			if strings.HasSuffix(op.Path, "}") == literal {
				continue
			}
			first := firstSegment(op.Path)
			if c.routers[first] == nil {
				c.routers[first] = mux.NewRouter().UseEncodedPath()
			}
			c.routers[first].Methods(op.Method).Path(op.Path).Handler(endpoints[op.Method+" "+op.Path])
		}
	}
	c.dispatch = c.auth(http.HandlerFunc(c.route))
	return errors.Join(problems...)
}

func firstSegment(path string) string {
	seg, _, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
	return seg
}

// ServeHTTP answers below the service's root: version documents to anybody, operations to
// those with a token.
func (c *Compute) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("X-Compute-Request-Id", RequestID(r.Context()))
	if r.ContentLength > MaxBody {
		FrameworkFault(w, r, TooLarge("Request is too large."))
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, MaxBody)
	if c.serveDocument(w, r, c.base.URL(r)) {
		return
	}
	c.dispatch.ServeHTTP(w, r)
}

// Mounted serves the API below a path, such as /compute: its links name that path.
func (c *Compute) Mounted(path string) http.Handler {
	inner := *c
	inner.base.Mount = path
	inner.dispatch = inner.auth(http.HandlerFunc(inner.route))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := *r.URL
		u.Path, u.RawPath = strings.TrimPrefix(u.Path, path), strings.TrimPrefix(u.RawPath, path)
		if u.Path == "" {
			u.Path = "/"
		}
		below := *r
		below.URL = &u
		inner.ServeHTTP(w, &below)
	})
}
