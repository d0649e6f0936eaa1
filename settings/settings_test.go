package settings

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/pflag"
)

type example struct {
	Word     string        `name:"word" default:"a" for:"run" oneof:"- a b" help:"a word"`
	Password string        `name:"password" for:"run" secret:"true" help:"a secret"`
	File     string        `name:"password-file" for:"run" instead:"password" help:"the same in a file"`
	Wait     time.Duration `name:"wait" default:"2s" min:"1s" max:"1m" for:"run" help:"a time"`
	Count    int           `name:"count" default:"3" max:"9" env:"HOW_MANY" for:"run look" help:"a number"`
	Yes      bool          `name:"yes" default:"true" for:"look" help:"a truth"`
	Plain    int
	Deeper   struct {
		Ranges []netip.Prefix `name:"ranges" for:"run" help:"a list"`
	} `section:"Deeper"`
}

func load(t *testing.T, file string, args ...string) (*example, *Set, error) {
	t.Helper()
	var e example
	e.Deeper.Ranges = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	s := Of(&e)
	fl := pflag.NewFlagSet("run", pflag.ContinueOnError)
	s.AddFlags(fl, "run")
	err := fl.Parse(args)
	if err != nil {
		return &e, s, err
	}
	path := filepath.Join(t.TempDir(), "f.yaml")
	err = os.WriteFile(path, []byte(file), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return &e, s, s.Load(path)
}

func TestDefaults(t *testing.T) {
	e, s, err := load(t, "")
	if err != nil || e.Word != "a" || e.Wait != 2*time.Second || e.Count != 3 || !e.Yes || len(e.Deeper.Ranges) != 1 {
		t.Errorf("%+v, %v", e, err)
	}
	if given, _ := s.Given(); len(given) > 0 {
		t.Errorf("nobody gave %v", given[0].Name)
	}
}

// What says the same in two ways is one thing: who has more to say wins over both.
func TestInstead(t *testing.T) {
	for name, tt := range map[string]struct {
		file, env, envFile string
		args               []string
		password, path     string
		fails              bool
	}{
		"file":               {file: "password: x", password: "x"},
		"env over file":      {file: "password: x", envFile: "f", path: "f"},
		"flag over env":      {env: "x", args: []string{"--password-file", "f"}, path: "f"},
		"flag over two":      {env: "x", envFile: "g", args: []string{"--password-file", "f"}, path: "f"},
		"two in a file":      {file: "password: x\npassword-file: f", fails: true},
		"two in variables":   {env: "x", envFile: "f", fails: true},
		"two flags":          {args: []string{"--password", "x", "--password-file", "f"}, fails: true},
		"the same one twice": {file: "password: x", env: "y", password: "y"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KILONOVA_PASSWORD", tt.env)
			t.Setenv("KILONOVA_PASSWORD_FILE", tt.envFile)
			e, _, err := load(t, tt.file, tt.args...)
			if (err != nil) != tt.fails || !tt.fails && (e.Password != tt.password || e.File != tt.path) {
				t.Errorf("%+v, %v", e, err)
			}
		})
	}
}

func TestBoundsAndWords(t *testing.T) {
	for file, ok := range map[string]bool{
		"wait: 1s": true, "wait: 999ms": false, "wait: 61s": false, "wait: 1m": true, "wait: 30": false,
		"count: 9": true, "count: 10": false, "count: -5": true, "count: 1.5": false, "count: [1]": false,
		"word: b": true, `word: ""`: true, "word: c": false, "word: {a: b}": false,
		"yes: false": true, "yes: no": false, `yes: "true"`: false,
		"ranges: []": true, "ranges: 10.1.0.0/16": true, "ranges: [[10.1.0.0/16]]": false, "ranges: {}": false, "ranges: [10.1]": false,
		"plain: 1": false, "Word: a": false,
	} {
		_, _, err := load(t, file)
		if (err == nil) != ok {
			t.Errorf("%s: %v", file, err)
		}
	}
	t.Setenv("HOW_MANY", "8")
	e, s, err := load(t, "count: 1")
	if err != nil || e.Count != 8 || s.Where("count") != "HOW_MANY" {
		t.Errorf("%+v, %v", e, err)
	}
	for _, args := range [][]string{{"--wait", "x"}, {"--count", "10"}, {"--word=c"}, {"--ranges", "10.1"}, {"--yes"}} { // the last is another command's
		_, _, err := load(t, "", args...)
		if err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

func TestSecretsHide(t *testing.T) {
	_, s, err := load(t, "", "--password", "Tops3cret")
	if err != nil {
		t.Fatal(err)
	}
	given, where := s.Given()
	if len(given) != 1 || given[0].Text() != "(hidden)" || where[0] != "--password" {
		t.Errorf("%+v", given)
	}
	_, _, err = load(t, "password: [Tops3cret]")
	if err == nil || strings.Contains(err.Error(), "Tops3cret") {
		t.Errorf("%v", err)
	}
}

func TestDeclarationsThatMakeNoSense(t *testing.T) {
	for name, into := range map[string]any{
		"no help": &struct {
			A string `name:"a" for:"run"`
		}{},
		"no command": &struct {
			A string `name:"a" help:"x"`
		}{},
		"twice": &struct {
			A, B string `name:"a" for:"run" help:"x"`
		}{},
		"bad default": &struct {
			A int `name:"a" default:"x" for:"run" help:"x"`
		}{},
		"out of range": &struct {
			A int `name:"a" default:"0" min:"1" for:"run" help:"x"`
		}{},
		"no other": &struct {
			A string `name:"a" instead:"b" for:"run" help:"x"`
		}{},
		"no such type": &struct {
			A map[string]int `name:"a" for:"run" help:"x"`
		}{},
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s is taken", name)
				}
			}()
			Of(into)
		}()
	}
}
