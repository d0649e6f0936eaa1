package images

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
	"github.com/gorilla/mux"

	"kilonova/compat"
)

// call is a request whose caller holds the route's rule for the image that the path names.
type call struct {
	*http.Request
	caller *compat.Caller // nil with a ticket
	rec    *record        // nil where the path names no image
}

func (c *call) param(name string) string {
	v := mux.Vars(c.Request)[name]
	u, err := url.PathUnescape(v)
	if err != nil {
		return v
	}
	return u
}

// route is a row of the service's table of operations.
type route struct {
	method, path string
	rule         string
	handle       func(*Service, http.ResponseWriter, *call) error
}

// routes is all that needs a token. checkRoutes holds it against the policies.
var routes = []route{
	{"GET", "/v2/images", "get_images", (*Service).list},
	{"POST", "/v2/images", "add_image", (*Service).create},
	{"GET", "/v2/images/{id}", "get_image", (*Service).show},
	{"PATCH", "/v2/images/{id}", "modify_image", (*Service).patch},
	{"DELETE", "/v2/images/{id}", "delete_image", (*Service).delete},
	{"GET", "/v2/images/{id}/file", "download_image", (*Service).download},
	{"PUT", "/v2/images/{id}/file", "upload_image", (*Service).upload},
	{"PUT", "/v2/images/{id}/stage", "stage_image", (*Service).stage},
	{"POST", "/v2/images/{id}/import", "import_image", (*Service).startImport},
	{"GET", "/v2/images/{id}/tasks", "get_image_tasks", fixed(`{"tasks": []}`)},
	{"POST", "/v2/images/{id}/actions/deactivate", "deactivate", (*Service).deactivate},
	{"POST", "/v2/images/{id}/actions/reactivate", "reactivate", (*Service).reactivate},
	{"PUT", "/v2/images/{id}/tags/{tag}", "modify_image", (*Service).addTag},
	{"DELETE", "/v2/images/{id}/tags/{tag}", "modify_image", (*Service).removeTag},
	{"GET", "/v2/images/{id}/members", "get_members", (*Service).members},
	{"POST", "/v2/images/{id}/members", "add_member", (*Service).addMember},
	{"GET", "/v2/images/{id}/members/{member}", "get_members", (*Service).member},
	{"PUT", "/v2/images/{id}/members/{member}", "modify_member", (*Service).setMember},
	{"DELETE", "/v2/images/{id}/members/{member}", "delete_member", (*Service).removeMember},
	{"GET", "/v2/info/import", "get_import_info", fixed(`{"import-methods": {"description": "Import methods available.", "type": "array", "value": ["glance-direct"]}}`)},
	{"GET", "/v2/info/stores", "get_stores", missing("Multi backend is not supported at this site.")},
	{"GET", "/v2/schemas/{schema}", "get_schemas", (*Service).schema},
	{"GET", "/v2/schemas/metadefs/{schema}", "get_schemas", (*Service).metadefSchema},
	{"GET", "/v2/metadefs/namespaces", "get_metadefs", namespacesList.handle},
	{"GET", "/v2/metadefs/namespaces/{name}", "get_metadefs", missing("Metadata definition namespace not found.")},
	{"GET", "/v2/metadefs/resource_types", "get_metadefs", fixed(`{"resource_types": []}`)},
	{"GET", "/v2/tasks", "get_tasks", tasksList.handle},
	{"GET", "/v2/tasks/{task}", "get_tasks", missing("Task not found.")},
}

func fixed(body string) func(*Service, http.ResponseWriter, *call) error {
	return func(_ *Service, w http.ResponseWriter, _ *call) error {
		compat.WriteBytes(w, http.StatusOK, []byte(body))
		return nil
	}
}

func missing(message string) func(*Service, http.ResponseWriter, *call) error {
	return func(*Service, http.ResponseWriter, *call) error { return compat.NotFound("%s", message) }
}

// Handler serves the API below the service's own root: version documents to anybody, image
// data to holders of a ticket for it, and the rest to those with a token.
func (s *Service) Handler() http.Handler {
	withToken := mux.NewRouter().UseEncodedPath().SkipClean(true)
	withToken.NotFoundHandler = plain(compat.NotFound("The resource could not be found."))
	withToken.MethodNotAllowedHandler = plain(&compat.Fault{Code: http.StatusMethodNotAllowed, Message: "The method is not allowed for this resource."})
	for _, rt := range routes {
		withToken.Path(rt.path).Methods(rt.method).Handler(compat.Named(rt.method+" "+rt.path, s.adapter(rt)))
	}
	checked := s.Auth(withToken)
	open := mux.NewRouter().UseEncodedPath().SkipClean(true)
	open.MethodNotAllowedHandler = withToken.MethodNotAllowedHandler
	for _, path := range []string{"/v2", "/v2/"} {
		open.Path(path).Methods(http.MethodGet, http.MethodHead).Handler(s.versions(http.StatusMultipleChoices))
	}
	open.Path("/versions").Methods(http.MethodGet, http.MethodHead).Handler(s.versions(http.StatusOK))
	open.Path("/v2/images/{id}/file").Headers(ticketHeader, "").Methods(http.MethodGet, http.MethodPut).Handler(compat.Named("ticket /v2/images/{id}/file", http.HandlerFunc(s.ticketed)))
	open.NotFoundHandler = checked
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !cleanAddress(r.URL) {
			compat.Fail(w, r, WriteFault, compat.BadRequest("The request's address is malformed or not UTF-8 encoded."))
			return
		}
		version, rest, below := strings.Cut(strings.TrimLeft(r.URL.EscapedPath(), "/"), "/")
		if version != "versions" && version != "v2" && !slices.Contains(minors, version) {
			// Whatever begins with no version, the bare mount too, is asked which there are.
			s.versions(http.StatusMultipleChoices).ServeHTTP(w, r)
			return
		}
		if slices.Contains(minors, version) { // one API under all of its names
			u := *r.URL
			u.RawPath = "/v2"
			if below {
				u.RawPath += "/" + rest
			}
			u.Path, _ = url.PathUnescape(u.RawPath) // it came out of a path
			r = r.Clone(r.Context())
			r.URL = &u
		}
		open.ServeHTTP(w, r)
	})
}

// cleanAddress reports whether all of an address can be stored and compared as text.
func cleanAddress(u *url.URL) bool {
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || !clean(u.Path) {
		return false
	}
	for name, values := range query {
		if !clean(name) || !clean(strings.Join(values, "")) {
			return false
		}
	}
	return true
}

// adapter checks the route's policy and turns the handler's error into an answer.
func (s *Service) adapter(rt route) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := &call{Request: r, caller: compat.CallerFrom(r.Context())}
		err := s.admit(rt, c)
		if err == nil {
			err = rt.handle(s, w, c)
		}
		if err != nil {
			fail(w, r, err)
		}
	})
}

// admit holds a call against the policy. A role is asked for before anything is read;
// images that the caller cannot see do not exist.
func (s *Service) admit(rt route, c *call) error {
	if c.caller == nil {
		return compat.Unauthorized("The request you have made requires authentication.")
	}
	need := rules[rt.rule]
	if !c.caller.IsAdmin() && !c.caller.Has(need.role) {
		return compat.Forbidden("You are not authorized to complete %s action.", rt.rule)
	}
	if strings.Contains(rt.path, "{id}") {
		var err error
		c.rec, err = s.see(c.Context(), s.DB, c.caller, c.param("id"))
		if err != nil {
			return err
		}
		return require(rt.rule, c.caller, &c.rec.Image, c.param("member"))
	}
	return require(rt.rule, c.caller, nil, "")
}

func plain(f *compat.Fault) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { WriteFault(w, r, f) })
}

// fail answers with an error.
func fail(w http.ResponseWriter, r *http.Request, err error) {
	compat.Fail(w, r, WriteFault, err)
}

// ownWords are what Glance says of some codes whatever the cause.
var ownWords = map[int]string{
	http.StatusUnauthorized: "This server could not verify that you are authorized to access the document you requested. " +
		"Either you supplied the wrong credentials (e.g., bad password), or your browser does not understand how to supply the credentials required.",
	http.StatusInternalServerError: "The server has either erred or is incapable of performing the requested operation.",
}

// WriteFault answers in the form of all of Glance's errors, those of the token check too:
// its framework's, which follows Accept.
func WriteFault(w http.ResponseWriter, r *http.Request, f *compat.Fault) {
	said := *f
	said.Message = cmp.Or(ownWords[f.Code], f.Message)
	for _, name := range []string{"Content-MD5", "Content-Length", "Content-Type"} {
		w.Header().Del(name)
	}
	compat.FrameworkFault(w, r, &said)
}

// readJSON reads a bounded body, which is an object or a list; numbers stay as they were
// written.
func readJSON(w http.ResponseWriter, r *http.Request) (any, error) {
	raw, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			return nil, compat.TooLarge("The request body is larger than %d bytes.", maxBody)
		}
		return nil, compat.BadRequest("The request body ended before it was complete.")
	}
	malformed := compat.BadRequest("Malformed JSON in request body.")
	if !utf8.Valid(raw) {
		return nil, malformed
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var body any
	err = d.Decode(&body)
	if err != nil || len(bytes.TrimSpace(raw[d.InputOffset():])) > 0 {
		return nil, malformed
	}
	switch body.(type) {
	case map[string]any, []any:
		return body, nil
	}
	return nil, compat.BadRequest("Unexpected body type. Expected list/dict.")
}

// readObject reads a body that has to be an object.
func readObject(w http.ResponseWriter, r *http.Request) (map[string]any, error) {
	body, err := readJSON(w, r)
	if err != nil {
		return nil, err
	}
	doc, ok := body.(map[string]any)
	if !ok {
		return nil, mismatch(body, "object")
	}
	return doc, nil
}

func (s *Service) show(w http.ResponseWriter, c *call) error {
	compat.WriteBytes(w, http.StatusOK, imageDocument(&c.rec.Image))
	return nil
}

func (s *Service) create(w http.ResponseWriter, c *call) error {
	body, err := readObject(w, c.Request)
	if err != nil {
		return err
	}
	img := &Image{Owner: c.caller.ProjectID, Unnamed: true, Status: Queued, Visibility: Shared, Properties: map[string]string{}, Tags: []string{}}
	for name, v := range body {
		if name == "id" {
			img.ID, err = newID(v)
		} else {
			err = setAttribute(img, name, v)
		}
		if err != nil {
			return err
		}
	}
	if img.ID == "" {
		img.ID = uuid.NewString()
	}
	err = checkQuota(img)
	if err != nil {
		return err
	}
	if img.Owner != c.caller.ProjectID && !allowed("set_owner", c.caller, img, "") {
		return compat.Forbidden("You are not permitted to create images owned by '%s'.", clip(img.Owner))
	}
	err = mayShow(c.caller, img)
	if err != nil {
		return err
	}
	err = s.insert(c.Context(), img)
	if err != nil {
		return err
	}
	h := w.Header()
	h.Set("Location", s.Base.URL(c.Request)+"/v2/images/"+img.ID)
	h.Set("OpenStack-image-import-methods", "glance-direct")
	compat.WriteBytes(w, http.StatusCreated, imageDocument(img))
	return nil
}

// newID reads an id that the client chose.
func newID(v any) (string, error) {
	id, ok := v.(string)
	if !ok {
		return "", mismatch(v, "string")
	}
	u, err := uuid.Parse(id)
	if err != nil || len(id) != 36 {
		return "", invalid(id, "does not match %s", compat.PythonRepr(uuidPattern))
	}
	return u.String(), nil
}

// mayShow asks the policy about a visibility that was chosen.
func mayShow(c *compat.Caller, img *Image) error {
	switch img.Visibility {
	case Public:
		return require("publicize_image", c, img, "")
	case Community:
		return require("communitize_image", c, img, "")
	}
	return nil
}

func (s *Service) delete(w http.ResponseWriter, c *call) error {
	err := s.remove(c.Context(), c.caller, c.rec.ID, mayDelete)
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func mayDelete(rec *record) error {
	if rec.Protected {
		return compat.Forbidden("Image %s is protected and cannot be deleted.", rec.ID)
	}
	return nil
}

func (s *Service) upload(w http.ResponseWriter, c *call) error {
	return s.receive(w, c.Request, c.rec, false)
}

func (s *Service) stage(w http.ResponseWriter, c *call) error {
	return s.receive(w, c.Request, c.rec, true)
}

func (s *Service) download(w http.ResponseWriter, c *call) error {
	if c.rec.Status == Deactivated {
		err := require("download_deactivated", c.caller, &c.rec.Image, "")
		if err != nil {
			return compat.Forbidden("The requested image has been deactivated. Image data download is forbidden.")
		}
	}
	return s.send(w, c.Request, c.rec)
}
