package tempestlite

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
)

// Generate makes the checks of the tables: for each operation, at each version that sel
// asks for and the cloud has, one check of each kind that suits it.
func Generate(c *Contract, sel Selection, limit Version) []*Check {
	g := generator{contract: c, sel: sel, limit: limit}
	for _, op := range c.Operations {
		g.operation(op)
	}
	return g.checks
}

type generator struct {
	contract *Contract
	sel      Selection
	limit    Version
	checks   []*Check
}

func (g *generator) operation(op *Operation) {
	versions := op.Versions(g.sel, g.limit)
	if len(versions) == 0 {
		return
	}
	call := g.contract.Calls[op.Name]
	if op.Removed() {
		g.gone(op, call, versions)
		return
	}
	if call == nil {
		return // the coverage table says so
	}
	last := Version(0) // the version before, which has no schemas
	known := map[string]bool{}
	for _, v := range versions {
		at := site{op: op, call: call, v: v}
		g.works(at)
		if latest := v == versions[len(versions)-1]; latest {
			clear(known) // the last version is asked everything
		}
		if !call.Alias && (len(known) == 0 || g.contract.Request(op, v) != g.contract.Request(op, last)) {
			g.spoiled(at, known)
			g.moved(at)
		}
		if !call.Alias && (len(known) == 0 || g.contract.Query(op, v) != g.contract.Query(op, last)) {
			g.queries(at, known)
			g.paging(at)
		}
		known["seen"] = true
		g.access(at)
		g.missing(at)
		g.states(at)
		last = v
	}
	g.outside(op, call, versions[0], last)
}

// site is an operation at a version.
type site struct {
	op   *Operation
	call *Call
	v    Version
}

func (s site) id(kind Kind, detail string) string {
	if detail != "" {
		return fmt.Sprintf("%s/%s/%s@%s", s.op.Name, kind, detail, s.v)
	}
	return fmt.Sprintf("%s/%s@%s", s.op.Name, kind, s.v)
}

// add appends a check of the kind unless the call says that it makes no sense.
func (g *generator) add(s site, kind Kind, detail, title, expects string, needs []Need, run func(*T)) {
	if s.call != nil {
		if s.call.Skip[kind] != "" || s.call.Skip[kind+"/"+Kind(detail)] != "" {
			return
		}
		if len(s.call.Only) > 0 && !slices.Contains(s.call.Only, kind) {
			return
		}
	}
	source := "Compute API, " + s.op.Key() + ", microversion " + s.v.String()
	if len(s.op.Policy) > 0 && s.op.Policy[0] != "" && kind == Forbidden {
		source += ", policy " + s.op.Policy[0]
	}
	g.checks = append(g.checks, &Check{
		ID: s.id(kind, detail), Title: title, Area: s.op.Area, Op: s.op, Kind: kind, Version: s.v,
		Sends: g.sends(s), Expects: expects, Source: source, Needs: needs, Alone: kind == Paging || s.call != nil && s.call.Alone && kind == Works, Run: run,
	})
}

// sends tells what a happy call sends, its values not filled in.
func (g *generator) sends(s site) string {
	text := s.op.Method + " " + s.op.Path
	if s.call == nil {
		return text
	}
	for _, v := range s.call.Path {
		before, after, _ := strings.Cut(text, "{")
		_, after, _ = strings.Cut(after, "}")
		text = before + v + after
	}
	if s.call.Query != "" {
		text += "?" + s.call.Query
	}
	if body, err := s.call.body(s.v); err == nil && (body != nil || s.call.Body != nil) {
		text += " " + string(mustJSON(body))
	}
	return text
}

// needs of the happy path: what the call names, and whoever makes it.
func (s site) needs(more ...Need) []Need {
	out := append(slices.Clone(s.call.Needs), more...)
	switch s.op.Role {
	case "admin":
		out = append(out, NeedAdmin)
	case "service":
		out = append(out, NeedAdmin)
	}
	return out
}

// caller is who makes the happy call: the least role that may, of those that there are.
func (t *T) caller(s site) Role {
	if s.call != nil && s.call.As != "" {
		return s.call.As
	}
	have := func(r Role) bool { return t.Cloud.lacks(r) == "" }
	switch s.op.Role {
	case "admin":
		return Admin
	case "manager":
		if have(Admin) && (!have(Manager) || t.Cloud.legacy) {
			return Admin
		}
		return Manager
	case "service":
		if have(Service) && !t.Cloud.legacy {
			return Service
		}
		return Admin
	case "reader":
		if have(Reader) {
			return Reader
		}
	}
	if s.op.Method == http.MethodGet {
		return t.Cloud.looker()
	}
	return Member
}

// request is the call with its values filled in.
func (t *T) request(s site) request {
	r := request{as: t.caller(s), version: s.v, method: s.op.Method, path: t.path(s.op, s.call.Path)}
	if s.call.Query != "" {
		r.path += "?" + fmt.Sprint(t.fill(s.call.Query))
	}
	body, err := s.call.body(s.v)
	if err != nil {
		t.Fatalf("contract/calls.yaml: the body of %s: %v", s.op.Name, err)
	}
	if body != nil {
		r.body = t.fill(body)
	}
	return r
}

func (g *generator) works(s site) {
	if s.call.Max != "" {
		top, err := ParseVersion(s.call.Max)
		if err != nil || s.v > top {
			return
		}
	}
	code := s.op.Success(s.v)
	g.add(s, Works, "", fmt.Sprintf("%s works at %s", s.op.Key(), s.v), fmt.Sprintf("%d, the version headers, and an answer of the schema", code), s.needs(s.call.NeedsTo...), func(t *T) {
		for _, step := range s.call.Before {
			t.step(step)
		}
		r := t.request(s)
		resp := t.do(r)
		t.undo(s, resp)
		t.skipLacking(s, resp)
		if !t.Want(resp, append([]int{code}, s.call.Codes...)...) {
			return
		}
		t.CheckHeaders(resp)
		t.CheckAnswer(s.op, resp)
		known, err := s.call.answer(s.v)
		if err != nil {
			t.Fatalf("contract/calls.yaml: the answer of %s: %v", s.op.Name, err)
		}
		if known != nil && !(s.call.AnswerOwn && t.Cloud.lacks(Admin) != "") {
			t.within("the answer", resp.JSON, t.fill(known))
		}
		t.then(s)
	})
}

// step makes a call that prepares another.
func (t *T) step(step Step) {
	as := step.As
	if as == "" {
		as = Member
	}
	path := fmt.Sprint(t.fill(step.Path))
	var body any
	if step.Body != nil {
		body = t.fill(step.Body)
	}
	version := t.Check.Version
	t.Must(as, version, step.Method, path, body, step.Code)
	if step.Status != "" {
		parts := strings.Split(path, "/")
		t.WaitStatus(as, First, parts[2], step.Status)
	}
}

// then waits for what the call has set going.
func (t *T) then(s site) {
	if s.call.Then == "" {
		return
	}
	id := fmt.Sprint(t.fill(s.call.Path[0]))
	if s.call.Then == "gone" {
		t.WaitGone(Member, id)
		return
	}
	t.WaitStatus(t.Cloud.maker(), First, id, strings.Fields(s.call.Then)...)
}

// skipLacking skips the check where the cloud says truly that it has not what the call is for.
func (t *T) skipLacking(s site, resp *Response) {
	for _, text := range s.call.Lacks {
		if resp.Status >= 400 && strings.Contains(resp.Message(), text) {
			t.Skipf("the cloud has it not: %s", resp.Message())
		}
	}
}

// undo puts what the call has made into the ledger; also where it should not have been made.
func (t *T) undo(s site, resp *Response) {
	if s.call.Undo == "" || resp.Status >= 300 {
		return
	}
	path := fmt.Sprint(t.fill(s.call.Undo))
	if path == "image" {
		t.RemoveImageOf(t.caller(s), resp)
		return
	}
	for strings.Contains(path, "{") {
		before, rest, _ := strings.Cut(path, "{")
		name, after, _ := strings.Cut(rest, "}")
		value := dotted(resp.JSON, name)
		if value == nil {
			return
		}
		path = before + fmt.Sprint(value) + after
	}
	as := t.caller(s)
	if rest, ok := strings.CutPrefix(path, "/servers/"); ok && !strings.Contains(rest, "/") {
		t.Remove(path, t.Cloud.deleteServer(as, rest))
		return
	}
	t.RemovePath(as, path)
}

func dotted(v any, name string) any {
	for word := range strings.SplitSeq(name, ".") {
		if list, ok := v.([]any); ok && word == "0" {
			v = dig(list, 0)
			continue
		}
		v = dig(v, word)
	}
	return v
}

// spoiled makes the checks of bodies that are wrong. What known has was asked at a version
// before, and is not asked again.
func (g *generator) spoiled(s site, known map[string]bool) {
	schema := g.contract.Request(s.op, s.v)
	if schema == nil {
		return
	}
	body, err := s.call.body(s.v)
	if err != nil {
		panic(fmt.Sprintf("contract/calls.yaml: %s at %s: %v", s.op.Name, s.v, err)) // a test goes through all
	}
	for _, m := range mutations(schema, dummies(body)) {
		if s.op.Action != "" && len(m.path) == 0 && m.kind != WrongType && m.kind != WrongValue {
			continue // another key would be another action: that is checked once, by hand
		}
		if m.among(known) {
			continue
		}
		if text, own := s.call.Messages[string(m.kind)]; own {
			m.message = text
		}
		g.add(s, m.kind, m.name, fmt.Sprintf("%s refuses a body with %s: %s", s.op.Key(), words(m.kind), m.name), "400 badRequest, "+m.message, nil, func(t *T) {
			t.sharing = true
			r := t.request(s)
			r.body = m.apply(r.body)
			t.refused400(s, r, m.message)
		})
	}
	if known["seen"] {
		return
	}
	names := slices.Sorted(maps.Keys(s.call.Bodies))
	for _, name := range names {
		g.add(s, WrongValue, name, fmt.Sprintf("%s refuses a body with a wrong value: %s", s.op.Key(), name), "400 badRequest", nil, func(t *T) {
			t.sharing = true
			r := t.request(s)
			r.body = t.fill(s.call.Bodies[name])
			t.refused400(s, r, "")
		})
	}
	if s.op.Action != "" {
		return // a body that is no object names no action: that is checked once, by hand
	}
	for name, raw := range map[string]string{"no-json": `{"`, "list": `[]`, "text": `"x"`, "empty": ``} {
		g.add(s, BadBody, name, fmt.Sprintf("%s refuses a body that is no object: %s", s.op.Key(), name), "400 badRequest", nil, func(t *T) {
			t.sharing = true
			r := t.request(s)
			r.body = []byte(raw)
			t.refused400(s, r, "")
		})
	}
}

// moved makes the checks of fields that come with the version of s, at the version before,
// and of those that went with it.
func (g *generator) moved(s site) {
	before := site{s.op, s.call, s.v - 1}
	has := func(v Version) bool {
		return s.op.Success(v) != 0 && (len(g.sel.Only) == 0 || slices.Contains(g.sel.Only, v))
	}
	if s.op.Success(before.v) == 0 {
		return
	}
	for _, m := range []struct {
		at, from site
		what     string
	}{{before, s, "too-early"}, {s, before, "too-late"}} {
		schema, other := g.contract.Request(s.op, m.at.v), g.contract.Request(s.op, m.from.v)
		body, err := s.call.body(m.at.v)
		if schema == nil || other == nil || schema == other || err != nil || !has(m.at.v) {
			continue
		}
		for _, f := range foreign(schema.Doc, other.Doc, dummies(body), nil) {
			title := fmt.Sprintf("%s refuses the field %s, of %s, at %s", s.op.Key(), f.name, m.from.v, m.at.v)
			g.add(m.at, UnknownField, f.name+"-"+m.what, title, "400 badRequest, "+f.message, nil, func(t *T) {
				t.sharing = true
				r := t.request(m.at)
				r.body = f.apply(r.body)
				t.refused400(m.at, r, f.message)
			})
		}
	}
}

func words(k Kind) string { return strings.ReplaceAll(string(k), "-", " ") }

func (t *T) refused400(s site, r request, message string) {
	resp := t.do(r)
	t.undo(s, resp)
	if !t.Want(resp, http.StatusBadRequest) {
		return
	}
	t.CheckFault(resp)
	t.CheckHeaders(resp)
	if message != "" && !(message == fieldMessage && strings.HasPrefix(resp.Message(), nameMessage)) {
		t.WantMessage(resp, message)
	}
}

// The texts that begin Nova's answer to a wrong value: most fields', and names'.
const (
	fieldMessage = "Invalid input for field/attribute"
	nameMessage  = "An invalid 'name' value was provided."
)

// queries makes the checks of query parameters.
func (g *generator) queries(s site, known map[string]bool) {
	schema := g.contract.Query(s.op, s.v)
	if schema == nil || s.op.Method != "GET" {
		return
	}
	strict := schema.Doc["additionalProperties"] == false
	code, expects := s.op.Success(s.v), "the parameter is ignored"
	if strict {
		code, expects = 400, "400 badRequest"
	}
	g.add(s, UnknownQuery, "", fmt.Sprintf("%s with an unknown query parameter", s.op.Key()), expects, s.needs(), func(t *T) {
		t.sharing = true
		r := t.request(s)
		r.path += separator(r.path) + strangeKey + "=x"
		resp := t.do(r)
		if t.Want(resp, code) && strict {
			t.CheckFault(resp)
			t.WantMessage(resp, "'"+strangeKey+"'") // how the rest is worded depends on what else the schema has
		}
	})
	bad := wrongQueries(schema)
	for _, key := range slices.Sorted(maps.Keys(bad)) {
		if asked := "query " + bad[key]; known[asked] {
			continue
		} else {
			known[asked] = true
		}
		g.add(s, WrongQuery, key, fmt.Sprintf("%s refuses the query %s", s.op.Key(), bad[key]), "400 badRequest", s.needs(), func(t *T) {
			t.sharing = true
			r := t.request(s)
			path, _, _ := strings.Cut(r.path, "?")
			r.path = path + "?" + bad[key]
			resp := t.do(r)
			if t.Want(resp, 400) {
				t.CheckFault(resp)
				t.WantMessage(resp, "Invalid input")
			}
		})
	}
}

func separator(path string) string {
	if strings.Contains(path, "?") {
		return "&"
	}
	return "?"
}

// access makes the checks of tokens and roles.
func (g *generator) access(s site) {
	unauthorized := func(as Role) func(*T) {
		return func(t *T) {
			t.sharing = true
			r := t.request(s)
			r.as = as
			resp := t.do(r)
			t.undo(s, resp)
			if t.Want(resp, http.StatusUnauthorized) && !strings.HasPrefix(resp.Header.Get("WWW-Authenticate"), "Keystone uri=") {
				t.Errorf("the header WWW-Authenticate is %q, and names no Keystone", resp.Header.Get("WWW-Authenticate"))
			}
		}
	}
	if s.op.Name != "versions.list" && s.op.Name != "versions.show" {
		g.add(s, NoToken, "", s.op.Key()+" refuses a call without a token", "401", nil, unauthorized(Anonymous))
		g.add(s, BadToken, "", s.op.Key()+" refuses a token that nobody issued", "401", nil, unauthorized(Forged))
	}
	for _, f := range tooLow[s.op.Role] {
		needs := append(slices.Clone(s.call.Needs), f.needs...)
		if s.call.OpenBefore {
			needs = append(needs, NeedNewPolicy)
		}
		g.add(s, Forbidden, string(f.as), fmt.Sprintf("%s is not for the role %s", s.op.Key(), f.as), "403 forbidden, naming the rule "+s.op.Policy[0], needs, func(t *T) {
			t.sharing = true
			if why := t.Cloud.lacks(f.as); why != "" {
				t.Skipf("%s", why)
			}
			r := t.request(s)
			r.as = f.as
			resp := t.do(r)
			t.undo(s, resp)
			if !t.Want(resp, append([]int{http.StatusForbidden}, s.call.TooLow...)...) || resp.Status != http.StatusForbidden {
				return
			}
			t.CheckFault(resp)
			if !slices.ContainsFunc(s.op.Policy, func(rule string) bool { return strings.Contains(resp.Message(), strings.TrimSuffix(rule, "?")) }) {
				t.Errorf("the message is %q, and names no rule of %v", resp.Message(), s.op.Policy)
			}
		})
	}
}

// tooLow are the accounts that a role keeps out, and what telling them apart needs.
var tooLow = map[string][]struct {
	as    Role
	needs []Need
}{
	"admin":   {{Member, []Need{NeedAdmin}}, {Reader, []Need{NeedAdmin}}, {Nobody, []Need{NeedAdmin}}},
	"manager": {{Member, []Need{NeedNewPolicy}}, {Reader, []Need{NeedNewPolicy}}, {Nobody, []Need{NeedNewPolicy}}},
	"service": {{Member, []Need{NeedAdmin}}, {Reader, []Need{NeedAdmin}}, {Nobody, []Need{NeedAdmin}}},
	"member":  {{Reader, []Need{NeedNewPolicy}}, {Nobody, []Need{NeedNewPolicy}}},
	"reader":  {{Nobody, []Need{NeedNewPolicy}}},
}

// missing makes the checks of ids that nothing has, or that others have.
func (g *generator) missing(s site) {
	n := len(s.call.Path)
	if n == 0 {
		return
	}
	unknown := func(place int, detail string) {
		u := s.call.unknownAt(s.v, place == n-1)
		g.add(s, UnknownID, detail, s.op.Key()+" with an id that nothing has", fmt.Sprintf("%d", u.Code), s.needs(), func(t *T) {
			t.sharing = true
			own := *s.call
			own.Path = slices.Clone(s.call.Path)
			own.Path[place] = u.Value
			resp := t.do(t.request(site{s.op, &own, s.v}))
			if t.Want(resp, u.Code) && u.Code >= 400 {
				t.CheckFault(resp)
				t.CheckHeaders(resp)
			}
		})
	}
	if strings.Contains(s.op.Errors, "404") || s.call.Unknown != nil {
		unknown(n-1, "")
	}
	if n > 1 {
		unknown(0, "first")
	}
	if strings.HasPrefix(s.op.Path, "/servers/{") {
		codes := s.call.Others
		if len(codes) == 0 {
			codes = []int{http.StatusNotFound}
		}
		g.add(s, OtherProject, "", s.op.Key()+" does not show that another project's server is there", codesText(codes), s.call.Needs, func(t *T) {
			t.sharing = true
			if why := t.Cloud.lacks(Other); why != "" {
				t.Skipf("%s", why)
			}
			r := t.request(s)
			r.as = Other
			resp := t.do(r)
			if t.Want(resp, codes...) {
				t.CheckFault(resp)
			}
		})
	}
}

// unknownAt is what an unknown id is, and is answered with.
func (call *Call) unknownAt(v Version, last bool) Unknown {
	u := Unknown{Value: "$uuid", Code: 404}
	if call.Unknown == nil || !last {
		return u
	}
	own := *call.Unknown
	for _, at := range slices.Sorted(maps.Keys(own.Since)) {
		if w, err := ParseVersion(at); err == nil && v >= w {
			later := own.Since[at]
			if later.Value != "" {
				own.Value = later.Value
			}
			if later.Code != 0 {
				own.Code = later.Code
			}
		}
	}
	if own.Value != "" {
		u.Value = own.Value
	}
	if own.Code != 0 {
		u.Code = own.Code
	}
	return u
}

// states makes the checks of servers in a state that does not suit.
func (g *generator) states(s site) {
	if s.call.Locks {
		g.add(s, Locked, "", s.op.Key()+" refuses a locked server", "409 conflictingRequest: Instance … is locked", append(slices.Clone(s.call.Needs), NeedAdmin), func(t *T) {
			t.sharing = true
			locked := t.LockedServer()
			for _, name := range append([]string{"server"}, pooled...) {
				t.values[name] = locked
			}
			r := t.request(s)
			resp := t.do(r)
			if t.Want(resp, http.StatusConflict) {
				t.CheckFault(resp)
				text, own := s.call.Messages[string(Locked)]
				if !own {
					text = fmt.Sprintf("Instance %s is locked", locked)
				}
				t.WantMessage(resp, text)
			}
		})
	}
	for _, c := range s.call.Conflict {
		name := c.Name
		if name == "" {
			name = c.State
		}
		code := c.Code
		if code == 0 {
			code = http.StatusConflict
		}
		g.add(s, WrongState, name, fmt.Sprintf("%s refuses a server that is %s", s.op.Key(), name), fmt.Sprintf("%d: %s", code, c.Message), s.needs(), func(t *T) {
			own := *s.call
			if c.State != "" {
				own.Path = append([]string{"$" + c.State}, own.Path[1:]...)
			}
			if c.Path != nil {
				own.Path = c.Path
			}
			if c.Body != nil {
				own.Body, own.Since, own.Until = c.Body, nil, nil
			}
			resp := t.do(t.request(site{s.op, &own, s.v}))
			t.undo(s, resp)
			if t.Want(resp, code) {
				t.CheckFault(resp)
				t.WantMessage(resp, fmt.Sprint(t.fill(c.Message)))
			}
		})
	}
}

// outside makes the checks of the versions around an operation's range.
func (g *generator) outside(op *Operation, call *Call, first, last Version) {
	absent := func(kind Kind, v, shape Version) {
		s := site{op, call, v}
		g.add(s, kind, "", fmt.Sprintf("%s is not there at %s", op.Key(), v), "404 itemNotFound", nil, func(t *T) {
			t.sharing = true
			r := t.request(site{op, call, shape})
			r.version = v
			resp := t.do(r)
			t.undo(s, resp)
			if t.Want(resp, http.StatusNotFound) {
				t.CheckFault(resp)
			}
		})
	}
	if op.Min() > First && first == op.Min() {
		absent(TooOld, op.Min()-1, op.Min())
	}
	if top := op.Max(g.limit); top < g.limit && last == top {
		absent(TooNew, top+1, top)
	}
}

// gone makes the checks of what Nova no longer has.
func (g *generator) gone(op *Operation, call *Call, versions []Version) {
	for _, v := range versions {
		s := site{op, call, v}
		g.add(s, Gone, "", op.Key()+" is gone", "410 computeFault", nil, func(t *T) {
			values := make([]string, strings.Count(op.Path, "{"))
			for i := range values {
				values[i] = "$uuid"
			}
			if strings.HasPrefix(op.Path, "/servers/{") {
				values[0] = "$server"
			}
			var body any
			if op.Action != "" {
				body = map[string]any{op.Action: nil}
			} else if op.Method != "GET" && op.Method != "DELETE" {
				body = map[string]any{}
			}
			t.sharing = true
			resp := t.Do(t.Cloud.maker(), v, op.Method, t.path(op, values), body)
			if t.Want(resp, http.StatusGone) {
				t.CheckFault(resp)
			}
		})
	}
}

// dummies fills the $ words of a body with values of the right shape, to hold it against
// its schema before there is a cloud.
func dummies(v any) any {
	switch v := v.(type) {
	case string:
		if !strings.HasPrefix(v, "$") {
			return v
		}
		switch v {
		case "$aggregate":
			return 1
		case "$name", "$host", "$keypair":
			return "tempest-lite"
		case "$fixed_address", "$floating_address", "$attached_address":
			return "192.0.2.1"
		}
		if strings.HasPrefix(v, "$name") {
			return "tempest-lite" + v[len("$name"):]
		}
		return "11111111-2222-4333-8444-555555555555"
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[key] = dummies(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = dummies(v[i])
		}
		return out
	}
	return v
}
