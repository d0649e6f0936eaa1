package compat

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed contract/operations.tsv
var operationsTable string

//go:embed contract/aliases.tsv
var aliasesTable string

//go:embed contract/schemas.json
var schemasTable []byte

// Operation is a row of the table of operations: what may be called at which
// microversions, what it answers on success, and who may call it.
type Operation struct {
	Method, Path, Action string
	Range
	Success int
	Rules   []Rule
	Refusal string // what everybody is told, where Success is none

	name            string
	bodies, queries []rangedSchema
}

// Rule is a policy rule of an operation. One that is not Fatal decides only what is shown.
// With Or either of two will do: which of them it must be the body tells, and the handler
// asks again.
type Rule struct {
	Name, Or string
	Fatal    bool
}

func (r Rule) names() []string {
	if r.Or == "" {
		return []string{r.Name}
	}
	return []string{r.Name, r.Or}
}

// guarded reports whether at least one rule decides about the call itself. Rules that only
// decide what is shown guard nothing; who means everybody writes AnyCaller.
func (op *Operation) guarded() bool {
	return slices.ContainsFunc(op.Rules, func(r Rule) bool { return r.Fatal && r.Name != "" })
}

// rangedSchema is what bodies or queries are held against at some microversions. It is
// compiled when first needed.
type rangedSchema struct {
	Range
	schema func() *jsonschema.Schema
}

// Name is how handlers are registered: "POST /servers/{id}/action rebuild".
func (op *Operation) Name() string {
	if op.name != "" {
		return op.name
	}
	name := op.Method + " " + op.Path
	if op.Action != "" {
		name += " " + op.Action
	}
	return name
}

// Operations gives the table of operations, read once.
var Operations = sync.OnceValue(func() []*Operation {
	schemas := loadSchemas()
	var out []*Operation
	for i, line := range strings.Split(strings.TrimRight(operationsTable, "\n"), "\n") {
		if i == 0 {
			continue
		}
		op, err := parseOperation(line)
		if err != nil {
			panic(fmt.Sprintf("compat: line %d of the table of operations: %v", i+1, err))
		}
		op.bodies, op.queries = schemas.bodies[op.Name()], schemas.queries[op.Method+" "+op.Path]
		out = append(out, op)
	}
	return out
})

// alias is another name of a collection, at some versions.
type alias struct {
	Range
	collection string
}

var aliases = sync.OnceValue(func() map[string]alias {
	out := map[string]alias{}
	for i, line := range strings.Split(strings.TrimSpace(aliasesTable), "\n") {
		f := strings.Split(line, "\t")
		if i == 0 {
			continue
		}
		span, err := ParseRange(f[2], f[3])
		if err != nil {
			panic(fmt.Sprintf("compat: line %d of the table of aliases: %v", i+1, err))
		}
		out[f[0]] = alias{span, f[1]}
	}
	return out
})

func parseOperation(line string) (*Operation, error) {
	f := strings.Split(line, "\t")
	const columns = 8
	if len(f) != columns {
		return nil, fmt.Errorf("%d columns", len(f))
	}
	op := &Operation{Method: f[0], Path: f[1], Action: f[2]}
	var err error
	op.Range, err = ParseRange(f[3], f[4])
	if err != nil {
		return nil, err
	}
	op.Success, err = strconv.Atoi(f[5])
	if err != nil {
		return nil, err
	}
	op.Refusal = f[7]
	op.name = op.Name()
	for _, p := range strings.Split(f[6], " ; ") {
		name, shows := strings.CutSuffix(p, "?")
		name, or, _ := strings.Cut(name, " | ")
		op.Rules = append(op.Rules, Rule{Name: name, Or: or, Fatal: !shows})
	}
	return op, nil
}

// schemaSet is the file of schemas, by operation.
type schemaSet struct{ bodies, queries map[string][]rangedSchema }

func loadSchemas() schemaSet {
	type row struct {
		Min, Max string
		Schema   int
	}
	var file struct {
		Schemas []json.RawMessage
		Bodies  map[string][]row
		Queries map[string][]row
	}
	err := json.Unmarshal(schemasTable, &file)
	if err != nil {
		panic("compat: the table of schemas: " + err.Error())
	}
	compiled := make([]func() *jsonschema.Schema, len(file.Schemas))
	for i, raw := range file.Schemas {
		compiled[i] = sync.OnceValue(func() *jsonschema.Schema { return compile(i, raw) })
	}
	read := func(m map[string][]row) map[string][]rangedSchema {
		out := map[string][]rangedSchema{}
		for name, rows := range m {
			for _, r := range rows {
				span, err := ParseRange(r.Min, r.Max)
				if err != nil {
					panic("compat: the schemas of " + name + ": " + err.Error())
				}
				out[name] = append(out[name], rangedSchema{span, compiled[r.Schema]})
			}
		}
		return out
	}
	return schemaSet{read(file.Bodies), read(file.Queries)}
}

// LegacyVersion is the row of a body's schemas that /v2 has of its own: "2.0" in the table.
// What has none goes by MinVersion.
const LegacyVersion Version = 0

func at(list []rangedSchema, v Version) *jsonschema.Schema {
	if v == LegacyVersion && !(len(list) > 0 && list[0].Has(v)) {
		v = MinVersion
	}
	for i := range list {
		if list[i].Has(v) {
			return list[i].schema()
		}
	}
	return nil
}

// TakesBody reports whether the operation holds a body against a schema at a version.
func (op *Operation) TakesBody(v Version) bool { return at(op.bodies, v) != nil }

// CheckBody holds a decoded body (numbers as json.Number) against the operation's schema:
// nil, or a 400 Fault with Nova's text.
func (op *Operation) CheckBody(v Version, body any) *Fault {
	schema := at(op.bodies, v)
	if schema == nil {
		return nil
	}
	return check(schema, body, bodyText)
}

// CheckQuery holds a query against the operation's schema. Whether an unknown parameter is
// ignored or a 400 is the version's business.
func (op *Operation) CheckQuery(v Version, q url.Values) *Fault {
	schema := at(op.queries, v)
	if schema == nil {
		return nil
	}
	doc := make(map[string]any, len(q))
	for name, values := range q {
		list := make([]any, len(values))
		for i, text := range values {
			list[i] = text
		}
		doc[name] = list
	}
	return check(schema, doc, queryText)
}

// LegacyBody gives a body of /v2 what that version forgave: unknown keys are dropped and
// names lose the spaces around them.
func (op *Operation) LegacyBody(body any) any {
	schema := at(op.bodies, LegacyVersion)
	if schema == nil {
		return body
	}
	return forgive(schema, body)
}
