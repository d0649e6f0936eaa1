package schema

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/go-sql-driver/mysql"
)

// hostView is a table as a host's account sees it: some columns of the host's own rows, of
// which it may change some. The view has the table's name, so that computed's statements
// are the same on both.
type hostView struct {
	table   string
	columns []string // seen
	writes  []string // changed
	where   string   // beside the row filter; what a change must keep true
}

// hostViews are all that a compute host can reach of the database. What a host decides is
// not in it: vm_state, generation, host, quota, capacity and ratios are the API's.
var hostViews = []hostView{
	{table: "work",
		columns: []string{"id", "host", "server_uuid", "kind", "args", "generation", "state", "claimed_by", "lease_until", "attempts", "phase", "deadline"},
		writes:  []string{"state", "claimed_by", "lease_until", "attempts", "phase", "result", "started_at", "finished_at"},
		where:   "t.host = {host} AND t.state IN ('queued', 'running', 'done', 'failed')"},
	{table: "servers",
		columns: []string{"uuid", "host", "vm_state", "task_state", "power_state", "generation", "deleted"},
		writes:  []string{"power_state", "task_state"},
		where:   "t.host = {host}"},
	{table: "hosts",
		columns: []string{"name", "started_at"},
		writes: []string{"hypervisor_hostname", "hypervisor_type", "hypervisor_version", "host_ip", "arch", "cpu_info", "vcpus",
			"memory_mb", "disk_gb", "disk_available_gb", "uptime", "doorbell", "last_seen", "started_at"},
		where: "t.name = {host}"},
}

// Credentials are a host's way into the database.
type Credentials struct {
	User, Password string
	Database, Addr string
}

// DSN gives the address that `kilonova computed --db` takes. It holds the password.
func (c Credentials) DSN() string {
	return fmt.Sprintf("%s:%s@tcp(%s)/%s", c.User, c.Password, c.Addr, c.Database)
}

// String hides the password.
func (c Credentials) String() string {
	return fmt.Sprintf("%s@%s/%s", c.User, c.Addr, c.Database)
}

// errNoAccounts is what SQLite, which has no accounts, answers to all of this.
var errNoAccounts = errors.New("host accounts need MariaDB or MySQL: on SQLite the host runs inside `kilonova up`")

var originForm = regexp.MustCompile(`^[A-Za-z0-9.:%_/-]{1,255}$`)

// AddHostAccount makes a database account for a host, which may log in from the addresses
// that origin matches ("%" is any). The account reaches the host's own rows alone, through
// the views of the host database. An older account of the host goes on until
// RemoveHostAccount.
func AddHostAccount(ctx context.Context, db *DB, host, origin string) (Credentials, error) {
	if db.Dialect != MySQL {
		return Credentials{}, errNoAccounts
	}
	if !originForm.MatchString(origin) {
		return Credentials{}, fmt.Errorf("%q is not an address pattern", origin)
	}
	main, addr, err := whereAmI(ctx, db)
	if err != nil {
		return Credentials{}, err
	}
	err = makeHostViews(ctx, db, main)
	if err != nil {
		return Credentials{}, err
	}
	c := Credentials{User: "kn_" + randomHex(6), Password: randomHex(20), Database: main + "_host", Addr: addr}
	account := fmt.Sprintf("'%s'@'%s'", c.User, origin)
	// The mapping comes first: an account without one sees no row at all.
	_, err = db.ExecContext(ctx, "INSERT INTO host_accounts (account, host, origin, created_at) VALUES (?, ?, ?, ?)", c.User, host, origin, Clock(nil).Now())
	if err != nil {
		return Credentials{}, fmt.Errorf("map the account of host %s: %w", host, err)
	}
	for _, st := range append([]string{"CREATE USER " + account + " IDENTIFIED BY '" + c.Password + "'"}, grants(c.Database, account)...) {
		_, err = db.ExecContext(ctx, st)
		if err != nil {
			return Credentials{}, fmt.Errorf("make the account of host %s: %w", host, withoutSecret(err, c.Password))
		}
	}
	return c, nil
}

// grants are what an account may do with the views.
func grants(database, account string) []string {
	var out []string
	for _, v := range hostViews {
		out = append(out, fmt.Sprintf("GRANT SELECT (%s), UPDATE (%s) ON `%s`.`%s` TO %s",
			strings.Join(v.columns, ", "), strings.Join(v.writes, ", "), database, v.table, account))
	}
	return out
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

// owner is the account as which the views read and write. Nobody can log in as it.
func owner(main string) string { return "`kn_" + main + "`@`localhost`" }

// makeHostViews makes or renews the host database: after a migration the views must list
// the columns that this binary's hosts use.
func makeHostViews(ctx context.Context, db *DB, main string) error {
	statements := []string{
		"CREATE DATABASE IF NOT EXISTS `" + main + "_host`",
		"CREATE USER IF NOT EXISTS " + owner(main) + " IDENTIFIED BY '" + randomHex(20) + "' ACCOUNT LOCK",
		"GRANT SELECT ON `" + main + "`.`host_accounts` TO " + owner(main),
	}
	collation, err := db.collation(ctx)
	if err != nil {
		return err
	}
	me := "(SELECT a.host FROM `%s`.host_accounts a WHERE a.account = CONVERT(SUBSTRING_INDEX(USER(), '@', 1) USING utf8mb4) COLLATE " + collation + ")"
	for _, v := range hostViews {
		var columns []string
		seen := map[string]bool{}
		for _, c := range append(append([]string{}, v.columns...), v.writes...) {
			if !seen[c] {
				seen[c] = true
				columns = append(columns, "t."+c)
			}
		}
		statements = append(statements,
			fmt.Sprintf("GRANT SELECT, UPDATE ON `%s`.`%s` TO %s", main, v.table, owner(main)),
			fmt.Sprintf("CREATE OR REPLACE DEFINER = %s SQL SECURITY DEFINER VIEW `%s_host`.`%s` AS SELECT %s FROM `%s`.`%s` t WHERE %s WITH CASCADED CHECK OPTION",
				owner(main), main, v.table, strings.Join(columns, ", "), main, v.table, strings.ReplaceAll(v.where, "{host}", fmt.Sprintf(me, main))))
	}
	for _, st := range statements {
		_, err := db.ExecContext(ctx, st)
		if err != nil {
			return fmt.Errorf("make the views of hosts: %w", err)
		}
	}
	return nil
}

// RefreshHostViews renews the views of hosts, and what their accounts may do with them,
// after a migration, where there are any. An account that may not do that leaves them as
// they are: `kilonova db migrate` with one that may must run before new hosts do.
func (db *DB) RefreshHostViews(ctx context.Context) error {
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
	err = makeHostViews(ctx, db, main)
	for _, a := range accounts {
		for _, st := range grants(main+"_host", fmt.Sprintf("'%s'@'%s'", a.Account, a.Origin)) {
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

// RemoveHostAccount ends all accounts of a host. A daemon that is logged in sees no row any
// more from that moment. With the last account goes the host database.
func RemoveHostAccount(ctx context.Context, db *DB, host string) error {
	if db.Dialect != MySQL {
		return nil
	}
	all, err := ListHostAccounts(ctx, db)
	if err != nil {
		return err
	}
	left := len(all)
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
	}
	if left > 0 || len(all) == 0 {
		return nil
	}
	main, _, err := whereAmI(ctx, db)
	if err == nil {
		_, err = db.ExecContext(ctx, "DROP DATABASE IF EXISTS `"+main+"_host`")
	}
	if err == nil {
		_, err = db.ExecContext(ctx, "DROP USER IF EXISTS "+owner(main))
	}
	if err != nil {
		return fmt.Errorf("remove the host database: %w", err)
	}
	return nil
}
