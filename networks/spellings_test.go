package networks

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// TestSpellings names networks, security groups and their kind alike, and finds each by its
// own spelling; so are tags.
func TestSpellings(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		kept := story(t, s, []step{
			{name: "network", as: "a", method: "POST", path: "/v2.0/networks", body: `{"network":{}}`, code: 201, keep: "net"},
			{name: "room", as: "admin", method: "PUT", path: "/v2.0/quotas/" + projectA, body: `{"quota":{"security_group":-1,"network":-1,"port":-1}}`, code: 200},
		})
		for what, body := range map[string]string{
			"networks": `{"network":{"name":NAME}}`, "security-groups": `{"security_group":{"name":NAME}}`,
			"ports": `{"port":{"network_id":"` + kept["net"] + `","device_id":NAME,"name":NAME}}`,
		} {
			filters := []string{"name"}
			if what == "ports" {
				filters = append(filters, "device_id")
			}
			quote := func(text string) string {
				raw, err := json.Marshal(text)
				if err != nil {
					t.Fatal(err)
				}
				return string(raw)
			}
			for _, filter := range filters {
				first := filter == filters[0]
				schematest.Apart(t, what+" by "+filter, func(text string) bool {
					text = strings.ReplaceAll(body, "NAME", quote(text))
					if !first {
						text = strings.Replace(text, `"name":`, `"description":`, 1) // the names are there already
					}
					return call(s, "a", "POST", "/v2.0/"+what, text).Code == 201
				}, func(text string) int {
					extra := ""
					if !first {
						extra = "&name="
					}
					return strings.Count(call(s, "a", "GET", "/v2.0/"+what+"?fields=id&"+filter+"="+url.QueryEscape(text)+extra, "").Body.String(), `"id"`)
				})
			}
		}
		tags := "/v2.0/networks/" + kept["net"] + "/tags/"
		schematest.Apart(t, "a tag", func(text string) bool {
			return call(s, "a", "PUT", tags+url.PathEscape(text), "").Code == 201
		}, func(text string) int {
			there := map[int]int{204: 1, 404: 0}[call(s, "a", "GET", tags+url.PathEscape(text), "").Code]
			listed := strings.Count(call(s, "a", "GET", "/v2.0/networks?fields=id&tags="+url.QueryEscape(text), "").Body.String(), `"id"`)
			if listed != there {
				return 100 + listed
			}
			return there
		})
	})
}
