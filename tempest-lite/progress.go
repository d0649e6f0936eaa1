package tempestlite

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

// Progress tells people how far a run is: a bar on a terminal, elsewhere a line now and
// then.
type Progress struct {
	Out      io.Writer
	Terminal bool
	Colours  bool
	Verbose  bool       // a line for each check
	Width    func() int // of the terminal

	mu      sync.Mutex
	began   time.Time
	total   int
	done    int
	tally   Tally
	running []string // areas, those that began first in front
	message string   // instead of the area
	ending  bool     // the message stays
	shown   bool     // a bar stands in the last line
	told    time.Time
	stop    chan struct{}
	stopped sync.WaitGroup
}

const (
	redraw   = 100 * time.Millisecond
	quietFor = 10 * time.Second
)

// Start begins to draw.
func (p *Progress) Start() {
	p.began, p.told, p.stop, p.message = time.Now(), time.Now(), make(chan struct{}), "logging in"
	if !p.Terminal {
		return
	}
	p.stopped.Go(func() {
		tick := time.NewTicker(redraw)
		defer tick.Stop()
		for {
			p.mu.Lock()
			p.draw()
			p.mu.Unlock()
			select {
			case <-p.stop:
				return
			case <-tick.C:
			}
		}
	})
}

// Stop takes the bar away.
func (p *Progress) Stop() {
	close(p.stop)
	p.stopped.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
}

// Say puts a line above the bar, or between the lines.
func (p *Progress) Say(format string, args ...any) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.wipe()
	fmt.Fprintf(p.Out, format+"\n", args...)
}

// Ending shows what is done instead of starting more checks.
func (p *Progress) Ending(what string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.message, p.ending = what, true
}

// Starting notes that a check begins.
func (p *Progress) Starting(c *Check) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.running = append(p.running, c.Area)
}

// Done counts a result.
func (p *Progress) Done(done, total int, r *Result) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.done, p.total = done, total
	p.tally.add(r)
	if !p.ending {
		p.message = ""
	}
	for i, a := range p.running {
		if a == r.Check.Area {
			p.running = append(p.running[:i], p.running[i+1:]...)
			break
		}
	}
	switch {
	case p.Verbose:
		p.tell(r)
	case p.Terminal && r.Outcome == Failed && !r.Expected:
		p.tell(r)
	case !p.Terminal && time.Since(p.told) >= quietFor:
		p.told = time.Now()
		fmt.Fprintf(p.Out, "%d of %d checks%s; %s\n", done, total, p.bad(palette{}), r.Check.Area)
	}
	if done == total {
		p.message = "removing what was made"
	}
}

// tell writes a line for a result.
func (p *Progress) tell(r *Result) {
	c := newPalette(p.Colours)
	colour := map[Outcome]string{Passed: c.green, Failed: c.red, Refused: c.yellow, Skipped: c.dim}[r.Outcome]
	word, why := string(r.Outcome), r.Reason
	if r.Expected {
		word, colour, why = "expected", c.dim, expectedAs(r)
	} else if r.Outcome == Failed {
		why = firstLine(r)
	}
	p.wipe()
	line := r.Check.ID
	if p.Verbose {
		line += fmt.Sprintf(" (%.2f s)", r.Took.Seconds())
	}
	if why != "" {
		line += ": " + why
	}
	if p.Terminal {
		line = cut(line, max(p.Width()*2-10, 80)) // two lines at most
	}
	fmt.Fprintf(p.Out, "%s%-8s%s %s\n", colour, word, c.off, line)
}

func firstLine(r *Result) string {
	if len(r.Faults) == 0 {
		return ""
	}
	return cut(r.Faults[0], 300)
}

// bad counts what did not pass, in words.
func (p *Progress) bad(c palette) string {
	text := ""
	for _, x := range []struct {
		n            int
		what, colour string
	}{{p.tally.Failed, "failed", c.red}, {p.tally.Refused, "refused", c.yellow}, {p.tally.Expected, "expected", c.dim}, {p.tally.Skipped, "skipped", c.dim}} {
		if x.n > 0 {
			text += fmt.Sprintf(", %s%d %s%s", x.colour, x.n, x.what, c.off)
		}
	}
	return text
}

// draw puts the bar into the last line.
func (p *Progress) draw() {
	fmt.Fprintf(p.Out, "\r%s\033[K", p.bar(p.Width()))
	p.shown = true
}

func (p *Progress) wipe() {
	if p.shown {
		fmt.Fprint(p.Out, "\r\033[K")
		p.shown = false
	}
}

// bar is the line as wide as it may be: the counts, then as much of the rest as fits.
func (p *Progress) bar(width int) string {
	doing := p.message
	if doing == "" && len(p.running) > 0 {
		doing = p.running[0]
	}
	clock := time.Since(p.began).Round(time.Second)
	if p.total == 0 {
		return cut(fmt.Sprintf("%s … %s", doing, clock), max(width-1, 10))
	}
	counts := fmt.Sprintf("%d/%d", p.done, p.total)
	tail := fmt.Sprintf("%s  %s  %s", p.bad(palette{}), clock, doing)
	room := width - 1 - utf8.RuneCountInString(counts) - 3
	long := max(0, min(40, room-utf8.RuneCountInString(tail)))
	if long < 10 {
		return cut(counts+tail, max(width-1, 10))
	}
	c := newPalette(p.Colours)
	full := long * p.done / p.total
	return fmt.Sprintf("%s%s%s%s%s %s%s  %s%s%s  %s",
		c.green, strings.Repeat("━", full), c.dim, strings.Repeat("━", long-full), c.off, counts, p.bad(c), c.dim, clock, c.off, doing)
}
