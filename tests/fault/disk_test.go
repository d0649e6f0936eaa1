package fault

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	fusefs "github.com/hanwen/go-fuse/v2/fs"
	"github.com/hanwen/go-fuse/v2/fuse"
)

// disk is a file system that forgets at a power cut what nobody asked it to sync. What is
// written is seen by everybody at once, as the page cache lets it be seen; the bytes of a
// file are on the platter only after an fsync of it. Folders, renames and removals are on
// the platter at once.
type disk struct {
	mount   string
	cache   string // what programs see
	platter string // what is left after a power cut
	server  *fuse.Server

	mu    sync.Mutex
	dirty map[uint64][]extent // by inode, what is not on the platter
	off   bool
	syncs int
}

type extent struct{ from, to int64 }

// newDisk mounts an empty disk, or skips the test where the machine has none of it.
func newDisk(t *testing.T) *disk {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("a file system of the test's own wants root")
	}
	_, err := os.Stat("/dev/fuse")
	if err != nil {
		t.Skipf("a file system of the test's own wants FUSE: %v", err)
	}
	dir, err := os.MkdirTemp("/var/tmp", "kilonova-disk-")
	if err != nil {
		t.Fatal(err)
	}
	d := &disk{mount: filepath.Join(dir, "m"), cache: filepath.Join(dir, "c"), platter: filepath.Join(dir, "p"), dirty: map[uint64][]extent{}}
	for _, p := range []string{dir, d.mount, d.cache, d.platter} {
		err = errors.Join(os.MkdirAll(p, 0o755), os.Chmod(p, 0o755)) // the database has an account of its own
		if err != nil {
			t.Fatal(err)
		}
	}
	root := &fusefs.LoopbackRoot{Path: d.cache}
	top := &node{&fusefs.LoopbackNode{RootData: root}, d}
	root.RootNode = top
	d.server, err = fusefs.Mount(d.mount, top, &fusefs.Options{MountOptions: fuse.MountOptions{
		AllowOther: true, DirectMountStrict: true, FsName: "forgetful", Options: []string{"default_permissions"}}})
	if err != nil {
		t.Skipf("FUSE cannot be mounted here: %v", err)
	}
	t.Cleanup(func() {
		d.unmount()
		_ = os.RemoveAll(dir)
	})
	return d
}

func (d *disk) unmount() {
	if d.server == nil {
		return
	}
	_ = syscall.Unmount(d.mount, syscall.MNT_DETACH)
	d.server.Wait()
	d.server = nil
}

// cut is the moment in which the power goes: nothing reaches the platter from here on.
func (d *disk) cut() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.off = true
}

// again is the machine after the power came back: the folder holds what was on the platter.
// Nothing may run on the disk any more.
func (d *disk) again(t *testing.T) {
	t.Helper()
	d.unmount()
	err := filepath.WalkDir(d.platter, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(d.platter, path)
		to := filepath.Join(d.mount, rel)
		if e.IsDir() {
			err = os.MkdirAll(to, 0o700)
		} else {
			err = os.Rename(path, to)
		}
		if err != nil {
			return err
		}
		info, err := os.Lstat(filepath.Join(d.cache, rel))
		if err != nil {
			return nil //nolint:nilerr // it was made while the power went
		}
		st := info.Sys().(*syscall.Stat_t)
		return errors.Join(os.Lchown(to, int(st.Uid), int(st.Gid)), os.Chmod(to, info.Mode().Perm()))
	})
	if err != nil {
		t.Fatal(err)
	}
}

// node is a file or folder.
type node struct {
	*fusefs.LoopbackNode
	d *disk
}

// file is a loopback file whose bytes the kernel does not write past us.
type file struct{ *fusefs.LoopbackFile }

func (file) PassthroughFd() (int, bool) { return 0, false }

func (n *node) WrapChild(_ context.Context, ops fusefs.InodeEmbedder) fusefs.InodeEmbedder {
	return &node{ops.(*fusefs.LoopbackNode), n.d}
}

func ours(h fusefs.FileHandle) fusefs.FileHandle {
	if f, ok := h.(*fusefs.LoopbackFile); ok {
		return file{f}
	}
	return h
}

func (n *node) key() uint64 { return n.EmbeddedInode().StableAttr().Ino }

func (n *node) path() string { return n.EmbeddedInode().Path(nil) }

func (n *node) onPlatter(names ...string) string {
	return filepath.Join(append([]string{n.d.platter, n.path()}, names...)...)
}

// stain says that bytes of the file are not on the platter; to < 0 is its end, wherever.
func (n *node) stain(from, to int64) {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	list := n.d.dirty[n.key()]
	if k := len(list) - 1; k >= 0 && list[k].to == from {
		list[k].to = to
		return
	}
	n.d.dirty[n.key()] = append(list, extent{from, to})
}

func (n *node) Open(ctx context.Context, flags uint32) (fusefs.FileHandle, uint32, syscall.Errno) {
	h, out, errno := n.LoopbackNode.Open(ctx, flags)
	if errno == 0 && flags&syscall.O_TRUNC != 0 {
		n.stain(0, 0)
	}
	return ours(h), out, errno
}

func (n *node) Create(ctx context.Context, name string, flags, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, fusefs.FileHandle, uint32, syscall.Errno) {
	inode, h, f, errno := n.LoopbackNode.Create(ctx, name, flags, mode, out)
	return inode, ours(h), f, errno
}

func (n *node) Write(ctx context.Context, h fusefs.FileHandle, data []byte, off int64) (uint32, syscall.Errno) {
	written, errno := h.(fusefs.FileWriter).Write(ctx, data, off)
	n.stain(off, off+int64(written))
	return written, errno
}

func (n *node) Allocate(ctx context.Context, h fusefs.FileHandle, off, size uint64, mode uint32) syscall.Errno {
	n.stain(int64(off), int64(off+size))
	return h.(fusefs.FileAllocater).Allocate(ctx, off, size, mode)
}

func (n *node) Setattr(ctx context.Context, h fusefs.FileHandle, in *fuse.SetAttrIn, out *fuse.AttrOut) syscall.Errno {
	if size, ok := in.GetSize(); ok {
		n.stain(int64(size), int64(size))
	}
	return n.LoopbackNode.Setattr(ctx, h, in, out)
}

// Fsync carries what is new of the file to the platter.
func (n *node) Fsync(ctx context.Context, h fusefs.FileHandle, flags uint32) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if n.d.off {
		return syscall.EIO
	}
	n.d.syncs++
	if h == nil {
		return 0 // a folder
	}
	err := n.carry(n.d.dirty[n.key()])
	if err != nil {
		return fusefs.ToErrno(err)
	}
	delete(n.d.dirty, n.key())
	return 0
}

func (n *node) carry(list []extent) error {
	rel := n.path()
	if rel == "" || strings.HasPrefix(filepath.Base(rel), ".go-fuse") {
		return nil // it has been removed
	}
	from, err := os.Open(filepath.Join(n.d.cache, rel))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.OpenFile(filepath.Join(n.d.platter, rel), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	defer to.Close()
	info, err := from.Stat()
	if err == nil {
		err = to.Truncate(info.Size())
	}
	for _, e := range list {
		if err != nil {
			return err
		}
		if size := min(e.to, info.Size()) - e.from; size > 0 {
			part := make([]byte, size)
			_, err = from.ReadAt(part, e.from)
			if err == nil {
				_, err = to.WriteAt(part, e.from)
			}
		}
	}
	return err
}

// What follows changes folders: here and on the platter.

func (n *node) beside(errno syscall.Errno, do func() error) syscall.Errno {
	n.d.mu.Lock()
	defer n.d.mu.Unlock()
	if errno == 0 && !n.d.off {
		err := do()
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fusefs.ToErrno(err)
		}
	}
	return errno
}

func (n *node) Mkdir(ctx context.Context, name string, mode uint32, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	inode, errno := n.LoopbackNode.Mkdir(ctx, name, mode, out)
	return inode, n.beside(errno, func() error { return os.MkdirAll(n.onPlatter(name), 0o700) })
}

func (n *node) Unlink(ctx context.Context, name string) syscall.Errno {
	return n.beside(n.LoopbackNode.Unlink(ctx, name), func() error { return os.Remove(n.onPlatter(name)) })
}

func (n *node) Rmdir(ctx context.Context, name string) syscall.Errno {
	return n.beside(n.LoopbackNode.Rmdir(ctx, name), func() error { return os.RemoveAll(n.onPlatter(name)) })
}

func (n *node) Link(ctx context.Context, target fusefs.InodeEmbedder, name string, out *fuse.EntryOut) (*fusefs.Inode, syscall.Errno) {
	from := filepath.Join(n.d.platter, target.EmbeddedInode().Path(nil))
	if other, ok := target.(*node); ok {
		target = other.LoopbackNode
	}
	inode, errno := n.LoopbackNode.Link(ctx, target, name, out)
	return inode, n.beside(errno, func() error { return os.Link(from, n.onPlatter(name)) })
}

func (n *node) Rename(ctx context.Context, name string, to fusefs.InodeEmbedder, newName string, flags uint32) syscall.Errno {
	target := filepath.Join(n.d.platter, to.EmbeddedInode().Path(nil), newName)
	inner := to
	if other, ok := to.(*node); ok {
		inner = other.LoopbackNode
	}
	return n.beside(n.LoopbackNode.Rename(ctx, name, inner, newName, flags), func() error { return os.Rename(n.onPlatter(name), target) })
}

// The disk forgets what it should, and nothing else.
func TestDiskForgets(t *testing.T) {
	d := newDisk(t)
	write := func(name, text string, sync bool) {
		t.Helper()
		f, err := os.OpenFile(filepath.Join(d.mount, name), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		_, err = f.WriteString(text)
		if err == nil && sync {
			err = f.Sync()
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	err := os.Mkdir(filepath.Join(d.mount, "dir"), 0o755)
	if err != nil {
		t.Fatal(err)
	}
	write("dir/kept", "one ", true)
	write("dir/kept", "two ", false)
	write("dir/kept", "three", true)
	write("dir/kept", " never", false)
	write("dir/lost", "never", false)
	write("moved.tmp", "moved", true)
	err = os.Rename(filepath.Join(d.mount, "moved.tmp"), filepath.Join(d.mount, "moved"))
	if err != nil {
		t.Fatal(err)
	}
	write("named", "linked", true)
	err = os.Link(filepath.Join(d.mount, "named"), filepath.Join(d.mount, "linked"))
	if err != nil {
		t.Fatal(err)
	}
	d.cut()
	f, err := os.OpenFile(filepath.Join(d.mount, "dir/kept"), os.O_WRONLY, 0)
	if err == nil {
		err = f.Sync()
		f.Close()
	}
	if err == nil {
		t.Error("a sync without power succeeded")
	}
	d.again(t)
	for name, want := range map[string]string{"dir/kept": "one two three", "dir/lost": "", "moved": "moved", "moved.tmp": "", "linked": "linked"} {
		raw, _ := os.ReadFile(filepath.Join(d.mount, name))
		if string(raw) != want {
			t.Errorf("%s holds %q, want %q", name, raw, want)
		}
	}
}
