package networks

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// call sends one request to the API as a caller of callers.
func call(s *Service, as, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://cloud"+path, strings.NewReader(body))
	if as != "" {
		r.Header.Set("X-Auth-Token", as)
	}
	rec := httptest.NewRecorder()
	s.Handler().ServeHTTP(rec, r)
	return rec
}

// step is one request of a story; {name} in path and body is an id that an earlier step
// kept.
type step struct {
	name, as, method, path, body string
	code                         int
	want, forbid                 string
	keep                         string // keeps the id of the answer under this name
}

func story(t *testing.T, s *Service, steps []step) map[string]string {
	t.Helper()
	kept := map[string]string{}
	fill := func(text string) string {
		for k, v := range kept {
			text = strings.ReplaceAll(text, "{"+k+"}", v)
		}
		return text
	}
	for _, st := range steps {
		rec := call(s, st.as, st.method, fill(st.path), fill(st.body))
		body := rec.Body.String()
		if rec.Code != st.code {
			t.Errorf("%s: %s %s as %s = %d, want %d: %s", st.name, st.method, fill(st.path), st.as, rec.Code, st.code, body)
		}
		if st.keep != "" {
			kept[st.keep] = idIn(rec.Body.Bytes())
		}
		for _, want := range strings.Split(st.want, "&&") {
			if !strings.Contains(body, fill(want)) {
				t.Errorf("%s: no %s in %s", st.name, fill(want), body)
			}
		}
		if st.forbid != "" && strings.Contains(body, fill(st.forbid)) {
			t.Errorf("%s: %s in %s", st.name, fill(st.forbid), body)
		}
	}
	return kept
}

// idIn finds the id of the first resource of a body.
func idIn(body []byte) string {
	var doc map[string]json.RawMessage
	_ = json.Unmarshal(body, &doc) // no id is told by the test's next step
	for _, inner := range doc {
		var one struct{ ID string }
		if json.Unmarshal(inner, &one) == nil && one.ID != "" {
			return one.ID
		}
		var list []struct{ ID string }
		if json.Unmarshal(inner, &list) == nil && len(list) > 0 {
			return list[0].ID
		}
	}
	return ""
}

func TestDiscoveryAndPolicy(t *testing.T) {
	s := newService(t, schematest.SQLite(t))
	story(t, s, []step{
		{name: "versions need no token", method: "GET", path: "/", code: 200, want: `"href":"http://cloud/v2.0/"&&"status":"CURRENT"`},
		{name: "resources", method: "GET", path: "/v2.0/", code: 200, want: `"collection":"ports"`},
		{name: "no token", method: "GET", path: "/v2.0/networks", code: 401, want: "error"},
		{name: "forged token", as: "x", method: "GET", path: "/v2.0/networks", code: 401, want: "error"},
		{name: "no role", as: "nobody", method: "GET", path: "/v2.0/networks", code: 403, want: `"type":"PolicyNotAuthorized"`},
		{name: "reader reads", as: "reader", method: "GET", path: "/v2.0/networks.json", code: 200, want: `"name":"private"`},
		{name: "reader makes nothing", as: "reader", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 403},
		{name: "unknown path", as: "a", method: "GET", path: "/v2.0/nothing", code: 404, want: "NeutronError"},
		{name: "unknown method", as: "a", method: "PATCH", path: "/v2.0/networks", code: 405},
		{name: "a name is no id", as: "a", method: "GET", path: "/v2.0/networks/private", code: 404, want: `"type":"NetworkNotFound"&&Network private could not be found.`},
		{name: "routers", as: "a", method: "GET", path: "/v2.0/routers", code: 200, want: `{"routers":[]}`},
		{name: "no router", as: "a", method: "GET", path: "/v2.0/routers/x", code: 404, want: "RouterNotFound"},
		{name: "no router is made", as: "a", method: "POST", path: "/v2.0/routers", body: `{"router":{}}`, code: 404},
		{name: "agents", as: "admin", method: "GET", path: "/v2.0/agents.json", code: 200, want: `{"agents":[]}`},
		{name: "extensions", as: "a", method: "GET", path: "/v2.0/extensions", code: 200, want: `"alias":"security-group"`, forbid: `"alias":"router"`},
		{name: "extension", as: "a", method: "GET", path: "/v2.0/extensions/quotas", code: 200, want: `"alias":"quotas"`},
		{name: "no extension", as: "a", method: "GET", path: "/v2.0/extensions/trunk", code: 404, want: "ExtensionNotFound"},
		{name: "zones", as: "a", method: "GET", path: "/v2.0/availability_zones?resource=network", code: 200, want: `"state":"available"`},
		{name: "no router zones", as: "a", method: "GET", path: "/v2.0/availability_zones?resource=router", code: 200, want: `[]`},
		{name: "topology", as: "a", method: "GET", path: "/v2.0/auto-allocated-topology/" + projectA, code: 200, want: `"tenant_id":"` + projectA},
		{name: "topology dry run", as: "a", method: "GET", path: "/v2.0/auto-allocated-topology/None?fields=dry-run", code: 200, want: `dry-run=pass`},
		{name: "topology of others", as: "a", method: "GET", path: "/v2.0/auto-allocated-topology/" + projectB, code: 403},
	})
	for _, rt := range s.table() {
		if rt.who == nobody || rt.do == nil {
			t.Errorf("%s %s has no policy or no handler", rt.method, rt.path)
		}
	}
}

func TestNetworksAndSubnets(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		story(t, s, []step{
			{name: "find private", as: "a", method: "GET", path: "/v2.0/networks?name=private", code: 200, keep: "private",
				want: `"shared":true&&"tenant_id":"` + owner, forbid: "provider:network_type"},
			{name: "admin sees provider", as: "admin", method: "GET", path: "/v2.0/networks/{private}", code: 200, want: `"provider:network_type":"local"`},
			{name: "shared is not mine", as: "a", method: "PUT", path: "/v2.0/networks/{private}", body: `{"network":{"name":"x"}}`, code: 403},
			{name: "shared is not mine to delete", as: "a", method: "DELETE", path: "/v2.0/networks/{private}", code: 403},
			{name: "no subnet on it", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{private}","ip_version":4,"cidr":"10.1.0.0/24"}}`, code: 403},
			{name: "make", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{"name":"mine","admin_state_up":"True"}}`, code: 201, keep: "net",
				want: `"name":"mine"&&"status":"ACTIVE"&&"subnets":[]&&"tags":[]&&"project_id":"` + projectA},
			{name: "shared is for admins", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{"shared":true}}`, code: 403, want: "create_network:shared"},
			{name: "not shared is for all", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{"shared":false,"name":"n2"}}`, code: 201, keep: "net2"},
			{name: "unknown attribute", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{"nope":1}}`, code: 400, want: "Unrecognized attribute(s) 'nope'"},
			{name: "read-only attribute", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{"id":"x"}}`, code: 400, want: "Attribute 'id' not allowed in POST"},
			{name: "another's project", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{"tenant_id":"` + projectB + `"}}`, code: 400},
			{name: "admin for another", as: "admin", method: "POST", path: "/v2.0/networks", body: `{"network":{"tenant_id":"` + projectB + `"}}`, code: 201, want: projectB, keep: "bnet"},
			{name: "hidden from a", as: "a", method: "GET", path: "/v2.0/networks/{bnet}", code: 404},
			{name: "not a's to change", as: "a", method: "PUT", path: "/v2.0/networks/{bnet}", body: `{"network":{"name":"x"}}`, code: 404},
			{name: "not a's to delete", as: "a", method: "DELETE", path: "/v2.0/networks/{bnet}", code: 404},
			{name: "a's list", as: "a", method: "GET", path: "/v2.0/networks", code: 200, want: `"mine"`, forbid: "{bnet}"},
			{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", code: 201, keep: "sub",
				body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"192.168.7.9/24","dns_nameservers":["1.1.1.1"],"host_routes":[{"destination":"10.0.0.0/8","nexthop":"192.168.7.5"}]}}`,
				want: `"cidr":"192.168.7.0/24"&&"gateway_ip":"192.168.7.1"&&"allocation_pools":[{"start":"192.168.7.2","end":"192.168.7.254"}]&&"enable_dhcp":true`},
			{name: "overlap", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"192.168.0.0/16"}}`, code: 400, want: "overlaps"},
			{name: "version", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":6,"cidr":"192.168.8.0/24"}}`, code: 400},
			{name: "no range", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4}}`, code: 400},
			{name: "no network", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"ip_version":4,"cidr":"10.0.0.0/24"}}`, code: 400, want: "network_id"},
			{name: "no gateway", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.5.0.0/29","gateway_ip":null}}`, code: 201, keep: "sub2",
				want: `"gateway_ip":null&&"start":"10.5.0.1","end":"10.5.0.6"`},
			{name: "gateway inside a pool", as: "a", method: "POST", path: "/v2.0/subnets", code: 409, want: "GatewayConflictWithAllocationPools",
				body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.6.0.0/24","gateway_ip":"10.6.0.9","allocation_pools":[{"start":"10.6.0.5","end":"10.6.0.20"}]}}`},
			{name: "pool outside", as: "a", method: "POST", path: "/v2.0/subnets", code: 400, want: "OutOfBoundsAllocationPool",
				body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.6.0.0/24","allocation_pools":[{"start":"10.7.0.5","end":"10.7.0.20"}]}}`},
			{name: "IPv6", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":6,"cidr":"2001:db8::/64"}}`, code: 201, want: `"gateway_ip":"2001:db8::1"`, keep: "sub6"},
			{name: "change", as: "a", method: "PUT", path: "/v2.0/subnets/{sub}", body: `{"subnet":{"name":"s","enable_dhcp":false,"dns_nameservers":[],"gateway_ip":null}}`, code: 200,
				want: `"enable_dhcp":false&&"dns_nameservers":[]&&"gateway_ip":null&&"name":"s"`},
			{name: "subnets of network", as: "a", method: "GET", path: "/v2.0/subnets?network_id={net}&fields=id&fields=cidr", code: 200, want: `{"cidr":"192.168.7.0/24","id":"{sub}"}`, forbid: "gateway"},
			{name: "tag", as: "a", method: "PUT", path: "/v2.0/networks/{net}/tags/red", code: 201},
			{name: "tags", as: "a", method: "PUT", path: "/v2.0/subnets/{sub}/tags", body: `{"tags":["x","y","x"]}`, code: 200, want: `["x","y"]`},
			{name: "by tag", as: "a", method: "GET", path: "/v2.0/networks?tags=red", code: 200, want: `"mine"&&"tags":["red"]`, forbid: `"private"`},
			{name: "by no tag", as: "a", method: "GET", path: "/v2.0/networks?not-tags-any=red,blue", code: 200, want: `"private"`, forbid: `"mine"`},
			{name: "tag is there", as: "a", method: "GET", path: "/v2.0/networks/{net}/tags/red", code: 204},
			{name: "tag of a stranger's", as: "b", method: "PUT", path: "/v2.0/networks/{net}/tags/red", code: 404},
			{name: "untag", as: "a", method: "DELETE", path: "/v2.0/networks/{net}/tags/red", code: 204},
			{name: "untag again", as: "a", method: "DELETE", path: "/v2.0/networks/{net}/tags/red", code: 404},
			{name: "change network", as: "a", method: "PUT", path: "/v2.0/networks/{net}", body: `{"network":{"name":"new","mtu":1400,"admin_state_up":false}}`, code: 200, want: `"mtu":1400&&"admin_state_up":false&&"new"`},
			{name: "bulk", as: "a", method: "POST", path: "/v2.0/networks", body: `{"networks":[{"name":"k1"},{"name":"k2"}]}`, code: 201, want: `"networks":[&&k1&&k2`},
			{name: "bulk is all or none", as: "a", method: "POST", path: "/v2.0/networks", body: `{"networks":[{"name":"k3"},{"name":"k4","mtu":1}]}`, code: 400},
			{name: "nothing of it", as: "a", method: "GET", path: "/v2.0/networks?name=k3", code: 200, want: `{"networks":[]}`},
			{name: "port in the way", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}"}}`, code: 201, keep: "port", want: "192.168.7.2&&2001:db8::2", forbid: "binding:host_id"},
			{name: "network in use", as: "a", method: "DELETE", path: "/v2.0/networks/{net}", code: 409, want: "NetworkInUse"},
			{name: "subnet in use", as: "a", method: "DELETE", path: "/v2.0/subnets/{sub6}", code: 409, want: "SubnetInUse"},
			{name: "port goes", as: "a", method: "DELETE", path: "/v2.0/ports/{port}", code: 204},
			{name: "subnet goes", as: "a", method: "DELETE", path: "/v2.0/subnets/{sub6}", code: 204},
			{name: "network goes", as: "a", method: "DELETE", path: "/v2.0/networks/{net}", code: 204},
			{name: "gone", as: "a", method: "DELETE", path: "/v2.0/networks/{net}", code: 404},
		})
		checkCounts(t, db)
	})
}

func TestPorts(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		server, ports := boot(t, s, memberOf(projectA), auto())
		kept := story(t, s, []step{
			{name: "private", as: "a", method: "GET", path: "/v2.0/networks?name=private", code: 200, keep: "net"},
			{name: "subnet", as: "a", method: "GET", path: "/v2.0/subnets", code: 200, keep: "sub"},
			{name: "server's port", as: "a", method: "GET", path: "/v2.0/ports?device_id=" + server, code: 200,
				want: `"device_owner":"compute:nova"&&"ip_address":"10.77.0.2"&&` + ports[0].ID},
			{name: "hidden from b", as: "b", method: "GET", path: "/v2.0/ports?device_id=" + server, code: 200, want: `{"ports":[]}`},
			{name: "make", as: "admin", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","tenant_id":"` + projectA + `","name":"p","fixed_ips":[{"ip_address":"10.77.0.50"}]}}`, code: 201, keep: "p",
				want: `"status":"DOWN"&&"ip_address":"10.77.0.50"&&"mac_address":"fa:16:3e:&&"binding:vnic_type":"normal"`},
			{name: "its binding is hidden", as: "a", method: "GET", path: "/v2.0/ports/{p}", code: 200, want: `"binding:vnic_type":"normal"`, forbid: "vif_type"},
			{name: "no choice of address on others' network", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","fixed_ips":[{"ip_address":"10.77.0.60"}]}}`, code: 403, want: "create_port:fixed_ips:ip_address"},
			{name: "nor later", as: "a", method: "PUT", path: "/v2.0/ports/{p}", body: `{"port":{"fixed_ips":[{"ip_address":"10.77.0.60"}]}}`, code: 403, want: "update_port:fixed_ips"},
			{name: "address in use", as: "admin", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","fixed_ips":[{"ip_address":"10.77.0.50"}]}}`, code: 409, want: "IpAddressInUse"},
			{name: "address outside", as: "admin", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","fixed_ips":[{"ip_address":"10.99.0.50"}]}}`, code: 400, want: "InvalidIpForNetwork"},
			{name: "address outside subnet", as: "admin", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","fixed_ips":[{"subnet_id":"{sub}","ip_address":"10.99.0.50"}]}}`, code: 400, want: "InvalidIpForSubnet"},
			{name: "own hardware address", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","mac_address":"fa:16:3e:00:00:01"}}`, code: 403},
			{name: "admin's hardware address", as: "admin", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","mac_address":"FA:16:3E:00:00:01"}}`, code: 201, want: "fa:16:3e:00:00:01&&binding:host_id"},
			{name: "hardware address in use", as: "admin", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","mac_address":"fa:16:3e:00:00:01"}}`, code: 409, want: "MacAddressInUse"},
			{name: "host is for admins", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","binding:host_id":"h"}}`, code: 403},
			{name: "router port", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","device_owner":"network:router_interface"}}`, code: 403},
			{name: "forged device", as: "b", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","device_id":"` + server + `","device_owner":"compute:nova"}}`, code: 201},
			{name: "unknown network", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"00000000-0000-0000-0000-000000000000"}}`, code: 404, want: "NetworkNotFound"},
			{name: "no address", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","fixed_ips":[]}}`, code: 201, want: `"fixed_ips":[]`, keep: "bare"},
			{name: "by address", as: "a", method: "GET", path: "/v2.0/ports?fixed_ips=ip_address%3D10.77.0.50&fields=id", code: 200, want: `{"ports":[{"id":"{p}"}]}`},
			{name: "by part of address", as: "a", method: "GET", path: "/v2.0/ports?fixed_ips=ip_address_substr%3D7.0.5&fields=id", code: 200, want: `{"ports":[{"id":"{p}"}]}`},
			{name: "by subnet", as: "a", method: "GET", path: "/v2.0/ports?fixed_ips=subnet_id%3D{sub}&fields=id", code: 200, want: "{p}", forbid: "{bare}"},
			{name: "other address", as: "admin", method: "PUT", path: "/v2.0/ports/{p}", body: `{"port":{"fixed_ips":[{"subnet_id":"{sub}","ip_address":"10.77.0.51"}],"name":"q"}}`, code: 200, want: `10.77.0.51&&"name":"q"`, forbid: "10.77.0.50"},
			{name: "address is free again", as: "admin", method: "PUT", path: "/v2.0/ports/{p}", body: `{"port":{"fixed_ips":[{"ip_address":"10.77.0.51"},{"ip_address":"10.77.0.50"}]}}`, code: 200, want: "10.77.0.50&&10.77.0.51"},
			{name: "group", as: "a", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{"name":"web"}}`, code: 201, keep: "web"},
			{name: "b's group", as: "b", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{"name":"web"}}`, code: 201, keep: "bweb"},
			{name: "into group", as: "a", method: "PUT", path: "/v2.0/ports/{p}", body: `{"port":{"security_groups":["{web}"]}}`, code: 200, want: `"security_groups":["{web}"]`},
			{name: "into b's group", as: "a", method: "PUT", path: "/v2.0/ports/{p}", body: `{"port":{"security_groups":["{bweb}"]}}`, code: 404, want: "SecurityGroupNotFound"},
			{name: "group in use", as: "a", method: "DELETE", path: "/v2.0/security-groups/{web}", code: 409, want: "SecurityGroupInUse"},
			{name: "server's port keeps its server", as: "a", method: "PUT", path: "/v2.0/ports/" + ports[0].ID, body: `{"port":{"device_id":""}}`, code: 409, want: "PortInUse"},
			{name: "b's port", as: "b", method: "DELETE", path: "/v2.0/ports/{p}", code: 404},
			{name: "landlord sees a's port", as: "admin", method: "GET", path: "/v2.0/ports/{p}", code: 200, want: `"binding:vif_type":"unbound"`},
			{name: "admin binds", as: "admin", method: "PUT", path: "/v2.0/ports/{p}", body: `{"port":{"binding:host_id":"h1","binding:profile":{"a":1}}}`, code: 200, want: `"binding:vif_type":"bridge"&&"binding:profile":{"a":1}`},
			{name: "host filter is for admins", as: "a", method: "GET", path: "/v2.0/ports?binding:host_id=nothere", code: 200, want: "{p}"},
			{name: "service plugs", as: "service", method: "PUT", path: "/v2.0/ports/{p}", body: `{"port":{"binding:host_id":"h2"}}`, code: 200, want: `"binding:host_id":"h2"`},
			{name: "service makes no network", as: "service", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 403},
			{name: "service sets no quota", as: "service", method: "DELETE", path: "/v2.0/quotas/" + projectA, code: 403},
			{name: "null device", as: "a", method: "PUT", path: "/v2.0/ports/{p}", body: `{"port":{"device_id":null}}`, code: 200, want: `"device_id":""`},
			{name: "delete", as: "a", method: "DELETE", path: "/v2.0/ports/{p}", code: 204},
			{name: "gone", as: "a", method: "GET", path: "/v2.0/ports/{p}", code: 404, want: "PortNotFound"},
		})
		if kept["net"] == "" {
			t.Fatal("no network")
		}
		byServer, err := s.OfServers(t.Context(), db, []string{server})
		if err != nil || len(byServer[server]) != 1 {
			t.Errorf("a stranger's port is taken for the server's: %+v, %v", byServer, err)
		}
		checkCounts(t, db)
	})
}

func TestSecurityGroups(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		rule := func(rest string) string {
			return `{"security_group_rule":{"security_group_id":"{web}","direction":"ingress"` + rest + `}}`
		}
		story(t, s, []step{
			{name: "default is there", as: "a", method: "GET", path: "/v2.0/security-groups", code: 200, keep: "default", want: `"name":"default"&&"direction":"ingress"&&"remote_group_id":"{default}"`},
			{name: "default stays", as: "a", method: "DELETE", path: "/v2.0/security-groups/{default}", code: 409, want: "SecurityGroupCannotRemoveDefault"},
			{name: "default keeps its name", as: "a", method: "PUT", path: "/v2.0/security-groups/{default}", body: `{"security_group":{"name":"x"}}`, code: 409},
			{name: "no second default", as: "a", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{"name":"default"}}`, code: 409, want: "SecurityGroupDefaultAlreadyExists"},
			{name: "make", as: "a", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{"name":"web","description":"d"}}`, code: 201, keep: "web", want: `"direction":"egress"&&"stateful":true`},
			{name: "hidden from b", as: "b", method: "GET", path: "/v2.0/security-groups/{web}", code: 404},
			{name: "rename", as: "a", method: "PUT", path: "/v2.0/security-groups/{web}", body: `{"security_group":{"name":"www"}}`, code: 200, want: `"www"`},
			{name: "rule", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"TCP","port_range_min":"80","port_range_max":443,"remote_ip_prefix":"10.1.2.3/8"`), code: 201, keep: "rule",
				want: `"protocol":"tcp"&&"port_range_max":443&&"remote_ip_prefix":"10.1.2.3/8"&&"normalized_cidr":"10.0.0.0/8"&&"ethertype":"IPv4"`},
			{name: "rule twice", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"tcp","port_range_min":80,"port_range_max":443,"remote_ip_prefix":"10.0.0.0/8"`), code: 409, want: "SecurityGroupRuleExists&&{rule}"},
			{name: "remote group", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"remote_group_id":"{default}"`), code: 201, want: `"remote_group_id":"{default}"`},
			{name: "unknown remote group", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"remote_group_id":"nope"`), code: 404},
			{name: "both remotes", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"remote_group_id":"{default}","remote_ip_prefix":"::/0"`), code: 400},
			{name: "ports without protocol", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"port_range_min":80,"port_range_max":80`), code: 400, want: "SecurityGroupProtocolRequiredWithPorts"},
			{name: "wrong range", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"udp","port_range_min":80,"port_range_max":8`), code: 400, want: "SecurityGroupInvalidPortRange"},
			{name: "port number", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"udp","port_range_min":80,"port_range_max":70000`), code: 400},
			{name: "protocol", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"bogus"`), code: 400, want: "SecurityGroupRuleInvalidProtocol"},
			{name: "protocol number", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"112"`), code: 201, want: `"protocol":"112"`},
			{name: "icmp", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"icmp","port_range_min":8,"port_range_max":0`), code: 201},
			{name: "icmp type", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"icmp","port_range_min":300`), code: 400, want: "SecurityGroupInvalidIcmpValue"},
			{name: "family", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"ethertype":"IPv6","remote_ip_prefix":"10.0.0.0/8"`), code: 400, want: "SecurityGroupRuleParameterConflict"},
			{name: "direction", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: `{"security_group_rule":{"security_group_id":"{web}","direction":"up"}}`, code: 400},
			{name: "b's rule in a's group", as: "b", method: "POST", path: "/v2.0/security-group-rules", body: rule(`,"protocol":"tcp"`), code: 404, want: "SecurityGroupNotFound"},
			{name: "rules of group", as: "a", method: "GET", path: "/v2.0/security-group-rules?security_group_id={web}&protocol=tcp", code: 200, want: "{rule}", forbid: `"egress"`},
			{name: "describe", as: "a", method: "PUT", path: "/v2.0/security-group-rules/{rule}", body: `{"security_group_rule":{"description":"why"}}`, code: 200, want: `"why"`},
			{name: "not its ports", as: "a", method: "PUT", path: "/v2.0/security-group-rules/{rule}", body: `{"security_group_rule":{"port_range_min":1}}`, code: 400},
			{name: "rule goes", as: "a", method: "DELETE", path: "/v2.0/security-group-rules/{rule}", code: 204},
			{name: "rule is gone", as: "a", method: "DELETE", path: "/v2.0/security-group-rules/{rule}", code: 404, want: "SecurityGroupRuleNotFound"},
			{name: "rule that names it", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: `{"security_group_rule":{"security_group_id":"{default}","direction":"ingress","remote_group_id":"{web}"}}`, code: 201, keep: "named"},
			{name: "group goes", as: "a", method: "DELETE", path: "/v2.0/security-groups/{web}", code: 204},
			{name: "with the rule that names it", as: "a", method: "GET", path: "/v2.0/security-group-rules/{named}", code: 404},
		})
		checkCounts(t, db)
	})
}

func TestQuotas(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		story(t, s, []step{
			{name: "defaults", as: "a", method: "GET", path: "/v2.0/quotas/" + projectA + ".json", code: 200, want: `"port":500&&"network":100&&"subnetpool":-1`},
			{name: "another's", as: "a", method: "GET", path: "/v2.0/quotas/" + projectB, code: 403},
			{name: "own project", as: "a", method: "GET", path: "/v2.0/quotas/tenant", code: 200, want: projectA},
			{name: "not for members", as: "a", method: "PUT", path: "/v2.0/quotas/" + projectA, body: `{"quota":{"port":-1}}`, code: 403},
			{name: "set", as: "admin", method: "PUT", path: "/v2.0/quotas/" + projectA, body: `{"quota":{"network":"1","port":3}}`, code: 200, want: `"network":1&&"port":3`},
			{name: "unknown", as: "admin", method: "PUT", path: "/v2.0/quotas/" + projectA, body: `{"quota":{"cows":1}}`, code: 400},
			{name: "too low", as: "admin", method: "PUT", path: "/v2.0/quotas/" + projectA, body: `{"quota":{"network":-2}}`, code: 400},
			{name: "enormous", as: "admin", method: "PUT", path: "/v2.0/quotas/" + projectA, body: `{"quota":{"network":99999999999999999999}}`, code: 400},
			{name: "first", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201},
			{name: "second", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 409, want: `"type":"OverQuota"&&Quota exceeded for resources: ['network'].`},
			{name: "details", as: "a", method: "GET", path: "/v2.0/quotas/" + projectA + "/details.json", code: 200, want: `"network":{"limit":1,"reserved":0,"used":1}`},
			{name: "check", as: "admin", method: "PUT", path: "/v2.0/quotas/" + projectA, body: `{"quota":{"network":0,"check_limit":true}}`, code: 400},
			{name: "list", as: "admin", method: "GET", path: "/v2.0/quotas", code: 200, want: `"tenant_id":"` + projectA},
			{name: "back", as: "admin", method: "DELETE", path: "/v2.0/quotas/" + projectA, code: 204},
			{name: "default", as: "a", method: "GET", path: "/v2.0/quotas/" + projectA + "/default", code: 200, want: `"network":100`},
			{name: "now it fits", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201},
		})
		checkCounts(t, db)
	})
}

func TestPaging(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		for i := range 7 {
			rec := call(s, "a", "POST", "/v2.0/networks", fmt.Sprintf(`{"network":{"name":"n%d","description":"%d"}}`, i, i%2))
			if rec.Code != 201 {
				t.Fatal(rec.Body)
			}
		}
		names := func(path string) (out []string, links string) {
			rec := call(s, "a", "GET", path, "")
			var doc struct {
				Networks []struct{ Name string }
				Links    json.RawMessage `json:"networks_links"`
			}
			err := json.Unmarshal(rec.Body.Bytes(), &doc)
			if err != nil || rec.Code != 200 {
				t.Fatalf("%s: %d %s", path, rec.Code, rec.Body)
			}
			for _, n := range doc.Networks {
				out = append(out, n.Name)
			}
			return out, string(doc.Links)
		}
		for _, sort := range []string{"", "&sort_key=name&sort_dir=desc", "&sort_key=description&sort_dir=desc&sort_key=name&sort_dir=asc"} {
			want, _ := names("/v2.0/networks?shared=False" + sort)
			var got []string
			path := "/v2.0/networks?shared=False&limit=3" + sort
			for range 5 {
				page, links := names(path)
				got = append(got, page...)
				var next []struct{ Rel, Href string }
				_ = json.Unmarshal([]byte(links), &next) // no links are the end
				i := slices.IndexFunc(next, func(l struct{ Rel, Href string }) bool { return l.Rel == "next" })
				if i < 0 {
					break
				}
				path = strings.TrimPrefix(next[i].Href, "http://cloud")
			}
			if len(want) != 7 || !slices.Equal(got, want) {
				t.Errorf("%s: pages %v, list %v", sort, got, want)
			}
		}
		for _, bad := range []string{"limit=-1", "limit=x", "sort_key=id;DROP", "sort_key=name&sort_dir=up", "marker=' OR 1=1 --", "admin_state_up=maybe", "mtu=x", "fixed_ips=%00"} {
			rec := call(s, "a", "GET", "/v2.0/networks?"+strings.ReplaceAll(bad, " ", "%20"), "")
			if rec.Code != 400 {
				t.Errorf("%s: %d %s", bad, rec.Code, rec.Body)
			}
		}
	})
}

// TestHostileBodies: whatever comes, the answer is a client's error.
func TestHostileBodies(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		for _, path := range []string{"networks", "subnets", "ports", "security-groups", "security-group-rules"} {
			for _, body := range hostileBodies() {
				for _, method := range []string{"POST", "PUT"} {
					at := "/v2.0/" + path
					if method == "PUT" {
						at += "/x%00%ff"
					}
					rec := call(s, "a", method, at, body)
					if rec.Code < 400 || rec.Code >= 500 {
						t.Errorf("%s %s %.80q = %d %s", method, at, body, rec.Code, rec.Body)
					}
				}
			}
		}
		rec := call(s, "a", "GET", "/v2.0/networks?name=%ff", "")
		if rec.Code != 400 {
			t.Errorf("bad UTF-8 in a filter: %d", rec.Code)
		}
	})
}

func hostileBodies() []string {
	long := strings.Repeat("x", 10000)
	return []string{
		"", "null", "[]", "{}", "{", `"x"`, "1e999", `{"network":null}`, `{"network":[]}`, `{"networks":[]}`, `{"networks":[1]}`, `{"ports":{}}`,
		`{"network":{"name":"` + long + `"}}`, `{"network":{"name":"a\u0000b"}}`, "{\"network\":{\"name\":\"\xff\"}}", `{"network":{"name":{}}}`,
		`{"network":{"mtu":1e99}}`, `{"network":{"mtu":-1}}`, `{"network":{},"x":1}`, `{"port":{"network_id":"' OR 1=1"}}`,
		`{"port":{"network_id":1}}`, `{"subnet":{"network_id":"x","ip_version":{},"cidr":4}}`, `{"security_group":{"name":[]}}`,
		`{"security_group_rule":{"security_group_id":"x","direction":"ingress","port_range_min":9999999999999}}`,
		strings.Repeat(`{"network":`, 12000), strings.Repeat(`[`, 20000), `{"network":{"name":"` + strings.Repeat(long, 20) + `"}}`,
	}
}

func FuzzBodies(f *testing.F) {
	s := newService(f, schematest.SQLite(f))
	for _, b := range hostileBodies() {
		f.Add("ports", b)
	}
	f.Add("subnets", `{"subnet":{"network_id":"00000000-0000-0000-0000-000000000000","ip_version":4,"cidr":"10.0.0.0/24","allocation_pools":[{"start":"1","end":"2"}]}}`)
	f.Fuzz(func(t *testing.T, path, body string) {
		for _, p := range []string{"networks", "subnets", "ports", "security-groups", "security-group-rules"} {
			rec := call(s, "a", "POST", "/v2.0/"+p, body)
			if rec.Code >= 500 {
				t.Errorf("%s %q: %d", p, body, rec.Code)
			}
		}
	})
}

func FuzzQueries(f *testing.F) {
	s := newService(f, schematest.SQLite(f))
	for _, q := range []string{"name=a&name=b", "fixed_ips=ip_address=1", "fixed_ips=x", "limit=1&marker=x", "sort_key=name&sort_dir=asc", "tags=a,b&not-tags=c", "%ff", "a;b", "fields=id&fields="} {
		f.Add(q)
	}
	f.Fuzz(func(t *testing.T, q string) {
		for _, p := range []string{"networks", "ports", "security-groups"} {
			r := httptest.NewRequest(http.MethodGet, "/v2.0/"+p, nil)
			r.URL.RawQuery = q
			r.Header.Set("X-Auth-Token", "a")
			rec := httptest.NewRecorder()
			s.Handler().ServeHTTP(rec, r)
			if rec.Code >= 500 {
				t.Errorf("%s?%q: %d %s", p, q, rec.Code, rec.Body)
			}
		}
	})
}
