#!/usr/bin/env bash
# Writes docs/compatibility.md: what tempest-lite finds when it checks a throw-away cloud
# (make compatibility).
#
# compatibility.sh [FLAG...]: flags of  tempest-lite run  go with it. What fails and what is
# refused stands in the table, and is no failure of this script.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/cloud.sh"
table=$ROOT/docs/compatibility.md
checker=$ROOT/bin/tempest-lite

[ -x "$checker" ] || die "$checker is missing: run  make build"
cloud_start --sim-hosts 3
say "Checking $CLOUD_URL"
for name in ${!OS_@}; do unset "$name"; done
export OS_CLIENT_CONFIG_FILE=$CLOUD_DIR/state/clouds.yaml
status=0
"$checker" run --cloud kilonova --disturb --coverage "$CLOUD_DIR/compatibility.md" "$@" >"$CLOUD_DIR/report" || status=$?
# The counts, without what failed: the table tells that.
sed -n '/^area  /,$p' "$CLOUD_DIR/report"
[ "$status" -le 1 ] || die "the checks did not run to their end"
mkdir -p "$(dirname "$table")"
mv "$CLOUD_DIR/compatibility.md" "$table"
say "Wrote docs/compatibility.md"
