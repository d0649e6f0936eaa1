package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"sync"
	"time"

	"kilonova/hostnet"
	"kilonova/hosts"
	"kilonova/schema"
	"kilonova/work"
)

// reservedAge is how old the picture of this machine's own addresses may be.
const reservedAge = 10 * time.Second

// reserved knows what of the address space is the cloud's own: what hosts report, and what
// this machine has. The latter counts beside the hosts' word, since a route over the API's
// addresses would cut a host off from it, whose own default route does not show them.
type reserved struct {
	hosts *hosts.Service
	peers *hostnet.Peers

	mu  sync.Mutex
	own []netip.Prefix
	at  time.Time
}

// newReserved also reserves what the cloud's machines must reach: the API, as hosts do, and
// the database.
func newReserved(h *hosts.Service, internalURL, database string) *reserved {
	names := []string{databaseHost(database)}
	u, err := url.Parse(internalURL)
	if err == nil {
		names = append(names, u.Hostname())
	}
	return &reserved{hosts: h, peers: hostnet.NewPeers(names...)}
}

func (r *reserved) ranges(ctx context.Context, q schema.Querier) ([]netip.Prefix, error) {
	held, err := r.hosts.HeldRanges(ctx, q)
	if err != nil {
		return nil, err
	}
	own, err := r.machine(ctx)
	return append(held, own...), err
}

// machine gives what this machine holds. While that cannot be known nobody chooses a range.
func (r *reserved) machine(ctx context.Context) ([]netip.Prefix, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < reservedAge {
		return r.own, nil
	}
	held, err := hostnet.Read(work.IsBridge)
	if err != nil {
		return nil, fmt.Errorf("look at this machine's own addresses: %w", err)
	}
	r.own, r.at = nil, time.Now()
	for _, h := range append(held, r.peers.Held(ctx)...) {
		r.own = append(r.own, h.Prefix)
	}
	return r.own, nil
}

// databaseHost gives the name or address of the database's machine; "" for a file.
func databaseHost(server string) string {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return ""
	}
	return host
}
