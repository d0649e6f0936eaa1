package servers

import (
	"net/http"

	"kilonova/compat"
	"kilonova/hosts"
	"kilonova/quotas"
	"kilonova/work"
)

// resize gives the server another flavor on its host. The claim and the quota grow to the
// larger of both flavors at once and shrink when the resize is confirmed or reverted.
func (s *Service) resize(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Resize struct {
			FlavorRef  reference `json:"flavorRef"`
			DiskConfig *string   `json:"OS-DCF:diskConfig"`
		} `json:"resize"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	v := of(r)
	err = transitions[opResize].Check(v, r.Caller)
	if err != nil {
		return err
	}
	f, err := s.Flavors.Get(r.Context(), r.Caller, string(body.Resize.FlavorRef))
	if compat.IsNotFound(err) || err == nil && f.Disabled {
		return compat.BadRequest("Flavor %.255s could not be found.", string(body.Resize.FlavorRef))
	}
	if err != nil {
		return err
	}
	if f.FlavorID == v.FlavorID {
		return compat.BadRequest("When resizing, instances must change flavor!")
	}
	if f.RootGB == 0 && v.RootGB > 0 {
		return compat.BadRequest("Server disk was unable to be resized because: Resize to zero disk flavor is not allowed.")
	}
	var image work.Image
	decode(v.ImageMeta, &image)
	err = meet(f.Work(), image.ID, presentProperties(image.Properties))
	if err != nil {
		return err
	}
	answers, err := s.hostAnswers(r.Context(), v)
	if err != nil {
		return err
	}
	if !answers {
		return compat.Conflict("Compute service of %s is unavailable at this time.", v.UUID)
	}
	_, err = s.begin(r.Context(), r.Caller, v, opResize, resizeTo{f.Work(), body.Resize.DiskConfig})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

// resizeTo is what a resize asks for.
type resizeTo struct {
	flavor     work.Flavor
	diskConfig *string
}

// prepareResize takes what the larger of both flavors needs beyond the present one.
func prepareResize(b *beginning) (*work.Args, error) {
	s, v, to := b.s, b.v, b.input.(resizeTo)
	from := v.Flavor()
	extra := quotas.Delta{Cores: max(to.flavor.VCPUs-from.VCPUs, 0), RAM: max(to.flavor.MemoryMB-from.MemoryMB, 0)}
	err := s.Quotas.Take(b.ctx, b.tx, v.ProjectID, v.UserID, extra)
	if err != nil {
		return nil, err
	}
	more := larger(needOf(from), needOf(to.flavor)).Minus(needOf(from))
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
	b.set["migration_id"], err = s.openMigration(b.ctx, b.tx, b.caller, v, resizing, to.flavor)
	if err != nil {
		return nil, err
	}
	if to.diskConfig != nil {
		b.set["disk_config"] = *to.diskConfig
	}
	args, err := b.withTimeout(s.ShutdownTimeout)
	if err != nil {
		return nil, err
	}
	old := args.Guest
	args.Old, args.Guest.Flavor, args.PowerOn = &old, to.flavor, v.VMState == Active
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

func (s *Service) confirmResize(w http.ResponseWriter, r *compat.Request) error {
	return s.simple(opConfirm)(w, r)
}

func (s *Service) revertResize(w http.ResponseWriter, r *compat.Request) error {
	return s.simple(opRevert)(w, r)
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
