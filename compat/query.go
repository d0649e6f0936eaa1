package compat

import (
	"net/url"
	"strings"
)

// ParseQuery reads a query as the originals do: only & parts it, a semicolon belongs to a
// value, and what looks like an escape and is none stands for itself.
func ParseQuery(raw string) url.Values {
	out := url.Values{}
	for raw != "" {
		var pair string
		pair, raw, _ = strings.Cut(raw, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = unescape(name)
		out[name] = append(out[name], unescape(value))
	}
	return out
}

// unescape decodes the escapes of a query's part that are well formed.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	whole, err := url.QueryUnescape(s)
	if err == nil {
		return whole
	}
	out := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '+':
			out = append(out, ' ')
		case s[i] == '%' && i+2 < len(s) && isHex(s[i+1]) && isHex(s[i+2]):
			out = append(out, fromHex(s[i+1])<<4|fromHex(s[i+2]))
			i += 2
		default:
			out = append(out, s[i])
		}
	}
	return string(out)
}

func isHex(c byte) bool {
	return '0' <= c && c <= '9' || 'a' <= c && c <= 'f' || 'A' <= c && c <= 'F'
}

func fromHex(c byte) byte {
	switch {
	case c <= '9':
		return c - '0'
	case c <= 'F':
		return c - 'A' + 10
	}
	return c - 'a' + 10
}
