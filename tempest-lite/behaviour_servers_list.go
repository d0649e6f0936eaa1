package tempestlite

import (
	"context"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
)

// listing are three servers that lists are asked for. Nothing changes them: a and b run, c
// is stopped; b has the other flavor and is locked.
type listing struct {
	Name string // what their names begin with
	IDs  []string
}

func (t *T) listing() listing {
	image, small, large, network := t.Image(), t.Flavor(0), t.Flavor(1), t.Network(Member)
	return t.share("servers to list", func() (any, error) {
		ctx, c := context.WithoutCancel(t.Ctx), t.Cloud
		l := listing{Name: c.Prefix + "-listed"}
		for i, flavor := range []string{small, large, small} {
			id, err := c.makeServer(ctx, Member, l.Name+"-"+string(rune('a'+i)), image, flavor, network)
			if err != nil {
				return nil, err
			}
			l.IDs = append(l.IDs, id)
		}
		_, err := c.call(ctx, Member, First, "POST", "/servers/"+l.IDs[1]+"/action", map[string]any{"lock": nil}, 202)
		if err != nil {
			return nil, err
		}
		_, err = c.call(ctx, Member, First, "POST", "/servers/"+l.IDs[2]+"/action", map[string]any{"os-stop": nil}, 202)
		if err != nil {
			return nil, err
		}
		return l, c.waitStatus(ctx, Member, l.IDs[2], "SHUTOFF")
	}).(listing)
}

func (t *T) listedName() any { return t.listing().Name }

// found asks for the listed servers, with more in the query, and tells which there are, in
// the order of the answer: "c b a".
func (t *T) found(as Role, v Version, query string) string {
	l := t.listing()
	resp := t.Must(as, v, "GET", "/servers?name="+l.Name+query, nil, 200)
	return letters(resp, l)
}

func letters(resp *Response, l listing) string {
	var out []string
	list, _ := resp.Get("servers").([]any)
	for _, s := range list {
		name, _ := dig(s, "name").(string)
		if letter, ours := strings.CutPrefix(name, l.Name+"-"); ours {
			out = append(out, letter)
		}
	}
	return strings.Join(out, " ")
}

// finds records a fault unless the query finds these servers, in the order of their names.
func (t *T) finds(as Role, v Version, query, want string) {
	t.Equal(fmt.Sprintf("what %s finds at %s", query, v), t.found(as, v, query+"&sort_key=display_name&sort_dir=asc"), want)
}

// refusesList records a fault unless the query is answered with the code and the text.
func (t *T) refusesList(as Role, v Version, query string, code int, message string) {
	resp := t.Do(as, v, "GET", "/servers?"+query, nil)
	if t.Want(resp, code) {
		t.CheckFault(resp)
		t.WantMessage(resp, message)
	}
}

var coversLists = covers("servers.list", "servers.detail")

func serverListChecks() []*Check {
	return slices.Concat(filterChecks(), timeFilterChecks(), wideListChecks(), sortChecks(), serverPagingChecks())
}

func filterChecks() []*Check {
	return []*Check{
		behaviour("server lists", "name", "the filter name is a regular expression that is looked for in the name", 0, func(t *T) {
			l := t.listing()
			for query, want := range map[string]string{
				l.Name: "a b c", l.Name + "-a": "a", "^" + l.Name + "-[ab]$": "a b", l.Name[1:] + "-c": "c", "^" + l.Name[1:]: "",
			} {
				resp := t.Must(Member, First, "GET", "/servers?sort_key=display_name&sort_dir=asc&name="+url.QueryEscape(query), nil, 200)
				t.Equal("what name="+query+" finds", letters(resp, l), want)
			}
			t.refusesList(Member, First, "name=%5B", 400, "")
		}, coversLists),
		behaviour("server lists", "name-last", "of a filter that is given twice the last counts", 0, func(t *T) {
			l := t.listing()
			t.finds(Member, First, "&name="+l.Name+"-b", "b")
		}, coversLists),
		behaviour("server lists", "status", "the filter status takes names of statuses in any case, and several of them", 0, func(t *T) {
			t.finds(Member, First, "&status=SHUTOFF", "c")
			t.finds(Member, First, "&status=active", "a b")
			t.finds(Member, First, "&status=ACTIVE&status=SHUTOFF", "a b c")
			t.finds(Member, First, "&status=PAUSED", "")
		}, coversLists),
		behaviour("server lists", "status-unknown", "a status that there is not finds nothing, and is refused from 2.38 on", 38, func(t *T) {
			t.finds(Member, 37, "&status=NO_STATUS", "")
			t.refusesList(Member, 38, "status=NO_STATUS", 400, "Invalid status value")
		}, coversLists),
		behaviour("server lists", "flavor", "the filter flavor takes the id of a flavor", 0, func(t *T) {
			t.finds(Member, First, "&flavor="+t.Flavor(0), "a c")
			t.finds(Member, First, "&flavor="+t.Flavor(1), "b")
			t.finds(Member, First, "&flavor="+t.Name(), "")
		}, coversLists),
		behaviour("server lists", "image", "the filter image takes the id of an image", 0, func(t *T) {
			t.finds(Member, First, "&image="+t.Image(), "a b c")
			t.finds(Member, First, "&image="+uuid.NewString(), "")
		}, coversLists),
		behaviour("server lists", "ip", "the filter ip finds the server with an address", 0, func(t *T) {
			resp := t.Must(Member, First, "GET", "/servers/"+t.listing().IDs[0]+"/ips", nil, 200)
			address := firstAddress(resp.Get("addresses"))
			if address == "" {
				t.Fatalf("the server has no address: %s", resp.Body)
			}
			found := t.found(Member, First, "&ip="+address)
			if !strings.Contains(found, "a") {
				t.Errorf("ip=%s finds %q, and not the server a", address, found)
			}
			t.finds(Member, First, "&ip=203.0.113.250", "")
		}, coversLists, needs(NeedNetworks)),
		behaviour("server lists", "tags", "the filters for tags: all of them, any of them, not all, none", 26, func(t *T) {
			l := t.listing()
			t.share("tags of the servers to list", func() (any, error) {
				ctx := context.WithoutCancel(t.Ctx)
				_, err := t.Cloud.call(ctx, Member, 26, "PUT", "/servers/"+l.IDs[0]+"/tags", map[string]any{"tags": []any{"blue", "red"}}, 200)
				if err == nil {
					_, err = t.Cloud.call(ctx, Member, 26, "PUT", "/servers/"+l.IDs[1]+"/tags", map[string]any{"tags": []any{"red"}}, 200)
				}
				return true, err
			})
			t.finds(Member, 26, "&tags=red", "a b")
			t.finds(Member, 26, "&tags=red,blue", "a")
			t.finds(Member, 26, "&tags-any=blue,green", "a")
			t.finds(Member, 26, "&not-tags=red,blue", "b c")
			t.finds(Member, 26, "&not-tags-any=blue,red", "c")
			t.finds(Member, 26, "&tags=red&not-tags=blue", "b")
			t.finds(Member, 25, "&tags=blue", "a b c") // not known yet, so ignored
		}, coversLists),
		behaviour("server lists", "locked", "the filter locked tells locked servers from others, from 2.73 on", 73, func(t *T) {
			t.finds(Member, 73, "&locked=true", "b")
			t.finds(Member, 73, "&locked=false", "a c")
			t.finds(Member, 72, "&locked=true", "a b c")
			t.refusesList(Member, 73, "locked=tempest-lite", 400, "")
		}, coversLists),
		behaviour("server lists", "user", "the filters user_id and vm_state count for everybody from 2.83 on, and are ignored before", 83, func(t *T) {
			t.finds(Member, 82, "&user_id="+uuid.NewString(), "a b c")
			t.finds(Member, 83, "&user_id="+uuid.NewString(), "")
			t.finds(Member, 83, "&user_id="+t.Cloud.UserID(Member), "a b c")
			t.finds(Member, 82, "&vm_state=stopped", "a b c")
			t.finds(Member, 83, "&vm_state=stopped", "c")
		}, coversLists, needs(NeedAdmin)), // one's own rights would let the filter count
		behaviour("server lists", "hostname", "the filter hostname finds a server by its host name from 2.90 on", 90, func(t *T) {
			t.finds(Member, 90, "&hostname="+t.listing().Name+"-a", "a")
			t.finds(Member, 90, "&hostname="+t.Name(), "")
		}, coversLists),
		behaviour("server lists", "host", "the filter host is the administrator's; for others it is ignored", 0, func(t *T) {
			host := t.Must(Admin, First, "GET", "/servers/"+t.listing().IDs[0], nil, 200).Str("server", "OS-EXT-SRV-ATTR:host")
			if found := t.found(Admin, First, "&all_tenants=1&host="+host); !strings.Contains(found, "a") {
				t.Errorf("host=%s finds %q, and not the server a that is there", host, found)
			}
			t.finds(Admin, First, "&all_tenants=1&host="+t.Name(), "")
			t.finds(Member, First, "&host="+t.Name(), "a b c")
		}, coversLists, needs(NeedAdmin)),
		behaviour("server lists", "uuid", "the administrator finds a server by its id", 0, func(t *T) {
			l := t.listing()
			t.finds(Admin, First, "&all_tenants=1&uuid="+l.IDs[1], "b")
			t.finds(Admin, First, "&all_tenants=1&project_id="+t.Cloud.ProjectID(Member)+"&uuid="+l.IDs[1], "b")
		}, coversLists, needs(NeedAdmin)),
		behaviour("server lists", "no-filter", "columns that are no filters are refused to the administrator, and ignored for others", 0, func(t *T) {
			for _, field := range []string{"metadata", "system_metadata", "security_groups"} {
				t.refusesList(Admin, First, field+"=x", 400, "Invalid filter field: "+field)
				t.finds(Member, First, "&"+field+"=x", "a b c")
			}
		}, coversLists, needs(NeedAdmin)),
	}
}

func firstAddress(addresses any) string {
	networks, _ := addresses.(map[string]any)
	for _, list := range networks {
		if address, ok := dig(list, 0, "addr").(string); ok {
			return address
		}
	}
	return ""
}

// moment is a time as the filters of lists take it.
func moment(at time.Time) string { return url.QueryEscape(at.UTC().Format(time.RFC3339)) }

// touched is when a server was last changed, by the clock of the cloud.
func (t *T) touched(id string) time.Time {
	text := t.Must(Member, First, "GET", "/servers/"+id, nil, 200).Str("server", "updated")
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatalf("the time %q of the last change: %v", text, err)
	}
	return at
}

func timeFilterChecks() []*Check {
	return []*Check{
		behaviour("server lists", "changes-since", "changes-since finds what has changed then or later", 0, func(t *T) {
			at := t.touched(t.listing().IDs[2])
			t.Equal("what changes-since its last change finds", strings.Contains(t.found(Member, First, "&changes-since="+moment(at)), "c"), true)
			t.Equal("what changes-since a second later finds", strings.Contains(t.found(Member, First, "&changes-since="+moment(at.Add(time.Second))), "c"), false)
			t.Equal("what changes-since the day before finds", len(t.found(Member, First, "&changes-since="+moment(at.Add(-24*time.Hour)))), len("a b c"))
			t.refusesList(Member, First, "changes-since=yesterday", 400, "")
		}, coversLists),
		behaviour("server lists", "changes-before", "changes-before finds what has changed then or earlier, from 2.66 on", 66, func(t *T) {
			at := t.touched(t.listing().IDs[2])
			before, after := moment(at.Add(-24*time.Hour)), moment(at.Add(time.Second))
			t.Equal("what changes-before the day before finds", t.found(Member, 66, "&changes-before="+before), "")
			t.Equal("what changes-before a second later finds", strings.Contains(t.found(Member, 66, "&changes-before="+after), "c"), true)
			t.Equal("what both find", strings.Contains(t.found(Member, 66, "&changes-since="+before+"&changes-before="+after), "c"), true)
			t.finds(Member, 65, "&changes-before="+before, "a b c")
			t.refusesList(Member, 66, "changes-since="+after+"&changes-before="+before, 400,
				"The value of changes-since must be less than or equal to changes-before")
		}, coversLists),
		behaviour("server lists", "deleted", "deleted servers are listed by changes-since, by the administrator's deleted=true and status=deleted, and by nothing else", 0, func(t *T) {
			s := t.NewServer(Member, First, nil)
			id, name := s.Str("server", "id"), s.Str("server", "name")
			at := t.touched(id)
			t.Must(Member, First, "DELETE", "/servers/"+id, nil, 204)
			t.WaitGone(Member, id)
			statuses := func(as Role, query string) string {
				resp := t.Must(as, First, "GET", "/servers/detail?name="+name+"%24"+query, nil, 200)
				return fmt.Sprint(resp.Str("servers", 0, "id") == id, " ", resp.Str("servers", 0, "status"))
			}
			t.Equal("the list", statuses(Member, ""), "false ")
			t.Equal("the list since", statuses(Member, "&changes-since="+moment(at)), "true DELETED")
			t.Equal("a member's deleted=true, which is ignored,", statuses(Member, "&deleted=true"), "false ")
			t.refusesList(Member, First, "status=deleted", 403, "Only administrators may list deleted instances")
			t.Equal("the administrator's deleted=true", statuses(Admin, "&all_tenants=1&deleted=true"), "true DELETED")
			t.Equal("the administrator's status=DELETED", statuses(Admin, "&all_tenants=1&status=DELETED"), "true DELETED")
			t.Equal("the administrator's list", statuses(Admin, "&all_tenants=1"), "false ")
			t.Must(Member, First, "GET", "/servers?marker="+id, nil, 200) // where the last page ended may have gone since
		}, coversLists, covers("servers.delete"), needs(NeedAdmin)),
	}
}

// Lists over more than one's own project.
func wideListChecks() []*Check {
	return []*Check{
		behaviour("server lists", "all-tenants", "all_tenants lists every project, and is the administrator's", 0, func(t *T) {
			t.finds(Admin, First, "&all_tenants=1", "a b c")
			t.finds(Admin, First, "&all_tenants", "a b c")
			t.finds(Admin, First, "&all_tenants=0", "")
			t.finds(Admin, First, "", "")
			t.refusesList(Admin, First, "all_tenants=tempest-lite", 400, "")
			t.refusesList(Member, First, "all_tenants=1", 403, "os_compute_api:servers:index:get_all_tenants")
			t.finds(Member, First, "&all_tenants=0", "a b c")
			t.Want(t.Do(Member, First, "GET", "/servers/detail?all_tenants=1", nil), 403)
		}, coversLists, needs(NeedAdmin)),
		behaviour("server lists", "tenant", "tenant_id chooses a project of all_tenants, and is ignored without it", 0, func(t *T) {
			mine, other := t.Cloud.ProjectID(Member), t.Cloud.ProjectID(Other)
			t.finds(Admin, First, "&all_tenants=1&tenant_id="+mine, "a b c")
			t.finds(Admin, First, "&all_tenants=1&project_id="+mine, "a b c")
			t.finds(Admin, First, "&all_tenants=1&tenant_id="+other, "")
			t.finds(Admin, First, "&tenant_id="+mine, "")
			t.finds(Member, First, "&tenant_id="+other, "a b c")
		}, coversLists, needs(NeedAdmin)),
		behaviour("server lists", "other-project", "another project's servers are not listed", 0, func(t *T) {
			if why := t.Cloud.lacks(Other); why != "" {
				t.Skipf("%s", why)
			}
			t.finds(Other, First, "", "")
		}, coversLists),
		behaviour("server lists", "detail", "the detailed list shows each server as GET /servers/{id} does", 0, func(t *T) {
			l := t.listing()
			list := t.Must(Member, First, "GET", "/servers/detail?name="+l.Name+"-a", nil, 200)
			one := t.Must(Member, First, "GET", "/servers/"+l.IDs[0], nil, 200)
			t.within("the server in the list", list.Get("servers", 0), one.Get("server"))
		}, coversLists, covers("servers.show")),
	}
}

func sortChecks() []*Check {
	return []*Check{
		behaviour("server lists", "sort", "lists are sorted by sort_key and sort_dir, and newest first without", 0, func(t *T) {
			for query, want := range map[string]string{
				"":                                    "c b a",
				"&sort_key=display_name":              "c b a", // downwards unless it is said
				"&sort_key=created_at":                "c b a",
				"&sort_key=created_at&sort_dir=asc":   "a b c",
				"&sort_key=display_name&sort_dir=asc": "a b c",
				"&sort_key=vm_state&sort_dir=asc&sort_key=display_name&sort_dir=desc":  "b a c",
				"&sort_key=vm_state&sort_dir=desc&sort_key=display_name&sort_dir=asc":  "c a b",
				"&sort_key=vm_state&sort_dir=desc&sort_key=display_name&sort_dir=desc": "c b a",
			} {
				t.Equal("the order of "+query, t.found(Member, First, query), want)
			}
		}, coversLists),
		behaviour("server lists", "sort-refused", "keys and directions that there are not are refused", 0, func(t *T) {
			t.refusesList(Member, First, "sort_key=tempest_lite", 400, "sort_key")
			t.refusesList(Member, First, "sort_key=display_name&sort_dir=sideways", 400, "")
			t.refusesList(Member, First, "sort_key=display_name&sort_dir=asc&sort_dir=desc", 400, "")
		}, coversLists),
		behaviour("server lists", "sort-host", "only the administrator may sort by host and node", 0, func(t *T) {
			for _, key := range []string{"host", "node"} {
				t.refusesList(Member, First, "sort_key="+key, 403, "Only administrators can sort servers by "+key)
				t.Equal("how many the administrator sorts by "+key, len(t.found(Admin, First, "&all_tenants=1&sort_key="+key)), len("a b c"))
			}
		}, coversLists, needs(NeedAdmin)),
		behaviour("server lists", "sort-columns", "keys that sort nothing are ignored to 2.74 and refused from 2.75 on", 75, func(t *T) {
			for _, key := range []string{"id", "memory_mb", "user_data"} {
				t.Must(Member, 74, "GET", "/servers?limit=1&sort_key="+key, nil, 200)
				t.refusesList(Member, 75, "sort_key="+key, 400, "sort_key")
			}
		}, coversLists),
	}
}

func serverPagingChecks() []*Check {
	return []*Check{
		behaviour("server lists", "pages", "the next link of a page keeps filters and order, and the last page has none", 0, func(t *T) {
			l := t.listing()
			for _, list := range []string{"/servers", "/servers/detail"} {
				first := t.Must(Member, First, "GET", list+"?name="+l.Name+"&sort_key=display_name&sort_dir=asc&limit=2", nil, 200)
				t.Equal("the first page", letters(first, l), "a b")
				t.Equal("the link's rel", first.Get("servers_links", 0, "rel"), "next")
				next := first.Str("servers_links", 0, "href")
				if next == "" {
					t.Fatalf("the first page has no next link: %s", first.Body)
				}
				link, err := url.Parse(next)
				t.OK(err)
				for key, want := range map[string]string{"name": l.Name, "sort_key": "display_name", "sort_dir": "asc", "limit": "2", "marker": l.IDs[1]} {
					t.Equal(key+" in the next link", link.Query().Get(key), want)
				}
				second := t.Must(Member, First, "GET", next, nil, 200)
				t.Equal("the second page", letters(second, l), "c")
				t.Equal("the links of the second page", second.Get("servers_links"), nil)
			}
		}, coversLists),
		behaviour("server lists", "limits", "limit=0 is an empty list, and a large limit all there is", 0, func(t *T) {
			l := t.listing()
			none := t.Must(Member, First, "GET", "/servers?limit=0&name="+l.Name, nil, 200)
			t.Equal("the list with limit=0", none.Get("servers"), []any{})
			t.Equal("its links", none.Get("servers_links"), nil)
			t.finds(Member, First, "&limit=1000000", "a b c")
			t.finds(Member, First, "&limit=3", "a b c")
		}, coversLists),
		behaviour("server lists", "marker", "a marker is the last server of the page before, or of a list in another order", 0, func(t *T) {
			l := t.listing()
			t.Equal("what follows c", t.found(Member, First, "&sort_key=display_name&marker="+l.IDs[2]), "b a")
			t.Equal("what follows a", t.found(Member, First, "&sort_key=display_name&marker="+l.IDs[0]), "")
			t.refusesList(Member, First, "marker=tempest-lite", 400, "marker [tempest-lite] not found")
		}, coversLists),
	}
}
