package tempestlite

import (
	"strings"
	"testing"
)

func TestExpectationsAreRead(t *testing.T) {
	for text, fault := range map[string]string{
		"# nothing\n\n  \n":                         "",
		"operation things.show":                     "",
		"operation things.show # not yet":           "",
		`check things.show/works@2.\d+ # some day`:  "",
		"operation nothing.here":                    `line 1 of the expectations: there is no operation "nothing.here"`,
		"check things.show/works@2.1":               "does not say why",
		"check things.(show # some day":             "is no expression",
		"\nexpect things.show":                      `line 2 of the expectations: "expect" is neither`,
		"operation":                                 "is neither",
		"operation things.show and things.create\n": "is neither",
	} {
		_, err := ReadExpectations(strings.NewReader(text), madeUp())
		switch {
		case fault == "" && err != nil:
			t.Errorf("%q: %v", text, err)
		case fault != "" && (err == nil || !strings.Contains(err.Error(), fault)):
			t.Errorf("%q: the error is %v, and does not say %q", text, err, fault)
		}
	}
}

func TestExpectations(t *testing.T) {
	c := madeUp()
	elsewhere := c.result("things.show", Works, "", 1, Refused, "x")
	elsewhere.Refusal = "things.create"
	for name, x := range map[string]struct {
		text     string
		result   *Result
		expected bool
		unmet    bool
	}{
		"refused":                     {"operation things.show", c.result("things.show", Works, "", 1, Refused, "x"), true, false},
		"refused on the way":          {"operation things.create", elsewhere, true, false},
		"refused, of the operation":   {"operation things.show", elsewhere, true, false},
		"an operation that fails":     {"operation things.show", c.result("things.show", Works, "", 1, Failed, "x"), false, true},
		"an operation that passes":    {"operation things.show", c.result("things.show", Works, "", 1, Passed, ""), false, true},
		"an operation that skips":     {"operation things.show", c.result("things.show", Works, "", 1, Skipped, "x"), false, false},
		"another operation":           {"operation things.create", c.result("things.show", Works, "", 1, Failed, "x"), false, false},
		"a check by its id":           {"check things.show/works@2.1 # why", c.result("things.show", Works, "", 1, Failed, "x"), true, false},
		"a check by an expression":    {`check things\..*@2.\d # why`, c.result("things.show", Works, "", 1, Failed, "x"), true, false},
		"the whole id has to match":   {"check things.show/works # why", c.result("things.show", Works, "", 1, Failed, "x"), false, false},
		"a check that passes":         {"check things.show/works@2.1 # why", c.result("things.show", Works, "", 1, Passed, ""), false, true},
		"a check that did not run":    {"check things.show/works@2.10 # why", c.result("things.show", Works, "", 1, Passed, ""), false, false},
		"a check that is refused":     {"check things.show/works@2.1 # why", c.result("things.show", Works, "", 1, Refused, "x"), true, false},
		"an id with letters of regex": {"check things.show/wrong-value/a[0]+@2.1 # why", c.result("things.show", WrongValue, "a[0]+", 1, Failed, "x"), true, false},
	} {
		e, err := ReadExpectations(strings.NewReader(x.text), c)
		if err != nil {
			t.Fatal(err)
		}
		r := *x.result
		e.Mark(&r)
		if r.Expected != x.expected {
			t.Errorf("%s: expected is %v", name, r.Expected)
		}
		if unmet := e.Unmet([]*Result{&r}); len(unmet) > 0 != x.unmet {
			t.Errorf("%s: unmet is %v", name, unmet)
		}
	}
	var none *Expectations
	none.Mark(elsewhere)
	if elsewhere.Expected || none.Unmet([]*Result{elsewhere}) != nil {
		t.Error("no list expects something")
	}
}
