#!/usr/bin/env bash
# Tempest's tests of what exists, against the simulator (make test-tempest).
#
# tempest.sh [REGEXP]: those tests alone. tests/tempest/include.txt names the classes that are run,
# tests/tempest/exclude.txt single tests that are not, each with its reason.
# KILONOVA_KEEP=1 leaves Tempest's log and the cloud's.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/cloud.sh"
tempest=$CACHE/venv-tempest/bin

"$ROOT/scripts/install.sh" --for clients
"$ROOT/scripts/install.sh" --for tempest
# Guests take as long as short-lived ones do: some tests look at what goes on.
cloud_start --sim-hosts 2 --sim-latency 100ms
say "$("$tempest/tempest" --version) against $CLOUD_URL"

say "Making what the tests need: two images, and the flavors that exist"
truncate -s 1M "$CLOUD_DIR/image"
make_image() { os image create "$1" --public --disk-format raw --container-format bare --file "$CLOUD_DIR/image" -f value -c id; }
image=$(make_image tempest)
image_alt=$(make_image tempest-alt)
flavor=$(os flavor show m1.tiny -f value -c id)
flavor_alt=$(os flavor show m1.small -f value -c id)

workspace=$CLOUD_DIR/tempest
export HOME=$CLOUD_DIR/home # its list of workspaces is in there
mkdir -p "$HOME"
for name in ${!OS_@}; do unset "$name"; done
cd "$CLOUD_DIR"
"$tempest/tempest" init tempest >init.log 2>&1 || {
	cat init.log >&2
	die "tempest init failed"
}
cd "$workspace"
cat >etc/tempest.conf <<T
[DEFAULT]
debug = True
log_file = $workspace/tempest.log

[oslo_concurrency]
lock_path = $workspace/lock

[service_available]
nova = True
glance = True
neutron = True
cinder = False
swift = False
horizon = False

[auth]
admin_username = admin
admin_password = $(cloud_setting password)
admin_project_name = admin
admin_domain_name = Default
use_dynamic_credentials = True
# Networks of a project's own, with their routers, come with the network service.
create_isolated_networks = False
tempest_roles = member

[identity]
uri_v3 = $CLOUD_URL/identity/v3
auth_version = v3
region = RegionOne
v3_endpoint_type = public

[validation]
# The simulator's guests answer no ssh.
run_validation = False

[compute]
image_ref = $image
image_ref_alt = $image_alt
flavor_ref = $flavor
flavor_ref_alt = $flavor_alt
fixed_network_name = private
build_interval = 1
build_timeout = 60
ready_wait = 0
max_microversion = latest

[compute-feature-enabled]
resize = True
pause = True
suspend = True
snapshot = True
disk_config = True
config_drive = True
console_output = True
metadata_service = True
change_password = True
personality = True
xenapi_apis = False
interface_attach = False
shelve = False
rescue = False
stable_rescue = False
live_migration = False
cold_migration = False
swap_volume = False
volume_multiattach = False
vnc_console = False
spice_console = False
serial_console = False

[network]
project_network_cidr = 10.100.0.0/16
shared_physical_network = True
build_timeout = 60
build_interval = 1

[network-feature-enabled]
floating_ips = False

[image]
build_timeout = 60
build_interval = 1

[image-feature-enabled]
import_image = True
T

sed -e 's/#.*//' -e 's/[[:space:]]*$//' -e '/^$/d' "$ROOT/tests/tempest/exclude.txt" >exclude
if [ -n "${1:-}" ]; then
	choose=(--regex "$1")
else
	sed -e '/^#/d' -e '/^$/d' "$ROOT/tests/tempest/include.txt" >include
	choose=(--include-list include --exclude-list exclude)
fi
say "Running Tempest (its log is $workspace/tempest.log until this ends)"

"$tempest/tempest" run --subunit --concurrency "${TEMPEST_CONCURRENCY:-2}" "${choose[@]}" >stream 2>run.log || true
if [ ! -s stream ]; then
	tail -n 20 run.log >&2
	die "tempest ran nothing"
fi
"$tempest/python" "$ROOT/tests/tempest/report.py" stream "$ROOT/tests/tempest/exclude.txt"
