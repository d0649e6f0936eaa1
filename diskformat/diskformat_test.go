package diskformat

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	files "kilonova/diskformat/diskformattest"
)

const testLimit = 1 << 40

func TestHostileImagesAreRefused(t *testing.T) {
	t.Parallel()
	for _, tt := range files.Hostile {
		n, err := Inspect(bytes.NewReader(tt.Data), int64(len(tt.Data)), tt.Format, "bare", testLimit)
		var no *Refusal
		if !errors.As(err, &no) {
			t.Errorf("%s: virtual size %d, %v; want a refusal", tt.Name, n, err)
		}
	}
}

func TestGoodImagesAreTaken(t *testing.T) {
	t.Parallel()
	mbr := files.MBR(0x83)
	fat := files.At(510, "\x55\xaa", files.Byte(0x10, 2), files.Byte(0x15, 0xf8))
	stream := strings.Replace(files.GoodVMDK, "monolithicSparse", "streamOptimized", 1)
	tests := []struct {
		name, format string
		data         []byte
		want         int64
	}{
		{"qcow2", "qcow2", files.Qcow2(), 1 << 20},
		{"qcow2 version 2", "qcow2", files.Qcow2(files.Put32(4, 2)), 1 << 20},
		{"qcow2 with a snapshot", "qcow2", files.Qcow2(files.Put32(60, 1), files.Put64(64, 2*files.Cluster)), 1 << 20},
		{"qcow2 dirty", "qcow2", files.Qcow2(files.Put64(72, 1)), 1 << 20},
		{"qcow2 zstd", "qcow2", files.Qcow2(files.Put64(72, 8), files.Put32(100, 112), func(b []byte) { b[104] = 1 }), 1 << 20},
		{"qcow2 feature names", "qcow2", files.Qcow2(files.Extension(0x6803f857, "x")), 1 << 20},
		{"raw", "raw", make([]byte, 4096), 4096},
		{"nothing", "raw", nil, 0},
		{"text", "raw", []byte("# just a comment"), 16},
		{"mbr", "raw", mbr, 1024},
		{"mbr as gpt", "gpt", mbr, 1024},
		{"gpt", "gpt", files.MBR(0xee), 1024},
		{"gpt as raw", "raw", files.MBR(0xee), 1024},
		{"fat", "raw", fat, 1024},
		{"fat as ami", "ami", fat, 1024},
		{"kernel", "aki", files.At(510, "\x55\xaa"), 1024},
		{"iso", "iso", files.At(0x8001, "CD001"), 0x8006},
		{"iso as raw", "raw", files.At(0x8001, "CD001"), 0x8006},
		{"vmdk", "vmdk", files.VMDK(files.GoodVMDK), 1 << 20},
		{"vmdk stream", "vmdk", files.VMDK(stream), 1 << 20},
		{"vhd", "vhd", files.VHD(3), 1 << 20},
		{"fixed vhd as raw", "raw", append(make([]byte, 1<<20), files.VHD(2)[:512]...), 1<<20 + 512},
		{"vdi", "vdi", files.VDI(1), 1 << 20},
		{"vhdx", "vhdx", files.VHDX(false, false), 1 << 20},
	}
	for _, tt := range tests {
		n, err := Inspect(bytes.NewReader(tt.data), int64(len(tt.data)), tt.format, "bare", testLimit)
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
		{"ql2", "qcow2", []string{"-f", "qcow2", "-o", "extended_l2=on,cluster_size=65536"}, false},
		{"qz", "qcow2", []string{"-f", "qcow2", "-o", "compression_type=zstd"}, true},
		{"qfull", "qcow2", []string{"-f", "qcow2", "-o", "preallocation=metadata"}, true},
		{"qdata", "qcow2", []string{"-f", "qcow2", "-o", "data_file=" + filepath.Join(dir, "data.raw")}, false},
		{"qback", "qcow2", []string{"-f", "qcow2", "-F", "qcow2", "-b", filepath.Join(dir, "q3")}, false},
		{"vsparse", "vmdk", []string{"-f", "vmdk"}, true},
		{"vstream", "vmdk", []string{"-f", "vmdk", "-o", "subformat=streamOptimized"}, true},
		{"vflat", "vmdk", []string{"-f", "vmdk", "-o", "subformat=monolithicFlat"}, false},
		{"vsplit", "vmdk", []string{"-f", "vmdk", "-o", "subformat=twoGbMaxExtentSparse"}, false},
		{"vhddyn", "vhd", []string{"-f", "vpc"}, true},
		{"vhdfix", "vhd", []string{"-f", "vpc", "-o", "subformat=fixed"}, false},
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
		n, err := InspectFile(path, tt.format, "bare", testLimit)
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
		_, err = InspectFile(path, "raw", "bare", testLimit)
		if err == nil && tt.name != "vhdfix" {
			t.Errorf("%s passes as raw", tt.name)
		}
	}
	_ = os.Remove(filepath.Join(dir, "data.raw"))
}

// FuzzInspect holds the parsers against any bytes: they end, stay in bounds, and whatever
// they take as raw has no header that QEMU would follow.
func FuzzInspect(f *testing.F) {
	for _, h := range files.Hostile {
		if len(h.Data) <= 1<<18 {
			f.Add(h.Data, h.Format)
		}
	}
	for format := range accepts {
		f.Add([]byte("QFI\xfb"), format)
	}
	f.Add(files.VMDK(files.GoodVMDK), "vmdk")
	f.Add(files.Qcow2(), "qcow2")
	f.Fuzz(func(t *testing.T, data []byte, format string) {
		n, err := Inspect(bytes.NewReader(data), int64(len(data)), format, "bare", testLimit)
		if err != nil {
			var no *Refusal
			if !errors.As(err, &no) {
				t.Fatalf("not a refusal: %v", err)
			}
			return
		}
		if n < 0 || n > testLimit {
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
