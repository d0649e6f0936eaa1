package images

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"kilonova/schema/schematest"
)

// The kinds of callers that Glance's policies tell apart.
const (
	guest    = "p2:member,reader" // a member of the image
	stranger = "p3:member,reader"
	nobody   = "p1:nobody" // of the owner's project, without a role
	system   = ":admin"    // an administrator without a project
)

// guarded are the attributes of an image, with what a caller may: "admin" for what Glance
// leaves to administrators, "owner" for what members of the owner's project may too, and
// "none" for what the service alone sets. value is JSON.
var guarded = []struct{ name, value, may string }{
	{"name", `"n"`, "owner"}, {"tags", `["t"]`, "owner"}, {"min_ram", `1`, "owner"}, {"min_disk", `1`, "owner"},
	{"disk_format", `"qcow2"`, "owner"}, {"container_format", `"bare"`, "owner"},
	{"protected", `false`, "owner"}, {"os_hidden", `true`, "owner"},
	{"owner", `"p9"`, "admin"}, {"owner", `null`, "admin"}, {"owner", `"p1"`, "owner"},
	{"visibility", `"public"`, "admin"}, {"visibility", `"community"`, "owner"}, {"visibility", `"private"`, "owner"}, {"visibility", `"shared"`, "owner"},
	{"id", `"11111111-1111-4111-8111-111111111111"`, "none"}, {"status", `"active"`, "none"}, {"checksum", `"x"`, "none"}, {"size", `1`, "none"}, {"virtual_size", `1`, "none"},
	{"created_at", `"2026-01-01T00:00:00Z"`, "none"}, {"updated_at", `"2026-01-01T00:00:00Z"`, "none"}, {"direct_url", `"file:///etc/passwd"`, "none"},
	{"self", `"x"`, "none"}, {"file", `"x"`, "none"}, {"schema", `"x"`, "none"}, {"stores", `"x"`, "none"},
	{"os_hash_algo", `"md5"`, "none"}, {"os_hash_value", `"x"`, "none"},
	{"locations", `[{"url": "file:///etc/passwd", "metadata": {}}]`, "none"}, {"location", `"file:///etc/passwd"`, "none"},
	{"deleted", `true`, "none"}, {"deleted_at", `"2026-01-01T00:00:00Z"`, "none"},
	{"os_glance_importing_to_stores", `"x"`, "none"}, {"os_glance_failed_import", `"x"`, "none"},
	{"kernel_id", `null`, "owner"}, {"ramdisk_id", `null`, "owner"}, {"architecture", `"x86_64"`, "owner"}, {"instance_uuid", `"x"`, "owner"}, {"os_distro", `"x"`, "owner"},
	{"os_version", `"x"`, "owner"}, {"description", `"x"`, "owner"}, {"cinder_encryption_key_id", `"x"`, "owner"}, {"cinder_encryption_key_deletion_policy", `"do_not_delete"`, "owner"},
	{"any_other", `"x"`, "owner"},
}

// TestGuardedAttributes: who may set each attribute, at creation and later, by all calls.
func TestGuardedAttributes(t *testing.T) {
	t.Parallel()
	c := newCloud(t, schematest.SQLite(t)) // who may is no matter of the database
	api := c.compute()
	fresh := func() string {
		id := c.image(alice, "raw")
		c.must(200, alice, "POST", "/v2/images/"+id+"/members", `{"member": "p2"}`)
		c.must(200, guest, "PUT", "/v2/images/"+id+"/members/p2", `{"status": "accepted"}`)
		return id
	}
	listed := func(name string) bool {
		return slices.ContainsFunc(guarded, func(g struct{ name, value, may string }) bool { return g.name == name })
	}
	for name := range imageSchema["properties"].(object) {
		if !listed(name) {
			t.Errorf("nothing says who may set %s", name)
		}
	}
	for _, name := range append(slices.Clone(readOnly), reserved...) {
		if !listed(name) {
			t.Errorf("nothing says who may set %s", name)
		}
	}
	code := func(may string, admins, owners, others int) map[string]int {
		codes := map[string]int{admin: admins, system: admins, alice: owners, viewer: 403, nobody: 403, guest: 403, stranger: others}
		switch may {
		case "none":
			codes[admin], codes[system], codes[alice] = 403, 403, 403
		case "admin":
			codes[alice] = 403
		}
		return codes
	}
	for _, g := range guarded {
		for caller, want := range code(g.may, 200, 200, 404) {
			for _, op := range []string{"add", "replace"} {
				if op == "replace" && imageSchema["properties"].(object)[g.name] == nil && g.may == "owner" {
					continue // there is nothing to replace
				}
				if p, custom := documented[g.name]; custom && op == "replace" && p.description != "" {
					continue
				}
				id := fresh()
				w := c.do(caller, "PATCH", "/v2/images/"+id, `[{"op": "`+op+`", "path": "/`+g.name+`", "value": `+g.value+`}]`)
				if w.Code != want {
					t.Errorf("%s of %s to %s by %s: %d %s; want %d", op, g.name, g.value, caller, w.Code, w.Body, want)
				}
			}
		}
		if g.may == "none" || imageSchema["properties"].(object)[g.name] != nil && documented[g.name].description == "" {
			for _, caller := range []string{admin, alice} {
				w := c.do(caller, "PATCH", "/v2/images/"+fresh(), `[{"op": "remove", "path": "/`+g.name+`"}]`)
				if w.Code != http.StatusForbidden {
					t.Errorf("removal of %s by %s: %d %s", g.name, caller, w.Code, w.Body)
				}
			}
		}
		for caller, want := range map[string]int{admin: 201, alice: 201, viewer: 403, nobody: 403} {
			switch {
			case g.name == "id" && want == 201: // which can be chosen at creation, and only there
			case want == 201 && (g.may == "none" || g.may == "admin" && caller == alice):
				want = 403
			}
			w := c.do(caller, "POST", "/v2/images", `{"`+g.name+`": `+strings.Replace(g.value, "8111-1", map[string]string{admin: "8111-2", alice: "8111-3", viewer: "8111-4", nobody: "8111-5"}[caller], 1)+`}`)
			if w.Code != want {
				t.Errorf("creation with %s = %s by %s: %d %s; want %d", g.name, g.value, caller, w.Code, w.Body, want)
			}
		}
		// The compute API's metadata are custom properties alone.
		base := attributes[g.name] != nil || g.may == "none"
		w := c.compat(api, "PUT", "/images/"+fresh()+"/metadata/"+g.name, `{"meta": {"`+g.name+`": "do_not_delete"}}`)
		if base != (w.Code == http.StatusForbidden) {
			t.Errorf("%s through the compute API: %d %s", g.name, w.Code, w.Body)
		}
	}
	// A visibility that is asked for again is asked for; leaving it is the owner's.
	public := c.image(admin, "raw", `"visibility": "public"`, `"owner": "p1"`)
	c.must(403, alice, "PATCH", "/v2/images/"+public, `[{"op": "replace", "path": "/visibility", "value": "public"}]`)
	c.must(200, alice, "PATCH", "/v2/images/"+public, `[{"op": "replace", "path": "/name", "value": "still public"}]`)
	c.must(200, alice, "PATCH", "/v2/images/"+public, `[{"op": "replace", "path": "/visibility", "value": "private"}]`)
	c.must(403, alice, "PATCH", "/v2/images/"+public, `[{"op": "replace", "path": "/visibility", "value": "public"}]`)
	// None of a patch happens when one of it may not.
	c.must(403, alice, "PATCH", "/v2/images/"+public, `[{"op": "replace", "path": "/name", "value": "x"}, {"op": "replace", "path": "/owner", "value": "p2"}]`)
	if doc := c.must(200, alice, "GET", "/v2/images/"+public, nil); doc["name"] != "still public" || doc["visibility"] != "private" {
		t.Errorf("after refusals: %v", doc)
	}
}

// TestGuardedCalls: who may make each call of the service, by Glance's default policies.
func TestGuardedCalls(t *testing.T) {
	t.Parallel()
	c := newCloud(t, schematest.SQLite(t)) // who may is no matter of the database
	// ok is the code for those who may; others get 403, and 404 for an image that is not
	// there for them.
	type row struct {
		ok                                     int
		body                                   string
		alice, viewer, guest, stranger, nobody bool
	}
	reads := row{ok: 200, alice: true, viewer: true, guest: true}
	anybody := row{ok: 200, alice: true, viewer: true, guest: true, stranger: true}
	nothing := row{ok: 404, alice: true, viewer: true, guest: true, stranger: true}
	calls := map[string]row{
		"GET /v2/images": anybody, "POST /v2/images": {ok: 201, body: `{}`, alice: true, guest: true, stranger: true},
		"GET /v2/images/{id}": reads, "PATCH /v2/images/{id}": {ok: 200, body: `[]`, alice: true}, "DELETE /v2/images/{id}": {ok: 204, alice: true},
		"GET /v2/images/{id}/file": {ok: 200, alice: true, guest: true}, "PUT /v2/images/{id}/file": {ok: 409, body: "x", alice: true},
		"PUT /v2/images/{id}/stage": {ok: 409, body: "x", alice: true}, "POST /v2/images/{id}/import": {ok: 409, body: `{"method": {"name": "glance-direct"}}`, alice: true},
		"GET /v2/images/{id}/tasks": reads, "POST /v2/images/{id}/actions/deactivate": {ok: 204, alice: true}, "POST /v2/images/{id}/actions/reactivate": {ok: 204, alice: true},
		"PUT /v2/images/{id}/tags/{tag}": {ok: 204, alice: true}, "DELETE /v2/images/{id}/tags/{tag}": {ok: 204, alice: true},
		"GET /v2/images/{id}/members": reads, "POST /v2/images/{id}/members": {ok: 200, body: `{"member": "p7"}`, alice: true},
		"GET /v2/images/{id}/members/{member}": reads, "PUT /v2/images/{id}/members/{member}": {ok: 200, body: `{"status": "rejected"}`, guest: true},
		"DELETE /v2/images/{id}/members/{member}": {ok: 204, alice: true},
		"GET /v2/info/import":                     anybody, "GET /v2/info/stores": nothing, "GET /v2/schemas/{schema}": anybody, "GET /v2/schemas/metadefs/{schema}": anybody,
		"GET /v2/metadefs/namespaces": anybody, "GET /v2/metadefs/namespaces/{name}": nothing, "GET /v2/metadefs/resource_types": anybody,
		"GET /v2/tasks": {ok: 200}, "GET /v2/tasks/{task}": {ok: 404},
	}
	for _, rt := range routes {
		name := rt.method + " " + rt.path
		tt, ok := calls[name]
		if !ok {
			t.Errorf("nothing says who may %s", name)
			continue
		}
		may := map[string]bool{admin: true, system: true, alice: tt.alice, viewer: tt.viewer, guest: tt.guest, stranger: tt.stranger, nobody: tt.nobody}
		for caller, allowed := range may {
			id := c.active(alice, `"tags": ["t"]`)
			c.must(200, alice, "POST", "/v2/images/"+id+"/members", `{"member": "p2"}`)
			path := strings.NewReplacer("{id}", id, "{tag}", "t", "{member}", "p2", "{schema}", "image", "{name}", "x", "{task}", "x").Replace(rt.path)
			if strings.Contains(rt.path, "metadefs/{schema}") {
				path = "/v2/schemas/metadefs/namespace"
			}
			want := tt.ok
			switch {
			case allowed:
			case caller == stranger && strings.Contains(rt.path, "{id}"):
				want = 404
			default:
				want = 403
			}
			var body any
			if tt.body != "" {
				body = tt.body
			}
			w := c.do(caller, rt.method, path, body)
			if w.Code != want {
				t.Errorf("%s by %s: %d %s; want %d", name, caller, w.Code, w.Body, want)
			}
		}
	}
	// What Glance has behind policies of its own and is not here cannot be called by anybody.
	for _, name := range []string{
		"POST /v2/tasks", "DELETE /v2/tasks/x", "POST /v2/metadefs/namespaces", "PUT /v2/metadefs/namespaces/x", "DELETE /v2/metadefs/namespaces/x",
		"POST /v2/metadefs/namespaces/x/objects", "POST /v2/metadefs/namespaces/x/properties", "POST /v2/metadefs/namespaces/x/tags", "POST /v2/metadefs/namespaces/x/resource_types",
		"GET /v2/images/x/locations", "POST /v2/images/x/locations", "GET /v2/info/stores/detail", "GET /v2/cache", "PUT /v2/cache/x", "DELETE /v2/cache", "DELETE /v2/stores/x/y",
	} {
		method, path, _ := strings.Cut(name, " ")
		if w := c.do(admin, method, path, nil); w.Code != 404 && w.Code != 405 {
			t.Errorf("%s: %d %s", name, w.Code, w.Body)
		}
	}
}
