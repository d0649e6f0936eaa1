package room

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reserve is disk that a file holds, to be given up when there is no other.
type Reserve struct {
	Path string
	Size int64
}

// Held is how much of it there is. A file with holes, as a copy may be, holds nothing.
func (r *Reserve) Held() int64 {
	var st syscall.Stat_t
	err := syscall.Stat(r.Path, &st)
	if err != nil {
		return 0
	}
	return min(st.Blocks*512, st.Size)
}

// Whole reports whether all of it is held.
func (r *Reserve) Whole() bool { return r.Held() >= r.Size }

// Take holds the disk, or leaves nothing.
func (r *Reserve) Take() error {
	if r.Whole() {
		return nil
	}
	f, err := os.OpenFile(r.Path, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err == nil {
		err = errors.Join(allocate(f, r.Size), f.Close())
	}
	if err != nil {
		r.GiveUp()
		return fmt.Errorf("hold %d bytes of disk: %w", r.Size, err)
	}
	return nil
}

// GiveUp lets the disk go, and reports whether there was any.
func (r *Reserve) GiveUp() bool {
	held := r.Held()
	err := os.Remove(r.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		err = os.Truncate(r.Path, 0)
	}
	return held > 0 && err == nil
}

func allocate(f *os.File, size int64) error {
	err := unix.Fallocate(int(f.Fd()), 0, 0, size)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.ENOSYS) {
		// What cannot be compressed or shared takes the disk that it says.
		_, err = io.CopyN(f, rand.NewChaCha8([32]byte{}), size)
	}
	if err != nil {
		return err
	}
	return f.Sync()
}
