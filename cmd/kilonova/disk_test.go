package main

import (
	"net/http/httptest"
	"testing"

	"kilonova/room"
)

func parsed(t *testing.T, text string) room.Size {
	t.Helper()
	var s room.Size
	if text == "" {
		return s
	}
	err := s.Set(text)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// While there is hardly any disk whatever is not about reading, deleting or logging in waits.
func TestWhatWaitsForDisk(t *testing.T) {
	for call, want := range map[[2]string]bool{
		{"GET", "/v2.1/servers"}:               false,
		{"HEAD", "/identity/v3/auth/tokens"}:   false,
		{"OPTIONS", "/"}:                       false,
		{"DELETE", "/image/v2/images/x"}:       false,
		{"POST", "/identity/v3/auth/tokens"}:   false,
		{"POST", "/identity/v3/auth"}:          true,
		{"POST", "/identity/v3/projects"}:      true,
		{"POST", "/v2.1/servers"}:              true,
		{"POST", "/compute/v2.1/servers"}:      true,
		{"PUT", "/image/v2/images/x/file"}:     true,
		{"PATCH", "/image/v2/images/x"}:        true,
		{"PUT", "/networking/v2.0/ports/x"}:    true,
		{"POST", "/networking/v2.0/networks"}:  true,
		{"POST", "/v2.1/servers/x/action"}:     true,
		{"BREW", "/v2.1/servers"}:              true,
		{"POST", "/v2.1/identity/v3/auth/"}:    true,
		{"DELETE", "/identity/v3/auth/tokens"}: false,
	} {
		if got := waits(httptest.NewRequest(call[0], "http://cloud"+call[1], nil)); got != want {
			t.Errorf("%s %s waits: %v", call[0], call[1], got)
		}
	}
}

func TestDiskFlags(t *testing.T) {
	t.Setenv("KILONOVA_KEEP_FREE", "2GiB")
	t.Setenv("KILONOVA_IMAGE_QUOTA", "10 apples")
	p, err := loaded(t, "", "up")
	if got := p.Disk.Keep.String(); got != "2GiB" {
		t.Errorf("keep-free is %q", got)
	}
	if err == nil {
		t.Error("a quota of apples starts")
	}
	var f diskConfig
	for text, want := range map[string]int64{"": 0, "5000": 5000, "0": 1, "unlimited": 1 << 62} {
		f.Quota = parsed(t, text)
		got, err := f.projectBytes(t.TempDir())
		if err != nil || got != want {
			t.Errorf("a quota of %q is %d, %v", text, got, err)
		}
	}
	f.Quota = parsed(t, "50%")
	half, err := f.projectBytes(t.TempDir())
	if err != nil || half < 1<<20 {
		t.Errorf("half of the disk is %d, %v", half, err)
	}
}
