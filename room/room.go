package room

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// ErrFull says that a file system has no more room for what users ask for.
var ErrFull = errors.New("there is not enough room on the disk")

// Full reports whether err says that a disk is full, or that an account may have no more
// of it.
func Full(err error) bool {
	return errors.Is(err, ErrFull) || errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// Space is what a file system has, in bytes.
type Space struct {
	Size int64
	Free int64 // for this account
	// Starved says that there are hardly any files left to make, however many bytes there are.
	Starved bool
}

// filesKept is how many files can still be made on a file system that is not starved, where
// it counts them.
const filesKept = 512

// Of measures the file system at path, or, while that is not there, at the nearest folder
// above it.
func Of(path string) (Space, error) {
	var st unix.Statfs_t
	for {
		err := unix.Statfs(path, &st)
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || path == filepath.Dir(path) {
			return Space{}, fmt.Errorf("measure the disk of %s: %w", path, err)
		}
		path = filepath.Dir(path)
	}
	unit := st.Frsize
	if unit == 0 {
		unit = st.Bsize
	}
	return Space{Size: int64(st.Blocks) * unit, Free: int64(st.Bavail) * unit,
		Starved: st.Files > 0 && st.Ffree < min(filesKept, st.Files/20)}, nil
}

// defaultKeep is what stays free unless somebody chose another amount: enough for the
// program's own, and of a small disk a fifth.
func defaultKeep(s Space) int64 { return min(1<<30, s.Size/5) }

// Floor is the room on a file system that stays free whatever users ask for. All that a
// process writes to one file system for them should share one.
type Floor struct {
	Path string
	Keep Size // the default if it is not set
	// Probe measures the file system; Of if nil.
	Probe func(path string) (Space, error)

	held atomic.Int64 // bytes that are about to be written
}

// Check is ErrFull unless n more bytes leave the floor free.
func (f *Floor) Check(n int64) error {
	release, err := f.Hold(n)
	if err == nil {
		release()
	}
	return err
}

// Hold is Check, and keeps the n bytes from others until release is called, when they are
// written.
func (f *Floor) Hold(n int64) (release func(), err error) {
	probe := f.Probe
	if probe == nil {
		probe = Of
	}
	held := f.held.Add(n)
	release = func() { f.held.Add(-n) }
	s, err := probe(f.Path)
	if err == nil && (s.Starved || s.Free-held < f.keep(s)) {
		err = fmt.Errorf("%d bytes for %s, of which %d are free: %w", n, f.Path, s.Free, ErrFull)
	}
	if err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (f *Floor) keep(s Space) int64 {
	if f.Keep.Unset() {
		return defaultKeep(s)
	}
	return f.Keep.Of(s.Size)
}

// Writer writes to w what leaves the floor free.
func (f *Floor) Writer(w io.Writer) io.Writer { return &writer{f, w} }

type writer struct {
	floor *Floor
	w     io.Writer
}

func (w *writer) Write(b []byte) (int, error) {
	release, err := w.floor.Hold(int64(len(b)))
	if err != nil {
		return 0, err
	}
	defer release()
	return w.w.Write(b)
}

// watchEvery is how often Watch looks. A disk writes a fraction of a floor meanwhile.
const watchEvery = 50 * time.Millisecond

// Watch gives a context that ends, with ErrFull as its cause, when the floor is reached: for
// what another program writes. stop ends the watch.
func (f *Floor) Watch(ctx context.Context) (watched context.Context, stop func()) {
	watched, cancel := context.WithCancelCause(ctx)
	tick := time.NewTicker(watchEvery)
	go func() {
		defer tick.Stop()
		for {
			select {
			case <-watched.Done():
				return
			case <-tick.C:
			}
			err := f.Check(0)
			if err != nil {
				cancel(err)
				return
			}
		}
	}()
	return watched, func() { cancel(context.Canceled) }
}
