package identity_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
)

func TestDiscovery(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.must(300, "GET", "/", "", "")
		values := a.list("versions", "values")
		if len(values) != 1 {
			t.Fatalf("versions %s", a.raw)
		}
		for _, path := range []string{"/v3", "/v3/"} {
			v, _ := c.must(200, "GET", path, "", "").get("version").(map[string]any)
			if fmt.Sprint(v) != fmt.Sprint(values[0]) {
				t.Errorf("GET %s: %v, in the list %v", path, v, values[0])
			}
			link := v["links"].([]any)[0].(map[string]any)
			media := v["media-types"].([]any)[0].(map[string]any)
			if v["id"] != "v3.14" || v["status"] != "stable" || v["updated"] == nil || link["rel"] != "self" ||
				link["href"] != "http://cloud.example/identity/v3/" || media["type"] != "application/vnd.openstack.identity-v3+json" {
				t.Errorf("version %v", v)
			}
		}
		a = c.must(300, "GET", "/", "", "", "X-Forwarded-Proto", "https", "X-Forwarded-Host", "api.example:8443")
		if !strings.Contains(string(a.raw), `"https://api.example:8443/identity/v3/"`) {
			t.Errorf("behind a proxy: %s", a.raw)
		}
		for path, code := range map[string]int{"/v2.0": 404, "/v3/nothing": 404, "/v4": 404} {
			if a := c.do("GET", path, "", ""); a.code != code || !strings.HasPrefix(string(a.raw), "<!doctype html>") {
				t.Errorf("GET %s = %d: %s", path, a.code, a.raw)
			}
		}
		if a := c.do("PUT", "/v3/users", c.admin(), ""); a.code != 405 || a.text("message") != "The method is not allowed for the requested URL." {
			t.Errorf("PUT /v3/users = %d: %s", a.code, a.raw)
		}
	})
}

// TestResources makes, shows, lists, changes and removes one of each resource.
func TestResources(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		service := c.create(admin, "services", "service", `{"type":"extra","name":"x"}`)
		tests := []struct {
			plural, key    string
			create         string
			shown          map[string]any
			change         string
			changed        map[string]any
			filter         string
			secondConflict bool
			cannotChange   string
		}{
			{"projects", "project", `{"name":"Pro","description":null,"color":"red","tags":["b","a"],"options":{}}`,
				map[string]any{"name": "Pro", "description": "", "color": "red", "enabled": true, "domain_id": "default", "parent_id": "default", "is_domain": false},
				`{"name":"Neu","description":"d","enabled":false,"shape":"round"}`,
				map[string]any{"name": "Neu", "description": "d", "enabled": false, "color": "red", "shape": "round"}, "name=neu&enabled=False&domain_id=default", true, `{"domain_id":"other"}`},
			{"users", "user", `{"name":"Usa","email":"u@example","password":"pw","description":"d"}`,
				map[string]any{"name": "Usa", "email": "u@example", "description": "d", "enabled": true, "password_expires_at": nil, "password": nil},
				`{"email":null,"name":"Ute","options":{"ignore_password_expiry":true}}`, map[string]any{"name": "Ute", "email": nil}, "name=UTE&domain_id=default&enabled=true", true, `{"domain_id":"other"}`},
			{"domains", "domain", `{"name":"Dom"}`, map[string]any{"name": "Dom", "description": "", "enabled": true},
				`{"enabled":false}`, map[string]any{"enabled": false}, "name=dom", true, `{"enabled":"no"}`},
			{"groups", "group", `{"name":"Gro","description":"d"}`, map[string]any{"name": "Gro", "description": "d", "domain_id": "default"},
				`{"description":""}`, map[string]any{"description": ""}, "name=gro&domain_id=default", true, `{"domain_id":"other"}`},
			{"roles", "role", `{"name":"Rol"}`, map[string]any{"name": "Rol", "domain_id": nil, "description": nil},
				`{"name":"Ral","description":"d"}`, map[string]any{"name": "Ral", "description": "d"}, "name=ral", true, `{"domain_id":"default"}`},
			{"regions", "region", `{"id":"Reg ion","description":"d"}`, map[string]any{"id": "Reg ion", "description": "d", "parent_region_id": nil},
				`{"parent_region_id":"RegionOne"}`, map[string]any{"parent_region_id": "RegionOne"}, "parent_region_id=RegionOne", true, `{"parent_region_id":"Reg ion"}`},
			{"services", "service", `{"type":"Typ","name":"nam"}`, map[string]any{"type": "Typ", "name": "nam", "enabled": true, "description": ""},
				`{"description":"d","enabled":false}`, map[string]any{"description": "d", "enabled": false}, "type=Typ&name=nam", false, `{"type":""}`},
			{"endpoints", "endpoint", `{"service_id":"` + service + `","interface":"public","url":"http://h/$(project_id)s","region":"RegionTwo"}`,
				map[string]any{"service_id": service, "interface": "public", "url": "http://h/$(project_id)s", "region": "RegionTwo", "region_id": "RegionTwo", "enabled": true},
				`{"url":"https://h/v1"}`, map[string]any{"url": "https://h/v1", "interface": "public"}, "service_id=" + service + "&interface=public", false, `{"interface":"secret"}`},
		}
		for _, tt := range tests {
			body := func(in string) string { return `{"` + tt.key + `":` + in + `}` }
			compare := func(when string, a answer, want map[string]any) {
				t.Helper()
				for k, v := range want {
					if got := a.get(tt.key, k); got != v {
						t.Errorf("%s %s: %s = %v, want %v", when, tt.key, k, got, v)
					}
				}
			}
			a := c.must(201, "POST", "/v3/"+tt.plural, admin, body(tt.create))
			compare("created", a, tt.shown)
			id := a.text(tt.key, "id")
			at := "/v3/" + tt.plural + "/" + url.PathEscape(id)
			if got, want := a.text(tt.key, "links", "self"), "http://cloud.example/identity"+at; got != want {
				t.Errorf("%s: self %q, want %q", tt.key, got, want)
			}
			compare("shown", c.must(200, "GET", at, admin, ""), tt.shown)
			if tt.secondConflict { // names differ in more than case, ids of regions in anything
				second := strings.NewReplacer("Pro", "PRO", "Usa", "usa", "Dom", "dOm", "Gro", "GRO", "Rol", "rOL").Replace(tt.create)
				c.must(409, "POST", "/v3/"+tt.plural, admin, body(second))
			}
			compare("changed", c.must(200, "PATCH", at, admin, body(tt.change)), tt.changed)
			compare("shown after", c.must(200, "GET", at, admin, ""), tt.changed)
			if a := c.do("PATCH", at, admin, body(tt.cannotChange)); a.code != 400 {
				t.Errorf("PATCH %s %s = %d: %s", tt.key, tt.cannotChange, a.code, a.raw)
			}
			l := c.must(200, "GET", "/v3/"+tt.plural+"?"+tt.filter, admin, "")
			if got := ids(l, tt.plural); !slices.Equal(got, []string{id}) {
				t.Errorf("list %s?%s: %v, want %s", tt.plural, tt.filter, got, id)
			}
			if l.text("links", "self") == "" || l.get("links", "next") != nil {
				t.Errorf("links of a list: %v", l.get("links"))
			}
			if got := c.must(200, "GET", "/v3/"+tt.plural+"?name=no-such&type=no-such&parent_region_id=no-such&service_id=no-such", admin, ""); len(got.list(tt.plural)) != 0 || got.get(tt.plural) == nil {
				t.Errorf("list of nothing: %s", got.raw)
			}
			c.must(204, "DELETE", at, admin, "")
			for _, m := range []string{"GET", "PATCH", "DELETE"} {
				if a := c.do(m, at, admin, body(tt.change)); a.code != 404 || a.text("error", "title") != "Not Found" {
					t.Errorf("%s a removed %s = %d: %s", m, tt.key, a.code, a.raw)
				}
			}
		}
	})
}

func ids(a answer, key string) []string {
	var out []string
	for _, m := range a.list(key) {
		out = append(out, m.(map[string]any)["id"].(string))
	}
	return out
}

func TestPages(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		var want []string
		for i := range 7 {
			want = append(want, c.create(admin, "users", "user", fmt.Sprintf(`{"name":"page-%d"}`, i)))
		}
		slices.Sort(want)
		var got []string
		path := "/v3/users?limit=3&name__icontains=PAGE"
		for range 3 {
			a := c.must(200, "GET", path, admin, "")
			got = append(got, ids(a, "users")...)
			next := a.text("links", "next")
			if next == "" {
				break
			}
			path = strings.TrimPrefix(next, "http://cloud.example/identity")
		}
		if !slices.Equal(got, want) {
			t.Errorf("pages gave %v, want %v", got, want)
		}
		for query, code := range map[string]int{"limit=-1": 400, "limit=x": 400, "limit=0": 200, "limit=99999999999": 400, "marker=nothing": 404} {
			c.must(code, "GET", "/v3/users?"+query, admin, "")
		}
		for query, n := range map[string]int{"name__startswith=page": 7, "name__endswith=-3": 1, "name__contains=%25": 0, "name__contains=_": 0, "name__icontains=Age-": 7, "name__contains=Age-": 0} {
			if a := c.must(200, "GET", "/v3/users?"+query, admin, ""); len(a.list("users")) != n {
				t.Errorf("%s: %d users, want %d", query, len(a.list("users")), n)
			}
		}
	})
}

func TestDomainsAreRemovedWithAllInThem(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		domain := c.create(admin, "domains", "domain", `{"name":"d"}`)
		in := `,"domain_id":"` + domain + `"`
		user := c.create(admin, "users", "user", `{"name":"u","password":"pw"`+in+`}`)
		project := c.create(admin, "projects", "project", `{"name":"p"`+in+`}`)
		child := c.create(admin, "projects", "project", `{"name":"c","parent_id":"`+project+`"}`)
		group := c.create(admin, "groups", "group", `{"name":"g"`+in+`}`)
		role := c.role(admin, "member")
		c.must(204, "PUT", "/v3/projects/"+project+"/users/"+user+"/roles/"+role, admin, "")
		c.must(204, "PUT", "/v3/domains/"+domain+"/groups/"+group+"/roles/"+role, admin, "")
		if a := c.must(200, "GET", "/v3/projects/"+child, admin, ""); a.text("project", "domain_id") != domain || a.text("project", "parent_id") != project {
			t.Errorf("child %s", a.raw)
		}
		c.must(403, "DELETE", "/v3/projects/"+project, admin, "")
		c.must(403, "DELETE", "/v3/domains/"+domain, admin, "")
		c.must(200, "PATCH", "/v3/domains/"+domain, admin, `{"domain":{"enabled":false}}`)
		c.must(204, "DELETE", "/v3/domains/"+domain, admin, "")
		for _, path := range []string{"users/" + user, "projects/" + project, "projects/" + child, "groups/" + group} {
			c.must(404, "GET", "/v3/"+path, admin, "")
		}
		a := c.must(200, "GET", "/v3/role_assignments?include_names", admin, "")
		if n := len(a.list("role_assignments")); n != 2 {
			t.Errorf("%d assignments left, want the admin's 2: %s", n, a.raw)
		}
		c.must(200, "PATCH", "/v3/domains/default", admin, `{"domain":{"description":"d"}}`)
		c.must(404, "POST", "/v3/users", admin, `{"user":{"name":"u"`+in+`}}`)
		c.must(404, "POST", "/v3/projects", admin, `{"project":{"name":"u"`+in+`}}`)
		if got := c.create(admin, "domains", "domain", `{"name":"e","explicit_domain_id":"chosen"}`); got != "chosen" {
			t.Errorf("explicit_domain_id gave %q", got)
		}
	})
}

func TestGrantsAndAssignments(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "ann", "manager")
		group := c.create(admin, "groups", "group", `{"name":"team"}`)
		reader, service := c.role(admin, "reader"), c.role(admin, "service")
		c.must(204, "PUT", "/v3/groups/"+group+"/users/"+user, admin, "")
		c.must(204, "PUT", "/v3/groups/"+group+"/users/"+user, admin, "")
		c.must(204, "HEAD", "/v3/groups/"+group+"/users/"+user, admin, "")
		if got := ids(c.must(200, "GET", "/v3/users/"+user+"/groups", admin, ""), "groups"); !slices.Equal(got, []string{group}) {
			t.Errorf("groups of the user: %v", got)
		}
		if got := ids(c.must(200, "GET", "/v3/groups/"+group+"/users", admin, ""), "users"); !slices.Equal(got, []string{user}) {
			t.Errorf("users of the group: %v", got)
		}
		for _, at := range []string{"/v3/projects/" + project, "/v3/domains/default", "/v3/system"} {
			for _, actor := range []string{"/users/" + user, "/groups/" + group} {
				grant := at + actor + "/roles/" + service
				c.must(404, "HEAD", grant, admin, "")
				c.must(404, "DELETE", grant, admin, "")
				c.must(204, "PUT", grant, admin, "")
				c.must(204, "PUT", grant, admin, "")
				c.must(204, "HEAD", grant, admin, "")
				c.must(204, "GET", grant, admin, "")
				if got := ids(c.must(200, "GET", at+actor+"/roles", admin, ""), "roles"); !slices.Contains(got, service) {
					t.Errorf("roles at %s: %v", at+actor, got)
				}
				c.must(404, "PUT", at+actor+"/roles/nothing", admin, "")
				c.must(404, "PUT", at+"/users/nobody/roles/"+service, admin, "")
				c.must(204, "DELETE", grant, admin, "")
			}
		}
		c.must(404, "PUT", "/v3/projects/nothing/users/"+user+"/roles/"+reader, admin, "")
		c.must(204, "PUT", "/v3/projects/"+project+"/groups/"+group+"/roles/"+service, admin, "")
		count := func(query string, want int) answer {
			t.Helper()
			a := c.must(200, "GET", "/v3/role_assignments?"+query, admin, "")
			if got := len(a.list("role_assignments")); got != want {
				t.Errorf("role_assignments?%s: %d, want %d: %s", query, got, want, a.raw)
			}
			return a
		}
		count("", 4)
		count("user.id="+user, 1)
		count("group.id="+group, 1)
		count("scope.project.id="+project, 2)
		count("scope.system=all", 1)
		count("scope.domain.id=default", 0)
		count("role.id="+service, 1)
		count("user.id="+user+"&effective", 4) // manager, member, reader, and service by the group
		count("user.id="+user+"&effective&role.id="+reader, 1)
		count("user.id="+user+"&effective=0", 1)
		count("effective&scope.project.id="+project, 4)
		a := count("include_names=True&user.id="+user, 1)
		one := a.list("role_assignments")[0].(map[string]any)
		got := fmt.Sprint(one["role"], one["user"], one["scope"])
		if !strings.Contains(got, "name:manager") || strings.Count(got, "name:ann") != 2 || strings.Count(got, "name:Default") != 2 {
			t.Errorf("include_names: %s", got)
		}
		c.must(400, "GET", "/v3/role_assignments?user.id=a&group.id=b", admin, "")
		_, caller := c.check(first(c.login("ann", "pw-ann", projectScope(project))))
		if !slices.Equal(caller.Roles, []string{"manager", "member", "reader", "service"}) {
			t.Errorf("roles %v", caller.Roles)
		}
		if got := ids(c.must(200, "GET", "/v3/users/"+user+"/projects?enabled=true", admin, ""), "projects"); !slices.Equal(got, []string{project}) {
			t.Errorf("projects of the user: %v", got)
		}
	})
}

func TestImpliedRoles(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		boss := c.create(admin, "roles", "role", `{"name":"boss"}`)
		reader, adminRole := c.role(admin, "reader"), c.role(admin, "admin")
		_, project := c.member(admin, "ann", "boss")
		token, _ := c.login("ann", "pw-ann", projectScope(project))
		roles := func() []string {
			_, caller := c.check(token)
			return caller.Roles
		}
		if got := roles(); !slices.Equal(got, []string{"boss"}) {
			t.Errorf("roles %v", got)
		}
		at := "/v3/roles/" + boss + "/implies/"
		c.must(404, "GET", at+reader, admin, "")
		c.must(201, "PUT", at+reader, admin, "")
		c.must(201, "PUT", at+reader, admin, "")
		c.must(200, "GET", at+reader, admin, "")
		c.must(403, "PUT", at+adminRole, admin, "")
		c.must(400, "PUT", at+boss, admin, "")
		c.must(400, "PUT", "/v3/roles/"+reader+"/implies/"+boss, admin, "")
		c.must(404, "PUT", at+"nothing", admin, "")
		if got := roles(); !slices.Equal(got, []string{"boss", "reader"}) {
			t.Errorf("with an implied role: %v", got)
		}
		a := c.must(200, "GET", "/v3/role_inferences", admin, "")
		if len(a.list("role_inferences")) != 4 {
			t.Errorf("role_inferences %s", a.raw)
		}
		if a := c.must(200, "GET", "/v3/roles/"+boss+"/implies", admin, ""); len(a.list("role_inference", "implies")) != 1 {
			t.Errorf("implies %s", a.raw)
		}
		c.must(204, "DELETE", at+reader, admin, "")
		c.must(404, "DELETE", at+reader, admin, "")
		if got := roles(); !slices.Equal(got, []string{"boss"}) {
			t.Errorf("without it again: %v", got)
		}
	})
}

func TestCatalogChanges(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		service := c.create(admin, "services", "service", `{"type":"volumev3","name":"cinder"}`)
		c.create(admin, "endpoints", "endpoint", `{"service_id":"`+service+`","interface":"public","url":"https://volumes.example/v3/%(project_id)s","region_id":"RegionOne"}`)
		a := c.must(200, "GET", "/v3/auth/catalog", admin, "")
		_, caller := c.check(admin)
		if !strings.Contains(string(a.raw), `"https://volumes.example/v3/`+caller.ProjectID+`"`) {
			t.Errorf("catalog %s", a.raw)
		}
		system, _ := c.login("admin", adminPassword, `{"system":{"all":true}}`)
		if a := c.must(200, "GET", "/v3/auth/catalog", system, ""); strings.Contains(string(a.raw), "volumes.example") {
			t.Errorf("an endpoint that needs a project, without one: %s", a.raw)
		}
		c.must(400, "POST", "/v3/endpoints", admin, `{"endpoint":{"service_id":"nothing","interface":"public","url":"http://x"}}`)
		c.must(400, "POST", "/v3/endpoints", admin, `{"endpoint":{"service_id":"`+service+`","interface":"public","url":"http://x","region_id":"nowhere"}}`)
		for _, u := range []string{"javascript:alert(1)", "http://x/%(password)s", "{base}/x", "", "/relative", "http://a b"} {
			c.must(400, "POST", "/v3/endpoints", admin, `{"endpoint":{"service_id":"`+service+`","interface":"public","url":`+quote(u)+`}}`)
		}
		c.must(403, "DELETE", "/v3/regions/RegionOne", admin, "")
		c.must(200, "PATCH", "/v3/services/"+service, admin, `{"service":{"enabled":false}}`)
		if a := c.must(200, "GET", "/v3/auth/catalog", admin, ""); strings.Contains(string(a.raw), "volumes.example") {
			t.Errorf("a disabled service: %s", a.raw)
		}
		c.must(204, "DELETE", "/v3/services/"+service, admin, "")
		if a := c.must(200, "GET", "/v3/endpoints?service_id="+service, admin, ""); len(a.list("endpoints")) != 0 {
			t.Errorf("endpoints of a removed service: %s", a.raw)
		}
		c.must(201, "PUT", "/v3/regions/two", admin, `{"region":{}}`)
		c.must(409, "PUT", "/v3/regions/two", admin, `{"region":{}}`)
	})
}

func TestApplicationCredentialsAsTheCLISendsThem(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "ann", "member")
		token, _ := c.login("ann", "pw-ann", projectScope(project))
		at := "/v3/users/" + user + "/application_credentials"
		post := func(in string) answer {
			return c.do("POST", at, token, `{"application_credential":`+in+`}`)
		}
		a := post(`{"name":"cli","description":null,"secret":null,"expires_at":null,"unrestricted":false,"roles":[],"access_rules":[]}`)
		if a.code != 201 || len(a.text("application_credential", "secret")) != 86 || len(a.list("application_credential", "roles")) != 2 || a.text("application_credential", "project_id") != project {
			t.Fatalf("create = %d: %s", a.code, a.raw)
		}
		id := a.text("application_credential", "id")
		shown := c.must(200, "GET", at+"/"+id, token, "")
		if shown.get("application_credential", "secret") != nil || strings.Contains(string(shown.raw), "hash") {
			t.Errorf("a shown secret: %s", shown.raw)
		}
		c.must(404, "GET", at+"/cli", token, "")
		if got := ids(c.must(200, "GET", at+"?name=cli", token, ""), "application_credentials"); !slices.Equal(got, []string{id}) {
			t.Errorf("list %v", got)
		}
		for in, code := range map[string]int{
			`{"name":"CLI"}`: 409, `{"name":""}`: 400, `{"name":"a","access_rules":[{"path":"/v2.1/servers"}]}`: 400,
			`{"name":"a","expires_at":"2001-01-01T00:00:00"}`: 400, `{"name":"a","expires_at":"soon"}`: 400,
			`{"name":"a","roles":[{"id":"nothing"}]}`: 400, `{"name":"a","roles":[5]}`: 400, `{"name":"a","unrestricted":"yes"}`: 400,
			`{"name":"ok","expires_at":"2999-01-01T00:00:00.000000","secret":"mine","unrestricted":true}`: 201,
		} {
			if a := post(in); a.code != code {
				t.Errorf("%s = %d, want %d: %s", in, a.code, code, a.raw)
			}
		}
		unscoped, _ := c.login("ann", "pw-ann", `"unscoped"`)
		c.must(403, "POST", at, unscoped, `{"application_credential":{"name":"b"}}`)
		soon := c.clock().Add(90e9).UTC().Format("2006-01-02T15:04:05")
		a = post(`{"name":"soon","expires_at":"` + soon + `","secret":"s"}`)
		login := `{"methods":["application_credential"],"application_credential":{"id":"` + a.text("application_credential", "id") + `","secret":"s"}}`
		cred, b := c.auth(login, "")
		if b.text("token", "expires_at") > soon+".999999Z" {
			t.Errorf("a token ends at %s, its credential at %s", b.text("token", "expires_at"), soon)
		}
		c.move(91e9)
		if code, _ := c.check(cred); code != 401 {
			t.Errorf("a token of an expired credential = %d", code)
		}
		if _, a := c.auth(login, ""); a.code != 401 {
			t.Errorf("login with an expired credential = %d", a.code)
		}
		c.must(200, "GET", "/v3/users/"+user+"/access_rules", token, "")
	})
}

func TestProjectTags(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		_, project := c.member(admin, "ann", "member")
		at := "/v3/projects/" + project + "/tags"
		c.must(200, "PUT", at, admin, `{"tags":["b","a","b"]}`)
		c.must(201, "PUT", at+"/c%20d", admin, "")
		c.must(204, "GET", at+"/c%20d", admin, "")
		c.must(204, "DELETE", at+"/b", admin, "")
		c.must(404, "DELETE", at+"/b", admin, "")
		c.must(400, "PUT", at+"/a%2Fb", admin, "")
		c.must(400, "PUT", at, admin, `{"tags":["`+strings.Repeat("x", 256)+`"]}`)
		token, _ := c.login("ann", "pw-ann", projectScope(project))
		if got := fmt.Sprint(c.must(200, "GET", at, token, "").list("tags")); got != "[a c d]" {
			t.Errorf("tags %s", got)
		}
		c.must(403, "DELETE", at, token, "")
		c.must(204, "DELETE", at, admin, "")
	})
}

// TestHostileInput sends to each call what no client should: never a 500.
func TestHostileInput(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "ann", "member")
		long := strings.Repeat("n", 10000)
		bodies := map[string]int{ // by what it stands for, with K for the key
			`{"K":{"name":` + quote(long) + `}}`: 400, `{"K":{"name":"` + strings.Repeat("é", 256) + `"}}`: 400,
			`{"K":{"name":""}}`: 400, `{"K":{"name":"   "}}`: 400, `{"K":{"name":null}}`: 400, `{"K":{"name":5}}`: 400,
			`{"K":{"name":["a"]}}`: 400, `{"K":{"name":{"a":1}}}`: 400, `{"K":{"name":"a\u0000b"}}`: 400, "{\"K\":{\"name\":\"\xff\xfe\"}}": 400,
			`{"K":{"name":"ok","description":5}}`: 400, `{"K":{"name":"ok","description":"\u0000"}}`: 400, `{"K":[]}`: 400, `{"K":"x"}`: 400, `{"K":null}`: 400, `{}`: 400,
			`[]`: 400, `null`: 400, ``: 400, `{"K":`: 400, `{"K":{}} x`: 400, `{"k":{"name":"x"}}`: 400,
			strings.Repeat("[", 20000): 400, `{"K":{"name":"` + strings.Repeat("x", 120000) + `"}}`: 413,
		}
		for plural, key := range map[string]string{"users": "user", "projects": "project", "domains": "domain", "groups": "group", "roles": "role"} {
			for body, code := range bodies {
				body = strings.ReplaceAll(body, "K", key)
				if plural == "users" && strings.Contains(body, "description") {
					continue // to users it is nothing that kilonova knows
				}
				if a := c.do("POST", "/v3/"+plural, admin, body); a.code != code {
					t.Errorf("POST %s %.60q = %d, want %d: %.200s", plural, body, a.code, code, a.raw)
				}
			}
			// Members that are kept must be kept as they are; of two equal keys the last counts.
			a := c.must(201, "POST", "/v3/"+plural, admin, `{"`+key+`":{"name":"first","name":"zoë 🚀 '; DROP TABLE identity_users; --","n":12345678901234567890,"deep":{"a":[1.5e300,null]}}}`)
			if a.text(key, "name") != "zoë 🚀 '; DROP TABLE identity_users; --" || !strings.Contains(string(a.raw), "12345678901234567890") {
				t.Errorf("%s: %s", plural, a.raw)
			}
			for _, id := range []string{"%00", "%ff%fe", long, "a%2Fb", "'%20OR%201=1--", "%F0%9F%9A%80", "..", "%2e%2e", " "} {
				for _, method := range []string{"GET", "PATCH", "DELETE"} {
					if a := c.do(method, "/v3/"+plural+"/"+strings.ReplaceAll(id, " ", "%20"), admin, `{"`+key+`":{"name":"x"}}`); a.code != 404 {
						t.Errorf("%s %s/%.40s = %d: %.200s", method, plural, id, a.code, a.raw)
					}
				}
			}
			for query, code := range map[string]int{"name=%ff": 400, "name=%00": 400, "marker=%ff": 404, "marker=" + long: 404, "limit=1e9": 400,
				"sort_key=name;DROP": 200, "name=" + url.QueryEscape("' OR 1=1 --"): 200, "name__contains=%ff": 400} {
				if a := c.do("GET", "/v3/"+plural+"?"+query, admin, ""); a.code != code && !(plural == "roles" && code == 200) {
					t.Errorf("GET %s?%.40s = %d, want %d: %.200s", plural, query, a.code, code, a.raw)
				}
			}
		}
		// The same row reached by an id that only a collation takes for it.
		for _, id := range []string{user + "%20", strings.ToUpper(user)} {
			if id != user {
				c.must(404, "GET", "/v3/users/"+id, admin, "")
			}
		}
		for path, code := range map[string]int{
			"/v3/role_assignments?user.id=%ff": 400, "/v3/role_assignments?scope.project.id=%00": 400, "/v3/role_assignments?role.id=%ff&effective": 400,
			"/v3/projects/" + project + "/users/%ff/roles": 404, "/v3/groups/%ff/users/%00": 404, "/v3/regions/%ff": 404, "/v3/regions/%00": 404,
			"/v3/users/" + user + "/application_credentials/%ff": 404, "/v3/roles/%ff/implies/%00": 404, "/v3/projects/" + project + "/tags/%ff": 404,
		} {
			c.must(code, "GET", path, admin, "")
		}
		c.must(400, "PUT", "/v3/projects/"+project+"/tags/%ff", admin, "")
		c.must(400, "PUT", "/v3/regions/%ff", admin, `{"region":{}}`)
		c.must(404, "DELETE", "/v3/groups/%ff/users/"+user, admin, "")
		for name, body := range map[string]string{
			"user as a string": `{"auth":{"identity":{"methods":["password"],"password":{"user":"admin"}}}}`,
			"number":           `{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"x","password":5}}}}}`,
			"methods a string": `{"auth":{"identity":{"methods":"password"}}}`,
			"method missing":   `{"auth":{"identity":{"methods":["password"]}}}`,
			"no identity":      `{"auth":{}}`,
			"empty token":      `{"auth":{"identity":{"methods":["token"],"token":{"id":""}}}}`,
			"NUL in a name":    `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"a\u0000","domain":{"id":"default"},"password":"x"}}}}}`,
			"domain a string":  `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"a","domain":"default","password":"x"}}}}}`,
			"name alone":       `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"a","password":"x"}}}}}`,
		} {
			if a := c.do("POST", "/v3/auth/tokens", "", body); a.code != 400 {
				t.Errorf("login, %s = %d: %s", name, a.code, a.raw)
			}
		}
	})
}

// TestBootstrapTwice must change nothing that exists.
func TestBootstrapTwice(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		c.must(200, "PATCH", "/v3/projects/"+first(c.rowOf(admin, "projects", "service")), admin, `{"project":{"description":"mine"}}`)
		before := c.census(admin)
		err := c.bootstrap("another-password")
		if err != nil {
			t.Fatal(err)
		}
		if after := c.census(admin); after != before {
			t.Errorf("before %s\nafter %s", before, after)
		}
		c.admin() // with the password that it had
	})
}

// TestManyAtOnce does what test suites do: people made, used and removed by many clients.
func TestManyAtOnce(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for i := range 5 {
					name := fmt.Sprintf("w%d-%d", w, i)
					step := func(want int, a answer) answer {
						if a.code != want {
							t.Errorf("%s: %d, want %d: %s", name, a.code, want, a.raw)
						}
						return a
					}
					project := step(201, c.do("POST", "/v3/projects", admin, `{"project":{"name":"`+name+`"}}`)).text("project", "id")
					user := step(201, c.do("POST", "/v3/users", admin, `{"user":{"name":"`+name+`","password":"pw"}}`)).text("user", "id")
					role, _ := c.rowOf(admin, "roles", "member")
					step(204, c.do("PUT", "/v3/projects/"+project+"/users/"+user+"/roles/"+role, admin, ""))
					token, a := c.login(name, "pw", projectScope(project))
					step(201, a)
					if code, _ := c.check(token); code != 200 {
						t.Errorf("%s: check = %d", name, code)
					}
					step(204, c.do("DELETE", "/v3/users/"+user, admin, ""))
					if code, _ := c.check(token); code != 401 {
						t.Errorf("%s: check of a removed user = %d", name, code)
					}
					step(204, c.do("DELETE", "/v3/projects/"+project, admin, ""))
				}
			}()
		}
		wg.Wait()
	})
}
