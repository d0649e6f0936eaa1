package tempestlite

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
)

// Quotas: that they hold, say so in Nova's words, and give back what is released. They are
// set on the run's other project, one check at a time.

func quotaChecks() []*Check {
	return []*Check{
		quotaCheck("instances", "the quota of servers holds, and a deleted server gives its place back", quotaOfInstances, "servers.create", "servers.delete", "limits.list", "quota_sets.detail"),
		quotaCheck("cores", "the quota of cores holds", func(t *T) { t.exhausted("cores", "totalCoresUsed", 1) }, "servers.create"),
		quotaCheck("ram", "the quota of memory holds", func(t *T) { t.exhausted("ram", "totalRAMUsed", t.flavorRAM()) }, "servers.create"),
		quotaCheck("several", "a request for more servers than the quota has room for makes none, or as many as fit", quotaOfSeveral, "servers.create"),
		quotaCheck("key-pairs", "the quota of key pairs holds", quotaOfKeypairs, "keypairs.create"),
		quotaCheck("metadata", "the quota of metadata items holds at creation and after it", quotaOfMetadata, "servers.create", "servers.metadata.create"),
		quotaCheck("bounds", "a quota below what is used is refused, unless it is forced", quotaBounds, "quota_sets.update"),
		quotaCheck("reset", "deleting a project's quotas brings the defaults back", quotaReset, "quota_sets.delete", "quota_sets.defaults"),
		behaviour("quotas", "own", "a member sees the own project's quotas, and sets none", 0, func(t *T) {
			path := "/os-quota-sets/" + t.Cloud.ProjectID(Member)
			t.Must(Member, First, "GET", path, nil, http.StatusOK)
			t.Want(t.Do(Member, First, "PUT", path, map[string]any{"quota_set": map[string]any{"instances": 99}}), http.StatusForbidden)
		}, covers("quota_sets.show", "quota_sets.update")),
	}
}

func quotaCheck(name, title string, run func(*T), ops ...string) *Check {
	return behaviour("quotas", name, title, 0, run, alone, needs(NeedAdmin), covers(append(ops, "quota_sets.update")...))
}

// quota sets a limit of the other project until the check has ended. A cloud that does not
// heed it ends the check.
func (t *T) quota(resource string, limit int) {
	if why := t.Cloud.lacks(Other); why != "" {
		t.Skipf("%s", why)
	}
	c, path := t.Cloud, "/os-quota-sets/"+t.Cloud.ProjectID(Other)
	body := func(n any) map[string]any {
		return map[string]any{"quota_set": map[string]any{resource: n, "force": true}}
	}
	before := t.Must(Admin, First, "GET", path, nil, http.StatusOK).Get("quota_set", resource)
	t.Remove("quota of "+resource, func(ctx context.Context) error {
		_, err := c.call(ctx, Admin, First, "PUT", path, body(before), http.StatusOK)
		return err
	})
	t.Must(Admin, First, "PUT", path, body(limit), http.StatusOK)
	now := t.Must(Admin, First, "GET", path, nil, http.StatusOK).Get("quota_set", resource)
	if fmt.Sprint(now) != strconv.Itoa(limit) {
		t.Skipf("the cloud does not heed the quotas that are set: %s stays at %v", resource, now)
	}
}

// used is what the other project uses, as its limits say.
func (t *T) used(limit string) int {
	text := fmt.Sprint(t.Must(Other, First, "GET", "/limits", nil, http.StatusOK).Get("limits", "absolute", limit))
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatalf("the limit %s is %s, not a number", limit, text)
	}
	return n
}

// tryServers asks for servers of the other project, and has what is made removed.
func (t *T) tryServers(extra map[string]any) *Response {
	resp := t.Do(Other, First, "POST", "/servers", t.ServerBody(Other, extra))
	if resp.Status != http.StatusAccepted {
		return resp
	}
	name := fmt.Sprint(extra["name"])
	if extra["name"] == nil {
		t.Remove("server", t.Cloud.deleteServer(Other, resp.Str("server", "id")))
		return resp
	}
	list, _ := t.Must(Other, First, "GET", "/servers?name="+name, nil, http.StatusOK).Get("servers").([]any)
	for _, s := range list {
		t.Remove("server", t.Cloud.deleteServer(Other, fmt.Sprint(dig(s, "id"))))
	}
	return resp
}

func quotaOfInstances(t *T) {
	before := t.used("totalInstancesUsed")
	t.quota("instances", before+1)
	first := t.tryServers(nil)
	if !t.Want(first, http.StatusAccepted) {
		return
	}
	id := first.Str("server", "id")
	t.WaitStatus(Other, First, id, "ACTIVE")
	t.Equal("totalInstancesUsed", t.used("totalInstancesUsed"), before+1)
	second := t.tryServers(nil)
	if t.Want(second, http.StatusForbidden) {
		t.CheckFault(second)
		t.WantMessage(second, fmt.Sprintf("Quota exceeded for instances: Requested 1, but already used %d of %d instances", before+1, before+1))
	}
	detail := t.Must(Admin, First, "GET", "/os-quota-sets/"+t.Cloud.ProjectID(Other)+"/detail", nil, http.StatusOK)
	t.within("the detail", detail.Get("quota_set", "instances"), map[string]any{"in_use": before + 1, "limit": before + 1, "reserved": 0})
	t.Must(Other, First, "DELETE", "/servers/"+id, nil, http.StatusNoContent)
	t.WaitGone(Other, id)
	t.Eventually("the deleted server's place is free", func() bool { return t.used("totalInstancesUsed") == before })
	t.Want(t.tryServers(nil), http.StatusAccepted)
}

// exhausted sets a limit to what is in use, and wants the next server refused.
func (t *T) exhausted(resource, limit string, asked int) {
	t.SharedServer(Other) // so that something is in use
	used := t.used(limit)
	t.quota(resource, used)
	resp := t.tryServers(nil)
	if t.Want(resp, http.StatusForbidden) {
		t.CheckFault(resp)
		t.WantMessage(resp, fmt.Sprintf("Quota exceeded for %s: Requested %d, but already used %d of %d %s", resource, asked, used, used, resource))
	}
}

func (t *T) flavorRAM() int {
	n, _ := strconv.Atoi(fmt.Sprint(t.Must(Other, First, "GET", "/flavors/"+t.Flavor(0), nil, http.StatusOK).Get("flavor", "ram")))
	return n
}

func quotaOfSeveral(t *T) {
	used := t.used("totalInstancesUsed")
	t.quota("instances", used+2)
	none := t.tryServers(map[string]any{"name": t.Name(), "min_count": 3})
	t.Want(none, http.StatusForbidden)
	t.Equal("totalInstancesUsed after the refusal", t.used("totalInstancesUsed"), used)
	name := t.Name()
	if t.Want(t.tryServers(map[string]any{"name": name, "min_count": 1, "max_count": 3}), http.StatusAccepted) {
		t.Eventually("a request for one to three servers makes the two that there is room for", func() bool { return t.used("totalInstancesUsed") == used+2 })
	}
}

func quotaOfKeypairs(t *T) {
	list, _ := t.Must(Other, First, "GET", "/os-keypairs", nil, http.StatusOK).Get("keypairs").([]any)
	t.quota("key_pairs", len(list)+1)
	create := func() *Response {
		name := t.Name()
		resp := t.Do(Other, First, "POST", "/os-keypairs", map[string]any{"keypair": map[string]any{"name": name}})
		if resp.Status < 300 {
			t.RemovePath(Other, "/os-keypairs/"+name)
		}
		return resp
	}
	t.Want(create(), http.StatusOK)
	second := create()
	if t.Want(second, http.StatusForbidden) {
		t.WantMessage(second, "Quota exceeded, too many key pairs.")
	}
}

func quotaOfMetadata(t *T) {
	server := t.SharedServer(Other)
	t.quota("metadata_items", 1)
	two := map[string]any{"one": "1", "two": "2"}
	resp := t.tryServers(map[string]any{"metadata": two})
	if t.Want(resp, http.StatusForbidden) {
		t.WantMessage(resp, "Maximum number of metadata items exceeds 1")
	}
	later := t.Do(Other, First, "POST", "/servers/"+server+"/metadata", map[string]any{"metadata": two})
	if t.Want(later, http.StatusForbidden) {
		t.WantMessage(later, "Maximum number of metadata items exceeds 1")
	}
}

func quotaBounds(t *T) {
	t.SharedServer(Other)
	used := t.used("totalInstancesUsed")
	t.quota("instances", used+1)
	path := "/os-quota-sets/" + t.Cloud.ProjectID(Other)
	below := t.Do(Admin, First, "PUT", path, map[string]any{"quota_set": map[string]any{"instances": used - 1}})
	if t.Want(below, http.StatusBadRequest) {
		t.WantMessage(below, fmt.Sprintf("Quota limit %d for instances must be greater than or equal to already used and reserved %d.", used-1, used))
	}
	forced := t.Do(Admin, First, "PUT", path, map[string]any{"quota_set": map[string]any{"instances": used - 1, "force": true}})
	if t.Want(forced, http.StatusOK) {
		t.Equal("the forced quota", forced.Get("quota_set", "instances"), used-1)
	}
}

func quotaReset(t *T) {
	path := "/os-quota-sets/" + fmt.Sprint(t.spareProject())
	defaults := t.Must(Admin, First, "GET", path+"/defaults", nil, http.StatusOK).Get("quota_set", "instances")
	set := t.Must(Admin, First, "PUT", path, map[string]any{"quota_set": map[string]any{"instances": 3}}, http.StatusOK)
	t.Equal("the quota that was set", set.Get("quota_set", "instances"), 3)
	t.Must(Admin, First, "DELETE", path, nil, http.StatusAccepted)
	t.Equal("the quota after its deletion", t.Must(Admin, First, "GET", path, nil, http.StatusOK).Get("quota_set", "instances"), defaults)
}
