package diskformat

import (
	"encoding/binary"
)

// inspectVHD takes dynamic disks. A differencing one names its parent, and a fixed one is a
// raw disk but for the footer at its end.
func inspectVHD(r reader) (uint64, error) {
	h, err := r.at(0, 512)
	if err != nil || string(h[:8]) != "conectix" {
		return 0, refuse("the VHD header is missing")
	}
	kind := binary.BigEndian.Uint32(h[60:])
	if kind != 3 {
		return 0, refuse("VHD of type %d is not allowed", kind)
	}
	return binary.BigEndian.Uint64(h[48:]), vhdDynamic(r, binary.BigEndian.Uint64(h[16:]))
}

// vhdDynamic checks the header of a dynamic disk: no parent, a table that lies in the file.
func vhdDynamic(r reader, off uint64) error {
	h, err := r.at(off, 1024)
	if err != nil || string(h[:8]) != "cxsparse" {
		return refuse("the VHD header is not sane")
	}
	table, entries, block := binary.BigEndian.Uint64(h[16:]), binary.BigEndian.Uint32(h[28:]), binary.BigEndian.Uint32(h[32:])
	if !r.within(table, uint64(entries)*4) || block == 0 || block&(block-1) != 0 {
		return refuse("the block table of the VHD is not sane")
	}
	for _, b := range h[40:56] {
		if b != 0 {
			return refuse("a VHD with a parent is not allowed")
		}
	}
	for _, b := range h[576:768] {
		if b != 0 {
			return refuse("a VHD with a parent is not allowed")
		}
	}
	return nil
}

// GUIDs of VHDX, in the byte order of the file.
const (
	vhdxMetadataRegion = "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e"
	vhdxFileParameters = "\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b"
	vhdxVirtualSize    = "\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8"
	vhdxParentLocator  = "\x2d\x5f\xd3\xa8\x0b\xb3\x4d\x45\xab\xf7\xd3\xd8\x48\x34\xab\x0c"
)

// inspectVHDX finds the metadata through both region tables and refuses a parent.
func inspectVHDX(r reader) (uint64, error) {
	size, found := uint64(0), false
	for _, off := range []uint64{192 << 10, 256 << 10} {
		meta, ok, err := vhdxRegion(r, off)
		if err != nil {
			return 0, err
		}
		if !ok {
			continue
		}
		n, err := vhdxMetadata(r, meta)
		if err != nil {
			return 0, err
		}
		if found && n != size {
			return 0, refuse("the region tables of the VHDX differ")
		}
		size, found = n, true
	}
	if !found {
		return 0, refuse("the VHDX has no metadata")
	}
	return size, nil
}

func vhdxRegion(r reader, off uint64) (meta uint64, found bool, err error) {
	if !r.within(off, 64<<10) {
		return 0, false, nil
	}
	t, err := r.at(off, 64<<10)
	if err != nil || string(t[:4]) != "regi" {
		return 0, false, err
	}
	n := binary.LittleEndian.Uint32(t[8:])
	if n > 2047 {
		return 0, false, refuse("the region table of the VHDX is not sane")
	}
	for i := range int(n) {
		e := t[16+32*i:]
		if string(e[:16]) != vhdxMetadataRegion {
			continue
		}
		if found {
			return 0, false, refuse("the VHDX has two metadata regions")
		}
		meta, found = binary.LittleEndian.Uint64(e[16:]), true
	}
	return meta, found, nil
}

func vhdxMetadata(r reader, off uint64) (uint64, error) {
	t, err := r.at(off, 64<<10)
	if err != nil || string(t[:8]) != "metadata" {
		return 0, refuse("the metadata of the VHDX is not sane")
	}
	n := int(binary.LittleEndian.Uint16(t[10:]))
	if n > 2047 {
		return 0, refuse("the metadata of the VHDX is not sane")
	}
	size, params := uint64(0), false
	for i := range n {
		e := t[32+32*i:]
		item := off + uint64(binary.LittleEndian.Uint32(e[16:]))
		switch string(e[:16]) {
		case vhdxParentLocator:
			return 0, refuse("a VHDX with a parent is not allowed")
		case vhdxFileParameters:
			b, err := r.at(item, 8)
			if err != nil {
				return 0, err
			}
			if binary.LittleEndian.Uint32(b[4:])&2 != 0 {
				return 0, refuse("a VHDX with a parent is not allowed")
			}
			params = true
		case vhdxVirtualSize:
			b, err := r.at(item, 8)
			if err != nil {
				return 0, err
			}
			size = binary.LittleEndian.Uint64(b)
		}
	}
	if !params || size == 0 {
		return 0, refuse("the metadata of the VHDX is not sane")
	}
	return size, nil
}

// inspectVDI takes dynamic and static disks; the other types and links have a parent.
func inspectVDI(r reader) (uint64, error) {
	h, err := r.at(0, 512)
	if err != nil {
		return 0, refuse("the VDI header is cut off")
	}
	version, kind := binary.LittleEndian.Uint32(h[0x44:]), binary.LittleEndian.Uint32(h[0x4c:])
	if version != 0x00010001 || kind != 1 && kind != 2 {
		return 0, refuse("VDI version %#x of type %d is not allowed", version, kind)
	}
	for _, b := range h[0x1a8:0x1c8] { // the links to a previous and a parent image
		if b != 0 {
			return 0, refuse("a VDI with a parent is not allowed")
		}
	}
	blocks, table := binary.LittleEndian.Uint32(h[0x180:]), binary.LittleEndian.Uint32(h[0x154:])
	if !r.within(uint64(table), uint64(blocks)*4) {
		return 0, refuse("the block table of the VDI is not sane")
	}
	return binary.LittleEndian.Uint64(h[0x170:]), nil
}

// inspectPloop takes single Parallels images, which cannot name another file.
func inspectPloop(r reader) (uint64, error) {
	h, err := r.at(0, 64)
	if err != nil {
		return 0, refuse("the ploop header is cut off")
	}
	sectors := binary.LittleEndian.Uint64(h[36:])
	if binary.LittleEndian.Uint32(h[16:]) != 2 || sectors > 1<<50 {
		return 0, refuse("the ploop header is not sane")
	}
	return sectors * 512, nil
}
