package schema

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestAddresses(t *testing.T) {
	for dsn, want := range map[string][4]string{
		"kn:pw@tcp(db:3306)/kilonova":                 {"kn", "pw", "db:3306", "kilonova"},
		"mysql:kn:pw@tcp(db)/kilonova":                {"kn", "pw", "db:3306", "kilonova"},
		"mysql://kn:pw@db:3307/kilonova?tls=true":     {"kn", "pw", "db:3307", "kilonova"},
		"mysql://kn:p%40w%2F%3A%29@db/kilonova":       {"kn", "p@w/:)", "db:3306", "kilonova"},
		"kn:p@w:)/(@tcp(db:3306)/kilonova?timeout=1s": {"kn", "p@w:)/(", "db:3306", "kilonova"},
		"mysql://[2001:db8::1]:3306/kilonova":         {"", "", "[2001:db8::1]:3306", "kilonova"},
	} {
		cfg, err := mysqlConfig(dsn)
		if err != nil {
			t.Errorf("%s: %v", dsn, err)
			continue
		}
		if got := [4]string{cfg.User, cfg.Passwd, cfg.Addr, cfg.DBName}; got != want {
			t.Errorf("%s: %q, want %q", dsn, got, want)
		}
	}
}

// Nothing that goes wrong with an address says what its password is, or makes a file of it.
func TestNoErrorTellsThePassword(t *testing.T) {
	t.Chdir(t.TempDir())
	const pw = "Tops3cret"
	for _, dsn := range []string{
		"kn:" + pw + "@db:3306/kilonova", "kn:" + pw + "@tcp(db:3306", "kn:" + pw + "@tcp(127.0.0.1:1)/kilonova", "kn:" + pw + "@udp(db)/kilonova",
		"mysql://kn:" + pw + "@db:port/kilonova", "mysql://kn:" + pw + "/x@127.0.0.1:1/kilonova", "mysql://kn:%zz" + pw + "@db/kilonova",
		"mysql://kn:" + pw + "%2Fx@127.0.0.1:1/kilonova", "postgres://kn:" + pw + "@db/kilonova", "mysql:kn:" + pw + "@", "kn:" + pw + "@unix(/nothing)/" + pw,
		"kn:" + pw + "@tcp(127.0.0.1:1)/kilonova?timeout=" + pw, "kn:" + pw + "/@tcp(127.0.0.1:1)", "kn:" + pw + "@", "kn:" + pw + "@tcp(127.0.0.1:1)/x?" + pw,
	} {
		db, err := Open(t.Context(), dsn)
		if err == nil {
			db.Close()
			t.Errorf("%s was opened", dsn)
			continue
		}
		if strings.Contains(err.Error(), pw) {
			t.Errorf("%s: %v", dsn, err)
		}
	}
	left, err := os.ReadDir(".")
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	err = withoutPassword(errors.New("unknown database '"+pw+"'"), "kn:"+pw+"@tcp(db)/x")
	if strings.Contains(err.Error(), pw) {
		t.Error(err)
	}
}

// The files of a database are its owner's, whatever they were before.
func TestSQLiteIsClosed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "new", "x:y@z.db")
	db, err := Open(t.Context(), "sqlite:"+path)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Migrate(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ends := []string{"", "-wal", "-shm"}
	for _, end := range ends {
		st, err := os.Stat(path + end)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("made %s: %v, %v", end, st.Mode(), err)
		}
		err = os.Chmod(path+end, 0o666)
		if err != nil {
			t.Fatal(err)
		}
	}
	again, err := Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	defer again.Close()
	for _, end := range ends {
		st, err := os.Stat(path + end)
		if err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("left %s: %v, %v", end, st.Mode(), err)
		}
	}
}

func TestTheWayToTheDatabase(t *testing.T) {
	for dsn, plain := range map[string]bool{
		"kn:pw@tcp(db:3306)/x": true, "kn:pw@tcp(192.0.2.1:3306)/x": true, "mysql://kn:pw@db/x": true, "kn:pw@tcp(db:3306)/x?tls=true": false,
		"kn:pw@tcp(127.0.0.1:3306)/x": false, "kn:pw@tcp([::1]:3306)/x": false, "kn:pw@tcp(localhost:3306)/x": false, "kn:pw@unix(/run/my.sock)/x": false,
	} {
		cfg, err := mysqlConfig(dsn)
		if err != nil {
			t.Fatal(err)
		}
		if got := (&DB{config: cfg, addr: cfg.Addr}).Plain(); got != plain {
			t.Errorf("%s: plain is %v", dsn, got)
		}
	}
	// A host's account uses TLS where its maker's does.
	for want, c := range map[string]Credentials{
		"u:p@tcp(db:3306)/x_host":          {User: "u", Password: "p", Addr: "db:3306", Database: "x_host"},
		"u:p@tcp(db:3306)/x_host?tls=true": {User: "u", Password: "p", Addr: "db:3306", Database: "x_host", TLS: "true"},
	} {
		cfg, err := mysqlConfig(c.DSN())
		if c.DSN() != want || err != nil || cfg.TLSConfig != c.TLS {
			t.Errorf("%s, want %s: %v", c.DSN(), want, err)
		}
	}
}
