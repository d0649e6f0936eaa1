package schema

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/go-sql-driver/mysql"

	"kilonova/work"
)

// HostLease is how long a host stays its daemon's after the last heartbeat.
const HostLease = 20 * time.Second

// HostCall is one thing that the daemon of a host asks or tells the cloud: one statement. On
// a wide account it runs as it is; a host's own account calls the procedure that is made of
// it, which puts in the account's host and the database's clock itself, holds the arguments
// against their checks, and has committed before it returns. So nothing that such an account
// does outlives its statement.
type HostCall struct {
	name   string
	params []hostParam // in the order of Ask's and Tell's arguments
	// stmt is in the SQL of both databases: @table, :param, and the two that every call has,
	// :host and :now.
	stmt string
	asks bool // it gives rows
}

// hostParam is an argument of a call.
type hostParam struct {
	name  string
	kind  string // its SQL type, whose bounds are kept
	check string // a condition on {} beside them; "" for none
}

const (
	uuidOf   = "VARCHAR(36)"
	textOf   = "VARCHAR(255)"
	bigint   = "BIGINT"
	integer  = "INT"
	positive = "{} >= 0"
)

func between(least, most int) string { return fmt.Sprintf("{} BETWEEN %d AND %d", least, most) }

// quoted writes a constant of ours: a number as it is, a word in quotes.
func quoted[T ~string | ~int](v T) string {
	if n, ok := any(v).(work.PowerState); ok {
		return strconv.Itoa(int(n))
	}
	return fmt.Sprintf("'%v'", v)
}

func oneOf[T ~string | ~int](values []T) string {
	var out []string
	for _, v := range values {
		out = append(out, quoted(v))
	}
	return "{} IN (" + strings.Join(out, ", ") + ")"
}

const queueColumns = `SELECT id, server_uuid, kind, generation, state, claimed_by, attempts, deadline
FROM @work WHERE host = :host AND state IN ('queued', 'running')`

// The calls of a host. What a host decides is not in them: vm_state, generation, host,
// quota, capacity in use and ratios are the API's.
var (
	// AskQueue gives the first 200 pieces of work that are not finished.
	AskQueue = call("queue", true, queueColumns+` ORDER BY id LIMIT 200`)
	// AskUrgent gives of them what must not wait for the rest.
	AskUrgent = call("urgent", true, queueColumns+` AND kind IN ('delete', 'replug', 'console_output', 'diagnostics') ORDER BY id LIMIT 200`)
	// AskQueueOf gives the pieces of some servers: their uuids, joined by commas.
	AskQueueOf = call("queue_of", true, queueColumns+` AND INSTR(:servers, server_uuid) > 0 ORDER BY id LIMIT 200`,
		hostParam{"servers", "TEXT", ""})
	// AskGenerations gives the generations of some servers.
	AskGenerations = call("generations", true, `SELECT uuid, generation FROM @servers WHERE host = :host AND deleted = 0 AND INSTR(:servers, uuid) > 0`,
		hostParam{"servers", "TEXT", ""})
	// AskArgs gives what a piece of work needs, and of it what is sealed for the host.
	AskArgs = call("args", true, `SELECT args, secret FROM @work WHERE id = :id AND host = :host`, hostParam{"id", bigint, ""})
	// AskServer gives the generation of a server, and whether it is deleted.
	AskServer = call("server", true, `SELECT generation, deleted FROM @servers WHERE uuid = :server AND host = :host`, hostParam{"server", uuidOf, ""})
	// AskServers gives what the cloud thinks of the host's servers.
	AskServers = call("servers", true, `SELECT uuid, power_state, task_state, vm_state FROM @servers WHERE host = :host AND deleted = 0`)
	// AskBusy gives the servers that there is work for.
	AskBusy = call("busy", true, `SELECT server_uuid FROM @work WHERE host = :host AND state IN ('queued', 'running')`)
	// AskDaemon gives which daemon holds the host, and how long ago it was heard, in
	// microseconds.
	AskDaemon = call("daemon", true, `SELECT daemon, :now - last_seen AS silent FROM @hosts WHERE name = :host`)

	// TellClaim takes a piece of work, if it is still as it was read.
	TellClaim = call("claim", false, `
UPDATE @work SET state = 'running', claimed_by = :me, attempts = :attempt, started_at = :now
WHERE id = :id AND host = :host AND state IN ('queued', 'running') AND claimed_by = :was AND attempts = :attempt - 1`,
		hostParam{"me", uuidOf, ""}, hostParam{"attempt", integer, between(1, 1<<30)}, hostParam{"id", bigint, ""}, hostParam{"was", uuidOf, ""})
	// TellFinish reports how a claimed piece went, and with that its secrets go. The result is
	// work.Result's JSON form.
	TellFinish = call("finish", false, `
UPDATE @work SET state = :state, result = :result, finished_at = :now, secret = NULL
WHERE id = :id AND host = :host AND claimed_by = :me AND state = 'running'
  AND (LENGTH(:result) <= `+fmt.Sprint(work.MaxReport)+` OR kind IN ('console_output', 'diagnostics'))`,
		hostParam{"state", "VARCHAR(16)", oneOf([]work.State{work.Done, work.Failed})},
		hostParam{"result", "MEDIUMTEXT", "LENGTH({}) <= " + fmt.Sprint(work.MaxAnswer)}, hostParam{"id", bigint, ""}, hostParam{"me", uuidOf, ""})
	// TellTask shows the step that is being done to clients, as the server's task_state.
	TellTask = call("task", false, `UPDATE @servers SET task_state = :phase WHERE uuid = :server AND host = :host AND generation = :generation AND task_state IS NOT NULL`,
		hostParam{"phase", "VARCHAR(64)", oneOf(work.Phases)}, hostParam{"server", uuidOf, ""}, hostParam{"generation", bigint, ""})
	// TellPower tells a power state that nobody asked for.
	TellPower = call("power", false, `UPDATE @servers SET power_state = :power WHERE uuid = :server AND host = :host AND task_state IS NULL AND power_state <> :power`,
		hostParam{"power", integer, oneOf(work.PowerStates)}, hostParam{"server", uuidOf, ""})

	// TellStart makes a daemon, "machine/process", the one that speaks for the host: if none
	// does, if it was another process of the same machine, or if that has not been heard for
	// HostLease. machine ends with the slash.
	TellStart = call("start", false, fmt.Sprintf(`
UPDATE @hosts SET daemon = :me, started_at = :now, last_seen = :now
WHERE name = :host AND (daemon = '' OR SUBSTR(daemon, 1, LENGTH(:machine)) = :machine
  OR last_seen < :now - %d OR last_seen > :now + %d)`, HostLease.Microseconds(), HostLease.Microseconds()),
		hostParam{"me", textOf, "{} <> ''"}, hostParam{"machine", textOf, "LENGTH({}) > 1"})
	// TellKey tells with which public key the API seals for the host.
	TellKey = call("key", false, `UPDATE @hosts SET public_key = :key WHERE name = :host AND daemon = :me`,
		hostParam{"key", "VARCHAR(64)", "LENGTH({}) = 43"}, hostParam{"me", textOf, "{} <> ''"})
	// TellStop ends that, so that another may begin at once.
	TellStop = call("stop", false, `UPDATE @hosts SET daemon = '' WHERE name = :host AND daemon = :me`, hostParam{"me", textOf, "{} <> ''"})
	// TellBeat is the heartbeat of the daemon that speaks for the host, with what the host has.
	TellBeat = call("beat", false, `
UPDATE @hosts SET hypervisor_hostname = :node, hypervisor_type = :type, hypervisor_version = :version, host_ip = :ip, arch = :arch,
  cpu_info = :cpu_info, vcpus = :vcpus, memory_mb = :memory_mb, disk_gb = :disk_gb, disk_available_gb = :disk_available_gb,
  uptime = :uptime, doorbell = :doorbell, last_seen = :now
WHERE name = :host AND daemon = :me`,
		hostParam{"node", textOf, "{} <> ''"}, hostParam{"type", "VARCHAR(64)", ""}, hostParam{"version", integer, positive},
		hostParam{"ip", "VARCHAR(64)", ""}, hostParam{"arch", "VARCHAR(64)", ""},
		hostParam{"cpu_info", "TEXT", "LENGTH({}) <= " + fmt.Sprint(work.MaxCPUInfo)}, hostParam{"vcpus", integer, between(0, work.MaxVCPUs)},
		hostParam{"memory_mb", integer, between(0, work.MaxMB)}, hostParam{"disk_gb", integer, between(0, work.MaxGB)},
		hostParam{"disk_available_gb", integer, between(0, work.MaxGB)}, hostParam{"uptime", textOf, ""},
		hostParam{"doorbell", "VARCHAR(64)", ""}, hostParam{"me", textOf, "{} <> ''"})
)

// TellRanges tells which ranges the host has addresses in, routes to and neighbours at, as
// hostnet.Encode writes them.
var TellRanges = call("ranges", false, `UPDATE @hosts SET held_ranges = :ranges WHERE name = :host AND daemon = :me`,
	hostParam{"ranges", "VARCHAR(4000)", ""}, hostParam{"me", textOf, "{} <> ''"})

// hostCalls are all of them.
var hostCalls []*HostCall

func call(name string, asks bool, stmt string, params ...hostParam) *HostCall {
	c := &HostCall{name: name, asks: asks, stmt: stmt, params: params}
	hostCalls = append(hostCalls, c)
	return c
}

var callWord = regexp.MustCompile(`[:@][a-z_]+`)

// direct gives the statement for a wide account, with its arguments in their order.
func (c *HostCall) direct(host string, now Micros, args []any) (string, []any) {
	var out []any
	stmt := callWord.ReplaceAllStringFunc(c.stmt, func(w string) string {
		if w[0] == '@' {
			return w[1:]
		}
		switch w {
		case ":host":
			out = append(out, host)
		case ":now":
			out = append(out, now)
		}
		for i, p := range c.params {
			if w[1:] == p.name {
				out = append(out, args[i])
			}
		}
		return "?"
	})
	return stmt, out
}

func (c *HostCall) form(db *DB, host string, now Micros, args []any) (string, []any, error) {
	if len(args) != len(c.params) {
		return "", nil, fmt.Errorf("call %s has %d arguments, not %d", c.name, len(c.params), len(args))
	}
	if db.hostAccount {
		return "CALL " + c.procedure() + "(" + strings.TrimSuffix(strings.Repeat("?, ", len(args)), ", ") + ")", args, nil
	}
	stmt, all := c.direct(host, now, args)
	return stmt, all, nil
}

// Ask reads the rows of a call into dest, a pointer to a slice.
func (db *DB) Ask(ctx context.Context, dest any, c *HostCall, host string, now Micros, args ...any) error {
	stmt, all, err := c.form(db, host, now, args)
	if err != nil {
		return err
	}
	return patiently(ctx, func() error {
		reflect.ValueOf(dest).Elem().SetZero()
		return db.SelectContext(ctx, dest, stmt, all...)
	})
}

// Tell runs a call that changes something, and tells whether it found its row.
func (db *DB) Tell(ctx context.Context, c *HostCall, host string, now Micros, args ...any) (bool, error) {
	stmt, all, err := c.form(db, host, now, args)
	if err != nil {
		return false, err
	}
	var found bool
	err = patiently(ctx, func() error {
		var err error
		if db.hostAccount {
			err = db.GetContext(ctx, &found, stmt, all...)
		} else {
			found, err = Changed(db.ExecContext(ctx, stmt, all...))
		}
		return err
	})
	return found, err
}

const (
	callTries = 5
	callPause = 200 * time.Millisecond
)

// patiently tries a call again that lost to others, or that met a migration which is just
// renewing it.
func patiently(ctx context.Context, f func() error) error {
	for try := 1; ; try++ {
		err := f()
		if err == nil || try == callTries || ctx.Err() != nil || !Transient(err) && !renewing(err) {
			return err
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(callPause):
		}
	}
}

// noHostState is the SQLSTATE by which a call refuses an account that stands for no host.
const noHostState = "45001"

// AccountGone reports whether err says that this host's account was removed.
func AccountGone(err error) bool {
	const accessDenied = 1045
	var my *mysql.MySQLError
	return errors.As(err, &my) && (my.Number == accessDenied || string(my.SQLState[:]) == noHostState)
}

func renewing(err error) bool {
	var my *mysql.MySQLError
	return errors.As(err, &my) && (my.Number == noSuchProcedure || my.Number == noExecute)
}

func (c *HostCall) procedure() string { return "kn_" + c.name }

// ownRow says which row of a table a call may change. The calls look whether there is one
// before they change it, since a change that finds a row of another host would lock it, or
// wait for its lock, before it sees whose it is. Of hosts the row is named by :host itself.
var ownRow = map[string]string{
	"work":    "id = :id AND host = :host",
	"servers": "uuid = :server AND host = :host",
	"hosts":   "",
}

var updated = regexp.MustCompile(`^\s*UPDATE @(\w+) SET `)

// own is the condition under which the call goes on, "" for always.
func (c *HostCall) own() string {
	m := updated.FindStringSubmatch(c.stmt)
	if m == nil || ownRow[m[1]] == "" {
		return ""
	}
	return "SELECT COUNT(*) INTO v_own FROM @" + m[1] + " WHERE " + ownRow[m[1]]
}

// inside writes a statement as the procedure has it.
func inside(main, stmt string) string {
	return callWord.ReplaceAllStringFunc(stmt, func(w string) string {
		switch {
		case w[0] == '@':
			return "`" + main + "`.`" + w[1:] + "`"
		case w == ":host" || w == ":now":
			return "v_" + w[1:]
		}
		return "p_" + w[1:]
	})
}

// create gives the statement that makes the call's procedure in the host database of main.
func (c *HostCall) create(main, collation, comment string) string {
	var params, checks []string
	for _, p := range c.params {
		params = append(params, "p_"+p.name+" "+p.kind)
		checks = append(checks, "p_"+p.name+" IS NULL")
		if p.check != "" {
			checks = append(checks, "NOT ("+strings.ReplaceAll(p.check, "{}", "p_"+p.name)+")")
		}
	}
	refuse := ""
	if len(checks) > 0 {
		refuse = "IF " + strings.Join(checks, " OR ") + " THEN SIGNAL SQLSTATE '45000' SET MESSAGE_TEXT = 'kilonova: an argument is out of range'; END IF;\n"
	}
	do := inside(main, c.stmt)
	if !c.asks {
		do += ";\nSET v_found = ROW_COUNT() > 0"
	}
	if own := c.own(); own != "" {
		do = inside(main, own) + ";\nIF v_own > 0 THEN " + do + "; END IF"
	}
	if !c.asks {
		do += ";\nSELECT v_found"
	}
	// The first three end what the session had begun, whatever its settings say, make each
	// further statement a transaction of its own that locks what it changes and nothing
	// beside it, and let none wait longer than the session may last. A SELECT locks nothing,
	// where a SET or an IF with the same question would. SYSDATE is the one clock that a
	// session cannot set.
	return fmt.Sprintf(`CREATE DEFINER = %s PROCEDURE `+"`%s_host`.`%s`"+`(%s)
SQL SECURITY DEFINER MODIFIES SQL DATA COMMENT '%s'
BEGIN
DECLARE v_host VARCHAR(255) CHARACTER SET utf8mb4 COLLATE %s;
DECLARE v_now, v_own, v_found BIGINT DEFAULT 0;
COMMIT AND NO CHAIN NO RELEASE;
SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED;
SET autocommit = 1, innodb_lock_wait_timeout = %s, lock_wait_timeout = %s, time_zone = '+00:00';
SET v_now = CAST(UNIX_TIMESTAMP(SYSDATE(6)) * 1000000 AS SIGNED);
SELECT MAX(a.host) INTO v_host FROM `+"`%s`"+`.host_accounts a WHERE a.account = CONVERT(SUBSTRING_INDEX(USER(), '@', 1) USING utf8mb4) COLLATE %s;
IF v_host IS NULL THEN SIGNAL SQLSTATE '%s' SET MESSAGE_TEXT = 'kilonova: this account has no host'; END IF;
%s%s;
END`, owner(main), main, c.procedure(), strings.Join(params, ", "), comment, collation, hostLockWait, hostLockWait, main, collation, noHostState, refuse, do)
}
