#!/usr/bin/env bash
# A minute of kill -9 on SQLite and another on MariaDB, with clients at work, and a minute with
# a host whose database account is used to do harm.
# KILONOVA_FAULT_SECONDS is the length of each.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
scripts/install.sh --for test
KILONOVA_FAULT_SECONDS=${KILONOVA_FAULT_SECONDS:-60} go test -count=1 -v -timeout 20m ./tests/fault "$@"
