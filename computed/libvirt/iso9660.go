package libvirt

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"kilonova/private"
)

// A config drive is a small ISO 9660 image with Rock Ridge names, written here since
// directory names such as 2012-08-10 and file names such as meta-data.json are not
// possible without Rock Ridge, and since secrets should not pass through temporary files.

const sector = 2048

// isoNode is a directory or a file.
type isoNode struct {
	name     string
	parent   *isoNode
	children []*isoNode // of a directory, by name
	data     []byte     // of a file
	dir      bool
	extent   uint32 // first sector
	size     uint32 // bytes
	number   uint16 // of a directory, in the path table
	short    string // name for those who know no Rock Ridge
}

// writeConfigDrive writes files, by path, to an image with the label config-2. Nobody but
// its owner, who is QEMU's account once libvirt has it, can read it.
func (d *Driver) writeConfigDrive(name string, files map[string][]byte, made time.Time) error {
	data, err := isoImage("config-2", files, made)
	if err != nil {
		return err
	}
	release, err := d.cfg.Floor.Hold(int64(len(data)))
	if err != nil {
		return err
	}
	defer release()
	tmp := name + ".new"
	err = os.WriteFile(tmp, data, private.File)
	if err != nil {
		return errors.Join(err, os.Remove(tmp))
	}
	return os.Rename(tmp, name)
}

// isoImage makes an ISO 9660 image of files, by path.
func isoImage(label string, files map[string][]byte, made time.Time) ([]byte, error) {
	root := &isoNode{dir: true}
	root.parent = root
	paths := make([]string, 0, len(files))
	for p := range files {
		paths = append(paths, p)
	}
	sort.Strings(paths)
	for _, p := range paths {
		err := root.add(strings.Trim(path.Clean("/"+p), "/"), files[p])
		if err != nil {
			return nil, err
		}
	}
	dirs := root.number1()
	made = made.UTC()

	// Sectors 0-15 are free; 16 and 17 are descriptors; then path tables, directories, files.
	table := pathTable(dirs, binary.LittleEndian)
	tableSectors := sectors(len(table))
	next := uint32(18 + 2*tableSectors)
	for _, d := range dirs {
		d.extent = next
		d.size = uint32(sectors(len(d.records(made))) * sector)
		next += d.size / sector
	}
	for _, d := range dirs {
		for _, f := range d.children {
			if f.dir {
				continue
			}
			f.extent, f.size = next, uint32(len(f.data))
			next += uint32(sectors(len(f.data)))
		}
	}

	img := make([]byte, int(next)*sector)
	primary(img[16*sector:], label, next, len(table), tableSectors, root, made)
	copy(img[17*sector:], "\xffCD001\x01")
	copy(img[18*sector:], pathTable(dirs, binary.LittleEndian))
	copy(img[(18+tableSectors)*sector:], pathTable(dirs, binary.BigEndian))
	for _, d := range dirs {
		copy(img[int(d.extent)*sector:], d.records(made))
		for _, f := range d.children {
			if !f.dir {
				copy(img[int(f.extent)*sector:], f.data)
			}
		}
	}
	return img, nil
}

func sectors(n int) int { return (n + sector - 1) / sector }

// add puts a file below the directory n.
func (n *isoNode) add(p string, data []byte) error {
	first, rest, deeper := strings.Cut(p, "/")
	if first == "" || len(first) > 100 {
		return fmt.Errorf("file name %q on a config drive", first)
	}
	i := slices.IndexFunc(n.children, func(c *isoNode) bool { return c.name == first })
	if !deeper {
		if i >= 0 {
			return fmt.Errorf("file name %q twice on a config drive", first)
		}
		n.insert(&isoNode{name: first, parent: n, data: data})
		return nil
	}
	if i < 0 {
		c := &isoNode{name: first, parent: n, dir: true}
		n.insert(c)
		return c.add(rest, data)
	}
	if !n.children[i].dir {
		return fmt.Errorf("%q is file and directory on a config drive", first)
	}
	return n.children[i].add(rest, data)
}

// insert gives c a short name of its own in n.
func (n *isoNode) insert(c *isoNode) {
	plain := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z':
			return r - 'a' + 'A'
		case r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
			return r
		}
		return '_'
	}, strings.ReplaceAll(c.name, ".", "_"))
	c.short = fmt.Sprintf("%.20s_%03d", plain, len(n.children))
	if !c.dir {
		c.short += ".;1"
	}
	n.children = append(n.children, c)
	// Directory records must be in the order of the short names.
	sort.Slice(n.children, func(i, j int) bool { return n.children[i].short < n.children[j].short })
}

// number1 lists the directories level by level, as the path table wants them, and numbers
// them from one.
func (n *isoNode) number1() []*isoNode {
	list := []*isoNode{n}
	for i := 0; i < len(list); i++ {
		list[i].number = uint16(i + 1)
		for _, c := range list[i].children {
			if c.dir {
				list = append(list, c)
			}
		}
	}
	return list
}

func pathTable(dirs []*isoNode, order binary.ByteOrder) []byte {
	var b []byte
	for _, d := range dirs {
		name := d.short
		if d.parent == d {
			name = "\x00"
		}
		e := make([]byte, 8)
		e[0] = byte(len(name))
		order.PutUint32(e[2:], d.extent)
		order.PutUint16(e[6:], d.parent.number)
		b = append(append(b, e...), name...)
		if len(name)%2 == 1 {
			b = append(b, 0)
		}
	}
	return b
}

// records gives the content of a directory.
func (n *isoNode) records(made time.Time) []byte {
	var b []byte
	add := func(r []byte) {
		if len(b)%sector+len(r) > sector { // a record does not cross a sector
			b = append(b, make([]byte, sector-len(b)%sector)...)
		}
		b = append(b, r...)
	}
	add(n.record("\x00", made, ""))
	add(n.parent.record("\x01", made, ""))
	for _, c := range n.children {
		add(c.record(c.short, made, c.name))
	}
	return b
}

// record makes the directory record of a node under an ISO 9660 identifier; name is the
// Rock Ridge name, if any.
func (n *isoNode) record(id string, made time.Time, name string) []byte {
	r := make([]byte, 33, 255)
	both32(r[2:], n.extent)
	both32(r[10:], n.size)
	copy(r[18:], []byte{
		byte(made.Year() - 1900), byte(made.Month()), byte(made.Day()),
		byte(made.Hour()), byte(made.Minute()), byte(made.Second()), 0,
	})
	mode, links := uint32(0o100444), uint32(1)
	if n.dir {
		r[25] = 2
		mode, links = 0o040555, 2
	}
	both16(r[28:], 1)
	r[32] = byte(len(id))
	r = append(r, id...)
	if len(r)%2 == 1 {
		r = append(r, 0)
	}
	// The first record of the root announces Rock Ridge; SP must come first.
	announce := n.parent == n && id == "\x00"
	if announce {
		r = append(r, 'S', 'P', 7, 1, 0xbe, 0xef, 0)
	}
	px := make([]byte, 36)
	copy(px, []byte{'P', 'X', 36, 1})
	both32(px[4:], mode)
	both32(px[12:], links)
	r = append(r, px...)
	if name != "" {
		r = append(r, 'N', 'M', byte(5+len(name)), 1, 0)
		r = append(r, name...)
	}
	if announce {
		r = append(r, "ER\x12\x01\x0a\x00\x00\x01RRIP_1991A"...)
	}
	if len(r)%2 == 1 {
		r = append(r, 0)
	}
	r[0] = byte(len(r))
	return r
}

// both32 and both16 write a number in both byte orders.
func both32(b []byte, n uint32) {
	binary.LittleEndian.PutUint32(b, n)
	binary.BigEndian.PutUint32(b[4:], n)
}

func both16(b []byte, n uint16) {
	binary.LittleEndian.PutUint16(b, n)
	binary.BigEndian.PutUint16(b[2:], n)
}

// primary writes the primary volume descriptor.
func primary(b []byte, label string, total uint32, tableLen, tableSectors int, root *isoNode, made time.Time) {
	copy(b, "\x01CD001\x01")
	text := func(from, to int, s string) {
		copy(b[from:to], bytes.Repeat([]byte{' '}, to-from))
		copy(b[from:to], s)
	}
	text(8, 40, "LINUX")
	text(40, 72, label)
	both32(b[80:], total)
	both16(b[120:], 1)
	both16(b[124:], 1)
	both16(b[128:], sector)
	both32(b[132:], uint32(tableLen))
	binary.LittleEndian.PutUint32(b[140:], 18)
	binary.BigEndian.PutUint32(b[148:], uint32(18+tableSectors))
	// The root's record here is the plain one of 34 bytes.
	r := root.record("\x00", made, "")[:34]
	copy(b[156:190], r)
	b[156] = 34
	text(190, 318, "")
	text(318, 446, "")
	text(446, 574, "KILONOVA")
	text(574, 702, "KILONOVA")
	text(702, 813, "")
	stamp := made.Format("20060102150405") + "00\x00"
	never := "0000000000000000\x00"
	copy(b[813:], stamp+stamp+never+never)
	b[881] = 1
}
