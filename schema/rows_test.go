package schema_test

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"

	"kilonova/schema"
)

type poisonRow struct{ id int64 }

// TestSweepPassesPoison: rows that fail or panic, more than a page of them, keep none behind
// them from their turn, and are told in a few lines.
func TestSweepPassesPoison(t *testing.T) {
	const poison, healthy = 3*schema.PageSize + 7, 5
	page := func(_ context.Context, after int64) ([]poisonRow, error) {
		var out []poisonRow
		for id := after + 1; id <= poison+healthy && len(out) < schema.PageSize; id++ {
			out = append(out, poisonRow{id})
		}
		return out, nil
	}
	var seen []int64
	done, err := schema.Sweep(context.Background(), page, func(r *poisonRow) int64 { return r.id }, func(_ context.Context, r *poisonRow) error {
		switch {
		case r.id > poison:
			seen = append(seen, r.id)
			return nil
		case r.id%2 == 0:
			panic("poison")
		}
		return errors.New("poison")
	})
	if done != healthy || len(seen) != healthy {
		t.Errorf("%d rows done, %v seen; want %d", done, seen, healthy)
	}
	if err == nil || !strings.Contains(err.Error(), "more rows") || strings.Count(err.Error(), "\npoison") > 9 {
		t.Errorf("error %.300v", err)
	}
}

func TestSweepStopsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	calls := 0
	_, err := schema.EachRow(ctx, make([]poisonRow, 50), func(context.Context, *poisonRow) error { calls++; cancel(); return nil })
	if err != nil || calls != 1 {
		t.Errorf("%d rows after the end, %v", calls, err)
	}
}

// TestTasksGoOn: a task that fails or panics keeps none after it from its turn.
func TestTasksGoOn(t *testing.T) {
	ran := false
	err := schema.Tasks(context.Background(), func(context.Context) error { return errors.New("first") },
		func(context.Context) error { panic("second") }, func(context.Context) error { ran = true; return nil })
	if !ran || err == nil || !strings.Contains(err.Error(), "first") || !strings.Contains(err.Error(), "second") {
		t.Errorf("ran %v, error %.200v", ran, err)
	}
}

// TestForever: what panics begins anew, and ends when it returns.
func TestForever(t *testing.T) {
	var said strings.Builder
	times := 0
	schema.Forever(context.Background(), slog.New(slog.NewTextHandler(&said, nil)), func(context.Context) {
		times++
		if times == 1 {
			panic("poison")
		}
	})
	if times != 2 || !strings.Contains(said.String(), "panic: poison") {
		t.Errorf("%d times, said %q", times, said.String())
	}
	ctx, cancel := context.WithCancel(context.Background())
	schema.Forever(ctx, slog.New(slog.DiscardHandler), func(context.Context) {
		cancel()
		panic("poison")
	})
}
