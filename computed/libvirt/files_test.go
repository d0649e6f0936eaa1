package libvirt

import (
	"bytes"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/kdomanski/iso9660"
)

// The image is read with another's code, Rock Ridge names included.
func TestISOImage(t *testing.T) {
	files := map[string][]byte{
		"openstack/latest/meta_data.json":     []byte(`{"uuid": "x"}`),
		"openstack/2012-08-10/meta_data.json": bytes.Repeat([]byte("long "), 2000),
		"openstack/latest/user_data":          {},
		"ec2/latest/meta-data.json":           []byte("ec2"),
		"openstack/content/0000":              []byte("file"),
	}
	// The reader is wrong about directories of several sectors, which guests read in
	// TestGuestSeesItsWorld.
	for n := range 8 {
		files[fmt.Sprintf("openstack/content/a.file-with_a.longer-name-%03d", n)] = []byte(fmt.Sprint(n))
	}
	data, err := isoImage("config-2", files, time.Unix(1_700_000_000, 0))
	if err != nil {
		t.Fatal(err)
	}
	again, err := isoImage("config-2", files, time.Unix(1_700_000_000, 0))
	if err != nil || !bytes.Equal(data, again) {
		t.Error("two images of the same files differ")
	}
	img, err := iso9660.OpenImage(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	label, err := img.Label()
	if err != nil || strings.TrimSpace(label) != "config-2" {
		t.Errorf("label %q, %v", label, err)
	}
	root, err := img.RootDir()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]byte{}
	collect(t, root, "", got)
	if len(got) != len(files) {
		t.Errorf("%d files, want %d", len(got), len(files))
	}
	for p, want := range files {
		if !bytes.Equal(got[p], want) {
			t.Errorf("%s has %d bytes, want %d", p, len(got[p]), len(want))
		}
	}
}

func collect(t *testing.T, dir *iso9660.File, at string, to map[string][]byte) {
	t.Helper()
	children, err := dir.GetChildren()
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range children {
		if c.IsDir() {
			collect(t, c, at+c.Name()+"/", to)
			continue
		}
		var b bytes.Buffer
		_, err := b.ReadFrom(c.Reader())
		if err != nil {
			t.Fatal(err)
		}
		to[at+c.Name()] = b.Bytes()
	}
}

func TestISOImageRefuses(t *testing.T) {
	for _, files := range []map[string][]byte{
		{"": nil},
		{"a": nil, "a/b": nil},
		{"a/b": nil, "/a/b": nil},
		{strings.Repeat("x", 101): nil},
	} {
		_, err := isoImage("config-2", files, time.Now())
		if err == nil {
			t.Errorf("made an image of %v", files)
		}
	}
}

func TestReleasePacket(t *testing.T) {
	addr, server := netip.MustParseAddr("10.0.0.2"), netip.MustParseAddr("10.0.0.1")
	p, err := releasePacket("fa:16:3e:00:00:01", "01:fa:16:3e:00:00:01", addr, server)
	if err != nil {
		t.Fatal(err)
	}
	want := []byte{53, 1, 7, 54, 4, 10, 0, 0, 1, 61, 7, 1, 0xfa, 0x16, 0x3e, 0, 0, 1, 255}
	if !bytes.Equal(p[240:], want) || !bytes.Equal(p[12:16], []byte{10, 0, 0, 2}) {
		t.Errorf("packet % x", p)
	}
	for _, bad := range [][2]string{{"nonsense", ""}, {"fa:16:3e:00:00:01", "zz"}} {
		_, err := releasePacket(bad[0], bad[1], addr, server)
		if err == nil {
			t.Errorf("no error for %q", bad)
		}
	}
}
