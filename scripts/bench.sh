#!/usr/bin/env bash
# Figures on SQLite and on MariaDB. They are for reading, not for passing. Arguments go to
# the measuring program.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
scripts/install.sh --for test
say "Go benchmarks"
go test -run '^$' -bench . -benchtime 1s ./compat ./identity | grep -E '^(Benchmark|pkg)' || true
say "On SQLite"
KILONOVA_DB='' go run ./bench "$@"
db=$(mktemp -d "$CACHE/mariadb-bench.XXXXXX")
trap 'scripts/mariadb.sh wipe "$db"' EXIT
scripts/mariadb.sh start "$db"
say "On MariaDB"
KILONOVA_DB=$(scripts/mariadb.sh url "$db") go run ./bench --poll-hosts 1000 "$@"
