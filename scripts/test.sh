#!/usr/bin/env bash
# Every test, with everything that it needs: SQLite and a real MariaDB, real guests under
# libvirt, the race detector. The tests of libvirt start daemons of their own, in namespaces,
# and leave the machine's alone. Arguments go to go test; KILONOVA_TEST_PACKAGES chooses packages.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
began=$SECONDS
db=$(mktemp -d "$CACHE/mariadb-test.XXXXXX")
cleanup() {
	local code=$?
	trap - EXIT
	scripts/mariadb.sh wipe "$db" || true
	if [ $code = 0 ]; then say "Passed in $((SECONDS - began)) s"; else say "FAILED after $((SECONDS - began)) s"; fi
	exit $code
}
trap cleanup EXIT
trap 'exit 130' INT TERM

say "Looking for what is missing"
scripts/install.sh --for test
say "Building the test image"
KILONOVA_TEST_IMAGE=$CACHE/testvm.qcow2
scripts/build-testvm.sh "$KILONOVA_TEST_IMAGE"
say "Starting MariaDB"
scripts/mariadb.sh start "$db"
KILONOVA_TEST_MYSQL=$(scripts/mariadb.sh url "$db")
export KILONOVA_TEST_IMAGE KILONOVA_TEST_MYSQL
say "Building"
make -s build
say "Testing (SQLite and MariaDB, libvirt guests, race detector)"
# shellcheck disable=SC2086 # several words are several packages
CGO_ENABLED=1 go test -race -p 2 -timeout 28m "$@" ${KILONOVA_TEST_PACKAGES:-./...}
