package compat

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strings"
	"unicode/utf8"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// MaxBody is the largest request body that the compute API reads, in bytes.
const MaxBody = 114688

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
