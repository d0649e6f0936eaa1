package networks

import (
	"encoding/json"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// accepted is one attribute's value, what becomes of it when a resource is made with it and
// when a resource is changed to it.
type accepted struct {
	kind, value  string // "port", `"mac_address":"x"`
	create       int
	update       int // 0: the attribute cannot be changed
	want, forbid string
}

// TestValuesOfAttributes makes and changes each resource with one value of one attribute:
// what is refused at creation is refused later, with the same reason.
func TestValuesOfAttributes(t *testing.T) {
	long := strings.Repeat("x", 256)
	tests := []accepted{
		{"network", `"name":null`, 400, 400, "Invalid input for name", ""},
		{"network", `"name":5`, 400, 400, "not a valid string", "%!"},
		{"network", `"name":{"a":1}`, 400, 400, "not a valid string", "map["},
		{"network", `"name":"` + long + `"`, 400, 400, "", ""},
		{"network", `"name":" x"`, 400, 400, "", ""},
		{"network", `"name":"x "`, 400, 400, "", ""},
		{"network", `"name":"a\tb"`, 400, 400, "", ""},
		{"network", `"name":"größe 東京"`, 201, 200, "größe 東京", ""},
		{"network", `"name":""`, 201, 200, `"name":""`, ""},
		{"network", `"description":null`, 400, 400, "", ""},
		{"network", `"admin_state_up":null`, 400, 400, "", ""},
		{"network", `"admin_state_up":"maybe"`, 400, 400, "", ""},
		{"network", `"admin_state_up":[]`, 400, 400, "", ""},
		{"network", `"admin_state_up":0`, 201, 200, `"admin_state_up":false`, ""},
		{"network", `"admin_state_up":" Yes "`, 201, 200, `"admin_state_up":true`, ""},
		{"network", `"mtu":"1400"`, 201, 200, `"mtu":1400`, ""},
		{"network", `"mtu":1400.0`, 201, 200, `"mtu":1400`, ""},
		{"network", `"mtu":0`, 201, 200, `"mtu":1500`, ""},
		{"network", `"mtu":-1`, 400, 400, "", ""},
		{"network", `"mtu":null`, 400, 400, "", ""},
		{"network", `"mtu":true`, 400, 400, "", ""},
		{"network", `"mtu":1400.5`, 400, 400, "", ""},
		{"network", `"mtu":"x"`, 400, 400, "is not an integer", ""},
		{"network", `"port_security_enabled":null`, 400, 400, "", ""},
		{"network", `"availability_zone_hints":null`, 400, 400, "", ""},
		{"network", `"availability_zone_hints":["nova","nova"]`, 400, 400, "", ""},
		{"network", `"availability_zone_hints":[5]`, 400, 400, "", ""},
		{"network", `"status":"ACTIVE"`, 400, 400, "not allowed", ""},
		{"network", `"nope":1`, 400, 400, "Unrecognized attribute", ""},

		{"subnet", `"enable_dhcp":null`, 400, 400, "", ""},
		{"subnet", `"gateway_ip":"10.6.0.1"`, 201, 200, `"gateway_ip":"10.6.0.1"`, ""},
		{"subnet", `"gateway_ip":null`, 201, 200, `"gateway_ip":null`, ""},
		{"subnet", `"gateway_ip":""`, 400, 400, "is not a valid IP address", ""},
		{"subnet", `"gateway_ip":"10.5.0.0"`, 400, 400, "Gateway is not valid on subnet", ""},
		{"subnet", `"gateway_ip":"10.5.0.255"`, 400, 400, "Gateway is not valid on subnet", ""},
		{"subnet", `"gateway_ip":"fd00::1"`, 400, 400, "does not match the ip_version", ""},
		{"subnet", `"gateway_ip":"10.5.0.01"`, 400, 400, "", ""},
		{"subnet", `"gateway_ip":["10.5.0.1"]`, 400, 400, "is not a valid", ""},
		{"subnet", `"gateway_ip":"10.5.0.9"`, 201, 409, "10.5.0.9", ""}, // later it is in a pool
		{"subnet", `"gateway_ip":"10.5.0.9","allocation_pools":[{"start":"10.5.0.10","end":"10.5.0.20"}]`, 201, 200, `"start":"10.5.0.10"`, ""},
		{"subnet", `"gateway_ip":"10.5.0.9","allocation_pools":[{"start":"10.5.0.5","end":"10.5.0.20"}]`, 409, 409, "GatewayConflictWithAllocationPools", ""},
		{"subnet", `"gateway_ip":null,"allocation_pools":[{"start":"10.5.0.1","end":"10.5.0.20"}]`, 201, 200, `"start":"10.5.0.1"`, ""},
		{"subnet", `"allocation_pools":[]`, 201, 200, `"allocation_pools":[]`, ""},
		{"subnet", `"allocation_pools":null`, 201, 200, `"allocation_pools":[]`, ""},
		{"subnet", `"allocation_pools":{}`, 400, 400, "", ""},
		{"subnet", `"allocation_pools":["10.5.0.9"]`, 400, 400, "", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.9"}]`, 400, 400, "", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.9","end":"10.5.0.10","x":1}]`, 400, 400, "", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.9","end":null}]`, 400, 400, "is not a valid IP address", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.9","end":"10.5.0.8"}]`, 400, 400, "InvalidAllocationPool", ""},
		{"subnet", `"allocation_pools":[{"start":"fd00::1","end":"fd00::2"}]`, 400, 400, "InvalidAllocationPool", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.9","end":"fd00::2"}]`, 400, 400, "InvalidAllocationPool", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.0","end":"10.5.0.9"}]`, 400, 400, "OutOfBoundsAllocationPool", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.9","end":"10.5.0.255"}]`, 400, 400, "OutOfBoundsAllocationPool", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.9","end":"10.5.0.12"},{"start":"10.5.0.12","end":"10.5.0.20"}]`, 409, 409, "OverlappingAllocationPools", ""},
		{"subnet", `"allocation_pools":[{"start":"10.5.0.9","end":"10.5.0.12"},{"start":"10.5.0.9","end":"10.5.0.12"}]`, 409, 409, "OverlappingAllocationPools", ""},
		{"subnet", `"dns_nameservers":["8.8.8.8","8.8.8.8"]`, 400, 400, "Duplicate nameserver", ""},
		{"subnet", `"dns_nameservers":["8.8.8.8","1.1.1.1"]`, 201, 200, `["8.8.8.8","1.1.1.1"]`, ""},
		{"subnet", `"dns_nameservers":null`, 201, 200, `"dns_nameservers":[]`, ""},
		{"subnet", `"dns_nameservers":"8.8.8.8"`, 400, 400, "", ""},
		{"subnet", `"dns_nameservers":["dns.example.org"]`, 400, 400, "is not a valid nameserver", ""},
		{"subnet", `"dns_nameservers":["8.8.8.8 "]`, 400, 400, "", ""},
		{"subnet", `"dns_nameservers":[8]`, 400, 400, "", ""},
		{"subnet", `"dns_nameservers":[null]`, 400, 400, "", ""},
		{"subnet", `"dns_nameservers":["fd00::1"]`, 400, 400, "does not match the ip_version", ""},
		{"subnet", `"dns_nameservers":["1.1.1.1","1.1.1.2","1.1.1.3","1.1.1.4","1.1.1.5","1.1.1.6"]`, 400, 400, "DNSNameServersExhausted", ""},
		{"subnet", `"host_routes":[{"destination":"10.0.0.0/8","nexthop":"10.5.0.9"},{"nexthop":"10.5.0.9","destination":"10.0.0.0/8"}]`, 400, 400, "Duplicate hostroute", ""},
		{"subnet", `"host_routes":[{"destination":"10.0.0.0/8","nexthop":"10.5.0.9"},{"destination":"10.0.0.0/8","nexthop":"10.5.0.8"}]`, 201, 200, `"nexthop":"10.5.0.8"`, ""},
		{"subnet", `"host_routes":null`, 201, 200, `"host_routes":[]`, ""},
		{"subnet", `"host_routes":[{"destination":"10.1.0.0/8","nexthop":"10.5.0.9"}]`, 400, 400, "is not a valid CIDR", ""},
		{"subnet", `"host_routes":[{"destination":"10.0.0.9","nexthop":"10.5.0.9"}]`, 400, 400, "is not a valid CIDR", ""},
		{"subnet", `"host_routes":[{"destination":"127.0.0.0/8","nexthop":"10.5.0.9"}]`, 400, 400, "is not a routable CIDR", ""},
		{"subnet", `"host_routes":[{"destination":"fd00::/64","nexthop":"10.5.0.9"}]`, 400, 400, "does not match the ip_version", ""},
		{"subnet", `"host_routes":[{"destination":"10.0.0.0/8","nexthop":"fd00::9"}]`, 400, 400, "does not match the ip_version", ""},
		{"subnet", `"host_routes":[{"destination":"10.0.0.0/8"}]`, 400, 400, "", ""},
		{"subnet", `"host_routes":[{"destination":null,"nexthop":null}]`, 400, 400, "", ""},
		{"subnet", `"host_routes":["10.0.0.0/8"]`, 400, 400, "", ""},
		{"subnet", `"segment_id":null`, 201, 403, "", ""},
		{"subnet", `"prefixlen":24`, 400, 400, "", ""},
		{"subnet", `"ipv6_ra_mode":"slaac"`, 400, 400, "", ""},
		{"subnet", `"ipv6_ra_mode":null`, 400, 400, "", ""},
		{"subnet", `"ipv6_address_mode":"x"`, 400, 400, "", ""},

		{"port", `"name":null`, 400, 400, "", ""},
		{"port", `"admin_state_up":"down"`, 400, 400, "", ""},
		{"port", `"fixed_ips":null`, 400, 400, "", ""},
		{"port", `"fixed_ips":"10.4.0.9"`, 400, 400, "", ""},
		{"port", `"fixed_ips":["10.4.0.9"]`, 400, 400, "Invalid data format for fixed IP", ""},
		{"port", `"fixed_ips":[{"ip_address":"10.4.0.9"},{"ip_address":"10.4.0.9"}]`, 400, 400, "Duplicate IP address", ""},
		{"port", `"fixed_ips":[{"ip_address":null}]`, 400, 400, "is not a valid IP address", ""},
		{"port", `"fixed_ips":[{"subnet_id":null}]`, 400, 400, "is not a valid UUID", ""},
		{"port", `"fixed_ips":[{"subnet_id":"x"}]`, 400, 400, "is not a valid UUID", ""},
		{"port", `"fixed_ips":[{}]`, 400, 400, "IP allocation requires subnet_id or ip_address", ""},
		{"port", `"fixed_ips":[{"ip_address":"10.4.0.9 "}]`, 400, 400, "", ""},
		{"port", `"fixed_ips":[{"ip_address":"::ffff:10.4.0.9"}]`, 400, 400, "", ""},
		{"port", `"fixed_ips":[{"ip_address":"10.4.0.1"}]`, 201, 200, `"ip_address":"10.4.0.1"`, ""},
		{"port", `"fixed_ips":[{"ip_address":"10.4.0.0"}]`, 400, 400, "InvalidIpForNetwork", ""},
		{"port", `"fixed_ips":[{"ip_address":"10.4.0.255"}]`, 400, 400, "InvalidIpForNetwork", ""},
		{"port", `"fixed_ips":[{"ip_address":"10.4.0.90"},{"ip_address":"10.4.0.200"},{"ip_address":"10.4.0.10"}]`, 201, 200,
			`"fixed_ips":[{"ip_address":"10.4.0.10","subnet_id":"{subnet}"},{"ip_address":"10.4.0.200","subnet_id":"{subnet}"},{"ip_address":"10.4.0.90","subnet_id":"{subnet}"}]`, ""},
		{"port", `"fixed_ips":[{"subnet_id":"{subnet}"},{"subnet_id":"{subnet}"},{"subnet_id":"{subnet}"},{"subnet_id":"{subnet}"},{"subnet_id":"{subnet}"},{"subnet_id":"{subnet}"}]`, 400, 400, "Exceeded maximum amount of fixed ips", ""},
		{"port", `"mac_address":"FA-16-3E-00-00-0A"`, 201, 403, "", ""},
		{"port", `"mac_address":"fa163e00000b"`, 201, 403, "", ""},
		{"port", `"mac_address":"00:00:00:00:00:00"`, 400, 400, "is not a valid MAC address", ""},
		{"port", `"mac_address":"ff:ff:ff:ff:ff:ff"`, 400, 400, "is not a valid MAC address", ""},
		{"port", `"mac_address":"x"`, 400, 400, "is not a valid MAC address", ""},
		{"port", `"mac_address":null`, 400, 400, "", ""},
		{"port", `"security_groups":["{group}","{group}"]`, 400, 400, "Duplicate items in the list", ""},
		{"port", `"security_groups":["x"]`, 400, 400, "is not a valid UUID", ""},
		{"port", `"security_groups":"{group}"`, 400, 400, "", ""},
		{"port", `"security_groups":null`, 201, 200, `"security_groups":[]`, ""},
		{"port", `"security_groups":["{group}"]`, 201, 200, `"security_groups":["{group}"]`, ""},
		{"port", `"security_groups":["{group}"],"port_security_enabled":false`, 400, 400, "PortSecurityAndIPRequiredForSecurityGroups", ""},
		{"port", `"port_security_enabled":null`, 400, 400, "", ""},
		{"port", `"port_security_enabled":false`, 201, 409, "", ""}, // later it has a group
		{"port", `"port_security_enabled":false,"security_groups":[]`, 201, 200, `"security_groups":[]`, ""},
		{"port", `"port_security_enabled":false,"security_groups":[],"allowed_address_pairs":[{"ip_address":"10.1.1.7"}]`, 409, 409, "AddressPairAndPortSecurityRequired", ""},
		{"port", `"port_security_enabled":false,"security_groups":[],"allowed_address_pairs":[]`, 201, 200, `"allowed_address_pairs":[]`, ""},
		{"port", `"allowed_address_pairs":null`, 201, 200, `"allowed_address_pairs":[]`, ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"10.1.1.0/24"}]`, 201, 200, `"allowed_address_pairs":[{"ip_address":"10.1.1.0/24","mac_address":"{mac}"}]`, ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"10.1.1.7","mac_address":"FA:16:3E:00:00:0D"}]`, 201, 200, `"mac_address":"fa:16:3e:00:00:0d"`, ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"10.1.1.7"},{"ip_address":"10.1.1.7"}]`, 400, 400, "DuplicateAddressPairInRequest", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"10.1.1.7"},{"ip_address":"10.1.1.7","mac_address":"fa:16:3e:00:00:0d"}]`, 201, 200, `fa:16:3e:00:00:0d`, ""},
		{"port", `"allowed_address_pairs":[{"mac_address":"fa:16:3e:00:00:0d"}]`, 400, 400, "AllowedAddressPairsMissingIP", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"10.1.1.7","mac_address":null}]`, 400, 400, "is not a valid MAC address", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"10.1.1.7","mac_address":"01:16:3e:00:00:0d"}]`, 400, 400, "multicast", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"224.0.0.7"}]`, 400, 400, "multicast", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"224.0.0.0/8"}]`, 400, 400, "multicast", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"0.0.0.0/0"}]`, 201, 200, "0.0.0.0/0", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":null}]`, 400, 400, "", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"x"}]`, 400, 400, "", ""},
		{"port", `"allowed_address_pairs":[{"ip_address":"10.1.1.7","x":1}]`, 400, 400, "Unrecognized attribute", ""},
		{"port", `"allowed_address_pairs":["10.1.1.7"]`, 400, 400, "is not a dictionary", ""},
		{"port", `"allowed_address_pairs":{}`, 400, 400, "", ""},
		{"port", `"binding:vnic_type":null`, 400, 400, "", ""},
		{"port", `"binding:vnic_type":"cow"`, 400, 400, "is not in", ""},
		{"port", `"network_id":"x"`, 400, 400, "", ""},

		{"security_group", `"name":null`, 400, 400, "", ""},
		{"security_group", `"name":"DEFAULT"`, 409, 409, "SecurityGroupDefaultAlreadyExists", ""},
		{"security_group", `"stateful":null`, 400, 400, "", ""},
		{"security_group", `"stateful":"no"`, 201, 200, `"stateful":false`, ""},

		{"security_group_rule", `"protocol":6,"port_range_min":443,"port_range_max":443`, 201, 0, `"protocol":"6"`, ""},
		{"security_group_rule", `"protocol":"6","port_range_min":"444","port_range_max":"444"`, 201, 0, `"port_range_min":444`, ""},
		{"security_group_rule", `"protocol":"UDP"`, 201, 0, `"protocol":"udp"`, ""},
		{"security_group_rule", `"protocol":0`, 201, 0, `"protocol":"0"`, ""},
		{"security_group_rule", `"protocol":null`, 201, 0, `"protocol":null`, ""},
		{"security_group_rule", `"protocol":"any"`, 201, 0, `"protocol":null`, ""},
		{"security_group_rule", `"protocol":256`, 400, 0, "SecurityGroupRuleInvalidProtocol", ""},
		{"security_group_rule", `"protocol":-1`, 400, 0, "SecurityGroupRuleInvalidProtocol", ""},
		{"security_group_rule", `"protocol":6.5`, 400, 0, "SecurityGroupRuleInvalidProtocol", ""},
		{"security_group_rule", `"protocol":true`, 400, 0, "SecurityGroupRuleInvalidProtocol", ""},
		{"security_group_rule", `"protocol":["tcp"]`, 400, 0, "SecurityGroupRuleInvalidProtocol", ""},
		{"security_group_rule", `"protocol":""`, 400, 0, "SecurityGroupRuleInvalidProtocol", ""},
		{"security_group_rule", `"protocol":"tcp","port_range_min":"x","port_range_max":80`, 400, 0, "SecurityGroupInvalidPortValue", ""},
		{"security_group_rule", `"protocol":"tcp","port_range_min":-1,"port_range_max":80`, 400, 0, "SecurityGroupInvalidPortValue", ""},
		{"security_group_rule", `"protocol":"tcp","port_range_min":0,"port_range_max":80`, 400, 0, "SecurityGroupInvalidPortValue", ""},
		{"security_group_rule", `"protocol":"tcp","port_range_min":80,"port_range_max":65536`, 400, 0, "SecurityGroupInvalidPortValue", ""},
		{"security_group_rule", `"protocol":"tcp","port_range_min":80`, 400, 0, "SecurityGroupInvalidPortRange", ""},
		{"security_group_rule", `"protocol":"tcp","port_range_min":1,"port_range_max":65535`, 201, 0, `"port_range_min":null`, ""},
		{"security_group_rule", `"protocol":"gre","port_range_min":1,"port_range_max":2`, 400, 0, "SecurityGroupInvalidProtocolForPort", ""},
		{"security_group_rule", `"protocol":"icmp","port_range_max":2`, 400, 0, "SecurityGroupMissingIcmpType", ""},
		{"security_group_rule", `"ethertype":null`, 400, 0, "SecurityGroupRuleInvalidEtherType", ""},
		{"security_group_rule", `"ethertype":4`, 400, 0, "SecurityGroupRuleInvalidEtherType", ""},
		{"security_group_rule", `"ethertype":"ipv6","protocol":"icmp"`, 201, 0, `"protocol":"ipv6-icmp"`, ""},
		{"security_group_rule", `"ethertype":"ipv6","protocol":1`, 201, 0, `"protocol":"58"`, ""},
		{"security_group_rule", `"protocol":"icmpv6"`, 400, 0, "SecurityGroupEthertypeConflictWithProtocol", ""},
		{"security_group_rule", `"protocol":"ipv6-route"`, 400, 0, "SecurityGroupEthertypeConflictWithProtocol", ""},
		{"security_group_rule", `"protocol":44`, 400, 0, "SecurityGroupEthertypeConflictWithProtocol", ""},
		{"security_group_rule", `"direction":"up"`, 400, 0, "is not in", ""},
		{"security_group_rule", `"direction":null`, 400, 0, "", ""},
		{"security_group_rule", `"remote_ip_prefix":"10.0.0.9"`, 201, 0, `"remote_ip_prefix":"10.0.0.9/32"`, ""},
		{"security_group_rule", `"remote_ip_prefix":"10.0.0.0/255.255.255.0"`, 201, 0, `"remote_ip_prefix":"10.0.0.0/24"`, ""},
		{"security_group_rule", `"remote_ip_prefix":""`, 201, 0, `"remote_ip_prefix":null`, ""},
		{"security_group_rule", `"remote_ip_prefix":null,"remote_group_id":null,"port_range_min":null,"port_range_max":null`, 201, 0, `"remote_group_id":null`, ""},
		{"security_group_rule", `"remote_ip_prefix":"10.0.0.0/33"`, 400, 0, "InvalidCIDR", ""},
		{"security_group_rule", `"remote_ip_prefix":"x"`, 400, 0, "InvalidCIDR", ""},
		{"security_group_rule", `"remote_ip_prefix":5`, 400, 0, "InvalidCIDR", ""},
		{"security_group_rule", `"remote_ip_prefix":"fd00::/64"`, 400, 0, "SecurityGroupRuleParameterConflict", ""},
		{"security_group_rule", `"remote_ip_prefix":"10.0.0.0/8","remote_group_id":"{group}"`, 400, 0, "SecurityGroupMultipleRemoteEntites", ""},
		{"security_group_rule", `"description":null`, 400, 0, "", ""},
	}
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := story(t, s, []step{
			{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "network"},
			{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{network}","ip_version":4,"cidr":"10.4.0.0/24"}}`, code: 201, keep: "subnet"},
			{name: "group", as: "a", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{"name":"g"}}`, code: 201, keep: "group"},
		})
		for _, tt := range tests {
			tt.try(t, s, kept)
		}
		checkCounts(t, db)
	})
}

var leastOf = map[string]string{
	"network": `"description":"d"`, "subnet": `"network_id":"{network}","ip_version":4,"cidr":"10.5.0.0/24"`, "port": `"network_id":"{network}"`,
	"security_group": `"description":"d"`, "security_group_rule": `"security_group_id":"{group}","direction":"ingress"`,
}

func (tt *accepted) try(t *testing.T, s *Service, kept map[string]string) {
	t.Helper()
	path := "/v2.0/" + strings.ReplaceAll(tt.kind, "_", "-") + "s"
	fill := func(text string) string {
		for name, id := range kept {
			text = strings.ReplaceAll(text, "{"+name+"}", id)
		}
		return text
	}
	send := func(method, path, attrs string, code int) string {
		rec := call(s, "a", method, path, fill(`{"`+tt.kind+`":{`+attrs+`}}`))
		body := rec.Body.String()
		var doc map[string]struct {
			MAC string `json:"mac_address"`
		}
		_ = json.Unmarshal(rec.Body.Bytes(), &doc) // an error has another form
		want := strings.ReplaceAll(fill(tt.want), "{mac}", doc[tt.kind].MAC)
		if rec.Code != code || (tt.want != "" && !strings.Contains(body, want)) || (tt.forbid != "" && strings.Contains(body, tt.forbid)) {
			t.Errorf("%s %s {%s} = %d %s, want %d %s", method, tt.kind, tt.value, rec.Code, body, code, want)
		}
		return idIn(rec.Body.Bytes())
	}
	base := leastOf[tt.kind]
	name, _, _ := strings.Cut(tt.value, ":")
	attrs := tt.value
	for _, one := range strings.Split(base, ",") {
		if !strings.HasPrefix(one, name+":") {
			attrs = one + "," + attrs
		}
	}
	id := send("POST", path, attrs, tt.create)
	if id != "" {
		call(s, "a", "DELETE", path+"/"+id, "")
	}
	if tt.update == 0 {
		return
	}
	rec := call(s, "a", "POST", path, fill(`{"`+tt.kind+`":{`+base+`}}`))
	if rec.Code != 201 {
		t.Fatalf("%s: %d %s", tt.kind, rec.Code, rec.Body)
	}
	id = idIn(rec.Body.Bytes())
	send("PUT", path+"/"+id, tt.value, tt.update)
	call(s, "a", "DELETE", path+"/"+id, "")
}

// The gateway's address may be a port's. The host then leaves it alone, as it does with an
// address of another range: whose that is it cannot know.
func TestHostHoldsNoGatewayThatIsNotItsOwn(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := story(t, s, []step{
			{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "network"},
			{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{network}","ip_version":4,"cidr":"10.4.0.0/24"}}`, code: 201, keep: "subnet"},
		})
		host := func() (gateway, router string) {
			t.Helper()
			id, _ := boot(t, s, memberOf(projectA), Requested{Mode: ModeList, Nets: []RequestedNet{{NetworkID: kept["network"]}}})
			ports, err := s.GuestPorts(t.Context(), db, id)
			if err != nil || len(ports) != 1 || len(ports[0].Network.Subnets) != 1 {
				t.Fatalf("ports %+v, %v", ports, err)
			}
			sub := ports[0].Network.Subnets[0]
			return sub.Gateway, sub.Router
		}
		for _, tt := range []struct{ name, path, body, gateway, router string }{
			{"its own", "subnets/" + kept["subnet"], `{"subnet":{"gateway_ip":"10.4.0.1"}}`, "10.4.0.1", ""},
			{"of another range", "subnets/" + kept["subnet"], `{"subnet":{"gateway_ip":"192.168.1.1"}}`, "", "192.168.1.1"},
			{"none", "subnets/" + kept["subnet"], `{"subnet":{"gateway_ip":null}}`, "", ""},
			{"its own again", "subnets/" + kept["subnet"], `{"subnet":{"gateway_ip":"10.4.0.1"}}`, "10.4.0.1", ""},
			{"a port's", "ports", `{"port":{"network_id":"` + kept["network"] + `","fixed_ips":[{"ip_address":"10.4.0.1"}]}}`, "", "10.4.0.1"},
		} {
			method := "PUT"
			if tt.path == "ports" {
				method = "POST"
			}
			rec := call(s, "a", method, "/v2.0/"+tt.path, tt.body)
			if rec.Code > 201 {
				t.Fatalf("%s: %d %s", tt.name, rec.Code, rec.Body)
			}
			gateway, router := host()
			if gateway != tt.gateway || router != tt.router {
				t.Errorf("%s: the host holds %q and tells of %q, want %q and %q", tt.name, gateway, router, tt.gateway, tt.router)
			}
		}
	})
}

// An entry without an address keeps what the port has on the subnet, and named addresses are
// not taken by entries that leave the choice.
func TestAddressesOfAPortStay(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		story(t, s, []step{
			{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "network"},
			{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{network}","ip_version":4,"cidr":"10.4.0.0/24"}}`, code: 201, keep: "subnet"},
			{name: "other", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{network}","ip_version":4,"cidr":"10.5.0.0/24"}}`, code: 201, keep: "other"},
			{name: "port", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{network}","fixed_ips":[{"ip_address":"10.4.0.77"}]}}`, code: 201, keep: "port"},
			{name: "stays", as: "a", method: "PUT", path: "/v2.0/ports/{port}", body: `{"port":{"fixed_ips":[{"subnet_id":"{subnet}"}]}}`, code: 200, want: "10.4.0.77"},
			{name: "one more", as: "a", method: "PUT", path: "/v2.0/ports/{port}", body: `{"port":{"fixed_ips":[{"subnet_id":"{other}"},{"subnet_id":"{subnet}"}]}}`, code: 200, want: `"10.4.0.77"&&"10.5.0.2"`},
			{name: "named and open", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{network}","fixed_ips":[{"subnet_id":"{subnet}"},{"ip_address":"10.4.0.2","subnet_id":"{subnet}"}]}}`, code: 201, want: `"10.4.0.2"&&"10.4.0.3"`},
			{name: "same address of another subnet", as: "a", method: "PUT", path: "/v2.0/ports/{port}", body: `{"port":{"fixed_ips":[{"subnet_id":"{other}","ip_address":"10.4.0.77"}]}}`, code: 400, want: "InvalidIpForSubnet"},
		})
		checkCounts(t, db)
	})
}

// Rules that say the same in other words are one rule.
func TestRulesThatSayTheSame(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := story(t, s, []step{{name: "group", as: "a", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{"name":"g"}}`, code: 201, keep: "group"}})
		for _, pair := range [][2]string{
			{`"protocol":"tcp"`, `"protocol":6`},
			{`"protocol":"udp","port_range_min":1,"port_range_max":65535`, `"protocol":"17"`},
			{`"protocol":"icmp"`, `"protocol":"1","remote_ip_prefix":"0.0.0.0/0"`},
			{`"ethertype":"IPv6","protocol":"icmpv6"`, `"ethertype":"ipv6","protocol":58`},
			{`"protocol":"sctp","remote_ip_prefix":"0.0.0.0/0"`, `"protocol":"132"`},
			{`"remote_ip_prefix":"10.0.0.9"`, `"remote_ip_prefix":"10.0.0.9/255.255.255.255"`},
		} {
			for i, code := range []int{201, 409} {
				rec := call(s, "a", "POST", "/v2.0/security-group-rules", `{"security_group_rule":{"security_group_id":"`+kept["group"]+`","direction":"ingress",`+pair[i]+`}}`)
				if rec.Code != code {
					t.Errorf("{%s} after {%s} = %d %s, want %d", pair[i], pair[0], rec.Code, rec.Body, code)
				}
			}
		}
		// A rule of an earlier release, which kept the words of the client.
		_, err := db.Exec("UPDATE security_group_rules SET meaning = REPLACE(meaning, '|tcp|||', '|tcp|||0.0.0.0/0') WHERE meaning LIKE '%|tcp|%'")
		if err != nil {
			t.Fatal(err)
		}
		rec := call(s, "a", "POST", "/v2.0/security-group-rules", `{"security_group_rule":{"security_group_id":"`+kept["group"]+`","direction":"ingress","protocol":"tcp"}}`)
		if rec.Code != 409 {
			t.Errorf("a rule that an earlier release stored: %d %s", rec.Code, rec.Body)
		}
		checkCounts(t, db)
	})
}
