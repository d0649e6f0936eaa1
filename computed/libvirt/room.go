package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kilonova/room"
)

// spending runs f, in which another program writes to the guests' disk, and ends it where the
// floor is reached. What f leaves half made is its caller's to remove.
func (d *Driver) spending(ctx context.Context, f func(context.Context) error) error {
	err := d.cfg.Floor.Check(0)
	if err != nil {
		return err
	}
	watched, stop := d.cfg.Floor.Watch(ctx)
	defer stop()
	err = f(watched)
	if err == nil || ctx.Err() != nil {
		return err
	}
	full := context.Cause(watched)
	if !room.Full(full) { // it may have been faster than the watch
		full = d.cfg.Floor.Check(0)
	}
	if room.Full(full) {
		return fmt.Errorf("%w: %w", full, err)
	}
	return err
}

// The console logs of a guest are bounded by virtlogd, where it writes them. Where QEMU does
// so itself, or virtlogd is told to keep more, they are bounded here: the end, which is all
// that anybody is shown, stays.
const (
	consoleMost = 16 << 20  // bytes on the disk
	consoleEnd  = 128 << 10 // what stays
	trimEvery   = 10 * time.Second
)

// trimConsoles bounds what guests write to their serial consoles, until Close.
func (d *Driver) trimConsoles() {
	tick := time.NewTicker(trimEvery)
	defer tick.Stop()
	told := false
	for {
		select {
		case <-d.closed:
			return
		case <-tick.C:
		}
		err := d.trimOnce()
		if err != nil && !told {
			d.log.Warn("console logs cannot be bounded", "err", err)
		}
		told = err != nil
	}
}

// trimOnce bounds the logs, and keeps no more than the end of each where the disk is full.
func (d *Driver) trimOnce() error {
	most := int64(consoleMost)
	full := room.Full(d.cfg.Floor.Check(0))
	if full {
		most = consoleEnd
	}
	logs, err := filepath.Glob(filepath.Join(d.instancesDir(), "*", consoleLog+"*"))
	if err != nil {
		return err
	}
	var problems []error
	for _, path := range logs {
		older := strings.TrimPrefix(filepath.Base(path), consoleLog) // "", or ".0" of the last that was full, ".1", ...
		var err error
		if full && older != "" && older != ".0" {
			err = os.Remove(path)
		} else {
			err = trim(path, most)
		}
		if err != nil && !errors.Is(err, os.ErrNotExist) && len(problems) < 3 {
			problems = append(problems, fmt.Errorf("bound %s: %w", path, err))
		}
	}
	return errors.Join(problems...)
}

// trim gives back the disk under all but the end of a log that takes more than most bytes.
// Whoever writes to it goes on where it is. That needs no disk.
func trim(path string, most int64) error {
	var st syscall.Stat_t
	err := syscall.Lstat(path, &st)
	if err != nil || st.Mode&syscall.S_IFMT != syscall.S_IFREG || st.Blocks*512 <= most+consoleEnd {
		return err
	}
	f, err := os.OpenFile(path, os.O_WRONLY|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	err = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, st.Size-consoleEnd)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return f.Truncate(0) // the next line is at its beginning
	}
	return err
}
