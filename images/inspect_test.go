package images

import (
	"bytes"
	"encoding/binary"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"os"
)

const qcluster = 4096

// qcow2 makes a small valid version 3 header with its tables; edit alters it.
func qcow2(edit ...func(b []byte)) []byte {
	b := make([]byte, 4*qcluster)
	copy(b, "QFI\xfb")
	be := binary.BigEndian
	be.PutUint32(b[4:], 3)
	be.PutUint32(b[20:], 12)
	be.PutUint64(b[24:], 1<<20)      // virtual size
	be.PutUint32(b[36:], 1)          // L1 entries
	be.PutUint64(b[40:], 3*qcluster) // L1 offset
	be.PutUint64(b[48:], qcluster)   // refcount table
	be.PutUint32(b[56:], 1)
	be.PutUint32(b[96:], 4)
	be.PutUint32(b[100:], 104)
	for _, f := range edit {
		f(b)
	}
	return b
}

func put32(off int, v uint32) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint32(b[off:], v) }
}

func put64(off int, v uint64) func([]byte) {
	return func(b []byte) { binary.BigEndian.PutUint64(b[off:], v) }
}

// extension writes a header extension right behind a version 3 header.
func extension(kind uint32, data string) func([]byte) {
	return func(b []byte) {
		binary.BigEndian.PutUint32(b[104:], kind)
		binary.BigEndian.PutUint32(b[108:], uint32(len(data)))
		copy(b[112:], data)
	}
}

func backing(b []byte) {
	binary.BigEndian.PutUint64(b[8:], 512)
	binary.BigEndian.PutUint32(b[16:], 11)
	copy(b[512:], "/etc/passwd")
}

// vmdk makes a sparse extent with the descriptor inside.
func vmdk(descriptor string, edit ...func(b []byte)) []byte {
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

const goodVMDK = `# Disk DescriptorFile
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

func vhd(kind uint32, edit ...func([]byte)) []byte {
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

func vdi(kind uint32, edit ...func([]byte)) []byte {
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

func vhdx(parent bool, locator bool) []byte {
	b := make([]byte, 2<<20)
	copy(b, "vhdxfile")
	le := binary.LittleEndian
	for _, off := range []int{192 << 10, 256 << 10} {
		copy(b[off:], "regi")
		le.PutUint32(b[off+8:], 1)
		copy(b[off+16:], vhdxMetadataRegion)
		le.PutUint64(b[off+32:], 1<<20)
		le.PutUint32(b[off+40:], 1<<20)
	}
	meta := b[1<<20:]
	copy(meta, "metadata")
	items := []string{vhdxFileParameters, vhdxVirtualSize}
	if locator {
		items = append(items, vhdxParentLocator)
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

func at(off int, s string) []byte {
	b := make([]byte, max(off+len(s), 1024))
	copy(b[off:], s)
	return b
}

// hostile are files that must never become an image; each is also a seed of the fuzz test.
var hostile = []struct {
	name, format string
	data         []byte
}{
	{"qcow2 backing file", "qcow2", qcow2(backing)},
	{"qcow2 backing offset alone", "qcow2", qcow2(put64(8, 512))},
	{"qcow2 version 2 backing file", "qcow2", qcow2(put32(4, 2), backing)},
	{"qcow2 data file bit", "qcow2", qcow2(put64(72, 4))},
	{"qcow2 data file bit among others", "qcow2", qcow2(put64(72, 5))},
	{"qcow2 data file name", "qcow2", qcow2(extension(qcowExtDataFile, "/etc/shadow"))},
	{"qcow2 version 2 data file name", "qcow2", qcow2(put32(4, 2), func(b []byte) {
		binary.BigEndian.PutUint32(b[72:], qcowExtDataFile)
		binary.BigEndian.PutUint32(b[76:], 4)
	})},
	{"qcow2 second extension", "qcow2", qcow2(extension(0x6803f857, "12345678"), put32(120, qcowExtDataFile), put32(124, 4))},
	{"qcow2 endless extension", "qcow2", qcow2(put32(104, 1), put32(108, 0xffffffff))},
	{"qcow2 unknown feature", "qcow2", qcow2(put64(72, 1<<5))},
	{"qcow2 high feature", "qcow2", qcow2(put64(72, 1<<63))},
	{"qcow2 corrupt", "qcow2", qcow2(put64(72, 2))},
	{"qcow2 encrypted", "qcow2", qcow2(put32(32, 1))},
	{"qcow2 luks", "qcow2", qcow2(put32(32, 2))},
	{"qcow2 luks header", "qcow2", qcow2(extension(qcowExtEncryption, "0123456789abcdef"))},
	{"qcow2 small clusters", "qcow2", qcow2(put32(20, 8))},
	{"qcow2 huge clusters", "qcow2", qcow2(put32(20, 63))},
	{"qcow2 huge disk", "qcow2", qcow2(put64(24, 1<<60))},
	{"qcow2 negative disk", "qcow2", qcow2(put64(24, 1<<63))},
	{"qcow2 L1 outside", "qcow2", qcow2(put64(40, 1<<40))},
	{"qcow2 L1 overflow", "qcow2", qcow2(put64(40, ^uint64(0)&^(qcluster-1)))},
	{"qcow2 L1 crooked", "qcow2", qcow2(put64(40, 3*qcluster+8))},
	{"qcow2 huge L1", "qcow2", qcow2(put32(36, 0xffffffff))},
	{"qcow2 huge refcounts", "qcow2", qcow2(put32(56, 0xffffffff))},
	{"qcow2 snapshots outside", "qcow2", qcow2(put32(60, 1000), put64(64, 1<<50))},
	{"qcow2 unknown compression", "qcow2", qcow2(put64(72, 8), put32(100, 112), func(b []byte) { b[104] = 7 })},
	{"qcow2 header length", "qcow2", qcow2(put32(100, 1<<30))},
	{"qcow2 version 1", "qcow2", qcow2(put32(4, 1))},
	{"qcow2 cut off", "qcow2", qcow2()[:80]},
	{"qcow2 of four bytes", "qcow2", []byte("QFI\xfb")},
	{"nothing as qcow2", "qcow2", nil},
	{"raw as qcow2", "qcow2", make([]byte, 4096)},
	{"qcow2 as raw", "raw", qcow2()},
	{"qcow2 as iso", "iso", qcow2()},
	{"qcow2 as ami", "ami", qcow2()},
	{"vmdk as raw", "raw", vmdk(goodVMDK)},
	{"vmdk text as raw", "raw", []byte(goodVMDK)},
	{"vmdk text after comments as raw", "raw", []byte("#\n\n   \n# x\nversion=1\nRW 1 FLAT \"/etc/passwd\" 0\n")},
	{"vhd as raw", "raw", vhd(3)},
	{"vhdx as raw", "raw", vhdx(false, false)},
	{"vdi as raw", "raw", vdi(1)},
	{"luks as raw", "raw", at(0, "LUKS\xba\xbe")},
	{"qed as raw", "raw", at(0, "QED\x00")},
	{"parallels as raw", "raw", at(0, "WithoutFreeSpace")},
	{"cloop as raw", "raw", at(0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop")},
	{"raw as iso", "iso", make([]byte, 65536)},
	{"vmdk text as vmdk", "vmdk", []byte(goodVMDK)},
	{"vmdk flat", "vmdk", vmdk(strings.Replace(goodVMDK, `SPARSE "disk.vmdk"`, `FLAT "/etc/passwd" 0`, 1))},
	{"vmdk type flat", "vmdk", vmdk(strings.Replace(goodVMDK, "monolithicSparse", "monolithicFlat", 1))},
	{"vmdk two types", "vmdk", vmdk(goodVMDK + "createType=\"monolithicFlat\"\n")},
	{"vmdk host path", "vmdk", vmdk(strings.Replace(goodVMDK, "disk.vmdk", "/etc/passwd", 1))},
	{"vmdk relative path", "vmdk", vmdk(strings.Replace(goodVMDK, "disk.vmdk", "..", 1))},
	{"vmdk protocol", "vmdk", vmdk(strings.Replace(goodVMDK, "disk.vmdk", "nbd:x", 1))},
	{"vmdk second extent", "vmdk", vmdk(goodVMDK + "RW 2048 SPARSE \"other.vmdk\"\n")},
	{"vmdk parent", "vmdk", vmdk(strings.Replace(goodVMDK, "ffffffff", "12345678", 1))},
	{"vmdk parent name", "vmdk", vmdk(goodVMDK + "parentFileNameHint=\"/etc/passwd\"\n")},
	{"vmdk capacity of zero", "vmdk", vmdk(goodVMDK, func(b []byte) { clear(b[12:20]) })},
	{"vmdk without descriptor", "vmdk", vmdk(goodVMDK, func(b []byte) { clear(b[28:44]) })},
	{"vmdk descriptor outside", "vmdk", vmdk(goodVMDK, func(b []byte) { b[35] = 0xff })},
	{"vmdk footer that is none", "vmdk", vmdk(goodVMDK, func(b []byte) { copy(b[56:64], "\xff\xff\xff\xff\xff\xff\xff\xff") })},
	{"vmdk old kind", "vmdk", at(0, "COWD")},
	{"vhd with parent", "vhd", vhd(4)},
	{"vhd with parent name", "vhd", vhd(3, func(b []byte) { b[512+64] = 0; b[512+576] = 'W' })},
	{"vhd with parent id", "vhd", vhd(3, func(b []byte) { b[512+40] = 1 })},
	{"vhd without footer", "vhd", make([]byte, 4096)},
	{"vhd huge", "vhd", vhd(3, put64(48, 1<<60))},
	{"vhdx with parent", "vhdx", vhdx(true, false)},
	{"vhdx with locator", "vhdx", vhdx(false, true)},
	{"vhdx cut off", "vhdx", vhdx(false, false)[:200<<10]},
	{"vdi differencing", "vdi", vdi(4)},
	{"vdi with parent", "vdi", vdi(1, func(b []byte) { b[0x1b8] = 1 })},
}

var testLimits = Limits{VirtualSize: 1 << 40}

func TestHostileImagesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range hostile {
		n, err := Inspect(bytes.NewReader(tt.data), int64(len(tt.data)), tt.format, "bare", testLimits)
		if err == nil {
			t.Errorf("%s: taken, with a virtual size of %d", tt.name, n)
			continue
		}
		if !strings.HasPrefix(err.Error(), "415 ") {
			t.Errorf("%s: %v", tt.name, err)
		}
	}
}

func TestGoodImagesAreTaken(t *testing.T) {
	t.Parallel()
	mbr := at(510, "\x55\xaa")
	stream := strings.Replace(goodVMDK, "monolithicSparse", "streamOptimized", 1)
	tests := []struct {
		name, format string
		data         []byte
		want         int64
	}{
		{"qcow2", "qcow2", qcow2(), 1 << 20},
		{"qcow2 version 2", "qcow2", qcow2(put32(4, 2)), 1 << 20},
		{"qcow2 with a snapshot", "qcow2", qcow2(put32(60, 1), put64(64, 2*qcluster)), 1 << 20},
		{"qcow2 dirty", "qcow2", qcow2(put64(72, 1)), 1 << 20},
		{"qcow2 zstd", "qcow2", qcow2(put64(72, 8), put32(100, 112), func(b []byte) { b[104] = 1 }), 1 << 20},
		{"qcow2 feature names", "qcow2", qcow2(extension(0x6803f857, "x")), 1 << 20},
		{"raw", "raw", make([]byte, 4096), 4096},
		{"nothing", "raw", nil, 0},
		{"text", "raw", []byte("# just a comment"), 16},
		{"mbr", "raw", mbr, 1024},
		{"gpt", "gpt", mbr, 1024},
		{"iso", "iso", at(0x8001, "CD001"), 0x8006},
		{"iso as raw", "raw", at(0x8001, "CD001"), 0x8006},
		{"vmdk", "vmdk", vmdk(goodVMDK), 1 << 20},
		{"vmdk stream", "vmdk", vmdk(stream), 1 << 20},
		{"vhd", "vhd", vhd(3), 1 << 20},
		{"fixed vhd", "vhd", append(make([]byte, 1<<20), vhd(2)[:512]...), 1 << 20},
		{"vdi", "vdi", vdi(1), 1 << 20},
		{"vhdx", "vhdx", vhdx(false, false), 1 << 20},
	}
	for _, tt := range tests {
		n, err := Inspect(bytes.NewReader(tt.data), int64(len(tt.data)), tt.format, "bare", testLimits)
		if err != nil || n != tt.want {
			t.Errorf("%s: %d, %v; want %d", tt.name, n, err, tt.want)
		}
	}
}

// What qemu-img makes must pass, and what it makes with a second file must not.
func TestInspectAgainstQemuImg(t *testing.T) {
	t.Parallel()
	_, err := exec.LookPath("qemu-img")
	if err != nil {
		t.Skip("qemu-img is not installed")
	}
	dir := t.TempDir()
	tests := []struct {
		name, format string
		args         []string
		good         bool
	}{
		{"q3", "qcow2", []string{"-f", "qcow2"}, true},
		{"q2", "qcow2", []string{"-f", "qcow2", "-o", "compat=0.10"}, true},
		{"q4k", "qcow2", []string{"-f", "qcow2", "-o", "cluster_size=4096"}, true},
		{"ql2", "qcow2", []string{"-f", "qcow2", "-o", "extended_l2=on,cluster_size=65536"}, true},
		{"qz", "qcow2", []string{"-f", "qcow2", "-o", "compression_type=zstd"}, true},
		{"qfull", "qcow2", []string{"-f", "qcow2", "-o", "preallocation=metadata"}, true},
		{"qdata", "qcow2", []string{"-f", "qcow2", "-o", "data_file=" + filepath.Join(dir, "data.raw")}, false},
		{"qback", "qcow2", []string{"-f", "qcow2", "-F", "qcow2", "-b", filepath.Join(dir, "q3")}, false},
		{"vsparse", "vmdk", []string{"-f", "vmdk"}, true},
		{"vstream", "vmdk", []string{"-f", "vmdk", "-o", "subformat=streamOptimized"}, true},
		{"vflat", "vmdk", []string{"-f", "vmdk", "-o", "subformat=monolithicFlat"}, false},
		{"vsplit", "vmdk", []string{"-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"}, false},
		{"vhddyn", "vhd", []string{"-f", "vpc"}, true},
		{"vhdfix", "vhd", []string{"-f", "vpc", "-o", "subformat=fixed"}, true},
		{"vhdx", "vhdx", []string{"-f", "vhdx"}, true},
		{"vdi", "vdi", []string{"-f", "vdi"}, true},
		{"raw", "raw", []string{"-f", "raw"}, true},
	}
	for _, tt := range tests {
		path := filepath.Join(dir, tt.name)
		out, err := exec.Command("qemu-img", append(append([]string{"create", "-q"}, tt.args...), path, "8M")...).CombinedOutput()
		if err != nil {
			t.Logf("%s: qemu-img cannot make it: %s", tt.name, out)
			continue
		}
		n, err := inspectFile(path, tt.format, "bare", testLimits)
		if tt.good != (err == nil) {
			t.Errorf("%s: %v", tt.name, err)
		}
		// Some formats round the size to their geometry.
		if err == nil && (n < 8<<20 || n > 9<<20) {
			t.Errorf("%s: virtual size %d", tt.name, n)
		}
		if tt.format == "raw" {
			continue
		}
		_, err = inspectFile(path, "raw", "bare", testLimits)
		if err == nil && tt.name != "vhdfix" {
			t.Errorf("%s passes as raw", tt.name)
		}
	}
	_ = os.Remove(filepath.Join(dir, "data.raw"))
}

// FuzzInspect holds the parsers against any bytes: they end, stay in bounds, and whatever
// they take as raw has no header that QEMU would follow.
func FuzzInspect(f *testing.F) {
	for _, h := range hostile {
		if len(h.data) <= 1<<18 {
			f.Add(h.data, h.format)
		}
	}
	for _, format := range diskFormats {
		f.Add([]byte("QFI\xfb"), format)
	}
	f.Add(vmdk(goodVMDK), "vmdk")
	f.Add(qcow2(), "qcow2")
	f.Fuzz(func(t *testing.T, data []byte, format string) {
		n, err := Inspect(bytes.NewReader(data), int64(len(data)), format, "bare", testLimits)
		if err != nil {
			if !strings.HasPrefix(err.Error(), "415 ") {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		if n < 0 || n > testLimits.VirtualSize {
			t.Fatalf("virtual size %d", n)
		}
		if format == "raw" && bytes.HasPrefix(data, []byte("QFI\xfb")) {
			t.Fatal("a qcow2 file passes as raw")
		}
		if format == "qcow2" && (len(data) < 104 || binary.BigEndian.Uint64(data[8:]) != 0) {
			t.Fatal("a backing file passes")
		}
	})
}
