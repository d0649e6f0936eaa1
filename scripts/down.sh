#!/usr/bin/env bash
# Stops the cloud that make up started. Guests run on; data stays.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
[ -s "$STATE/pid" ] && kill -0 "$(cat "$STATE/pid")" 2>/dev/null || { say "No cloud runs"; exit 0; }
kill "$(cat "$STATE/pid")"
for _ in $(seq 150); do
	kill -0 "$(cat "$STATE/pid")" 2>/dev/null || { rm -f "$STATE/pid"; say "The cloud is down; its data is in $STATE"; exit 0; }
	sleep 0.1
done
die "the cloud (process $(cat "$STATE/pid")) does not stop"
