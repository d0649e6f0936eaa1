package libvirt

import (
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"time"

	virt "libvirt.org/go/libvirt"

	"kilonova/computed"
)

// Snapshot hands a standalone copy of the guest's root disk to sink. QEMU itself copies
// the disk of a running guest, which goes on meanwhile; the copy is of the moment at which
// it is complete. The disk of a guest that is off is copied by qemu-img.
func (d *Driver) Snapshot(ctx context.Context, uuid, format string, sink func(r io.Reader, size int64) error) error {
	return wrap(d.snapshot(ctx, uuid, format, sink), "snapshot", uuid)
}

func (d *Driver) snapshot(ctx context.Context, uuid, format string, sink func(r io.Reader, size int64) error) error {
	if format != "qcow2" && format != "raw" {
		return fmt.Errorf("disk format %q: %w", format, ErrProperty)
	}
	active, err := d.active(ctx, uuid)
	if err != nil {
		return err
	}
	info, err := readInfo(d.dir(uuid))
	if errors.Is(err, fs.ErrNotExist) {
		return computed.ErrNoInstance
	}
	if err != nil {
		return err
	}
	root := d.file(uuid, rootDisk)
	dir, err := os.MkdirTemp(d.tempDir(), "snapshot-") // mode 0700
	if err != nil {
		return fmt.Errorf("make temporary directory: %w", err)
	}
	defer os.RemoveAll(dir)
	out := filepath.Join(dir, "disk")
	err = d.spending(ctx, func(ctx context.Context) error {
		if active {
			return d.copyLive(ctx, uuid, root, out, format)
		}
		return d.img.convert(ctx, root, info.Formats[rootDisk], out, format)
	})
	if err != nil {
		return err
	}
	f, err := os.Open(out)
	if err != nil {
		return err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return err
	}
	err = sink(f, st.Size())
	if err != nil {
		return fmt.Errorf("hand over: %w", err)
	}
	return nil
}

// copyLive has QEMU copy a running guest's root disk to out.
func (d *Driver) copyLive(ctx context.Context, uuid, root, out, format string) error {
	// QEMU writes the copy, so its account, which owns the running disk, gets the directory.
	var st syscall.Stat_t
	err := syscall.Stat(root, &st)
	if err != nil {
		return fmt.Errorf("look at disk: %w", err)
	}
	err = os.Chown(filepath.Dir(out), int(st.Uid), int(st.Gid))
	if err != nil {
		return fmt.Errorf("give directory to QEMU: %w", err)
	}
	dest, err := xml.Marshal(struct {
		XMLName xml.Name   `xml:"disk"`
		Type    string     `xml:"type,attr"`
		Source  diskSource `xml:"source"`
		Driver  diskDriver `xml:"driver"`
	}{Type: "file", Source: diskSource{out}, Driver: diskDriver{Type: format}})
	if err != nil {
		return err
	}
	return d.domain(ctx, uuid, func(dom *virt.Domain) error {
		target, err := rootTarget(dom, root)
		if err != nil {
			return err
		}
		// A copy that an earlier process began, or that this one began on a connection
		// that was lost, is of no use.
		job, err := dom.GetBlockJobInfo(target, 0)
		if err == nil && job.Type != virt.DOMAIN_BLOCK_JOB_TYPE_UNKNOWN {
			err := dom.BlockJobAbort(target, 0)
			if err != nil {
				return fmt.Errorf("end old copy: %w", err)
			}
		}
		err = os.Remove(out)
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		err = dom.BlockCopy(target, string(dest), &virt.DomainBlockCopyParameters{}, virt.DOMAIN_BLOCK_COPY_TRANSIENT_JOB)
		if err != nil {
			return fmt.Errorf("start copy: %w", err)
		}
		err = waitCopy(ctx, dom, target)
		if err != nil {
			// Best effort: a job that ended by itself cannot be aborted.
			_ = dom.BlockJobAbort(target, 0)
			return fmt.Errorf("copy: %w", err)
		}
		err = dom.BlockJobAbort(target, 0) // the copy is complete: this ends the mirroring
		if err != nil {
			return fmt.Errorf("end copy: %w", err)
		}
		return nil
	})
}

// rootTarget finds the device name of the root disk.
func rootTarget(dom *virt.Domain, path string) (string, error) {
	live, err := liveXML(dom)
	if err != nil {
		return "", err
	}
	for _, k := range live.Disks {
		if k.Source.File == path {
			return k.Target.Dev, nil
		}
	}
	return "", errors.New("the guest has no root disk")
}

// waitCopy returns when the copy has all that the disk has.
func waitCopy(ctx context.Context, dom *virt.Domain, target string) error {
	for {
		job, err := dom.GetBlockJobInfo(target, 0)
		if err != nil {
			return err
		}
		if job.Type == virt.DOMAIN_BLOCK_JOB_TYPE_UNKNOWN {
			return errors.New("it ended before it was complete")
		}
		if job.End > 0 && job.Cur == job.End {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}
