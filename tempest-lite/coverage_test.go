package tempestlite

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
)

// lines are the rows of an operation as "range state: what there is to say".
func lines(c *Coverage, op string) string {
	var out []string
	for _, a := range c.Areas {
		for _, row := range append(a.Rows, c.Removed...) {
			if row.Operation == op {
				out = append(out, fmt.Sprintf("%s %s: %s", row.Range, row.State, strings.Join(row.Says(), "; ")))
			}
		}
	}
	return strings.Join(out, "\n")
}

func TestCoverage(t *testing.T) {
	c := madeUp()
	through := func(r *Result, op string) *Result {
		r.Refusal = op
		return r
	}
	for name, x := range map[string]struct {
		results []*Result
		want    string
	}{
		"equal ranges are one row": {
			[]*Result{c.result("things.show", Works, "", 1, Passed, ""), c.result("things.show", Works, "", 10, Passed, ""), c.result("things.show", Works, "", 90, Passed, "")},
			"2.1 – 2.90 supported: ",
		},
		"a failure is a difference of its range": {
			[]*Result{c.result("things.show", Works, "", 1, Passed, ""), c.result("things.show", Works, "", 10, Failed, "it is red"), c.result("things.show", Works, "", 50, Passed, "")},
			"2.1 – 2.9 supported: \n2.10 – 2.49 differs: works: it is red\n2.50 – 2.90 supported: ",
		},
		"the same fault that names its version is one row": {
			[]*Result{c.result("things.show", Works, "", 1, Failed, "red at 2.1"), c.result("things.show", Works, "", 10, Failed, "red at 2.10"), c.result("things.show", Works, "", 50, Failed, "red at 2.50")},
			"2.1 – 2.90 differs: works (3 checks): red at 2.1",
		},
		"kinds stand apart, the happy path first": {
			[]*Result{c.result("things.show", BadBody, "list", 1, Failed, "a"), c.result("things.show", Works, "", 1, Failed, `b: {"x": 1}`), c.result("things.show", BadBody, "empty", 1, Failed, "c"),
				c.result("things.show", Works, "", 10, Passed, ""), c.result("things.show", Works, "", 50, Passed, "")},
			"2.1 – 2.9 differs: works: b; bad body (2 checks): empty: c\n2.10 – 2.90 supported: ",
		},
		"refused": {
			[]*Result{c.result("things.show", Works, "", 1, Refused, "not yet"), c.result("things.show", NoToken, "", 1, Passed, ""), c.result("things.show", UnknownID, "", 10, Refused, "not yet"), c.result("things.show", Works, "", 50, Passed, "")},
			"2.1 – 2.49 refused: not yet\n2.50 – 2.90 supported: ",
		},
		"what another operation's refusal kept from running is not refused": {
			[]*Result{through(c.result("things.show", Works, "", 1, Refused, "not yet"), "things.create"), c.result("things.show", NoToken, "", 1, Passed, ""),
				c.result("things.show", Works, "", 10, Passed, ""), c.result("things.show", Works, "", 50, Passed, "")},
			"2.1 – 2.9 untested: it takes things.create, which the cloud refuses\n2.10 – 2.90 supported: ",
		},
		"skipped": {
			[]*Result{c.result("things.show", Works, "", 1, Skipped, "no volumes"), c.result("things.show", NoToken, "", 1, Passed, "")},
			"2.1 – 2.9 untested: no volumes\n2.10 – 2.90 untested: no check is made for it at these microversions",
		},
		"a check by hand speaks for it": {
			[]*Result{{Check: &Check{ID: "behaviour/x", Kind: Behaviour, Version: 20, Covers: []string{"things.show"}}, Outcome: Passed}},
			"2.1 – 2.9 untested: no check is made for it at these microversions\n2.10 – 2.49 supported: \n2.50 – 2.90 untested: no check is made for it at these microversions",
		},
	} {
		if got := lines(reportOf(c, x.results...).Coverage(), "things.show"); got != x.want {
			t.Errorf("%s: the rows are\n%s\nnot\n%s", name, got, x.want)
		}
	}
}

func TestCoverageOfTheVersionsAround(t *testing.T) {
	c := madeUp()
	r := reportOf(c, c.result("things.create", Works, "", 5, Passed, ""), c.result("things.create", TooOld, "", 4, Failed, "it is there"), c.result("old.list", Gone, "", 1, Passed, ""))
	got := r.Coverage()
	for op, want := range map[string]string{
		"things.create": "2.5 – 2.90 differs: too old: it is there",
		"late.list":     "2.100 – 2.104 untested: the cloud's highest microversion is 2.90",
	} {
		if lines(got, op) != want {
			t.Errorf("the rows of %s are %s, not %s", op, lines(got, op), want)
		}
	}
	if len(got.Removed) != 1 || got.Removed[0].State != StateSupported {
		t.Errorf("what was taken away is %+v", got.Removed)
	}
	if n := got.Counts(); n[StateDiffers] != 1 || n[StateUntested] != 2 {
		t.Errorf("the counts are %v", n)
	}
}

func TestMarkdownHoldsNothingOfTheRun(t *testing.T) {
	write := func(id, took string) string {
		c := madeUp()
		r := reportOf(c, c.result("things.show", Works, "", 1, Failed, "GET http://10.0.0.1:"+took+"/v2.1/things/"+id+" answers 500 | <b>\nnot 200"))
		var out bytes.Buffer
		if err := r.WriteCoverage(&out, "docs/compatibility.md"); err != nil {
			t.Fatal(err)
		}
		return out.String()
	}
	a, b := write("2f4ffae5-6e08-4ed7-a3a1-0f1dd8e6b0ab", "1234"), write("00000000-6e08-4ed7-a3a1-0f1dd8e6b0ab", "4321")
	if a != b {
		t.Errorf("two runs of one cloud differ:\n%s\n%s", a, b)
	}
	if want := "| `GET /things/{id}` | 2.1 – 2.9 | **differs** | works: GET http://CLOUD/v2.1/things/ID answers 500 \\| &lt;b&gt; not 200 |"; !strings.Contains(a, want) {
		t.Errorf("the table has no line %s:\n%s", want, a)
	}
}

func TestCoverageIsWrittenAsItsNameSays(t *testing.T) {
	for file, begin := range map[string]string{"x.md": "<!-- Generated", "x.json": "{\n", "x.txt": "Microversions 2.1 to 2.90", "x": "Microversions"} {
		var out bytes.Buffer
		if err := everything().WriteCoverage(&out, file); err != nil || !strings.HasPrefix(out.String(), begin) {
			t.Errorf("%s begins with %.40q (%v)", file, out.String(), err)
		}
	}
}
