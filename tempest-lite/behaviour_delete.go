package tempestlite

import (
	"net/http"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// Deleting servers: from every state, twice, at once or with time to think again.

func deleteChecks() []*Check {
	return []*Check{
		deleteIn("active", "ACTIVE"), deleteIn("stopped", "SHUTOFF"), deleteIn("paused", "PAUSED"), deleteIn("suspended", "SUSPENDED"),
		deleteIn("rescued", "RESCUE"), deleteIn("resized", "VERIFY_RESIZE"), deleteIn("shelved", "SHELVED_OFFLOADED"),
		deleteIn("failed", "ERROR", NeedAdmin),
		behaviour("delete", "at-once", "a server is deleted while it is built", 0, deleteBuilding, covers("servers.delete")),
		behaviour("delete", "force", "a forced delete leaves nothing to restore", 0, deleteForced, covers("servers.forceDelete")),
		behaviour("delete", "record", "an administrator sees a deleted server in the list, as DELETED", 0, deletedRecord, needs(NeedAdmin), covers("servers.detail")),
		behaviour("delete", "restore", "a server that is deleted softly can be had back", 0, deleteSoftly, covers("servers.restore", "servers.delete")),
		behaviour("delete", "soft-forced", "a server that is deleted softly can be deleted for good", 0, deleteSoftlyThenForced, covers("servers.forceDelete")),
	}
}

// finish waits until a server that was deleted is gone; one that only waits to be
// reclaimed is told to go.
func (t *T) finish(id string) {
	forced := false
	t.Eventually("server "+id+" is deleted", func() bool {
		resp := t.Do(Member, First, "GET", "/servers/"+id, nil)
		if resp.Status == http.StatusNotFound {
			return true
		}
		if resp.Str("server", "status") == "SOFT_DELETED" && !forced {
			forced = true
			t.MustAct(Member, First, id, "forceDelete", nil, 202)
		}
		return false
	})
}

func deleteIn(word, status string, need ...Need) *Check {
	return behaviour("delete", word, "a server that is "+word+" is deleted, and then nothing finds it", 0, func(t *T) {
		id := t.Server(status)
		client := t.Compute(Member, First)
		t.OK(servers.Delete(t.Ctx, client, id).ExtractErr())
		again := t.Do(Member, First, "DELETE", "/servers/"+id, nil)
		t.Want(again, 204, 404)
		t.finish(id)
		resp := t.Do(Member, First, "DELETE", "/servers/"+id, nil)
		if t.Want(resp, 404) {
			t.CheckFault(resp)
			t.WantMessage(resp, "Instance "+id+" could not be found.")
		}
		t.Want(t.Act(Member, First, id, "os-start", nil), 404)
	}, covers("servers.delete"), needs(need...))
}

func deleteBuilding(t *T) {
	resp := t.Must(Member, First, "POST", "/servers", t.ServerBody(Member, nil), 202)
	id := resp.Str("server", "id")
	t.RemovePath(Member, "/servers/"+id)
	t.Must(Member, First, "DELETE", "/servers/"+id, nil, 204)
	t.finish(id)
}

func deleteForced(t *T) {
	id := t.Server("ACTIVE")
	t.OK(servers.ForceDelete(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.WaitGone(Member, id)
	t.Want(t.Act(Member, First, id, "forceDelete", nil), 404)
}

func deletedRecord(t *T) {
	id := t.Server("ACTIVE")
	t.OK(servers.ForceDelete(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.WaitGone(Member, id)
	resp := t.Must(Admin, First, "GET", "/servers/detail?all_tenants=1&deleted=True&uuid="+id, nil, 200)
	t.Equal("the deleted server", resp.Get("servers", 0, "id"), id)
	t.Equal("its status", resp.Get("servers", 0, "status"), "DELETED")
	t.Equal("its vm_state", resp.Get("servers", 0, "OS-EXT-STS:vm_state"), "deleted")
	if at := resp.Str("servers", 0, "OS-SRV-USG:terminated_at"); !zonelessTime.MatchString(at) {
		t.Errorf("its terminated_at is %q", at)
	}
}

func deleteSoftly(t *T) {
	id := t.softDeleted().(string)
	t.WantMessage(t.Act(Member, First, id, "os-start", nil), "while it is in vm_state soft-delete")
	t.walk(id, to("restore", nil, "ACTIVE"))
}

func deleteSoftlyThenForced(t *T) {
	id := t.softDeleted().(string)
	t.OK(servers.ForceDelete(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.WaitGone(Member, id)
}
