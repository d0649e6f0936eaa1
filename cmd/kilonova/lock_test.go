package main

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// photographed is what a folder holds, as far as its names, sizes, modes and times tell.
func photographed(t *testing.T, dir string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err == nil {
			fmt.Fprintln(&out, path, info.Mode(), info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// A folder with an SQLite file is one cloud's: what else would run on it is refused, told
// who is there, and leaves everything as it was.
func TestOneCloudOnAFolder(t *testing.T) {
	dir := keptCloud(t)
	err := os.Chmod(filepath.Join(dir, "openrc"), 0o644) // which a start would mend
	if err != nil {
		t.Fatal(err)
	}
	before := photographed(t, dir)
	cfg := &config{StateDir: dir, Host: hostConfig{SimHosts: 1, Driver: driverSim}, Listen: listenConfig{Address: "127.0.0.1:0"}}
	for name, start := range map[string]func(ctx context.Context) error{
		"up":  func(ctx context.Context) error { return up(ctx, cfg) },
		"api": func(ctx context.Context) error { return api(ctx, cfg) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
			defer cancel()
			err := start(ctx)
			if err == nil || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
				t.Errorf("%s beside a cloud on the same folder: %v", name, err)
			}
		})
	}
	t.Cleanup(func() {
		if after := photographed(t, dir); after != before {
			t.Errorf("what was refused changed something:\n%s\nto\n%s", before, after)
		}
	})
}

// API processes may share a folder; a cloud in one process does not join them.
func TestAPIsShareAFolder(t *testing.T) {
	dir := t.TempDir()
	first, err := shareState(dir)
	if err != nil {
		t.Fatal(err)
	}
	second, err := shareState(dir)
	if err != nil {
		t.Fatalf("a second API on the folder: %v", err)
	}
	first()
	_, err = lockState(dir)
	if err == nil {
		t.Error("a cloud joined an API")
	}
	second()
	only, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	only()
}

// TestDatabaseOfAnotherFolder: a second state folder is no way to the SQLite file of a cloud
// that runs.
func TestDatabaseOfAnotherFolder(t *testing.T) {
	theirs, mine := t.TempDir(), t.TempDir()
	file := filepath.Join(theirs, "kilonova.db")
	err := os.WriteFile(file, nil, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link.db")
	err = os.Symlink(file, link)
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lockState(theirs)
	if err != nil {
		t.Fatal(err)
	}
	for _, address := range []string{file, "sqlite:" + file, link} {
		_, err = lockDatabase(address, mine, syscall.LOCK_SH)
		if err == nil || !strings.Contains(err.Error(), "another kilonova runs on") {
			t.Errorf("%s: %v", address, err)
		}
	}
	own, err := lockDatabase(file, theirs, syscall.LOCK_EX) // it is its own
	if err != nil {
		t.Fatal(err)
	}
	own()
	unlock()
	free, err := lockDatabase(file, mine, syscall.LOCK_EX)
	if err != nil {
		t.Fatal(err)
	}
	free()
}
