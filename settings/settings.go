package settings

import (
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/pflag"
)

// Set is the settings of a program. They lie in the struct that Of was given.
//
// A field is a setting if it has the tag name. Its other tags:
//
//	help     what it is for, in a sentence
//	default  its value where nobody gives one, as it is written in a flag; without the tag it
//	         is what the field holds already
//	env      its variable, if that is not KILONOVA_ and the name
//	for      the commands that have the flag, with blanks between
//	oneof    the words that it may be, with blanks between; - is none
//	min, max the bounds of a number or duration
//	instead  another setting, which says the same in another way
//	secret   "true" for what is never shown
//
// A struct with the tag section holds settings that belong together. A field is a string, a
// bool, an int, a time.Duration, anything with a method Set(string) error, or a slice of what
// has UnmarshalText, which is a list.
type Set struct {
	list   []*Setting
	byName map[string]*Setting
	file   string // that was read
}

// Setting is one of them.
type Setting struct {
	Name, Env, Help, Default, Section string
	Secret                            bool

	commands, oneOf []string
	instead         string
	least, most     string
	field           reflect.Value
	layer           layer
	where           string // that gave the value, "" for the default
}

// layer is how much the giver of a value has to say.
type layer int

const (
	byDefault layer = iota
	byFile
	byEnv
	byFlag
)

const envPrefix = "KILONOVA_"

// Of reads the declarations of a struct, and gives every setting its default. A declaration
// that makes no sense is a mistake in the program, and panics.
func Of(into any) *Set {
	s := &Set{byName: map[string]*Setting{}}
	s.declare(reflect.ValueOf(into).Elem(), "")
	for _, v := range s.list {
		if v.Default == "" {
			v.Default = v.Text()
		}
		err := v.assign([]string{v.Default})
		if err != nil {
			panic(fmt.Sprintf("settings: the default of %s: %v", v.Name, err))
		}
		if v.instead != "" && s.byName[v.instead] == nil {
			panic("settings: nothing is called " + v.instead)
		}
	}
	return s
}

func (s *Set) declare(in reflect.Value, section string) {
	for i := range in.NumField() {
		f := in.Type().Field(i)
		if title, ok := f.Tag.Lookup("section"); ok {
			s.declare(in.Field(i), title)
			continue
		}
		name, ok := f.Tag.Lookup("name")
		if !ok {
			continue
		}
		v := &Setting{
			Name: name, Help: f.Tag.Get("help"), Default: f.Tag.Get("default"), Section: section,
			Env: f.Tag.Get("env"), Secret: f.Tag.Get("secret") == "true",
			commands: strings.Fields(f.Tag.Get("for")), oneOf: strings.Fields(f.Tag.Get("oneof")),
			instead: f.Tag.Get("instead"), least: f.Tag.Get("min"), most: f.Tag.Get("max"), field: in.Field(i),
		}
		if v.Env == "" {
			v.Env = envPrefix + strings.ToUpper(strings.ReplaceAll(name, "-", "_"))
		}
		if s.byName[name] != nil || v.Help == "" || len(v.commands) == 0 {
			panic("settings: " + name + " is declared twice, or has no help, or no command")
		}
		s.list, s.byName[name] = append(s.list, v), v
	}
}

// All are the settings, in the order of their declaration.
func (s *Set) All() []*Setting { return s.list }

// Where says who gave a setting: "--listen", "KILONOVA_LISTEN", "kilonova.yaml:12", or ""
// for nobody.
func (s *Set) Where(name string) string { return s.byName[name].where }

// InFile reports whether a setting's value is from the file.
func (s *Set) InFile(name string) bool { return s.byName[name].layer == byFile }

// AddFlags declares the flags of a command.
func (s *Set) AddFlags(to *pflag.FlagSet, command string) {
	for _, v := range s.list {
		if !slices.Contains(v.commands, command) {
			continue
		}
		f := to.VarPF(&flagValue{Setting: v}, v.Name, "", v.Help)
		if v.field.Kind() == reflect.Bool {
			f.NoOptDefVal = "true"
		}
	}
}

// flagValue takes a setting from the command line. A list that is given several times is all
// of them.
type flagValue struct {
	*Setting
	given []string
}

func (f *flagValue) String() string {
	if f.Setting == nil { // pflag asks a zero value
		return ""
	}
	return f.Text()
}

func (f *flagValue) Type() string { return f.kind() }

func (f *flagValue) Set(text string) error {
	f.given = append(f.given, text)
	if !f.isList() {
		f.given = []string{text}
	}
	err := f.assign(f.given)
	if err == nil {
		f.layer, f.where = byFlag, "--"+f.Name
	}
	return err
}

func (v *Setting) isList() bool { return v.field.Kind() == reflect.Slice }

// setter is a value that reads itself.
type setter interface {
	Set(text string) error
	String() string
}

// kind is the word for what the setting takes.
func (v *Setting) kind() string {
	switch v.field.Interface().(type) {
	case time.Duration:
		return "duration"
	case bool:
		return "bool"
	case int:
		return "int"
	}
	if v.isList() {
		return "list"
	}
	if typed, ok := v.field.Addr().Interface().(interface{ Type() string }); ok {
		return typed.Type()
	}
	return "string"
}

// assign gives the setting a value, of several texts if it is a list.
func (v *Setting) assign(texts []string) error {
	parsed, err := v.parse(texts)
	if err == nil {
		v.field.Set(parsed)
	}
	return err
}

// parse reads a value without keeping it.
func (v *Setting) parse(texts []string) (reflect.Value, error) {
	out := reflect.New(v.field.Type()).Elem()
	if v.isList() {
		for _, text := range strings.Split(strings.Join(texts, ","), ",") {
			text = strings.TrimSpace(text)
			if text == "" {
				continue
			}
			item := reflect.New(out.Type().Elem())
			err := item.Interface().(interface{ UnmarshalText(text []byte) error }).UnmarshalText([]byte(text))
			if err != nil {
				return out, err
			}
			out = reflect.Append(out, item.Elem())
		}
		return out, nil
	}
	text := texts[0]
	err := v.parseOne(out, text)
	if err == nil {
		err = v.bounded(out)
	}
	return out, err
}

func (v *Setting) parseOne(out reflect.Value, text string) error {
	if s, ok := out.Addr().Interface().(setter); ok {
		if text == "" {
			return nil
		}
		return s.Set(text)
	}
	switch p := out.Addr().Interface().(type) {
	case *string:
		allowed := text
		if text == "" {
			allowed = "-"
		}
		if len(v.oneOf) > 0 && !slices.Contains(v.oneOf, allowed) {
			return fmt.Errorf("%q is none of %s", v.shown(text), v.choices())
		}
		*p = text
	case *bool:
		b, err := strconv.ParseBool(text)
		if err != nil {
			return fmt.Errorf("%q is neither true nor false", v.shown(text))
		}
		*p = b
	case *int:
		n, err := strconv.Atoi(text)
		if err != nil {
			return fmt.Errorf("%q is no number", v.shown(text))
		}
		*p = n
	case *time.Duration:
		d, err := time.ParseDuration(text)
		if err != nil {
			return fmt.Errorf("%q is no duration such as 10s or 1m30s", v.shown(text))
		}
		*p = d
	default:
		panic("settings: " + v.Name + " has a type that cannot be read")
	}
	return nil
}

// choices are the words that a setting may be, in words.
func (v *Setting) choices() string {
	return strings.ReplaceAll(strings.Join(v.oneOf, ", "), "-", "empty")
}

// bounded holds a number against its bounds.
func (v *Setting) bounded(out reflect.Value) error {
	if v.least == "" && v.most == "" {
		return nil
	}
	number := func(text string) int64 {
		n := reflect.New(out.Type()).Elem()
		unbound := &Setting{Name: v.Name}
		err := unbound.parseOne(n, text)
		if err != nil {
			panic("settings: the bounds of " + v.Name + ": " + err.Error())
		}
		return n.Int()
	}
	if v.least != "" && out.Int() < number(v.least) {
		return fmt.Errorf("%v is less than %s", out.Interface(), v.least)
	}
	if v.most != "" && out.Int() > number(v.most) {
		return fmt.Errorf("%v is more than %s", out.Interface(), v.most)
	}
	return nil
}

// hidden is what is shown of a secret.
const hidden = "(hidden)"

func (v *Setting) shown(text string) string {
	if v.Secret && text != "" {
		return hidden
	}
	return text
}

// Text is the setting as it is written in a flag; a secret hides itself.
func (v *Setting) Text() string {
	if v.isList() {
		var out []string
		for i := range v.field.Len() {
			out = append(out, fmt.Sprint(v.field.Index(i).Interface()))
		}
		return strings.Join(out, ",")
	}
	if s, ok := v.field.Addr().Interface().(setter); ok {
		return s.String()
	}
	return v.shown(fmt.Sprint(v.field.Interface()))
}

// Given are the settings that somebody gave, with who that was.
func (s *Set) Given() (list []*Setting, where []string) {
	for _, v := range s.list {
		if v.layer != byDefault {
			list, where = append(list, v), append(where, v.where)
		}
	}
	return list, where
}

// Load gives the settings that no flag gave what the environment says, or else the file, if
// there is one. The error, if any, is of type Mistakes.
func (s *Set) Load(file string) error {
	var wrong Mistakes
	given := map[*Setting][]entry{} // what has less to say comes first
	if file != "" {
		wrong = s.readFile(file, given)
		s.file = file
	}
	for _, v := range s.list {
		if text := os.Getenv(v.Env); text != "" {
			given[v] = append(given[v], entry{byEnv, v.Env, []string{text}})
		}
		if v.layer == byFlag {
			given[v] = append(given[v], entry{layer: byFlag, where: v.where})
		}
	}
	for _, v := range s.list {
		other := s.other(v)
		for _, e := range given[v] {
			with := slices.ContainsFunc(given[other], func(o entry) bool { return o.layer == e.layer })
			if v.instead != "" && with && !outdone(e.layer, given[v], given[other]) {
				wrong = append(wrong, Mistake{e.where, fmt.Sprintf("%s and %s say the same thing: give one of them", v.Name, other.Name)})
			}
			if e.layer == byFlag {
				continue
			}
			parsed, err := v.parse(e.texts)
			switch {
			case err != nil:
				wrong = append(wrong, Mistake{e.where, v.Name + ": " + err.Error()})
			case outdone(e.layer, given[v], given[other]):
			default:
				v.field.Set(parsed)
				v.layer, v.where = e.layer, e.where
			}
		}
	}
	return wrong.orNil()
}

// entry is a value that somebody gives a setting.
type entry struct {
	layer layer
	where string
	texts []string
}

// outdone reports whether somebody who has more to say is among those who give a setting, or
// another one instead.
func outdone(l layer, given, instead []entry) bool {
	more := func(e entry) bool { return e.layer > l }
	return slices.ContainsFunc(given, more) || slices.ContainsFunc(instead, more)
}

// other gives the setting that says the same as v in another way, or nil.
func (s *Set) other(v *Setting) *Setting {
	for _, o := range s.list {
		if o.Name == v.instead || o.instead == v.Name {
			return o
		}
	}
	return nil
}

// Refuse is a mistake in a setting that only the program sees, at the place of whoever gave it.
func (s *Set) Refuse(name, format string, a ...any) Mistake {
	v := s.byName[name]
	where := v.where
	if where == "" {
		where = s.file
	}
	return Mistake{where, name + ": " + fmt.Sprintf(format, a...)}
}
