package images

import (
	"encoding/json"
	"net/url"
	"strings"
	"testing"

	"kilonova/schema/schematest"
)

// TestSpellings names images, tags and properties alike, and finds each by its own spelling.
func TestSpellings(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		found := func(query string) int {
			return len(c.must(200, admin, "GET", "/v2/images?"+query, nil)["images"].([]any))
		}
		quoted := func(text string) string {
			raw, err := json.Marshal(text)
			if err != nil {
				t.Fatal(err)
			}
			return string(raw)
		}
		for what, form := range map[string]struct{ body, filter string }{
			"an image's name":       {`"name":TEXT`, "name="},
			"a tag":                 {`"tags":[TEXT]`, "tag="},
			"a value of a property": {`"color":TEXT`, "color="},
		} {
			schematest.Apart(t, what, func(text string) bool {
				body := `{"disk_format":"raw","container_format":"bare",` + strings.Replace(form.body, "TEXT", quoted(text), 1) + `}`
				return c.do(admin, "POST", "/v2/images", body).Code == 201
			}, func(text string) int { return found(form.filter + url.QueryEscape(text)) })
		}
		for _, key := range []string{"Key", "key", "KEY"} {
			c.must(201, admin, "POST", "/v2/images", `{"disk_format":"raw","container_format":"bare","`+key+`":"x"}`)
		}
		for key, n := range map[string]int{"Key": 1, "key": 1, "KEY": 1, "kEY": 0} {
			if got := found(key + "=x"); got != n {
				t.Errorf("property %s finds %d", key, got)
			}
		}
	})
}
