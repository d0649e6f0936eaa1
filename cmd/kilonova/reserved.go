package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"time"

	"kilonova/hostnet"
	"kilonova/hosts"
	"kilonova/networks"
	"kilonova/schema"
)

// tenantRanges reads the operator's list of ranges that projects may use.
func tenantRanges(list []string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for _, text := range list {
		p, err := netip.ParsePrefix(strings.TrimSpace(text))
		if err != nil || p != p.Masked() {
			return nil, fmt.Errorf("--tenant-ranges: %q is not a range like 10.0.0.0/8", text)
		}
		out = append(out, p)
	}
	return out, nil
}

func defaultTenantRanges() []string {
	var out []string
	for _, p := range networks.DefaultTenantRanges() {
		out = append(out, p.String())
	}
	return out
}

// reservedAge is how old the picture of this machine's own addresses may be.
const reservedAge = 10 * time.Second

// reserved knows what of the address space is the cloud's own: what hosts report, and what
// this machine has. The latter counts beside the hosts' word, since a route over the API's
// addresses would cut a host off from it, whose own default route does not show them.
type reserved struct {
	hosts *hosts.Service
	urls  []string // whose hosts are reserved too

	mu  sync.Mutex
	own []netip.Prefix
	at  time.Time
}

func (r *reserved) ranges(ctx context.Context, q schema.Querier) ([]netip.Prefix, error) {
	held, err := r.hosts.HeldRanges(ctx, q)
	if err != nil {
		return nil, err
	}
	return append(held, r.machine()...), nil
}

func (r *reserved) machine() []netip.Prefix {
	r.mu.Lock()
	defer r.mu.Unlock()
	if !r.at.IsZero() && time.Since(r.at) < reservedAge {
		return r.own
	}
	held, err := hostnet.Read(networks.IsBridge)
	if err != nil {
		slog.Warn("this machine's own addresses are not known, and projects are not kept from them", "err", err)
	}
	r.own, r.at = nil, time.Now()
	for _, h := range held {
		r.own = append(r.own, h.Prefix)
	}
	for _, text := range r.urls {
		u, err := url.Parse(text)
		if err != nil {
			continue
		}
		a, err := netip.ParseAddr(u.Hostname())
		if err == nil {
			r.own = append(r.own, netip.PrefixFrom(a, a.BitLen()))
		}
	}
	return r.own
}

// databaseURL gives the database's machine, which no project's subnet may shadow, in the
// form that reserved reads.
func databaseURL(server string) string {
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return ""
	}
	return "db://" + net.JoinHostPort(host, "0")
}
