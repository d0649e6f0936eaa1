package tempestlite

import (
	"cmp"
	"regexp"
	"slices"
	"strings"
)

// A cloud that differs in one thing breaks many checks: a keypair that cannot be made, a key
// too many in each fault. Such a cause is told once, with how many checks follow from it.

// Cause is one fault that checks of several operations, or of several kinds, have found.
type Cause struct {
	Fault   string    // as the first check tells it
	Results []*Result // what fails for it; the first one stands for the cause, the others follow
}

// enoughToBeACause is how many checks must fail for the same thing.
const enoughToBeACause = 5

// attribute finds the causes of what failed, and tells each result whether one of them
// explains it: all that it has found must be found by many. What is expected to fail has a
// reason already.
func (r *Report) attribute() {
	found := map[string][]*Result{}
	failed := slices.DeleteFunc(slices.Clone(r.Results), func(x *Result) bool { return x.Outcome != Failed || x.Expected })
	for _, x := range failed {
		for _, key := range x.blames() {
			found[key] = append(found[key], x)
		}
	}
	causes := map[string]*Cause{}
	for _, x := range failed {
		keys := x.blames()
		if slices.ContainsFunc(keys, func(key string) bool { return !common(found[key]) }) {
			continue
		}
		c := causes[keys[0]]
		if c == nil {
			c = &Cause{Fault: plainFault(x.Faults[0])}
			causes[keys[0]] = c
			r.Causes = append(r.Causes, c)
		}
		c.Results = append(c.Results, x)
		x.Cause = c
	}
	for _, c := range r.Causes {
		r.leadWithItsOwn(c)
	}
	slices.SortStableFunc(r.Causes, func(a, b *Cause) int { return cmp.Compare(len(b.Results), len(a.Results)) })
}

// common tells whether a fault is more than one check's: it is found at several operations,
// or by several kinds of checks.
func common(results []*Result) bool {
	seen := map[string]bool{}
	for _, x := range results {
		seen[x.subject()+"\n"+string(x.Check.Kind)] = true
	}
	return len(results) >= enoughToBeACause && len(seen) > 1
}

// leadWithItsOwn puts a check first that is about the very thing: whose happy call failed.
func (r *Report) leadWithItsOwn(c *Cause) {
	i := slices.IndexFunc(c.Results, func(x *Result) bool {
		if x.Check.Kind != Works || x.Check.Op == nil || len(x.Exchanges) == 0 {
			return false
		}
		last := x.Exchanges[len(x.Exchanges)-1]
		return r.Contract.match(last.Method, strings.TrimPrefix(last.URL, r.Endpoint), last.Request) == x.Check.Op.Name
	})
	if i > 0 {
		own := c.Results[i]
		c.Results = slices.Insert(slices.Delete(c.Results, i, i+1), 0, own)
	}
}

// Follow is how many checks the cause breaks beside the one that stands for it.
func (c *Cause) Follow() int { return len(c.Results) - 1 }

// Last is the exchange that the first check ended with; nil if it made none.
func (c *Cause) Last() *Exchange { return (&Group{Results: c.Results}).Last() }

// Subjects are the operations (and the checks of behaviour) that the cause breaks.
func (c *Cause) Subjects() []string {
	var out []string
	for _, x := range c.Results {
		if s := x.subject(); !slices.Contains(out, s) {
			out = append(out, s)
		}
	}
	slices.Sort(out)
	return out
}

// Follows tells whether the result fails for what another result stands for.
func (x *Result) Follows() bool { return x.Cause != nil && x.Cause.Results[0] != x }

func (x *Result) subject() string {
	if x.Check.Op != nil {
		return x.Check.Op.Name
	}
	return x.Check.ID
}

// blames are the faults of a result without what differs from check to check: equal for
// results that fail for the same thing.
func (x *Result) blames() []string {
	var out []string
	for _, f := range x.Faults {
		text := mask(withoutBody(plainFault(f)))
		text = wanted.ReplaceAllString(text, " answers $1:")
		text = segment.ReplaceAllString(text, "/X")
		text = versionText.ReplaceAllString(text, "2.V")
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

var (
	// wanted is what a check says of an answer: which code it wanted does not matter to the cause.
	wanted = regexp.MustCompile(` answers (\d+), not \d+(?: or \d+)*:`)
	// segment are names of the run in a path, once they are masked.
	segment     = regexp.MustCompile(`/(?:ID|NAME|N)\b`)
	versionText = regexp.MustCompile(`\b2\.\d+\b`)
)

// plainFault is a fault without the words around it that tell for whom a thing was made.
func plainFault(fault string) string {
	fault, _, _ = strings.Cut(fault, "\ngoroutine ")
	if rest, ok := strings.CutPrefix(fault, "making the shared "); ok {
		_, after, found := strings.Cut(rest, ": ")
		if found {
			return after
		}
	}
	return fault
}
