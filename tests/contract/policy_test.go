package contract

import (
	"os"
	"strings"
	"testing"

	"kilonova/compat"
	"kilonova/identity"
)

// policyContract is the contract's table of default roles.
const policyContract = "testdata/policy.tsv"

// TestPolicyHasTheDefaults: every rule has the contract's default role, no rule is missing,
// and every operation's rules are known.
func TestPolicyHasTheDefaults(t *testing.T) {
	ours := rolesOf(t, "../../identity/policy.tsv")
	policy := identity.NewPolicy()
	for _, op := range compat.Operations() {
		for _, rule := range op.Rules {
			if rule.Name != compat.AnyCaller && (!policy.Known(rule.Name) || ours[rule.Name] == "") {
				t.Errorf("%s: rule %s has no row", op.Name(), rule.Name)
			}
		}
	}
	for rule, role := range rolesOf(t, policyContract) {
		if ours[rule] != role {
			t.Errorf("rule %s is for %q, by the contract for %q", rule, ours[rule], role)
		}
	}
}

// rolesOf reads the first two columns of a table: rule and role.
func rolesOf(t *testing.T, path string) map[string]string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, line := range strings.Split(string(raw), "\n")[1:] {
		f := strings.Split(line, "\t")
		if len(f) > 1 && !strings.HasPrefix(line, "#") {
			out[f[0]] = f[1]
		}
	}
	const least = 150
	if len(out) < least {
		t.Fatalf("%s has %d rules", path, len(out))
	}
	return out
}
