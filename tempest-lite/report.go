package tempestlite

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// Exit statuses of the program.
const (
	ExitGood     = 0
	ExitFailures = 1 // something failed or was refused, and nobody expected it
	ExitNotRun   = 2 // the checks could not run, or were interrupted
)

// Tally counts how checks ended. What was expected is counted there alone, and a cause that
// breaks many checks is one failure, from which the others follow.
type Tally struct {
	Passed   int `json:"passed"`
	Failed   int `json:"failed"`
	Follow   int `json:"follow"` // failures that follow from one that is counted as failed
	Refused  int `json:"refused"`
	Skipped  int `json:"skipped"`
	Expected int `json:"expected"`
}

func (t *Tally) add(r *Result) {
	switch {
	case r.Expected:
		t.Expected++
	case r.Outcome == Passed:
		t.Passed++
	case r.Follows():
		t.Follow++
	case r.Outcome == Failed:
		t.Failed++
	case r.Outcome == Refused:
		t.Refused++
	default:
		t.Skipped++
	}
}

// All is how many checks there were.
func (t Tally) All() int { return t.Passed + t.Failed + t.Follow + t.Refused + t.Skipped + t.Expected }

// Tally is the whole run's.
func (r *Report) Tally() Tally {
	var t Tally
	for _, x := range r.Results {
		t.add(x)
	}
	return t
}

// AreaTally is that of one heading.
type AreaTally struct {
	Area string `json:"area"`
	Tally
}

// Areas are the headings in the order of the checks.
func (r *Report) Areas() []*AreaTally {
	var out []*AreaTally
	byName := map[string]*AreaTally{}
	for _, x := range r.Results {
		a := byName[x.Check.Area]
		if a == nil {
			a = &AreaTally{Area: x.Check.Area}
			byName[a.Area] = a
			out = append(out, a)
		}
		a.add(x)
	}
	return out
}

// ExitStatus is what the program ends with.
func (r *Report) ExitStatus() int {
	t := r.Tally()
	switch {
	case r.Interrupted:
		return ExitNotRun
	case t.Failed+t.Refused+len(r.Unmet) > 0:
		return ExitFailures
	}
	return ExitGood
}

// Group is one fault, found by checks of one operation and kind: at several versions, with
// several values.
type Group struct {
	Name     string    // servers.show/works, or servers.list/wrong-query/* for several values
	Versions []Version // sorted
	Details  []string  // the values, if several
	Results  []*Result
}

// Title names the group with its versions and the count: servers.show/works @2.1 … 2.93 (14).
func (g *Group) Title() string {
	text := g.Name
	if n := len(g.Versions); n > 0 {
		text += " @" + g.Versions[0].String()
		if n > 1 {
			text += " … " + g.Versions[n-1].String()
		}
	}
	if len(g.Results) > 1 {
		text += " (" + thousands(len(g.Results)) + ")"
	}
	return text
}

// Faults are those of the first check.
func (g *Group) Faults() []string { return g.Results[0].Faults }

// Last is the exchange that the first check ended with; nil if it made none.
func (g *Group) Last() *Exchange {
	if x := g.Results[0].Exchanges; len(x) > 0 {
		return &x[len(x)-1]
	}
	return nil
}

// Failures groups what failed, was not expected, and has no cause that is told by itself.
func (r *Report) Failures() []*Group {
	return groupResults(r.Results, func(x *Result) bool { return x.Outcome == Failed && !x.Expected && x.Cause == nil })
}

// groupResults puts those results together that say the same.
func groupResults(results []*Result, take func(*Result) bool) []*Group {
	var out []*Group
	byKey := map[string]*Group{}
	for _, x := range results {
		if !take(x) {
			continue
		}
		key := x.sameness()
		g := byKey[key]
		if g == nil {
			g = &Group{}
			byKey[key] = g
			out = append(out, g)
		}
		g.Results = append(g.Results, x)
	}
	for _, g := range out {
		g.finish()
	}
	return out
}

func (g *Group) finish() {
	details := map[string]bool{}
	for _, x := range g.Results {
		if d := x.Check.detail(); !details[d] {
			details[d] = true
			g.Details = append(g.Details, d)
		}
		if v := x.Check.Version; v != 0 && x.Check.Op != nil && !slices.Contains(g.Versions, v) {
			g.Versions = append(g.Versions, v)
		}
	}
	slices.Sort(g.Versions)
	first := g.Results[0].Check
	g.Name, _, _ = strings.Cut(first.ID, "@")
	if len(g.Details) < 2 {
		g.Details = nil
		return
	}
	slices.Sort(g.Details)
	g.Name = first.Op.Name + "/" + string(first.Kind) + "/*"
	slices.SortStableFunc(g.Results, func(a, b *Result) int { return cmp.Compare(a.Check.Version, b.Check.Version) })
}

// detail is the part of the id between kind and version: which field, which value.
func (c *Check) detail() string {
	if c.Op == nil {
		return ""
	}
	id := c.ID
	if i := strings.LastIndex(id, "@"); i >= 0 {
		id = id[:i]
	}
	return strings.TrimPrefix(strings.TrimPrefix(id, c.Op.Name+"/"+string(c.Kind)), "/")
}

// sameness is equal for results that differ only in version, value and random names.
func (x *Result) sameness() string {
	c := x.Check
	if c.Op == nil {
		return c.ID
	}
	text := ""
	for _, f := range x.Faults {
		text += mask(withoutBody(f)) + "\n"
	}
	text = strings.ReplaceAll(text, c.Version.String(), "2.V")
	if d := c.detail(); d != "" {
		text = strings.ReplaceAll(text, d, "*")
	}
	return c.Op.Name + "\n" + string(c.Kind) + "\n" + text
}

// bodyAtEnd is the JSON that a fault ends with where the answer was none of a fault.
var bodyAtEnd = regexp.MustCompile(`(?s): [{[]["{].*$`)

// withoutBody leaves the cloud's answer out of a fault: the exchange shows it.
func withoutBody(fault string) string { return bodyAtEnd.ReplaceAllString(fault, "") }

// masks take out of a text what is another at each run.
var masks = []struct {
	re *regexp.Regexp
	by string
}{
	{regexp.MustCompile(`\breq-[0-9a-f-]{36}\b`), "REQUEST-ID"},
	{regexp.MustCompile(`\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b`), "ID"},
	{regexp.MustCompile(`\btempest-lite-[0-9a-f]{6}(-[a-z]+)*(-\d+)?\b`), "NAME"},
	{regexp.MustCompile(`\b[0-9a-f]{32}\b`), "ID"},
	{regexp.MustCompile(`\bhttps?://[^/\s"']+`), "http://CLOUD"},
	{regexp.MustCompile(`\b\d{1,3}(\.\d{1,3}){3}(:\d+)?\b`), "ADDRESS"},
	{regexp.MustCompile(`\b([0-9a-f]{2}:){5}[0-9a-f]{2}\b`), "MAC"},
	{regexp.MustCompile(`\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:?\d\d)?`), "TIME"},
	{regexp.MustCompile(`\binstance-[0-9a-f]{8}\b`), "instance-N"},
	{regexp.MustCompile(`(/[a-z_-]+)/\d+\b`), "$1/N"},
}

func mask(s string) string {
	for _, m := range masks {
		s = m.re.ReplaceAllString(s, m.by)
	}
	return s
}

// reason is a why with the checks that ended for it.
type reason struct {
	why     string
	results []*Result
}

// reasons groups the checks that take chooses by a why, the most frequent first.
func (r *Report) reasons(take func(*Result) bool, why func(*Result) string) []*reason {
	var out []*reason
	byWhy := map[string]*reason{}
	for _, x := range r.Results {
		if !take(x) {
			continue
		}
		w := why(x)
		if byWhy[w] == nil {
			byWhy[w] = &reason{why: w}
			out = append(out, byWhy[w])
		}
		byWhy[w].results = append(byWhy[w].results, x)
	}
	slices.SortStableFunc(out, func(a, b *reason) int { return cmp.Compare(len(b.results), len(a.results)) })
	return out
}

// refusedOp is the operation that a refused check ended at.
func refusedOp(x *Result) string {
	switch {
	case x.Refusal != "":
		return x.Refusal
	case x.Check.Op != nil:
		return x.Check.Op.Name
	}
	return x.Check.ID
}
