package tempestlite

import (
	"bytes"
	"embed"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

//go:embed contract
var contractFiles embed.FS

// Operation is one thing that the Compute API can be asked: a method and a path, and for
// the path .../action the key of the body.
type Operation struct {
	Name   string // servers.reboot
	Area   string // what the summary groups it under
	Method string
	Path   string // with placeholders in braces
	Action string
	Spans  []Span   // by microversion; more than one where the success code changes
	Errors string   // codes, as the contract's table has them
	Role   string   // the least role that may: admin, manager, member, reader, service, any; "" has no policy
	Target string   // whose project the policy looks at
	Policy []string // rules, the one that decides first

	edges []Version
}

// Span is a range of microversions with one success code.
type Span struct {
	Min, Max Version // Max 0: open
	Success  int
}

// Removed tells whether the operation is one that Nova has taken away: 410 at all versions.
func (op *Operation) Removed() bool { return op.Spans[0].Success == 410 }

// Success is the code that tells success at v; 0 where the operation does not exist.
func (op *Operation) Success(v Version) int {
	for _, s := range op.Spans {
		if v >= s.Min && (s.Max == 0 || v <= s.Max) {
			return s.Success
		}
	}
	return 0
}

// Min is the operation's first version, Max its last up to the limit.
func (op *Operation) Min() Version { return op.Spans[0].Min }

// Max is the last version that has the operation, at most limit.
func (op *Operation) Max(limit Version) Version {
	last := op.Spans[len(op.Spans)-1].Max
	if last == 0 || last > limit {
		return limit
	}
	return last
}

// Edges are the versions at which request, answer or code of the operation change, with
// its first and last, up to the limit.
func (op *Operation) Edges(limit Version) []Version {
	top := op.Max(limit)
	var out []Version
	for _, v := range op.edges {
		if v <= top {
			out = append(out, v)
		}
	}
	if len(out) > 0 && out[len(out)-1] != top {
		out = append(out, top)
	}
	return out
}

// Versions are those of the operation that sel asks for, up to limit.
func (op *Operation) Versions(sel Selection, limit Version) []Version {
	edges := op.Edges(limit)
	if len(edges) == 0 || !sel.All && len(sel.Only) == 0 {
		return edges
	}
	var out []Version
	for v := edges[0]; v <= edges[len(edges)-1]; v++ {
		if sel.All || slices.Contains(sel.Only, v) {
			out = append(out, v)
		}
	}
	return out
}

// Key is how the tables spell the operation: METHOD PATH [ACTION].
func (op *Operation) Key() string {
	if op.Action != "" {
		return op.Method + " " + op.Path + " " + op.Action
	}
	return op.Method + " " + op.Path
}

// Contract is what the program knows of the API.
type Contract struct {
	Operations []*Operation
	Calls      map[string]*Call // by operation name

	defects  []defect
	byName   map[string]*Operation
	requests map[string][]schemaSpan
	queries  map[string][]schemaSpan
	answers  map[string][]schemaSpan
	schemas  []json.RawMessage

	mu       sync.Mutex
	compiled map[int]*Schema
}

type schemaSpan struct {
	Min    string `json:"min"`
	Max    string `json:"max"`
	Schema *int   `json:"schema"` // null: no body

	from, to Version
}

// Schema is a JSON schema, to look into and to hold values against.
type Schema struct {
	Doc     map[string]any
	checker *jsonschema.Schema
}

// LoadContract reads the tables that the program carries.
func LoadContract() (*Contract, error) {
	c := &Contract{byName: map[string]*Operation{}, compiled: map[int]*Schema{}}
	err := c.readOperations()
	if err != nil {
		return nil, err
	}
	err = c.readSchemas()
	if err != nil {
		return nil, err
	}
	for _, op := range c.Operations {
		op.edges = c.edges(op)
	}
	c.defects, err = readDefects()
	if err != nil {
		return nil, err
	}
	c.Calls, err = readCalls(c)
	if err != nil {
		return nil, err
	}
	for name, call := range c.Calls {
		if op := c.byName[name]; call.Alias {
			op.edges = op.edges[:1] // what changes is said of the operation that it is another name of
		}
	}
	return c, nil
}

// Operation finds one by its name.
func (c *Contract) Operation(name string) *Operation { return c.byName[name] }

func (c *Contract) readOperations() error {
	data, err := contractFiles.ReadFile("contract/operations.tsv")
	if err != nil {
		return fmt.Errorf("reading the operations: %w", err)
	}
	r := csv.NewReader(bytes.NewReader(data))
	r.Comma, r.LazyQuotes = '\t', true
	_, err = r.Read() // the heading
	for err == nil {
		var row []string
		row, err = r.Read()
		if err == nil {
			err = c.addOperation(row)
		}
	}
	if !errors.Is(err, io.EOF) {
		return fmt.Errorf("reading contract/operations.tsv: %w", err)
	}
	return nil
}

func (c *Contract) addOperation(row []string) error {
	if len(row) != 11 {
		return fmt.Errorf("operation %s has %d columns, not 11", row[0], len(row))
	}
	span := Span{}
	var err error
	span.Min, err = ParseVersion(row[4])
	if err == nil && row[5] != "" {
		span.Max, err = ParseVersion(row[5])
	}
	if err == nil {
		span.Success, err = strconv.Atoi(row[6])
	}
	if err != nil {
		return fmt.Errorf("operation %s: %w", row[0], err)
	}
	if old := c.byName[row[0]]; old != nil {
		if old.Method != row[1] || old.Path != row[2] || old.Action != row[3] {
			return fmt.Errorf("two operations are called %s", row[0])
		}
		old.Spans = append(old.Spans, span)
		return nil
	}
	role, _, _ := strings.Cut(row[8], " ; ")
	if strings.HasSuffix(role, "?") {
		role = "any" // the rule only decides what is shown
	}
	op := &Operation{
		Name: row[0], Area: area(row[2], row[3]), Method: row[1], Path: row[2], Action: row[3],
		Spans: []Span{span}, Errors: row[7], Role: role, Target: row[9], Policy: strings.Split(row[10], " ; "),
	}
	c.Operations = append(c.Operations, op)
	c.byName[op.Name] = op
	return nil
}

// area is the heading of the summary that an operation stands under.
func area(path, action string) string {
	words := strings.FieldsFunc(path, func(r rune) bool { return r == '/' })
	if len(words) == 0 || words[0] == "versions" {
		return "versions"
	}
	if words[0] == "servers" && len(words) > 2 {
		if words[2] == "action" {
			return "server actions"
		}
		return "server " + strings.ReplaceAll(strings.TrimPrefix(words[2], "os-"), "_", " ")
	}
	_ = action
	return strings.NewReplacer("-", " ", "_", " ").Replace(strings.TrimPrefix(words[0], "os-"))
}

func (c *Contract) readSchemas() error {
	data, err := contractFiles.ReadFile("contract/schemas.json")
	if err != nil {
		return fmt.Errorf("reading the schemas: %w", err)
	}
	var file struct {
		Schemas   []json.RawMessage       `json:"schemas"`
		Requests  map[string][]schemaSpan `json:"requests"`
		Queries   map[string][]schemaSpan `json:"queries"`
		Responses map[string][]schemaSpan `json:"responses"`
	}
	err = json.Unmarshal(data, &file)
	if err != nil {
		return fmt.Errorf("reading contract/schemas.json: %w", err)
	}
	c.schemas, c.requests, c.queries, c.answers = file.Schemas, file.Requests, file.Queries, file.Responses
	for _, m := range []map[string][]schemaSpan{c.requests, c.queries, c.answers} {
		for key, spans := range m {
			for i := range spans {
				err = spans[i].parse()
				if err != nil {
					return fmt.Errorf("contract/schemas.json: %s: %w", key, err)
				}
			}
		}
	}
	return nil
}

func (s *schemaSpan) parse() error {
	var err error
	s.from, err = ParseVersion(s.Min)
	if err == nil && s.Max != "" {
		s.to, err = ParseVersion(s.Max)
	}
	return err
}

func (s *schemaSpan) has(v Version) bool { return v >= s.from && (s.to == 0 || v <= s.to) }

func (c *Contract) edges(op *Operation) []Version {
	set := map[Version]bool{op.Min(): true}
	add := func(v Version) {
		if op.Success(v) != 0 {
			set[v] = true
		}
	}
	for _, s := range op.Spans {
		add(s.Min)
	}
	if !op.Removed() {
		for _, m := range []map[string][]schemaSpan{c.requests, c.queries, c.answers} {
			for _, s := range m[op.Key()] {
				add(s.from)
			}
		}
	}
	var out []Version
	for v := range set {
		out = append(out, v)
	}
	slices.Sort(out)
	return out
}

// Request is the schema of the operation's body at v; nil where it takes none.
func (c *Contract) Request(op *Operation, v Version) *Schema { return c.find(c.requests, op, v) }

// Query is the schema of the operation's query parameters at v; nil where nothing is known.
func (c *Contract) Query(op *Operation, v Version) *Schema { return c.find(c.queries, op, v) }

// Answer is the schema of the operation's successful answer at v. Known is false where the
// contract says nothing; a nil schema that is known means an empty body.
func (c *Contract) Answer(op *Operation, v Version) (s *Schema, known bool) {
	for _, span := range c.answers[op.Key()] {
		if span.has(v) {
			return c.schema(span.Schema), true
		}
	}
	return nil, false
}

func (c *Contract) find(m map[string][]schemaSpan, op *Operation, v Version) *Schema {
	for _, span := range m[op.Key()] {
		if span.has(v) {
			return c.schema(span.Schema)
		}
	}
	return nil
}

func (c *Contract) schema(n *int) *Schema {
	if n == nil {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	s := c.compiled[*n]
	if s == nil {
		s = mustCompile(c.schemas[*n])
		c.compiled[*n] = s
	}
	return s
}

// mustCompile compiles a schema that the program carries; the tests compile each of them.
func mustCompile(raw json.RawMessage) *Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		panic(fmt.Sprintf("a schema of contract/schemas.json is not JSON: %v", err))
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	registerFormats(compiler)
	err = compiler.AddResource("schema.json", doc)
	if err != nil {
		panic(fmt.Sprintf("adding a schema: %v", err))
	}
	checker, err := compiler.Compile("schema.json")
	if err != nil {
		panic(fmt.Sprintf("compiling a schema of contract/schemas.json: %v", err))
	}
	top, _ := doc.(map[string]any)
	return &Schema{Doc: top, checker: checker}
}

// Validate says what is wrong with a value, in a sentence for each fault.
func (s *Schema) Validate(value any) []string {
	err := s.checker.Validate(value)
	if err == nil {
		return nil
	}
	verr, ok := err.(*jsonschema.ValidationError) //nolint:errorlint // the library returns it bare
	if !ok {
		return []string{err.Error()}
	}
	var out []string
	leaves(verr, &out)
	return out
}
