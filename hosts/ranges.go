package hosts

import (
	"context"
	"fmt"
	"net/netip"

	"kilonova/hostnet"
	"kilonova/schema"
)

// Hosts of one rack say the same, so that few rows are read however many there are.
const selectRanges = `SELECT held_ranges, COUNT(*) AS hosts FROM hosts WHERE held_ranges <> '' GROUP BY held_ranges`

// HeldRanges gives the ranges that hosts have addresses in, routes to and neighbours at. A
// wide one counts when most hosts have it: one host's word must not keep all ranges from
// projects. It is read through q, so that a transaction needs no second connection for it.
func (s *Service) HeldRanges(ctx context.Context, q schema.Querier) ([]netip.Prefix, error) {
	var reports []struct {
		Ranges string `db:"held_ranges"`
		Hosts  int    `db:"hosts"`
	}
	err := q.SelectContext(ctx, &reports, selectRanges)
	if err != nil {
		return nil, fmt.Errorf("read the ranges of hosts: %w", err)
	}
	var out []netip.Prefix
	all, say := 0, map[netip.Prefix]int{}
	for _, r := range reports {
		narrow, broad := hostnet.Decode(r.Ranges)
		out = append(out, narrow...)
		all += r.Hosts
		for _, p := range broad {
			say[p] += r.Hosts
		}
	}
	for p, n := range say {
		if 2*n > all {
			out = append(out, p)
		}
	}
	return out, nil
}
