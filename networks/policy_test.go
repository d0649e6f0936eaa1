package networks

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// guarded is a rule that Neutron keeps for an attribute, a body that needs it, and who has
// it. Everybody else who may make or change the resource at all is refused for it.
type guarded struct {
	rule string // of the policy file; the part before the first colon says what is called
	body string // the attribute and its value
	may  []string
}

// The callers of the table: landlord and landlordmanager are of the project that owns the
// shared network, tenant, tenantmanager and reader of another.
var (
	landlordsToo   = []string{"admin", "service", "landlord", "landlordmanager"}
	landlordBosses = []string{"admin", "service", "landlordmanager"}
	anyMember      = []string{"admin", "service", "landlord", "landlordmanager", "tenant", "tenantmanager"}
	memberNoPlug   = []string{"admin", "landlord", "landlordmanager", "tenant", "tenantmanager"}
	ownersOnly     = []string{"admin", "landlord", "landlordmanager"}
	adminOnly      = []string{"admin"}
	plugsOnly      = []string{"admin", "service"}
)

// attributeRules are the rules of the network service for single attributes. Rules for
// attributes that it does not have (hints, trusted, segments, data_plane_status, tags at
// creation) are refused to all as unknown, in TestUnofferedAttributesAreUnknown.
var attributeRules = []guarded{
	{"create_port:device_id", `"device_id":"x"`, anyMember},
	{"create_port:device_owner", `"device_owner":"network:dhcp"`, landlordsToo},
	{"create_port:device_owner", `"device_owner":"compute:nova"`, anyMember},
	{"create_port:mac_address", `"mac_address":"fa:16:3e:00:00:01"`, landlordsToo},
	{"create_port:fixed_ips", `"fixed_ips":[]`, anyMember},
	{"create_port:fixed_ips:ip_address", `"fixed_ips":[{"ip_address":"10.9.0.9"}]`, landlordsToo},
	{"create_port:fixed_ips:ip_address", `"fixed_ips":[{"subnet_id":"{subnet}"},{"subnet_id":"{subnet}","ip_address":"10.9.0.9"}]`, landlordsToo},
	{"create_port:fixed_ips:subnet_id", `"fixed_ips":[{"subnet_id":"{subnet}"}]`, anyMember},
	{"create_port:port_security_enabled", `"port_security_enabled":false`, landlordsToo},
	{"create_port:port_security_enabled", `"port_security_enabled":true`, landlordsToo},
	{"create_port:binding:host_id", `"binding:host_id":"h"`, plugsOnly},
	{"create_port:binding:profile", `"binding:profile":{"a":1}`, plugsOnly},
	{"create_port:binding:vnic_type", `"binding:vnic_type":"normal"`, anyMember},
	{"create_port:allowed_address_pairs", `"allowed_address_pairs":[{"ip_address":"10.9.0.77"}]`, landlordsToo},
	{"create_port:allowed_address_pairs:mac_address", `"allowed_address_pairs":[{"ip_address":"10.9.0.77","mac_address":"fa:16:3e:00:00:09"}]`, landlordsToo},

	{"update_port:device_id", `"device_id":"x"`, anyMember},
	{"update_port:device_owner", `"device_owner":"network:dhcp"`, landlordsToo},
	{"update_port:device_owner", `"device_owner":"compute:nova"`, anyMember},
	{"update_port:mac_address", `"mac_address":"fa:16:3e:00:00:01"`, landlordBosses},
	{"update_port:fixed_ips", `"fixed_ips":[]`, landlordsToo},
	{"update_port:fixed_ips:ip_address", `"fixed_ips":[{"ip_address":"10.9.0.9"}]`, landlordsToo},
	{"update_port:fixed_ips:subnet_id", `"fixed_ips":[{"subnet_id":"{subnet}"}]`, landlordsToo},
	{"update_port:port_security_enabled", `"port_security_enabled":true`, landlordsToo},
	{"update_port:port_security_enabled", `"port_security_enabled":false,"security_groups":[]`, landlordsToo},
	{"update_port:binding:host_id", `"binding:host_id":"h"`, plugsOnly},
	{"update_port:binding:host_id", `"binding:host_id":null`, plugsOnly},
	{"update_port:binding:profile", `"binding:profile":{"a":1}`, plugsOnly},
	{"update_port:binding:profile", `"binding:profile":null`, plugsOnly},
	{"update_port:binding:vnic_type", `"binding:vnic_type":"normal"`, anyMember},
	{"update_port:allowed_address_pairs", `"allowed_address_pairs":[{"ip_address":"10.9.0.77"}]`, landlordsToo},
	{"update_port:allowed_address_pairs", `"allowed_address_pairs":[]`, landlordsToo},

	{"create_network:shared", `"shared":true`, adminOnly},
	{"create_network:shared", `"shared":false`, memberNoPlug},
	{"create_network:router:external", `"router:external":true`, adminOnly},
	{"create_network:is_default", `"is_default":true`, adminOnly},
	{"create_network:port_security_enabled", `"port_security_enabled":false`, memberNoPlug},
	{"create_network:provider:network_type", `"provider:network_type":"vlan"`, adminOnly},
	{"create_network:provider:physical_network", `"provider:physical_network":"p"`, adminOnly},
	{"create_network:provider:segmentation_id", `"provider:segmentation_id":7`, adminOnly},
	{"create_network:mtu", `"mtu":1400`, memberNoPlug},

	{"update_network:shared", `"shared":true`, adminOnly},
	{"update_network:shared", `"shared":false`, adminOnly},
	{"update_network:router:external", `"router:external":false`, adminOnly},
	{"update_network:is_default", `"is_default":false`, adminOnly},
	{"update_network:port_security_enabled", `"port_security_enabled":false`, ownersOnly},
	{"update_network:provider:network_type", `"provider:network_type":"vlan"`, adminOnly},
	{"update_network:provider:physical_network", `"provider:physical_network":"p"`, adminOnly},
	{"update_network:provider:segmentation_id", `"provider:segmentation_id":7`, adminOnly},
	{"update_network:mtu", `"mtu":1400`, ownersOnly},

	{"create_subnet:segment_id", `"segment_id":"00000000-0000-4000-8000-000000000001"`, adminOnly},
	{"create_subnet:service_types", `"service_types":["compute:nova"]`, adminOnly},
	{"create_subnet:name", `"name":"x"`, ownersOnly},
	{"update_subnet:segment_id", `"segment_id":"00000000-0000-4000-8000-000000000001"`, adminOnly},
	{"update_subnet:service_types", `"service_types":[]`, adminOnly},
	{"update_subnet:name", `"name":"x"`, ownersOnly},

	{"create_security_group:stateful", `"stateful":true`, memberNoPlug},
}

func policyCallers() map[string]string {
	as := map[string]string{"admin": "admin", "service": "service", "landlord": "b", "landlordmanager": "bmanager",
		"tenant": "a", "tenantmanager": "amanager", "reader": "reader", "nobody": "nobody"}
	return as
}

func init() {
	manager := func(project string) []string { return append([]string{"manager"}, memberOf(project).Roles...) }
	for token, project := range map[string]string{"amanager": projectA, "bmanager": projectB} {
		c := *memberOf(project)
		c.Roles = manager(project)
		callers[token] = &c
	}
}

// policyWorld makes a shared network of project B with a subnet.
func policyWorld(t *testing.T, s *Service) map[string]string {
	t.Helper()
	return story(t, s, []step{
		{name: "network", as: "admin", method: "POST", path: "/v2.0/networks", body: `{"network":{"tenant_id":"` + projectB + `","shared":true}}`, code: 201, keep: "network"},
		{name: "subnet", as: "b", method: "POST", path: "/v2.0/subnets", body: `{"subnet":{"network_id":"{network}","ip_version":4,"cidr":"10.9.0.0/24"}}`, code: 201, keep: "subnet"},
	})
}

func TestEachGuardedAttributeHasItsRule(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db, func(c *Config) {
			c.Quotas = map[string]int{"port": -1, "network": -1, "subnet": -1, "security_group": -1}
		})
		kept := policyWorld(t, s)
		for _, g := range attributeRules {
			for who, token := range policyCallers() {
				code, body := g.try(t, s, kept, token)
				may := slices.Contains(g.may, who)
				switch {
				case may && (code == http.StatusForbidden || code >= 500 || code == http.StatusNotFound):
					t.Errorf("%s {%s} as %s = %d %s", g.rule, g.body, who, code, body)
				case !may && code != http.StatusForbidden:
					t.Errorf("%s {%s} as %s = %d, want 403: %s", g.rule, g.body, who, code, body)
				}
			}
		}
	})
}

// try makes or changes a resource as a caller and gives the answer.
func (g guarded) try(t *testing.T, s *Service, kept map[string]string, token string) (code int, body string) {
	t.Helper()
	verb, rest, _ := strings.Cut(g.rule, "_")
	single, _, _ := strings.Cut(rest, ":")
	path := "/v2.0/" + strings.ReplaceAll(single, "_", "-") + "s"
	attrs := strings.ReplaceAll(g.body, "{subnet}", kept["subnet"])
	base := map[string]string{
		"port": `"network_id":"` + kept["network"] + `"`, "subnet": `"network_id":"` + kept["network"] + `","ip_version":4,"cidr":"10.10.0.0/24"`,
		"network": `"name":"n"`, "security_group": `"name":"g"`,
	}[single]
	if verb == "create" {
		rec := call(s, token, "POST", path, fmt.Sprintf(`{"%s":{%s,%s}}`, single, base, attrs))
		if rec.Code == http.StatusCreated {
			call(s, "admin", "DELETE", path+"/"+idIn(rec.Body.Bytes()), "")
		}
		return rec.Code, rec.Body.String()
	}
	id := kept[single]
	if single == "port" { // each caller's own
		project := projectA
		if c := callers[token]; c.ProjectID == projectB {
			project = projectB
		}
		rec := call(s, "admin", "POST", path, fmt.Sprintf(`{"port":{%s,"tenant_id":"%s"}}`, base, project))
		if rec.Code != http.StatusCreated {
			t.Fatalf("a port: %d %s", rec.Code, rec.Body)
		}
		id = idIn(rec.Body.Bytes())
		defer call(s, "admin", "DELETE", path+"/"+id, "")
	}
	rec := call(s, token, "PUT", path+"/"+id, fmt.Sprintf(`{"%s":{%s}}`, single, attrs))
	if single == "network" {
		call(s, "admin", "PUT", path+"/"+id, `{"network":{"shared":true,"port_security_enabled":true}}`)
	}
	return rec.Code, rec.Body.String()
}

// TestNoGuardedAttributeIsMissingInTheTable: what the kinds give to fewer than all members is
// in attributeRules.
func TestNoGuardedAttributeIsMissingInTheTable(t *testing.T) {
	listed := map[string]bool{}
	for _, g := range attributeRules {
		listed[g.rule] = true
	}
	s := newService(t, schematest.SQLite(t))
	for _, k := range s.kinds() {
		for _, a := range k.attrs {
			for verb, who := range map[string]access{"create": a.post, "update": a.put} {
				name := verb + "_" + k.single + ":" + a.name
				if who > plugs && !listed[name] {
					t.Errorf("%s is not in the table", name)
				}
				for _, p := range a.parts {
					if full := strings.TrimSuffix(name+":"+p.name, ":"); !listed[full] {
						t.Errorf("%s is not in the table", full)
					}
				}
			}
		}
	}
}

func TestUnofferedAttributesAreUnknown(t *testing.T) {
	s := newService(t, schematest.SQLite(t))
	kept := policyWorld(t, s)
	for _, rule := range []string{"create_port:hints", "create_port:trusted", "create_network:segments", "create_port:data_plane_status", "create_port:qos_policy_id"} {
		code, body := guarded{rule: rule, body: `"` + rule[strings.Index(rule, ":")+1:] + `":null`}.try(t, s, kept, "admin")
		if code != 400 || !strings.Contains(body, "Unrecognized attribute") {
			t.Errorf("%s = %d %s", rule, code, body)
		}
	}
}
