package private

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// generous makes this process one that keeps nothing to itself.
func generous(t *testing.T) {
	t.Helper()
	old := syscall.Umask(0)
	t.Cleanup(func() { syscall.Umask(old) })
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	st, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return st.Mode().Perm()
}

func TestWhateverTheUmask(t *testing.T) {
	for _, umask := range []int{0, 0o077, 0o777} {
		generous(t)
		dir := filepath.Join(t.TempDir(), "a", "b", "c")
		syscall.Umask(umask)
		err := MakeDir(dir, Dir)
		if err == nil {
			err = MakeDir(filepath.Join(dir, "walk"), Pass)
		}
		if err == nil {
			err = Write(filepath.Join(dir, "file"), []byte("x"))
		}
		if err == nil {
			err = Create(filepath.Join(dir, "once"), []byte("x"))
		}
		if err != nil && umask != 0o777 { // with which not even the owner writes
			t.Fatal(err)
		}
		if umask == 0o777 {
			continue
		}
		for path, want := range map[string]fs.FileMode{"": Dir, "..": Pass, "walk": Pass, "file": File, "once": File} {
			if got := mode(t, filepath.Join(dir, path)); got != want {
				t.Errorf("umask %04o: %q has mode %04o, not %04o", umask, path, got, want)
			}
		}
	}
}

func TestCloseTakesAndOpenLetsWalk(t *testing.T) {
	generous(t)
	dir := t.TempDir()
	for _, tt := range []struct{ have, most, want fs.FileMode }{
		{0o777, Dir, 0o700}, {0o777, Pass, 0o711}, {0o755, Pass, 0o711}, {0o700, Pass, 0o700}, {0o500, Dir, 0o500},
	} {
		err := os.Chmod(dir, tt.have)
		if err == nil {
			err = MakeDir(dir, tt.most)
		}
		if got := mode(t, dir); err != nil || got != tt.want {
			t.Errorf("%04o closed to %04o is %04o (%v), want %04o", tt.have, tt.most, got, err, tt.want)
		}
	}
	err := errors.Join(os.Chmod(dir, 0o700), Open(dir))
	if got := mode(t, dir); err != nil || got != Pass {
		t.Errorf("opened it is %04o (%v)", got, err)
	}
	err = Close(filepath.Join(dir, "not there"), File)
	if err != nil {
		t.Error(err)
	}
}

func TestOneOfManyCreates(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	var wg sync.WaitGroup
	var made atomic.Int32
	for range 20 {
		wg.Go(func() {
			err := Create(path, []byte("whole"))
			if err == nil {
				made.Add(1)
			} else if !errors.Is(err, fs.ErrExist) {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	raw, err := os.ReadFile(path)
	left, _ := os.ReadDir(filepath.Dir(path))
	if made.Load() != 1 || err != nil || string(raw) != "whole" || len(left) != 1 {
		t.Errorf("%d made it: %q, %v; %d files", made.Load(), raw, err, len(left))
	}
}

func TestExamineAndMend(t *testing.T) {
	generous(t)
	outside := filepath.Join(t.TempDir(), "outside")
	root := t.TempDir()
	err := errors.Join(os.Chmod(root, 0o755), os.Mkdir(filepath.Join(root, "d"), 0o777), os.WriteFile(filepath.Join(root, "d", "f"), nil, 0o666),
		os.WriteFile(filepath.Join(root, "fine"), nil, 0o600), os.WriteFile(outside, nil, 0o644), os.Symlink(outside, filepath.Join(root, "link")))
	if err != nil {
		t.Fatal(err)
	}
	allowed := func(path string, _ fs.DirEntry) fs.FileMode {
		if path == "." {
			return Pass
		}
		return Dir
	}
	found, err := Examine(root, allowed)
	if err != nil || len(found) != 3 || found[0] != (Problem{".", 0o755, 0o711}) || found[1] != (Problem{"d", 0o777, 0o700}) || found[2] != (Problem{"d/f", 0o666, 0o600}) {
		t.Fatalf("%+v, %v", found, err)
	}
	// What has become a link meanwhile leads nowhere.
	swapped := append(found, Problem{"link", 0o644, 0o600})
	err = Mend(root, swapped)
	if err == nil || mode(t, outside) != 0o644 {
		t.Errorf("a link was followed out of the folder (%v)", err)
	}
	found, err = Examine(root, allowed)
	if err != nil || len(found) != 0 {
		t.Errorf("still open: %+v, %v", found, err)
	}
}
