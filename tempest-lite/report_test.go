package tempestlite

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"io"
	"strings"
	"testing"
	"time"
)

// madeUp is a contract of two operations, and one that Nova has taken away.
func madeUp() *Contract {
	show := &Operation{Name: "things.show", Area: "things", Method: "GET", Path: "/things/{id}", Spans: []Span{{Min: 1, Success: 200}}, Policy: []string{"things:show"}, edges: []Version{1, 10, 50}}
	create := &Operation{Name: "things.create", Area: "things", Method: "POST", Path: "/things", Spans: []Span{{Min: 5, Success: 202}}, edges: []Version{5}}
	late := &Operation{Name: "late.list", Area: "late", Method: "GET", Path: "/late", Spans: []Span{{Min: 100, Success: 200}}, edges: []Version{100}}
	old := &Operation{Name: "old.list", Area: "old", Method: "GET", Path: "/old", Spans: []Span{{Min: 1, Success: 410}}, edges: []Version{1}}
	c := &Contract{Operations: []*Operation{show, create, late, old}, Calls: map[string]*Call{"things.show": {}, "things.create": {}, "late.list": {}}, byName: map[string]*Operation{}}
	for _, op := range c.Operations {
		c.byName[op.Name] = op
	}
	return c
}

// result makes up a result of an operation; text is the fault, the reason or nothing.
func (c *Contract) result(op string, kind Kind, detail string, v Version, o Outcome, text string) *Result {
	s := site{op: c.byName[op], v: v}
	r := &Result{Check: &Check{ID: s.id(kind, detail), Title: "it does", Area: s.op.Area, Op: s.op, Kind: kind, Version: v}, Outcome: o, Took: time.Second}
	switch o {
	case Failed:
		r.Faults = []string{text}
		r.Exchanges = []Exchange{{As: Member, Version: v.String(), Method: "GET", URL: "http://10.0.0.1:8774/v2.1/things/7", Status: 500, Request: `{"a":1}`, Response: `{"fault":{"message":"no"}}`}}
	case Refused:
		r.Reason, r.Refusal = text, op
	case Skipped:
		r.Reason = text
	}
	return r
}

func reportOf(c *Contract, results ...*Result) *Report {
	return &Report{Program: "v1", Endpoint: "http://cloud/v2.1", CloudMax: "2.90", Tested: 90, Policies: "new", Took: 2 * time.Second, Results: results, Contract: c}
}

const hostile = `<script>alert("x")</script> & "]]>`

func everything() *Report {
	c := madeUp()
	known := c.result("things.show", NoToken, "", 1, Failed, "known")
	known.Expected, known.Known = true, "some day"
	r := reportOf(c,
		c.result("things.show", Works, "", 1, Failed, hostile),
		c.result("things.show", Works, "", 10, Passed, ""),
		c.result("things.create", Works, "", 5, Refused, hostile),
		c.result("things.show", Forbidden, "reader", 1, Skipped, hostile),
		c.result("old.list", Gone, "", 1, Passed, ""),
		known,
		&Result{Check: &Check{ID: "behaviour/things/together", Title: hostile, Area: "behaviour: things", Kind: Behaviour, Covers: []string{"things.show"}}, Outcome: Failed, Faults: []string{hostile}},
	)
	r.Expecting, r.Unmet, r.Leftovers = true, []string{hostile}, []string{"server 7: " + hostile}
	return r
}

func TestFailuresAreGroupedByFault(t *testing.T) {
	c := madeUp()
	r := reportOf(c,
		c.result("things.show", Works, "", 1, Failed, "GET /things/7 answers 500, not 200 at 2.1"),
		c.result("things.show", Works, "", 50, Failed, "GET /things/8 answers 500, not 200 at 2.50"),
		c.result("things.show", Works, "", 10, Failed, "another fault"),
		c.result("things.show", WrongQuery, "limit", 1, Failed, `GET /things?limit=x answers 200, not 400: {"things": ["a1"]}`),
		c.result("things.show", WrongQuery, "marker", 1, Failed, `GET /things?marker=x answers 200, not 400: {"things": ["b2"]}`),
		c.result("things.show", Works, "", 1, Passed, ""),
	)
	var got []string
	for _, g := range r.Failures() {
		got = append(got, g.Title()+" "+strings.Join(g.Details, ","))
	}
	want := []string{"things.show/works @2.1 … 2.50 (2) ", "things.show/works @2.10 ", "things.show/wrong-query/* @2.1 (2) limit,marker"}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("the groups are\n%s\nnot\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

func TestTextSaysWhatHappened(t *testing.T) {
	var plain, coloured bytes.Buffer
	everything().WriteText(&plain, false)
	everything().WriteText(&coloured, true)
	for _, part := range []string{
		"FAILED   things.show/works @2.1", "> GET /v2.1/things/7 at 2.1 as member  {\"a\":1}", "< 500 {\"fault\"",
		"REFUSED", "1  things.create", "things.show/no-token: some day", "SKIPPED",
		"area                passed   failed   refused   skipped   expected",
		"things                   1        1         1         1          1",
		"left behind: server 7", "FAILED  7 checks in 2.0 s (4 a second) of http://cloud/v2.1, microversions 2.1 to 2.90; policies: new",
	} {
		if !strings.Contains(plain.String(), part) {
			t.Errorf("the text does not say %q:\n%s", part, plain.String())
		}
	}
	if strings.Contains(plain.String(), "\033") {
		t.Error("the text has colours that nobody asked for")
	}
	if !strings.Contains(coloured.String(), "\033[31m") {
		t.Error("the text has no colours")
	}
}

func TestExitStatus(t *testing.T) {
	c := madeUp()
	expected := c.result("things.show", Works, "", 1, Failed, "x")
	expected.Expected = true
	for name, x := range map[string]struct {
		change func(*Report)
		want   int
	}{
		"good":        {func(*Report) {}, ExitGood},
		"expected":    {func(r *Report) { r.Results = append(r.Results, expected) }, ExitGood},
		"failed":      {func(r *Report) { r.Results = append(r.Results, c.result("things.show", Works, "", 1, Failed, "x")) }, ExitFailures},
		"refused":     {func(r *Report) { r.Results = append(r.Results, c.result("things.show", Works, "", 1, Refused, "x")) }, ExitFailures},
		"skipped":     {func(r *Report) { r.Results = append(r.Results, c.result("things.show", Works, "", 1, Skipped, "x")) }, ExitGood},
		"unmet":       {func(r *Report) { r.Unmet = []string{"x"} }, ExitFailures},
		"interrupted": {func(r *Report) { r.Interrupted = true }, ExitNotRun},
	} {
		r := reportOf(c, c.result("things.show", Works, "", 1, Passed, ""))
		x.change(r)
		if got := r.ExitStatus(); got != x.want {
			t.Errorf("%s: the status is %d, not %d", name, got, x.want)
		}
	}
}

func TestJSONReadsBack(t *testing.T) {
	var out bytes.Buffer
	if err := everything().WriteJSON(&out); err != nil {
		t.Fatal(err)
	}
	var got jsonReport
	d := json.NewDecoder(&out)
	d.DisallowUnknownFields()
	if err := d.Decode(&got); err != nil {
		t.Fatal(err)
	}
	first := got.Results[0]
	if got.Format != "tempest-lite/1" || got.Run.Exit != ExitFailures || len(got.Results) != 7 || first.Faults[0] != hostile || len(first.Exchanges) != 1 || first.Operation != "things.show" {
		t.Errorf("the JSON reads back as %+v", got)
	}
	if got.Total != (Tally{Passed: 2, Failed: 2, Refused: 1, Skipped: 1, Expected: 1}) || got.Coverage == nil || len(got.Coverage.Areas) != 2 {
		t.Errorf("the total is %+v, the coverage %+v", got.Total, got.Coverage)
	}
}

func TestJUnitReadsBack(t *testing.T) {
	var out bytes.Buffer
	if err := everything().WriteJUnit(&out); err != nil {
		t.Fatal(err)
	}
	var got junitSuites
	if err := xml.Unmarshal(out.Bytes(), &got); err != nil {
		t.Fatal(err)
	}
	if got.Tests != 7 || got.Failures != 3 || got.Skipped != 2 || len(got.Suites) != 3 || got.Suites[0].Name != "things" {
		t.Errorf("the suites read back as %+v", got)
	}
	things := got.Suites[0].Cases
	if things[0].Failure == nil || !strings.HasPrefix(things[0].Failure.Text, hostile) || things[3].Skipped == nil || things[3].Skipped.Message != hostile {
		t.Errorf("the cases read back as %+v", things)
	}
}

func TestHTMLIsOnePageWithNothingFromOutside(t *testing.T) {
	var out bytes.Buffer
	if err := everything().WriteHTML(&out); err != nil {
		t.Fatal(err)
	}
	text := out.String()
	if strings.Count(text, "<script") != 1 || strings.Contains(text, `<script>alert`) {
		t.Error("the page holds a fault's text unescaped")
	}
	for _, outside := range []string{`src="`, "@import", "<link", "url("} {
		if strings.Contains(text, outside) {
			t.Errorf("the page needs what is elsewhere: %s", outside)
		}
	}
	for _, part := range []string{"&lt;script&gt;alert", "things.show", "operations supported", "http://cloud/v2.1", "expected not to pass"} {
		if !strings.Contains(text, part) {
			t.Errorf("the page does not say %q", part)
		}
	}
	if err := (&Report{Contract: madeUp(), Tested: 1}).WriteHTML(io.Discard); err != nil {
		t.Errorf("a page of no results: %v", err)
	}
}

func TestMask(t *testing.T) {
	for in, want := range map[string]string{
		"Instance 2f4ffae5-6e08-4ed7-a3a1-0f1dd8e6b0ab not found": "Instance ID not found",
		"(req-2f4ffae5-6e08-4ed7-a3a1-0f1dd8e6b0ab)":              "(REQUEST-ID)",
		"tempest-lite-ab12cd-17 and tempest-lite-ab12cd-flavor-1": "NAME and NAME",
		"http://127.0.0.1:43121/v2.1/servers":                     "http://CLOUD/v2.1/servers",
		"GET /os-aggregates/12 answers 500, not 200":              "GET /os-aggregates/N answers 500, not 200",
		"at 2026-11-21T10:00:00Z by 10.0.0.7":                     "at TIME by ADDRESS",
		"the version is 2.90, not 2.1":                            "the version is 2.90, not 2.1",
	} {
		if got := mask(in); got != want {
			t.Errorf("%q becomes %q, not %q", in, got, want)
		}
	}
}
