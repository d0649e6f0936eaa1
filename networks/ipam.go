package networks

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	mathrand "math/rand/v2"
	"net/netip"
	"strings"
	"sync"

	"kilonova/compat"
	"kilonova/schema"
)

// addressKey is an address in hexadecimal: of fixed length within a subnet, so that text
// order is address order.
func addressKey(a netip.Addr) string { return hex.EncodeToString(a.AsSlice()) }

func keyAddress(key string) (netip.Addr, bool) {
	raw, err := hex.DecodeString(key)
	if err != nil {
		return netip.Addr{}, false
	}
	return netip.AddrFromSlice(raw)
}

// A window is what a cursor reads at once: rows of addresses in use, and how many free ones
// it keeps from among them.
const (
	windowRows = 512
	windowFree = 128
	// So many refused addresses in a row mean that other processes fill the subnet as fast
	// as this one; the client may ask again.
	maxClashes = 1024
)

// cursor remembers where in a subnet's pools this process looks for the next address. It
// is a hint and may be stale: only the insert decides.
type cursor struct {
	pools string // the pools that it was made for

	mu   sync.Mutex
	free []netip.Addr // candidates, next first
	next netip.Addr   // where the next window starts; invalid: at the first pool
}

func (s *Service) cursorOf(sub *Subnet) *cursor {
	c, ok := s.cursors.Get(sub.Key)
	if !ok || c.pools != sub.RawPools {
		c = &cursor{pools: sub.RawPools}
		s.cursors.Add(sub.Key, c)
	}
	return c
}

// take gives the next candidate. After a clash it skips some, so that two processes that
// met stop running in step.
func (c *cursor) take(clashed bool) (netip.Addr, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if clashed && len(c.free) > 1 {
		c.free = c.free[mathrand.IntN(min(len(c.free), 32)):]
	}
	if len(c.free) == 0 {
		return netip.Addr{}, false
	}
	a := c.free[0]
	c.free = c.free[1:]
	return a, true
}

// refill looks for free addresses from where the last window ended, all around the pools.
// It is false when the subnet is full.
func (c *cursor) refill(ctx context.Context, q schema.Querier, sub *Subnet) (bool, error) {
	c.mu.Lock()
	start := c.next
	c.mu.Unlock()
	free, next, err := freeAddresses(ctx, q, sub, start)
	if err != nil {
		return false, err
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.free) == 0 {
		c.free, c.next = free, next
	}
	return len(c.free) > 0, nil
}

const addressesInUse = `
SELECT ip FROM port_addresses
WHERE subnet_id = ? AND ip >= ? AND ip <= ?
ORDER BY ip LIMIT ?`

// freeAddresses gives up to windowFree addresses that no row holds, from start on and once
// around, and where the next search begins.
func freeAddresses(ctx context.Context, q schema.Querier, sub *Subnet, start netip.Addr) ([]netip.Addr, netip.Addr, error) {
	for _, r := range around(sub.Pools, start) {
		at := r.Start
		for at.IsValid() && at.Compare(r.End) <= 0 {
			var used []string
			err := q.SelectContext(ctx, &used, addressesInUse, sub.Key, addressKey(at), addressKey(r.End), windowRows)
			if err != nil {
				return nil, netip.Addr{}, fmt.Errorf("read addresses in use: %w", err)
			}
			var free []netip.Addr
			free, at = gaps(at, r.End, used)
			if len(free) > 0 {
				return free, at, nil
			}
		}
	}
	return nil, netip.Addr{}, nil
}

// gaps gives the addresses between at and end that are not in used, which is sorted and
// complete as far as it goes, and where to look on.
func gaps(at, end netip.Addr, used []string) (free []netip.Addr, next netip.Addr) {
	limit := end
	if len(used) == windowRows {
		last, ok := keyAddress(used[len(used)-1])
		if ok {
			limit = last
		}
	}
	for at.IsValid() && at.Compare(limit) <= 0 && len(free) < windowFree {
		if len(used) > 0 && addressKey(at) == used[0] {
			used = used[1:]
		} else {
			free = append(free, at)
		}
		at = at.Next()
	}
	return free, at
}

// around gives the pools as ranges to search: from start to the end of its pool, the pools
// after it, and those before it up to start.
func around(pools []Range, start netip.Addr) []Range {
	if !start.IsValid() {
		return pools
	}
	var first, second []Range
	for _, p := range pools {
		switch {
		case p.Start.Compare(start) >= 0:
			first = append(first, p)
		case p.End.Compare(start) < 0:
			second = append(second, p)
		default:
			first = append(first, Range{start, p.End})
			second = append(second, Range{p.Start, start.Prev()})
		}
	}
	return append(first, second...)
}

// FixedIP is an address of a port.
type FixedIP struct {
	SubnetID string
	Address  string
	Version  int

	subnetKey int64
}

const insertAddress = `
INSERT INTO port_addresses (subnet_id, ip, address, version, port_id, place)
VALUES (?, ?, ?, ?, ?, ?)`

// takeAddress gives a port the next free address of a subnet, or a 409 Fault
// (IpAddressGenerationFailure) when there is none.
func (s *Service) takeAddress(ctx context.Context, tx *schema.Tx, sub *Subnet, portKey int64, place int) (FixedIP, error) {
	c := s.cursorOf(sub)
	for clashes := 0; clashes < maxClashes; {
		a, ok := c.take(clashes > 0)
		if !ok {
			found, err := c.refill(ctx, tx, sub)
			if err != nil {
				return FixedIP{}, err
			}
			if !found {
				break
			}
			continue
		}
		_, err := tx.ExecContext(ctx, insertAddress, sub.Key, addressKey(a), a.String(), sub.Version, portKey, place)
		if schema.Duplicate(err) {
			clashes++
			continue
		}
		if err != nil {
			return FixedIP{}, fmt.Errorf("insert address: %w", err)
		}
		return FixedIP{SubnetID: sub.ID, Address: a.String(), Version: sub.Version}, nil
	}
	return FixedIP{}, &compat.Fault{Code: 409, Type: "IpAddressGenerationFailure",
		Message: fmt.Sprintf("No more IP addresses available on network %s.", sub.NetworkID)}
}

// takeThisAddress gives a port an address that the client chose, or a 409 Fault
// (IpAddressInUse).
func (s *Service) takeThisAddress(ctx context.Context, tx *schema.Tx, sub *Subnet, a netip.Addr, portKey int64, place int) (FixedIP, error) {
	_, err := tx.ExecContext(ctx, insertAddress, sub.Key, addressKey(a), a.String(), sub.Version, portKey, place)
	if schema.Duplicate(err) {
		return FixedIP{}, &compat.Fault{Code: 409, Type: "IpAddressInUse",
			Message: fmt.Sprintf("IP address %s already allocated in subnet %s", a, sub.ID)}
	}
	if err != nil {
		return FixedIP{}, fmt.Errorf("insert address: %w", err)
	}
	return FixedIP{SubnetID: sub.ID, Address: a.String(), Version: sub.Version}, nil
}

// defaultPools is the whole of a range but for its network and broadcast addresses and the
// gateway.
func defaultPools(p netip.Prefix, gateway netip.Addr) []Range {
	first, last := p.Addr(), lastOf(p)
	if p.Addr().Is4() && p.Bits() < 31 {
		first, last = first.Next(), last.Prev()
	}
	if p.Addr().Is6() && p.Bits() < 127 {
		first = first.Next() // the subnet-router anycast address
	}
	if !gateway.IsValid() || gateway.Compare(first) < 0 || gateway.Compare(last) > 0 {
		return []Range{{first, last}}
	}
	var pools []Range
	if gateway.Compare(first) > 0 {
		pools = append(pools, Range{first, gateway.Prev()})
	}
	if gateway.Compare(last) < 0 {
		pools = append(pools, Range{gateway.Next(), last})
	}
	return pools
}

// lastOf is the highest address of a range.
func lastOf(p netip.Prefix) netip.Addr {
	raw := p.Addr().AsSlice()
	for bit := p.Bits(); bit < len(raw)*8; bit++ {
		raw[bit/8] |= 1 << (7 - bit%8)
	}
	a, _ := netip.AddrFromSlice(raw) // as long as it came
	return a
}

// holds reports whether a port may be given the address: any of the range, the gateway too,
// but for its network and broadcast addresses. In IPv6 the first is that of all routers.
func (sub *Subnet) holds(a netip.Addr, deviceOwner string) bool {
	p := sub.prefix()
	if !p.Contains(a) {
		return false
	}
	if p.Addr().Is4() {
		return p.Bits() >= 31 || (a != p.Addr() && a != lastOf(p))
	}
	return a != p.Addr() || deviceOwner == "" || strings.HasPrefix(deviceOwner, "network:router") || p.Bits() >= 127
}

// usable reports whether a server may be given the address: in the range, and neither its
// network nor its broadcast address nor the gateway.
func (sub *Subnet) usable(a netip.Addr) bool {
	p := sub.prefix()
	if !p.Contains(a) || a.String() == sub.Gateway.String {
		return false
	}
	if p.Addr().Is4() && p.Bits() < 31 && (a == p.Addr() || a == lastOf(p)) {
		return false
	}
	return !p.Addr().Is6() || p.Bits() >= 127 || a != p.Addr()
}

func randomBytes(b []byte) {
	_, _ = rand.Read(b) // crypto/rand does not fail
}

// newMAC makes a hardware address with Neutron's default prefix.
func (s *Service) newMAC() string {
	var b [3]byte
	s.randByte(b[:])
	return fmt.Sprintf("fa:16:3e:%02x:%02x:%02x", b[0], b[1], b[2])
}
