package schema

import (
	"bytes"
	"context"
	"database/sql"
	"embed"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing/fstest"
	"time"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/*.sql
var migrations embed.FS

// words are the places in which the dialects' DDL differs. A migration writes {{word}}.
var words = map[Dialect]map[string]string{
	SQLite: {
		"id":       "INTEGER PRIMARY KEY AUTOINCREMENT",
		"key":      "TEXT", // an indexed string of up to 255 characters
		"uuid":     "TEXT",
		"text":     "TEXT",
		"longtext": "TEXT",
		"blob":     "BLOB",
		"nocase":   "TEXT", // an indexed string that is compared by a key beside it: see collations.tsv
		"bool":     "INTEGER",
		"table":    "",

		"of servers": "", // where an index is dropped

		"when": "WHEN", "then": "BEGIN", "end": "END;", // of a trigger

		"greatest": "MAX",
		"unquoted": "", // the text of a string in JSON
		"newid":    "LOWER(HEX(RANDOMBLOB(4)) || '-' || HEX(RANDOMBLOB(2)) || '-4' || SUBSTR(HEX(RANDOMBLOB(2)), 2) || '-a' || SUBSTR(HEX(RANDOMBLOB(2)), 2) || '-' || HEX(RANDOMBLOB(6)))",
	},
	MySQL: {
		"id":       "BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY",
		"key":      "VARCHAR(255)",
		"uuid":     "VARCHAR(36)",
		"text":     "TEXT",
		"longtext": "LONGTEXT",
		"blob":     "LONGBLOB",
		"nocase":   "VARCHAR(255)",
		"bool":     "TINYINT",
		"when":     "BEGIN IF", "then": "THEN", "end": "END IF; END;",
		"greatest": "GREATEST", "unquoted": "JSON_UNQUOTE", "newid": "UUID()",
		"table": "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={{collation}}",
	},
}

// rendered gives the migrations in the dialect's own words, with the collation in which
// everything is compared.
func rendered(d Dialect, collation string) (fs.FS, error) {
	out := fstest.MapFS{}
	files, err := fs.Glob(migrations, "migrations/*.sql")
	if err != nil {
		return nil, err
	}
	for _, name := range files {
		raw, err := migrations.ReadFile(name)
		if err != nil {
			return nil, err
		}
		for word, with := range words[d] {
			raw = bytes.ReplaceAll(raw, []byte("{{"+word+"}}"), []byte(with))
		}
		raw = bytes.ReplaceAll(raw, []byte("{{collation}}"), []byte(collation))
		if at := bytes.Index(raw, []byte("{{")); at >= 0 {
			return nil, fmt.Errorf("migration %s: unknown word at %.20q", name, raw[at:])
		}
		out[strings.TrimPrefix(name, "migrations/")] = &fstest.MapFile{Data: raw}
	}
	return out, nil
}

func (db *DB) provider(ctx context.Context, on *sql.DB) (*goose.Provider, error) {
	collation, err := db.collation(ctx)
	if err != nil {
		return nil, err
	}
	files, err := rendered(db.Dialect, collation)
	if err != nil {
		return nil, err
	}
	opts := []goose.ProviderOption{goose.WithGoMigrations(goose.NewGoMigration(collationsVersion,
		&goose.GoFunc{RunDB: db.settleCollations}, &goose.GoFunc{RunDB: nothing}))}
	dialect := goose.DialectSQLite3
	if db.Dialect == MySQL {
		dialect = goose.DialectMySQL
	}
	opts = append(opts, goose.WithDisableGlobalRegistry(true))
	return goose.NewProvider(dialect, on, files, opts...)
}

// Migrate brings the database to this binary's version. Two processes may call it at once;
// one that finds nothing to do takes no lock.
func (db *DB) Migrate(ctx context.Context) error {
	if db.current(ctx) {
		return nil
	}
	conns, done, err := db.migrationConns()
	if err != nil {
		return err
	}
	defer done()
	p, err := db.provider(ctx, conns)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	unlock, err := db.lockMigrations(ctx, conns)
	if err != nil {
		return err
	}
	defer unlock()
	_, err = p.Up(ctx)
	if err != nil {
		return fmt.Errorf("migrate the database: %w", err)
	}
	return nil
}

// current reports whether the database has all of this binary's migrations.
func (db *DB) current(ctx context.Context) bool {
	var have []int64
	err := db.SelectContext(ctx, &have, "SELECT version_id FROM goose_db_version WHERE is_applied = 1")
	if err != nil {
		return false // it may be empty: the migrations will tell
	}
	p, err := db.provider(ctx, db.DB.DB)
	if err != nil {
		return false
	}
	for _, source := range p.ListSources() {
		if !slices.Contains(have, source.Version) {
			return false
		}
	}
	return true
}

// migrationConns are connections that wait for the locks of tables as long as it takes: a
// migration that gave up in its middle would be half done.
func (db *DB) migrationConns() (*sql.DB, func(), error) {
	if db.Dialect != MySQL {
		return db.DB.DB, func() {}, nil
	}
	cfg := db.config.Clone()
	setParam(cfg, "innodb_lock_wait_timeout", "3600")
	conns, err := pool(cfg, 4)
	if err != nil {
		return nil, nil, err
	}
	return conns.DB, func() { _ = conns.Close() }, nil // its work is done
}

const (
	makeMigrationLock = `CREATE TABLE IF NOT EXISTS migration_lock (id INT NOT NULL PRIMARY KEY, taken_at BIGINT NOT NULL) ENGINE=InnoDB`
	fillMigrationLock = `INSERT IGNORE INTO migration_lock (id, taken_at) VALUES (1, 0)`
	takeMigrationLock = `UPDATE migration_lock SET taken_at = ? WHERE id = 1`
)

// How long another process may migrate before this one gives up, and how soon the database
// lets go of the lock of a process that is gone without a word.
const (
	migrationWait  = 120 // seconds
	migrationSigns = 20  // seconds
)

// lockMigrations keeps two starting processes apart by a row that one of them has changed
// and not committed: no account of a host reaches it, and it falls free with its process.
// SQLite's own write lock does there.
func (db *DB) lockMigrations(ctx context.Context, conns *sql.DB) (func(), error) {
	if db.Dialect != MySQL {
		return func() {}, nil
	}
	conn, err := conns.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the migrations: %w", err)
	}
	for _, stmt := range []string{makeMigrationLock, fillMigrationLock,
		fmt.Sprintf("SET SESSION innodb_lock_wait_timeout = %d, wait_timeout = %d", migrationWait, 3*migrationSigns), "BEGIN"} {
		if err == nil {
			_, err = conn.ExecContext(ctx, stmt)
		}
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, takeMigrationLock, Clock(nil).Now())
	}
	if err != nil {
		_ = conn.Close() // the lock is what failed
		if Transient(err) {
			return nil, fmt.Errorf("lock the migrations: another process has been migrating this database for %d s: %w", migrationWait, err)
		}
		return nil, fmt.Errorf("lock the migrations: %w", err)
	}
	stop := make(chan struct{})
	gone := make(chan struct{})
	go func() {
		defer close(gone)
		for {
			select {
			case <-stop:
				return
			case <-time.After(migrationSigns * time.Second):
				_ = conn.PingContext(ctx) // a sign of life; when it cannot be given the lock is lost anyway
			}
		}
	}()
	return func() {
		close(stop)
		<-gone
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
		_ = conn.Close() // closing frees the lock as well
	}, nil
}

// Status is one migration and whether the database has it.
type Status struct {
	Version int64
	Source  string
	Applied bool
}

// Status lists the migrations that this binary knows.
func (db *DB) Status(ctx context.Context) ([]Status, error) {
	p, err := db.provider(ctx, db.DB.DB)
	if err != nil {
		return nil, fmt.Errorf("read the migrations: %w", err)
	}
	all, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the database's version: %w", err)
	}
	var out []Status
	for _, m := range all {
		out = append(out, Status{Version: m.Source.Version, Source: m.Source.Path, Applied: m.State == goose.StateApplied})
	}
	return out, nil
}
