package sim

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"strings"
	"sync"
	"time"

	"kilonova/computed"
	"kilonova/work"
)

// Op names a method of the driver, for latencies and faults.
type Op string

// The operations, in the order of computed.Driver.
const (
	OpHost           Op = "host"
	OpInstances      Op = "instances"
	OpState          Op = "state"
	OpFetchImage     Op = "fetch_image"
	OpCreateDisks    Op = "create_disks"
	OpDeleteDisks    Op = "delete_disks"
	OpSaveDisks      Op = "save_disks"
	OpRestoreDisks   Op = "restore_disks"
	OpDropSavedDisks Op = "drop_saved_disks"
	OpResizeDisks    Op = "resize_disks"
	OpPlugPorts      Op = "plug_ports"
	OpUnplugPorts    Op = "unplug_ports"
	OpDefine         Op = "define"
	OpUndefine       Op = "undefine"
	OpStart          Op = "start"
	OpShutdown       Op = "shutdown"
	OpPowerOff       Op = "power_off"
	OpPause          Op = "pause"
	OpUnpause        Op = "unpause"
	OpSuspend        Op = "suspend"
	OpResume         Op = "resume"
	OpSnapshot       Op = "snapshot"
	OpConsole        Op = "console"
	OpSetPassword    Op = "set_password"
	OpDiagnostics    Op = "diagnostics"
)

// Ops lists all operations.
var Ops = []Op{
	OpHost, OpInstances, OpState, OpFetchImage, OpCreateDisks, OpDeleteDisks, OpSaveDisks, OpRestoreDisks,
	OpDropSavedDisks, OpResizeDisks, OpPlugPorts, OpUnplugPorts, OpDefine, OpUndefine, OpStart, OpShutdown,
	OpPowerOff, OpPause, OpUnpause, OpSuspend, OpResume, OpSnapshot, OpConsole, OpSetPassword, OpDiagnostics,
}

// Call is one call of an operation, as latencies and faults see it.
type Call struct {
	Op   Op
	UUID string // of the guest, if the operation is about one
	N    int    // the how-manieth call of Op on this driver, from 1
}

// Fault makes calls fail. A call meets it when all that is set matches.
type Fault struct {
	Op    Op              // "" matches all
	N     int             // 0 matches all, else the N-th call of the operation
	UUID  string          // "" matches all
	Match func(Call) bool // nil matches all
	// After lets the call do its work before it fails, as when an answer is lost.
	After bool
	// Err is what the call returns, ErrFault if nil.
	Err error
	// Die, if set, is called instead of returning Err. It may end the process or panic;
	// if it returns, so does the call, with Err.
	Die func(Call)
	// Times bounds how often the fault happens; 0 means always.
	Times int
}

// ErrFault is the error of a Fault that names none.
var ErrFault = errors.New("a fault of the simulator")

// ErrState refuses an operation that the guest's state does not allow.
var ErrState = errors.New("the guest's state does not allow this")

// Options configure a simulated host. The zero value is a small host without delays.
type Options struct {
	// World keeps the guests; a new one if nil.
	World *World
	// Hostname names the host, "sim-0" if empty.
	Hostname string
	// VCPUs, MemoryMB and DiskGB are the host's size: 16, 65536 and 1000 if 0.
	VCPUs, MemoryMB, DiskGB int
	// Latency says how long each call takes; no time if nil.
	Latency func(Call) time.Duration
	// Faults are what goes wrong.
	Faults []Fault
	// Fetch, if set, fetches the images that guests boot from, as a real host does.
	Fetch func(context.Context, *work.Image) error
	// NoAgent makes SetPassword fail with computed.ErrNoAgent.
	NoAgent bool
	// Now is the clock, time.Now if nil.
	Now func() time.Time
}

// Latencies makes a Latency of a table.
func Latencies(table map[Op]time.Duration) func(Call) time.Duration {
	return func(c Call) time.Duration { return table[c.Op] }
}

// Realistic are delays like those of a fast host.
func Realistic() map[Op]time.Duration {
	return map[Op]time.Duration{
		OpFetchImage: 200 * time.Millisecond, OpCreateDisks: 100 * time.Millisecond, OpPlugPorts: 50 * time.Millisecond,
		OpDefine: 40 * time.Millisecond, OpStart: 500 * time.Millisecond, OpShutdown: 2 * time.Second,
		OpPowerOff: 100 * time.Millisecond, OpSuspend: time.Second, OpResume: 500 * time.Millisecond, OpSnapshot: 2 * time.Second,
	}
}

// Driver is a computed.Driver that simulates.
type Driver struct {
	o Options
	w *World

	mu     sync.Mutex
	calls  map[Op]int
	faults []Fault
	closed chan struct{}
}

var _ computed.Driver = (*Driver)(nil)

// New makes the driver of one simulated host.
func New(o Options) *Driver {
	if o.World == nil {
		o.World = NewWorld()
	}
	if o.Hostname == "" {
		o.Hostname = "sim-0"
	}
	if o.VCPUs == 0 {
		o.VCPUs = 16
	}
	if o.MemoryMB == 0 {
		o.MemoryMB = 65536
	}
	if o.DiskGB == 0 {
		o.DiskGB = 1000
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return &Driver{
		o: o, w: o.World, calls: map[Op]int{}, closed: make(chan struct{}),
		faults: append([]Fault(nil), o.Faults...),
	}
}

// Fail adds a fault.
func (d *Driver) Fail(f Fault) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, f)
}

// Heal removes all faults.
func (d *Driver) Heal() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = nil
}

// Calls says how often an operation was called.
func (d *Driver) Calls(op Op) int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.calls[op]
}

// Name is "sim".
func (d *Driver) Name() string { return "sim" }

// Close ends the driver's event channels; guests stay in the world.
func (d *Driver) Close() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	select {
	case <-d.closed:
	default:
		close(d.closed)
	}
	return nil
}

// fault finds the fault that the call meets, if any.
func (d *Driver) fault(c Call) *Fault {
	d.mu.Lock()
	defer d.mu.Unlock()
	for i := range d.faults {
		f := &d.faults[i]
		if f.Op != "" && f.Op != c.Op || f.N != 0 && f.N != c.N || f.UUID != "" && f.UUID != c.UUID ||
			f.Match != nil && !f.Match(c) || f.Times < 0 {
			continue
		}
		if f.Times > 0 {
			f.Times--
			if f.Times == 0 {
				f.Times = -1 // used up
			}
		}
		found := *f
		return &found
	}
	return nil
}

// do is every operation: it takes its time, fails if it is told to, and else changes the
// host's state.
func (d *Driver) do(ctx context.Context, op Op, uuid string, f func(*hostState) error) error {
	d.mu.Lock()
	d.calls[op]++
	c := Call{Op: op, UUID: uuid, N: d.calls[op]}
	d.mu.Unlock()
	err := d.wait(ctx, c)
	if err != nil {
		return fmt.Errorf("%s %s: %w", op, uuid, err)
	}
	bad := d.fault(c)
	if bad == nil || bad.After {
		err := d.w.with(d.o.Hostname, f)
		if err != nil {
			return fmt.Errorf("%s %s: %w", op, uuid, err)
		}
	}
	if bad == nil {
		return nil
	}
	if bad.Die != nil {
		bad.Die(c)
	}
	err = bad.Err
	if err == nil {
		err = ErrFault
	}
	return fmt.Errorf("%s %s: %w", op, uuid, err)
}

func (d *Driver) wait(ctx context.Context, c Call) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if d.o.Latency == nil {
		return nil
	}
	return sleep(ctx, d.o.Latency(c))
}

func sleep(ctx context.Context, t time.Duration) error {
	if t <= 0 {
		return nil
	}
	timer := time.NewTimer(t)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return nil
	}
}

// guest runs f with a defined guest.
func (d *Driver) guest(ctx context.Context, op Op, uuid string, f func(*hostState, *guest) error) error {
	return d.do(ctx, op, uuid, func(h *hostState) error {
		g := h.Guests[uuid]
		if g == nil {
			return computed.ErrNoInstance
		}
		return f(h, g)
	})
}

// Host reports the machine and its capacity.
func (d *Driver) Host(ctx context.Context) (work.HostInfo, error) {
	info := work.HostInfo{
		Hostname: d.o.Hostname, HypervisorType: "QEMU", HypervisorVersion: 8002002, HostIP: "127.0.0.1",
		CPUInfo: `{"arch":"x86_64","model":"sim","vendor":"kilonova","features":[],"topology":{"cells":1,"sockets":1,"cores":16,"threads":1}}`,
		Arch:    "x86_64", VCPUs: d.o.VCPUs, MemoryMB: d.o.MemoryMB, DiskGB: d.o.DiskGB,
		Uptime: " 00:00:00 up 1 day,  0:00,  0 users,  load average: 0.00, 0.00, 0.00",
	}
	err := d.do(ctx, OpHost, "", func(h *hostState) error {
		used := 0
		for _, k := range h.Disks {
			used += k.RootGB + k.EphGB
		}
		info.DiskAvailableGB = max(d.o.DiskGB-used, 0)
		return nil
	})
	return info, err
}

// Instances lists the guests.
func (d *Driver) Instances(ctx context.Context) ([]work.Instance, error) {
	var list []work.Instance
	err := d.do(ctx, OpInstances, "", func(h *hostState) error {
		list = make([]work.Instance, 0, len(h.Guests))
		for uuid, g := range h.Guests {
			list = append(list, work.Instance{UUID: uuid, Name: g.Name, State: g.State})
		}
		return nil
	})
	return list, err
}

// State gives the power state of one guest.
func (d *Driver) State(ctx context.Context, uuid string) (work.PowerState, error) {
	state := work.NoState
	err := d.guest(ctx, OpState, uuid, func(_ *hostState, g *guest) error {
		state = g.State
		return nil
	})
	return state, err
}

// FetchImage notes that the image is here.
func (d *Driver) FetchImage(ctx context.Context, g *work.Guest) error {
	if d.o.Fetch != nil {
		err := d.o.Fetch(ctx, &g.Image)
		if err != nil {
			return fmt.Errorf("%s %s: %w", OpFetchImage, g.UUID, err)
		}
	}
	return d.do(ctx, OpFetchImage, g.UUID, func(h *hostState) error {
		h.Images[g.Image.ID] = true
		return nil
	})
}

// rootGB is the size of the root disk that the guest gets, or ErrDiskTooSmall.
func rootGB(g *work.Guest) (int, error) {
	image := int((g.Image.VirtualSize + 1<<30 - 1) >> 30)
	if g.Flavor.RootGB == 0 {
		return max(image, 1), nil
	}
	if image > g.Flavor.RootGB {
		return 0, fmt.Errorf("image of %d GiB, root disk of %d: %w", image, g.Flavor.RootGB, computed.ErrDiskTooSmall)
	}
	return g.Flavor.RootGB, nil
}

// CreateDisks makes the disks, unless they are there.
func (d *Driver) CreateDisks(ctx context.Context, g *work.Guest) error {
	return d.do(ctx, OpCreateDisks, g.UUID, func(h *hostState) error {
		if k := h.Disks[g.UUID]; k != nil && k.RootGB > 0 {
			return nil
		}
		root, err := rootGB(g)
		if err != nil {
			return err
		}
		boots := 0
		if k := h.Disks[g.UUID]; k != nil { // a rebuild keeps the console
			boots = k.Boots
		}
		h.Disks[g.UUID] = &disks{RootGB: root, EphGB: g.Flavor.EphemeralGB, SwapMB: g.Flavor.SwapMB, Config: true, Boots: boots}
		return nil
	})
}

// DeleteDisks removes the disks.
func (d *Driver) DeleteDisks(ctx context.Context, uuid string) error {
	return d.do(ctx, OpDeleteDisks, uuid, func(h *hostState) error {
		delete(h.Disks, uuid)
		return nil
	})
}

// SaveDisks keeps the disks aside, once.
func (d *Driver) SaveDisks(ctx context.Context, uuid string, copyBack bool) error {
	return d.do(ctx, OpSaveDisks, uuid, func(h *hostState) error {
		if h.Saved[uuid] != nil {
			return nil
		}
		k := h.Disks[uuid]
		if k == nil {
			return computed.ErrNoInstance
		}
		saved := *k
		h.Saved[uuid] = &saved
		if !copyBack {
			h.Disks[uuid] = &disks{Boots: k.Boots}
		}
		return nil
	})
}

// RestoreDisks puts saved disks back.
func (d *Driver) RestoreDisks(ctx context.Context, uuid string) error {
	return d.do(ctx, OpRestoreDisks, uuid, func(h *hostState) error {
		saved := h.Saved[uuid]
		if saved == nil {
			return nil
		}
		if k := h.Disks[uuid]; k != nil {
			saved.Boots = k.Boots
		}
		h.Disks[uuid] = saved
		delete(h.Saved, uuid)
		return nil
	})
}

// DropSavedDisks removes saved disks.
func (d *Driver) DropSavedDisks(ctx context.Context, uuid string) error {
	return d.do(ctx, OpDropSavedDisks, uuid, func(h *hostState) error {
		delete(h.Saved, uuid)
		return nil
	})
}

// ResizeDisks grows the root disk and fits the others.
func (d *Driver) ResizeDisks(ctx context.Context, g *work.Guest) error {
	return d.do(ctx, OpResizeDisks, g.UUID, func(h *hostState) error {
		k := h.Disks[g.UUID]
		if k == nil {
			return computed.ErrNoInstance
		}
		if g.Flavor.RootGB > 0 && g.Flavor.RootGB < k.RootGB {
			return fmt.Errorf("root disk of %d GiB to %d: %w", k.RootGB, g.Flavor.RootGB, computed.ErrDiskTooSmall)
		}
		k.RootGB = max(k.RootGB, g.Flavor.RootGB)
		k.EphGB, k.SwapMB = g.Flavor.EphemeralGB, g.Flavor.SwapMB
		return nil
	})
}

// PlugPorts notes the ports.
func (d *Driver) PlugPorts(ctx context.Context, g *work.Guest) error {
	return d.do(ctx, OpPlugPorts, g.UUID, func(h *hostState) error {
		ports := map[string]bool{}
		for _, p := range g.Ports {
			ports[p.ID] = true
		}
		if len(ports) > 0 {
			h.Ports[g.UUID] = ports
		}
		return nil
	})
}

// UnplugPorts forgets the ports.
func (d *Driver) UnplugPorts(ctx context.Context, g *work.Guest) error {
	return d.do(ctx, OpUnplugPorts, g.UUID, func(h *hostState) error {
		delete(h.Ports, g.UUID)
		return nil
	})
}

// Define makes or replaces the definition. Metadata kn_ignore_acpi makes the guest deaf
// to requests to shut down, as it does the test guest.
func (d *Driver) Define(ctx context.Context, g *work.Guest) error {
	return d.do(ctx, OpDefine, g.UUID, func(h *hostState) error {
		k := h.Disks[g.UUID]
		if k == nil || k.RootGB == 0 {
			return fmt.Errorf("the guest has no disks: %w", computed.ErrNoInstance)
		}
		n := &guest{
			Name: g.InstanceName(), State: work.Shutdown, VCPUs: g.Flavor.VCPUs, MemoryMB: g.Flavor.MemoryMB,
			Hostname: g.Hostname, Stubborn: g.Metadata["kn_ignore_acpi"] == "1", Disks: []string{"vda"},
		}
		for _, p := range g.Ports {
			n.MACs = append(n.MACs, p.MAC)
		}
		if k.EphGB > 0 {
			n.Disks = append(n.Disks, "vd"+string(rune('a'+len(n.Disks))))
		}
		if k.SwapMB > 0 {
			n.Disks = append(n.Disks, "vd"+string(rune('a'+len(n.Disks))))
		}
		if old := h.Guests[g.UUID]; old != nil {
			n.State, n.Memory, n.Started = old.State, old.Memory, old.Started
		}
		h.Guests[g.UUID] = n
		return nil
	})
}

// Undefine removes the definition of a guest that is off.
func (d *Driver) Undefine(ctx context.Context, uuid string) error {
	return d.do(ctx, OpUndefine, uuid, func(h *hostState) error {
		g := h.Guests[uuid]
		if g != nil && (g.State == work.PoweredOn || g.State == work.Paused) {
			return fmt.Errorf("it is %s: %w", g.State, ErrState)
		}
		delete(h.Guests, uuid)
		return nil
	})
}

// boot starts a guest that is off.
func (d *Driver) boot(ctx context.Context, op Op, uuid string) error {
	return d.guest(ctx, op, uuid, func(h *hostState, g *guest) error {
		if g.State == work.PoweredOn || g.State == work.Paused {
			return nil
		}
		k := h.Disks[uuid]
		if k == nil {
			return errors.New("the guest has no disks")
		}
		if op == OpStart || !g.Memory {
			k.Boots++
			g.Started = d.o.Now()
		}
		g.State, g.Memory = work.PoweredOn, false
		return nil
	})
}

// Start boots a defined guest, afresh even if its memory is saved.
func (d *Driver) Start(ctx context.Context, uuid string) error { return d.boot(ctx, OpStart, uuid) }

// Resume starts the guest from its saved memory; without any it boots.
func (d *Driver) Resume(ctx context.Context, uuid string) error { return d.boot(ctx, OpResume, uuid) }

// Shutdown ends the guest; a stubborn one takes all of timeout.
func (d *Driver) Shutdown(ctx context.Context, uuid string, timeout time.Duration) error {
	stubborn := false
	err := d.guest(ctx, OpShutdown, uuid, func(_ *hostState, g *guest) error {
		stubborn = g.Stubborn && g.State == work.PoweredOn
		if !stubborn {
			g.State = work.Shutdown
		}
		return nil
	})
	if err != nil || !stubborn {
		return err
	}
	err = sleep(ctx, timeout)
	if err != nil {
		return fmt.Errorf("%s %s: %w", OpShutdown, uuid, err)
	}
	return d.PowerOff(ctx, uuid)
}

// PowerOff ends the guest at once and drops its saved memory.
func (d *Driver) PowerOff(ctx context.Context, uuid string) error {
	return d.do(ctx, OpPowerOff, uuid, func(h *hostState) error {
		if g := h.Guests[uuid]; g != nil {
			g.State, g.Memory = work.Shutdown, false
		}
		return nil
	})
}

// change brings a guest from one state to another, unless it is there already.
func (d *Driver) change(ctx context.Context, op Op, uuid string, from, to work.PowerState) error {
	return d.guest(ctx, op, uuid, func(_ *hostState, g *guest) error {
		switch g.State {
		case to:
			return nil
		case from:
			g.State = to
			return nil
		}
		return fmt.Errorf("it is %s: %w", g.State, ErrState)
	})
}

// Pause freezes the guest's processors.
func (d *Driver) Pause(ctx context.Context, uuid string) error {
	return d.change(ctx, OpPause, uuid, work.PoweredOn, work.Paused)
}

// Unpause thaws the guest's processors.
func (d *Driver) Unpause(ctx context.Context, uuid string) error {
	return d.change(ctx, OpUnpause, uuid, work.Paused, work.PoweredOn)
}

// Suspend saves the guest's memory and stops it.
func (d *Driver) Suspend(ctx context.Context, uuid string) error {
	return d.guest(ctx, OpSuspend, uuid, func(_ *hostState, g *guest) error {
		if g.State == work.PoweredOn || g.State == work.Paused {
			g.State, g.Memory = work.Shutdown, true
			return nil
		}
		if !g.Memory {
			return fmt.Errorf("it is %s: %w", g.State, ErrState)
		}
		return nil
	})
}

// Snapshot hands an empty disk of the guest's size to sink: a small qcow2, or zeros.
func (d *Driver) Snapshot(ctx context.Context, uuid, format string, sink func(r io.Reader, size int64) error) error {
	var size int64
	err := d.guest(ctx, OpSnapshot, uuid, func(h *hostState, _ *guest) error {
		k := h.Disks[uuid]
		if k == nil {
			return errors.New("the guest has no disks")
		}
		size = int64(k.RootGB) << 30
		return nil
	})
	if err != nil {
		return err
	}
	switch format {
	case "raw":
		err = sink(io.LimitReader(zeros{}, size), size)
	case "qcow2":
		image := emptyQcow2(size)
		err = sink(bytes.NewReader(image), int64(len(image)))
	default:
		err = fmt.Errorf("disk format %q is not supported", format)
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", OpSnapshot, uuid, err)
	}
	return nil
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}

// emptyQcow2 makes a valid image without data: header, refcount table, refcount block and
// a level 1 table, a cluster each.
func emptyQcow2(size int64) []byte {
	const cluster = 1 << 16
	entries := (size + cluster*cluster/8 - 1) / (cluster * cluster / 8)
	l1 := (entries*8 + cluster - 1) / cluster // clusters of the level 1 table
	b := make([]byte, (3+l1)*cluster)
	copy(b, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 16) // cluster bits
	be.PutUint64(b[24:], uint64(size))
	be.PutUint32(b[36:], uint32(entries))
	be.PutUint64(b[40:], 3*cluster) // level 1 table
	be.PutUint64(b[48:], cluster)   // refcount table
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[96:], 4)    // refcounts of 16 bits
	be.PutUint32(b[100:], 104) // length of the header
	be.PutUint64(b[cluster:], 2*cluster)
	for i := range 3 + l1 {
		be.PutUint16(b[2*cluster+2*i:], 1)
	}
	return b
}

// Console makes up what the guest's boots have written.
func (d *Driver) Console(ctx context.Context, uuid string, max int) ([]byte, error) {
	var text strings.Builder
	err := d.guest(ctx, OpConsole, uuid, func(h *hostState, g *guest) error {
		k := h.Disks[uuid]
		if k == nil || k.Boots == 0 {
			return computed.ErrNoConsole
		}
		name := g.Hostname
		if name == "" {
			name = "localhost"
		}
		for n := range k.Boots {
			fmt.Fprintf(&text, "SeaBIOS (version sim)\r\nBooting from Hard Disk...\r\n"+
				"[    0.000000] Linux version 6.1.0-sim (kilonova simulator), boot %d\r\n"+
				"[    0.100000] Memory: %dK available, %d processors\r\n", n+1, g.MemoryMB*1024, g.VCPUs)
			for i, mac := range g.MACs {
				fmt.Fprintf(&text, "[    0.200000] eth%d: %s\r\n", i, mac)
			}
			fmt.Fprintf(&text, "KN-READY uptime=1.00\r\n\r\n%s login: ", name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	all := text.String()
	return []byte(all[len(all)-min(len(all), max):]), nil
}

// SetPassword succeeds, unless the guest shall have no agent.
func (d *Driver) SetPassword(ctx context.Context, uuid, _, _ string) error {
	return d.guest(ctx, OpSetPassword, uuid, func(_ *hostState, g *guest) error {
		if d.o.NoAgent {
			return computed.ErrNoAgent
		}
		if g.State != work.PoweredOn {
			return fmt.Errorf("it is %s: %w", g.State, ErrState)
		}
		return nil
	})
}

// Diagnostics makes up counters that grow with the guest's uptime.
func (d *Driver) Diagnostics(ctx context.Context, uuid string) (work.Diagnostics, error) {
	diag := work.Diagnostics{
		Driver: "libvirt", Hypervisor: "sim", HypervisorOS: "linux",
		CPUs: []work.CPUStat{}, NICs: []work.NICStat{}, Disks: []work.DiskStat{},
	}
	err := d.guest(ctx, OpDiagnostics, uuid, func(_ *hostState, g *guest) error {
		diag.State, diag.MemoryMB = g.State.String(), g.MemoryMB
		if g.State != work.PoweredOn && g.State != work.Paused {
			return nil
		}
		s := int64(d.o.Now().Sub(g.Started).Seconds())
		salt := fnv.New32a()
		salt.Write([]byte(uuid))
		base := int64(salt.Sum32() % 1000)
		diag.UptimeS, diag.MemoryUsedMB = s, g.MemoryMB/2
		for i := range g.VCPUs {
			diag.CPUs = append(diag.CPUs, work.CPUStat{ID: i, Time: (s + base) * 10_000_000})
		}
		for _, mac := range g.MACs {
			diag.NICs = append(diag.NICs, work.NICStat{
				MAC: mac, RxBytes: (s + base) * 100, RxPackets: s + base, TxBytes: (s + base) * 80, TxPackets: s + base,
			})
		}
		for _, dev := range g.Disks {
			diag.Disks = append(diag.Disks, work.DiskStat{
				Device: dev, ReadBytes: (10_000 + base) * 512, ReadRequests: 10_000 + base, WriteBytes: s * 512, WriteRequests: s,
			})
		}
		return nil
	})
	return diag, err
}

// Events tells of what World.Set does, until ctx ends.
func (d *Driver) Events(ctx context.Context) <-chan work.Instance {
	l := make(chan work.Instance, 64)
	d.w.mu.Lock()
	d.w.listeners[l] = d.o.Hostname
	d.w.mu.Unlock()
	go func() { // ends with ctx or the driver
		select {
		case <-ctx.Done():
		case <-d.closed:
		}
		d.w.mu.Lock()
		defer d.w.mu.Unlock()
		delete(d.w.listeners, l)
		close(l)
	}()
	return l
}
