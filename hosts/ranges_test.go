package hosts

import (
	"fmt"
	"slices"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

// One host's word keeps a few ranges from projects; for a wide one it takes most hosts'.
func TestHeldRanges(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := New(db, nil)
		for i, ranges := range []string{"172.20.0.0/24 10.0.0.0/8", "172.20.0.0/24 10.0.0.0/8", "10.0.0.0/8 fd00:1::/64 172.16.0.0/12", "rubbish 172.16.0.0/12 192.168.0.0/16", ""} {
			name := fmt.Sprintf("h%d", i)
			err := s.Add(t.Context(), name, work.HostInfo{VCPUs: 1, MemoryMB: 1, DiskGB: 1, Arch: "x86_64"})
			if err == nil {
				_, err = db.Exec("UPDATE hosts SET held_ranges = ? WHERE name = ?", ranges, name)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		got, err := s.HeldRanges(t.Context(), db)
		if err != nil {
			t.Fatal(err)
		}
		var words []string
		for _, p := range got {
			words = append(words, p.String())
		}
		slices.Sort(words)
		words = slices.Compact(words)
		if want := []string{"10.0.0.0/8", "172.20.0.0/24", "192.168.0.0/16", "fd00:1::/64"}; !slices.Equal(words, want) {
			t.Errorf("%v, want %v", words, want)
		}
	})
}
