package main

import (
	"log/slog"
	"net"
	"net/netip"
)

// addresses are how others reach the listener.
type addresses struct {
	public   string // where clients are sent; that of each request if ""
	internal string // where compute hosts fetch and store image data
	local    string // what is written to clouds.yaml and printed: never ""
}

// addressesOf decides what the operator left open. Links and the catalogue follow each
// request; what cannot follow one names the listener, or, where that stands for all
// addresses of the machine, the machine's own one: a loopback address would send every
// other machine to itself.
func addressesOf(scheme, listen string, cfg apiConfig) addresses {
	a := addresses{public: string(cfg.PublicURL), internal: string(cfg.InternalURL), local: string(cfg.PublicURL)}
	if a.local == "" {
		a.local = scheme + "://" + reachable(listen)
	}
	if a.internal == "" {
		a.internal = a.local
	}
	return a
}

// reachable gives host:port of a listener in which an address that stands for all of the
// machine's is one of them.
func reachable(listen string) string {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return listen
	}
	ip, err := netip.ParseAddr(host)
	if host != "" && (err != nil || !ip.IsUnspecified()) {
		return listen
	}
	own := ownAddress()
	if own.IsLoopback() {
		slog.Warn("this machine has no address that others reach; --internal-url says where hosts find the images", "listen", listen)
	}
	return net.JoinHostPort(own.String(), port)
}

// ownAddress is the machine's address towards the rest of the world: the one that the
// kernel would send from, else the first that an interface has, else the loopback's.
func ownAddress() netip.Addr {
	// Connecting a datagram socket sends nothing; both are documentation addresses.
	for _, far := range []string{"198.51.100.1:9", "[2001:db8::1]:9"} {
		conn, err := net.Dial("udp", far)
		if err != nil {
			continue
		}
		from, ok := conn.LocalAddr().(*net.UDPAddr)
		_ = conn.Close() // nothing was sent
		if ok && usable(from.AddrPort().Addr()) {
			return from.AddrPort().Addr().Unmap()
		}
	}
	all, err := net.InterfaceAddrs()
	if err == nil {
		for _, a := range all {
			p, err := netip.ParsePrefix(a.String())
			if err == nil && usable(p.Addr()) {
				return p.Addr().Unmap()
			}
		}
	}
	return netip.AddrFrom4([4]byte{127, 0, 0, 1})
}

func usable(a netip.Addr) bool { return a.IsGlobalUnicast() }
