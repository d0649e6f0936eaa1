package tempestlite

import (
	"fmt"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
)

// What a resize and a move to another host change of a server.

func resizeChecks() []*Check {
	return []*Check{
		behaviour("resize", "flavor", "the flavor shown is the new one until the resize is taken back", 47, resizeFlavor, covers("servers.resize", "servers.revertResize")),
		behaviour("resize", "confirmed", "the flavor stays the new one after the resize is confirmed", 47, resizeConfirmed, covers("servers.resize", "servers.confirmResize")),
		behaviour("resize", "keeps", "a resize keeps id, addresses and metadata", 0, resizeKeeps, covers("servers.resize")),
		behaviour("resize", "same-flavor", "a resize to the flavor that the server has is refused", 0, resizeSame, covers("servers.resize")),
		behaviour("resize", "deleted-flavor", "a resize to a flavor that was deleted is refused", 0, resizeDeleted, needs(NeedAdmin), covers("servers.resize")),
		behaviour("resize", "no-disk", "a resize of a server with an image to a flavor without a disk is refused", 0, resizeNoDisk, needs(NeedAdmin), covers("servers.resize")),
		behaviour("resize", "once", "a resize is confirmed or taken back once", 0, resizeOnce, covers("servers.confirmResize", "servers.revertResize")),
		behaviour("resize", "migrate", "a server migrates to another host, and back when that is taken back", 0, migrateAndBack, needs(NeedAdmin, NeedTwoHosts), covers("servers.migrate", "servers.revertResize")),
		behaviour("resize", "migrate-live", "a server migrates while it runs", 25, migrateLive, needs(NeedAdmin, NeedTwoHosts), covers("servers.migrateLive")),
		behaviour("resize", "evacuate-unknown", "a server is not evacuated to a host that is not there", 14, evacuateNowhere, needs(NeedAdmin), covers("servers.evacuate")),
	}
}

// resized brings a server of the pool to VERIFY_RESIZE, with the second flavor.
func (t *T) resized(id string) {
	t.OK(servers.Resize(t.Ctx, t.Compute(Member, First), id, servers.ResizeOpts{FlavorRef: t.Flavor(1)}).ExtractErr())
	t.WaitStatus(Member, First, id, "VERIFY_RESIZE")
}

// flavorIs looks at a server's flavor: its id up to 2.46, what it is made of from 2.47 on.
func (t *T) flavorIs(id string, n int) {
	old := t.Must(Member, First, "GET", "/servers/"+id, nil, 200)
	t.Equal("the id of the flavor", old.Get("server", "flavor", "id"), t.Flavor(n))
	now := t.Must(Member, 47, "GET", "/servers/"+id, nil, 200)
	flavor := t.Must(Member, First, "GET", "/flavors/"+t.Flavor(n), nil, 200)
	for embedded, key := range map[string]string{"original_name": "name", "ram": "ram", "vcpus": "vcpus", "disk": "disk"} {
		t.Equal("the flavor's "+embedded, now.Get("server", "flavor", embedded), flavor.Get("flavor", key))
	}
}

func resizeFlavor(t *T) {
	id := t.Server("ACTIVE")
	t.flavorIs(id, 0)
	t.resized(id)
	t.flavorIs(id, 1)
	t.OK(servers.RevertResize(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.flavorIs(id, 0)
}

func resizeConfirmed(t *T) {
	id := t.Server("VERIFY_RESIZE")
	t.OK(servers.ConfirmResize(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.flavorIs(id, 1)
}

func resizeKeeps(t *T) {
	before := t.NewServer(Member, First, map[string]any{"metadata": map[string]any{"tempest": "lite"}})
	id := before.Str("server", "id")
	t.resized(id)
	after := t.Must(Member, First, "GET", "/servers/"+id, nil, 200)
	for _, key := range []string{"id", "name", "created", "metadata", "image", "config_drive", "security_groups"} {
		t.Equal(key, after.Get("server", key), before.Get("server", key))
	}
	t.Equal("the addresses", addressesInFull(after), addressesInFull(before))
}

func resizeSame(t *T) {
	id := t.SharedServer(Member)
	resp := t.Act(Member, First, id, "resize", map[string]any{"flavorRef": t.Flavor(0)})
	if t.Want(resp, 400) {
		t.WantMessage(resp, "When resizing, instances must change flavor!")
	}
}

func resizeDeleted(t *T) {
	flavor := fmt.Sprint(t.flavorWithout(nil))
	t.Must(Admin, First, "DELETE", "/flavors/"+flavor, nil, 202)
	resp := t.Act(Member, First, t.SharedServer(Member), "resize", map[string]any{"flavorRef": flavor})
	if t.Want(resp, 400) {
		t.CheckFault(resp)
	}
}

// flavorWithout makes a public flavor, with other values than the usual.
func (t *T) flavorWithout(values map[string]any) string {
	body := map[string]any{"name": t.Name(), "vcpus": 1, "ram": 192, "disk": 1}
	for key, value := range values {
		body[key] = value
	}
	id := t.Must(Admin, First, "POST", "/flavors", map[string]any{"flavor": body}, 200).Str("flavor", "id")
	t.RemovePath(Admin, "/flavors/"+id)
	return id
}

func resizeNoDisk(t *T) {
	flavor := t.flavorWithout(map[string]any{"disk": 0})
	resp := t.Act(Member, First, t.SharedServer(Member), "resize", map[string]any{"flavorRef": flavor})
	if t.Want(resp, 400) {
		t.WantMessage(resp, "Resize to zero disk flavor is not allowed.")
	}
}

func resizeOnce(t *T) {
	id := t.Server("VERIFY_RESIZE")
	client := t.Compute(Member, First)
	t.OK(servers.RevertResize(t.Ctx, client, id).ExtractErr())
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.WantCode(servers.ConfirmResize(t.Ctx, client, id).ExtractErr(), 409)
	t.WantCode(servers.RevertResize(t.Ctx, client, id).ExtractErr(), 409)
}

// hostOf is the host that a server is on, which administrators see.
func (t *T) hostOf(id string) string {
	return t.Must(Admin, First, "GET", "/servers/"+id, nil, 200).Str("server", "OS-EXT-SRV-ATTR:host")
}

func migrateAndBack(t *T) {
	id := t.Server("ACTIVE")
	before := t.hostOf(id)
	t.OK(servers.Migrate(t.Ctx, t.Compute(Admin, First), id).ExtractErr())
	t.WaitStatus(Member, First, id, "VERIFY_RESIZE")
	if now := t.hostOf(id); now == before {
		t.Errorf("the server is still on %s", now)
	}
	t.flavorIs(id, 0)
	t.OK(servers.RevertResize(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.Equal("the host after taking it back", t.hostOf(id), before)
}

func migrateLive(t *T) {
	id := t.Plugged("ACTIVE")
	before := t.hostOf(id)
	addresses := addressesInFull(t.Must(Member, First, "GET", "/servers/"+id, nil, 200))
	t.MustAct(Admin, 25, id, "os-migrateLive", map[string]any{"host": nil, "block_migration": "auto"}, 202)
	after := t.WaitStatus(Member, First, id, "ACTIVE")
	if now := t.hostOf(id); now == before {
		t.Errorf("the server is still on %s", now)
	}
	t.Equal("the addresses", addressesInFull(after), addresses)
	t.looksRight(id)
}

func evacuateNowhere(t *T) {
	resp := t.Act(Admin, 14, t.SharedServer(Member), "evacuate", map[string]any{"host": "tempest-lite-none"})
	if t.Want(resp, 404) {
		t.CheckFault(resp)
		t.WantMessage(resp, "tempest-lite-none")
	}
}
