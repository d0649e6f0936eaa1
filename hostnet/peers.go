package hostnet

import (
	"context"
	"net"
	"net/netip"
	"os"
	"strings"
	"sync"
	"time"
)

// Peers are machines that this one must reach whatever guests do: the database, the API, the
// name servers. Behind a router they show in no route of their own, and a network of guests
// over one of them would cut this machine off.
type Peers struct {
	names    []string
	resolver string // resolv.conf's path

	mu sync.Mutex
	at time.Time
	// known keeps what a name meant last: when it cannot be looked up, it is not free.
	known map[string][]netip.Addr
}

// NewPeers takes host names and addresses; an empty one is nobody.
func NewPeers(names ...string) *Peers {
	return &Peers{names: names, resolver: "/etc/resolv.conf", known: map[string][]netip.Addr{}}
}

const (
	peersAge    = time.Minute
	lookupLimit = 2 * time.Second
)

// Held gives the peers' addresses, at most a minute old. Those of this machine itself are
// among its addresses, and left out.
func (p *Peers) Held(ctx context.Context) []Held {
	p.mu.Lock()
	defer p.mu.Unlock()
	if time.Since(p.at) > peersAge {
		p.at = time.Now()
		for _, name := range append(nameServers(p.resolver), p.names...) {
			if found := lookUp(ctx, name); len(found) > 0 {
				p.known[name] = found
			}
		}
	}
	var out []Held
	for _, addrs := range p.known {
		for _, a := range addrs {
			r := netip.PrefixFrom(a, a.BitLen())
			if Special(r) == "" {
				out = append(out, Held{Prefix: r, Kind: Peer})
			}
		}
	}
	return out
}

func lookUp(ctx context.Context, name string) []netip.Addr {
	if name == "" {
		return nil
	}
	a, err := netip.ParseAddr(name)
	if err == nil {
		return []netip.Addr{a.Unmap().WithZone("")}
	}
	ctx, cancel := context.WithTimeout(ctx, lookupLimit)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil
	}
	for i := range found {
		found[i] = found[i].Unmap().WithZone("")
	}
	return found
}

// nameServers reads resolv.conf; a machine without one has none.
func nameServers(path string) []string {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	var out []string
	for _, line := range strings.Split(string(text), "\n") {
		f := strings.Fields(line)
		if len(f) > 1 && f[0] == "nameserver" {
			out = append(out, f[1])
		}
	}
	return out
}
