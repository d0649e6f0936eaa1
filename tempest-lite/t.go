package tempestlite

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/gophercloud/gophercloud/v2"
)

type tKey struct{}

// T is what a running check has in hand. Its methods end the check where they cannot go
// on, as those of testing.T do, so a check reads as a list of steps.
type T struct {
	Ctx   context.Context
	Cloud *Cloud
	Check *Check

	fix *fixtures

	mu        sync.Mutex
	exchanges []Exchange
	faults    []string
	skipped   string
	refused   string
	refusal   string
	cleanups  []func(context.Context)
	values    map[string]any
	sharing   bool // what the check names with a $ may be shared with others
}

// Errorf records a fault, and the check goes on.
func (t *T) Errorf(format string, args ...any) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.faults = append(t.faults, fmt.Sprintf(format, args...))
}

// Fatalf records a fault and ends the check.
func (t *T) Fatalf(format string, args ...any) {
	t.Errorf(format, args...)
	runtime.Goexit()
}

// Skipf ends the check: the cloud has not what it takes.
func (t *T) Skipf(format string, args ...any) {
	t.mu.Lock()
	t.skipped = fmt.Sprintf(format, args...)
	t.mu.Unlock()
	runtime.Goexit()
}

// Failed tells whether a fault was recorded.
func (t *T) Failed() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return len(t.faults) > 0
}

// refuse ends the check: the cloud answered 501 to the last request.
func (t *T) refuse(why string) {
	t.mu.Lock()
	if n := len(t.exchanges); n > 0 {
		last := t.exchanges[n-1]
		t.refusal = t.Cloud.contract.match(last.Method, t.Cloud.short(last.URL), last.Request)
	}
	t.refused = why
	t.mu.Unlock()
	runtime.Goexit()
}

// Cleanup runs f when the check has ended, however it ended, last first. The context of f
// outlives an interrupt.
func (t *T) Cleanup(f func(context.Context)) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cleanups = append(t.cleanups, f)
}

func (t *T) record(x Exchange) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.exchanges = append(t.exchanges, x)
}

// Do makes a call and hands back its answer, whatever it is. A body that is a []byte is sent
// as it is, another as JSON.
func (t *T) Do(as Role, v Version, method, path string, body any) *Response {
	return t.do(request{as: as, version: v, method: method, path: path, body: body})
}

func (t *T) do(r request) *Response {
	resp, err := t.Cloud.send(t.Ctx, r)
	var lack lackError
	if errors.As(err, &lack) {
		t.Skipf("%s", lack)
	}
	if err != nil {
		t.Fatalf("no answer: %v", err)
	}
	return resp
}

// Must is Do for a call that has to succeed with code; another ends the check, 501 as refused.
func (t *T) Must(as Role, v Version, method, path string, body any, code int) *Response {
	resp := t.Do(as, v, method, path, body)
	t.Want(resp, code)
	if resp.Status != code {
		runtime.Goexit()
	}
	return resp
}

// Want records a fault unless the answer has one of the codes. A 501 that is not wanted
// ends the check as refused.
func (t *T) Want(resp *Response, codes ...int) bool {
	for _, code := range codes {
		if resp.Status == code {
			return true
		}
	}
	if why := t.Cloud.contract.defect(t.Check.ID, resp); why != "" {
		t.Skipf("a defect of Nova's own: %s", why)
	}
	if t.Cloud.exceeds(resp) {
		t.Skipf("%s%s", noRoom, resp.Message())
	}
	if resp.Status == http.StatusNotImplemented {
		t.mayLack(resp)
		t.refuse(resp.Message())
	}
	t.Errorf("%s %s answers %d, not %s: %s", resp.Method, t.Cloud.short(resp.URL), resp.Status, codesText(codes), resp.Message())
	return false
}

// driverLacks is what Nova says where a host's driver, or a service behind it, cannot do
// what is asked. Any other 501 says that the API itself does not do it.
const driverLacks = "The requested functionality is not supported."

// mayLack skips the check where 501 is a true answer of the original too.
func (t *T) mayLack(resp *Response) {
	if t.Check.Op == nil || !strings.Contains(resp.Message(), driverLacks) {
		return
	}
	if call := t.Cloud.contract.Calls[t.Check.Op.Name]; call != nil && call.Cannot != "" {
		t.Skipf("%s", call.Cannot)
	}
}

// WantMessage records a fault unless the fault's text contains part.
func (t *T) WantMessage(resp *Response, part string) {
	if !strings.Contains(resp.Message(), part) {
		t.Errorf("the message is %q, and does not say %q", resp.Message(), part)
	}
}

// Equal records a fault unless got is want, both as fmt prints them.
func (t *T) Equal(what string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("%s is %v, not %v", what, got, want)
	}
}

func codesText(codes []int) string {
	words := make([]string, len(codes))
	for i, c := range codes {
		words[i] = fmt.Sprint(c)
	}
	return strings.Join(words, " or ")
}

// Compute is a gophercloud client of the Compute API that speaks as a role at a version.
func (t *T) Compute(as Role, v Version) *gophercloud.ServiceClient {
	client, err := t.Cloud.compute(as, v)
	if err != nil {
		t.Skipf("%v", err)
	}
	return client
}

// OK ends the check if err is not nil; a 501 as refused. For calls through gophercloud.
func (t *T) OK(err error) {
	if err == nil {
		return
	}
	if gophercloud.ResponseCodeIs(err, http.StatusNotImplemented) {
		t.refuse(err.Error())
	}
	t.Fatalf("%v", err)
}

// WantCode records a fault unless err is gophercloud's for this code.
func (t *T) WantCode(err error, code int) {
	switch {
	case gophercloud.ResponseCodeIs(err, code):
	case gophercloud.ResponseCodeIs(err, http.StatusNotImplemented):
		t.refuse(err.Error())
	case err == nil:
		t.Errorf("the call succeeds, where %d is due", code)
	default:
		t.Errorf("the call fails otherwise than with %d: %v", code, err)
	}
}

// Eventually asks until done is true, or the time that the run gives to work is over.
func (t *T) Eventually(what string, done func() bool) {
	ok, err := t.Cloud.poll(t.Ctx, t.lastChange(), func() (bool, error) { return done(), nil })
	switch {
	case err != nil:
		t.Fatalf("interrupted")
	case !ok:
		t.Fatalf("%s: not within %s", what, t.Cloud.cfg.Timeout)
	}
}

// Sleep waits, unless the run is interrupted.
func (t *T) Sleep(d time.Duration) {
	select {
	case <-t.Ctx.Done():
		t.Fatalf("interrupted")
	case <-time.After(d):
	}
}
