package diskformat

import (
	"bytes"
	"encoding/binary"
	"strconv"
	"strings"
)

const vmdkSector = 512

// inspectVMDK takes monolithic sparse and stream-optimized disks alone: one file with its
// descriptor inside, of which no extent is another file.
func inspectVMDK(r reader) (uint64, error) {
	h, err := vmdkHeader(r, 0)
	if err != nil {
		return 0, err
	}
	sectors, err := vmdkCheckHeader(h)
	if err != nil {
		return 0, err
	}
	le64 := func(off int) uint64 { return binary.LittleEndian.Uint64(h[off:]) }
	// A grain directory "at the end" means that QEMU reads the header anew from there.
	if le64(56) == ^uint64(0) {
		if r.size < 3*vmdkSector {
			return 0, refuse("the VMDK footer is missing")
		}
		footer, err := vmdkHeader(r, uint64(r.size)-2*vmdkSector)
		if err != nil {
			return 0, err
		}
		atEnd, err := vmdkCheckHeader(footer)
		if err != nil {
			return 0, err
		}
		if atEnd != sectors || binary.LittleEndian.Uint64(footer[56:]) == ^uint64(0) {
			return 0, refuse("the VMDK header and footer differ")
		}
	}
	off, n := le64(28), le64(36)
	if off == 0 || n == 0 || off > 1<<40 || n > 128 {
		return 0, refuse("the VMDK has no sane descriptor inside")
	}
	text, err := r.at(off*vmdkSector, int(n)*vmdkSector)
	if err != nil {
		return 0, err
	}
	return sectors * vmdkSector, vmdkText(text)
}

func vmdkHeader(r reader, off uint64) ([]byte, error) {
	h, err := r.at(off, vmdkSector)
	if err != nil || string(h[:4]) != "KDMV" {
		return nil, refuse("the VMDK header is missing or of an old kind")
	}
	return h, nil
}

// vmdkCheckHeader gives the capacity in sectors. With a capacity of zero QEMU would take
// the descriptor for the disk and open whatever files it names.
func vmdkCheckHeader(h []byte) (uint64, error) {
	version, sectors := binary.LittleEndian.Uint32(h[4:]), binary.LittleEndian.Uint64(h[12:])
	grain, entries := binary.LittleEndian.Uint64(h[20:]), binary.LittleEndian.Uint32(h[44:])
	if version < 1 || version > 3 || sectors == 0 || sectors > 1<<50 {
		return 0, refuse("the VMDK header is not sane")
	}
	if grain == 0 || grain > 1<<16 || entries == 0 || entries > 1<<16 {
		return 0, refuse("the grains of the VMDK are not sane")
	}
	return sectors, nil
}

// vmdkText checks a descriptor line by line; what it does not know it refuses.
func vmdkText(text []byte) error {
	if end := bytes.IndexByte(text, 0); end >= 0 {
		text = text[:end]
	}
	kind, extents := "", 0
	for _, line := range strings.Split(string(text), "\n") {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		words := strings.Fields(line)
		switch words[0] {
		case "RW", "RDONLY", "NOACCESS":
			extents++
			err := vmdkExtent(words)
			if err != nil {
				return err
			}
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok {
			return refuse("the VMDK descriptor has a line of an unknown kind")
		}
		value = strings.Trim(strings.TrimSpace(value), `"`)
		switch strings.ToLower(strings.TrimSpace(key)) {
		case "createtype":
			if kind != "" {
				return refuse("the VMDK descriptor has two types")
			}
			kind = value
		case "parentcid":
			if !strings.EqualFold(value, "ffffffff") {
				return refuse("a VMDK with a parent is not allowed")
			}
		case "parentfilenamehint":
			return refuse("a VMDK with a parent is not allowed")
		}
	}
	if kind != "monolithicSparse" && kind != "streamOptimized" {
		return refuse("VMDK of type '%.80s' is not allowed", strings.ToValidUTF8(kind, "?"))
	}
	if extents != 1 {
		return refuse("a VMDK of %d extents is not allowed", extents)
	}
	return nil
}

// vmdkExtent allows the one extent that is the file itself: `RW 2048 SPARSE "disk.vmdk"`.
func vmdkExtent(words []string) error {
	if len(words) < 4 || words[2] != "SPARSE" {
		return refuse("an extent of the VMDK is of a kind that is not allowed")
	}
	_, err := strconv.ParseUint(words[1], 10, 63)
	if err != nil {
		return refuse("an extent of the VMDK is not sane")
	}
	name := strings.Join(words[3:], " ")
	if !strings.HasPrefix(name, `"`) || strings.ContainsAny(name, `/\:%`) || strings.Contains(name, "..") {
		return refuse("an extent of the VMDK names another file")
	}
	return nil
}
