#!/usr/bin/env bash
# Installs what is missing: install.sh up|test|clients. A second run finds nothing to do.
set -euo pipefail
. "$(dirname "$0")/lib.sh"
what=${1:-up}

# command:Debian package:Fedora package
up="cc:gcc:gcc qemu-system-x86_64:qemu-system-x86:qemu-system-x86-core qemu-img:qemu-utils:qemu-img
 libvirtd:libvirt-daemon-system:libvirt-daemon-kvm virsh:libvirt-clients:libvirt-client dnsmasq:dnsmasq-base:dnsmasq
 ip:iproute2:iproute ping:iputils-ping:iputils iptables:iptables:iptables ssh-keygen:openssh-client:openssh
 syslinux:syslinux:syslinux mcopy:mtools:mtools mkfs.vfat:dosfstools:dosfstools mke2fs:e2fsprogs:e2fsprogs
 sfdisk:fdisk:util-linux cpio:cpio:cpio depmod:kmod:kmod"
test="$up mariadbd:mariadb-server:mariadb-server mariadb:mariadb-client:mariadb unshare:util-linux:util-linux"
case $what in
up) want=$up ;;
test | clients) want=$test ;;
*) die "install.sh up|test|clients" ;;
esac

has go || die "Go is missing: install Go 1.26 or newer, then run this again"
has python3 || die "Python 3 is missing: install it, then run this again"

debian=() fedora=()
for entry in $want; do
	IFS=: read -r cmd deb rpm <<<"$entry"
	has "$cmd" && continue
	debian+=("$deb") fedora+=("$rpm")
done
python3 -c 'import ensurepip, venv' 2>/dev/null || { debian+=(python3-venv); fedora+=(python3); }
if [ ${#debian[@]} -gt 0 ]; then
	if has apt-get; then
		[ "$(id -u)" = 0 ] || die "missing: ${debian[*]}
  run:  sudo apt-get install --no-install-recommends ${debian[*]}"
		say "Installing ${debian[*]}"
		export DEBIAN_FRONTEND=noninteractive
		apt-get install -y -qq --no-install-recommends "${debian[@]}" >"$CACHE/install.log" 2>&1 ||
			{ apt-get update -qq >>"$CACHE/install.log" 2>&1 && apt-get install -y -qq --no-install-recommends "${debian[@]}" >>"$CACHE/install.log" 2>&1; } ||
			{ tail -n 20 "$CACHE/install.log" >&2; die "the packages could not be installed"; }
	elif has dnf; then
		[ "$(id -u)" = 0 ] || die "missing: ${fedora[*]}
  run:  sudo dnf install ${fedora[*]}"
		say "Installing ${fedora[*]}"
		dnf install -y -q "${fedora[@]}"
	else
		die "missing, and no package manager that this script knows: ${debian[*]}"
	fi
fi

# venv NAME REQUIREMENT...: a Python environment with these packages, made once.
venv() {
	local dir=$CACHE/$1 stamp
	shift
	stamp=$(printf '%s\n' "$@" | sha256sum | cut -c1-16)
	[ -f "$dir/.made-$stamp" ] && return
	say "Installing $1 ..."
	rm -rf "$dir"
	python3 -m venv "$dir"
	"$dir/bin/pip" install -q --disable-pip-version-check "$@" >"$dir/pip.log" 2>&1 || { tail -n 20 "$dir/pip.log" >&2; die "could not install $*"; }
	touch "$dir/.made-$stamp"
}

venv openstackclient python-openstackclient
if [ "$what" = clients ]; then
	# The releases that Debian 12 ships.
	venv openstackclient-6.0.0 python-openstackclient==6.0.0 openstacksdk==0.103.0 osc-lib==2.6.2 python-novaclient==18.1.0 \
		python-cinderclient==9.1.0 python-keystoneclient==5.0.1 'setuptools<81' wheel
fi
