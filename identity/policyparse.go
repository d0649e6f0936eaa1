package identity

import (
	"fmt"
	"regexp"
	"strings"

	"kilonova/compat"
)

// question is what a check is asked: may this caller touch that target?
type question struct {
	caller *compat.Caller
	target compat.Target
}

// check answers a question.
type check func(*question) bool

// policyCompiler turns the texts of rules into checks. A rule that leads back to itself or
// to one that does not exist is an error, found before any question is asked.
type policyCompiler struct {
	texts map[string]string
	done  map[string]check
	open  map[string]bool // being compiled
}

func (c *policyCompiler) rule(name string) (check, error) {
	if done, ok := c.done[name]; ok {
		return done, nil
	}
	text, ok := c.texts[name]
	if !ok {
		return nil, fmt.Errorf("rule %q does not exist", name)
	}
	if c.open[name] {
		return nil, fmt.Errorf("rule %q refers to itself", name)
	}
	c.open[name] = true
	defer delete(c.open, name)
	p := &policyParser{rules: c, words: policyWords(text)}
	out, err := p.whole()
	if err != nil {
		return nil, fmt.Errorf("rule %q: %w", name, err)
	}
	c.done[name] = out
	return out, nil
}

// policyWords splits a rule at spaces and brackets. The brackets of %(name)s are part of
// their word.
func policyWords(text string) []string {
	var words []string
	for _, f := range strings.Fields(text) {
		for strings.HasPrefix(f, "(") {
			words, f = append(words, "("), f[1:]
		}
		closing := 0
		for strings.HasSuffix(f, ")") {
			f = f[:len(f)-1]
			closing++
		}
		if f != "" {
			words = append(words, f)
		}
		for range closing {
			words = append(words, ")")
		}
	}
	return words
}

// policyParser reads oslo.policy's language: "or" binds least, then "and", then "not".
type policyParser struct {
	rules *policyCompiler
	words []string
	depth int
}

func (p *policyParser) peek() string {
	if len(p.words) == 0 {
		return ""
	}
	return p.words[0]
}

// take drops the next word when it is the given one, in any case.
func (p *policyParser) take(word string) bool {
	if !strings.EqualFold(p.peek(), word) {
		return false
	}
	p.words = p.words[1:]
	return true
}

func (p *policyParser) whole() (check, error) {
	if len(p.words) == 0 {
		return func(*question) bool { return true }, nil // oslo.policy: an empty rule is "@"
	}
	out, err := p.or()
	if err == nil && len(p.words) > 0 {
		err = fmt.Errorf("unexpected %q", p.peek())
	}
	return out, err
}

func (p *policyParser) or() (check, error) {
	left, err := p.and()
	for err == nil && p.take("or") {
		var right check
		right, err = p.and()
		a := left
		left = func(q *question) bool { return a(q) || right(q) }
	}
	return left, err
}

func (p *policyParser) and() (check, error) {
	left, err := p.not()
	for err == nil && p.take("and") {
		var right check
		right, err = p.not()
		a := left
		left = func(q *question) bool { return a(q) && right(q) }
	}
	return left, err
}

func (p *policyParser) not() (check, error) {
	const deepest = 100
	p.depth++
	defer func() { p.depth-- }()
	if p.depth > deepest {
		return nil, fmt.Errorf("nested deeper than %d", deepest)
	}
	if p.take("not") {
		inner, err := p.not()
		return func(q *question) bool { return !inner(q) }, err
	}
	if p.take("(") {
		inner, err := p.or()
		if err == nil && !p.take(")") {
			err = fmt.Errorf("a bracket is not closed")
		}
		return inner, err
	}
	word := p.peek()
	if word == "" {
		return nil, fmt.Errorf("ends too early")
	}
	p.words = p.words[1:]
	return p.leaf(word)
}

var targetForm = regexp.MustCompile(`^%\((\w+)\)s$`)

// leaf is one check: @, !, rule:NAME, role:NAME, or an attribute of the caller compared
// with a text or an attribute of the target.
func (p *policyParser) leaf(word string) (check, error) {
	switch word {
	case "@":
		return func(*question) bool { return true }, nil
	case "!":
		return func(*question) bool { return false }, nil
	}
	kind, match, ok := strings.Cut(word, ":")
	if !ok || match == "" {
		return nil, fmt.Errorf("%q is not a check", word)
	}
	switch kind {
	case "rule":
		return p.rules.rule(match)
	case "role":
		role := strings.ToLower(match)
		return func(q *question) bool { return q.caller.Has(role) }, nil
	case "is_admin":
		admin, err := p.rules.rule("context_is_admin")
		want := strings.EqualFold(match, "true")
		return func(q *question) bool { return admin(q) == want }, err
	}
	left, err := callerAttribute(kind)
	if err != nil {
		return nil, err
	}
	right := func(*question) string { return match }
	if m := targetForm.FindStringSubmatch(match); m != nil {
		right, err = targetAttribute(m[1])
		if err != nil {
			return nil, err
		}
	} else if strings.Contains(match, "%(") {
		return nil, fmt.Errorf("%q is not a check", word)
	}
	return func(q *question) bool {
		l := left(q)
		return l != "" && l == right(q)
	}, nil
}

func callerAttribute(name string) (func(*question) string, error) {
	if quoted := strings.Trim(name, `'"`); quoted != name {
		return func(*question) string { return quoted }, nil
	}
	switch name {
	case "user_id":
		return func(q *question) string { return q.caller.UserID }, nil
	case "project_id", "tenant", "tenant_id":
		return func(q *question) string { return q.caller.ProjectID }, nil
	case "user_domain_id":
		return func(q *question) string { return q.caller.UserDomainID }, nil
	case "project_domain_id":
		return func(q *question) string { return q.caller.ProjectDomainID }, nil
	case "domain_id":
		return func(q *question) string { return q.caller.DomainID }, nil
	case "system_scope":
		return func(q *question) string {
			if q.caller.System {
				return "all"
			}
			return ""
		}, nil
	}
	return nil, fmt.Errorf("a caller has no attribute %q", name)
}

func targetAttribute(name string) (func(*question) string, error) {
	switch name {
	case "project_id", "tenant_id":
		return func(q *question) string { return q.target.ProjectID }, nil
	case "user_id":
		return func(q *question) string { return q.target.UserID }, nil
	}
	return nil, fmt.Errorf("a target has no attribute %q", name)
}
