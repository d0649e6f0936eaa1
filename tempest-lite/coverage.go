package tempestlite

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// State is how a cloud does an operation at a range of microversions.
type State string

// The states, the worst first: an operation counts under the worst of its ranges.
const (
	StateRefused   State = "refused"   // 501
	StateDiffers   State = "differs"   // some check failed
	StateUntested  State = "untested"  // nothing ran that could tell
	StateSupported State = "supported" // all checks passed
)

var worstFirst = []State{StateRefused, StateDiffers, StateUntested, StateSupported}

// Coverage is the table of operations and microversions. What is another at each run, such
// as ids, is masked in its texts.
type Coverage struct {
	Tested     string               `json:"tested_max_microversion"`
	CloudMax   string               `json:"cloud_max_microversion"`
	Policies   string               `json:"policies"`
	Areas      []*CoverageArea      `json:"areas"`
	Removed    []*CoverageRow       `json:"removed"` // what Nova no longer has: 410 is right
	Behaviours []*CoverageBehaviour `json:"behaviours"`
}

// CoverageArea are the operations under one heading.
type CoverageArea struct {
	Area   string         `json:"area"`
	Counts map[State]int  `json:"operations"` // by the worst state of each
	Rows   []*CoverageRow `json:"rows"`
}

// CoverageRow is an operation at a range of microversions.
type CoverageRow struct {
	Operation string       `json:"operation"`
	Call      string       `json:"call"` // METHOD PATH [ACTION]
	From      Version      `json:"-"`
	To        Version      `json:"-"`
	Range     string       `json:"microversions"`
	State     State        `json:"state"`
	Reason    string       `json:"reason,omitempty"` // of a refusal, or why nothing ran
	How       []Difference `json:"how,omitempty"`
	Passed    int          `json:"passed"`
	Checks    int          `json:"checks"`
}

// Difference is a kind of check that fails.
type Difference struct {
	Kind   Kind   `json:"kind"`
	Checks int    `json:"checks"`
	Fault  string `json:"fault"` // of the first

	result *Result
	same   string // as Fault, for comparing between versions
}

// CoverageBehaviour is a check by hand, and the operations that it speaks for.
type CoverageBehaviour struct {
	ID      string   `json:"id"`
	Title   string   `json:"title"`
	Covers  []string `json:"covers,omitempty"`
	Outcome Outcome  `json:"outcome"`
	Why     string   `json:"why,omitempty"`

	result *Result
}

// Coverage makes the table of what the run has found.
func (r *Report) Coverage() *Coverage {
	b := &coverageBuilder{report: r, byOp: map[*Operation][]*Result{}, covered: map[string][]*Result{}}
	out := &Coverage{Tested: r.Tested.String(), CloudMax: r.CloudMax, Policies: r.Policies, Areas: []*CoverageArea{}, Removed: []*CoverageRow{}, Behaviours: []*CoverageBehaviour{}}
	for _, x := range r.Results {
		if x.Check.Op != nil {
			b.byOp[x.Check.Op] = append(b.byOp[x.Check.Op], x)
			continue
		}
		out.Behaviours = append(out.Behaviours, b.behaviour(x))
	}
	slices.SortFunc(out.Behaviours, func(a, b *CoverageBehaviour) int { return cmp.Compare(a.ID, b.ID) })
	byArea := map[string]*CoverageArea{}
	for _, op := range r.Contract.Operations {
		rows := b.operation(op)
		if op.Removed() {
			out.Removed = append(out.Removed, rows...)
			continue
		}
		a := byArea[op.Area]
		if a == nil {
			a = &CoverageArea{Area: op.Area, Counts: map[State]int{}}
			byArea[op.Area] = a
			out.Areas = append(out.Areas, a)
		}
		a.Rows = append(a.Rows, rows...)
		a.Counts[worst(rows)]++
	}
	return out
}

// Counts are the operations of all areas by the worst of their states.
func (c *Coverage) Counts() map[State]int {
	out := map[State]int{}
	for _, a := range c.Areas {
		for s, n := range a.Counts {
			out[s] += n
		}
	}
	return out
}

func worst(rows []*CoverageRow) State {
	for _, s := range worstFirst {
		if slices.ContainsFunc(rows, func(r *CoverageRow) bool { return r.State == s }) {
			return s
		}
	}
	return StateUntested
}

type coverageBuilder struct {
	report  *Report
	byOp    map[*Operation][]*Result
	covered map[string][]*Result // checks by hand that speak for an operation
}

func (b *coverageBuilder) behaviour(x *Result) *CoverageBehaviour {
	for _, name := range x.Check.Covers {
		b.covered[name] = append(b.covered[name], x)
	}
	out := &CoverageBehaviour{ID: x.Check.ID, Title: x.Check.Title, Covers: x.Check.Covers, Outcome: x.Outcome, result: x}
	switch x.Outcome {
	case Failed:
		out.Why = firstFault(x)
	case Refused:
		out.Why = refusedOp(x) + ": " + cut(mask(x.Reason), faultLength)
	case Skipped:
		out.Why = mask(x.Reason)
	}
	return out
}

// operation makes the rows of an operation: its ranges, those with the same to say as one.
func (b *coverageBuilder) operation(op *Operation) []*CoverageRow {
	top := b.report.Tested
	if op.Min() > top {
		row := b.row(op, op.Min(), op.Max(Last))
		row.State, row.Reason = StateUntested, "the cloud's highest microversion is "+b.report.CloudMax
		return []*CoverageRow{row}
	}
	var rows []*CoverageRow
	top = op.Max(top)
	for i, from := range op.edges {
		if from > top {
			break
		}
		to := top
		if i+1 < len(op.edges) {
			to = min(to, op.edges[i+1]-1)
		}
		row := b.row(op, from, to)
		b.judge(op, row)
		if n := len(rows); n > 0 && rows[n-1].sameAs(row) {
			rows[n-1].join(row)
			continue
		}
		rows = append(rows, row)
	}
	return rows
}

func (b *coverageBuilder) row(op *Operation, from, to Version) *CoverageRow {
	return &CoverageRow{Operation: op.Name, Call: op.Key(), From: from, To: to, Range: rangeText(from, to)}
}

func rangeText(from, to Version) string {
	if from == to {
		return from.String()
	}
	return from.String() + " – " + to.String()
}

func (row *CoverageRow) sameAs(next *CoverageRow) bool {
	return row.State == next.State && row.Reason == next.Reason &&
		slices.EqualFunc(row.How, next.How, func(a, b Difference) bool { return a.Kind == b.Kind && a.same == b.same })
}

func (row *CoverageRow) join(next *CoverageRow) {
	row.To = next.To
	row.Range = rangeText(row.From, row.To)
	row.Passed += next.Passed
	row.Checks += next.Checks
	for i := range row.How {
		row.How[i].Checks += next.How[i].Checks
	}
}

// at are the results of an operation within a range. The checks around an operation's
// first and last version belong to the nearest range.
func (b *coverageBuilder) at(op *Operation, row *CoverageRow) []*Result {
	var out []*Result
	for _, x := range b.byOp[op] {
		v := min(max(x.Check.Version, op.Min()), op.Max(b.report.Tested))
		if v >= row.From && v <= row.To {
			out = append(out, x)
		}
	}
	slices.SortStableFunc(out, func(a, b *Result) int {
		return cmp.Or(cmp.Compare(a.Check.Version, b.Check.Version), cmp.Compare(a.Check.ID, b.Check.ID))
	})
	return out
}

// judge sets the state of a row.
func (b *coverageBuilder) judge(op *Operation, row *CoverageRow) {
	results := b.at(op, row)
	row.Checks = len(results)
	var bad, refused []*Result
	works := false
	for _, x := range results {
		happy := x.Check.Kind == Works || x.Check.Kind == Gone
		switch {
		case x.Outcome == Passed:
			row.Passed++
			works = works || happy
		case x.Outcome == Failed:
			bad = append(bad, x)
		case x.Outcome == Refused && refusedOp(x) == op.Name:
			refused = append(refused, x)
			if happy {
				row.State, row.Reason = StateRefused, cut(mask(x.Reason), faultLength)
			}
		}
	}
	switch {
	case row.State == StateRefused:
	case len(refused) > 0 && len(bad) == 0 && !works && !b.coveredIn(row):
		row.State, row.Reason = StateRefused, cut(mask(refused[0].Reason), faultLength)
	case len(bad)+len(refused) > 0:
		row.State, row.How = StateDiffers, differences(append(bad, refused...))
	case works || b.coveredIn(row):
		row.State = StateSupported
	default:
		row.State, row.Reason = StateUntested, b.whyUntested(op, results)
	}
}

// coveredIn tells whether a check by hand shows that the operation works in this range.
func (b *coverageBuilder) coveredIn(row *CoverageRow) bool {
	return slices.ContainsFunc(b.covered[row.Operation], func(x *Result) bool {
		v := max(x.Check.Version, First)
		return x.Outcome == Passed && v >= row.From && v <= row.To
	})
}

func (b *coverageBuilder) whyUntested(op *Operation, results []*Result) string {
	call := b.report.Contract.Calls[op.Name]
	if call == nil && !op.Removed() {
		return "there is no check of it"
	}
	if len(results) == 0 && b.report.Chosen {
		return "its checks were not chosen"
	}
	if len(results) == 0 {
		return "no check is made for it at these microversions"
	}
	// What kept the happy path from running says more than what kept others.
	for _, happy := range []bool{true, false} {
		for _, x := range results {
			if (x.Check.Kind == Works) != happy {
				continue
			}
			switch x.Outcome {
			case Skipped:
				return mask(x.Reason)
			case Refused:
				return "it takes " + refusedOp(x) + ", which the cloud refuses"
			}
		}
		if happy && call != nil && call.Skip[Works] != "" {
			return call.Skip[Works]
		}
	}
	return "only what it turns away was checked"
}

// faultLength is how much of a fault the table shows.
const faultLength = 240

func firstFault(x *Result) string {
	if x.Outcome == Refused {
		return "refused with 501: " + cut(mask(x.Reason), faultLength)
	}
	if len(x.Faults) == 0 {
		return ""
	}
	first, _, _ := strings.Cut(x.Faults[0], "\ngoroutine ")
	return cut(mask(withoutBody(first)), faultLength)
}

// differences puts failures together by their kind, the happy path first.
func differences(results []*Result) []Difference {
	var out []Difference
	for _, x := range results {
		i := slices.IndexFunc(out, func(d Difference) bool { return d.Kind == x.Check.Kind })
		if i >= 0 {
			out[i].Checks++
			continue
		}
		fault := firstFault(x)
		if d := x.Check.detail(); d != "" {
			fault = d + ": " + fault
		}
		out = append(out, Difference{
			Kind: x.Check.Kind, Checks: 1, Fault: fault, result: x,
			same: strings.ReplaceAll(fault, x.Check.Version.String(), "2.V"),
		})
	}
	slices.SortStableFunc(out, func(a, b Difference) int {
		return cmp.Or(cmp.Compare(kindRank(a.Kind), kindRank(b.Kind)), cmp.Compare(a.Kind, b.Kind))
	})
	return out
}

func kindRank(k Kind) int {
	if k == Works || k == Gone {
		return 0
	}
	return 1
}

// Text is a difference in a sentence.
func (d Difference) Text() string {
	text := words(d.Kind)
	if d.Checks > 1 {
		text += fmt.Sprintf(" (%d checks)", d.Checks)
	}
	return text + ": " + d.Fault
}

// Says is what there is to say of a row besides its state.
func (row *CoverageRow) Says() []string {
	var out []string
	if row.Reason != "" {
		out = append(out, row.Reason)
	}
	for _, d := range row.How {
		out = append(out, d.Text())
	}
	return out
}
