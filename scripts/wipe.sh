#!/usr/bin/env bash
# Removes the cloud that make up made: its guests, its networks and all of its data.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ -d "$STATE" ] || { say "There is no cloud at $STATE"; exit 0; }
if [ "${1:-}" != --yes ]; then
	read -r -p "Remove the cloud in $STATE with all its guests and images? [y/N] " answer
	[ "$answer" = y ] || exit 1
fi
"$ROOT/scripts/down.sh"
if has virsh && virsh -q -c qemu:///system version >/dev/null 2>&1; then
	for dir in "$STATE"/compute/instances/*/; do
		id=$(basename "$dir")
		[[ $id =~ ^[0-9a-f-]{36}$ ]] || continue
		virsh -q -c qemu:///system destroy "$id" >/dev/null 2>&1 || true
		virsh -q -c qemu:///system undefine --managed-save --nvram "$id" >/dev/null 2>&1 || true
	done
	python3 - "$STATE/kilonova.db" <<'P' | while read -r id; do
import sqlite3, sys
for (uuid,) in sqlite3.connect(sys.argv[1]).execute("SELECT uuid FROM networks"):
    print(uuid[:8])
P
		virsh -q -c qemu:///system net-destroy "kn-$id" >/dev/null 2>&1 || true
		virsh -q -c qemu:///system net-undefine "kn-$id" >/dev/null 2>&1 || true
	done
fi
real=$(readlink -f "$STATE")
rm -rf "$STATE" "$real"
say "The cloud is gone"
