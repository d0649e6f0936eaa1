package tempestlite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Role is whom a call is made as.
type Role string

// The accounts that checks speak as. All but Admin are made for the run.
const (
	Admin     Role = "admin"     // the credentials that the program was given
	Manager   Role = "manager"   // of the run's project
	Member    Role = "member"    // of the run's project
	Reader    Role = "reader"    // of the run's project
	Nobody    Role = "nobody"    // of the run's project, with a role that no policy names
	Other     Role = "other"     // a member of another project of the run
	Service   Role = "service"   // a service user
	Anonymous Role = "anonymous" // no token
	Forged    Role = "forged"    // a token that nobody issued
)

// Exchange is one request and its answer, as a report shows it. Tokens are not in it.
type Exchange struct {
	As       Role   `json:"as,omitempty"`
	Version  string `json:"version,omitempty"`
	Method   string `json:"method"`
	URL      string `json:"url"`
	Request  string `json:"request,omitempty"`
	Status   int    `json:"status"`
	Response string `json:"response,omitempty"`
	Millis   int64  `json:"ms"`
}

// Response is an answer that was read to its end.
type Response struct {
	Status  int
	Header  http.Header
	Body    []byte
	JSON    any // nil if the body is no JSON; numbers are json.Number
	Method  string
	URL     string
	Version Version
}

// Get walks into the answer: Get("server", "addresses"), a number for an index. Nil if
// there is nothing there.
func (r *Response) Get(path ...any) any { return dig(r.JSON, path...) }

// Str is Get for a string; "" if there is none.
func (r *Response) Str(path ...any) string {
	s, _ := dig(r.JSON, path...).(string)
	return s
}

// Message is the text of a fault.
func (r *Response) Message() string {
	body, _ := r.JSON.(map[string]any)
	for _, inner := range body {
		if m, ok := inner.(map[string]any); ok {
			if text, ok := m["message"].(string); ok {
				return text
			}
		}
	}
	if text, ok := body["message"].(string); ok {
		return text
	}
	return strings.TrimSpace(string(r.Body[:min(len(r.Body), 200)]))
}

func dig(v any, path ...any) any {
	for _, step := range path {
		switch key := step.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[key]
		case int:
			l, _ := v.([]any)
			if key < 0 || key >= len(l) {
				return nil
			}
			v = l[key]
		}
	}
	return v
}

// request is one call of the Compute API, before it is made.
type request struct {
	as      Role
	version Version // 0 sends no header
	method  string
	path    string // below the compute endpoint, with its query
	body    any    // []byte is sent as it is; nil is no body
	header  http.Header
}

// overQuota is how Nova says that a project has no room for a server.
const overQuota = "Quota exceeded for "

// exceeds tells whether the answer is that of a quota which the run could not raise.
func (c *Cloud) exceeds(r *Response) bool {
	return c.bounded && r != nil && r.Status == http.StatusForbidden && strings.Contains(r.Message(), overQuota)
}

// send makes a call. Where the quota of servers is small and the run could not raise it, a
// call that finds it used up is made again when there is room.
func (c *Cloud) send(ctx context.Context, r request) (*Response, error) {
	for {
		resp, err := c.sendOnce(ctx, r)
		if err != nil || !c.exceeds(resp) || c.makeRoom == nil || !c.makeRoom(ctx) {
			return resp, err
		}
	}
}

// sendOnce makes a call over plain HTTP. An error is one of the connection, not of the answer,
// or a lackError: nothing is asked without the account that it is asked as.
func (c *Cloud) sendOnce(ctx context.Context, r request) (*Response, error) {
	if why := c.lacks(r.as); why != "" {
		return nil, lackError(why)
	}
	var body io.Reader
	switch b := r.body.(type) {
	case nil:
	case []byte:
		body = bytes.NewReader(b)
	default:
		data, err := json.Marshal(b)
		if err != nil {
			return nil, fmt.Errorf("writing the body of %s %s: %w", r.method, r.path, err)
		}
		body = bytes.NewReader(data)
	}
	url := r.path
	if !strings.HasPrefix(url, "http://") && !strings.HasPrefix(url, "https://") {
		url = c.computeURL + r.path
	}
	req, err := http.NewRequestWithContext(withCaller(ctx, r.as, r.version), r.method, url, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("Accept", "application/json")
	if token := c.token(r.as); token != "" {
		req.Header.Set("X-Auth-Token", token)
	}
	if r.version != 0 {
		req.Header.Set("OpenStack-API-Version", "compute "+r.version.String())
		req.Header.Set("X-OpenStack-Nova-API-Version", r.version.String())
	}
	for name, values := range r.header {
		req.Header[name] = values
		if len(values) == 1 && values[0] == "" {
			delete(req.Header, name)
		}
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", r.method, url, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("reading the answer to %s %s: %w", r.method, url, err)
	}
	out := &Response{Status: resp.StatusCode, Header: resp.Header, Body: data, Method: r.method, URL: url, Version: r.version}
	if value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data)); err == nil {
		out.JSON = value
	}
	return out, nil
}

type callerKey struct{}

type caller struct {
	as      Role
	version Version
}

func withCaller(ctx context.Context, as Role, v Version) context.Context {
	return context.WithValue(ctx, callerKey{}, caller{as, v})
}

// recorder is the transport of every request: it writes down what goes over the wire for
// the check that the request's context belongs to. Requests to other services than
// compute are written down too, without their bodies: those may hold passwords.
type recorder struct {
	next    http.RoundTripper
	compute func(url string) bool
}

func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	t, ok := req.Context().Value(tKey{}).(*T)
	if !ok {
		return r.hear(req)
	}
	x := Exchange{Method: req.Method, URL: req.URL.String()}
	compute := r.compute(x.URL)
	if who, ok := req.Context().Value(callerKey{}).(caller); ok {
		x.As, x.Version = who.as, who.version.String()
	} else if compute {
		x.Version = req.Header.Get("X-OpenStack-Nova-API-Version")
	}
	if compute && req.GetBody != nil {
		if body, err := req.GetBody(); err == nil {
			data, _ := io.ReadAll(io.LimitReader(body, keepBytes))
			x.Request = string(data)
		}
	}
	began := time.Now()
	resp, err := r.hear(req)
	x.Millis = time.Since(began).Milliseconds()
	if err != nil {
		x.Response = err.Error()
		t.record(x)
		return nil, err
	}
	x.Status = resp.StatusCode
	if compute {
		data, err := io.ReadAll(resp.Body)
		if err != nil {
			return nil, err
		}
		resp.Body = io.NopCloser(bytes.NewReader(data))
		x.Response = string(data[:min(len(data), keepBytes)])
	}
	t.record(x)
	return resp, nil
}

// hear makes a request and reads the answer to its end. An interrupt keeps requests from
// being sent, and none from being heard: what it has made must get into the ledger.
func (r *recorder) hear(req *http.Request) (*http.Response, error) {
	err := req.Context().Err()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(req.Context()), patience)
	defer cancel()
	resp, err := r.next.RoundTrip(req.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(data))
	return resp, nil
}

// patience is how long an answer may take.
const patience = 5 * time.Minute

// keepBytes of a body are kept for the report.
const keepBytes = 4000
