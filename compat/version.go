package compat

import (
	"fmt"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"unicode"
)

// Version is a compute microversion; the major number is always 2, so it holds the minor.
type Version uint16

// The range that kilonova speaks.
const (
	MinVersion Version = 1
	MaxVersion Version = 104
)

// String gives the form that headers carry, such as "2.104".
func (v Version) String() string { return "2." + strconv.Itoa(int(v)) }

// ParseVersion reads the form "2.N" of tables and struct tags.
func ParseVersion(s string) (Version, error) {
	minor, ok := strings.CutPrefix(s, "2.")
	n, err := strconv.ParseUint(minor, 10, 16)
	if !ok || err != nil {
		return 0, fmt.Errorf("microversion %q is not of the form 2.N", s)
	}
	return Version(n), nil
}

// Range is an inclusive range of microversions.
type Range struct{ Min, Max Version }

// Has reports whether v lies in the range.
func (r Range) Has(v Version) bool { return r.Min <= v && v <= r.Max }

// Since is the range that begins at a version and has no end yet.
func Since(v Version) Range { return Range{v, MaxVersion} }

// ParseRange reads a range from its ends, of which "" is the end of what we speak.
func ParseRange(lo, hi string) (Range, error) {
	r := Range{MinVersion, MaxVersion}
	var err error
	if lo != "" {
		r.Min, err = ParseVersion(lo)
	}
	if err == nil && hi != "" {
		r.Max, err = ParseVersion(hi)
	}
	return r, err
}

// The microversion headers, new and legacy.
const (
	VersionHeader       = "OpenStack-API-Version"
	LegacyVersionHeader = "X-OpenStack-Nova-API-Version"
)

var versionForm = regexp.MustCompile(`^([1-9]\d*)\.([1-9]\d*|0)$`)

// Negotiate reads the microversion that a request asks for. The new header wins, and in it
// the last entry for compute; of the old one the last entry counts. Without either the
// version is 2.1. Errors are Nova's: 400 for a malformed version, 406 for one outside the
// range.
func Negotiate(h http.Header) (Version, error) {
	asked, found := "", false
	for _, entry := range strings.Split(strings.Join(h.Values(VersionHeader), ","), ",") {
		entry = strings.TrimSpace(entry)
		at := strings.IndexFunc(entry, unicode.IsSpace)
		if at > 0 && strings.EqualFold(entry[:at], "compute") {
			asked, found = strings.TrimSpace(entry[at:]), true
		}
	}
	if old := h.Values(LegacyVersionHeader); !found && len(old) > 0 {
		entries := strings.Split(strings.Join(old, ","), ",")
		asked, found = strings.TrimSpace(entries[len(entries)-1]), true
	}
	switch {
	case !found:
		return MinVersion, nil
	case asked == "latest":
		return MaxVersion, nil
	}
	m := versionForm.FindStringSubmatch(asked)
	if m == nil {
		return 0, BadRequest("API Version String %s is of invalid format. Must be of format MajorNum.MinorNum.", clip(asked))
	}
	minor, err := strconv.ParseUint(m[2], 10, 16)
	if m[1] != "2" || err != nil || !(Range{MinVersion, MaxVersion}).Has(Version(minor)) {
		return 0, &Fault{Code: http.StatusNotAcceptable, Message: fmt.Sprintf(
			"Version %s is not supported by the API. Minimum is %s and maximum is %s.", clip(asked), MinVersion, MaxVersion)}
	}
	return Version(minor), nil
}

// clip bounds what a client sent before it goes into a message or a log line.
func clip(s string) string {
	const limit = 255
	if len(s) > limit {
		return strings.ToValidUTF8(s[:limit], "") + "..."
	}
	return strings.ToValidUTF8(s, "?")
}
