package images

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"kilonova/compat"
)

var (
	diskFormats      = []string{"ami", "ari", "aki", "vhd", "vhdx", "vmdk", "raw", "qcow2", "vdi", "iso", "ploop", "gpt"}
	containerFormats = []string{"ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed"}
	visibilities     = []string{Community, Public, Private, Shared}
	statuses         = []string{Queued, Saving, Active, "killed", Deleted, Uploading, Importing, "pending_delete", Deactivated}

	// readOnly attributes are the service's own; status and hashes never come from a client.
	readOnly = []string{"id", "status", "checksum", "size", "virtual_size", "created_at", "updated_at", "direct_url",
		"self", "file", "schema", "os_hash_algo", "os_hash_value", "stores"}
	// reserved names mean something that no client may set: kilonova takes no locations.
	reserved = []string{"location", "locations", "deleted", "deleted_at"}
)

// attributes are the base attributes that a client may set.
var attributes = map[string]func(*Image, any) error{
	"name": func(i *Image, v any) error {
		var err error
		i.Name, i.Unnamed, err = text("name", v, 255)
		return err
	},
	"owner": func(i *Image, v any) error {
		var err error
		i.Owner, _, err = text("owner", v, 255)
		return err
	},
	"visibility":  func(i *Image, v any) error { return choose(&i.Visibility, v, visibilities, false) },
	"disk_format": func(i *Image, v any) error { return choose(&i.DiskFormat, v, diskFormats, true) },
	"container_format": func(i *Image, v any) error {
		return choose(&i.ContainerFormat, v, containerFormats, true)
	},
	"protected": func(i *Image, v any) error { return flag(&i.Protected, v) },
	"os_hidden": func(i *Image, v any) error { return flag(&i.Hidden, v) },
	"min_ram":   func(i *Image, v any) error { return number(&i.MinRAM, "min_ram", v) },
	"min_disk":  func(i *Image, v any) error { return number(&i.MinDisk, "min_disk", v) },
	"tags": func(i *Image, v any) error {
		list, ok := v.([]any)
		if !ok {
			return mismatch(v, "array")
		}
		tags := []string{}
		for _, t := range list {
			if _, ok := t.(string); !ok {
				return mismatch(t, "string")
			}
			tag, _, err := text("tag", t, 255)
			if err != nil {
				return err
			}
			if !slices.Contains(tags, tag) {
				tags = append(tags, tag)
			}
		}
		if len(tags) > maxTags {
			return compat.TooLarge("The limit has been exceeded on the number of allowed image tags. Attempted: %d, Maximum: %d", len(tags), maxTags)
		}
		slices.Sort(tags)
		i.Tags = tags
		return nil
	},
}

// forbidden is the 403 Fault of a name that no client may set; nil for all others.
func forbidden(name string) error {
	if slices.Contains(readOnly, name) {
		return compat.Forbidden("Attribute '%s' is read-only.", name)
	}
	if slices.Contains(reserved, name) || strings.HasPrefix(name, "os_glance_") {
		return compat.Forbidden("Attribute '%s' is reserved.", clip(name))
	}
	return nil
}

// setAttribute sets a base attribute or a custom property.
func setAttribute(i *Image, name string, v any) error {
	err := forbidden(name)
	if err != nil {
		return err
	}
	if set, ok := attributes[name]; ok {
		return set(i, v)
	}
	return setProperty(i, name, v)
}

// checkQuota bounds the number of properties.
func checkQuota(i *Image) error {
	if n := i.countProperties(); n > maxProperties {
		return compat.TooLarge("The limit has been exceeded on the number of allowed image properties. Attempted: %d, Maximum: %d",
			n, maxProperties)
	}
	return nil
}

// text reads a string or null of at most limit characters.
func text(name string, v any, limit int) (value string, null bool, err error) {
	if v == nil {
		return "", true, nil
	}
	value, ok := v.(string)
	if !ok {
		return "", false, mismatch(v, "null", "string")
	}
	if utf8.RuneCountInString(value) > limit {
		return "", false, invalid(value, "is too long")
	}
	if !clean(value) {
		return "", false, compat.BadRequest("Invalid characters in %s", name)
	}
	return value, false, nil
}

// clean reports whether a string can be stored by every database and shown in every log.
func clean(s string) bool { return utf8.ValidString(s) && !strings.Contains(s, "\x00") }

func choose(dest *string, v any, from []string, null bool) error {
	if v == nil && null {
		*dest = ""
		return nil
	}
	value, ok := v.(string)
	if !ok {
		if null {
			return mismatch(v, "null", "string")
		}
		return mismatch(v, "string")
	}
	if !slices.Contains(from, value) {
		choices := []any{}
		if null {
			choices = append(choices, nil)
		}
		for _, choice := range from {
			choices = append(choices, choice)
		}
		return invalid(value, "is not one of %s", compat.PythonRepr(choices))
	}
	*dest = value
	return nil
}

func flag(dest *bool, v any) error {
	value, ok := v.(bool)
	if !ok {
		return mismatch(v, "boolean")
	}
	*dest = value
	return nil
}

func number(dest *int64, name string, v any) error {
	n, ok := v.(json.Number)
	if !ok {
		return mismatch(v, "integer")
	}
	value, err := n.Int64()
	if err != nil {
		return mismatch(v, "integer")
	}
	switch {
	case value < 0:
		return compat.BadRequest("Invalid value '%d' for parameter '%s': Cannot be a negative value", value, name)
	case value > 1<<31-1:
		return compat.BadRequest("Invalid value '%d' for parameter '%s': Cannot be more than 2147483647", value, name)
	}
	*dest = value
	return nil
}

func mismatch(v any, kinds ...string) error {
	for i, kind := range kinds {
		kinds[i] = compat.PythonRepr(kind)
	}
	return invalid(v, "is not of type %s", strings.Join(kinds, ", "))
}

// invalid is the 400 Fault of a value that the schema of images does not take, in the words
// of Glance's validator.
func invalid(v any, format string, a ...any) error {
	return compat.BadRequest("Provided object does not match schema 'image': %s %s", clip(compat.PythonRepr(v)), fmt.Sprintf(format, a...))
}

// clip keeps a client's own words short in answers and logs.
func clip(s string) string {
	const limit = 120
	if len(s) <= limit {
		return strings.ToValidUTF8(s, "?")
	}
	return strings.ToValidUTF8(s[:limit], "?") + "..."
}
