package identity_test

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// TestOSSA_2012_002_2013_003_HugePasswordsAndTokens must be answered before they cost anything.
func TestOSSA_2012_002_2013_003_HugePasswordsAndTokens(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		huge := strings.Repeat("a", 100000)
		if _, a := c.login("admin", huge, ""); a.code != 401 {
			t.Errorf("login with a huge password = %d", a.code)
		}
		if _, a := c.login("admin", huge+huge, ""); a.code != 413 {
			t.Errorf("login with a body that is too large = %d", a.code)
		}
		if a := c.do("POST", "/v3/users", admin, `{"user":{"name":"n","password":"`+huge+`"}}`); a.code != 400 {
			t.Errorf("a user with a huge password = %d", a.code)
		}
		if _, a := c.login(huge, "x", ""); a.code != 400 {
			t.Errorf("login with a huge name = %d", a.code)
		}
		for _, token := range []string{huge, strings.Repeat(".", 8000), strings.Repeat("a.", 4000), admin + huge} {
			if code, _ := c.check(token); code != 401 {
				t.Errorf("check of a huge token = %d", code)
			}
		}
		// A password that is longer than bcrypt looks at counts in full.
		long := strings.Repeat("b", 100)
		c.create(admin, "users", "user", `{"name":"long","password":"`+long+`"}`)
		for password, want := range map[string]int{long: 201, long[:99]: 401, long + "b": 401, long[:72]: 401} {
			if _, a := c.login("long", password, ""); a.code != want {
				t.Errorf("password of %d bytes = %d, want %d", len(password), a.code, want)
			}
		}
	})
}

// TestOSSA_2014_013_EachMethodOnce repeats a method in one request.
func TestOSSA_2014_013_EachMethodOnce(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		user := `"password":{"user":{"name":"admin","domain":{"id":"default"},"password":"` + adminPassword + `"}}`
		many := strings.Repeat(`"password",`, 5) + `"password"`
		_, a := c.auth(`{"methods":[`+many+`],`+user+`}`, "")
		if a.code != 201 || len(a.list("token", "methods")) != 1 {
			t.Errorf("a repeated method = %d: %s", a.code, a.raw)
		}
		if _, a := c.auth(`{"methods":[`+strings.Repeat(`"password",`, 500)+`"password"],`+user+`}`, ""); a.code != 400 {
			t.Errorf("500 methods = %d", a.code)
		}
		// Two methods must prove the same user.
		admin := c.admin()
		_, project := c.member(admin, "ann", "member")
		ann, _ := c.login("ann", "pw-ann", projectScope(project))
		if _, a := c.auth(`{"methods":["password","token"],`+user+`,"token":{"id":"`+ann+`"}}`, ""); a.code != 401 {
			t.Errorf("two users in one login = %d", a.code)
		}
		if _, a := c.auth(`{"methods":["password","token"],`+user+`,"token":{"id":"`+admin+`"}}`, ""); a.code != 201 {
			t.Errorf("one user by two methods = %d", a.code)
		}
	})
}

// TestOSSA_2021_002_NoRedirects asks for paths that a router would clean and redirect.
func TestOSSA_2021_002_NoRedirects(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		for _, path := range []string{"//evil.example/%2e%2e", "//evil.example/..", "/v3//evil.example", "/v3/../v3", "/v3/users/..;/", "/%5cevil.example"} {
			a := c.do("GET", path, c.admin(), "")
			if a.code != http.StatusNotFound || a.header.Get("Location") != "" {
				t.Errorf("GET %s = %d to %q", path, a.code, a.header.Get("Location"))
			}
		}
	})
}

// TestOSSA_2012_004_2013_036_2014_027_2026_006_ScriptsStayText stores names that are scripts.
func TestOSSA_2012_004_2013_036_2014_027_2026_006_ScriptsStayText(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		a := c.must(201, "POST", "/v3/projects", admin, `{"project":{"name":"<script>alert(1)</script>"}}`)
		if bytes.Contains(a.raw, []byte("<script>")) || a.header.Get("Content-Type") != "application/json" || a.header.Get("X-Content-Type-Options") != "nosniff" {
			t.Errorf("headers %v, body %s", a.header, a.raw)
		}
		if a.text("project", "name") != "<script>alert(1)</script>" {
			t.Errorf("the name became %q", a.text("project", "name"))
		}
		a = c.do("GET", "/v3/projects/%3Cscript%3E", admin, "")
		if a.code != 404 || bytes.Contains(a.raw, []byte("<script>")) {
			t.Errorf("a script as id = %d: %s", a.code, a.raw)
		}
		a = c.do("GET", "/", "", "", "X-Forwarded-Host", `evil"><script>`)
		if bytes.Contains(a.raw, []byte("script")) {
			t.Errorf("a script as host: %s", a.raw)
		}
	})
}

// TestOSSA_2026_009_NothingIsStoredBeforeLogin counts rows after many bad requests.
func TestOSSA_2026_009_NothingIsStoredBeforeLogin(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		count := func() (n int) {
			for _, table := range []string{"identity_users", "identity_revocations", "identity_grants", "identity_app_credentials"} {
				var rows int
				err := c.db.Get(&rows, "SELECT COUNT(*) FROM "+table)
				if err != nil {
					t.Fatal(err)
				}
				n += rows
			}
			return n
		}
		before := count()
		for i := range 50 {
			c.login(fmt.Sprintf("u%d", i), "x", "")
			c.check(fmt.Sprintf("t%d", i))
			c.do("DELETE", "/v3/auth/tokens", "", "", "X-Subject-Token", "x")
		}
		if after := count(); after != before {
			t.Errorf("%d rows became %d", before, after)
		}
	})
}
