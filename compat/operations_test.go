package compat

import (
	"strings"
	"testing"
)

// TestTableOfOperations holds what the router takes for granted: at each version a name is
// one operation, the resource's variable is {id}, and a removed API is open to any token.
func TestTableOfOperations(t *testing.T) {
	at := map[string]map[Version]bool{}
	for _, op := range Operations() {
		if op.Min > op.Max || op.Min < MinVersion || op.Max > MaxVersion {
			t.Errorf("%s: range %s to %s", op.Name(), op.Min, op.Max)
		}
		if at[op.Name()] == nil {
			at[op.Name()] = map[Version]bool{}
		}
		for v := op.Min; v <= op.Max; v++ {
			if at[op.Name()][v] {
				t.Errorf("%s is two operations at %s", op.Name(), v)
			}
			at[op.Name()][v] = true
		}
		if i := strings.IndexByte(op.Path, '{'); i >= 0 && !strings.HasPrefix(op.Path[i:], "{id}") {
			t.Errorf("%s: the first variable is not {id}", op.Name())
		}
		if (op.Action != "") != strings.HasSuffix(op.Path, "/action") {
			t.Errorf("%s: an action where none is, or none where one is", op.Name())
		}
		if op.Success == 410 && op.Rules[0].Name != AnyCaller {
			t.Errorf("%s: removed, with a policy", op.Name())
		}
	}
}

// The router asks for the first rule of a row that is fatal. For a rule that a condition in
// the body brings in, the handler asks; so such a rule must not stand first.
func TestFirstRuleAppliesToEveryCall(t *testing.T) {
	tests := []struct {
		name    string
		version Version
		want    string
	}{
		{"POST /servers/{id}/action migrate", 56, "os_compute_api:os-migrate-server:migrate"},
		{"POST /servers/{id}/action os-migrateLive", 30, "os_compute_api:os-migrate-server:migrate_live"},
		{"POST /servers", 1, "os_compute_api:servers:create"},
		{"PUT /servers/{id}/os-volume_attachments/{volume_id}", 84, "os_compute_api:os-volumes-attachments:swap"},
		{"PUT /servers/{id}/os-volume_attachments/{volume_id}", 85, "os_compute_api:os-volumes-attachments:update"},
		{"GET /flavors/{id}", 1, AnyCaller},
	}
	for _, tt := range tests {
		found := false
		for _, op := range Operations() {
			if op.Name() != tt.name || !op.Has(tt.version) {
				continue
			}
			found = true
			got := ""
			for _, r := range op.Rules {
				if r.Fatal {
					got = r.Name
					break
				}
			}
			if got != tt.want {
				t.Errorf("%s at %s asks for %q, want %q", tt.name, tt.version, got, tt.want)
			}
		}
		if !found {
			t.Errorf("no %s at %s", tt.name, tt.version)
		}
	}
}

// twoRules is a policy that has no rules but r and s.
type twoRules struct{ allow }

func (twoRules) Known(rule string) bool { return rule == "r" || rule == "s" }

// An operation whose rules only decide what is shown would be open to every token without
// anybody having said so.
func TestBuildRefusesOperationsThatNothingGuards(t *testing.T) {
	for text, fine := range map[string]bool{
		"@": true, "r": true, "r ; s?": true, "s? ; r": true, "@ ; s?": true, "r | s": true,
		"": false, "s?": false, "r? ; s?": false, "unknown": false, "r ; unknown?": false, "r | unknown": false, "@?": false,
	} {
		op, err := parseOperation("GET\t/things\t\t2.1\t\t200\t" + text + "\t")
		if err != nil {
			t.Fatal(err)
		}
		err = NewCompute(Base{}, twoRules{}, asCaller).build([]*Operation{op})
		if (err == nil) != fine {
			t.Errorf("policy %q: %v", text, err)
		}
	}
}

func TestEitherOfTwoRulesOpensAnOperation(t *testing.T) {
	op, err := parseOperation("GET\t/things\t\t2.1\t\t200\tr | s\t")
	if err != nil {
		t.Fatal(err)
	}
	unguarded, err := parseOperation("GET\t/things\t\t2.1\t\t200\tr?\t")
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		rules allow
		op    *Operation
		fine  bool
	}{
		{allow{"r": true}, op, true}, {allow{"s": true}, op, true}, {allow{"r": true, "s": true}, op, true},
		{allow{}, op, false}, {allow{"r": true}, unguarded, false},
	} {
		e := &endpoint{api: &Compute{}}
		err := e.authorize(&Request{Op: tt.op, Caller: &Caller{}, policy: tt.rules})
		if (err == nil) != tt.fine {
			t.Errorf("with %v: %v", tt.rules, err)
		}
	}
}
