package hosts_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"kilonova/hosts"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

func newHosts(t *testing.T, db *schema.DB) *hosts.Service {
	t.Helper()
	s := hosts.New(db, nil)
	for _, name := range []string{"one", "two"} {
		err := s.Add(context.Background(), name, work.HostInfo{VCPUs: 4, MemoryMB: 4096, DiskGB: 40})
		if err != nil {
			t.Fatal(err)
		}
		_, err = db.Exec("UPDATE hosts SET doorbell = ? WHERE name = ?", "192.0.2.1:9"+name[:1], name)
		if err != nil {
			t.Fatal(err)
		}
	}
	return s
}

// TestRingsWaitForNoSQL: while the database answers nobody, a doorbell is known at once, a
// question that is given up ends, and the rest get their answer when the database does.
func TestRingsWaitForNoSQL(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		ctx := context.Background()
		s := newHosts(t, db)
		_, err := s.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		s.Forget()
		db.Narrow()
		held, err := db.Conn(ctx)
		if err != nil {
			t.Fatal(err)
		}
		var asked sync.WaitGroup
		for range 20 {
			asked.Add(1)
			go func() {
				defer asked.Done()
				h, err := s.ByName(ctx, "one")
				if err != nil || h == nil {
					t.Errorf("host one: %v, %v", h, err)
				}
			}()
		}
		short, cancel := context.WithTimeout(ctx, 10*time.Millisecond)
		defer cancel()
		_, err = s.Snapshot(short)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("a question that was given up says %v", err)
		}
		if at := s.Doorbell("two"); at != "192.0.2.1:9t" {
			t.Errorf("the doorbell is %q", at)
		}
		held.Close()
		asked.Wait()
	})
}

// TestForgetIsHeeded: after Forget nobody is given a picture that was begun before it.
func TestForgetIsHeeded(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		ctx := context.Background()
		s := newHosts(t, db)
		stop := make(chan struct{})
		var others sync.WaitGroup
		for range 4 {
			others.Add(1)
			go func() {
				defer others.Done()
				for {
					select {
					case <-stop:
						return
					default:
						s.Forget()
						_, _ = s.Snapshot(ctx) // what it says is asked below
					}
				}
			}()
		}
		for i := range 50 {
			_, err := db.Exec("UPDATE hosts SET vcpus = ? WHERE name = 'one'", i)
			if err != nil {
				t.Fatal(err)
			}
			s.Forget()
			h, err := s.ByName(ctx, "one")
			if err != nil || h.VCPUs < i {
				t.Errorf("host one has %v vCPUs, want %d (%v)", h, i, err)
			}
		}
		close(stop)
		others.Wait()
	})
}

// TestHostsAreNotBelieved: what hosts say of themselves is cut to what there can be, and
// none takes the name of another.
func TestHostsAreNotBelieved(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		ctx := context.Background()
		s := newHosts(t, db)
		for i, set := range []struct{ what, one, two string }{
			{"hypervisor_hostname = 'two'", "one", "two"},
			{"hypervisor_hostname = 'shared'", "shared", "two"}, // both say so: the older has it
			{"hypervisor_hostname = ''", "one", "two"},
			{"vcpus = -5, memory_mb = 2147483647, disk_gb = 2147483647, disk_available_gb = -1, hypervisor_version = -1", "one", "two"},
			{"cpu_info = '" + strings.Repeat("x", 20000) + "', uptime = '" + strings.Repeat("x", 250) + "', host_ip = '" + strings.Repeat("1", 200) + "'", "one", "two"},
		} {
			_, err := db.Exec("UPDATE hosts SET hypervisor_hostname = name")
			if err == nil {
				_, err = db.Exec("UPDATE hosts SET " + set.what)
			}
			if err == nil && i == 0 {
				_, err = db.Exec("UPDATE hosts SET hypervisor_hostname = name WHERE name = 'two'")
			}
			if err != nil {
				t.Fatal(err)
			}
			list, err := s.List(ctx)
			if err != nil || len(list) != 2 || list[0].Node != set.one || list[1].Node != set.two {
				t.Fatalf("%s: %+v, %v", set.what, list, err)
			}
			for _, h := range list {
				if h.VCPUs < 0 || h.MemoryMB > work.MaxMB || h.DiskGB > work.MaxGB || h.DiskAvailableGB < 0 || h.HypervisorVersion < 0 || len(h.CPUInfo) > work.MaxCPUInfo || len(h.HostIP) > work.MaxWord {
					t.Errorf("%s: %+v", set.what, h)
				}
				need := hosts.Need{VCPUs: 1, MemoryMB: 1 << 31, DiskGB: 1}
				if h.Fits(need) {
					t.Errorf("%s: %+v has room for %+v", set.what, h, need)
				}
			}
		}
	})
}
