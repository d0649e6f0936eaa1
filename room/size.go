package room

import (
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Size is an amount of disk that an operator chose: bytes, or a part of the file system. It
// is a flag's value.
type Size struct {
	text    string
	bytes   int64
	percent float64 // where it is a part
}

// Unlimited is more than there is.
const Unlimited = int64(1) << 62

// units are what a number of bytes may end in, the longer names first.
var units = []struct {
	name  string
	bytes float64
}{
	{"KiB", 1 << 10}, {"MiB", 1 << 20}, {"GiB", 1 << 30}, {"TiB", 1 << 40}, {"PiB", 1 << 50},
	{"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"PB", 1e15},
	{"K", 1 << 10}, {"M", 1 << 20}, {"G", 1 << 30}, {"T", 1 << 40}, {"P", 1 << 50}, {"B", 1},
}

// Bytes is a Size of n bytes.
func Bytes(n int64) Size { return Size{text: strconv.FormatInt(n, 10), bytes: n} }

// ParseSize reads "500GiB", "500G", "500000000", "25%" or "unlimited".
func ParseSize(text string) (Size, error) {
	s := Size{text: text}
	if text == "unlimited" {
		s.bytes = Unlimited
		return s, nil
	}
	number, factor := text, 1.0
	part, isPart := strings.CutSuffix(text, "%")
	if isPart {
		number = part
	}
	for _, u := range units {
		rest, ok := strings.CutSuffix(number, u.name)
		if ok && !isPart {
			number, factor = rest, u.bytes
			break
		}
	}
	n, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
	if err != nil || n < 0 || math.IsInf(n, 0) || math.IsNaN(n) || isPart && n > 100 {
		return Size{}, fmt.Errorf("%q is no size such as 500GiB, 25%% or unlimited", text)
	}
	if isPart {
		s.percent = n
		return s, nil
	}
	s.bytes = Unlimited
	if n*factor < float64(Unlimited) {
		s.bytes = int64(n * factor)
	}
	return s, nil
}

// Unset reports whether nobody chose the size.
func (s Size) Unset() bool { return s.text == "" }

// Of gives the bytes that the size is on a file system of so many.
func (s Size) Of(size int64) int64 {
	if s.percent > 0 {
		return int64(float64(size) * s.percent / 100)
	}
	return s.bytes
}

// String is the size as it was chosen.
func (s *Size) String() string { return s.text }

// Set is ParseSize.
func (s *Size) Set(text string) error {
	chosen, err := ParseSize(text)
	if err == nil {
		*s = chosen
	}
	return err
}

// Type is the word for it in a list of flags.
func (s *Size) Type() string { return "size" }
