package tempestlite

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"unicode/utf8"
)

// palette are the colours of a terminal; the empty one writes none.
type palette struct{ bold, red, green, yellow, dim, off string }

// newPalette gives the colours of a terminal if on is true.
func newPalette(on bool) palette {
	if !on {
		return palette{}
	}
	return palette{bold: "\033[1m", red: "\033[31m", green: "\033[32m", yellow: "\033[33m", dim: "\033[2m", off: "\033[0m"}
}

// textReport writes a report for people.
type textReport struct {
	*Report
	palette
	w io.Writer
}

const margin = "         "

// WriteText writes what ends a run: what failed and why, what was refused and skipped with
// the reasons, and a line for each area.
func (r *Report) WriteText(w io.Writer, colours bool) {
	t := textReport{r, newPalette(colours), w}
	t.causes()
	t.failures()
	t.list("REFUSED", t.yellow, "with 501: the cloud does not do this", r.reasons(
		func(x *Result) bool { return x.Outcome == Refused && !x.Expected }, refusedOp))
	t.list("EXPECTED", t.dim, "not to pass, by the list of expectations", r.reasons(
		func(x *Result) bool { return x.Expected }, func(x *Result) string { return expectedAs(x) }))
	t.list("SKIPPED", t.dim, "", r.reasons(
		func(x *Result) bool { return x.Outcome == Skipped }, func(x *Result) string { return x.Reason }))
	t.table()
	for _, u := range r.Unmet {
		fmt.Fprintf(w, "%s%s%s\n", t.red, u, t.off)
	}
	t.lastLines()
}

func expectedAs(x *Result) string {
	text := refusedOp(x)
	if x.Outcome == Failed {
		text, _, _ = strings.Cut(x.Check.ID, "@")
	}
	if x.Known != "" {
		text += ": " + x.Known
	}
	return text
}

// causes tells what breaks many checks, once, with what follows from it.
func (t textReport) causes() {
	for _, c := range t.Causes {
		fmt.Fprintf(t.w, "%s%-8s%s %s%s%s\n", t.red, "CAUSE", t.off, t.bold, cut(withoutBody(c.Fault), 400), t.off)
		fmt.Fprintf(t.w, "%s%s fails, and %s more of %s\n", margin, c.Results[0].Check.ID, plural(c.Follow(), "check"), atMost(c.Subjects(), 8))
		if x := c.Last(); x != nil {
			fmt.Fprintf(t.w, "%s%s> %s%s\n", margin, t.dim, x.asked(), t.off)
			fmt.Fprintf(t.w, "%s%s< %s%s\n", margin, t.dim, x.answered(), t.off)
		}
	}
}

func (t textReport) failures() {
	for _, g := range t.Failures() {
		fmt.Fprintf(t.w, "%s%-8s%s %s%s%s\n", t.red, "FAILED", t.off, t.bold, g.Title(), t.off)
		for _, f := range g.Faults() {
			if g.Last() != nil {
				f = withoutBody(f)
			}
			fmt.Fprintf(t.w, "%s%s\n", margin, cut(f, 400))
		}
		if len(g.Details) > 0 {
			fmt.Fprintf(t.w, "%swith %s\n", margin, atMost(g.Details, 12))
		}
		if x := g.Last(); x != nil {
			fmt.Fprintf(t.w, "%s%s> %s%s\n", margin, t.dim, x.asked(), t.off)
			fmt.Fprintf(t.w, "%s%s< %s%s\n", margin, t.dim, x.answered(), t.off)
		}
	}
}

// asked is the request in a line or two.
func (x *Exchange) asked() string {
	text := x.Method + " " + pathOf(x.URL)
	if x.Version != "" {
		text += " at " + x.Version
	}
	if x.As != "" {
		text += " as " + string(x.As)
	}
	if x.Request != "" {
		text += "  " + cut(x.Request, 160)
	}
	return text
}

// answered is the answer in a line or two.
func (x *Exchange) answered() string {
	if x.Status == 0 {
		return "no answer: " + cut(x.Response, 200)
	}
	return strings.TrimSpace(fmt.Sprintf("%d %s", x.Status, cut(x.Response, 200)))
}

// pathOf is a URL without scheme and host.
func pathOf(u string) string {
	if _, rest, ok := strings.Cut(u, "://"); ok {
		if i := strings.Index(rest, "/"); i >= 0 {
			return rest[i:]
		}
	}
	return u
}

// cut makes one line of at most n characters.
func cut(s string, n int) string {
	s = strings.Join(strings.Fields(s), " ")
	if utf8.RuneCountInString(s) <= n {
		return s
	}
	return string([]rune(s)[:n-1]) + "…"
}

func atMost(words []string, n int) string {
	if len(words) <= n {
		return strings.Join(words, ", ")
	}
	return strings.Join(words[:n], ", ") + fmt.Sprintf(" … (%d in all)", len(words))
}

func (t textReport) list(heading, colour, about string, reasons []*reason) {
	if len(reasons) == 0 {
		return
	}
	fmt.Fprintf(t.w, "%s%-8s%s %s\n", colour, heading, t.off, about)
	for _, x := range reasons {
		fmt.Fprintf(t.w, "%s%5d  %s\n", margin[:3], len(x.results), cut(x.why, 300))
	}
}

// thousands writes a number with a space between thousands.
func thousands(n int) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + " " + s[i:]
	}
	return s
}

func (t textReport) table() {
	heads := []string{"area", "passed", "failed"}
	if len(t.Causes) > 0 {
		heads = append(heads, "follow")
	}
	heads = append(heads, "refused", "skipped")
	cells := func(name string, c Tally) []string {
		out := []string{name, figure(c.Passed), figure(c.Failed)}
		if len(t.Causes) > 0 {
			out = append(out, figure(c.Follow))
		}
		out = append(out, figure(c.Refused), figure(c.Skipped))
		if t.Expecting {
			out = append(out, figure(c.Expected))
		}
		return out
	}
	if t.Expecting {
		heads = append(heads, "expected")
	}
	rows := [][]string{heads}
	for _, a := range t.Areas() {
		rows = append(rows, cells(a.Area, a.Tally))
	}
	rows = append(rows, cells("all", t.Tally()))
	var text strings.Builder
	tw := tabwriter.NewWriter(&text, 0, 0, 3, ' ', tabwriter.AlignRight)
	width := 0
	for _, row := range rows {
		width = max(width, utf8.RuneCountInString(row[0]))
	}
	for _, row := range rows {
		// The first column stands on the left, the numbers on the right.
		fmt.Fprintf(tw, "%s%s\t%s\t\n", row[0], strings.Repeat(" ", width-utf8.RuneCountInString(row[0])), strings.Join(row[1:], "\t"))
	}
	_ = tw.Flush()
	lines := strings.Split(strings.TrimRight(text.String(), "\n"), "\n")
	indent := len(lines[0]) - len(strings.TrimLeft(lines[0], " "))
	fmt.Fprintln(t.w)
	for i, line := range lines {
		line = strings.TrimRight(line[indent:], " ")
		if i == 0 || i == len(lines)-1 {
			line = t.bold + line + t.off
		}
		fmt.Fprintln(t.w, line)
	}
	fmt.Fprintln(t.w)
}

// figure leaves nothing where there is nothing: what is there stands out.
func figure(n int) string {
	if n == 0 {
		return "·"
	}
	return thousands(n)
}

func (t textReport) lastLines() {
	for _, l := range t.Leftovers {
		fmt.Fprintf(t.w, "%sleft behind: %s%s\n", t.red, l, t.off)
	}
	if len(t.Kept) > 0 {
		fmt.Fprintf(t.w, "kept, as --keep asks: %d things; their names begin with %s\n", len(t.Kept), t.Prefix)
	}
	word, colour := "PASSED", t.green
	switch t.ExitStatus() {
	case ExitFailures:
		word, colour = "FAILED", t.red
		if tally := t.Tally(); tally.Failed == 0 && tally.Refused > 0 && len(t.Unmet) == 0 {
			word, colour = "REFUSED IN PART", t.yellow // nothing is wrong, and not everything is there
		}
	case ExitNotRun:
		word, colour = "INTERRUPTED", t.red
	}
	fmt.Fprintf(t.w, "%s%s%s%s  %s\n", t.bold, colour, word, t.off, t.Facts())
}

// Facts is the run in a line: how many checks in which time, of which cloud.
func (r *Report) Facts() string {
	seconds := max(r.Took.Seconds(), 0.001)
	n := len(r.Results)
	text := fmt.Sprintf("%s checks in %.1f s (%.0f a second) of %s, microversions 2.1 to %s", thousands(n), seconds, float64(n)/seconds, r.Endpoint, r.Tested)
	if r.CloudMax != r.Tested.String() {
		text += " (the cloud has them up to " + r.CloudMax + ")"
	}
	text += "; policies: " + r.Policies
	if len(r.Leftovers)+len(r.Kept) == 0 {
		text += "; nothing was left behind"
	}
	return text
}
