package compat

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

var mediaRangeRE, acceptRE = acceptGrammar()

// acceptGrammar gives the expressions for a media range and for an Accept header (RFC 7231).
// A header that is not of the grammar counts as none at all to the originals, so what is
// wrong has to be told from what is merely odd.
func acceptGrammar() (mediaRange, accept *regexp.Regexp) {
	const (
		blanks    = `[ \t]*`
		char      = "[!#$%&'*+\\-.^_`|~0-9A-Za-z]"
		charNotQ  = "[!#$%&'*+\\-.^_`|~0-9A-PR-Za-pr-z]"
		quoted    = `"(?:[\t !#-\[\]-~\x80-\xff]|\\[\t -~\x80-\xff])*"`
		value     = `(?:` + char + `+|` + quoted + `)`
		name      = `(?:` + charNotQ + char + `*|[qQ]` + char + `+)` // a parameter named q is the weight
		parameter = `(?:` + blanks + `;` + blanks + name + `=` + value + `)`
		weight    = blanks + `;` + blanks + `[qQ]=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)`
		extension = blanks + `;` + blanks + char + `+(?:=` + value + `)?`
		element   = `(` + char + `+)/(` + char + `+)(` + parameter + `*)(?:` + weight + `(?:` + extension + `)*)?`
	)
	return regexp.MustCompile(element),
		regexp.MustCompile(`^(?:(?:,|` + element + `)(?:` + blanks + `,(?:` + blanks + element + `)?)*)?$`)
}

// Accepted chooses of the media types that a service offers the one that the request's
// Accept header likes best, the first of equals, or "" for none. A request without the
// header, and one whose header makes no sense, likes all.
func Accepted(r *http.Request, offers ...string) string {
	lines, sent := r.Header["Accept"]
	header := latin1(strings.TrimSpace(strings.Join(lines, ",")))
	if !sent || !acceptRE.MatchString(header) {
		return offers[0]
	}
	ranges := mediaRangeRE.FindAllStringSubmatch(header, -1)
	best, most := "", 0.0
	for _, offer := range offers {
		if q := quality(ranges, offer); q > most {
			best, most = offer, q
		}
	}
	return best
}

// quality is the weight of the range that fits an offer most closely, 0 without any.
func quality(ranges [][]string, offer string) float64 {
	kind, sub, _ := strings.Cut(offer, "/")
	closest, q := 0, 0.0
	for _, r := range ranges {
		fit := 0
		switch {
		case strings.EqualFold(r[1], kind) && strings.EqualFold(r[2], sub):
			if r[3] == "" { // one with parameters is another type than the offer, which has none
				fit = 3
			}
		case r[2] == "*" && strings.EqualFold(r[1], kind):
			fit = 2
		case r[1] == "*" && r[2] == "*":
			fit = 1
		}
		if fit <= closest {
			continue
		}
		closest, q = fit, 1
		if r[4] != "" {
			q, _ = strconv.ParseFloat(r[4], 64) // the grammar leaves nothing else
		}
	}
	return q
}

// latin1 is a header's text with a character for each byte.
func latin1(s string) string {
	runes := make([]rune, len(s))
	for i := range len(s) {
		runes[i] = rune(s[i])
	}
	return string(runes)
}
