package schema

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"
	"github.com/jmoiron/sqlx"
)

// What a session of a host may be seen doing. A call takes milliseconds and leaves nothing
// open, so whatever is beyond these figures is not computed's.
const (
	watchEvery      = 250 * time.Millisecond
	longestCall     = 4        // seconds
	longestOpen     = 2        // seconds: a transaction, which keeps old rows alive
	largestSession  = 32 << 20 // bytes; MariaDB tells
	watchProcedure  = "`kn_watch`"
	noSuchProcedure = 1305
	noExecute       = 1370
)

// makeWatch makes the procedure by which the API ends sessions of hosts. Its owner has the
// two privileges that it takes; nobody can log in as it, and the procedure takes no argument.
func makeWatch(ctx context.Context, conn *sqlx.Conn, main, collation string) error {
	var version string
	err := conn.GetContext(ctx, &version, "SELECT VERSION()")
	if err != nil {
		return fmt.Errorf("ask for the server's version: %w", err)
	}
	killer, memory := "CONNECTION_ADMIN", ""
	if strings.Contains(version, "MariaDB") {
		killer, memory = "CONNECTION ADMIN", fmt.Sprintf(" OR p.memory_used > %d", largestSession)
	}
	_, err = conn.ExecContext(ctx, "GRANT PROCESS, "+killer+" ON *.* TO "+owner(main))
	if denied(err) {
		slog.WarnContext(ctx, "nobody will end idle and long sessions of hosts' database accounts: this account may not give the privileges PROCESS and "+killer)
		return nil
	}
	if err != nil {
		return fmt.Errorf("make the watch over hosts: %w", err)
	}
	err = renew(ctx, conn, main, "kn_watch", func(comment string) string {
		return fmt.Sprintf(`CREATE DEFINER = %s PROCEDURE `+"`%s`."+watchProcedure+`()
SQL SECURITY DEFINER MODIFIES SQL DATA COMMENT '%s'
BEGIN
DECLARE v_done INT DEFAULT 0;
DECLARE v_ended INT DEFAULT 0;
DECLARE v_id BIGINT;
DECLARE c CURSOR FOR
  SELECT p.id FROM information_schema.processlist p LEFT JOIN information_schema.innodb_trx x ON x.trx_mysql_thread_id = p.id
  WHERE CONVERT(p.user USING utf8mb4) COLLATE %s IN (SELECT a.account FROM `+"`%s`"+`.host_accounts a)
    AND ((p.command <> 'Sleep' AND p.time >= %d) OR x.trx_started < NOW() - INTERVAL %d SECOND%s);
DECLARE CONTINUE HANDLER FOR NOT FOUND SET v_done = 1;
DECLARE CONTINUE HANDLER FOR 1094 SET v_ended = v_ended - 1;
SET time_zone = 'SYSTEM';
OPEN c;
ends: LOOP
  FETCH c INTO v_id;
  IF v_done THEN LEAVE ends; END IF;
  SET v_ended = v_ended + 1;
  KILL v_id;
END LOOP;
CLOSE c;
SELECT v_ended;
END`, owner(main), main, comment, collation, main, longestCall, longestOpen, memory)
	})
	if err != nil {
		return err
	}
	// As for the calls of hosts, the owner must be allowed to run what runs as it.
	_, err = conn.ExecContext(ctx, fmt.Sprintf("GRANT EXECUTE ON PROCEDURE `%s`."+watchProcedure+" TO %s", main, owner(main)))
	if err != nil {
		return fmt.Errorf("make the watch over hosts: %w", err)
	}
	return nil
}

// WatchHostAccounts ends sessions of hosts' accounts that keep a transaction open, run a
// long statement or have grown large, until ctx ends. It has a connection of its own, so that
// nothing which such a session holds up can hold it up. Each API process runs it.
func (db *DB) WatchHostAccounts(ctx context.Context, log *slog.Logger) {
	if db.Dialect != MySQL || db.hostAccount {
		return
	}
	conns, err := pool(db.config.Clone(), 1)
	if err != nil {
		log.WarnContext(ctx, "watch over hosts' database sessions", "err", err)
		return
	}
	defer conns.Close()
	told := ""
	for ctx.Err() == nil {
		wait := watchEvery
		ended, err := watchOnce(ctx, conns)
		var my *mysql.MySQLError
		switch {
		case errors.As(err, &my) && my.Number == noSuchProcedure:
			wait = 40 * watchEvery // no host has an account yet
		case err != nil && ctx.Err() == nil && err.Error() != told:
			told = err.Error()
			log.WarnContext(ctx, "watch over hosts' database sessions", "err", err)
		case ended > 0:
			log.WarnContext(ctx, "ended database sessions of hosts that held a transaction, a long statement or much memory", "sessions", ended)
		}
		select {
		case <-ctx.Done():
		case <-time.After(wait):
		}
	}
}

func watchOnce(ctx context.Context, conns *sqlx.DB) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, 40*watchEvery)
	defer cancel()
	var ended int
	err := conns.GetContext(ctx, &ended, "CALL "+watchProcedure+"()")
	return ended, err
}
