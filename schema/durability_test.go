package schema_test

import (
	"strings"
	"testing"

	"kilonova/schema/schematest"
)

// The database says which of its settings lose commits.
func TestUndurable(t *testing.T) {
	lite := schematest.SQLite(t)
	if found, err := lite.Undurable(t.Context()); err != nil || len(found) != 0 {
		t.Errorf("SQLite: %v, %v", found, err)
	}
	var synchronous int
	err := lite.GetContext(t.Context(), &synchronous, "PRAGMA synchronous")
	if err != nil || synchronous != 2 {
		t.Errorf("SQLite's synchronous is %d, %v; want 2, which is FULL", synchronous, err)
	}
	db := schematest.MySQL(t)
	found, err := db.Undurable(t.Context())
	if err != nil || len(found) != 0 {
		t.Errorf("the tests' own database: %v, %v", found, err)
	}
	_, err = db.Exec("SET GLOBAL innodb_flush_log_at_trx_commit = 2")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_, err := db.Exec("SET GLOBAL innodb_flush_log_at_trx_commit = 1")
		if err != nil {
			t.Error(err)
		}
	})
	found, err = db.Undurable(t.Context())
	if err != nil || len(found) != 1 || !strings.Contains(found[0], "innodb_flush_log_at_trx_commit is 2, not 1") {
		t.Errorf("%v, %v", found, err)
	}
}
