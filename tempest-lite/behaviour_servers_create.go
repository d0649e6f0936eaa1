package tempestlite

import (
	"context"
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

var (
	coversCreate = covers("servers.create", "servers.show")
	coversUpdate = covers("servers.update", "servers.show")
)

func serverCreateChecks() []*Check {
	return slices.Concat(askedChecks(), networkChoiceChecks(), createAnswerChecks(), createRefusalChecks(), serverUpdateChecks(), serverDeleteChecks())
}

// asked is a server that was asked for with all that a request may say. Nothing changes it.
type asked struct {
	ID, Name, Key, Address string
	Answer                 *Response
}

func (t *T) asked() asked {
	image, flavor, network := t.Image(), t.Flavor(0), t.Network(Member)
	address := t.lastAddress(network)
	name := t.Name()
	return t.share("server with everything", func() (any, error) {
		ctx, c := context.WithoutCancel(t.Ctx), t.Cloud
		a := asked{Name: name, Key: name + "-key", Address: address}
		_, err := c.call(ctx, Member, First, "POST", "/os-keypairs", map[string]any{"keypair": map[string]any{"name": a.Key}}, 200)
		if err != nil {
			return nil, err
		}
		c.ledger.add("keypair "+a.Key, c.deleteAs(Member, "/os-keypairs/"+a.Key))
		a.Answer, err = c.call(ctx, Member, 52, "POST", "/servers", map[string]any{
			"server": map[string]any{
				"name": a.Name, "imageRef": image, "flavorRef": flavor, "networks": []any{map[string]any{"uuid": network, "fixed_ip": address}},
				"metadata": map[string]any{"made by": "tempest-lite", "empty": ""}, "key_name": a.Key, "user_data": "dGVtcGVzdC1saXRl",
				"config_drive": true, "description": "a server with everything", "tags": []any{"two", "one", "two"},
				"accessIPv4": "192.0.2.17", "accessIPv6": "2001:db8::17", "adminPass": "Tempest-lite-1", "OS-DCF:diskConfig": "AUTO",
				"security_groups": []any{map[string]any{"name": "default"}},
			},
			"os:scheduler_hints": map[string]any{"tempest-lite": "nobody knows this hint"},
		}, 202)
		if err != nil {
			return nil, err
		}
		a.ID = a.Answer.Str("server", "id")
		c.ledger.add("server "+a.ID, c.deleteServer(Member, a.ID))
		return a, c.waitStatus(ctx, Member, a.ID, "ACTIVE")
	}).(asked)
}

// lastAddress is the last address that the network's subnet gives out.
func (t *T) lastAddress(network string) string {
	neutron, err := t.Cloud.networkClient(Member)
	if err != nil {
		t.Skipf("%v", err)
	}
	page, err := subnets.List(neutron, subnets.ListOpts{NetworkID: network, IPVersion: 4}).AllPages(t.Ctx)
	t.OK(err)
	all, err := subnets.ExtractSubnets(page)
	t.OK(err)
	for _, s := range all {
		if n := len(s.AllocationPools); n > 0 {
			return s.AllocationPools[n-1].End
		}
	}
	t.Skipf("the network %s has no IPv4 subnet that gives out addresses", network)
	return ""
}

// begin creates a server, does not wait for it, and deletes it after the check.
func (t *T) begin(as Role, v Version, body map[string]any) *Response {
	resp := t.Must(as, v, "POST", "/servers", body, 202)
	t.disown(as, resp.Str("server", "id"))
	return resp
}

// disown has a server deleted after the check.
func (t *T) disown(as Role, id string) { t.Remove("server "+id, t.Cloud.deleteServer(as, id)) }

// shown is the server of GET /servers/{id}.
func (t *T) shown(as Role, v Version, id string) map[string]any {
	server, _ := t.Must(as, v, "GET", "/servers/"+id, nil, 200).Get("server").(map[string]any)
	return server
}

// lacksKeys records a fault for each of the keys that a server has.
func (t *T) lacksKeys(as Role, v Version, server map[string]any, keys ...string) {
	for _, key := range keys {
		if value, has := server[key]; has {
			t.Errorf("at %s the role %s sees %s, which is %v", v, as, key, value)
		}
	}
}

const attr = "OS-EXT-SRV-ATTR:"

func askedChecks() []*Check {
	return []*Check{
		behaviour("server create", "answer", "the answer to a create has the id, the links, the password and the Location", 52, func(t *T) {
			a := t.asked()
			t.within("the answer", a.Answer.JSON, map[string]any{"server": map[string]any{
				"id": a.ID, "OS-DCF:diskConfig": "AUTO", "security_groups": []any{map[string]any{"name": "default"}}}})
			t.Equal("the header Location", a.Answer.Header.Get("Location"), a.Answer.Str("server", "links", 0, "href"))
			password, has := dig(a.Answer.JSON, "server", "adminPass").(string)
			if has { // a cloud may keep passwords to itself
				t.Equal("adminPass", password, "Tempest-lite-1")
			}
		}, coversCreate),
		behaviour("server create", "shown", "a server shows what was asked for", 52, func(t *T) {
			a := t.asked()
			t.within("the server at 2.1", t.shown(Member, First, a.ID), map[string]any{
				"name": a.Name, "key_name": a.Key, "metadata": map[string]any{"made by": "tempest-lite", "empty": ""}, "config_drive": "True",
				"accessIPv4": "192.0.2.17", "accessIPv6": "2001:db8::17", "OS-DCF:diskConfig": "AUTO", "image": map[string]any{"id": t.Image()},
				"flavor": map[string]any{"id": t.Flavor(0)}, "security_groups": []any{map[string]any{"name": "default"}},
			})
			s := t.shown(Member, 52, a.ID)
			t.Equal("the description", s["description"], "a server with everything")
			tags, _ := s["tags"].([]any)
			slices.SortFunc(tags, func(x, y any) int { return strings.Compare(fmt.Sprint(x), fmt.Sprint(y)) })
			t.Equal("the tags", tags, []any{"one", "two"})
		}, coversCreate),
		behaviour("server create", "address", "a server has the fixed address that was asked for", 52, func(t *T) {
			a := t.asked()
			addresses, _ := t.shown(Member, First, a.ID)["addresses"].(map[string]any)
			t.Equal("the number of networks", len(addresses), 1)
			for label, list := range addresses {
				t.within("the addresses of "+label, list, []any{map[string]any{"addr": a.Address, "version": 4, "OS-EXT-IPS:type": "fixed"}})
				mac := fmt.Sprint(dig(list, 0, "OS-EXT-IPS-MAC:mac_addr"))
				if !regexp.MustCompile(`^([0-9a-f]{2}:){5}[0-9a-f]{2}$`).MatchString(mac) {
					t.Errorf("the MAC address is %q", mac)
				}
			}
			resp := t.Do(Member, First, "POST", "/servers", t.ServerBody(Member, map[string]any{
				"networks": []any{map[string]any{"uuid": t.Network(Member), "fixed_ip": a.Address}}}))
			if t.Want(resp, 400) {
				t.WantMessage(resp, "Fixed IP address "+a.Address+" is already in use")
			}
		}, coversCreate, needs(NeedNetworks)),
		behaviour("server create", "flavor-view", "a server shows its flavor's id to 2.46, and its size from 2.47 on", 52, func(t *T) {
			id := t.asked().ID
			flavor, _ := t.shown(Member, 46, id)["flavor"].(map[string]any)
			t.Equal("the flavor at 2.46", flavor["id"], t.Flavor(0))
			t.Equal("the number of its keys", len(flavor), 2)
			flavor, _ = t.shown(Member, 47, id)["flavor"].(map[string]any)
			real := t.Must(Member, 47, "GET", "/flavors/"+t.Flavor(0), nil, 200)
			for _, key := range []string{"vcpus", "ram", "disk"} {
				t.Equal("the flavor's "+key, flavor[key], real.Get("flavor", key))
			}
			t.Equal("the flavor's original_name", flavor["original_name"], real.Get("flavor", "name"))
			t.lacksKeys(Member, 47, flavor, "id", "links")
		}, coversCreate),
		behaviour("server create", "attributes", "host and the like are shown to the administrator only", 52, func(t *T) {
			id := t.asked().ID
			basic := []string{attr + "host", attr + "instance_name", attr + "hypervisor_hostname"}
			more := []string{attr + "reservation_id", attr + "launch_index", attr + "hostname", attr + "kernel_id", attr + "ramdisk_id",
				attr + "root_device_name", attr + "user_data"}
			t.lacksKeys(Member, First, t.shown(Member, First, id), basic...)
			t.lacksKeys(Member, 3, t.shown(Member, 3, id), append(more, basic...)...)
			s := t.shown(Admin, First, id)
			t.lacksKeys(Admin, First, s, more...)
			for _, key := range basic {
				if text, _ := s[key].(string); text == "" {
					t.Errorf("the administrator sees %s as %v", key, s[key])
				}
			}
			s = t.shown(Admin, 3, id)
			t.within("what the administrator sees", s, map[string]any{attr + "user_data": "dGVtcGVzdC1saXRl", attr + "launch_index": 0, attr + "kernel_id": "", attr + "ramdisk_id": ""})
			if r, _ := s[attr+"reservation_id"].(string); !strings.HasPrefix(r, "r-") {
				t.Errorf("the reservation is %q, not r- and more", r)
			}
		}, coversCreate, needs(NeedAdmin)),
		behaviour("server create", "host-status", "host_status is shown to the administrator from 2.16 on", 52, func(t *T) {
			id := t.asked().ID
			t.lacksKeys(Admin, 15, t.shown(Admin, 15, id), "host_status")
			t.lacksKeys(Member, 16, t.shown(Member, 16, id), "host_status")
			t.Equal("host_status", t.shown(Admin, 16, id)["host_status"], "UP")
		}, coversCreate, needs(NeedAdmin)),
		behaviour("server create", "hostname-view", "the host name is shown to everybody from 2.90 on", 90, func(t *T) {
			a := t.asked()
			t.lacksKeys(Member, 89, t.shown(Member, 89, a.ID), attr+"hostname")
			t.Equal("the host name", t.shown(Member, 90, a.ID)[attr+"hostname"], strings.ToLower(a.Name))
		}, coversCreate),
		behaviour("server create", "links", "the self link of a server leads to it; the bookmark names no version", 52, func(t *T) {
			a := t.asked()
			for _, server := range []any{a.Answer.Get("server"), t.shown(Member, First, a.ID)} {
				self, bookmark := fmt.Sprint(dig(server, "links", 0, "href")), fmt.Sprint(dig(server, "links", 1, "href"))
				t.Equal("the rels", fmt.Sprint(dig(server, "links", 0, "rel"), " ", dig(server, "links", 1, "rel")), "self bookmark")
				t.Equal("the server of the self link", t.Must(Member, First, "GET", self, nil, 200).Str("server", "id"), a.ID)
				if !strings.HasSuffix(bookmark, "/servers/"+a.ID) || strings.Contains(bookmark, "/v2.1/") {
					t.Errorf("the bookmark is %s", bookmark)
				}
			}
		}, coversCreate),
		behaviour("server create", "description-default", "without a description it is the name to 2.18, and null from 2.19 on", 19, func(t *T) {
			l := t.listing()
			t.Equal("the description of a server of 2.1", t.shown(Member, 19, l.IDs[0])["description"], l.Name+"-a")
			id := t.begin(Member, 19, t.ServerBody(Member, nil)).Str("server", "id")
			t.Equal("the description of a server of 2.19", t.shown(Member, 19, id)["description"], nil)
		}, coversCreate),
	}
}

func networkChoiceChecks() []*Check {
	return []*Check{
		behaviour("server create", "network-none", "networks none makes a server without an address", 37, func(t *T) {
			s := t.NewServer(Member, 37, map[string]any{"networks": "none"})
			t.Equal("the addresses", s.Get("server", "addresses"), map[string]any{})
		}, coversCreate),
		behaviour("server create", "network-auto", "networks auto finds a network, where there are not several", 37, func(t *T) {
			resp := t.Do(Member, 37, "POST", "/servers", t.ServerBody(Member, map[string]any{"networks": "auto"}))
			switch {
			case resp.Status == 400:
				t.Skipf("the cloud has no network to allot: %s", resp.Message())
			case resp.Status == 409: // the cloud shares networks of its own
				t.WantMessage(resp, "Multiple possible networks found, use a Network ID to be more specific.")
			case t.Want(resp, 202):
				id := resp.Str("server", "id")
				t.disown(Member, id)
				s := t.WaitStatus(Member, 37, id, "ACTIVE")
				if firstAddress(s.Get("server", "addresses")) == "" {
					t.Errorf("the server has no address: %s", s.Body)
				}
			}
		}, coversCreate, needs(NeedNetworks)),
		behaviour("server create", "network-due", "networks may be left out to 2.36, and not from 2.37 on", 37, func(t *T) {
			body := t.ServerBody(Member, nil)
			delete(body["server"].(map[string]any), "networks")
			resp := t.Do(Member, 37, "POST", "/servers", body)
			if t.Want(resp, 400) {
				t.WantMessage(resp, "'networks' is a required property")
			}
			t.Network(Member)
			old := t.Do(Member, 36, "POST", "/servers", body)
			if t.Want(old, 202, 409) && old.Status == 202 { // 409 where there are more networks than ours
				t.disown(Member, old.Str("server", "id"))
			}
		}, coversCreate, needs(NeedNetworks)),
		behaviour("server create", "network-several", "a server for which no network is named is refused where there are several", 0, func(t *T) {
			body := t.ServerBody(Other, nil)
			delete(body["server"].(map[string]any), "networks")
			t.anotherNetwork(Other)
			resp := t.Do(Other, First, "POST", "/servers", body)
			if t.Want(resp, 409) {
				t.CheckFault(resp)
				t.WantMessage(resp, "Multiple possible networks found, use a Network ID to be more specific.")
			}
		}, coversCreate, needs(NeedNetworks)),
		behaviour("server create", "network-twice", "a network that is named twice gives two addresses", 0, func(t *T) {
			network := map[string]any{"uuid": t.Network(Member)}
			s := t.NewServer(Member, First, map[string]any{"networks": []any{network, network}})
			addresses, _ := s.Get("server", "addresses").(map[string]any)
			for label, list := range addresses {
				if items, _ := list.([]any); len(items) != 2 {
					t.Errorf("the server has the addresses %v in %s, where two are due", list, label)
				}
			}
			t.Equal("the number of networks", len(addresses), 1)
		}, coversCreate, needs(NeedNetworks)),
		behaviour("server create", "address-outside", "an address that is in no subnet of the network is refused, or the server fails", 0, func(t *T) {
			network := map[string]any{"uuid": t.Network(Member), "fixed_ip": "203.0.113.9"}
			resp := t.Do(Member, First, "POST", "/servers", t.ServerBody(Member, map[string]any{"networks": []any{network}}))
			if t.Want(resp, 400, 202) && resp.Status == 202 {
				id := resp.Str("server", "id")
				t.disown(Member, id)
				t.WaitStatus(Member, First, id, "ERROR")
			}
		}, coversCreate, needs(NeedNetworks)),
		behaviour("server create", "port", "a server on a port has the port's address, and the port outlives it", 0, func(t *T) {
			id := t.Port()
			neutron, err := t.Cloud.networkClient(Member)
			t.OK(err)
			port, err := ports.Get(t.Ctx, neutron, id).Extract()
			t.OK(err)
			on := func(more map[string]any) map[string]any {
				network := map[string]any{"port": id}
				for key, value := range more {
					network[key] = value
				}
				return t.ServerBody(Member, map[string]any{"networks": []any{network}})
			}
			body := on(nil)
			t.Want(t.Do(Member, First, "POST", "/servers", on(map[string]any{"fixed_ip": port.FixedIPs[0].IPAddress})), 400)
			body["server"].(map[string]any)["networks"] = []any{map[string]any{"port": id}, map[string]any{"port": id}}
			t.Want(t.Do(Member, First, "POST", "/servers", body), 400)

			server := t.begin(Member, First, on(nil)).Str("server", "id")
			s := t.WaitStatus(Member, First, server, "ACTIVE")
			t.Equal("the address", firstAddress(s.Get("server", "addresses")), port.FixedIPs[0].IPAddress)
			busy := t.Do(Member, First, "POST", "/servers", on(nil))
			if t.Want(busy, 409) {
				t.WantMessage(busy, "Port "+id+" is still in use.")
			}
			t.Must(Member, First, "DELETE", "/servers/"+server, nil, 204)
			t.WaitGone(Member, server)
			port, err = ports.Get(t.Ctx, neutron, id).Extract()
			t.OK(err)
			t.Equal("the device that the port belongs to afterwards", port.DeviceID, "")
		}, coversCreate, covers("servers.delete"), needs(NeedNetworks)),
	}
}

// anotherNetwork makes a network of a role's project for as long as the check runs.
func (t *T) anotherNetwork(as Role) string {
	neutron, err := t.Cloud.networkClient(as)
	if err != nil {
		t.Skipf("%v", err)
	}
	n, err := networks.Create(t.Ctx, neutron, networks.CreateOpts{Name: t.Name()}).Extract()
	t.OK(err)
	t.Remove("network "+n.Name, func(ctx context.Context) error { return networks.Delete(ctx, neutron, n.ID).ExtractErr() })
	_, err = subnets.Create(t.Ctx, neutron, subnets.CreateOpts{NetworkID: n.ID, IPVersion: gophercloud.IPv4, CIDR: "10.213.8.0/24", Name: n.Name}).Extract()
	t.OK(err)
	return n.ID
}

// characters are those of a password that Nova makes: none that looks like another.
var characters = regexp.MustCompile(`^[2-9A-HJ-NP-Za-km-z]+$`)

func createAnswerChecks() []*Check {
	return []*Check{
		behaviour("server create", "password", "a server without a password gets one", 0, func(t *T) {
			resp := t.begin(Member, First, t.ServerBody(Member, nil))
			password, has := resp.Get("server", "adminPass").(string)
			if !has {
				t.Skipf("the cloud shows no passwords")
			}
			if !characters.MatchString(password) {
				t.Errorf("the password %q has other characters than digits and letters that look like no other", password)
			}
		}, coversCreate),
		behaviour("server create", "several", "several servers at once have numbers behind their names, and one reservation", 3, func(t *T) {
			body := t.ServerBody(Member, map[string]any{"min_count": 2, "max_count": "2", "return_reservation_id": true})
			name := body["server"].(map[string]any)["name"].(string)
			resp := t.Must(Member, First, "POST", "/servers", body, 202)
			reservation := resp.Str("reservation_id")
			list := t.Must(Member, First, "GET", "/servers?sort_key=display_name&sort_dir=asc&name="+name, nil, 200)
			all, _ := list.Get("servers").([]any)
			for _, s := range all {
				t.disown(Member, fmt.Sprint(dig(s, "id")))
			}
			t.Equal("the keys of the answer", len(resp.JSON.(map[string]any)), 1)
			if !strings.HasPrefix(reservation, "r-") {
				t.Errorf("the reservation is %q, not r- and more", reservation)
			}
			t.Equal("the header Location", resp.Header.Get("Location"), "")
			if len(all) != 2 {
				t.Fatalf("%d servers are made, where 2 are due", len(all))
			}
			mine := t.Must(Member, First, "GET", "/servers?reservation_id="+reservation, nil, 200)
			t.Equal("the number of servers of the reservation", len(mine.Get("servers").([]any)), 2)
			for i, s := range all {
				want := fmt.Sprintf("%s-%d", name, i+1)
				t.Equal("the name", dig(s, "name"), want)
				t.within("the server", t.shown(Admin, 3, fmt.Sprint(dig(s, "id"))),
					map[string]any{attr + "hostname": strings.ToLower(want), attr + "launch_index": i, attr + "reservation_id": reservation})
			}
		}, coversCreate, coversLists, needs(NeedAdmin)),
		behaviour("server create", "several-first", "without return_reservation_id the answer to a create of several is the first server", 0, func(t *T) {
			body := t.ServerBody(Member, map[string]any{"min_count": 2, "max_count": 2})
			name := body["server"].(map[string]any)["name"].(string)
			resp := t.begin(Member, First, body)
			list := t.Must(Member, First, "GET", "/servers?name="+name, nil, 200)
			all, _ := list.Get("servers").([]any)
			for _, s := range all {
				if id := fmt.Sprint(dig(s, "id")); id != resp.Str("server", "id") {
					t.disown(Member, id)
				}
			}
			t.Equal("the number of servers", len(all), 2)
			t.Equal("the name of the one in the answer", t.shown(Member, First, resp.Str("server", "id"))["name"], name+"-1")
		}, coversCreate),
		behaviour("server create", "building", "a new server is shown at once, with nothing that it has not yet", 0, func(t *T) {
			id := t.begin(Member, First, t.ServerBody(Member, nil)).Str("server", "id")
			s := t.shown(Member, First, id)
			t.Equal("the id", s["id"], id)
			if s["status"] == "BUILD" {
				t.Equal("the time of its launch", s["OS-SRV-USG:launched_at"], nil)
				t.Equal("vm_state", s["OS-EXT-STS:vm_state"], "building")
			}
			s, _ = t.WaitStatus(Member, First, id, "ACTIVE").Get("server").(map[string]any)
			if s["OS-SRV-USG:launched_at"] == nil || s["hostId"] == "" {
				t.Errorf("an active server was launched at %v on the host %v", s["OS-SRV-USG:launched_at"], s["hostId"])
			}
		}, coversCreate),
		behaviour("server create", "hostname", "the host name is made of the name", 90, func(t *T) {
			first := t.begin(Member, 90, t.ServerBody(Member, map[string]any{"name": "Tempest_Lite 1.x-"})).Str("server", "id")
			t.Equal("the host name", t.shown(Member, 90, first)[attr+"hostname"], "tempest-lite-1-x")
			second := t.begin(Member, 90, t.ServerBody(Member, map[string]any{"name": "サーバー"})).Str("server", "id")
			s := t.shown(Member, 90, second)
			t.Equal("the name", s["name"], "サーバー")
			t.Equal("the host name", s[attr+"hostname"], "Server-"+second)
			third := t.begin(Member, 90, t.ServerBody(Member, map[string]any{"hostname": "tempest-lite-own"})).Str("server", "id")
			t.Equal("the host name", t.shown(Member, 90, third)[attr+"hostname"], "tempest-lite-own")
		}, coversCreate),
		behaviour("server create", "flavor-link", "flavorRef may be the link of a flavor", 0, func(t *T) {
			id := t.Flavor(0)
			link := t.Must(Member, First, "GET", "/flavors/"+id, nil, 200).Str("flavor", "links", 1, "href")
			resp := t.begin(Member, First, t.ServerBody(Member, map[string]any{"flavorRef": link}))
			t.Equal("the flavor", dig(t.shown(Member, First, resp.Str("server", "id")), "flavor", "id"), id)
		}, coversCreate),
		behaviour("server create", "no-host", "a server that fits no host goes to ERROR, and its fault tells why", 0, func(t *T) {
			s := t.begin(Member, First, t.ServerBody(Member, map[string]any{"flavorRef": t.flavorOf(map[string]any{"vcpus": 1, "ram": 2000000000, "disk": 1})}))
			id := s.Str("server", "id")
			failed := t.WaitStatus(Member, First, id, "ERROR")
			fault, _ := failed.Get("server", "fault").(map[string]any)
			t.Equal("the fault's code", fault["code"], 500)
			if text, _ := fault["message"].(string); !strings.HasPrefix(text, "No valid host was found") {
				t.Errorf("the fault's message is %q", text)
			}
			t.lacksKeys(Member, First, fault, "details")
			if fault["created"] == nil {
				t.Errorf("the fault has no time: %v", fault)
			}
			t.Equal("its host", failed.Str("server", "hostId"), "")
			t.Equal("vm_state", failed.Str("server", "OS-EXT-STS:vm_state"), "error")
			t.Equal("its addresses", failed.Get("server", "addresses"), map[string]any{})
			listed := t.Must(Member, First, "GET", "/servers/detail?status=ERROR&name="+failed.Str("server", "name"), nil, 200)
			t.Equal("what the list of failed servers has", listed.Str("servers", 0, "id"), id) // its fault is not always told there
			details, _ := dig(t.shown(Admin, First, id), "fault", "details").(string)
			if details == "" {
				t.Errorf("the administrator is shown no details of the fault")
			}
			t.Must(Member, First, "DELETE", "/servers/"+id, nil, 204)
			t.WaitGone(Member, id)
		}, coversCreate, coversLists, covers("servers.delete"), needs(NeedAdmin)),
	}
}

// flavorOf makes a flavor for as long as the check runs.
func (t *T) flavorOf(size map[string]any) string {
	flavor := map[string]any{"name": t.Name()}
	for key, value := range size {
		flavor[key] = value
	}
	id := t.Must(Admin, First, "POST", "/flavors", map[string]any{"flavor": flavor}, 200).Str("flavor", "id")
	t.RemovePath(Admin, "/flavors/"+id)
	return id
}

// refusesServer records a fault unless a server with these fields is refused.
func (t *T) refusesServer(as Role, v Version, extra map[string]any, code int, message string) {
	resp := t.Do(as, v, "POST", "/servers", t.ServerBody(Member, extra))
	if resp.Status == 202 {
		t.disown(as, resp.Str("server", "id"))
	}
	if t.Want(resp, code) {
		t.CheckFault(resp)
		t.WantMessage(resp, message)
	}
}

// limit is one of the member's limits; a check is skipped where there is none, or one too
// high to try.
func (t *T) limit(name string, most int) int {
	value, _ := number(t.Must(Member, First, "GET", "/limits", nil, 200).Get("limits", "absolute", name))
	if value < 0 || int(value) > most {
		t.Skipf("the cloud's limit %s is %d", name, int(value))
	}
	return int(value)
}

func createRefusalChecks() []*Check {
	return []*Check{
		behaviour("server create", "forced-host", "a host is named by the administrator only", 0, func(t *T) {
			t.refusesServer(Member, First, map[string]any{"availability_zone": "nova:tempest-lite"}, 403, "os_compute_api:servers:create:forced_host")
		}, coversCreate, needs(NeedAdmin)),
		behaviour("server create", "host", "host and hypervisor_hostname are the administrator's from 2.74 on, and not known before", 74, func(t *T) {
			for _, key := range []string{"host", "hypervisor_hostname"} {
				named := map[string]any{key: "tempest-lite", "networks": "none"}
				t.refusesServer(Member, 73, named, 400, "'"+key+"' was unexpected")
				t.refusesServer(Member, 74, named, 403, "compute:servers:create:requested_destination")
				t.refusesServer(Admin, 74, named, 400, "Compute host tempest-lite could not be found.")
			}
			t.refusesServer(Admin, 74, map[string]any{"host": "tempest-lite", "availability_zone": "nova:tempest-lite", "networks": "none"}, 400, "")
		}, coversCreate, needs(NeedAdmin)),
		behaviour("server create", "zero-disk", "a flavor without a disk is not for an image", 0, func(t *T) {
			t.refusesServer(Member, First, map[string]any{"flavorRef": t.flavorOf(map[string]any{"vcpus": 1, "ram": 64, "disk": 0})}, 403,
				"Only volume-backed servers are allowed for flavors with zero disk.")
		}, coversCreate, needs(NeedAdmin)),
		behaviour("server create", "disabled-flavor", "a flavor of another project is not found", 0, func(t *T) {
			id := t.flavorOf(map[string]any{"vcpus": 1, "ram": 64, "disk": 1, "os-flavor-access:is_public": false})
			t.refusesServer(Member, First, map[string]any{"flavorRef": id}, 400, "Flavor "+id+" could not be found.")
		}, coversCreate, needs(NeedAdmin)),
		behaviour("server create", "image-memory", "an image that wants more memory than the flavor has is refused", 0, func(t *T) {
			t.refusesServer(Member, First, map[string]any{"imageRef": t.imageOf(images.CreateOpts{MinRAM: 1 << 20}, true)}, 400,
				"Flavor's memory is too small for requested image.")
		}, coversCreate, needs(NeedImages)),
		behaviour("server create", "image-disk", "an image that wants a larger disk than the flavor has is refused", 0, func(t *T) {
			t.refusesServer(Member, First, map[string]any{"imageRef": t.imageOf(images.CreateOpts{MinDisk: 1 << 20}, true)}, 400,
				"Flavor's disk is smaller than the minimum size specified in image metadata.")
		}, coversCreate, needs(NeedImages)),
		behaviour("server create", "image-inactive", "an image that is not active is refused", 0, func(t *T) {
			id := t.imageOf(images.CreateOpts{}, false)
			t.refusesServer(Member, First, map[string]any{"imageRef": id}, 400, "Image "+id+" is not active.")
		}, coversCreate, needs(NeedImages)),
		behaviour("server create", "quota-metadata", "a server has no more metadata than the quota lets it", 0, func(t *T) {
			limit := t.limit("maxServerMeta", 300)
			metadata := map[string]any{}
			for i := range limit + 1 {
				metadata[fmt.Sprintf("key-%d", i)] = "value"
			}
			t.refusesServer(Member, First, map[string]any{"metadata": metadata}, 403, fmt.Sprintf("Maximum number of metadata items exceeds %d", limit))
		}, coversCreate),
		behaviour("server create", "quota-files", "a server is given no more files than the quota lets it", 0, func(t *T) {
			var files []any
			for i := range t.limit("maxPersonality", 100) + 1 {
				files = append(files, map[string]any{"path": fmt.Sprintf("/etc/tempest-lite-%d", i), "contents": "dGVtcGVzdC1saXRl"})
			}
			t.refusesServer(Member, First, map[string]any{"personality": files}, 403, "Personality file limit exceeded")
		}, coversCreate),
		behaviour("server create", "hostname-several", "a host name of one's own is for one server", 90, func(t *T) {
			t.refusesServer(Member, 90, map[string]any{"hostname": "tempest-lite", "max_count": 2}, 400, "")
		}, coversCreate),
		behaviour("server create", "image-of-another", "another project's image and key are not found", 0, func(t *T) {
			if why := t.Cloud.lacks(Other); why != "" {
				t.Skipf("%s", why)
			}
			key := t.freshKeypair()
			resp := t.Do(Other, First, "POST", "/servers", t.ServerBody(Other, map[string]any{"key_name": key}))
			if t.Want(resp, 400) {
				t.WantMessage(resp, "Invalid key_name provided.")
			}
			id := t.imageOf(images.CreateOpts{}, false)
			resp = t.Do(Other, First, "POST", "/servers", t.ServerBody(Other, map[string]any{"imageRef": id}))
			if t.Want(resp, 400) {
				t.WantMessage(resp, "Can not find requested image")
			}
		}, coversCreate, needs(NeedImages)),
	}
}

// imageOf makes an image of the member's for as long as the check runs.
func (t *T) imageOf(opts images.CreateOpts, upload bool) string {
	glance, err := t.Cloud.imageClient(Member)
	if err != nil {
		t.Skipf("%v", err)
	}
	opts.Name, opts.DiskFormat, opts.ContainerFormat = t.Name(), "raw", "bare"
	img, err := images.Create(t.Ctx, glance, opts).Extract()
	t.OK(err)
	t.Remove("image "+img.Name, func(ctx context.Context) error { return images.Delete(ctx, glance, img.ID).ExtractErr() })
	if upload {
		t.OK(imagedata.Upload(t.Ctx, glance, img.ID, zeros(1024)).ExtractErr())
	}
	return img.ID
}

func serverUpdateChecks() []*Check {
	return []*Check{
		behaviour("server update", "names", "a name may have 255 characters of any script", 0, func(t *T) {
			id := t.Server("ACTIVE")
			for _, name := range []string{strings.Repeat("n", 255), "Ünïcødé 名前", "x", "a  b", "<&>\"'%;"} {
				s, err := servers.Update(t.Ctx, t.Compute(Member, First), id, servers.UpdateOpts{Name: name}).Extract()
				t.OK(err)
				t.Equal("the name in the answer", s.Name, name)
				t.Equal("the name", t.shown(Member, First, id)["name"], name)
			}
			_, err := servers.Update(t.Ctx, t.Compute(Member, First), id, servers.UpdateOpts{Name: strings.Repeat("n", 256)}).Extract()
			t.WantCode(err, 400)
			t.Equal("the name after a refusal", t.shown(Member, First, id)["name"], "<&>\"'%;")
		}, coversUpdate),
		behaviour("server update", "parts", "an update changes what it names and nothing else", 19, func(t *T) {
			id := t.Server("ACTIVE")
			put := func(v Version, server map[string]any) *Response {
				return t.Must(Member, v, "PUT", "/servers/"+id, map[string]any{"server": server}, 200)
			}
			before := t.shown(Member, 19, id)
			put(19, map[string]any{"description": "of tempest-lite"})
			put(19, map[string]any{"accessIPv4": "192.0.2.20"})
			s := t.shown(Member, 19, id)
			t.within("the server", s, map[string]any{"description": "of tempest-lite", "accessIPv4": "192.0.2.20", "name": before["name"], "accessIPv6": before["accessIPv6"], "status": "ACTIVE"})
			t.Equal("the description in the answer to an empty update", put(19, map[string]any{}).Str("server", "description"), "of tempest-lite")
			put(19, map[string]any{"description": nil})
			t.Equal("the description after null", t.shown(Member, 19, id)["description"], nil)
			put(19, map[string]any{"description": ""})
			t.Equal("the description after an empty one", t.shown(Member, 19, id)["description"], "")
		}, coversUpdate),
		behaviour("server update", "locked", "a locked server can be renamed", 0, func(t *T) {
			id := t.LockedServer()
			name := fmt.Sprint(t.shown(Member, First, id)["name"])
			s, err := servers.Update(t.Ctx, t.Compute(Member, First), id, servers.UpdateOpts{Name: name}).Extract()
			t.OK(err)
			t.Equal("the name", s.Name, name)
		}, coversUpdate, needs(NeedAdmin)),
		behaviour("server update", "hostname", "the host name is changed from 2.90 on, and the name does not change it", 90, func(t *T) {
			id := t.Server("ACTIVE")
			put := func(server map[string]any) any {
				return t.Must(Member, 90, "PUT", "/servers/"+id, map[string]any{"server": server}, 200).Get("server", attr+"hostname")
			}
			t.Equal("the host name", put(map[string]any{"hostname": "tempest-lite-new"}), "tempest-lite-new")
			t.Equal("the host name after a change of the name", put(map[string]any{"name": t.Name()}), "tempest-lite-new")
		}, coversUpdate),
		behaviour("server update", "view", "the answer to an update lacks to 2.74 what a show has, and has it from 2.75 on", 75, func(t *T) {
			id := t.Server("ACTIVE")
			name := map[string]any{"server": map[string]any{"name": t.Name()}}
			late := []string{"OS-EXT-AZ:availability_zone", "config_drive", "key_name", "OS-SRV-USG:launched_at", "security_groups", "OS-EXT-STS:vm_state", "os-extended-volumes:volumes_attached"}
			server, _ := t.Must(Member, 74, "PUT", "/servers/"+id, name, 200).Get("server").(map[string]any)
			t.lacksKeys(Member, 74, server, late...)
			server, _ = t.Must(Member, 75, "PUT", "/servers/"+id, name, 200).Get("server").(map[string]any)
			shown := t.shown(Member, 75, id)
			for _, key := range late {
				t.Equal(key+" in the answer", text(server[key]), text(shown[key]))
			}
		}, coversUpdate),
	}
}

func text(v any) string {
	data, _ := json.Marshal(v)
	return string(data)
}

func serverDeleteChecks() []*Check {
	return []*Check{
		behaviour("server delete", "twice", "a deleted server is not there any more, and a second DELETE of it is 404", 0, func(t *T) {
			id := t.NewServer(Member, First, nil).Str("server", "id")
			client := t.Compute(Member, First)
			t.OK(servers.Delete(t.Ctx, client, id).ExtractErr())
			again := t.Do(Member, First, "DELETE", "/servers/"+id, nil)
			t.Want(again, 204, 404) // 404 where the first was quick
			t.WaitGone(Member, id)
			t.WantCode(servers.Delete(t.Ctx, client, id).ExtractErr(), 404)
			_, err := servers.Update(t.Ctx, client, id, servers.UpdateOpts{Name: "gone"}).Extract()
			t.WantCode(err, 404)
			resp := t.Do(Member, First, "GET", "/servers/"+id, nil)
			if t.Want(resp, 404) {
				t.WantMessage(resp, "Instance "+id+" could not be found.")
			}
		}, covers("servers.delete", "servers.show")),
		behaviour("server delete", "building", "a server can be deleted before it runs", 0, func(t *T) {
			id := t.Must(Member, First, "POST", "/servers", t.ServerBody(Member, nil), 202).Str("server", "id")
			t.disown(Member, id)
			t.OK(servers.Delete(t.Ctx, t.Compute(Member, First), id).ExtractErr())
			t.WaitGone(Member, id)
		}, covers("servers.delete")),
		behaviour("server delete", "ports", "the ports that were made for a server go with it", 0, func(t *T) {
			id := t.NewServer(Member, First, nil).Str("server", "id")
			neutron, err := t.Cloud.networkClient(Member)
			t.OK(err)
			count := func() int {
				page, err := ports.List(neutron, ports.ListOpts{DeviceID: id}).AllPages(t.Ctx)
				t.OK(err)
				all, err := ports.ExtractPorts(page)
				t.OK(err)
				return len(all)
			}
			t.Equal("the number of its ports", count(), 1)
			t.OK(servers.Delete(t.Ctx, t.Compute(Member, First), id).ExtractErr())
			t.WaitGone(Member, id)
			t.Equal("the number of its ports afterwards", count(), 0)
		}, covers("servers.delete"), needs(NeedNetworks)),
	}
}
