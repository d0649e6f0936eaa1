package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"

	"kilonova/computed"
	"kilonova/diskformat"
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

// inspect looks at an image of the declared format and refuses it with ErrImageRefused if
// it is not one, or names a backing or data file. The header is looked at first, as
// qemu-img opens a data file before it speaks of it.
func (q qemuImg) inspect(ctx context.Context, path, format string) (*imageInfo, error) {
	if format == "" || format != diskformat.OnHost(format) {
		return nil, fmt.Errorf("%w: format %q", computed.ErrImageRefused, format)
	}
	_, err := diskformat.InspectFile(path, format, "bare", math.MaxInt64)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", computed.ErrImageRefused, err)
	}
	info, err := q.info(ctx, path, format)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", computed.ErrImageRefused, err)
	}
	if info.BackingFile != "" || info.FormatSpecific.Data.DataFile != "" {
		return nil, fmt.Errorf("%w: it names another file", computed.ErrImageRefused)
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
