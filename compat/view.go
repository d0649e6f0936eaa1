package compat

import (
	"fmt"
	"math"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"unicode/utf8"
	"unsafe"
)

// Raw is JSON that is encoded already. It is written as it is; empty is null.
type Raw []byte

// At says how a view is to be written: at which microversion, as which of the resource's
// views, and with which of the encoder's flags switched on.
type At struct {
	Version Version
	View    string // "show", "detail", ...; "" where a resource has one view
	Show    ShowMask
}

// ShowMask is a set of an encoder's flags.
type ShowMask uint32

// Encoder writes values of T as JSON. T is a struct whose tags say, once and where a field
// is declared, what clients see of it:
//
//	json:"name"            the name; ",omitempty" leaves out what is empty, ",omitnil" what is nil
//	api:"name"             the same, for a name that another field has at other versions
//	since:"2.19"           the first microversion that has the field
//	until:"2.46"           the last one
//	since.update:"2.75"    the first one in the view "update"
//	in:"show,rebuild"      the only views that have the field
//	show:"attributes"      the flag that must be on
//
// A nil slice is [], a nil map {}, a nil pointer null. Nested structs are written at the
// same version, view and flags. An Encoder is made once, at start-up, and panics on a tag
// that it cannot read.
//
// Versions between which no field of T or of its nested structs comes or goes are one
// class; a plan without conditions is compiled for each class, view and set of flags that
// is asked for, once, and found again without a lock.
type Encoder[T any] struct {
	flags  []string
	root   *structType
	starts []Version // the first version of each class but the lowest
	views  []string  // the views that tags name
	plans  []atomic.Pointer[appender]
}

// NewEncoder compiles T's tags; flags are the names that its show tags may use.
func NewEncoder[T any](flags ...string) *Encoder[T] {
	const most = 6 // the table of plans has a row for each set of flags
	if len(flags) > most {
		panic(fmt.Sprintf("compat: encoder of %v has more than %d flags", reflect.TypeFor[T](), most))
	}
	c := compiler{flags: flags, structs: map[reflect.Type]*structType{}}
	e := &Encoder[T]{flags: flags, root: c.structType(reflect.TypeFor[T]())}
	for _, s := range c.structs {
		for i := range s.fields {
			f := &s.fields[i]
			e.starts = append(e.starts, f.span.Min, f.span.Max+1)
			e.views = append(e.views, f.views...)
			for view, v := range f.starts {
				e.starts, e.views = append(e.starts, v), append(e.views, view)
			}
		}
	}
	slices.Sort(e.starts)
	e.starts = slices.Compact(e.starts)
	slices.Sort(e.views)
	e.views = slices.Compact(e.views)
	e.plans = make([]atomic.Pointer[appender], (len(e.starts)+1)*(len(e.views)+1)<<len(flags))
	e.plan(At{Version: MaxVersion}) // what cannot be written is found at start-up
	return e
}

// Show gives the mask of the named flags.
func (e *Encoder[T]) Show(names ...string) ShowMask {
	var m ShowMask
	for _, n := range names {
		i := slices.Index(e.flags, n)
		if i < 0 {
			panic(fmt.Sprintf("compat: encoder of %v has no flag %q", reflect.TypeFor[T](), n))
		}
		m |= 1 << i
	}
	return m
}

// Append writes v behind dst.
func (e *Encoder[T]) Append(dst []byte, v *T, at At) []byte {
	return e.plan(at)(dst, unsafe.Pointer(v))
}

// plan gives the compiled plan of a class, view and flags. Two callers may compile the same
// plan at once; either serves.
func (e *Encoder[T]) plan(at At) appender {
	class := 0
	for class < len(e.starts) && e.starts[class] <= at.Version {
		class++
	}
	view := slices.Index(e.views, at.View) + 1 // 0 is every view that no tag names
	at.Show &= 1<<len(e.flags) - 1
	place := &e.plans[(class*(len(e.views)+1)+view)<<len(e.flags)|int(at.Show)]
	if p := place.Load(); p != nil {
		return *p
	}
	b := builder{at: at, structs: map[*structType]*structPlan{}}
	p := b.structPlan(e.root).append
	write := appender(p)
	place.Store(&write)
	return write
}

// appender writes the value at p.
type appender func(dst []byte, p unsafe.Pointer) []byte

// structType is a struct with the tags of its fields read.
type structType struct{ fields []field }

// field is one field of a struct, with all that decides whether it is written.
type field struct {
	name   string
	offset uintptr
	value  reflect.Type
	nested *structType                 // of the struct that value is, points to or lists
	empty  func(p unsafe.Pointer) bool // nil: always written
	span   Range
	views  []string           // nil: all
	starts map[string]Version // by view
	need   ShowMask
}

func (f *field) shown(at At) bool {
	span := f.span
	if v, ok := f.starts[at.View]; ok {
		span.Min = v
	}
	return span.Has(at.Version) && f.need&at.Show == f.need && (f.views == nil || slices.Contains(f.views, at.View))
}

// structPlan is the fields of a struct that one At shows.
type structPlan struct{ fields []plannedField }

type plannedField struct {
	key    []byte // "name": with a comma before it
	offset uintptr
	write  appender
	empty  func(p unsafe.Pointer) bool
}

func (s *structPlan) append(dst []byte, p unsafe.Pointer) []byte {
	dst = append(dst, '{')
	comma := 1 // the first key goes without
	for i := range s.fields {
		f := &s.fields[i]
		q := unsafe.Add(p, f.offset)
		if f.empty != nil && f.empty(q) {
			continue
		}
		dst = append(dst, f.key[comma:]...)
		dst = f.write(dst, q)
		comma = 0
	}
	return append(dst, '}')
}

// compiler reads the tags of a view and of the structs in it.
type compiler struct {
	flags   []string
	structs map[reflect.Type]*structType
}

func (c *compiler) structType(t reflect.Type) *structType {
	if s, ok := c.structs[t]; ok {
		return s
	}
	s := &structType{}
	c.structs[t] = s
	for i := range t.NumField() {
		f := t.Field(i)
		tag, ok := f.Tag.Lookup("api")
		if !ok {
			tag = f.Tag.Get("json")
		}
		name, options, _ := strings.Cut(tag, ",")
		if name == "" || name == "-" {
			panic(fmt.Sprintf("compat: field %s of view %v has no json name", f.Name, t))
		}
		s.fields = append(s.fields, c.field(t, f, name, options))
	}
	return s
}

func (c *compiler) field(t reflect.Type, f reflect.StructField, name, options string) field {
	fail := func(err error) {
		if err != nil {
			panic(fmt.Sprintf("compat: field %s of view %v: %v", f.Name, t, err))
		}
	}
	out := field{name: name, offset: f.Offset, value: f.Type}
	inner := f.Type
	for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice && inner != rawType {
		inner = inner.Elem()
	}
	if inner.Kind() == reflect.Struct {
		out.nested = c.structType(inner)
	} else {
		fail(writable(inner))
	}
	var err error
	out.span, err = ParseRange(f.Tag.Get("since"), f.Tag.Get("until"))
	fail(err)
	if out.span.Min > out.span.Max {
		fail(fmt.Errorf("since %s is after until %s", out.span.Min, out.span.Max))
	}
	if in := f.Tag.Get("in"); in != "" {
		out.views = strings.Split(in, ",")
	}
	for _, word := range strings.Fields(string(f.Tag)) {
		view, rest, ok := strings.Cut(strings.TrimPrefix(word, "since."), ":")
		if !strings.HasPrefix(word, "since.") || !ok {
			continue
		}
		v, err := ParseVersion(strings.Trim(rest, `"`))
		fail(err)
		if out.starts == nil {
			out.starts = map[string]Version{}
		}
		out.starts[view] = v
	}
	if flag := f.Tag.Get("show"); flag != "" {
		i := slices.Index(c.flags, flag)
		if i < 0 {
			fail(fmt.Errorf("no flag %q", flag))
		}
		out.need = 1 << i
	}
	switch options {
	case "":
	case "omitempty":
		out.empty = emptiness(f.Type)
	case "omitnil":
		out.empty, err = nilness(f.Type)
		fail(err)
	default:
		fail(fmt.Errorf("unknown option %q", options))
	}
	return out
}

// emptiness tells whether the value of a type is what omitempty leaves out.
func emptiness(t reflect.Type) func(unsafe.Pointer) bool {
	switch t.Kind() {
	case reflect.Pointer:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }
	case reflect.Map:
		return func(p unsafe.Pointer) bool { return len(*(*map[string]string)(p)) == 0 }
	case reflect.Slice:
		return func(p unsafe.Pointer) bool { return len(*(*[]byte)(p)) == 0 }
	case reflect.String:
		return func(p unsafe.Pointer) bool { return *(*string)(p) == "" }
	case reflect.Bool:
		return func(p unsafe.Pointer) bool { return !*(*bool)(p) }
	case reflect.Int:
		return func(p unsafe.Pointer) bool { return *(*int)(p) == 0 }
	case reflect.Int64:
		return func(p unsafe.Pointer) bool { return *(*int64)(p) == 0 }
	}
	panic(fmt.Sprintf("compat: a view cannot leave out an empty %v", t))
}

// nilness tells whether the value of a type is what omitnil leaves out. The first word of
// a pointer, a slice and a map is nil when they are.
func nilness(t reflect.Type) (func(unsafe.Pointer) bool, error) {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map, reflect.Slice:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }, nil
	}
	return nil, fmt.Errorf("a %v is never nil", t)
}

var (
	rawType       = reflect.TypeFor[Raw]()
	stringMapType = reflect.TypeFor[map[string]string]()
)

// writable refuses the types that a view cannot hold.
func writable(t reflect.Type) error {
	switch t.Kind() {
	case reflect.String, reflect.Bool, reflect.Int, reflect.Int64, reflect.Float64:
		return nil
	}
	if t == rawType || t == stringMapType {
		return nil
	}
	return fmt.Errorf("a view cannot hold a %v", t)
}

// builder compiles the plan of one At.
type builder struct {
	at      At
	structs map[*structType]*structPlan
}

func (b *builder) structPlan(s *structType) *structPlan {
	if plan, ok := b.structs[s]; ok {
		return plan
	}
	plan := &structPlan{}
	b.structs[s] = plan
	for i := range s.fields {
		f := &s.fields[i]
		if f.shown(b.at) {
			key := append(AppendString([]byte{','}, f.name), ':')
			plan.fields = append(plan.fields, plannedField{key, f.offset, b.appender(f.value, f.nested), f.empty})
		}
	}
	return plan
}

// appender compiles how values of a type are written; nested is the struct in it.
func (b *builder) appender(t reflect.Type, nested *structType) appender {
	switch {
	case t == rawType:
		return appendRaw
	case t == stringMapType:
		return appendStringMap
	}
	switch t.Kind() {
	case reflect.Bool:
		return func(dst []byte, p unsafe.Pointer) []byte { return strconv.AppendBool(dst, *(*bool)(p)) }
	case reflect.Int:
		return func(dst []byte, p unsafe.Pointer) []byte { return strconv.AppendInt(dst, int64(*(*int)(p)), 10) }
	case reflect.Int64:
		return func(dst []byte, p unsafe.Pointer) []byte { return strconv.AppendInt(dst, *(*int64)(p), 10) }
	case reflect.Float64:
		return appendFloat
	case reflect.Pointer:
		inner := b.appender(t.Elem(), nested)
		return func(dst []byte, p unsafe.Pointer) []byte {
			q := *(*unsafe.Pointer)(p)
			if q == nil {
				return append(dst, "null"...)
			}
			return inner(dst, q)
		}
	case reflect.Struct:
		return b.structPlan(nested).append
	case reflect.Slice:
		return b.slice(t, nested)
	}
	// writable has let only strings come here.
	return func(dst []byte, p unsafe.Pointer) []byte { return AppendString(dst, *(*string)(p)) }
}

func (b *builder) slice(t reflect.Type, nested *structType) appender {
	inner, size := b.appender(t.Elem(), nested), t.Elem().Size()
	return func(dst []byte, p unsafe.Pointer) []byte {
		s := *(*[]byte)(p) // only its length and its pointer are used
		dst = append(dst, '[')
		base := unsafe.Pointer(unsafe.SliceData(s))
		for i := range len(s) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = inner(dst, unsafe.Add(base, uintptr(i)*size))
		}
		return append(dst, ']')
	}
}

func appendRaw(dst []byte, p unsafe.Pointer) []byte {
	raw := *(*Raw)(p)
	if len(raw) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, raw...)
}

// appendFloat writes 1 as 1.0, as Python does.
func appendFloat(dst []byte, p unsafe.Pointer) []byte {
	f := *(*float64)(p)
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return append(strconv.AppendInt(dst, int64(f), 10), ".0"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func appendStringMap(dst []byte, p unsafe.Pointer) []byte {
	m := *(*map[string]string)(p)
	var few [16]string // most maps fit, and need no memory
	keys := few[:0]
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	dst = append(dst, '{')
	for i, k := range keys {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = append(AppendString(dst, k), ':')
		dst = AppendString(dst, m[k])
	}
	return append(dst, '}')
}

// plain are the bytes that stand for themselves in a JSON string.
var plain = func() (t [256]bool) {
	for b := ' '; b < utf8.RuneSelf; b++ {
		t[b] = b != '"' && b != '\\'
	}
	return t
}()

const hexDigits = "0123456789abcdef"

// plainPrefix counts the bytes of s, eight at a time, that surely stand for themselves.
func plainPrefix(s string) int {
	const ones, tops = 0x0101010101010101, 0x8080808080808080
	i := 0
	for ; i+8 <= len(s); i += 8 {
		b := s[i : i+8]
		w := uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16 | uint64(b[3])<<24 |
			uint64(b[4])<<32 | uint64(b[5])<<40 | uint64(b[6])<<48 | uint64(b[7])<<56
		// A byte's top bit is set for what is no ASCII, a control character, a quote or a
		// backslash; a borrow can only make a later byte look special, never plain.
		special := w | (w - ones*' ') | ((w ^ ones*'"') - ones) | ((w ^ ones*'\\') - ones)
		if special&tops != 0 {
			break
		}
	}
	return i
}

// AppendString writes s as a JSON string; bytes that are no UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := plainPrefix(s); i < len(s); {
		b := s[i]
		if plain[b] {
			i++
			continue
		}
		if b < utf8.RuneSelf {
			dst = append(dst, s[start:i]...)
			dst = appendEscape(dst, b)
			i++
			start = i
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size == 1 {
			dst = append(append(dst, s[start:i]...), `\ufffd`...)
			start = i + size
		}
		i += size
	}
	return append(append(dst, s[start:]...), '"')
}

func appendEscape(dst []byte, b byte) []byte {
	switch b {
	case '"', '\\':
		return append(dst, '\\', b)
	case '\n':
		return append(dst, '\\', 'n')
	case '\r':
		return append(dst, '\\', 'r')
	case '\t':
		return append(dst, '\\', 't')
	}
	return append(dst, '\\', 'u', '0', '0', hexDigits[b>>4], hexDigits[b&15])
}

// Buf is a buffer that is used again: encode into B, write it, Free it.
type Buf struct{ B []byte }

var buffers = sync.Pool{New: func() any { return &Buf{B: make([]byte, 0, 4096)} }}

// Buffer gives an empty buffer.
func Buffer() *Buf {
	b := buffers.Get().(*Buf)
	b.B = b.B[:0]
	return b
}

// Free gives the buffer back, unless one huge answer has made it too large to keep.
func (b *Buf) Free() {
	const largest = 8 << 20
	if cap(b.B) <= largest {
		buffers.Put(b)
	}
}
