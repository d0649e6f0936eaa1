package computed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"kilonova/schema"
	"kilonova/work"
)

// daemon is this process in the host's row.
func (a *Agent) daemon() string { return a.machine() + a.id }

func (a *Agent) machine() string { return a.Machine + "/" }

// errHeld says that another daemon speaks for the host.
var errHeld = errors.New("another daemon runs for this host")

// refusedAfter is how long a daemon waits for another one of its host to fall silent: a
// little longer than one that is gone may seem to be there.
var refusedAfter = schema.HostLease + 5*time.Second

// register puts the host on record and makes this daemon the one that speaks for it. A
// process of this machine that was killed is followed at once; a daemon elsewhere keeps the
// host for as long as it is heard.
func (a *Agent) register(ctx context.Context) error {
	began := time.Now()
	told := false
	for {
		info, err := a.Driver.Host(ctx)
		if err == nil {
			err = a.startOnce(ctx, info)
		}
		held := errors.Is(err, errHeld)
		if err == nil || ctx.Err() != nil || errors.Is(err, errNoRow) || time.Since(began) > refusedAfter {
			return wrap(err, "register host %s", a.Host)
		}
		if !held || !told {
			a.Log.WarnContext(ctx, "register", "err", err)
		}
		told = told || held
		pause(ctx, time.Second)
	}
}

var errNoRow = errors.New("the host has no row: kilonova host add makes it")

// startOnce takes the host over, making its row where this account may.
func (a *Agent) startOnce(ctx context.Context, info work.HostInfo) error {
	for range 2 {
		mine, err := a.tell(ctx, schema.TellStart, a.daemon(), a.machine())
		if err != nil {
			return err
		}
		if mine {
			return a.introduce(ctx, info)
		}
		var now []struct {
			Daemon string `db:"daemon"`
			Silent int64  `db:"silent"` // microseconds
		}
		err = a.ask(ctx, &now, schema.AskDaemon)
		if err != nil {
			return err
		}
		if len(now) > 0 {
			return fmt.Errorf("%w, heard %.0f s ago: it must end, or stay silent for %.0f s, before this one may start", errHeld,
				(time.Duration(now[0].Silent) * time.Microsecond).Seconds(), schema.HostLease.Seconds())
		}
		if a.Register == nil {
			return errNoRow
		}
		err = a.Register(ctx, info)
		if err != nil {
			return err
		}
	}
	return errNoRow
}

// introduce tells the key before the first heartbeat, so that whoever sees the host can give
// it anything.
func (a *Agent) introduce(ctx context.Context, info work.HostInfo) error {
	ok, err := a.tell(ctx, schema.TellKey, a.Key.Public(), a.daemon())
	if err != nil {
		return fmt.Errorf("tell the host's key: %w", err)
	}
	if !ok {
		return errReplaced
	}
	return a.beatOnce(ctx, info)
}

func (a *Agent) beatOnce(ctx context.Context, i work.HostInfo) error {
	i = i.Bounded()
	sent := time.Now()
	ok, err := a.tell(ctx, schema.TellBeat, cmp.Or(i.Hostname, a.Host), i.HypervisorType, i.HypervisorVersion, i.HostIP, i.Arch, i.CPUInfo,
		i.VCPUs, i.MemoryMB, i.DiskGB, i.DiskAvailableGB, i.Uptime, a.Doorbell, a.daemon())
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	if !ok {
		return errReplaced
	}
	a.heard.Store(sent.UnixNano())
	return a.reportRanges(ctx, i.HeldRanges)
}

// holds reports whether the host is still this daemon's, as far as it can know: one that
// could not say that it is there for HostLease may have been followed by another.
func (a *Agent) holds() bool {
	return time.Since(time.Unix(0, a.heard.Load())) < schema.HostLease
}

// release lets another daemon have the host at once.
func (a *Agent) release(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer cancel()
	_, err := a.tell(ctx, schema.TellStop, a.daemon())
	if err != nil && !schema.AccountGone(err) { // without an account it holds nothing
		a.Log.WarnContext(ctx, "release the host", "err", err)
	}
}

// heartbeats reports the host until ctx ends; when another daemon has the host, or it has no
// account any more, this one stops itself.
func (a *Agent) heartbeats(ctx context.Context, stop context.CancelCauseFunc) {
	for {
		pause(ctx, a.Heartbeat*3/4+rand.N(a.Heartbeat/2))
		if ctx.Err() != nil {
			return
		}
		info, err := a.Driver.Host(ctx)
		if err == nil {
			err = a.beatOnce(ctx, info)
		}
		if schema.AccountGone(err) {
			a.Log.ErrorContext(ctx, "this host's database account is gone: its guests go on, this daemon does not", "err", err)
			stop(errRevoked)
			return
		}
		if errors.Is(err, errReplaced) {
			a.Log.ErrorContext(ctx, "this host is another daemon's now")
			stop(errReplaced)
			return
		}
		if err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "heartbeat", "err", err)
		}
	}
}
