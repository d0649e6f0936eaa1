package schema

import (
	"bytes"
	"context"
	"embed"
	"fmt"
	"io/fs"
	"strings"
	"testing/fstest"

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
		"table":    "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4 COLLATE={{collation}}",
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

func (db *DB) provider(ctx context.Context) (*goose.Provider, error) {
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
	return goose.NewProvider(dialect, db.DB.DB, files, opts...)
}

// Migrate brings the database to this binary's version. Two processes may call it at once.
func (db *DB) Migrate(ctx context.Context) error {
	p, err := db.provider(ctx)
	if err != nil {
		return fmt.Errorf("read the migrations: %w", err)
	}
	unlock, err := db.lockMigrations(ctx)
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

// lockMigrations keeps two starting processes apart. SQLite's own write lock does there.
func (db *DB) lockMigrations(ctx context.Context) (func(), error) {
	if db.Dialect != MySQL {
		return func() {}, nil
	}
	conn, err := db.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("lock the migrations: %w", err)
	}
	var got int
	err = conn.QueryRowContext(ctx, "SELECT COALESCE(GET_LOCK('kilonova_migrations', 60), 0)").Scan(&got)
	if err != nil || got != 1 {
		_ = conn.Close() // the lock is what failed
		return nil, fmt.Errorf("lock the migrations: another process holds the lock: %w", err)
	}
	return func() {
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "SELECT RELEASE_LOCK('kilonova_migrations')")
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
	p, err := db.provider(ctx)
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
