package servers

import (
	"encoding/json"
	"net/url"
	"regexp"
	"strings"
	"testing"

	"kilonova/schema/schematest"
)

// TestSpellings names servers, tags and metadata alike, and finds each by its own spelling:
// a pattern for names minds case and accents too, on every database.
func TestSpellings(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		list := func(query string) int {
			found, ok := c.as(ours+" member", "2.26", "GET", "/servers?"+query, "").get("servers").([]any)
			if !ok {
				t.Fatalf("no list for %s", query)
			}
			return len(found)
		}
		schematest.Apart(t, "a server's name", func(text string) bool {
			if strings.HasSuffix(text, " ") {
				return false // it is cut off
			}
			name, err := json.Marshal(text)
			return err == nil && c.as(ours+" member", "2.1", "POST", "/servers", strings.Replace(c.createBody("NAME", ""), `"NAME"`, string(name), 1)).code == 202
		}, func(text string) int { return list("name=" + url.QueryEscape("^"+regexp.QuoteMeta(text)+"$")) })
		if n := list("name=STRASSE"); n != 1 {
			t.Errorf("a word that is in one name finds %d", n)
		}
		id := c.boot("tagged")
		tags := "/servers/" + id + "/tags/"
		schematest.Apart(t, "a tag", func(text string) bool {
			return c.as(ours+" member", "2.26", "PUT", tags+url.PathEscape(text), "").code == 201
		}, func(text string) int {
			there := map[int]int{204: 1, 404: 0}[c.as(ours+" member", "2.26", "GET", tags+url.PathEscape(text), "").code]
			if found := list("tags=" + url.QueryEscape(text)); found != there {
				return 100 + found
			}
			return there
		})
		keys := []string{"Key", "key", "KEY", "key ", "kEY"}
		for _, key := range keys[:4] {
			c.want(200, "PUT", "/servers/"+id+"/metadata/"+url.PathEscape(key), `{"meta":{"`+key+`":"of `+key+`"}}`)
		}
		for i, key := range keys {
			a := c.do("GET", "/servers/"+id+"/metadata/"+url.PathEscape(key), "")
			if want := map[bool]int{true: 200, false: 404}[i < 4]; a.code != want || want == 200 && a.text("meta", key) != "of "+key {
				t.Errorf("metadata %q = %d %s", key, a.code, a.body)
			}
		}
	})
}
