# shellcheck shell=bash
# Shared by the scripts: where things are, and how to say what happens.
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
CACHE=${KILONOVA_CACHE:-$ROOT/.cache}
STATE=${KILONOVA_STATE:-$ROOT/.state}
[[ $STATE == /* ]] || STATE=$PWD/$STATE
OSC_HEAD=$CACHE/venv-osc-head
OSC_6=$CACHE/venv-osc-6
PATH=$PATH:/usr/local/go/bin:/usr/local/sbin:/usr/sbin:/sbin
export KILONOVA_CONFIG=${KILONOVA_CONFIG:-/dev/null} # not that of a cloud which the machine runs
mkdir -p "$CACHE"

say() { printf '\033[1m==>\033[0m %s\n' "$*"; }
die() {
	printf 'error: %s\n' "$*" >&2
	exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# Bold on a terminal only.
[ -t 1 ] || say() { printf '==> %s\n' "$*"; }

# alive PIDFILE [WORD]: the process lives, and its command line has the word.
alive() {
	local pid
	[ -s "$1" ] || return 1
	pid=$(cat "$1")
	! gone "$pid" || return 1
	[ -z "${2:-}" ] || [ ! -r "/proc/$pid/cmdline" ] || tr '\0' ' ' <"/proc/$pid/cmdline" | grep -qF -- "$2"
}

# end PIDFILE [SECONDS]: asks the process to end, and ends it when the time is over.
end() {
	local pid
	[ -s "$1" ] || return 0
	pid=$(cat "$1")
	kill "$pid" 2>/dev/null || return 0
	for _ in $(seq $((${2:-20} * 10))); do
		gone "$pid" && return 0
		sleep 0.1
	done
	kill -9 "$pid" 2>/dev/null || true
}

# A zombie that nobody has buried is gone, too.
gone() { ! kill -0 "$1" 2>/dev/null || grep -qs '^State:[[:space:]]*Z' "/proc/$1/status"; }

free_port() { python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'; }
