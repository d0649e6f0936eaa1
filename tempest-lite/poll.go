package tempestlite

import (
	"context"
	"net/http"
	"sync"
	"time"
)

const (
	firstPause = 20 * time.Millisecond
	longPause  = time.Second
	// restFactor is how much longer than a question took the next one waits at least.
	restFactor = 4
	// mostHeadStart is how long a wait may pass before its first question.
	mostHeadStart = 5 * time.Second
)

// usualTimes are what a run has learnt of a cloud: how long each kind of work takes there. A
// wait asks for the first time when its work may be done and not before. Asking is not
// free: for one GET of a server Nova asks the network service twice, and half of what a
// run costs such a cloud had been questions that came too early.
type usualTimes struct {
	mu sync.Mutex
	by map[string]time.Duration
}

// headStart is the time in which the work is hardly ever done: two thirds of the usual.
func (u *usualTimes) headStart(work string) time.Duration {
	u.mu.Lock()
	defer u.mu.Unlock()
	return min(u.by[work]*2/3, mostHeadStart)
}

// learn keeps the mean of what was known and the latest. What was done at the first
// question took no longer than the wait before it, so that too long a wait gets shorter.
func (u *usualTimes) learn(work string, took time.Duration) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.by == nil {
		u.by = map[string]time.Duration{}
	}
	if known, ok := u.by[work]; ok {
		took = (known + took) / 2
	}
	u.by[work] = took
}

// poll asks until done says so or fails, or until the time for a piece of work is over; it
// says whether it is done. work names what is waited for, alike for all that take as long.
func (c *Cloud) poll(ctx context.Context, work string, done func() (bool, error)) (bool, error) {
	began := time.Now()
	rest := c.usual.headStart(work)
	for pause := firstPause; ; pause = min(2*pause, longPause) {
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(rest):
		}
		asked := time.Now()
		ok, err := done()
		if err != nil {
			return false, err
		}
		if ok {
			c.usual.learn(work, asked.Sub(began))
			return true, nil
		}
		if time.Since(began) > c.cfg.Timeout {
			return false, nil
		}
		rest = max(pause, min(restFactor*time.Since(asked), longPause))
	}
}

// lastChange names the last thing that the check has asked the cloud to do.
func (t *T) lastChange() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	for i := len(t.exchanges) - 1; i >= 0; i-- {
		if x := t.exchanges[i]; x.Method != http.MethodGet {
			return t.Cloud.contract.match(x.Method, t.Cloud.short(x.URL), x.Request)
		}
	}
	return ""
}
