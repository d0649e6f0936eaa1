package tempestlite

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// A wait asks less the better the run knows the cloud, and is never late by more than the
// work had been quicker than before.
func TestPollLearns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Cloud{cfg: Config{Timeout: time.Minute}}
		wait := func(work time.Duration) (asked int, took time.Duration) {
			began := time.Now()
			ok, err := c.poll(t.Context(), "servers.create", func() (bool, error) {
				asked++
				return time.Since(began) >= work, nil
			})
			if err != nil || !ok {
				t.Fatalf("poll: %v, %v", ok, err)
			}
			return asked, time.Since(began)
		}
		first, _ := wait(2 * time.Second)
		for range 8 {
			wait(2 * time.Second)
		}
		later, _ := wait(2 * time.Second)
		if later >= first {
			t.Errorf("it asks %d times when the work is known, %d times when it was new", later, first)
		}
		if _, took := wait(0); took > 2*time.Second {
			t.Errorf("work that is done at once is seen after %s", took)
		}
		for range 20 {
			wait(0)
		}
		if _, took := wait(0); took > 50*time.Millisecond {
			t.Errorf("the cloud has become quick, and the wait is still %s", took)
		}
	})
}

func TestPollEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &Cloud{cfg: Config{Timeout: 5 * time.Second}}
		never := func() (bool, error) { return false, nil }
		began := time.Now()
		ok, err := c.poll(t.Context(), "servers.stop", never)
		if ok || err != nil || time.Since(began) > 7*time.Second {
			t.Errorf("work that is never done: %v, %v after %s", ok, err, time.Since(began))
		}
		broken := errors.New("broken")
		if _, err = c.poll(t.Context(), "", func() (bool, error) { return false, broken }); !errors.Is(err, broken) {
			t.Errorf("a question that fails: %v", err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err = c.poll(ctx, "", never); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("an interrupt: %v", err)
		}
	})
}
