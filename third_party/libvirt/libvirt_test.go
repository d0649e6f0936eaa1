package libvirt

import (
	"errors"
	"sync"
	"testing"
)

const testXML = `<domain type='test'><name>kn</name><uuid>11111111-2222-3333-4444-555555555555</uuid>
<memory>131072</memory><vcpu>1</vcpu><os><type>hvm</type></os></domain>`

// connect opens libvirt's own in-process test hypervisor.
func connect(t *testing.T) *Connect {
	t.Helper()
	c, err := NewConnect("test:///default")
	if errors.Is(err, ERR_NO_CONNECT) {
		t.Skip("no libvirt here: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := c.Close()
		if err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return c
}

func TestDomainLife(t *testing.T) {
	c := connect(t)
	d, err := c.DomainDefineXMLFlags(testXML, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free()
	steps := []struct {
		name string
		do   func() error
		want DomainState
	}{
		{"create", d.Create, DOMAIN_RUNNING},
		{"suspend", d.Suspend, DOMAIN_PAUSED},
		{"resume", d.Resume, DOMAIN_RUNNING},
		{"save", func() error { return d.ManagedSave(0) }, DOMAIN_SHUTOFF},
		{"create from saved", d.Create, DOMAIN_RUNNING},
		{"destroy", d.Destroy, DOMAIN_SHUTOFF},
	}
	for _, s := range steps {
		err := s.do()
		if err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
		state, _, err := d.GetState()
		if err != nil || state != s.want {
			t.Fatalf("%s: state %d, %v, want %d", s.name, state, err, s.want)
		}
	}
	err = d.Destroy()
	if !errors.Is(err, ERR_OPERATION_INVALID) {
		t.Errorf("destroy twice: %v, want ERR_OPERATION_INVALID", err)
	}
	domains, err := c.ListAllDomains(0)
	if err != nil || len(domains) != 2 {
		t.Errorf("list: %d domains, %v", len(domains), err)
	}
	for i := range domains {
		domains[i].Free()
	}
	err = d.UndefineFlags(DOMAIN_UNDEFINE_MANAGED_SAVE)
	if err != nil {
		t.Errorf("undefine: %v", err)
	}
}

// Errors are per thread in libvirt: each caller must see its own.
func TestErrorsBelongToTheCall(t *testing.T) {
	c := connect(t)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 200 {
				_, err := c.LookupDomainByName("absent")
				var e Error
				if !errors.As(err, &e) || e.Code != ERR_NO_DOMAIN || e.Message == "" {
					t.Errorf("look up absent domain: %v", err)
				}
				_, err = c.LookupNetworkByName("absent")
				if !errors.Is(err, ERR_NO_NETWORK) {
					t.Errorf("look up absent network: %v", err)
				}
			}
		})
	}
	wg.Wait()
}

func TestHost(t *testing.T) {
	c := connect(t)
	n, err := c.GetNodeInfo()
	if err != nil || n.Cpus == 0 || n.Memory == 0 {
		t.Errorf("node info %+v, %v", n, err)
	}
	kind, err := c.GetType()
	if err != nil || kind == "" {
		t.Errorf("type %q, %v", kind, err)
	}
	alive, err := c.IsAlive()
	if err != nil || !alive {
		t.Errorf("alive %v, %v", alive, err)
	}
}
