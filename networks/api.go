package networks

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gorilla/mux"

	"kilonova/compat"
)

// maxBody is the largest request body, in bytes; Neutron's limit.
const maxBody = 114688

// request is one call whose token and policy have been checked.
type request struct {
	*http.Request
	caller *compat.Caller
	ring   string // the host that has something to do when the change is made
}

func (r *request) id() string { return mux.Vars(r.Request)["id"] }

type handler func(w http.ResponseWriter, r *request) error

// access says who may call a route or write an attribute. Its zero value lets nobody in.
type access int

const (
	nobody    access = iota
	readers          // who may read in the project, and services
	members          // who may change things in the project
	plugs            // members, and services, which plug ports for servers
	landlords        // services, and members of the project whose network it is
	managers         // services, and managers of the project whose network it is
	services         // admins and services
	admins
)

// ofNetwork reports whether the access also asks whose the network is; accept only asks for
// the role, and guard for the rest once the network is known.
func (a access) ofNetwork() bool { return a == landlords || a == managers }

// allows reports whether the caller has the role; whose rows it then reaches is the
// business of each statement.
func (a access) allows(c *compat.Caller) bool {
	switch {
	case a == nobody:
		return false
	case c.IsAdmin():
		return true
	case c.Has("service") && (a == readers || a == plugs || a == services || a.ofNetwork()):
		return true
	case a == readers:
		return c.Has("reader") || c.Has("member")
	case a == members || a == plugs || a == landlords:
		return c.Has("member")
	case a == managers:
		return c.Has("manager")
	}
	return false
}

// everything reports whether a caller sees and changes the things of all projects.
func everything(c *compat.Caller) bool { return c.IsAdmin() || c.Has("service") }

// route is one operation, with who may call it.
type route struct {
	method, path string
	who          access
	do           handler
}

// table is every operation of the API with its policy: what is not in it does not exist.
func (s *Service) table() []route {
	var t []route
	for _, k := range s.kinds() {
		path := "/" + k.path
		t = append(t,
			route{"GET", path, readers, s.list(k)},
			route{"POST", path, k.writers, s.create(k)},
			route{"GET", path + "/{id}", readers, s.show(k)},
			route{"PUT", path + "/{id}", k.writers, s.update(k)},
			route{"DELETE", path + "/{id}", k.writers, s.remove(k)},
		)
		if !k.tagged {
			continue
		}
		t = append(t,
			route{"GET", path + "/{id}/tags", readers, s.listTags(k)},
			route{"PUT", path + "/{id}/tags", k.writers, s.replaceTags(k)},
			route{"DELETE", path + "/{id}/tags", k.writers, s.clearTags(k)},
			route{"GET", path + "/{id}/tags/{tag}", readers, s.hasTag(k)},
			route{"PUT", path + "/{id}/tags/{tag}", k.writers, s.addTag(k)},
			route{"DELETE", path + "/{id}/tags/{tag}", k.writers, s.removeTag(k)},
		)
	}
	for _, plural := range emptyCollections {
		t = append(t,
			route{"GET", "/" + plural, readers, emptyList(plural)},
			route{"GET", "/" + plural + "/{id}", readers, missingItem(plural)},
		)
	}
	return append(t,
		route{"GET", "/extensions", readers, s.listExtensions},
		route{"GET", "/extensions/{id}", readers, s.showExtension},
		route{"GET", "/availability_zones", readers, listZones},
		route{"GET", "/auto-allocated-topology/{id}", readers, s.showTopology},
		route{"DELETE", "/auto-allocated-topology/{id}", members, s.deleteTopology},
		route{"GET", "/quotas", admins, s.listQuotas},
		route{"GET", "/quotas/tenant", readers, quotaProject("tenant", "tenant_id")},
		route{"GET", "/quotas/project", readers, quotaProject("project", "project_id")},
		route{"GET", "/quotas/{id}", readers, s.showQuotas},
		route{"GET", "/quotas/{id}/default", readers, s.defaultQuotas},
		route{"GET", "/quotas/{id}/details", readers, s.quotaDetails},
		route{"PUT", "/quotas/{id}", admins, s.updateQuotas},
		route{"DELETE", "/quotas/{id}", admins, s.deleteQuotas},
	)
}

// routes makes the service's handler.
func (s *Service) routes() http.Handler {
	router := mux.NewRouter().UseEncodedPath().SkipClean(true)
	router.NotFoundHandler = http.HandlerFunc(notRouted)
	router.MethodNotAllowedHandler = http.HandlerFunc(wrongMethod)
	for _, rt := range s.table() {
		router.Methods(rt.method).Path("/v2.0" + rt.path).Handler(compat.Named(rt.method+" /v2.0"+rt.path, rt))
	}
	inside := http.Handler(router)
	if s.cfg.Auth != nil {
		inside = s.cfg.Auth(router)
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		path := strings.TrimSuffix(strings.TrimSuffix(r.URL.EscapedPath(), "/"), ".json")
		switch path {
		case "":
			s.versions(w, r)
			return
		case "/v2.0":
			s.resources(w, r)
			return
		}
		if !strings.HasPrefix(path, "/v2.0/") {
			outside(w, r, http.StatusNotFound, "The resource could not be found.")
			return
		}
		u := *r.URL
		u.RawPath = path
		u.Path = unescape(path)
		in := r.Clone(r.Context())
		in.URL = &u
		in.Body = http.MaxBytesReader(w, r.Body, maxBody)
		inside.ServeHTTP(w, in)
	})
}

func notRouted(w http.ResponseWriter, r *http.Request) {
	compat.NeutronFault(w, r, fault(404, "HTTPNotFound", "The resource could not be found."))
}

func wrongMethod(w http.ResponseWriter, r *http.Request) {
	plural, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2.0/"), "/")
	if slices.Contains(emptyCollections, plural) { // what is not there can be listed and no more
		notRouted(w, r)
		return
	}
	compat.NeutronFault(w, r, fault(http.StatusMethodNotAllowed, "HTTPMethodNotAllowed",
		"The server could not comply with the request since it is either malformed or otherwise incorrect."))
}

// outside answers where the versioned API is not: there Neutron's framework has a document
// of its own for those who like JSON best.
func outside(w http.ResponseWriter, r *http.Request, code int, message string) {
	if r.Header.Get("Accept") == "" || compat.Accepted(r, "text/plain", "text/html", "application/json") != "application/json" {
		compat.FrameworkFault(w, r, &compat.Fault{Code: code, Message: message})
		return
	}
	compat.WriteBytes(w, code, fmt.Appendf(nil, `{"code": %d, "title": %q, "description": null}`, code, http.StatusText(code)))
}

// fault is a Fault with Neutron's type.
func fault(code int, kind, format string, a ...any) *compat.Fault {
	message := format
	if len(a) > 0 {
		message = fmt.Sprintf(format, a...)
	}
	return &compat.Fault{Code: code, Type: kind, Message: message}
}

func badRequest(format string, a ...any) *compat.Fault {
	return fault(400, "HTTPBadRequest", format, a...)
}

func invalidInput(format string, a ...any) *compat.Fault {
	return fault(400, "InvalidInput", "Invalid input for operation: "+format+".", a...)
}

func forbidden(rule string) *compat.Fault {
	return fault(403, "PolicyNotAuthorized", "%s is disallowed by policy", rule)
}

// ServeHTTP checks the caller, calls the operation and writes its error.
func (rt route) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := rt.serve(w, r)
	if err != nil {
		compat.Fail(w, r, compat.NeutronFault, err)
	}
}

func (rt route) serve(w http.ResponseWriter, r *http.Request) error {
	c := compat.CallerFrom(r.Context())
	if c == nil {
		return fault(401, "HTTPUnauthorized", "Authentication required")
	}
	if !rt.who.allows(c) || (c.ProjectID == "" && !everything(c)) {
		return forbidden("rule:" + rt.method + " " + rt.path)
	}
	vars := mux.Vars(r)
	for name, v := range vars {
		v = unescape(v)
		if !utf8.ValidString(v) || strings.ContainsRune(v, 0) || len(v) > 255 {
			return fault(404, "HTTPNotFound", "The resource could not be found.")
		}
		vars[name] = v
	}
	return rt.do(w, &request{Request: r, caller: c})
}

// versions answers GET / to anybody.
func (s *Service) versions(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		outside(w, r, http.StatusMethodNotAllowed, "")
		return
	}
	s.document(w, r, map[string]any{"versions": []any{map[string]any{
		"id": "v2.0", "status": "CURRENT", "links": []any{map[string]string{"rel": "self", "href": s.root(r) + "/v2.0/"}}}}})
}

// resources answers GET /v2.0/.
func (s *Service) resources(w http.ResponseWriter, r *http.Request) {
	list := []any{}
	for _, k := range s.kinds() {
		list = append(list, map[string]any{"name": k.single, "collection": k.path,
			"links": []any{map[string]string{"rel": "self", "href": s.root(r) + "/v2.0/" + k.path}}})
	}
	s.document(w, r, map[string]any{"resources": list})
}

func (s *Service) document(w http.ResponseWriter, r *http.Request, doc any) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		wrongMethod(w, r)
		return
	}
	err := compat.WriteJSON(w, http.StatusOK, doc)
	if err != nil {
		compat.Fail(w, r, compat.NeutronFault, err)
	}
}

// root is the service's address as the client reaches it, without a slash at the end.
func (s *Service) root(r *http.Request) string { return s.cfg.Base.URL(r) }

func (r *request) tag() string { return mux.Vars(r.Request)["tag"] }
