package schema_test

import (
	"context"
	"database/sql"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-sql-driver/mysql"

	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

// The tests of this file are what a host that was broken into might try with its database
// account. Each attempt is refused with an error or finds no row, and whatever it was, the
// rows of others stay as they are, unlocked.

// raid is a session of the account of the host "mine", and what the other host has.
type raid struct {
	*twoHosts
	*one
	t     *testing.T
	tries int
}

// othersDaemon and othersClaim are names that a thief may have learned.
const (
	othersDaemon = "machine-of-other/process"
	othersClaim  = "process-of-other"
)

const (
	ownWork    = 1
	othersWork = 2
)

func newRaid(t *testing.T) *raid {
	t.Helper()
	h := newTwoHosts(t)
	h.queue(t, "mine", ownServer, work.Stop)
	h.queue(t, "other", othersServer, work.Spawn)
	exec(t, h.wide, "UPDATE work SET state = 'running', claimed_by = ?, attempts = 1 WHERE host = 'other'", othersClaim)
	exec(t, h.wide, "UPDATE hosts SET daemon = ? WHERE name = 'other'", othersDaemon)
	exec(t, h.wide, "UPDATE hosts SET daemon = 'm/me' WHERE name = 'mine'")
	r := &raid{twoHosts: h, t: t, one: session(t, h.mine)}
	before := r.others()
	t.Cleanup(func() {
		if now := r.others(); now != before {
			was, is := strings.Split(before, "\n"), strings.Split(now, "\n")
			for i := range min(len(was), len(is)) {
				if was[i] != is[i] {
					t.Errorf("what others have has changed from\n%s to\n%s", was[i], is[i])
				}
			}
			if len(was) != len(is) {
				t.Errorf("what others have was %d lines, and is %d", len(was), len(is))
			}
		}
		t.Logf("%d attempts", r.tries)
	})
	return r
}

// others is all that the thief must not change, as text.
func (r *raid) others() string {
	r.t.Helper()
	var tables []string
	err := r.wide.Select(&tables, "SELECT table_name FROM information_schema.tables WHERE table_schema = ? AND table_name NOT IN ('work', 'servers', 'hosts', 'server_revisions') ORDER BY 1", r.main)
	if err != nil {
		r.t.Fatal(err)
	}
	var out strings.Builder
	add := func(what, query string) {
		rows, err := r.wide.Queryx(query)
		if err != nil {
			r.t.Fatal(err)
		}
		defer rows.Close()
		for rows.Next() {
			row, err := rows.SliceScan()
			if err != nil {
				r.t.Fatal(err)
			}
			fmt.Fprintf(&out, "%s: %v\n", what, row)
		}
	}
	for _, table := range tables {
		add("sum", "CHECKSUM TABLE "+table)
	}
	add("hosts", "SELECT * FROM hosts WHERE name <> 'mine'")
	add("servers", "SELECT * FROM servers WHERE host <> 'mine'")
	add("work", "SELECT * FROM work WHERE host <> 'mine'")
	add("revisions", "SELECT * FROM server_revisions WHERE server_uuid <> '"+ownServer+"'")
	add("own host", "SELECT id, uuid, name, vcpus_used, memory_mb_used, disk_gb_used, servers, cpu_ratio, ram_ratio, disk_ratio, zone, disabled, forced_down FROM hosts WHERE name = 'mine'")
	add("own server", "SELECT id, uuid, project_id, host, vm_state, generation, deleted, flavor_id, image_id FROM servers WHERE host = 'mine'")
	add("own work", "SELECT id, server_uuid, kind, args, generation, deadline, action_id FROM work WHERE host = 'mine'")
	add("accounts", "SELECT user, host, CONCAT(priv) FROM mysql.global_priv WHERE user IN ('root', 'kn_"+r.main+"', '"+r.neighbour()+"')")
	add("rights", "SELECT * FROM mysql.db WHERE user = '"+r.cred.User+"'")
	return out.String()
}

// neighbour is the name of another host's account.
func (r *raid) neighbour() string { return "kn_" + r.main[len(r.main)-12:] }

// run runs a statement and tells how many rows it gave or changed.
func (r *raid) run(stmt string) (int64, error) {
	word, _, _ := strings.Cut(stmt, " ")
	if slices.Contains([]string{"UPDATE", "DELETE", "INSERT", "REPLACE", "LOAD"}, word) {
		res, err := r.ExecContext(context.Background(), stmt)
		if err != nil {
			return 0, err
		}
		return res.RowsAffected()
	}
	rows, err := r.QueryContext(context.Background(), stmt)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	columns, err := rows.Columns()
	if err != nil {
		return 0, err
	}
	var n int64
	for rows.Next() {
		n++
		if len(columns) == 1 && columns[0] == "v_found" { // a call that tells whether it found its row
			err := rows.Scan(&n)
			if err != nil {
				return 0, err
			}
		}
	}
	return n, rows.Err()
}

// refused tries a statement that must fail or find nothing.
func (r *raid) refused(name, stmt string) {
	r.t.Helper()
	r.tries++
	n, err := r.run(stmt)
	if err == nil && n > 0 {
		r.t.Errorf("%s went through, with %d rows: %.200s", name, n, stmt)
	}
	r.alive(name, err)
}

// denied tries a statement that must fail for lack of a right, or because there is nothing
// of the name that it could mean.
func (r *raid) denied(name, stmt string) {
	r.t.Helper()
	r.tries++
	n, err := r.run(stmt)
	var my *mysql.MySQLError
	if err == nil {
		r.t.Errorf("%s went through, with %d rows: %.200s", name, n, stmt)
	} else if !errors.As(err, &my) || !slices.Contains(denials, my.Number) {
		r.t.Errorf("%s fails for another reason, %v: %.200s", name, err, stmt)
	}
	r.alive(name, err)
}

// denials are the errors of MariaDB that say no.
var denials = []uint16{
	1044, 1045, 1142, 1143, 1227, 1370, // no right to it
	1095, 1989, // the session is somebody else's
	1148, 4166, // not on this server
	1193, 1238, // no such variable; it cannot be changed
	1290,             // the server's settings forbid it
	1305, 1449, 1698, // no such routine, no such account
	1399, // not within a distributed transaction
	1959, // no such role
}

// alive opens the session anew when an attempt has ended it.
func (r *raid) alive(name string, err error) {
	r.t.Helper()
	if err == nil || !errors.Is(err, mysql.ErrInvalidConn) && !errors.Is(err, sql.ErrConnDone) {
		return
	}
	r.t.Logf("%s ended the session: %v", name, err)
	r.one = session(r.t, r.mine)
}

// TestRaidOnTables: no table of the cloud can be read, written, locked, changed or named,
// whatever the verb.
func TestRaidOnTables(t *testing.T) {
	r := newRaid(t)
	var tables []string
	err := r.wide.Select(&tables, "SELECT table_name FROM information_schema.tables WHERE table_schema = ?", r.main)
	if err != nil || len(tables) < 20 {
		t.Fatalf("%d tables, %v", len(tables), err)
	}
	verbs := []string{
		"SELECT * FROM %s", "SELECT 1 FROM %s FOR UPDATE", "SELECT 1 FROM %s LOCK IN SHARE MODE", "SELECT * FROM %s INTO OUTFILE '/tmp/kilonova-raid'",
		"INSERT INTO %s () VALUES ()", "INSERT INTO %s SELECT 1", "REPLACE INTO %s () VALUES ()", "UPDATE %s SET id = 1", "DELETE FROM %s", "TRUNCATE TABLE %s",
		"LOAD DATA LOCAL INFILE '/etc/hostname' INTO TABLE %s", "LOCK TABLES %s READ", "LOCK TABLES %s WRITE", "BACKUP LOCK %s", "HANDLER %s OPEN",
		"DROP TABLE %s", "ALTER TABLE %s ADD evil INT", "RENAME TABLE %s TO evil", "CREATE INDEX evil ON %s (id)", "CREATE TRIGGER evil BEFORE UPDATE ON %s FOR EACH ROW SET @a = 1",
		"CREATE VIEW evil AS SELECT * FROM %s", "CREATE TABLE evil LIKE %s", "CREATE TABLE evil AS SELECT * FROM %s", "CREATE TEMPORARY TABLE evil AS SELECT * FROM %s",
		"SHOW CREATE TABLE %s", "SHOW INDEX FROM %s", "DESCRIBE %s", "EXPLAIN SELECT * FROM %s", "ANALYZE TABLE %s", "OPTIMIZE TABLE %s", "CHECK TABLE %s", "REPAIR TABLE %s",
		"CHECKSUM TABLE %s", "FLUSH TABLES %s WITH READ LOCK", "CACHE INDEX %s IN hot", "LOAD INDEX INTO CACHE %s",
		"WITH RECURSIVE t AS (SELECT 1 AS n FROM %[1]s UNION ALL SELECT n + 1 FROM t) SELECT * FROM t", "PREPARE s FROM 'SELECT * FROM %s'", "EXECUTE IMMEDIATE 'DELETE FROM %s'",
		"BEGIN NOT ATOMIC DECLARE c CURSOR FOR SELECT 1 FROM %s; OPEN c; END", "SET STATEMENT max_statement_time = 1 FOR SELECT * FROM %s", "SET @a = (SELECT COUNT(*) FROM %s)",
		"DO (SELECT COUNT(*) FROM %s)", "CALL kn_args((SELECT 1 FROM %s))", "CALL kn_queue_of((SELECT 1 FROM %s))",
	}
	for _, table := range tables {
		for _, verb := range verbs {
			r.denied(table, fmt.Sprintf(verb, "`"+r.main+"`.`"+table+"`"))
		}
	}
	for _, table := range []string{"work", "servers", "hosts"} { // which such accounts had once
		for _, stmt := range []string{"SELECT * FROM %s", "UPDATE %s SET host = 'other'", "DELETE FROM %s"} {
			r.denied("its own "+table, fmt.Sprintf(stmt, table))
		}
	}
}

// statements are what else there is to say to a database; each must be denied.
var deniedStatements = map[string]string{
	"use the cloud's database":         "USE `{main}`",
	"drop the cloud":                   "DROP DATABASE `{main}`",
	"drop its own database":            "DROP DATABASE `{main}_host`",
	"change its own database":          "ALTER DATABASE `{main}_host` CHARACTER SET latin1",
	"make a database":                  "CREATE DATABASE evil",
	"make a table":                     "CREATE TABLE evil (a INT)",
	"make a table elsewhere":           "CREATE TABLE test.evil (a INT)",
	"make a temporary table":           "CREATE TEMPORARY TABLE evil (a INT)",
	"make a view":                      "CREATE VIEW evil AS SELECT 1",
	"make a sequence":                  "CREATE SEQUENCE evil",
	"count with the sequence engine":   "SELECT * FROM seq_1_to_1000000000",
	"make a procedure":                 "CREATE PROCEDURE evil() SELECT 1",
	"make a procedure of its owner":    "CREATE DEFINER = {owner} PROCEDURE evil() SELECT * FROM `{main}`.work",
	"make a function":                  "CREATE FUNCTION evil() RETURNS INT RETURN 1",
	"make a function of a library":     "CREATE FUNCTION evil RETURNS INTEGER SONAME 'evil.so'",
	"make an event":                    "CREATE EVENT evil ON SCHEDULE EVERY 1 SECOND DO SELECT 1",
	"make a call its own":              "ALTER PROCEDURE kn_queue SQL SECURITY INVOKER",
	"drop a call":                      "DROP PROCEDURE kn_queue",
	"call the watch":                   "CALL `{main}`.kn_watch()",
	"call a procedure of the system":   "CALL sys.execute_prepared_stmt('SELECT 1')",
	"call another one":                 "CALL mysql.AddGeometryColumn('', '{main}', 'work', 'x', 1)",
	"make an account":                  "CREATE USER evil IDENTIFIED BY 'x'",
	"make a role":                      "CREATE ROLE evil",
	"take a role":                      "SET ROLE evil",
	"take the owner's role":            "SET ROLE kn_{main}",
	"set root's password":              "SET PASSWORD FOR root@localhost = PASSWORD('x')",
	"set another host's password":      "SET PASSWORD FOR '{others}'@'%' = PASSWORD('x')",
	"set the owner's password":         "SET PASSWORD FOR {owner} = PASSWORD('x')",
	"unlock the owner":                 "ALTER USER {owner} ACCOUNT UNLOCK",
	"lift its own limits":              "ALTER USER '{own}'@'%' WITH MAX_USER_CONNECTIONS 0",
	"lift them in a grant":             "GRANT USAGE ON *.* TO '{own}'@'%' WITH MAX_USER_CONNECTIONS 0",
	"lift them for good":               "SET GLOBAL max_user_connections = 0",
	"rename itself to another host's":  "RENAME USER '{own}'@'%' TO '{others}'@'10.%'",
	"drop another host's account":      "DROP USER '{others}'@'%'",
	"give itself everything":           "GRANT ALL ON *.* TO '{own}'@'%'",
	"give itself the tables":           "GRANT SELECT ON `{main}`.* TO '{own}'@'%'",
	"pass its right on":                "GRANT EXECUTE ON `{main}_host`.* TO '{others}'@'%'",
	"pass others on":                   "GRANT PROXY ON '{others}'@'%' TO '{own}'@'%'",
	"take rights from others":          "REVOKE EXECUTE ON `{main}_host`.* FROM '{others}'@'%'",
	"see others' rights":               "SHOW GRANTS FOR '{others}'@'%'",
	"see others' accounts":             "SHOW CREATE USER '{others}'@'%'",
	"read the accounts":                "SELECT * FROM mysql.user",
	"read the passwords":               "SELECT * FROM mysql.global_priv",
	"read the procedures":              "SELECT * FROM mysql.proc",
	"read the slow log":                "SELECT * FROM mysql.slow_log",
	"read the general log":             "SELECT * FROM mysql.general_log",
	"read the statistics":              "SELECT * FROM mysql.innodb_table_stats",
	"read what threads do":             "SELECT * FROM performance_schema.threads",
	"read what was said":               "SELECT * FROM performance_schema.events_statements_history",
	"read the system's settings":       "SELECT * FROM sys.sys_config",
	"read the buffer pool":             "SELECT * FROM information_schema.innodb_buffer_page",
	"read transactions":                "SELECT * FROM information_schema.innodb_trx",
	"read locks":                       "SELECT * FROM information_schema.innodb_locks",
	"read who waits":                   "SELECT * FROM information_schema.innodb_lock_waits",
	"read the engine's tables":         "SELECT * FROM information_schema.innodb_sys_tables",
	"read the engine's state":          "SHOW ENGINE INNODB STATUS",
	"read the binary log":              "SHOW BINLOG EVENTS",
	"list the binary logs":             "SHOW BINARY LOGS",
	"read where the binary log is":     "SHOW MASTER STATUS",
	"read whom it follows":             "SHOW SLAVE STATUS",
	"list replicas":                    "SHOW SLAVE HOSTS",
	"list events":                      "SHOW EVENTS FROM `{main}`",
	"list triggers":                    "SHOW TRIGGERS FROM `{main}`",
	"list tables":                      "SHOW TABLES FROM `{main}`",
	"show the database":                "SHOW CREATE DATABASE `{main}`",
	"show the watch":                   "SHOW CREATE PROCEDURE `{main}`.kn_watch",
	"ask what another session does":    "SHOW EXPLAIN FOR {api}",
	"end the API's session":            "KILL {api}",
	"end the API's statement":          "KILL QUERY {api}",
	"write a file":                     "SELECT 1 INTO OUTFILE '/tmp/kilonova-raid'",
	"dump a file":                      "SELECT 1 INTO DUMPFILE '/tmp/kilonova-raid'",
	"load a file":                      "LOAD DATA INFILE '/etc/passwd' INTO TABLE work",
	"load XML":                         "LOAD XML INFILE '/etc/passwd' INTO TABLE work",
	"install a plugin":                 "INSTALL PLUGIN evil SONAME 'evil'",
	"install a library":                "INSTALL SONAME 'ha_connect'",
	"uninstall a plugin":               "UNINSTALL PLUGIN feedback",
	"make a foreign server":            "CREATE SERVER evil FOREIGN DATA WRAPPER mysql OPTIONS (HOST '127.0.0.1')",
	"shut the server down":             "SHUTDOWN",
	"flush tables":                     "FLUSH TABLES",
	"lock everything":                  "FLUSH TABLES WITH READ LOCK",
	"flush the rights":                 "FLUSH PRIVILEGES",
	"flush the logs":                   "FLUSH LOGS",
	"flush the hosts":                  "FLUSH HOSTS",
	"count its connections from zero":  "FLUSH USER_RESOURCES",
	"begin a backup":                   "BACKUP STAGE START",
	"remove the binary logs":           "PURGE BINARY LOGS BEFORE NOW()",
	"begin the binary log anew":        "RESET MASTER",
	"forget whom it follows":           "RESET SLAVE",
	"follow another server":            "CHANGE MASTER TO MASTER_HOST = '192.0.2.1'",
	"begin to follow":                  "START SLAVE",
	"stop following":                   "STOP SLAVE",
	"play a binary log":                "BINLOG 'SOgWTg8BAAAAbgAAAHIAAAAAAAQANS'",
	"write no binary log":              "SET SESSION sql_log_bin = 0",
	"write statements to it":           "SET SESSION binlog_format = 'STATEMENT'",
	"write as another server":          "SET SESSION server_id = 9",
	"write to another domain":          "SET SESSION gtid_domain_id = 9",
	"write a position of its choice":   "SET SESSION gtid_seq_no = 1",
	"read only":                        "SET GLOBAL read_only = 1",
	"be another thread":                "SET SESSION pseudo_thread_id = {api}",
	"log everything":                   "SET GLOBAL general_log = 1",
	"choose what is run at connecting": "SET GLOBAL init_connect = 'SELECT 1'",
	"take all connections":             "SET GLOBAL max_connections = 10",
	"take all prepared statements":     "SET GLOBAL max_prepared_stmt_count = 0",
	"use more memory":                  "SET GLOBAL max_session_mem_used = 1000000000000",
	"make the engine careless":         "SET GLOBAL innodb_flush_log_at_trx_commit = 0",
	"load the buffer pool":             "SET GLOBAL innodb_buffer_pool_load_now = 1",
	"run events":                       "SET GLOBAL event_scheduler = 1",
	"read a file into a setting":       "SET GLOBAL ft_stopword_file = LOAD_FILE('/etc/passwd')",
	"call inside a distributed one":    "BEGIN NOT ATOMIC XA START '{main}-2'; CALL kn_queue(); END",
}

// nothing is what runs and finds nothing.
var emptyStatements = map[string]string{
	"read a file":                    "SELECT * FROM (SELECT LOAD_FILE('/etc/passwd') AS f) t WHERE f IS NOT NULL",
	"see others' sessions":           "SELECT * FROM information_schema.processlist WHERE user <> '{own}'",
	"see the cloud's database":       "SELECT * FROM information_schema.schemata WHERE schema_name NOT IN ('information_schema', '{main}_host')",
	"see tables":                     "SELECT * FROM information_schema.tables WHERE table_schema NOT IN ('information_schema', 'performance_schema')",
	"see columns":                    "SELECT * FROM information_schema.columns WHERE table_schema NOT IN ('information_schema', 'performance_schema')",
	"see keys":                       "SELECT * FROM information_schema.statistics",
	"see constraints":                "SELECT * FROM information_schema.check_constraints",
	"see views":                      "SELECT * FROM information_schema.views",
	"see triggers":                   "SELECT * FROM information_schema.triggers",
	"see events":                     "SELECT * FROM information_schema.events",
	"see partitions":                 "SELECT * FROM information_schema.partitions WHERE table_schema NOT IN ('information_schema', 'performance_schema')",
	"see how the calls are made":     "SELECT * FROM information_schema.routines WHERE routine_definition IS NOT NULL",
	"see others' calls":              "SELECT * FROM information_schema.routines WHERE routine_schema <> '{main}_host'",
	"see others' rights":             "SELECT * FROM information_schema.user_privileges WHERE grantee NOT LIKE '%{own}%'",
	"see rights to databases":        "SELECT * FROM information_schema.schema_privileges WHERE grantee NOT LIKE '%{own}%'",
	"see rights to tables":           "SELECT * FROM information_schema.table_privileges",
	"see others' variables":          "SELECT * FROM information_schema.user_variables WHERE variable_name NOT IN ('a')",
	"see others' statistics":         "SELECT * FROM information_schema.user_statistics WHERE user <> '{own}'",
	"see roles":                      "SELECT * FROM information_schema.applicable_roles",
	"end everybody's sessions":       "KILL USER root", // it finds those alone that it may end
	"see others' profiles":           "SELECT * FROM information_schema.profiling",
	"see what is optimized":          "SELECT * FROM information_schema.optimizer_trace",
	"see temporary tables of others": "SELECT * FROM information_schema.temp_tables_info",
}

func (r *raid) filled(stmt string) string {
	return strings.NewReplacer("{main}", r.main, "{own}", r.cred.User, "{others}", r.neighbour(), "{owner}", "`kn_"+r.main+"`@localhost").Replace(stmt)
}

// TestRaidByStatements: statements of every kind.
func TestRaidByStatements(t *testing.T) {
	r := newRaid(t)
	exec(t, r.wide, "CREATE USER '"+r.neighbour()+"'@'%'")
	defer exec(t, r.wide, "DROP USER '"+r.neighbour()+"'@'%'")
	api := session(t, r.wide)
	for name, stmt := range deniedStatements {
		r.denied(name, strings.NewReplacer("{api}", fmt.Sprint(api.id)).Replace(r.filled(stmt)))
		_, _ = r.run(r.filled("XA END '{main}-2'")) // it may have begun one
		_, _ = r.run(r.filled("XA ROLLBACK '{main}-2'"))
	}
	for name, stmt := range emptyStatements {
		r.refused(name, r.filled(stmt))
	}
	for _, scope := range []string{"GLOBAL", "@@global."} { // each setting of the server there is
		var names []string
		err := r.wide.Select(&names, "SELECT variable_name FROM information_schema.system_variables WHERE variable_scope LIKE '%GLOBAL%' OR global_value IS NOT NULL")
		if err != nil || len(names) < 300 {
			t.Fatalf("%d variables, %v", len(names), err)
		}
		for _, name := range names {
			r.denied("set "+name, strings.Replace("SET "+scope+" "+name+" = DEFAULT", ". ", ".", 1))
		}
	}
	var routines []string
	err := r.wide.Select(&routines, "SELECT CONCAT('`', routine_schema, '`.`', routine_name, '`') FROM information_schema.routines WHERE routine_type = 'PROCEDURE' AND routine_schema <> ? AND routine_schema NOT LIKE 'kn\\_%'", r.main+"_host")
	if err != nil || len(routines) < 5 {
		t.Fatalf("%d procedures, %v", len(routines), err)
	}
	for _, name := range routines {
		r.denied("call "+name, "CALL "+name+"()")
	}
	err = api.PingContext(context.Background())
	if err != nil {
		t.Errorf("the API's session was ended: %v", err)
	}
}

// TestRaidByCalls: what may be called is asked and told falsely.
func TestRaidByCalls(t *testing.T) {
	r := newRaid(t)
	beat := func(set map[string]string) string {
		args := []string{"'mine'", "'q'", "1", "'192.0.2.1'", "'x86_64'", "'{}'", "4", "4096", "40", "40", "'up'", "'192.0.2.1:99'", "'m/me'"}
		for i, name := range []string{"node", "type", "version", "ip", "arch", "cpu_info", "vcpus", "memory_mb", "disk_gb", "disk_available_gb", "uptime", "doorbell", "me"} {
			if v, ok := set[name]; ok {
				args[i] = v
			}
		}
		return "CALL kn_beat(" + strings.Join(args, ", ") + ")"
	}
	finish := func(state, result string) string {
		return fmt.Sprintf("CALL kn_finish(%s, %s, %d, 'me')", state, result, ownWork)
	}
	for _, must := range []string{fmt.Sprintf("CALL kn_claim('me', 1, %d, '')", ownWork), "CALL kn_task('spawning', '" + ownServer + "', 1)", beat(nil)} {
		n, err := r.run(must)
		if err != nil || n != 1 {
			t.Fatalf("%s: %d rows, %v", must, n, err)
		}
	}
	long := func(n int) string { return fmt.Sprintf("REPEAT('x', %d)", n) }
	for name, stmt := range map[string]string{
		"claim others' work":                  "CALL kn_claim('me', 2, 2, '" + othersClaim + "')",
		"claim it as if it were new":          "CALL kn_claim('me', 1, 2, '')",
		"finish others' work":                 "CALL kn_finish('done', '{}', 2, '" + othersClaim + "')",
		"fail others' work":                   "CALL kn_finish('failed', '{\"retry\":true}', 2, '" + othersClaim + "')",
		"show a task of others":               "CALL kn_task('spawning', '" + othersServer + "', 1)",
		"tell a power state of others":        "CALL kn_power(1, '" + othersServer + "')",
		"read others' secrets":                "CALL kn_args(2)",
		"look at others' server":              "CALL kn_server('" + othersServer + "')",
		"look at others' queue":               "CALL kn_queue_of('" + othersServer + "')",
		"look at others' generations":         "CALL kn_generations('" + othersServer + "," + othersServer + "')",
		"look at all queues":                  "CALL kn_queue_of('%')",
		"be another's daemon":                 beat(map[string]string{"me": "'" + othersDaemon + "'"}),
		"be nobody's daemon":                  beat(map[string]string{"me": "''"}),
		"tell others' key":                    "CALL kn_key(REPEAT('x', 43), '" + othersDaemon + "')",
		"tell a key that is none":             "CALL kn_key('x', 'm/me')",
		"tell a key that is too long":         "CALL kn_key(REPEAT('x', 64), 'm/me')",
		"tell others' ranges":                 "CALL kn_ranges('0.0.0.0/0', '" + othersDaemon + "')",
		"stop another's daemon":               "CALL kn_stop('" + othersDaemon + "')",
		"stop nobody's daemon":                "CALL kn_stop('')",
		"begin as every machine":              "CALL kn_start('x', '')",
		"begin as any machine":                "CALL kn_start('x', '/')",
		"begin without a name":                "CALL kn_start('', 'm/')",
		"a claim of another's":                "CALL kn_claim('me', 2, 1, '" + othersClaim + "')",
		"an attempt before the first":         "CALL kn_claim('me', 0, 1, 'me')",
		"an attempt below zero":               "CALL kn_claim('me', -1, 1, 'me')",
		"attempts that overflow":              "CALL kn_claim('me', 2147483647, 1, 'me')",
		"attempts beyond integers":            "CALL kn_claim('me', 99999999999, 1, 'me')",
		"a claim by a long name":              "CALL kn_claim(" + long(37) + ", 2, 1, 'me')",
		"a claim by nobody":                   "CALL kn_claim(NULL, 2, 1, 'me')",
		"work of no number":                   "CALL kn_finish('done', '{}', NULL, 'me')",
		"work of a negative number":           "CALL kn_finish('done', '{}', -1, 'me')",
		"work of a number that is too large":  "CALL kn_finish('done', '{}', 99999999999999999999, 'me')",
		"work by a text that begins with one": "CALL kn_finish('done', '{}', '1 OR 1=1', 'me')",
		"work as a list":                      "CALL kn_finish('done', '{}', (1, 2), 'me')",
		"a state that there is not":           finish("'gone'", "'{}'"),
		"a state that is the API's":           finish("'queued'", "'{}'"),
		"a state in capitals":                 finish("'DONE'", "'{}'"),
		"a state with a blank":                finish("'done '", "'{}'"),
		"a state that is long":                finish(long(1000), "'{}'"),
		"no state":                            finish("NULL", "'{}'"),
		"no report":                           finish("'done'", "NULL"),
		"a report that is too long":           finish("'done'", long(work.MaxReport+1)),
		"a report longer than an answer":      finish("'done'", long(work.MaxAnswer+1)),
		"a report of 15 MB":                   finish("'done'", long(15_000_000)),
		"a report of wide letters":            finish("'done'", fmt.Sprintf("REPEAT('€', %d)", work.MaxReport/2)),
		"a report of deep JSON":               finish("'done'", fmt.Sprintf("CONCAT(REPEAT('[', %d), REPEAT(']', %d))", work.MaxReport, work.MaxReport)),
		"a report in another letter set":      finish("'done'", fmt.Sprintf("CONVERT(REPEAT('x', %d) USING utf32)", work.MaxReport+1)),
		"a phase of script":                   "CALL kn_task('<script>', '" + ownServer + "', 1)",
		"a phase that is too long":            "CALL kn_task(" + long(65) + ", '" + ownServer + "', 1)",
		"a phase of nothing":                  "CALL kn_task('', '" + ownServer + "', 1)",
		"a task that the API decides":         "CALL kn_task('deleting', '" + ownServer + "', 1)",
		"no task":                             "CALL kn_task(NULL, '" + ownServer + "', 1)",
		"a task of an older generation":       "CALL kn_task('spawning', '" + ownServer + "', 0)",
		"a task of a newer generation":        "CALL kn_task('spawning', '" + ownServer + "', 2)",
		"a power state that there is not":     "CALL kn_power(2, '" + ownServer + "')",
		"a power state below zero":            "CALL kn_power(-1, '" + ownServer + "')",
		"a power state beyond integers":       "CALL kn_power(99999999999, '" + ownServer + "')",
		"a power state beyond numbers":        "CALL kn_power(1e308 * 10, '" + ownServer + "')",
		"a power state that is no number":     "CALL kn_power('NaN', '" + ownServer + "')",
		"a power state that is infinite":      "CALL kn_power('-inf', '" + ownServer + "')",
		"a power state between two":           "CALL kn_power(1.5, '" + ownServer + "')",
		"no power state":                      "CALL kn_power(NULL, '" + ownServer + "')",
		"a server that is a pattern":          "CALL kn_power(1, '%')",
		"a server of a long name":             "CALL kn_power(1, " + long(37) + ")",
		"vCPUs below zero":                    beat(map[string]string{"vcpus": "-1"}),
		"more vCPUs than there are":           beat(map[string]string{"vcpus": "65537"}),
		"vCPUs that overflow":                 beat(map[string]string{"vcpus": "2147483648"}),
		"vCPUs that are no number":            beat(map[string]string{"vcpus": "'NaN'"}),
		"memory below zero":                   beat(map[string]string{"memory_mb": "-4096"}),
		"more memory than there is":           beat(map[string]string{"memory_mb": "1073741825"}),
		"memory beyond 64 bits":               beat(map[string]string{"memory_mb": "1e30"}),
		"disk below zero":                     beat(map[string]string{"disk_gb": "-1"}),
		"more disk than there is":             beat(map[string]string{"disk_gb": "1073741825"}),
		"free disk below zero":                beat(map[string]string{"disk_available_gb": "-1"}),
		"free disk that overflows":            beat(map[string]string{"disk_available_gb": "4294967296"}),
		"a version below zero":                beat(map[string]string{"version": "-1"}),
		"a version that is no number":         beat(map[string]string{"version": "'x'"}),
		"a processor of 16 KB and more":       beat(map[string]string{"cpu_info": long(16385)}),
		"a processor of megabytes":            beat(map[string]string{"cpu_info": long(5_000_000)}),
		"a host of no name":                   beat(map[string]string{"node": "''"}),
		"a host of a long name":               beat(map[string]string{"node": long(256)}),
		"an uptime that is long":              beat(map[string]string{"uptime": long(256)}),
		"a doorbell that is long":             beat(map[string]string{"doorbell": long(65)}),
		"nothing at all":                      beat(map[string]string{"uptime": "NULL"}),
		"ranges without an end":               "CALL kn_ranges(" + long(4001) + ", 'm/me')",
		"no ranges":                           "CALL kn_ranges(NULL, 'm/me')",
		"servers without an end":              "CALL kn_queue_of(" + long(70000) + ")",
		"more arguments":                      "CALL kn_queue(1)",
		"fewer arguments":                     "CALL kn_args()",
	} {
		r.refused(name, stmt)
	}
	// It is over: nothing that is said again is heard.
	n, err := r.run(finish("'done'", "'{}'"))
	if err != nil || n != 1 {
		t.Fatalf("the true report: %d rows, %v", n, err)
	}
	r.refused("report twice", finish("'done'", "'{}'"))
	r.refused("change a report", finish("'failed'", "'{}'"))
	r.refused("claim what is done", "CALL kn_claim('me', 2, 1, 'me')")
	for name, now := range map[string]string{
		"the moon": "SET timestamp = 1", "the future": "SET timestamp = 4102444800", "an island": "SET time_zone = '+13:00'", "a rounding": "SET sql_mode = 'TIME_ROUND_FRACTIONAL'",
	} {
		r.tries++
		var before, seen schema.Micros
		_, err := r.run(now)
		if err == nil {
			before = schema.MicrosOf(time.Now())
			_, err = r.run(beat(nil))
		}
		if err == nil {
			err = r.wide.Get(&seen, "SELECT last_seen FROM hosts WHERE name = 'mine'")
		}
		if off := time.Duration(seen-before) * time.Microsecond; err != nil || off.Abs() > time.Minute {
			t.Errorf("a heartbeat from %s is %v off, %v", name, off, err)
		}
	}
	// A server that has moved on is another host's.
	exec(t, r.wide, "UPDATE work SET state = 'running', claimed_by = 'me', host = 'gone' WHERE id = 1")
	r.refused("report what was given to another host", finish("'done'", "'{}'"))
	r.refused("read what was given to another host", "CALL kn_args(1)")
	exec(t, r.wide, "UPDATE work SET host = 'mine' WHERE id = 1")
	// An account that was removed has nothing left, also in sessions that are open.
	exec(t, r.wide, "UPDATE host_accounts SET account = 'kn_none' WHERE account = ?", r.cred.User)
	r.refused("ask without a host", "CALL kn_queue()")
	r.refused("tell without a host", "CALL kn_power(4, '"+ownServer+"')")
	exec(t, r.wide, "UPDATE host_accounts SET account = ? WHERE account = 'kn_none'", r.cred.User)
}

// untouched tells whether another transaction may change everything, and a migration every
// table, without waiting for anybody.
func (r *raid) untouched(name string) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	c := session(r.t, r.wide)
	defer c.Close()
	for _, stmt := range []string{"SET innodb_lock_wait_timeout = 1, lock_wait_timeout = 1", "BEGIN", "UPDATE work SET attempts = attempts", "UPDATE servers SET power_state = power_state",
		"UPDATE hosts SET uptime = uptime", "INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state) VALUES ('mind', 1, 'x', 'stop', '{}', 1, 1, 1, 'queued')",
		"ROLLBACK", "ALTER TABLE work COMMENT = 'x'", "ALTER TABLE servers COMMENT = 'x'", "ALTER TABLE hosts COMMENT = 'x'", "ALTER TABLE host_accounts COMMENT = 'x'"} {
		_, err := c.ExecContext(ctx, stmt)
		if err != nil {
			r.t.Errorf("while a host tries to %s: %s: %v", name, stmt, err)
			return
		}
	}
}

// TestRaidOnLocks: whatever the thief's session has set, begun and left open, it holds
// nothing that others need.
func TestRaidOnLocks(t *testing.T) {
	r := newRaid(t)
	tell := []string{"CALL kn_power(4, '" + ownServer + "')", "CALL kn_power(1, '" + ownServer + "')", "CALL kn_task('spawning', '" + ownServer + "', 1)", "CALL kn_queue()", "CALL kn_servers()", "CALL kn_args(1)"}
	for name, before := range map[string][]string{
		"hold a transaction open":         {"BEGIN"},
		"commit nothing":                  {"SET autocommit = 0"},
		"commit nothing, in a chain":      {"SET completion_type = 'CHAIN', autocommit = 0", "BEGIN"},
		"end with its transaction":        {"SET completion_type = 'RELEASE'", "BEGIN"},
		"read what it locks":              {"SET SESSION TRANSACTION ISOLATION LEVEL SERIALIZABLE", "SET autocommit = 0", "BEGIN"},
		"lock it for its next one":        {"SET TRANSACTION ISOLATION LEVEL SERIALIZABLE", "BEGIN"},
		"keep a picture":                  {"START TRANSACTION WITH CONSISTENT SNAPSHOT"},
		"only read":                       {"START TRANSACTION READ ONLY"},
		"keep savepoints":                 {"BEGIN", "SAVEPOINT a", "SAVEPOINT b"},
		"prepare its statements":          {"PREPARE a FROM 'CALL kn_queue()'", "EXECUTE a", "BEGIN", "EXECUTE a"},
		"lock by name":                    {"SELECT GET_LOCK('kilonova_migrations', 0), GET_LOCK('work', 0), GET_LOCK('servers', 0), GET_LOCK('goose', 0), GET_LOCK('{main}', 0)", "BEGIN"},
		"begin a distributed transaction": {"XA START '{main}-1'"},
		"prepare a distributed one":       {"XA START '{main}'", "XA END '{main}'", "XA PREPARE '{main}'"},
		"ignore keys":                     {"SET foreign_key_checks = 0, unique_checks = 0, check_constraint_checks = 0", "BEGIN"},
		"wait for ever":                   {"SET innodb_lock_wait_timeout = 1000000, lock_wait_timeout = 1000000, max_statement_time = 0", "BEGIN"},
		"call in a block":                 {"BEGIN NOT ATOMIC START TRANSACTION; CALL kn_power(4, '" + ownServer + "'); START TRANSACTION; CALL kn_queue(); END"},
		"fail in a block":                 {"BEGIN NOT ATOMIC DECLARE CONTINUE HANDLER FOR SQLEXCEPTION DO SLEEP(0); START TRANSACTION; CALL kn_power(4, '" + ownServer + "'); CALL kn_power(99, 'x'); SIGNAL SQLSTATE '45000'; END"},
	} {
		thief := r.open(t)
		c := session(t, thief)
		r.tries++
		for _, stmt := range before {
			_, err := c.ExecContext(context.Background(), r.filled(stmt))
			if err != nil {
				t.Errorf("%s: %s: %v", name, stmt, err)
			}
		}
		for _, stmt := range tell {
			_, _ = c.ExecContext(context.Background(), stmt) // some are refused in there
		}
		r.untouched(name)
		_, _ = c.ExecContext(context.Background(), r.filled("XA ROLLBACK '{main}'")) // it outlives the session
		c.Close()
		thief.Close()
	}
	// What it has locked by name keeps no API from starting, on no database.
	c := session(t, r.mine)
	_, err := c.ExecContext(context.Background(), "SELECT GET_LOCK('kilonova_migrations', 0), GET_LOCK('goose', 0), GET_LOCK('migrations', 0)")
	if err != nil {
		t.Fatal(err)
	}
	schematest.MySQL(t)
	// What it says within a transaction stays said.
	exec(t, r.wide, "UPDATE servers SET task_state = NULL, power_state = 1 WHERE uuid = ?", ownServer)
	for _, stmt := range []string{"BEGIN", "CALL kn_power(4, '" + ownServer + "')", "ROLLBACK"} {
		_, err := c.ExecContext(context.Background(), stmt)
		if err != nil {
			t.Fatal(err)
		}
	}
	var power int
	err = r.wide.Get(&power, "SELECT power_state FROM servers WHERE uuid = ?", ownServer)
	if err != nil || power != int(work.Shutdown) {
		t.Errorf("power state %d, %v", power, err)
	}
}

// TestRaidWaitsForNobody: a call neither takes nor awaits the lock of a row that is not its
// host's, whatever it names and whatever its session has set.
func TestRaidWaitsForNobody(t *testing.T) {
	r := newRaid(t)
	exec(t, r.wide, "UPDATE work SET state = 'running', claimed_by = 'me', attempts = 1 WHERE id = 1")
	held := session(t, r.wide)
	for _, stmt := range []string{"BEGIN", "UPDATE work SET attempts = attempts WHERE host = 'other'", "UPDATE servers SET power_state = power_state WHERE host = 'other'",
		"UPDATE hosts SET uptime = uptime WHERE name = 'other'", "UPDATE host_accounts SET origin = origin"} {
		_, err := held.ExecContext(context.Background(), stmt)
		if err != nil {
			t.Fatal(err)
		}
	}
	calls := []string{"CALL kn_finish('done', '{}', 2, '" + othersClaim + "')", "CALL kn_claim('me', 2, 2, '')",
		"CALL kn_task('spawning', '" + othersServer + "', 1)", "CALL kn_power(1, '" + othersServer + "')", "CALL kn_args(2)", "CALL kn_server('" + othersServer + "')",
		"CALL kn_task('spawning', '" + ownServer + "', 1)", "CALL kn_power(4, '" + ownServer + "')", "CALL kn_queue()", "CALL kn_servers()", "CALL kn_stop('nobody')"}
	try := func(c *one, name string) {
		for _, stmt := range calls {
			r.tries++
			began := time.Now()
			_, err := c.ExecContext(context.Background(), stmt)
			var my *mysql.MySQLError
			if waited := time.Since(began); errors.As(err, &my) && (my.Number == 1205 || my.Number == 1213) || waited > 1900*time.Millisecond {
				t.Errorf("with %s: %s waited %v for others: %v", name, stmt, waited, err)
			}
		}
	}
	try(r.one, "nothing set")
	var vars []struct {
		Name string  `db:"variable_name"`
		Low  *string `db:"numeric_min_value"`
		High *string `db:"numeric_max_value"`
	}
	err := r.wide.Select(&vars, "SELECT LOWER(variable_name) AS variable_name, numeric_min_value, numeric_max_value FROM information_schema.system_variables WHERE variable_scope = 'SESSION' AND read_only = 'NO' AND (variable_name LIKE 'optimizer%' OR variable_name LIKE '%seek%' OR variable_name LIKE '%range%' OR variable_name LIKE '%key%' OR variable_name LIKE 'innodb%' OR variable_name LIKE '%lock%' OR variable_name LIKE 'join%' OR variable_name LIKE 'expensive%' OR variable_name LIKE '%rowid%' OR variable_name LIKE 'histogram%' OR variable_name LIKE 'use_stat%' OR variable_name LIKE 'sql_select%')")
	if err != nil || len(vars) < 20 {
		t.Fatalf("%d variables, %v", len(vars), err)
	}
	for _, v := range vars {
		for _, bound := range []*string{v.Low, v.High} {
			if bound == nil {
				continue
			}
			_, err := r.ExecContext(context.Background(), "SET SESSION "+v.Name+" = "+*bound)
			if err != nil {
				continue // it is not for everybody
			}
			for i, stmt := range calls[:9] {
				if i%2 == len(v.Name)%2 {
					continue
				}
				r.tries++
				_, err := r.ExecContext(context.Background(), stmt)
				var my *mysql.MySQLError
				if errors.As(err, &my) && (my.Number == 1205 || my.Number == 1213) {
					t.Errorf("with %s = %s: %s: %v", v.Name, *bound, stmt, err)
				}
			}
		}
	}
	_, err = held.ExecContext(context.Background(), "ROLLBACK")
	if err != nil {
		t.Fatal(err)
	}
}

// TestRaidOnConnections: an account has so many sessions and no more.
func TestRaidOnConnections(t *testing.T) {
	r := newRaid(t)
	cfg, err := mysql.ParseDSN(r.cred.DSN())
	if err != nil {
		t.Fatal(err)
	}
	conns, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(conns)
	defer db.Close()
	var mu sync.Mutex
	var got int
	var refusals []error
	var open []*sql.Conn
	var all sync.WaitGroup
	for range 40 {
		all.Add(1)
		go func() {
			defer all.Done()
			c, err := db.Conn(context.Background())
			mu.Lock()
			defer mu.Unlock()
			r.tries++
			if err != nil {
				refusals = append(refusals, err)
				return
			}
			open = append(open, c)
			got++
		}()
	}
	all.Wait()
	for _, c := range open {
		c.Close()
	}
	if got > 9 || len(refusals) < 30 { // the tenth is the test's own
		t.Errorf("%d more sessions of one account, %d refused", got, len(refusals))
	}
	for _, err := range refusals {
		if !strings.Contains(err.Error(), "max_user_connections") && !errors.Is(err, mysql.ErrInvalidConn) {
			t.Errorf("refused for another reason: %v", err)
		}
	}
}

// TestRaidOnItself: what an account may do to itself touches nobody else.
func TestRaidOnItself(t *testing.T) {
	r := newRaid(t)
	exec(t, r.wide, "CREATE USER '"+r.neighbour()+"'@'%'")
	defer exec(t, r.wide, "DROP USER '"+r.neighbour()+"'@'%'")
	before := r.others()
	for name, stmt := range map[string]string{
		"set its password":     "SET PASSWORD = PASSWORD('x')",
		"be acted for":         "GRANT PROXY ON '{own}'@'%' TO '{others}'@'%'",
		"end all its work":     "KILL USER '{own}'@'%'",
		"have no role":         "SET ROLE NONE",
		"free all named locks": "SELECT RELEASE_ALL_LOCKS()",
		"end itself":           "KILL CONNECTION_ID()",
	} {
		r.tries++
		c := session(t, r.mine)
		_, _ = c.ExecContext(context.Background(), r.filled(stmt))
		c.Close()
		if now := r.others(); now != before {
			t.Errorf("to %s changed what others have", name)
		}
		// The rest is tried with a password that is known.
		exec(t, r.wide, "ALTER USER '"+r.cred.User+"'@'%' IDENTIFIED BY '"+r.cred.Password+"'")
	}
	r.one = nil // it was ended
}

// TestRaidByCommands: commands of the protocol that no client sends.
func TestRaidByCommands(t *testing.T) {
	r := newRaid(t)
	api := session(t, r.wide)
	id := binary.LittleEndian.AppendUint32(nil, uint32(api.id))
	zero := make([]byte, 8)
	update := "UPDATE `" + r.main + "`.work SET state = 'done'"
	for name, command := range map[string][]byte{
		"choose the cloud's database": append([]byte{0x02}, r.main...),
		"list the fields of a table":  append([]byte{0x04}, "servers\x00%"...),
		"make a database":             append([]byte{0x05}, "evil"...),
		"drop the database":           append([]byte{0x06}, r.main...),
		"refresh everything":          {0x07, 0xff},
		"shut down":                   {0x08, 0x00},
		"end the API's session":       append([]byte{0x0c}, id...),
		"dump the server's state":     {0x0d},
		"become root":                 append([]byte{0x11}, "root\x00\x00mysql\x00\x21\x00"...),
		"become another host":         append([]byte{0x11}, r.neighbour()+"\x00\x00"+r.cred.Database+"\x00\x21\x00"...),
		"dump the binary log":         append([]byte{0x12}, zero...),
		"dump a table":                append([]byte{0x13}, "\x05mysql\x04user"...),
		"connect as a replica":        append([]byte{0x14}, zero...),
		"register as a replica":       append([]byte{0x15}, append(zero, zero...)...),
		"prepare a statement":         append([]byte{0x16}, update...),
		"run an unknown statement":    append([]byte{0x17}, append(zero, zero...)...),
		"fetch from an unknown one":   append([]byte{0x1c}, zero...),
		"be a daemon":                 {0x1d},
		"dump by position":            append([]byte{0x1e}, append(zero, zero...)...),
		"several statements at once":  append([]byte{0x03}, "SELECT 1; "+update...),
		"several commands at once":    append([]byte{0xfe}, zero...),
		"a command that is none":      {0xf3, 0x01},
		"nothing":                     {},
	} {
		r.tries++
		conn := r.login(t)
		code, said := ask(conn, command)
		if code == 0x00 || code > 0x00 && code < 0xfb {
			t.Errorf("%s: answered %#x %.60q", name, code, said)
		}
		conn.Close()
	}
	// One that says it will send 16 MB and does not, and one that sends half of its name.
	for _, part := range [][]byte{{0xff, 0xff, 0xff, 0x00, 0x03}, {0x10, 0x00}} {
		r.tries++
		conn := r.login(t)
		defer conn.Close()
		_, _ = conn.Write(part)
	}
	r.untouched("send half of a statement")
	err := api.PingContext(context.Background())
	if err != nil {
		t.Errorf("the API's session was ended: %v", err)
	}
}

// login logs in and gives the bare connection.
func (r *raid) login(t *testing.T) net.Conn {
	t.Helper()
	cfg, err := mysql.ParseDSN(r.cred.DSN())
	if err != nil {
		t.Fatal(err)
	}
	var bare net.Conn
	cfg.DialFunc = func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := (&net.Dialer{}).DialContext(ctx, network, address)
		bare = c
		return c, err
	}
	connector, err := mysql.NewConnector(cfg)
	if err != nil {
		t.Fatal(err)
	}
	_, err = connector.Connect(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return bare
}

// ask sends a command and gives the first byte of the answer, -1 for none.
func ask(conn net.Conn, command []byte) (int, []byte) {
	_ = conn.SetDeadline(time.Now().Add(5 * time.Second))
	packet := append([]byte{byte(len(command)), byte(len(command) >> 8), 0, 0}, command...)
	_, err := conn.Write(packet)
	head := make([]byte, 4)
	if err == nil {
		_, err = io.ReadFull(conn, head)
	}
	if err != nil {
		return -1, nil
	}
	body := make([]byte, min(int(head[0])|int(head[1])<<8, math.MaxUint16))
	_, err = io.ReadFull(conn, body)
	if err != nil || len(body) == 0 {
		return -1, nil
	}
	return int(body[0]), body
}
