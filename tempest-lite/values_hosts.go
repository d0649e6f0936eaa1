package tempestlite

import (
	"context"
	"errors"
	"fmt"

	"github.com/google/uuid"
)

// The values of contract/calls.yaml that are the administrator's: hosts, services,
// hypervisors, aggregates.

// removeAggregate is RemovePath for an aggregate: it goes only when no host is in it.
func (t *T) removeAggregate(id any) {
	c := t.Cloud
	path := fmt.Sprintf("/os-aggregates/%v", id)
	t.Remove(path, func(ctx context.Context) error {
		resp, err := c.send(ctx, request{as: Admin, version: First, method: "GET", path: path})
		if err != nil {
			return err
		}
		hosts, _ := resp.Get("aggregate", "hosts").([]any)
		for _, host := range hosts {
			_, err = c.call(ctx, Admin, First, "POST", path+"/action", map[string]any{"remove_host": map[string]any{"host": host}}, 200)
			if err != nil {
				return err
			}
		}
		return c.deleteAs(Admin, path)(ctx)
	})
}

// staffedAggregate is an aggregate with a host in it. It has no zone, so it changes
// nothing for the host.
func (t *T) staffedAggregate() any {
	id := t.freshAggregate()
	body := map[string]any{"add_host": map[string]any{"host": t.someHost()}}
	t.Must(Admin, First, "POST", fmt.Sprintf("/os-aggregates/%v/action", id), body, 200)
	return id
}

// someHost is a compute host that is up and enabled.
func (t *T) someHost() any { return t.computeHosts()[0] }

// idVersion is the version whose ids of services and hypervisors a check has to name:
// numbers before 2.53, uuids from then on.
func (t *T) idVersion() Version {
	if t.Check.Version < 53 {
		return First
	}
	return 53
}

// someHypervisor is the id of a hypervisor, as the check's version spells it.
func (t *T) someHypervisor() any { return t.aHypervisor("id") }

// someHypervisorName is the name of the same hypervisor.
func (t *T) someHypervisorName() any { return t.aHypervisor("hypervisor_hostname") }

func (t *T) aHypervisor(field string) any {
	v := t.idVersion()
	resp := t.share("hypervisors at "+v.String(), func() (any, error) {
		return t.Cloud.call(context.WithoutCancel(t.Ctx), Admin, v, "GET", "/os-hypervisors", nil, 200)
	}).(*Response)
	value := resp.Get("hypervisors", 0, field)
	if value == nil {
		t.Skipf("the cloud has no hypervisor")
	}
	return value
}

// someService is the id of the compute service of $host, as the check's version spells it.
func (t *T) someService() any {
	v, host := t.idVersion(), t.someHost()
	return t.share("service at "+v.String(), func() (any, error) {
		resp, err := t.Cloud.call(context.WithoutCancel(t.Ctx), Admin, v, "GET", "/os-services?binary=nova-compute", nil, 200)
		if err != nil {
			return nil, err
		}
		list, _ := resp.Get("services").([]any)
		for _, s := range list {
			if dig(s, "host") == host {
				return dig(s, "id"), nil
			}
		}
		return nil, errors.New("the compute service that was there is not listed any more")
	})
}

// hostToDisturb is a compute host if the user lets us change hosts. Otherwise nothing has
// that name: then the checks of what has to be refused do no harm where it is not.
func (t *T) hostToDisturb() any {
	if t.Cloud.cfg.Disturb {
		return t.someHost()
	}
	return t.Name()
}

// serviceToDisturb is what stands in the path of an update of a service: up to 2.52 what is
// done, which the body's host then names; the id of a service from 2.53 on.
func (t *T) serviceToDisturb() any {
	switch {
	case t.Check.Version < 53:
		return "enable"
	case t.Cloud.cfg.Disturb:
		return t.someService()
	}
	return uuid.NewString()
}
