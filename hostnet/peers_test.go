package hostnet

import (
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func TestPeers(t *testing.T) {
	p := NewPeers("203.0.113.7", "", "no such name", "localhost")
	p.resolver = filepath.Join(t.TempDir(), "resolv.conf")
	write := func(text string) {
		t.Helper()
		err := os.WriteFile(p.resolver, []byte(text), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	write("# of a test\nsearch x\nnameserver 198.51.100.53\nnameserver fd00:53::1%eth0\nnameserver\nnameserver 127.0.0.53\n")
	want := func(ranges ...string) {
		t.Helper()
		held := p.Held(t.Context())
		if len(held) != len(ranges) {
			t.Errorf("%v; want %v", held, ranges)
		}
		for _, r := range ranges {
			if _, ok := Clash(netip.MustParsePrefix(r), held, nil); !ok {
				t.Errorf("%s is not in %v", r, held)
			}
		}
	}
	want("203.0.113.7/32", "198.51.100.53/32", "fd00:53::1/128")
	p.names, p.at = []string{"203.0.113.8"}, time.Time{}
	want("203.0.113.7/32", "203.0.113.8/32", "198.51.100.53/32", "fd00:53::1/128")
}
