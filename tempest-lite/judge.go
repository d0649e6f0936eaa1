package tempestlite

import (
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

var requestID = regexp.MustCompile(`^req-[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$`)

// CheckHeaders looks at the headers that every versioned answer has.
func (t *T) CheckHeaders(r *Response) {
	for _, name := range []string{"X-Openstack-Request-Id", "X-Compute-Request-Id"} {
		if !requestID.MatchString(r.Header.Get(name)) {
			t.Errorf("the header %s is %q, not req- and a uuid", name, r.Header.Get(name))
		}
	}
	version := r.Version
	if version == 0 {
		version = First
	}
	t.Equal("the header OpenStack-API-Version", r.Header.Get("OpenStack-API-Version"), "compute "+version.String())
	t.Equal("the header X-OpenStack-Nova-API-Version", r.Header.Get("X-OpenStack-Nova-API-Version"), version.String())
	vary := strings.Join(r.Header.Values("Vary"), ", ")
	for _, name := range []string{"OpenStack-API-Version", "X-OpenStack-Nova-API-Version"} {
		if !strings.Contains(vary, name) {
			t.Errorf("the header Vary is %q, and does not name %s", vary, name)
		}
	}
	if len(r.Body) > 0 && !strings.HasPrefix(r.Header.Get("Content-Type"), "application/json") {
		t.Errorf("the header Content-Type is %q", r.Header.Get("Content-Type"))
	}
}

// faultNames are the keys of fault bodies by code; any other code has computeFault.
var faultNames = map[int]string{
	400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound", 405: "badMethod", 409: "conflictingRequest",
	413: "overLimit", 415: "badMediaType", 429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
}

// CheckFault looks at the body of an error: one key, named by the code, with code and message.
func (t *T) CheckFault(r *Response) {
	name := faultNames[r.Status]
	if name == "" {
		name = "computeFault"
	}
	body, _ := r.JSON.(map[string]any)
	fault, _ := body[name].(map[string]any)
	if len(body) != 1 || fault == nil {
		t.Errorf("the fault is %.200s, not an object with the key %s", r.Body, name)
		return
	}
	t.Equal("the code in the fault", fault["code"], r.Status)
	if text, _ := fault["message"].(string); text == "" {
		t.Errorf("the fault has no message: %.200s", r.Body)
	}
	if r.Status != http.StatusRequestEntityTooLarge && r.Status != http.StatusTooManyRequests && len(fault) != 2 {
		t.Errorf("the fault has more than code and message: %v", slices.Sorted(maps.Keys(fault)))
	}
}

// CheckAnswer holds a successful answer against the schema of its operation and version.
func (t *T) CheckAnswer(op *Operation, r *Response) {
	version := r.Version
	if version == 0 {
		version = First
	}
	schema, known := t.Cloud.contract.Answer(op, version)
	if !known {
		return
	}
	if schema == nil {
		if len(strings.TrimSpace(string(r.Body))) > 0 {
			t.Errorf("the answer has a body, where none is due: %.200s", r.Body)
		}
		return
	}
	if r.JSON == nil {
		t.Errorf("the answer is no JSON: %.200s", r.Body)
		return
	}
	for i, fault := range schema.Validate(r.JSON) {
		if i == 8 {
			t.Errorf("… and more")
			break
		}
		t.Errorf("the answer's %s", fault)
	}
}

// within records a fault for each value of want that got has not: maps may have more keys,
// lists have as many items.
func (t *T) within(what string, got, want any) {
	switch w := want.(type) {
	case map[string]any:
		g, ok := got.(map[string]any)
		if !ok {
			t.Errorf("%s is %v, not an object", what, got)
			return
		}
		for _, key := range slices.Sorted(maps.Keys(w)) {
			value, has := g[key]
			if !has {
				t.Errorf("%s has no key %s", what, key)
				continue
			}
			t.within(what+"."+key, value, w[key])
		}
	case []any:
		g, ok := got.([]any)
		if !ok || len(g) != len(w) {
			t.Errorf("%s is %v, not a list of %d", what, got, len(w))
			return
		}
		for i := range w {
			t.within(fmt.Sprintf("%s.%d", what, i), g[i], w[i])
		}
	default:
		if fmt.Sprint(got) != fmt.Sprint(want) && !sameNumber(got, want) {
			t.Errorf("%s is %v, not %v", what, got, want)
		}
	}
}

// sameNumber tells whether two values are one number in two spellings, as 1 and 1.0.
func sameNumber(a, b any) bool {
	x, isNumber := number(a)
	y, too := number(plain(b))
	return isNumber && too && x == y
}
