package images

import (
	"strings"
	"testing"
)

// TestPropertiesThatMayBeNull: a kernel and a ramdisk may be null, in every way of saying it,
// and nothing else may.
func TestPropertiesThatMayBeNull(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		const kernel = "11111111-2222-4333-8444-555555555555"
		doc := c.must(201, alice, "POST", "/v2/images", `{"name": "i", "kernel_id": null, "ramdisk_id": "`+kernel+`", "mine": "x"}`)
		at := "/v2/images/" + doc["id"].(string)
		is := func(when string, doc map[string]any, kernel, ramdisk any) {
			t.Helper()
			k, there := doc["kernel_id"]
			if !there || k != kernel || doc["ramdisk_id"] != ramdisk || doc["mine"] != "x" {
				t.Errorf("%s: %v", when, doc)
			}
		}
		is("made", doc, nil, kernel)
		is("shown", c.must(200, alice, "GET", at, nil), nil, kernel)
		is("patched", c.must(200, alice, "PATCH", at, `[{"op": "replace", "path": "/kernel_id", "value": "`+kernel+`"}, {"op": "replace", "path": "/ramdisk_id", "value": null}]`), kernel, nil)
		is("patched again", c.must(200, alice, "PATCH", at, `[{"op": "add", "path": "/kernel_id", "value": null}]`), nil, nil)
		list := c.must(200, alice, "GET", "/v2/images?mine=x", nil)["images"].([]any)
		is("listed", list[0].(map[string]any), nil, nil)

		api := c.compute()
		if w := c.compat(api, "GET", "/images/"+doc["id"].(string)+"/metadata", ""); w.Body.String() != `{"metadata":{"kernel_id":null,"mine":"x","ramdisk_id":null}}` {
			t.Errorf("the compute API's: %s", w.Body)
		}
		if w := c.compat(api, "DELETE", "/images/"+doc["id"].(string)+"/metadata/ramdisk_id", ""); w.Code != 204 {
			t.Errorf("deleted through the compute API: %d %s", w.Code, w.Body)
		}
		gone := c.must(200, alice, "PATCH", at, `[{"op": "remove", "path": "/kernel_id"}]`)
		if _, there := gone["kernel_id"]; there || gone["mine"] != "x" {
			t.Errorf("removed: %v", gone)
		}
		c.must(409, alice, "PATCH", at, `[{"op": "remove", "path": "/kernel_id"}]`)
		c.must(409, alice, "PATCH", at, `[{"op": "replace", "path": "/ramdisk_id", "value": null}]`)
	})
}

// TestWordsOfRefusals: what a value is and should be is told as Glance's validator tells it.
func TestWordsOfRefusals(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		long := strings.Repeat("x", 256)
		for _, tt := range []struct{ body, want string }{
			{`{"mine": null}`, "None is not of type 'string'"}, {`{"mine": 1}`, "1 is not of type 'string'"}, {`{"mine": 1.50}`, "1.50 is not of type 'string'"},
			{`{"mine": true}`, "True is not of type 'string'"}, {`{"mine": ["a", null, {"b": false}]}`, "['a', None, {'b': False}] is not of type 'string'"},
			{`{"mine": {"it's": "a \"b\""}}`, `{"it's": 'a "b"'} is not of type 'string'`},
			{`{"name": {}}`, "{} is not of type 'null', 'string'"}, {`{"name": "` + long + `"}`, "is too long"}, {`{"owner": []}`, "[] is not of type 'null', 'string'"},
			{`{"protected": "true"}`, "'true' is not of type 'boolean'"}, {`{"os_hidden": null}`, "None is not of type 'boolean'"}, {`{"min_ram": "1"}`, "'1' is not of type 'integer'"},
			{`{"min_disk": 1.5}`, "1.5 is not of type 'integer'"}, {`{"min_disk": -1}`, "Invalid value '-1' for parameter 'min_disk': Cannot be a negative value"}, {`{"min_ram": 2147483648}`, "Invalid value '2147483648' for parameter 'min_ram'"}, {`{"min_ram": 1e99}`, "1e99 is not of type 'integer'"}, {`{"tags": "a"}`, "'a' is not of type 'array'"}, {`{"tags": [1]}`, "1 is not of type 'string'"},
			{`{"visibility": "all"}`, "'all' is not one of ['community', 'public', 'private', 'shared']"}, {`{"visibility": null}`, "None is not of type 'string'"},
			{`{"disk_format": "zip"}`, "'zip' is not one of [None, 'ami', 'ari', "}, {`{"container_format": 1}`, "1 is not of type 'null', 'string'"},
			{`{"id": 1}`, "1 is not of type 'string'"}, {`{"id": "x"}`, "'x' does not match '^([0-9a-fA-F]){8}-"},
			{`{"kernel_id": 1}`, "1 is not of type 'null', 'string'"}, {`{"kernel_id": "nokernel"}`, "'nokernel' does not match '^([0-9a-fA-F]){8}-"}, {`{"os_distro": null}`, "None is not of type 'string'"},
			{`{"cinder_encryption_key_deletion_policy": "never"}`, "'never' is not one of ['on_image_deletion', 'do_not_delete']"},
			{`[]`, "[] is not of type 'object'"}, {`null`, "Unexpected body type. Expected list/dict."}, {`"x"`, "Unexpected body type. Expected list/dict."}, {`{`, "Malformed JSON in request body."}, {`{} {}`, "Malformed JSON in request body."},
			{`{"name": "\ud800"}`, ""},
		} {
			w := c.do(alice, "POST", "/v2/images", tt.body, "Accept", "application/json")
			if tt.want == "" {
				continue // taken or not, it is no failure of the service
			}
			message := decoded(t, w)["message"]
			if text, _ := message.(string); w.Code != 400 || !strings.Contains(text, tt.want) {
				t.Errorf("%.80s: %d %v; want %s", tt.body, w.Code, message, tt.want)
			}
		}
		schema := c.must(200, alice, "GET", "/v2/schemas/image", nil)["properties"].(map[string]any)
		for name := range documented {
			if p, _ := schema[name].(map[string]any); p["is_base"] != false {
				t.Errorf("the schema of images has %s: %v", name, p)
			}
		}
	})
}
