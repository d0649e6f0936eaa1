package schema

import (
	"context"
	"fmt"
	"strings"
)

// What the server itself must hold against accounts of hosts, since every session may do it
// and no procedure is in the way.
const (
	// A session is ended when it holds largestSession, but a quarter of a second is long.
	mostMemory = 256 << 20
	// tryMemory is what any session may try.
	tryMemory = "SET SESSION max_session_mem_used = 18446744073709551615"

	selectEverybodys = `SELECT CONCAT(db, ' (', IF(user = '', 'an account without a name', user), ')') FROM mysql.db WHERE user IN ('', 'PUBLIC') ORDER BY 1`
)

// Exposed lists by which settings of the database a stolen account of a host could harm more
// than its host, each with what it should be.
func (db *DB) Exposed(ctx context.Context) ([]string, error) {
	if db.Dialect != MySQL {
		return nil, nil
	}
	var out []string
	conn, err := db.DB.DB.Conn(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the database's settings: %w", err)
	}
	defer conn.Close()
	var maria int
	err = conn.QueryRowContext(ctx, "SELECT VERSION() LIKE '%MariaDB%'").Scan(&maria)
	if err != nil {
		return nil, fmt.Errorf("read the database's settings: %w", err)
	}
	if maria == 1 {
		var usual, most float64
		err = conn.QueryRowContext(ctx, "SELECT @@global.max_session_mem_used").Scan(&usual)
		if err == nil {
			_, err = conn.ExecContext(ctx, tryMemory)
		}
		if err == nil {
			err = conn.QueryRowContext(ctx, "SELECT @@session.max_session_mem_used").Scan(&most)
		}
		if err == nil {
			_, err = conn.ExecContext(ctx, "SET SESSION max_session_mem_used = DEFAULT") // the connection goes back to the others
		}
		if err != nil {
			return nil, fmt.Errorf("read the database's settings: %w", err)
		}
		if usual > mostMemory || most > mostMemory {
			out = append(out, "a session may use all memory of the server: max_session_mem_used and maximum-max_session_mem_used are to be 128M")
		}
	}
	rows, err := conn.QueryContext(ctx, selectEverybodys)
	if denied(err) {
		return out, nil // it is not for this account to know
	}
	if err != nil {
		return nil, fmt.Errorf("read who may use the server's databases: %w", err)
	}
	defer rows.Close()
	var open []string
	for rows.Next() {
		var name string
		err := rows.Scan(&name)
		if err != nil {
			return nil, fmt.Errorf("read who may use the server's databases: %w", err)
		}
		open = append(open, name)
	}
	if len(open) > 0 {
		out = append(out, "every account has rights to databases, and can fill the server's disk: revoke those on "+strings.Join(open, ", "))
	}
	return out, rows.Err()
}
