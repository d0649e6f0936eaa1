package tempestlite

import (
	"regexp"
	"slices"
	"strings"
	"testing"
)

func load(t *testing.T) *Contract {
	t.Helper()
	c, err := LoadContract()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEverySchemaCompilesAndHasAnOperation(t *testing.T) {
	c := load(t)
	for _, raw := range c.schemas {
		mustCompile(raw)
	}
	keys := map[string]*Operation{}
	for _, op := range c.Operations {
		keys[op.Key()] = op
	}
	for what, m := range map[string]map[string][]schemaSpan{"request": c.requests, "query": c.queries, "answer": c.answers} {
		for key, spans := range m {
			if keys[key] == nil {
				t.Errorf("a %s schema is for %s, which is no operation", what, key)
			}
			for i, s := range spans {
				if i > 0 && (spans[i-1].to == 0 || spans[i-1].to >= s.from) {
					t.Errorf("%s: the %s schemas of %s and %s overlap", key, what, spans[i-1].from, s.from)
				}
			}
		}
	}
}

func TestTheContractHasEveryOperation(t *testing.T) {
	c := load(t)
	gone := 0
	for _, op := range c.Operations {
		if op.Removed() {
			gone++
		}
	}
	if n := len(c.Operations) - gone; n < 209 {
		t.Errorf("%d operations beside those that are gone; the contract has 209", n)
	}
}

func TestEveryOperationHasACall(t *testing.T) {
	c := load(t)
	for _, op := range c.Operations {
		if !op.Removed() && c.Calls[op.Name] == nil {
			t.Errorf("contract/calls*.yaml says nothing of %s (%s)", op.Name, op.Key())
		}
	}
}

// A happy body must be right by the schema of each version, and every $ word known.
func TestHappyBodiesFitTheirSchemas(t *testing.T) {
	c := load(t)
	for _, op := range c.Operations {
		call := c.Calls[op.Name]
		if call == nil {
			continue
		}
		for _, v := range op.Edges(Last) {
			body, err := call.body(v)
			if err != nil {
				t.Errorf("%s at %s: %v", op.Name, v, err)
				continue
			}
			schema := c.Request(op, v)
			if schema == nil {
				continue
			}
			for _, fault := range schema.Validate(plain(dummies(body))) {
				t.Errorf("%s at %s: the happy body's %s", op.Name, v, fault)
			}
		}
	}
}

func TestEveryValueOfACallIsKnown(t *testing.T) {
	makers := valueMakers()
	entries, err := contractFiles.ReadDir("contract")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".yaml") {
			continue
		}
		data, err := contractFiles.ReadFile("contract/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		for n, line := range strings.Split(string(data), "\n") {
			text, _, _ := strings.Cut(line, "#")
			for _, m := range regexp.MustCompile(`\$([a-z0-9_]+)`).FindAllStringSubmatch(text, -1) {
				if makers[m[1]] == nil {
					t.Errorf("%s:%d names a value $%s that is not known", e.Name(), n+1, m[1])
				}
			}
		}
	}
}

func TestCheckIDsAreUnique(t *testing.T) {
	c := load(t)
	seen := map[string]bool{}
	for _, check := range Checks(c, Selection{}, Last) {
		if seen[check.ID] {
			t.Errorf("two checks are called %s", check.ID)
		}
		seen[check.ID] = true
		if check.Title == "" || check.Area == "" || check.Run == nil || check.Source == "" {
			t.Errorf("check %s lacks a title, an area, a source or a body", check.ID)
		}
	}
}

func TestEdges(t *testing.T) {
	c := load(t)
	op := c.Operation("keypairs.create")
	edges := op.Edges(93)
	for _, want := range []Version{1, 2, 10, 92, 93} {
		if !slices.Contains(edges, want) {
			t.Errorf("keypairs.create changes at %s, and %v has it not", want, edges)
		}
	}
	if got := c.Operation("images.list").Edges(93); got[len(got)-1] != 35 {
		t.Errorf("the last edge of images.list is %s, not 2.35", got[len(got)-1])
	}
}

func TestSelection(t *testing.T) {
	for text, want := range map[string]int{"edges": 0, "2.1,2.90": 2, "": 0} {
		sel, err := ParseSelection(text)
		if err != nil || len(sel.Only) != want || sel.All {
			t.Errorf("%q is read as %+v, %v", text, sel, err)
		}
	}
	for _, text := range []string{"3.1", "2.x", "2.1,", "latest"} {
		if _, err := ParseSelection(text); err == nil {
			t.Errorf("%q is taken", text)
		}
	}
}
