package schematest

import (
	"slices"
	"testing"
)

// Spellings are texts that one collation or another takes for equal: by case, by accents and
// how they are put together, by width, by what is not seen, and by blanks at the end.
var Spellings = []string{
	"strasse", "Strasse", "STRASSE", "straße", "strässe", "stra\u0308sse", "stráße", "ｓtrasse", "\u017ftrasse", unseen, blank,
}

// These two no name may have in some APIs.
const (
	unseen = "strasse\u200b"
	blank  = "strasse "
)

// Apart shows that texts are told apart. It adds something by every other spelling, looks for
// all of them, adds the rest and looks again: each finds its own and nothing else. What add
// refuses altogether, as some do with a blank at the end, need not be found.
func Apart(t *testing.T, what string, add func(text string) bool, found func(text string) int) {
	t.Helper()
	var there, refused []string
	for _, from := range []int{0, 1} {
		for i := from; i < len(Spellings); i += 2 {
			if add(Spellings[i]) {
				there = append(there, Spellings[i])
			} else {
				refused = append(refused, Spellings[i])
			}
		}
		for _, text := range Spellings {
			want := 0
			if slices.Contains(there, text) {
				want = 1
			}
			if got := found(text); got != want && !slices.Contains(refused, text) {
				t.Errorf("%s: %q finds %d, want %d", what, text, got, want)
			}
		}
	}
	for _, text := range refused {
		if text != unseen && text != blank {
			t.Errorf("%s: %q was refused", what, text)
		}
	}
}
