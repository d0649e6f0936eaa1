package tempestlite

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servergroups"
)

// Server groups: where their servers land, who sees them, and what they refuse.

func groupChecks() []*Check {
	return []*Check{
		behaviour("server-groups", "anti-affinity", "servers of an anti-affinity group run on different hosts, or not at all", 0, antiAffinity,
			needs(NeedAdmin), covers("server_groups.create", "servers.create")),
		behaviour("server-groups", "affinity", "servers of an affinity group run on one host", 0, affinity, covers("server_groups.create", "servers.create")),
		behaviour("server-groups", "soft-anti-affinity", "a soft-anti-affinity group lets its servers share a host where they must", 15, softAntiAffinity,
			covers("server_groups.create", "servers.create")),
		behaviour("server-groups", "soft-too-early", "the soft policies are not known before 2.15", 0, softTooEarly, covers("server_groups.create")),
		behaviour("server-groups", "max-server-per-host", "a rule tells how many servers of a group a host may have", 64, maxServerPerHost,
			needs(NeedAdmin), covers("server_groups.create", "servers.create")),
		behaviour("server-groups", "members", "a server is among the members of its group until it is deleted", 71, groupMembers,
			covers("server_groups.show", "server_groups.list", "servers.show")),
		behaviour("server-groups", "delete-keeps-servers", "the servers of a deleted group run on", 71, groupDeleted, covers("server_groups.delete")),
		behaviour("server-groups", "of-a-project", "another project does not see a group, an administrator does", 13, groupOfProject,
			needs(NeedAdmin), covers("server_groups.list", "server_groups.show", "server_groups.delete")),
		behaviour("server-groups", "pages", "limit and offset choose a part of the list", 0, groupPages, alone, covers("server_groups.list")),
		behaviour("server-groups", "quota", "a project's quota of server groups holds", 0, groupQuota, alone, needs(NeedAdmin), covers("server_groups.create")),
		behaviour("server-groups", "unknown-group", "a server cannot be put into a group that nothing is", 0, func(t *T) {
			for _, group := range []string{"11111111-2222-4333-8444-555555555555", "tempest-lite-none"} {
				t.refusedInGroup(Member, group, http.StatusBadRequest)
			}
		}, covers("servers.create")),
	}
}

// newGroup makes a group with a policy, as the version spells it.
func (t *T) newGroup(as Role, v Version, policy string, rules *servergroups.Rules) string {
	opts := servergroups.CreateOpts{Name: t.Name(), Policies: []string{policy}}
	if v >= 64 {
		opts.Policies, opts.Policy, opts.Rules = nil, policy, rules
	}
	group, err := servergroups.Create(t.Ctx, t.Compute(as, v), opts).Extract()
	t.OK(err)
	t.RemovePath(as, "/os-server-groups/"+group.ID)
	return group.ID
}

// startInGroup asks for a server in a group, and hands back its id.
func (t *T) startInGroup(as Role, group string) string {
	id := t.Must(as, First, "POST", "/servers", t.groupBody(as, group), http.StatusAccepted).Str("server", "id")
	t.Remove("/servers/"+id, t.Cloud.deleteServer(as, id))
	return id
}

func (t *T) groupBody(as Role, group string) map[string]any {
	body := t.ServerBody(as, nil)
	body["os:scheduler_hints"] = map[string]any{"group": group}
	return body
}

// serverInGroup is the host of a new server that runs in a group, as its owner may know it.
func (t *T) serverInGroup(group string) string {
	id := t.startInGroup(Member, group)
	return t.WaitStatus(Member, First, id, "ACTIVE").Str("server", "hostId")
}

// noRoomInGroup wants that no host may take another server of a group.
func (t *T) noRoomInGroup(group string) {
	id := t.startInGroup(Member, group)
	server := t.WaitStatus(Member, First, id, "ERROR")
	t.Equal("the code of the server's fault", server.Get("server", "fault", "code"), 500)
	t.Equal("the server's host", server.Str("server", "hostId"), "")
}

func (t *T) refusedInGroup(as Role, group string, codes ...int) {
	resp := t.Do(as, First, "POST", "/servers", t.groupBody(as, group))
	if resp.Status == http.StatusAccepted {
		id := resp.Str("server", "id")
		t.Remove("/servers/"+id, t.Cloud.deleteServer(as, id))
	}
	if t.Want(resp, codes...) {
		t.CheckFault(resp)
	}
}

// computeHosts are the hosts that are up, or the end of the check.
func (t *T) computeHosts() []string {
	hosts, _ := t.share("hosts", func() (any, error) { return t.Cloud.hosts(t.Ctx) }).([]string)
	if len(hosts) == 0 {
		t.Skipf("no compute host is up")
	}
	return slices.Clone(hosts)
}

func antiAffinity(t *T) {
	hosts := t.computeHosts()
	group := t.newGroup(Member, First, "anti-affinity", nil)
	first := t.serverInGroup(group)
	if len(hosts) == 1 {
		t.noRoomInGroup(group)
		return
	}
	if second := t.serverInGroup(group); second == first {
		t.Errorf("both servers run on the host %s", first)
	}
}

func affinity(t *T) {
	group := t.newGroup(Member, First, "affinity", nil)
	first := t.serverInGroup(group)
	t.Equal("the second server's host", t.serverInGroup(group), first)
}

func softAntiAffinity(t *T) {
	group := t.newGroup(Member, 15, "soft-anti-affinity", nil)
	t.serverInGroup(group)
	t.serverInGroup(group)
}

func softTooEarly(t *T) {
	for _, policy := range []string{"soft-affinity", "soft-anti-affinity"} {
		opts := servergroups.CreateOpts{Name: t.Name(), Policies: []string{policy}}
		group, err := servergroups.Create(t.Ctx, t.Compute(Member, 14), opts).Extract()
		if err == nil {
			t.RemovePath(Member, "/os-server-groups/"+group.ID)
		}
		t.WantCode(err, http.StatusBadRequest)
	}
}

func maxServerPerHost(t *T) {
	hosts := t.computeHosts()
	most := 2
	if len(hosts) > 1 {
		most = 1 // two servers tell enough
	}
	group := t.newGroup(Member, 64, "anti-affinity", &servergroups.Rules{MaxServerPerHost: most})
	got, err := servergroups.Get(t.Ctx, t.Compute(Member, 64), group).Extract()
	t.OK(err)
	if got.Rules == nil || got.Rules.MaxServerPerHost != most {
		t.Errorf("the group's rules are %v", got.Rules)
	}
	first, second := t.serverInGroup(group), t.serverInGroup(group)
	if len(hosts) == 1 {
		t.noRoomInGroup(group)
	} else if first == second {
		t.Errorf("both servers run on the host %s, which may have one", first)
	}
}

func groupMembers(t *T) {
	group := t.newGroup(Member, 71, "affinity", nil)
	client := t.Compute(Member, 71)
	members := func() []string {
		got, err := servergroups.Get(t.Ctx, client, group).Extract()
		t.OK(err)
		return got.Members
	}
	t.Equal("the members of a new group", members(), []string{})
	id := t.startInGroup(Member, group)
	server := t.WaitStatus(Member, 71, id, "ACTIVE")
	t.Equal("server_groups of the server", server.Get("server", "server_groups"), []string{group})
	t.Equal("the members", members(), []string{id})

	pages, err := servergroups.List(client, nil).AllPages(t.Ctx)
	t.OK(err)
	all, err := servergroups.ExtractServerGroups(pages)
	t.OK(err)
	at := slices.IndexFunc(all, func(g servergroups.ServerGroup) bool { return g.ID == group })
	if at < 0 {
		t.Fatalf("the group is not in the list")
	}
	t.Equal("the members in the list", all[at].Members, []string{id})

	t.Must(Member, First, "DELETE", "/servers/"+id, nil, http.StatusNoContent)
	t.WaitGone(Member, id)
	t.Equal("the members after the server's deletion", members(), []string{})
}

func groupDeleted(t *T) {
	group := t.newGroup(Member, First, "affinity", nil)
	id := t.startInGroup(Member, group)
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.OK(servergroups.Delete(t.Ctx, t.Compute(Member, First), group).ExtractErr())
	t.WantCode(servergroups.Delete(t.Ctx, t.Compute(Member, First), group).ExtractErr(), http.StatusNotFound)
	server := t.Must(Member, 71, "GET", "/servers/"+id, nil, http.StatusOK)
	t.Equal("the status", server.Str("server", "status"), "ACTIVE")
	t.Equal("server_groups of the server", server.Get("server", "server_groups"), []string{})
}

func groupOfProject(t *T) {
	group := t.newGroup(Member, First, "affinity", nil)
	has := func(as Role, query string) bool {
		resp := t.Must(as, 13, "GET", "/os-server-groups"+query, nil, http.StatusOK)
		list, _ := resp.Get("server_groups").([]any)
		return slices.ContainsFunc(list, func(g any) bool { return dig(g, "id") == group })
	}
	for _, look := range []struct {
		as    Role
		query string
		sees  bool
	}{
		{Member, "", true},
		{Other, "", false},
		{Other, "?all_projects=1", false}, // no administrator: it is ignored, or refused
		{Admin, "", false},
		{Admin, "?all_projects=1", true},
	} {
		if look.as == Other && look.query != "" {
			resp := t.Do(Other, 13, "GET", "/os-server-groups"+look.query, nil)
			if t.Want(resp, http.StatusOK, http.StatusForbidden) && resp.Status == http.StatusForbidden {
				continue
			}
		}
		t.Equal(fmt.Sprintf("that %s sees the group in the list %s", look.as, look.query), has(look.as, look.query), look.sees)
	}
	for _, method := range []string{"GET", "DELETE"} {
		t.Want(t.Do(Other, 13, method, "/os-server-groups/"+group, nil), http.StatusForbidden, http.StatusNotFound)
	}
	shown := t.Must(Admin, 13, "GET", "/os-server-groups/"+group, nil, http.StatusOK)
	t.Equal("the project", shown.Str("server_group", "project_id"), t.Cloud.ProjectID(Member))
	t.Equal("the user", shown.Str("server_group", "user_id"), t.Cloud.UserID(Member))
}

// groupPages looks as the other project, where no other check makes groups.
func groupPages(t *T) {
	if why := t.Cloud.lacks(Other); why != "" {
		t.Skipf("%s", why)
	}
	for range 3 {
		t.newGroup(Other, First, "affinity", nil)
	}
	ids := func(query string) []string {
		resp := t.Must(Other, First, "GET", "/os-server-groups"+query, nil, http.StatusOK)
		return pageOf{resp}.ids(&PagingSpec{Key: "server_groups", ID: "id"})
	}
	all := ids("")
	if len(all) != 3 {
		t.Fatalf("the list has %d groups, where 3 were made", len(all))
	}
	t.Equal("the page of limit=2", ids("?limit=2"), all[:2])
	t.Equal("the page of limit=1&offset=1", ids("?limit=1&offset=1"), all[1:2])
	t.Equal("the page of offset=2", ids("?offset=2"), all[2:])
	t.Equal("the page of offset=3", ids("?offset=3"), []string{})
	for _, query := range []string{"?limit=-1", "?offset=-1", "?limit=x", "?offset=x"} {
		t.Want(t.Do(Other, First, "GET", "/os-server-groups"+query, nil), http.StatusBadRequest)
	}
}

func groupQuota(t *T) {
	if why := t.Cloud.lacks(Other); why != "" {
		t.Skipf("%s", why)
	}
	path := "/os-quota-sets/" + t.Cloud.ProjectID(Other)
	before := t.Must(Admin, First, "GET", path, nil, http.StatusOK).Get("quota_set", "server_groups")
	c := t.Cloud
	quota := func(n any) map[string]any { return map[string]any{"quota_set": map[string]any{"server_groups": n}} }
	t.Remove("quota of server groups", func(ctx context.Context) error {
		_, err := c.call(ctx, Admin, First, "PUT", path, quota(before), http.StatusOK)
		return err
	})
	t.Must(Admin, First, "PUT", path, quota(1), http.StatusOK)
	limits := t.Must(Other, First, "GET", "/limits", nil, http.StatusOK)
	if most := limits.Get("limits", "absolute", "maxServerGroups"); fmt.Sprint(most) != "1" {
		t.Skipf("the cloud does not heed the quotas that are set: server groups stay at %v", most)
	}
	t.newGroup(Other, First, "affinity", nil)
	resp := t.Do(Other, First, "POST", "/os-server-groups", map[string]any{"server_group": map[string]any{"name": t.Name(), "policies": []any{"affinity"}}})
	if resp.Status == http.StatusOK {
		t.RemovePath(Other, "/os-server-groups/"+resp.Str("server_group", "id"))
	}
	if t.Want(resp, http.StatusForbidden) {
		t.CheckFault(resp)
		t.WantMessage(resp, "Quota exceeded, too many server groups.")
	}
}
