package libvirt

import (
	"context"
	"crypto/sha512"
	"encoding/hex"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kilonova/computed"
	"kilonova/room"
	"kilonova/room/roomtest"
	"kilonova/work"
)

const someGuest = "11111111-2222-4333-8444-555555555555"

// onDisk is a driver without a libvirtd, with its guests' disks in a folder.
func onDisk(t *testing.T, dir string, floor *room.Floor) *Driver {
	t.Helper()
	if floor == nil {
		floor = &room.Floor{Path: dir}
	}
	d := &Driver{cfg: Config{StateDir: dir, Floor: floor}, log: slog.New(slog.DiscardHandler), img: defaultQemuImg(), closed: make(chan struct{})}
	err := d.prepareDirs()
	if err == nil {
		d.cache, err = computed.NewImageCache(computed.CacheOptions{Dir: d.imagesDir(), Floor: floor})
	}
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// guestWith makes the folder of a guest with a root disk of so many bytes, and its record.
func guestWith(t *testing.T, d *Driver, size int64) {
	t.Helper()
	err := os.Mkdir(d.dir(someGuest), 0o711)
	if err == nil {
		err = random(d.file(someGuest, rootDisk), size)
	}
	if err == nil {
		err = writeInfo(d.dir(someGuest), &diskInfo{Formats: map[string]string{rootDisk: "raw"}, Base: "none"})
	}
	if err != nil {
		t.Fatal(err)
	}
}

func random(path string, size int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.CopyN(f, rand.NewChaCha8([32]byte{1}), size)
	return errors.Join(err, f.Close())
}

// A copy of a guest's disk that there is no room for leaves the floor, the guest and nothing
// else, whichever program writes it.
func TestCopiesLeaveTheFloorFree(t *testing.T) {
	disk := roomtest.Disk(t, "24m")
	d := onDisk(t, disk, nil)
	guestWith(t, d, 14<<20)
	before := roomtest.Free(t, disk)
	err := d.SaveDisks(t.Context(), someGuest, true)
	if !room.Full(err) {
		t.Errorf("saved disks: %v", err)
	}
	for _, dir := range []string{d.stageDir(someGuest), d.savedDir(someGuest)} {
		if there, err := exists(dir); there || err != nil {
			t.Errorf("%s stayed, %v", dir, err)
		}
	}
	out := filepath.Join(d.tempDir(), "copy")
	for _, format := range []string{"raw", "qcow2"} {
		err = d.spending(t.Context(), func(ctx context.Context) error {
			return d.img.convert(ctx, d.file(someGuest, rootDisk), "raw", out, format)
		})
		if !room.Full(err) {
			t.Errorf("a conversion to %s: %v", format, err)
		}
		err = os.Remove(out)
		if err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Error(err)
		}
	}
	if free := roomtest.Free(t, disk); free != before {
		t.Errorf("%d bytes are free, %d were", free, before)
	}
	release := roomtest.Fill(t, disk, 1<<20)
	ran := false
	err = d.spending(t.Context(), func(context.Context) error { ran = true; return nil })
	if !room.Full(err) || ran {
		t.Errorf("below the floor: %v, ran %v", err, ran)
	}
	err = d.writeConfigDrive(d.file(someGuest, configDisk), map[string][]byte{"a": []byte("b")}, time.Now())
	if there, _ := exists(d.file(someGuest, configDisk)); !room.Full(err) || there {
		t.Errorf("a config drive below the floor: %v, there %v", err, there)
	}
	// What frees disk needs none.
	err = d.DeleteDisks(t.Context(), someGuest)
	if err != nil {
		t.Error(err)
	}
	release()
	guestWith(t, d, 4<<20)
	err = d.SaveDisks(t.Context(), someGuest, true)
	if there, _ := exists(filepath.Join(d.savedDir(someGuest), infoFile)); err != nil || !there {
		t.Errorf("with room again: %v, there %v", err, there)
	}
}

// spending tells a full disk from what is wrong otherwise.
func TestSpendingTellsWhatWentWrong(t *testing.T) {
	broken := errors.New("broken")
	d := onDisk(t, t.TempDir(), &room.Floor{Keep: room.Bytes(0)})
	err := d.spending(t.Context(), func(context.Context) error { return broken })
	if !errors.Is(err, broken) || room.Full(err) {
		t.Errorf("with room: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	err = d.spending(ctx, func(watched context.Context) error { cancel(); <-watched.Done(); return watched.Err() })
	if !errors.Is(err, context.Canceled) || room.Full(err) {
		t.Errorf("cancelled: %v", err)
	}
}

// An image that the cache has no room for takes the place of those that nobody uses, and of
// no others.
func TestUnusedImagesMakeRoom(t *testing.T) {
	disk := roomtest.Disk(t, "24m")
	d := onDisk(t, disk, nil)
	data := make([]byte, 10<<20)
	_, _ = rand.NewChaCha8([32]byte{2}).Read(data) // it never fails
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(data) }))
	defer server.Close()
	sum := sha512.Sum512(data)
	img := &work.Image{ID: "i", DiskFormat: "raw", Container: "bare", Size: int64(len(data)), SHA512: hex.EncodeToString(sum[:]), Source: &work.Transfer{URL: server.URL}}
	base := func(letter string, age time.Duration) string {
		t.Helper()
		path := filepath.Join(d.imagesDir(), strings.Repeat(letter, 128)+".raw")
		err := random(path, 5<<20)
		if err == nil {
			err = os.Chtimes(path, time.Now(), time.Now().Add(-age))
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, young := base("a", time.Hour), base("b", time.Minute)
	guestWith(t, d, 0)
	err := writeInfo(d.dir(someGuest), &diskInfo{Formats: map[string]string{rootDisk: "raw"}, Base: filepath.Base(old)})
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.fetch(t.Context(), img)
	if !room.Full(err) {
		t.Errorf("with an image in use and a young one: %v", err)
	}
	err = d.DeleteDisks(t.Context(), someGuest)
	if err != nil {
		t.Fatal(err)
	}
	path, err := d.fetch(t.Context(), img)
	if err != nil {
		t.Fatalf("in the place of an unused image: %v", err)
	}
	for p, want := range map[string]bool{path: true, young: true, old: false} {
		if there, err := exists(p); there != want || err != nil {
			t.Errorf("%.40s is there: %v, %v", filepath.Base(p), there, err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(d.imagesDir(), "part-*")); len(left) > 0 {
		t.Errorf("parts are left: %v", left)
	}
}

// Guests' consoles do not fill the disk: the end of a log stays, and whoever writes goes on.
func TestConsoleLogsAreBounded(t *testing.T) {
	disk := roomtest.Disk(t, "64m")
	d := onDisk(t, disk, nil)
	guestWith(t, d, 0)
	path := d.file(someGuest, consoleLog)
	writer, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer writer.Close()
	write := func(text string) {
		t.Helper()
		_, err := writer.WriteString(text)
		if err != nil {
			t.Fatal(err)
		}
	}
	taken := func() int64 {
		var st syscall.Stat_t
		err := syscall.Stat(path, &st)
		if err != nil {
			t.Fatal(err)
		}
		return st.Blocks * 512
	}
	write(strings.Repeat("some line\n", 1<<20))
	must := func(what string, want int64) {
		t.Helper()
		err := d.trimOnce()
		if err != nil || taken() > want {
			t.Errorf("%s: %v, it takes %d bytes", what, err, taken())
		}
	}
	before := taken()
	must("a short one", before)
	if taken() != before {
		t.Errorf("of %d bytes %d stayed", before, taken())
	}
	write(strings.Repeat("some line\n", 1<<20))
	must("a long one", 2*consoleEnd)
	write("last line\n")
	end, err := tail(path, 30)
	if err != nil || string(end) != "some line\nsome line\nlast line\n" {
		t.Errorf("its end is %q, %v", end, err)
	}
	for _, name := range []string{".0", ".1", ".2"} {
		err := random(path+name, 1<<20)
		if err != nil {
			t.Fatal(err)
		}
	}
	write(strings.Repeat("more line\n", 1<<18))
	roomtest.Fill(t, disk, 1<<20)
	must("on a full disk", 2*consoleEnd)
	for name, want := range map[string]bool{"": true, ".0": true, ".1": false, ".2": false} {
		if there, err := exists(path + name); there != want || err != nil {
			t.Errorf("console.log%s is there: %v, %v", name, there, err)
		}
	}
}
