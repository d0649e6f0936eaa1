package tempestlite

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/attachinterfaces"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/secgroups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
)

// Interfaces, addresses, security groups and floating addresses of servers, and how the
// network service sees them.

func networkChecks() []*Check {
	create, remove := covers("servers.interface.create", "servers.interface.list"), covers("servers.interface.delete")
	checks := []*Check{
		behaviour("interfaces", "attach-port", "a port that is plugged in shows at the server, and is free again when it is unplugged", 0, attachPort, create, remove),
		behaviour("interfaces", "attach-network", "for a network the server gets a port of its own, which goes when it is unplugged", 0, attachNetwork, create, remove),
		behaviour("interfaces", "attach-address", "the server gets the address that is asked for, which nobody else can have then", 0, attachAddress, create),
		behaviour("interfaces", "attach-twice", "a port that is in use cannot be plugged in again", 0, attachTwice, create),
		behaviour("interfaces", "attach-unknown", "a port and a network that are not there are refused", 0, attachUnknown, create),
		behaviour("interfaces", "tag", "an interface may have a tag from 2.49 on, which shows from 2.70 on", 70, attachTagged, create),
		behaviour("interfaces", "detach-unknown", "unplugging a port that is not plugged in changes nothing", 0, detachUnknown, remove),
		behaviour("interfaces", "of-a-stopped-server", "a stopped server's ports can be plugged in and out", 0, attachStopped, create, remove),
		behaviour("addresses", "ips", "the addresses are the same under the server and under its ips", 0, addressViews, covers("servers.ips.list", "servers.ips.show")),
		behaviour("security groups", "of-a-server", "a security group is added to a server, shows there, and is removed", 0, groupOfServer,
			covers("servers.addSecurityGroup", "servers.removeSecurityGroup", "servers.security_groups.list")),
		behaviour("security groups", "unknown-group", "a group that is not there is refused", 0, unknownGroup, covers("servers.addSecurityGroup", "servers.removeSecurityGroup")),
		behaviour("security groups", "proxy", "groups and rules are made, shown and deleted through the Compute API up to 2.35", 0, groupProxy,
			covers("security_groups.create", "security_groups.show", "security_groups.list", "security_groups.delete", "security_group_rules.create", "security_group_rules.delete")),
		behaviour("security groups", "proxy-in-use", "a group that a server has is not deleted", 0, groupInUse, covers("security_groups.delete")),
		behaviour("security groups", "proxy-rule-of-group", "a rule may let in another group", 0, groupRuleOfGroup, covers("security_group_rules.create")),
		behaviour("security groups", "proxy-bad-id", "an id that is no uuid is 400", 0, groupBadID, covers("security_groups.show")),
		behaviour("floating addresses", "associate", "a floating address is given to a server and taken away again, up to 2.43", 0, floatingAddressOfServer,
			covers("servers.addFloatingIp", "servers.removeFloatingIp", "floating_ips.list")),
	}
	for _, c := range checks {
		c.Needs = append(c.Needs, NeedNetworks)
	}
	return checks
}

// addressesOf are a server's fixed addresses as it shows them.
func (t *T) addressesOf(server string) []string {
	return addressesIn(t.Must(Member, First, "GET", "/servers/"+server, nil, 200).Get("server", "addresses"))
}

func addressesIn(addresses any) []string {
	out := []string{}
	networks, _ := addresses.(map[string]any)
	for _, list := range networks {
		items, _ := list.([]any)
		for _, a := range items {
			out = append(out, fmt.Sprint(dig(a, "addr")))
		}
	}
	slices.Sort(out)
	return out
}

// interfacesOf are a server's ports by id.
func (t *T) interfacesOf(server string) map[string]attachinterfaces.Interface {
	page, err := attachinterfaces.List(t.Compute(Member, First), server).AllPages(t.Ctx)
	t.OK(err)
	list, err := attachinterfaces.ExtractInterfaces(page)
	t.OK(err)
	out := map[string]attachinterfaces.Interface{}
	for _, i := range list {
		out[i.PortID] = i
	}
	return out
}

// attach plugs something into a server until the check has ended.
func (t *T) attach(server string, opts attachinterfaces.CreateOpts) *attachinterfaces.Interface {
	made, err := attachinterfaces.Create(t.Ctx, t.Compute(Member, First), server, opts).Extract()
	t.OK(err)
	t.detachAfter(server, made.PortID)
	return made
}

// detach unplugs a port, and waits until the server does not show it.
func (t *T) detach(server, port, address string) {
	t.OK(attachinterfaces.Delete(t.Ctx, t.Compute(Member, First), server, port).ExtractErr())
	t.Eventually("port "+port+" is unplugged", func() bool {
		_, there := t.interfacesOf(server)[port]
		return !there && !slices.Contains(t.addressesOf(server), address)
	})
}

// wantPort holds a port of the network service against what a server says of it.
func (t *T) wantPort(server string, i attachinterfaces.Interface) {
	neutron, err := t.Cloud.networkClient(Member)
	t.OK(err)
	p, err := ports.Get(t.Ctx, neutron, i.PortID).Extract()
	t.OK(err)
	t.Equal("device_id of the port", p.DeviceID, server)
	t.Equal("the network of the interface", i.NetID, p.NetworkID)
	t.Equal("the MAC address of the interface", i.MACAddr, p.MACAddress)
	if !strings.HasPrefix(p.DeviceOwner, "compute:") {
		t.Errorf("device_owner of the port is %q", p.DeviceOwner)
	}
	if len(i.FixedIPs) != 1 || len(p.FixedIPs) != 1 {
		t.Fatalf("the interface has the addresses %v, the port %v", i.FixedIPs, p.FixedIPs)
	}
	t.Equal("the address of the interface", i.FixedIPs[0].IPAddress, p.FixedIPs[0].IPAddress)
	t.Equal("the subnet of the interface", i.FixedIPs[0].SubnetID, p.FixedIPs[0].SubnetID)
}

func attachPort(t *T) {
	server, port := t.Plugged("ACTIVE"), t.Port()
	made := t.attach(server, attachinterfaces.CreateOpts{PortID: port})
	t.Equal("the port of the answer", made.PortID, port)
	t.wantPort(server, *made)
	listed := t.interfacesOf(server)
	t.wantPort(server, listed[port])
	t.Equal("the number of interfaces", len(listed), 2)
	address := made.FixedIPs[0].IPAddress
	t.Eventually("the server shows the address "+address, func() bool { return slices.Contains(t.addressesOf(server), address) })
	t.detach(server, port, address)
	t.Want(t.Do(Member, First, "GET", "/servers/"+server+"/os-interface/"+port, nil), http.StatusNotFound)
	neutron, err := t.Cloud.networkClient(Member)
	t.OK(err)
	left, err := ports.Get(t.Ctx, neutron, port).Extract()
	t.OK(err) // a port that was there before stays
	t.Equal("device_id of the port that is free again", left.DeviceID, "")
}

func attachNetwork(t *T) {
	server := t.Plugged("ACTIVE")
	made := t.attach(server, attachinterfaces.CreateOpts{NetworkID: t.Network(Member)})
	t.Equal("the network of the answer", made.NetID, t.Network(Member))
	t.wantPort(server, *made)
	t.detach(server, made.PortID, made.FixedIPs[0].IPAddress)
	neutron, err := t.Cloud.networkClient(Member)
	t.OK(err)
	t.Eventually("the port of the server's own is deleted", func() bool {
		_, err := ports.Get(t.Ctx, neutron, made.PortID).Extract()
		return err != nil && ignore404(err) == nil
	})
}

// freeAddress is an address of the member's network that nothing has: one that a port got
// that is no more.
func (t *T) freeAddress() string {
	neutron, err := t.Cloud.networkClient(Member)
	t.OK(err)
	p, err := ports.Create(t.Ctx, neutron, ports.CreateOpts{NetworkID: t.Network(Member), Name: t.Name()}).Extract()
	t.OK(err)
	t.OK(ports.Delete(t.Ctx, neutron, p.ID).ExtractErr())
	if len(p.FixedIPs) == 0 {
		t.Skipf("the network gives out no addresses")
	}
	return p.FixedIPs[0].IPAddress
}

func attachAddress(t *T) {
	server, address := t.Plugged("ACTIVE"), t.freeAddress()
	opts := attachinterfaces.CreateOpts{NetworkID: t.Network(Member), FixedIPs: []attachinterfaces.FixedIP{{IPAddress: address}}}
	made, err := attachinterfaces.Create(t.Ctx, t.Compute(Member, First), server, opts).Extract()
	if gophercloud.ResponseCodeIs(err, http.StatusConflict) {
		t.Skipf("the address %s was taken meanwhile by another check", address)
	}
	t.OK(err)
	t.detachAfter(server, made.PortID)
	t.Equal("the address of the answer", made.FixedIPs[0].IPAddress, address)
	t.wantPort(server, *made)
	_, err = attachinterfaces.Create(t.Ctx, t.Compute(Member, First), server, opts).Extract()
	t.WantCode(err, http.StatusConflict)
}

func attachTwice(t *T) {
	server, port := t.Plugged("ACTIVE"), t.Port()
	t.attach(server, attachinterfaces.CreateOpts{PortID: port})
	for _, s := range []string{server, t.Plugged("ACTIVE")} {
		resp := t.Do(Member, First, "POST", "/servers/"+s+"/os-interface", map[string]any{"interfaceAttachment": map[string]any{"port_id": port}})
		if t.Want(resp, 409, 400) {
			t.CheckFault(resp)
			t.WantMessage(resp, port)
		}
	}
	t.Equal("the number of interfaces", len(t.interfacesOf(server)), 2)
}

func attachUnknown(t *T) {
	server := t.SharedServer(Member)
	attach := func(key string) *Response {
		return t.Do(Member, First, "POST", "/servers/"+server+"/os-interface", map[string]any{"interfaceAttachment": map[string]any{key: t.Value("uuid")}})
	}
	resp := attach("port_id")
	if t.Want(resp, 404) {
		t.CheckFault(resp)
		t.WantMessage(resp, fmt.Sprint(t.Value("uuid")))
	}
	resp = attach("net_id")
	if t.Want(resp, 404, 400, 500) { // the compute host finds out, and what it says is not always understood
		t.CheckFault(resp)
	}
}

func attachTagged(t *T) {
	server, port := t.Plugged("ACTIVE"), t.Port()
	t.detachAfter(server, port)
	path := "/servers/" + server + "/os-interface"
	body := map[string]any{"interfaceAttachment": map[string]any{"port_id": port, "tag": "tempest-lite"}}
	early := t.Do(Member, 48, "POST", path, body)
	if t.Want(early, 400) {
		t.WantMessage(early, "Additional properties are not allowed ('tag' was unexpected)")
	}
	resp := t.Do(Member, 70, "POST", path, body)
	if resp.Status == http.StatusBadRequest && strings.Contains(resp.Message(), "does not support") {
		t.Skipf("the server's host cannot tag interfaces: %s", resp.Message())
	}
	t.Want(resp, 200)
	t.Equal("the tag of the answer", resp.Get("interfaceAttachment", "tag"), "tempest-lite")
	t.Equal("the tag at 2.70", t.Must(Member, 70, "GET", path+"/"+port, nil, 200).Get("interfaceAttachment", "tag"), "tempest-lite")
	before, _ := t.Must(Member, 69, "GET", path+"/"+port, nil, 200).Get("interfaceAttachment").(map[string]any)
	if _, has := before["tag"]; has {
		t.Errorf("the interface has a key tag at 2.69")
	}
}

func detachUnknown(t *T) {
	server, port := t.Plugged("ACTIVE"), t.Port()
	before := len(t.interfacesOf(server))
	for _, id := range []string{port, fmt.Sprint(t.Value("uuid"))} {
		// Where the compute host is asked only later, the answer cannot know.
		t.Want(t.Do(Member, First, "DELETE", "/servers/"+server+"/os-interface/"+id, nil), 404, 202)
	}
	t.Equal("the number of interfaces", len(t.interfacesOf(server)), before)
	t.WaitStatus(Member, First, server, "ACTIVE")
}

func attachStopped(t *T) {
	server, port := t.Plugged("SHUTOFF"), t.Port()
	made := t.attach(server, attachinterfaces.CreateOpts{PortID: port})
	t.wantPort(server, *made)
	t.detach(server, port, made.FixedIPs[0].IPAddress)
}

func addressViews(t *T) {
	server := t.SharedServer(Member)
	shown, _ := t.Must(Member, First, "GET", "/servers/"+server, nil, 200).Get("server", "addresses").(map[string]any)
	listed, _ := t.Must(Member, First, "GET", "/servers/"+server+"/ips", nil, 200).Get("addresses").(map[string]any)
	t.Equal("the networks", keysOf(listed), keysOf(shown))
	t.Equal("the addresses", addressesIn(listed), addressesIn(shown))
	for label, list := range shown {
		one := t.Must(Member, First, "GET", "/servers/"+server+"/ips/"+label, nil, 200)
		t.Equal("the addresses of one network", one.Get(label), dig(listed, label))
		for _, a := range list.([]any) {
			full, _ := a.(map[string]any)
			t.Equal("the keys of an address of the server", keysOf(full), []string{"OS-EXT-IPS-MAC:mac_addr", "OS-EXT-IPS:type", "addr", "version"})
			if kind := full["OS-EXT-IPS:type"]; kind != "fixed" && kind != "floating" { // other checks may lend it one
				t.Errorf("the type of the address is %v", kind)
			}
		}
		for _, a := range listed[label].([]any) {
			short, _ := a.(map[string]any)
			t.Equal("the keys of an address below ips", keysOf(short), []string{"addr", "version"})
		}
	}
}

// groupsOf are the names of a server's security groups, as it shows them and as its list has them.
func (t *T) groupsOf(server string) (shown, listed []string) {
	list, _ := t.Must(Member, First, "GET", "/servers/"+server, nil, 200).Get("server", "security_groups").([]any)
	for _, g := range list {
		shown = append(shown, fmt.Sprint(dig(g, "name")))
	}
	list, _ = t.Must(Member, First, "GET", "/servers/"+server+"/os-security-groups", nil, 200).Get("security_groups").([]any)
	for _, g := range list {
		listed = append(listed, fmt.Sprint(dig(g, "name")))
	}
	return shown, listed
}

func groupOfServer(t *T) {
	_, name := t.SecurityGroup()
	server := t.Plugged("ACTIVE")
	client := t.Compute(Member, First)
	t.OK(secgroups.AddServer(t.Ctx, client, server, name).ExtractErr())
	shown, listed := t.groupsOf(server)
	for what, names := range map[string][]string{"the server": shown, "the list": listed} {
		if !slices.Contains(names, name) || !slices.Contains(names, "default") {
			t.Errorf("%s has the groups %v, not default and %s", what, names, name)
		}
	}
	t.OK(secgroups.RemoveServer(t.Ctx, client, server, name).ExtractErr())
	shown, listed = t.groupsOf(server)
	if slices.Contains(shown, name) || slices.Contains(listed, name) {
		t.Errorf("the server still has the group: %v, %v", shown, listed)
	}
	t.WantCode(secgroups.RemoveServer(t.Ctx, client, server, name).ExtractErr(), http.StatusNotFound)
}

func unknownGroup(t *T) {
	server := t.SharedServer(Member)
	for _, action := range []string{"addSecurityGroup", "removeSecurityGroup"} {
		resp := t.Do(Member, First, "POST", "/servers/"+server+"/action", map[string]any{action: map[string]any{"name": "tempest-lite-none"}})
		if t.Want(resp, http.StatusNotFound) {
			t.CheckFault(resp)
			t.WantMessage(resp, "tempest-lite-none")
		}
	}
}

func groupProxy(t *T) {
	client := t.Compute(Member, First)
	name := t.Name()
	group, err := secgroups.Create(t.Ctx, client, secgroups.CreateOpts{Name: name, Description: "made by tempest-lite"}).Extract()
	t.OK(err)
	t.RemovePath(Member, "/os-security-groups/"+group.ID)
	rule, err := secgroups.CreateRule(t.Ctx, client, secgroups.CreateRuleOpts{ParentGroupID: group.ID, IPProtocol: "tcp", FromPort: 80, ToPort: 90, CIDR: "10.0.0.0/8"}).Extract()
	t.OK(err)
	shown, err := secgroups.Get(t.Ctx, client, group.ID).Extract()
	t.OK(err)
	t.Equal("the name", shown.Name, name)
	found := slices.IndexFunc(shown.Rules, func(r secgroups.Rule) bool { return r.ID == rule.ID })
	if found < 0 {
		t.Fatalf("the group does not show its rule: %v", shown.Rules)
	}
	t.Equal("the first port", shown.Rules[found].FromPort, 80)
	t.Equal("the last port", shown.Rules[found].ToPort, 90)
	t.Equal("the range", shown.Rules[found].IPRange.CIDR, "10.0.0.0/8")
	t.OK(secgroups.DeleteRule(t.Ctx, client, rule.ID).ExtractErr())
	t.WantCode(secgroups.DeleteRule(t.Ctx, client, rule.ID).ExtractErr(), http.StatusNotFound)
	page, err := secgroups.List(client).AllPages(t.Ctx)
	t.OK(err)
	all, err := secgroups.ExtractSecurityGroups(page)
	t.OK(err)
	for _, want := range []string{name, "default"} {
		if !slices.ContainsFunc(all, func(g secgroups.SecurityGroup) bool { return g.Name == want }) {
			t.Errorf("the list has no group %s", want)
		}
	}
	t.OK(secgroups.Delete(t.Ctx, client, group.ID).ExtractErr())
	_, err = secgroups.Get(t.Ctx, client, group.ID).Extract()
	t.WantCode(err, http.StatusNotFound)
}

func groupInUse(t *T) {
	id, name := t.SecurityGroup()
	server := t.Plugged("ACTIVE")
	client := t.Compute(Member, First)
	t.OK(secgroups.AddServer(t.Ctx, client, server, name).ExtractErr())
	resp := t.Do(Member, First, "DELETE", "/os-security-groups/"+id, nil)
	t.OK(secgroups.RemoveServer(t.Ctx, client, server, name).ExtractErr())
	if t.Want(resp, http.StatusBadRequest, http.StatusConflict) {
		t.CheckFault(resp)
	}
}

func groupRuleOfGroup(t *T) {
	id, name := t.SecurityGroup()
	client := t.Compute(Member, First)
	rule, err := secgroups.CreateRule(t.Ctx, client, secgroups.CreateRuleOpts{ParentGroupID: id, IPProtocol: "icmp", FromPort: -1, ToPort: -1, FromGroupID: id}).Extract()
	t.OK(err)
	t.Equal("the name of the group that is let in", rule.Group.Name, name)
	t.Equal("the range", rule.IPRange.CIDR, "")
}

func groupBadID(t *T) {
	for _, method := range []string{"GET", "DELETE"} {
		resp := t.Do(Member, First, method, "/os-security-groups/tempest-lite", nil)
		if t.Want(resp, http.StatusBadRequest) {
			t.CheckFault(resp)
		}
	}
}

func floatingAddressOfServer(t *T) {
	server := t.Plugged("ACTIVE")
	address := fmt.Sprint(t.floatingAddress())
	fixed := t.addressesOf(server)
	path := "/servers/" + server + "/action"
	t.Must(Member, 43, "POST", path, map[string]any{"addFloatingIp": map[string]any{"address": address}}, 202)
	t.Eventually("the server shows the floating address", func() bool { return slices.Contains(t.addressesOf(server), address) })
	list, _ := t.Must(Member, First, "GET", "/os-floating-ips", nil, 200).Get("floating_ips").([]any)
	at := slices.IndexFunc(list, func(f any) bool { return dig(f, "ip") == address })
	if at < 0 {
		t.Fatalf("the list of floating addresses has no %s", address)
	}
	t.Equal("the server of the floating address", dig(list[at], "instance_id"), server)
	if !slices.Contains(fixed, fmt.Sprint(dig(list[at], "fixed_ip"))) {
		t.Errorf("the fixed address is %v, none of %v", dig(list[at], "fixed_ip"), fixed)
	}
	t.Must(Member, 43, "POST", path, map[string]any{"removeFloatingIp": map[string]any{"address": address}}, 202)
	t.Eventually("the server shows the floating address no more", func() bool { return !slices.Contains(t.addressesOf(server), address) })
	t.Want(t.Do(Member, 44, "POST", path, map[string]any{"addFloatingIp": map[string]any{"address": address}}), http.StatusNotFound)
}
