#!/usr/bin/env bash
# gophercloud's own acceptance tests of the compute API, from the source of its module,
# against the simulator: as admin, and as a plain member those that want one.
#
# gophercloud.sh [REGEXP]: the tests whose names match alone. Tests that are not run, and
# why, are in tests/gophercloud/excluded.txt.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
. "$ROOT/scripts/cloud.sh"
cd "$ROOT"
module=github.com/gophercloud/gophercloud/v2
version=v2.15.0
package=./internal/acceptance/openstack/compute/v2
excluded=$ROOT/tests/gophercloud/excluded.txt

scripts/install.sh --for clients
say "Fetching gophercloud $version"
fetched=$(cd / && GOFLAGS=-mod=mod go mod download -json "$module@$version" |
	python3 -c 'import json, sys; print(json.load(sys.stdin)["Dir"])')

# A guest takes its time: one test wants to see PASSWORD, and asks at once and then each second.
cloud_start --sim-hosts 2 --sim-latency 200ms
source=$CLOUD_DIR/gophercloud
cp -r "$fetched" "$source"
chmod -R u+w "$source"
say "Building its tests"
(cd "$source" && GOFLAGS=-mod=mod go test -tags acceptance -c -o "$CLOUD_DIR/compute.test" "$package")

say "Making what they need: an image, flavors, a network, a member"
truncate -s 1M "$CLOUD_DIR/image"
OS_IMAGE_ID=$(os image create acceptance --public --disk-format raw --container-format bare --file "$CLOUD_DIR/image" -f value -c id)
# One test wants two ephemeral disks of a gigabyte, which the flavor must allow.
OS_FLAVOR_ID=$(os flavor create --ram 512 --disk 1 --ephemeral 2 --vcpus 1 acceptance -f value -c id)
OS_FLAVOR_ID_RESIZE=$(os flavor show m1.small -f value -c id)
OS_NETWORK_ID=$(os network show private -f value -c id)
# What asks for a floating address is excluded, but the suite wants these to be set.
OS_POOL_NAME=none OS_EXTGW_ID=$OS_NETWORK_ID OS_NETWORK_NAME=private OS_BRANCH=master OS_GUEST_AGENT=1
member=$(python3 -c 'import secrets; print(secrets.token_urlsafe(12))')
os project create acceptance >/dev/null
os user create --password "$member" member >/dev/null
os role add --user member --project acceptance member
admin=$(cloud_setting password)

for name in ${!OS_@}; do
	case $name in
	OS_IMAGE_ID | OS_FLAVOR_ID | OS_FLAVOR_ID_RESIZE | OS_NETWORK_ID | OS_POOL_NAME | OS_EXTGW_ID | OS_NETWORK_NAME | OS_BRANCH | OS_GUEST_AGENT) export "${name?}" ;;
	*) unset "$name" ;;
	esac
done
# suite NAME USER PASSWORD PROJECT PATTERN: runs the tests and leaves their output in $CLOUD_DIR/NAME.
suite() {
	(cd "$source/$package" && env OS_AUTH_URL="$CLOUD_URL/identity/v3" OS_USERNAME="$2" OS_PASSWORD="$3" OS_PROJECT_NAME="$4" \
		OS_DOMAIN_NAME=Default OS_REGION_NAME=RegionOne \
		"$CLOUD_DIR/compute.test" -test.v -test.timeout 20m -test.run "$5" -test.skip "$skip") >"$CLOUD_DIR/$1" 2>&1 || true
}
skip="^($(sed -n 's/^\(Test[A-Za-z0-9_]*\).*/\1/p' "$excluded" | paste -sd '|'))\$"
say "Running them as admin"
suite admin admin "$admin" admin "${1:-^Test}"
members=$(sed -n 's/^ *--- SKIP: \(Test[A-Za-z0-9_]*\).*/\1/p' "$CLOUD_DIR/admin" | paste -sd '|')
runs=("$CLOUD_DIR/admin")
if [ -n "$members" ]; then
	say "Running as a member those that an admin does not run"
	suite member member "$member" acceptance "^($members)\$"
	runs+=("$CLOUD_DIR/member")
fi
python3 tests/gophercloud/report.py "$excluded" "${runs[@]}"
