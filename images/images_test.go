package images

import (
	"crypto/md5"
	"crypto/sha512"
	"encoding/hex"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func TestCreateUploadDownloadDelete(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		w := c.do(alice, "POST", "/v2/images", `{"name": "im1", "disk_format": "raw", "container_format": "bare", "a": "b",
			"owner_specified.openstack.md5": "", "owner_specified.openstack.object": "images/im1", "tags": ["x", "x", "b"]}`)
		if w.Code != 201 || w.Header().Get("OpenStack-image-import-methods") != "glance-direct" {
			t.Fatalf("create = %d %v %s", w.Code, w.Header(), w.Body)
		}
		id := w.Header().Get("Location")[len("http://cloud/image/v2/images/"):]
		for _, want := range []string{`"status": "queued"`, `"checksum": null`, `"size": null`, `"a": "b"`, `"owner": "p1"`,
			`"owner_specified.openstack.md5": ""`, `"tags": ["b", "x"]`, `"visibility": "shared"`, `"os_hidden": false`,
			`"file": "/v2/images/` + id + `/file"`, `"created_at": "2026-01-02T03:04:05Z"`} {
			if !strings.Contains(w.Body.String(), want) {
				t.Errorf("created image lacks %s: %s", want, w.Body)
			}
		}
		if w := c.do(alice, "GET", "/v2/images/"+id+"/file", nil); w.Code != 204 {
			t.Errorf("data of a queued image = %d, want 204", w.Code)
		}
		data := strings.Repeat("0123456789abcdef", 200000)
		c.must(204, alice, "PUT", "/v2/images/"+id+"/file", data)
		img := c.must(200, alice, "GET", "/v2/images/"+id, nil)
		m, h := md5.Sum([]byte(data)), sha512.Sum512([]byte(data))
		want := map[string]any{"status": "active", "checksum": hex.EncodeToString(m[:]), "os_hash_algo": "sha512",
			"os_hash_value": hex.EncodeToString(h[:]), "size": float64(len(data)), "virtual_size": float64(len(data))}
		for k, v := range want {
			if img[k] != v {
				t.Errorf("%s = %v, want %v", k, img[k], v)
			}
		}
		w = c.do(alice, "GET", "/v2/images/"+id+"/file", nil)
		if w.Code != 200 || w.Body.String() != data || w.Header().Get("Content-MD5") != img["checksum"] ||
			w.Header().Get("Content-Length") != fmt.Sprint(len(data)) {
			t.Errorf("download = %d, %d bytes, %v", w.Code, w.Body.Len(), w.Header())
		}
		w = c.do(alice, "GET", "/v2/images/"+id+"/file", nil, "Range", "bytes=16-31")
		if w.Code != 206 || w.Body.String() != data[:16] || w.Header().Get("Content-Range") != fmt.Sprintf("bytes 16-31/%d", len(data)) {
			t.Errorf("range = %d %q %v", w.Code, w.Body, w.Header())
		}
		if w := c.do(alice, "GET", "/v2/images/"+id+"/file", nil, "Range", "bytes=99999999-"); w.Code != 416 {
			t.Errorf("range beyond the end = %d, want 416", w.Code)
		}
		n, bytes := c.usage("p1")
		if n != 1 || bytes != int64(len(data)) {
			t.Errorf("usage = %d images, %d bytes", n, bytes)
		}
		c.must(204, alice, "DELETE", "/v2/images/"+id, nil)
		c.must(404, alice, "GET", "/v2/images/"+id, nil)
		c.must(404, alice, "DELETE", "/v2/images/"+id, nil)
		c.must(409, alice, "POST", "/v2/images", `{"id": "`+id+`"}`)
		n, bytes = c.usage("p1")
		if files := c.files(); n != 0 || bytes != 0 || len(files) != 0 {
			t.Errorf("after deletion: %d images, %d bytes, files %v", n, bytes, files)
		}
	})
}

func TestCodes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		own := c.active(alice)
		queued := c.image(alice, "raw")
		private := c.active(bob, `"visibility": "private"`)
		public := c.active(admin, `"visibility": "public"`)
		community := c.active(bob, `"visibility": "community"`)
		protected := c.active(alice, `"protected": true`)
		bare := c.must(201, alice, "POST", "/v2/images", `{}`)["id"].(string)
		long := strings.Repeat("x", 256)
		tests := []struct {
			name, caller, method, path, body string
			code                             int
		}{
			{"no token", "", "GET", "/v2/images", "", 401},
			{"no role", "p1:", "GET", "/v2/images", "", 403},
			{"unscoped", ":member,reader", "GET", "/v2/images", "", 403},
			{"reader creates", viewer, "POST", "/v2/images", "{}", 403},
			{"reader lists", viewer, "GET", "/v2/images", "", 200},
			{"a name as id", alice, "GET", "/v2/images/cirros", "", 404},
			{"null id", alice, "GET", "/v2/images/", "", 404},
			{"delete null id", alice, "DELETE", "/v2/images/", "", 404},
			{"a stranger's private image", alice, "GET", "/v2/images/" + private, "", 404},
			{"a stranger's private data", alice, "GET", "/v2/images/" + private + "/file", "", 404},
			{"admin sees it", admin, "GET", "/v2/images/" + private, "", 200},
			{"community by id", alice, "GET", "/v2/images/" + community, "", 200},
			{"public", alice, "GET", "/v2/images/" + public, "", 200},
			{"public data", alice, "GET", "/v2/images/" + public + "/file", "", 200},
			{"data without member", viewer, "GET", "/v2/images/" + own + "/file", "", 403},
			{"delete a public image", alice, "DELETE", "/v2/images/" + public, "", 403},
			{"patch a public image", alice, "PATCH", "/v2/images/" + public, "[]", 403},
			{"delete a protected image", alice, "DELETE", "/v2/images/" + protected, "", 403},
			{"upload twice", alice, "PUT", "/v2/images/" + own + "/file", "x", 409},
			{"upload without formats", alice, "PUT", "/v2/images/" + bare + "/file", "x", 400},
			{"public needs admin", alice, "POST", "/v2/images", `{"visibility": "public"}`, 403},
			{"another owner", alice, "POST", "/v2/images", `{"owner": "p2"}`, 403},
			{"admin gives an owner", admin, "POST", "/v2/images", `{"owner": "p2"}`, 201},
			{"read-only status", alice, "POST", "/v2/images", `{"status": "active"}`, 403},
			{"reserved location", alice, "POST", "/v2/images", `{"location": "x"}`, 403},
			{"reserved deleted", alice, "POST", "/v2/images", `{"deleted": "x"}`, 403},
			{"reserved prefix", alice, "POST", "/v2/images", `{"os_glance_x": "x"}`, 403},
			{"not an object", alice, "POST", "/v2/images", `[]`, 400},
			{"null", alice, "POST", "/v2/images", `null`, 400},
			{"no body", alice, "POST", "/v2/images", ``, 400},
			{"two documents", alice, "POST", "/v2/images", `{} {}`, 400},
			{"bad id", alice, "POST", "/v2/images", `{"id": "x"}`, 400},
			{"id in use", alice, "POST", "/v2/images", `{"id": "` + private + `"}`, 409},
			{"long name", alice, "POST", "/v2/images", `{"name": "` + long + `"}`, 400},
			{"longest name", alice, "POST", "/v2/images", `{"name": "` + long[1:] + `"}`, 201},
			{"emoji", alice, "POST", "/v2/images", `{"name": "💥", "p💥": "💥"}`, 201},
			{"NUL", alice, "POST", "/v2/images", `{"name": "a\u0000"}`, 400},
			{"NUL in property", alice, "POST", "/v2/images", `{"p": "a\u0000"}`, 400},
			{"bad UTF-8", alice, "POST", "/v2/images", "{\"name\": \"\xff\"}", 400},
			{"property is a number", alice, "POST", "/v2/images", `{"p": 1}`, 400},
			{"property is null", alice, "POST", "/v2/images", `{"p": null}`, 400},
			{"property without name", alice, "POST", "/v2/images", `{"": "x"}`, 400},
			{"long property name", alice, "POST", "/v2/images", `{"` + long + `": "x"}`, 400},
			{"long property", alice, "POST", "/v2/images", `{"p": "` + strings.Repeat("x", 65536) + `"}`, 400},
			{"properties that differ by a blank", alice, "POST", "/v2/images", `{"p": "x", "p2": "y"}`, 201},
			{"bad format", alice, "POST", "/v2/images", `{"disk_format": "floppy"}`, 400},
			{"bad visibility", alice, "POST", "/v2/images", `{"visibility": "all"}`, 400},
			{"negative", alice, "POST", "/v2/images", `{"min_ram": -1}`, 400},
			{"enormous", alice, "POST", "/v2/images", `{"min_disk": 99999999999999999999}`, 400},
			{"float", alice, "POST", "/v2/images", `{"min_disk": 1.5}`, 400},
			{"string for bool", alice, "POST", "/v2/images", `{"protected": "FALSE"}`, 400},
			{"tags of numbers", alice, "POST", "/v2/images", `{"tags": [1]}`, 400},
			{"long tag", alice, "POST", "/v2/images", `{"tags": ["` + long + `"]}`, 400},
			{"huge body", alice, "POST", "/v2/images", `{"p": "` + strings.Repeat("x", 2<<20) + `"}`, 413},
			{"too many properties", alice, "POST", "/v2/images", manyProperties(129), 413},
			{"enough properties", alice, "POST", "/v2/images", manyProperties(128), 201},
			{"import queued", alice, "POST", "/v2/images/" + queued + "/import", `{"method": {"name": "glance-direct"}}`, 409},
			{"import without method", alice, "POST", "/v2/images/" + queued + "/import", `{}`, 400},
			{"deactivate queued", alice, "POST", "/v2/images/" + queued + "/actions/deactivate", ``, 403},
			{"no such route", alice, "GET", "/v2/nothing", ``, 404},
			{"no such method", alice, "POST", "/v2/images/" + own, ``, 405},
			{"stores", alice, "GET", "/v2/info/stores", ``, 404},
			{"tasks", alice, "GET", "/v2/tasks", ``, 403},
			{"tasks of admin", admin, "GET", "/v2/tasks", ``, 200},
			{"namespaces", alice, "GET", "/v2/metadefs/namespaces?resource_types=OS::Nova::Server", ``, 200},
			{"no such schema", alice, "GET", "/v2/schemas/x", ``, 404},
			{"NUL in path", alice, "GET", "/v2/images/a%00b", ``, 400},
			{"bad UTF-8 in path", alice, "GET", "/v2/images/%ff", ``, 400},
			{"bad UTF-8 in query", alice, "GET", "/v2/images?name=%ff", ``, 400},
			{"open redirect", alice, "GET", "//evil.example/..", ``, 300},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				w := c.do(tt.caller, tt.method, tt.path, tt.body)
				if w.Code != tt.code {
					t.Errorf("%s %s = %d, want %d: %.300s", tt.method, tt.path, w.Code, tt.code, w.Body)
				}
				if w.Header().Get("Location") != "" && w.Code != 201 {
					t.Errorf("redirect to %s", w.Header().Get("Location"))
				}
			})
		}
		w := c.do(alice, "PUT", "/v2/images/"+queued+"/file", "x", "Content-Type", "text/plain")
		if w.Code != http.StatusUnsupportedMediaType {
			t.Errorf("upload of text/plain = %d, want 415", w.Code)
		}
	})
}

func manyProperties(n int) string {
	var parts []string
	for i := range n {
		parts = append(parts, fmt.Sprintf(`"p%d": "x"`, i))
	}
	return "{" + strings.Join(parts, ",") + "}"
}

func TestEachRouteHasAPolicyThatRefuses(t *testing.T) {
	t.Parallel()
	err := checkRoutes()
	if err != nil {
		t.Fatal(err)
	}
	for _, rt := range routes {
		if allowed(rt.rule, callerOf("p1:nobody"), &Image{Owner: "p1"}, "p1") {
			t.Errorf("%s %s: a caller without a role may", rt.method, rt.path)
		}
		if rt.method != "GET" && allowed(rt.rule, callerOf("p1:reader"), &Image{Owner: "p1"}, "p1") {
			t.Errorf("%s %s: a reader may change", rt.method, rt.path)
		}
		if strings.Contains(rt.path, "{id}") && rt.method != "GET" && rt.rule != "modify_member" &&
			allowed(rt.rule, callerOf("p2:member"), &Image{Owner: "p1", Visibility: Public}, "p1") {
			t.Errorf("%s %s: a stranger may change", rt.method, rt.path)
		}
	}
	if allowed("no_such_rule", callerOf(admin), nil, "") || allowed("get_images", nil, nil, "") {
		t.Error("an unknown rule or caller is allowed")
	}
}

func TestVersionsNeedNoToken(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		for path, code := range map[string]int{"": 300, "/": 300, "/versions": 200, "/v2/": 300, "/v2.0": 300, "/v3/images": 300, "/v2.99/images": 300, "/nothing": 300} {
			doc := c.must(code, "", "GET", path, nil)
			first := doc["versions"].([]any)[0].(map[string]any)
			link := first["links"].([]any)[0].(map[string]any)
			if first["status"] != "CURRENT" || link["href"] != "http://cloud/image/v2/" {
				t.Errorf("GET %q: %v", path, doc)
			}
		}
		for _, name := range []string{"image", "images", "member", "members", "task", "tasks", "metadefs/namespace", "metadefs/resource_types"} {
			doc := c.must(200, viewer, "GET", "/v2/schemas/"+name, nil)
			if doc["name"] != name[strings.LastIndex(name, "/")+1:] || doc["properties"] == nil {
				t.Errorf("schema %s: %v", name, doc)
			}
		}
	})
}

func TestPatch(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice, `"x": "1"`, `"a/b": "2"`)
		tests := []struct {
			name, caller, body string
			code               int
			want               string
		}{
			{"add and replace", alice, `[{"op": "add", "path": "/min_disk", "value": 1}, {"op": "replace", "path": "/name", "value": "n"},
				{"op": "add", "path": "/tags", "value": ["t"]}, {"op": "add", "path": "/y", "value": "z"}]`, 200, `"min_disk": 1`},
			{"remove", alice, `[{"op": "remove", "path": "/x"}]`, 200, `"y": "z"`},
			{"remove again", alice, `[{"op": "remove", "path": "/x"}]`, 409, ""},
			{"replace missing", alice, `[{"op": "replace", "path": "/x", "value": "v"}]`, 409, ""},
			{"escaped", alice, `[{"op": "replace", "path": "/a~1b", "value": "3"}]`, 200, `"a/b": "3"`},
			{"bad escape", alice, `[{"op": "replace", "path": "/a~2b", "value": "3"}]`, 400, ""},
			{"deep path", alice, `[{"op": "add", "path": "/tags/-", "value": "3"}]`, 400, ""},
			{"no path", alice, `[{"op": "add", "value": "3"}]`, 400, ""},
			{"no value", alice, `[{"op": "add", "path": "/x"}]`, 400, ""},
			{"bad op", alice, `[{"op": "move", "path": "/x", "from": "/y"}]`, 400, ""},
			{"object", alice, `{}`, 400, ""},
			{"list of strings", alice, `["x"]`, 400, ""},
			{"read-only", alice, `[{"op": "replace", "path": "/status", "value": "queued"}]`, 403, ""},
			{"checksum", alice, `[{"op": "remove", "path": "/checksum"}]`, 403, ""},
			{"id", alice, `[{"op": "replace", "path": "/id", "value": "x"}]`, 403, ""},
			{"base removed", alice, `[{"op": "remove", "path": "/name"}]`, 403, ""},
			{"locations", alice, `[{"op": "add", "path": "/locations", "value": [{"url": "file:///etc/passwd"}]}]`, 403, ""},
			{"publicize", alice, `[{"op": "replace", "path": "/visibility", "value": "public"}]`, 403, ""},
			{"owner", alice, `[{"op": "replace", "path": "/owner", "value": "p2"}]`, 403, ""},
			{"format", alice, `[{"op": "replace", "path": "/disk_format", "value": "qcow2"}]`, 403, ""},
			{"all or nothing", alice, `[{"op": "replace", "path": "/name", "value": "half"}, {"op": "remove", "path": "/zz"}]`, 409, ""},
			{"stranger", bob, `[]`, 404, ""},
			{"reader", viewer, `[]`, 403, ""},
			{"empty", alice, `[]`, 200, `"name": "n"`},
			{"community", alice, `[{"op": "replace", "path": "/visibility", "value": "community"}]`, 200, `"visibility": "community"`},
			{"admin publicizes", admin, `[{"op": "replace", "path": "/visibility", "value": "public"}]`, 200, `"visibility": "public"`},
			{"owner asks for it public again", alice, `[{"op": "replace", "path": "/visibility", "value": "public"}]`, 403, ""},
			{"admin gives it away", admin, `[{"op": "replace", "path": "/owner", "value": "p2"}]`, 200, `"owner": "p2"`},
		}
		for _, tt := range tests {
			w := c.do(tt.caller, "PATCH", "/v2/images/"+id, tt.body)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("%s: %d, want %d with %s: %s", tt.name, w.Code, tt.code, tt.want, w.Body)
			}
		}
		n1, b1 := c.usage("p1")
		n2, b2 := c.usage("p2")
		if n1 != 0 || b1 != 0 || n2 != 1 || b2 != 20 {
			t.Errorf("usage after the change of owner: %d %d, %d %d", n1, b1, n2, b2)
		}
		for ct, code := range map[string]int{"application/json": 415, "application/json-patch+json": 415, "": 415, patchV20: 200} {
			w := c.do(bob, "PATCH", "/v2/images/"+id, `[{"add": "/old", "value": "style"}]`, "Content-Type", ct)
			if w.Code != code {
				t.Errorf("patch of type %q = %d, want %d: %s", ct, w.Code, code, w.Body)
			}
		}
	})
}

func TestTagsAndMembers(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice)
		at := "/v2/images/" + id
		c.must(204, alice, "PUT", at+"/tags/a%2Fb", nil)
		c.must(204, alice, "PUT", at+"/tags/a%2Fb", nil)
		c.must(204, alice, "DELETE", at+"/tags/a%2Fb", nil)
		c.must(404, alice, "DELETE", at+"/tags/a%2Fb", nil)
		c.must(400, alice, "PUT", at+"/tags/"+strings.Repeat("x", 256), nil)
		c.must(404, bob, "PUT", at+"/tags/x", nil)

		c.must(404, bob, "GET", at, nil)
		m := c.must(200, alice, "POST", at+"/members", `{"member": "p2"}`)
		if m["member_id"] != "p2" || m["status"] != "pending" || m["image_id"] != id || m["schema"] != "/v2/schemas/member" {
			t.Errorf("member: %v", m)
		}
		c.must(409, alice, "POST", at+"/members", `{"member": "p2"}`)
		c.must(400, alice, "POST", at+"/members", `{"member": 1}`)
		c.must(200, alice, "POST", at+"/members", `{"member": "p3"}`)
		c.must(200, bob, "GET", at, nil)
		if got := c.ids(bob, ""); len(got) != 0 {
			t.Errorf("a pending member lists %v", got)
		}
		if got := c.ids(bob, "?member_status=pending&visibility=shared"); !slices.Equal(got, []string{id}) {
			t.Errorf("pending images: %v", got)
		}
		c.must(403, alice, "PUT", at+"/members/p2", `{"status": "accepted"}`)
		c.must(403, bob, "PUT", at+"/members/p3", `{"status": "accepted"}`)
		c.must(400, bob, "PUT", at+"/members/p2", `{"status": "maybe"}`)
		c.must(200, bob, "PUT", at+"/members/p2", `{"status": "accepted"}`)
		if got := c.ids(bob, ""); !slices.Equal(got, []string{id}) {
			t.Errorf("an accepted member lists %v", got)
		}
		c.must(403, bob, "DELETE", at, nil)
		c.must(403, bob, "PATCH", at, `[]`)
		c.must(403, bob, "POST", at+"/members", `{"member": "p4"}`)
		c.must(403, bob, "DELETE", at+"/members/p2", nil)
		if l := c.must(200, bob, "GET", at+"/members", nil)["members"].([]any); len(l) != 1 {
			t.Errorf("a member sees members %v", l)
		}
		c.must(404, bob, "GET", at+"/members/p3", nil)
		c.must(200, alice, "GET", at+"/members/p3", nil)
		if l := c.must(200, alice, "GET", at+"/members", nil)["members"].([]any); len(l) != 2 {
			t.Errorf("the owner sees members %v", l)
		}
		c.must(204, alice, "DELETE", at+"/members/p2", nil)
		c.must(404, alice, "DELETE", at+"/members/p2", nil)
		c.must(404, bob, "GET", at, nil)
		private := c.active(alice, `"visibility": "private"`)
		c.must(403, alice, "POST", "/v2/images/"+private+"/members", `{"member": "p2"}`)
		c.must(403, alice, "GET", "/v2/images/"+private+"/members", nil)
	})
}

func TestDeactivate(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice)
		at := "/v2/images/" + id
		c.must(204, alice, "POST", at+"/actions/deactivate", nil)
		c.must(204, alice, "POST", at+"/actions/deactivate", nil)
		c.must(403, alice, "GET", at+"/file", nil)
		c.must(200, admin, "GET", at+"/file", nil)
		c.must(409, "", "GET", at+"/file", nil, ticketHeader, ticketFor(ticketRead, id))
		c.must(409, alice, "PUT", at+"/file", "x")
		c.must(204, alice, "POST", at+"/actions/reactivate", nil)
		c.must(200, alice, "GET", at+"/file", nil)
	})
}

// TestOneAPIUnderAllVersions: an address may name any version that there is.
func TestOneAPIUnderAllVersions(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice, `"tags": ["a/b"]`)
		for _, version := range append([]string{"v2"}, minors...) {
			c.must(200, alice, "GET", "/"+version+"/images/"+id, nil)
			c.must(401, "", "GET", "/"+version+"/images", nil)
			c.must(404, alice, "GET", "/"+version+"/nothing", nil)
			c.must(404, alice, "DELETE", "/"+version+"/images/"+id+"/tags/a%2Fc", nil)
			if w := c.do(alice, "GET", "/"+version+"/images/"+id+"/file", nil); w.Body.String() != "some bytes of a disk" {
				t.Errorf("%s: %d %s", version, w.Code, w.Body)
			}
		}
		c.must(204, alice, "DELETE", "/v2.7/images/"+id+"/tags/a%2Fb", nil)
	})
}
