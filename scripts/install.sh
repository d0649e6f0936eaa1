#!/usr/bin/env bash
# install.sh --for image|up|test|clients|tempest
#
# Installs what is missing for make up, make test and so on. It looks for programs, not
# packages, so a second run is over at once.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
[ "${1:-}" = --for ] && shift
what=${1:-up}

# what is needed : Debian's package : Fedora's. A path is a file that must be there.
image="syslinux:syslinux:syslinux mcopy:mtools:mtools mkfs.vfat:dosfstools:dosfstools mke2fs:e2fsprogs:e2fsprogs
 sfdisk:fdisk:util-linux cpio:cpio:cpio modprobe:kmod:kmod xz:xz-utils:xz qemu-img:qemu-utils:qemu-img
 /usr/lib/syslinux/mbr/mbr.bin:syslinux-common:-"
up="$image cc:gcc:gcc /usr/include/stdlib.h:libc6-dev:glibc-devel git:git:git
 qemu-system-x86_64:qemu-system-x86:qemu-system-x86-core
 libvirtd:libvirt-daemon-system:libvirt-daemon-kvm virsh:libvirt-clients:libvirt-client
 dnsmasq:dnsmasq-base:dnsmasq ip:iproute2:iproute iptables:iptables:iptables-nft ebtables:ebtables:iptables-nft nft:nftables:nftables
 ping:iputils-ping:iputils ssh-keygen:openssh-client:openssh-clients prlimit:util-linux:util-linux setsid:util-linux:util-linux"
test="$up mariadbd:mariadb-server-core:mariadb-server mariadb:mariadb-client-core:mariadb unshare:util-linux:util-linux"
case $what in
image) want=$image ;;
up) want=$up ;;
test) want=$test ;;
clients | tempest) want="cc:gcc:gcc /usr/include/stdlib.h:libc6-dev:glibc-devel git:git:git ssh-keygen:openssh-client:openssh-clients" ;;
*) die "install.sh --for image|up|test|clients|tempest" ;;
esac
family=none
if has apt-get; then family=debian; elif has dnf; then family=fedora; fi

if [ "$what" != image ]; then
	has go || die "Go is missing: install the release that go.mod names or a newer one, then run this again"
	has python3 || die "Python 3 is missing: install it, then run this again"
fi

packages=()
need() { # DEBIAN FEDORA
	local name=$1
	[ $family != fedora ] || name=$2
	[ "$name" = - ] || [[ " ${packages[*]:-} " == *" $name "* ]] || packages+=("$name")
}
for entry in $want; do
	IFS=: read -r thing deb rpm <<<"$entry"
	if [[ $thing == /* ]]; then [ -e "$thing" ] || need "$deb" "$rpm"; else has "$thing" || need "$deb" "$rpm"; fi
done
if [ "$what" != image ]; then
	python3 -c 'import ensurepip, venv' 2>/dev/null || need python3-venv python3
fi

if [ ${#packages[@]} -gt 0 ]; then
	case $family in
	debian) by_hand="apt-get install --no-install-recommends" ;;
	fedora) by_hand="dnf install" ;;
	*) die "programs are missing, and there is neither apt-get nor dnf. With Debian's names, install:
  ${packages[*]}" ;;
	esac
	[ "$(id -u)" = 0 ] || die "programs are missing, and only root can install them. Run
  sudo $by_hand ${packages[*]}
and then this again"
	say "Installing ${packages[*]}"
	log=$CACHE/install.log
	: >"$log"
	if [ $family = debian ]; then
		export DEBIAN_FRONTEND=noninteractive
		get() { apt-get install -y -qq --no-install-recommends "${packages[@]}" >>"$log" 2>&1; }
		# Old lists of packages name files that are gone.
		get || { apt-get update -qq >>"$log" 2>&1 && get; } || {
			tail -n 20 "$log" >&2
			die "the packages could not be installed; all of it is in $log"
		}
	else
		dnf install -y -q "${packages[@]}" >>"$log" 2>&1 || {
			tail -n 20 "$log" >&2
			die "the packages could not be installed; all of it is in $log"
		}
	fi
fi

# venv DIR PROGRAM REQUIREMENT...: a Python environment with these packages, made once.
venv() {
	local dir=$1 program=$2 stamp
	shift 2
	stamp=$dir/.made-$(printf '%s\n' "$@" | sha256sum | cut -c1-16)
	[ -f "$stamp" ] && [ -x "$dir/bin/$program" ] && return
	exec 8>"$dir.lock"
	flock 8
	[ -f "$stamp" ] && return
	say "Installing $1 (in $dir)"
	rm -rf "$dir"
	python3 -m venv "$dir"
	"$dir/bin/pip" install -q --disable-pip-version-check "$@" >"$dir/pip.log" 2>&1 || {
		tail -n 20 "$dir/pip.log" >&2
		die "pip could not install $*"
	}
	"$dir/bin/$program" --version >/dev/null 2>&1 || {
		"$dir/bin/$program" --version >&2 || true
		die "$program was installed and does not start"
	}
	touch "$stamp"
	exec 8>&-
}

case $what in
up | clients) venv "$OSC_HEAD" openstack python-openstackclient ;;
tempest) venv "$CACHE/venv-tempest" tempest tempest ;;
esac
if [ "$what" = clients ]; then
	# Debian 12's releases, and the newest SDK that 6.0.0 wants at least.
	venv "$OSC_6" openstack python-openstackclient==6.0.0 openstacksdk==0.103.0 osc-lib==2.6.2 python-novaclient==18.1.0 \
		python-cinderclient==9.1.0 python-keystoneclient==5.0.1 'setuptools<81'
fi
