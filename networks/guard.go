package networks

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	"kilonova/compat"
	"kilonova/hostnet"
	"kilonova/schema"
)

// A subnet's gateway address and range end on the bridge of each host that has a guest on
// it: there they are an address and a route of the host itself. So a project must not choose
// what a host has, routes to or hears neighbours at, nor what shared networks have, nor what
// has a meaning of its own. The roads on which a project could try:
//
//   - cidr, and gateway_ip where it lies outside of the range: guardSubnet;
//   - allocation_pools lie in the range, and fixed addresses in a range too;
//   - allowed_address_pairs let a guest speak as somebody else: guardPairs. One that is wider
//     than what is forbidden in it passes (0.0.0.0/0 is what routers ask for): hosts never let
//     a guest speak as a gateway or as the metadata service, whatever its pairs say;
//   - host_routes and dns_nameservers are told to the project's own guests, by DHCP and config
//     drive, and are no address or route of a host;
//   - a network becomes shared by an administrator alone.
//
// Administrators are the operator: they are kept from special ranges only.

// guardSubnet refuses a range or gateway that the caller may not choose for a subnet of n.
func (s *Service) guardSubnet(ctx context.Context, q schema.Querier, c *compat.Caller, n int64, sub *Subnet) error {
	p := sub.prefix()
	ranges := []netip.Prefix{p}
	gateway, err := netip.ParseAddr(sub.Gateway.String)
	if err == nil && !p.Contains(gateway) {
		ranges = append(ranges, netip.PrefixFrom(gateway, gateway.BitLen()))
	}
	for _, r := range ranges {
		if hostnet.Special(r) != "" {
			return invalidInput("the range %s cannot be a subnet", r)
		}
	}
	if everything(c) {
		return nil
	}
	own, err := s.reserved(ctx, q)
	if err != nil {
		return err
	}
	shared, err := sharedHeld(ctx, q, n)
	if err != nil {
		return err
	}
	for _, r := range ranges {
		if !hostnet.Within(r, s.cfg.TenantRanges) {
			return invalidInput("the range %s is outside of those that projects may use (%s)", r, listed(s.cfg.TenantRanges))
		}
		_, clash := hostnet.Clash(r, own, s.cfg.TenantRanges)
		if !clash {
			_, clash = hostnet.Clash(r, shared, nil)
		}
		if clash {
			return invalidInput("the range %s overlaps with addresses of the cloud itself or of a shared network", r)
		}
	}
	return nil
}

func listed(ranges []netip.Prefix) string {
	words := make([]string, 0, len(ranges))
	for _, r := range ranges {
		words = append(words, r.String())
	}
	return strings.Join(words, ", ")
}

const sharedRanges = `SELECT s.cidr FROM networks n JOIN subnets s ON s.network_id = n.id WHERE n.shared = 1 AND n.id <> ?`

// sharedHeld are the subnets of shared networks other than n.
func sharedHeld(ctx context.Context, q schema.Querier, n int64) ([]hostnet.Held, error) {
	var shared []string
	err := q.SelectContext(ctx, &shared, sharedRanges, n)
	if err != nil {
		return nil, fmt.Errorf("read the subnets of shared networks: %w", err)
	}
	var held []hostnet.Held
	for _, text := range shared {
		p, err := netip.ParsePrefix(text)
		if err == nil {
			held = append(held, hostnet.Held{Prefix: p})
		}
	}
	return held, nil
}

// reserved are what hosts and the API's machine hold.
func (s *Service) reserved(ctx context.Context, q schema.Querier) ([]hostnet.Held, error) {
	if s.cfg.Reserved == nil {
		return nil, nil
	}
	ranges, err := s.cfg.Reserved(ctx, q)
	if err != nil {
		return nil, err
	}
	held := make([]hostnet.Held, 0, len(ranges))
	for _, p := range ranges {
		held = append(held, hostnet.Held{Prefix: p})
	}
	return held, nil
}

// guardPairs refuses address pairs that are nothing but addresses of hosts or special ones.
func (s *Service) guardPairs(ctx context.Context, q schema.Querier, c *compat.Caller, pairs []addressPair) error {
	if everything(c) || len(pairs) == 0 {
		return nil
	}
	own, err := s.reserved(ctx, q)
	if err != nil {
		return err
	}
	for _, pair := range pairs {
		p, ok := pairRange(pair.IP)
		if !ok {
			continue // the form is checked elsewhere
		}
		special := p.Bits() > 0 && hostnet.Within(p, hostnet.SpecialRanges())
		if special || s.ofCloud(p, own) {
			return badRequest("Invalid input for allowed_address_pairs. Reason: '%s' is an address of the cloud itself.", clip(pair.IP))
		}
	}
	return nil
}

// ofCloud reports whether a range lies in one that the cloud's machines hold.
func (s *Service) ofCloud(p netip.Prefix, own []hostnet.Held) bool {
	for _, h := range own {
		_, clash := hostnet.Clash(p, []hostnet.Held{h}, s.cfg.TenantRanges)
		if clash && hostnet.Within(p, []netip.Prefix{h.Prefix}) {
			return true
		}
	}
	return false
}

func pairRange(text string) (netip.Prefix, bool) {
	p, err := netip.ParsePrefix(text)
	if err == nil {
		return p.Masked(), true
	}
	a, err := netip.ParseAddr(text)
	return netip.PrefixFrom(a, a.BitLen()), err == nil
}
