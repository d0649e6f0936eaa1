package images

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
)

// documentedParameters are the query parameters that the OpenAPI files of the Image and the
// Compute API list for each list, beside those that Glance's own reference names: the
// attributes that all can be filtered by, and what the lists of tasks and namespaces take.
var documentedParameters = map[string]string{
	"/v2/images": "created_at id limit marker member_status name os_hidden owner protected size_max size_min sort sort_dir sort_key status tag updated_at visibility " +
		"checksum container_format disk_format min_disk min_ram os_hash_algo os_hash_value size virtual_size min_disk_max min_disk_min min_ram_max min_ram_min virtual_size_max virtual_size_min",
	"/v2/images/{image}/members": "",
	"/v2/images/{image}/tasks":   "",
	"/v2/tasks":                  "limit marker sort_dir sort_key status type",
	"/v2/metadefs/namespaces":    "limit marker resource_types sort_dir sort_key visibility",
	"/images":                    "changes-since limit marker minDisk minRam name server status type",
	"/images/detail":             "changes-since limit marker minDisk minRam name server status type",
}

// asked is how a parameter finds the test's one image, and how it does not.
type asked struct{ finds, misses []string }

// TestEveryDocumentedFilterWorks: each parameter of each list does what it says, and is
// refused where it makes no sense.
func TestEveryDocumentedFilterWorks(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice, `"name": "one"`, `"tags": ["t"]`, `"min_ram": 64`, `"min_disk": 2`, `"protected": true`, `"image_type": "snapshot"`, `"instance_uuid": "s1"`)
		doc := c.must(200, alice, "GET", "/v2/images/"+id, nil)
		text := func(name string) string { return fmt.Sprint(doc[name]) }
		at := text("created_at")
		shared := c.active(bob)
		c.must(200, bob, "POST", "/v2/images/"+shared+"/members", `{"member": "p1"}`)

		number := func(n int) asked {
			return asked{[]string{fmt.Sprint(n)}, []string{fmt.Sprint(n + 1), fmt.Sprint(n - 1)}}
		}
		least := func(n int) asked { return asked{[]string{fmt.Sprint(n), "-1"}, []string{fmt.Sprint(n + 1)}} }
		most := func(n int) asked { return asked{[]string{fmt.Sprint(n)}, []string{fmt.Sprint(n - 1), "-1"}} }
		moments := asked{
			[]string{at, "eq:" + at, "gte:" + at, "lte:" + at, "gt:2026-01-02T03:04:04Z", "lt:2026-01-02T03:04:06Z", "neq:2026-01-02T03:04:04Z", "2026-01-02T04:04:05+01:00", "20260102T030405Z"},
			[]string{"neq:" + at, "gt:" + at, "lt:" + at, "2026-01-02T03:04:06Z", "gte:2026-01-02T03:04:06Z"}}
		word := func(value string) asked {
			return asked{[]string{value, "eq:" + value, "in:" + value + ",zz", `in:"` + value + `"`}, []string{"zz", "in:zz", "in:"}}
		}
		image := map[string]asked{
			"created_at": moments, "updated_at": moments, "id": word(id), "name": word("one"), "container_format": word("bare"), "disk_format": word("raw"),
			"status": {[]string{"active", "in:active,queued", "eq:active"}, []string{"queued", "in:queued"}},
			"owner":  {[]string{"p1"}, []string{"p2"}}, "visibility": {[]string{"shared", "all"}, []string{"public", "private", "community"}},
			"protected": {[]string{"true", "True"}, []string{"false"}}, "os_hidden": {[]string{"false"}, []string{"true"}},
			"tag":  {[]string{"t", " t "}, []string{"T", "zz"}},
			"size": number(20), "size_min": least(20), "size_max": most(20), "virtual_size": number(20), "virtual_size_min": least(20), "virtual_size_max": most(20),
			"min_ram": number(64), "min_ram_min": least(64), "min_ram_max": most(64), "min_disk": number(2), "min_disk_min": least(2), "min_disk_max": most(2),
			"checksum": {[]string{text("checksum")}, []string{"zz"}}, "os_hash_value": {[]string{text("os_hash_value")}, []string{"zz"}}, "os_hash_algo": {[]string{"sha512"}, []string{"md5"}},
		}
		proxied := map[string]asked{
			"changes-since": {[]string{at, "2026-01-02T03:04:04Z"}, []string{"2026-01-02T03:04:06Z"}}, "name": {[]string{"one"}, []string{"zz", "in:one"}},
			"minRam": number(64), "minDisk": number(2), "status": {[]string{"ACTIVE", "active"}, []string{"SAVING", "DELETED"}},
			"type": {[]string{"snapshot"}, []string{"base"}}, "server": {[]string{"s1", "http://cloud/v2.1/servers/s1"}, []string{"s2"}},
		}
		lists := map[string]map[string]asked{"/v2/images": image, "/images": proxied, "/images/detail": proxied}

		api := c.compute()
		send := func(list, query string) (int, []string) {
			t.Helper()
			if !strings.HasPrefix(list, "/v2/") {
				w := c.compat(api, "GET", list+"?"+query, "")
				return w.Code, idsIn(decoded(t, w))
			}
			caller := map[bool]string{true: admin, false: alice}[list == "/v2/tasks"]
			w := c.do(caller, "GET", strings.ReplaceAll(list, "{image}", id)+"?"+query, nil, "Accept", "application/json")
			return w.Code, idsIn(decoded(t, w))
		}
		for list, parameters := range documentedParameters {
			for name := range strings.FieldsSeq(parameters) {
				how, filters := lists[list][name]
				if !filters && !checked(t, list, name, send, id, shared) {
					t.Errorf("%s: nothing tests the parameter %s", list, name)
				}
				for want, values := range map[bool][]string{true: how.finds, false: how.misses} {
					for _, v := range values {
						code, ids := send(list, name+"="+url.QueryEscape(v))
						if code != 200 || slices.Contains(ids, id) != want {
							t.Errorf("%s?%s=%s: %d %v; found should be %v", list, name, v, code, ids, want)
						}
					}
				}
			}
			if parameters == "" {
				if code, _ := send(list, "limit=x&sort_key=y"); code != 200 {
					t.Errorf("%s heeds parameters that it has not: %d", list, code)
				}
			}
		}
	})
}

func idsIn(doc map[string]any) []string {
	out := []string{}
	list, _ := doc["images"].([]any)
	for _, i := range list {
		out = append(out, i.(map[string]any)["id"].(string))
	}
	return out
}

// checked tests the parameters that are no filters, and the filters of lists that are empty.
func checked(t *testing.T, list, name string, send func(list, query string) (int, []string), id, shared string) bool {
	t.Helper()
	want := func(code int, queries ...string) {
		t.Helper()
		for _, q := range queries {
			if got, ids := send(list, q); got != code {
				t.Errorf("%s?%s: %d %v; want %d", list, q, got, ids, code)
			}
		}
	}
	isImages := list == "/v2/images"
	switch name {
	case "limit":
		want(200, "limit=1", "limit=99999")
		want(400, "limit=-1", "limit=x")
		if strings.HasPrefix(list, "/v2/") {
			want(200, "limit=0")
		}
		if code, ids := send(list, "limit=1"); strings.HasSuffix(list, "/images") && (code != 200 || len(ids) > 1) {
			t.Errorf("%s?limit=1: %v", list, ids)
		}
	case "marker":
		want(map[bool]int{true: 404, false: 400}[strings.HasSuffix(list, "namespaces")], "marker=zz", "marker=22222222-2222-4222-8222-222222222222")
		if code, ids := send(list, "marker="+id); !strings.Contains(list, "metadefs") && list != "/v2/tasks" && (code != 200 || slices.Contains(ids, id)) {
			t.Errorf("%s?marker=%s: %d %v", list, id, code, ids)
		}
	case "sort", "sort_key", "sort_dir":
		want(400, map[string]string{"sort": "sort=zz:asc", "sort_key": "sort_key=zz", "sort_dir": "sort_dir=up"}[name])
		want(200, map[string]string{"sort": "sort=name", "sort_key": "sort_key=created_at", "sort_dir": "sort_dir=asc"}[name])
	case "member_status":
		want(400, "member_status=zz")
		for status, found := range map[string]bool{"pending": true, "all": true, "accepted": false, "rejected": false} {
			if code, ids := send(list, "visibility=shared&member_status="+status); code != 200 || slices.Contains(ids, shared) != found {
				t.Errorf("%s: member_status=%s: %d %v", list, status, code, ids)
			}
		}
	case "status", "type", "visibility":
		good := map[string]string{"status": "status=success", "type": "type=import", "visibility": "visibility=public"}[name]
		want(200, good)
		want(400, name+"=zz")
	case "resource_types":
		want(200, "resource_types=OS::Glance::Image,OS::Nova::Server")
	default:
		return false
	}
	return !isImages || name != "status" && name != "visibility"
}

// TestEverySortKeyWorks: each key that Glance sorts by, both ways, in both spellings, by
// pages as at once.
func TestEverySortKeyWorks(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		const n = 6
		var made []string
		for i := range n {
			id := c.image(alice, []string{"raw", "qcow2"}[i%2], fmt.Sprintf(`"name": "n%d"`, i/2))
			made = append(made, id)
			if i == 3 {
				c.pass(time.Minute)
			}
			if i%3 == 0 {
				c.must(200, alice, "PATCH", "/v2/images/"+id, `[{"op": "add", "path": "/x", "value": "y"}]`)
			}
		}
		whole := c.active(alice, `"name": "z"`, `"container_format": "ovf"`)
		all := map[string]map[string]any{}
		for _, i := range c.must(200, alice, "GET", "/v2/images", nil)["images"].([]any) {
			all[i.(map[string]any)["id"].(string)] = i.(map[string]any)
		}
		if len(all) != n+1 || all[whole] == nil {
			t.Fatalf("%d images", len(all))
		}
		less := func(key string, a, b map[string]any) int {
			if key == "size" {
				x, _ := a[key].(float64)
				y, _ := b[key].(float64)
				return int(x - y)
			}
			return strings.Compare(fmt.Sprint(a[key]), fmt.Sprint(b[key]))
		}
		for _, key := range sortKeys {
			for _, dir := range []string{"asc", "desc"} {
				sign := map[string]int{"asc": 1, "desc": -1}[dir]
				// Behind the key comes the id, the other way round: it decides between those
				// that clients see as equal.
				want := []string{}
				for id := range all {
					want = append(want, id)
				}
				slices.SortFunc(want, func(a, b string) int {
					if d := sign * less(key.name, all[a], all[b]); d != 0 {
						return d
					}
					return -sign * strings.Compare(a, b)
				})
				other := map[string]string{"asc": "desc", "desc": "asc"}[dir]
				for _, query := range []string{"sort=" + key.name + ":" + dir + ",id:" + other, "sort_key=" + key.name + "&sort_dir=" + dir + "&sort_key=id&sort_dir=" + other} {
					if got := c.ids(alice, "?"+query); !slices.Equal(got, want) {
						t.Errorf("%s: %v, want %v", query, got, want)
					}
					var paged []string
					for next := "/v2/images?limit=2&" + query; next != ""; {
						page := c.must(200, alice, "GET", next, nil)
						paged = append(paged, idsIn(page)...)
						next, _ = page["next"].(string)
					}
					if !slices.Equal(paged, want) {
						t.Errorf("%s by pages: %v, want %v", query, paged, want)
					}
				}
				// Without a second key each image is there once, in the order of the first.
				got := c.ids(alice, "?sort="+key.name+":"+dir)
				if len(got) != len(want) || !slices.IsSortedFunc(got, func(a, b string) int { return sign * less(key.name, all[a], all[b]) }) {
					t.Errorf("sort=%s:%s: %v", key.name, dir, got)
				}
			}
		}
		// Who names no further key gets the newest first, or all in the one direction given.
		made = append(made, whole)
		for query, sign := range map[string]int{"sort=name:asc,size:desc": -1, "sort_key=status&sort_dir=asc": 1, "sort=status:desc": -1, "sort=updated_at:asc,name:desc,status:asc": -1} {
			got := c.ids(alice, "?"+query)
			for i := range got[1:] {
				a, b := all[got[i]], all[got[i+1]]
				same := a["name"] == b["name"] && a["status"] == b["status"] && a["size"] == b["size"] && a["updated_at"] == b["updated_at"]
				if same && sign*(slices.Index(made, got[i])-slices.Index(made, got[i+1])) > 0 {
					t.Errorf("%s: of equals the %d comes before the %d", query, slices.Index(made, got[i]), slices.Index(made, got[i+1]))
				}
			}
		}
		for query, want := range map[string][2]string{
			"sort_key=name&sort_key=id&sort_dir=asc":           {"sort=name:asc,id:asc"},
			"sort_key=name":                                    {"sort=name:desc"},
			"sort=name: ,id:asc":                               {"sort=name:desc,id:asc", "400"},
			"sort=name,name:asc,id:asc":                        {"sort=name:desc,id:asc"},
			"sort= name :asc, id : asc":                        {"sort=name:asc,id:asc"},
			"sort_key= name &sort_dir= asc &sort_key=id":       {"sort=name:asc,id:asc"},
			"sort_dir=asc":                                     {"sort=created_at:asc"},
			"sort_key=name&sort_dir=asc&sort_dir=desc":         {"", "400"},
			"sort_key=name&sort_key=id&sort_dir=asc&sort_dir=": {"", "400"},
		} {
			spelled := strings.ReplaceAll(query, " ", "%20")
			if want[1] != "" {
				if w := c.do(alice, "GET", "/v2/images?"+spelled, nil); w.Code != http.StatusBadRequest {
					t.Errorf("%s: %d", query, w.Code)
				}
				continue
			}
			if got, same := c.ids(alice, "?"+spelled), c.ids(alice, "?"+want[0]); !slices.Equal(got, same) {
				t.Errorf("%s: %v, as %s: %v", query, got, want[0], same)
			}
		}
	})
}

// TestTimesAreComparedAsClientsSeeThem: in whole seconds, whatever lies behind the dot.
func TestTimesAreComparedAsClientsSeeThem(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		// Three images of three seconds, each at another place within its second.
		var ids []string
		var shown []time.Time
		for _, micros := range []int64{999_999, 1, 500_000} {
			id := c.active(alice)
			second := time.Date(2026, 5, 6, 7, 8, 10+len(ids), 0, time.UTC)
			_, err := c.db.Exec("UPDATE images SET created_at = ?, updated_at = ? WHERE uuid = ?", second.UnixMicro()+micros, second.UnixMicro()+micros, id)
			if err != nil {
				t.Fatal(err)
			}
			doc := c.must(200, alice, "GET", "/v2/images/"+id, nil)
			if doc["created_at"] != second.Format(time.RFC3339) || doc["updated_at"] != doc["created_at"] {
				t.Fatalf("shown %v", doc)
			}
			ids, shown = append(ids, id), append(shown, second)
		}
		holds := map[string]func(a, b time.Time) bool{
			"": time.Time.Equal, "eq:": time.Time.Equal, "neq:": func(a, b time.Time) bool { return !a.Equal(b) },
			"gt:": time.Time.After, "gte:": func(a, b time.Time) bool { return !a.Before(b) },
			"lt:": time.Time.Before, "lte:": func(a, b time.Time) bool { return !a.After(b) },
		}
		for _, attribute := range []string{"created_at", "updated_at"} {
			for op, hold := range holds {
				for _, offset := range []time.Duration{-time.Second, -time.Millisecond, 0, time.Nanosecond, time.Microsecond, 400 * time.Millisecond, 999999 * time.Microsecond, time.Second} {
					when := shown[1].Add(offset)
					var want []string
					for i := len(ids) - 1; i >= 0; i-- { // the newest first
						if hold(shown[i], when) {
							want = append(want, ids[i])
						}
					}
					query := "?" + attribute + "=" + url.QueryEscape(op+when.Format(time.RFC3339Nano))
					if got := c.ids(alice, query); !slices.Equal(got, want) {
						t.Errorf("%s: %v, want %v", query, got, want)
					}
				}
			}
		}
		// An image's own times, as it shows them, find it; and a marker's are its own.
		for i, id := range ids {
			for _, q := range []string{"created_at=", "created_at=gte:", "created_at=lte:", "updated_at=", "updated_at=gte:", "updated_at=lte:"} {
				if got := c.ids(alice, "?"+q+shown[i].Format(time.RFC3339)); !slices.Contains(got, id) {
					t.Errorf("%s%s leaves out the image of that time", q, shown[i])
				}
			}
			for _, key := range []string{"created_at", "updated_at"} {
				if got := c.ids(alice, "?sort_dir=asc&sort_key="+key+"&marker="+id); !slices.Equal(got, ids[i+1:]) {
					t.Errorf("by %s after image %d: %v", key, i, got)
				}
			}
		}
		api := c.compute()
		for i, id := range ids {
			got := idsIn(decoded(t, c.compat(api, "GET", "/images?changes-since="+shown[i].Format(time.RFC3339), "")))
			if !slices.Contains(got, id) || len(got) != len(ids)-i {
				t.Errorf("changes-since of image %d: %v", i, got)
			}
		}
		c.must(400, alice, "GET", "/v2/images?created_at=gt:yesterday", nil)
	})
}
