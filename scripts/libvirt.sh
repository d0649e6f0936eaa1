#!/usr/bin/env bash
# libvirt.sh start|status: starts libvirt, also where no service manager does.
set -euo pipefail
. "$(dirname "$0")/lib.sh"

answers() { virsh -q -c qemu:///system version >/dev/null 2>&1; }
case ${1:-status} in
status) answers ;;
start)
	answers && exit 0
	[ "$(id -u)" = 0 ] || die "libvirt does not answer at qemu:///system for this account
  run:  sudo systemctl start libvirtd && sudo usermod -aG libvirt $(id -un)
  or run make up as root, or try without a hypervisor:  bin/kilonova up --driver sim"
	if [ -d /run/systemd/system ]; then
		systemctl start libvirtd.socket 2>/dev/null || systemctl start libvirtd 2>/dev/null || systemctl start virtqemud virtnetworkd
	else
		mkdir -p /run/libvirt
		# libvirt looks at its emulator anew for each guest while QEMU's account cannot
		# open a KVM device that root can.
		if [ -c /dev/kvm ] && getent group kvm >/dev/null && [ "$(stat -c %g /dev/kvm)" = 0 ]; then
			chgrp kvm /dev/kvm && chmod 660 /dev/kvm
		fi
		pgrep -x virtlogd >/dev/null || virtlogd -d
		pgrep -x libvirtd >/dev/null || libvirtd -d
	fi
	for _ in $(seq 100); do
		answers && exit 0
		sleep 0.1
	done
	die "libvirt does not answer; its log is in /var/log/libvirt (bin/kilonova doctor says more)"
	;;
*) die "libvirt.sh start|status" ;;
esac
