// Package kilonova_test holds the rules of the house: which package may import which, and
// that each says what it is.
package kilonova_test

import (
	"bytes"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// layers are the floors of the house, from the ground up: a package imports only from
// floors below its own, or what its own line in beside names.
var layers = [][]string{
	{"work", "hostnet", "private", "room", "diskformat", "settings", "tempest-lite"},
	{"schema", "secrets"},
	{"compat", "metadata"},
	{"identity", "computed", "front"},
	{"images", "networks", "hosts", "flavors", "quotas", "extensions", "computed/libvirt", "computed/sim"},
	{"keypairs", "scheduler"},
	{"servers/lifecycle"},
	{"servers"},
	{"cmd/kilonova", "cmd/tempest-lite"},
}

// forbidden are imports that the floors would allow and the design does not: the daemon
// of a host knows nothing of the API.
var forbidden = map[string][]string{
	"computed":         {"compat", "identity", "metadata"},
	"computed/libvirt": {"compat", "identity", "metadata"},
	"computed/sim":     {"compat", "identity", "metadata"},
}

// Packages that exist for tests and tools may import what they test.
var apart = []string{"schema/schematest", "computed/drivertest", "diskformat/diskformattest", "room/roomtest", "flavors/apitest", "tests", "bench"}

func packages(t *testing.T) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "third_party" || d.Name() == "testdata" || d.Name() == "bin" || d.Name() == "tools") {
			return fs.SkipDir
		}
		dir := filepath.ToSlash(filepath.Dir(path))
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || dir == "." {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		out[dir] = append(out[dir], "")
		for _, imp := range f.Imports {
			name, err := strconv.Unquote(imp.Path.Value)
			if err != nil {
				return err
			}
			if rest, ok := strings.CutPrefix(name, "kilonova/"); ok {
				out[dir] = append(out[dir], rest)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func floor(pkg string) int {
	return slices.IndexFunc(layers, func(l []string) bool { return slices.Contains(l, pkg) })
}

func isApart(pkg string) bool {
	return slices.ContainsFunc(apart, func(a string) bool { return pkg == a || strings.HasPrefix(pkg, a+"/") })
}

func TestImportsRunDownwards(t *testing.T) {
	for pkg, imports := range packages(t) {
		if isApart(pkg) {
			continue
		}
		at := floor(pkg)
		if at < 0 {
			t.Errorf("package %s has no floor in the house: add it to layers", pkg)
			continue
		}
		for _, imp := range imports {
			if imp == "" {
				continue
			}
			if isApart(imp) {
				t.Errorf("%s imports %s, which is for tests", pkg, imp)
			}
			if to := floor(imp); to >= at {
				t.Errorf("%s imports %s, which is not below it", pkg, imp)
			}
			if slices.Contains(forbidden[pkg], imp) {
				t.Errorf("%s imports %s, which the design keeps apart", pkg, imp)
			}
		}
	}
}

// The conformance checker knows clouds from outside: nothing of the server is in it, and
// nothing of it in the server.
func TestTheCheckerStandsApart(t *testing.T) {
	for pkg, imports := range packages(t) {
		if pkg == "cmd/tempest-lite" {
			imports = slices.DeleteFunc(slices.Clone(imports), func(i string) bool { return i == "tempest-lite" })
		}
		for _, imp := range imports {
			if imp == "tempest-lite" || imp != "" && (pkg == "tempest-lite" || pkg == "cmd/tempest-lite") {
				t.Errorf("%s imports %s", pkg, imp)
			}
		}
	}
}

func TestEveryPackageHasDoc(t *testing.T) {
	for pkg := range packages(t) {
		if isApart(pkg) && pkg != "computed/drivertest" {
			continue
		}
		src, err := os.ReadFile(filepath.Join(pkg, "doc.go"))
		if err != nil {
			t.Errorf("package %s has no doc.go", pkg)
			continue
		}
		const least = 80
		if !strings.HasPrefix(string(src), "// ") || len(src) < least {
			t.Errorf("%s/doc.go says too little", pkg)
		}
	}
}

// Whoever writes goes through schema's retries: nobody else begins a transaction, and none
// reaches for the connections below.
func TestWritersGoThroughSchema(t *testing.T) {
	bare := regexp.MustCompile(`\.(Begin|BeginTx|Beginx|BeginTxx|MustExec|MustExecContext|MustBegin|MustBeginTx|Exec|NamedExec|Conn|Connx|Preparex)\(|(db|DB|tx|conn)\.Prepare\(|\.DB\.DB\b|\b(sql|sqlx)\.Open\(`)
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		dir, _, _ := strings.Cut(path, "/")
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || floor(filepath.ToSlash(filepath.Dir(path))) < 0 || dir == "schema" {
			return nil
		}
		raw, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(raw), "\n") {
			line = strings.ReplaceAll(line, "syscall.Exec(", "") // that starts a program
			if bare.MatchString(line) {
				t.Errorf("%s:%d writes past schema.DB.Tx and schema.DB.ExecContext: %s", path, i+1, strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestVersionsAreRanges: which microversion knows what is said in tables and named ranges
// (compat.Range), never by comparing versions where a request is handled.
func TestVersionsAreRanges(t *testing.T) {
	raw := regexp.MustCompile(`\b(r|req|request)\.Version\s*(<|>|<=|>=|==|!=)\s|(<|>|<=|>=)\s*(r|req)\.Version\b|\bcompat\.Version\s*=\s*\d|compat\.(Min|Max)Version\s*(<|>)|\b(v|version)\s*(<|>|<=|>=)\s*compat\.`)
	for path, text := range sources(t) {
		dir, _, _ := strings.Cut(path, "/")
		if dir == "compat" || dir == "tempest-lite" || dir == "tests" {
			continue
		}
		for i, line := range strings.Split(text, "\n") {
			if raw.MatchString(line) {
				t.Errorf("%s:%d compares versions by hand: %s", path, i+1, strings.TrimSpace(line))
			}
		}
	}
}

// sources are the project's Go files that are no tests, by their paths.
func sources(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || floor(filepath.ToSlash(filepath.Dir(path))) < 0 {
			return err
		}
		raw, err := os.ReadFile(path)
		out[path] = string(raw)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// What a request is stays above the life cycle of servers: it imports nothing of HTTP and, of
// what compat has for the wire, uses who asks, whose a server is, and what is answered when something is wrong.
func TestTheLifeCycleKnowsNoRequests(t *testing.T) {
	const dir = "servers/lifecycle"
	ofCompat := []string{"Caller", "Target", "BadRequest", "Forbidden", "NotFound", "Conflict", "Unavailable", "IsNotFound", "RequestID"}
	files, err := filepath.Glob(dir + "/*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("no files in %s: %v", dir, err)
	}
	for _, path := range files {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, imp := range f.Imports {
			if strings.HasPrefix(imp.Path.Value, `"net/http`) {
				t.Errorf("%s imports %s", path, imp.Path.Value)
			}
		}
		ast.Inspect(f, func(n ast.Node) bool {
			sel, ok := n.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == "compat" && !slices.Contains(ofCompat, sel.Sel.Name) {
				t.Errorf("%s uses compat.%s", path, sel.Sel.Name)
			}
			return true
		})
	}
}

// Nobody but the life cycle writes what a server is. Hosts tell what they do by the calls of
// schema, which are held against their bounds there.
func TestOnlyTheLifeCycleWritesServers(t *testing.T) {
	write := regexp.MustCompile(`\b(INSERT INTO|UPDATE|DELETE FROM)\s+(servers|server_tags|server_batches|migrations|instance_actions|instance_events|work)\b`)
	found := 0
	for path, text := range sources(t) {
		m := write.FindString(text)
		switch {
		case m == "", strings.HasPrefix(path, "schema/"):
		case strings.HasPrefix(path, "servers/lifecycle/"):
			found++
		default:
			t.Errorf("%s has %q", path, m)
		}
	}
	if found == 0 {
		t.Error("not even the life cycle writes servers: the test reads past the statements")
	}
}

// longest is how many lines a file may have without a reason.
const longest = 800

// long are the files that have more, each with its reason.
var long = map[string]string{
	"computed/libvirt/domain.go": "one domain's XML, in the order of libvirt's schema",
	"schema/hostattacks_test.go": "one table of what a host's account may not do",
	"servers/advisories_test.go": "one test for each advisory, to be read beside their list",
}

func TestFilesAreShort(t *testing.T) {
	over := map[string]bool{}
	for _, path := range goFiles(t) {
		src, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		n := bytes.Count(src, []byte("\n"))
		if n <= longest {
			continue
		}
		over[path] = true
		if long[path] == "" {
			t.Errorf("%s has %d lines: part it, or give the reason in long", path, n)
		}
	}
	for path := range long {
		if !over[path] {
			t.Errorf("%s is not long any more: take it out of long", path)
		}
	}
}

// goFiles are all Go files of the house, with their tests.
func goFiles(t *testing.T) []string {
	t.Helper()
	var out []string
	err := fs.WalkDir(os.DirFS("."), ".", func(path string, d fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case d.IsDir() && (strings.HasPrefix(d.Name(), ".") && path != "." || d.Name() == "third_party" || d.Name() == "testdata" || d.Name() == "bin"):
			return fs.SkipDir
		case strings.HasSuffix(path, ".go"):
			out = append(out, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}
