#!/usr/bin/env bash
# The whole cloud on this machine, with a guest that runs: make up. A second run changes
# nothing that exists.
#
# KILONOVA_STATE        where the cloud keeps everything (.state)
# KILONOVA_LISTEN       its address (127.0.0.1:8774)
# KILONOVA_LIBVIRT_URI  another libvirt than qemu:///system
# KILONOVA_ARGS         more flags for kilonova up, such as "--outbound nat"
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$ROOT"
listen=${KILONOVA_LISTEN:-127.0.0.1:8774}
uri=${KILONOVA_LIBVIRT_URI:-}
image=$CACHE/testvm.qcow2
began=$SECONDS
# What is written here is the cloud's; the build and libvirt have files that others read.
usual=$(umask)
umask 077
usually() { (umask "$usual" && "$@"); }

# reachable DIR: whether other accounts, QEMU's among them, may walk to it.
reachable() {
	local at=$1
	while [ "$at" != / ]; do
		[ ! -e "$at" ] || [ $((0$(stat -c %a "$at") & 1)) = 1 ] || return 1
		at=$(dirname "$at")
	done
}
# The guests' disks are in the state folder, and libvirt runs QEMU as another account.
if [ ! -e "$STATE" ] && [ "$(id -u)" = 0 ] && ! reachable "$(dirname "$STATE")"; then
	far=/var/lib/kilonova/$(printf %s "$STATE" | sha256sum | cut -c1-12)
	say "Others may not walk to $STATE: the cloud's data goes to $far, and $STATE is a link to it"
	(umask 066 && mkdir -p "$far")
	ln -s "$far" "$STATE"
fi
mkdir -p "$STATE"
given=$STATE
STATE=$(cd "$STATE" && pwd -P)
log=$STATE/kilonova.log

# wait_for SECONDS WHAT COMMAND...: until the command succeeds, with a dot on a terminal
# for each try. 2 from the command ends it.
wait_for() {
	local until=$((SECONDS + $1)) what=$2 code
	shift 2
	while :; do
		code=0
		"$@" || code=$?
		if [ $code = 0 ] || [ $code = 2 ] || [ $SECONDS -ge $until ]; then break; fi
		[ ! -t 1 ] || printf '.'
		sleep 0.5
	done
	[ ! -t 1 ] || printf '\r\033[K'
	[ $code = 0 ] || die "$what"
}

running() { alive "$STATE/pid" "--state-dir $STATE"; }
ready() {
	grep -qs '^kilonova: ready ' "$STATE/out" && return 0
	running || return 2
	return 1
}

say "Looking for what is missing"
usually scripts/install.sh --for up
if running; then
	say "The cloud runs already"
else
	say "Building bin/kilonova"
	usually make -s build
	say "Building the test image"
	usually scripts/build-testvm.sh "$image"
	say "Starting libvirt"
	usually scripts/libvirt.sh start
	say "Starting the cloud"
	: >"$STATE/out"
	flags=(--state-dir "$STATE" --listen "$listen")
	[ -z "$uri" ] || flags+=(--libvirt-uri "$uri")
	# shellcheck disable=SC2086 # several words are several flags
	setsid nohup "${KILONOVA_BIN:-bin/kilonova}" up "${flags[@]}" ${KILONOVA_ARGS:-} >"$STATE/out" 2>>"$log" </dev/null &
	echo $! >"$STATE/pid"
	(wait_for 90 "kilonova is not ready; the end of $log is above, and  bin/kilonova doctor  looks closer" ready) || {
		tail -n 15 "$log" >&2
		exit 1
	}
fi
wait_for 90 "the cloud that runs is not ready; $log says more" ready
say "$(sed -n 's/^kilonova: ready/The cloud is ready at/p' "$STATE/out")"

# . openrc shall be all that a shell needs, and nothing but openstack comes with it.
mkdir -p "$CACHE/bin"
ln -sfn "$OSC_HEAD/bin/openstack" "$CACHE/bin/openstack"
# shellcheck disable=SC2016 # the path of the shell that reads it
has openstack || grep -qsF "$CACHE/bin" "$STATE/openrc" || printf 'export PATH="$PATH:%s"\n' "$CACHE/bin" >>"$STATE/openrc"

for name in ${!OS_@}; do unset "$name"; done # the caller's other clouds
export OS_CLIENT_CONFIG_FILE=$STATE/clouds.yaml
errors=$STATE/openstack.err
os() { "$OSC_HEAD/bin/openstack" --os-cloud kilonova "$@" 2>"$errors"; }
must() { os "$@" || { cat "$errors" >&2; die "openstack $* failed; $log says more"; }; }
# exists OBJECT NAME: nothing but "not found" counts as absent.
exists() {
	os "$1" show "$2" -f json >"$STATE/shown" && return 0
	grep -qE 'No .*(found|exists)|could not be found|404' "$errors" || { cat "$errors" >&2; die "openstack $1 show $2 failed; $log says more"; }
	return 1
}
field() { python3 -c 'import json, sys; v = json.load(open(sys.argv[1])).get(sys.argv[2]); print(v if isinstance(v, str) else json.dumps(v))' "$STATE/shown" "$1"; }

if exists server hello; then
	say "Server hello exists"
else
	if exists image testvm && [ "$(field status)" = active ]; then
		say "Image testvm exists"
	else
		say "Creating image testvm"
		[ -s "$image" ] || usually scripts/build-testvm.sh "$image"
		must image create testvm --public --disk-format qcow2 --container-format bare --file "$image" -f value -c id >/dev/null
	fi
	[ -s "$STATE/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C kilonova -f "$STATE/id_ed25519"
	if exists keypair kilonova; then
		say "Keypair kilonova exists"
	else
		say "Creating keypair kilonova"
		must keypair create --public-key "$STATE/id_ed25519.pub" kilonova -f value -c name >/dev/null
	fi
	say "Creating server hello"
	must server create --image testvm --flavor m1.nano --network private --key-name kilonova hello -f value -c id >/dev/null
	exists server hello || die "server hello was created and is not there; $log says more"
fi

settled() {
	case $(field status) in
	ERROR) return 2 ;;
	BUILD | REBUILD | RESIZE | REBOOT | HARD_REBOOT) ;;
	*) return 0 ;; # ACTIVE; or somebody stopped or paused it, and it is not ours to start
	esac
	sleep 0.5
	exists server hello || return 2
	return 1
}
say "Waiting for server hello to be ACTIVE"
(wait_for 180 "server hello did not become ACTIVE (the reason is below); to try again:  openstack server delete hello  and  make up" settled) || {
	exists server hello && field fault >&2
	exit 1
}
status=$(field status)
address=$(python3 -c '
import json, sys
a = json.load(open(sys.argv[1]))["addresses"]
print(next((ip for ips in a.values() for ip in ips), "") if isinstance(a, dict) else a.split("=")[-1])' "$STATE/shown")

if [ "$status" = ACTIVE ]; then
	say "Waiting for the guest's login line"
	booted() { os console log show hello >"$STATE/console" && grep -q 'login:' "$STATE/console"; }
	(wait_for 180 "the guest did not come to its login line" booted) || {
		tail -n 15 "$STATE/console" >&2
		exit 1
	}
	echo
	# Its metadata has the password of its first boot.
	tr -d '\r' <"$STATE/console" | grep -v -e '^$' -e KN-META-JSON | cut -c1-110 | tail -n 10 | sed 's/^/    /'
else
	say "Server hello is $status, and is left so"
fi
cat <<T

The cloud is up ($((SECONDS - began)) s). Server hello is $status at $address:

    ping $address
    ssh -i $given/id_ed25519 -o StrictHostKeyChecking=no root@$address

Use it:

    . $given/openrc
    openstack server list
    openstack console log show hello
    openstack server create --image testvm --flavor m1.nano --network private --key-name kilonova second

or, with other clouds beside it:

    export OS_CLIENT_CONFIG_FILE=$given/clouds.yaml
    $(has openstack && echo openstack || echo "$CACHE/bin/openstack") --os-cloud kilonova server list

make down stops the cloud; guests run on, and the data stays in $given.
T
