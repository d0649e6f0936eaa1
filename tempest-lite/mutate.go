package tempestlite

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// mutation is one thing wrong with a body that is otherwise right.
type mutation struct {
	kind    Kind
	name    string // where, and what: server.name, server.name-too-long
	path    []any  // to the object or list that is changed
	key     any
	value   any
	remove  bool
	message string // part of the text that Nova answers
}

// apply makes the change in a copy of a body.
func (m mutation) apply(body any) any {
	out := clone(body)
	parent := dig(out, m.path...)
	switch p := parent.(type) {
	case map[string]any:
		if m.remove {
			delete(p, m.key.(string))
		} else {
			p[m.key.(string)] = m.value
		}
	case []any:
		if i := m.key.(int); i < len(p) {
			p[i] = m.value
		}
	}
	return out
}

// among tells whether the set has the mutation, and puts it there.
func (m mutation) among(set map[string]bool) bool {
	key := fmt.Sprint(m.kind, " ", m.name, " ", m.value)
	had := set[key]
	set[key] = true
	return had
}

// foreign are the fields of another version's schema that a body may not have by its own.
func foreign(own, other map[string]any, body any, path []any) []mutation {
	var out []mutation
	switch b := body.(type) {
	case map[string]any:
		props, _ := own["properties"].(map[string]any)
		others, _ := other["properties"].(map[string]any)
		for _, key := range slices.Sorted(maps.Keys(others)) {
			at := append(slices.Clone(path), key)
			mine, has := props[key].(map[string]any)
			theirs, _ := others[key].(map[string]any)
			switch inner, sent := b[key]; {
			case !has && own["additionalProperties"] == false:
				out = append(out, mutation{kind: UnknownField, name: where(at), path: path, key: key, value: "x",
					message: fmt.Sprintf("Additional properties are not allowed ('%s' was unexpected)", key)})
			case has && sent:
				out = append(out, foreign(mine, theirs, inner, at)...)
			}
		}
	case []any:
		mine, _ := own["items"].(map[string]any)
		theirs, _ := other["items"].(map[string]any)
		if len(b) > 0 && mine != nil {
			out = foreign(mine, theirs, b[0], append(slices.Clone(path), 0))
		}
	}
	return out
}

func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for key, value := range v {
			out[key] = clone(value)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i := range v {
			out[i] = clone(v[i])
		}
		return out
	}
	return v
}

// mutations are the ways to spoil a body that its schema forbids: each is held against
// the schema, and those that it allows are left out.
func mutations(s *Schema, body any) []mutation {
	var out []mutation
	walk(s.Doc, body, nil, &out)
	return slices.DeleteFunc(out, func(m mutation) bool { return len(s.Validate(plain(m.apply(body)))) == 0 })
}

// plain brings a value into the types that the validator knows.
func plain(v any) any {
	data, err := json.Marshal(v)
	if err != nil {
		return v
	}
	var out any
	_ = json.Unmarshal(data, &out)
	return out
}

const strangeKey = "tempest_lite_unknown"

func walk(schema map[string]any, body any, path []any, out *[]mutation) {
	switch b := body.(type) {
	case map[string]any:
		walkObject(schema, b, path, out)
	case []any:
		item, _ := schema["items"].(map[string]any)
		if item == nil || len(b) == 0 {
			return
		}
		at := append(slices.Clone(path), 0)
		wrongValues(item, path, 0, where(at), out)
		walk(item, b[0], at, out)
	}
}

func walkObject(schema, body map[string]any, path []any, out *[]mutation) {
	if extra, ok := schema["additionalProperties"].(bool); ok && !extra {
		m := mutation{kind: UnknownField, name: where(append(slices.Clone(path), strangeKey)), path: path, key: strangeKey, value: "x",
			message: fmt.Sprintf("Additional properties are not allowed ('%s' was unexpected)", strangeKey)}
		if n, limited := number(schema["maxProperties"]); limited && len(body) >= int(n) {
			m.message = "" // it may as well be one too many
		}
		*out = append(*out, m)
	}
	required, _ := schema["required"].([]any)
	for _, r := range required {
		key, _ := r.(string)
		*out = append(*out, mutation{kind: MissingField, name: where(append(slices.Clone(path), key)), path: path, key: key, remove: true,
			message: fmt.Sprintf("'%s' is a required property", key)})
	}
	props, _ := schema["properties"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(props)) {
		prop, ok := props[key].(map[string]any)
		if !ok {
			continue
		}
		at := append(slices.Clone(path), key)
		wrongValues(prop, path, key, where(at), out)
		if inner, has := body[key]; has {
			walk(prop, inner, at, out)
		}
	}
}

func where(path []any) string {
	words := make([]string, len(path))
	for i, p := range path {
		words[i] = fmt.Sprint(p)
	}
	return strings.Join(words, ".")
}

// strangers are values of every type of JSON, to find one that a field may not have.
var strangers = []struct {
	types string
	value any
}{
	{"object", map[string]any{"tempest": "lite"}},
	{"array", []any{"tempest-lite"}},
	{"boolean", true},
	{"integer number", json.Number("54321")},
	{"string", "tempest lite!"},
	{"null", nil},
}

// wrongValues adds a value of a wrong type for a field, and one beyond each of its limits.
func wrongValues(prop map[string]any, path []any, key any, name string, out *[]mutation) {
	allowed := typesOf(prop)
	for _, s := range strangers {
		if len(allowed) == 0 || slices.ContainsFunc(strings.Fields(s.types), func(t string) bool { return slices.Contains(allowed, t) }) {
			continue
		}
		*out = append(*out, mutation{kind: WrongType, name: name, path: path, key: key, value: s.value, message: fieldMessage})
		break
	}
	add := func(what string, value any) {
		*out = append(*out, mutation{kind: WrongValue, name: name + "-" + what, path: path, key: key, value: value, message: fieldMessage})
	}
	if n, ok := number(prop["maxLength"]); ok && n < 70000 {
		add("too-long", strings.Repeat("a", int(n)+1))
	}
	if n, ok := number(prop["minLength"]); ok && n > 0 {
		add("too-short", strings.Repeat("a", int(n)-1))
	}
	if n, ok := number(prop["minimum"]); ok && slices.Contains(allowed, "integer") {
		add("too-small", json.Number(fmt.Sprint(int64(n)-1)))
	}
	if n, ok := number(prop["maximum"]); ok && slices.Contains(allowed, "integer") {
		add("too-big", json.Number(fmt.Sprint(int64(n)+1)))
	}
	if _, ok := prop["enum"]; ok && slices.Contains(allowed, "string") {
		add("unlisted", "tempest-lite-unlisted")
	}
	if _, ok := prop["pattern"]; ok && slices.Contains(allowed, "string") {
		add("malformed", "/?\\tempest lite!")
	}
	if f := prop["format"]; f == "uuid" {
		add("no-uuid", "tempest-lite-no-uuid")
	}
}

func typesOf(prop map[string]any) []string {
	switch t := prop["type"].(type) {
	case string:
		return []string{t}
	case []any:
		var out []string
		for _, x := range t {
			out = append(out, fmt.Sprint(x))
		}
		return out
	}
	if enum, ok := prop["enum"].([]any); ok && len(enum) > 0 {
		if _, text := enum[0].(string); text {
			return []string{"string"}
		}
	}
	return nil
}

func number(v any) (float64, bool) {
	switch n := v.(type) {
	case json.Number:
		f, err := n.Float64()
		return f, err == nil
	case float64:
		return n, true
	}
	return 0, false
}

// wrongQueries are query strings with one value that the schema forbids, by what is wrong.
func wrongQueries(s *Schema) map[string]string {
	out := map[string]string{}
	props, _ := s.Doc["properties"].(map[string]any)
	for key, p := range props {
		prop, ok := p.(map[string]any)
		if !ok {
			continue
		}
		for _, bad := range []string{"-1", "tempest lite!", strings.Repeat("a", 300)} {
			one := mustCompile(mustJSON(prop))
			if len(one.Validate(bad)) > 0 {
				out[key] = key + "=" + strings.ReplaceAll(strings.ReplaceAll(bad, " ", "%20"), "!", "%21")
				break
			}
		}
	}
	return out
}

func mustJSON(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // it was JSON before
	}
	return data
}
