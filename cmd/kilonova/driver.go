package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

	"github.com/spf13/pflag"

	"kilonova/computed"
	"kilonova/computed/libvirt"
	"kilonova/computed/sim"
	"kilonova/hostnet"
	"kilonova/metadata"
	"kilonova/private"
	"kilonova/work"
)

// The drivers.
const (
	driverAuto    = "auto"
	driverLibvirt = "libvirt"
	driverSim     = "sim"
)

// driverFlags choose the hypervisor.
type driverFlags struct {
	kind, uri, virtType string
	latency             time.Duration
	keep, fetch         bool
	guestRanges         []string
	also                []netip.Prefix // given to guests beside guestRanges
	peers               *hostnet.Peers // that this machine must reach whatever guests do
	client              *http.Client   // fetches images; nil for the usual one
	disk                diskFlags
}

func (f *driverFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.kind, "driver", driverAuto, "auto (libvirt), libvirt or sim")
	fl.StringVar(&f.uri, "libvirt-uri", "", "libvirt's address (qemu:///system if empty)")
	fl.StringVar(&f.virtType, "virt-type", "auto", "auto (KVM where it is proven to work), kvm or qemu")
	fl.StringSliceVar(&f.guestRanges, "guest-ranges", privateRanges(), "ranges that this host gives to guests, whoever chose them; one within a route of the host takes that part of it")
	fl.BoolVar(&f.keep, "sim-keep", true, "the simulator's guests outlive this process")
	fl.BoolVar(&f.fetch, "sim-fetch", false, "the simulator fetches images, as a real host does")
	fl.DurationVar(&f.latency, "sim-latency", 0, "how long the simulator takes for each step")
}

// world is what outlives a simulated host's driver. Each host has a file of its own, so
// that what one operation costs does not grow with their number.
func (f *driverFlags) world(dir, host string) (*sim.World, error) {
	if !f.keep {
		return sim.NewWorld(), nil
	}
	return sim.Open(filepath.Join(dir, "sim", host+".json"))
}

// open connects to the hypervisor.
func (f *driverFlags) open(_ context.Context, dir, host string) (computed.Driver, error) {
	switch f.kind {
	case driverSim:
		w, err := f.world(dir, host)
		if err != nil {
			return nil, err
		}
		o := sim.Options{Hostname: host, World: w, Latency: func(sim.Call) time.Duration { return f.latency }}
		if f.fetch {
			cache, err := computed.NewImageCache(computed.CacheOptions{Dir: filepath.Join(dir, "sim", host+"-images"), Client: f.client, Floor: f.disk.floor(dir)})
			if err != nil {
				return nil, err
			}
			o.Fetch = func(ctx context.Context, img *work.Image) error {
				_, err := cache.Fetch(ctx, img)
				return err
			}
		}
		return sim.New(o), nil
	case driverAuto, driverLibvirt:
		// QEMU's account must be able to walk to the guests' disks.
		err := private.Open(dir)
		if err != nil {
			return nil, err
		}
		ranges, err := rangesOf("guest-ranges", f.guestRanges)
		if err != nil {
			return nil, err
		}
		d, err := libvirt.New(libvirt.Config{GuestRanges: append(ranges, f.also...), Peers: f.peers,
			URI: f.uri, StateDir: filepath.Join(dir, "compute"), Floor: f.disk.floor(filepath.Join(dir, "compute")), VirtType: f.virtType, ConfigDrive: metadata.Files, HTTPClient: f.client})
		if err != nil {
			return nil, fmt.Errorf("%w (kilonova doctor says more; --driver sim needs no hypervisor)", err)
		}
		return d, nil
	}
	return nil, fmt.Errorf("--driver %q: auto, libvirt and sim are known", f.kind)
}
