package libvirt

import (
	"context"
	"fmt"
	"net/netip"

	"kilonova/computed"
	"kilonova/hostnet"
	"kilonova/work"
)

// held lists what this host has by its addresses, routes and neighbours, and whom it must
// reach, without what is on the devices that skip names.
func (d *Driver) held(ctx context.Context, skip func(device string) bool) ([]hostnet.Held, error) {
	held, err := hostnet.Read(skip)
	if err != nil {
		return nil, fmt.Errorf("look at this host's own addresses: %w", err)
	}
	return append(held, d.cfg.Peers.Held(ctx)...), nil
}

// checkRanges refuses a network whose bridge would take over something of the host, whatever
// the API thought of it: the host may have got a route since, or another project's network
// may be here already. It is asked each time that a port is plugged.
func (d *Driver) checkRanges(ctx context.Context, n *work.Network) error {
	held, err := d.held(ctx, func(device string) bool { return device == n.Bridge })
	if err != nil {
		return err
	}
	for _, s := range n.Subnets {
		if s.Gateway == "" {
			continue // it gives the host neither address nor route
		}
		p, err := netip.ParsePrefix(s.CIDR)
		if err != nil {
			return fmt.Errorf("subnet %s: %w", s.ID, err)
		}
		p = p.Masked()
		gateway, err := netip.ParseAddr(s.Gateway)
		if err != nil {
			return fmt.Errorf("gateway of subnet %s: %w", s.ID, err)
		}
		if !p.Contains(gateway) {
			return fmt.Errorf("%w: the gateway %s of subnet %s is not in %s", computed.ErrRange, gateway, s.ID, p)
		}
		if why := hostnet.Special(p); why != "" {
			return fmt.Errorf("%w: %s of subnet %s is %s", computed.ErrRange, p, s.ID, why)
		}
		if !hostnet.Within(p, d.cfg.GuestRanges) {
			return fmt.Errorf("%w: %s of subnet %s is outside of its --guest-ranges", computed.ErrRange, p, s.ID)
		}
		for _, h := range held {
			given := d.cfg.GuestRanges
			if work.IsBridge(h.Device) { // another network's: nobody gave it away
				given = nil
			}
			if _, clash := hostnet.Clash(p, []hostnet.Held{h}, given); clash {
				return fmt.Errorf("%w: %s of subnet %s overlaps with the %s", computed.ErrRange, p, s.ID, h)
			}
		}
	}
	return nil
}
