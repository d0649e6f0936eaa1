#!/usr/bin/env bash
# Stops the cloud that make up started. Guests run on; the data stays.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ ! -d "$STATE" ] || STATE=$(cd "$STATE" && pwd -P)
if ! alive "$STATE/pid" "--state-dir $STATE"; then
	say "No cloud runs in $STATE"
	exit 0
fi
say "Stopping the cloud"
end "$STATE/pid" 30
rm -f "$STATE/pid"
say "It is down; its guests run on, and its data is in $STATE"
