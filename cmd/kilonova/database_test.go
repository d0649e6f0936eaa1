package main

import (
	"bytes"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

const secretAddress = "kn:Tops3cret@tcp(127.0.0.1:1)/kilonova"

func TestFindDatabase(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		err := os.WriteFile(path, []byte(content), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	plain := file("plain", "\n"+secretAddress+"\n")
	shell := file("shell", "# The database address of computed on x; keep it secret.\nKILONOVA_DB='"+secretAddress+"'\n")
	exported := file("exported", "export KILONOVA_DB=\""+secretAddress+"\"")
	for name, tt := range map[string]struct {
		flags     string
		env, from string
		want      string
		fails     bool
	}{
		"nothing":                {},
		"flag":                   {flags: "--db a", want: "a"},
		"file":                   {flags: "--db-file " + plain, want: secretAddress},
		"as host add prints it":  {flags: "--db-file " + shell, want: secretAddress},
		"as a shell reads it":    {flags: "--db-file " + exported, want: secretAddress},
		"environment":            {env: "b", want: "b"},
		"file by environment":    {from: plain, want: secretAddress},
		"flag first":             {flags: "--db a", env: "b", from: plain, want: "a"},
		"file first":             {flags: "--db-file " + plain, env: "b", want: secretAddress},
		"two flags":              {flags: "--db a --db-file " + plain, fails: true},
		"two in the environment": {env: "b", from: plain, fails: true},
		"no such file":           {flags: "--db-file " + filepath.Join(dir, "no"), fails: true},
		"an empty file":          {flags: "--db-file " + file("empty", "# nothing\n"), fails: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv(dbVar, tt.env)
			t.Setenv(dbFileVar, tt.from)
			p, err := loaded(t, "", "up "+tt.flags)
			got := ""
			if err == nil {
				got, err = p.Database.find()
			}
			if got != tt.want || (err != nil) != tt.fails {
				t.Errorf("%q, %v", got, err)
			}
			if os.Getenv(dbVar)+os.Getenv(dbFileVar) != "" {
				t.Error("child processes would inherit the address")
			}
			if tt.want == "" && err == nil {
				_, err = p.Database.need()
				if err == nil {
					t.Error("something was found that was needed")
				}
			}
		})
	}
}

func TestWithoutPassword(t *testing.T) {
	for line, want := range map[string][2]string{
		"k api --db kn:pw@tcp(d)/x --listen y":         {"k api --listen y", "kn:pw@tcp(d)/x"},
		"k --db=mysql://kn:pw@d/x api":                 {"k api", "mysql://kn:pw@d/x"},
		"k db check --db kn:@pw@tcp(d)/x":              {"k db check", "kn:@pw@tcp(d)/x"},
		"k db check --db kn:pw@d:3306/x":               {"k db check", "kn:pw@d:3306/x"}, // mistyped, and a password all the same
		"k db check --db kn@tcp(d)/x":                  {"k db check --db kn@tcp(d)/x", ""},
		"k db check --db /srv/a:b@c.db":                {"k db check --db /srv/a:b@c.db", ""},
		"k db check --db ./kilonova.db":                {"k db check --db ./kilonova.db", ""},
		"k db check --db":                              {"k db check --db", ""},
		"k api --db-file /etc/k --listen kn:pw@tcp(d)": {"k api --db-file /etc/k --listen kn:pw@tcp(d)", ""},
	} {
		rest, address := withoutPassword(strings.Fields(line))
		if !slices.Equal(rest, strings.Fields(want[0])) || address != want[1] {
			t.Errorf("%s: %q, %q", line, rest, address)
		}
	}
}

// deafServer takes connections for a while and says nothing.
func deafServer(t *testing.T) *net.TCPListener {
	t.Helper()
	l, err := net.ListenTCP("tcp", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err == nil {
		err = l.SetDeadline(time.Now().Add(time.Minute))
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

// A database's password shows neither in the process list nor in what the program says.
func TestThePasswordIsNowhere(t *testing.T) {
	if testing.Short() {
		t.Skip("builds the program")
	}
	dir := t.TempDir()
	bin := filepath.Join(dir, "kilonova")
	said, err := exec.Command("go", "build", "-o", bin, ".").CombinedOutput()
	if err != nil {
		t.Fatalf("build: %s: %v", said, err)
	}
	for name, args := range map[string][]string{
		"api by file":             {"api", "--db-file", "FILE", "--state-dir", filepath.Join(dir, "s"), "--listen", "127.0.0.1:0"},
		"computed by environment": {"computed", "--driver", "sim", "--host", "h", "--state-dir", filepath.Join(dir, "h")},
		"db by flag":              {"db", "check", "--db", "ADDRESS"},
		"host by joined flag":     {"host", "list", "--db=ADDRESS"},
	} {
		t.Run(name, func(t *testing.T) {
			server := deafServer(t)
			address := strings.ReplaceAll(secretAddress, "127.0.0.1:1", server.Addr().String())
			file := filepath.Join(t.TempDir(), "db")
			err := os.WriteFile(file, []byte(address), 0o600)
			if err != nil {
				t.Fatal(err)
			}
			line := strings.NewReplacer("FILE", file, "ADDRESS", address)
			var argv []string
			for _, a := range args {
				argv = append(argv, line.Replace(a))
			}
			var out bytes.Buffer
			cmd := exec.Command(bin, argv...)
			cmd.Stdout, cmd.Stderr = &out, &out
			if !strings.Contains(strings.Join(args, " "), "--db") {
				cmd.Env = append(os.Environ(), dbVar+"="+address)
			}
			err = cmd.Start()
			if err != nil {
				t.Fatal(err)
			}
			defer func() {
				_ = cmd.Process.Kill() // it may be gone
				_ = cmd.Wait()
				if strings.Contains(out.String(), "Tops3cret") {
					t.Errorf("it said %s", out.String())
				}
			}()
			conn, err := server.Accept() // now it runs, and waits for a greeting
			if err != nil {
				t.Fatalf("it never went to the database: %s, %v", out.String(), err)
			}
			defer conn.Close()
			raw, err := os.ReadFile("/proc/" + strconv.Itoa(cmd.Process.Pid) + "/cmdline")
			if err != nil || bytes.Contains(raw, []byte("Tops3cret")) || !bytes.Contains(raw, []byte(args[0])) {
				t.Errorf("its command line is %q (%v)", raw, err)
			}
		})
	}
	help, err := exec.Command("env", "KILONOVA_DB="+secretAddress, bin, "api", "--help").CombinedOutput()
	if err != nil || !strings.Contains(string(help), "--db-file") || strings.Contains(string(help), "Tops3cret") {
		t.Errorf("the help: %s, %v", help, err)
	}
}
