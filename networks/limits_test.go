package networks

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// TestTagsAtOnce: of requests that meet at the limit of tags as many succeed as there is room.
func TestTagsAtOnce(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := newService(t, db)
		id := idIn(call(s, "a", http.MethodPost, "/v2.0/networks", `{"network":{"name":"n"}}`).Body.Bytes())
		tags := make([]string, maxTags-3)
		for i := range tags {
			tags[i] = fmt.Sprintf(`"t%d"`, i)
		}
		rec := call(s, "a", http.MethodPut, "/v2.0/networks/"+id+"/tags", `{"tags":[`+strings.Join(tags, ",")+`]}`)
		if rec.Code != http.StatusOK {
			t.Fatal(rec.Code, rec.Body)
		}
		var made, refused atomic.Int32
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				rec := call(s, "a", http.MethodPut, fmt.Sprintf("/v2.0/networks/%s/tags/late%d", id, i), "")
				switch rec.Code {
				case http.StatusCreated:
					made.Add(1)
				case http.StatusBadRequest:
					refused.Add(1)
				default:
					t.Errorf("a tag = %d %s", rec.Code, rec.Body)
				}
			}()
		}
		wg.Wait()
		if made.Load() != 3 || refused.Load() != 9 {
			t.Errorf("12 tags for 3 places: %d made, %d refused", made.Load(), refused.Load())
		}
	})
}
