package flavors_test

import (
	"strings"
	"testing"

	"kilonova/flavors"
	"kilonova/flavors/apitest"
	"kilonova/schema"
)

// No list, in whatever way it is asked for, tells of a private flavor.
func TestOSSA_2013_019_2013_024_ListsHidePrivateFlavors(t *testing.T) {
	each(t, func(t *testing.T, _ *flavors.Service, api *apitest.API, _ *schema.DB) {
		api.Must(t, 200, call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"hidden","id":"hidden-id","ram":1,"vcpus":1,"disk":0,"os-flavor-access:is_public":false}}`))
		queries := []string{"", "is_public=None", "is_public=none", "is_public=False", "is_public=0", "is_public=true&is_public=false", "name=hidden", "minRam=1", "minDisk=0",
			"sort_key=name", "sort_key=is_public&sort_dir=desc", "limit=1000"}
		for _, path := range []string{"/flavors?", "/flavors/detail?"} {
			for _, q := range queries {
				for _, version := range []string{"2.1", "2.61", "2.102"} {
					got := api.Do(t, call(alice, version, "GET", path+q, ""))
					if got.Code >= 500 || strings.Contains(got.Body.String(), "hidden") {
						t.Errorf("%s%s at %s = %d %s", path, q, version, got.Code, got.Body)
					}
				}
			}
			if got := ids(api.Must(t, 200, call(admin, "2.1", "GET", path+"is_public=None", ""))); !strings.Contains(got, "hidden-id") {
				t.Errorf("administrators see %q: the test cannot fail", got)
			}
		}
	})
}
