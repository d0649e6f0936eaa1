package schema

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"

	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
)

// Credentials are a host's way into the database.
type Credentials struct {
	User, Password string
	Database, Addr string
	TLS            string // how the driver shall use TLS, "" for not at all
}

// DSN gives the address that `kilonova computed --db` takes. It holds the password.
func (c Credentials) DSN() string {
	dsn := fmt.Sprintf("%s:%s@tcp(%s)/%s", c.User, c.Password, c.Addr, c.Database)
	if c.TLS != "" {
		dsn += "?tls=" + url.QueryEscape(c.TLS)
	}
	return dsn
}

// String hides the password.
func (c Credentials) String() string {
	return fmt.Sprintf("%s@%s/%s", c.User, c.Addr, c.Database)
}

// ErrNoAccounts is what SQLite, which has no accounts, answers to all of this.
var ErrNoAccounts = errors.New("host accounts need MariaDB or MySQL: on SQLite the host runs inside `kilonova up`")

var originForm = regexp.MustCompile(`^[A-Za-z0-9.:%_/-]{1,255}$`)

// AddHostAccount makes a database account for a host, which may log in from the addresses
// that origin matches ("%" is any). The account reaches the host's own rows alone, through
// the calls of the host database. An older account of the host goes on until
// RemoveHostAccount.
func AddHostAccount(ctx context.Context, db *DB, host, origin string) (Credentials, error) {
	if db.Dialect != MySQL {
		return Credentials{}, ErrNoAccounts
	}
	if !originForm.MatchString(origin) {
		return Credentials{}, fmt.Errorf("%q is not an address pattern", origin)
	}
	main, addr, err := whereAmI(ctx, db)
	if err != nil {
		return Credentials{}, err
	}
	err = makeHostCalls(ctx, db, main)
	if err != nil {
		return Credentials{}, err
	}
	c := Credentials{User: "kn_" + randomHex(6), Password: randomHex(20), Database: main + hostDatabase, Addr: addr, TLS: db.config.TLSConfig}
	account := fmt.Sprintf("'%s'@'%s'", c.User, origin)
	// The mapping comes first: an account without one sees no row at all.
	_, err = db.ExecContext(ctx, "INSERT INTO host_accounts (account, host, origin, created_at) VALUES (?, ?, ?, ?)", c.User, host, origin, Clock(nil).Now())
	if err != nil {
		return Credentials{}, fmt.Errorf("map the account of host %s: %w", host, err)
	}
	for _, st := range []string{
		"CREATE USER " + account + " IDENTIFIED BY '" + c.Password + "' WITH " + accountLimits,
		grant(c.Database, account),
	} {
		_, err = db.ExecContext(ctx, st)
		if err != nil {
			return Credentials{}, fmt.Errorf("make the account of host %s: %w", host, withoutSecret(err, c.Password))
		}
	}
	return c, nil
}

// accountLimits bound what an account may ask of the server, which no session can lift.
// What a session can lift, and what it leaves open, WatchHostAccounts ends.
const accountLimits = "MAX_USER_CONNECTIONS 10 MAX_CONNECTIONS_PER_HOUR 3600"

// grant is all that an account may do: call the procedures of the host database.
func grant(database, account string) string {
	return fmt.Sprintf("GRANT EXECUTE ON `%s`.* TO %s", database, account)
}

func withoutSecret(err error, secret string) error {
	if strings.Contains(err.Error(), secret) {
		return errors.New(strings.ReplaceAll(err.Error(), secret, "***"))
	}
	return err
}

func randomHex(n int) string {
	raw := make([]byte, n)
	_, _ = rand.Read(raw) // it never fails: the runtime stops the process first
	return hex.EncodeToString(raw)
}

var databaseForm = regexp.MustCompile(`^[A-Za-z0-9_]{1,58}$`)

// whereAmI gives the database's name and the address that this process reached it at.
func whereAmI(ctx context.Context, db *DB) (name, addr string, err error) {
	err = db.GetContext(ctx, &name, "SELECT COALESCE(DATABASE(), '')")
	if err != nil {
		return "", "", fmt.Errorf("ask for the database's name: %w", err)
	}
	if !databaseForm.MatchString(name) {
		return "", "", fmt.Errorf("the database's name %q does not suit host accounts: use letters, digits and _", name)
	}
	return name, db.addr, nil
}

// owner is the account as which the calls read and write. Nobody can log in as it.
func owner(main string) string { return "`kn_" + main + "`@`localhost`" }

// hostTables are the tables that the calls of hosts read and write.
var hostTables = []string{"work", "servers", "hosts"}

// makeHostCalls makes or renews the host database: after a migration its procedures must be
// those of this binary.
func makeHostCalls(ctx context.Context, db *DB, main string) error {
	conn, err := db.writePool().Connx(ctx)
	if err != nil {
		return fmt.Errorf("make the calls of hosts: %w", err)
	}
	defer conn.Close()
	collation, err := db.collation(ctx)
	if err != nil {
		return err
	}
	var binlog string
	err = conn.GetContext(ctx, &binlog, "SELECT CONCAT(@@log_bin, @@binlog_format)")
	if err != nil {
		return fmt.Errorf("ask for the binary log's format: %w", err)
	}
	if binlog == "1STATEMENT" {
		return errors.New("the database logs statements: calls of hosts lock their own rows alone, which needs binlog_format MIXED or ROW")
	}
	// A procedure keeps the mode that it was made in: what is out of range is an error in this one.
	_, err = conn.ExecContext(ctx, "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION,ERROR_FOR_DIVISION_BY_ZERO'")
	if err != nil {
		return fmt.Errorf("make the calls of hosts: %w", err)
	}
	defer func() { _, _ = conn.ExecContext(context.WithoutCancel(ctx), "SET SESSION sql_mode = DEFAULT") }() // the connection goes back to the others
	statements := []string{
		"CREATE DATABASE IF NOT EXISTS `" + main + hostDatabase + "`",
		"ALTER DATABASE `" + main + hostDatabase + "` CHARACTER SET utf8mb4 COLLATE " + collation, // the arguments' is that of the columns
		"CREATE USER IF NOT EXISTS " + owner(main) + " IDENTIFIED BY '" + randomHex(20) + "' ACCOUNT LOCK",
		"GRANT SELECT ON `" + main + "`.`host_accounts` TO " + owner(main),
		"GRANT EXECUTE ON `" + main + hostDatabase + "`.* TO " + owner(main),
	}
	for _, table := range hostTables {
		statements = append(statements, fmt.Sprintf("GRANT SELECT, UPDATE ON `%s`.`%s` TO %s", main, table, owner(main)),
			// Accounts of an earlier form had views of these names.
			"DROP VIEW IF EXISTS `"+main+hostDatabase+"`.`"+table+"`")
	}
	for _, st := range statements {
		_, err := conn.ExecContext(ctx, st)
		if err != nil {
			return fmt.Errorf("make the calls of hosts: %w", err)
		}
	}
	for _, c := range hostCalls {
		err := renew(ctx, conn, main+hostDatabase, c.procedure(), func(comment string) string { return c.create(main, collation, comment) })
		if err != nil {
			return err
		}
	}
	return makeWatch(ctx, conn, main, collation)
}

const selectComment = `SELECT COALESCE(MAX(routine_comment), '') FROM information_schema.routines WHERE routine_schema = ? AND routine_name = ?`

// renew makes a procedure unless it is there in just this form. Its comment tells.
func renew(ctx context.Context, conn *sqlx.Conn, database, name string, create func(comment string) string) error {
	sum := sha256.Sum256([]byte(create("")))
	want, have := hex.EncodeToString(sum[:16]), ""
	err := conn.GetContext(ctx, &have, selectComment, database, name)
	if err != nil {
		return fmt.Errorf("look at procedure %s: %w", name, err)
	}
	if have == want {
		return nil
	}
	for _, st := range []string{"DROP PROCEDURE IF EXISTS `" + database + "`.`" + name + "`", create(want)} {
		_, err := conn.ExecContext(ctx, st)
		if err != nil {
			return fmt.Errorf("make procedure %s: %w", name, err)
		}
	}
	return nil
}

// RefreshHostAccounts renews the calls of hosts, and what their accounts may do, after a
// migration, where there are any. An account that may not do that leaves them as they are:
// `kilonova db migrate` with one that may must run before new hosts do.
func (db *DB) RefreshHostAccounts(ctx context.Context) error {
	if db.Dialect != MySQL {
		return nil
	}
	main, _, err := whereAmI(ctx, db)
	if err != nil {
		return nil //nolint:nilerr // a database of another name has no host accounts
	}
	accounts, err := ListHostAccounts(ctx, db)
	if err != nil || len(accounts) == 0 {
		return err
	}
	err = makeHostCalls(ctx, db, main)
	for _, a := range accounts {
		account := fmt.Sprintf("'%s'@'%s'", a.Account, a.Origin)
		for _, view := range hostTables {
			_, revokeErr := db.ExecContext(ctx, fmt.Sprintf("REVOKE ALL PRIVILEGES ON `%s`.`%s` FROM %s", main+hostDatabase, view, account))
			if revokeErr != nil && !noGrant(revokeErr) && err == nil {
				err = revokeErr
			}
		}
		for _, st := range []string{
			"ALTER USER " + account + " WITH " + accountLimits,
			grant(main+hostDatabase, account),
		} {
			if err == nil {
				_, err = db.ExecContext(ctx, st)
			}
		}
	}
	if denied(err) {
		return nil
	}
	return err
}

// noGrant reports whether there was nothing to revoke.
func noGrant(err error) bool {
	var my *mysql.MySQLError
	return errors.As(err, &my) && (my.Number == 1141 || my.Number == 1146 || my.Number == 1147)
}

// denied reports whether the database refused for lack of a privilege.
func denied(err error) bool {
	var my *mysql.MySQLError
	return errors.As(err, &my) && (my.Number == 1044 || my.Number == 1045 || my.Number == 1142 || my.Number == 1227 || my.Number == 1370 || my.Number == 1410)
}

// HostAccount is a host's database account.
type HostAccount struct {
	Account   string `db:"account"`
	Host      string `db:"host"`
	Origin    string `db:"origin"`
	CreatedAt Micros `db:"created_at"`
}

// ListHostAccounts lists the accounts of all hosts.
func ListHostAccounts(ctx context.Context, db *DB) ([]HostAccount, error) {
	var out []HostAccount
	err := db.SelectContext(ctx, &out, "SELECT account, host, origin, created_at FROM host_accounts ORDER BY host, account")
	if err != nil {
		return nil, fmt.Errorf("list host accounts: %w", err)
	}
	return out, nil
}

// RemoveHostAccount ends all accounts of a host, with the sessions that they have. With the
// last account goes the host database.
func RemoveHostAccount(ctx context.Context, db *DB, host string) error {
	if db.Dialect != MySQL {
		return nil
	}
	all, err := ListHostAccounts(ctx, db)
	if err != nil {
		return err
	}
	left := len(all)
	var gone []string
	for _, a := range all {
		if a.Host != host {
			continue
		}
		// The account goes first: while its mapping stands, a removal that was cut short can
		// be done again.
		_, err = db.ExecContext(ctx, fmt.Sprintf("DROP USER IF EXISTS '%s'@'%s'", a.Account, a.Origin))
		if err == nil {
			_, err = db.ExecContext(ctx, "DELETE FROM host_accounts WHERE account = ?", a.Account)
		}
		if err != nil {
			return fmt.Errorf("remove the account of host %s: %w", host, err)
		}
		left--
		gone = append(gone, a.Account)
	}
	ended := endSessions(ctx, db, gone)
	if ended != nil {
		ended = fmt.Errorf("the accounts of host %s are removed, but not their sessions: %w", host, ended)
	}
	if left > 0 || len(all) == 0 {
		return ended
	}
	main, _, err := whereAmI(ctx, db)
	if err == nil {
		_, err = db.ExecContext(ctx, "DROP DATABASE IF EXISTS `"+main+hostDatabase+"`")
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "DROP PROCEDURE IF EXISTS `"+main+"`."+watchProcedure)
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "DROP USER IF EXISTS "+owner(main))
	}
	if err != nil {
		return errors.Join(ended, fmt.Errorf("remove the host database: %w", err))
	}
	return ended
}

// selectSees counts the privilege to see the sessions of others.
const selectSees = `SELECT COUNT(*) FROM information_schema.user_privileges
WHERE grantee = CONCAT("'", REPLACE(CURRENT_USER(), '@', "'@'"), "'") AND privilege_type = 'PROCESS'`

// endSessions ends the sessions of accounts that are gone: they would go on without a call
// that they may make, and burn what the server has.
func endSessions(ctx context.Context, db *DB, accounts []string) error {
	if len(accounts) == 0 {
		return nil
	}
	var sees int
	err := db.GetContext(ctx, &sees, selectSees)
	if err != nil {
		return fmt.Errorf("ask what this account may do: %w", err)
	}
	if sees == 0 {
		return errors.New("this account may not see and end sessions (PROCESS, CONNECTION ADMIN): end them by hand")
	}
	query, args, err := sqlx.In("SELECT id FROM information_schema.processlist WHERE user IN (?)", accounts)
	if err != nil {
		return fmt.Errorf("look for sessions: %w", err)
	}
	var ids []int64
	err = db.SelectContext(ctx, &ids, query, args...)
	if err != nil {
		return fmt.Errorf("look for sessions: %w", err)
	}
	for _, id := range ids {
		_, err := db.ExecContext(ctx, fmt.Sprintf("KILL %d", id))
		var my *mysql.MySQLError
		if err != nil && !(errors.As(err, &my) && my.Number == noSuchSession) {
			return fmt.Errorf("end session %d: %w", id, err)
		}
	}
	return nil
}

// noSuchSession says that a session has ended by itself.
const noSuchSession = 1094
