package tempestlite

import (
	"context"
	"fmt"
	"net/http"
	"path"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/floatingips"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/layer3/routers"
	secgroups "github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
)

// What the actions of servers take and leave: servers in rarer states, images made of
// servers, groups and addresses of the network service.

// Act sends an action to a server.
func (t *T) Act(as Role, v Version, id, action string, argument any) *Response {
	return t.Do(as, v, "POST", "/servers/"+id+"/action", map[string]any{action: argument})
}

// MustAct is Act for an action that has to be accepted.
func (t *T) MustAct(as Role, v Version, id, action string, argument any, code int) *Response {
	return t.Must(as, v, "POST", "/servers/"+id+"/action", map[string]any{action: argument}, code)
}

// madeImage is the id of the image that an answer to createImage or createBackup names: in
// the header Location up to 2.44, in the body from then on. "" if it names none.
func madeImage(resp *Response) string {
	if id := resp.Str("image_id"); id != "" {
		return id
	}
	if location := resp.Header.Get("Location"); location != "" {
		return path.Base(location)
	}
	return ""
}

// RemoveImageOf removes the image that an answer names when the check has ended.
func (t *T) RemoveImageOf(as Role, resp *Response) string {
	id := madeImage(resp)
	glance, err := t.Cloud.imageClient(as)
	if id == "" || err != nil {
		return id
	}
	t.Remove("image "+id, func(ctx context.Context) error { return images.Delete(ctx, glance, id).ExtractErr() })
	return id
}

// offload brings a server that was told to shelve to where it holds no host: many clouds
// do so at once, others after a time.
func (t *T) offload(id string) {
	if t.WaitStatus(Member, First, id, "SHELVED", "SHELVED_OFFLOADED").Str("server", "status") == "SHELVED" {
		t.MustAct(Admin, First, id, "shelveOffload", nil, 202)
		t.WaitStatus(Member, First, id, "SHELVED_OFFLOADED")
	}
}

// lockable is a server that is unlocked again after the check.
func (t *T) lockable() any {
	id := t.Server("ACTIVE")
	t.Cleanup(func(ctx context.Context) { t.unlock(ctx, id) })
	return id
}

func (t *T) unlock(ctx context.Context, id string) {
	_, _ = t.Cloud.send(ctx, request{as: t.Cloud.maker(), version: First, method: "POST", path: "/servers/" + id + "/action", body: map[string]any{"unlock": nil}})
}

// keptShelved is a shelved server that still has its host.
func (t *T) keptShelved() any {
	id := t.Server("ACTIVE")
	t.MustAct(Member, First, id, "shelve", nil, 202)
	if t.WaitStatus(Member, First, id, "SHELVED", "SHELVED_OFFLOADED").Str("server", "status") != "SHELVED" {
		t.Skipf("the cloud takes a shelved server off its host at once")
	}
	return id
}

// softDeleted is a server that was deleted and can be had back.
func (t *T) softDeleted() any {
	id := t.NewServer(Member, First, nil).Str("server", "id")
	t.Must(Member, First, "DELETE", "/servers/"+id, nil, 204)
	t.waitSoftDeleted(id)
	return id
}

// waitSoftDeleted skips the check on a cloud that deletes at once.
func (t *T) waitSoftDeleted(id string) {
	t.Eventually("server "+id+" is deleted", func() bool {
		resp := t.Do(t.Cloud.maker(), First, "GET", "/servers/"+id, nil)
		if resp.Status == http.StatusNotFound || resp.Str("server", "status") == "DELETED" {
			t.Skipf("the cloud deletes servers at once, and keeps none to restore")
		}
		return resp.Str("server", "status") == "SOFT_DELETED" && resp.Get("server", "OS-EXT-STS:task_state") == nil
	})
	t.Cleanup(func(ctx context.Context) {
		_, _ = t.Cloud.send(ctx, request{as: t.Cloud.maker(), version: First, method: "POST", path: "/servers/" + id + "/action", body: map[string]any{"forceDelete": nil}})
	})
}

// securityGroupName is the name of a group of the member's project. It leaves the check's
// server before it goes.
func (t *T) securityGroupName() any {
	neutron, err := t.Cloud.networkClient(Member)
	if err != nil {
		t.Skipf("%v", err)
	}
	name := t.Name()
	g, err := secgroups.Create(t.Ctx, neutron, secgroups.CreateOpts{Name: name}).Extract()
	if err != nil {
		t.Fatalf("making a security group: %v", err)
	}
	t.Remove("security group "+name, func(ctx context.Context) error {
		if id, used := t.values["plugged"]; used {
			_, _ = t.Cloud.send(ctx, request{as: Member, version: First, method: "POST", path: fmt.Sprintf("/servers/%v/action", id),
				body: map[string]any{"removeSecurityGroup": map[string]any{"name": name}}})
		}
		return secgroups.Delete(ctx, neutron, g.ID).ExtractErr()
	})
	return name
}

// floatingAddress is a floating address that the member's project has and no server uses.
func (t *T) floatingAddress() any {
	neutron, err := t.Cloud.networkClient(Member)
	if err != nil {
		t.Skipf("%v", err)
	}
	outer := t.externalNetwork()
	t.route(outer)
	ip, err := floatingips.Create(t.Ctx, neutron, floatingips.CreateOpts{FloatingNetworkID: outer}).Extract()
	if err != nil {
		t.Skipf("the network service gives out no floating address: %v", err)
	}
	t.Remove("floating address "+ip.FloatingIP, func(ctx context.Context) error { return floatingips.Delete(ctx, neutron, ip.ID).ExtractErr() })
	return ip.FloatingIP
}

// externalNetwork is the id of a network that floating addresses come from.
func (t *T) externalNetwork() string {
	return t.share("external network", func() (any, error) {
		neutron, err := t.Cloud.networkClient(Member)
		if err != nil {
			return nil, lackError(err.Error())
		}
		page, err := networks.List(neutron, externalOnly{}).AllPages(context.WithoutCancel(t.Ctx))
		if err != nil {
			return nil, err
		}
		all, err := networks.ExtractNetworks(page)
		if err != nil {
			return nil, err
		}
		if len(all) == 0 {
			return nil, lackError("the cloud has no external network, so no floating addresses")
		}
		return all[0].ID, nil
	}).(string)
}

// route leads from the member's network to an external one, without which a floating
// address has no way in.
func (t *T) route(outer string) {
	network := t.Network(Member)
	t.share("router", func() (any, error) {
		neutron, err := t.Cloud.networkClient(Member)
		if err != nil {
			return nil, lackError(err.Error())
		}
		if t.Cloud.cfg.Network != "" {
			return nil, nil // the user's network has a router, or has not: it is not ours to change
		}
		return t.Cloud.makeRouter(context.WithoutCancel(t.Ctx), neutron, network, outer)
	})
}

func (c *Cloud) makeRouter(ctx context.Context, neutron *gophercloud.ServiceClient, network, outer string) (any, error) {
	n, err := networks.Get(ctx, neutron, network).Extract()
	if err != nil {
		return nil, err
	}
	r, err := routers.Create(ctx, neutron, routers.CreateOpts{Name: c.Prefix + "-router", GatewayInfo: &routers.GatewayInfo{NetworkID: outer}}).Extract()
	if err != nil {
		return nil, lackError("the network service makes no router to the external network: " + err.Error())
	}
	c.ledger.add("router "+r.Name, func(ctx context.Context) error { return routers.Delete(ctx, neutron, r.ID).ExtractErr() })
	for _, subnet := range n.Subnets {
		_, err = routers.AddInterface(ctx, neutron, r.ID, routers.AddInterfaceOpts{SubnetID: subnet}).Extract()
		if err != nil {
			return nil, err
		}
		c.ledger.add("interface of router "+r.Name, func(ctx context.Context) error {
			_, err := routers.RemoveInterface(ctx, neutron, r.ID, routers.RemoveInterfaceOpts{SubnetID: subnet}).Extract()
			return err
		})
	}
	return r.ID, nil
}

// attachedAddress is a floating address that the check's server has.
func (t *T) attachedAddress() any {
	ip := t.floatingAddress()
	resp := t.Act(Member, First, fmt.Sprint(t.Value("plugged")), "addFloatingIp", map[string]any{"address": ip})
	if resp.Status == http.StatusBadRequest && strings.Contains(resp.Message(), "not reachable from subnet") {
		t.Skipf("%s", resp.Message())
	}
	t.Want(resp, 200, 202)
	return ip
}

type externalOnly struct{}

func (externalOnly) ToNetworkListQuery() (string, error) { return "?router:external=true", nil }

// fixedAddress is an address of the server that the check has made.
func (t *T) fixedAddress() any {
	id := fmt.Sprint(t.Value("fresh_server"))
	addresses, _ := t.Must(Member, First, "GET", "/servers/"+id, nil, 200).Get("server", "addresses").(map[string]any)
	for _, list := range addresses {
		if addr, ok := dig(list, 0, "addr").(string); ok {
			return addr
		}
	}
	t.Fatalf("server %s has no address", id)
	return nil
}
