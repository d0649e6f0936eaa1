package computed

import (
	"context"
	"time"

	"kilonova/work"
)

// Kinds lists the kinds of work that have a workflow.
func Kinds() []work.Kind {
	var out []work.Kind
	for k := range workflows {
		out = append(out, k)
	}
	return out
}

// StepsOf gives the steps of a kind of work.
func (a *Agent) StepsOf(k work.Kind, args *work.Args) []Step { return workflows[k](a, args) }

// RunSteps runs steps without asking the database.
func RunSteps(ctx context.Context, steps []Step) error {
	return runSteps(ctx, steps, false, func(context.Context, *Step) error { return nil })
}

// Reconcile compares once.
func (a *Agent) ReconcileOnce(ctx context.Context) error {
	_, err := a.reconcile(ctx)
	return err
}

// SetPatience changes how long a daemon waits for another one to fall silent, until the
// function that it gives is called.
func SetPatience(d time.Duration) (restore func()) {
	before := refusedAfter
	refusedAfter = d
	return func() { refusedAfter = before }
}
