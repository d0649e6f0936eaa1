package identity

import (
	"io"
	"net/http"
	"net/url"
	"strings"

	"github.com/gorilla/mux"

	"kilonova/compat"
)

// access says who may call a route. The zero value is the narrowest.
type access int

const (
	admins   access = iota // the role admin, in any scope
	readers                // admins, and readers of the whole system
	self                   // readers, and the user that the path names
	owner                  // the user that the path names and nobody else
	anyToken               // whoever has a token; the handler looks further
	public                 // anybody
)

// route is one operation. Its name is Keystone's, for the message of a refusal.
type route struct {
	method, path string
	access       access
	name         string
	handle       func(w http.ResponseWriter, r *http.Request) error
}

// Handler answers the identity API below the place where it is mounted: /, /v3, /v3/....
func (s *Service) Handler() http.Handler { return s.handler }

func (s *Service) routes() http.Handler {
	router := mux.NewRouter().SkipClean(true).UseEncodedPath()
	router.NotFoundHandler = http.HandlerFunc(notRouted)
	router.MethodNotAllowedHandler = http.HandlerFunc(wrongMethod)
	tables := [][]route{s.authRoutes(), s.domainRoutes(), s.projectRoutes(), s.userRoutes(), s.groupRoutes(),
		s.roleRoutes(), s.grantRoutes(), s.catalogRoutes(), s.appCredRoutes(), s.emptyRoutes()}
	for _, table := range tables {
		for _, rt := range table {
			rt.handle = jsonBody(rt.handle)
			h := s.adapter(rt.handle)
			if rt.access != public {
				h = s.Authenticate(s.adapter(rt.guarded))
			}
			methods := []string{rt.method}
			if rt.method == http.MethodGet {
				methods = append(methods, http.MethodHead)
			}
			router.Path(rt.path).Methods(methods...).Handler(compat.Named(rt.method+" "+rt.path, h))
		}
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Vary", "X-Auth-Token")
		if r.ContentLength > maxBody {
			compat.FrameworkFault(w, r, compat.TooLarge("Request is too large."))
			return
		}
		if r.Body != nil {
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		router.ServeHTTP(w, withoutSlash(r))
	})
}

// notRouted and wrongMethod answer what no route takes. Keystone's own framework does it
// there, in one form for every Accept.
func notRouted(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, "<!doctype html>\n<html lang=en>\n<title>404 Not Found</title>\n<h1>Not Found</h1>\n"+ // a client that has gone needs no answer
		"<p>The requested URL was not found on the server. If you entered the URL manually please check your spelling and try again.</p>\n")
}

func wrongMethod(w http.ResponseWriter, _ *http.Request) {
	compat.WriteBytes(w, http.StatusMethodNotAllowed, []byte(`{"message": "The method is not allowed for the requested URL."}`+"\n"))
}

// withoutSlash drops one slash at the end of the path, which Keystone does not mind.
func withoutSlash(r *http.Request) *http.Request {
	if len(r.URL.Path) < 2 || !strings.HasSuffix(r.URL.Path, "/") {
		return r
	}
	u := *r.URL
	u.Path = strings.TrimSuffix(u.Path, "/")
	u.RawPath = strings.TrimSuffix(u.RawPath, "/")
	inner := new(http.Request)
	*inner = *r
	inner.URL = &u
	return inner
}

// adapter makes an http.Handler of a handler that returns its error.
func (s *Service) adapter(h func(http.ResponseWriter, *http.Request) error) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		err := h(w, r)
		if err != nil {
			s.fail(w, r, err)
		}
	})
}

// guarded calls the route's handler if the caller may.
func (rt route) guarded(w http.ResponseWriter, r *http.Request) error {
	c := compat.CallerFrom(r.Context())
	mine := pathVar(r, "user") == c.UserID
	reads := c.IsAdmin() || c.System && c.Has("reader")
	ok := c.IsAdmin()
	switch rt.access {
	case readers:
		ok = reads
	case self:
		ok = reads || mine
	case owner:
		ok = mine
	case anyToken:
		ok = true
	}
	if !ok {
		return forbidden(rt.name)
	}
	return rt.handle(w, r)
}

func forbidden(action string) error {
	return compat.Forbidden("You are not authorized to perform the requested action: identity:%s.", action)
}

// isReader reports whether the caller may see what is not the own.
func isReader(r *http.Request) bool {
	c := compat.CallerFrom(r.Context())
	return c.IsAdmin() || c.System && c.Has("reader")
}

// pathVar gives a variable of the path, "" where the route has none of the name.
func pathVar(r *http.Request, name string) string {
	raw := mux.Vars(r)[name]
	v, err := url.PathUnescape(raw)
	if err != nil {
		return raw
	}
	return v
}

// missing is the 404 for a resource.
func missing(kind, id string) error {
	return compat.NotFound("Could not find %s: %s.", kind, clip(id))
}

func noContent(w http.ResponseWriter) error {
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// versionView is the version document's entry.
func (s *Service) versionView(r *http.Request) object {
	return object{
		"id": "v3.14", "status": "stable", "updated": "2020-04-07T00:00:00Z",
		"links":       []object{{"rel": "self", "href": s.base(r) + "/v3/"}},
		"media-types": []object{{"base": "application/json", "type": "application/vnd.openstack.identity-v3+json"}},
	}
}

// versions answers GET /, in the nested form that gophercloud needs.
func (s *Service) versions(w http.ResponseWriter, r *http.Request) error {
	return compat.WriteJSON(w, http.StatusMultipleChoices, object{"versions": object{"values": []object{s.versionView(r)}}})
}

// v3 answers GET /v3.
func (s *Service) v3(w http.ResponseWriter, r *http.Request) error {
	return compat.WriteJSON(w, http.StatusOK, object{"version": s.versionView(r)})
}

// emptyRoutes are collections that kilonova has nothing in, for clients that look.
func (s *Service) emptyRoutes() []route {
	empty := func(key string) func(http.ResponseWriter, *http.Request) error {
		return func(w http.ResponseWriter, r *http.Request) error { return s.collection(w, r, key, nil, "") }
	}
	return []route{
		{"GET", "/v3/credentials", anyToken, "list_credentials", empty("credentials")},
		{"GET", "/v3/policies", readers, "list_policies", empty("policies")},
		{"GET", "/v3/registered_limits", anyToken, "list_registered_limits", empty("registered_limits")},
		{"GET", "/v3/limits", anyToken, "list_limits", empty("limits")},
		{"GET", "/v3/users/{user}/access_rules", self, "list_access_rules", empty("access_rules")},
	}
}
