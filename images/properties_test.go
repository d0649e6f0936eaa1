package images

import (
	"fmt"
	"testing"

	"kilonova/schema/schematest"
)

// An image has so many properties at most, whichever way they come; one that has more may
// lose some.
func TestPropertiesAreCounted(t *testing.T) {
	c := newCloud(t, schematest.SQLite(t))
	id := c.image(alice, "raw")
	add := func(i int) string { return fmt.Sprintf(`{"op":"add","path":"/p%d","value":"x"}`, i) }
	patch := func(code int, operations string) {
		t.Helper()
		c.must(code, alice, "PATCH", "/v2/images/"+id, "["+operations+"]")
	}
	have := 0
	for ; have < maxProperties; have++ {
		patch(200, add(have))
	}
	patch(413, add(have))
	patch(413, add(have)+","+add(have+1))
	patch(200, `{"op":"remove","path":"/p0"}`)
	patch(413, add(have)+","+add(have+1))
	patch(200, add(have))
}
