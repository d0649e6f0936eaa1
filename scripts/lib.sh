# Shared by the scripts: where things are, and how to say what happens.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=$ROOT/.cache
STATE=${KILONOVA_STATE:-$ROOT/.state}
PATH=$PATH:/usr/local/go/bin:/usr/sbin:/sbin
mkdir -p "$CACHE"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() { printf 'error: %s\n' "$*" >&2; exit 1; }
has() { command -v "$1" >/dev/null 2>&1; }
