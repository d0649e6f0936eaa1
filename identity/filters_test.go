package identity_test

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

// documentedFilters are the query parameters that the Identity API documents for each GET, as
// its OpenAPI file has them. "" marks a path that is not offered, with its reason.
var documentedFilters = map[string]string{
	"/v3/domains":                                 "enabled limit marker name",
	"/v3/endpoints":                               "interface region_id service_id",
	"/v3/groups":                                  "domain_id limit marker name sort_dir sort_key",
	"/v3/groups/{group_id}/users":                 "password_expires_at",
	"/v3/projects":                                "domain_id enabled is_domain limit marker name not-tags not-tags-any parent_id tags tags-any",
	"/v3/regions":                                 "parent_region_id",
	"/v3/role_assignments":                        "effective group.id include_names include_subtree role.id scope.OS-INHERIT:inherited_to scope.domain.id scope.project.id scope.system user.id",
	"/v3/roles":                                   "domain_id name",
	"/v3/services":                                "service",
	"/v3/users":                                   "domain_id enabled idp_id limit marker name password_expires_at protocol_id sort_dir sort_key unique_id",
	"/v3/credentials":                             "type user_id",                                            // always empty
	"/v3/limits":                                  "domain_id project_id region_id resource_name service_id", // always empty
	"/v3/registered_limits":                       "region_id resource_name service_id",                      // always empty
	"/v3/users/{user_id}/access_rules":            "method path service",                                     // always empty
	"/v3/OS-EP-FILTER/endpoint_groups":            "",                                                        // an extension that is not there
	"/v3/OS-FEDERATION/identity_providers":        "",                                                        // an extension that is not there
	"/v3/OS-FEDERATION/service_providers":         "",                                                        // an extension that is not there
	"/v3/OS-TRUST/trusts":                         "",                                                        // an extension that is not there
	"/v3/users/{user_id}/application_credentials": "name",
}

// pageParameters are in TestOrderedPages.
var pageParameters = []string{"limit", "marker", "sort_dir", "sort_key"}

// TestFilters asks each list with each of its documented filters, for something that is
// there and for something that is not.
func TestFilters(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "Ann", "member")
		domain := c.create(admin, "domains", "domain", `{"name":"Far","enabled":false}`)
		away := c.create(admin, "users", "user", `{"name":"away","domain_id":"`+domain+`","enabled":false}`)
		child := c.create(admin, "projects", "project", `{"name":"child","parent_id":"`+project+`","tags":["red","a\"b"],"enabled":false}`)
		other := c.create(admin, "projects", "project", `{"name":"other","domain_id":"`+domain+`","tags":["red","blue"]}`)
		group := c.create(admin, "groups", "group", `{"name":"Crew"}`)
		c.create(admin, "groups", "group", `{"name":"crowd","domain_id":"`+domain+`"}`)
		c.must(204, "PUT", "/v3/groups/"+group+"/users/"+user, admin, "")
		reader, member := c.role(admin, "reader"), c.role(admin, "member")
		c.must(204, "PUT", "/v3/projects/"+child+"/groups/"+group+"/roles/"+reader, admin, "")
		c.must(204, "PUT", "/v3/domains/"+domain+"/users/"+user+"/roles/"+reader, admin, "")
		c.must(204, "PUT", "/v3/system/users/"+user+"/roles/"+reader, admin, "")
		service := c.create(admin, "services", "service", `{"type":"Typ","name":"nam"}`)
		endpoint := c.create(admin, "endpoints", "endpoint", `{"service_id":"`+service+`","interface":"internal","url":"http://x","region":"Two"}`)
		c.must(201, "PUT", "/v3/regions/Three", admin, `{"region":{"parent_region_id":"Two"}}`)
		token, _ := c.login("ann", "pw-Ann", projectScope(project))
		cred := c.must(201, "POST", "/v3/users/"+user+"/application_credentials", token, `{"application_credential":{"name":"Robot"}}`).text("application_credential", "id")
		appCreds := "/v3/users/" + user + "/application_credentials"
		const all = -1 // as many as without a filter
		tests := []struct {
			path, query, key string
			want             []string // ids; nil is none
			n                int      // where ids do not tell: how many
		}{
			{"/v3/domains", "name=far", "domains", []string{domain}, 0},
			{"/v3/domains", "name=Fär", "domains", nil, 0},
			{"/v3/domains", "enabled=false", "domains", []string{domain}, 0},
			{"/v3/domains", "enabled", "domains", []string{"default"}, 0},
			{"/v3/domains", "limit=1&marker=" + min(domain, "default"), "domains", []string{max(domain, "default")}, 0},
			{"/v3/endpoints", "interface=internal&service_id=" + service, "endpoints", []string{endpoint}, 0},
			{"/v3/endpoints", "interface=admin&service_id=" + service, "endpoints", nil, 0},
			{"/v3/endpoints", "region_id=Two", "endpoints", []string{endpoint}, 0},
			{"/v3/endpoints", "region_id=two", "endpoints", nil, 0},
			{"/v3/endpoints", "service_id=nothing", "endpoints", nil, 0},
			{"/v3/endpoints", "region_id__icontains=tW", "endpoints", []string{endpoint}, 0},
			{"/v3/groups", "name=crew", "groups", []string{group}, 0},
			{"/v3/groups", "domain_id=default", "groups", []string{group}, 0},
			{"/v3/groups", "domain_id=DEFAULT", "groups", nil, 0},
			{"/v3/groups/" + group + "/users", "password_expires_at=lt:2999-01-01T00:00:00Z", "users", nil, 0},
			{"/v3/groups/" + group + "/users", "name=ANN", "users", []string{user}, 0},
			{"/v3/projects", "domain_id=" + domain, "projects", []string{other}, 0},
			{"/v3/projects", "parent_id=" + project, "projects", []string{child}, 0},
			{"/v3/projects", "enabled=0", "projects", []string{child}, 0},
			{"/v3/projects", "enabled=No", "projects", []string{child}, 0},
			{"/v3/projects", "enabled=off", "projects", []string{child}, 0},
			{"/v3/projects", "enabled=&name=child", "projects", nil, 0},
			{"/v3/projects", "name=CHILD", "projects", []string{child}, 0},
			{"/v3/projects", "is_domain=true&name=far", "projects", []string{domain}, 0},
			{"/v3/projects", "is_domain=1&enabled=true", "projects", []string{"default"}, 0},
			{"/v3/projects", "is_domain=1&domain_id=default", "projects", nil, 0},
			{"/v3/projects", "is_domain=false", "projects", nil, all},
			{"/v3/projects", "tags=red", "projects", []string{child, other}, 0},
			{"/v3/projects", "tags=red,blue", "projects", []string{other}, 0},
			{"/v3/projects", "tags=RED", "projects", nil, 0},
			{"/v3/projects", "tags=re", "projects", nil, 0},
			{"/v3/projects", "tags=b", "projects", nil, 0},
			{"/v3/projects", "tags=" + url.QueryEscape(`a"b`), "projects", []string{child}, 0},
			{"/v3/projects", "tags=", "projects", nil, 0},
			{"/v3/projects", "tags=%25", "projects", nil, 0},
			{"/v3/projects", "tags-any=blue,green", "projects", []string{other}, 0},
			{"/v3/projects", "tags-any=green", "projects", nil, 0},
			{"/v3/projects", "not-tags=red,blue&tags=red", "projects", []string{child}, 0},
			{"/v3/projects", "not-tags-any=blue&tags=red", "projects", []string{child}, 0},
			{"/v3/projects", "not-tags-any=blue,red&tags=red", "projects", nil, 0},
			{"/v3/projects", "not-tags=green", "projects", nil, all},
			{"/v3/projects", "not-tags=red&name=child", "projects", nil, 0},
			{"/v3/regions", "parent_region_id=Two", "regions", []string{"Three"}, 0},
			{"/v3/regions", "parent_region_id=two", "regions", nil, 0},
			{"/v3/roles", "name=READER", "roles", []string{reader}, 0},
			{"/v3/roles", "domain_id=" + domain, "roles", nil, 0},
			{"/v3/services", "type=Typ", "services", []string{service}, 0},
			{"/v3/services", "type=typ", "services", nil, 0},
			{"/v3/services", "name=nam", "services", []string{service}, 0},
			{"/v3/services", "service=x", "services", nil, all}, // in the files, and read by no Keystone
			{"/v3/users", "name=ann%20%20", "users", []string{user}, 0},
			{"/v3/users", "name=%20ann", "users", nil, 0},
			{"/v3/users", "domain_id=" + domain, "users", []string{away}, 0},
			{"/v3/users", "enabled=False", "users", []string{away}, 0},
			{"/v3/users", "idp_id=x", "users", nil, 0},
			{"/v3/users", "protocol_id=x", "users", nil, 0},
			{"/v3/users", "unique_id=x", "users", nil, 0},
			{"/v3/users", "password_expires_at=gt:2016-12-08T22:02:00Z", "users", nil, 0},
			{"/v3/users", "password_expires_at=neq:2016-12-08T22:02:00Z", "users", nil, 0},
			{"/v3/users", "password_expires_at=2016-12-08T22:02:00Z", "users", nil, 0},
			{"/v3/users", "name__contains=nn", "users", []string{user}, 0},
			{"/v3/users", "name__contains=NN", "users", nil, 0},
			{"/v3/users", "name__icontains=NN", "users", []string{user}, 0},
			{"/v3/users", "name__startswith=An", "users", []string{user}, 0},
			{"/v3/users", "name__startswith=an", "users", nil, 0},
			{"/v3/users", "name__istartswith=aN", "users", []string{user}, 0},
			{"/v3/users", "name__endswith=way", "users", []string{away}, 0},
			{"/v3/users", "name__endswith=toolongforthis-away", "users", nil, 0},
			{"/v3/users", "name__iendswith=WAY", "users", []string{away}, 0},
			{"/v3/users", "name__contains=", "users", nil, all},
			{"/v3/users", "name__near=x", "users", nil, all},
			{"/v3/users", "colour=red", "users", nil, all},
			{"/v3/users", "limit=100&name=away", "users", []string{away}, 0},
			{"/v3/users/" + user + "/groups", "name=crew", "groups", []string{group}, 0},
			{"/v3/users/" + user + "/projects", "name=child&enabled=false", "projects", []string{child}, 0},
			{appCreds, "name=robot", "application_credentials", []string{cred}, 0},
			{appCreds, "name=r%C3%B6bot", "application_credentials", nil, 0},
			{"/v3/role_assignments", "user.id=" + user, "role_assignments", nil, 3},
			{"/v3/role_assignments", "group.id=" + group, "role_assignments", nil, 1},
			{"/v3/role_assignments", "role.id=" + member + "&user.id=" + user, "role_assignments", nil, 1},
			{"/v3/role_assignments", "scope.project.id=" + project, "role_assignments", nil, 1},
			{"/v3/role_assignments", "scope.project.id=" + project + "&include_subtree", "role_assignments", nil, 2},
			{"/v3/role_assignments", "scope.project.id=" + project + "&include_subtree=0", "role_assignments", nil, 1},
			{"/v3/role_assignments", "scope.project.id=" + project + "&include_subtree&effective", "role_assignments", nil, 3},
			{"/v3/role_assignments", "scope.project.id=" + project + "&include_subtree=false&effective=False", "role_assignments", nil, 3}, // only 0 is no
			{"/v3/role_assignments", "scope.domain.id=" + domain, "role_assignments", nil, 1},
			{"/v3/role_assignments", "scope.system=all", "role_assignments", nil, 2},
			{"/v3/role_assignments", "scope.system=some", "role_assignments", nil, all},
			{"/v3/role_assignments", "user.id=" + user + "&effective", "role_assignments", nil, 5},
			{"/v3/role_assignments", "user.id=" + user + "&effective&role.id=" + reader, "role_assignments", nil, 4},
			{"/v3/role_assignments", "user.id=" + user + "&include_names", "role_assignments", nil, 3},
			{"/v3/role_assignments", "scope.OS-INHERIT:inherited_to=projects", "role_assignments", nil, 0},
			{"/v3/role_assignments", "scope.OS-INHERIT:inherited_to=domains", "role_assignments", nil, all},
		}
		for _, tt := range tests {
			a := c.must(200, "GET", tt.path+"?"+strings.ReplaceAll(tt.query, "ä", "%C3%A4"), admin, "")
			got := len(a.list(tt.key))
			switch {
			case tt.n == all:
				if want := len(c.must(200, "GET", tt.path, admin, "").list(tt.key)); got != want {
					t.Errorf("%s?%s: %d, want all %d", tt.path, tt.query, got, want)
				}
			case tt.n > 0:
				if got != tt.n {
					t.Errorf("%s?%s: %d, want %d: %s", tt.path, tt.query, got, tt.n, a.raw)
				}
			default:
				want := slices.Sorted(slices.Values(tt.want))
				if fmt.Sprint(ids(a, tt.key)) != fmt.Sprint(want) {
					t.Errorf("%s?%s: %v, want %v", tt.path, tt.query, ids(a, tt.key), want)
				}
			}
		}
		for path, code := range map[string]int{
			"/v3/users?password_expires_at=xx:2016-12-08T22:02:00Z": 400, "/v3/users?password_expires_at=lt:yesterday": 400, "/v3/users?password_expires_at=": 400,
			"/v3/role_assignments?user.id=a&group.id=b": 400, "/v3/role_assignments?scope.project.id=a&scope.domain.id=b": 400,
			"/v3/role_assignments?scope.system=all&scope.domain.id=b": 400, "/v3/role_assignments?scope.system=all&scope.project.id=b": 400,
			"/v3/role_assignments?effective&group.id=b": 400, "/v3/role_assignments?include_subtree": 400,
			"/v3/role_assignments?effective&scope.domain.id=a&scope.OS-INHERIT:inherited_to=projects": 400,
			"/v3/role_assignments?include_subtree&scope.project.id=nothing":                           404,
			"/v3/projects?tags=%ff": 400, "/v3/users?name__contains=%ff": 400,
			"/v3/users?name=": 400, "/v3/users?name=%20": 400, "/v3/groups?name=" + strings.Repeat("x", 256): 400, "/v3/users?domain_id=": 400, "/v3/projects?domain_id=%F0%9F%9A%80": 400,
			"/v3/users?enabled=perhaps": 400, "/v3/projects?is_domain=2": 400, "/v3/domains?enabled=x": 400, "/v3/endpoints?interface=Internal": 400,
			"/v3/users?limit=x": 400, "/v3/users?limit=-1": 400, "/v3/groups?sort_dir=up": 400, "/v3/users?sort_key=name&sort_dir=": 400,
			"/v3/users?marker=nobody": 404, "/v3/projects?marker=" + user: 404, "/v3/roles?marker=%ff": 404,
		} {
			if a := c.do("GET", path, admin, ""); a.code != code {
				t.Errorf("GET %s = %d, want %d: %s", path, a.code, code, a.raw)
			}
		}
		for path, filters := range documentedFilters {
			concrete := strings.NewReplacer("{group_id}", group, "{user_id}", user).Replace(path)
			if a := c.do("GET", concrete, admin, ""); filters == "" && a.code != 404 {
				t.Errorf("GET %s = %d", concrete, a.code)
			}
			for f := range strings.FieldsSeq(filters) {
				tested := slices.ContainsFunc(tests, func(tt struct {
					path, query, key string
					want             []string
					n                int
				}) bool {
					q, _ := url.ParseQuery(tt.query)
					return tt.path == concrete && q.Has(f)
				})
				empty := len(c.must(200, "GET", concrete, admin, "").list(concrete[strings.LastIndex(concrete, "/")+1:])) == 0
				if !tested && !empty && !slices.Contains(pageParameters, f) {
					t.Errorf("%s?%s is not tested", path, f)
				}
			}
		}
	})
}

// TestOrderedPages reads lists page by page, in each order that is documented, and finds in them
// what is in the list as a whole.
func TestOrderedPages(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		domain := c.create(admin, "domains", "domain", `{"name":"Far"}`)
		for i, name := range []string{"delta", "Alpha", "charlie", "BRAVO", "alpha"} {
			of := "default"
			if i == 4 {
				of = domain // a name twice, in two domains
			}
			enabled := fmt.Sprint(i%2 == 0)
			c.create(admin, "users", "user", `{"name":"`+name+`","domain_id":"`+of+`","enabled":`+enabled+`}`)
			c.create(admin, "groups", "group", `{"name":"`+name+`","domain_id":"`+of+`"}`)
			c.create(admin, "projects", "project", `{"name":"`+name+`","domain_id":"`+of+`"}`)
			c.create(admin, "domains", "domain", `{"name":"d`+fmt.Sprint(i)+`"}`)
		}
		value := func(member any, key string) string {
			return strings.ToLower(fmt.Sprint(member.(map[string]any)[key]))
		}
		for path, filters := range documentedFilters {
			if !slices.Contains(strings.Fields(filters), "limit") {
				continue
			}
			list := path[strings.LastIndex(path, "/")+1:]
			orders := []string{"", "sort_key=id", "sort_key=id&sort_dir=desc", "sort_key=nothing"}
			if slices.Contains(strings.Fields(filters), "sort_key") {
				orders = append(orders, "sort_key=name", "sort_key=name&sort_dir=asc", "sort_key=name&sort_dir=desc", "sort_key=domain_id&sort_dir=desc")
			}
			if list == "users" {
				orders = append(orders, "sort_key=enabled")
			}
			for _, order := range orders {
				whole := c.must(200, "GET", path+"?"+order, admin, "")
				o, _ := url.ParseQuery(order)
				key := o.Get("sort_key")
				if key == "" || key == "nothing" {
					key = "id"
				}
				sorted := slices.IsSortedFunc(whole.list(list), func(a, b any) int {
					return strings.Compare(value(a, key), value(b, key))
				})
				if o.Get("sort_dir") == "desc" && slices.Contains(strings.Fields(filters), "sort_dir") {
					sorted = slices.IsSortedFunc(whole.list(list), func(a, b any) int {
						return strings.Compare(value(b, key), value(a, key))
					})
				}
				if !sorted {
					t.Errorf("%s?%s: not in order: %s", path, order, whole.raw)
				}
				var paged []any
				pages := 0
				for at := path + "?limit=2&" + order; at != ""; pages++ {
					page := c.must(200, "GET", at, admin, "")
					paged = append(paged, page.list(list)...)
					_, at, _ = strings.Cut(page.text("links", "next"), "/identity")
				}
				if fmt.Sprint(paged) != fmt.Sprint(whole.list(list)) || pages != (len(paged)+1)/2 {
					t.Errorf("%s?%s: %d pages: %v, want %v", path, order, pages, paged, whole.list(list))
				}
			}
		}
	})
}
