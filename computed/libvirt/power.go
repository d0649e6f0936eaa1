package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"time"

	virt "libvirt.org/go/libvirt"

	"kilonova/computed"
	"kilonova/room"
	"kilonova/work"
)

// Define makes or replaces the guest's persistent definition.
func (d *Driver) Define(ctx context.Context, g *work.Guest) error {
	doc, err := d.domainXML(g)
	if err != nil {
		return wrap(err, "describe", g.UUID)
	}
	text, err := xml.Marshal(doc)
	if err != nil {
		return wrap(err, "describe", g.UUID)
	}
	var flags virt.DomainDefineFlags
	if d.cfg.Validate {
		flags = virt.DOMAIN_DEFINE_VALIDATE
	}
	err = d.do(ctx, func(c *virt.Connect) error {
		for i := range g.Ports { // the definition names them
			err := d.setFilter(ctx, c, &g.Ports[i])
			if err != nil {
				return err
			}
		}
		var before []string
		old, err := c.LookupDomainByUUIDString(g.UUID)
		if err == nil {
			before, err = filtersOf(old)
			old.Free()
		}
		if err != nil && !errors.Is(err, virt.ERR_NO_DOMAIN) {
			return err
		}
		dom, err := c.DomainDefineXMLFlags(string(text), flags)
		if err != nil {
			return err
		}
		defer dom.Free()
		return d.dropLost(ctx, dom, c, without(before, g.Ports))
	})
	return wrap(err, "define", g.UUID)
}

// dropLost removes filters that only the guest's last definition named. A guest that runs still
// has them.
func (d *Driver) dropLost(ctx context.Context, dom *virt.Domain, c *virt.Connect, names []string) error {
	active, err := dom.IsActive()
	if err != nil || active {
		return err
	}
	for _, name := range names {
		err = d.dropFilter(ctx, c, name)
		if err != nil {
			return err
		}
	}
	return nil
}

// Undefine removes the definition, with managed save and NVRAM. It refuses while the
// guest runs, as libvirt would keep it going without a definition.
func (d *Driver) Undefine(ctx context.Context, uuid string) error {
	defer d.events.own(uuid)()
	var filters []string
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		active, err := dom.IsActive()
		if err != nil {
			return err
		}
		if active {
			return errors.New("the guest is running")
		}
		// A guest whose ports nobody remembers leaves no filter behind.
		filters, err = filtersOf(dom)
		if err != nil {
			return err
		}
		return dom.UndefineFlags(virt.DOMAIN_UNDEFINE_MANAGED_SAVE | virt.DOMAIN_UNDEFINE_NVRAM |
			virt.DOMAIN_UNDEFINE_SNAPSHOTS_METADATA | virt.DOMAIN_UNDEFINE_CHECKPOINTS_METADATA)
	})
	for _, name := range filters {
		if err == nil {
			err = d.do(ctx, func(c *virt.Connect) error { return d.dropFilter(ctx, c, name) })
		}
	}
	return wrap(nothingIsDone(err), "undefine", uuid)
}

// nothingIsDone makes success of a missing guest, for the operations that undo.
func nothingIsDone(err error) error {
	if errors.Is(err, computed.ErrNoInstance) {
		return nil
	}
	return err
}

// Start boots a defined guest, afresh even if its memory is saved.
func (d *Driver) Start(ctx context.Context, uuid string) error {
	return d.boot(ctx, uuid, "start", virt.DOMAIN_START_FORCE_BOOT)
}

// Resume starts the guest from its saved memory; without any it boots.
func (d *Driver) Resume(ctx context.Context, uuid string) error {
	return d.boot(ctx, uuid, "resume", virt.DOMAIN_NONE)
}

func (d *Driver) boot(ctx context.Context, uuid, what string, flags virt.DomainCreateFlags) error {
	defer d.events.own(uuid)()
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		err := dom.CreateWithFlags(flags)
		if errors.Is(err, virt.ERR_OPERATION_INVALID) {
			active, err2 := dom.IsActive()
			if err2 == nil && active {
				return nil
			}
		}
		if err != nil {
			return err
		}
		d.noteStart(uuid)
		return nil
	})
	return wrap(err, what, uuid)
}

// shutdownRepeat is how often a guest is asked again: the first request is lost on one
// that is still booting.
const shutdownRepeat = 10 * time.Second

// Shutdown asks the guest to shut down, waits for at most timeout, then powers it off. A
// paused guest cannot hear the request and is powered off at once.
func (d *Driver) Shutdown(ctx context.Context, uuid string, timeout time.Duration) error {
	defer d.events.own(uuid)()
	end := time.Now().Add(timeout)
	var asked time.Time
	for {
		state, err := d.State(ctx, uuid)
		if err != nil {
			return wrap(err, "shut down", uuid)
		}
		if state == work.Shutdown {
			active, err := d.active(ctx, uuid)
			if err != nil {
				return wrap(err, "shut down", uuid)
			}
			if !active {
				return nil
			}
		}
		if state == work.Paused || state == work.Crashed || !time.Now().Before(end) {
			return d.PowerOff(ctx, uuid)
		}
		if time.Since(asked) > shutdownRepeat {
			asked = time.Now()
			err := d.domain(ctx, uuid, func(dom *virt.Domain) error { return dom.Shutdown() })
			if err != nil {
				// It may have ended meanwhile; if not, the limit sees to it.
				d.log.DebugContext(ctx, "ask guest to shut down", "server", uuid, "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return wrap(ctx.Err(), "shut down", uuid)
		case <-time.After(min(200*time.Millisecond, max(time.Until(end), 0))):
		}
	}
}

func (d *Driver) active(ctx context.Context, uuid string) (bool, error) {
	active := false
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		a, err := dom.IsActive()
		active = a
		return err
	})
	return active, err
}

// PowerOff ends the guest at once and drops its saved memory.
func (d *Driver) PowerOff(ctx context.Context, uuid string) error {
	defer d.events.own(uuid)()
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		err := dom.DestroyFlags(virt.DOMAIN_DESTROY_DEFAULT)
		if err != nil && !errors.Is(err, virt.ERR_OPERATION_INVALID) { // it is off already
			return err
		}
		saved, err := dom.HasManagedSaveImage(0)
		if err != nil || !saved {
			return err
		}
		return dom.ManagedSaveRemove(0)
	})
	return wrap(nothingIsDone(err), "power off", uuid)
}

// change brings a domain from one state to another, unless it is there already.
func (d *Driver) change(ctx context.Context, uuid, what string, want work.PowerState, do func(*virt.Domain) error) error {
	defer d.events.own(uuid)()
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		state, err := powerState(dom)
		if err != nil || state == want {
			return err
		}
		return do(dom)
	})
	return wrap(err, what, uuid)
}

// Pause freezes the guest's processors.
func (d *Driver) Pause(ctx context.Context, uuid string) error {
	return d.change(ctx, uuid, "pause", work.Paused, (*virt.Domain).Suspend)
}

// Unpause thaws the guest's processors.
func (d *Driver) Unpause(ctx context.Context, uuid string) error {
	return d.change(ctx, uuid, "unpause", work.PoweredOn, (*virt.Domain).Resume)
}

// Suspend saves the guest's memory to disk and stops it.
func (d *Driver) Suspend(ctx context.Context, uuid string) error {
	defer d.events.own(uuid)()
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		active, err := dom.IsActive()
		if err != nil {
			return err
		}
		if active {
			return d.save(dom)
		}
		saved, err := dom.HasManagedSaveImage(0)
		if err != nil {
			return err
		}
		if !saved {
			return errors.New("the guest is not running")
		}
		return nil
	})
	return wrap(err, "suspend", uuid)
}

// savedGuests is where libvirtd puts the memory of suspended guests.
const savedGuests = "/var/lib/libvirt/qemu/save"

// save writes the guest's memory to disk, if that has room for all of it.
func (d *Driver) save(dom *virt.Domain) error {
	info, err := dom.GetInfo()
	if err != nil {
		return fmt.Errorf("look at the guest's memory: %w", err)
	}
	floor := room.Floor{Path: savedGuests, Keep: d.cfg.Floor.Keep, Probe: d.cfg.Floor.Probe}
	release, err := floor.Hold(int64(info.Memory) << 10)
	if err != nil {
		return err
	}
	defer release()
	return dom.ManagedSave(0)
}

// SetPassword changes a user's password through the guest agent.
func (d *Driver) SetPassword(ctx context.Context, uuid, user, password string) error {
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		live, err := liveXML(dom)
		if err != nil {
			return err
		}
		if !live.hasAgent() {
			return computed.ErrNoAgent
		}
		return dom.SetUserPassword(user, password, 0)
	})
	for _, code := range []virt.ErrorNumber{virt.ERR_AGENT_UNRESPONSIVE, virt.ERR_AGENT_UNSYNCED, virt.ERR_ARGUMENT_UNSUPPORTED} {
		if errors.Is(err, code) {
			err = fmt.Errorf("%w: %w", computed.ErrNoAgent, err)
			break
		}
	}
	return wrap(err, "set password in", uuid)
}

// noteStart remembers when the guest was started, for its uptime.
func (d *Driver) noteStart(uuid string) {
	path := d.file(uuid, "started")
	err := os.WriteFile(path, nil, 0o600)
	if err != nil {
		d.log.Debug("note start of guest", "server", uuid, "err", err)
	}
}

// Diagnostics reports the guest's counters; a guest that is off has none.
func (d *Driver) Diagnostics(ctx context.Context, uuid string) (work.Diagnostics, error) {
	diag := work.Diagnostics{
		Driver: "libvirt", Hypervisor: d.cfg.VirtType, HypervisorOS: "linux",
		CPUs: []work.CPUStat{}, NICs: []work.NICStat{}, Disks: []work.DiskStat{},
	}
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		diag.CPUs, diag.NICs, diag.Disks = diag.CPUs[:0], diag.NICs[:0], diag.Disks[:0]
		state, err := powerState(dom)
		if err != nil {
			return err
		}
		diag.State = state.String()
		info, err := dom.GetInfo()
		if err != nil {
			return fmt.Errorf("get size: %w", err)
		}
		diag.MemoryMB = int(info.MaxMem / 1024)
		if state != work.PoweredOn && state != work.Paused {
			return nil
		}
		live, err := liveXML(dom)
		if err != nil {
			return err
		}
		return counters(dom, live, &diag)
	})
	if err == nil && diag.State != work.Shutdown.String() {
		st, err := os.Stat(d.file(uuid, "started"))
		if err == nil {
			diag.UptimeS = int64(time.Since(st.ModTime()).Seconds())
		}
	}
	return diag, wrap(err, "diagnose", uuid)
}

// counters fills diag from a running domain.
func counters(dom *virt.Domain, live *liveDomain, diag *work.Diagnostics) error {
	vcpus, err := dom.GetVcpus()
	if err != nil {
		return fmt.Errorf("get processor times: %w", err)
	}
	for _, v := range vcpus {
		diag.CPUs = append(diag.CPUs, work.CPUStat{ID: int(v.Number), Time: int64(v.CpuTime)})
	}
	for _, i := range live.Interfaces {
		s, err := dom.InterfaceStats(i.Target.Dev)
		if err != nil {
			return fmt.Errorf("get counters of %s: %w", i.Target.Dev, err)
		}
		diag.NICs = append(diag.NICs, work.NICStat{
			MAC: i.MAC.Address, RxBytes: s.RxBytes, RxPackets: s.RxPackets, RxErrors: s.RxErrs, RxDrop: s.RxDrop,
			TxBytes: s.TxBytes, TxPackets: s.TxPackets, TxErrors: s.TxErrs, TxDrop: s.TxDrop,
		})
	}
	for _, k := range live.Disks {
		s, err := dom.BlockStats(k.Target.Dev)
		if err != nil {
			return fmt.Errorf("get counters of %s: %w", k.Target.Dev, err)
		}
		diag.Disks = append(diag.Disks, work.DiskStat{
			Device: k.Target.Dev, ReadBytes: s.RdBytes, ReadRequests: s.RdReq,
			WriteBytes: s.WrBytes, WriteRequests: s.WrReq, Errors: s.Errs,
		})
	}
	memory, err := dom.MemoryStats(uint32(virt.DOMAIN_MEMORY_STAT_NR), 0)
	if err != nil {
		return fmt.Errorf("get memory counters: %w", err)
	}
	var unused, available uint64
	for _, m := range memory {
		switch virt.DomainMemoryStatTags(m.Tag) {
		case virt.DOMAIN_MEMORY_STAT_UNUSED:
			unused = m.Val
		case virt.DOMAIN_MEMORY_STAT_AVAILABLE:
			available = m.Val
		}
	}
	if available > unused {
		diag.MemoryUsedMB = int((available - unused) / 1024)
	}
	return nil
}

// VNC gives the address, host:port, of a running guest's VNC server, or ErrNoConsole.
func (d *Driver) VNC(ctx context.Context, uuid string) (string, error) {
	addr := ""
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		live, err := liveXML(dom)
		if err != nil {
			return err
		}
		for _, g := range live.Graphics {
			if g.Type == "vnc" && g.Port > 0 {
				addr = net.JoinHostPort(g.Listen, strconv.Itoa(g.Port))
				return nil
			}
		}
		return computed.ErrNoConsole
	})
	return addr, wrap(err, "find VNC server of", uuid)
}
