package compat

import (
	"errors"
	"net/url"
	"strconv"
)

// ParseLimit reads the limit of a list: largest when it is missing or larger, 400 when it
// is negative or no number. Zero asks for nothing.
func ParseLimit(q url.Values, largest int) (int, *Fault) {
	vs := q["limit"]
	if len(vs) == 0 {
		return largest, nil
	}
	text := vs[len(vs)-1]
	n, err := strconv.ParseUint(text, 10, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, BadRequest("Invalid input for query parameters limit. Value: %s. '%s' does not match '^[0-9]*$'", clip(text), clip(text))
	}
	return int(min(n, uint64(largest))), nil // beyond 64 bits n is the largest of them
}
