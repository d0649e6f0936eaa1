// Package schematest gives tests a fresh, migrated database: SQLite always, and the
// MariaDB that KILONOVA_TEST_MYSQL names when it is set.
package schematest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/uuid"

	"kilonova/schema"
)

// EnvMySQL names a MariaDB on which tests may create and drop databases, in the driver's
// form root:pw@tcp(127.0.0.1:port)/.
const EnvMySQL = "KILONOVA_TEST_MYSQL"

// SQLite opens a new database in a temporary folder, with one connection: a transaction that
// wants a second one, which is a mistake, waits for ever there. Writers of SQLite take turns
// anyway, so nothing that could happen at once is kept from it.
func SQLite(t testing.TB) *schema.DB {
	t.Helper()
	db := open(t, filepath.Join(t.TempDir(), "kilonova.db"))
	db.Narrow()
	return db
}

// MySQL opens a new database on the test server, or skips the test, saying why.
func MySQL(t testing.TB) *schema.DB {
	t.Helper()
	return open(t, MySQLAddress(t))
}

// MySQLAddress makes an empty database on the test server that is dropped after the test,
// and gives its address; without a server it skips the test, saying why.
func MySQLAddress(t testing.TB) string {
	t.Helper()
	server := os.Getenv(EnvMySQL)
	if server == "" {
		t.Skipf("no MariaDB to test on: %s is not set (make test sets it)", EnvMySQL)
	}
	server = regexp.MustCompile(`/[^/]*$`).ReplaceAllString(server, "/")
	admin, err := schema.Open(context.Background(), server)
	if err != nil {
		t.Fatalf("test database server: %v", err)
	}
	name := "kn_" + strings.ReplaceAll(uuid.NewString(), "-", "")[:16]
	_, err = admin.Exec(fmt.Sprintf("CREATE DATABASE %s CHARACTER SET utf8mb4 COLLATE utf8mb4_bin", name))
	if err != nil {
		t.Fatalf("make test database: %v", err)
	}
	t.Cleanup(func() {
		_, err := admin.Exec("DROP DATABASE " + name)
		if err != nil {
			t.Errorf("drop test database: %v", err)
		}
		_ = admin.Close() // the test is over
	})
	return server + name
}

// Each runs fn on a new SQLite database and, where there is one, on MariaDB.
func Each(t *testing.T, fn func(t *testing.T, db *schema.DB)) {
	t.Helper()
	t.Run("sqlite", func(t *testing.T) { fn(t, SQLite(t)) })
	t.Run("mariadb", func(t *testing.T) { fn(t, MySQL(t)) })
}

func open(t testing.TB, dsn string) *schema.DB {
	t.Helper()
	db, err := schema.Open(context.Background(), dsn)
	if err != nil {
		t.Fatalf("open database: %v", err)
	}
	t.Cleanup(func() { _ = db.Close() }) // the test is over
	err = db.Migrate(context.Background())
	if err != nil {
		t.Fatalf("migrate: %v", err)
	}
	return db
}
