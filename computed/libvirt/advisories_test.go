package libvirt

import (
	"bytes"
	"context"
	"crypto/sha512"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kilonova/computed"
	"kilonova/room"
	"kilonova/work"
)

// The disks alone need neither libvirt nor a guest.

// disksOnly is a driver that has never met a libvirtd.
func disksOnly(t *testing.T) *Driver {
	t.Helper()
	for _, bin := range []string{"qemu-img", "prlimit"} {
		_, err := exec.LookPath(bin)
		if err != nil {
			t.Skip(bin, " is not installed")
		}
	}
	dir := t.TempDir()
	d := &Driver{cfg: Config{StateDir: dir, Floor: &room.Floor{Path: dir}}, log: slog.New(slog.DiscardHandler), img: defaultQemuImg()}
	err := d.prepareDirs()
	if err != nil {
		t.Fatal(err)
	}
	d.cache, err = computed.NewImageCache(computed.CacheOptions{Dir: d.imagesDir(), Inspect: func(ctx context.Context, path string, img *work.Image) error {
		_, err := d.img.inspect(ctx, path, img.DiskFormat)
		return err
	}})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// served is a guest whose raw image has these bytes.
func served(t *testing.T, n int, data []byte) *work.Guest {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	t.Cleanup(srv.Close)
	sum := sha512.Sum512(data)
	return &work.Guest{
		ID: int64(n), UUID: fmt.Sprintf("00000000-0000-4000-8000-%012x", n), Flavor: work.Flavor{ID: "1", VCPUs: 1, MemoryMB: 64, RootGB: 1},
		Image: work.Image{ID: fmt.Sprint("image ", n), DiskFormat: "raw", Size: int64(len(data)), SHA512: hex.EncodeToString(sum[:]), Source: &work.Transfer{URL: srv.URL}},
	}
}

func create(t *testing.T, d *Driver, g *work.Guest) {
	t.Helper()
	err := d.CreateDisks(t.Context(), g)
	if err != nil {
		t.Fatal(err)
	}
}

func qemu(t *testing.T, args ...string) {
	t.Helper()
	out, err := exec.Command(args[0], args[1:]...).CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %v: %s", args, err, out)
	}
}

// hostSecret is a file of the host, and the head of a qcow2 image that names it.
func hostSecret(t *testing.T) (path string, head []byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "secret")
	err := os.WriteFile(path, bytes.Repeat([]byte("marked secret of the host\n"), 4096), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(t.TempDir(), "forged")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", "-u", "-F", "raw", "-b", path, forged, "1G")
	head, err = os.ReadFile(forged)
	if err != nil {
		t.Fatal(err)
	}
	return path, head
}

// pour writes bytes over the start of a guest's disk, as the guest does.
func pour(t *testing.T, path string, data []byte) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	_, err = f.WriteAt(data, 0)
	if err != nil {
		t.Fatal(err)
	}
	err = f.Close()
	if err != nil {
		t.Fatal(err)
	}
}

// forge makes a guest with an ephemeral disk, which is raw, on which it has written the head
// of a qcow2 image that names a file of the host. Below its root disk lies a raw image with
// such bytes: none like it is taken, but an earlier release may have left one.
func forge(t *testing.T, d *Driver, n int) *work.Guest {
	t.Helper()
	_, head := hostSecret(t)
	if len(head) < 1<<16 {
		t.Fatalf("a head of %d bytes", len(head))
	}
	err := d.CreateDisks(t.Context(), served(t, n+100, head))
	if !errors.Is(err, computed.ErrImageRefused) {
		t.Errorf("a raw image whose bytes are a qcow2 image: %v", err)
	}
	g := served(t, n, make([]byte, len(head)))
	g.Flavor.EphemeralGB = 1
	create(t, d, g)
	base, err := d.cache.Path(&g.Image)
	if err != nil {
		t.Fatal(err)
	}
	pour(t, base, head)
	pour(t, d.file(g.UUID, ephDisk), head)
	probed, err := exec.Command("qemu-img", "info", "--output=json", d.file(g.UUID, ephDisk)).Output()
	if err != nil || !strings.Contains(string(probed), `"format": "qcow2"`) {
		t.Fatalf("whoever probes sees %s (%v): the test cannot fail", probed, err)
	}
	return g
}

func noSecret(t *testing.T, path string) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte("marked secret of the host")) {
		t.Errorf("%s has what the host's file has", filepath.Base(path))
	}
}

func TestOSSA_2026_002_2016_007_ResizeProbesNoFormat(t *testing.T) {
	d := disksOnly(t)
	g := forge(t, d, 1)
	g.Flavor.RootGB, g.Flavor.EphemeralGB = 2, 1
	for range 2 {
		err := d.ResizeDisks(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
	}
	info, err := readInfo(d.dir(g.UUID))
	if err != nil || info.Formats[rootDisk] != "qcow2" || info.Formats[ephDisk] != "raw" {
		t.Errorf("the record is %+v, %v", info, err)
	}
	look, err := d.img.info(t.Context(), d.file(g.UUID, rootDisk), "qcow2")
	if err != nil || look.VirtualSize != 2<<30 || look.BackingFile == "" {
		t.Errorf("the root disk is %+v, %v", look, err)
	}
	out, err := exec.Command("qemu-img", "info", "--output=json", "--backing-chain", d.file(g.UUID, rootDisk)).CombinedOutput()
	if err != nil || strings.Contains(string(out), "secret") {
		t.Errorf("the chain of the root disk is %s (%v)", out, err)
	}
	// Saving and restoring, as a move does, copies bytes and reads none of them.
	err = d.SaveDisks(t.Context(), g.UUID, true)
	if err != nil {
		t.Fatal(err)
	}
	err = d.RestoreDisks(t.Context(), g.UUID)
	if err != nil {
		t.Fatal(err)
	}
	noSecret(t, d.file(g.UUID, rootDisk))
	noSecret(t, d.file(g.UUID, ephDisk))
}

func TestOSSA_2016_001_SnapshotsProbeNoFormat(t *testing.T) {
	d := disksOnly(t)
	g := forge(t, d, 1)
	info, err := readInfo(d.dir(g.UUID))
	if err != nil {
		t.Fatal(err)
	}
	for _, to := range []string{"raw", "qcow2"} {
		out := filepath.Join(t.TempDir(), "snapshot")
		err := d.img.convert(t.Context(), d.file(g.UUID, rootDisk), info.Formats[rootDisk], out, to)
		if err != nil {
			t.Fatal(err)
		}
		noSecret(t, out)
	}
	// A root disk that is no qcow2 image any more is refused, not taken for something else.
	path := d.file(g.UUID, rootDisk)
	pour(t, path, bytes.Repeat([]byte("x"), 1<<16))
	err = d.img.convert(t.Context(), path, info.Formats[rootDisk], filepath.Join(t.TempDir(), "s"), "raw")
	if err == nil {
		t.Error("a disk that is not what the record says was copied")
	}
	err = d.ResizeDisks(t.Context(), g)
	if err == nil {
		t.Error("a disk that is not what the record says was resized")
	}
}

func TestOSSA_2014_003_DisksAreNamedByTheServer(t *testing.T) {
	d := disksOnly(t)
	a, b := served(t, 1, make([]byte, 4096)), served(t, 2, make([]byte, 4096))
	a.Flavor.EphemeralGB, b.Flavor.EphemeralGB = 1, 1
	create(t, d, a)
	pour(t, d.file(a.UUID, ephDisk), []byte("marked secret of the host"))
	create(t, d, b) // of the same flavor and image
	noSecret(t, d.file(b.UUID, ephDisk))
	err := filepath.WalkDir(d.cfg.StateDir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		in := filepath.Base(filepath.Dir(path))
		if in != a.UUID && in != b.UUID && filepath.Dir(path) != d.imagesDir() {
			t.Errorf("a file that belongs to no server: %s", path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestOSSA_2012_020_2013_021_NewDisksAreEmpty(t *testing.T) {
	d := disksOnly(t)
	secret := bytes.Repeat([]byte("marked secret of the host"), 1<<16)
	for n := range 3 {
		g := served(t, 1, make([]byte, 4096)) // the same server's name each time
		g.Flavor.EphemeralGB, g.Flavor.SwapMB = 1, 4
		create(t, d, g)
		for _, name := range []string{ephDisk, swapDisk} {
			f, err := os.Open(d.file(g.UUID, name))
			if err != nil {
				t.Fatal(err)
			}
			head := make([]byte, 2<<20)
			_, err = f.ReadAt(head, 1<<20)
			f.Close()
			if err != nil || bytes.Contains(head, []byte("marked secret")) {
				t.Errorf("time %d: %s has old bytes (%v)", n, name, err)
			}
		}
		noSecret(t, d.file(g.UUID, rootDisk))
		for _, name := range []string{ephDisk, swapDisk} {
			pour(t, d.file(g.UUID, name), secret)
		}
		if n == 1 { // a resize that takes a disk away and gives one again
			g.Flavor.SwapMB = 0
			if err := d.ResizeDisks(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			g.Flavor.SwapMB = 4
			if err := d.ResizeDisks(t.Context(), g); err != nil {
				t.Fatal(err)
			}
			noSecret(t, d.file(g.UUID, swapDisk))
		}
		err := d.DeleteDisks(t.Context(), g.UUID)
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestOSSA_2016_012_QemuImgIsLimited(t *testing.T) {
	d := disksOnly(t)
	dir := t.TempDir()
	script := func(body string) qemuImg {
		t.Helper()
		bin := filepath.Join(dir, "fake")
		err := os.WriteFile(bin, []byte("#!/bin/sh\n"+body+"\n"), 0o755)
		if err != nil {
			t.Fatal(err)
		}
		q := defaultQemuImg()
		q.bin, q.lookTime = bin, 500*time.Millisecond
		return q
	}
	start := time.Now()
	_, err := script("exec sleep 60").run(t.Context(), time.Second, 500*time.Millisecond, "info")
	if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) > 20*time.Second {
		t.Errorf("one that hangs: %v after %v", err, time.Since(start))
	}
	_, err = script("while :; do :; done").run(t.Context(), time.Second, 30*time.Second, "info")
	if err == nil || errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("one that eats the processor: %v", err)
	}
	out, err := script("ulimit -v; ulimit -t; ulimit -c").run(t.Context(), 7*time.Second, 0, "info")
	if got := strings.Fields(string(out)); err != nil || len(got) != 3 || got[0] != fmt.Sprint(d.img.space/1024) || got[1] != "7" || got[2] != "0" {
		t.Errorf("limits %q, %v", got, err)
	}
	// Tables that promise petabytes.
	head := make([]byte, 1<<16)
	copy(head, "QFI\xfb\x00\x00\x00\x03")
	binary.BigEndian.PutUint32(head[20:], 9)     // clusters of 512 bytes
	binary.BigEndian.PutUint64(head[24:], 1<<62) // size
	binary.BigEndian.PutUint32(head[36:], 1<<31) // entries of the L1 table
	binary.BigEndian.PutUint64(head[40:], 512)   // where it is
	binary.BigEndian.PutUint64(head[48:], 1024)  // the table of reference counts
	binary.BigEndian.PutUint32(head[56:], 1<<30) // and its clusters
	binary.BigEndian.PutUint32(head[96:], 4)     // bits of a count
	binary.BigEndian.PutUint32(head[100:], 104)  // bytes of the header
	path := filepath.Join(dir, "crafted")
	err = os.WriteFile(path, head, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.img.inspect(t.Context(), path, "qcow2")
	if !errors.Is(err, computed.ErrImageRefused) {
		t.Errorf("crafted tables: %v", err)
	}
}

func TestOSSA_2013_012_2013_029_VirtualSizeIsHeldAgainstTheFlavor(t *testing.T) {
	d := disksOnly(t)
	path := filepath.Join(t.TempDir(), "bomb")
	qemu(t, "qemu-img", "create", "-q", "-f", "qcow2", path, "1T")
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	g := served(t, 1, data)
	g.Image.DiskFormat = "qcow2"
	g.Image.VirtualSize = 1 // what it was declared to be counts for nothing
	err = d.CreateDisks(t.Context(), g)
	if !errors.Is(err, computed.ErrDiskTooSmall) {
		t.Errorf("a disk of 1 TiB for a flavor of 1 GiB: %v", err)
	}
	there, err := exists(d.file(g.UUID, rootDisk))
	if err != nil || there {
		t.Errorf("a root disk was made (%v)", err)
	}
}

func TestOSSA_2013_037_TheCacheIsKeyedByContent(t *testing.T) {
	d := disksOnly(t)
	data := bytes.Repeat([]byte("x"), 1<<16)
	for n := range 8 {
		g := served(t, n+1, data) // another image id, other properties, the same bytes
		g.Image.Properties = map[string]string{"os_type": fmt.Sprint("os", n), "hw_disk_bus": "virtio"}
		g.Flavor.ID, g.Flavor.RootGB = fmt.Sprint(n), 1+n
		create(t, d, g)
	}
	cached := func() int {
		t.Helper()
		list, err := os.ReadDir(d.imagesDir())
		if err != nil {
			t.Fatal(err)
		}
		return len(list)
	}
	if n := cached(); n != 1 {
		t.Errorf("%d files are cached for one content", n)
	}
	removed, err := d.CleanCache(t.Context(), 0)
	if err != nil || len(removed) != 0 {
		t.Errorf("cleaned %v, %v while servers use it", removed, err)
	}
	for n := range 8 {
		err := d.DeleteDisks(t.Context(), fmt.Sprintf("00000000-0000-4000-8000-%012x", n+1))
		if err != nil {
			t.Fatal(err)
		}
	}
	removed, err = d.CleanCache(t.Context(), 0)
	if err != nil || len(removed) != 1 || cached() != 0 {
		t.Errorf("cleaned %v, %v; %d are left", removed, err, cached())
	}
}

func TestOSSA_2014_001_2013_010_OthersOnTheHostReadNothing(t *testing.T) {
	umask := syscall.Umask(0)
	defer syscall.Umask(umask)
	d := disksOnly(t)
	g := served(t, 1, make([]byte, 4096))
	g.Flavor.EphemeralGB, g.Flavor.SwapMB = 1, 4
	d.cfg.ConfigDrive = func(*work.Guest) (map[string][]byte, error) {
		return map[string][]byte{"openstack/latest/user_data": []byte("x")}, nil
	}
	create(t, d, g)
	left := filepath.Join(d.tempDir(), "snapshot-left")
	err := os.Mkdir(left, 0o700)
	if err != nil {
		t.Fatal(err)
	}
	// QEMU's account walks to a disk; libvirt gives it the disk itself.
	const walk = 0o011
	for _, dir := range []string{d.instancesDir(), d.tempDir(), d.dir(g.UUID), d.imagesDir()} {
		st, err := os.Stat(dir)
		if err != nil || st.Mode()&0o077 != walk {
			t.Errorf("directory %s has mode %v (%v)", filepath.Base(dir), st.Mode(), err)
		}
	}
	base, err := d.cache.Path(&g.Image)
	if err != nil {
		t.Fatal(err)
	}
	files := []string{base}
	for _, name := range []string{rootDisk, ephDisk, swapDisk, configDisk, infoFile} {
		files = append(files, d.file(g.UUID, name))
	}
	for _, path := range files {
		st, err := os.Stat(path)
		if err != nil || st.Mode()&0o077 != 0 {
			t.Errorf("%s has mode %v (%v)", filepath.Base(path), st.Mode(), err)
		}
	}
	err = d.prepareDirs() // the next process
	if err != nil {
		t.Fatal(err)
	}
	there, err := exists(left)
	if err != nil || there {
		t.Errorf("what a snapshot left is still there (%v)", err)
	}
}

func TestOSSA_2012_008_2012_011_2011_001_PathsLeadNowhere(t *testing.T) {
	d := disksOnly(t)
	for _, id := range []string{"", ".", "..", "../images", "00000000-0000-4000-8000-000000000001/../..", "00000000-0000-4000-8000-000000000001\x00", strings.Repeat("a", 36)} {
		g := served(t, 1, make([]byte, 4096))
		g.UUID = id
		if d.CreateDisks(t.Context(), g) == nil {
			t.Errorf("made disks of %q", id)
		}
		if d.ResizeDisks(t.Context(), g) == nil {
			t.Errorf("resized disks of %q", id)
		}
		if d.SaveDisks(t.Context(), id, true) == nil {
			t.Errorf("saved disks of %q", id)
		}
		_ = d.DeleteDisks(t.Context(), id) // an error or none: what counts is what is left
		_ = d.DropSavedDisks(t.Context(), id)
		_ = d.RestoreDisks(t.Context(), id)
		for _, dir := range []string{d.imagesDir(), d.instancesDir(), d.tempDir()} {
			there, err := exists(dir)
			if err != nil || !there {
				t.Fatalf("%q removed %s (%v)", id, dir, err)
			}
		}
	}
	// A name in the config drive is a name in the drive, whatever it looks like.
	for _, name := range []string{"../../../../etc/cron.d/x", "/etc/passwd", "a/../../b"} {
		out := filepath.Join(t.TempDir(), "drive")
		err := d.writeConfigDrive(out, map[string][]byte{name: []byte("marked secret")}, time.Now())
		list, globErr := filepath.Glob(filepath.Join(filepath.Dir(out), "*"))
		if globErr != nil || len(list) > 1 || len(list) == 1 && list[0] != out {
			t.Errorf("%q (%v) wrote %v", name, err, list)
		}
	}
}
