package tempestlite

import (
	"bytes"
	"strings"
	"testing"
	"time"
	"unicode/utf8"
)

func TestBarFitsIntoTheLine(t *testing.T) {
	c := madeUp()
	for _, width := range []int{20, 40, 80, 200} {
		p := &Progress{Out: &bytes.Buffer{}, Width: func() int { return width }, began: time.Now()}
		p.Starting(c.result("things.show", Works, "", 1, Passed, "").Check)
		p.Done(333, 1000, c.result("things.create", Works, "", 1, Failed, "x"))
		if got := p.bar(width); utf8.RuneCountInString(got) >= width || !strings.Contains(got, "333/1000") {
			t.Errorf("at width %d the bar is %q", width, got)
		}
	}
}

func TestProgressIsQuietWhereNobodyLooks(t *testing.T) {
	c := madeUp()
	var out bytes.Buffer
	p := &Progress{Out: &out}
	p.Start()
	for i := range 1000 {
		p.Done(i+1, 1000, c.result("things.show", Works, "", 1, Failed, "x"))
	}
	p.Stop()
	if out.Len() > 0 {
		t.Errorf("within a moment it says %q", out.String())
	}
	p.Start()
	p.told = time.Now().Add(-quietFor)
	p.Done(1, 1000, c.result("things.show", Works, "", 1, Passed, ""))
	p.Stop()
	if want := "1 of 1000 checks, 1000 failed; things\n"; out.String() != want {
		t.Errorf("it says %q, not %q", out.String(), want)
	}
}

func TestProgressTellsFailuresAboveTheBar(t *testing.T) {
	c := madeUp()
	for _, x := range []struct {
		verbose bool
		want    string
	}{{false, "failed   things.show/works@2.1: it is red\n"}, {true, "passed   things.show/no-token@2.1 (1.00 s)\nfailed   things.show/works@2.1 (1.00 s): it is red\n"}} {
		var out bytes.Buffer
		p := &Progress{Out: &out, Terminal: true, Verbose: x.verbose, Width: func() int { return 80 }}
		p.Done(1, 2, c.result("things.show", NoToken, "", 1, Passed, ""))
		p.Done(2, 2, c.result("things.show", Works, "", 1, Failed, "it is red"))
		if out.String() != x.want {
			t.Errorf("it says %q, not %q", out.String(), x.want)
		}
	}
}
