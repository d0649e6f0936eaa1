package networks

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"unicode/utf8"

	"github.com/google/uuid"
)

// form is the type of an attribute's value.
type form int

const (
	text     form = iota // a string of at most 255 characters
	nameText             // the same, printable and without blanks around it
	textNull             // the same or null
	boolean              // a bool in one of its many spellings
	number               // an integer
	numNull              // an integer or null
	idRef                // a uuid
	idNull               // a uuid or null
	list                 // a list or null, which is an empty one
	listOnly             // a list
	hardware             // the address of one interface
	object               // an object or null, which its owner checks
	anything             // whatever it is, which its owner checks
)

// attribute is one field of a resource: how it is stored, who may write it when, who may
// read it. The zero value of an access is nobody, so what is not written down is read-only.
type attribute struct {
	name     string
	column   string // SQL that gives its value, for filters and sorting; never NULL
	form     form
	post     access
	put      access
	hidden   bool // shown to admins only
	required bool
	parts    []part
	filter   func(v string) (any, error)          // reads a filter's value, if its form does not say all
	oneOf    []string                             // the values of a text, if there are few
	valid    func(a *attribute, list []any) error // checks a list's entries, and may bring them into form
}

// part is what of an attribute's value has a policy rule of its own.
type part struct {
	name      string // of the rule, after the attribute's; "" for the attribute's own
	post, put access
	in        func(value any) bool
}

// member tells whether an entry of a list of objects has the key.
func member(key string) func(value any) bool {
	return func(value any) bool {
		entries, _ := value.([]any)
		for _, e := range entries {
			m, _ := e.(map[string]any)
			if _, ok := m[key]; ok {
				return true
			}
		}
		return false
	}
}

// verbs are the names that policy rules have for methods.
var verbs = map[string]string{http.MethodPost: "create", http.MethodPut: "update", http.MethodDelete: "delete"}

func (k *kind) rule(method, attribute string) string {
	return "rule:" + verbs[method] + "_" + k.single + ":" + attribute
}

func choose(method string, post, put access) access {
	if method == http.MethodPost {
		return post
	}
	return put
}

// guard refuses attributes that on the network of another project only its owner may write.
func (k *kind) guard(r *request, landlord string, v values) error {
	if everything(r.caller) || landlord == r.caller.ProjectID {
		return nil
	}
	for i := range k.attrs {
		a := &k.attrs[i]
		if !v.has(a.name) {
			continue
		}
		if choose(r.Method, a.post, a.put).ofNetwork() && !(r.Method == http.MethodPost && nothing(v[a.name])) {
			return forbidden(k.rule(r.Method, a.name))
		}
		for _, p := range a.parts {
			if choose(r.Method, p.post, p.put).ofNetwork() && p.in(v[a.name]) {
				return forbidden(strings.TrimSuffix(k.rule(r.Method, a.name)+":"+p.name, ":"))
			}
		}
	}
	return nil
}

// nothing reports whether a new resource is the same with the value and without it.
func nothing(value any) bool {
	l, ok := value.([]any)
	return value == nil || (ok && len(l) == 0)
}

// values are the attributes that a client sent, in the form that their attribute has.
type values map[string]any

func (v values) has(name string) bool { _, ok := v[name]; return ok }

func (v values) text(name, otherwise string) string {
	if s, ok := v[name].(string); ok {
		return s
	}
	return otherwise
}

func (v values) bool(name string, otherwise bool) bool {
	if b, ok := v[name].(bool); ok {
		return b
	}
	return otherwise
}

func (v values) int(name string, otherwise int) int {
	if n, ok := v[name].(int64); ok {
		return int(n)
	}
	return otherwise
}

func (v values) list(name string) []any {
	l, _ := v[name].([]any)
	return l
}

func unescape(s string) string {
	u, err := url.PathUnescape(s)
	if err != nil {
		return s
	}
	return u
}

// readJSON decodes a body that must be one JSON object.
func readJSON(r *http.Request) (map[string]any, error) {
	raw, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return nil, fault(413, "HTTPRequestEntityTooLarge", "Request is too large.")
	}
	if err != nil {
		return nil, badRequest("Unable to read the request body")
	}
	if !utf8.Valid(raw) {
		return nil, badRequest("Malformed request body")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var doc map[string]any
	err = d.Decode(&doc)
	if err != nil || d.More() {
		return nil, badRequest("Malformed request body")
	}
	if doc == nil {
		return nil, badRequest("Resource body required")
	}
	return doc, nil
}

// maxBulk bounds how many things one request makes.
const maxBulk = 200

// bodies gives the resources of a create request: one under the singular key or several
// under the plural one.
func (k *kind) bodies(doc map[string]any) (items []map[string]any, bulk bool, err error) {
	if one, ok := doc[k.single]; ok && len(doc) == 1 {
		body, ok := one.(map[string]any)
		if !ok {
			return nil, false, badRequest("Invalid input for %s. Reason: it is not an object.", k.single)
		}
		return []map[string]any{body}, false, nil
	}
	all, ok := doc[k.plural].([]any)
	if !ok || len(doc) != 1 {
		return nil, false, badRequest("Unable to find '%s' in request body", k.single)
	}
	if len(all) == 0 || len(all) > maxBulk {
		return nil, false, badRequest("Resources required, at most %d of them", maxBulk)
	}
	for _, one := range all {
		body, ok := one.(map[string]any)
		if wrapped, is := body[k.single].(map[string]any); is && len(body) == 1 {
			body = wrapped
		}
		if !ok {
			return nil, false, badRequest("Invalid input for %s. Reason: it is not an object.", k.plural)
		}
		items = append(items, body)
	}
	return items, true, nil
}

// accept checks the attributes that a client wrote. Faults: 400 for what is unknown,
// read-only or wrong, 403 for what only admins may write.
func (k *kind) accept(r *request, body map[string]any) (values, error) {
	v := values{}
	names := make([]string, 0, len(body))
	for name := range body {
		names = append(names, name)
	}
	sort.Strings(names)
	for _, name := range names {
		a := k.attribute(name)
		if a == nil {
			return nil, badRequest("Unrecognized attribute(s) '%s'", clip(name))
		}
		if choose(r.Method, a.post, a.put) == nobody {
			return nil, badRequest("Attribute '%s' not allowed in %s", a.name, r.Method)
		}
		value, err := a.check(body[name])
		if err != nil {
			return nil, err
		}
		v[a.name] = value
	}
	for _, a := range k.attrs {
		if r.Method == http.MethodPost && a.required && !v.has(a.name) {
			return nil, badRequest("Failed to parse request. Required attribute '%s' not specified", a.name)
		}
	}
	return v, k.mayWrite(r, v)
}

// mayWrite asks the roles of the caller for each attribute, after all of them were found to
// be in order.
func (k *kind) mayWrite(r *request, v values) error {
	for _, name := range sortedKeys(v) {
		a := k.attribute(name)
		if r.Method == http.MethodPost && harmless(v[name]) && !choose(r.Method, a.post, a.put).ofNetwork() {
			continue
		}
		if !choose(r.Method, a.post, a.put).allows(r.caller) {
			return forbidden(k.rule(r.Method, name))
		}
	}
	return nil
}

// harmless lets clients send an attribute of admins with the value that a new resource has
// without it. An update is another matter: it would take back what an admin set.
func harmless(value any) bool { return value == nil || value == false || value == "" }

func invalid(a *attribute, value any, reason string) error {
	return wrong(a.name, "'%s' %s", shown(value), reason)
}

// check brings a value from JSON into the attribute's form.
func (a *attribute) check(value any) (any, error) {
	if a.form == anything {
		return value, nil
	}
	if value == nil {
		switch a.form {
		case textNull, numNull, idNull, object:
			return nil, nil
		case list:
			return []any{}, nil
		}
		return nil, invalid(a, nil, "is not a valid value")
	}
	switch a.form {
	case boolean:
		b, ok := parseBool(shown(value))
		if !ok {
			return nil, invalid(a, value, "cannot be converted to boolean")
		}
		return b, nil
	case number, numNull:
		n, ok := integer(value)
		if !ok {
			return nil, invalid(a, value, "is not an integer")
		}
		return n, nil
	case list, listOnly:
		l, ok := value.([]any)
		if !ok || len(l) > maxBulk {
			return nil, invalid(a, value, "is not a list")
		}
		if a.valid == nil {
			return l, nil
		}
		return l, a.valid(a, l)
	case object:
		o, ok := value.(map[string]any)
		if !ok {
			return nil, invalid(a, value, "is not a dictionary")
		}
		return o, nil
	}
	if a.form == hardware {
		mac, ok := parseMAC(value)
		if !ok || groupMAC(mac) {
			return nil, invalid(a, value, "is not a valid MAC address")
		}
		return mac, nil
	}
	s, ok := value.(string)
	if !ok || !validText(s) || (a.form == nameText && !validName(s)) {
		return nil, invalid(a, value, "is not a valid string")
	}
	if len(a.oneOf) > 0 && !slices.Contains(a.oneOf, s) {
		return nil, wrong(a.name, "%s is not in %s", clip(s), choices(a.oneOf))
	}
	if a.form == idRef || a.form == idNull {
		if uuid.Validate(s) != nil {
			return nil, invalid(a, value, "is not a valid UUID")
		}
		return canonical(s), nil
	}
	return s, nil
}

// validText reports whether a string fits into a column: at most 255 characters, no NUL.
func validText(s string) bool {
	return utf8.ValidString(s) && utf8.RuneCountInString(s) <= 255 && !strings.ContainsRune(s, 0)
}

// parseBool reads a bool as clients spell it.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "true", "1", "yes", "on", "t", "y":
		return true, true
	case "false", "0", "no", "off", "f", "n":
		return false, true
	}
	return false, false
}
