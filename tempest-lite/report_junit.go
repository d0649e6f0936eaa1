package tempestlite

import (
	"encoding/xml"
	"fmt"
	"io"
	"strings"
)

type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Name     string       `xml:"name,attr"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Time     string       `xml:"time,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Time     string      `xml:"time,attr"`
	Stamp    string      `xml:"timestamp,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Class   string        `xml:"classname,attr"`
	Name    string        `xml:"name,attr"`
	Time    string        `xml:"time,attr"`
	Failure *junitMessage `xml:"failure"`
	Skipped *junitMessage `xml:"skipped"`
}

type junitMessage struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr,omitempty"`
	Text    string `xml:",chardata"`
}

// WriteJUnit writes the results as CI systems read them: a suite for each area. What was
// refused counts as a failure, what was expected not to pass as skipped.
func (r *Report) WriteJUnit(w io.Writer) error {
	out := junitSuites{Name: "tempest-lite", Time: secondsText(r.Took.Seconds())}
	for _, a := range r.Areas() {
		s := junitSuite{Name: a.Area, Tests: a.All(), Failures: a.Failed + a.Follow + a.Refused, Skipped: a.Skipped + a.Expected, Stamp: r.Began.UTC().Format("2006-01-02T15:04:05")}
		took := 0.0
		for _, x := range r.Results {
			if x.Check.Area == a.Area {
				took += x.Took.Seconds()
				s.Cases = append(s.Cases, junitOf(x))
			}
		}
		s.Time = secondsText(took)
		out.Tests, out.Failures, out.Skipped = out.Tests+s.Tests, out.Failures+s.Failures, out.Skipped+s.Skipped
		out.Suites = append(out.Suites, s)
	}
	_, err := io.WriteString(w, xml.Header)
	if err != nil {
		return err
	}
	e := xml.NewEncoder(w)
	e.Indent("", " ")
	err = e.Encode(out)
	if err != nil {
		return err
	}
	_, err = io.WriteString(w, "\n")
	return err
}

func secondsText(s float64) string { return fmt.Sprintf("%.3f", s) }

func junitOf(x *Result) junitCase {
	out := junitCase{Class: x.Check.Area, Name: x.Check.ID, Time: secondsText(x.Took.Seconds())}
	switch {
	case x.Expected:
		out.Skipped = &junitMessage{Message: "expected not to pass: " + expectedAs(x)}
	case x.Outcome == Skipped:
		out.Skipped = &junitMessage{Message: x.Reason}
	case x.Outcome == Refused:
		out.Failure = &junitMessage{Message: "refused with 501: " + refusedOp(x), Type: string(Refused), Text: x.Reason}
	case x.Outcome == Failed:
		text := strings.Join(x.Faults, "\n")
		if n := len(x.Exchanges); n > 0 {
			text += "\n> " + x.Exchanges[n-1].asked() + "\n< " + x.Exchanges[n-1].answered()
		}
		if x.Follows() {
			text = "follows from " + x.Cause.Results[0].Check.ID + "\n" + text
		}
		out.Failure = &junitMessage{Message: cut(strings.Join(x.Faults, "; "), 300), Type: string(Failed), Text: text}
	}
	return out
}
