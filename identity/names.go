package identity

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"strings"
	"unicode"

	"kilonova/schema"
)

// foldName gives the key by which the names of users, projects, domains, groups, roles and
// application credentials are compared: without case and without blanks at the end, as
// Keystone's do on the database that it is usually run on. Everything else is told apart:
// an accent, ß and ss, full-width letters. It is worked out here and stored beside the name,
// so that SQLite and MariaDB, whatever their collations fold, and the limiter of logins
// agree on which names are one.
func foldName(name string) string {
	return strings.Map(func(r rune) rune {
		least := r
		for f := unicode.SimpleFold(r); f != r; f = unicode.SimpleFold(f) {
			least = min(least, f)
		}
		return least
	}, strings.TrimRight(name, " "))
}

// named is a name with its key. Rows embed it, and execNamed fills in the key, so that none
// is stored without the other.
type named struct {
	Name    string `db:"name"`
	NameKey string `db:"name_key"`
}

func (n *named) settleKey() { n.NameKey = foldName(n.Name) }

// named reads a resource's name, without the blanks around it that Keystone drops too.
func (f *fields) named() named { return named{Name: strings.TrimSpace(f.name("name"))} }

// execNamed runs a statement with a row's members for its values.
func execNamed(ctx context.Context, tx namedExecer, statement string, row any) error {
	if n, ok := row.(interface{ settleKey() }); ok {
		n.settleKey()
	}
	_, err := tx.NamedExecContext(ctx, statement, row)
	return err
}

// keyedTables are those whose rows have a name's key.
var keyedTables = []string{"identity_domains", "identity_projects", "identity_users", "identity_groups", "identity_roles", "identity_app_credentials"}

const (
	selectKeyless = `SELECT id, name FROM %s WHERE name_key IS NULL ORDER BY created_at, id`
	updateKey     = `UPDATE %s SET name_key = ? WHERE id = ?`
)

// fillKeys makes the keys of rows that were written before there were any, or by a process
// of such a release. Of two names that have become one the older keeps it; the other is
// still found by its id, and an administrator can rename it.
func (s *Service) fillKeys(ctx context.Context) error {
	for _, table := range keyedTables {
		var rows []roleName
		err := s.db.SelectContext(ctx, &rows, fmt.Sprintf(selectKeyless, table))
		if err != nil {
			return fmt.Errorf("read names without keys: %w", err)
		}
		for _, row := range rows {
			err = s.fillKey(ctx, table, row)
			if err != nil { // one row must not keep the others from being found
				slog.ErrorContext(ctx, "making the key of a name failed", "table", table, "id", row.ID, "err", err)
			}
		}
	}
	return nil
}

func (s *Service) fillKey(ctx context.Context, table string, row roleName) error {
	set := func(key string) error {
		return s.db.Tx(ctx, func(tx *schema.Tx) error {
			_, err := tx.ExecContext(ctx, fmt.Sprintf(updateKey, table), key, row.ID)
			return err
		})
	}
	err := set(foldName(row.Name))
	if !schema.Duplicate(err) {
		return err
	}
	slog.WarnContext(ctx, "two names are one; the newer resource is found by its id alone until it is renamed",
		"table", table, "id", row.ID, "name", row.Name)
	return set("\x00" + row.ID) // no name holds such a character
}

// namedExecer is a transaction, or a change.
type namedExecer interface {
	NamedExecContext(ctx context.Context, query string, arg any) (sql.Result, error)
}
