#!/usr/bin/env bash
# mariadb.sh start|stop|kill|dsn [DIR]: a private MariaDB on loopback, for tests. Its data
# and its port are in DIR, a folder that it makes.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
dir=${2:-$CACHE/mariadb}
pidfile=$dir/pid

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
running() { [ -f "$pidfile" ] && kill -0 "$(cat "$pidfile")" 2>/dev/null; }
ping() { mariadb-admin --no-defaults --protocol=tcp -h 127.0.0.1 -P "$(cat "$dir/port")" -u root ping >/dev/null 2>&1; }

case ${1:-} in
start)
	mkdir -p "$dir"
	dir=$(cd "$dir" && pwd)
	pidfile=$dir/pid
	running && ping && exit 0
	user=()
	if [ "$(id -u)" = 0 ]; then
		# The server does not run as root; its own account must reach the folder.
		base=/var/tmp/kilonova-mariadb-$(printf %s "$dir" | sha256sum | cut -c1-12)
		mkdir -p "$base"
		chown mysql:mysql "$base"
		user=(--user=mysql)
	else
		base=$dir/data-root
		mkdir -p "$base"
	fi
	printf %s "$base" >"$dir/base"
	if [ ! -d "$base/data/mysql" ]; then
		rm -rf "$base/data"
		mariadb-install-db --no-defaults "${user[@]}" --datadir="$base/data" --auth-root-authentication-method=normal --skip-test-db >"$dir/install.log" 2>&1 ||
			{ cat "$dir/install.log" >&2; die "MariaDB could not be set up"; }
	fi
	[ -s "$dir/port" ] || free_port >"$dir/port"
	setsid mariadbd --no-defaults "${user[@]}" --datadir="$base/data" --socket="$base/sock" --pid-file="$base/pid" --log-error="$base/log" \
		--bind-address=127.0.0.1 --port="$(cat "$dir/port")" --skip-name-resolve --innodb-flush-log-at-trx-commit=2 \
		--innodb-buffer-pool-size=256M --max-connections=400 --skip-log-bin --character-set-server=utf8mb4 >/dev/null 2>&1 &
	echo $! >"$pidfile"
	for _ in $(seq 300); do
		ping && exit 0
		sleep 0.1
	done
	tail -n 20 "$base/log" >&2
	die "MariaDB did not start"
	;;
stop)
	running || exit 0
	kill "$(cat "$pidfile")"
	for _ in $(seq 100); do
		running || exit 0
		sleep 0.1
	done
	kill -9 "$(cat "$pidfile")"
	;;
wipe)
	"$0" stop "$dir"
	[ -s "$dir/base" ] && rm -rf "$(cat "$dir/base")"
	rm -rf "$dir"
	;;
kill) kill -9 "$(cat "$pidfile")" ;;
dsn) echo "root@tcp(127.0.0.1:$(cat "$dir/port"))/" ;;
*) die "mariadb.sh start|stop|kill|wipe|dsn [DIR]" ;;
esac
