package compat

import (
	"encoding/base64"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
	"unicode"

	"github.com/google/uuid"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

// formats are the string formats of Nova's schemas. Values that are no strings are other
// keywords' business.
var formats = []*jsonschema.Format{
	format("uuid", isUUID),
	format("base64", isBase64),
	format("ipv4", func(s string) error { return isAddress(s, true) }),
	format("ipv6", func(s string) error { return isAddress(s, false) }),
	format("cidr", func(s string) error { _, err := netip.ParsePrefix(s); return err }),
	format("date-time", func(s string) error { return isTime(s) }),
	format("uri", func(s string) error { _, err := url.ParseRequestURI(s); return err }),
	format("name", func(s string) error { return isName(s, false, "") }),
	format("name_with_leading_trailing_spaces", func(s string) error { return isName(s, true, "") }),
	format("az_name", func(s string) error { return isName(s, false, ":") }),
	format("printable", isPrintable),
	format("flavor_id", isFlavorID),
}

func format(name string, ok func(string) error) *jsonschema.Format {
	return &jsonschema.Format{Name: name, Validate: func(v any) error {
		s, isString := v.(string)
		if !isString {
			return nil
		}
		return ok(s)
	}}
}

var errForm = errors.New("not of this form")

// isUUID takes what Python's uuid.UUID takes: braces, urn: and missing dashes do not
// matter.
func isUUID(s string) error {
	bare := strings.NewReplacer("urn:", "", "uuid:", "", "-", "").Replace(strings.ToLower(s))
	bare = strings.Trim(bare, "{}")
	const digits = 32
	if len(bare) != digits {
		return errForm
	}
	_, err := uuid.Parse(bare)
	return err
}

func isBase64(s string) error {
	_, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(s), ""))
	return err
}

func isAddress(s string, four bool) error {
	a, err := netip.ParseAddr(s)
	if err == nil && (a.Zone() != "" || a.Is4() != four) {
		return errForm
	}
	return err
}

var timeLayouts = []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", "2006-01-02T15:04:05", "2006-01-02T15:04",
	"2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05", "2006-01-02", "2006-01-02T15:04:05-0700", "2006-01-02T15:04:05.999999999-0700",
	"20060102T150405Z", "20060102T150405", "2006-01-02T15:04:05-07", "2006-01",
	"2006-01-02T15:04Z07:00", "2006-01-02 15:04:05.999999999Z07:00"}

func isTime(s string) error {
	_, err := ParseTime(s)
	return err
}

// ParseTime reads ISO 8601 in its usual forms, also with a plus that a query turned into a
// space. A time without a zone is UTC.
func ParseTime(s string) (time.Time, error) {
	for _, layout := range timeLayouts {
		for _, text := range []string{s, spaceToPlus(s)} {
			t, err := time.Parse(layout, text)
			if err == nil {
				return t.UTC(), nil
			}
		}
	}
	return time.Time{}, errForm
}

// spaceToPlus puts back the plus of a time zone, the last space of a time.
func spaceToPlus(s string) string {
	i := strings.LastIndexByte(s, ' ')
	if i < 0 {
		return s
	}
	return s[:i] + "+" + s[i+1:]
}

// pattern reads a regular expression. It is the format "regex" too, which the library does
// not let us register: as in MySQL, an empty one is none.
func pattern(s string) (jsonschema.Regexp, error) {
	if s == "" {
		return nil, errForm
	}
	return regexp.Compile(s)
}

const (
	reasonName   = "printable characters. Can not start or end with whitespace."
	reasonSpaces = "printable characters with at least one non space character"
	reasonZone   = "printable characters except :.Can not start or end with whitespace."
)

func isName(s string, spaces bool, without string) error {
	reason := reasonName
	switch {
	case spaces:
		reason = reasonSpaces
	case without != "":
		reason = reasonZone
	}
	bad := isPrintable(s) != nil || strings.TrimFunc(s, unicode.IsSpace) == "" ||
		without != "" && strings.ContainsAny(s, without) || !spaces && strings.TrimFunc(s, unicode.IsSpace) != s
	if bad {
		return fmt.Errorf("An invalid 'name' value was provided. The name must be: %s", reason) //nolint:staticcheck // the client's text
	}
	return nil
}

// isPrintable takes letters, marks, numbers, punctuation, symbols and spaces.
func isPrintable(s string) error {
	for _, r := range s {
		if !unicode.IsPrint(r) && !unicode.Is(unicode.Zs, r) {
			return errForm
		}
	}
	return nil
}

var flavorID = regexp.MustCompile(`^[a-zA-Z0-9. _-]+$`)

func isFlavorID(s string) error {
	if !flavorID.MatchString(s) || strings.TrimSpace(s) != s {
		return errForm
	}
	return nil
}
