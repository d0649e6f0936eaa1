package identity_test

import (
	"context"
	"net/url"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// spellings are pairs of names, and whether they are one.
var spellings = []struct {
	a, b string
	one  bool
}{
	{"a", "A", true}, {"a", "a ", true}, {"a", " a", true}, {"a", "a\u00a0", true}, {"é", "É", true}, {"ß", "ẞ", true}, {"σ", "ς", true}, {"ａ", "Ａ", true},
	{"й", "Й", true}, {"K", "\u212a", true}, {"é", "e", false}, {"é", "e\u0301", false}, {"ß", "ss", false}, {"ａ", "a", false}, {"i", "ı", false}, {"i", "İ", false},
	{"a b", "a  b", false}, {"a", "a.", false}, {"ø", "o", false}, {"０", "0", false}, {"😀", "😁", false}, {"%", "_", false},
}

// TestSpellings makes two of each resource, by two spellings of a name, on both databases.
func TestSpellings(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		kinds := []struct{ plural, key, more string }{
			{"users", "user", `,"password":"secret"`}, {"projects", "project", ""}, {"domains", "domain", `,"enabled":false`}, {"groups", "group", ""}, {"roles", "role", ""},
		}
		for _, s := range spellings {
			for _, k := range kinds {
				id := c.create(admin, k.plural, k.key, `{"name":`+quote(s.a)+k.more+`}`)
				again := c.do("POST", "/v3/"+k.plural, admin, `{"`+k.key+`":{"name":`+quote(s.b)+k.more+`}}`)
				want := 201
				if s.one && (k.key != "role" || s.b != " a" && s.b != "a\u00a0") { // roles keep the blanks around their names
					want = 409
				}
				if again.code != want {
					t.Errorf("%s %q after %q = %d, want %d: %s", k.key, s.b, s.a, again.code, want, again.raw)
				}
				if k.key == "user" {
					code := 401
					if s.one && s.b != " a" && s.b != "a\u00a0" { // what is stored has no blanks around it, and the login does not drop them
						code = 201
					}
					if _, a := c.login(s.b, "secret", ""); a.code != code && want == 409 {
						t.Errorf("login as %q for %q = %d, want %d", s.b, s.a, a.code, code)
					}
				}
				if want == 409 { // another name may become it no more than a new one
					other := c.create(admin, k.plural, k.key, `{"name":"another"`+k.more+`}`)
					if a := c.do("PATCH", "/v3/"+k.plural+"/"+other, admin, `{"`+k.key+`":{"name":`+quote(s.b)+`}}`); a.code != 409 {
						t.Errorf("renaming a %s to %q beside %q = %d", k.key, s.b, s.a, a.code)
					}
					c.must(204, "DELETE", "/v3/"+k.plural+"/"+other, admin, "")
					if a := c.do("PATCH", "/v3/"+k.plural+"/"+id, admin, `{"`+k.key+`":{"name":`+quote(s.b)+`}}`); a.code != 200 {
						t.Errorf("respelling a %s from %q to %q = %d", k.key, s.a, s.b, a.code)
					}
				}
				c.must(204, "DELETE", "/v3/"+k.plural+"/"+id, admin, "")
				if again.code == 201 {
					c.must(204, "DELETE", "/v3/"+k.plural+"/"+again.text(k.key, "id"), admin, "")
				}
			}
		}
		// Ids are exact wherever one is named.
		user, project := c.member(admin, "ann", "member")
		for _, id := range []string{"DEFAULT", "default ", "défault"} {
			if a := c.do("GET", "/v3/domains/"+url.PathEscape(id), admin, ""); a.code != 404 {
				t.Errorf("domain %q = %d", id, a.code)
			}
			if _, a := c.auth(`{"methods":["password"],"password":{"user":{"name":"ann","domain":{"id":`+quote(id)+`},"password":"pw-ann"}}}`, ""); a.code != 401 {
				t.Errorf("login in domain %q = %d", id, a.code)
			}
			if _, a := c.login("ann", "pw-ann", `{"project":{"id":`+quote(project+" ")+`}}`); a.code != 401 {
				t.Errorf("login for a project's id with a blank = %d", a.code)
			}
			if _, a := c.auth(`{"methods":["password"],"password":{"user":{"id":`+quote(user+" ")+`,"password":"pw-ann"}}}`, ""); a.code != 401 {
				t.Errorf("login by an id with a blank = %d", a.code)
			}
		}
	})
}

// TestNamesOfEarlierReleases opens rows that have no keys yet. Two that have become one do
// not keep the service from starting, nor each other from being found.
func TestNamesOfEarlierReleases(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		c := newCloud(t, db)
		admin := c.admin()
		c.create(admin, "users", "user", `{"name":"Élan","password":"old"}`)
		newer := c.create(admin, "users", "user", `{"name":"x","password":"new"}`)
		c.create(admin, "users", "user", `{"name":"solo","password":"solo"}`)
		for _, statement := range []string{
			"UPDATE identity_users SET name_key = NULL", "UPDATE identity_domains SET name_key = NULL", "UPDATE identity_roles SET name_key = NULL",
			"UPDATE identity_users SET name = 'élan', created_at = created_at + 1000000 WHERE id = '" + newer + "'",
		} {
			_, err := db.ExecContext(context.Background(), statement)
			if err != nil {
				t.Fatal(err)
			}
		}
		c.s = c.another()
		for name, password := range map[string]string{"élan": "old", "ÉLAN": "old", "SOLO": "solo"} {
			if _, a := c.login(name, password, ""); a.code != 201 {
				t.Errorf("login as %q = %d", name, a.code)
			}
		}
		if _, a := c.auth(`{"methods":["password"],"password":{"user":{"id":"`+newer+`","password":"new"}}}`, ""); a.code != 201 {
			t.Errorf("the newer by its id = %d", a.code)
		}
		admin = c.admin()
		c.must(200, "PATCH", "/v3/users/"+newer, admin, `{"user":{"name":"Second"}}`)
		if _, a := c.login("second", "new", ""); a.code != 201 {
			t.Errorf("the newer after it was renamed = %d", a.code)
		}
		_, _ = c.rowOf(admin, "users", "solo")
	})
}
