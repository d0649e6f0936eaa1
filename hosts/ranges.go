package hosts

import (
	"context"
	"fmt"
	"net/netip"

	"kilonova/hostnet"
	"kilonova/schema"
)

// Hosts of one rack say the same, so that few rows are read however many there are.
const selectRanges = `SELECT DISTINCT held_ranges FROM hosts WHERE held_ranges <> ''`

// HeldRanges gives the ranges that hosts have addresses in, routes to and neighbours at. It
// is read through q, so that a transaction needs no second connection for it.
func (s *Service) HeldRanges(ctx context.Context, q schema.Querier) ([]netip.Prefix, error) {
	var reports []string
	err := q.SelectContext(ctx, &reports, selectRanges)
	if err != nil {
		return nil, fmt.Errorf("read the ranges of hosts: %w", err)
	}
	var out []netip.Prefix
	for _, r := range reports {
		out = append(out, hostnet.Decode(r)...)
	}
	return out, nil
}
