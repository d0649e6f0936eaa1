package lifecycle

import (
	"kilonova/compat"
	"kilonova/hosts"
	"kilonova/quotas"
	"kilonova/work"
)

// ResizeTo is what a resize asks for.
type ResizeTo struct {
	Flavor     work.Flavor
	DiskConfig *string
}

// prepareResize takes what the larger of both flavors needs beyond the present one.
func prepareResize(b *beginning) (*work.Args, error) {
	s, v, to := b.s, b.v, b.input.(ResizeTo)
	from := v.Flavor()
	extra := quotas.Delta{Cores: max(to.Flavor.VCPUs-from.VCPUs, 0), RAM: max(to.Flavor.MemoryMB-from.MemoryMB, 0)}
	err := s.Quotas.Take(b.ctx, b.tx, v.ProjectID, v.UserID, extra)
	if err != nil {
		return nil, err
	}
	more := larger(needOf(from), needOf(to.Flavor)).Minus(needOf(from))
	ok, err := s.Hosts.Claim(b.ctx, b.tx, v.UUID, v.HostName(), hosts.ForResize, more)
	if err != nil {
		return nil, err
	}
	if !ok {
		err = s.Quotas.Give(b.ctx, b.tx, v.ProjectID, v.UserID, extra)
		if err != nil {
			return nil, err
		}
		return nil, errNoRoom
	}
	b.set["migration_id"], err = s.openMigration(b.ctx, b.tx, b.caller, v, resizing, to.Flavor)
	if err != nil {
		return nil, err
	}
	if to.DiskConfig != nil {
		b.set["disk_config"] = *to.DiskConfig
	}
	args, err := b.withTimeout(s.ShutdownTimeout)
	if err != nil {
		return nil, err
	}
	old := args.Guest
	args.Old, args.Guest.Flavor, args.PowerOn = &old, to.Flavor, v.VMState == Active
	return args, nil
}

// settleResize gives the server its new flavor, to be confirmed, or the old one for good.
func settleResize(x *settling) error {
	m, err := migrationOf(x.ctx, x.tx, x.v)
	if err != nil || m == nil {
		return err
	}
	if !x.ok {
		return x.s.endMigration(x.ctx, x.tx, x.v, m, failedMigration, m.from(), x.set)
	}
	flavorColumns(x.set, m.to())
	return x.s.advance(x.ctx, x.tx, m, migrated)
}

// resized is the migration of a server that waits to be confirmed or reverted. While the
// host clears up the server's state stays "resized", so this keeps a second confirmation
// and a late revert away.
func (b *beginning) resized() (*migration, error) {
	m, err := migrationOf(b.ctx, b.tx, b.v)
	if err != nil {
		return nil, err
	}
	if m == nil || m.Status != migrated {
		return nil, compat.BadRequest("Instance has not been resized.")
	}
	return m, nil
}

func prepareConfirm(b *beginning) (*work.Args, error) {
	m, err := b.resized()
	if err != nil {
		return nil, err
	}
	err = b.s.advance(b.ctx, b.tx, m, confirming)
	if err != nil {
		return nil, err
	}
	return prepareGuest(b)
}

func settleConfirm(x *settling) error {
	m, err := migrationOf(x.ctx, x.tx, x.v)
	if err != nil || m == nil {
		return err
	}
	if x.ok && (m.OldVMState == Stopped || x.res.PowerState == work.Shutdown) {
		x.set["vm_state"] = Stopped
	}
	return x.s.endMigration(x.ctx, x.tx, x.v, m, x.endedAs(confirmed), m.to(), x.set)
}

func prepareRevert(b *beginning) (*work.Args, error) {
	m, err := b.resized()
	if err != nil {
		return nil, err
	}
	err = b.s.advance(b.ctx, b.tx, m, reverting)
	if err != nil {
		return nil, err
	}
	args, err := prepareGuest(b)
	if err != nil {
		return nil, err
	}
	now := args.Guest
	args.Old, args.Guest.Flavor, args.PowerOn = &now, m.from(), m.OldVMState != Stopped
	return args, nil
}

func settleRevert(x *settling) error {
	m, err := migrationOf(x.ctx, x.tx, x.v)
	if err != nil || m == nil {
		return err
	}
	if x.ok && m.OldVMState == Stopped {
		x.set["vm_state"] = Stopped
	}
	return x.s.endMigration(x.ctx, x.tx, x.v, m, x.endedAs(reverted), m.from(), x.set)
}

// endedAs is the status of a migration whose last work went so.
func (x *settling) endedAs(well migrationStatus) migrationStatus {
	if x.ok {
		return well
	}
	return failedMigration
}
