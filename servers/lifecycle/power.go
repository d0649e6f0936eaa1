package lifecycle

import (
	"time"

	"kilonova/work"
)

// prepareStop lets the guest shut down by itself.
func prepareStop(b *beginning) (*work.Args, error) { return b.withTimeout(b.s.ShutdownTimeout) }

func prepareReboot(b *beginning) (*work.Args, error) { return b.withTimeout(softRebootTimeout) }

// withTimeout is work that may have to shut the guest down, which may take so long.
func (b *beginning) withTimeout(d time.Duration) (*work.Args, error) {
	args, err := prepareGuest(b)
	if err != nil {
		return nil, err
	}
	args.ShutdownTimeout = int(d.Seconds())
	return args, nil
}

// settleReboot leaves a guest that would not reboot, and runs, ACTIVE.
func settleReboot(x *settling) error {
	if !x.ok && x.res.PowerState == work.PoweredOn {
		x.set["vm_state"] = Active
	}
	return nil
}
