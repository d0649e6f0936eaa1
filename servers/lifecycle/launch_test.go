package lifecycle

import (
	"strings"
	"testing"
)

// TestHostNames: the letters of Latin-1 stay, what is beyond is dropped before the cut.
func TestHostNames(t *testing.T) {
	tests := []struct{ name, want string }{
		{"web", "web"}, {"Café Ünï", "café-ünï"}, {"ÀÖØßÞÿ", "àöøßþÿ"}, {"a×b÷c", "abc"}, {"x²¼µº", "x²¼µº"},
		{"日本語", "Server-ID"}, {"日本 web", "web"}, {"Łódź", "ód"}, {"a_b.c d", "a-b-c-d"}, {"--web..", "web"}, {"!@#$", "Server-ID"},
		{"_-_", "Server-ID"}, {"a/b:c", "abc"}, {"tab\there", "tabhere"}, {"a\u00a0b", "ab"},
		{strings.Repeat("é", 70), strings.Repeat("é", 63)}, {strings.Repeat("日", 70) + "web", "web"}, {strings.Repeat("!", 62) + "ab", "a"},
		{strings.Repeat("a", 62) + ".b", strings.Repeat("a", 62)},
	}
	for _, tt := range tests {
		if got := hostnameOf(tt.name, "ID"); got != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.name, got, tt.want)
		}
	}
}
