package identity_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"kilonova/identity"
	"kilonova/schema/schematest"
)

// parts gives header and payload of a compact JWS.
func parts(t *testing.T, token string) (header, payload map[string]any, signature []byte) {
	t.Helper()
	p := strings.Split(token, ".")
	if len(p) != 3 {
		t.Fatalf("a token of %d parts", len(p))
	}
	for i, to := range []*map[string]any{&header, &payload} {
		raw, err := base64.RawURLEncoding.DecodeString(p[i])
		if err == nil {
			err = json.Unmarshal(raw, to)
		}
		if err != nil {
			t.Fatalf("part %d: %v", i, err)
		}
	}
	signature, err := base64.RawURLEncoding.DecodeString(p[2])
	if err != nil {
		t.Fatal(err)
	}
	return header, payload, signature
}

func TestTokenHasKeystonesPayload(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		token, a := c.login("admin", adminPassword, adminScope)
		header, payload, signature := parts(t, token)
		if len(header) != 2 || header["alg"] != "ES256" || header["typ"] != "JWT" || len(signature) != 64 {
			t.Errorf("header %v, signature of %d bytes", header, len(signature))
		}
		if payload["sub"] != a.text("token", "user", "id") || payload["openstack_project_id"] != a.text("token", "project", "id") {
			t.Errorf("payload %v", payload)
		}
		for _, key := range []string{"iat", "exp", "openstack_methods", "openstack_audit_ids"} {
			if payload[key] == nil {
				t.Errorf("payload has no %s", key)
			}
		}
		if len(payload) != 6 {
			t.Errorf("payload has other claims: %v", payload)
		}
		for scope, want := range map[string][2]string{
			`{"system":{"all":true}}`: {"openstack_system", "all"},
			`"unscoped"`:              {"openstack_project_id", ""},
		} {
			token, a := c.login("admin", adminPassword, scope)
			if a.code != 201 {
				t.Fatalf("scope %s = %d: %s", scope, a.code, a.raw)
			}
			_, payload, _ := parts(t, token)
			if got, _ := payload[want[0]].(string); got != want[1] {
				t.Errorf("scope %s: %s = %q", scope, want[0], got)
			}
		}
	})
}

func TestScopes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		user, project := c.member(admin, "ann", "member")
		other := c.create(admin, "projects", "project", `{"name":"other"}`)
		domain := c.create(admin, "domains", "domain", `{"name":"Dom"}`)
		c.must(204, "PUT", "/v3/domains/"+domain+"/users/"+user+"/roles/"+c.role(admin, "reader"), admin, "")
		tests := []struct {
			name, scope string
			code        int
			want        string
		}{
			{"project by id", projectScope(project), 201, "project"},
			{"project by name", `{"project":{"name":"ANN","domain":{"name":"dEfault"}}}`, 201, "project"},
			{"project without a role", projectScope(other), 401, ""},
			{"project that is not there", projectScope("nope"), 401, ""},
			{"project of an unknown domain", `{"project":{"name":"ann","domain":{"name":"zz"}}}`, 401, ""},
			{"domain id in the wrong case", `{"project":{"name":"ann","domain":{"id":"Default"}}}`, 401, ""},
			{"domain by id", `{"domain":{"id":"` + domain + `"}}`, 201, "domain"},
			{"domain by name", `{"domain":{"name":"dom"}}`, 201, "domain"},
			{"domain without a role", `{"domain":{"id":"default"}}`, 401, ""},
			{"system without a role", `{"system":{"all":true}}`, 401, ""},
			{"unscoped", `"unscoped"`, 201, ""},
			{"unscoped as an object", `{"unscoped":{}}`, 201, ""},
			{"null", `null`, 201, ""},
			{"absent", ``, 201, ""},
			{"two at once", `{"project":{"id":"` + project + `"},"domain":{"id":"default"}}`, 400, ""},
			{"project name without a domain", `{"project":{"name":"ann"}}`, 400, ""},
			{"system false", `{"system":{"all":false}}`, 400, ""},
			{"another string", `"everything"`, 400, ""},
			{"a list", `[]`, 400, ""},
			{"nothing in it", `{}`, 400, ""},
		}
		for _, tt := range tests {
			token, a := c.login("ann", "pw-ann", tt.scope)
			if a.code != tt.code {
				t.Errorf("%s = %d, want %d: %s", tt.name, a.code, tt.code, a.raw)
			}
			for _, kind := range []string{"project", "domain", "system"} {
				if has := a.get("token", kind) != nil; has != (kind == tt.want) {
					t.Errorf("%s: %s in the token: %v", tt.name, kind, has)
				}
			}
			if a.code == 201 {
				a := c.must(200, "GET", "/v3/auth/tokens", token, "", "X-Subject-Token", token)
				if a.header.Get("X-Subject-Token") != token || a.header.Get("Vary") != "X-Auth-Token" {
					t.Errorf("%s: headers of a validation %v", tt.name, a.header)
				}
			}
		}
		// A default project is taken when it can be, and forgotten when it cannot.
		c.must(200, "PATCH", "/v3/users/"+user, admin, `{"user":{"default_project_id":"`+project+`"}}`)
		if _, a := c.login("ann", "pw-ann", ""); a.text("token", "project", "id") != project {
			t.Errorf("default project: %s", a.raw)
		}
		if _, a := c.login("ann", "pw-ann", `"unscoped"`); a.get("token", "project") != nil {
			t.Errorf("unscoped with a default project: %s", a.raw)
		}
		c.must(200, "PATCH", "/v3/users/"+user, admin, `{"user":{"default_project_id":"`+other+`"}}`)
		if _, a := c.login("ann", "pw-ann", ""); a.code != 201 || a.get("token", "project") != nil {
			t.Errorf("unusable default project: %s", a.raw)
		}
	})
}

func TestRescoping(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		_, project := c.member(admin, "ann", "member")
		unscoped, first := c.login("ann", "pw-ann", `"unscoped"`)
		c.move(time.Minute)
		child, second := c.rescope(unscoped, projectScope(project))
		if second.code != 201 {
			t.Fatalf("rescope = %d: %s", second.code, second.raw)
		}
		grandchild, third := c.rescope(child, `"unscoped"`)
		if first.text("token", "expires_at") != second.text("token", "expires_at") || second.text("token", "expires_at") != third.text("token", "expires_at") {
			t.Errorf("a derived token has another end: %s, %s, %s", first.text("token", "expires_at"), second.text("token", "expires_at"), third.text("token", "expires_at"))
		}
		if m := second.list("token", "methods"); !slices.Equal(m, []any{"token", "password"}) {
			t.Errorf("methods %v", m)
		}
		root := first.list("token", "audit_ids")[0]
		for _, a := range []answer{second, third} {
			ids := a.list("token", "audit_ids")
			if len(ids) != 2 || ids[1] != root || ids[0] == root {
				t.Errorf("audit ids %v, root %v", ids, root)
			}
		}
		// Revoking a child leaves its parent and its children, as Horizon needs.
		c.must(204, "DELETE", "/v3/auth/tokens", child, "", "X-Subject-Token", child)
		for token, want := range map[string]int{unscoped: 200, child: 401, grandchild: 200} {
			if code, _ := c.check(token); code != want {
				t.Errorf("check after revoking the child = %d, want %d", code, want)
			}
		}
		c.must(404, "GET", "/v3/auth/tokens", admin, "", "X-Subject-Token", child)
		_, a := c.rescope(child, `"unscoped"`)
		if a.code != 401 {
			t.Errorf("rescoping a revoked token = %d", a.code)
		}
	})
}

func TestValidation(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		_, project := c.member(admin, "ann", "member")
		c.member(admin, "bob", "member")
		_, svc := c.member(admin, "svc", "service")
		ann, _ := c.login("ann", "pw-ann", projectScope(project))
		bob, _ := c.login("bob", "pw-bob", "")
		service, _ := c.login("svc", "pw-svc", projectScope(svc))
		tests := []struct {
			name, method, token, subject string
			code                         int
		}{
			{"own token", "GET", ann, ann, 200},
			{"own token, HEAD", "HEAD", ann, ann, 200},
			{"by an admin", "GET", admin, ann, 200},
			{"by a service", "GET", service, ann, 200},
			{"by a stranger", "GET", bob, ann, 403},
			{"revoked by a stranger", "DELETE", bob, ann, 403},
			{"no subject", "GET", admin, "", 404},
			{"a subject that is none", "GET", admin, "abc", 404},
			{"a subject that is huge", "GET", admin, strings.Repeat("a", 20000), 404},
			{"no token", "GET", "", ann, 401},
			{"a bad token", "GET", "abc", ann, 401},
			{"a bad token for a revocation", "DELETE", "abc", ann, 401},
		}
		for _, tt := range tests {
			a := c.do(tt.method, "/v3/auth/tokens", tt.token, "", "X-Subject-Token", tt.subject)
			if a.code != tt.code {
				t.Errorf("%s = %d, want %d: %s", tt.name, a.code, tt.code, a.raw)
			}
			if a.code == 401 && a.header.Get("WWW-Authenticate") != `Keystone uri="http://cloud.example/identity"` {
				t.Errorf("%s: WWW-Authenticate %q", tt.name, a.header.Get("WWW-Authenticate"))
			}
			if a.code == 401 && (a.text("error", "title") != "Unauthorized" || a.text("error", "message") != "The request you have made requires authentication.") {
				t.Errorf("%s: body %s", tt.name, a.raw)
			}
		}
		// Expired tokens: at no time by themselves, for two days together with a service's.
		c.move(5 * time.Hour)
		service, _ = c.login("svc", "pw-svc", projectScope(svc))
		admin = c.admin()
		bob, _ = c.login("bob", "pw-bob", "")
		old := []struct {
			name string
			got  int
			want int
		}{
			{"validate", c.do("GET", "/v3/auth/tokens", admin, "", "X-Subject-Token", ann).code, 404},
			{"validate, allow_expired", c.do("GET", "/v3/auth/tokens?allow_expired=1", admin, "", "X-Subject-Token", ann).code, 200},
			{"check", first(c.check(ann)), 401},
			{"check with a service token", first(c.check(ann, "X-Service-Token", service)), 200},
			{"check with a token that is no service's", first(c.check(ann, "X-Service-Token", bob)), 401},
			{"check of a good token with a bad service token", first(c.check(bob, "X-Service-Token", "abc")), 401},
			{"check of a good token with an empty service token", first(c.check(bob, "X-Service-Token", "")), 200},
			{"check without a token", first(c.check("", "X-Service-Token", service)), 401},
		}
		for _, o := range old {
			if o.got != o.want {
				t.Errorf("expired: %s = %d, want %d", o.name, o.got, o.want)
			}
		}
		c.move(49 * time.Hour)
		service, _ = c.login("svc", "pw-svc", projectScope(svc))
		if code, _ := c.check(ann, "X-Service-Token", service); code != 401 {
			t.Errorf("a token that expired long ago, with a service token = %d", code)
		}
	})
}

func first[A, B any](a A, _ B) A { return a }

func TestTwoProcesses(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		second := c.another()
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { second.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		if code, _ := c.checkAt(second, admin); code != 200 {
			t.Fatalf("another process refuses a token: %d", code)
		}
		c.must(204, "DELETE", "/v3/auth/tokens", admin, "", "X-Subject-Token", admin)
		until := time.Now().Add(time.Minute)
		for code := 200; code != 401; code, _ = c.checkAt(second, admin) {
			if time.Now().After(until) {
				t.Fatal("another process takes a revoked token after a minute")
			}
			time.Sleep(20 * time.Millisecond)
		}
		// A process that starts later knows of it from the start.
		if code, _ := c.checkAt(c.another(), admin); code != 401 {
			t.Errorf("a new process takes a revoked token: %d", code)
		}
	})
}

func TestKeyRotation(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		before := c.admin()
		info, err := os.Stat(filepath.Join(c.keys, "private", "private.pem"))
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Fatalf("private key: %v, %v", info, err)
		}
		other := newCloud(t, c.db) // its own keys on the same database
		foreign, a := other.login("admin", adminPassword, adminScope)
		if a.code != 201 {
			t.Fatalf("login elsewhere = %d: %s", a.code, a.raw)
		}
		if code, _ := c.check(foreign); code != 401 {
			t.Fatalf("a token of unknown keys = %d", code)
		}
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { c.s.Run(ctx); close(done) }()
		defer func() { cancel(); <-done }()
		pub, err := os.ReadFile(filepath.Join(other.keys, "public", "public.pem"))
		if err != nil {
			t.Fatal(err)
		}
		next := filepath.Join(c.keys, "public", "next.pem")
		for name, raw := range map[string][]byte{next: pub, filepath.Join(c.keys, "public", "notes.txt"): []byte("not a key")} {
			err = os.WriteFile(name, raw, 0o600)
			if err != nil {
				t.Fatal(err)
			}
		}
		// What is no file of a key's size keeps no key from being found.
		hostile := filepath.Join(c.keys, "public")
		err = errors.Join(os.Symlink("/nothing/there", filepath.Join(hostile, "a-link")), syscall.Mkfifo(filepath.Join(hostile, "a-pipe"), 0o600),
			os.Mkdir(filepath.Join(hostile, "a-folder"), 0o700), os.WriteFile(filepath.Join(hostile, "a-disk"), make([]byte, 1<<20), 0o600))
		if err != nil {
			t.Fatal(err)
		}
		await := func(token string, want int) {
			t.Helper()
			until := time.Now().Add(time.Minute)
			for {
				code, _ := c.check(token)
				if code == want {
					return
				}
				if time.Now().After(until) {
					t.Fatalf("check = %d after a minute, want %d", code, want)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}
		await(foreign, 200)
		await(before, 200)
		err = os.Remove(next)
		if err != nil {
			t.Fatal(err)
		}
		await(foreign, 401)
		await(before, 200)
	})
}

// TestBrokenRevocation puts one among the others that cannot be read, as only SQLite keeps
// such: the others are found, it counts as made when it is read, and is readable afterwards.
func TestBrokenRevocation(t *testing.T) {
	c := newCloud(t, schematest.SQLite(t))
	admin := c.admin()
	tokens := map[string]string{}
	users := map[string]string{}
	anns := ""
	for _, name := range []string{"eve", "bob", "ann"} {
		user, project := c.member(admin, name, "member")
		anns = project
		users[name] = user
		tokens[name], _ = c.login(name, "pw-"+name, projectScope(project))
	}
	c.move(2 * time.Second)
	second := c.another() // it has read nothing of what follows
	for _, values := range []string{"'" + users["ann"] + "', '', '', 'long ago', 9e15", "'" + users["bob"] + "', '', '', X'00ff', 'never'"} {
		_, err := c.db.Exec(`INSERT INTO identity_revocations (version, audit_id, user_id, scope, domain_id, issued_before, expires_at)
SELECT version + 1, '', ` + values + ` FROM identity_version`)
		if err != nil {
			t.Fatal(err)
		}
	}
	c.must(200, "PATCH", "/v3/users/"+users["eve"], admin, `{"user":{"enabled":false}}`)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { second.Run(ctx); close(done) }()
	defer func() { cancel(); <-done }()
	unread := -1
	for until := time.Now().Add(time.Minute); unread != 0 && time.Now().Before(until); time.Sleep(10 * time.Millisecond) {
		err := c.db.GetContext(t.Context(), &unread, "SELECT COUNT(*) FROM identity_revocations WHERE typeof(issued_before) <> 'integer' OR typeof(expires_at) <> 'integer'")
		if err != nil {
			t.Fatal(err)
		}
	}
	if unread != 0 {
		t.Errorf("%d revocations cannot be read after a minute", unread)
	}
	c.move(2 * time.Second)
	for _, at := range []*identity.Service{c.s, second, c.another()} {
		if code, _ := c.checkAt(at, admin); code != 200 {
			t.Errorf("a token that nothing revokes = %d", code)
		}
		for name, token := range tokens {
			if code, _ := c.checkAt(at, token); code != 401 {
				t.Errorf("a token of %s, which is revoked = %d", name, code)
			}
		}
	}
	fresh, _ := c.login("ann", "pw-ann", projectScope(anns))
	if code, _ := c.check(fresh); code != 200 {
		t.Errorf("a token from after a revocation that cannot be read = %d", code)
	}
}

// TestDatabaseAway shows that a token does not pass when revocations cannot be read.
func TestDatabaseAway(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		admin := c.admin()
		err := c.db.Close()
		if err != nil {
			t.Fatal(err)
		}
		if code, _ := c.check(admin); code != 200 {
			t.Errorf("at once = %d: a checked token needs no database", code)
		}
		time.Sleep(3200 * time.Millisecond)
		w := c.sendQuiet("GET", "/servers", admin)
		if w != http.StatusServiceUnavailable {
			t.Errorf("after some seconds = %d, want 503", w)
		}
	})
}

func TestTickets(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ticket := c.s.SignTicket("read", "image-1", time.Minute)
		subject, err := c.s.VerifyTicket("read", ticket)
		if err != nil || subject != "image-1" {
			t.Errorf("ticket = %q, %v", subject, err)
		}
		_, err = c.s.VerifyTicket("write", ticket)
		if err == nil {
			t.Error("a ticket is good for another purpose")
		}
		_, err = c.s.VerifyTicket("read", ticket[:len(ticket)-3]+"AAA")
		if err == nil {
			t.Error("a forged ticket is good")
		}
		_, err = c.s.VerifyTicket("read", c.admin())
		if err == nil {
			t.Error("a token is good as a ticket")
		}
		if code, _ := c.check(ticket); code != 401 {
			t.Errorf("a ticket is good as a token: %d", code)
		}
		c.move(61 * time.Second)
		_, err = c.s.VerifyTicket("read", ticket)
		if err == nil {
			t.Error("a ticket is good after its end")
		}
	})
}

func TestNames(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ctx := context.Background()
		admin := c.admin()
		user, project := c.member(admin, "ann", "member")
		if c.s.UserName(ctx, c.db, user) != "ann" || c.s.ProjectName(ctx, c.db, project) != "ann" || c.s.ProjectName(ctx, c.db, "nope") != "" {
			t.Error("names")
		}
		c.must(200, "PATCH", "/v3/projects/"+project, admin, `{"project":{"name":"new"}}`)
		if got := c.s.ProjectName(ctx, c.db, project); got != "new" {
			t.Errorf("a renamed project is %q", got)
		}
		for id, want := range map[string]bool{project: true, "nope": false, "a\x00b": false, project + " ": false, strings.ToUpper(project): false} {
			got, err := c.s.ProjectExists(ctx, id)
			if err != nil || got != want {
				t.Errorf("ProjectExists(%q) = %v, %v", id, got, err)
			}
		}
	})
}
