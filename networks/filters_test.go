package networks

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// documentedFilters are the filters that the Network API documents for each collection that is
// offered, as its OpenAPI file has them. All of them take the parameters of pages and order besides.
var documentedFilters = map[string]string{
	"networks":             "admin_state_up description id is_default mtu name not-tags not-tags-any provider:network_type provider:physical_network provider:segmentation_id qinq revision_number router:external shared status tags tags-any tenant_id vlan_transparent",
	"subnets":              "cidr description enable_dhcp gateway_ip id ip_version ipv6_address_mode ipv6_ra_mode name network_id not-tags not-tags-any revision_number router:external segment_id shared subnetpool_id tags tags-any tenant_id",
	"ports":                "admin_state_up binding:host_id description device_id device_owner fixed_ips id ip_allocation mac_address name network_id not-tags not-tags-any revision_number security_groups status tags tags-any tenant_id",
	"security-groups":      "description id name not-tags not-tags-any revision_number shared stateful tags tags-any tenant_id",
	"security-group-rules": "belongs_to_default_sg description direction ethertype id normalized_cidr port_range_max port_range_min protocol remote_address_group_id remote_group_id remote_ip_prefix revision_number security_group_id tenant_id",
	"availability_zones":   "name resource state",
	// These are always empty.
	"address-scopes": "id ip_version name shared tenant_id",
	"agents":         "admin_state_up agent_type alive availability_zone binary description host id topic",
	"floatingips":    "description fixed_ip_address floating_ip_address floating_network_id id not-tags not-tags-any port_id revision_number router_id status tags tags-any tenant_id",
	"rbac-policies":  "action id object_id object_type target_tenant tenant_id",
	"routers":        "admin_state_up description enable_ndp_proxy id name not-tags not-tags-any revision_number tags tags-any tenant_id",
	"subnetpools":    "address_scope_id default_prefixlen default_quota description id ip_version is_default max_prefixlen min_prefixlen name not-tags not-tags-any revision_number shared tags tags-any tenant_id",
}

// asked are the values of a filter that find the test's resource, and those that do not. A
// name of a collection with none is always empty.
type asked struct{ finds, misses []string }

func one(finds, misses string) asked { return asked{[]string{finds}, []string{misses}} }

// filterValues answers documentedFilters: {name} is an id of the world of TestFilters.
var filterValues = map[string]map[string]asked{
	"networks": {
		"admin_state_up": {[]string{"False", "false", "0", "no"}, []string{"True"}}, "description": one("a net", "A%"), "id": one("{network}", "{subnet}"),
		"is_default": one("False", "True"), "mtu": {[]string{"1400"}, []string{"1500"}}, "name": one("n1", "n"),
		"provider:network_type": one("local", "vlan"), "provider:physical_network": one("", "x"), "provider:segmentation_id": one("0", "7"),
		"qinq": one("False", "True"), "vlan_transparent": one("false", "true"), "revision_number": one("{network.revision_number}", "99"),
		"router:external": one("False", "True"), "shared": one("False", "1"), "status": one("ACTIVE", "DOWN"),
		"tenant_id": one(projectA, projectB),
	},
	"subnets": {
		"cidr": {[]string{"10.4.0.0/24", "10.4.0.0/255.255.255.0"}, []string{"10.4.0.0/25"}}, "description": one("a sub", "a"), "enable_dhcp": one("false", "true"),
		"gateway_ip": one("10.4.0.7", "10.4.0.1"), "id": one("{subnet}", "{network}"), "ip_version": one("4", "6"), "name": one("s1", "s"),
		"ipv6_address_mode": one("", "slaac"), "ipv6_ra_mode": one("", "slaac"), "network_id": one("{network}", "{subnet}"),
		"revision_number": one("{subnet.revision_number}", "99"), "router:external": one("False", "True"), "segment_id": one("", "{network}"),
		"shared": one("False", "True"), "subnetpool_id": one("", "{network}"), "tenant_id": one(projectA, projectB),
	},
	"ports": {
		"admin_state_up": one("0", "1"), "binding:host_id": one("h1", "h2"), "description": one("a port", "p"), "device_id": one("d1", "d"),
		"device_owner": one("me:here", "me"),
		"fixed_ips": {[]string{"ip_address=10.4.0.9", "subnet_id={subnet}", "ip_address_substr=4.0.9", "ip_address = 10.4.0.9"},
			[]string{"ip_address=10.4.0.8", "subnet_id={network}", "ip_address_substr=5.0"}},
		"id": one("{port}", "{network}"), "ip_allocation": one("immediate", "deferred"),
		"mac_address": {[]string{"fa:16:3e:00:00:ab", "FA:16:3E:00:00:AB", "fa-16-3e-00-00-AB"}, []string{"fa:16:3e:00:00:ac", "x"}},
		"name":        one("p1", "p"), "network_id": one("{network}", "{subnet}"), "revision_number": one("{port.revision_number}", "99"),
		"security_groups": one("{group}", "{network}"), "status": one("DOWN", "ACTIVE"), "tenant_id": one(projectA, projectB),
	},
	"security-groups": {
		"description": one("a group", "a"), "id": one("{group}", "{network}"), "name": one("g1", "g"), "revision_number": one("{group.revision_number}", "99"),
		"shared": one("False", "True"), "stateful": one("no", "yes"), "tenant_id": one(projectA, projectB),
	},
	"security-group-rules": {
		"belongs_to_default_sg": one("False", "True"), "description": one("a rule", "a"), "direction": one("ingress", "egress"),
		"ethertype": {[]string{"IPv4", "ipv4"}, []string{"IPv6"}}, "id": one("{rule}", "{group}"), "normalized_cidr": one("10.0.0.0/8", "10.1.0.0/16"),
		"port_range_max": one("443", "80"), "port_range_min": one("80", "443"), "protocol": {[]string{"tcp", "TCP"}, []string{"udp", "any", "17"}},
		"remote_address_group_id": one("", "{group}"), "remote_group_id": one("", "{group}"), "remote_ip_prefix": one("10.1.2.3/8", "10.0.0.0/8"),
		"revision_number": one("{rule.revision_number}", "99"), "security_group_id": one("{group}", "{rule}"), "tenant_id": one(projectA, projectB),
	},
	"availability_zones": {"name": one("nova", "x"), "resource": one("network", "router"), "state": one("available", "unavailable")},
}

// tagValues are those of each collection whose resource has the tags red and blue.
var tagValues = map[string]asked{
	"tags":         {[]string{"red", "red,blue"}, []string{"red,green", "green"}},
	"tags-any":     {[]string{"red,green"}, []string{"green,white"}},
	"not-tags":     {[]string{"red,green", "green"}, []string{"red", "red,blue"}},
	"not-tags-any": {[]string{"green,white"}, []string{"red,green"}},
}

// filterWorld makes one resource of each kind with values of its own.
func filterWorld(t *testing.T, s *Service) map[string]string {
	t.Helper()
	kept := story(t, s, []step{
		{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{"name":"n1","description":"a net","admin_state_up":false,"mtu":1400}}`, code: 201, keep: "network"},
		{name: "subnet", as: "a", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"name":"s1","description":"a sub","network_id":"{network}","ip_version":4,"cidr":"10.4.0.0/24","gateway_ip":"10.4.0.7","enable_dhcp":false}}`, code: 201, keep: "subnet"},
		{name: "group", as: "a", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{"name":"g1","description":"a group","stateful":false}}`, code: 201, keep: "group"},
		{name: "rule", as: "a", method: "POST", path: "/v2.0/security-group-rules", code: 201, keep: "rule",
			body: `{"security_group_rule":{"description":"a rule","security_group_id":"{group}","direction":"ingress","protocol":"tcp","port_range_min":80,"port_range_max":443,"remote_ip_prefix":"10.1.2.3/8"}}`},
		{name: "port", as: "admin", method: "POST", path: "/v2.0/ports", code: 201, keep: "port",
			body: `{"port":{"tenant_id":"` + projectA + `","name":"p1","description":"a port","network_id":"{network}","admin_state_up":false,"device_id":"d1","device_owner":"me:here","binding:host_id":"h1",
			"mac_address":"FA:16:3E:00:00:AB","fixed_ips":[{"ip_address":"10.4.0.9"}],"security_groups":["{group}"]}}`},
	})
	for _, name := range []string{"network", "subnet", "group", "port"} {
		rec := call(s, "a", "PUT", "/v2.0/"+collectionOf[name]+"/"+kept[name]+"/tags", `{"tags":["red","blue"]}`)
		if rec.Code != 200 {
			t.Fatalf("tags of %s: %d %s", name, rec.Code, rec.Body)
		}
	}
	for name, plural := range collectionOf {
		var doc map[string]map[string]any
		err := json.Unmarshal(call(s, "admin", "GET", "/v2.0/"+plural+"/"+kept[name], "").Body.Bytes(), &doc)
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range doc {
			kept[name+".revision_number"] = fmt.Sprint(v["revision_number"])
			kept[name+".updated_at"] = fmt.Sprint(v["updated_at"])
		}
	}
	return kept
}

var collectionOf = map[string]string{"network": "networks", "subnet": "subnets", "port": "ports", "group": "security-groups", "rule": "security-group-rules"}

// found lists a collection and tells whether something (with an id, or anything at all if
// the id is "") is in it.
func found(t *testing.T, s *Service, as, collection, query, id string) (bool, int) {
	t.Helper()
	rec := call(s, as, "GET", "/v2.0/"+collection+"?"+query, "")
	var doc map[string][]map[string]any
	err := json.Unmarshal(rec.Body.Bytes(), &doc)
	if rec.Code == 200 && err != nil {
		t.Fatalf("%s?%s: %v", collection, query, err)
	}
	list := doc[strings.ReplaceAll(collection, "-", "_")]
	if id == "" {
		return len(list) > 0, rec.Code
	}
	return slices.ContainsFunc(list, func(v map[string]any) bool { return v["id"] == id }), rec.Code
}

// TestFilters asks each list with each documented filter, for what is there and for what is
// not, as the administrator, who sees everything.
func TestFilters(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := filterWorld(t, s)
		ids := map[string]string{}
		for name, plural := range collectionOf {
			ids[plural] = kept[name]
		}
		fill := func(text string) string {
			for name, id := range kept {
				text = strings.ReplaceAll(text, "{"+name+"}", id)
			}
			return text
		}
		for collection, filters := range documentedFilters {
			values, full := filterValues[collection]
			for _, name := range strings.Fields(filters) {
				v, known := values[name]
				if !known {
					v, known = tagValues[name]
				}
				if full && !known {
					t.Errorf("%s: nothing asks for %s", collection, name)
				}
				if !full {
					v = asked{nil, []string{"1"}}
				}
				for want, texts := range map[bool][]string{true: v.finds, false: v.misses} {
					for _, text := range texts {
						query := name + "=" + url.QueryEscape(fill(text))
						got, code := found(t, s, "admin", collection, query, ids[collection])
						if code != 200 || got != want {
							t.Errorf("%s?%s: found %v (%d), want %v", collection, query, got, code, want)
						}
					}
				}
				if full && len(v.finds) > 0 {
					query := url.Values{name: {fill(v.misses[0]), fill(v.finds[0])}}.Encode()
					got, _ := found(t, s, "admin", collection, query, ids[collection])
					if !got && tagValues[name].finds == nil {
						t.Errorf("%s?%s: either should do", collection, query)
					}
				}
			}
		}
	})
}

// Lists of things in order, by each key that Neutron sorts by, with and without pages.
func TestSortKeys(t *testing.T) {
	keys := map[string]string{
		"networks":        "id name admin_state_up status tenant_id project_id mtu shared router:external is_default",
		"subnets":         "id name ip_version network_id subnetpool_id cidr gateway_ip tenant_id enable_dhcp ipv6_ra_mode ipv6_address_mode segment_id",
		"ports":           "id name network_id admin_state_up mac_address device_id device_owner tenant_id status",
		"security-groups": "id name tenant_id stateful shared",
		"security-group-rules": "id security_group_id remote_group_id direction protocol port_range_min port_range_max ethertype remote_ip_prefix tenant_id " +
			"belongs_to_default_sg remote_address_group_id",
	}
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		filterWorld(t, s)
		call(s, "b", "GET", "/v2.0/security-groups", "") // its default group
		for collection, names := range keys {
			plural := strings.ReplaceAll(collection, "-", "_")
			for _, name := range strings.Fields(names) {
				for _, dir := range []string{"asc", "desc"} {
					query := "sort_key=" + name + "&sort_dir=" + dir
					all := idsOf(t, s, collection, plural, query)
					var paged []string
					for range len(all) + 1 {
						marker := ""
						if len(paged) > 0 {
							marker = "&marker=" + paged[len(paged)-1]
						}
						page := idsOf(t, s, collection, plural, query+"&limit=1"+marker)
						if len(page) == 0 {
							break
						}
						paged = append(paged, page...)
					}
					if !slices.Equal(all, paged) || len(all) == 0 {
						t.Errorf("%s by %s %s: %v, in pages %v", collection, name, dir, all, paged)
					}
				}
			}
			for _, bad := range []string{"sort_key=nope&sort_dir=asc", "sort_key=name", "sort_dir=asc", "sort_key=name&sort_dir=up", "limit=-1", "limit=x", "limit=1.5",
				"nope=1", "changed_since=bogus", "changed_since="} {
				rec := call(s, "admin", "GET", "/v2.0/"+collection+"?"+bad, "")
				if rec.Code != 400 {
					t.Errorf("%s?%s = %d %s", collection, bad, rec.Code, rec.Body)
				}
			}
		}
	})
}

func idsOf(t *testing.T, s *Service, collection, plural, query string) []string {
	t.Helper()
	rec := call(s, "admin", "GET", "/v2.0/"+collection+"?fields=id&"+query, "")
	var doc map[string]json.RawMessage
	var list []struct{ ID string }
	err := json.Unmarshal(rec.Body.Bytes(), &doc)
	if err == nil {
		err = json.Unmarshal(doc[plural], &list)
	}
	if rec.Code != 200 || err != nil {
		t.Fatalf("%s?%s: %d %s", collection, query, rec.Code, rec.Body)
	}
	ids := make([]string, 0, len(list))
	for _, v := range list {
		ids = append(ids, v.ID)
	}
	return ids
}

// changed_since is held against the time that clients are shown, at whole seconds.
func TestChangedSinceIsAsPreciseAsWhatIsShown(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		at := time.Date(2026, 5, 4, 3, 2, 1, 987654000, time.UTC)
		s := newService(t, db, func(c *Config) { c.Clock = func() time.Time { return at } })
		kept := filterWorld(t, s)
		for name, collection := range collectionOf {
			if kept[name+".updated_at"] != "2026-05-04T03:02:01Z" {
				t.Fatalf("%s was updated at %s", name, kept[name+".updated_at"])
			}
			for text, want := range map[string]bool{
				"2026-05-04T03:02:01Z": true, "2026-05-04T03:02:02Z": false, "2026-05-04T03:02:01.5Z": false, "2026-05-04T03:02:00.5Z": true,
				"2026-05-04T03:02:01": true, "2026-05-04 03:02:01": true, "2026-05-04T05:02:01+02:00": true, "2026-05-04T05:02:02+02:00": false,
				"2026-05-04": true, "2026-05-05": false, "2099-01-01T00:00:00Z": false,
			} {
				got, code := found(t, s, "a", collection, "changed_since="+url.QueryEscape(text), kept[name])
				if code != 200 || got != want {
					t.Errorf("%s changed since %s: %v (%d), want %v", name, text, got, code, want)
				}
			}
		}
	})
}

// The owner of a network sees the ports of others on it, may remove them, and no more.
func TestLandlordSeesWhatIsOnTheNetwork(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := policyWorld(t, s)
		rec := call(s, "a", "POST", "/v2.0/ports", `{"port":{"network_id":"`+kept["network"]+`"}}`)
		port := idIn(rec.Body.Bytes())
		rec = call(s, "a", "POST", "/v2.0/networks", `{"network":{"name":"mine"}}`)
		mine := idIn(rec.Body.Bytes())
		for _, tt := range []struct {
			as, method, path, body string
			code                   int
			want, forbid           string
		}{
			{"b", "GET", "ports/" + port, "", 200, port, ""},
			{"b", "GET", "ports", "", 200, port, ""},
			{"b", "GET", "ports?network_id=" + kept["network"], "", 200, port, ""},
			{"b", "PUT", "ports/" + port, `{"port":{"name":"x"}}`, 403, "update_port", ""},
			{"b", "PUT", "ports/" + port + "/tags/x", "", 403, "", ""},
			{"reader", "DELETE", "ports/" + port, "", 403, "", ""},
			{"b", "GET", "networks/" + mine, "", 404, "", mine + `"`},
			{"b", "DELETE", "ports/" + port, "", 204, "", ""},
			{"a", "GET", "ports", "", 200, "[]", ""},
		} {
			rec := call(s, tt.as, tt.method, "/v2.0/"+tt.path, tt.body)
			if rec.Code != tt.code || !strings.Contains(rec.Body.String(), tt.want) {
				t.Errorf("%s %s as %s = %d %s, want %d %s", tt.method, tt.path, tt.as, rec.Code, rec.Body, tt.code, tt.want)
			}
		}
		checkCounts(t, db)
	})
}
