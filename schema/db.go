package schema

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
	"github.com/mattn/go-sqlite3"

	"kilonova/private"
)

// Dialect is the kind of database behind a DB.
type Dialect string

// The dialects that kilonova runs on. MySQL stands for MariaDB and MySQL.
const (
	SQLite Dialect = "sqlite3"
	MySQL  Dialect = "mysql"
)

// DB is the database, which knows its dialect. All packages share one.
//
// Reads go through the embedded sqlx.DB. Writes go through Tx, or, when they are one
// statement, through ExecContext and NamedExecContext: all three try again after what
// Transient knows. Nothing else writes. On MariaDB and MySQL writes have a pool of their own,
// so that no number of writers who wait for each other keeps a read waiting for a connection;
// on SQLite they have one connection, by turns (see writer).
type DB struct {
	*sqlx.DB
	Dialect     Dialect
	writer      *writer // of SQLite
	spare       *spare  // of SQLite
	reads       readStatements
	writes      *sqlx.DB      // of MariaDB and MySQL; nil where all share one pool
	config      *mysql.Config // nil on SQLite
	addr        string        // where the server is, for the accounts of hosts; "" on SQLite
	hostAccount bool          // this is the account of a host, which has calls and nothing else
}

// Exec is ExecContext of a caller that has no context.
func (db *DB) Exec(query string, args ...any) (sql.Result, error) {
	return db.ExecContext(context.Background(), query, args...)
}

// Server is the host and port of the database, "" of an SQLite file.
func (db *DB) Server() string { return db.addr }

// Plain reports whether what is said to the database goes over a network as it is.
func (db *DB) Plain() bool {
	if db.config == nil || db.config.Net != "tcp" || db.config.TLSConfig != "" {
		return false
	}
	host, _, err := net.SplitHostPort(db.addr)
	ip := net.ParseIP(host)
	return err != nil || host != "localhost" && (ip == nil || !ip.IsLoopback())
}

// writePool is the pool of writes where there is no writer.
func (db *DB) writePool() *sqlx.DB {
	if db.writes == nil {
		return db.DB
	}
	return db.writes
}

// Close ends all connections.
func (db *DB) Close() error {
	var err error
	if db.writer != nil {
		err = db.writer.close()
	}
	if db.writes != nil {
		err = errors.Join(err, db.writes.Close())
	}
	err = errors.Join(err, db.DB.Close())
	if db.spare != nil {
		db.spare.closed()
	}
	return err
}

// Narrow leaves the database one connection for everything, as a test wants it: whoever
// takes a second one inside a transaction then waits for ever.
func (db *DB) Narrow() {
	db.SetMaxOpenConns(1)
	if db.writer != nil {
		db.writer.narrow = func(ctx context.Context) (func(), error) {
			conn, err := db.DB.Connx(ctx)
			if err != nil {
				return nil, err
			}
			return func() { _ = conn.Close() }, nil // it goes back to the pool
		}
		return
	}
	if db.writes != nil {
		_ = db.writes.Close() // it was just opened: nothing runs on it
		db.writes = nil
	}
}

// sqliteDriver is mattn's driver with REGEXP, which SQLite leaves to the program, and a LOWER
// that knows more letters than those of ASCII, as MariaDB's does.
const sqliteDriver = "sqlite3_kilonova"

func init() {
	sql.Register(sqliteDriver, &sqlite3.SQLiteDriver{
		ConnectHook: func(c *sqlite3.SQLiteConn) error {
			return errors.Join(c.RegisterFunc("regexp", matches, true), c.RegisterFunc("lower", lower, true))
		},
	})
	sqlx.BindDriver(sqliteDriver, sqlx.QUESTION)
}

// lower is LOWER(x).
func lower(x any) any {
	text, ok := x.(string)
	if !ok {
		return x
	}
	return strings.ToLower(text)
}

// matches is x REGEXP pattern. Go's engine takes time linear in the input whatever the
// pattern is, so a hostile one costs no more than a long one.
func matches(pattern, x string) (bool, error) {
	re, err := compileCached(pattern)
	if err != nil {
		return false, err
	}
	return re.MatchString(x), nil
}

// Open opens the database that dsn names: "mysql://user:pw@host:port/name" or the driver's
// own user:pw@tcp(host:port)/name form for MariaDB and MySQL, anything else is the path of
// an SQLite file ("sqlite:PATH" too). It does not migrate.
func Open(ctx context.Context, dsn string) (*DB, error) {
	if isMySQL(dsn) {
		db, err := openMySQL(ctx, dsn)
		return db, withoutPassword(err, dsn)
	}
	if !strings.HasPrefix(dsn, "sqlite:") && mistyped.MatchString(dsn) {
		return nil, errAddress
	}
	return openSQLite(ctx, strings.TrimPrefix(strings.TrimPrefix(dsn, "sqlite:"), "//"))
}

// mistyped matches an address with an account that is no database's. It must not become a
// file whose name is a password.
var mistyped = regexp.MustCompile(`^[^/.][^/]*:.*@|^[a-z]+://`)

// IsFile reports whether an address is that of an SQLite file, as none is.
func IsFile(dsn string) bool { return !isMySQL(dsn) }

// FilePath is where the SQLite file of an address is, in its own name whatever links lead to
// it; "" for an address that is none of one.
func FilePath(dsn string) string {
	if isMySQL(dsn) {
		return ""
	}
	path := strings.TrimPrefix(strings.TrimPrefix(dsn, "sqlite:"), "//")
	if own, err := filepath.EvalSymlinks(path); err == nil {
		path = own
	}
	return path
}

func isMySQL(dsn string) bool {
	return strings.HasPrefix(dsn, "mysql:") || strings.Contains(dsn, "@tcp(") || strings.Contains(dsn, "@unix(")
}

// closeSQLite keeps the files of a database from other accounts. SQLite gives those that it
// makes beside the database the mode of that.
func closeSQLite(path string) error {
	_, err := os.Stat(filepath.Dir(path))
	if errors.Is(err, fs.ErrNotExist) {
		err = private.MakeDir(filepath.Dir(path), private.Dir)
	}
	if err != nil {
		return fmt.Errorf("make the database folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, private.File)
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	err = f.Close()
	if err != nil {
		return fmt.Errorf("open %s: %w", path, err)
	}
	for _, end := range []string{"", "-wal", "-shm", "-journal"} {
		err := private.Close(path+end, private.File)
		if err != nil { // another account's file: it serves, and doctor says what is wrong with it
			slog.Warn("the database can be read by others", "err", err)
		}
	}
	return nil
}

func openSQLite(ctx context.Context, path string) (*DB, error) {
	spare, err := newSpare(path)
	if err != nil {
		return nil, err
	}
	spare.opening()
	err = closeSQLite(path)
	if err != nil {
		return nil, err
	}
	address := sqliteAddress(path)
	db, err := sqlx.Open(sqliteDriver, address)
	if err != nil {
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	// More connections than this only add memory: readers are quick.
	db.SetMaxOpenConns(8)
	db.SetMaxIdleConns(8)
	err = db.PingContext(ctx)
	if err != nil {
		_ = db.Close() // the first error is the one to tell
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	writes, err := sqlx.Open(sqliteDriver, address)
	if err != nil {
		_ = db.Close() // as above
		return nil, fmt.Errorf("open %s: %w", path, err)
	}
	writes.SetMaxOpenConns(1)
	writes.SetMaxIdleConns(1)
	return &DB{DB: db, Dialect: SQLite, spare: spare, writer: &writer{path: path, pool: writes, patience: groupTime, spare: spare, log: logFor(spare.disk)}}, nil
}

// sqliteAddress is the driver's address of the file at path. A commit is on the disk when it
// returns. An immediate transaction never upgrades a read lock, so that processes that write
// queue instead of failing.
func sqliteAddress(path string) string {
	q := url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_busy_timeout": {"10000"},
		"_txlock": {"immediate"}, "_foreign_keys": {"1"}, "_cache_size": {"-8000"},
	}
	return "file:" + url.PathEscape(path) + "?" + q.Encode()
}

// hostDatabase is how the names of databases end in which hosts' accounts have their calls.
const hostDatabase = "_host"

// How many connections a process has at most. Reads and writes have each their own; the
// daemon of a host needs few, and its account may not have many more.
const (
	mysqlReads  = 20
	mysqlWrites = 16
	hostConns   = 4
)

// How long a statement waits for the locks of others. They are held for milliseconds: one
// that takes longer is tried again, and nothing queues behind it meanwhile.
const (
	rowLockWait   = "4"  // seconds
	hostLockWait  = "2"  // seconds; less than a session of a host may take for a call
	tableLockWait = "30" // seconds; a migration is under way
)

// longestSilence is how long the server may say nothing to a statement before the connection
// is given up: a machine that froze hangs up nowhere. It is longer than any wait for a lock.
const longestSilence = 40 * time.Second

func openMySQL(ctx context.Context, dsn string) (*DB, error) {
	cfg, err := mysqlConfig(dsn)
	if err != nil {
		return nil, err
	}
	db := &DB{Dialect: MySQL, addr: cfg.Addr, config: cfg.Clone(), hostAccount: strings.HasSuffix(cfg.DBName, hostDatabase)}
	reads, rows := hostConns, hostLockWait
	if !db.hostAccount {
		reads, rows = mysqlReads, rowLockWait
	}
	setParam(cfg, "innodb_lock_wait_timeout", rows)
	setParam(cfg, "lock_wait_timeout", tableLockWait)
	if cfg.ReadTimeout == 0 {
		cfg.ReadTimeout, cfg.WriteTimeout = longestSilence, longestSilence
	}
	db.DB, err = pool(cfg, reads)
	if err != nil {
		return nil, err
	}
	if !db.hostAccount {
		db.writes, err = pool(cfg, mysqlWrites)
	}
	if err == nil {
		err = db.PingContext(ctx)
	}
	if err != nil {
		_ = db.DB.Close() // the first error is the one to tell
		return nil, fmt.Errorf("reach the database at %s: %w", cfg.Addr, err)
	}
	return db, nil
}

func pool(cfg *mysql.Config, size int) (*sqlx.DB, error) {
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		return nil, fmt.Errorf("database address: %w", err)
	}
	db := sqlx.NewDb(sql.OpenDB(reaching{connector}), "mysql")
	db.SetMaxOpenConns(size)
	// What is open stays open for a while: to log in costs the server more than most
	// statements, hosts may do so a number of times, and a flood may leave no room for it.
	db.SetMaxIdleConns(size)
	db.SetConnMaxIdleTime(5 * time.Minute)
	db.SetConnMaxLifetime(30 * time.Minute)
	return db, nil
}

// setParam sets a variable of each session, unless the address does.
func setParam(cfg *mysql.Config, name, value string) {
	if cfg.Params == nil {
		cfg.Params = map[string]string{}
	}
	if _, set := cfg.Params[name]; !set {
		cfg.Params[name] = value
	}
}

// errAddress is all that is said of an address that cannot be read: a parser's message would
// quote it, and perhaps its password.
var errAddress = errors.New("the database address has none of the forms user:password@tcp(host:port)/name, mysql://user:password@host:port/name and the path of an SQLite file")

// mysqlConfig parses both forms of address and sets what kilonova relies on: affected rows
// are matched rows, as on SQLite, and small queries need no round trip to be prepared.
func mysqlConfig(dsn string) (*mysql.Config, error) {
	cfg, err := mysqlAddress(dsn)
	if err != nil {
		return nil, errAddress
	}
	cfg.ClientFoundRows = true
	cfg.InterpolateParams = true
	cfg.ParseTime = true
	cfg.Loc = time.UTC
	cfg.Collation = "utf8mb4_bin"
	if cfg.Timeout == 0 {
		cfg.Timeout = 10 * time.Second
	}
	return cfg, nil
}

func mysqlAddress(dsn string) (*mysql.Config, error) {
	if !strings.HasPrefix(dsn, "mysql://") {
		return mysql.ParseDSN(strings.TrimPrefix(dsn, "mysql:"))
	}
	u, err := url.Parse(dsn)
	if err != nil {
		return nil, err
	}
	rest := "tcp(" + u.Host + ")" + u.Path
	if u.RawQuery != "" {
		rest += "?" + u.RawQuery
	}
	cfg, err := mysql.ParseDSN(rest)
	if err != nil {
		return nil, err
	}
	cfg.User = u.User.Username()
	cfg.Passwd, _ = u.User.Password()
	return cfg, nil
}

// passwordOf matches what may be the password of an address, whatever is wrong with the rest.
var passwordOf = regexp.MustCompile(`^(?:mysql:(?://)?)?[^:]*:(.*)@`)

// withoutPassword keeps the password of an address out of what is said of it.
func withoutPassword(err error, dsn string) error {
	m := passwordOf.FindStringSubmatch(dsn)
	if err == nil || m == nil || m[1] == "" {
		return err
	}
	plain, unescapeErr := url.PathUnescape(m[1])
	if unescapeErr == nil && plain != "" {
		err = withoutSecret(err, plain)
	}
	return withoutSecret(err, m[1])
}
