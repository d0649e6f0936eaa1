package tempestlite

import (
	"net/http"
	"strings"
)

// Versions, headers, routes and bodies: what holds for every operation, asked once.

func requestChecks() []*Check {
	return []*Check{
		behaviour("requests", "version-list", "GET / lists the versions without a token", 0, func(t *T) {
			resp := t.Must(Anonymous, 0, "GET", t.Cloud.root()+"/", nil, 200)
			list, _ := resp.Get("versions").([]any)
			if len(list) < 1 {
				t.Fatalf("no versions: %s", resp.Body)
			}
			newest := list[len(list)-1]
			t.Equal("the id", dig(newest, "id"), "v2.1")
			t.Equal("the status", dig(newest, "status"), "CURRENT")
			t.Equal("min_version", dig(newest, "min_version"), "2.1")
			t.Equal("version", dig(newest, "version"), t.Cloud.CloudMax)
		}, covers("versions.list")),
		behaviour("requests", "no-version", "without a version header 2.1 is spoken", 0, func(t *T) {
			resp := t.Must(Member, 0, "GET", "/flavors", nil, 200)
			t.CheckHeaders(resp)
		}),
		behaviour("requests", "latest", "the version latest is the highest, and is named in the answer", 0, func(t *T) {
			resp := t.do(request{as: Member, method: "GET", path: "/flavors", header: http.Header{"Openstack-Api-Version": {"compute latest"}}})
			if t.Want(resp, 200) {
				t.Equal("the header OpenStack-API-Version", resp.Header.Get("OpenStack-API-Version"), "compute "+t.Cloud.CloudMax)
			}
		}),
		badVersion("above", "compute 2.999", http.StatusNotAcceptable, "Version 2.999 is not supported by the API. Minimum is 2.1 and maximum is "),
		badVersion("below", "compute 2.0", http.StatusNotAcceptable, "Version 2.0 is not supported by the API."),
		badVersion("other-major", "compute 3.0", http.StatusNotAcceptable, "Version 3.0 is not supported by the API."),
		badVersion("no-minor", "compute 2", http.StatusBadRequest, "API Version String 2 is of invalid format. Must be of format MajorNum.MinorNum."),
		badVersion("leading-zero", "compute 2.01", http.StatusBadRequest, "API Version String 2.01 is of invalid format."),
		badVersion("word", "compute newest", http.StatusBadRequest, "API Version String newest is of invalid format."),
	}
}

func badVersion(name, header string, code int, message string) *Check {
	return behaviour("requests", "bad-version-"+name, "the version header "+header+" is refused", 0, func(t *T) {
		resp := t.do(request{as: Member, method: "GET", path: "/flavors", header: http.Header{"Openstack-Api-Version": {header}}})
		if t.Want(resp, code) {
			t.CheckFault(resp)
			t.WantMessage(resp, message)
		}
		old := t.do(request{as: Member, method: "GET", path: "/flavors", header: http.Header{"X-Openstack-Nova-Api-Version": {strings.TrimPrefix(header, "compute ")}}})
		t.Want(old, code)
	})
}
