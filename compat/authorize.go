package compat

import (
	"strings"
)

// authorize looks the resource up, as the caller may see it, and asks the policy.
func (e *endpoint) authorize(r *Request) error {
	resolve := e.api.resolvers[e.collection]
	if resolve != nil && strings.Contains(r.Op.Path, "/{id}") {
		resource, err := resolve(r)
		if err != nil {
			return err
		}
		r.Resource = resource
	}
	target := r.Target()
	if f := e.api.targets[r.Op.Path]; f != nil {
		target = f(r)
	}
	for _, rule := range r.Op.Rules {
		if rule.Name == AnyCaller {
			return nil
		}
		if rule.Fatal {
			// Only the first rule of a row always applies; a handler asks for the others
			// when their condition holds.
			if rule.Or != "" && r.MayTo(rule.Or, target) {
				return nil
			}
			return r.RequireTo(rule.Name, target)
		}
	}
	// Build refuses a row without a rule that decides, so this is nobody's way in.
	return Forbidden("Policy doesn't allow %s to be performed.", r.Op.Name())
}

// AnyCaller in the table of operations lets everybody in who has a valid token.
const AnyCaller = "@"
