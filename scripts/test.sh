#!/usr/bin/env bash
# Every test, with everything that it needs: SQLite and a real MariaDB, real guests under
# libvirt, the race detector.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"

scripts/install.sh test
say "Building the test image"
scripts/build-testvm.sh "$CACHE/testvm.qcow2"
export KILONOVA_TEST_IMAGE=$CACHE/testvm.qcow2
say "Starting MariaDB"
db=$CACHE/mariadb-test
scripts/mariadb.sh wipe "$db"
trap 'scripts/mariadb.sh wipe "$db"' EXIT
scripts/mariadb.sh start "$db"
KILONOVA_TEST_MYSQL=$(scripts/mariadb.sh dsn "$db")
export KILONOVA_TEST_MYSQL
say "Building"
make -s build
say "Testing (SQLite and MariaDB, libvirt guests, race detector)"
go test -race -p 2 -timeout 25m ./... "$@"
