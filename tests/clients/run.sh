#!/usr/bin/env bash
# run.sh [new|6|both] [REGEXP]: the table of commands with the current openstack client and
# with Debian 12's, each against a new cloud of the simulator (make test-clients).
# REGEXP chooses commands; those that they build upon must be among them.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/../../scripts/lib.sh"
. "$ROOT/scripts/cloud.sh"
which=${1:-both}
only=${2:-}
[ "$which" != both ] || which="new 6"

"$ROOT/scripts/install.sh" --for clients
passed=0 failed=0 skipped=0
for client in $which; do
	case $client in
	new) venv=$OSC_HEAD ;;
	6) venv=$OSC_6 ;;
	*) die "run.sh [new|6|both] [REGEXP]" ;;
	esac
	cloud_start
	say "$("$venv/bin/openstack" --version) against $CLOUD_URL"
	work=$CLOUD_DIR/client
	mkdir "$work"
	truncate -s 1M "$work/image"
	printf '#!/bin/sh\necho hello\n' >"$work/script"
	ssh-keygen -q -t ed25519 -N '' -C someone -f "$work/key"
	env -i HOME="$work" PATH="$PATH" LANG=C.UTF-8 COLUMNS=200 OS_CLIENT_CONFIG_FILE="$CLOUD_DIR/state/clouds.yaml" \
		"$venv/bin/python" -W ignore "$ROOT/tests/clients/client.py" "$client" "$ROOT/tests/clients/commands.txt" "$work" "$only"
	IFS=' ' read -r p f s < <("$venv/bin/python" -c 'import json, sys; c = json.load(open(sys.argv[1])); print(c["passed"], c["failed"], c["skipped"])' "$work/count")
	echo "$("$venv/bin/openstack" --version): $p passed, $f failed, $s skipped"
	passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
	cloud_stop
done
echo "$passed passed, $failed failed, $skipped skipped"
[ $failed = 0 ]
