package images

import (
	"encoding/json"
	"slices"
	"strconv"
)

// encoder appends JSON. Image lists are long, so the members are written in place.
type encoder struct {
	b     []byte
	comma bool
}

func (e *encoder) key(name string) {
	if e.comma {
		e.b = append(e.b, ", "...)
	}
	e.comma = true
	e.quote(name)
	e.b = append(e.b, ": "...)
}

func (e *encoder) quote(s string) {
	for i := range len(s) {
		if s[i] < 0x20 || s[i] >= 0x7f || s[i] == '"' || s[i] == '\\' || s[i] == '<' || s[i] == '>' || s[i] == '&' {
			q, err := json.Marshal(s)
			if err != nil {
				q = []byte(`""`) // strings always encode
			}
			e.b = append(e.b, q...)
			return
		}
	}
	e.b = append(e.b, '"')
	e.b = append(e.b, s...)
	e.b = append(e.b, '"')
}

func (e *encoder) str(name, v string) {
	e.key(name)
	e.quote(v)
}

// opt writes null for an empty string.
func (e *encoder) opt(name, v string) {
	e.key(name)
	if v == "" {
		e.b = append(e.b, "null"...)
		return
	}
	e.quote(v)
}

func (e *encoder) flag(name string, v bool) {
	e.key(name)
	e.b = strconv.AppendBool(e.b, v)
}

func (e *encoder) num(name string, v int64, known bool) {
	e.key(name)
	if !known {
		e.b = append(e.b, "null"...)
		return
	}
	e.b = strconv.AppendInt(e.b, v, 10)
}

// image appends the flat document: base attributes, then custom properties beside them.
func (e *encoder) image(i *Image) {
	e.b = append(e.b, '{')
	e.comma = false
	for _, name := range slices.Sorted(keys(i.Properties)) {
		e.str(name, i.Properties[name])
	}
	for _, name := range i.Null {
		e.opt(name, "")
	}
	if i.Unnamed {
		e.opt("name", "")
	} else {
		e.str("name", i.Name)
	}
	e.opt("disk_format", i.DiskFormat)
	e.opt("container_format", i.ContainerFormat)
	e.str("visibility", i.Visibility)
	e.num("size", i.Size, i.HasData())
	e.num("virtual_size", i.VirtualSize, i.VirtualSize > 0)
	e.str("status", i.Status)
	e.opt("checksum", i.Checksum)
	e.flag("protected", i.Protected)
	e.num("min_ram", i.MinRAM, true)
	e.num("min_disk", i.MinDisk, true)
	e.opt("owner", i.Owner)
	e.flag("os_hidden", i.Hidden)
	e.opt("os_hash_algo", map[bool]string{true: "sha512"}[i.HasData()])
	e.opt("os_hash_value", i.SHA512)
	e.str("id", i.ID)
	e.str("created_at", i.CreatedAt.ISO())
	e.str("updated_at", i.UpdatedAt.ISO())
	e.key("tags")
	e.b = append(e.b, '[')
	for n, tag := range i.Tags {
		if n > 0 {
			e.b = append(e.b, ", "...)
		}
		e.quote(tag)
	}
	e.b = append(e.b, ']')
	e.str("self", "/v2/images/"+i.ID)
	e.str("file", "/v2/images/"+i.ID+"/file")
	e.str("schema", "/v2/schemas/image")
	e.b = append(e.b, '}')
}

func keys(m map[string]string) func(func(string) bool) {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

func imageDocument(i *Image) []byte {
	e := &encoder{}
	e.image(i)
	return e.b
}

// listDocument is a page; next is "" on the last one.
func listDocument(page []*record, first, next string) []byte {
	e := &encoder{b: make([]byte, 0, 256+1024*len(page))}
	e.b = append(e.b, `{"images": [`...)
	for n, rec := range page {
		if n > 0 {
			e.b = append(e.b, ", "...)
		}
		e.image(&rec.Image)
	}
	e.b = append(e.b, ']')
	e.comma = true
	e.str("first", first)
	if next != "" {
		e.str("next", next)
	}
	e.str("schema", "/v2/schemas/images")
	e.b = append(e.b, '}')
	return e.b
}
