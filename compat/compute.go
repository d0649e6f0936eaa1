package compat

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// MaxBody is the largest request body that the compute API reads, in bytes.
const MaxBody = 114688

// Request is one call of an operation whose token, version, body, query, resource and
// policy have been checked.
type Request struct {
	*http.Request
	Version  Version
	Legacy   bool // under /v2, where versions are ignored and bodies are lenient
	Caller   *Caller
	Op       *Operation
	Raw      []byte     // the body as it came; null for none
	Query    url.Values // parsed once
	Resource Resource   // what the path's first id names, where a Resolver is registered

	policy                             Policy
	root, versionPrefix, projectPrefix string
}

// Resource is what a Resolver finds; its owner is the target of the operation's policy.
type Resource interface{ PolicyTarget() Target }

// Handler carries out an operation. An error that is a Fault goes to the client.
type Handler func(w http.ResponseWriter, r *Request) error

// Resolver finds the resource that {id} of a path names, as the caller sees it: a 404
// Fault for what another project owns.
type Resolver func(r *Request) (Resource, error)

// Var gives a variable of the operation's path.
func (r *Request) Var(name string) string { return mux.Vars(r.Request)[name] }

// Decode reads the body, which has passed its schema, into v.
func (r *Request) Decode(v any) error {
	err := json.Unmarshal(r.Raw, v)
	if err != nil {
		return BadRequest("Malformed request body")
	}
	return nil
}

// May reports whether the caller may do what a rule names to the request's resource, or to
// the own project where there is none. It decides what a view shows.
func (r *Request) May(rule string) bool { return r.MayTo(rule, r.Target()) }

// MayTo is May for another target.
func (r *Request) MayTo(rule string, t Target) bool { return r.policy.Allows(rule, r.Caller, t) }

// Require is May with a 403 Fault for no.
func (r *Request) Require(rule string) error { return r.RequireTo(rule, r.Target()) }

// RequireTo is MayTo with a 403 Fault for no.
func (r *Request) RequireTo(rule string, t Target) error {
	if !r.MayTo(rule, t) {
		return Forbidden("Policy doesn't allow %s to be performed.", rule)
	}
	return nil
}

// Target is what rules are asked about: the request's resource, or the caller's own project
// where there is none.
func (r *Request) Target() Target {
	if r.Resource != nil {
		return r.Resource.PolicyTarget()
	}
	return Target{ProjectID: r.Caller.ProjectID, UserID: r.Caller.UserID}
}

// Answer writes v with the operation's success code.
func (r *Request) Answer(w http.ResponseWriter, v any) error {
	if v == nil {
		w.WriteHeader(r.Op.Success)
		return nil
	}
	r.nameKind(w)
	return WriteJSON(w, r.Op.Success, v)
}

// AnswerBytes writes encoded JSON with the operation's success code.
func (r *Request) AnswerBytes(w http.ResponseWriter, body []byte) error {
	r.nameKind(w)
	WriteBytes(w, r.Op.Success, body)
	return nil
}

// vendorKind is compute's own name for JSON, which an answer bears for those who ask for it.
const vendorKind = "application/vnd.openstack.compute+json"

func (r *Request) nameKind(w http.ResponseWriter) {
	if r.Header.Get("Accept") == vendorKind {
		w.Header().Set("Content-Type", vendorKind)
	}
}

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
	if seg == "os-volumes_boot" && v > lastVolumesBoot {
		Fail(w, r, ComputeFault, errNotThere)
		return
	}
	if seg == "os-volumes_boot" {
		// An undocumented alias of /servers.
		seg, rest = "servers", strings.TrimSuffix("servers/"+below, "/")
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

// lastVolumesBoot is the last version at which /os-volumes_boot exists.
const lastVolumesBoot Version = 102

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

// serve runs the checks of one call in Nova's order and then the operation's handler.
func (e *endpoint) serve(w http.ResponseWriter, r *Request, urlProject string) error {
	body, hasBody, err := e.readBody(r)
	if err != nil {
		return err
	}
	ops, err := e.operations(r, body)
	if err != nil {
		return err
	}
	if urlProject != "" && urlProject != r.Caller.ProjectID {
		return BadRequest("Malformed request URL: URL's project_id '%s' doesn't match Context's project_id '%s'", clip(urlProject), r.Caller.ProjectID)
	}
	r.Op = atVersion(ops, r.Version)
	if r.Op == nil {
		return NotFound("API version %s is not supported on this method.", r.Version)
	}
	if r.Op.Success == http.StatusGone {
		return &Fault{Code: http.StatusGone, Message: "This API is no longer available: it was removed from the compute service."}
	}
	if r.Op.Success == http.StatusBadRequest {
		return BadRequest("Unavailable console type rdp-html5.")
	}
	err = r.checkInput(body, hasBody)
	if err != nil {
		return err
	}
	err = e.authorize(r)
	if err != nil {
		return err
	}
	h := e.api.handlers[r.Op.Name()]
	if h == nil {
		return &Fault{Code: http.StatusNotImplemented, Message: r.Op.Name() + " is not implemented by this release of kilonova."}
	}
	return h(w, r)
}

func atVersion(ops []*Operation, v Version) *Operation {
	for _, op := range ops {
		if op.Has(v) {
			return op
		}
	}
	return nil
}

// readBody reads and decodes the body of a method that has one.
func (e *endpoint) readBody(r *Request) (body any, has bool, err error) {
	r.Raw = []byte("null")
	if r.Method != http.MethodPost && r.Method != http.MethodPut {
		return nil, false, nil
	}
	err = checkContentType(r.Header.Get("Content-Type"))
	if err != nil {
		return nil, false, err
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, false, fmt.Errorf("read the request body: %w", err)
	}
	if len(bytes.TrimSpace(raw)) == 0 {
		return nil, true, nil
	}
	if !utf8.Valid(raw) || tooDeep(raw) {
		return nil, false, BadRequest("Malformed request body")
	}
	body, err = jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		return nil, false, BadRequest("Malformed request body")
	}
	r.Raw = raw
	return body, true, nil
}

// tooDeep bounds the nesting of a body, which costs stack to decode and to check.
func tooDeep(raw []byte) bool {
	const limit = 64
	depth, inString, escaped := 0, false, false
	for _, b := range raw {
		switch {
		case escaped:
			escaped = false
		case inString && b == '\\':
			escaped = true
		case b == '"':
			inString = !inString
		case inString:
		case b == '{' || b == '[':
			depth++
			if depth > limit {
				return true
			}
		case b == '}' || b == ']':
			depth--
		}
	}
	return false
}

func checkContentType(ct string) error {
	if ct == "" {
		return nil
	}
	kind, _, err := mime.ParseMediaType(ct)
	if err != nil {
		kind = strings.TrimSpace(strings.ToLower(strings.Split(ct, ";")[0]))
	}
	switch kind {
	case "application/json", "text/plain", vendorKind:
		return nil
	}
	return &Fault{Code: http.StatusUnsupportedMediaType, Message: "Unsupported Content-Type"}
}

// operations gives the rows that the call may mean: by the one key of its body when the
// endpoint is an action one.
func (e *endpoint) operations(r *Request, body any) ([]*Operation, error) {
	if ops := e.actions[""]; ops != nil {
		return ops, nil
	}
	doc, ok := body.(map[string]any)
	if !ok || len(doc) != 1 {
		return nil, BadRequest("Malformed request body")
	}
	for name := range doc {
		ops := e.actions[name]
		if ops == nil {
			return nil, BadRequest("There is no such action: %s", clip(name))
		}
		return ops, nil
	}
	return nil, BadRequest("Malformed request body")
}

// checkInput holds the body and the query against the operation's schemas.
func (r *Request) checkInput(body any, hasBody bool) error {
	version := r.Version
	if r.Legacy {
		version = LegacyVersion
	}
	if hasBody && r.Op.TakesBody(version) {
		if r.Legacy {
			body = r.Op.LegacyBody(body)
			raw, err := json.Marshal(body)
			if err != nil {
				return BadRequest("Malformed request body")
			}
			r.Raw = raw
		}
		f := r.Op.CheckBody(version, body)
		if f != nil {
			return f
		}
	}
	q := ParseQuery(r.URL.RawQuery)
	for k, vs := range q {
		if !utf8.ValidString(k) || !utf8.ValidString(strings.Join(vs, "")) {
			return BadRequest("Query string is not UTF-8 encoded")
		}
	}
	r.Query = q
	f := r.Op.CheckQuery(r.Version, q)
	if f != nil {
		return f
	}
	return nil
}

// authorize looks the resource up, as the caller may see it, and asks the policy.
func (e *endpoint) authorize(r *Request) error {
	resolve := e.api.resolvers[e.collection]
	if resolve != nil && strings.Contains(r.Op.Path, "/{id}") {
		resource, err := resolve(r)
		if err != nil {
			return err
		}
		r.Resource = resource
	}
	target := r.Target()
	if f := e.api.targets[r.Op.Path]; f != nil {
		target = f(r)
	}
	for _, rule := range r.Op.Rules {
		if rule.Name == AnyCaller {
			return nil
		}
		if rule.Fatal {
			// Only the first rule of a row always applies; a handler asks for the others
			// when their condition holds.
			if rule.Or != "" && r.MayTo(rule.Or, target) {
				return nil
			}
			return r.RequireTo(rule.Name, target)
		}
	}
	// Build refuses a row without a rule that decides, so this is nobody's way in.
	return Forbidden("Policy doesn't allow %s to be performed.", r.Op.Name())
}

// AnyCaller in the table of operations lets everybody in who has a valid token.
const AnyCaller = "@"

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
