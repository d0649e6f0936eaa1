package schema_test

import (
	"strings"
	"testing"

	"kilonova/schema/schematest"
)

// The database says what of it is open to everybody.
func TestExposed(t *testing.T) {
	found, err := schematest.SQLite(t).Exposed(t.Context())
	if err != nil || len(found) > 0 {
		t.Errorf("SQLite: %v, %v", found, err)
	}
	db := schematest.MySQL(t)
	found, err = db.Exposed(t.Context())
	if err != nil || len(found) > 0 {
		t.Fatalf("the tests' own database: %v, %v", found, err)
	}
	for name, c := range map[string]struct{ open, shut, want string }{
		"a database for all":       {"GRANT ALL ON `kn_everybodys`.* TO PUBLIC", "REVOKE ALL ON `kn_everybodys`.* FROM PUBLIC", "kn_everybodys (PUBLIC)"},
		"a database without names": {"GRANT SELECT ON `kn_everybodys`.* TO ''@'%'", "DROP USER ''@'%'", "kn_everybodys (an account without a name)"},
	} {
		if strings.Contains(c.open, "''@'%'") {
			exec(t, db, "CREATE USER ''@'%' IDENTIFIED BY 'x' ACCOUNT LOCK")
		}
		exec(t, db, c.open)
		found, err := db.Exposed(t.Context())
		exec(t, db, c.shut)
		if err != nil || len(found) != 1 || !strings.Contains(found[0], c.want) {
			t.Errorf("%s: %q, %v", name, found, err)
		}
	}
	found, err = db.Exposed(t.Context())
	if err != nil || len(found) > 0 {
		t.Errorf("in the end: %v, %v", found, err)
	}
}
