package flavors_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"kilonova/compat"
	"kilonova/flavors"
	"kilonova/flavors/apitest"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

// each runs fn on a seeded cloud, on every database.
func each(t *testing.T, fn func(t *testing.T, s *flavors.Service, api *apitest.API, db *schema.DB)) {
	t.Helper()
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := flavors.New(db, nil)
		s.ProjectExists = func(_ context.Context, id string) (bool, error) { return !strings.HasPrefix(id, "no"), nil }
		err := s.Seed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		fn(t, s, apitest.New(t, s.Register), db)
	})
}

const (
	admin = "admin@p1"
	alice = "alice@p2"
)

var (
	call = apitest.As
	row  = apitest.Row
)

func TestOneFlavor(t *testing.T) {
	each(t, func(t *testing.T, _ *flavors.Service, api *apitest.API, _ *schema.DB) {
		api.Run(t, []apitest.Case{
			row("DevStack's tiny", call(alice, "2.1", "GET", "/flavors/1", ""), 200, `"name":"m1.tiny"`, "description"),
			row("the test image's", call(alice, "2.1", "GET", "/flavors/42", ""), 200, `"ram":128`, ""),
			row("unknown", call(alice, "2.1", "GET", "/flavors/nope", ""), 404, "Flavor nope could not be found.", ""),
			row("an id with a space behind", call(alice, "2.1", "GET", "/flavors/1%20", ""), 404, "itemNotFound", ""),
			row("not a name", call(alice, "2.1", "GET", "/flavors/m1.tiny", ""), 404, "itemNotFound", ""),
			row("swap of none is empty", call(alice, "2.74", "GET", "/flavors/1", ""), 200, `"swap":"",`, ""),
			row("swap of none is 0 since 2.75", call(alice, "2.75", "GET", "/flavors/1", ""), 200, `"swap":0,`, ""),
			row("extra specs since 2.61", call(alice, "2.61", "GET", "/flavors/1", ""), 200, `"extra_specs":{}`, ""),
			row("none before", call(alice, "2.60", "GET", "/flavors/1", ""), 200, `"description":null`, "extra_specs"),
			row("factor until 2.101", call(alice, "2.101", "GET", "/flavors/1", ""), 200, `"rxtx_factor":1.0`, ""),
			row("neither factor nor disabled since 2.102", call(alice, "2.102", "GET", "/flavors/1", ""), 200, `"vcpus":1`, "OS-FLV-DISABLED"),
			row("create is for administrators", call(alice, "2.1", "POST", "/flavors", `{"flavor":{"name":"n","ram":1,"vcpus":1,"disk":1}}`), 403, "os-flavor-manage:create", ""),
			row("create", call(admin, "2.55", "POST", "/flavors", `{"flavor":{"name":"new","id":"10","ram":"1024","vcpus":2,"disk":10,"swap":512,"OS-FLV-EXT-DATA:ephemeral":3,"rxtx_factor":2.5,"description":"why"}}`), 200, `"rxtx_factor":2.5`, ""),
			row("and show", call(alice, "2.55", "GET", "/flavors/10", ""), 200, `"description":"why"`, ""),
			row("with its swap", call(alice, "2.1", "GET", "/flavors/10", ""), 200, `"swap":512`, ""),
			row("same id", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"other","id":"10","ram":1,"vcpus":1,"disk":1}}`), 409, "Flavor with ID 10 already exists.", ""),
			row("same name", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"new","id":"11","ram":1,"vcpus":1,"disk":1}}`), 409, "Flavor with name new already exists.", ""),
			row("id of a number", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"numbered","id":1234,"ram":1,"vcpus":1,"disk":0}}`), 200, `"id":"1234"`, ""),
			row("id null", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"unnumbered","id":null,"ram":1,"vcpus":1,"disk":0}}`), 200, `-`, `"id":""`),
			row("id auto", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"auto","id":"auto","ram":1,"vcpus":1,"disk":0}}`), 200, `-`, `"id":"auto"`),
			row("id of other characters", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"bad","id":"a/b","ram":1,"vcpus":1,"disk":0}}`), 400, "badRequest", ""),
			row("no memory", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"bad","ram":0,"vcpus":1,"disk":0}}`), 400, "minimum of 1", ""),
			row("too much of it", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"bad","ram":2147483648,"vcpus":1,"disk":0}}`), 400, "badRequest", ""),
			row("no disk said", call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"bad","ram":1,"vcpus":1}}`), 400, "'disk' is a required property", ""),
			row("update needs 2.55", call(admin, "2.54", "PUT", "/flavors/10", `{"flavor":{"description":"x"}}`), 404, "", ""),
			row("update", call(admin, "2.55", "PUT", "/flavors/10", `{"flavor":{"description":"changed"}}`), 200, `"description":"changed"`, ""),
			row("update to null", call(admin, "2.61", "PUT", "/flavors/10", `{"flavor":{"description":null}}`), 200, `"description":null`, ""),
			row("update of none", call(admin, "2.55", "PUT", "/flavors/nope", `{"flavor":{"description":null}}`), 404, "Flavor nope could not be found.", ""),
			row("update without the description", call(admin, "2.55", "PUT", "/flavors/10", `{"flavor":{}}`), 400, "'description' is a required property", ""),
			row("delete is for administrators", call(alice, "2.1", "DELETE", "/flavors/10", ""), 403, "os-flavor-manage:delete", ""),
			row("delete", call(admin, "2.1", "DELETE", "/flavors/10", ""), 202, "", "{"),
			row("once", call(admin, "2.1", "DELETE", "/flavors/10", ""), 404, "Flavor 10 could not be found.", ""),
			row("gone at once", call(alice, "2.1", "GET", "/flavors/10", ""), 404, "", ""),
		})
	})
}

func TestViewsAreGolden(t *testing.T) {
	api := newSQLite(t)
	for _, v := range []string{"2.1", "2.55", "2.61", "2.75", "2.102"} {
		id := strings.ReplaceAll(v, ".", "")
		body := fmt.Sprintf(`{"flavor":{"name":"f%s","id":"%s","ram":1024,"vcpus":2,"disk":10,"swap":0}}`, id, id)
		apitest.Golden(t, "create-"+v, api.Must(t, 200, call(admin, v, "POST", "/flavors", body)))
		api.Must(t, 200, call(admin, v, "POST", "/flavors/"+id+"/os-extra_specs", `{"extra_specs":{"hw:numa_nodes":"1"}}`))
		apitest.Golden(t, "show-"+v, api.Must(t, 200, call(alice, v, "GET", "/flavors/"+id, "")))
		apitest.Golden(t, "list-"+v, api.Must(t, 200, call(alice, v, "GET", "/flavors?limit=2", "")))
		apitest.Golden(t, "detail-"+v, api.Must(t, 200, call(alice, v, "GET", "/flavors/detail?limit=2", "")))
	}
}

func newSQLite(t *testing.T) *apitest.API {
	t.Helper()
	s := flavors.New(schematest.SQLite(t), nil)
	err := s.Seed(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return apitest.New(t, s.Register)
}

func TestLinksNameTheProjectOfTheURL(t *testing.T) {
	api := newSQLite(t)
	project := "6f70656e737461636b20342065766572"
	body := api.Must(t, 200, call("alice@"+project, "2.1", "GET", "/v2.1/"+project+"/flavors/1", ""))
	for _, want := range []string{"http://openstack.example.com/v2.1/" + project + "/flavors/1", "http://openstack.example.com/" + project + "/flavors/1"} {
		if !strings.Contains(body, `"`+want+`"`) {
			t.Errorf("body %s lacks the link %s", body, want)
		}
	}
}

// ids gives the flavor ids of a list in their order.
func ids(body string) string {
	var out []string
	for _, part := range strings.Split(body, `{"id":"`)[1:] {
		id, _, _ := strings.Cut(part, `"`)
		out = append(out, id)
	}
	return strings.Join(out, " ")
}

func TestList(t *testing.T) {
	each(t, func(t *testing.T, _ *flavors.Service, api *apitest.API, _ *schema.DB) {
		api.Must(t, 200, call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"secret","id":"s","ram":1,"vcpus":1,"disk":0,"os-flavor-access:is_public":false}}`))
		api.Must(t, 200, call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"shared","id":"t","ram":1,"vcpus":1,"disk":0,"os-flavor-access:is_public":"False"}}`))
		api.Must(t, 200, call(admin, "2.1", "POST", "/flavors/t/action", `{"addTenantAccess":{"tenant":"p2"}}`))
		tests := []struct{ name, token, version, query, want string }{
			{"by id", "bob@p3", "2.1", "", "1 2 3 4 42 5"},
			{"with the own private ones", alice, "2.1", "", "1 2 3 4 42 5 t"},
			{"others cannot ask for private ones", alice, "2.1", "is_public=None", "1 2 3 4 42 5 t"},
			{"nor be surprised by a word", alice, "2.1", "is_public=garbage", "1 2 3 4 42 5 t"},
			{"administrators see public ones", admin, "2.1", "", "1 2 3 4 42 5"},
			{"all on demand", admin, "2.1", "is_public=None", "1 2 3 4 42 5 s t"},
			{"private ones on demand", admin, "2.1", "is_public=False", "s t"},
			{"by memory", alice, "2.1", "minRam=4096", "3 4 5"},
			{"by disk", alice, "2.1", "minDisk=20", "2 3 4 5"},
			{"by both", alice, "2.1", "minRam=2048&minDisk=80", "4 5"},
			{"by more memory than there is", alice, "2.1", "minRam=99999999999999999999", ""},
			{"sorted by memory", alice, "2.1", "sort_key=memory_mb&sort_dir=desc", "5 4 3 2 1 42 t"},
			{"sorted by name", "bob@p3", "2.1", "sort_key=name", "4 3 42 2 1 5"},
			{"ties by our key", "bob@p3", "2.1", "sort_key=vcpus", "42 1 2 3 4 5"},
			{"a page", "bob@p3", "2.1", "limit=2", "1 2"},
			{"the next", "bob@p3", "2.1", "limit=2&marker=2", "3 4"},
			{"backwards", "bob@p3", "2.1", "limit=2&marker=42&sort_dir=desc", "4 3"},
			{"behind a tie", "bob@p3", "2.1", "sort_key=vcpus&marker=1", "2 3 4 5"},
			{"a page of nothing", "bob@p3", "2.1", "limit=0", ""},
			{"by name", "bob@p3", "2.102", "name=m1.small", "2"},
			{"no pattern", "bob@p3", "2.102", "name=m1.", ""},
			{"by description", "bob@p3", "2.1", "sort_key=description", "42 1 2 3 4 5"},
			{"by time of change", "bob@p3", "2.1", "sort_key=updated_at", "42 1 2 3 4 5"},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				for _, path := range []string{"/flavors?", "/flavors/detail?"} {
					got := ids(api.Must(t, 200, call(tt.token, tt.version, "GET", path+tt.query, "")))
					if got != tt.want {
						t.Errorf("%s%s gives %q, want %q", path, tt.query, got, tt.want)
					}
				}
			})
		}
		api.Run(t, []apitest.Case{
			row("next link of a full page", call("bob@p3", "2.1", "GET", "/flavors/detail?limit=2&minRam=1", ""), 200, `"flavors_links":[{"rel":"next","href":"http://openstack.example.com/v2.1/flavors/detail?limit=2&marker=2&minRam=1"}]`, ""),
			row("none of a short one", call("bob@p3", "2.1", "GET", "/flavors?limit=7", ""), 200, "", "flavors_links"),
			row("unknown marker", call("bob@p3", "2.1", "GET", "/flavors?marker=nope", ""), 400, "marker [nope] not found", ""),
			row("a marker that the caller may not see", call("bob@p3", "2.1", "GET", "/flavors?marker=s", ""), 400, "marker [s] not found", ""),
			row("negative limit", call("bob@p3", "2.1", "GET", "/flavors?limit=-1", ""), 400, "badRequest", ""),
			row("bad minRam", call("bob@p3", "2.1", "GET", "/flavors?minRam=x", ""), 400, "Invalid minRam filter [x]", ""),
			row("bad minDisk", call("bob@p3", "2.1", "GET", "/flavors?minDisk=x", ""), 400, "Invalid minDisk filter [x]", ""),
			row("bad is_public", call(admin, "2.1", "GET", "/flavors?is_public=x", ""), 400, "Invalid is_public filter [x]", ""),
			row("SQL in sort_key", call("bob@p3", "2.1", "GET", "/flavors?sort_key=name;drop", ""), 400, "badRequest", ""),
			row("factor is no key since 2.102", call("bob@p3", "2.102", "GET", "/flavors?sort_key=rxtx_factor", ""), 400, "badRequest", ""),
		})
	})
}

// Private flavors do not exist for projects without access, wherever they are named
// (OSSA-2013-019, OSSA-2013-024).
func TestOSSA2013019And024PrivateFlavors(t *testing.T) {
	each(t, func(t *testing.T, s *flavors.Service, api *apitest.API, _ *schema.DB) {
		ctx := t.Context()
		api.Must(t, 200, call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"secret","id":"s","ram":1,"vcpus":1,"disk":0,"os-flavor-access:is_public":false}}`))
		api.Run(t, []apitest.Case{
			row("not shown", call(alice, "2.1", "GET", "/flavors/s", ""), 404, "Flavor s could not be found.", "secret"),
			row("nor its specs", call(alice, "2.1", "GET", "/flavors/s/os-extra_specs", ""), 404, "Flavor s could not be found.", "secret"),
			row("nor one of them", call(alice, "2.1", "GET", "/flavors/s/os-extra_specs/k", ""), 404, "Flavor s could not be found.", "secret"),
			row("nor who has access", call(alice, "2.1", "GET", "/flavors/s/os-flavor-access", ""), 403, "os-flavor-access", "secret"),
			row("shown to administrators", call(admin, "2.1", "GET", "/flavors/s", ""), 200, `"os-flavor-access:is_public":false`, ""),
		})
		boots := func(user, project string) bool {
			t.Helper()
			f, err := s.Get(ctx, apitest.Caller(user, project), "s")
			if err != nil && !compat.IsNotFound(err) {
				t.Fatal(err)
			}
			return f != nil
		}
		if boots("alice", "p2") || boots("alice", "") || !boots("admin", "p1") {
			t.Error("boot sees a private flavor that it should not, or the other way round")
		}
		api.Run(t, []apitest.Case{
			row("unknown project", call(admin, "2.1", "POST", "/flavors/s/action", `{"addTenantAccess":{"tenant":"nobody"}}`), 400, "Project ID nobody is not a valid project.", ""),
			row("bad project", call(admin, "2.1", "POST", "/flavors/s/action", `{"addTenantAccess":{"tenant":"a b"}}`), 400, "badRequest", ""),
			row("no flavor", call(admin, "2.1", "POST", "/flavors/nope/action", `{"addTenantAccess":{"tenant":"p2"}}`), 404, "Flavor nope could not be found.", ""),
			row("a public one until 2.6", call(admin, "2.6", "POST", "/flavors/1/action", `{"addTenantAccess":{"tenant":"p2"}}`), 200, "flavor_access", ""),
			row("a conflict since 2.7", call(admin, "2.7", "POST", "/flavors/2/action", `{"addTenantAccess":{"tenant":"p2"}}`), 409, "Can not add access to a public flavor.", ""),
			row("for administrators", call(alice, "2.1", "POST", "/flavors/s/action", `{"addTenantAccess":{"tenant":"p2"}}`), 403, "add_tenant_access", ""),
			row("given", call(admin, "2.1", "POST", "/flavors/s/action", `{"addTenantAccess":{"tenant":"p2"}}`), 200, `{"flavor_access":[{"flavor_id":"s","tenant_id":"p2"}]}`, ""),
			row("once", call(admin, "2.1", "POST", "/flavors/s/action", `{"addTenantAccess":{"tenant":"p2"}}`), 409, "Flavor access already exists for flavor s and project p2 combination.", ""),
			row("listed", call(admin, "2.1", "GET", "/flavors/s/os-flavor-access", ""), 200, `"tenant_id":"p2"`, ""),
			row("not of public ones", call(admin, "2.1", "GET", "/flavors/1/os-flavor-access", ""), 404, "Access list not available for public flavors.", ""),
			row("seen at once", call(alice, "2.1", "GET", "/flavors/s", ""), 200, "secret", ""),
		})
		if !boots("alice", "p2") || boots("bob", "p3") {
			t.Error("boot does not follow the access that was given")
		}
		api.Run(t, []apitest.Case{
			row("taken away", call(admin, "2.1", "POST", "/flavors/s/action", `{"removeTenantAccess":{"tenant":"p2"}}`), 200, `{"flavor_access":[]}`, ""),
			row("once only", call(admin, "2.1", "POST", "/flavors/s/action", `{"removeTenantAccess":{"tenant":"p2"}}`), 404, "Flavor access not found for s / p2 combination.", ""),
		})
		if boots("alice", "p2") {
			t.Error("boot uses access that was taken away")
		}
	})
}

func TestExtraSpecs(t *testing.T) {
	each(t, func(t *testing.T, s *flavors.Service, api *apitest.API, _ *schema.DB) {
		api.Run(t, []apitest.Case{
			row("for administrators", call(alice, "2.1", "POST", "/flavors/1/os-extra_specs", `{"extra_specs":{"a":"b"}}`), 403, "os-flavor-extra-specs:create", ""),
			row("made and echoed", call(admin, "2.1", "POST", "/flavors/1/os-extra_specs", `{"extra_specs":{"key1":"v1","n":5}}`), 200, `{"extra_specs":{"key1":"v1","n":5}}`, ""),
			row("merged", call(admin, "2.1", "POST", "/flavors/1/os-extra_specs", `{"extra_specs":{"key2":"v2","key1":"v1b"}}`), 200, "", ""),
			row("listed", call(alice, "2.1", "GET", "/flavors/1/os-extra_specs", ""), 200, `{"extra_specs":{"key1":"v1b","key2":"v2","n":"5"}}`, ""),
			row("one", call(alice, "2.1", "GET", "/flavors/1/os-extra_specs/key2", ""), 200, `{"key2":"v2"}`, ""),
			row("none", call(alice, "2.1", "GET", "/flavors/1/os-extra_specs/key3", ""), 404, "Flavor 1 has no extra specs with key key3.", ""),
			row("of no flavor", call(admin, "2.1", "POST", "/flavors/nope/os-extra_specs", `{"extra_specs":{"a":"b"}}`), 404, "Flavor nope could not be found.", ""),
			row("changed", call(admin, "2.1", "PUT", "/flavors/1/os-extra_specs/key2", `{"key2":"v3"}`), 200, `{"key2":"v3"}`, ""),
			row("body and URL differ", call(admin, "2.1", "PUT", "/flavors/1/os-extra_specs/key2", `{"key1":"v3"}`), 400, "Request body and URI mismatch", ""),
			row("in the views", call(alice, "2.61", "GET", "/flavors/detail", ""), 200, `"extra_specs":{"key1":"v1b","key2":"v3","n":"5"}`, ""),
			row("and in one", call(alice, "2.61", "GET", "/flavors/1", ""), 200, `"extra_specs":{"key1":"v1b","key2":"v3","n":"5"}`, ""),
			row("unset", call(admin, "2.1", "DELETE", "/flavors/1/os-extra_specs/key2", ""), 200, "", "{"),
			row("unset again", call(admin, "2.1", "DELETE", "/flavors/1/os-extra_specs/key2", ""), 404, "Flavor 1 has no extra specs with key key2.", ""),
			row("bad key", call(admin, "2.1", "POST", "/flavors/1/os-extra_specs", `{"extra_specs":{"a/b":"c"}}`), 400, "badRequest", ""),
			row("bad value", call(admin, "2.1", "POST", "/flavors/1/os-extra_specs", `{"extra_specs":{"a":true}}`), 400, "badRequest", ""),
			row("long value", call(admin, "2.1", "POST", "/flavors/1/os-extra_specs", `{"extra_specs":{"a":"`+strings.Repeat("x", 256)+`"}}`), 400, "badRequest", ""),
			row("anything until 2.85", call(admin, "2.85", "POST", "/flavors/2/os-extra_specs", `{"extra_specs":{"hw:numa_nodes":"many"}}`), 200, "", ""),
			row("checked since 2.86", call(admin, "2.86", "POST", "/flavors/3/os-extra_specs", `{"extra_specs":{"hw:numa_nodes":"many"}}`), 400, "Validation failed; 'many' is not a valid integer value.", ""),
			row("with PUT too", call(admin, "2.86", "PUT", "/flavors/3/os-extra_specs/hw:nope", `{"hw:nope":"1"}`), 400, "Validation failed; extra spec 'hw:nope' does not appear to be a valid extra spec.", ""),
			row("and nothing was kept", call(admin, "2.86", "GET", "/flavors/3/os-extra_specs", ""), 200, `{"extra_specs":{}}`, ""),
		})
		f, err := s.Get(t.Context(), apitest.Caller("alice", "p2"), "1")
		if err != nil || f.Work().ExtraSpecs["key1"] != "v1b" {
			t.Errorf("Get = %+v, %v; want the extra specs", f, err)
		}
		f.ExtraSpecs["key1"] = "spoilt"
		f, err = s.Get(t.Context(), apitest.Caller("alice", "p2"), "1")
		if err != nil || f.ExtraSpecs["key1"] != "v1b" {
			t.Errorf("a caller changed the extra specs of all: %+v, %v", f, err)
		}
	})
}

func TestSeedHappensOnce(t *testing.T) {
	each(t, func(t *testing.T, s *flavors.Service, api *apitest.API, _ *schema.DB) {
		api.Must(t, 202, call(admin, "2.1", "DELETE", "/flavors/5", ""))
		err := s.Seed(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(api.Must(t, 200, call(alice, "2.1", "GET", "/flavors", ""))); got != "1 2 3 4 42" {
			t.Errorf("flavors after the second seed: %q", got)
		}
	})
}

func TestHostileInputIsNever500(t *testing.T) {
	each(t, func(t *testing.T, _ *flavors.Service, api *apitest.API, _ *schema.DB) {
		api.Never500(t, "/flavors")
	})
}

func TestAnotherProcessIsSeenAfterASecond(t *testing.T) {
	each(t, func(t *testing.T, _ *flavors.Service, _ *apitest.API, db *schema.DB) {
		now := time.Unix(1000, 0)
		s := flavors.New(db, func() time.Time { return now })
		vcpus := func() int {
			t.Helper()
			f, err := s.Get(t.Context(), apitest.Caller("alice", "p2"), "1")
			if err != nil {
				t.Fatal(err)
			}
			return f.VCPUs
		}
		before := vcpus()
		_, err := db.ExecContext(t.Context(), `UPDATE flavors SET vcpus = 3 WHERE flavorid = '1'`)
		if err != nil {
			t.Fatal(err)
		}
		soon := vcpus()
		now = now.Add(time.Second)
		if later := vcpus(); before != 1 || soon != 1 || later != 3 {
			t.Errorf("vcpus before, soon and a second after a change: %d, %d, %d; want 1, 1, 3", before, soon, later)
		}
	})
}

// The number of statements of a list does not grow with the list.
func TestListsAreAHandfulOfStatements(t *testing.T) {
	db, statements := apitest.Counting(t)
	s := flavors.New(db, nil)
	for i := range 1000 {
		_, err := db.ExecContext(t.Context(), `INSERT INTO flavors (flavorid, name, vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, created_at)
			VALUES (?, ?, 1, 1, 1, 0, 0, 1)`, fmt.Sprint("id", i), fmt.Sprint("name", i))
		if err == nil {
			_, err = db.ExecContext(t.Context(), `INSERT INTO flavor_extra_specs (flavor_id, name, value) VALUES (?, 'k', 'v')`, i+1)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	api := apitest.New(t, s.Register)
	for _, path := range []string{"/flavors", "/flavors/detail", "/flavors/detail?marker=id500&limit=10"} {
		statements.Store(0)
		body := api.Must(t, 200, call(alice, "2.61", "GET", path, ""))
		if n := statements.Load(); n > 5 {
			t.Errorf("GET %s takes %d statements for %d flavors", path, n, len(strings.Fields(ids(body))))
		}
	}
}
