#!/usr/bin/env bash
# The whole cloud on this machine, with a guest that runs. A second run changes nothing
# that exists.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
cd "$ROOT"
listen=${KILONOVA_LISTEN:-127.0.0.1:8774}
log=$STATE/kilonova.log

running() { [ -s "$STATE/pid" ] && kill -0 "$(cat "$STATE/pid")" 2>/dev/null; }

start=$SECONDS
scripts/install.sh up
say "Building kilonova"
make -s build
say "Building the test image"
scripts/build-testvm.sh "$CACHE/testvm.qcow2"
say "Starting libvirt"
scripts/libvirt.sh start
mkdir -p "$STATE"
chmod 711 "$STATE"
if running; then
	say "The cloud runs already"
else
	say "Starting the cloud"
	: >"$STATE/out"
	setsid nohup bin/kilonova up --state-dir "$STATE" --listen "$listen" ${KILONOVA_ARGS:-} >"$STATE/out" 2>>"$log" </dev/null &
	echo $! >"$STATE/pid"
	for _ in $(seq 600); do
		grep -q '^kilonova: ready' "$STATE/out" && break
		running || { tail -n 20 "$log" >&2; die "kilonova stopped; bin/kilonova doctor says what this machine lacks"; }
		sleep 0.1
	done
	grep -q '^kilonova: ready' "$STATE/out" || { tail -n 20 "$log" >&2; die "kilonova is not ready after a minute"; }
fi
say "$(tail -n 1 "$STATE/out")"

export OS_CLIENT_CONFIG_FILE=$STATE/clouds.yaml
openstack() { "$CACHE/openstackclient/bin/openstack" --os-cloud kilonova "$@"; }
have() { openstack "$@" -f value -c id >/dev/null 2>&1 || openstack "$@" -f value -c name >/dev/null 2>&1; }

say "Image testvm"
have image show testvm || openstack image create testvm --public --disk-format qcow2 --container-format bare --file "$CACHE/testvm.qcow2" -f value -c id >/dev/null
say "Keypair kilonova"
[ -s "$STATE/id_ed25519" ] || ssh-keygen -q -t ed25519 -N '' -C kilonova -f "$STATE/id_ed25519"
have keypair show kilonova || openstack keypair create --public-key "$STATE/id_ed25519.pub" kilonova -f value -c name >/dev/null
say "Server hello"
have server show hello || openstack server create --image testvm --flavor m1.nano --network private --key-name kilonova hello -f value -c id >/dev/null
for _ in $(seq 120); do
	status=$(openstack server show hello -f value -c status)
	case $status in
	ACTIVE) break ;;
	ERROR) openstack server show hello -f value -c fault; die "the server went to ERROR; $log says more" ;;
	SHUTOFF) openstack server start hello ;;
	esac
	sleep 1
done
[ "$status" = ACTIVE ] || die "the server is $status after two minutes"
say "Waiting for the guest's login line"
for _ in $(seq 120); do
	console=$(openstack console log show hello 2>/dev/null || true)
	[[ $console == *login:* ]] && break
	sleep 1
done
printf '%s\n' "$console" | tail -n 12 | sed 's/^/    /'
[[ $console == *login:* ]] || die "the guest did not come to its login line"
address=$(openstack server show hello -f json | python3 -c 'import json, sys; print([a for n in json.load(sys.stdin)["addresses"].values() for a in n][0])')
cat <<T

The cloud is up (in $((SECONDS - start)) s). The guest "hello" is at $address:

    ping $address
    ssh -i $STATE/id_ed25519 root@$address

Use it:

    . $STATE/openrc
    export PATH=$CACHE/openstackclient/bin:\$PATH
    openstack server list
    openstack console log show hello
    openstack server create --image testvm --flavor m1.nano --network private --key-name kilonova second

make down stops the cloud; guests run on and data stays.
T
