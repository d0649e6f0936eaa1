package tempestlite

import (
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// Who may lock and unlock a server, and what a lock keeps from being done.

func lockChecks() []*Check {
	return []*Check{
		behaviour("lock", "shown", "locked is shown from 2.9 on", 9, lockShown, covers("servers.lock", "servers.unlock")),
		behaviour("lock", "keeps-out", "a lock refuses the project's own members until it is taken away", 0, lockKeepsOut, covers("servers.lock", "servers.unlock")),
		behaviour("lock", "not-admin", "a lock does not keep an administrator out", 0, lockLetsAdminIn, needs(NeedAdmin), covers("servers.lock")),
		behaviour("lock", "free", "a lock lets through what only describes the server", 26, lockLeavesFree, covers("servers.lock")),
		behaviour("lock", "delete", "a locked server is not deleted", 0, lockForbidsDelete, covers("servers.lock", "servers.delete")),
		behaviour("lock", "reason", "a lock's reason is shown, and goes with the lock", 73, lockReason, covers("servers.lock", "servers.unlock")),
		behaviour("lock", "filter", "servers are listed by whether they are locked", 73, lockFilter, covers("servers.list", "servers.detail")),
		behaviour("lock", "twice", "a second lock by the project changes nothing", 73, lockTwice, covers("servers.lock")),
		behaviour("lock", "admins-lock", "an administrator's lock is not the members' to take away", 0, lockOfAdmin, needs(NeedAdmin), covers("servers.unlock")),
		behaviour("lock", "admin-over-member", "an administrator's lock takes the place of a member's", 0, lockOverLock, needs(NeedAdmin), covers("servers.lock")),
		behaviour("lock", "admin-unlocks", "an administrator takes a member's lock away", 9, adminUnlocks, needs(NeedAdmin), covers("servers.unlock")),
	}
}

func lockShown(t *T) {
	id := t.lockable().(string)
	locked := func() any { return t.Must(Member, 9, "GET", "/servers/"+id, nil, 200).Get("server", "locked") }
	t.Equal("locked before", locked(), false)
	t.OK(servers.Lock(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.Equal("locked", locked(), true)
	server, _ := t.Must(Member, 8, "GET", "/servers/"+id, nil, 200).Get("server").(map[string]any)
	if _, has := server["locked"]; has {
		t.Errorf("the server has a key locked at 2.8")
	}
	t.OK(servers.Unlock(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.Equal("locked afterwards", locked(), false)
}

func lockKeepsOut(t *T) {
	id := t.lockable().(string)
	client := t.Compute(Member, First)
	t.OK(servers.Lock(t.Ctx, client, id).ExtractErr())
	resp := t.Act(Member, First, id, "os-stop", nil)
	if t.Want(resp, 409) {
		t.WantMessage(resp, "Instance "+id+" is locked")
	}
	// The lock is looked at before the state.
	t.WantMessage(t.Act(Member, First, id, "os-start", nil), "Instance "+id+" is locked")
	t.WantCode(servers.ResetMetadata(t.Ctx, client, id, servers.MetadataOpts{"a": "b"}).Err, 409)
	t.OK(servers.Unlock(t.Ctx, client, id).ExtractErr())
	t.walk(id, to("os-stop", nil, "SHUTOFF"))
}

func lockLetsAdminIn(t *T) {
	id := t.lockable().(string)
	t.OK(servers.Lock(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.OK(servers.Stop(t.Ctx, t.Compute(Admin, First), id).ExtractErr())
	t.WaitStatus(Member, First, id, "SHUTOFF")
}

func lockLeavesFree(t *T) {
	id := t.lockable().(string)
	client := t.Compute(Member, 26)
	t.OK(servers.Lock(t.Ctx, client, id).ExtractErr())
	name := t.Name()
	got, err := servers.Update(t.Ctx, client, id, servers.UpdateOpts{Name: name}).Extract()
	t.OK(err)
	t.Equal("the new name", got.Name, name)
	t.Must(Member, 26, "PUT", "/servers/"+id+"/tags/tempest-lite", nil, 201)
	t.Must(Member, 26, "DELETE", "/servers/"+id+"/tags/tempest-lite", nil, 204)
}

func lockForbidsDelete(t *T) {
	id := t.lockable().(string)
	client := t.Compute(Member, First)
	t.OK(servers.Lock(t.Ctx, client, id).ExtractErr())
	t.WantCode(servers.Delete(t.Ctx, client, id).ExtractErr(), 409)
	t.WantCode(servers.ForceDelete(t.Ctx, client, id).ExtractErr(), 409)
	t.Equal("the status", t.Must(Member, First, "GET", "/servers/"+id, nil, 200).Get("server", "status"), "ACTIVE")
}

// lockWith locks a server as a member with a reason.
func (t *T) lockWith(id, reason string) {
	t.MustAct(Member, 73, id, "lock", map[string]any{"locked_reason": reason}, 202)
}

func (t *T) lockedReason(id string) any {
	return t.Must(Member, 73, "GET", "/servers/"+id, nil, 200).Get("server", "locked_reason")
}

func lockReason(t *T) {
	id := t.lockable().(string)
	t.Equal("the reason of no lock", t.lockedReason(id), nil)
	t.lockWith(id, "checked by tempest-lite")
	t.Equal("the reason", t.lockedReason(id), "checked by tempest-lite")
	t.OK(servers.Unlock(t.Ctx, t.Compute(Member, 73), id).ExtractErr())
	t.Equal("the reason after unlocking", t.lockedReason(id), nil)
	t.OK(servers.Lock(t.Ctx, t.Compute(Member, 73), id).ExtractErr())
	t.Equal("the reason of a lock without one", t.lockedReason(id), nil)
}

func lockFilter(t *T) {
	id := t.lockable().(string)
	listed := func(value string) bool {
		list, _ := t.Must(Member, 73, "GET", "/servers/detail?uuid="+id+"&locked="+value, nil, 200).Get("servers").([]any)
		for _, s := range list {
			if dig(s, "id") == id {
				return true
			}
		}
		return false
	}
	t.Equal("whether it is among the locked ones before", listed("true"), false)
	t.lockWith(id, "checked by tempest-lite")
	t.Equal("whether it is among the locked ones", listed("true"), true)
	t.Equal("whether it is among those that are not locked", listed("false"), false)
}

func lockTwice(t *T) {
	id := t.lockable().(string)
	t.lockWith(id, "the first")
	t.lockWith(id, "the second")
	t.Equal("the reason", t.lockedReason(id), "the first")
	t.OK(servers.Unlock(t.Ctx, t.Compute(Member, 73), id).ExtractErr())
	t.OK(servers.Unlock(t.Ctx, t.Compute(Member, 73), id).ExtractErr()) // there is nothing to unlock, and that is fine
}

func (t *T) unlockForbidden(id string) {
	resp := t.Act(Member, First, id, "unlock", nil)
	if t.Want(resp, 403) {
		t.WantMessage(resp, "os_compute_api:os-lock-server:unlock:unlock_override")
	}
}

func lockOfAdmin(t *T) {
	id := t.lockable().(string)
	t.OK(servers.Lock(t.Ctx, t.Compute(Admin, First), id).ExtractErr())
	t.unlockForbidden(id)
	t.OK(servers.Lock(t.Ctx, t.Compute(Member, First), id).ExtractErr()) // does not make it the members'
	t.unlockForbidden(id)
	t.WantCode(servers.Stop(t.Ctx, t.Compute(Member, First), id).ExtractErr(), 409)
	t.OK(servers.Unlock(t.Ctx, t.Compute(Admin, First), id).ExtractErr())
	t.walk(id, to("os-stop", nil, "SHUTOFF"))
}

func lockOverLock(t *T) {
	id := t.lockable().(string)
	t.OK(servers.Lock(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.OK(servers.Lock(t.Ctx, t.Compute(Admin, First), id).ExtractErr())
	t.unlockForbidden(id)
}

func adminUnlocks(t *T) {
	id := t.lockable().(string)
	t.OK(servers.Lock(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.OK(servers.Unlock(t.Ctx, t.Compute(Admin, First), id).ExtractErr())
	t.Equal("locked", t.Must(Member, 9, "GET", "/servers/"+id, nil, 200).Get("server", "locked"), false)
}
