package main

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"kilonova/private"
	"kilonova/work"
)

// keptCloud is a cloud on SQLite that has written all that one writes, under a umask that
// closes nothing.
func keptCloud(t *testing.T) string {
	t.Helper()
	old := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(old) })
	dir, err := stateDir(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	unlock, err := lockState(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(unlock)
	db, err := openDB(context.Background(), "", dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { db.Close() })
	bells := work.NewBells()
	c, err := newCloud(context.Background(), db, cloudConfig{StateDir: dir, InternalURL: "http://127.0.0.1:1", Bell: bells, Bells: bells})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.images.Close() })
	tc := loggedIn(t, c)
	w := tc.do("POST", "/image/v2/images", `{"name": "x", "disk_format": "raw", "container_format": "bare"}`)
	at := w.Header().Get("Location")
	_, id, found := strings.Cut(at, "/v2/images/")
	r := tc.send("PUT", "/image/v2/images/"+id+"/file", strings.NewReader(strings.Repeat("\x00", 4096)), "application/octet-stream")
	if !found || r.Code != 204 {
		t.Fatalf("upload: %d %s, %d %s", w.Code, at, r.Code, r.Body)
	}
	hv := &hypervisor{hostConfig: hostConfig{SimHosts: 2, Driver: driverSim, SimKeep: true, SimFetch: true}}
	_, err = localAgents(context.Background(), hv, dir, db, c.hosts, bells)
	if err == nil {
		err = writeCredentials(dir, "http://127.0.0.1:1", c.password, "")
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func wideOpen(t *testing.T, dir string) []string {
	t.Helper()
	found, err := private.Examine(dir, func(path string, d fs.DirEntry) fs.FileMode {
		if d.IsDir() && strings.HasPrefix(path, "sim/") && strings.HasSuffix(path, "-images") {
			return private.Pass // as a real host's cache; the folder above it is closed
		}
		return private.Dir
	})
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, p := range found {
		out = append(out, p.Path+" "+p.Mode.String())
	}
	return out
}

func TestNoOtherAccountReadsWhatTheCloudKeeps(t *testing.T) {
	dir := keptCloud(t)
	if open := wideOpen(t, dir); len(open) > 0 {
		t.Errorf("made open: %q", open)
	}
	want := []string{"admin-password", "clouds.yaml", "images", "jws-keys", "kilonova.db", "kilonova.db-wal", "kilonova.db-shm", "lock", "machine-id", "openrc", "sim"}
	for _, name := range want {
		_, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Errorf("the cloud should have written it: %v", err)
		}
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !matches(kept, e.Name()) {
			t.Errorf("%s is not among what the program keeps", e.Name())
		}
	}
}

func TestWhatIsOpenIsMendedAtTheStart(t *testing.T) {
	dir := keptCloud(t)
	theirs := filepath.Join(dir, "operator.log")
	err := os.WriteFile(theirs, nil, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	err = filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Chmod(path, 0o777)
		}
		return os.Chmod(path, 0o666)
	})
	if err != nil {
		t.Fatal(err)
	}
	doctor := checkFiles(dir)
	if f := doctor(t.Context()); f.ok || f.fine || !strings.Contains(f.what, "other accounts can reach") || !strings.Contains(f.mend, "chmod") {
		t.Errorf("the doctor says %+v", f)
	}
	mendFiles(dir)
	open := wideOpen(t, dir)
	if len(open) != 2 || open[0] != ". -rwx--x--x" || !strings.HasPrefix(open[1], "operator.log ") {
		t.Errorf("left open: %q", open)
	}
	// What the program did not write is the operator's to close.
	if f := doctor(t.Context()); f.ok || !f.fine || !strings.Contains(f.what, "operator.log") {
		t.Errorf("the doctor says %+v", f)
	}
	err = os.Remove(theirs)
	if err != nil {
		t.Fatal(err)
	}
	if f := doctor(t.Context()); !f.ok {
		t.Errorf("the doctor says %+v", f)
	}
	if f := checkFiles(filepath.Join(dir, "nothing"))(t.Context()); !f.ok {
		t.Errorf("no state folder: %+v", f)
	}
}
