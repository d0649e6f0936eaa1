package tempestlite

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// Expectations are what a cloud is known not to do. They are kept in a file that may only
// get shorter: a line that nothing meets any more makes the run fail.
//
//	# a comment
//	operation servers.migrate        # the cloud refuses it: 501
//	check servers.list/paging@2.\d+  # fails, and this says why
//
// The word after "check" is an id, or an expression that the whole id matches.
type Expectations struct {
	lines []expectation
}

type expectation struct {
	text  string // as the file has it, without the why
	why   string
	op    string
	check string
	re    *regexp.Regexp
}

// ReadExpectations reads a list. Operations that the contract does not have, and checks
// without a why, are faults of it.
func ReadExpectations(r io.Reader, c *Contract) (*Expectations, error) {
	e := &Expectations{}
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		x, err := parseExpectation(lines.Text(), c)
		if err != nil {
			return nil, fmt.Errorf("line %d of the expectations: %w", n, err)
		}
		if x.text != "" {
			e.lines = append(e.lines, x)
		}
	}
	if lines.Err() != nil {
		return nil, fmt.Errorf("reading the expectations: %w", lines.Err())
	}
	return e, nil
}

func parseExpectation(line string, c *Contract) (expectation, error) {
	text, why := line, ""
	if before, after, found := cutComment(line); found {
		text, why = before, strings.TrimSpace(after)
	}
	x := expectation{text: strings.Join(strings.Fields(text), " "), why: why}
	if x.text == "" {
		return x, nil
	}
	word, rest, _ := strings.Cut(x.text, " ")
	if rest == "" || strings.Contains(rest, " ") {
		return x, fmt.Errorf("%q is neither \"operation NAME\" nor \"check ID # why\"", line)
	}
	switch word {
	case "operation":
		x.op = rest
		if c.Operation(rest) == nil {
			return x, fmt.Errorf("there is no operation %q", rest)
		}
	case "check":
		x.check = rest
		var err error
		x.re, err = regexp.Compile("^(?:" + rest + ")$")
		if err != nil {
			return x, fmt.Errorf("%q is no expression: %w", rest, err)
		}
		if why == "" {
			return x, fmt.Errorf("%q does not say why: add it after a #", x.text)
		}
	default:
		return x, fmt.Errorf("%q is neither \"operation\" nor \"check\"", word)
	}
	return x, nil
}

// cutComment splits at a # that begins a line or follows a space: ids may hold others.
func cutComment(line string) (before, after string, found bool) {
	for i, r := range line {
		if r == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i], line[i+1:], true
		}
	}
	return line, "", false
}

// about tells whether a line speaks of a check, however that ended.
func (x *expectation) about(r *Result) bool {
	if x.op != "" {
		return r.Refusal == x.op || r.Check.Op != nil && r.Check.Op.Name == x.op
	}
	return r.Check.ID == x.check || x.re.MatchString(r.Check.ID)
}

// meets tells whether a result is what the line expects.
func (x *expectation) meets(r *Result) bool {
	switch r.Outcome {
	case Refused:
		return x.about(r)
	case Failed:
		return x.op == "" && x.about(r)
	}
	return false
}

// Mark says of a result whether it was expected, and why.
func (e *Expectations) Mark(r *Result) {
	if e == nil {
		return
	}
	for i := range e.lines {
		if e.lines[i].meets(r) {
			r.Expected, r.Known = true, e.lines[i].why
			return
		}
	}
}

// Unmet says which lines nothing meets although their checks have run.
func (e *Expectations) Unmet(results []*Result) []string {
	if e == nil {
		return nil
	}
	var out []string
	for i := range e.lines {
		x, ran, met := &e.lines[i], false, false
		for _, r := range results {
			ran = ran || r.Outcome != Skipped && x.about(r)
			met = met || x.meets(r)
		}
		if ran && !met {
			out = append(out, fmt.Sprintf("expectation %q is met by nothing: remove the line", x.text))
		}
	}
	return out
}
