package computed

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"kilonova/schema"
	"kilonova/work"
)

// A row whose started_at is newer than ours belongs to a daemon that replaced us.
const beat = `
UPDATE hosts SET hypervisor_hostname = ?, hypervisor_type = ?, hypervisor_version = ?, host_ip = ?, arch = ?,
  cpu_info = ?, vcpus = ?, memory_mb = ?, disk_gb = ?, disk_available_gb = ?, uptime = ?, doorbell = ?,
  last_seen = ?, started_at = ?
WHERE name = ? AND started_at <= ?`

// register puts the host on record and takes it over from a daemon that ran before.
func (a *Agent) register(ctx context.Context) error {
	a.started = a.Clock.Now()
	for tries := 0; ; tries++ {
		info, err := a.Driver.Host(ctx)
		if err == nil {
			err = a.beatOnce(ctx, info)
		}
		if errors.Is(err, errNoRow) && a.Register != nil {
			err = a.Register(ctx, info)
			if err == nil {
				err = a.beatOnce(ctx, info)
			}
		}
		const enough = 30
		if err == nil || ctx.Err() != nil || errors.Is(err, errNoRow) || tries == enough {
			return wrap(err, "register host %s", a.Host)
		}
		a.Log.WarnContext(ctx, "register", "err", err)
		pause(ctx, time.Second)
	}
}

var errNoRow = errors.New("the host has no row (kilonova host add makes it), or a newer daemon runs")

func (a *Agent) beatOnce(ctx context.Context, i work.HostInfo) error {
	node := i.Hostname
	if node == "" {
		node = a.Host
	}
	cpu := i.CPUInfo
	if cpu == "" {
		cpu = "{}"
	}
	ok, err := schema.Changed(a.DB.ExecContext(ctx, beat, node, i.HypervisorType, i.HypervisorVersion, i.HostIP, i.Arch, cpu,
		i.VCPUs, i.MemoryMB, i.DiskGB, i.DiskAvailableGB, i.Uptime, a.Doorbell, a.Clock.Now(), a.started, a.Host, a.started))
	if err != nil {
		return fmt.Errorf("heartbeat: %w", err)
	}
	if !ok {
		return errNoRow
	}
	return nil
}

// heartbeats reports the host until ctx ends; when a newer daemon has the host, this one
// stops itself.
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
		if errors.Is(err, errNoRow) {
			a.Log.ErrorContext(ctx, "this host is another daemon's now")
			stop(errReplaced)
			return
		}
		if err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "heartbeat", "err", err)
		}
	}
}
