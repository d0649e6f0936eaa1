package images

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"kilonova/compat"
)

// span is a part of an image's data.
type span struct{ off, n int64 }

var (
	rangeRE        = regexp.MustCompile(`(?i)^bytes *= *(\d*) *- *(\d*)`)
	contentRangeRE = regexp.MustCompile(`^bytes (\d+)-(\d+)/(\d+|\*)`)
)

// partOf reads which part of size bytes a download is to be, nil for all. It is Glance's
// reading: one range, of bytes, that begins within the data; a Content-Range, which is
// not for requests, counts where there is no Range.
func partOf(h http.Header, size int64) (*span, error) {
	if given := h.Get("Range"); given != "" {
		return rangeOf(given, size)
	}
	if given := h.Get("Content-Range"); given != "" {
		return contentRangeOf(given, size)
	}
	return nil, nil
}

func rangeOf(given string, size int64) (*span, error) {
	if strings.Contains(given, ",") {
		return nil, compat.BadRequest("Requests with multiple ranges are not supported in Glance. You may make multiple single-range requests instead.")
	}
	m := rangeRE.FindStringSubmatch(given)
	if m == nil || m[1] == "" && m[2] == "" {
		return nil, outOfRange("Invalid Range header.")
	}
	if m[1] == "" {
		n := min(bytesOf(m[2]), size)
		if n == 0 { // the last no bytes are all of them
			n = size
		}
		return &span{size - n, n}, nil
	}
	first, end := bytesOf(m[1]), size
	if m[2] != "" {
		last := bytesOf(m[2])
		if last < first {
			return nil, outOfRange("Invalid Range header.")
		}
		end = min(size, last+1)
	}
	if first >= size {
		return nil, outOfRange("Invalid start position in Range header. Start position MUST be in the inclusive range [0, " + strconv.FormatInt(size-1, 10) + "].")
	}
	return &span{first, end - first}, nil
}

func contentRangeOf(given string, size int64) (*span, error) {
	m := contentRangeRE.FindStringSubmatch(given)
	if m == nil {
		return nil, outOfRange("Invalid Content-Range header.")
	}
	first, end := bytesOf(m[1]), bytesOf(m[2])+1
	if first >= end || m[3] != "*" && end > bytesOf(m[3]) {
		return nil, outOfRange("Invalid Content-Range header.")
	}
	positions := "position MUST be in the inclusive range [0, " + strconv.FormatInt(size-1, 10) + "]."
	if end > size {
		return nil, outOfRange("Invalid stop position in Content-Range header. The stop " + positions)
	}
	return &span{first, end - first}, nil
}

// bytesOf reads digits; more of them than there are bytes anywhere are all the bytes.
func bytesOf(digits string) int64 {
	n, err := strconv.ParseInt(digits, 10, 64)
	if err != nil {
		return 1<<63 - 2
	}
	return min(n, 1<<63-2)
}

func outOfRange(message string) error {
	return &compat.Fault{Code: http.StatusRequestedRangeNotSatisfiable, Message: message}
}

// contentRange is the header of an answer that has a part.
func (s *span) contentRange(size int64) string {
	return "bytes " + strconv.FormatInt(s.off, 10) + "-" + strconv.FormatInt(s.off+s.n-1, 10) + "/" + strconv.FormatInt(size, 10)
}
