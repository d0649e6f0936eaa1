package schema

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"time"
)

// PageSize is how many rows a Sweep reads at once.
const PageSize = 100

// toldErrors is how many errors of a loop over rows are told in full.
const toldErrors = 3

// Guard runs f and makes an error of its panic, so that what runs for ever outlives a
// mistake in one of its parts.
func Guard(ctx context.Context, f func(context.Context) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return f(ctx)
}

// Forever runs f until it returns: a panic is told, and f begins anew.
func Forever(ctx context.Context, log *slog.Logger, f func(context.Context)) {
	const rest = time.Second
	for {
		err := Guard(ctx, func(ctx context.Context) error { f(ctx); return nil })
		if err == nil {
			return
		}
		log.ErrorContext(ctx, "a periodic task broke off", "err", err)
		select {
		case <-ctx.Done():
			return
		case <-time.After(rest):
		}
	}
}

// Tasks runs each task, whatever happens in those before it, and gives their errors as one.
func Tasks(ctx context.Context, tasks ...func(context.Context) error) error {
	var problems []error
	for _, task := range tasks {
		if ctx.Err() != nil {
			break
		}
		problems = append(problems, Guard(ctx, task))
	}
	return errors.Join(problems...)
}

// EachRow calls f for each row. An error or a panic is that row's alone: the others have
// their turn, unless ctx ends. It gives how many went well, and what went wrong as one
// error, which tells the first few in full.
func EachRow[T any](ctx context.Context, rows []T, f func(context.Context, *T) error) (int, error) {
	done := 0
	var problems []error
	failed := 0
	for i := range rows {
		if ctx.Err() != nil {
			break
		}
		err := Guard(ctx, func(ctx context.Context) error { return f(ctx, &rows[i]) })
		if err == nil {
			done++
			continue
		}
		failed++
		if failed <= toldErrors {
			problems = append(problems, err)
		}
	}
	if failed > toldErrors {
		problems = append(problems, fmt.Errorf("and %d more rows", failed-toldErrors))
	}
	return done, errors.Join(problems...)
}

// Sweep calls f as EachRow does for all rows, page by page: page reads up to PageSize rows
// whose key is greater than after, in the order of their keys. So rows that always fail
// keep none behind them from their turn.
func Sweep[T any](ctx context.Context, page func(ctx context.Context, after int64) ([]T, error), key func(*T) int64,
	f func(context.Context, *T) error) (int, error) {
	done, after := 0, int64(0)
	var problems []error
	for {
		rows, err := page(ctx, after)
		if err != nil {
			return done, errors.Join(append(problems, err)...)
		}
		n, err := EachRow(ctx, rows, f)
		done += n
		if err != nil && len(problems) < toldErrors {
			problems = append(problems, err)
		}
		if len(rows) < PageSize || ctx.Err() != nil {
			return done, errors.Join(problems...)
		}
		after = key(&rows[len(rows)-1])
	}
}
