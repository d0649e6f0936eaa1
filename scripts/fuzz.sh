#!/usr/bin/env bash
# Runs each fuzz target for a while: FUZZ_SECONDS, 20 if unset.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
grep -rlE '^func Fuzz' --include='*_test.go' . | while read -r file; do
	grep -oE '^func Fuzz[A-Za-z0-9_]+' "$file" | sed 's/^func //' | while read -r target; do
		say "$target in ./$(dirname "${file#./}")"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZ_SECONDS:-20}s" "./$(dirname "${file#./}")"
	done
done
