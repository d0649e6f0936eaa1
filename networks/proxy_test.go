package networks

import (
	"net/http/httptest"
	"strings"
	"testing"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

// openPolicy lets everybody do everything: the rows of these operations are identity's.
type openPolicy struct{}

func (openPolicy) Known(string) bool                                 { return true }
func (openPolicy) Allows(string, *compat.Caller, compat.Target) bool { return true }

type fakeServer struct{ id, project string }

func (f fakeServer) PolicyTarget() compat.Target { return compat.Target{ProjectID: f.project} }
func (f fakeServer) ServerID() string            { return f.id }
func (f fakeServer) Project() string             { return f.project }

func TestComputeProxies(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		server, ports := boot(t, s, memberOf(projectA), auto())
		api := compat.NewCompute(compat.Base{}, openPolicy{}, fakeAuth)
		s.RegisterCompute(api)
		api.Resolve("servers", func(r *compat.Request) (compat.Resource, error) {
			return fakeServer{server, projectA}, nil
		})
		err := api.Build()
		if err != nil {
			t.Fatal(err)
		}
		const none = "00000000-0000-4000-8000-000000000000"
		kept := map[string]string{}
		rule := func(rest string) string {
			return `{"security_group_rule":{"parent_group_id":"{web}"` + rest + `}}`
		}
		tests := []struct {
			name, version, method, path, body string
			code                              int
			want, forbid, keep                string
		}{
			{"networks", "2.1", "GET", "/os-networks", "", 200, `"label":"private"&&"vpn_public_port":null`, "", "net"},
			{"network", "2.35", "GET", "/os-networks/{net}", "", 200, `"label":"private"`, "", ""},
			{"network by name", "2.1", "GET", "/os-networks/private", "", 404, "Network not found", "", ""},
			{"networks are gone", "2.36", "GET", "/os-networks", "", 404, "itemNotFound", "", ""},
			{"tenant networks", "2.1", "GET", "/os-tenant-networks", "", 200, `"cidr":"None"`, "bridge", ""},
			{"tenant network", "2.1", "GET", "/os-tenant-networks/{net}", "", 200, `{"network":{"cidr":"None","id":"{net}","label":"private"}}`, "", ""},
			{"pools", "2.1", "GET", "/os-floating-ip-pools", "", 200, `{"floating_ip_pools":[]}`, "", ""},
			{"floating addresses", "2.1", "GET", "/os-floating-ips", "", 200, `{"floating_ips":[]}`, "", ""},
			{"floating address", "2.1", "GET", "/os-floating-ips/" + none, "", 404, "Floating IP not found", "", ""},
			{"no pool", "2.1", "POST", "/os-floating-ips", `{"pool":"x"}`, 404, "pool", "", ""},
			{"groups", "2.1", "GET", "/os-security-groups", "", 200, `"name":"default"&&"group":{"name":"default"`, `"direction"`, ""},
			{"make", "2.1", "POST", "/os-security-groups", `{"security_group":{"name":"web","description":" d "}}`, 200, `"description":" d "&&"name":"web"&&"rules":[]`, "", "web"},
			{"make without name", "2.1", "POST", "/os-security-groups", `{"security_group":{"name":"","description":"d"}}`, 400, "", "", ""},
			{"make with long name", "2.1", "POST", "/os-security-groups", `{"security_group":{"name":"` + strings.Repeat("x", 256) + `","description":"d"}}`, 400, "", "", ""},
			{"make default", "2.1", "POST", "/os-security-groups", `{"security_group":{"name":"default","description":"d"}}`, 400, "", "", ""},
			{"show", "2.1", "GET", "/os-security-groups/{web}", "", 200, `"web"`, "", ""},
			{"show nothing", "2.1", "GET", "/os-security-groups/" + none, "", 404, "itemNotFound", "", ""},
			{"show no id", "2.1", "GET", "/os-security-groups/x", "", 400, "Security group id should be uuid", "", ""},
			{"update", "2.1", "PUT", "/os-security-groups/{web}", `{"security_group":{"name":"www","description":"e"}}`, 200, `"www"`, "", ""},
			{"rule", "2.1", "POST", "/os-security-group-rules", rule(`,"ip_protocol":"tcp","from_port":"22","to_port":22,"cidr":"10.0.0.0/24"`), 200,
				`"from_port":22&&"group":{}&&"ip_range":{"cidr":"10.0.0.0/24"}&&"parent_group_id":"{web}"`, "", "rule"},
			{"rule twice", "2.1", "POST", "/os-security-group-rules", rule(`,"ip_protocol":"tcp","from_port":22,"to_port":22,"cidr":"10.0.0.0/24"`), 400, "already exists", "", ""},
			{"ping", "2.1", "POST", "/os-security-group-rules", rule(`,"ip_protocol":"icmp","from_port":-1,"to_port":-1`), 200, `"from_port":-1&&"cidr":"0.0.0.0/0"`, "", ""},
			{"from group", "2.1", "POST", "/os-security-group-rules", rule(`,"ip_protocol":"udp","from_port":1,"to_port":9,"group_id":"{web}"`), 200, `"group":{"name":"www","tenant_id":"` + projectA + `"}&&"ip_range":{}`, "", ""},
			{"rule without protocol", "2.1", "POST", "/os-security-group-rules", rule(``), 400, "Not enough parameters", "", ""},
			{"rule with protocol x", "2.1", "POST", "/os-security-group-rules", rule(`,"ip_protocol":"x","from_port":1,"to_port":1`), 400, "Invalid IP protocol", "", ""},
			{"rule with wrong ports", "2.1", "POST", "/os-security-group-rules", rule(`,"ip_protocol":"tcp","from_port":1,"to_port":99999`), 400, "", "", ""},
			{"rule of nothing", "2.1", "POST", "/os-security-group-rules", `{"security_group_rule":{"parent_group_id":"` + none + `","ip_protocol":"tcp","from_port":1,"to_port":1}}`, 404, "", "", ""},
			{"rule of no id", "2.1", "POST", "/os-security-group-rules", `{"security_group_rule":{"parent_group_id":"x","ip_protocol":"tcp","from_port":1,"to_port":1}}`, 400, "", "", ""},
			{"rule goes", "2.1", "DELETE", "/os-security-group-rules/{rule}", "", 202, "", "", ""},
			{"rule is gone", "2.1", "DELETE", "/os-security-group-rules/{rule}", "", 404, "", "", ""},
			{"server's groups", "2.104", "GET", "/servers/x/os-security-groups", "", 200, `"name":"default"`, "www", ""},
			{"into group", "2.104", "POST", "/servers/x/action", `{"addSecurityGroup":{"name":"www"}}`, 202, "", "", ""},
			{"into no group", "2.104", "POST", "/servers/x/action", `{"addSecurityGroup":{"name":"nope"}}`, 404, "is not found for project", "", ""},
			{"server's groups now", "2.104", "GET", "/servers/x/os-security-groups", "", 200, `"name":"default"&&"www"`, "", ""},
			{"group in use", "2.1", "DELETE", "/os-security-groups/{web}", "", 400, "in use", "", ""},
			{"out of group", "2.1", "POST", "/servers/x/action", `{"removeSecurityGroup":{"name":"{web}"}}`, 202, "", "", ""},
			{"out of group again", "2.1", "POST", "/servers/x/action", `{"removeSecurityGroup":{"name":"www"}}`, 404, "not associated", "", ""},
			{"group goes", "2.1", "DELETE", "/os-security-groups/{web}", "", 202, "", "", ""},
			{"interfaces", "2.1", "GET", "/servers/x/os-interface", "", 200, `"port_id":"` + ports[0].ID + `"&&"ip_address":"10.77.0.2"`, "tag", ""},
			{"interfaces with tags", "2.70", "GET", "/servers/x/os-interface", "", 200, `"tag":null`, "", ""},
			{"interface", "2.70", "GET", "/servers/x/os-interface/" + ports[0].ID, "", 200, `{"interfaceAttachment":{`, "", ""},
			{"no interface", "2.70", "GET", "/servers/x/os-interface/" + none, "", 404, "itemNotFound", "", ""},
		}
		for _, tt := range tests {
			fill := func(text string) string {
				for k, v := range kept {
					text = strings.ReplaceAll(text, "{"+k+"}", v)
				}
				return text
			}
			r := httptest.NewRequest(tt.method, "/v2.1"+fill(tt.path), strings.NewReader(fill(tt.body)))
			r.Header.Set("X-Auth-Token", "a")
			r.Header.Set(compat.VersionHeader, "compute "+tt.version)
			rec := httptest.NewRecorder()
			api.ServeHTTP(rec, r)
			body := rec.Body.String()
			if tt.keep != "" {
				kept[tt.keep] = idIn(rec.Body.Bytes())
			}
			if rec.Code != tt.code {
				t.Errorf("%s: %s %s = %d, want %d: %s", tt.name, tt.method, fill(tt.path), rec.Code, tt.code, body)
			}
			for _, want := range strings.Split(tt.want, "&&") {
				if !strings.Contains(body, fill(want)) {
					t.Errorf("%s: no %s in %s", tt.name, fill(want), body)
				}
			}
			if tt.forbid != "" && strings.Contains(body, tt.forbid) {
				t.Errorf("%s: %s in %s", tt.name, tt.forbid, body)
			}
		}
		checkCounts(t, db)
	})
}

// A group may be without a name in the network API; the compute API shows its id then.
func TestNamelessGroups(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := story(t, s, []step{
			{name: "group", as: "a", method: "POST", path: "/v2.0/security-groups", body: `{"security_group":{}}`, code: 201, keep: "group", want: `"name":""`},
			{name: "rule", as: "a", method: "POST", path: "/v2.0/security-group-rules", body: `{"security_group_rule":{"security_group_id":"{group}","direction":"ingress","remote_group_id":"{group}"}}`, code: 201},
		})
		id := kept["group"]
		server, _ := boot(t, s, memberOf(projectA), auto(), id)
		api := compat.NewCompute(compat.Base{}, openPolicy{}, fakeAuth)
		s.RegisterCompute(api)
		api.Resolve("servers", func(*compat.Request) (compat.Resource, error) { return fakeServer{server, projectA}, nil })
		err := api.Build()
		if err != nil {
			t.Fatal(err)
		}
		for path, want := range map[string]string{
			"/os-security-groups/" + id: `"group":{"name":"` + id, "/os-security-groups": `"name":"` + id, "/servers/x/os-security-groups": `"name":"` + id,
		} {
			r := httptest.NewRequest("GET", "/v2.1"+path, nil)
			r.Header.Set("X-Auth-Token", "a")
			rec := httptest.NewRecorder()
			api.ServeHTTP(rec, r)
			if rec.Code != 200 || !strings.Contains(rec.Body.String(), want) {
				t.Errorf("%s = %d %s", path, rec.Code, rec.Body)
			}
		}
		groups, err := s.SecurityGroupsOf(t.Context(), db, []string{server})
		if err != nil || len(groups[server]) != 1 || groups[server][0].Name != id {
			t.Errorf("groups of the server %+v, %v", groups, err)
		}
		ports, err := s.OfServers(t.Context(), db, []string{server})
		if err != nil || ports[server][0].SecurityGroups[0].Name != id {
			t.Errorf("groups of its port %+v, %v", ports, err)
		}
		rec := call(s, "a", "PUT", "/v2.0/security-groups/"+id, `{"security_group":{"stateful":false}}`)
		if rec.Code != 409 || !strings.Contains(rec.Body.String(), "SecurityGroupInUse") {
			t.Errorf("a group in use loses its state: %d %s", rec.Code, rec.Body)
		}
	})
}
