#!/usr/bin/env bash
# Figures on SQLite and on MariaDB. They are for reading, not for passing.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
scripts/install.sh test
go test -run '^$' -bench . -benchtime 1s ./compat ./identity 2>/dev/null | grep -E '^(Benchmark|pkg)' || true
go run ./bench "$@"
db=$CACHE/mariadb-bench
trap 'scripts/mariadb.sh wipe "$db"' EXIT
scripts/mariadb.sh start "$db"
port=$(cat "$db/port")
mariadb --no-defaults --protocol=tcp -h 127.0.0.1 -P "$port" -u root -e 'CREATE DATABASE IF NOT EXISTS kilonova CHARACTER SET utf8mb4 COLLATE utf8mb4_bin'
go run ./bench --db "root@tcp(127.0.0.1:$port)/kilonova" --poll-hosts 1000 "$@"
