package identity_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Each test is named after the advisories of OpenStack whose attack it tries.

// sign signs a payload with a key of the test's own.
func sign(t *testing.T, method jwt.SigningMethod, key any, header, payload map[string]any) string {
	t.Helper()
	tok := jwt.NewWithClaims(method, jwt.MapClaims(payload))
	for k, v := range header {
		tok.Header[k] = v
	}
	text, err := tok.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// TestOSSA_2013_009_OneWayToCheckATokenAndOneAlgorithm tries alg none, an HMAC keyed with
// the public key, and a key of the attacker's.
func TestOSSA_2013_009_OneWayToCheckATokenAndOneAlgorithm(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		good := c.admin()
		_, payload, signature := parts(t, good)
		public, err := os.ReadFile(filepath.Join(c.keys, "public", "public.pem"))
		if err != nil {
			t.Fatal(err)
		}
		private, err := os.ReadFile(filepath.Join(c.keys, "private", "private.pem"))
		if err != nil {
			t.Fatal(err)
		}
		real, err := jwt.ParseECPrivateKeyFromPEM(private)
		if err != nil {
			t.Fatal(err)
		}
		own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		with := func(k string, v any) map[string]any {
			m := map[string]any{}
			for key, value := range payload {
				m[key] = value
			}
			m[k] = v
			return m
		}
		p := strings.Split(good, ".")
		b64 := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
		asn1 := append([]byte{0x30, 0x44}, signature...)
		es, typ := jwt.SigningMethodES256, map[string]any{"typ": "JWT"}
		bad := map[string]string{
			"alg none":                      sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, typ, payload),
			"alg none, in capitals":         b64(`{"alg":"NONE","typ":"JWT"}`) + "." + p[1] + ".",
			"alg none, with a signature":    b64(`{"alg":"none","typ":"JWT"}`) + "." + p[1] + "." + p[2],
			"HMAC with the public key":      sign(t, jwt.SigningMethodHS256, public, typ, payload),
			"HMAC named, ES256 signature":   b64(`{"alg":"HS256","typ":"JWT"}`) + "." + p[1] + "." + p[2],
			"another key":                   sign(t, es, own, typ, payload),
			"another key in the header":     sign(t, es, own, map[string]any{"jwk": map[string]any{"kty": "EC", "crv": "P-256"}}, payload),
			"a path as key id":              sign(t, es, own, map[string]any{"kid": "../../private/private.pem"}, payload),
			"another payload":               p[0] + "." + b64(`{"sub":"admin"}`) + "." + p[2],
			"no signature":                  p[0] + "." + p[1] + ".",
			"an ASN.1 signature":            p[0] + "." + p[1] + "." + base64.RawURLEncoding.EncodeToString(asn1),
			"a signature of zeros":          p[0] + "." + p[1] + "." + base64.RawURLEncoding.EncodeToString(make([]byte, 64)),
			"padding":                       good + "==",
			"a trailing part":               good + ".x",
			"a space":                       good + " ",
			"two tokens":                    good + "," + good,
			"another type":                  sign(t, es, real, map[string]any{"typ": "at+jwt"}, payload),
			"an audience":                   sign(t, es, real, typ, with("aud", "kilonova:read")),
			"critical extensions":           sign(t, es, real, map[string]any{"typ": "JWT", "crit": []string{"x"}}, payload),
			"a trust":                       sign(t, es, real, typ, with("openstack_trust_id", "t")),
			"federated groups":              sign(t, es, real, typ, with("openstack_group_ids", []string{"g"})),
			"two scopes":                    sign(t, es, real, typ, with("openstack_system", "all")),
			"no expiry":                     sign(t, es, real, typ, with("exp", 0)),
			"expiry as a string":            sign(t, es, real, typ, with("exp", "9999999999")),
			"no audit id":                   sign(t, es, real, typ, with("openstack_audit_ids", []string{})),
			"no methods":                    sign(t, es, real, typ, with("openstack_methods", nil)),
			"a credential that is not hers": sign(t, es, real, typ, with("openstack_app_cred_id", "x")),
			"a user who is not there":       sign(t, es, real, typ, with("sub", "nobody")),
			"a NUL in the user":             sign(t, es, real, typ, with("sub", "a\x00b")),
		}
		for name, token := range bad {
			if code, caller := c.check(token); code != 401 || caller != nil {
				t.Errorf("%s: check = %d", name, code)
			}
			if a := c.do("GET", "/v3/auth/tokens", good, "", "X-Subject-Token", token); a.code != 404 {
				t.Errorf("%s: validation = %d: %s", name, a.code, a.raw)
			}
			if _, a := c.rescope(token, `"unscoped"`); a.code != 401 {
				t.Errorf("%s: rescoping = %d: %s", name, a.code, a.raw)
			}
			if code, _ := c.check(good, "X-Service-Token", token); code != 401 {
				t.Errorf("%s: as a service token = %d", name, code)
			}
		}
		// The same payload with the real key is good, so the above fail for their own reasons.
		if code, _ := c.check(sign(t, es, real, typ, payload)); code != 200 {
			t.Errorf("a token signed anew = %d", code)
		}
	})
}

// TestOSSA_2012_010_2012_014_2012_016_2012_018_2012_019_2013_011_2013_014_2013_025_2014_026_2016_005_2016_008_RevokedTokens
// has a row for each thing that ends tokens: after it the token, and one made from it, fail
// everywhere, and stay failed when the thing is undone; a new login works again.
func TestOSSA_2012_010_2012_014_2012_016_2012_018_2012_019_2013_011_2013_014_2013_025_2014_026_2016_005_2016_008_RevokedTokens(t *testing.T) {
	type place struct{ user, project, role, group, domain string }
	tests := []struct {
		name      string
		do, undo  func(c *cloud, admin string, p place)
		password  string // afterwards
		unscoped  bool   // the unscoped token fails too
		unlogged  bool   // no login until it is undone
		unaltered bool   // the scoped token still works
	}{
		{name: "the user disabled", unscoped: true, unlogged: true,
			do: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/users/"+p.user, a, `{"user":{"enabled":false}}`)
			},
			undo: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/users/"+p.user, a, `{"user":{"enabled":true}}`)
			}},
		{name: "the user deleted", unscoped: true, unlogged: true,
			do: func(c *cloud, a string, p place) { c.must(204, "DELETE", "/v3/users/"+p.user, a, "") }},
		{name: "the password set by an admin", unscoped: true, password: "new",
			do: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/users/"+p.user, a, `{"user":{"password":"new"}}`)
			}},
		{name: "the password changed by the user", unscoped: true, password: "new",
			do: func(c *cloud, a string, p place) {
				token, _ := c.login("eve", "pw", `"unscoped"`)
				c.must(204, "POST", "/v3/users/"+p.user+"/password", token, `{"user":{"password":"new","original_password":"pw"}}`)
			}},
		{name: "the project disabled", unlogged: true,
			do: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/projects/"+p.project, a, `{"project":{"enabled":false}}`)
			},
			undo: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/projects/"+p.project, a, `{"project":{"enabled":true}}`)
			}},
		{name: "the project deleted", unlogged: true,
			do: func(c *cloud, a string, p place) { c.must(204, "DELETE", "/v3/projects/"+p.project, a, "") }},
		{name: "the role taken away", unlogged: true,
			do: func(c *cloud, a string, p place) {
				c.must(204, "DELETE", "/v3/projects/"+p.project+"/users/"+p.user+"/roles/"+p.role, a, "")
				c.must(204, "DELETE", "/v3/groups/"+p.group+"/users/"+p.user, a, "")
			},
			unscoped: true, // leaving a group ends all tokens
			undo: func(c *cloud, a string, p place) {
				c.must(204, "PUT", "/v3/projects/"+p.project+"/users/"+p.user+"/roles/"+p.role, a, "")
			}},
		{name: "one of two roles taken away",
			do: func(c *cloud, a string, p place) {
				c.must(204, "DELETE", "/v3/projects/"+p.project+"/users/"+p.user+"/roles/"+p.role, a, "")
			}},
		{name: "the group's role taken away",
			do: func(c *cloud, a string, p place) {
				c.must(204, "DELETE", "/v3/projects/"+p.project+"/groups/"+p.group+"/roles/"+p.role, a, "")
			}},
		{name: "the group deleted", unscoped: true,
			do: func(c *cloud, a string, p place) { c.must(204, "DELETE", "/v3/groups/"+p.group, a, "") }},
		{name: "the role deleted", unlogged: true,
			do: func(c *cloud, a string, p place) { c.must(204, "DELETE", "/v3/roles/"+p.role, a, "") }},
		{name: "the domain disabled", unscoped: true, unlogged: true,
			do: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/domains/"+p.domain, a, `{"domain":{"enabled":false}}`)
			},
			undo: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/domains/"+p.domain, a, `{"domain":{"enabled":true}}`)
			}},
		{name: "another user disabled", unaltered: true,
			do: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/users/"+c.create(a, "users", "user", `{"name":"other"}`), a, `{"user":{"enabled":false}}`)
			}},
		{name: "renamed", unaltered: true,
			do: func(c *cloud, a string, p place) {
				c.must(200, "PATCH", "/v3/users/"+p.user, a, `{"user":{"email":"e@example"}}`)
			}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			each(t, func(t *testing.T, c *cloud) {
				admin := c.admin()
				var p place
				p.domain = c.create(admin, "domains", "domain", `{"name":"d"}`)
				in := `,"domain_id":"` + p.domain + `"`
				p.project = c.create(admin, "projects", "project", `{"name":"p"`+in+`}`)
				p.user = c.create(admin, "users", "user", `{"name":"eve","password":"pw"`+strings.Replace(in, p.domain, "default", 1)+`}`)
				if strings.Contains(tt.name, "domain") {
					p.user = c.create(admin, "users", "user", `{"name":"eve2","password":"pw"`+in+`}`)
				}
				p.group = c.create(admin, "groups", "group", `{"name":"g"`+in+`}`)
				p.role = c.create(admin, "roles", "role", `{"name":"special"}`)
				at := "/v3/projects/" + p.project
				c.must(204, "PUT", at+"/users/"+p.user+"/roles/"+p.role, admin, "")
				c.must(204, "PUT", at+"/groups/"+p.group+"/roles/"+p.role, admin, "")
				c.must(204, "PUT", "/v3/groups/"+p.group+"/users/"+p.user, admin, "")
				password := "pw"
				login := func(scope string) (string, answer) {
					return c.auth(`{"methods":["password"],"password":{"user":{"id":"`+p.user+`","password":"`+password+`"}}}`, scope)
				}
				unscoped, a := login(`"unscoped"`)
				scoped, b := login(projectScope(p.project))
				derived, d := c.rescope(unscoped, projectScope(p.project))
				if a.code != 201 || b.code != 201 || d.code != 201 {
					t.Fatalf("logins = %d, %d, %d", a.code, b.code, d.code)
				}
				verdict := func(token string, good bool, what string) {
					t.Helper()
					code, _ := c.check(token)
					validated := c.do("GET", "/v3/auth/tokens", admin, "", "X-Subject-Token", token).code
					_, again := c.rescope(token, `"unscoped"`)
					want := [3]int{200, 200, 201}
					if !good {
						want = [3]int{401, 404, 401}
					}
					if got := [3]int{code, validated, again.code}; got != want {
						t.Errorf("%s: check, validation, rescoping = %v, want %v", what, got, want)
					}
				}
				for _, token := range []string{unscoped, scoped, derived} {
					verdict(token, true, "before")
				}
				tt.do(c, admin, p)
				all := func(when string) {
					t.Helper()
					verdict(unscoped, !tt.unscoped, when+": unscoped")
					verdict(scoped, tt.unaltered, when+": scoped")
					verdict(derived, tt.unaltered, when+": derived")
				}
				all("after")
				if tt.password != "" {
					if _, a := login(projectScope(p.project)); a.code != 401 {
						t.Errorf("login with the old password = %d", a.code)
					}
					password = tt.password
				}
				if _, a := login(projectScope(p.project)); (a.code == 401) != tt.unlogged {
					t.Errorf("login afterwards = %d", a.code)
				}
				if tt.undo != nil {
					tt.undo(c, admin, p)
					all("undone")
				}
				if tt.undo != nil || !tt.unlogged {
					fresh, a := login(projectScope(p.project))
					if a.code != 201 {
						t.Fatalf("a new login = %d: %s", a.code, a.raw)
					}
					verdict(fresh, true, "new") // in the same second as what ended the old ones
				}
			})
		})
	}
}

// TestOSSA_2012_010_DerivedTokensEndWithTheirParent follows a chain of tokens to its end.
func TestOSSA_2012_010_DerivedTokensEndWithTheirParent(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		token, _ := c.login("admin", adminPassword, `"unscoped"`)
		chain := []string{token}
		for range 7 {
			c.move(30 * time.Minute)
			next, a := c.rescope(chain[len(chain)-1], adminScope)
			if a.code != 201 {
				t.Fatalf("rescope = %d", a.code)
			}
			chain = append(chain, next)
		}
		c.move(31 * time.Minute)
		for i, token := range chain {
			if code, _ := c.check(token); code != 401 {
				t.Errorf("token %d of the chain lives after its first: %d", i, code)
			}
		}
		if _, a := c.rescope(chain[7], adminScope); a.code != 401 {
			t.Errorf("rescoping an expired token = %d", a.code)
		}
	})
}

// TestOSSA_2026_001_ForgedIdentityHeaders sends what a token check sets for applications.
func TestOSSA_2026_001_ForgedIdentityHeaders(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "ann", "reader")
		token, _ := c.login("ann", "pw-ann", projectScope(project))
		forged := []string{"X-Roles", "admin", "X-Role", "admin", "X-User-Id", "someone", "X-Project-Id", "other", "X-Is-Admin-Project", "True",
			"X-Identity-Status", "Confirmed", "OpenStack-System-Scope", "all", "X-Service-Roles", "service", "X-Service-Identity-Status", "Confirmed"}
		code, caller := c.check(token, forged...)
		if code != 200 || caller.UserID != user || caller.ProjectID != project || caller.IsAdmin() || caller.System || !slices.Equal(caller.Roles, []string{"reader"}) {
			t.Errorf("check = %d, %+v", code, caller)
		}
		if code, _ := c.check("", forged...); code != 401 {
			t.Errorf("without a token = %d", code)
		}
		if a := c.do("GET", "/v3/users", token, "", forged...); a.code != 403 {
			t.Errorf("list users = %d", a.code)
		}
	})
}

// TestOSSA_2014_018_2014_022_2020_005_2026_005_CredentialsGainNoRoles makes credentials with
// each subset of the roles, from tokens with each role: none ever has more than both.
func TestOSSA_2014_018_2014_022_2020_005_2026_005_CredentialsGainNoRoles(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		names := []string{"manager", "member", "reader", "service"}
		implied := map[string][]string{"manager": {"manager", "member", "reader"}, "member": {"member", "reader"}, "reader": {"reader"}, "service": {"service"}}
		for _, has := range names {
			user, project := c.member(admin, "u-"+has, has)
			token, _ := c.login("u-"+has, "pw-u-"+has, projectScope(project))
			at := "/v3/users/" + user + "/application_credentials"
			for _, wants := range append(names, "admin", "") {
				roles := "[]"
				if wants != "" {
					roles = `[{"name":"` + wants + `"}]`
				}
				a := c.do("POST", at, token, `{"application_credential":{"name":"c-`+wants+`","roles":`+roles+`}}`)
				allowed := wants == "" || slices.Contains(implied[has], wants)
				if (a.code == 201) != allowed {
					t.Errorf("%s asks for %q = %d: %s", has, wants, a.code, a.raw)
				}
				if a.code != 201 {
					continue
				}
				id, secret := a.text("application_credential", "id"), a.text("application_credential", "secret")
				cred, b := c.auth(`{"methods":["application_credential"],"application_credential":{"id":"`+id+`","secret":"`+secret+`"}}`, "")
				if b.code != 201 || b.text("token", "project", "id") != project {
					t.Fatalf("login with a credential = %d: %s", b.code, b.raw)
				}
				_, caller := c.check(cred)
				for _, role := range caller.Roles {
					if !slices.Contains(implied[has], role) || wants != "" && !slices.Contains(implied[wants], role) {
						t.Errorf("%s: a credential of %q has the role %s", has, wants, role)
					}
				}
				// It makes no other token, no other credential, and removes none.
				if _, a := c.rescope(cred, projectScope(project)); a.code != 403 {
					t.Errorf("rescoping a credential's token = %d", a.code)
				}
				if _, a := c.auth(`{"methods":["application_credential"],"application_credential":{"id":"`+id+`","secret":"`+secret+`"}}`, adminScope); a.code != 401 {
					t.Errorf("a credential with a scope = %d", a.code)
				}
				if a := c.do("POST", at, cred, `{"application_credential":{"name":"more"}}`); a.code != 403 {
					t.Errorf("a credential makes a credential = %d", a.code)
				}
				if a := c.do("DELETE", at+"/"+id, cred, ""); a.code != 403 {
					t.Errorf("a credential removes a credential = %d", a.code)
				}
			}
		}
		// What the user loses, the credential loses.
		user, project := c.member(admin, "zoe", "member")
		token, _ := c.login("zoe", "pw-zoe", projectScope(project))
		a := c.must(201, "POST", "/v3/users/"+user+"/application_credentials", token, `{"application_credential":{"name":"x","unrestricted":true}}`)
		login := `{"methods":["application_credential"],"application_credential":{"name":"X","secret":"` + a.text("application_credential", "secret") + `","user":{"name":"zoe","domain":{"id":"default"}}}}`
		cred, b := c.auth(login, "")
		if b.code != 201 || b.get("token", "application_credential", "restricted") != false {
			t.Fatalf("login by name = %d: %s", b.code, b.raw)
		}
		grant := "/v3/projects/" + project + "/users/" + user + "/roles/"
		c.must(204, "PUT", grant+c.role(admin, "reader"), admin, "")
		c.must(204, "DELETE", grant+c.role(admin, "member"), admin, "")
		if code, _ := c.check(cred); code != 401 {
			t.Errorf("the old token of a credential whose user lost a role = %d", code)
		}
		cred, _ = c.auth(login, "")
		if code, caller := c.check(cred); code != 200 || !slices.Equal(caller.Roles, []string{"reader"}) {
			t.Errorf("a new token = %d, %+v", code, caller)
		}
		c.must(204, "DELETE", "/v3/users/"+user+"/application_credentials/"+a.text("application_credential", "id"), admin, "")
		if code, _ := c.check(cred); code != 401 {
			t.Errorf("the token of a removed credential = %d", code)
		}
		if _, a := c.auth(login, ""); a.code != 401 {
			t.Errorf("login with a removed credential = %d", a.code)
		}
	})
}

// TestOSSA_2020_003_2025_002_NoSignatureLogins asks for the logins that are not offered.
func TestOSSA_2020_003_2025_002_NoSignatureLogins(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		for _, path := range []string{"/v3/ec2tokens", "/v3/s3tokens", "/v2.0/tokens", "/v3/OS-TRUST/trusts", "/v3/auth/OS-FEDERATION/saml2", "/v3/OS-OAUTH1/access_token"} {
			if a := c.do("POST", path, c.admin(), `{"credentials":{"access":"a","signature":"s"}}`); a.code != 404 {
				t.Errorf("POST %s = %d: %s", path, a.code, a.raw)
			}
		}
	})
}

// TestOSSA_2021_003_SameAnswerForKnownAndUnknownNames compares the answers to bad logins.
func TestOSSA_2021_003_SameAnswerForKnownAndUnknownNames(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, _ := c.member(admin, "ann", "member")
		c.create(admin, "users", "user", `{"name":"off","password":"pw-off","enabled":false}`)
		c.create(admin, "users", "user", `{"name":"bare"}`)
		project := c.create(admin, "projects", "project", `{"name":"closed"}`)
		pw := func(u string) string { return `{"methods":["password"],"password":{"user":` + u + `}}` }
		bad := map[string][2]string{
			"wrong password":          {pw(`{"id":"` + user + `","password":"no"}`), ""},
			"unknown name":            {pw(`{"name":"nobody","domain":{"id":"default"},"password":"no"}`), ""},
			"unknown id":              {pw(`{"id":"nobody","password":"no"}`), ""},
			"unknown domain":          {pw(`{"name":"ann","domain":{"name":"zz"},"password":"pw-ann"}`), ""},
			"disabled":                {pw(`{"name":"off","domain":{"id":"default"},"password":"pw-off"}`), ""},
			"disabled, wrong":         {pw(`{"name":"off","domain":{"id":"default"},"password":"no"}`), ""},
			"without a password":      {pw(`{"name":"bare","domain":{"id":"default"},"password":""}`), ""},
			"id with a space":         {pw(`{"id":"` + user + ` ","password":"pw-ann"}`), ""},
			"another's project":       {pw(`{"id":"` + user + `","password":"pw-ann"}`), projectScope(project)},
			"unknown project":         {pw(`{"id":"` + user + `","password":"pw-ann"}`), projectScope("zz")},
			"unknown method":          {`{"methods":["magic"],"magic":{}}`, ""},
			"unknown credential":      {`{"methods":["application_credential"],"application_credential":{"id":"zz","secret":"s"}}`, ""},
			"a token that is no good": {`{"methods":["token"],"token":{"id":"zz"}}`, ""},
		}
		_, want := c.auth(bad["wrong password"][0], "")
		for name, b := range bad {
			_, a := c.auth(b[0], b[1])
			if a.code != 401 || !bytes.Equal(a.raw, want.raw) {
				t.Errorf("%s = %d: %s", name, a.code, a.raw)
			}
		}
	})
}

// TestOSSA_2021_003_GuessingIsSlowedDownAlike counts failures of names that exist and that do not.
func TestOSSA_2021_003_GuessingIsSlowedDownAlike(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		guess := func(name string) (codes []int) {
			for range 15 {
				_, a := c.login(name, "guess", "")
				if a.code == 429 && a.header.Get("Retry-After") == "" {
					t.Error("429 without Retry-After")
				}
				codes = append(codes, a.code)
			}
			return codes
		}
		known, unknown := guess("admin"), guess("nobody")
		if !slices.Equal(known, unknown) || known[0] != 401 || known[14] != 429 {
			t.Errorf("codes: %v for a user, %v for none", known, unknown)
		}
		if _, a := c.login("admin", adminPassword, ""); a.code != 429 {
			t.Errorf("the right password from where it was guessed = %d", a.code)
		}
		c.address = "192.0.2.2:999"
		if _, a := c.login("admin", adminPassword, ""); a.code != 201 {
			t.Errorf("the right password from elsewhere = %d", a.code)
		}
		c.address = "192.0.2.1:1000"
		c.move(4 * time.Second)
		for range 100 { // success costs nothing
			if _, a := c.login("admin", adminPassword, ""); a.code != 201 {
				t.Fatalf("the right password after waiting = %d", a.code)
			}
		}
	})
}

// TestOSSA_2026_007_StrictBooleans sends what is not false as enabled.
func TestOSSA_2026_007_StrictBooleans(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "ann", "member")
		for _, value := range []string{`"FALSE"`, `"false"`, `"True"`, `0`, `1`, `null`, `[]`, `{}`, `""`} {
			for path, key := range map[string]string{"/v3/users/" + user: "user", "/v3/projects/" + project: "project", "/v3/domains/default": "domain"} {
				if a := c.do("PATCH", path, admin, `{"`+key+`":{"enabled":`+value+`}}`); a.code != 400 {
					t.Errorf("PATCH %s enabled %s = %d", key, value, a.code)
				}
			}
			for plural, key := range map[string]string{"users": "user", "projects": "project", "domains": "domain"} {
				if a := c.do("POST", "/v3/"+plural, admin, `{"`+key+`":{"name":"n","enabled":`+value+`}}`); a.code != 400 {
					t.Errorf("POST %s enabled %s = %d", key, value, a.code)
				}
			}
		}
		c.create(admin, "users", "user", `{"name":"off","password":"pw","enabled":false}`)
		if _, a := c.login("off", "pw", ""); a.code != 401 {
			t.Errorf("login of a disabled user = %d", a.code)
		}
	})
}

// TestOSSA_2018_002_2019_006_2020_004_OthersAreOutOfReach tries what a plain user may not.
func TestOSSA_2018_002_2019_006_2020_004_OthersAreOutOfReach(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		ann, project := c.member(admin, "ann", "manager")
		bob, other := c.member(admin, "bob", "member")
		bobs, _ := c.login("bob", "pw-bob", projectScope(other))
		cred := c.must(201, "POST", "/v3/users/"+bob+"/application_credentials", bobs, `{"application_credential":{"name":"x"}}`).text("application_credential", "id")
		token, _ := c.login("ann", "pw-ann", projectScope(project))
		member := c.role(admin, "admin")
		tests := []struct {
			method, path, body string
			code               int
		}{
			{"GET", "/v3/users", "", 403}, {"GET", "/v3/projects", "", 403}, {"GET", "/v3/domains", "", 403},
			{"GET", "/v3/groups", "", 403}, {"GET", "/v3/roles", "", 403}, {"GET", "/v3/role_assignments", "", 403},
			{"GET", "/v3/services", "", 403}, {"GET", "/v3/endpoints", "", 403}, {"GET", "/v3/role_inferences", "", 403},
			{"GET", "/v3/users/" + bob, "", 403}, {"GET", "/v3/users/nobody", "", 403},
			{"GET", "/v3/users/" + bob + "/projects", "", 403}, {"GET", "/v3/users/" + bob + "/groups", "", 403},
			{"GET", "/v3/projects/" + other, "", 403}, {"GET", "/v3/projects/nothing", "", 403},
			{"GET", "/v3/users/" + bob + "/application_credentials", "", 403},
			{"GET", "/v3/users/" + bob + "/application_credentials/" + cred, "", 403},
			{"DELETE", "/v3/users/" + bob + "/application_credentials/" + cred, "", 403},
			{"POST", "/v3/users/" + bob + "/application_credentials", `{"application_credential":{"name":"y"}}`, 403},
			{"DELETE", "/v3/users/" + ann + "/application_credentials/" + cred, "", 404},
			{"POST", "/v3/users/" + ann + "/application_credentials", `{"application_credential":{"name":"y","user_id":"` + bob + `"}}`, 400},
			{"POST", "/v3/users/" + ann + "/application_credentials", `{"application_credential":{"name":"y","project_id":"` + other + `"}}`, 400},
			{"POST", "/v3/users/" + bob + "/password", `{"user":{"password":"n","original_password":"pw-bob"}}`, 403},
			{"PATCH", "/v3/users/" + ann, `{"user":{"name":"root"}}`, 403},
			{"PATCH", "/v3/projects/" + project, `{"project":{"name":"x"}}`, 403},
			{"PUT", "/v3/projects/" + project + "/users/" + ann + "/roles/" + member, "", 403},
			{"PUT", "/v3/system/users/" + ann + "/roles/" + member, "", 403},
			{"DELETE", "/v3/users/" + bob, "", 403}, {"DELETE", "/v3/projects/" + other, "", 403},
			{"POST", "/v3/users", `{"user":{"name":"x"}}`, 403}, {"POST", "/v3/endpoints", `{"endpoint":{}}`, 403},
			// What is one's own.
			{"GET", "/v3/users/" + ann, "", 200}, {"GET", "/v3/users/" + ann + "/projects", "", 200},
			{"GET", "/v3/users/" + ann + "/groups", "", 200}, {"GET", "/v3/projects/" + project, "", 200},
			{"GET", "/v3/auth/projects", "", 200}, {"GET", "/v3/auth/domains", "", 200}, {"GET", "/v3/auth/system", "", 200},
			{"GET", "/v3/domains/default", "", 200}, {"GET", "/v3/regions", "", 200},
			{"GET", "/v3/users/" + ann + "/application_credentials", "", 200},
			{"GET", "/v3/credentials", "", 200}, {"GET", "/v3/limits", "", 200}, {"GET", "/v3/registered_limits", "", 200},
		}
		for _, tt := range tests {
			if a := c.do(tt.method, tt.path, token, tt.body); a.code != tt.code {
				t.Errorf("%s %s = %d, want %d: %s", tt.method, tt.path, a.code, tt.code, a.raw)
			}
			if a := c.do(tt.method, tt.path, "", tt.body); a.code != 401 {
				t.Errorf("%s %s without a token = %d", tt.method, tt.path, a.code)
			}
		}
	})
}

// TestOSSA_2017_001_2017_002_2014_036_2016_002_SecretsAreNotLogged fails and succeeds with
// marked secrets and looks for them in the log and in the errors.
func TestOSSA_2017_001_2017_002_2014_036_2016_002_SecretsAreNotLogged(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		var logged bytes.Buffer
		old := slog.Default()
		slog.SetDefault(slog.New(slog.NewTextHandler(&logged, &slog.HandlerOptions{Level: slog.LevelDebug})))
		defer slog.SetDefault(old)
		const marker = "MARKED-SECRET"
		admin := c.admin()
		var answers []answer
		_, a := c.login("admin", marker, "")
		answers = append(answers, a)
		user := c.create(admin, "users", "user", `{"name":"m","password":"`+marker+`"}`)
		answers = append(answers,
			c.do("POST", "/v3/users", admin, `{"user":{"name":"m","password":"`+marker+`"}}`),
			c.do("POST", "/v3/users", admin, `{"user":{"name":5,"password":"`+marker+`"}}`),
			c.do("PATCH", "/v3/users/"+user, admin, `{"user":{"password":"`+marker+`2","enabled":"x"}}`),
			c.do("PATCH", "/v3/users/"+user, admin, `{"user":{"password":"`+marker+`2"}}`),
			c.do("GET", "/v3/users/"+user, admin, ""),
			c.do("GET", "/v3/users", marker, ""),
			c.do("GET", "/v3/auth/tokens", admin, "", "X-Subject-Token", marker))
		for _, a := range answers {
			if strings.Contains(string(a.raw), marker) || strings.Contains(string(a.raw), "$2a$") {
				t.Errorf("a secret in an answer: %s", a.raw)
			}
		}
		if strings.Contains(logged.String(), marker) || strings.Contains(logged.String(), admin[:40]) {
			t.Errorf("a secret in the log: %s", logged.String())
		}
		_, caller := c.check(admin)
		if text := fmt.Sprintf("%v %+v", *caller, caller); strings.Contains(text, admin) {
			t.Error("a printed caller shows the token")
		}
	})
}
