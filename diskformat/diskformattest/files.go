// Package diskformattest makes small disk images, good and hostile ones, for tests.
package diskformattest

import (
	"encoding/binary"
	"strings"
)

// Types of qcow2 header extensions.
const (
	ExtDataFile   = 0x44415441
	ExtEncryption = 0x0537be77
)

// GUIDs of VHDX, in the byte order of the file.
const (
	metadataRegion = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"
	fileParameters = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
	virtualSize    = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
	parentLocator  = "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c"
)

// Cluster is the size of the clusters of Qcow2.
const Cluster = 4096

// Qcow2 makes a small valid version 3 header with its tables; edit alters it.
func Qcow2(edit ...func(b []byte)) []byte {
	b := make([]byte, 4*Cluster)
	copy(b, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 12)
	be.PutUint64(b[24:], 1<<20)     // virtual size
	be.PutUint32(b[36:], 1)         // L1 entries
	be.PutUint64(b[40:], 3*Cluster) // L1 offset
	be.PutUint64(b[48:], Cluster)   // refcount table
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[96:], 4)
	be.PutUint32(b[100:], 104)
	for _, f := range edit {
		f(b)
	}
	return b
}

// Put32 and Put64 set a number of a big-endian header.
func Put32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
}

func Put64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) }
}

// Extension writes a header extension right behind a version 3 header.
func Extension(kind uint32, data string) func([]byte) {
	return func(b []byte) {
		binary.BigEndian.PutUint32(b[104:], kind)
		binary.BigEndian.PutUint32(b[108:], uint32(len(data)))
		copy(b[112:], data)
	}
}

// Backing gives a qcow2 file a backing file.
func Backing(b []byte) {
	binary.BigEndian.PutUint64(b[8:], 512)
	binary.BigEndian.PutUint32(b[16:], 11)
	copy(b[512:], "/etc/passwd")
}

// VMDK makes a sparse extent with the descriptor inside.
func VMDK(descriptor string, edit ...func(b []byte)) []byte {
	b := make([]byte, 64*512)
	copy(b, "KDMV")
	le := binary.LittleEndian
	le.PutUint32(b[4:], 1)
	le.PutUint64(b[12:], 2048) // capacity
	le.PutUint64(b[20:], 128)  // grain
	le.PutUint64(b[28:], 1)    // descriptor
	le.PutUint64(b[36:], 20)
	le.PutUint32(b[44:], 512)
	le.PutUint64(b[56:], 26)
	copy(b[512:], descriptor)
	for _, f := range edit {
		f(b)
	}
	return b
}

// GoodVMDK is a descriptor that names no other file.
const GoodVMDK = `# Disk DescriptorFile
version=1
CID=5a1b2c3d
parentCID=ffffffff
createType="monolithicSparse"

# Extent description
RW 2048 SPARSE "disk.vmdk"

# The Disk Data Base
#DDB

ddb.virtualHWVersion = "4"
`

// VHD makes a virtual hard disk: of kind 2 fixed, 3 dynamic, 4 differencing.
func VHD(kind uint32, edit ...func([]byte)) []byte {
	b := make([]byte, 8192)
	copy(b, "conectix")
	binary.BigEndian.PutUint64(b[16:], 512)
	binary.BigEndian.PutUint64(b[48:], 1<<20)
	binary.BigEndian.PutUint32(b[60:], kind)
	copy(b[512:], "cxsparse")
	binary.BigEndian.PutUint64(b[512+16:], 2048)
	binary.BigEndian.PutUint32(b[512+28:], 1)
	binary.BigEndian.PutUint32(b[512+32:], 2<<20)
	for _, f := range edit {
		f(b)
	}
	return b
}

// VDI makes a VirtualBox disk: of kind 1 dynamic, 4 differencing.
func VDI(kind uint32, edit ...func([]byte)) []byte {
	b := make([]byte, 8192)
	le := binary.LittleEndian
	copy(b[0x40:], "\x7f\x10\xda\xbe")
	le.PutUint32(b[0x44:], 0x00010001)
	le.PutUint32(b[0x4c:], kind)
	le.PutUint32(b[0x154:], 512)
	le.PutUint64(b[0x170:], 1<<20)
	le.PutUint32(b[0x180:], 1)
	for _, f := range edit {
		f(b)
	}
	return b
}

// VHDX makes a Hyper-V disk, with signs of a parent or none.
func VHDX(parent bool, locator bool) []byte {
	b := make([]byte, 2<<20)
	copy(b, "vhdxfile")
	le := binary.LittleEndian
	for _, off := range []int{192 << 10, 256 << 10} {
		copy(b[off:], "regi")
		le.PutUint32(b[off+8:], 1)
		copy(b[off+16:], metadataRegion)
		le.PutUint64(b[off+32:], 1<<20)
		le.PutUint32(b[off+40:], 1<<20)
	}
	meta := b[1<<20:]
	copy(meta, "metadata")
	items := []string{fileParameters, virtualSize}
	if locator {
		items = append(items, parentLocator)
	}
	le.PutUint16(meta[10:], uint16(len(items)))
	for i, item := range items {
		copy(meta[32+32*i:], item)
		le.PutUint32(meta[32+32*i+16:], uint32(65536+16*i))
	}
	if parent {
		meta[65536+4] = 2
	}
	le.PutUint64(meta[65536+16:], 1<<20)
	return b
}

// At makes a file with s at an offset; edit alters it.
func At(off int, s string, edit ...func([]byte)) []byte {
	b := make([]byte, max(off+len(s), 1024))
	copy(b[off:], s)
	for _, f := range edit {
		f(b)
	}
	return b
}

// MBR makes a disk whose partition table has one entry of a kind; 0xee is the one that
// protects a GPT.
func MBR(kind byte, edit ...func([]byte)) []byte {
	b := At(510, "\x55\xaa")
	copy(b[446:], []byte{0, 0, 2, 0, kind, 0xff, 0xff, 0xff, 1, 0, 0, 0, 1})
	for _, f := range edit {
		f(b)
	}
	return b
}

// Byte sets one byte of a file.
func Byte(off int, v byte) func([]byte) { return func(b []byte) { b[off] = v } }

// Hostile are files that must never become an image; each is also a seed of the fuzz test.
var Hostile = []struct {
	Name, Format string
	Data         []byte
}{
	{"qcow2 backing file", "qcow2", Qcow2(Backing)},
	{"qcow2 backing offset alone", "qcow2", Qcow2(Put64(8, 512))},
	{"qcow2 version 2 backing file", "qcow2", Qcow2(Put32(4, 2), Backing)},
	{"qcow2 data file bit", "qcow2", Qcow2(Put64(72, 4))},
	{"qcow2 data file bit among others", "qcow2", Qcow2(Put64(72, 5))},
	{"qcow2 data file name", "qcow2", Qcow2(Extension(ExtDataFile, "/etc/shadow"))},
	{"qcow2 version 2 data file name", "qcow2", Qcow2(Put32(4, 2), func(b []byte) {
		binary.BigEndian.PutUint32(b[72:], ExtDataFile)
		binary.BigEndian.PutUint32(b[76:], 4)
	})},
	{"qcow2 second extension", "qcow2", Qcow2(Extension(0x6803f857, "12345678"), Put32(120, ExtDataFile), Put32(124, 4))},
	{"qcow2 endless extension", "qcow2", Qcow2(Put32(104, 1), Put32(108, 0xffffffff))},
	{"qcow2 unknown feature", "qcow2", Qcow2(Put64(72, 1<<5))},
	{"qcow2 high feature", "qcow2", Qcow2(Put64(72, 1<<63))},
	{"qcow2 extended L2", "qcow2", Qcow2(Put64(72, 1<<4))},
	{"qcow2 corrupt", "qcow2", Qcow2(Put64(72, 2))},
	{"qcow2 encrypted", "qcow2", Qcow2(Put32(32, 1))},
	{"qcow2 luks", "qcow2", Qcow2(Put32(32, 2))},
	{"qcow2 luks header", "qcow2", Qcow2(Extension(ExtEncryption, "0123456789abcdef"))},
	{"qcow2 small clusters", "qcow2", Qcow2(Put32(20, 8))},
	{"qcow2 huge clusters", "qcow2", Qcow2(Put32(20, 63))},
	{"qcow2 huge disk", "qcow2", Qcow2(Put64(24, 1<<60))},
	{"qcow2 negative disk", "qcow2", Qcow2(Put64(24, 1<<63))},
	{"qcow2 L1 outside", "qcow2", Qcow2(Put64(40, 1<<40))},
	{"qcow2 L1 overflow", "qcow2", Qcow2(Put64(40, ^uint64(0)&^(Cluster-1)))},
	{"qcow2 L1 crooked", "qcow2", Qcow2(Put64(40, 3*Cluster+8))},
	{"qcow2 huge L1", "qcow2", Qcow2(Put32(36, 0xffffffff))},
	{"qcow2 huge refcounts", "qcow2", Qcow2(Put32(56, 0xffffffff))},
	{"qcow2 snapshots outside", "qcow2", Qcow2(Put32(60, 1000), Put64(64, 1<<50))},
	{"qcow2 unknown compression", "qcow2", Qcow2(Put64(72, 8), Put32(100, 112), func(b []byte) { b[104] = 7 })},
	{"qcow2 header length", "qcow2", Qcow2(Put32(100, 1<<30))},
	{"qcow2 version 1", "qcow2", Qcow2(Put32(4, 1))},
	{"qcow2 cut off", "qcow2", Qcow2()[:80]},
	{"qcow2 of four bytes", "qcow2", []byte("QFI\xfb")},
	{"nothing as qcow2", "qcow2", nil},
	{"raw as qcow2", "qcow2", make([]byte, 4096)},
	{"qcow2 as raw", "raw", Qcow2()},
	{"qcow2 as iso", "iso", Qcow2()},
	{"qcow2 as ami", "ami", Qcow2()},
	{"vmdk as raw", "raw", VMDK(GoodVMDK)},
	{"vmdk text as raw", "raw", []byte(GoodVMDK)},
	{"vmdk text after comments as raw", "raw", []byte("#\n\n   \n# x\nversion=1\nRW 1 FLAT \"/etc/passwd\" 0\n")},
	{"vhd as raw", "raw", VHD(3)},
	{"vhdx as raw", "raw", VHDX(false, false)},
	{"vdi as raw", "raw", VDI(1)},
	{"luks as raw", "raw", At(0, "LUKS\xba\xbe")},
	{"qed as raw", "raw", At(0, "QED\x00")},
	{"parallels as raw", "raw", At(0, "WithoutFreeSpace")},
	{"cloop as raw", "raw", At(0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop")},
	{"raw as iso", "iso", make([]byte, 65536)},
	{"vmdk text as vmdk", "vmdk", []byte(GoodVMDK)},
	{"vmdk flat", "vmdk", VMDK(strings.Replace(GoodVMDK, `SPARSE "disk.vmdk"`, `FLAT "/etc/passwd" 0`, 1))},
	{"vmdk type flat", "vmdk", VMDK(strings.Replace(GoodVMDK, "monolithicSparse", "monolithicFlat", 1))},
	{"vmdk two types", "vmdk", VMDK(GoodVMDK + "createType=\"monolithicFlat\"\n")},
	{"vmdk host path", "vmdk", VMDK(strings.Replace(GoodVMDK, "disk.vmdk", "/etc/passwd", 1))},
	{"vmdk relative path", "vmdk", VMDK(strings.Replace(GoodVMDK, "disk.vmdk", "..", 1))},
	{"vmdk protocol", "vmdk", VMDK(strings.Replace(GoodVMDK, "disk.vmdk", "nbd:x", 1))},
	{"vmdk second extent", "vmdk", VMDK(GoodVMDK + "RW 2048 SPARSE \"other.vmdk\"\n")},
	{"vmdk parent", "vmdk", VMDK(strings.Replace(GoodVMDK, "ffffffff", "12345678", 1))},
	{"vmdk parent name", "vmdk", VMDK(GoodVMDK + "parentFileNameHint=\"/etc/passwd\"\n")},
	{"vmdk capacity of zero", "vmdk", VMDK(GoodVMDK, func(b []byte) { clear(b[12:20]) })},
	{"vmdk without descriptor", "vmdk", VMDK(GoodVMDK, func(b []byte) { clear(b[28:44]) })},
	{"vmdk descriptor outside", "vmdk", VMDK(GoodVMDK, func(b []byte) { b[35] = 0xff })},
	{"vmdk footer that is none", "vmdk", VMDK(GoodVMDK, func(b []byte) { copy(b[56:64], "\xff\xff\xff\xff\xff\xff\xff\xff") })},
	{"vmdk old kind", "vmdk", At(0, "COWD")},
	{"vhd with parent", "vhd", VHD(4)},
	{"vhd with parent name", "vhd", VHD(3, func(b []byte) { b[512+64] = 0; b[512+576] = 'W' })},
	{"vhd with parent id", "vhd", VHD(3, func(b []byte) { b[512+40] = 1 })},
	{"vhd fixed", "vhd", append(make([]byte, 1<<20), VHD(2)[:512]...)},
	{"vhd fixed with partitions", "vhd", append(MBR(0x83), VHD(2)[:512]...)},
	{"vhd fixed at both ends", "vhd", VHD(2)},
	{"gpt as ami", "ami", MBR(0xee)},
	{"mbr as ami", "ami", MBR(0x83)},
	{"gpt header as ami", "ami", At(512, "EFI PART")},
	{"iso as ami", "ami", At(0x8001, "CD001")},
	{"fat as gpt", "gpt", At(510, "\x55\xaa", Byte(0x10, 2), Byte(0x15, 0xf8))},
	{"boot sector as gpt", "gpt", At(510, "\x55\xaa")},
	{"code as partitions", "gpt", MBR(0x83, Byte(446, 0x33))},
	{"gpt beside a partition", "gpt", MBR(0xee, Byte(446+16+4, 0x83))},
	{"gpt that starts elsewhere", "gpt", MBR(0xee, Byte(446+8, 2))},
	{"vhd without footer", "vhd", make([]byte, 4096)},
	{"vhd huge", "vhd", VHD(3, Put64(48, 1<<60))},
	{"vhdx with parent", "vhdx", VHDX(true, false)},
	{"vhdx with locator", "vhdx", VHDX(false, true)},
	{"vhdx cut off", "vhdx", VHDX(false, false)[:200<<10]},
	{"vdi differencing", "vdi", VDI(4)},
	{"vdi with parent", "vdi", VDI(1, func(b []byte) { b[0x1b8] = 1 })},
}
