package main

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"path/filepath"
	"time"

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

// hypervisor is what a driver is opened with.
type hypervisor struct {
	hostConfig
	disk   diskConfig
	also   []netip.Prefix // given to guests beside GuestRanges
	peers  *hostnet.Peers // that this machine must reach whatever guests do
	client *http.Client   // fetches images; nil for the usual one
}

// world is what outlives a simulated host's driver. Each host has a file of its own, so
// that what one operation costs does not grow with their number.
func (v *hypervisor) world(dir, host string) (*sim.World, error) {
	if !v.SimKeep {
		return sim.NewWorld(), nil
	}
	return sim.Open(filepath.Join(dir, "sim", host+".json"))
}

// open connects to the hypervisor.
func (v *hypervisor) open(_ context.Context, dir, host string) (computed.Driver, error) {
	switch v.Driver {
	case driverSim:
		w, err := v.world(dir, host)
		if err != nil {
			return nil, err
		}
		o := sim.Options{Hostname: host, World: w, Latency: func(sim.Call) time.Duration { return v.SimLatency }}
		if v.SimFetch {
			cache, err := computed.NewImageCache(computed.CacheOptions{Dir: filepath.Join(dir, "sim", host+"-images"), Client: v.client, Floor: v.disk.floor(dir)})
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
		d, err := libvirt.New(libvirt.Config{GuestRanges: append(prefixes(v.GuestRanges), v.also...), Peers: v.peers,
			URI: v.URI, StateDir: filepath.Join(dir, "compute"), Floor: v.disk.floor(filepath.Join(dir, "compute")), VirtType: v.VirtType, ConfigDrive: metadata.Files, HTTPClient: v.client})
		if err != nil {
			return nil, fmt.Errorf("%w (kilonova doctor says more; --driver sim needs no hypervisor)", err)
		}
		return d, nil
	}
	return nil, fmt.Errorf("--driver %q: auto, libvirt and sim are known", v.Driver)
}
