package schema_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

type textColumn struct {
	Table     string `db:"t"`
	Name      string `db:"c"`
	Collation string `db:"l"`
}

// textColumns reads what a migrated database has; on SQLite the declared collation.
func textColumns(t *testing.T, db *schema.DB) []textColumn {
	t.Helper()
	statement := `
SELECT c.table_name AS t, c.column_name AS c, c.collation_name AS l
FROM information_schema.columns c JOIN information_schema.tables b ON b.table_schema = c.table_schema AND b.table_name = c.table_name
WHERE c.table_schema = DATABASE() AND c.collation_name IS NOT NULL AND b.table_type = 'BASE TABLE' AND c.table_name <> 'goose_db_version'
ORDER BY 1, 2`
	if db.Dialect == schema.SQLite {
		statement = `
SELECT m.name AS t, p.name AS c, CASE WHEN m.sql LIKE '%COLLATE%' THEN 'declared' ELSE 'BINARY' END AS l
FROM sqlite_master m JOIN pragma_table_info(m.name) p
WHERE m.type = 'table' AND (p.type LIKE '%CHAR%' OR p.type = 'TEXT') ORDER BY 1, 2`
	}
	var out []textColumn
	err := db.SelectContext(context.Background(), &out, statement)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestCollations holds collations.tsv against the databases.
func TestCollations(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		want := "BINARY"
		if db.Dialect == schema.MySQL {
			want = "utf8mb4_nopad_bin"
		}
		var there []string
		for _, c := range textColumns(t, db) {
			there = append(there, c.Table+"."+c.Name)
			if c.Collation != want {
				t.Errorf("%s.%s is compared by %s", c.Table, c.Name, c.Collation)
			}
		}
		listed := 0
		for line := range strings.Lines(schema.Collations) {
			line = strings.TrimSuffix(line, "\n")
			if strings.HasPrefix(line, "#") {
				continue
			}
			f := strings.Split(line, "\t")
			if len(f) != 4 || f[3] == "" {
				t.Errorf("%q has not four fields", line)
				continue
			}
			listed++
			if f[0] == "*" {
				continue
			}
			if !slices.Contains(there, f[0]+"."+f[1]) {
				t.Errorf("%s.%s is listed and not there", f[0], f[1])
			}
			if f[2] != "exact" && !slices.Contains(there, f[0]+"."+f[2]) {
				t.Errorf("%s.%s is compared by %s, which is not there", f[0], f[1], f[2])
			}
		}
		if listed < 2 {
			t.Errorf("%d lines", listed)
		}
	})
}

// TestSettleCollations brings a database of an earlier release to the collation, foreign
// keys and rows and all.
func TestSettleCollations(t *testing.T) {
	db := schematest.MySQL(t)
	ctx := context.Background()
	exec := func(statement string) {
		t.Helper()
		_, err := db.ExecContext(ctx, statement)
		if err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	exec("CREATE TABLE old_parents (id VARCHAR(64) NOT NULL PRIMARY KEY, name VARCHAR(255) COLLATE utf8mb4_general_ci NOT NULL, UNIQUE (name)) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin")
	exec("CREATE TABLE old_children (id VARCHAR(64) NOT NULL, FOREIGN KEY (id) REFERENCES old_parents (id) ON DELETE CASCADE) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_bin")
	exec("INSERT INTO old_parents (id, name) VALUES ('p', 'e')")
	exec("INSERT INTO old_children (id) VALUES ('p')")
	// Twice: it may have been cut short.
	for range 2 {
		err := schema.SettleCollations(db, ctx, nil)
		if err != nil {
			t.Fatal(err)
		}
	}
	exec("INSERT INTO old_parents (id, name) VALUES ('q', 'é'), ('r', 'E'), ('p ', 'e ')")
	exec("DELETE FROM old_parents WHERE id = 'p'")
	var left int
	err := db.GetContext(ctx, &left, "SELECT COUNT(*) FROM old_children")
	if err != nil || left != 0 {
		t.Errorf("children left: %d, %v", left, err)
	}
	for _, c := range textColumns(t, db) {
		if c.Collation != "utf8mb4_nopad_bin" {
			t.Errorf("%s.%s is still compared by %s", c.Table, c.Name, c.Collation)
		}
	}
}
