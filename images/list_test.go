package images

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
)

func TestListFilters(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		a := c.active(alice, `"name": "alpha,one"`, `"os_type": "linux"`, `"tags": ["t1", "t2"]`)
		b := c.image(alice, "qcow2", `"name": "beta"`, `"tags": ["t1"]`, `"protected": true`)
		h := c.active(alice, `"name": "hidden"`, `"os_hidden": true`)
		p := c.active(admin, `"name": "in:side"`, `"visibility": "public"`)
		m := c.active(bob, `"name": "com"`, `"visibility": "community"`)
		x := c.active(bob, `"name": "x"`, `"visibility": "private"`)
		hash := c.must(200, alice, "GET", "/v2/images/"+a, nil)["os_hash_value"].(string)
		tests := []struct {
			caller, query string
			want          []string
		}{
			{alice, "", []string{p, b, a}},
			{bob, "", []string{x, m, p}},
			{admin, "", []string{x, p, b, a}},
			{admin, "?visibility=all", []string{x, m, p, b, a}},
			{alice, "?visibility=community", []string{m}},
			{alice, "?visibility=private", []string{}},
			{alice, "?visibility=shared", []string{b, a}},
			{alice, "?visibility=all", []string{m, p, b, a}},
			{alice, "?os_hidden=True", []string{h}},
			{alice, "?os_hidden=false", []string{p, b, a}},
			{alice, "?id=in:" + a + "," + b + "," + x, []string{b, a}},
			{alice, "?id=in%3A" + a, []string{a}},
			{alice, "?id=in:", []string{}},
			{alice, "?name=" + url.QueryEscape(`in:"alpha,one",beta`), []string{b, a}},
			{alice, "?name=" + url.QueryEscape("eq:beta"), []string{b}},
			{alice, "?name=" + url.QueryEscape(`in:"in:side"`), []string{p}},
			{alice, "?name=nothing", []string{}},
			{alice, "?status=in:queued,saving", []string{b}},
			{alice, "?status=active&owner=p1", []string{a}},
			{alice, "?disk_format=raw", []string{p, a}},
			{alice, "?container_format=in:bare,ovf", []string{p, b, a}},
			{alice, "?tag=t1", []string{b, a}},
			{alice, "?tag=t1&tag=t2", []string{a}},
			{alice, "?size_min=20", []string{p, a}},
			{alice, "?size_max=19", []string{}},
			{alice, "?protected=True", []string{b}},
			{alice, "?os_type=linux", []string{a}},
			{alice, "?os_type=in:linux", []string{}},
			{alice, "?os_hash_value=" + hash, []string{p, a}},
			{alice, "?created_at=gte:2026-01-02T03:04:05Z", []string{p, b, a}},
			{alice, "?created_at=gt:2026-01-02T03:05:05Z", []string{}},
			{alice, "?updated_at=lt:2026-01-02T03:05:05Z&limit=1", []string{p}},
			{alice, "?sort=name:asc", []string{a, b, p}},
			{alice, "?sort_key=status&sort_dir=asc&sort_key=name&sort_dir=desc", []string{p, a, b}},
			{alice, "?sort_key=id&sort_dir=asc", sorted(a, b, p)},
			{alice, "?marker=" + b, []string{a}},
			{alice, "?limit=0", []string{}},
			{alice, "?property-x=1", []string{}},
			{alice, "?name=" + url.QueryEscape("' OR 1=1 --"), []string{}},
		}
		for _, tt := range tests {
			if got := c.ids(tt.caller, tt.query); !slices.Equal(got, tt.want) {
				t.Errorf("%s %s = %v, want %v", tt.caller, tt.query, got, tt.want)
			}
		}
		for _, query := range []string{"limit=-1", "limit=x", "marker=zz", "marker=" + x, "sort_key=password", "sort=name:up", "sort=name&sort_key=id",
			"sort_key=i.uuid;drop+table+images", "sort_dir=asc&sort_dir=desc&sort_dir=asc", "visibility=none", "status=none", "status=in:active,none", "member_status=x",
			"size_min=x", "min_ram_max=x", "virtual_size=x", "changes-since=2026-01-02T03:04:05Z", "protected=1", "os_hidden=x", "created_at=yesterday", "created_at=in:x", "id=lt:x", "name=" + url.QueryEscape(`in:"open`),
			"name=" + url.QueryEscape(`in:a"b"`), "name=" + url.QueryEscape(`in:"a"b`), "id=in:" + strings.Repeat("a,", 1001), "sort_dir=up", "sort=,name", "sort=name:asc,"} {
			c.must(400, alice, "GET", "/v2/images?"+query, nil)
		}
	})
}

func sorted(ids ...string) []string {
	slices.Sort(ids)
	return ids
}

func TestPagesMeetEveryImageOnce(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		all := map[string]bool{}
		for i := range 23 {
			all[c.image(alice, "raw", fmt.Sprintf(`"name": "n%d"`, i%3))] = true
		}
		for _, query := range []string{"limit=5", "limit=4&sort=name:asc", "limit=7&sort=size:desc,name:asc", "limit=23"} {
			seen := map[string]bool{}
			pages := 0
			for path := "/v2/images?" + query; path != ""; pages++ {
				doc := c.must(200, alice, "GET", path, nil)
				for _, i := range doc["images"].([]any) {
					id := i.(map[string]any)["id"].(string)
					if seen[id] {
						t.Errorf("%s: %s twice", query, id)
					}
					seen[id] = true
				}
				if first := doc["first"].(string); !strings.HasPrefix(first, "/v2/images?") || strings.Contains(first, "marker") {
					t.Errorf("first = %s", first)
				}
				path, _ = doc["next"].(string)
			}
			if len(seen) != len(all) || query == "limit=23" && pages != 1 {
				t.Errorf("%s: %d images on %d pages", query, len(seen), pages)
			}
		}
		if got := c.ids(alice, ""); len(got) != 23 {
			t.Errorf("the default page has %d images", len(got))
		}
	})
}
