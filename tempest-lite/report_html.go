package tempestlite

import (
	"bytes"
	_ "embed" // the page
	"encoding/json"
	"fmt"
	"html/template"
	"io"
	"strings"
)

//go:embed report.html
var pageText string

var page = template.Must(template.New("report.html").Funcs(template.FuncMap{
	"thousands": thousands,
	"words":     words,
	"asked":     (*Exchange).headline,
	"pretty":    pretty,
	"plural":    plural,
}).Parse(pageText))

// pageData is what the page is made of.
type pageData struct {
	*Report
	Total    Tally
	Coverage *Coverage
	Counts   map[State]int
	Numbers  []bigNumber
	Verdict  string
	Duration string
	Reasons  []pageReason
	Failed   []*Group // failures that no cause explains
}

type bigNumber struct {
	Class, Text, Label string
}

type pageReason struct {
	Outcome, Why string
	Checks       int
}

// WriteHTML writes one page to look at, which needs no other file.
func (r *Report) WriteHTML(w io.Writer) error {
	d := pageData{Report: r, Total: r.Tally(), Coverage: r.Coverage(), Duration: fmt.Sprintf("%.1f s", r.Took.Seconds()), Failed: r.Failures()}
	d.Counts = d.Coverage.Counts()
	d.Verdict = map[int]string{ExitGood: "all is well", ExitFailures: "not all is well", ExitNotRun: "interrupted"}[r.ExitStatus()]
	operations := 0
	for _, n := range d.Counts {
		operations += n
	}
	d.Numbers = []bigNumber{
		{"supported", fmt.Sprintf("%d of %d", d.Counts[StateSupported], operations), "operations supported"},
		{"passed", thousands(d.Total.Passed), "passed"},
		{"failed", thousands(d.Total.Failed), "failed"},
		{"refused", thousands(d.Total.Refused), "refused"},
		{"skipped", thousands(d.Total.Skipped), "skipped"},
	}
	if r.Expecting {
		d.Numbers = append(d.Numbers, bigNumber{"skipped", thousands(d.Total.Expected), "expected not to pass"})
	}
	if d.Total.Follow > 0 {
		d.Numbers = append(d.Numbers, bigNumber{"failed", thousands(d.Total.Follow), "follow from a cause"})
	}
	d.reasons("skipped", r.reasons(func(x *Result) bool { return x.Outcome == Skipped }, func(x *Result) string { return x.Reason }))
	d.reasons("refused", r.reasons(func(x *Result) bool { return x.Outcome == Refused && !x.Expected }, refusedOp))
	d.reasons("expected", r.reasons(func(x *Result) bool { return x.Expected }, expectedAs))
	return page.Execute(w, d)
}

func (d *pageData) reasons(outcome string, list []*reason) {
	for _, x := range list {
		d.Reasons = append(d.Reasons, pageReason{outcome, x.why, len(x.results)})
	}
}

func plural(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return thousands(n) + " " + what + "s"
}

// headline is the request without its body.
func (x *Exchange) headline() string {
	short := *x
	short.Request = ""
	return short.asked()
}

// Shown are the last exchanges of the first check: what led to the fault.
func (g *Group) Shown() []*Exchange { return lastOf(g.Results[0]) }

// Shown are the exchanges that led to the fault.
func (d Difference) Shown() []*Exchange { return lastOf(d.result) }

// Shown are the exchanges that led to the fault.
func (b *CoverageBehaviour) Shown() []*Exchange { return lastOf(b.result) }

func lastOf(r *Result) []*Exchange {
	const most = 3
	if r == nil {
		return nil
	}
	var out []*Exchange
	for i := max(0, len(r.Exchanges)-most); i < len(r.Exchanges); i++ {
		out = append(out, &r.Exchanges[i])
	}
	return out
}

// pretty gives JSON lines of its own, and cuts what is very long.
func pretty(body string) string {
	var out bytes.Buffer
	if json.Indent(&out, []byte(body), "", "  ") == nil {
		body = out.String()
	}
	const most = 2500
	if len(body) > most {
		body = strings.ToValidUTF8(body[:most], "") + "\n…"
	}
	return body
}
