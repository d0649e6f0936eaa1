package keypairs_test

import (
	"net/http"
	"strconv"
	"testing"

	"kilonova/compat"
	"kilonova/flavors/apitest"
	"kilonova/keypairs"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

// TestSpellings names keypairs alike. What is no ASCII is refused, as by Nova until 2.91.
func TestSpellings(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := keypairs.New(db, nil, quotas.New(db, nil))
		api := apitest.New(t, func(c *compat.Compute) { s.Register(c) })
		add := func(name string) int {
			return api.Do(t, apitest.As("u@p", "2.1", "POST", "/os-keypairs", `{"keypair":{"name":`+strconv.Quote(name)+`,"public_key":"`+publicKey+`"}}`)).Code
		}
		for _, name := range []string{"strasse", "Strasse", "STRASSE", "str asse"} {
			if first, second := add(name), add(name); first != http.StatusOK || second != http.StatusConflict {
				t.Errorf("%q = %d and %d", name, first, second)
			}
		}
		for name, code := range map[string]int{"strasse": 200, "Strasse": 200, "sTRASSE": 404, "str%C3%A4sse": 404, "stra%C3%9Fe": 404, "strasse%20": 404} {
			api.Must(t, code, apitest.As("u@p", "2.1", "GET", "/os-keypairs/"+name, ""))
		}
		api.Must(t, 202, apitest.As("u@p", "2.1", "DELETE", "/os-keypairs/Strasse", ""))
		api.Must(t, 200, apitest.As("u@p", "2.1", "GET", "/os-keypairs/strasse", ""))
	})
}
