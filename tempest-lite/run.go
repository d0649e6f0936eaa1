package tempestlite

import (
	"context"
	"fmt"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"time"
)

// Options say which checks run, and how.
type Options struct {
	Selector
	Versions Selection
	Parallel int
	Expect   *Expectations                    // what is known not to pass; nil for nothing
	Starting func(c *Check)                   // called before each check, by several at a time
	Progress func(done, total int, r *Result) // called for each result, one at a time
}

// Report is what a run has found.
type Report struct {
	Program     string // the version of this program
	Endpoint    string
	CloudMax    string
	Tested      Version // the highest microversion that was asked
	Policies    string
	Began       time.Time
	Took        time.Duration
	Interrupted bool
	Results     []*Result
	Causes      []*Cause // what breaks many checks, the worst first
	Leftovers   []string // what could not be removed
	Kept        []string // what was left because the user wants it so
	Prefix      string   // of every name that the run has given
	Chosen      bool     // only some of the checks were asked for
	Unmet       []string // expectations that nothing meets any more
	Expecting   bool     // there is a list of expectations
	Contract    *Contract
}

// Checks are all that the program knows, for a cloud with this highest microversion.
func Checks(c *Contract, sel Selection, limit Version) []*Check {
	return append(Generate(c, sel, limit), behaviours(limit)...)
}

// Run makes the checks on a cloud and takes away what they made. An interrupt of ctx ends
// it early; what was made is removed all the same.
func Run(ctx context.Context, contract *Contract, cfg Config, opts Options) (*Report, error) {
	began := time.Now()
	if cfg.Timeout == 0 {
		cfg.Timeout = 2 * time.Minute
	}
	cloud, err := Connect(ctx, contract, cfg)
	if err != nil {
		closing(cloud)
		return nil, err
	}
	report := &Report{Endpoint: cloud.ComputeURL(), CloudMax: cloud.CloudMax, Tested: cloud.Max, Policies: cloud.Policies(), Began: began, Contract: contract,
		Prefix: cloud.Prefix, Chosen: opts.Only != nil || opts.Skip != nil || len(opts.Versions.Only) > 0, Expecting: opts.Expect != nil}
	checks := slices.DeleteFunc(Checks(contract, opts.Versions, cloud.Max), func(c *Check) bool { return !opts.Has(c) })
	if len(checks) == 0 {
		closing(cloud)
		return nil, fmt.Errorf("%w: no check has such an id", errSetup)
	}
	report.Results = runAll(ctx, cloud, newFixtures(cloud), checks, opts)
	report.attribute()
	report.Interrupted = ctx.Err() != nil && len(report.Results) < len(checks)
	if !report.Interrupted {
		report.Unmet = opts.Expect.Unmet(report.Results)
	}
	for _, err := range closing(cloud) {
		report.Leftovers = append(report.Leftovers, err.Error())
	}
	if cfg.Keep {
		report.Kept = cloud.ledger.Left()
	}
	report.Took = time.Since(began)
	return report, nil
}

// closing removes what the run has made, for as long as that may reasonably take.
func closing(c *Cloud) []error {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	return c.Close(ctx)
}

// runAll runs those checks first that may run beside others, then the rest one by one.
// The results come in the order of the checks.
func runAll(ctx context.Context, cloud *Cloud, fix *fixtures, checks []*Check, opts Options) []*Result {
	results := make([]*Result, len(checks))
	var mu sync.Mutex
	done := 0
	one := func(i int) {
		if opts.Starting != nil {
			opts.Starting(checks[i])
		}
		r := runOne(ctx, cloud, fix, checks[i])
		if ctx.Err() != nil && r.Outcome != Passed {
			return // the interrupt may have broken it
		}
		opts.Expect.Mark(r)
		mu.Lock()
		defer mu.Unlock()
		results[i] = r
		done++
		if opts.Progress != nil {
			opts.Progress(done, len(checks), r)
		}
	}
	var together, alone []int
	for i, c := range checks {
		if c.Alone {
			alone = append(alone, i)
		} else {
			together = append(together, i)
		}
	}
	queue := make(chan int)
	var workers sync.WaitGroup
	for range max(1, opts.Parallel) {
		workers.Go(func() {
			for i := range queue {
				one(i)
			}
		})
	}
	feed(ctx, queue, together)
	close(queue)
	workers.Wait()
	for _, i := range alone {
		if ctx.Err() != nil {
			break
		}
		one(i)
	}
	return slices.DeleteFunc(results, func(r *Result) bool { return r == nil })
}

func feed(ctx context.Context, queue chan<- int, work []int) {
	for _, i := range work {
		select {
		case queue <- i:
		case <-ctx.Done():
			return
		}
	}
}

// runOne runs a check in a goroutine of its own, which Fatalf and Skipf may end.
func runOne(ctx context.Context, cloud *Cloud, fix *fixtures, check *Check) *Result {
	began := time.Now()
	t := &T{Cloud: cloud, Check: check, fix: fix, values: map[string]any{}}
	t.Ctx = context.WithValue(ctx, tKey{}, t)
	for _, need := range check.Needs {
		if why := cloud.lack(ctx, need); why != "" {
			return &Result{Check: check, Outcome: Skipped, Reason: why, Took: time.Since(began)}
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer func() {
			if p := recover(); p != nil {
				t.Errorf("the check broke: %v\n%s", p, debug.Stack())
			}
		}()
		check.Run(t)
	}()
	<-ended
	t.clean()
	return t.result(began)
}

// clean takes away what the check has made, last first, with a context of its own.
func (t *T) clean() {
	ctx, cancel := context.WithTimeout(context.Background(), t.Cloud.cfg.Timeout)
	defer cancel()
	for i := len(t.cleanups) - 1; i >= 0; i-- {
		t.cleanups[i](ctx)
	}
}

func (t *T) result(began time.Time) *Result {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &Result{Check: t.Check, Outcome: Passed, Took: time.Since(began)}
	switch {
	case len(t.faults) > 0:
		r.Outcome, r.Faults, r.Exchanges = Failed, t.faults, t.exchanges
	case t.refused != "":
		r.Outcome, r.Reason, r.Refusal, r.Exchanges = Refused, strings.TrimSpace(t.refused), t.refusal, t.exchanges
	case t.skipped != "":
		r.Outcome, r.Reason = Skipped, t.skipped
	}
	return r
}

// Count is how many results ended so.
func (r *Report) Count(o Outcome) int {
	n := 0
	for _, x := range r.Results {
		if x.Outcome == o {
			n++
		}
	}
	return n
}
