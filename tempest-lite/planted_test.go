package tempestlite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kilonova/tests/program"
)

// The checks are worth what they notice. A proxy stands between them and a cloud that
// passes, and tells one lie at a time: each has to be found out.

// lie is one way in which the proxy alters what goes through it.
type lie struct {
	name string
	only string // the checks that run, as --only; all of them pass without the lie
	ask  func(r *http.Request, body []byte) []byte
	tell func(q *http.Request, r *http.Response, body any) any
	code func(q *http.Request, r *http.Response) int // another code; the body is as it was
}

// at restricts a lie to a method and a path below /v2.1.
func at(q *http.Request, method, pattern string) bool {
	return (method == "" || q.Method == method) && regexp.MustCompile("^"+pattern+"$").MatchString(strings.TrimPrefix(q.URL.Path, "/v2.1"))
}

const oneServer = `/servers/[0-9a-f-]{36}`

// inServer alters the server in an answer that has one.
func inServer(change func(server map[string]any)) func(*http.Request, *http.Response, any) any {
	return func(_ *http.Request, _ *http.Response, body any) any {
		if server, ok := dig(body, "server").(map[string]any); ok {
			change(server)
		}
		return body
	}
}

// inFault alters the fault of an answer that is one.
func inFault(change func(name string, fault map[string]any, body map[string]any)) func(*http.Request, *http.Response, any) any {
	return func(_ *http.Request, r *http.Response, body any) any {
		top, _ := body.(map[string]any)
		if r.StatusCode < 400 {
			return body
		}
		for _, name := range slices.Collect(maps.Keys(top)) {
			if fault, ok := top[name].(map[string]any); ok {
				change(name, fault, top)
			}
		}
		return body
	}
}

// codeIs makes one code of another.
func codeIs(from, to int) func(*http.Request, *http.Response) int {
	return func(_ *http.Request, r *http.Response) int {
		if r.StatusCode == from {
			return to
		}
		return r.StatusCode
	}
}

func header(change func(http.Header)) func(*http.Request, *http.Response, any) any {
	return func(_ *http.Request, r *http.Response, body any) any { change(r.Header); return body }
}

// withoutQuery takes parameters out of what is asked.
func withoutQuery(names ...string) func(*http.Request, []byte) []byte {
	return func(r *http.Request, body []byte) []byte {
		q := r.URL.Query()
		for _, n := range names {
			q.Del(n)
		}
		r.URL.RawQuery = q.Encode()
		return body
	}
}

func speak(r *http.Request, version string) {
	r.Header.Set("OpenStack-API-Version", "compute "+version)
	r.Header.Set("X-OpenStack-Nova-API-Version", version)
}

// lies are the alterations. Their tokens are those of the run.
func lies(c *Cloud) []lie {
	show := `^servers\.show/works`
	asAdmin := func(r *http.Request, body []byte) []byte { r.Header.Set("X-Auth-Token", c.token(Admin)); return body }
	return []lie{
		// What is in an answer.
		{name: "a field is missing", only: show, tell: inServer(func(s map[string]any) { delete(s, "created") })},
		{name: "a field of a newer version is missing", only: show, tell: inServer(func(s map[string]any) { delete(s, "locked") })},
		{name: "a key is renamed", only: show, tell: inServer(func(s map[string]any) { s["flavour"] = s["flavor"]; delete(s, "flavor") })},
		{name: "a number is a text", only: show, tell: inServer(func(s map[string]any) { s["progress"] = "0" })},
		{name: "a list is an object", only: show, tell: inServer(func(s map[string]any) { s["links"] = map[string]any{} })},
		{name: "a state is written small", only: show, tell: inServer(func(s map[string]any) { s["status"] = "active" })},
		{name: "a key too many", only: show, tell: inServer(func(s map[string]any) { s["shoe_size"] = 42 })},
		{name: "a field before its version", only: show, tell: inServer(func(s map[string]any) { s["tags"] = []any{} })},
		{name: "another project's id", only: show, tell: inServer(func(s map[string]any) { s["tenant_id"] = "0123456789abcdef0123456789abcdef" })},
		{name: "a time in another form", only: show, tell: inServer(func(s map[string]any) { s["created"] = "Sat, 21 Nov 2026 10:00:00 GMT" })},
		{name: "null where a value is due", only: show, tell: inServer(func(s map[string]any) { s["hostId"] = nil })},
		{name: "an object around the answer is missing", only: show, tell: func(q *http.Request, _ *http.Response, b any) any {
			if at(q, "GET", oneServer) {
				return dig(b, "server")
			}
			return b
		}},
		{name: "links are missing in a list", only: `^servers\.list/works`, tell: func(_ *http.Request, _ *http.Response, b any) any {
			servers, _ := dig(b, "servers").([]any)
			for _, s := range servers {
				delete(s.(map[string]any), "links")
			}
			return b
		}},
		{name: "a list under another key", only: `^flavors\.list/works`, tell: func(_ *http.Request, _ *http.Response, b any) any {
			if l := dig(b, "flavors"); l != nil {
				return map[string]any{"flavours": l}
			}
			return b
		}},
		{name: "a number where the empty text is due", only: `^flavors\.detail/works`, tell: func(_ *http.Request, _ *http.Response, b any) any {
			flavors, _ := dig(b, "flavors").([]any)
			for _, f := range flavors {
				f.(map[string]any)["swap"] = []any{}
			}
			return b
		}},
		{name: "another password than was asked for", only: `^behaviour/rebuild/password`, tell: inServer(func(s map[string]any) {
			if _, has := s["adminPass"]; has {
				s["adminPass"] = "swordfish"
			}
		})},
		{name: "a body where none is due", only: `^servers\.stop/works`, tell: func(q *http.Request, r *http.Response, b any) any {
			if at(q, "POST", oneServer+"/action") {
				return map[string]any{"done": true}
			}
			return b
		}},
		{name: "half an answer", only: `^flavors\.list/works`, tell: func(q *http.Request, _ *http.Response, b any) any {
			if at(q, "GET", "/flavors") {
				return json.RawMessage(`"`)
			}
			return b
		}},

		// Headers.
		{name: "no version header", only: show, tell: header(func(h http.Header) { h.Del("OpenStack-API-Version") })},
		{name: "no old version header", only: show, tell: header(func(h http.Header) { h.Del("X-OpenStack-Nova-API-Version") })},
		{name: "another version in the header", only: show, tell: header(func(h http.Header) { h.Set("OpenStack-API-Version", "compute 2.2") })},
		{name: "no Vary", only: show, tell: header(func(h http.Header) { h.Del("Vary") })},
		{name: "no request id", only: show, tell: header(func(h http.Header) { h.Del("X-Compute-Request-Id") })},
		{name: "a request id without req-", only: show, tell: header(func(h http.Header) {
			h.Set("X-Openstack-Request-Id", strings.TrimPrefix(h.Get("X-Openstack-Request-Id"), "req-"))
		})},
		{name: "another content type", only: show, tell: header(func(h http.Header) { h.Set("Content-Type", "text/html") })},
		{name: "a 401 without its challenge", only: `^flavors\.list/no-token`, tell: header(func(h http.Header) { h.Del("WWW-Authenticate") })},

		// Codes.
		{name: "200 for 202", only: `^servers\.stop/works`, code: codeIs(202, 200)},
		{name: "202 for 204", only: `^servers\.metadata\.delete/works`, code: codeIs(204, 202)},
		{name: "403 for 404", only: `^servers\.show/unknown-id`, code: codeIs(404, 403)},
		{name: "500 for 404", only: `^servers\.show/unknown-id`, code: codeIs(404, 500)},
		{name: "422 for 400", only: `^servers\.update/(unknown-field|missing-field)`, code: codeIs(400, 422)},
		{name: "400 for 409", only: `^servers\.start/wrong-state`, code: codeIs(409, 400)},
		{name: "403 for 401", only: `^servers\.list/bad-token`, code: codeIs(401, 403)},
		{name: "404 for 410", only: `/gone@`, code: codeIs(410, 404)},
		{name: "400 for 406", only: `bad-version-above`, code: codeIs(406, 400)},
		{name: "501 for what works", only: `^servers\.reboot/works`, code: codeIs(202, 501)},

		// Faults.
		{name: "a fault under another name", only: `^servers\.show/unknown-id`, tell: inFault(func(name string, fault, body map[string]any) { delete(body, name); body["error"] = fault })},
		{name: "a fault without a message", only: `^servers\.show/unknown-id`, tell: inFault(func(_ string, fault, _ map[string]any) { delete(fault, "message") })},
		{name: "a fault with a wrong code inside", only: `^servers\.show/unknown-id`, tell: inFault(func(_ string, fault, _ map[string]any) { fault["code"] = 400 })},
		{name: "a conflict without its state", only: `^servers\.start/wrong-state`, tell: inFault(func(_ string, fault, _ map[string]any) { fault["message"] = "Conflict" })},
		{name: "a refusal that does not name the rule", only: `^flavors\.create/forbidden`, tell: inFault(func(_ string, fault, _ map[string]any) { fault["message"] = "Forbidden" })},
		{name: "a schema error that does not name the field", only: `^servers\.update/wrong-type`, tell: inFault(func(_ string, fault, _ map[string]any) { fault["message"] = "Bad request" })},

		// Who may.
		{name: "no token is enough", only: `^servers\.list/no-token`, ask: func(r *http.Request, b []byte) []byte {
			if r.Header.Get("X-Auth-Token") == "" {
				return asAdmin(r, b)
			}
			return b
		}},
		{name: "any token is enough", only: `^servers\.list/bad-token`, ask: func(r *http.Request, b []byte) []byte {
			if r.Header.Get("X-Auth-Token") == c.token(Forged) {
				return asAdmin(r, b)
			}
			return b
		}},
		{name: "members may what administrators may", only: `^flavors\.create/forbidden`, ask: asAdmin},
		{name: "readers may what members may", only: `^servers\.stop/forbidden/reader`, ask: func(r *http.Request, b []byte) []byte {
			if r.Header.Get("X-Auth-Token") == c.token(Reader) {
				r.Header.Set("X-Auth-Token", c.token(Member))
			}
			return b
		}},
		{name: "other projects look in", only: `^servers\.show/other-project`, ask: asAdmin},
		{name: "a lock keeps nobody out", only: `^servers\.pause/locked`, ask: asAdmin},

		// Versions.
		{name: "the version is not heard", only: show, ask: func(r *http.Request, b []byte) []byte {
			r.Header.Del("OpenStack-API-Version")
			r.Header.Del("X-OpenStack-Nova-API-Version")
			return b
		}},
		{name: "every answer is of 2.1, whatever its header says", only: show, ask: func(r *http.Request, b []byte) []byte {
			r.Header.Set("Told", r.Header.Get("X-OpenStack-Nova-API-Version"))
			speak(r, "2.1")
			return b
		}, tell: func(q *http.Request, r *http.Response, b any) any {
			r.Header.Set("OpenStack-API-Version", "compute "+q.Header.Get("Told"))
			r.Header.Set("X-OpenStack-Nova-API-Version", q.Header.Get("Told"))
			return b
		}},
		{name: "a version too high is taken for the highest", only: `bad-version-above`, ask: func(r *http.Request, b []byte) []byte { speak(r, c.Max.String()); return b }},
		{name: "a version that is none is taken for 2.1", only: `bad-version-(no-minor|word|leading-zero)`, ask: func(r *http.Request, b []byte) []byte { speak(r, "2.1"); return b }},
		{name: "an operation before its first version", only: `^servers\.tags\.list/too-old`, ask: func(r *http.Request, b []byte) []byte { speak(r, "2.26"); return b }},
		{name: "an operation after its last version", only: `^images\.list/too-new`, ask: func(r *http.Request, b []byte) []byte { speak(r, "2.35"); return b }},

		// Bodies and queries that have to be refused.
		{name: "unknown keys are let through", only: `^servers\.update/unknown-field`, ask: func(_ *http.Request, b []byte) []byte {
			return regexp.MustCompile(`"`+strangeKey+`":"x",?|,"`+strangeKey+`":"x"`).ReplaceAll(b, nil)
		}},
		{name: "no JSON is taken for an empty object", only: `^servers\.metadata\.create/bad-body`, ask: func(r *http.Request, b []byte) []byte {
			if r.Method == "POST" && !json.Valid(b) {
				return []byte(`{"metadata":{}}`)
			}
			return b
		}},
		{name: "unknown parameters are let through", only: `^servers\.list/unknown-query`, ask: withoutQuery(strangeKey)},
		{name: "a limit below zero is let through", only: `^servers\.list/wrong-query/limit`, ask: withoutQuery("limit")},

		// Lists.
		{name: "the limit is not heard", only: `^flavors\.list/paging`, ask: withoutQuery("limit")},
		{name: "the marker is not heard", only: `^flavors\.list/paging`, ask: withoutQuery("marker")},
		{name: "an unknown marker is no fault", only: `^flavors\.list/paging`, ask: func(r *http.Request, b []byte) []byte {
			if r.URL.Query().Get("marker") == "11111111-2222-4333-8444-555555555555" {
				return withoutQuery("marker")(r, b)
			}
			return b
		}},
		{name: "a full page has no next link", only: `^flavors\.list/paging`, tell: func(_ *http.Request, _ *http.Response, b any) any {
			if top, ok := b.(map[string]any); ok {
				delete(top, "flavors_links")
			}
			return b
		}},
		{name: "the next page begins with the last item", only: `^flavors\.list/paging`, tell: func() func(*http.Request, *http.Response, any) any {
			var last any
			return func(_ *http.Request, _ *http.Response, b any) any {
				top, _ := b.(map[string]any)
				flavors, _ := top["flavors"].([]any)
				if len(flavors) == 0 {
					return b
				}
				was := last
				last = flavors[len(flavors)-1]
				if was != nil {
					top["flavors"] = append([]any{was}, flavors...)[:len(flavors)]
				}
				return b
			}
		}()},

		// What does not happen.
		{name: "a stop is only promised", only: `^servers\.stop/works@2\.1$`, ask: func(r *http.Request, b []byte) []byte {
			if bytes.Contains(b, []byte(`os-stop`)) {
				return []byte(`{"lock":null}`)
			}
			return b
		}},
		{name: "a deletion is only promised", only: `^servers\.delete/works@2\.1$`, ask: func(r *http.Request, b []byte) []byte {
			if at(r, "DELETE", oneServer) {
				r.Method, r.URL.Path = "DELETE", r.URL.Path+"/metadata/none"
			}
			return b
		}, code: func(q *http.Request, r *http.Response) int {
			if q.Method == "DELETE" {
				return 204
			}
			return r.StatusCode
		}},
	}
}

// liar is the proxy.
type liar struct {
	target  *url.URL
	current atomic.Pointer[lie]
	told    atomic.Int64 // how many answers the lie has altered or may have
}

func (l *liar) handler() http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(p *httputil.ProxyRequest) {
			p.SetURL(l.target)
			p.Out.Host = p.In.Host
			now := l.current.Load()
			if now == nil || now.ask == nil {
				return
			}
			l.told.Add(1)
			var body []byte
			if p.Out.Body != nil {
				var err error
				body, err = io.ReadAll(p.Out.Body)
				if err != nil {
					return
				}
			}
			body = now.ask(p.Out, body)
			p.Out.Body, p.Out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
			p.Out.Header.Set("Content-Length", strconv.Itoa(len(body)))
		},
		ModifyResponse: func(r *http.Response) error {
			now := l.current.Load()
			if now == nil {
				return nil
			}
			if now.code != nil {
				r.StatusCode = now.code(r.Request, r)
				l.told.Add(1)
			}
			if now.tell == nil {
				return nil
			}
			l.told.Add(1)
			return alter(r, now.tell)
		},
	}
}

func alter(r *http.Response, tell func(*http.Request, *http.Response, any) any) error {
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return err
	}
	var body any
	if json.Unmarshal(data, &body) != nil {
		body = nil
	}
	out := tell(r.Request, r, body)
	switch out := out.(type) {
	case nil:
	case json.RawMessage:
		data = out // on purpose no JSON
	default:
		data, err = json.Marshal(out)
	}
	r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(data)), int64(len(data))
	r.Header.Set("Content-Length", strconv.Itoa(len(data)))
	return err
}

func TestPlantedFaultsAreFound(t *testing.T) {
	base := startCloud(t)
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	proxy := &liar{target: target}
	server := httptest.NewServer(proxy.handler())
	defer server.Close()
	contract := load(t)
	cloud, err := Connect(t.Context(), contract, Config{Cloud: "kilonova", ComputeURL: server.URL + "/v2.1", Policy: "new", Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close(context.Background())
	checks := Checks(contract, Selection{Only: []Version{1, 2, 9, 25, 26, 35, 36, 75, 96, 104}}, cloud.Max)
	all := lies(cloud)
	if len(all) < 40 {
		t.Fatalf("%d alterations, where 40 are asked for", len(all))
	}
	fix := newFixtures(cloud)       // made while nobody lies
	honest := map[string][]string{} // by --only, what fails without a lie
	for _, l := range all {
		chosen := choose(t, checks, l.only)
		if _, done := honest[l.only]; done {
			continue
		}
		honest[l.only] = found(t, cloud, fix, chosen)
		for _, id := range honest[l.only] {
			t.Errorf("without any lie %s does not pass", id)
		}
	}
	for _, l := range all {
		proxy.told.Store(0)
		cloud.cfg.Timeout = 1 * time.Second // what a lie keeps from happening is waited for
		proxy.current.Store(&l)
		caught := found(t, cloud, fix, choose(t, checks, l.only))
		proxy.current.Store(nil)
		cloud.cfg.Timeout = 20 * time.Second
		if len(caught) == 0 {
			t.Errorf("%q is noticed by no check of %s (%d answers went through it)", l.name, l.only, proxy.told.Load())
		}
	}
	t.Logf("%d alterations, each run against the checks named with it", len(all))
}

func choose(t *testing.T, checks []*Check, only string) []*Check {
	t.Helper()
	re := regexp.MustCompile(only)
	var out []*Check
	for _, c := range checks {
		if re.MatchString(c.ID) {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		t.Errorf("no check is called %s", only)
	}
	return out
}

// found runs checks and names those that do not pass.
func found(t *testing.T, cloud *Cloud, fix *fixtures, checks []*Check) []string {
	t.Helper()
	var out []string
	for _, r := range runAll(t.Context(), cloud, fix, checks, Options{Parallel: 4}) {
		if r.Outcome != Passed {
			out = append(out, fmt.Sprintf("%s: %s %s %v", r.Check.ID, r.Outcome, r.Reason, r.Faults))
		}
	}
	return out
}

// startCloud runs the server with the simulator; its clouds.yaml is in the environment
// afterwards.
func startCloud(t *testing.T) string {
	t.Helper()
	cloud, err := program.StartCloud(t.TempDir(), 2)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cloud.Stop)
	t.Setenv("OS_CLIENT_CONFIG_FILE", cloud.ClientConfig())
	return cloud.Base
}
