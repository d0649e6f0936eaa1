package identity_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kilonova/compat"
	"kilonova/identity"
)

func caller(project string, roles ...string) *compat.Caller {
	return &compat.Caller{UserID: "u1", ProjectID: project, Roles: roles}
}

var (
	anAdmin   = caller("p0", "admin", "manager", "member", "reader")
	aManager  = caller("p1", "manager", "member", "reader")
	aMember   = caller("p1", "member", "reader")
	aReader   = caller("p1", "reader")
	aService  = caller("p2", "service")
	aStranger = caller("p1", "auditor")
)

func TestDefaultPolicy(t *testing.T) {
	t.Parallel()
	own, other := compat.Target{ProjectID: "p1"}, compat.Target{ProjectID: "p9"}
	tests := []struct {
		rule   string
		caller *compat.Caller
		target compat.Target
		want   bool
	}{
		{"os_compute_api:servers:create", aMember, own, true},
		{"os_compute_api:servers:create", aMember, compat.Target{}, true},
		{"os_compute_api:servers:create", aManager, own, true},
		{"os_compute_api:servers:create", aReader, own, false},
		{"os_compute_api:servers:create", aMember, other, false},
		{"os_compute_api:servers:create", anAdmin, other, true},
		{"os_compute_api:servers:create", aStranger, own, false},
		{"os_compute_api:servers:show", aReader, own, true},
		{"os_compute_api:servers:show", aReader, other, false},
		{"os_compute_api:servers:show", aService, own, false},
		{"os_compute_api:os-migrate-server:migrate", aManager, own, true},
		{"os_compute_api:os-migrate-server:migrate", aMember, own, false},
		{"os_compute_api:os-migrate-server:migrate", aManager, other, false},
		{"os_compute_api:os-hypervisors:list", aManager, own, false},
		{"os_compute_api:os-hypervisors:list", anAdmin, own, true},
		{"os_compute_api:os-assisted-volume-snapshots:create", aService, own, true},
		{"os_compute_api:os-assisted-volume-snapshots:create", aManager, own, false},
		{"os_compute_api:os-assisted-volume-snapshots:create", anAdmin, own, true},
		{"os_compute_api:os-keypairs:show", aStranger, compat.Target{}, true},
		{"os_compute_api:os-keypairs:show", aReader, compat.Target{UserID: "u1"}, true},
		{"os_compute_api:os-keypairs:show", aMember, compat.Target{UserID: "u2"}, false},
		{"os_compute_api:os-keypairs:show", anAdmin, compat.Target{UserID: "u2"}, true},
		{"os_compute_api:limits", aStranger, compat.Target{}, true},
		{"compute:servers:resize:cross_cell", anAdmin, own, false},
		{"os_compute_api:no:such:rule", anAdmin, own, false},
		{"os_compute_api:servers:show", nil, own, false},
		{"os_compute_api:limits", nil, own, false},
		{"", anAdmin, own, false},
	}
	p := identity.NewPolicy()
	for _, tt := range tests {
		if got := p.Allows(tt.rule, tt.caller, tt.target); got != tt.want {
			t.Errorf("%s for %+v to %+v = %v, want %v", tt.rule, tt.caller, tt.target, got, tt.want)
		}
	}
	// Scope type project: no other scope passes any rule, not even those for anybody.
	for name, c := range map[string]*compat.Caller{
		"system":   {UserID: "u", System: true, Roles: anAdmin.Roles},
		"domain":   {UserID: "u", DomainID: "d", Roles: anAdmin.Roles},
		"unscoped": {UserID: "u"},
	} {
		for _, rule := range []string{"os_compute_api:limits", "os_compute_api:servers:show", "os_compute_api:os-hypervisors:list"} {
			if p.Allows(rule, c, compat.Target{}) {
				t.Errorf("a token with scope %s passes %s", name, rule)
			}
		}
	}
}

// TestPolicyKnowsEveryOperation holds the table against the operations that have routes.
func TestPolicyKnowsEveryOperation(t *testing.T) {
	t.Parallel()
	p := identity.NewPolicy()
	for _, op := range compat.Operations() {
		for _, rule := range op.Rules {
			if rule.Name != compat.AnyCaller && !p.Known(rule.Name) {
				t.Errorf("%s: no rule %s", op.Name(), rule.Name)
			}
		}
	}
	if p.Known("os_compute_api:no") {
		t.Error("a rule that does not exist is known")
	}
}

func TestPolicyFile(t *testing.T) {
	t.Parallel()
	own := compat.Target{ProjectID: "p1"}
	const create, show, list = "os_compute_api:servers:create", "os_compute_api:servers:show", "os_compute_api:os-hypervisors:list"
	tests := []struct {
		name, file string
		rule       string
		caller     *compat.Caller
		want       bool
	}{
		{"role", "x.yaml: role:auditor", "x.yaml", aStranger, true},
		{"a reader may create", `"` + create + `": "rule:project_reader_or_admin"`, create, aReader, true},
		{"other rules stay", `"` + create + `": "rule:project_reader_or_admin"`, show, aStranger, false},
		{"JSON", `{"` + create + `": "role:auditor and project_id:%(project_id)s"}`, create, aStranger, true},
		{"never", `"` + create + `": "!"`, create, anAdmin, false},
		{"always", `"` + list + `": "@"`, list, aStranger, true},
		{"empty is always", `"` + list + `": ""`, list, aStranger, true},
		{"not", `"` + show + `": "not role:reader"`, show, aStranger, true},
		{"not, refused", `"` + show + `": "not role:reader"`, show, aReader, false},
		{"or", `"` + show + `": "role:a or role:auditor"`, show, aStranger, true},
		{"and binds closer than or", `"` + show + `": "role:auditor or role:a and role:b"`, show, aStranger, true},
		{"brackets", `"` + show + `": "(role:auditor or role:a) and role:b"`, show, aStranger, false},
		{"brackets in brackets", `"` + show + `": "((role:b or (role:auditor)) and not (role:x or role:y))"`, show, aStranger, true},
		{"words in capitals", `"` + show + `": "role:b OR NOT role:c AND role:auditor"`, show, aStranger, true},
		{"a role in capitals", `"` + show + `": "role:AUDITOR"`, show, aStranger, true},
		{"user", `"` + show + `": "user_id:u1"`, show, aStranger, true},
		{"a literal left", `"` + show + `": "'u1':%(user_id)s"`, show, aStranger, true},
		{"another user", `"` + show + `": "user_id:u2"`, show, aStranger, false},
		{"another admin role", `"context_is_admin": "role:auditor"`, list, aStranger, true},
		{"another admin role, the old one", `"context_is_admin": "role:auditor"`, list, anAdmin, false},
		{"is_admin follows", "context_is_admin: role:auditor\n" + show + ": is_admin:True", show, aStranger, true},
		{"a rule of one's own", "auditors: role:auditor\n" + show + ": rule:auditors", show, aStranger, true},
		{"a former name", `"os_compute_api:os-volumes": "role:auditor"`, "os_compute_api:os-volumes:list", aStranger, true},
		{"a former name does not win", "os_compute_api:os-volumes: role:auditor\nos_compute_api:os-volumes:list: '!'", "os_compute_api:os-volumes:list", aStranger, false},
		{"a base rule", `"project_member_or_admin": "rule:context_is_admin"`, create, aMember, false},
		{"scope stays", `"` + list + `": "@"`, list, &compat.Caller{UserID: "u", System: true, Roles: []string{"admin"}}, false},
		{"comments only", "# nothing\n", show, aReader, true},
	}
	for _, tt := range tests {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		err := os.WriteFile(path, []byte(tt.file), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		p := identity.NewPolicy()
		err = p.Load(path)
		if err != nil {
			t.Errorf("%s: %v", tt.name, err)
			continue
		}
		if got := p.Allows(tt.rule, tt.caller, own); got != tt.want {
			t.Errorf("%s: %s = %v, want %v", tt.name, tt.rule, got, tt.want)
		}
	}
}

func TestPolicyFileRefused(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"unknown rule":      "a: rule:nope",
		"itself":            "a: rule:a",
		"a circle":          "a: rule:b\nb: not rule:a",
		"open bracket":      `a: "(role:x"`,
		"closing bracket":   `a: "role:x)"`,
		"two checks":        `a: "role:x role:y"`,
		"ends early":        `a: "role:x and"`,
		"begins with or":    `a: "or role:x"`,
		"no kind":           "a: something",
		"no match":          `a: "role:"`,
		"an outside call":   "a: http://example/policy",
		"a strange target":  `a: "user_id:%(target.user.id)s"`,
		"a strange caller":  `a: "shoe_size:9"`,
		"a list":            "a: [role:x]",
		"no mapping":        "- a",
		"no YAML":           "a: [",
		"deep":              "a: " + strings.Repeat("(", 5000) + "@" + strings.Repeat(")", 5000),
		"nots":              "a: " + strings.Repeat("not ", 5000) + "@",
		"admin from itself": "context_is_admin: is_admin:True",
	} {
		path := filepath.Join(t.TempDir(), "policy.yaml")
		err := os.WriteFile(path, []byte(file), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		p := identity.NewPolicy()
		if p.Load(path) == nil {
			t.Errorf("%s: taken", name)
		}
		if !p.Allows("os_compute_api:servers:show", aReader, compat.Target{}) || p.Known("a") {
			t.Errorf("%s: a refused file changed the policy", name)
		}
	}
	p := identity.NewPolicy()
	if p.Load(filepath.Join(t.TempDir(), "none.yaml")) == nil {
		t.Error("a missing file is taken")
	}
	// A folder is read in the order of its names.
	dir := t.TempDir()
	for name, text := range map[string]string{"10.yaml": "os_compute_api:limits: '!'", "20.json": `{"os_compute_api:limits": "role:reader"}`} {
		err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	err := p.Load(dir)
	if err != nil || !p.Allows("os_compute_api:limits", aReader, compat.Target{}) || p.Allows("os_compute_api:limits", aStranger, compat.Target{}) {
		t.Errorf("policy folder: %v", err)
	}
}
