package settings

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// Mistake is one thing that is wrong, and where.
type Mistake struct {
	Where string // "kilonova.yaml:12", "KILONOVA_LISTEN"; "" for nowhere in particular
	What  string
}

func (m Mistake) String() string {
	if m.Where == "" {
		return m.What
	}
	return m.Where + ": " + m.What
}

// Mistakes are all that is wrong.
type Mistakes []Mistake

func (m Mistakes) Error() string {
	var lines []string
	for _, one := range m {
		lines = append(lines, one.String())
	}
	if len(lines) == 1 {
		return lines[0]
	}
	return fmt.Sprintf("%d mistakes in the configuration:\n  %s", len(lines), strings.Join(lines, "\n  "))
}

func (m Mistakes) orNil() error {
	if len(m) == 0 {
		return nil
	}
	return m
}

// readFile puts what a file gives to each setting among what is given.
func (s *Set) readFile(path string, given map[*Setting][]entry) Mistakes {
	raw, err := os.ReadFile(path)
	if err != nil {
		return Mistakes{{What: "read the configuration: " + err.Error()}}
	}
	at := func(n *yaml.Node) string { return path + ":" + strconv.Itoa(n.Line) }
	decoder := yaml.NewDecoder(bytes.NewReader(raw))
	var doc, more yaml.Node
	err = decoder.Decode(&doc)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err != nil {
		return Mistakes{unreadable(path, err)}
	}
	if err = decoder.Decode(&more); !errors.Is(err, io.EOF) {
		if err != nil {
			return Mistakes{unreadable(path, err)}
		}
		return Mistakes{{at(&more), "one document is enough: a second one begins here"}}
	}
	root := doc.Content[0]
	if root.Kind != yaml.MappingNode {
		if root.Tag == "!!null" {
			return nil
		}
		return Mistakes{{at(root), "this is no list of settings such as  listen: 127.0.0.1:8774"}}
	}
	var wrong Mistakes
	lines := map[string]int{}
	for i := 0; i+1 < len(root.Content); i += 2 {
		key, value := root.Content[i], root.Content[i+1]
		v := s.byName[key.Value]
		switch {
		case v == nil || key.Kind != yaml.ScalarNode:
			wrong = append(wrong, Mistake{at(key), s.unknown(key.Value)})
			continue
		case lines[v.Name] > 0:
			wrong = append(wrong, Mistake{at(key), fmt.Sprintf("%s is in line %d already", v.Name, lines[v.Name])})
			continue
		}
		lines[v.Name] = key.Line
		texts, bad := v.texts(value)
		if bad != nil {
			wrong = append(wrong, Mistake{at(bad.node), v.Name + ": " + bad.what})
			continue
		}
		given[v] = append(given[v], entry{byFile, at(key), texts})
	}
	return wrong
}

// badNode is what a value should not be.
type badNode struct {
	node *yaml.Node
	what string
}

// texts reads a value of the file as the setting's type wants it: quotes make a string of a
// number, and a number is no truth.
func (v *Setting) texts(n *yaml.Node) ([]string, *badNode) {
	switch {
	case n.Kind == yaml.SequenceNode && v.isList():
		var out []string
		for _, item := range n.Content {
			if item.Kind != yaml.ScalarNode {
				return nil, &badNode{item, "is a list of single values"}
			}
			text, bad := v.texts(item)
			if bad != nil {
				return nil, bad
			}
			_, err := v.parse(text)
			if err != nil {
				return nil, &badNode{item, err.Error()}
			}
			out = append(out, text...)
		}
		if out == nil {
			out = []string{""}
		}
		return out, nil
	case n.Kind != yaml.ScalarNode:
		return nil, &badNode{n, "is " + v.wants()}
	case n.Tag == "!!null":
		return nil, &badNode{n, `has no value: give one, or "" for none`}
	case v.field.Kind() == reflect.Bool && n.Tag != "!!bool",
		v.kind() == "int" && n.Tag != "!!int":
		return nil, &badNode{n, fmt.Sprintf("is %s, not %q", v.wants(), v.shown(n.Value))}
	}
	return []string{n.Value}, nil
}

// wants is what the setting takes, in words.
func (v *Setting) wants() string {
	switch v.kind() {
	case "bool":
		return "true or false"
	case "int":
		return "a number"
	case "duration":
		return "a duration such as 10s"
	case "list":
		return "a list"
	}
	return "one value"
}

var yamlLine = regexp.MustCompile(`line (\d+): `)

// quoted is what the parser repeats of a file, which may be a part of a password.
var quoted = regexp.MustCompile(`'[^']*'|"[^"]*"|` + "`[^`]*`")

func unreadable(path string, err error) Mistake {
	said := strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(said); m != nil {
		path, said = path+":"+m[1], strings.Replace(said, m[0], "", 1)
	}
	return Mistake{path, "this is not YAML: " + quoted.ReplaceAllString(said, "…")}
}

// unknown says that there is no such setting, and which one may be meant.
func (s *Set) unknown(name string) string {
	plain := func(name string) string {
		return strings.ToLower(strings.NewReplacer("-", "", "_", "", ".", "").Replace(name))
	}
	nearest := slices.MinFunc(s.list, func(a, b *Setting) int {
		return cmp.Compare(distance(plain(name), plain(a.Name)), distance(plain(name), plain(b.Name)))
	})
	const near = 3
	if distance(plain(name), plain(nearest.Name)) < near {
		return fmt.Sprintf("there is no setting %q: perhaps %s", name, nearest.Name)
	}
	return fmt.Sprintf("there is no setting %q", name)
}

// distance is how many letters must be put in, taken out or exchanged to make b of a.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal = row[j+1]
			row[j+1] = min(cost, row[j+1]+1, row[j]+1)
		}
	}
	return row[len(b)]
}

// WriteFile writes a file in which every setting has its default, as a comment.
func (s *Set) WriteFile(w io.Writer, head string) error {
	var out bytes.Buffer
	for line := range strings.Lines(head) {
		out.WriteString("# " + line)
	}
	section := ""
	for _, v := range s.list {
		if v.Section != section {
			section = v.Section
			fmt.Fprintf(&out, "\n# %s\n# %s\n", section, strings.Repeat("=", len(section)))
		}
		out.WriteString("\n")
		for _, line := range wrapped(v.Help, 92) {
			fmt.Fprintf(&out, "# %s\n", line)
		}
		fmt.Fprintf(&out, "# (--%s, %s)\n#%s:%s\n", v.Name, v.Env, v.Name, v.yaml())
	}
	_, err := w.Write(out.Bytes())
	return err
}

// yaml is the default as a file has it.
func (v *Setting) yaml() string {
	var value any
	switch {
	case v.isList():
		value = strings.FieldsFunc(v.Default, func(r rune) bool { return r == ',' })
	case v.kind() == "bool":
		value = v.Default == "true"
	case v.kind() == "int":
		value, _ = strconv.Atoi(v.Default) // Of has read it
	default:
		value = v.Default
	}
	raw, err := yaml.Marshal(value)
	text := strings.TrimRight(string(raw), "\n")
	if err != nil {
		panic("settings: the default of " + v.Name + ": " + err.Error())
	}
	if v.isList() && text != "[]" {
		return "\n#" + strings.ReplaceAll(text, "\n", "\n#")
	}
	return " " + text
}

// wrapped breaks a text into lines.
func wrapped(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		if line != "" && len(line)+1+len(word) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += word
	}
	return append(lines, line)
}
