package compat

import (
	"fmt"
	"maps"
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
// that it cannot read; for each version, view and flags it compiles a plan once.
type Encoder[T any] struct {
	flags []string
	plan  *structPlan
}

// NewEncoder compiles T's tags; flags are the names that its show tags may use.
func NewEncoder[T any](flags ...string) *Encoder[T] {
	e := &Encoder[T]{flags: flags}
	c := compiler{flags: flags, structs: map[reflect.Type]*structPlan{}}
	e.plan = c.structPlan(reflect.TypeFor[T]())
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
	return e.plan.append(dst, unsafe.Pointer(v), at)
}

// appender writes the value at p.
type appender func(dst []byte, p unsafe.Pointer, at At) []byte

// field is one field of a struct, with all that decides whether it is written.
type field struct {
	key    []byte // "name": with the quotes and the colon
	offset uintptr
	write  appender
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

// structPlan is a struct type, and the fields of it that are written, by At.
type structPlan struct {
	fields []field
	chosen atomic.Pointer[map[At][]*field]
	mu     sync.Mutex
}

func (s *structPlan) at(at At) []*field {
	if m := s.chosen.Load(); m != nil {
		if list, ok := (*m)[at]; ok {
			return list
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	next := map[At][]*field{}
	if m := s.chosen.Load(); m != nil {
		maps.Copy(next, *m)
	}
	list := []*field{}
	for i := range s.fields {
		if s.fields[i].shown(at) {
			list = append(list, &s.fields[i])
		}
	}
	next[at] = list
	s.chosen.Store(&next)
	return list
}

func (s *structPlan) append(dst []byte, p unsafe.Pointer, at At) []byte {
	dst = append(dst, '{')
	first := true
	for _, f := range s.at(at) {
		q := unsafe.Add(p, f.offset)
		if f.empty != nil && f.empty(q) {
			continue
		}
		if !first {
			dst = append(dst, ',')
		}
		first = false
		dst = append(dst, f.key...)
		dst = f.write(dst, q, at)
	}
	return append(dst, '}')
}

type compiler struct {
	flags   []string
	structs map[reflect.Type]*structPlan
}

func (c *compiler) structPlan(t reflect.Type) *structPlan {
	if s, ok := c.structs[t]; ok {
		return s
	}
	s := &structPlan{}
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
	out := field{key: append(AppendString(nil, name), ':'), offset: f.Offset, write: c.appender(f.Type)}
	var err error
	out.span, err = ParseRange(f.Tag.Get("since"), f.Tag.Get("until"))
	fail(err)
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
	case "omitempty", "omitnil":
		out.empty = emptiness(f.Type)
	default:
		fail(fmt.Errorf("unknown option %q", options))
	}
	return out
}

// emptiness tells whether the value of a type is what omitempty and omitnil leave out.
func emptiness(t reflect.Type) func(unsafe.Pointer) bool {
	switch t.Kind() {
	case reflect.Pointer, reflect.Map:
		return func(p unsafe.Pointer) bool { return *(*unsafe.Pointer)(p) == nil }
	case reflect.Slice:
		return func(p unsafe.Pointer) bool { return len(*(*[]byte)(p)) == 0 }
	case reflect.String:
		return func(p unsafe.Pointer) bool { return *(*string)(p) == "" }
	case reflect.Bool:
		return func(p unsafe.Pointer) bool { return !*(*bool)(p) }
	case reflect.Int:
		return func(p unsafe.Pointer) bool { return *(*int)(p) == 0 }
	}
	panic(fmt.Sprintf("compat: a view cannot leave out an empty %v", t))
}

var rawType = reflect.TypeFor[Raw]()

// appender compiles how values of a type are written.
func (c *compiler) appender(t reflect.Type) appender {
	if t == rawType {
		return appendRaw
	}
	switch t.Kind() {
	case reflect.String:
		return func(dst []byte, p unsafe.Pointer, _ At) []byte { return AppendString(dst, *(*string)(p)) }
	case reflect.Bool:
		return func(dst []byte, p unsafe.Pointer, _ At) []byte { return strconv.AppendBool(dst, *(*bool)(p)) }
	case reflect.Int:
		return func(dst []byte, p unsafe.Pointer, _ At) []byte { return strconv.AppendInt(dst, int64(*(*int)(p)), 10) }
	case reflect.Int64:
		return func(dst []byte, p unsafe.Pointer, _ At) []byte { return strconv.AppendInt(dst, *(*int64)(p), 10) }
	case reflect.Float64:
		return appendFloat
	case reflect.Pointer:
		inner := c.appender(t.Elem())
		return func(dst []byte, p unsafe.Pointer, at At) []byte {
			q := *(*unsafe.Pointer)(p)
			if q == nil {
				return append(dst, "null"...)
			}
			return inner(dst, q, at)
		}
	case reflect.Struct:
		return c.structPlan(t).append
	case reflect.Slice:
		return c.slice(t)
	case reflect.Map:
		if t == reflect.TypeFor[map[string]string]() {
			return appendStringMap
		}
	}
	panic(fmt.Sprintf("compat: a view cannot hold a %v", t))
}

func (c *compiler) slice(t reflect.Type) appender {
	inner, size := c.appender(t.Elem()), t.Elem().Size()
	return func(dst []byte, p unsafe.Pointer, at At) []byte {
		s := *(*[]byte)(p) // only its length and its pointer are used
		dst = append(dst, '[')
		base := unsafe.Pointer(unsafe.SliceData(s))
		for i := range len(s) {
			if i > 0 {
				dst = append(dst, ',')
			}
			dst = inner(dst, unsafe.Add(base, uintptr(i)*size), at)
		}
		return append(dst, ']')
	}
}

func appendRaw(dst []byte, p unsafe.Pointer, _ At) []byte {
	raw := *(*Raw)(p)
	if len(raw) == 0 {
		return append(dst, "null"...)
	}
	return append(dst, raw...)
}

// appendFloat writes 1 as 1.0, as Python does.
func appendFloat(dst []byte, p unsafe.Pointer, _ At) []byte {
	f := *(*float64)(p)
	if f == math.Trunc(f) && math.Abs(f) < 1e15 {
		return append(strconv.AppendInt(dst, int64(f), 10), ".0"...)
	}
	return strconv.AppendFloat(dst, f, 'g', -1, 64)
}

func appendStringMap(dst []byte, p unsafe.Pointer, _ At) []byte {
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

// AppendString writes s as a JSON string; bytes that are no UTF-8 become U+FFFD.
func AppendString(dst []byte, s string) []byte {
	dst = append(dst, '"')
	start := 0
	for i := 0; i < len(s); {
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
