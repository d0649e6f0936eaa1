package sim

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
	"time"

	"kilonova/computed"
	"kilonova/computed/drivertest"
	"kilonova/work"
)

func testGuest(n int) *work.Guest {
	return &work.Guest{
		ID: int64(n), UUID: fmt.Sprintf("00000000-0000-4000-8000-%012x", n), Hostname: "guest",
		Flavor: work.Flavor{VCPUs: 2, MemoryMB: 128, RootGB: 1},
		Image:  work.Image{ID: "img", DiskFormat: "qcow2", VirtualSize: 64 << 20},
		Ports:  []work.Port{{ID: fmt.Sprint("port-", n), MAC: fmt.Sprintf("fa:16:3e:00:00:%02x", n%256)}},
	}
}

func TestDriver(t *testing.T) {
	worlds := map[string]func(t *testing.T) *World{
		"in memory": func(*testing.T) *World { return NewWorld() },
		"in a file": func(t *testing.T) *World {
			w, err := Open(filepath.Join(t.TempDir(), "world.json"))
			if err != nil {
				t.Fatal(err)
			}
			return w
		},
	}
	for name, make := range worlds {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w, n := make(t), 0
			drivertest.Run(t, func(testing.TB) computed.Driver {
				return New(Options{World: w, Hostname: "h"})
			}, drivertest.Options{
				Guest:    func(testing.TB) *work.Guest { n++; return testGuest(n) },
				BootTime: time.Second, Ready: "login:", StopTime: time.Second, Agent: true,
				Stubborn: func(g *work.Guest) { g.Metadata = map[string]string{"kn_ignore_acpi": "1"} },
				Left:     func(_ testing.TB, g *work.Guest) []string { return w.Left("h", g.UUID) },
				Crash: func(t testing.TB, g *work.Guest) {
					err := w.Set("h", g.UUID, work.Shutdown)
					if err != nil {
						t.Fatal(err)
					}
				},
			})
		})
	}
}

func TestFaults(t *testing.T) {
	boom := errors.New("boom")
	died := 0
	d := New(Options{Faults: []Fault{
		{Op: OpStart, N: 2, Err: boom},
		{Op: OpDefine, After: true, Times: 1},
		{Op: OpPause, Match: func(c Call) bool { return c.N == 1 }, Die: func(Call) { died++ }},
	}})
	ctx, g := t.Context(), testGuest(1)
	err := d.CreateDisks(ctx, g)
	if err != nil {
		t.Fatal(err)
	}
	err = d.Define(ctx, g)
	if !errors.Is(err, ErrFault) {
		t.Errorf("define: %v, want ErrFault", err)
	}
	_, err = d.State(ctx, g.UUID)
	if err != nil {
		t.Errorf("the definition whose answer was lost: %v", err)
	}
	for n, want := range []error{nil, boom, nil} {
		err := d.Start(ctx, g.UUID)
		if !errors.Is(err, want) {
			t.Errorf("start %d: %v, want %v", n+1, err, want)
		}
	}
	err = d.Pause(ctx, g.UUID)
	if died != 1 || !errors.Is(err, ErrFault) {
		t.Errorf("died %d times, %v", died, err)
	}
	d.Fail(Fault{UUID: g.UUID})
	_, err = d.State(ctx, g.UUID)
	if !errors.Is(err, ErrFault) {
		t.Errorf("state: %v, want ErrFault", err)
	}
	d.Heal()
	if d.Calls(OpStart) != 3 {
		t.Errorf("%d starts, want 3", d.Calls(OpStart))
	}
}

func TestLatency(t *testing.T) {
	d := New(Options{Latency: Latencies(map[Op]time.Duration{OpState: time.Hour})})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	_, err := d.State(ctx, "x")
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("state: %v", err)
	}
}

func TestImageTooLarge(t *testing.T) {
	g := testGuest(1)
	g.Image.VirtualSize = 3 << 30
	err := New(Options{}).CreateDisks(t.Context(), g)
	if !errors.Is(err, computed.ErrDiskTooSmall) {
		t.Errorf("create disks: %v", err)
	}
}

// Another process, which shares nothing but the file, finds the guests.
func TestWorldOutlivesProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "world.json")
	for _, start := range []bool{true, false} {
		w, err := Open(path)
		if err != nil {
			t.Fatal(err)
		}
		d, g := New(Options{World: w}), testGuest(1)
		if start {
			for _, do := range []error{d.CreateDisks(t.Context(), g), d.Define(t.Context(), g), d.Start(t.Context(), g.UUID)} {
				if do != nil {
					t.Fatal(do)
				}
			}
		}
		state, err := d.State(t.Context(), g.UUID)
		if err != nil || state != work.PoweredOn {
			t.Errorf("state %s, %v", state, err)
		}
	}
}

func TestSnapshotIsValid(t *testing.T) {
	bin, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("no qemu-img")
	}
	for _, size := range []int64{1 << 30, 20 << 30, 1 << 42, 1 << 43} {
		path := filepath.Join(t.TempDir(), "image")
		err := os.WriteFile(path, emptyQcow2(size), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		out, err := exec.Command(bin, "check", "-f", "qcow2", path).CombinedOutput()
		if err != nil {
			t.Errorf("%d bytes: %v: %s", size, err, out)
		}
	}
}

// Ten thousand hosts with a guest each must fit in one process.
func TestManyHosts(t *testing.T) {
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	w := NewWorld()
	drivers := make([]*Driver, 10_000)
	for i := range drivers {
		d := New(Options{World: w, Hostname: fmt.Sprint("sim-", i)})
		g := testGuest(i)
		for _, err := range []error{d.CreateDisks(t.Context(), g), d.Define(t.Context(), g), d.Start(t.Context(), g.UUID)} {
			if err != nil {
				t.Fatal(err)
			}
		}
		drivers[i] = d
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	each := (after.HeapAlloc - before.HeapAlloc) / uint64(len(drivers))
	t.Logf("%d bytes a host with a guest", each)
	if each > 8192 {
		t.Errorf("%d bytes a host with a guest", each)
	}
	err := drivers[7].Snapshot(t.Context(), testGuest(7).UUID, "qcow2", func(r io.Reader, n int64) error {
		_, err := io.Copy(io.Discard, r)
		return err
	})
	if err != nil {
		t.Error(err)
	}
	runtime.KeepAlive(drivers)
}
