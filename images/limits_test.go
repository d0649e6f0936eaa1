package images

import (
	"fmt"
	"sync"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// TestLimitsOfAnImageHoldAtOnce: members and tags never pass their limit, however many ask.
func TestLimitsOfAnImageHoldAtOnce(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		c := newCloud(t, db)
		id := c.image(alice, "raw")
		var key int64
		_, err := db.Exec("UPDATE images SET visibility = 'shared' WHERE uuid = ?", id)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Get(&key, "SELECT id FROM images WHERE uuid = ?", id)
		if err != nil {
			t.Fatal(err)
		}
		for i := range maxMembers - 3 {
			_, err := db.Exec("INSERT INTO image_members (image_id, member, status, created_at, updated_at) VALUES (?, ?, 'pending', 1, 1)", key, fmt.Sprint("m", i))
			if err != nil {
				t.Fatal(err)
			}
		}
		for i := range maxTags - 3 {
			_, err := db.Exec("INSERT INTO image_tags (image_id, tag) VALUES (?, ?)", key, fmt.Sprint("t", i))
			if err != nil {
				t.Fatal(err)
			}
		}
		codes := map[string]int{}
		var mu sync.Mutex
		var wg sync.WaitGroup
		for i := range 12 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				member := c.do(alice, "POST", "/v2/images/"+id+"/members", fmt.Sprintf(`{"member": "late%d"}`, i)).Code
				tag := c.do(alice, "PUT", fmt.Sprintf("/v2/images/%s/tags/late%d", id, i), nil).Code
				mu.Lock()
				defer mu.Unlock()
				codes[fmt.Sprint("member ", member)]++
				codes[fmt.Sprint("tag ", tag)]++
			}()
		}
		wg.Wait()
		// Tags that met too many others are told so (409) and may be sent again.
		if codes["member 200"] != 3 || codes["member 413"] != 9 || codes["tag 204"] > 3 || codes["tag 204"]+codes["tag 413"]+codes["tag 409"] != 12 {
			t.Errorf("12 members and tags for 3 places: %v", codes)
		}
		var tags, members int
		err = db.QueryRow("SELECT (SELECT COUNT(*) FROM image_tags WHERE image_id = ?), (SELECT COUNT(*) FROM image_members WHERE image_id = ?)", key, key).Scan(&tags, &members)
		if err != nil || tags > maxTags || members != maxMembers {
			t.Errorf("%d tags, %d members, %v", tags, members, err)
		}
	})
}
