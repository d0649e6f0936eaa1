package identity

import (
	_ "embed" // policy.tsv
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"

	"go.yaml.in/yaml/v3"

	"kilonova/compat"
)

//go:embed policy.tsv
var policyTable string

// roleChecks are the checks behind the short names of the table's second column.
var roleChecks = map[string]string{
	"admin":     "rule:context_is_admin",
	"manager":   "rule:project_manager_or_admin",
	"member":    "rule:project_member_or_admin",
	"reader":    "rule:project_reader_or_admin",
	"service":   "rule:service_or_admin",
	"user-self": "(rule:context_is_admin) or user_id:%(user_id)s",
	"any":       "@",
	"nobody":    "!",
}

// baseRules are the rules that others are made of, under Nova's names, so that a policy
// file for Nova can override them.
var baseRules = map[string]string{
	"context_is_admin":         "role:admin",
	"admin_api":                "is_admin:True",
	"admin_or_owner":           "is_admin:True or project_id:%(project_id)s",
	"project_manager_api":      "role:manager and project_id:%(project_id)s",
	"project_member_api":       "role:member and project_id:%(project_id)s",
	"project_reader_api":       "role:reader and project_id:%(project_id)s",
	"service_api":              "role:service",
	"project_manager_or_admin": "rule:project_manager_api or rule:context_is_admin",
	"project_member_or_admin":  "rule:project_member_api or rule:context_is_admin",
	"project_reader_or_admin":  "rule:project_reader_api or rule:context_is_admin",
	"service_or_admin":         "rule:service_api or rule:context_is_admin",
}

// Policy decides by the table of the compute API's rules and an operator's overrides. All
// rules have the scope type project: a token for a domain, for the system or for nothing
// passes none of them. It may be loaded anew while it is asked.
type Policy struct {
	rules atomic.Pointer[map[string]check]
}

var _ compat.Policy = (*Policy)(nil)

// NewPolicy gives the default policy.
func NewPolicy() *Policy {
	p := &Policy{}
	rules, err := compileRules(nil)
	if err != nil {
		panic("identity: policy.tsv: " + err.Error())
	}
	p.rules.Store(&rules)
	return p
}

// Known reports whether the rule exists.
func (p *Policy) Known(rule string) bool {
	_, ok := (*p.rules.Load())[rule]
	return ok
}

// Allows reports whether the caller may do what the rule names to the target. A target
// without a project, or without a user, is the caller's own.
func (p *Policy) Allows(rule string, c *compat.Caller, t compat.Target) bool {
	if c == nil || c.ProjectID == "" || c.DomainID != "" || c.System {
		return false
	}
	check, ok := (*p.rules.Load())[rule]
	if !ok {
		return false
	}
	if t.ProjectID == "" {
		t.ProjectID = c.ProjectID
	}
	if t.UserID == "" {
		t.UserID = c.UserID
	}
	return check(&question{caller: c, target: t})
}

// Load reads overrides in oslo.policy's format, YAML or JSON, from a file or from all files
// of a folder in the order of their names. With an error the policy stays as it was: a rule
// that cannot be read or refers to none must not be guessed at.
func (p *Policy) Load(path string) error {
	files := []string{path}
	info, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("policy: %w", err)
	}
	if info.IsDir() {
		files, err = filepath.Glob(filepath.Join(path, "*.*"))
		if err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		slices.Sort(files)
	}
	overrides := map[string]string{}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			return fmt.Errorf("policy: %w", err)
		}
		var in map[string]string
		err = yaml.Unmarshal(raw, &in)
		if err != nil {
			return fmt.Errorf("policy file %s: %w", filepath.Base(name), err)
		}
		maps.Copy(overrides, in)
	}
	rules, err := compileRules(overrides)
	if err != nil {
		return fmt.Errorf("policy %s: %w", filepath.Base(path), err)
	}
	p.rules.Store(&rules)
	return nil
}

// compileRules gives the checks of the defaults with the overrides over them.
func compileRules(overrides map[string]string) (map[string]check, error) {
	texts := maps.Clone(baseRules)
	for i, line := range strings.Split(strings.Trim(policyTable, "\n"), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(line, "\t")
		if len(f) != 3 || roleChecks[f[1]] == "" {
			return nil, fmt.Errorf("line %d is not a rule, a role and a former name", i+1)
		}
		texts[f[0]] = roleChecks[f[1]]
		if former, ok := overrides[f[2]]; ok && f[2] != "" {
			texts[f[0]] = former
		}
	}
	maps.Copy(texts, overrides)
	c := &policyCompiler{texts: texts, done: map[string]check{}, open: map[string]bool{}}
	var problems []error
	for _, name := range slices.Sorted(maps.Keys(texts)) {
		_, err := c.rule(name)
		if err != nil {
			problems = append(problems, err)
		}
	}
	return c.done, errors.Join(problems...)
}
