package images

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kilonova/compat"
)

type anyPolicy struct{}

func (anyPolicy) Known(string) bool                                 { return true }
func (anyPolicy) Allows(string, *compat.Caller, compat.Target) bool { return true }

// compute puts the proxy behind the compute API's own router.
func (c *cloud) compute() http.Handler {
	c.t.Helper()
	api := compat.NewCompute(compat.Base{}, anyPolicy{}, fakeAuth)
	c.s.RegisterCompute(api)
	err := api.Build()
	if err != nil {
		c.t.Fatal(err)
	}
	return api
}

// compat calls the compute API as alice, at 2.1.
func (c *cloud) compat(api http.Handler, method, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, "http://cloud/v2.1"+path, strings.NewReader(body))
	r.Header.Set("X-Test-Caller", alice)
	w := httptest.NewRecorder()
	api.ServeHTTP(w, r)
	return w
}

func TestComputeProxy(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.active(alice, `"auto_disk_config": "True"`, `"instance_uuid": "s1"`, `"image_type": "snapshot"`)
		queued := c.image(alice, "raw", `"min_ram": 64`)
		private := c.active(bob, `"visibility": "private"`)
		public := c.active(admin, `"visibility": "public"`)
		api := c.compute()
		tests := []struct {
			name, method, path, version, body string
			code                              int
			want, forbid                      string
		}{
			{"show", "GET", "/images/" + id, "2.1", "", 200, `"OS-EXT-IMG-SIZE:size":20`, "checksum"},
			{"show: status", "GET", "/images/" + id, "2.35", "", 200, `"progress":100,"OS-EXT-IMG-SIZE:size":20,"server":{"id":"s1"`, "null"},
			{"show: state", "GET", "/images/" + id, "2.1", "", 200, `"status":"ACTIVE"`, "protected"},
			{"show: disk config", "GET", "/images/" + id, "2.1", "", 200, `"OS-DCF:diskConfig":"AUTO"`, "owner"},
			{"show: alternate", "GET", "/images/" + id, "2.1", "", 200, `{"rel":"alternate","href":"http://cloud/image/images/` + id + `","type":"application/vnd.openstack.image"}`, "visibility"},
			{"queued", "GET", "/images/" + queued, "2.1", "", 200, `"status":"SAVING","progress":25,"OS-EXT-IMG-SIZE:size":0`, "diskConfig"},
			{"gone at 2.36", "GET", "/images/" + id, "2.36", "", 404, "", "ACTIVE"},
			{"another project's", "GET", "/images/" + private, "2.1", "", 404, "Image not found.", "p2"},
			{"no such image", "GET", "/images/zz", "2.1", "", 404, "itemNotFound", "sql"},
			{"list", "GET", "/images", "2.1", "", 200, id, "metadata"},
			{"list hides", "GET", "/images/detail", "2.1", "", 200, id, private},
			{"type", "GET", "/images/detail?type=snapshot", "2.1", "", 200, id, queued},
			{"server by address", "GET", "/images?server=http://x/v2/servers/s1", "2.1", "", 200, id, queued},
			{"status", "GET", "/images?status=SAVING", "2.1", "", 200, queued, id},
			{"bad status", "GET", "/images?status=x", "2.1", "", 400, "badRequest", ""},
			{"name", "GET", "/images?name=zz", "2.1", "", 200, `"images":[]`, id},
			{"minRam", "GET", "/images?minRam=64", "2.1", "", 200, queued, id},
			{"changes since", "GET", "/images?changes-since=2030-01-01T00:00:00Z", "2.1", "", 200, `"images":[]`, id},
			{"changes since before", "GET", "/images?changes-since=2020-01-01T00:00:00Z", "2.1", "", 200, id, ""},
			{"bad time", "GET", "/images?changes-since=x", "2.1", "", 400, "", ""},
			{"paged", "GET", "/images?limit=1", "2.1", "", 200, `"images_links":[{"rel":"next"`, id},
			{"bad limit", "GET", "/images?limit=-1", "2.1", "", 400, "", ""},
			{"bad marker", "GET", "/images?marker=zz", "2.1", "", 400, "", ""},
			{"property", "GET", "/images?property-auto_disk_config=True", "2.1", "", 200, id, queued},
			{"metadata", "GET", "/images/" + id + "/metadata", "2.38", "", 200, `{"metadata":{"auto_disk_config":"True"`, "name"},
			{"metadata gone at 2.39", "GET", "/images/" + id + "/metadata", "2.39", "", 404, "", ""},
			{"merge", "POST", "/images/" + id + "/metadata", "2.1", `{"metadata": {"k": "v"}}`, 200, `"image_type":"snapshot"`, ""},
			{"item", "GET", "/images/" + id + "/metadata/k", "2.1", "", 200, `{"meta":{"k":"v"}}`, ""},
			{"no such item", "GET", "/images/" + id + "/metadata/zz", "2.1", "", 404, "", ""},
			{"set item", "PUT", "/images/" + id + "/metadata/k", "2.1", `{"meta": {"k": "w"}}`, 200, `{"meta":{"k":"w"}}`, ""},
			{"set another", "PUT", "/images/" + id + "/metadata/k", "2.1", `{"meta": {"l": "w"}}`, 400, "Request body and URI mismatch", ""},
			{"set null", "PUT", "/images/" + id + "/metadata/k", "2.1", `{"meta": {"k": null}}`, 400, "", ""},
			{"set status", "PUT", "/images/" + id + "/metadata/status", "2.1", `{"meta": {"status": "queued"}}`, 403, "", ""},
			{"set of a public image", "PUT", "/images/" + public + "/metadata/k", "2.1", `{"meta": {"k": "w"}}`, 403, "forbidden", ""},
			{"too many", "POST", "/images/" + id + "/metadata", "2.1", `{"metadata": ` + manyProperties(129) + `}`, 403, "Image metadata limit exceeded", ""},
			{"delete item", "DELETE", "/images/" + id + "/metadata/k", "2.1", "", 204, "", ""},
			{"delete it again", "DELETE", "/images/" + id + "/metadata/k", "2.1", "", 404, "Invalid metadata key", ""},
			{"replace", "PUT", "/images/" + id + "/metadata", "2.1", `{"metadata": {"a": "b"}}`, 200, `{"metadata":{"a":"b"}}`, ""},
			{"delete another's", "DELETE", "/images/" + private, "2.1", "", 404, "", ""},
			{"delete a public one", "DELETE", "/images/" + public, "2.1", "", 403, "You are not allowed to delete the image.", ""},
			{"delete", "DELETE", "/images/" + id, "2.1", "", 204, "", ""},
			{"deleted", "GET", "/images/" + id, "2.1", "", 404, "", ""},
		}
		for _, tt := range tests {
			t.Run(tt.name, func(t *testing.T) {
				r := httptest.NewRequest(tt.method, "http://cloud/v2.1"+tt.path, strings.NewReader(tt.body))
				r.Header.Set("X-Test-Caller", alice)
				r.Header.Set("OpenStack-API-Version", "compute "+tt.version)
				w := httptest.NewRecorder()
				api.ServeHTTP(w, r)
				body := w.Body.String()
				if w.Code != tt.code || !strings.Contains(body, tt.want) || tt.forbid != "" && strings.Contains(body, tt.forbid) {
					t.Errorf("%s %s = %d %s; want %d with %q, without %q", tt.method, tt.path, w.Code, body, tt.code, tt.want, tt.forbid)
				}
				if w.Code == 200 && !json.Valid(w.Body.Bytes()) {
					t.Errorf("not JSON: %s", body)
				}
			})
		}
	})
}
