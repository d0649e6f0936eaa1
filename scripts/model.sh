#!/usr/bin/env bash
# Plays random sequences of requests, finished, failed and lost work against the state table:
# COUNT of them on SQLite, a tenth on a MariaDB of its own. SEED plays a run again.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
COUNT=${COUNT:-100000}
export KILONOVA_MODEL_SEED=${SEED:-$RANDOM$RANDOM}
db=$(mktemp -d "$CACHE/mariadb-model.XXXXXX")
trap 'scripts/mariadb.sh wipe "$db" || true' EXIT
trap 'exit 130' INT TERM
scripts/mariadb.sh start "$db"
KILONOVA_TEST_MYSQL=$(scripts/mariadb.sh url "$db")
export KILONOVA_TEST_MYSQL
say "$COUNT sequences on SQLite, $((COUNT / 10)) on MariaDB, seed $KILONOVA_MODEL_SEED"
# Two workers each, which share the sequences.
KILONOVA_MODEL_WORKERS=2 KILONOVA_MODEL_COUNT=$((COUNT / 2)) go test -v -count 1 -timeout 0 -run TestModelSQLite ./servers
KILONOVA_MODEL_WORKERS=2 KILONOVA_MODEL_COUNT=$((COUNT / 20)) go test -v -count 1 -timeout 0 -run TestModelMariaDB ./servers
