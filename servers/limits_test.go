package servers

import (
	"fmt"
	"sync"
	"testing"

	"kilonova/servers/lifecycle"
)

// together sends n requests at the same moment and counts the codes of their answers.
func (c *cloud) together(n int, version string, request func(i int) (method, path, body string)) map[int]int {
	codes := map[int]int{}
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Add(1)
		go func() {
			defer wg.Done()
			method, path, body := request(i)
			<-start
			a := c.as(ours+" member", version, method, path, body)
			mu.Lock()
			codes[a.code]++
			mu.Unlock()
		}()
	}
	close(start)
	wg.Wait()
	return codes
}

// A limit holds whatever the number of requests that meet at it.
func TestLimitsOfAServerHoldAtOnce(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.boot("full")
		path := "/servers/" + id
		for i := range lifecycle.MaxTags - 3 {
			a := c.as(ours+" member", "2.26", "PUT", fmt.Sprintf("%s/tags/t%d", path, i), "")
			if a.code != 201 {
				t.Fatalf("tag %d = %d %s", i, a.code, a.body)
			}
		}
		codes := c.together(12, "2.26", func(i int) (string, string, string) { return "PUT", fmt.Sprintf("%s/tags/late%d", path, i), "" })
		if codes[201] != 3 || codes[400] != 9 {
			t.Errorf("12 tags for 3 places: %v", codes)
		}
		if n := len(c.as(ours+" member", "2.26", "GET", path+"/tags", "").get("tags").([]any)); n != lifecycle.MaxTags {
			t.Errorf("the server has %d tags", n)
		}
		codes = c.together(8, "2.26", func(i int) (string, string, string) {
			if i%2 == 0 {
				return "PUT", path + "/tags", fmt.Sprintf(`{"tags":["a%d","b%d"]}`, i, i)
			}
			return "PUT", fmt.Sprintf("%s/tags/c%d", path, i), ""
		})
		if codes[200] != 4 || codes[500] != 0 {
			t.Errorf("replacing and adding at once: %v", codes)
		}

		for i := range 125 {
			c.want(200, "PUT", fmt.Sprintf("%s/metadata/m%d", path, i), fmt.Sprintf(`{"meta":{"m%d":"x"}}`, i))
		}
		codes = c.together(12, "2.1", func(i int) (string, string, string) {
			if i%2 == 0 {
				return "POST", path + "/metadata", fmt.Sprintf(`{"metadata":{"late%d":"x"}}`, i)
			}
			return "PUT", fmt.Sprintf("%s/metadata/late%d", path, i), fmt.Sprintf(`{"meta":{"late%d":"x"}}`, i)
		})
		if codes[200] != 3 || codes[403] != 9 {
			t.Errorf("12 items of metadata for 3 places: %v", codes)
		}
	})
}
