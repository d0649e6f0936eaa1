package identity_test

import (
	"strings"
	"testing"
)

// TestLoginForms sends every form of a login that a client may get wrong, and those that
// look wrong and are not. What is malformed is a 400 before anything is proved; what is
// well formed and proves nobody is a 401.
func TestLoginForms(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		_, project := c.member(admin, "ann", "member")
		token, _ := c.login("ann", "pw-ann", projectScope(project))
		user, _ := c.rowOf(admin, "users", "ann")
		made := c.must(201, "POST", "/v3/users/"+user+"/application_credentials", token, `{"application_credential":{"name":"robot"}}`)
		id, secret := made.text("application_credential", "id"), made.text("application_credential", "secret")
		const who = `"user":{"name":"ann","domain":{"id":"default"}`
		pw := `"methods":["password"],"password":{` + who + `,"password":"pw-ann"}}`
		cred := `"methods":["application_credential"],"application_credential":{"id":"` + id + `","secret":"` + secret + `"}`
		_, root := c.login("admin", adminPassword, `{"system":{"all":true}}`)
		system := `"methods":["token"],"token":{"id":"` + root.header.Get("X-Subject-Token") + `"}`
		tests := []struct {
			name, identity, scope string
			code                  int
			says                  string
		}{
			{"password", pw, "", 201, ""},
			{"a method twice", strings.Replace(pw, `["password"]`, `["password","password"]`, 1), "", 201, ""},
			{"another member beside", pw + `,"x":{}`, "", 201, ""},
			{"a part that no method names", pw + `,"token":{"id":""}`, "", 201, ""},
			{"no method", `"methods":[]`, "", 401, ""},
			{"no methods at all", `"password":{}`, "", 400, "methods"},
			{"methods null", `"methods":null`, "", 400, "methods"},
			{"methods a word", `"methods":"password","password":{}`, "", 400, "methods"},
			{"a number for a method", `"methods":[1],"1":{}`, "", 400, "methods"},
			{"a method without its part", `"methods":["password"]`, "", 400, "Expecting to find password in identity."},
			{"an unknown method without its part", `"methods":["magic"]`, "", 400, "Expecting to find magic in identity."},
			{"an unknown method", `"methods":["magic"],"magic":{}`, "", 401, ""},
			{"totp is not offered", `"methods":["totp"],"totp":{` + who + `,"passcode":"123456"}}`, "", 401, ""},
			{"a right password and an unknown method", strings.Replace(pw, `["password"]`, `["password","magic"]`, 1) + `,"magic":{}`, "", 401, ""},
			{"a part null", `"methods":["password"],"password":null`, "", 400, "password"},
			{"no user", `"methods":["password"],"password":{}`, "", 400, "Expecting to find user in password."},
			{"an empty user", `"methods":["password"],"password":{"user":{}}`, "", 400, "Expecting to find id or name in user."},
			{"a name without a domain", `"methods":["password"],"password":{"user":{"name":"ann","password":"pw-ann"}}`, "", 400, "Expecting to find domain in user."},
			{"a domain without name and id", `"methods":["password"],"password":{"user":{"name":"ann","domain":{},"password":"pw-ann"}}`, "", 400, "Expecting to find id or name in domain."},
			{"no password", `"methods":["password"],"password":{` + who + `}}`, "", 401, ""},
			{"an empty password", `"methods":["password"],"password":{` + who + `,"password":""}}`, "", 401, ""},
			{"a password null", `"methods":["password"],"password":{` + who + `,"password":null}}`, "", 400, "password"},
			{"a number for a password", `"methods":["password"],"password":{` + who + `,"password":5}}`, "", 400, "password"},
			{"token without id", `"methods":["token"],"token":{}`, "", 400, "Expecting to find id in token."},
			{"a token that is none", `"methods":["token"],"token":{"id":"x"}`, "", 401, ""},
			{"unscoped", pw, `"unscoped"`, 201, ""},
			{"unscoped, the older form", pw, `{"unscoped":{}}`, 201, ""},
			{"scope null", pw, `null`, 201, ""},
			{"an empty scope", pw, `{}`, 400, "Expecting to find system, project, domain, OS-TRUST:trust or unscoped in scope."},
			{"two scopes", pw, `{"project":{"id":"` + project + `"},"system":{"all":true}}`, 400, "Expecting to find system"},
			{"a scope and something else", pw, `{"project":{"id":"` + project + `"},"x":1}`, 201, ""},
			{"a scope of another kind", pw, `{"planet":{"id":"x"}}`, 400, "Expecting to find system"},
			{"a word for a scope", pw, `"project"`, 400, "Expecting to find system"},
			{"a number for a scope", pw, `5`, 400, "scope"},
			{"a list for a scope", pw, `[]`, 400, "scope"},
			{"project null", pw, `{"project":null}`, 400, "project"},
			{"project empty", pw, `{"project":{}}`, 400, "Expecting to find id or name in project."},
			{"project's name without a domain", pw, `{"project":{"name":"ann"}}`, 400, "Expecting to find domain in project."},
			{"project by name", pw, `{"project":{"name":"ann","domain":{"name":"default"}}}`, 201, ""},
			{"no such project", pw, projectScope("nothing"), 401, ""},
			{"no such domain", pw, `{"domain":{"name":"nothing"}}`, 401, ""},
			{"domain empty", pw, `{"domain":{}}`, 400, "Expecting to find id or name in domain."},
			{"no role in the domain", pw, `{"domain":{"id":"default"}}`, 401, ""},
			{"no role in the system", pw, `{"system":{"all":true}}`, 401, ""},
			{"system null", pw, `{"system":null}`, 400, "system"},
			{"system a word", pw, `{"system":"all"}`, 400, "system"},
			{"a trust", pw, `{"OS-TRUST:trust":{"id":"0123456789abcdef0123456789abcdef"}}`, 401, ""},
			{"a trust without id", pw, `{"OS-TRUST:trust":{}}`, 400, "Expecting to find trust_id in trust."},
			{"a trust and a project", pw, `{"OS-TRUST:trust":{"id":"x"},"project":{"id":"` + project + `"}}`, 400, "Expecting to find system"},
			{"credential", cred, "", 201, ""},
			{"credential with its own project", cred, projectScope(project), 401, "Application credentials cannot request a scope."},
			{"credential, unscoped", cred, `"unscoped"`, 401, "Application credentials cannot request a scope."},
			{"credential for the system", cred, `{"system":{"all":true}}`, 401, "Application credentials cannot request a scope."},
			{"credential with an empty scope", cred, `{}`, 401, "Application credentials cannot request a scope."},
			{"a wrong secret and a scope", strings.Replace(cred, secret, "x", 1), projectScope(project), 401, "Application credentials cannot request a scope."},
			{"credential without id and name", `"methods":["application_credential"],"application_credential":{"secret":"s"}`, "", 400, "Expecting to find name or ID in application credential."},
			{"credential's name without a user", `"methods":["application_credential"],"application_credential":{"name":"robot","secret":"s"}`, "", 400, "Expecting to find user in application credential."},
			{"credential without a secret", `"methods":["application_credential"],"application_credential":{"id":"` + id + `"}`, "", 401, ""},
			{"a number for a secret", `"methods":["application_credential"],"application_credential":{"id":"` + id + `","secret":5}`, "", 400, "secret"},
			{"credential by name", `"methods":["application_credential"],"application_credential":{"name":"robot","secret":"` + secret + `",` + who + `}}`, "", 201, ""},
			{"a system token for a project", system, adminScope, 403, "Using a system-scoped token to create a project-scoped or domain-scoped token is not allowed."},
			{"a system token for a domain", system, `{"domain":{"id":"default"}}`, 403, "Using a system-scoped token"},
			{"a system token for the system", system, `{"system":{"all":true}}`, 201, ""},
		}
		for _, tt := range tests {
			_, a := c.auth("{"+tt.identity+"}", tt.scope)
			if says := a.text("error", "message"); a.code != tt.code || !strings.Contains(says, tt.says) {
				t.Errorf("%s = %d %q, want %d %q", tt.name, a.code, says, tt.code, tt.says)
			}
			if a.code == 401 && a.header.Get("Www-Authenticate") == "" {
				t.Errorf("%s: a 401 that does not say where to log in", tt.name)
			}
			c.move(10e9) // the failures are not what is tested here
		}
		for body, says := range map[string]string{
			`{"auth":null}`: "auth", `{"auth":"x"}`: "auth", `{}`: "auth", `{"auth":{}}`: "Expecting to find identity in auth.",
			`{"auth":{"identity":null}}`: "identity", `{"auth":{"identity":[]}}`: "identity",
		} {
			if a := c.do("POST", "/v3/auth/tokens", "", body); a.code != 400 || !strings.Contains(a.text("error", "message"), says) {
				t.Errorf("%s = %d: %s", body, a.code, a.raw)
			}
		}
	})
}

// TestContentTypes sends bodies of every type to operations that read one and to one that
// does not. Keystone takes JSON, and what says nothing of itself.
func TestContentTypes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "ann", "member")
		grant := "/v3/projects/" + project + "/users/" + user + "/roles/" + c.role(admin, "reader")
		login := `{"auth":{"identity":{"methods":["password"],"password":{"user":{"id":"` + user + `","password":"pw-ann"}}}}}`
		calls := []struct {
			method, path, token, body string
			code                      int
		}{
			{"POST", "/v3/auth/tokens", "", login, 201},
			{"PATCH", "/v3/users/" + user, admin, `{"user":{"description":"d"}}`, 200},
			{"PUT", "/v3/projects/" + project + "/tags", admin, `{"tags":["a"]}`, 200},
			{"PUT", "/v3/regions/R", admin, `{"region":{}}`, 201},
			{"PUT", grant, admin, `{}`, 204},
			{"DELETE", grant, admin, `{"x":1}`, 204},
			{"GET", "/v3/users", admin, `{}`, 200},
		}
		types := []struct {
			kind string
			json bool
		}{
			{"application/x-www-form-urlencoded", false}, {"text/plain", false}, {"multipart/form-data; boundary=x", false},
			{"application/xml", false}, {"application/octet-stream", false}, {"application/jsonx", false}, {"text/json", false},
			{"nonsense", false}, {"*/*", false},
			{"", true}, {"application/json", true}, {"application/json; charset=UTF-8", true}, {"Application/JSON", true},
			{"application/vnd.openstack.identity-v3+json", true},
		}
		for _, tt := range calls {
			for _, of := range types {
				a := c.do(tt.method, tt.path, tt.token, tt.body, "Content-Type", of.kind)
				switch {
				case !of.json && (a.code != 400 || !strings.HasPrefix(a.text("error", "message"), "Expecting to find application/json in Content-Type header.")):
					t.Errorf("%s %s as %s = %d: %s", tt.method, tt.path, of.kind, a.code, a.raw)
				case of.json && a.code != tt.code && a.code != 404 && a.code != 409: // a second DELETE, a second region
					t.Errorf("%s %s as %q = %d: %s", tt.method, tt.path, of.kind, a.code, a.raw)
				}
			}
			for _, body := range []string{`x`, `[]`, `"x"`, `null`, `{} {}`, `{"a":1`} {
				if a := c.do(tt.method, tt.path, tt.token, body); a.code != 400 || !strings.HasPrefix(a.text("error", "message"), "Expecting to find valid JSON in request body.") {
					t.Errorf("%s %s with %s = %d: %s", tt.method, tt.path, body, a.code, a.raw)
				}
			}
		}
		if a := c.do("GET", "/v3/users", admin, "", "Content-Type", "text/plain"); a.code != 200 {
			t.Errorf("a type without a body = %d", a.code)
		}
		if a := c.do("PUT", grant, "", "x", "Content-Type", "text/plain"); a.code != 401 {
			t.Errorf("without a token = %d: the body was looked at first", a.code)
		}
	})
}
