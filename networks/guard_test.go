package networks

import (
	"context"
	"fmt"
	"net/netip"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// A host's LAN, a machine beyond it, and a host's IPv6 network.
var lan = []netip.Prefix{netip.MustParsePrefix("172.20.0.0/16"), netip.MustParsePrefix("10.44.0.5/32"), netip.MustParsePrefix("fd00:44::/64")}

func withLAN(cfg *Config) {
	cfg.Reserved = func(context.Context, schema.Querier) ([]netip.Prefix, error) { return lan, nil }
}

func TestProjectsChooseNoAddressOfTheCloud(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db, withLAN)
		steps := []step{
			{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "net"},
			{name: "admin's", as: "admin", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "theirs"},
		}
		subnet := func(as, net, cidr, more string, code int) {
			version := 4
			if netip.MustParsePrefix(cidr).Addr().Is6() {
				version = 6
			}
			steps = append(steps, step{name: as + " takes " + cidr + more, as: as, method: "POST", path: "/v2.0/subnets", code: code,
				body: fmt.Sprintf(`{"subnet":{"network_id":"{%s}","ip_version":%d,"cidr":%q%s}}`, net, version, cidr, more)})
		}
		for _, bad := range []string{
			"8.8.8.0/24", "128.0.0.0/1", "0.0.0.0/1", "0.1.0.0/16", "192.0.2.0/24", "100.64.0.0/16", // not for projects
			"169.254.0.0/16", "169.254.169.254/32", "127.0.1.0/24", "224.0.0.0/24", "240.0.0.0/8", // special
			"fe80::/64", "ff00::/16", "::/96", "fd00:ec2::/64", "2001:4860::/64", "::ffff:0:0/97",
			"10.77.0.0/16", "10.77.5.0/24", "10.0.0.0/8", "10.64.0.0/10", // the shared network
			"172.20.3.0/24", "172.16.0.0/12", "10.44.0.0/24", "10.44.0.5/32", "fd00:44::/80", "fd00::/16", // hosts
			"192.0.0.0/8", "172.0.0.0/8", "8.0.0.0/6", // wider than what is theirs
		} {
			subnet("a", "net", bad, "", 400)
		}
		subnet("a", "net", "10.1.0.0/24", "", 201)
		subnet("a", "net", "192.168.9.0/24", `,"gateway_ip":null`, 201)
		subnet("a", "net", "fd12:1::/64", "", 201)
		for _, special := range []string{"169.254.0.0/16", "fe80::/64", "127.0.0.0/8", "0.0.0.0/8"} {
			subnet("admin", "theirs", special, "", 400)
		}
		subnet("admin", "theirs", "8.8.8.0/24", "", 201) // the operator's to choose
		subnet("admin", "theirs", "172.20.9.0/24", "", 201)
		story(t, s, steps)
	})
}

func TestTheOperatorSaysWhatProjectsUse(t *testing.T) {
	s := newService(t, schematest.SQLite(t), func(cfg *Config) { cfg.TenantRanges = []netip.Prefix{netip.MustParsePrefix("100.64.0.0/10")} })
	story(t, s, []step{
		{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "net"},
		{name: "within", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"100.65.0.0/24"}}`, code: 201},
		{name: "without", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.1.0.0/24"}}`, code: 400, want: "100.64.0.0/10"},
		{name: "half", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"100.0.0.0/8"}}`, code: 400},
	})
}

// A gateway is an address of the host too, and may come later than its subnet.
func TestGatewaysAreGuarded(t *testing.T) {
	s := newService(t, schematest.SQLite(t), withLAN)
	kept := story(t, s, []step{
		{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "net"},
		{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.1.0.0/24","gateway_ip":null}}`, code: 201, keep: "sub"},
	})
	for _, gw := range []string{"8.8.8.8", "172.20.0.1", "169.254.169.254", "127.0.0.1", "10.77.0.1", "fe80::1", "224.0.0.1"} {
		story(t, s, []step{
			{name: "gateway " + gw, as: "a", method: "PUT", path: "/v2.0/subnets/" + kept["sub"], body: `{"subnet":{"gateway_ip":"` + gw + `"}}`, code: 400},
			{name: "subnet with gateway " + gw, as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"` + kept["net"] + `","ip_version":4,"cidr":"10.2.0.0/24","gateway_ip":"` + gw + `"}}`, code: 400},
		})
	}
	story(t, s, []step{{name: "its own", as: "a", method: "PUT", path: "/v2.0/subnets/" + kept["sub"], body: `{"subnet":{"gateway_ip":"10.1.0.1","allocation_pools":[{"start":"10.1.0.9","end":"10.1.0.90"}]}}`, code: 200}})
}

func TestPairsSpeakNotAsTheCloud(t *testing.T) {
	s := newService(t, schematest.SQLite(t), withLAN)
	kept := story(t, s, []step{
		{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "net"},
		{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.1.0.0/24"}}`, code: 201},
		{name: "port", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}"}}`, code: 201, keep: "port"},
	})
	try := func(ip string, code int) {
		pairs := `"allowed_address_pairs":[{"ip_address":"` + ip + `"}]`
		made := map[int]int{200: 201, 400: 400}[code]
		story(t, s, []step{
			{name: "update " + ip, as: "a", method: "PUT", path: "/v2.0/ports/" + kept["port"], body: `{"port":{` + pairs + `}}`, code: code},
			{name: "create " + ip, as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"` + kept["net"] + `",` + pairs + `}}`, code: made},
		})
	}
	for _, bad := range []string{"172.20.0.9", "172.20.4.0/24", "10.44.0.5", "169.254.169.254", "169.254.0.0/16", "127.0.0.1", "224.0.0.5", "fe80::1", "fd00:44::1", "::1"} {
		try(bad, 400)
	}
	for _, good := range []string{"10.1.0.200", "10.244.0.0/16", "0.0.0.0/0", "::/0", "192.168.7.0/24", "fd12::/64"} {
		try(good, 200)
	}
}

// What a project says for its guests alone never reaches a host's own tables.
func TestHostsAreNotToldOfRoutes(t *testing.T) {
	s := newService(t, schematest.SQLite(t))
	kept := story(t, s, []step{
		{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "net"},
		{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", code: 201,
			body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.1.0.0/24","host_routes":[{"destination":"8.8.8.8/32","nexthop":"10.1.0.9"}]}}`},
	})
	_, ports := boot(t, s, callers["a"], Requested{Mode: ModeList, Nets: []RequestedNet{{NetworkID: kept["net"]}}})
	for _, sub := range ports[0].Guest().Network.Subnets {
		if text := fmt.Sprintf("%+v", sub); sub.CIDR != "10.1.0.0/24" || sub.Gateway != "10.1.0.1" || len(text) > 200 {
			t.Errorf("a host is told %s", text)
		}
	}
}

// Hosts learn how ports are guarded: of new ports, of given ones, and at a later start.
func TestHostsLearnThePortsGuard(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := story(t, s, []step{
			{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "net"},
			{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{net}","ip_version":4,"cidr":"10.1.0.0/24"}}`, code: 201},
			{name: "open", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","port_security_enabled":false,"security_groups":[]}}`, code: 201, keep: "open"},
			{name: "paired", as: "a", method: "POST", path: "/v2.0/ports", body: `{"port":{"network_id":"{net}","allowed_address_pairs":[{"ip_address":"10.9.0.0/16"},{"ip_address":"10.1.0.7","mac_address":"fa:16:3e:00:00:01"}]}}`, code: 201, keep: "paired"},
		})
		id, ports := boot(t, s, callers["a"], Requested{Mode: ModeList, Nets: []RequestedNet{{NetworkID: kept["net"]}, {PortID: kept["open"]}, {PortID: kept["paired"]}}})
		later, err := s.GuestPorts(t.Context(), db, id)
		if err != nil || len(later) != 3 {
			t.Fatalf("%d ports, %v", len(later), err)
		}
		for i, p := range ports {
			g := p.Guest()
			if g.Unguarded != (i == 1) || later[i].Unguarded != g.Unguarded {
				t.Errorf("port %d: unguarded %v, later %v", i, g.Unguarded, later[i].Unguarded)
			}
			want := 0
			if i == 2 {
				want = 2
			}
			if len(g.Pairs) != want || len(later[i].Pairs) != want {
				t.Errorf("port %d has pairs %v, later %v", i, g.Pairs, later[i].Pairs)
			}
		}
		if p := later[2].Pairs[0]; p.IP != "10.9.0.0/16" || p.MAC != later[2].MAC {
			t.Errorf("pair %+v of %+v", p, later[2])
		}
	})
}
