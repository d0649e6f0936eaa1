#!/usr/bin/env bash
# mariadb.sh start|stop|kill|wipe|url|port [DIR]: a private MariaDB on loopback, for tests.
#
#   start   makes it if need be, starts it and waits until it answers; a port of its own, for good
#   url     its address in go-sql-driver's form, with the database kilonova
#   kill    kill -9, as faults do; start goes on with the same data on the same port
#   stop    ends it; the data stays
#   wipe    ends it and removes all of it
#
# DIR is .cache/mariadb unless given. A server started by root runs as another account.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
dir=${2:-$CACHE/mariadb}
mkdir -p "$dir"
dir=$(cd "$dir" && pwd)
chmod 700 "$dir"
pidfile=$dir/pid

setting() { cat "$dir/$1" 2>/dev/null || die "no MariaDB was made in $dir: run  scripts/mariadb.sh start $dir"; }
running() { alive "$pidfile" "$(cat "$dir/base" 2>/dev/null)/data"; }
answers() {
	MYSQL_PWD=$(setting password) timeout 5 mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$(setting port)" -u root \
		-e 'SELECT 1' kilonova >/dev/null 2>&1
}

make() {
	local base log=$dir/install.log
	has mariadbd || die "MariaDB is not installed: run  scripts/install.sh --for test"
	# A short path that the server's account can reach, as $dir may be in root's home.
	base=$(mktemp -d "${TMPDIR:-/tmp}/kilonova-mariadb.XXXXXX")
	od -An -N16 -tx1 /dev/urandom | tr -d ' \n' >"$dir/password"
	# Accounts are as tests want them: one, with a password, from this machine.
	cat >"$base/init.sql" <<T
CREATE OR REPLACE USER root@localhost IDENTIFIED BY '$(cat "$dir/password")';
CREATE OR REPLACE USER root@'127.0.0.1' IDENTIFIED BY '$(cat "$dir/password")';
GRANT ALL ON *.* TO root@localhost WITH GRANT OPTION;
GRANT ALL ON *.* TO root@'127.0.0.1' WITH GRANT OPTION;
DELETE FROM mysql.global_priv WHERE User = '' OR (User = 'root' AND Host NOT IN ('localhost', '127.0.0.1'));
FLUSH PRIVILEGES;
CREATE DATABASE IF NOT EXISTS kilonova CHARACTER SET utf8mb4 COLLATE utf8mb4_bin;
T
	local user
	user=$(id -un)
	if [ "$(id -u)" = 0 ]; then
		user=nobody
		! id mysql >/dev/null 2>&1 || user=mysql
		chmod 711 "$base"
		chown -R "$user" "$base"
	fi
	chmod 600 "$base/init.sql"
	printf %s "$user" >"$dir/user"
	mariadb-install-db --no-defaults --user="$user" --datadir="$base/data" --auth-root-authentication-method=normal --skip-test-db \
		--innodb-log-file-size=48M >"$log" 2>&1 || {
		tail -n 20 "$log" >&2
		die "MariaDB could not be set up"
	}
	printf %s "$base" >"$dir/base"
}

# launch: starts the server; it fails when the server ends again.
launch() {
	local base
	base=$(setting base)
	setsid mariadbd --no-defaults --user="$(setting user)" --datadir="$base/data" --socket="$base/sock" --pid-file="$base/pid" \
		--log-error="$base/log" --init-file="$base/init.sql" --bind-address=127.0.0.1 --port="$(setting port)" --skip-name-resolve \
		--character-set-server=utf8mb4 --collation-server=utf8mb4_bin --skip-log-bin --max-connections=400 \
		--innodb-flush-log-at-trx-commit=1 --innodb-buffer-pool-size=128M --innodb-log-file-size=48M --performance-schema=off \
		--max-session-mem-used=128M --maximum-max-session-mem-used=128M </dev/null >"$dir/out" 2>&1 &
	echo $! >"$pidfile"
	for _ in $(seq 600); do
		answers && return 0
		! gone "$(cat "$pidfile")" || return 1 # not running(): a process is not yet what it will be
		sleep 0.1
	done
	return 1
}

case ${1:-} in
start)
	running && answers && exit 0
	fresh=0
	if [ ! -d "$(cat "$dir/base" 2>/dev/null)/data/mysql" ]; then
		make
		fresh=1
		rm -f "$dir/port"
	fi
	if [ -s "$dir/port" ]; then
		launch && exit 0
	else
		# Between the choice of a port and its use another may take it.
		for _ in 1 2 3; do
			free_port >"$dir/port"
			launch && exit 0
		done
	fi
	tail -n 20 "$dir/out" "$(setting base)/log" >&2 || true
	[ $fresh = 0 ] || rm -f "$dir/port"
	die "MariaDB did not start"
	;;
stop)
	! running || end "$pidfile" 30
	rm -f "$pidfile"
	;;
kill)
	running || die "no MariaDB runs in $dir"
	pid=$(cat "$pidfile")
	kill -9 "$pid"
	until gone "$pid"; do sleep 0.02; done
	;;
wipe)
	! running || end "$pidfile" 30
	base=$(cat "$dir/base" 2>/dev/null || true)
	[[ $base != */kilonova-mariadb.* ]] || rm -rf "$base"
	rm -rf "$dir"
	;;
url | dsn) echo "root:$(setting password)@tcp(127.0.0.1:$(setting port))/kilonova" ;;
port) setting port ;;
*) die "mariadb.sh start|stop|kill|wipe|url|port [DIR]" ;;
esac
