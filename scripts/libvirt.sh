#!/usr/bin/env bash
# libvirt.sh start|stop|status: libvirt, also where no service manager starts it.
#
# KILONOVA_LIBVIRT_URI is qemu:///system unless set; with qemu:///session libvirt starts
# itself for the account, and there is nothing to do.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
uri=${KILONOVA_LIBVIRT_URI:-qemu:///system}
run=$CACHE/libvirt # where the daemons that this script started leave their numbers

answers() { timeout 20 virsh -q -c "$uri" uri >/dev/null 2>&1; }
managed() { [ -d /run/systemd/system ]; }
# running NAME: a daemon of this name lives in our process and mount namespace.
running() {
	local pid
	for pid in $(pgrep -x "$1" || true); do
		[ "$(readlink "/proc/$pid/ns/mnt" 2>/dev/null)" = "$(readlink /proc/self/ns/mnt)" ] && return 0
	done
	return 1
}
launch() { # NAME
	running "$1" && return
	mkdir -p "$run"
	"$1" -d -p "$run/$1.pid" >"$run/$1.log" 2>&1 || {
		cat "$run/$1.log" >&2
		die "$1 does not start"
	}
}

case ${1:-status} in
status)
	if answers; then say "libvirt answers at $uri"; else die "libvirt does not answer at $uri; start it with  scripts/libvirt.sh start"; fi
	;;
start)
	answers && exit 0
	[[ $uri != *session* ]] || die "libvirt does not answer at $uri: is libvirtd installed (scripts/install.sh --for up)?"
	if managed; then hint="sudo systemctl start libvirtd"; else hint="sudo $ROOT/scripts/libvirt.sh start"; fi
	[ "$(id -u)" = 0 ] || die "this account cannot reach libvirt at $uri. Either run
  $hint && sudo usermod -aG libvirt $(id -un)
and log in again, or run this as root, or use the libvirt of your own account (guests without a bridge):
  KILONOVA_LIBVIRT_URI=qemu:///session make up
or a cloud without guests:  bin/kilonova up --driver sim --state-dir .state"
	has libvirtd || has virtqemud || die "libvirt is not installed: run  scripts/install.sh --for up"
	if managed; then
		systemctl start libvirtd 2>/dev/null || systemctl start virtlogd virtqemud virtnetworkd 2>/dev/null ||
			die "systemd could not start libvirt:  journalctl -u libvirtd  says why"
	else
		# What udev does where it runs. While root can open the KVM device and QEMU's own
		# account cannot, libvirt examines its emulator anew for each guest that it defines,
		# which takes from ten seconds to minutes.
		if [ -c /dev/kvm ] && getent group kvm >/dev/null && [ "$(stat -c %a:%G /dev/kvm)" = 600:root ]; then
			{ chgrp kvm /dev/kvm && chmod 660 /dev/kvm; } || true
		fi
		launch virtlogd
		if has libvirtd; then
			launch libvirtd
		else
			launch virtnetworkd
			launch virtqemud
		fi
	fi
	for _ in $(seq 50); do
		answers && exit 0
		sleep 0.2
	done
	tail -n 5 "$run"/*.log /var/log/libvirt/libvirtd.log 2>/dev/null >&2 || true
	die "libvirt was started and does not answer at $uri; bin/kilonova doctor looks closer"
	;;
stop)
	# Only what this script started; guests run on without it.
	for name in libvirtd virtqemud virtnetworkd virtlogd; do
		alive "$run/$name.pid" "$name" && end "$run/$name.pid"
		rm -f "$run/$name.pid"
	done
	;;
*) die "libvirt.sh start|stop|status" ;;
esac
