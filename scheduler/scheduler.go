package scheduler

import (
	"math"
	"math/rand/v2"
	"slices"

	"kilonova/hosts"
	"kilonova/schema"
)

// Spec is what a server asks of its host.
type Spec struct {
	Need     hosts.Need
	Zone     string   // "" for any
	Host     string   // forced or requested, "" for any
	Node     string   // likewise
	Forced   bool     // az:host: the filters do not apply
	Arch     string   // of the image, "" for any
	Avoid    []string // hosts that were tried already, or that hold a different_host
	SameHost []string // hosts of which one must be taken; nil for any
}

// Filter is one rule about which hosts can run a server.
type Filter struct {
	Name string
	Pass func(h *hosts.Host, s *Spec, now schema.Micros) bool
}

// Filters run in this order, cheapest and most selective first.
var Filters = []Filter{
	{"ComputeFilter", func(h *hosts.Host, _ *Spec, now schema.Micros) bool { return !h.Disabled && h.Up(now) }},
	{"RequestedDestination", func(h *hosts.Host, s *Spec, _ schema.Micros) bool {
		return (s.Host == "" || h.Name == s.Host) && (s.Node == "" || h.Node == s.Node)
	}},
	{"AvailabilityZoneFilter", func(h *hosts.Host, s *Spec, _ schema.Micros) bool { return s.Zone == "" || h.Zone == s.Zone }},
	{"RetryAndDifferentHostFilter", func(h *hosts.Host, s *Spec, _ schema.Micros) bool { return !slices.Contains(s.Avoid, h.Name) }},
	{"SameHostFilter", func(h *hosts.Host, s *Spec, _ schema.Micros) bool {
		return s.SameHost == nil || slices.Contains(s.SameHost, h.Name)
	}},
	{"ImagePropertiesFilter", func(h *hosts.Host, s *Spec, _ schema.Micros) bool {
		return s.Arch == "" || h.Arch == "" || h.Arch == s.Arch
	}},
	{"Room", func(h *hosts.Host, s *Spec, _ schema.Micros) bool { return h.Fits(s.Need) }},
}

// Weigher is one reason to prefer a host; its figures are normalised over the candidates
// and multiplied.
type Weigher struct {
	Name       string
	Multiplier float64
	Weigh      func(h *hosts.Host) float64
}

// Weighers have Nova's default multipliers.
var Weighers = []Weigher{
	{"ram", 1, func(h *hosts.Host) float64 {
		return float64(h.MemoryMB-h.ReservedMemoryMB)*h.RAMRatio - float64(h.MemoryMBUsed)
	}},
	{"cpu", 1, func(h *hosts.Host) float64 { return float64(h.VCPUs)*h.CPURatio - float64(h.VCPUsUsed) }},
	{"disk", 1, func(h *hosts.Host) float64 { return float64(h.DiskGB)*h.DiskRatio - float64(h.DiskGBUsed) }},
	{"build_failure", -1e6, func(h *hosts.Host) float64 { return float64(h.Failures) }},
}

// subset is among how many of the best hosts one is picked at random, so that API
// processes that see the same picture do not all choose the same host.
const subset = 8

// Order gives the hosts that can run the server, best first.
func Order(all []hosts.Host, s *Spec, now schema.Micros) []*hosts.Host {
	var out []*hosts.Host
	for i := range all {
		if passes(&all[i], s, now) {
			out = append(out, &all[i])
		}
	}
	weights := weigh(out)
	slices.SortStableFunc(out, func(a, b *hosts.Host) int {
		switch wa, wb := weights[a], weights[b]; {
		case wa > wb:
			return -1
		case wa < wb:
			return 1
		}
		return 0
	})
	n := min(subset, len(out))
	rand.Shuffle(n, func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}

func passes(h *hosts.Host, s *Spec, now schema.Micros) bool {
	if h.PublicKey == "" {
		return false // nothing secret can be given to it: no daemon of this release has started there
	}
	if s.Forced {
		return (s.Host == "" || h.Name == s.Host) && (s.Node == "" || h.Node == s.Node)
	}
	for _, f := range Filters {
		if !f.Pass(h, s, now) {
			return false
		}
	}
	return true
}

func weigh(list []*hosts.Host) map[*hosts.Host]float64 {
	sum := make(map[*hosts.Host]float64, len(list))
	for _, w := range Weighers {
		lo, hi := math.Inf(1), math.Inf(-1)
		for _, h := range list {
			x := w.Weigh(h)
			lo, hi = min(lo, x), max(hi, x)
		}
		if hi <= lo {
			continue
		}
		for _, h := range list {
			sum[h] += w.Multiplier * (w.Weigh(h) - lo) / (hi - lo)
		}
	}
	return sum
}
