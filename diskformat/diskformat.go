package diskformat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"slices"
)

// Refusal is the error for data that is not what it claims to be, or not safe, and for
// images that no guest boots from. Its words are for clients.
type Refusal struct{ Reason string }

// Error gives the reason.
func (r *Refusal) Error() string { return r.Reason }

func refuse(format string, a ...any) error { return &Refusal{fmt.Sprintf(format, a...)} }

// Boots refuses images that cannot become a guest's disk: those in a container that would
// have to be unpacked first, kernels and ramdisks, and formats that hosts do not take.
// Nothing is unpacked or converted on the way to a host. Names are as the image service
// has them; a host that was told no container of an image was told so before there was one.
func Boots(disk, container string) error {
	switch container {
	case "bare", "ami", "":
	default:
		return refuse("Container format %s cannot be booted from", container)
	}
	_, ok := onHost[disk]
	if !ok {
		return refuse("Disk format %s cannot be booted from", disk)
	}
	return nil
}

// onHost maps each format that boots to what QEMU is told of it: those that are a disk byte
// by byte are raw.
var onHost = map[string]string{"raw": "raw", "qcow2": "qcow2", "iso": "raw", "ami": "raw", "gpt": "raw"}

// OnHost is how a host has a format: "raw" or "qcow2", and "" for one that Boots refuses.
func OnHost(disk string) string { return onHost[disk] }

// headSize is how much of a file the detection of its format looks at.
const headSize = 64 << 10

// reader reads parts of a file of a known size. Offsets come from the file itself, so each
// is checked, and nothing that a header says decides how much memory is used.
type reader struct {
	r    io.ReaderAt
	size int64
}

// at reads exactly n bytes, of which a parser asks for a bounded number.
func (r reader) at(off uint64, n int) ([]byte, error) {
	if n < 0 || n > 1<<20 || off > uint64(r.size) || uint64(n) > uint64(r.size)-off {
		return nil, refuse("a header points outside the file")
	}
	b := make([]byte, n)
	_, err := r.r.ReadAt(b, int64(off))
	if err != nil && err != io.EOF { //nolint:errorlint // ReaderAt promises io.EOF itself
		return nil, err
	}
	return b, nil
}

// within reports whether n bytes at off lie in the file.
func (r reader) within(off, n uint64) bool {
	return off <= uint64(r.size) && n <= uint64(r.size)-off
}

// signatures are what formats begin with. All that QEMU would recognise is here, since
// nothing of it may pass as a raw disk.
var signatures = []struct {
	format string
	off    int
	magic  string
}{
	{"qcow2", 0, "QFI\xfb"}, // version 1, qcow, is refused by the parser
	{"vmdk", 0, "KDMV"},
	{"vmdk", 0, "COWD"},
	{"vhd", 0, "conectix"},
	{"vhdx", 0, "vhdxfile"},
	{"vdi", 0x40, "\x7f\x10\xda\xbe"},
	{"luks", 0, "LUKS\xba\xbe"},
	{"luks", 0, "SKUL\xba\xbe"},
	{"qed", 0, "QED\x00"},
	{"ploop", 0, "WithoutFreeSpace"},
	{"ploop", 0, "WithouFreSpacExt"},
	{"bochs", 0, "Bochs Virtual HD Image"},
	{"cloop", 0, "#!/bin/sh\n#V2.0 Format\nmodprobe cloop"},
	{"iso", 0x8001, "CD001"}, // the first four volume descriptors
	{"iso", 0x8801, "CD001"},
	{"iso", 0x9001, "CD001"},
	{"iso", 0x9801, "CD001"},
	{"iso", 0x8001, "BEA01"},
}

// detect names the format of a file by its first bytes; "raw" is whatever is none of the
// others, "gpt" a raw disk with a partition table.
func detect(head []byte) string {
	for _, s := range signatures {
		if len(head) >= s.off+len(s.magic) && string(head[s.off:s.off+len(s.magic)]) == s.magic {
			return s.format
		}
	}
	switch {
	case vmdkDescriptor(head):
		return "vmdk-descriptor"
	case len(head) >= 520 && string(head[512:520]) == "EFI PART",
		len(head) >= 512 && head[510] == 0x55 && head[511] == 0xaa && !fat(head):
		return "gpt"
	}
	return "raw"
}

// fat tells the boot sector of a FAT file system, which ends like one with a partition
// table, by its two tables on a fixed disk.
func fat(head []byte) bool { return head[0x10] == 2 && head[0x15] == 0xf8 }

// partitions holds the first sector of a disk that is declared as gpt against what such a
// sector is: anybody's code may end in 55 aa.
func partitions(sector []byte) error {
	used, protective := 0, false
	for i := range 4 {
		e := sector[446+16*i : 462+16*i]
		if e[0] != 0 && e[0] != 0x80 {
			return refuse("the partition table is not sane")
		}
		if e[4] == 0 {
			continue
		}
		used++
		if e[4] != 0xee {
			continue
		}
		protective = true
		if i != 0 || [3]byte(e[1:4]) != [3]byte{0, 2, 0} || binary.LittleEndian.Uint32(e[8:]) != 1 {
			return refuse("the protective entry of the partition table is not sane")
		}
	}
	switch {
	case used == 0:
		return refuse("the partition table is empty")
	case protective && used > 1:
		return refuse("the partition table has more than its protective entry")
	}
	return nil
}

// vmdkDescriptor is QEMU's own probe for a VMDK that is a text: comments and blank lines,
// then a version.
func vmdkDescriptor(head []byte) bool {
	if bytes.HasPrefix(head, []byte("# Disk DescriptorFile")) {
		return true
	}
	for len(head) > 0 {
		line, rest, _ := bytes.Cut(head, []byte("\n"))
		line = bytes.TrimRight(line, "\r")
		head = rest
		if len(line) > 0 && line[0] == '#' || len(bytes.Trim(line, " ")) == 0 {
			continue
		}
		return bytes.HasPrefix(line, []byte("version="))
	}
	return false
}

// accepts tells which contents each declared format may have. A CD image and a disk with
// a partition table are raw disks too; hosts are always told the format, never left to
// guess it. An ami is one file system, while kernels may begin like a boot sector.
var accepts = map[string][]string{
	"raw": {"raw", "gpt", "iso"}, "ami": {"raw"}, "aki": {"raw", "gpt"}, "ari": {"raw", "gpt"},
	"gpt": {"gpt"}, "iso": {"iso"}, "qcow2": {"qcow2"}, "vmdk": {"vmdk"}, "vdi": {"vdi"},
	"vhdx": {"vhdx"}, "vhd": {"vhd"}, "ploop": {"ploop"},
}

// advice says of contents that are good for something what to declare them as.
var advice = map[[2]string]string{
	{"ami", "gpt"}: "a whole disk has the disk_format raw or gpt",
	{"vhd", "raw"}: "a fixed VHD, whose header is at its end, is not taken: convert it to raw or qcow2",
	{"vhd", "gpt"}: "a fixed VHD, whose header is at its end, is not taken: convert it to raw or qcow2",
}

// opaque containers are archives: what is in them is not looked at, and no guest boots
// from them (Boots).
func opaque(container string) bool {
	switch container {
	case "ovf", "ova", "docker", "compressed":
		return true
	}
	return false
}

// CheckHead refuses, by its first bytes, a file that is not of its declared format, so
// that a wrong upload ends early.
func CheckHead(head []byte, disk, container string) error {
	if opaque(container) {
		return nil
	}
	found := detect(head)
	if slices.Contains(accepts[disk], found) {
		return nil
	}
	if hint := advice[[2]string{disk, found}]; hint != "" {
		return refuse("the declared disk_format is %s and the content is %s; %s", disk, found, hint)
	}
	return refuse("the declared disk_format is %s and the content is %s", disk, found)
}

// Inspect reads the headers of a whole image and gives the size of the disk that a guest
// sees, 0 where that is unknown. It returns a Refusal for content that is not of the
// declared format, names another file, or is a larger disk than limit.
func Inspect(file io.ReaderAt, size int64, disk, container string, limit int64) (int64, error) {
	r := reader{file, size}
	head, err := r.at(0, int(min(size, headSize)))
	if err != nil {
		return 0, err
	}
	err = CheckHead(head, disk, container)
	if err != nil || opaque(container) {
		return 0, err
	}
	var virtual uint64
	switch disk {
	case "qcow2":
		virtual, err = inspectQcow2(r)
	case "vmdk":
		virtual, err = inspectVMDK(r)
	case "vhd":
		virtual, err = inspectVHD(r)
	case "vhdx":
		virtual, err = inspectVHDX(r)
	case "vdi":
		virtual, err = inspectVDI(r)
	case "ploop":
		virtual, err = inspectPloop(r)
	case "gpt":
		virtual, err = uint64(size), partitions(head)
	default:
		virtual = uint64(size)
	}
	if err != nil {
		return 0, err
	}
	if virtual > uint64(limit) {
		return 0, refuse("the virtual size of %d bytes is more than the %d allowed", virtual, limit)
	}
	return int64(virtual), nil
}

// InspectFile is Inspect for a file by its path.
func InspectFile(path, disk, container string, limit int64) (int64, error) {
	file, err := os.Open(path)
	if err != nil {
		return 0, fmt.Errorf("open image file: %w", err)
	}
	defer func() { _ = file.Close() }() // it was only read
	st, err := file.Stat()
	if err != nil {
		return 0, fmt.Errorf("look at image file: %w", err)
	}
	return Inspect(file, st.Size(), disk, container, limit)
}

// Feature bits of qcow2, as its specification numbers them.
const (
	qcowDirty       = 1 << 0
	qcowCorrupt     = 1 << 1
	qcowDataFile    = 1 << 2
	qcowCompression = 1 << 3
	qcowExtendedL2  = 1 << 4
)

// Types of qcow2 header extensions.
const (
	qcowExtEnd        = 0
	qcowExtDataFile   = 0x44415441
	qcowExtEncryption = 0x0537be77
)

// inspectQcow2 refuses every way in which a qcow2 file makes QEMU open another one, and
// tables larger than QEMU itself would load. Internal snapshots are harmless.
func inspectQcow2(r reader) (uint64, error) {
	h, err := r.at(0, 72)
	if err != nil {
		return 0, refuse("the qcow2 header is cut off")
	}
	be32 := func(off int) uint64 { return uint64(binary.BigEndian.Uint32(h[off:])) }
	be64 := func(off int) uint64 { return binary.BigEndian.Uint64(h[off:]) }
	version, clusterBits, virtual := be32(4), be32(20), be64(24)
	if version != 2 && version != 3 {
		return 0, refuse("qcow version %d is not supported", version)
	}
	if be64(8) != 0 || be32(16) != 0 {
		return 0, refuse("a qcow2 file with a backing file is not allowed")
	}
	if clusterBits < 9 || clusterBits > 21 {
		return 0, refuse("qcow2 clusters of 2^%d bytes are not allowed", clusterBits)
	}
	if be32(32) != 0 {
		return 0, refuse("an encrypted qcow2 file is not allowed")
	}
	cluster := uint64(1) << clusterBits
	l1Size, l1Offset := be32(36), be64(40)
	if l1Size > 4<<20 || l1Offset%cluster != 0 || !r.within(l1Offset, l1Size*8) {
		return 0, refuse("the L1 table of the qcow2 file is not sane")
	}
	refOffset, refClusters := be64(48), be32(56)
	if refClusters*cluster > 8<<20 || refOffset%cluster != 0 || refOffset == 0 || !r.within(refOffset, 8) {
		return 0, refuse("the refcount table of the qcow2 file is not sane")
	}
	snapshots, snapOffset := be32(60), be64(64)
	if snapshots > 65536 || snapshots > 0 && (snapOffset%cluster != 0 || !r.within(snapOffset, snapshots*40)) {
		return 0, refuse("the snapshot table of the qcow2 file is not sane")
	}
	headerLength := uint64(72)
	if version == 3 {
		headerLength, err = qcow2v3(r, cluster)
		if err != nil {
			return 0, err
		}
	}
	l2 := cluster / 8
	// An L1 table that is too small for the disk is one that a host would have to mend.
	if virtual > 1<<62 || (virtual+cluster*l2-1)/(cluster*l2) > l1Size {
		return 0, refuse("the L1 table of the qcow2 file is too small for a disk of %d bytes", virtual)
	}
	return virtual, qcow2Extensions(r, headerLength, cluster)
}

// qcow2v3 checks what version 3 added to the header, and gives the header's length.
func qcow2v3(r reader, cluster uint64) (uint64, error) {
	h, err := r.at(72, 32)
	if err != nil {
		return 0, refuse("the qcow2 header is cut off")
	}
	features := binary.BigEndian.Uint64(h)
	length := uint64(binary.BigEndian.Uint32(h[28:]))
	switch {
	case features&qcowDataFile != 0:
		return 0, refuse("a qcow2 file with an external data file is not allowed")
	case features&qcowCorrupt != 0:
		return 0, refuse("the qcow2 file is marked as corrupt")
	case features&qcowExtendedL2 != 0:
		return 0, refuse("a qcow2 file with extended L2 entries is not allowed: convert it without the option extended_l2")
	case features&^uint64(qcowDirty|qcowCompression) != 0:
		return 0, refuse("the qcow2 file has unknown incompatible features %#x", features)
	case binary.BigEndian.Uint32(h[24:]) > 6:
		return 0, refuse("the refcounts of the qcow2 file are not sane")
	case length < 104 || length > cluster || length%8 != 0:
		return 0, refuse("a qcow2 header of %d bytes is not sane", length)
	}
	compression := byte(0)
	if length > 104 {
		c, err := r.at(104, 1)
		if err != nil {
			return 0, err
		}
		compression = c[0]
	}
	if compression > 1 || (compression != 0) != (features&qcowCompression != 0) {
		return 0, refuse("the compression of the qcow2 file is unknown")
	}
	return length, nil
}

// qcow2Extensions walks the header extensions, which end within the first cluster.
func qcow2Extensions(r reader, off, cluster uint64) error {
	for off+8 <= cluster {
		if !r.within(off, 8) {
			return refuse("the qcow2 header is cut off")
		}
		h, err := r.at(off, 8)
		if err != nil {
			return err
		}
		kind, n := binary.BigEndian.Uint32(h), uint64(binary.BigEndian.Uint32(h[4:]))
		switch kind {
		case qcowExtEnd:
			return nil
		case qcowExtDataFile:
			return refuse("a qcow2 file that names an external data file is not allowed")
		case qcowExtEncryption:
			return refuse("an encrypted qcow2 file is not allowed")
		}
		off += 8
		if n > cluster-off {
			return refuse("a header extension of the qcow2 file is not sane")
		}
		off += (n + 7) &^ 7
	}
	return nil
}
