package private

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"syscall"
)

// The modes of what the program keeps.
const (
	File = 0o600
	Dir  = 0o700
	// Pass is the mode of a folder that other accounts walk through, to what they are let
	// open there, and cannot list.
	Pass = 0o711
)

// Umask keeps all that this process and its children make to its own account. What others
// must reach is opened to them by hand.
func Umask() { syscall.Umask(0o077) }

// MakeDir makes a folder, with those above it, and takes from one that is there what other
// accounts may do with it beyond mode. The folders above it that it makes can be walked
// through.
func MakeDir(path string, mode fs.FileMode) error {
	var missing []string
	for at := filepath.Clean(path); ; at = filepath.Dir(at) {
		_, err := os.Stat(at)
		if err == nil || at == filepath.Dir(at) {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("make folder %s: %w", path, err)
		}
		missing = append(missing, at)
	}
	for _, at := range slices.Backward(missing) {
		err := os.Mkdir(at, Dir)
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make folder %s: %w", path, err)
		}
		if err == nil && at != filepath.Clean(path) {
			err = os.Chmod(at, Pass)
		}
		if err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make folder %s: %w", path, err)
		}
	}
	if len(missing) > 0 {
		return setMode(path, mode)
	}
	return Close(path, mode)
}

// Open lets other accounts walk through a folder.
func Open(path string) error {
	st, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("open folder %s: %w", path, err)
	}
	want := st.Mode().Perm() | Pass&0o077
	if st.Mode().Perm() == want {
		return nil
	}
	return setMode(path, want)
}

// Close takes from a file or folder what other accounts may do with it beyond mode. One that
// is not there is closed.
func Close(path string, mode fs.FileMode) error {
	st, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("close %s: %w", path, err)
	}
	if open(st.Mode(), mode) == 0 {
		return nil
	}
	return setMode(path, st.Mode().Perm()&^open(st.Mode(), mode))
}

// open are the bits by which other accounts may do more than mode says.
func open(have, mode fs.FileMode) fs.FileMode { return have.Perm() & 0o077 &^ mode }

func setMode(path string, mode fs.FileMode) error {
	err := os.Chmod(path, mode)
	if err != nil {
		return fmt.Errorf("keep %s from other accounts: %w", path, err)
	}
	return nil
}

// Write writes a file, all of it or nothing. One that has the content needs no disk to have it
// again.
func Write(path string, content []byte) error {
	had, err := os.ReadFile(path)
	if err == nil && bytes.Equal(had, content) && Close(path, File) == nil {
		return nil
	}
	tmp, err := temporary(path, content)
	if err == nil {
		err = os.Rename(tmp, path)
		if err != nil {
			err = errors.Join(err, os.Remove(tmp))
		}
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	return nil
}

// Create is Write of a file that is not there yet; of several processes that do it at once
// one succeeds, and the others get fs.ErrExist.
func Create(path string, content []byte) error {
	tmp, err := temporary(path, content)
	if err == nil {
		err = errors.Join(os.Link(tmp, path), os.Remove(tmp))
	}
	if err != nil {
		return fmt.Errorf("make %s: %w", filepath.Base(path), err)
	}
	return nil
}

// temporary writes a file beside path.
func temporary(path string, content []byte) (string, error) {
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = f.Write(content)
	err = errors.Join(err, f.Sync(), f.Close())
	if err != nil {
		return "", errors.Join(err, os.Remove(f.Name()))
	}
	return f.Name(), nil
}

// Problem is something that other accounts may do more with than they should.
type Problem struct {
	Path string      // from the folder that was looked at
	Mode fs.FileMode // what it has
	Want fs.FileMode // what it should have
}

// Examine looks at all that is in a folder, and at the folder: allowed gives the widest mode
// of each, by its path from there ("." is the folder).
func Examine(root string, allowed func(path string, d fs.DirEntry) fs.FileMode) ([]Problem, error) {
	var out []Problem
	root, err := filepath.EvalSymlinks(root)
	if err != nil {
		return nil, fmt.Errorf("look at a folder: %w", err)
	}
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it went while we looked
		}
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		st, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		if st.Mode()&fs.ModeSymlink != 0 {
			return nil // what it leads to is somebody else's, or looked at in its place
		}
		if more := open(st.Mode(), allowed(rel, d)); more != 0 {
			out = append(out, Problem{rel, st.Mode().Perm(), st.Mode().Perm() &^ more})
		}
		return nil
	})
	if err != nil {
		return out, fmt.Errorf("look at %s: %w", root, err)
	}
	return out, nil
}

// Mend closes what Examine found. Nothing is reached by a link that leads out of root.
func Mend(root string, found []Problem) error {
	in, err := os.OpenRoot(root)
	if err != nil {
		return fmt.Errorf("mend %s: %w", root, err)
	}
	defer in.Close()
	var failed []error
	for _, p := range found {
		err := in.Chmod(p.Path, p.Want)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			failed = append(failed, fmt.Errorf("keep %s from other accounts: %w", p.Path, err))
		}
	}
	return errors.Join(failed...)
}
