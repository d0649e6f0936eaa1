// Package libvirt is the hypervisor driver for QEMU and KVM, by way of libvirt.
//
// What a guest owns on the host:
//
//	STATE/instances/UUID/disk          root disk, a qcow2 overlay of a base in the cache
//	STATE/instances/UUID/disk.eph0     ephemeral disk, raw
//	STATE/instances/UUID/disk.swap     swap disk, raw
//	STATE/instances/UUID/disk.config   config drive, ISO 9660, label config-2
//	STATE/instances/UUID/disk.info     format of each disk; written last: the set is complete
//	STATE/instances/UUID/console.log   serial console, written by virtlogd
//	STATE/instances/UUID_resize/       the set that SaveDisks kept
//	STATE/images/SHA512.FORMAT         bases, see computed.ImageCache
//
// The format of a disk is what disk.info says, never what its first bytes look like: a
// guest can write those. Whatever reads a disk runs under limits (see qemuImg).
//
// Each network is a libvirt network kn-XXXXXXXX whose dnsmasq hands each port its address
// and nothing to strangers. Without outbound it is an isolated network: libvirt neither
// enables forwarding on the host nor announces a router. The bridge holds 169.254.169.254
// as well, so that a guest's request for metadata never leaves the host.
//
// The connection to libvirtd is kept by one goroutine, which makes it anew when it is
// lost; calls that meet a lost connection wait for the new one and are done again, which
// is safe as all of them look before they act. Guests are not affected.
package libvirt
