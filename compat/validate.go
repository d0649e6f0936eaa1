package compat

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/santhosh-tekuri/jsonschema/v6/kind"
)

// compile compiles one schema of the table, with Nova's formats and its rule that limits
// of numbers hold for digits in a string too.
func compile(i int, raw json.RawMessage) *jsonschema.Schema {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(raw))
	if err != nil {
		panic(fmt.Sprintf("compat: schema %d: %v", i, err))
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	c.AssertVocabs()
	c.UseRegexpEngine(pattern)
	for _, f := range formats {
		c.RegisterFormat(f)
	}
	c.RegisterVocabulary(numericStrings)
	name := "schema-" + strconv.Itoa(i) + ".json"
	err = c.AddResource(name, doc)
	if err != nil {
		panic(fmt.Sprintf("compat: schema %d: %v", i, err))
	}
	s, err := c.Compile(name)
	if err != nil {
		panic(fmt.Sprintf("compat: schema %d: %v", i, err))
	}
	return s
}

// numericStrings is the keywords x-minimum and x-maximum: limits for strings of digits.
var numericStrings = &jsonschema.Vocabulary{
	URL: "https://kilonova.invalid/numeric-strings",
	Compile: func(_ *jsonschema.CompilerContext, obj map[string]any) (jsonschema.SchemaExt, error) {
		limits := numericLimits{}
		for key, into := range map[string]**big.Rat{"x-minimum": &limits.least, "x-maximum": &limits.most} {
			text, ok := obj[key].(json.Number)
			if !ok {
				continue
			}
			r, ok := new(big.Rat).SetString(text.String())
			if !ok {
				return nil, fmt.Errorf("%s is not a number", text)
			}
			*into = r
		}
		if limits.least == nil && limits.most == nil {
			return nil, nil
		}
		return &limits, nil
	},
}

type numericLimits struct{ least, most *big.Rat }

// Validate implements jsonschema.SchemaExt.
func (l *numericLimits) Validate(ctx *jsonschema.ValidatorContext, v any) {
	text, ok := v.(string)
	if !ok {
		return
	}
	n, err := strconv.ParseInt(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return
	}
	// Digits beyond 64 bits give the nearest number, which is beyond every limit of the
	// table too.
	r := new(big.Rat).SetInt64(n)
	if l.least != nil && r.Cmp(l.least) < 0 {
		ctx.AddError(&kind.Minimum{Got: r, Want: l.least})
	}
	if l.most != nil && r.Cmp(l.most) > 0 {
		ctx.AddError(&kind.Maximum{Got: r, Want: l.most})
	}
}

// text makes the message of an error at a path of the instance.
type text func(path []string, value any, detail string) string

func bodyText(path []string, value any, detail string) string {
	if len(path) == 0 {
		return detail
	}
	return fmt.Sprintf("Invalid input for field/attribute %s. Value: %s. %s", clip(path[len(path)-1]), clip(PythonText(value)), detail)
}

func queryText(path []string, value any, detail string) string {
	if len(path) == 0 {
		return detail
	}
	return fmt.Sprintf("Invalid input for query parameters %s. Value: %s. %s", clip(path[0]), clip(PythonText(value)), detail)
}

// check validates and tells the first error as Nova would: the one nearest to the root.
func check(schema *jsonschema.Schema, doc any, say text) *Fault {
	if !numbersBounded(doc) {
		return BadRequest("Malformed request body")
	}
	err := schema.Validate(doc)
	if err == nil {
		return nil
	}
	var all *jsonschema.ValidationError
	if !errors.As(err, &all) {
		return BadRequest("Malformed request body")
	}
	worst := pick(all)
	value := valueAt(doc, worst.InstanceLocation)
	return &Fault{Code: 400, Message: say(worst.InstanceLocation, value, detail(worst, value))}
}

// numbersBounded refuses numbers beyond what a float holds. Arithmetic on them is exact, so
// that the few bytes of 1e999999 would keep a processor busy for tens of milliseconds.
func numbersBounded(v any) bool {
	switch x := v.(type) {
	case map[string]any:
		for _, e := range x {
			if !numbersBounded(e) {
				return false
			}
		}
	case []any:
		for _, e := range x {
			if !numbersBounded(e) {
				return false
			}
		}
	case json.Number:
		const digits, exponent = 400, 308
		text := x.String()
		if len(text) > digits {
			return false
		}
		i := strings.IndexAny(text, "eE")
		if i < 0 {
			return true
		}
		n, err := strconv.Atoi(text[i+1:])
		return err == nil && -exponent <= n && n <= exponent
	}
	return true
}

// pick chooses among the errors of one instance: the shallowest, then by rank, then by the
// name of the property, so that the same body gets the same answer every time.
func pick(e *jsonschema.ValidationError) *jsonschema.ValidationError {
	switch e.ErrorKind.(type) {
	case *kind.Schema, *kind.Group, *kind.Reference, *kind.AllOf:
	default:
		return e
	}
	var best *jsonschema.ValidationError
	for _, cause := range e.Causes {
		c := pick(cause)
		if best == nil || order(c, best) < 0 {
			best = c
		}
	}
	if best == nil {
		return e
	}
	return best
}

func order(a, b *jsonschema.ValidationError) int {
	return cmp.Or(
		cmp.Compare(len(a.InstanceLocation), len(b.InstanceLocation)),
		cmp.Compare(rank(a), rank(b)),
		slices.Compare(a.InstanceLocation, b.InstanceLocation))
}

// rank orders errors at one place: what is missing or too much comes before the rest.
func rank(e *jsonschema.ValidationError) int {
	switch e.ErrorKind.(type) {
	case *kind.Required:
		return 0
	case *kind.AdditionalProperties:
		return 1
	case *kind.Type:
		return 2
	}
	return 3
}

func valueAt(doc any, path []string) any {
	for _, step := range path {
		switch v := doc.(type) {
		case map[string]any:
			doc = v[step]
		case []any:
			i, err := strconv.Atoi(step)
			if err != nil || i < 0 || i >= len(v) {
				return nil
			}
			doc = v[i]
		}
	}
	return doc
}

// detail words an error as Python's jsonschema does.
func detail(e *jsonschema.ValidationError, value any) string {
	repr := func(v any) string { return clip(PythonRepr(v)) }
	number := func(r *big.Rat) string {
		if r.IsInt() {
			return r.Num().String()
		}
		f, _ := r.Float64()
		return strconv.FormatFloat(f, 'g', -1, 64)
	}
	length := func(short bool) string {
		if short {
			return repr(value) + " is too short"
		}
		return repr(value) + " is too long"
	}
	switch k := e.ErrorKind.(type) {
	case *kind.Required:
		return repr(k.Missing[0]) + " is a required property"
	case *kind.AdditionalProperties:
		return additional(k.Properties)
	case *kind.Type:
		return repr(value) + " is not of type " + joined(k.Want)
	case *kind.MinLength, *kind.MinItems:
		return length(true)
	case *kind.MaxLength, *kind.MaxItems:
		return length(false)
	case *kind.Pattern:
		return repr(value) + " does not match " + repr(k.Want)
	case *kind.Enum:
		return repr(value) + " is not one of " + repr(k.Want)
	case *kind.Const:
		return repr(k.Want) + " was expected"
	case *kind.Minimum:
		return repr(value) + " is less than the minimum of " + number(k.Want)
	case *kind.Maximum:
		return repr(value) + " is greater than the maximum of " + number(k.Want)
	case *kind.Format:
		if k.Err != nil && strings.HasPrefix(k.Err.Error(), "An invalid 'name'") {
			return k.Err.Error()
		}
		return repr(value) + " is not a " + repr(k.Want)
	case *kind.AnyOf:
		return repr(value) + " is not valid under any of the given schemas"
	case *kind.OneOf:
		if k.Subschemas == nil {
			return repr(value) + " is not valid under any of the given schemas"
		}
		return repr(value) + " is valid under each of the given schemas"
	case *kind.UniqueItems:
		return repr(value) + " has non-unique elements"
	case *kind.MinProperties:
		return repr(value) + " does not have enough properties"
	case *kind.MaxProperties:
		return repr(value) + " has too many properties"
	}
	return repr(value) + " is not valid"
}

func additional(names []string) string {
	names = slices.Clone(names)
	slices.Sort(names)
	const most = 10
	var quoted []string
	for _, n := range names[:min(len(names), most)] {
		quoted = append(quoted, clip(PythonRepr(n)))
	}
	verb := " was unexpected)"
	if len(names) > 1 {
		verb = " were unexpected)"
	}
	return "Additional properties are not allowed (" + strings.Join(quoted, ", ") + verb
}

func joined(types []string) string {
	var out []string
	for _, t := range types {
		out = append(out, PythonRepr(t))
	}
	return strings.Join(out, ", ")
}

// PythonText is how Python prints a value: strings bare.
func PythonText(v any) string {
	s, ok := v.(string)
	if ok {
		return s
	}
	return PythonRepr(v)
}

// PythonRepr is Python's repr of a JSON value.
func PythonRepr(v any) string {
	switch x := v.(type) {
	case nil:
		return "None"
	case bool:
		if x {
			return "True"
		}
		return "False"
	case string:
		return pythonQuote(x)
	case json.Number:
		return x.String()
	case []string:
		list := make([]any, len(x))
		for i, s := range x {
			list[i] = s
		}
		return PythonRepr(list)
	case []any:
		var parts []string
		for _, e := range x {
			parts = append(parts, PythonRepr(e))
		}
		return "[" + strings.Join(parts, ", ") + "]"
	case map[string]any:
		var keys []string
		for k := range x {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		var parts []string
		for _, k := range keys {
			parts = append(parts, pythonQuote(k)+": "+PythonRepr(x[k]))
		}
		return "{" + strings.Join(parts, ", ") + "}"
	}
	return fmt.Sprint(v)
}

func pythonQuote(s string) string {
	quote := byte('\'')
	if strings.Contains(s, "'") && !strings.Contains(s, `"`) {
		quote = '"'
	}
	out := []byte{quote}
	for _, r := range s {
		switch {
		case r == rune(quote) || r == '\\':
			out = append(out, '\\', byte(r))
		case r == '\n':
			out = append(out, `\n`...)
		case r == '\t':
			out = append(out, `\t`...)
		case r == '\r':
			out = append(out, `\r`...)
		case r < ' ' || r == 0x7f:
			out = fmt.Appendf(out, `\x%02x`, r)
		default:
			out = append(out, string(r)...)
		}
	}
	return string(append(out, quote))
}

// forgive drops from a value what its schema does not know, and trims names.
func forgive(s *jsonschema.Schema, v any) any {
	for _, alternatives := range [][]*jsonschema.Schema{s.AllOf, s.AnyOf, s.OneOf} {
		for _, sub := range alternatives {
			if _, isText := v.(string); isText { // no object of the table has alternatives
				v = forgive(sub, v)
			}
		}
	}
	switch x := v.(type) {
	case map[string]any:
		open := s.AdditionalProperties
		for name, value := range x {
			sub, known := s.Properties[name]
			switch {
			case known:
				x[name] = forgive(sub, value)
			case open == false && len(s.PatternProperties) == 0:
				delete(x, name)
			}
		}
	case []any:
		if items, ok := s.Items2020, s.Items2020 != nil; ok {
			for i := range x {
				x[i] = forgive(items, x[i])
			}
		}
	case string:
		if s.Format != nil && (s.Format.Name == "name" || s.Format.Name == "az_name") {
			return strings.TrimSpace(x)
		}
	}
	return v
}
