package tempestlite

import (
	"fmt"
	"strconv"
	"strings"
)

// Version is a microversion of the Compute API: the number after "2.". The zero Version
// stands for none.
type Version int

// The range that the contract describes.
const (
	First Version = 1
	Last  Version = 104
)

// ParseVersion reads "2.90".
func ParseVersion(s string) (Version, error) {
	minor, ok := strings.CutPrefix(strings.TrimSpace(s), "2.")
	n, err := strconv.Atoi(minor)
	if !ok || err != nil || n < 0 {
		return 0, fmt.Errorf("%q is not a microversion such as 2.90", s)
	}
	return Version(n), nil
}

func (v Version) String() string {
	if v == 0 {
		return ""
	}
	return "2." + strconv.Itoa(int(v))
}

// Selection says at which microversions an operation is checked.
type Selection struct {
	All  bool      // each one
	Only []Version // these, where the operation has them; empty with All false means the edges
}

// ParseSelection reads "edges", "all" or a list such as "2.1,2.90".
func ParseSelection(s string) (Selection, error) {
	switch s {
	case "", "edges":
		return Selection{}, nil
	case "all":
		return Selection{All: true}, nil
	}
	var sel Selection
	for word := range strings.SplitSeq(s, ",") {
		v, err := ParseVersion(word)
		if err != nil {
			return sel, fmt.Errorf("reading the microversions (all, edges or a list): %w", err)
		}
		sel.Only = append(sel.Only, v)
	}
	return sel, nil
}
