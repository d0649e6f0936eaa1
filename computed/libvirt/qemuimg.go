package libvirt

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
)

// qemuImg runs qemu-img without a shell and under limits, since what it reads may come
// from a stranger. Every method names the format of what it reads: nothing is probed.
type qemuImg struct {
	bin      string
	space    int64         // bytes of address space
	lookTime time.Duration // limit for looking at an image
}

func defaultQemuImg() qemuImg {
	return qemuImg{bin: "qemu-img", space: 2 << 30, lookTime: 30 * time.Second}
}

// ErrBadImage refuses an image that is not what it was declared to be, or that names
// other files.
var ErrBadImage = errors.New("the image is refused")

// run runs qemu-img with at most cpu of processor time; timeout 0 leaves it to ctx.
func (q qemuImg) run(ctx context.Context, cpu, timeout time.Duration, args ...string) ([]byte, error) {
	if timeout > 0 {
		c, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		ctx = c
	}
	limits := []string{
		"--as=" + strconv.FormatInt(q.space, 10),
		"--cpu=" + strconv.Itoa(int(cpu.Seconds())),
		"--core=0", "--", q.bin,
	}
	cmd := exec.CommandContext(ctx, "prlimit", append(limits, args...)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.WaitDelay = 5 * time.Second
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		if ctx.Err() != nil {
			err = ctx.Err()
		}
		return nil, fmt.Errorf("qemu-img %s: %w: %.300s", args[0], err, strings.TrimSpace(stderr.String()))
	}
	return out, nil
}

// imageInfo is what we read of qemu-img info.
type imageInfo struct {
	Format         string `json:"format"`
	VirtualSize    int64  `json:"virtual-size"`
	BackingFile    string `json:"backing-filename"`
	FormatSpecific struct {
		Data struct {
			DataFile string `json:"data-file"`
		} `json:"data"`
	} `json:"format-specific"`
}

// inspect looks at an image of the declared format and refuses it with ErrBadImage if it
// is not one, or names a backing or data file. Those are looked for in the header first,
// as qemu-img opens a data file before it speaks of it.
func (q qemuImg) inspect(ctx context.Context, path, format string) (*imageInfo, error) {
	switch format {
	case "raw":
	case "qcow2":
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("open image: %w", err)
		}
		err = checkQcow2(f)
		f.Close()
		if err != nil {
			return nil, err
		}
	default:
		return nil, fmt.Errorf("%w: format %q", ErrBadImage, format)
	}
	info, err := q.info(ctx, path, format)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrBadImage, err)
	}
	if info.BackingFile != "" || info.FormatSpecific.Data.DataFile != "" {
		return nil, fmt.Errorf("%w: it names another file", ErrBadImage)
	}
	return info, nil
}

func (q qemuImg) info(ctx context.Context, path, format string) (*imageInfo, error) {
	out, err := q.run(ctx, 10*time.Second, q.lookTime, "info", "-f", format, "--output=json", path)
	if err != nil {
		return nil, err
	}
	var info imageInfo
	err = json.Unmarshal(out, &info)
	if err != nil {
		return nil, fmt.Errorf("read qemu-img info: %w", err)
	}
	if info.Format != format {
		return nil, fmt.Errorf("format is %q, not %q", info.Format, format)
	}
	return &info, nil
}

// checkQcow2 reads the header of a qcow2 image and refuses one that is none or that names
// a backing or data file.
func checkQcow2(r io.Reader) error {
	var h [104]byte
	n, err := io.ReadFull(r, h[:])
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("%w: read header: %w", ErrBadImage, err)
	}
	if n < 72 || string(h[:4]) != "QFI\xfb" {
		return fmt.Errorf("%w: it is not qcow2", ErrBadImage)
	}
	version := binary.BigEndian.Uint32(h[4:])
	switch {
	case version != 2 && version != 3:
		return fmt.Errorf("%w: qcow2 version %d", ErrBadImage, version)
	case binary.BigEndian.Uint64(h[8:]) != 0 || binary.BigEndian.Uint32(h[16:]) != 0:
		return fmt.Errorf("%w: it has a backing file", ErrBadImage)
	case version == 3 && n < 104:
		return fmt.Errorf("%w: its header is cut short", ErrBadImage)
	case version == 3 && binary.BigEndian.Uint64(h[72:])&^3 != 0:
		// Bits 0 and 1 say dirty and corrupt; 2 is a data file, the rest is newer.
		return fmt.Errorf("%w: it has a data file or an unknown feature", ErrBadImage)
	}
	return nil
}

// overlay makes a qcow2 file of size bytes on top of base.
func (q qemuImg) overlay(ctx context.Context, path, base, baseFormat string, size int64) error {
	_, err := q.run(ctx, 10*time.Second, q.lookTime, "create", "-q", "-f", "qcow2", "-F", baseFormat, "-b", base,
		path, strconv.FormatInt(size, 10))
	return err
}

// resize grows an image of ours.
func (q qemuImg) resize(ctx context.Context, path, format string, size int64) error {
	_, err := q.run(ctx, 30*time.Second, 0, "resize", "-q", "-f", format, path, strconv.FormatInt(size, 10))
	return err
}

// convert writes a standalone copy of an image of ours.
func (q qemuImg) convert(ctx context.Context, from, fromFormat, to, toFormat string) error {
	_, err := q.run(ctx, time.Hour, 0, "convert", "-q", "-f", fromFormat, "-O", toFormat, from, to)
	return err
}
