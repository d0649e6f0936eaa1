# shellcheck shell=bash
# For scripts that need a throw-away cloud: cloud_start and cloud_stop, after lib.sh.
#
# cloud_start [FLAG...] runs bin/kilonova up --driver sim on a free port with new state, and
# sets CLOUD_DIR (state is in CLOUD_DIR/state, the log is CLOUD_DIR/log) and CLOUD_URL.
# KILONOVA_KEEP=1 leaves the state for a look.
CLOUD_DIR=
CLOUD_URL=

cloud_start() {
	local binary=${KILONOVA_BIN:-$ROOT/bin/kilonova}
	[ -x "$binary" ] || die "$binary is missing: run  make build"
	CLOUD_DIR=$(mktemp -d "${TMPDIR:-/tmp}/kilonova-cloud.XXXXXX")
	: >"$CLOUD_DIR/out"
	trap cloud_stop EXIT
	trap 'exit 130' INT TERM
	"$binary" up --driver sim --state-dir "$CLOUD_DIR/state" --listen "127.0.0.1:$(free_port)" "$@" >"$CLOUD_DIR/out" 2>"$CLOUD_DIR/log" </dev/null &
	echo $! >"$CLOUD_DIR/pid"
	for _ in $(seq 300); do
		CLOUD_URL=$(sed -n 's/^kilonova: ready //p' "$CLOUD_DIR/out")
		[ -z "$CLOUD_URL" ] || return 0
		alive "$CLOUD_DIR/pid" || break
		sleep 0.1
	done
	tail -n 20 "$CLOUD_DIR/log" >&2
	die "the cloud did not start"
}

cloud_stop() {
	[ -n "$CLOUD_DIR" ] || return 0
	end "$CLOUD_DIR/pid" 20
	if [ -n "${KILONOVA_KEEP:-}" ]; then say "The cloud's state and log are in $CLOUD_DIR"; else rm -rf "$CLOUD_DIR"; fi
	CLOUD_DIR=
}

# cloud_setting NAME: a value of the cloud's clouds.yaml.
cloud_setting() { sed -n "s/^ *$1: *//p" "$CLOUD_DIR/state/clouds.yaml" | head -n 1; }

# os ARGUMENT...: the current openstack client on this cloud.
os() {
	(
		for name in ${!OS_@}; do unset "$name"; done
		OS_CLIENT_CONFIG_FILE=$CLOUD_DIR/state/clouds.yaml "$OSC_HEAD/bin/openstack" --os-cloud kilonova "$@"
	)
}
