package libvirt

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"kilonova/computed"
	"kilonova/private"
	"kilonova/room"
	"kilonova/work"
)

// The names of a guest's files.
const (
	rootDisk   = "disk"
	ephDisk    = "disk.eph0"
	swapDisk   = "disk.swap"
	configDisk = "disk.config"
	infoFile   = "disk.info"
	consoleLog = "console.log"
)

const gib = 1 << 30

// diskInfo is the content of disk.info: our own record of what the disks are.
type diskInfo struct {
	Formats map[string]string `json:"formats"` // by file name
	Base    string            `json:"base"`    // name of the root disk's base in the cache
}

func (d *Driver) instancesDir() string { return filepath.Join(d.cfg.StateDir, "instances") }
func (d *Driver) imagesDir() string    { return filepath.Join(d.cfg.StateDir, "images") }
func (d *Driver) tempDir() string      { return filepath.Join(d.cfg.StateDir, "tmp") }

func (d *Driver) dir(uuid string) string { return filepath.Join(d.instancesDir(), uuid) }
func (d *Driver) hasDir(uuid string) bool {
	_, err := os.Stat(d.dir(uuid))
	return err == nil
}

func (d *Driver) savedDir(uuid string) string   { return filepath.Join(d.instancesDir(), uuid+"_resize") }
func (d *Driver) file(uuid, name string) string { return filepath.Join(d.dir(uuid), name) }
func (d *Driver) stageDir(uuid string) string   { return filepath.Join(d.instancesDir(), uuid+"_copy") }
func checkUUID(uuid string) error {
	if !uuidRE.MatchString(uuid) {
		return fmt.Errorf("%q is not the UUID of a guest: %w", uuid, computed.ErrNoInstance)
	}
	return nil
}

// prepareDirs makes the state directory. QEMU's account may pass through it, not list it.
func (d *Driver) prepareDirs() error {
	// What a snapshot of an earlier process left half made is of no use.
	old, err := filepath.Glob(filepath.Join(d.tempDir(), "snapshot-*"))
	if err != nil {
		return fmt.Errorf("list temporary files: %w", err)
	}
	for _, p := range old {
		err := os.RemoveAll(p)
		if err != nil {
			return fmt.Errorf("clear temporary files: %w", err)
		}
	}
	for _, dir := range []string{d.cfg.StateDir, d.instancesDir(), d.imagesDir(), d.tempDir()} {
		err := private.MakeDir(dir, private.Pass)
		if err == nil {
			err = private.Open(dir)
		}
		if err != nil {
			return fmt.Errorf("make state directory: %w", err)
		}
	}
	return nil
}

// cacheMode is none where the file system can do direct i/o, as in Nova.
func cacheMode(dir string) string {
	f, err := os.CreateTemp(dir, "direct-*")
	if err != nil {
		return "writethrough"
	}
	f.Close()
	defer os.Remove(f.Name())
	g, err := os.OpenFile(f.Name(), os.O_RDWR|syscall.O_DIRECT, 0)
	if err != nil {
		return "writethrough"
	}
	g.Close()
	return "none"
}

// FetchImage makes sure that the guest's image is in the host's cache.
func (d *Driver) FetchImage(ctx context.Context, g *work.Guest) error {
	_, err := d.fetch(ctx, &g.Image)
	return wrap(err, "prepare image of", g.UUID)
}

// youngImages are not removed to make room: guests that are being made may be about to use
// them.
const youngImages = 15 * time.Minute

// fetch gets an image into the cache. Where there is no room, images that nobody uses go.
func (d *Driver) fetch(ctx context.Context, img *work.Image) (string, error) {
	path, err := d.cache.Fetch(ctx, img)
	if !room.Full(err) {
		return path, err
	}
	gone, problem := d.CleanCache(ctx, youngImages)
	if problem != nil {
		d.log.WarnContext(ctx, "make room in the image cache", "err", problem)
	}
	if len(gone) == 0 {
		return path, err
	}
	return d.cache.Fetch(ctx, img)
}

// CleanCache removes base images that no guest here uses and that were not asked for
// since olderThan. A guest whose record cannot be read stops it.
func (d *Driver) CleanCache(ctx context.Context, olderThan time.Duration) ([]string, error) {
	entries, err := os.ReadDir(d.instancesDir())
	if err != nil {
		return nil, fmt.Errorf("list guests' disks: %w", err)
	}
	inUse := map[string]bool{}
	for _, e := range entries {
		info, err := readInfo(filepath.Join(d.instancesDir(), e.Name()))
		if errors.Is(err, fs.ErrNotExist) {
			continue // being made: its base is young
		}
		if err != nil {
			return nil, fmt.Errorf("clean image cache: %w", err)
		}
		inUse[info.Base] = true
	}
	return d.cache.Clean(ctx, inUse, olderThan)
}

// readInfo reads the disk.info of a directory; it is absent from an incomplete set.
func readInfo(dir string) (*diskInfo, error) {
	data, err := os.ReadFile(filepath.Join(dir, infoFile))
	if err != nil {
		return nil, fmt.Errorf("read disk record: %w", err)
	}
	var info diskInfo
	err = json.Unmarshal(data, &info)
	if err != nil {
		return nil, fmt.Errorf("read disk record: %w", err)
	}
	return &info, nil
}

func writeInfo(dir string, info *diskInfo) error {
	data, err := json.Marshal(info)
	if err != nil {
		return fmt.Errorf("write disk record: %w", err)
	}
	tmp := filepath.Join(dir, infoFile+".new")
	err = os.WriteFile(tmp, data, private.File)
	if err != nil {
		return fmt.Errorf("write disk record: %w", err)
	}
	err = os.Rename(tmp, filepath.Join(dir, infoFile))
	if err != nil {
		return fmt.Errorf("write disk record: %w", err)
	}
	return nil
}

func exists(path string) (bool, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

// CreateDisks makes the guest's disks, unless there is a complete set. disk.info, written
// last, is what makes a set complete.
func (d *Driver) CreateDisks(ctx context.Context, g *work.Guest) error {
	return wrap(d.createDisks(ctx, g), "create disks of", g.UUID)
}

func (d *Driver) createDisks(ctx context.Context, g *work.Guest) error {
	err := checkUUID(g.UUID)
	if err != nil {
		return err
	}
	dir := d.dir(g.UUID)
	complete, err := exists(filepath.Join(dir, infoFile))
	if err != nil || complete {
		return err
	}
	err = private.MakeDir(dir, private.Pass)
	if err != nil {
		return err
	}
	base, err := d.fetch(ctx, &g.Image)
	if err != nil {
		return err
	}
	err = d.cfg.Floor.Check(0)
	if err != nil {
		return err
	}
	img, err := d.img.inspect(ctx, base, g.Image.DiskFormat)
	if err != nil {
		return err
	}
	size := img.VirtualSize
	if root := int64(g.Flavor.RootGB) * gib; root > 0 {
		if size > root {
			return fmt.Errorf("image of %d bytes, root disk of %d GiB: %w", size, g.Flavor.RootGB, computed.ErrDiskTooSmall)
		}
		size = root
	}
	info := &diskInfo{Formats: map[string]string{rootDisk: "qcow2"}, Base: filepath.Base(base)}
	for _, name := range []string{rootDisk, ephDisk, swapDisk, configDisk} {
		err := os.RemoveAll(filepath.Join(dir, name))
		if err != nil {
			return fmt.Errorf("remove half-made disk: %w", err)
		}
	}
	root := filepath.Join(dir, rootDisk)
	err = d.img.overlay(ctx, root, base, g.Image.DiskFormat, size)
	if err != nil {
		return err
	}
	err = os.Chmod(root, private.File)
	if err != nil {
		return err
	}
	err = d.extraDisks(ctx, g, info)
	if err != nil {
		return err
	}
	if d.cfg.ConfigDrive != nil {
		files, err := d.cfg.ConfigDrive(g)
		if err != nil {
			return fmt.Errorf("gather config drive: %w", err)
		}
		err = d.writeConfigDrive(filepath.Join(dir, configDisk), files, time.UnixMicro(g.CreatedAt))
		if err != nil {
			return fmt.Errorf("write config drive: %w", err)
		}
		info.Formats[configDisk] = "raw"
	}
	return writeInfo(dir, info)
}

// extraDisks makes the ephemeral and swap disks anew where size or presence differ from
// the flavor, and says so in info.
func (d *Driver) extraDisks(ctx context.Context, g *work.Guest, info *diskInfo) error {
	disks := []struct {
		name string
		size int64
		mkfs []string
	}{
		{ephDisk, int64(g.Flavor.EphemeralGB) * gib, []string{"mkfs.ext4", "-q", "-F", "-L", "ephemeral0"}},
		{swapDisk, int64(g.Flavor.SwapMB) << 20, []string{"mkswap"}},
	}
	for _, k := range disks {
		path := d.file(g.UUID, k.name)
		st, err := os.Stat(path)
		switch {
		case err == nil && k.size > 0 && st.Size() == k.size:
			info.Formats[k.name] = "raw"
			continue
		case err == nil:
			err = os.Remove(path)
			if err != nil {
				return err
			}
		case !errors.Is(err, fs.ErrNotExist):
			return err
		}
		delete(info.Formats, k.name)
		if k.size <= 0 {
			continue
		}
		err = d.spending(ctx, func(ctx context.Context) error { return makeRaw(ctx, path, k.size, k.mkfs) })
		if err != nil {
			return err
		}
		info.Formats[k.name] = "raw"
	}
	return nil
}

// makeRaw makes an empty sparse disk with a file system or swap header of ours on it. A
// host without the tool gives the guest a blank disk.
func makeRaw(ctx context.Context, path string, size int64, mkfs []string) error {
	tmp := path + ".new"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, private.File)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	err = errors.Join(err, f.Close())
	if err != nil {
		return err
	}
	bin, err := exec.LookPath(mkfs[0])
	if err == nil {
		out, err := exec.CommandContext(ctx, bin, append(mkfs[1:], tmp)...).CombinedOutput()
		if err != nil {
			err = fmt.Errorf("%s: %w: %.300s", mkfs[0], err, bytes.TrimSpace(out))
			return errors.Join(err, os.Remove(tmp))
		}
	}
	return os.Rename(tmp, path)
}

// DeleteDisks removes the guest's directory, console log included.
func (d *Driver) DeleteDisks(_ context.Context, uuid string) error {
	return d.remove("delete disks of", uuid, d.dir(uuid), d.stageDir(uuid))
}

func (d *Driver) remove(what, uuid string, dirs ...string) error {
	err := checkUUID(uuid)
	if err != nil {
		return nil //nolint:nilerr // no such guest: nothing to remove, and no path to build
	}
	for _, dir := range dirs {
		err := os.RemoveAll(dir)
		if err != nil {
			return wrap(err, what, uuid)
		}
	}
	return nil
}

// SaveDisks keeps the present disks in the _resize directory. With copyBack it copies
// them there, under another name until the copy is complete; else it renames the
// directory, which cannot half happen. What is saved already stays.
func (d *Driver) SaveDisks(ctx context.Context, uuid string, copyBack bool) error {
	return wrap(d.saveDisks(ctx, uuid, copyBack), "save disks of", uuid)
}

func (d *Driver) saveDisks(ctx context.Context, uuid string, copyBack bool) error {
	err := checkUUID(uuid)
	if err != nil {
		return err
	}
	saved, err := exists(d.savedDir(uuid))
	if err != nil || saved {
		return err
	}
	complete, err := exists(d.file(uuid, infoFile))
	if err != nil {
		return err
	}
	if !complete {
		return computed.ErrNoInstance
	}
	if !copyBack {
		err := os.Rename(d.dir(uuid), d.savedDir(uuid))
		if err != nil {
			return err
		}
		return moveConsole(d.savedDir(uuid), d.dir(uuid))
	}
	stage := d.stageDir(uuid)
	err = os.RemoveAll(stage)
	if err != nil {
		return err
	}
	err = private.MakeDir(stage, private.Pass)
	if err != nil {
		return err
	}
	for _, name := range []string{rootDisk, ephDisk, swapDisk, configDisk, infoFile} {
		there, err := exists(d.file(uuid, name))
		if err != nil {
			return err
		}
		if !there {
			continue
		}
		err = d.spending(ctx, func(ctx context.Context) error { return copyFile(ctx, d.file(uuid, name), filepath.Join(stage, name)) })
		if err != nil {
			return errors.Join(err, os.RemoveAll(stage))
		}
	}
	return os.Rename(stage, d.savedDir(uuid))
}

// copyFile shares the blocks where the file system can, and keeps holes.
func copyFile(ctx context.Context, from, to string) error {
	out, err := exec.CommandContext(ctx, "cp", "--preserve=mode,ownership", "--reflink=auto", "--sparse=always",
		"--", from, to).CombinedOutput()
	if err != nil {
		return fmt.Errorf("copy %s: %w: %.300s", filepath.Base(from), err, bytes.TrimSpace(out))
	}
	return nil
}

// moveConsole brings the console logs from one directory to another, which it makes.
func moveConsole(from, to string) error {
	err := private.MakeDir(to, private.Pass)
	if err != nil {
		return err
	}
	logs, err := filepath.Glob(filepath.Join(from, consoleLog+"*"))
	if err != nil {
		return err
	}
	for _, l := range logs {
		err := os.Rename(l, filepath.Join(to, filepath.Base(l)))
		if err != nil {
			return err
		}
	}
	return nil
}

// RestoreDisks puts saved disks back. Between removing the present set and the rename the
// saved one is still there, so a second call goes on where the first one ended.
func (d *Driver) RestoreDisks(_ context.Context, uuid string) error {
	return wrap(d.restoreDisks(uuid), "restore disks of", uuid)
}

func (d *Driver) restoreDisks(uuid string) error {
	err := checkUUID(uuid)
	if err != nil {
		return err
	}
	saved, err := exists(d.savedDir(uuid))
	if err != nil || !saved {
		return err
	}
	live, err := exists(d.dir(uuid))
	if err != nil {
		return err
	}
	if live {
		err := moveConsole(d.dir(uuid), d.savedDir(uuid))
		if err != nil {
			return err
		}
		err = os.RemoveAll(d.dir(uuid))
		if err != nil {
			return err
		}
	}
	return os.Rename(d.savedDir(uuid), d.dir(uuid))
}

// DropSavedDisks removes what SaveDisks kept.
func (d *Driver) DropSavedDisks(_ context.Context, uuid string) error {
	return d.remove("drop saved disks of", uuid, d.savedDir(uuid), d.stageDir(uuid))
}

// ResizeDisks grows the root disk and fits the others. The guest is off.
func (d *Driver) ResizeDisks(ctx context.Context, g *work.Guest) error {
	return wrap(d.resizeDisks(ctx, g), "resize disks of", g.UUID)
}

func (d *Driver) resizeDisks(ctx context.Context, g *work.Guest) error {
	err := checkUUID(g.UUID)
	if err != nil {
		return err
	}
	info, err := readInfo(d.dir(g.UUID))
	if errors.Is(err, fs.ErrNotExist) {
		return computed.ErrNoInstance
	}
	if err != nil {
		return err
	}
	root := d.file(g.UUID, rootDisk)
	present, err := d.img.info(ctx, root, info.Formats[rootDisk])
	if err != nil {
		return err
	}
	want := int64(g.Flavor.RootGB) * gib
	if want > 0 && want < present.VirtualSize {
		return fmt.Errorf("root disk of %d bytes to %d GiB: %w", present.VirtualSize, g.Flavor.RootGB, computed.ErrDiskTooSmall)
	}
	err = d.cfg.Floor.Check(0)
	if err != nil {
		return err
	}
	if want > present.VirtualSize {
		err := d.img.resize(ctx, root, info.Formats[rootDisk], want)
		if err != nil {
			return err
		}
	}
	err = d.extraDisks(ctx, g, info)
	if err != nil {
		return err
	}
	return writeInfo(d.dir(g.UUID), info)
}

// Console gives the end of the serial console's log. virtlogd starts a new file when one
// is full, so the end may lie in two.
func (d *Driver) Console(ctx context.Context, uuid string, max int) ([]byte, error) {
	_, err := d.State(ctx, uuid)
	if err != nil {
		return nil, wrap(err, "read console of", uuid)
	}
	text, err := tail(d.file(uuid, consoleLog), max)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, wrap(computed.ErrNoConsole, "read console of", uuid)
	}
	if err != nil {
		return nil, wrap(err, "read console of", uuid)
	}
	if len(text) < max {
		before, err := tail(d.file(uuid, consoleLog+".0"), max-len(text))
		if err == nil {
			text = append(before, text...)
		}
	}
	return text, nil
}

// tail gives the last n bytes of a file.
func tail(path string, n int) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return io.ReadAll(io.NewSectionReader(f, max(st.Size()-int64(n), 0), int64(n)))
}

// boolProperty reads a true/false property; anything else but absence is an error.
func boolProperty(props map[string]string, key string) (bool, error) {
	switch strings.ToLower(props[key]) {
	case "true", "yes", "1", "on":
		return true, nil
	case "", "false", "no", "0", "off":
		return false, nil
	}
	return false, fmt.Errorf("property %s: %q is neither true nor false", key, props[key])
}
