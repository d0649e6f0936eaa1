// Package roomtest gives tests a disk of their own that they can fill.
package roomtest

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"kilonova/room"
)

// Disk mounts a new file system of so many bytes and gives its folder. Where that is not
// allowed the test is skipped, and says why.
func Disk(t testing.TB, size string) string {
	t.Helper()
	dir := t.TempDir()
	err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=0700")
	if errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES) {
		t.Skipf("a disk that can be filled needs a mount, which this account may not make (%v): run the test as root", err)
	}
	if err != nil {
		t.Fatalf("mount a disk: %v", err)
	}
	t.Cleanup(func() {
		err := unix.Unmount(dir, unix.MNT_DETACH)
		if err != nil {
			t.Errorf("unmount the disk: %v", err)
		}
	})
	return dir
}

// Free is what is left of the disk of dir.
func Free(t testing.TB, dir string) int64 {
	t.Helper()
	s, err := room.Of(dir)
	if err != nil {
		t.Fatal(err)
	}
	return s.Free
}

// Fill takes what is left of the disk of dir but for so many bytes, as another program might.
// The function that it gives lets go of it.
func Fill(t testing.TB, dir string, leave int64) (release func()) {
	t.Helper()
	path := filepath.Join(dir, "somebody-elses")
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatalf("fill the disk: %v", err)
	}
	defer f.Close()
	for {
		left := Free(t, dir) - leave
		if left <= 0 {
			break
		}
		_, err = io.CopyN(f, zeros{}, left)
		if room.Full(err) {
			break
		}
		if err != nil {
			t.Fatalf("fill the disk: %v", err)
		}
	}
	return func() {
		err := os.Remove(path)
		if err != nil {
			t.Errorf("empty the disk: %v", err)
		}
	}
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) {
	clear(b)
	return len(b), nil
}
