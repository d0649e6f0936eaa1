package schema

import (
	"context"
	"database/sql"
	_ "embed"
	"fmt"
	"strings"
)

// collationsVersion is the migration that brings databases of earlier releases to one
// collation. New ones are made in it.
const collationsVersion = 131

// Text is compared character by character on both databases, blanks at the end included,
// which utf8mb4_bin would pass over; collations.tsv says where that is not what a name means,
// and what is compared there instead.
const (
	collationMariaDB = "utf8mb4_nopad_bin"
	collationMySQL   = "utf8mb4_0900_bin"
)

// Collations is the table of how text is compared: for each column that clients name
// things by, "exact", or the column that holds what it is compared by; and why.
//
//go:embed collations.tsv
var Collations string

// collation is the one of every text column, "" on SQLite, whose own is exact.
func (db *DB) collation(ctx context.Context) (string, error) {
	if db.Dialect != MySQL {
		return "", nil
	}
	var version string
	err := db.GetContext(ctx, &version, "SELECT VERSION()")
	if err != nil {
		return "", fmt.Errorf("ask for the database's version: %w", err)
	}
	if strings.Contains(version, "MariaDB") {
		return collationMariaDB, nil
	}
	return collationMySQL, nil
}

const (
	selectOtherTables = `
SELECT DISTINCT c.table_name
FROM information_schema.columns c
JOIN information_schema.tables t ON t.table_schema = c.table_schema AND t.table_name = c.table_name
WHERE c.table_schema = DATABASE() AND t.table_type = 'BASE TABLE' AND c.collation_name <> ? AND c.table_name <> 'goose_db_version'
ORDER BY c.table_name`
	// What foreign keys on text are, as the statements that remove and make them.
	selectTextKeys = `
SELECT CONCAT('ALTER TABLE ', k.table_name, ' DROP FOREIGN KEY ', k.constraint_name) AS remove,
  CONCAT('ALTER TABLE ', k.table_name, ' ADD CONSTRAINT ', k.constraint_name,
    ' FOREIGN KEY (', k.column_name, ') REFERENCES ', k.referenced_table_name, ' (', k.referenced_column_name,
    ') ON DELETE ', r.delete_rule, ' ON UPDATE ', r.update_rule) AS make
FROM information_schema.key_column_usage k
JOIN information_schema.referential_constraints r
  ON r.constraint_schema = k.constraint_schema AND r.constraint_name = k.constraint_name AND r.table_name = k.table_name
JOIN information_schema.columns c
  ON c.table_schema = k.table_schema AND c.table_name = k.table_name AND c.column_name = k.column_name
WHERE k.table_schema = DATABASE() AND c.collation_name <> ?`
	makeKeysToMake = `CREATE TABLE IF NOT EXISTS collation_keys (make VARCHAR(700) CHARACTER SET utf8mb4 COLLATE %s NOT NULL PRIMARY KEY)`
	insertKey      = `INSERT IGNORE INTO collation_keys (make) VALUES (?)`
	selectMissing  = `
SELECT make FROM collation_keys
WHERE make NOT IN (SELECT m.make FROM (` + selectTextKeys + `) m) ORDER BY make`
)

// settleCollations brings every table to the collation. What was unique stays unique: it
// takes no two texts for equal that the old ones told apart. A foreign key stands in the way
// of a change of its columns; what all were is kept in a table until they are back, so that
// this can be done again after it was cut short anywhere.
func (db *DB) settleCollations(ctx context.Context, _ *sql.DB) error {
	collation, err := db.collation(ctx)
	if err != nil || collation == "" {
		return err
	}
	for _, step := range []func(context.Context, string) error{db.removeTextKeys, db.convertTables, db.makeTextKeys} {
		err = step(ctx, collation)
		if err != nil {
			return fmt.Errorf("settle collations: %w", err)
		}
	}
	return nil
}

func (db *DB) removeTextKeys(ctx context.Context, collation string) error {
	var keys []struct{ Remove, Make string }
	err := db.SelectContext(ctx, &keys, selectTextKeys, collation)
	if err == nil {
		_, err = db.ExecContext(ctx, fmt.Sprintf(makeKeysToMake, collation))
	}
	for _, statement := range []func(int) (string, []any){
		func(i int) (string, []any) { return insertKey, []any{keys[i].Make} },
		func(i int) (string, []any) { return keys[i].Remove, nil },
	} {
		for i := range keys {
			if err == nil {
				text, args := statement(i)
				_, err = db.ExecContext(ctx, text, args...)
			}
		}
	}
	return err
}

func (db *DB) convertTables(ctx context.Context, collation string) error {
	var tables []string
	err := db.SelectContext(ctx, &tables, selectOtherTables, collation)
	for _, table := range tables {
		if err == nil {
			_, err = db.ExecContext(ctx, "ALTER TABLE `"+table+"` CONVERT TO CHARACTER SET utf8mb4 COLLATE "+collation)
		}
	}
	return err
}

func (db *DB) makeTextKeys(ctx context.Context, _ string) error {
	var keys []string
	err := db.SelectContext(ctx, &keys, selectMissing, "")
	for _, statement := range append(keys, "DROP TABLE collation_keys") {
		if err == nil {
			_, err = db.ExecContext(ctx, statement)
		}
	}
	return err
}

// nothing is the way back: the release before works with this collation as well.
func nothing(context.Context, *sql.DB) error { return nil }
