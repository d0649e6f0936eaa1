package compat

import (
	"encoding/json"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// Int is an integer that clients may also send as a string of digits.
type Int int

// UnmarshalJSON reads 5, "5" and 5.0, which is an integer in JSON Schema too; null leaves
// the number as it is.
func (n *Int) UnmarshalJSON(raw []byte) error {
	text := strings.Trim(string(raw), `"`)
	if text == "null" {
		return nil
	}
	v, err := strconv.Atoi(strings.TrimSpace(text))
	if err != nil && raw[0] != '"' {
		const exact = 1 << 53
		f, ferr := strconv.ParseFloat(text, 64)
		if ferr == nil && f == math.Trunc(f) && math.Abs(f) <= exact {
			v, err = int(f), nil
		}
	}
	if err != nil {
		return fmt.Errorf("%.20q is not an integer", text)
	}
	*n = Int(v)
	return nil
}

// Bool is a boolean that clients may also send as one of Nova's words.
type Bool bool

var boolWords = map[string]bool{"1": true, "on": true, "yes": true, "true": true, "y": true, "t": true,
	"0": false, "off": false, "no": false, "false": false, "n": false, "f": false}

// UnmarshalJSON reads true, "True", "on", "1" and their kind.
func (b *Bool) UnmarshalJSON(raw []byte) error {
	var plain bool
	if json.Unmarshal(raw, &plain) == nil {
		*b = Bool(plain)
		return nil
	}
	v, ok := boolWords[strings.ToLower(strings.Trim(string(raw), `"`))]
	if !ok {
		return fmt.Errorf("%.20q is not a boolean", raw)
	}
	*b = Bool(v)
	return nil
}
