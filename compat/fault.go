package compat

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"kilonova/schema"
)

// Fault is an error that a client may see. Whatever else a handler returns becomes a 500
// with a general text, and its own text goes to the log alone.
type Fault struct {
	Code       int    // HTTP status
	Message    string // for the client: no SQL, no host paths, no secrets
	Type       string // NeutronError type, where the service has one
	RetryAfter int    // seconds, for 413, 429 and 503, where it is one if nothing is said; 0 is none
	Err        error  // for the log only
}

// Error gives the code and the client's message.
func (f *Fault) Error() string { return fmt.Sprintf("%d %s", f.Code, f.Message) }

// Unwrap gives the cause that only the log sees.
func (f *Fault) Unwrap() error { return f.Err }

func newFault(code int, format string, a []any) *Fault {
	if len(a) == 0 {
		return &Fault{Code: code, Message: format}
	}
	return &Fault{Code: code, Message: fmt.Sprintf(format, a...)}
}

// BadRequest is a 400: the request cannot be understood or breaks a rule of its schema.
func BadRequest(format string, a ...any) *Fault { return newFault(400, format, a) }

// Unauthorized is a 401: who calls is unknown.
func Unauthorized(format string, a ...any) *Fault { return newFault(401, format, a) }

// Forbidden is a 403: the caller is known and may not.
func Forbidden(format string, a ...any) *Fault { return newFault(403, format, a) }

// NotFound is a 404: this project cannot see such a resource.
func NotFound(format string, a ...any) *Fault { return newFault(404, format, a) }

// Conflict is a 409: the resource is in the wrong state, or another request was first.
func Conflict(format string, a ...any) *Fault { return newFault(409, format, a) }

// TooLarge is a 413.
func TooLarge(format string, a ...any) *Fault { return newFault(413, format, a) }

// Unavailable is a 503: something that kilonova needs does not answer.
func Unavailable(format string, a ...any) *Fault { return newFault(503, format, a) }

// IsNotFound reports whether err is a 404 Fault.
func IsNotFound(err error) bool { return faultCode(err) == http.StatusNotFound }

// IsConflict reports whether err is a 409 Fault.
func IsConflict(err error) bool { return faultCode(err) == http.StatusConflict }

func faultCode(err error) int {
	var f *Fault
	if errors.As(err, &f) {
		return f.Code
	}
	return 0
}

// fullRetry is how soon a client that found no disk may ask again, in seconds.
const fullRetry = 30

// retryUnavailable is when clients whose request met a database that is away may come back, in seconds.
const retryUnavailable = 1

const unavailable = "The server is currently unavailable. Please try again at a later time."

// AsFault gives err as a Fault; what is none becomes a 503 while the database is away, and
// else a 500 whose text says nothing.
func AsFault(err error) *Fault {
	var f *Fault
	if errors.As(err, &f) {
		return f
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) {
		return TooLarge("Request is too large.")
	}
	if schema.Full(err) {
		return &Fault{Code: http.StatusServiceUnavailable, Message: "The cloud has no disk left. What reads and what deletes goes on.", RetryAfter: fullRetry, Err: err}
	}
	if schema.Away(err) {
		return &Fault{Code: 503, Err: err, Message: unavailable, RetryAfter: retryUnavailable}
	}
	return &Fault{Code: 500, Err: err, Message: "Unexpected API Error. Please contact the administrator\n<class 'InternalError'>"}
}

// FaultWriter turns a Fault into a service's error document.
type FaultWriter func(w http.ResponseWriter, r *http.Request, f *Fault)

// Fail logs an error that a handler returned, with its cause, and answers with the service's
// document. That a client has gone, whose requests end half done, is no failure of the service.
func Fail(w http.ResponseWriter, r *http.Request, write FaultWriter, err error) {
	f := AsFault(err)
	switch {
	case f.Code < 500:
	case errors.Is(err, schema.ErrScarce): // the log would take what disk there is
	case errors.Is(r.Context().Err(), context.Canceled):
		slog.DebugContext(r.Context(), "client went away", "request_id", RequestID(r.Context()),
			"method", r.Method, "path", clip(r.URL.Path), "err", cause(f, err))
		f = BadRequest("The request was broken off.")
	default:
		slog.ErrorContext(r.Context(), "request failed", "request_id", RequestID(r.Context()),
			"method", r.Method, "path", clip(r.URL.Path), "code", f.Code, "err", cause(f, err))
	}
	var tooLarge *http.MaxBytesError
	if errors.As(err, &tooLarge) { // which is found below the services
		write = FrameworkFault
	}
	if f.Code == http.StatusServiceUnavailable && f.RetryAfter == 0 {
		later := *f
		later.RetryAfter = retryUnavailable
		f = &later
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	write(w, r, f)
}

// cause is what the log says of a failure: with what only the log may see.
func cause(f *Fault, err error) error {
	if f.Err == nil || f.Err == err {
		return err
	}
	return fmt.Errorf("%w: %w", err, f.Err)
}

var computeFaultNames = map[int]string{
	400: "badRequest", 401: "unauthorized", 403: "forbidden", 404: "itemNotFound",
	405: "badMethod", 409: "conflictingRequest", 413: "overLimit", 415: "badMediaType",
	429: "overLimit", 501: "notImplemented", 503: "serviceUnavailable",
}

// ComputeFault writes {"itemNotFound": {"code": 404, "message": ...}} and its kind.
func ComputeFault(w http.ResponseWriter, _ *http.Request, f *Fault) {
	name, ok := computeFaultNames[f.Code]
	if !ok {
		name = "computeFault"
	}
	inner := map[string]any{"code": f.Code, "message": f.Message}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(f.RetryAfter))
	}
	if f.RetryAfter > 0 && (f.Code == http.StatusRequestEntityTooLarge || f.Code == http.StatusTooManyRequests) {
		inner["retryAfter"] = strconv.Itoa(f.RetryAfter)
	}
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	writeDocument(w, f.Code, map[string]any{name: inner})
}

// TitledFault writes Keystone's {"error": {"code", "message", "title"}}, which the token
// checks of all services use too.
func TitledFault(w http.ResponseWriter, _ *http.Request, f *Fault) {
	w.Header().Set("Content-Type", "application/json")
	writeDocument(w, f.Code, map[string]any{"error": map[string]any{
		"code": f.Code, "message": f.Message, "title": http.StatusText(f.Code)}})
}

// NeutronFault writes {"NeutronError": {"type", "message", "detail"}}.
func NeutronFault(w http.ResponseWriter, _ *http.Request, f *Fault) {
	kind := f.Type
	if kind == "" {
		kind = "HTTP" + strings.ReplaceAll(http.StatusText(f.Code), " ", "")
	}
	w.Header().Set("Content-Type", "application/json")
	writeDocument(w, f.Code, map[string]any{"NeutronError": map[string]any{
		"type": kind, "message": f.Message, "detail": ""}})
}

func writeDocument(w http.ResponseWriter, code int, doc any) {
	body, err := json.Marshal(doc)
	if err != nil {
		code, body = 500, []byte(`{"computeFault": {"code": 500, "message": "The server has either erred or is incapable of performing the requested operation."}}`)
	}
	writeBody(w, code, body)
}

func writeBody(w http.ResponseWriter, code int, body []byte) {
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(code)
	_, _ = w.Write(body) // a client that has gone needs no answer
}

// WriteJSON answers with a document that the standard encoder writes; hot paths append
// their own bytes and use WriteBytes.
func WriteJSON(w http.ResponseWriter, code int, doc any) error {
	body, err := json.Marshal(doc)
	if err != nil {
		return fmt.Errorf("encode answer: %w", err)
	}
	WriteBytes(w, code, body)
	return nil
}

// WriteBytes answers with JSON that is encoded already.
func WriteBytes(w http.ResponseWriter, code int, body []byte) {
	h := w.Header()
	if h.Get("Content-Type") == "" {
		h.Set("Content-Type", "application/json")
	}
	writeBody(w, code, body)
}
