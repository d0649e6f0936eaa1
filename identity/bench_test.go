package identity_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kilonova/compat"
	"kilonova/identity"
	"kilonova/schema/schematest"
)

// BenchmarkCheck measures the token check of a request: of a token that was seen before, of
// one whose user was but which itself was not, and of one that is forged.
func BenchmarkCheck(b *testing.B) {
	c := newCloud(b, schematest.SQLite(b))
	h := c.s.Authenticate(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	run := func(b *testing.B, token func(i int) string) {
		r := httptest.NewRequest("GET", "/", nil)
		w := httptest.NewRecorder()
		b.ReportAllocs()
		i := 0
		for b.Loop() {
			r.Header["X-Auth-Token"] = []string{token(i)}
			h.ServeHTTP(w, r)
			i++
		}
	}
	admin := c.admin()
	b.Run("cached", func(b *testing.B) { run(b, func(int) string { return admin }) })
	b.Run("uncached", func(b *testing.B) {
		many := make([]string, 20000) // more than are remembered
		for i := range many {
			many[i] = c.admin()
		}
		run(b, func(i int) string { return many[i%len(many)] })
	})
	b.Run("forged", func(b *testing.B) {
		forged := admin[:len(admin)-8] + "AAAAAAAA"
		run(b, func(int) string { return forged })
	})
}

// BenchmarkIssue measures POST /v3/auth/tokens with a password that was right before, and
// with a token.
func BenchmarkIssue(b *testing.B) {
	c := newCloud(b, schematest.SQLite(b))
	run := func(b *testing.B, method string) {
		body := `{"auth":{"identity":` + method + `,"scope":` + adminScope + `}}`
		b.ReportAllocs()
		for b.Loop() {
			r := httptest.NewRequest("POST", "/v3/auth/tokens", strings.NewReader(body))
			w := httptest.NewRecorder()
			c.s.Handler().ServeHTTP(w, r)
			if w.Code != 201 {
				b.Fatal(w.Body)
			}
		}
	}
	b.Run("password", func(b *testing.B) {
		run(b, `{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":"`+adminPassword+`"}}}`)
	})
	token := c.admin()
	b.Run("token", func(b *testing.B) { run(b, `{"methods":["token"],"token":{"id":"`+token+`"}}`) })
}

func BenchmarkPolicy(b *testing.B) {
	p := identity.NewPolicy()
	who := &compat.Caller{UserID: "u", ProjectID: "p", Roles: []string{"member", "reader"}}
	for b.Loop() {
		if !p.Allows("os_compute_api:servers:show", who, compat.Target{ProjectID: "p"}) {
			b.Fatal("refused")
		}
	}
}
