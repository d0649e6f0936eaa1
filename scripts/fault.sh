#!/usr/bin/env bash
# A minute of kill -9 on SQLite and another on MariaDB, with clients at work.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
scripts/install.sh test
KILONOVA_FAULT_SECONDS=${KILONOVA_FAULT_SECONDS:-60} go test -count=1 -v -timeout 20m ./tests/fault
