package identity

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"kilonova/compat"
)

// maxBody is the largest body that Keystone reads, in bytes.
const maxBody = 114688

// object is a decoded JSON object. Its keys are exact, which a struct's would not be.
type object map[string]any

var idForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.\-]{0,63}$`)

// validID reports whether s could be an id of ours or one that an operator has chosen.
func validID(s string) bool { return idForm.MatchString(s) }

// validText reports whether s is text that a database can hold and compare.
func validText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// clip bounds what a client sent before it goes into a message.
func clip(s string) string {
	const limit = 255
	return strings.ToValidUTF8(s[:min(len(s), limit)], "?")
}

// readBody gives the object under key of the request's body: {"user": {...}}.
func readBody(r *http.Request, key string) (object, error) {
	outer, err := readObject(r)
	if err != nil {
		return nil, err
	}
	inner, ok := outer[key].(map[string]any)
	if !ok {
		return nil, compat.BadRequest("Invalid input for field '%s': it is missing or not an object", key)
	}
	return inner, nil
}

// expecting is Keystone's 400 for what a request should hold and does not.
func expecting(what, where string) error {
	return compat.BadRequest("Expecting to find %s in %s. The server could not comply with the request since it is "+
		"either malformed or otherwise incorrect. The client is assumed to be in error.", what, where)
}

// isJSON reports whether a content type promises JSON; none promises nothing else.
func isJSON(contentType string) bool {
	if contentType == "" {
		return true
	}
	kind := strings.ToLower(strings.TrimSpace(strings.Split(contentType, ";")[0]))
	return kind == "application/json" || strings.HasPrefix(kind, "application/") && strings.HasSuffix(kind, "+json")
}

// jsonBody lets requests through that have no body, or a JSON object of the content type for
// one: Keystone asks that of every request, whether or not its operation reads a body.
func jsonBody(h func(http.ResponseWriter, *http.Request) error) func(http.ResponseWriter, *http.Request) error {
	return func(w http.ResponseWriter, r *http.Request) error {
		if r.Body == nil || r.ContentLength == 0 {
			return h(w, r)
		}
		raw, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		if len(raw) == 0 {
			r.Body = http.NoBody
			return h(w, r)
		}
		if !isJSON(r.Header.Get("Content-Type")) {
			return expecting("application/json", "Content-Type header")
		}
		in, err := decodeObject(raw)
		if err != nil {
			return err
		}
		return h(w, r.WithContext(context.WithValue(r.Context(), bodyKey, in)))
	}
}

// readObject gives the request's body, which jsonBody has read.
func readObject(r *http.Request) (object, error) {
	in, ok := r.Context().Value(bodyKey).(object)
	if !ok {
		return nil, expecting("valid JSON", "request body")
	}
	return in, nil
}

func decodeObject(raw []byte) (object, error) {
	if !utf8.Valid(raw) {
		return nil, compat.BadRequest("Malformed request body: it is not UTF-8.")
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var outer object
	err := d.Decode(&outer)
	if err == nil {
		_, err = d.Token() // nothing may follow
	}
	if !errors.Is(err, io.EOF) || outer == nil {
		return nil, expecting("valid JSON", "request body")
	}
	return outer, nil
}

// fields reads an object's members; the first that is wrong is in err, a 400 Fault.
type fields struct {
	in   object
	read []string
	err  error
}

func (f *fields) wrong(key, why string) {
	if f.err == nil {
		f.err = compat.BadRequest("Invalid input for field '%s': %s", key, why)
	}
}

func (f *fields) has(key string) bool { _, ok := f.in[key]; return ok }

func (f *fields) get(key string) any {
	f.read = append(f.read, key)
	return f.in[key]
}

// text reads a string of at most limit characters, "" for none or null.
func (f *fields) text(key string, limit int) string {
	v := f.get(key)
	if v == nil {
		return ""
	}
	s, ok := v.(string)
	switch {
	case !ok:
		f.wrong(key, "it is not a string")
	case utf8.RuneCountInString(s) > limit:
		f.wrong(key, "it is too long")
	case !validText(s):
		f.wrong(key, "it holds a character that cannot be stored")
	default:
		return s
	}
	return ""
}

// name reads a name of 1 to 255 characters that are not all spaces.
func (f *fields) name(key string) string {
	s := f.text(key, maxName)
	if f.err == nil && strings.TrimSpace(s) == "" {
		f.wrong(key, "it is empty or missing")
	}
	return s
}

const (
	maxName = 255
	maxText = 10000 // descriptions
)

// id reads an id, "" for none or null.
func (f *fields) id(key string) string {
	s := f.text(key, maxName)
	if s != "" && !validID(s) {
		f.wrong(key, "it is not an id")
	}
	return s
}

// boolean reads true or false and nothing that looks like them; without the key it is the
// default.
func (f *fields) boolean(key string, missing bool) bool {
	v := f.get(key)
	if !f.has(key) {
		return missing
	}
	b, ok := v.(bool)
	if !ok {
		f.wrong(key, "it is not a boolean")
	}
	return b
}

// object reads an object, nil for none.
func (f *fields) object(key string) object {
	v := f.get(key)
	o, ok := v.(map[string]any)
	if !ok && v != nil {
		f.wrong(key, "it is not an object")
	}
	return o
}

// texts reads a list of strings, nil for none or null.
func (f *fields) texts(key string, limit int) []string {
	v := f.get(key)
	list, ok := v.([]any)
	if !ok && v != nil {
		f.wrong(key, "it is not a list")
	}
	if len(list) > limit {
		f.wrong(key, "it has too many members")
		return nil
	}
	var out []string
	for _, member := range list {
		s, ok := member.(string)
		if !ok || !validText(s) || s == "" || utf8.RuneCountInString(s) > maxName {
			f.wrong(key, "a member is not a string of 1 to 255 characters")
			return nil
		}
		if !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	return out
}

// extra is what was sent besides the fields that were read, over what there was. Keystone
// keeps such members and gives them back.
func (f *fields) extra(old string, reserved ...string) string {
	all := decodeExtra(old)
	maps.Copy(all, f.in)
	for _, k := range append(f.read, append(reserved, "id", "links")...) {
		delete(all, k)
	}
	raw, err := json.Marshal(all)
	if err != nil || !validText(string(raw)) {
		f.wrong("extra", "it cannot be stored")
		return "{}"
	}
	if len(raw) > maxBody {
		f.wrong("extra", "it is too long")
	}
	return string(raw)
}

// decodeExtra reads what extra wrote, numbers as they were.
func decodeExtra(text string) object {
	out := object{}
	if text == "" || text == "{}" {
		return out
	}
	d := json.NewDecoder(strings.NewReader(text))
	d.UseNumber()
	err := d.Decode(&out)
	if err != nil {
		return object{} // it was not written by us; the rest of the resource still is
	}
	return out
}

// view makes the JSON of a resource: the members that kilonova does not know, and over them
// those that it does. Options mean nothing to kilonova but stay with a resource that has some.
func view(extra string, known object) object {
	out := decodeExtra(extra)
	if options, ok := out["options"].(map[string]any); ok && known["options"] != nil {
		known["options"] = options
	}
	maps.Copy(out, known)
	return out
}

// self is the link of a resource.
func (s *Service) self(r *http.Request, parts ...string) object {
	var b strings.Builder
	b.WriteString(s.base(r) + "/v3")
	for _, p := range parts {
		b.WriteString("/" + url.PathEscape(p))
	}
	return object{"self": b.String()}
}
