package tempestlite

import (
	"fmt"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"time"
)

// What a server keeps of the actions that were asked of it.

func recordChecks() []*Check {
	show := "servers.instance_actions.show"
	list := "servers.instance_actions.list"
	return []*Check{
		behaviour("action records", "each-action", "each action is recorded under its request id, with an event that succeeds", 51, recordsOfActions, covers(show, list)),
		behaviour("action records", "rebuild-and-resize", "rebuild, resize and its confirmation are recorded with all their events", 51, recordsOfMoves, covers(show)),
		behaviour("action records", "interfaces", "plugging and unplugging a port is recorded", 51, recordsOfInterfaces, needs(NeedNetworks), covers(show)),
		behaviour("action records", "not-recorded", "changes of name, metadata and tags are not recorded", 26, recordsOfNothing, covers(list)),
		behaviour("action records", "outlive", "the records of a deleted server are there from 2.21 on", 51, recordsOutlive, covers(show, list)),
		behaviour("action records", "keys", "a record's keys change with the version: updated_at comes with 2.58", 58, recordKeys, covers(show, list)),
		behaviour("action records", "events-for-whom", "administrators see events at any version, members from 2.51 on", 51, recordEventsForWhom, needs(NeedAdmin), covers(show)),
		behaviour("action records", "event-hosts", "members see hostId of events from 2.62 on, administrators the host too", 62, recordEventHosts, needs(NeedAdmin), covers(show)),
		behaviour("action records", "error", "an action that fails has the message Error, and its traceback is for administrators", 84, recordOfFailure, needs(NeedAdmin), covers(show)),
		behaviour("action records", "by-administrator", "a record names who asked, which may be an administrator", 51, recordByAdmin, needs(NeedAdmin), covers(show)),
		behaviour("action records", "changes-since", "records are found by the time of their last change from 2.58 on", 58, recordsSince, covers(list)),
		behaviour("action records", "changes-before", "records are found by changes-before from 2.66 on", 66, recordsBefore, covers(list)),
		behaviour("action records", "limit-before-2.58", "before 2.58 limit and marker mean nothing", 57, recordsUnpaged, covers(list)),
		behaviour("action records", "other-server", "a record is not found at another server", 0, recordOfOther, covers(show)),
	}
}

// records are those of a server as the member sees them at v.
func (t *T) records(v Version, server, query string) []any {
	list, _ := t.Must(Member, v, "GET", "/servers/"+server+"/os-instance-actions"+query, nil, 200).Get("instanceActions").([]any)
	return list
}

// recordOf is one of a server, as a role sees it at v.
func (t *T) recordOf(as Role, v Version, server, id string) map[string]any {
	r, _ := t.Must(as, v, "GET", "/servers/"+server+"/os-instance-actions/"+id, nil, 200).Get("instanceAction").(map[string]any)
	return r
}

// recordAct asks a server for something, waits for its status, and hands back the request id.
func (t *T) recordAct(as Role, server string, body any, code int, status string) string {
	resp := t.Must(as, First, "POST", "/servers/"+server+"/action", body, code)
	if status != "" {
		t.WaitStatus(Member, First, server, status)
	}
	return resp.Header.Get("X-Openstack-Request-Id")
}

// wantRecord waits until the record of a request has these events, all of them successful;
// the last of them may end a moment after the server's status is what it should be.
func (t *T) wantRecord(server, id, action string, events ...string) {
	var have map[string]string
	var r map[string]any
	_, err := t.Cloud.poll(t.Ctx, "records", func() (bool, error) {
		r, have = t.recordOf(Member, 51, server, id), map[string]string{}
		list, _ := r["events"].([]any)
		for _, e := range list {
			have[fmt.Sprint(dig(e, "event"))] = fmt.Sprint(dig(e, "result"))
		}
		for _, e := range events {
			if have[e] != "Success" {
				return false, nil
			}
		}
		return len(have) == len(events), nil
	})
	t.OK(err)
	want := map[string]string{}
	for _, e := range events {
		want[e] = "Success"
	}
	t.Equal("the events of "+action, have, want)
	t.within("the record of "+action, any(r), map[string]any{"action": action, "request_id": id, "instance_uuid": server, "message": nil,
		"user_id": t.Cloud.UserID(Member), "project_id": t.Cloud.ProjectID(Member)})
}

// recordedActions go round from ACTIVE to ACTIVE.
var recordedActions = []struct {
	body   map[string]any
	code   int
	status string
	action string
	event  string
}{
	{map[string]any{"os-stop": nil}, 202, "SHUTOFF", "stop", "compute_stop_instance"},
	{map[string]any{"os-start": nil}, 202, "ACTIVE", "start", "compute_start_instance"},
	{map[string]any{"reboot": map[string]any{"type": "HARD"}}, 202, "ACTIVE", "reboot", "compute_reboot_instance"},
	{map[string]any{"pause": nil}, 202, "PAUSED", "pause", "compute_pause_instance"},
	{map[string]any{"unpause": nil}, 202, "ACTIVE", "unpause", "compute_unpause_instance"},
	{map[string]any{"suspend": nil}, 202, "SUSPENDED", "suspend", "compute_suspend_instance"},
	{map[string]any{"resume": nil}, 202, "ACTIVE", "resume", "compute_resume_instance"},
	{map[string]any{"lock": nil}, 202, "", "lock", "api_lock"},
	{map[string]any{"unlock": nil}, 202, "", "unlock", "api_unlock"},
}

func recordsOfActions(t *T) {
	server := t.Server("ACTIVE")
	var asked []string
	for _, a := range recordedActions {
		id := t.recordAct(Member, server, a.body, a.code, a.status)
		t.wantRecord(server, id, a.action, a.event)
		asked = append(asked, id)
	}
	slices.Reverse(asked)
	var listed []string
	for _, r := range t.records(51, server, "") {
		listed = append(listed, fmt.Sprint(dig(r, "request_id")))
	}
	t.Equal("the newest records", listed[:min(len(asked), len(listed))], asked)
}

func recordsOfMoves(t *T) {
	server := t.Server("ACTIVE")
	rebuilt := t.recordAct(Member, server, map[string]any{"rebuild": map[string]any{"imageRef": t.Image()}}, 202, "ACTIVE")
	t.wantRecord(server, rebuilt, "rebuild", "rebuild_server", "compute_rebuild_instance")
	resized := t.recordAct(Member, server, map[string]any{"resize": map[string]any{"flavorRef": t.Flavor(1)}}, 202, "VERIFY_RESIZE")
	t.wantRecord(server, resized, "resize", "conductor_migrate_server", "cold_migrate", "compute_prep_resize", "compute_resize_instance", "compute_finish_resize")
	confirmed := t.recordAct(Member, server, map[string]any{"confirmResize": nil}, 204, "ACTIVE")
	t.wantRecord(server, confirmed, "confirmResize", "compute_confirm_resize")
}

func recordsOfInterfaces(t *T) {
	server := t.Server("ACTIVE")
	path := "/servers/" + server + "/os-interface"
	port := t.Port()
	t.detachAfter(server, port)
	attached := t.Must(Member, First, "POST", path, map[string]any{"interfaceAttachment": map[string]any{"port_id": port}}, 200)
	t.wantRecord(server, attached.Header.Get("X-Openstack-Request-Id"), "attach_interface", "compute_attach_interface")
	detached := t.Must(Member, First, "DELETE", path+"/"+port, nil, 202)
	t.wantRecord(server, detached.Header.Get("X-Openstack-Request-Id"), "detach_interface", "compute_detach_interface")
}

func recordsOfNothing(t *T) {
	server := t.Server("ACTIVE")
	before := len(t.records(26, server, ""))
	path := "/servers/" + server
	t.Must(Member, 26, "PUT", path, map[string]any{"server": map[string]any{"name": t.Name()}}, 200)
	t.metadataKey(server)
	t.tagOf(server)
	t.Equal("the number of records", len(t.records(26, server, "")), before)
}

func recordsOutlive(t *T) {
	created := t.Must(Member, First, "POST", "/servers", t.ServerBody(Member, nil), 202)
	server := created.Str("server", "id")
	t.Remove("server "+server, t.Cloud.deleteServer(Member, server))
	t.WaitStatus(Member, First, server, "ACTIVE")
	createID := created.Header.Get("X-Openstack-Request-Id")
	t.wantRecord(server, createID, "create", "compute__do_build_and_run_instance")
	deleted := t.Must(Member, First, "DELETE", "/servers/"+server, nil, 204)
	t.WaitGone(Member, server)
	deleteID := deleted.Header.Get("X-Openstack-Request-Id")
	list := t.records(21, server, "")
	if len(list) != 2 {
		t.Fatalf("the deleted server has %d records, not 2", len(list))
	}
	t.Equal("the newest record", dig(list[0], "request_id"), deleteID)
	t.Equal("the action of the newest record", dig(list[0], "action"), "delete")
	t.Equal("the oldest record", dig(list[1], "request_id"), createID)
	t.Equal("the action that show tells", t.recordOf(Member, 21, server, deleteID)["action"], "delete")
	path := "/servers/" + server + "/os-instance-actions"
	for _, p := range []string{path, path + "/" + deleteID} {
		resp := t.Do(Member, 20, "GET", p, nil)
		if t.Want(resp, http.StatusNotFound) {
			t.CheckFault(resp)
		}
	}
}

// recordKeys lists keys of records, at versions around their changes.
func recordKeys(t *T) {
	server := t.SharedServer(Member)
	base := []string{"action", "instance_uuid", "message", "project_id", "request_id", "start_time", "user_id"}
	withUpdate := []string{"action", "instance_uuid", "message", "project_id", "request_id", "start_time", "updated_at", "user_id"}
	for _, at := range []struct {
		v    Version
		want []string
	}{{1, base}, {50, base}, {57, base}, {58, withUpdate}, {66, withUpdate}} {
		list := t.records(at.v, server, "")
		if len(list) == 0 {
			t.Fatalf("there are no records at %s", at.v)
		}
		first, _ := list[len(list)-1].(map[string]any)
		t.Equal("the keys of a record at "+at.v.String(), keysOf(first), at.want)
		t.Equal("the action", first["action"], "create")
	}
}

func keysOf(m map[string]any) []string {
	return slices.Sorted(maps.Keys(m))
}

func recordEventsForWhom(t *T) {
	server, id := t.SharedServer(Member), fmt.Sprint(t.createRequest())
	if events, has := t.recordOf(Member, 50, server, id)["events"]; has && !t.Cloud.memberIsAdmin() {
		t.Errorf("a member sees events at 2.50: %v", events)
	}
	of := func(as Role, v Version) map[string]any {
		e, _ := dig(t.recordOf(as, v, server, id)["events"], 0).(map[string]any)
		return e
	}
	t.Equal("the keys of an event for an administrator at 2.1", keysOf(of(Admin, 1)), []string{"event", "finish_time", "result", "start_time", "traceback"})
	t.Equal("the keys of an event for an administrator at 2.51", keysOf(of(Admin, 51)), []string{"event", "finish_time", "result", "start_time", "traceback"})
	t.Equal("the keys of an event for a member at 2.51", keysOf(of(Member, 51)), []string{"event", "finish_time", "result", "start_time"})
}

// memberIsAdmin tells whether the checks have no other account than the caller's.
func (c *Cloud) memberIsAdmin() bool { return c.lacks(Admin) != "" }

func recordEventHosts(t *T) {
	server, id := t.SharedServer(Member), fmt.Sprint(t.createRequest())
	of := func(as Role, v Version) map[string]any {
		e, _ := dig(t.recordOf(as, v, server, id)["events"], 0).(map[string]any)
		return e
	}
	member := []string{"event", "finish_time", "hostId", "result", "start_time"}
	t.Equal("the keys of an event for a member at 2.62", keysOf(of(Member, 62)), member)
	t.Equal("the keys of an event for an administrator at 2.62", keysOf(of(Admin, 62)), []string{"event", "finish_time", "host", "hostId", "result", "start_time", "traceback"})
	hostID := t.Must(Member, 62, "GET", "/servers/"+server, nil, 200).Str("server", "hostId")
	t.Equal("the hostId of the event that made the server", of(Member, 62)["hostId"], hostID)
	if t.Cloud.Max >= 84 {
		t.Equal("the keys of an event for a member at 2.84", keysOf(of(Member, 84)), member)
		t.Equal("the keys of an event for an administrator at 2.84", keysOf(of(Admin, 84)), []string{"details", "event", "finish_time", "host", "hostId", "result", "start_time", "traceback"})
	}
}

// recordOfFailure asks for a flavor that no host has room for.
func recordOfFailure(t *T) {
	server := t.Server("ACTIVE")
	made := t.Must(Admin, First, "POST", "/flavors", map[string]any{"flavor": map[string]any{"name": t.Name(), "vcpus": 1, "ram": 2147483647, "disk": 1}}, 200)
	flavor := made.Str("flavor", "id")
	t.RemovePath(Admin, "/flavors/"+flavor)
	resp := t.Do(Member, First, "POST", "/servers/"+server+"/action", map[string]any{"resize": map[string]any{"flavorRef": flavor}})
	if resp.Status == http.StatusForbidden {
		t.Skipf("the quota forbids so big a flavor: %s", resp.Message())
	}
	if !t.Want(resp, 202) {
		return
	}
	id := resp.Header.Get("X-Openstack-Request-Id")
	t.Eventually("the record says Error", func() bool { return t.recordOf(Member, 84, server, id)["message"] == "Error" })
	t.WaitStatus(Member, First, server, "ACTIVE")
	failed := func(as Role) map[string]any {
		list, _ := t.recordOf(as, 84, server, id)["events"].([]any)
		for _, e := range list {
			if dig(e, "result") == "Error" {
				return e.(map[string]any)
			}
		}
		t.Fatalf("no event says Error: %v", list)
		return nil
	}
	if text, _ := failed(Admin)["traceback"].(string); text == "" {
		t.Errorf("an administrator sees no traceback: %v", failed(Admin))
	}
	if text, _ := failed(Admin)["details"].(string); text == "" {
		t.Errorf("an administrator sees no details: %v", failed(Admin))
	}
	for _, key := range []string{"traceback", "details", "host"} {
		if value, has := failed(Member)[key]; has {
			t.Errorf("a member sees %s: %v", key, value)
		}
	}
}

func recordByAdmin(t *T) {
	server := t.Server("ACTIVE")
	id := t.recordAct(Admin, server, map[string]any{"os-resetState": map[string]any{"state": "active"}}, 202, "ACTIVE")
	r := t.recordOf(Member, 51, server, id)
	t.within("the record", any(r), map[string]any{"action": "resetState", "request_id": id, "user_id": t.Cloud.UserID(Admin), "project_id": t.Cloud.ProjectID(Admin), "message": nil})
	t.Equal("the events of resetState", r["events"], []any{})
}

func recordsSince(t *T) {
	server := t.SharedServer(Member)
	all := t.records(58, server, "")
	longAgo, toCome := "2001-01-01T00:00:00Z", time.Now().Add(24*time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	t.Equal("the records since long ago", len(t.records(58, server, "?changes-since="+url.QueryEscape(longAgo))), len(all))
	t.Equal("the records since tomorrow", len(t.records(58, server, "?changes-since="+url.QueryEscape(toCome))), 0)
	for _, bad := range []string{"?changes-since=yesterday", "?changes-before=" + url.QueryEscape(toCome)} { // the latter comes with 2.66
		resp := t.Do(Member, 58, "GET", "/servers/"+server+"/os-instance-actions"+bad, nil)
		if t.Want(resp, 400) {
			t.CheckFault(resp)
		}
	}
}

func recordsBefore(t *T) {
	server := t.SharedServer(Member)
	all := t.records(66, server, "")
	longAgo, toCome := "2001-01-01T00:00:00Z", time.Now().Add(24*time.Hour).UTC().Format("2006-01-02T15:04:05Z")
	t.Equal("the records before long ago", len(t.records(66, server, "?changes-before="+url.QueryEscape(longAgo))), 0)
	t.Equal("the records before tomorrow", len(t.records(66, server, "?changes-before="+url.QueryEscape(toCome))), len(all))
	resp := t.Do(Member, 66, "GET", "/servers/"+server+"/os-instance-actions?changes-since="+url.QueryEscape(toCome)+"&changes-before="+url.QueryEscape(longAgo), nil)
	if t.Want(resp, 400) {
		t.CheckFault(resp)
		t.WantMessage(resp, "changes-since must be less than or equal to changes-before")
	}
}

func recordsUnpaged(t *T) {
	server := t.Server("ACTIVE")
	t.recordAct(Member, server, map[string]any{"lock": nil}, 202, "")
	t.recordAct(Member, server, map[string]any{"unlock": nil}, 202, "")
	resp := t.Must(Member, 57, "GET", "/servers/"+server+"/os-instance-actions?limit=1", nil, 200)
	list, _ := resp.Get("instanceActions").([]any)
	t.Equal("the number of records with limit=1", len(list), len(t.records(57, server, "")))
	if _, has := resp.JSON.(map[string]any)["links"]; has {
		t.Errorf("there are links before 2.58")
	}
}

func recordOfOther(t *T) {
	id := fmt.Sprint(t.createRequest())
	resp := t.Do(Member, First, "GET", "/servers/"+t.Server("ACTIVE")+"/os-instance-actions/"+id, nil)
	if t.Want(resp, http.StatusNotFound) {
		t.CheckFault(resp)
		t.WantMessage(resp, id)
	}
}
