package tempestlite

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// Migrations and their records, evacuation, and what other services report.

func migrationChecks() []*Check {
	admin := needs(NeedAdmin)
	two := needs(NeedAdmin, NeedTwoHosts)
	return []*Check{
		behaviour("migrations", "confirmed", "the record of a resize becomes confirmed", 59, func(t *T) { resizeRecord(t, "confirmResize", "confirmed") },
			admin, covers("migrations.list", "servers.resize", "servers.confirmResize")),
		behaviour("migrations", "reverted", "the record of a resize becomes reverted", 59, func(t *T) { resizeRecord(t, "revertResize", "reverted") },
			admin, covers("migrations.list", "servers.resize", "servers.revertResize")),
		behaviour("migrations", "filters", "the records are filtered by server, type, status, source, owner and time", 80, migrationFilters, admin, covers("migrations.list")),
		behaviour("migrations", "pages", "the records come in pages, the newest first", 59, migrationPages, admin, covers("migrations.list")),
		behaviour("migrations", "not-of-a-server", "the migrations of a server are the live ones that are under way", 23, migrationsOfServer,
			admin, covers("servers.migrations.list", "servers.migrations.show")),
		behaviour("migrations", "cold", "a migration takes a server to another host, and back when it is reverted", 59, coldMigration,
			two, covers("servers.migrate", "servers.revertResize", "migrations.list")),
		behaviour("migrations", "cold-to-host", "from 2.56 on a migration names the host", 59, coldMigrationToHost, two, covers("servers.migrate", "migrations.list")),
		behaviour("migrations", "live", "a live migration takes a running server to another host", 59, liveMigration,
			two, covers("servers.migrateLive", "migrations.list")),
		behaviour("migrations", "evacuate-needs-down", "a server is not evacuated from a host that is up", 0, evacuateFromUp, admin, covers("servers.evacuate")),
		behaviour("migrations", "evacuate", "a server is evacuated from a host that is down", 59, evacuation,
			needs(NeedAdmin, NeedTwoHosts, NeedDisturb), alone, covers("servers.evacuate", "migrations.list")),

		behaviour("external-events", "mixed", "each event has its own code, and one that fails makes the answer 207", 0, mixedEvents,
			admin, covers("server_external_events.create")),
		behaviour("external-events", "no-host", "a server that is on no host takes no events", 0, eventWithoutHost, admin, covers("server_external_events.create")),
		behaviour("external-events", "no-tag", "the event that a volume has grown names the volume in its tag", 51, eventWithoutTag, admin, covers("server_external_events.create")),
		behaviour("external-events", "extend-too-early", "volume-extended is not known before 2.51", 0, func(t *T) {
			resp := t.sendEvents(50, map[string]any{"name": "volume-extended", "server_uuid": t.SharedServer(Member), "tag": "x"})
			t.Want(resp, http.StatusBadRequest)
		}, admin, covers("server_external_events.create")),
	}
}

// migrations are the records that a query finds, at 2.80 or what the cloud has.
func (t *T) migrations(query url.Values) []any {
	v := min(t.Cloud.Max, Version(80))
	list, _ := t.Must(Admin, v, "GET", "/os-migrations?"+query.Encode(), nil, http.StatusOK).Get("migrations").([]any)
	return list
}

// migrationOf is the newest record of a server.
func (t *T) migrationOf(server string) any {
	list := t.migrations(url.Values{"instance_uuid": {server}})
	if len(list) == 0 {
		t.Fatalf("there is no record of a migration of %s", server)
	}
	return list[0]
}

// wantMigration waits until the newest record of a server has one of the statuses: it may
// get there a moment after the server.
func (t *T) wantMigration(server string, statuses ...any) {
	t.Eventually(fmt.Sprintf("the migration of %s becomes %v", server, statuses), func() bool {
		return slices.Contains(statuses, dig(t.migrationOf(server), "status"))
	})
}

func resizeRecord(t *T, action, status string) {
	id := t.Server("VERIFY_RESIZE")
	record := t.migrationOf(id)
	t.Equal("the type", dig(record, "migration_type"), "resize")
	t.Equal("the status before", dig(record, "status"), "finished")
	server := t.Must(Admin, First, "GET", "/servers/"+id, nil, http.StatusOK)
	t.Equal("the host that it is on", dig(record, "dest_compute"), server.Str("server", "OS-EXT-SRV-ATTR:host"))
	code := http.StatusAccepted
	if action == "confirmResize" {
		code = http.StatusNoContent
	}
	t.MustAct(Member, First, id, action, nil, code)
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.wantMigration(id, status)
	after := t.migrationOf(id)
	t.Equal("the record afterwards", dig(after, "uuid"), dig(record, "uuid"))
}

func migrationFilters(t *T) {
	id := t.Server("VERIFY_RESIZE")
	record := t.migrationOf(id)
	uuid := dig(record, "uuid")
	now := time.Now().UTC()
	text := func(key string) string { return fmt.Sprint(dig(record, key)) }
	for _, f := range []struct {
		key, value string
		found      bool
	}{
		{"status", "finished", true},
		{"status", "confirmed", false},
		{"migration_type", "resize", true},
		{"migration_type", "live-migration", false},
		{"source_compute", text("source_compute"), true},
		{"source_compute", "tempest-lite-none", false},
		{"host", text("dest_compute"), true},
		{"host", "tempest-lite-none", false},
		{"project_id", t.Cloud.ProjectID(Member), true},
		{"project_id", "11111111222243338444555555555555", false},
		{"user_id", t.Cloud.UserID(Member), true},
		{"user_id", "11111111222243338444555555555555", false},
		{"changes-since", now.Add(-24 * time.Hour).Format(time.RFC3339), true},
		{"changes-since", now.Add(24 * time.Hour).Format(time.RFC3339), false},
		{"changes-before", now.Add(24 * time.Hour).Format(time.RFC3339), true},
		{"changes-before", now.Add(-24 * time.Hour).Format(time.RFC3339), false},
	} {
		list := t.migrations(url.Values{"instance_uuid": {id}, f.key: {f.value}})
		t.Equal(fmt.Sprintf("that the record is found with %s=%s", f.key, f.value),
			slices.ContainsFunc(list, func(m any) bool { return dig(m, "uuid") == uuid }), f.found)
	}
	t.Equal("the records of a server that nobody knows", len(t.migrations(url.Values{"instance_uuid": {"11111111-2222-4333-8444-555555555555"}})), 0)
	turned := url.Values{"changes-since": {now.Format(time.RFC3339)}, "changes-before": {now.Add(-time.Hour).Format(time.RFC3339)}}
	t.Want(t.Do(Admin, 80, "GET", "/os-migrations?"+turned.Encode(), nil), http.StatusBadRequest)
}

func migrationPages(t *T) {
	id := t.Server("VERIFY_RESIZE")
	t.MustAct(Member, First, id, "revertResize", nil, http.StatusAccepted)
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.MustAct(Member, First, id, "resize", map[string]any{"flavorRef": t.Flavor(1)}, http.StatusAccepted)
	t.WaitStatus(Member, First, id, "VERIFY_RESIZE")

	spec := &PagingSpec{Key: "migrations", ID: "uuid", Links: "migrations_links"}
	r := request{as: Admin, version: 59, method: "GET", path: "/os-migrations?instance_uuid=" + id}
	all := pageOf{t.Must(Admin, 59, "GET", r.path, nil, http.StatusOK)}.ids(spec)
	if len(all) < 2 {
		t.Fatalf("there are %d records of two resizes", len(all))
	}
	t.Equal("the status of the newest", dig(t.migrationOf(id), "status"), "finished")
	first := t.page(r, spec, "limit=1")
	t.Equal("the first page", first.ids(spec), all[:1])
	next := first.next(spec, r.path, all[0])
	if next == "" {
		t.Fatalf("a full page has no next link")
	}
	second := pageOf{t.Must(Admin, 59, "GET", next, nil, http.StatusOK)}
	t.Equal("the second page", second.ids(spec), all[1:2])
	t.Equal("what follows the first by marker", t.page(r, spec, "marker="+all[0]).ids(spec), all[1:])
	t.unknownMarker(request{as: Admin, version: 59, method: "GET", path: "/os-migrations"}, spec)
}

func migrationsOfServer(t *T) {
	id := t.Server("VERIFY_RESIZE")
	record := t.migrationOf(id)
	list := t.Must(Admin, 23, "GET", "/servers/"+id+"/migrations", nil, http.StatusOK)
	t.Equal("the migrations of the server", list.Get("migrations"), []any{})
	t.Want(t.Do(Admin, 23, "GET", fmt.Sprintf("/servers/%s/migrations/%v", id, dig(record, "id")), nil), http.StatusNotFound)
}

// elsewhere is a host that is up and another.
func (t *T) elsewhere(host string) string {
	for _, h := range t.computeHosts() {
		if h != host {
			return h
		}
	}
	t.Skipf("there is no other host that is up")
	return ""
}

func coldMigration(t *T) {
	id := t.Server("ACTIVE")
	from := t.hostOf(id)
	t.MustAct(Admin, First, id, "migrate", nil, http.StatusAccepted)
	t.WaitStatus(Member, First, id, "VERIFY_RESIZE")
	to := t.hostOf(id)
	if to == from {
		t.Errorf("the server is still on %s", from)
	}
	record := t.migrationOf(id)
	t.Equal("the type", dig(record, "migration_type"), "migration")
	t.Equal("the status", dig(record, "status"), "finished")
	t.Equal("the source", dig(record, "source_compute"), from)
	t.Equal("the destination", dig(record, "dest_compute"), to)
	t.MustAct(Member, First, id, "revertResize", nil, http.StatusAccepted)
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.Equal("the host after the revert", t.hostOf(id), from)
	t.wantMigration(id, "reverted")
}

func coldMigrationToHost(t *T) {
	id := t.Server("ACTIVE")
	from := t.hostOf(id)
	to := t.elsewhere(from)
	t.Want(t.Do(Admin, 56, "POST", "/servers/"+id+"/action", map[string]any{"migrate": map[string]any{"host": from}}), http.StatusBadRequest)
	t.Want(t.Do(Admin, 56, "POST", "/servers/"+id+"/action", map[string]any{"migrate": map[string]any{"host": "tempest-lite-none"}}), http.StatusBadRequest)
	t.MustAct(Admin, 56, id, "migrate", map[string]any{"host": to}, http.StatusAccepted)
	t.WaitStatus(Member, First, id, "VERIFY_RESIZE")
	t.Equal("the host", t.hostOf(id), to)
	t.MustAct(Member, First, id, "confirmResize", nil, http.StatusNoContent)
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.Equal("the host once it is confirmed", t.hostOf(id), to)
	t.wantMigration(id, "confirmed")
}

func liveMigration(t *T) {
	id := t.Server("ACTIVE")
	from := t.hostOf(id)
	t.MustAct(Admin, 59, id, "os-migrateLive", map[string]any{"host": nil, "block_migration": "auto"}, http.StatusAccepted)
	t.WaitStatus(Member, First, id, "ACTIVE")
	var record any
	t.Eventually("the live migration of "+id+" ends", func() bool {
		record = t.migrationOf(id)
		return slices.Contains([]any{"completed", "error", "failed", "cancelled"}, dig(record, "status"))
	})
	t.Equal("the type", dig(record, "migration_type"), "live-migration")
	to := t.hostOf(id)
	if dig(record, "status") != "completed" {
		t.Equal("the host after a live migration that is "+fmt.Sprint(dig(record, "status")), to, from)
		t.Skipf("the hosts do not move this server while it runs: the migration's record says %v", dig(record, "status"))
	}
	if to == from {
		t.Errorf("the server is still on %s", from)
	}
	t.Equal("the source", dig(record, "source_compute"), from)
	t.Equal("the destination", dig(record, "dest_compute"), to)
}

func evacuateFromUp(t *T) {
	id := t.Server("ACTIVE")
	resp := t.Do(Admin, 14, "POST", "/servers/"+id+"/action", map[string]any{"evacuate": map[string]any{}})
	if t.Want(resp, http.StatusBadRequest) {
		t.CheckFault(resp)
	}
	t.WaitStatus(Member, First, id, "ACTIVE")
}

// evacuation takes a server of its own from its host, which only counts as down: the other
// servers there run on, and what is left of this one goes when the service starts again.
func evacuation(t *T) {
	server := t.NewServer(Member, First, nil).Str("server", "id")
	from := t.hostOf(server)
	service := fmt.Sprint(dig(t.computeService(53, from), "id"))
	t.restoreByID(from, service, map[string]any{"forced_down": false})
	// Deleted before that, whatever happens: while a server is there that was evacuated from
	// it, Nova lets no host be up that was not started again.
	t.Remove("server "+server, t.Cloud.deleteServer(Member, server))
	t.updateService(service, map[string]any{"forced_down": true})
	t.MustAct(Admin, 14, server, "evacuate", map[string]any{}, http.StatusOK)
	t.Eventually("server "+server+" is evacuated", func() bool { return t.hostOf(server) != from })
	t.WaitStatus(Admin, First, server, "ACTIVE")
	record := t.migrationOf(server)
	t.Equal("the type", dig(record, "migration_type"), "evacuation")
	t.Equal("the source", dig(record, "source_compute"), from)
	t.Equal("the destination", dig(record, "dest_compute"), t.hostOf(server))
	t.wantMigration(server, "done", "completed")
}

func (t *T) sendEvents(v Version, events ...map[string]any) *Response {
	list := make([]any, len(events))
	for i := range events {
		list[i] = events[i]
	}
	return t.Do(Admin, v, "POST", "/os-server-external-events", map[string]any{"events": list})
}

func mixedEvents(t *T) {
	server, nobody := t.SharedServer(Member), "11111111-2222-4333-8444-555555555555"
	resp := t.sendEvents(First,
		map[string]any{"name": "network-changed", "server_uuid": server},
		map[string]any{"name": "network-changed", "server_uuid": nobody, "tag": "x", "status": "failed"})
	if !t.Want(resp, http.StatusMultiStatus) {
		return
	}
	list, _ := resp.Get("events").([]any)
	t.Equal("the number of events", len(list), 2)
	for _, e := range list {
		want, status := 200, "completed"
		if dig(e, "server_uuid") == nobody {
			want, status = 404, "failed"
		}
		t.Equal(fmt.Sprintf("the code of the event for %v", dig(e, "server_uuid")), dig(e, "code"), want)
		t.Equal(fmt.Sprintf("the status of the event for %v", dig(e, "server_uuid")), dig(e, "status"), status)
	}
}

func eventWithoutHost(t *T) {
	server := t.Server("SHELVED_OFFLOADED")
	resp := t.sendEvents(First, map[string]any{"name": "network-changed", "server_uuid": server})
	if t.Want(resp, http.StatusMultiStatus) {
		t.Equal("the code of the event", resp.Get("events", 0, "code"), 422)
	}
}

func eventWithoutTag(t *T) {
	server := t.SharedServer(Member)
	resp := t.sendEvents(51, map[string]any{"name": "volume-extended", "server_uuid": server})
	if t.Want(resp, http.StatusMultiStatus) {
		t.Equal("the code of volume-extended without a tag", resp.Get("events", 0, "code"), 400)
	}
}
