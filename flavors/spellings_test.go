package flavors_test

import (
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"kilonova/flavors"
	"kilonova/flavors/apitest"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

// TestSpellings names flavors and their extra specs, and finds them by what they are called
// and by nothing that is like it.
func TestSpellings(t *testing.T) {
	each(t, func(t *testing.T, _ *flavors.Service, api *apitest.API, _ *schema.DB) {
		make := func(text string) bool {
			body := `{"flavor":{"name":` + strconv.Quote(text) + `,"ram":1,"vcpus":1,"disk":1}}`
			code := api.Do(t, call(admin, "2.1", "POST", "/flavors", body)).Code
			if again := api.Do(t, call(admin, "2.1", "POST", "/flavors", body)).Code; code == http.StatusOK && again != http.StatusConflict {
				t.Errorf("a second flavor %q = %d", text, again)
			}
			return code == http.StatusOK
		}
		schematest.Apart(t, "a flavor's name", make, func(text string) int {
			return strings.Count(api.Must(t, 200, call(admin, "2.1", "GET", "/flavors", "")), `"name":`+strconv.Quote(text))
		})
		for _, id := range []string{"Aa", "aa", "AA"} {
			api.Must(t, 200, call(admin, "2.1", "POST", "/flavors", `{"flavor":{"name":"id `+id+`","id":"`+id+`","ram":1,"vcpus":1,"disk":1}}`))
		}
		for _, id := range []string{"Aa", "aa", "AA", "aA", "áa", "aa%20"} {
			want := map[bool]int{true: 200, false: 404}[len(id) == 2 && id != "aA"]
			api.Must(t, want, call(admin, "2.1", "GET", "/flavors/"+id, ""))
		}
		for _, key := range []string{"K", "k", "\u212a"} { // the last folds to the others
			code := api.Do(t, call(admin, "2.1", "POST", "/flavors/1/os-extra_specs", `{"extra_specs":{"x:`+key+`":"`+key+`"}}`)).Code
			if code == 200 {
				got := api.Must(t, 200, call(admin, "2.1", "GET", "/flavors/1/os-extra_specs/"+url.PathEscape("x:"+key), ""))
				if !strings.Contains(got, `:"`+key+`"`) {
					t.Errorf("extra spec %q: %s", key, got)
				}
			}
		}
	})
}
