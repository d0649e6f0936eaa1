package tempestlite

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// A foreign cloud that lacks one thing, or does one thing otherwise, is told so once. Each of
// these clouds is this server behind a proxy that breaks it in one way.

// brokenCloud is a way to be broken, and what a run may say of it.
type brokenCloud struct {
	name string
	// answer may answer in the cloud's place; false lets the cloud answer.
	answer func(w http.ResponseWriter, r *http.Request, body []byte) bool
	// tell alters what the cloud answers.
	tell func(r *http.Response) error

	only    string // the checks that run; all without it
	most    int    // how many failures there may be that follow from nothing
	cause   string // what the first cause has to say; "" if there shall be none
	follow  int    // how many checks at least have to follow from it
	leaves  bool   // what cannot be deleted is left, and told
	timeout time.Duration
}

func notFound(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.WriteHeader(http.StatusNotFound)
	_, _ = io.WriteString(w, `{"itemNotFound":{"code":404,"message":"The resource could not be found."}}`)
}

func brokenClouds(c *Contract) []brokenCloud {
	operation := func(r *http.Request, body []byte) string {
		return c.match(r.Method, strings.TrimPrefix(r.URL.Path, "/v2.1"), string(body))
	}
	var failedOnce atomic.Bool
	return []brokenCloud{
		{name: "nothing is broken", most: 0},
		{name: "no quotas", only: `quota|limits|^servers\.(create|list)|^keypairs`, most: 30, cause: "/os-quota-sets", follow: 4, answer: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if !strings.Contains(r.URL.Path, "/os-quota-") {
				return false
			}
			notFound(w)
			return true
		}},
		{name: "a key too many in each fault", most: 60, cause: "the fault has more than code and message: [code docs message]", follow: 300, tell: func(r *http.Response) error {
			if r.StatusCode < 400 {
				return nil
			}
			return alter(r, inFault(func(_ string, fault, _ map[string]any) { fault["docs"] = "https://docs.example.org" }))
		}},
		{name: "another code for a new keypair", only: `keypair|rebuild|^servers\.(create|show)`, most: 20, cause: "POST /os-keypairs answers 203", follow: 20, tell: func(r *http.Response) error {
			if at(r.Request, "POST", "/os-keypairs") && r.StatusCode < 300 {
				r.StatusCode = http.StatusNonAuthoritativeInfo
			}
			return nil
		}},
		{name: "one answer of the cloud is lost", only: `^servers\.|metadata|lifecycle`, most: 3, answer: func(w http.ResponseWriter, r *http.Request, _ []byte) bool {
			if !at(r, "GET", oneServer) || !failedOnce.CompareAndSwap(false, true) {
				return false
			}
			w.WriteHeader(http.StatusBadGateway)
			return true
		}},
		{name: "slow", only: `^(servers\.(show|list|stop|create)|flavors\.list|keypairs\.create|versions\.)`, most: 0, timeout: 30 * time.Second, answer: func(http.ResponseWriter, *http.Request, []byte) bool {
			time.Sleep(60 * time.Millisecond)
			return false
		}},
		{name: "half of the operations are not there", most: 400, cause: "answers 404", follow: 20, leaves: true, answer: func(w http.ResponseWriter, r *http.Request, body []byte) bool {
			name := operation(r, body)
			sum := fnv.New32a()
			_, _ = sum.Write([]byte(name))
			// A cloud without these is none: nothing at all can be asked of it.
			if name == "" || strings.HasPrefix(name, "versions.") || sum.Sum32()%2 == 0 {
				return false
			}
			notFound(w)
			return true
		}},
	}
}

func TestBrokenCloudsAreToldOnce(t *testing.T) {
	base := startCloud(t)
	target, err := url.Parse(base)
	if err != nil {
		t.Fatal(err)
	}
	contract := load(t)
	for _, b := range brokenClouds(contract) {
		t.Run(b.name, func(t *testing.T) {
			proxy := httptest.NewServer(b.between(target))
			defer proxy.Close()
			b.check(t, b.run(t, contract, proxy.URL))
		})
	}
}

// between is the proxy that breaks the cloud.
func (b *brokenCloud) between(target *url.URL) http.Handler {
	through := &httputil.ReverseProxy{ModifyResponse: b.tell, Rewrite: func(p *httputil.ProxyRequest) {
		p.SetURL(target)
		p.Out.Host = p.In.Host
	}}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		if b.answer != nil && b.answer(w, r, body) {
			return
		}
		through.ServeHTTP(w, r)
	})
}

func (b *brokenCloud) run(t *testing.T, contract *Contract, base string) *Report {
	t.Helper()
	timeout := b.timeout
	if timeout == 0 {
		timeout = 3 * time.Second
	}
	selector, err := NewSelector(b.only, "")
	if err != nil {
		t.Fatal(err)
	}
	report, err := Run(t.Context(), contract, Config{Cloud: "kilonova", ComputeURL: base + "/v2.1", Policy: "new", Timeout: timeout},
		Options{Selector: selector, Versions: Selection{Only: []Version{1, 96}}, Parallel: 8})
	if err != nil {
		t.Fatal(err)
	}
	return report
}

func (b *brokenCloud) check(t *testing.T, r *Report) {
	t.Helper()
	var text strings.Builder
	r.WriteText(&text, false)
	tally := r.Tally()
	t.Logf("%d checks: %d passed, %d failed, %d follow, %d skipped; %d causes; %.1f s", len(r.Results), tally.Passed, tally.Failed, tally.Follow, tally.Skipped, len(r.Causes), r.Took.Seconds())
	if tally.Failed > b.most {
		t.Errorf("%d failures, where at most %d are due:\n%.6000s", tally.Failed, b.most, text.String())
	}
	if tally.All() != len(r.Results) {
		t.Errorf("%d results are counted as %d", len(r.Results), tally.All())
	}
	if len(r.Leftovers) > 0 && !b.leaves {
		t.Errorf("left behind: %v", r.Leftovers)
	}
	if b.cause == "" {
		if len(r.Causes) > 0 {
			t.Errorf("a cause where there is none: %s", r.Causes[0].Fault)
		}
		return
	}
	if len(r.Causes) == 0 {
		t.Fatalf("no cause is told:\n%.6000s", text.String())
	}
	first := r.Causes[0]
	if !strings.Contains(first.Fault, b.cause) || first.Follow() < b.follow {
		t.Errorf("the first cause is %q with %d that follow, not %q with at least %d", first.Fault, first.Follow(), b.cause, b.follow)
	}
	if !strings.HasPrefix(text.String(), "CAUSE") || !strings.Contains(text.String(), plural(first.Follow(), "check")+" more of ") {
		t.Errorf("the report does not begin with the cause and what follows from it:\n%.600s", text.String())
	}
	told := 0
	for line := range strings.Lines(text.String()) {
		if strings.HasPrefix(line, "CAUSE") && strings.Contains(line, cut(withoutBody(first.Fault), 400)) {
			told++
		}
	}
	if told != 1 {
		t.Errorf("the cause is told %d times", told)
	}
	var out struct {
		Causes []struct{ Follow int }
		Total  Tally
	}
	var data bytes.Buffer
	if err := r.WriteJSON(&data); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data.Bytes(), &out); err != nil {
		t.Fatal(err)
	}
	if len(out.Causes) != len(r.Causes) || out.Causes[0].Follow != first.Follow() || out.Total != tally {
		t.Errorf("the JSON tells another story: %+v", out)
	}
	if r.ExitStatus() != ExitFailures {
		t.Errorf("the exit status is %d", r.ExitStatus())
	}
	if file := os.Getenv("TEMPEST_LITE_PAGE"); file != "" { // to look at
		var page bytes.Buffer
		if err := r.WriteHTML(&page); err != nil {
			t.Fatal(err)
		}
		_ = os.WriteFile(fmt.Sprintf("%s-%s.html", file, strings.ReplaceAll(b.name, " ", "-")), page.Bytes(), 0o600)
	}
}

// TestCauses holds that a check which found something of its own is not hidden behind a cause.
func TestCauses(t *testing.T) {
	contract := load(t)
	op := func(name string) *Operation { return contract.Operation(name) }
	failed := func(name string, kind Kind, v Version, faults ...string) *Result {
		return &Result{Check: &Check{ID: fmt.Sprintf("%s/%s@%s", name, kind, v), Op: op(name), Kind: kind, Version: v}, Outcome: Failed, Faults: faults}
	}
	const same = "POST /os-keypairs answers 201, not 200: {\"keypair\": {}}"
	r := &Report{Contract: contract, Results: []*Result{
		failed("keypairs.show", Works, 1, same), failed("keypairs.delete", Works, 1, same), failed("keypairs.list", Works, 1, same),
		failed("keypairs.create", Works, 1, same),
		failed("keypairs.show", Works, 2, "making the shared keypair for all: "+same),
		failed("keypairs.show", Works, 10, same, "the answer.keypair.id is 1, not 2"), // and something of its own
		failed("servers.show", Works, 1, "the answer's server.id: is missing"),
	}}
	r.Results[3].Exchanges = []Exchange{{Method: "POST", URL: "/os-keypairs", Status: 201}}
	r.attribute()
	if len(r.Causes) != 1 || len(r.Causes[0].Results) != 5 {
		t.Fatalf("causes: %+v", r.Causes)
	}
	if got := r.Causes[0].Results[0].Check.ID; got != "keypairs.create/works@2.1" {
		t.Errorf("%s stands for the cause", got)
	}
	if got := r.Tally(); got.Failed != 3 || got.Follow != 4 {
		t.Errorf("%+v", got)
	}
	if got := len(r.Failures()); got != 2 {
		t.Errorf("%d failures are told beside the cause", got)
	}
}

// TestRunsWithoutAnAdministrator holds that a member's and a reader's run on a cloud that is
// as it should be finds nothing wrong, says what it could not do, and leaves nothing.
func TestRunsWithoutAnAdministrator(t *testing.T) {
	base := startCloud(t)
	contract := load(t)
	cloud, err := Connect(t.Context(), contract, Config{Cloud: "kilonova", Policy: "new"})
	if err != nil {
		t.Fatal(err)
	}
	defer cloud.Close(context.Background())
	for _, role := range []Role{Member, Reader, Other} {
		t.Run(string(role), func(t *testing.T) {
			t.Setenv("OS_CLIENT_CONFIG_FILE", "")
			t.Setenv("OS_AUTH_URL", base+"/identity/v3")
			t.Setenv("OS_TOKEN", cloud.token(role))
			t.Setenv("OS_PROJECT_ID", cloud.ProjectID(role))
			report, err := Run(t.Context(), contract, Config{Policy: "auto", Timeout: 30 * time.Second}, Options{Parallel: 6})
			if err != nil {
				t.Fatal(err)
			}
			tally := report.Tally()
			t.Logf("%d passed, %d refused, %d skipped in %.1f s", tally.Passed, tally.Refused, tally.Skipped, report.Took.Seconds())
			if tally.Failed+tally.Follow > 0 || len(report.Leftovers) > 0 || tally.Passed < 500 {
				var text strings.Builder
				report.WriteText(&text, false)
				t.Errorf("left behind %v:\n%.8000s", report.Leftovers, text.String())
			}
			for _, x := range report.Results {
				if x.Outcome == Skipped && x.Reason == "" {
					t.Errorf("%s is skipped without a reason", x.Check.ID)
				}
				for _, e := range x.Exchanges {
					if e.As == Admin {
						t.Errorf("%s asks as an administrator", x.Check.ID)
					}
				}
			}
		})
	}
}
