package drivertest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"kilonova/computed"
	"kilonova/work"
)

// Options tell the suite about the driver under test.
type Options struct {
	// Guest makes a guest that boots, with one port and a root disk of 1 GiB; each call
	// makes another.
	Guest func(t testing.TB) *work.Guest
	// BootTime bounds a boot, and Ready is the console text that ends it.
	BootTime time.Duration
	Ready    string
	// Stubborn makes a guest ignore requests to shut down.
	Stubborn func(*work.Guest)
	// StopTime is how long a willing guest may take to shut down.
	StopTime time.Duration
	// Agent says that the guest has an agent to set passwords with.
	Agent bool
	// Left lists what the driver keeps on the host for the guest: files, DHCP entries.
	Left func(t testing.TB, g *work.Guest) []string
	// CheckSnapshot, if set, compares a snapshot with the disk of the guest, which is off.
	CheckSnapshot func(t testing.TB, g *work.Guest, path, format string)
	// Crash ends a running guest without the driver's help.
	Crash func(t testing.TB, g *work.Guest)
}

// suite is one driver under test.
type suite struct {
	Options
	d computed.Driver
}

// Run tests the drivers that newDriver makes. Drivers that a test makes see each other's
// guests, as two processes on one host do.
func Run(t *testing.T, newDriver func(t testing.TB) computed.Driver, o Options) {
	tests := []struct {
		name string
		run  func(*testing.T, *suite)
	}{
		{"host", testHost},
		{"unknown guest", testUnknown},
		{"undo after each step", testUndo},
		{"life", testLife},
		{"disks kept and resized", testDisks},
		{"bounded shutdown", testBoundedShutdown},
		{"crash and restart", func(t *testing.T, s *suite) { testCrash(t, s, newDriver) }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := newDriver(t)
			t.Cleanup(func() {
				err := d.Close()
				if err != nil {
					t.Errorf("close: %v", err)
				}
			})
			tt.run(t, &suite{o, d})
		})
	}
}

// twice does the same thing two times, as a driver must allow.
func twice(t *testing.T, name string, f func() error) {
	t.Helper()
	for _, count := range []string{"first", "second"} {
		start := time.Now()
		err := f()
		if err != nil {
			t.Fatalf("%s, %s time: %v", name, count, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Logf("%s, %s time, took %.1f s", name, count, took.Seconds())
		}
	}
}

type step struct {
	name string
	do   func() error
}

// creation are the steps that make a running guest.
func (s *suite) creation(ctx context.Context, g *work.Guest) []step {
	return []step{
		{"fetch image", func() error { return s.d.FetchImage(ctx, g) }},
		{"create disks", func() error { return s.d.CreateDisks(ctx, g) }},
		{"plug ports", func() error { return s.d.PlugPorts(ctx, g) }},
		{"define", func() error { return s.d.Define(ctx, g) }},
		{"start", func() error { return s.d.Start(ctx, g.UUID) }},
	}
}

// removal are the steps that leave nothing of a guest.
func (s *suite) removal(ctx context.Context, g *work.Guest) []step {
	return []step{
		{"power off", func() error { return s.d.PowerOff(ctx, g.UUID) }},
		{"undefine", func() error { return s.d.Undefine(ctx, g.UUID) }},
		{"unplug ports", func() error { return s.d.UnplugPorts(ctx, g) }},
		{"delete disks", func() error { return s.d.DeleteDisks(ctx, g.UUID) }},
		{"drop saved disks", func() error { return s.d.DropSavedDisks(ctx, g.UUID) }},
	}
}

// create makes a running guest and removes it at the end of the test.
func (s *suite) create(t *testing.T, g *work.Guest) {
	t.Helper()
	t.Cleanup(func() { s.remove(t, g) })
	for _, st := range s.creation(t.Context(), g) {
		twice(t, st.name, st.do)
	}
	s.want(t, g, work.PoweredOn)
}

// remove removes the guest and looks for what is left.
func (s *suite) remove(t *testing.T, g *work.Guest) {
	t.Helper()
	for _, st := range s.removal(context.Background(), g) {
		twice(t, st.name, st.do)
	}
	for _, left := range s.Left(t, g) {
		t.Errorf("left of a removed guest: %s", left)
	}
	_, err := s.d.State(context.Background(), g.UUID)
	if !errors.Is(err, computed.ErrNoInstance) {
		t.Errorf("state of a removed guest: %v, want ErrNoInstance", err)
	}
}

// want checks the guest's state, also in the list.
func (s *suite) want(t *testing.T, g *work.Guest, want work.PowerState) {
	t.Helper()
	state, err := s.d.State(t.Context(), g.UUID)
	if err != nil || state != want {
		t.Fatalf("state %s, %v, want %s", state, err, want)
	}
	list, err := s.d.Instances(t.Context())
	if err != nil {
		t.Fatalf("list: %v", err)
	}
	for _, i := range list {
		if i.UUID == g.UUID {
			if i.State != want || i.Name != g.InstanceName() {
				t.Fatalf("listed as %+v, want %s", i, want)
			}
			return
		}
	}
	t.Fatalf("guest %s is not in the list", g.UUID)
}

// ready waits until the console shows the end of a boot, the given number of times.
func (s *suite) ready(t *testing.T, g *work.Guest, boots int) {
	t.Helper()
	start := time.Now()
	var text []byte
	for time.Since(start) < s.BootTime {
		var err error
		text, err = s.d.Console(t.Context(), g.UUID, 1<<20)
		if err != nil && !errors.Is(err, computed.ErrNoConsole) {
			t.Fatalf("console: %v", err)
		}
		if bytes.Count(text, []byte(s.Ready)) >= boots {
			t.Logf("boot %d took %.1f s", boots, time.Since(start).Seconds())
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("no boot within %s; console:\n%s", s.BootTime, text)
}

func testHost(t *testing.T, s *suite) {
	h, err := s.d.Host(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if h.Hostname == "" || h.HypervisorType == "" || h.VCPUs <= 0 || h.MemoryMB <= 0 || h.DiskGB <= 0 || h.Arch == "" || h.CPUInfo == "" {
		t.Errorf("host %+v lacks something", h)
	}
	if s.d.Name() == "" {
		t.Error("the driver has no name")
	}
	list, err := s.d.Instances(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("instances of an empty host: %v, %v", list, err)
	}
}

func testUnknown(t *testing.T, s *suite) {
	ctx, uuid := t.Context(), "00000000-0000-4000-8000-00000000dead"
	g := s.Guest(t)
	g.UUID = uuid
	nothing := func(io.Reader, int64) error { return errors.New("called") }
	for _, st := range []step{
		{"state", func() error { _, err := s.d.State(ctx, uuid); return err }},
		{"start", func() error { return s.d.Start(ctx, uuid) }},
		{"shutdown", func() error { return s.d.Shutdown(ctx, uuid, time.Second) }},
		{"pause", func() error { return s.d.Pause(ctx, uuid) }},
		{"unpause", func() error { return s.d.Unpause(ctx, uuid) }},
		{"suspend", func() error { return s.d.Suspend(ctx, uuid) }},
		{"resume", func() error { return s.d.Resume(ctx, uuid) }},
		{"snapshot", func() error { return s.d.Snapshot(ctx, uuid, "qcow2", nothing) }},
		{"console", func() error { _, err := s.d.Console(ctx, uuid, 10); return err }},
		{"set password", func() error { return s.d.SetPassword(ctx, uuid, "root", "x") }},
		{"diagnostics", func() error { _, err := s.d.Diagnostics(ctx, uuid); return err }},
		{"resize disks", func() error { return s.d.ResizeDisks(ctx, g) }},
		{"save disks", func() error { return s.d.SaveDisks(ctx, uuid, true) }},
		{"define without disks", func() error { return s.d.Define(ctx, g) }},
	} {
		err := st.do()
		if !errors.Is(err, computed.ErrNoInstance) {
			t.Errorf("%s: %v, want ErrNoInstance", st.name, err)
		}
	}
	for _, st := range append(s.removal(ctx, g), step{"restore disks", func() error { return s.d.RestoreDisks(ctx, uuid) }}) {
		twice(t, st.name, st.do)
	}
}

// Whatever prefix of a creation was done, each step twice, its undoing leaves nothing.
func testUndo(t *testing.T, s *suite) {
	for n := range s.creation(t.Context(), s.Guest(t)) {
		g := s.Guest(t)
		var last string
		for _, st := range s.creation(t.Context(), g)[:n+1] {
			twice(t, st.name, st.do)
			last = st.name
		}
		s.remove(t, g)
		if t.Failed() {
			t.Fatalf("undone after %s", last)
		}
	}
	list, err := s.d.Instances(t.Context())
	if err != nil || len(list) != 0 {
		t.Errorf("left: %v, %v", list, err)
	}
}

func testLife(t *testing.T, s *suite) {
	ctx, g := t.Context(), s.Guest(t)
	s.create(t, g)
	s.ready(t, g, 1)

	for _, st := range []struct {
		step
		want work.PowerState
	}{
		{step{"pause", func() error { return s.d.Pause(ctx, g.UUID) }}, work.Paused},
		{step{"start a paused guest", func() error { return s.d.Start(ctx, g.UUID) }}, work.Paused},
		{step{"unpause", func() error { return s.d.Unpause(ctx, g.UUID) }}, work.PoweredOn},
		{step{"suspend", func() error { return s.d.Suspend(ctx, g.UUID) }}, work.Shutdown},
		{step{"resume", func() error { return s.d.Resume(ctx, g.UUID) }}, work.PoweredOn},
	} {
		twice(t, st.name, st.do)
		s.want(t, g, st.want)
	}
	tail, err := s.d.Console(ctx, g.UUID, 10)
	if err != nil || len(tail) != 10 {
		t.Errorf("last 10 bytes of the console: %q, %v", tail, err)
	}
	diag, err := s.d.Diagnostics(ctx, g.UUID)
	if err != nil || diag.State != "running" || len(diag.CPUs) != g.Flavor.VCPUs || len(diag.NICs) != 1 ||
		len(diag.Disks) == 0 || diag.MemoryMB != g.Flavor.MemoryMB || diag.NICs[0].MAC != g.Ports[0].MAC {
		t.Errorf("diagnostics %+v, %v", diag, err)
	}
	err = s.d.SetPassword(ctx, g.UUID, "root", "secret")
	if s.Agent && err != nil || !s.Agent && !errors.Is(err, computed.ErrNoAgent) {
		t.Errorf("set password: %v", err)
	}
	s.snapshot(t, g, "qcow2", false)

	start := time.Now()
	err = s.d.Shutdown(ctx, g.UUID, 2*s.StopTime)
	took := time.Since(start)
	if err != nil || took > s.StopTime {
		t.Errorf("shutdown took %s, %v", took, err)
	}
	t.Logf("shutdown took %.1f s", took.Seconds())
	twice(t, "shutdown of a guest that is off", func() error { return s.d.Shutdown(ctx, g.UUID, time.Second) })
	s.want(t, g, work.Shutdown)
	diag, err = s.d.Diagnostics(ctx, g.UUID)
	if err != nil || diag.State != "shutdown" {
		t.Errorf("diagnostics of a guest that is off: %+v, %v", diag, err)
	}
	s.snapshot(t, g, "qcow2", true)
	s.snapshot(t, g, "raw", true)

	// A hard reboot: the console's log goes on.
	twice(t, "define anew", func() error { return s.d.Define(ctx, g) })
	twice(t, "start again", func() error { return s.d.Start(ctx, g.UUID) })
	s.want(t, g, work.PoweredOn)
	s.ready(t, g, 2)
	err = s.d.Undefine(ctx, g.UUID)
	if err == nil {
		t.Error("a running guest was undefined")
	}
	twice(t, "power off", func() error { return s.d.PowerOff(ctx, g.UUID) })
	s.want(t, g, work.Shutdown)
	err = s.d.Suspend(ctx, g.UUID)
	if err == nil {
		t.Error("a guest that is off was suspended")
	}
	text, err := s.d.Console(ctx, g.UUID, 1<<20)
	if err != nil || bytes.Count(text, []byte(s.Ready)) < 2 {
		t.Errorf("console of a guest that is off: %d bytes, %v", len(text), err)
	}
}

// snapshot takes one and looks at it.
func (s *suite) snapshot(t *testing.T, g *work.Guest, format string, off bool) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "snapshot")
	start := time.Now()
	var promised, n int64
	err := s.d.Snapshot(t.Context(), g.UUID, format, func(r io.Reader, size int64) error {
		f, err := os.Create(path)
		if err != nil {
			return err
		}
		defer f.Close()
		promised = size
		n, err = io.Copy(f, r)
		return err
	})
	if err != nil || n == 0 || n != promised {
		t.Fatalf("snapshot as %s: %d of %d bytes, %v", format, n, promised, err)
	}
	t.Logf("snapshot as %s, off %v: %d bytes in %.1f s", format, off, n, time.Since(start).Seconds())
	head := make([]byte, 20)
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	_, err = io.ReadFull(f, head)
	if err != nil {
		t.Fatal(err)
	}
	if format == "qcow2" && (string(head[:4]) != "QFI\xfb" || !bytes.Equal(head[8:20], make([]byte, 12))) {
		t.Errorf("snapshot begins % x: not a standalone qcow2", head)
	}
	if format == "raw" && n != int64(g.Flavor.RootGB)<<30 {
		t.Errorf("raw snapshot of %d bytes of a disk of %d GiB", n, g.Flavor.RootGB)
	}
	if off && s.CheckSnapshot != nil {
		s.CheckSnapshot(t, g, path, format)
	}
	refused := errors.New("no room")
	err = s.d.Snapshot(t.Context(), g.UUID, format, func(io.Reader, int64) error { return refused })
	if !errors.Is(err, refused) {
		t.Errorf("snapshot that nobody takes: %v", err)
	}
}

func testDisks(t *testing.T, s *suite) {
	ctx, g := t.Context(), s.Guest(t)
	t.Cleanup(func() { s.remove(t, g) })
	for _, st := range s.creation(ctx, g)[:4] {
		twice(t, st.name, st.do)
	}
	raw := func() int64 {
		var n int64
		err := s.d.Snapshot(ctx, g.UUID, "raw", func(_ io.Reader, size int64) error { n = size; return nil })
		if err != nil {
			t.Fatalf("snapshot: %v", err)
		}
		return n >> 30
	}
	bigger := *g
	bigger.Flavor.RootGB, bigger.Flavor.EphemeralGB, bigger.Flavor.SwapMB = 2, 1, 8

	// A resize keeps the data and is reverted, twice as a whole.
	twice(t, "resize and revert", func() error {
		twice(t, "save disks", func() error { return s.d.SaveDisks(ctx, g.UUID, true) })
		twice(t, "resize disks", func() error { return s.d.ResizeDisks(ctx, &bigger) })
		twice(t, "define", func() error { return s.d.Define(ctx, &bigger) })
		if n := raw(); n != 2 {
			t.Errorf("disk has %d GiB after resize", n)
		}
		twice(t, "restore disks", func() error { return s.d.RestoreDisks(ctx, g.UUID) })
		twice(t, "define", func() error { return s.d.Define(ctx, g) })
		if n := raw(); n != 1 {
			t.Errorf("disk has %d GiB after revert", n)
		}
		return nil
	})
	// A confirmed one stays, and does not shrink.
	twice(t, "save disks", func() error { return s.d.SaveDisks(ctx, g.UUID, true) })
	twice(t, "resize disks", func() error { return s.d.ResizeDisks(ctx, &bigger) })
	twice(t, "drop saved disks", func() error { return s.d.DropSavedDisks(ctx, g.UUID) })
	twice(t, "restore nothing", func() error { return s.d.RestoreDisks(ctx, g.UUID) })
	if n := raw(); n != 2 {
		t.Errorf("disk has %d GiB after confirm", n)
	}
	err := s.d.ResizeDisks(ctx, g)
	if !errors.Is(err, computed.ErrDiskTooSmall) {
		t.Errorf("shrink: %v, want ErrDiskTooSmall", err)
	}
	// A rebuild begins with new disks, and can be taken back.
	twice(t, "save disks aside", func() error { return s.d.SaveDisks(ctx, g.UUID, false) })
	twice(t, "create disks", func() error { return s.d.CreateDisks(ctx, g) })
	twice(t, "save disks again", func() error { return s.d.SaveDisks(ctx, g.UUID, false) })
	if n := raw(); n != 1 {
		t.Errorf("disk has %d GiB after rebuild", n)
	}
	twice(t, "restore disks", func() error { return s.d.RestoreDisks(ctx, g.UUID) })
	if n := raw(); n != 2 {
		t.Errorf("disk has %d GiB after the rebuild was taken back", n)
	}
}

func testBoundedShutdown(t *testing.T, s *suite) {
	g := s.Guest(t)
	s.Stubborn(g)
	s.create(t, g)
	s.ready(t, g, 1)
	const limit = 3 * time.Second
	start := time.Now()
	err := s.d.Shutdown(t.Context(), g.UUID, limit)
	took := time.Since(start)
	if err != nil || took < limit || took > limit+5*time.Second {
		t.Errorf("shutdown of a stubborn guest took %s, %v; limit %s", took, err, limit)
	}
	s.want(t, g, work.Shutdown)

	// Without time to wait, and when it cannot hear, it is powered off at once.
	for _, pause := range []bool{false, true} {
		twice(t, "start", func() error { return s.d.Start(t.Context(), g.UUID) })
		limit := time.Duration(0)
		if pause {
			twice(t, "pause", func() error { return s.d.Pause(t.Context(), g.UUID) })
			limit = time.Minute
		}
		start := time.Now()
		err = s.d.Shutdown(t.Context(), g.UUID, limit)
		if took := time.Since(start); err != nil || took > 5*time.Second {
			t.Errorf("shutdown at once (paused: %v) took %s, %v", pause, took, err)
		}
		s.want(t, g, work.Shutdown)
	}
}

// crashed waits for the event of a crash. That the guest was started may come late, and
// comes before.
func crashed(t *testing.T, g *work.Guest, events <-chan work.Instance) {
	t.Helper()
	limit := time.After(10 * time.Second)
	for {
		select {
		case e := <-events:
			if e.UUID == g.UUID && e.State == work.PoweredOn {
				continue
			}
			if e.UUID != g.UUID {
				t.Errorf("event %+v", e)
			}
			return
		case <-limit:
			t.Error("no event of a crash")
			return
		}
	}
}

// Guests outlive the driver, and what happens to them without it is told.
func testCrash(t *testing.T, s *suite, newDriver func(testing.TB) computed.Driver) {
	g := s.Guest(t)
	other := newDriver(t)
	t.Cleanup(func() {
		(&suite{s.Options, other}).remove(t, g)
		err := other.Close()
		if err != nil {
			t.Errorf("close: %v", err)
		}
	})
	for _, st := range s.creation(t.Context(), g) {
		twice(t, st.name, st.do)
	}
	(&suite{s.Options, other}).want(t, g, work.PoweredOn)
	ctx, cancel := context.WithCancel(t.Context())
	events := other.Events(ctx)
	err := s.d.Close()
	if err != nil {
		t.Errorf("close: %v", err)
	}
	s.d = other
	s.want(t, g, work.PoweredOn)
	s.Crash(t, g)
	crashed(t, g, events)
	state, err := other.State(t.Context(), g.UUID)
	if err != nil || state == work.PoweredOn {
		t.Errorf("state after crash: %s, %v", state, err)
	}
	twice(t, "start after crash", func() error { return other.Start(t.Context(), g.UUID) })
	s.want(t, g, work.PoweredOn)
	cancel()
	for range events { // ends when the driver has noticed
	}
}
