#!/usr/bin/env bash
# Runs each fuzz target for a while: FUZZ_SECONDS, 20 if unset. Arguments choose packages.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
[ $# -gt 0 ] || set -- ./...
found=0
for package in $(go list "$@"); do
	dir=$(go list -f '{{.Dir}}' "$package")
	for target in $(sed -n 's/^func \(Fuzz[A-Za-z0-9_]*\)(.*/\1/p' "$dir"/*_test.go 2>/dev/null | sort); do
		found=1
		say "$target in $package"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "${FUZZ_SECONDS:-20}s" "$package"
	done
done
[ $found = 1 ] || die "no fuzz target in $*"
