package schema

import (
	"context"
	"fmt"
	"strings"
)

// durable are the settings of MariaDB and MySQL with which what was committed survives a
// power cut, why, and when they matter.
var durable = []struct {
	variable, want, why string
	matters             func(have map[string]string) bool
}{
	{"innodb_flush_log_at_trx_commit", "1", "commits of the last second are lost with the machine's power", nil},
	{"innodb_doublewrite", "ON", "a page that is half written when the power goes cannot be mended", nil},
	{"sync_binlog", "1", "replicas and backups may have other commits than the server after a power cut",
		func(have map[string]string) bool { return have["log_bin"] == "ON" }},
	{"innodb_support_xa", "ON", "the log of the database and the binary log may differ after a power cut", nil}, // gone since MariaDB 10.3
}

// Undurable lists the settings of the database by which answered requests can be lost, each
// with what it should be and why. SQLite is opened durably by this program itself.
func (db *DB) Undurable(ctx context.Context) ([]string, error) {
	if db.Dialect != MySQL {
		return nil, nil
	}
	var rows []struct {
		Name  string `db:"Variable_name"`
		Value string `db:"Value"`
	}
	err := db.SelectContext(ctx, &rows, `SHOW GLOBAL VARIABLES WHERE Variable_name IN
		('innodb_flush_log_at_trx_commit', 'innodb_doublewrite', 'sync_binlog', 'innodb_support_xa', 'log_bin')`)
	if err != nil {
		return nil, fmt.Errorf("read the database's settings: %w", err)
	}
	have := map[string]string{}
	for _, row := range rows {
		have[strings.ToLower(row.Name)] = strings.ToUpper(row.Value)
	}
	var out []string
	for _, d := range durable {
		value, set := have[d.variable]
		if !set || d.matters != nil && !d.matters(have) || holds(value, d.want) {
			continue
		}
		out = append(out, fmt.Sprintf("%s is %s, not %s: %s", d.variable, value, d.want, d.why))
	}
	return out, nil
}

// holds reports whether value is at least as durable as want.
func holds(value, want string) bool {
	switch want {
	case "ON":
		return value != "OFF" && value != "0"
	default:
		return value == want || want == "1" && value == "3" // MariaDB's 3 syncs twice
	}
}
