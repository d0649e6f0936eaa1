package main

import (
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// written makes a file of the configuration, "" for none.
func written(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "kilonova.yaml")
	err := os.WriteFile(path, []byte(content), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// alone keeps what the environment sets from a test.
func alone(t *testing.T) {
	t.Helper()
	_, set := newConfig()
	for _, v := range set.All() {
		t.Setenv(v.Env, "")
	}
}

// loaded reads the settings of a command line, with the environment and a file, and runs
// nothing.
func loaded(t *testing.T, file, line string) (*process, error) {
	t.Helper()
	cfg, set := newConfig()
	p := &process{config: cfg, set: set, file: written(t, file)}
	args := strings.Fields(line)
	fl := pflag.NewFlagSet(args[0], pflag.ContinueOnError)
	set.AddFlags(fl, args[0])
	set.AddFlags(fl, "all")
	err := fl.Parse(args[1:])
	if err == nil {
		err = p.load()
	}
	return p, err
}

// ran runs a whole command.
func ran(t *testing.T, file string, args ...string) (string, error) {
	t.Helper()
	t.Setenv(configVar, os.DevNull) // not the machine's
	if file != "" {
		args = append(args, "--config", written(t, file))
	}
	root := rootCommand()
	root.SetArgs(args)
	var out bytes.Buffer
	root.SetOut(&out)
	err := root.ExecuteContext(t.Context())
	return out.String(), err
}

func TestFlagsWinOverEnvironmentOverFile(t *testing.T) {
	alone(t)
	t.Setenv("KILONOVA_MAX_CONNECTIONS", "20")
	t.Setenv("KILONOVA_TENANT_RANGES", "10.2.0.0/16,10.3.0.0/16")
	t.Setenv("KILONOVA_STATE", "/env")
	t.Setenv("KILONOVA_OUTBOUND", "")
	p, err := loaded(t, `
state-dir: /file
listen: 127.0.0.1:1
max-connections: 10
outbound: nat
tenant-ranges: [10.1.0.0/16]
guest-ranges:
  - 10.4.0.0/16
  - 10.5.0.0/16
`, "up --state-dir /flag --log-level debug --trusted-proxy 192.0.2.1 --trusted-proxy 192.0.2.2,198.51.100.0/24")
	if err != nil {
		t.Fatal(err)
	}
	for name, got := range map[string]bool{
		"flag":                    p.StateDir == "/flag" && p.set.Where("state-dir") == "--state-dir",
		"flag without others":     p.LogLevel == "debug",
		"environment":             p.Listen.Open == 20 && p.set.Where("max-connections") == "KILONOVA_MAX_CONNECTIONS",
		"a list's environment":    len(p.API.TenantRanges) == 2,
		"file":                    p.Listen.Address == "127.0.0.1:1" && p.set.Where("listen") == p.file+":3",
		"an empty variable":       p.API.Outbound == "nat",
		"a list of the file":      len(p.Host.GuestRanges) == 2 && p.Host.GuestRanges[1].String() == "10.5.0.0/16",
		"a flag that comes twice": len(p.Listen.Proxies) == 3 && p.Listen.Proxies[0].String() == "192.0.2.1/32",
		"a default":               p.Host.URI == "qemu:///system" && p.set.Where("libvirt-uri") == "",
	} {
		if !got {
			t.Errorf("%s: %+v", name, p.config)
		}
	}
}

func TestEveryMistakeHasItsPlace(t *testing.T) {
	alone(t)
	t.Setenv("KILONOVA_SIM_KEEP", "perhaps")
	file := `# a comment
listen: 127.0.0.1:1
listn: 127.0.0.1:1
state_dir: /x
max-connections: "8"
max-anonymous: -1
sim-keep: 7
sim-latency: fast
driver: xen
outbound: [nat]
tenant-ranges:
  - 10.0.0.0/8
  - 10.0.0.1/8
public-url: cloud.example
listen: 127.0.0.1:2
trusted-proxy: nobody
tls-cert: /x
db: kn:Tops3cret@tcp(d)/x
db-file: /x
keep-free: 10 apples
image-quota:
sim-hosts: 3
nothing-like-it: 1
`
	path := written(t, file)
	_, err := ran(t, "", "config", "check", "--config", path)
	if err == nil {
		t.Fatal("nothing is wrong")
	}
	said := strings.Split(err.Error(), "\n")[1:]
	for _, want := range []string{
		":3: there is no setting \"listn\": perhaps listen",
		":4: there is no setting \"state_dir\": perhaps state-dir",
		":5: max-connections: is a number, not \"8\"",
		":6: max-anonymous: -1 is less than 0",
		":7: sim-keep: is true or false, not \"7\"",
		":8: sim-latency: \"fast\" is no duration",
		":9: driver: \"xen\" is none of auto, libvirt, sim",
		":10: outbound: is one value",
		":13: tenant-ranges: \"10.0.0.1/8\" is not a range",
		":14: public-url: \"cloud.example\" is not an address",
		":15: listen is in line 2 already",
		":16: trusted-proxy: \"nobody\" is neither",
		":17: tls-cert: a certificate needs its key",
		":19: db-file and db say the same thing",
		":20: keep-free: \"10 apples\" is no size",
		":21: image-quota: has no value",
		":22: sim-hosts: only the simulator",
		":23: there is no setting \"nothing-like-it\"",
		"KILONOVA_SIM_KEEP: sim-keep: \"perhaps\" is neither true nor false",
	} {
		at := slices.IndexFunc(said, func(line string) bool {
			line = strings.TrimPrefix(strings.TrimSpace(line), path)
			return strings.HasPrefix(line, want)
		})
		if at < 0 {
			t.Errorf("nobody says %q", want)
			continue
		}
		said = slices.Delete(said, at, at+1)
	}
	if len(said) > 0 {
		t.Errorf("it also says %q", said)
	}
	if strings.Contains(err.Error(), "Tops3cret") {
		t.Errorf("the password is told: %v", err)
	}
}

func TestMistakesThatNoSettingHas(t *testing.T) {
	alone(t)
	for file, want := range map[string]string{
		"listen: [":                        ":1: this is not YAML",
		"a: b\n\tc: d":                     ":2: this is not YAML",
		"db: *Tops3cret":                   "this is not YAML",
		"db: 'Tops3cret":                   "this is not YAML",
		"- listen":                         ":1: this is no list of settings",
		"listen: 127.0.0.1:1\n---\ndb: x":  "one document is enough",
		"? [listen]\n: x":                  ":1: there is no setting",
		"listen: &a 127.0.0.1:1\n<<: *a\n": ":2: there is no setting",
		"max-anonymous-per-address: 8\nmax-anonymous: 4": ":1: max-anonymous-per-address: 8 is more than max-anonymous, 4",
		"max-connections: 3\nmax-anonymous: 4":           ":2: max-anonymous: 4 is more than max-connections, 3",
		"tls-key: x":                                     ":1: tls-key: a key needs its certificate",
	} {
		_, err := ran(t, file, "config", "check")
		if err == nil || !strings.Contains(err.Error(), "kilonova.yaml") || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "Tops3cret") {
			t.Errorf("%q: %v; want %s", file, err, want)
		}
	}
	_, err := ran(t, "", "config", "check", "--config", filepath.Join(t.TempDir(), "none"))
	if err == nil {
		t.Error("a file that is not there is taken")
	}
	for _, empty := range []string{"", "\n# nothing\n", "---\n", "~"} {
		_, err := ran(t, empty+"\n", "config", "check")
		if err != nil {
			t.Errorf("%q: %v", empty, err)
		}
	}
}

// What check shows says where each setting is from, and no secret.
func TestConfigCheck(t *testing.T) {
	alone(t)
	t.Setenv("KILONOVA_KEEP_FREE", "5GiB")
	out, err := ran(t, "db: kn:Tops3cret@tcp(d)/x\nlisten: 127.0.0.1:1\n", "config", "check", "--log-level", "warn")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"kilonova.yaml:1: db = (hidden)\n", "kilonova.yaml:2: listen = 127.0.0.1:1\n", "KILONOVA_KEEP_FREE: keep-free = 5GiB\n", "--log-level: log-level = warn\n", "4 settings, no mistakes"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	if strings.Contains(out, "Tops3cret") {
		t.Errorf("the password is told: %s", out)
	}
}

// What init writes says every default: with all of its comments taken off it changes nothing.
func TestConfigInit(t *testing.T) {
	alone(t)
	path := filepath.Join(t.TempDir(), "new.yaml")
	_, err := ran(t, "", "config", "init", path)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	printed, err := ran(t, "", "config", "init")
	if err != nil || printed != string(raw) {
		t.Errorf("printed and written differ: %v", err)
	}
	if st, err := os.Stat(path); err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("the file: %v %v", st.Mode(), err)
	}
	_, err = ran(t, "", "config", "init", path)
	if err == nil {
		t.Error("a file was written over")
	}
	var live strings.Builder
	for line := range strings.Lines(string(raw)) {
		rest, ok := strings.CutPrefix(line, "#")
		if ok && !strings.HasPrefix(rest, " ") && !strings.HasPrefix(rest, "db-file:") && !strings.HasPrefix(rest, "sim-") {
			live.WriteString(rest)
		}
	}
	p, err := loaded(t, live.String(), "up")
	if err != nil {
		t.Fatalf("%v\n%s", err, live.String())
	}
	_, defaults := newConfig()
	for i, v := range p.set.All() {
		if d := defaults.All()[i]; v.Text() != d.Text() {
			t.Errorf("%s is %s, and %s by default", v.Name, v.Text(), d.Text())
		}
		if !strings.Contains(string(raw), "(--"+v.Name+", "+v.Env+")") {
			t.Errorf("%s is not explained", v.Name)
		}
	}
}

// Every flag of a command that has to do with settings is one.
func TestNoFlagIsDeclaredElsewhere(t *testing.T) {
	_, set := newConfig()
	known := map[string]bool{"help": true, "config": true, "version": true, "from": true} // the last: of host add
	for _, v := range set.All() {
		known[v.Name] = true
	}
	seen := 0
	var look func(c *cobra.Command)
	look = func(c *cobra.Command) {
		c.LocalFlags().VisitAll(func(f *pflag.Flag) {
			seen++
			if !known[f.Name] {
				t.Errorf("%s --%s is no setting", c.CommandPath(), f.Name)
			}
		})
		for _, sub := range c.Commands() {
			look(sub)
		}
	}
	look(rootCommand())
	if seen < len(set.All()) {
		t.Errorf("%d flags were looked at", seen)
	}
}

func TestAFileThatOthersRead(t *testing.T) {
	alone(t)
	for _, tt := range []struct {
		content string
		mode    fs.FileMode
		exposed bool
	}{
		{"db: kn:Tops3cret@tcp(d)/x", 0o600, false},
		{"db: kn:Tops3cret@tcp(d)/x", 0o640, true},
		{"db: /srv/kilonova.db", 0o644, false},
		{"listen: 127.0.0.1:1", 0o644, false},
		{"listen: 127.0.0.1:1", 0o664, true},
	} {
		p, err := loaded(t, tt.content, "up")
		if err == nil {
			err = os.Chmod(p.file, tt.mode)
		}
		if err != nil {
			t.Fatal(err)
		}
		f := p.checkConfig(t.Context())
		if (p.exposed() != "") != tt.exposed || f.ok == tt.exposed || strings.Contains(f.what, "Tops3cret") {
			t.Errorf("%s, %v: %q, %+v", tt.content, tt.mode, p.exposed(), f)
		}
	}
}
