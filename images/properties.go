package images

import (
	"database/sql/driver"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"kilonova/compat"
)

// property is a custom property that Glance documents: what it may be beside a string.
type property struct {
	description string
	null        bool
	pattern     *regexp.Regexp
	values      []string
}

var uuidRE = regexp.MustCompile(`^([0-9a-fA-F]){8}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){4}-([0-9a-fA-F]){12}$`)

// documented are the properties that Glance checks and tells of in its schema of images.
var documented = map[string]property{
	"kernel_id":                {"ID of image stored in Glance that should be used as the kernel when booting an AMI-style image.", true, uuidRE, nil},
	"ramdisk_id":               {"ID of image stored in Glance that should be used as the ramdisk when booting an AMI-style image.", true, uuidRE, nil},
	"architecture":             {description: "Operating system architecture"},
	"instance_uuid":            {description: "Metadata which can be used to record which instance this image is associated with."},
	"os_distro":                {description: "Common name of operating system distribution"},
	"os_version":               {description: "Operating system version as specified by the distributor"},
	"description":              {description: "A human-readable string describing this image."},
	"cinder_encryption_key_id": {description: "Identifier of the key with which a volume made from this image is encrypted"},
	"cinder_encryption_key_deletion_policy": {description: "When the key of cinder_encryption_key_id is deleted",
		values: []string{"on_image_deletion", "do_not_delete"}},
}

// schema is the property's part of the schema of images.
func (p property) schema() object {
	kinds := []string{"string"}
	if p.null {
		kinds = []string{"null", "string"}
	}
	doc := with(typed(p.description, kinds...), object{"is_base": false})
	if p.pattern != nil {
		doc["pattern"] = p.pattern.String()
	}
	if p.values != nil {
		doc["enum"] = p.values
	}
	return doc
}

// setProperty gives an image a custom property.
func setProperty(i *Image, name string, v any) error {
	if name == "" || utf8.RuneCountInString(name) > 255 || !clean(name) {
		return compat.BadRequest("Custom property should not be greater than 255 characters.")
	}
	known := documented[name]
	if v == nil && known.null {
		delete(i.Properties, name)
		i.Null = i.Null.with(name)
		return nil
	}
	value, ok := v.(string)
	if !ok {
		if known.null {
			return mismatch(v, "null", "string")
		}
		return mismatch(v, "string")
	}
	switch {
	case len(value) > maxValue || strings.Contains(value, "\x00") || !utf8.ValidString(value):
		return compat.BadRequest("Invalid value of property '%s'", clip(name))
	case known.pattern != nil && !known.pattern.MatchString(value):
		return invalid(value, "does not match %s", compat.PythonRepr(known.pattern.String()))
	case known.values != nil && !slices.Contains(known.values, value):
		return invalid(value, "is not one of %s", compat.PythonRepr(known.values))
	}
	i.Null = i.Null.without(name)
	i.Properties[name] = value
	return nil
}

// hasProperty reports whether a custom property is there, if null.
func (i *Image) hasProperty(name string) bool {
	_, ok := i.Properties[name]
	return ok || slices.Contains(i.Null, name)
}

func (i *Image) removeProperty(name string) {
	delete(i.Properties, name)
	i.Null = i.Null.without(name)
}

// countProperties counts the custom properties.
func (i *Image) countProperties() int { return len(i.Properties) + len(i.Null) }

// metadata is the custom properties as the compute API shows them.
func (i *Image) metadata() map[string]*string {
	all := make(map[string]*string, i.countProperties())
	for name, value := range i.Properties {
		all[name] = &value
	}
	for _, name := range i.Null {
		all[name] = nil
	}
	return all
}

// names are names of properties, none of which has a blank, kept in one column.
type names []string

func (n names) with(name string) names {
	if slices.Contains(n, name) {
		return n
	}
	more := append(slices.Clone(n), name)
	slices.Sort(more)
	return more
}

func (n names) without(name string) names {
	return slices.DeleteFunc(slices.Clone(n), func(s string) bool { return s == name })
}

// Scan reads the column.
func (n *names) Scan(src any) error {
	switch text := src.(type) {
	case string:
		*n = strings.Fields(text)
	case []byte:
		*n = strings.Fields(string(text))
	default:
		return fmt.Errorf("names of a %T", src)
	}
	return nil
}

// Value is the column's text.
func (n names) Value() (driver.Value, error) { return strings.Join(n, " "), nil }
