package secrets

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestKeyFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secrets.key")
	_, err := Load(path)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
	// Processes that start at once have one key.
	values := make([]string, 8)
	var wg sync.WaitGroup
	for i := range values {
		wg.Go(func() {
			k, err := LoadOrMake(path)
			if err == nil {
				values[i], err = k.CheckValue()
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	for _, v := range values {
		if v == "" || v != values[0] {
			t.Errorf("keys %q", values)
		}
	}
	st, err := os.Stat(path)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", st.Mode(), err)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, bad := range []string{"", "x", strings.Repeat("A", 44), strings.Repeat("A", 1000), string(raw[:40]), string(raw[:44]) + "AAAA", "\n"} {
		err := os.WriteFile(path, []byte(bad), 0o600)
		if err != nil {
			t.Fatal(err)
		}
		k, err := LoadOrMake(path)
		if err == nil {
			t.Errorf("%q is a key: %v", bad, k)
		}
	}
}

func TestSealing(t *testing.T) {
	k, other := Random(), Random()
	host := func(k *Key, name string) *HostKey {
		h, err := k.Host(name)
		if err != nil {
			t.Fatal(err)
		}
		return h
	}
	h := host(k, "one")
	if len(h.Public()) != PublicSize || host(k, "one").Public() != h.Public() || host(k, "two").Public() == h.Public() {
		t.Errorf("public keys %q, %q, %q", h.Public(), host(k, "one").Public(), host(k, "two").Public())
	}
	for _, plain := range []string{"", "p", strings.Repeat("long ", 10000)} {
		kept := k.Keep("a", []byte(plain))
		sealed, err := SealFor(h.Public(), "a", []byte(plain))
		if err != nil {
			t.Fatal(err)
		}
		opens := map[string]func(label, text string) ([]byte, error){kept: k.Open, sealed: h.Open}
		for text, open := range opens {
			got, err := open("a", text)
			if err != nil || string(got) != plain {
				t.Errorf("opened %.20q: %v", got, err)
			}
			if len(plain) > 10 && strings.Contains(text, plain[:10]) {
				t.Errorf("readable: %.40s", text)
			}
			for what, bad := range map[string]string{"nothing": "", "another form": "2" + text[1:], "cut": text[:len(text)-2], "no base64": text + "!", "changed": text[:30] + flip(text[30:31]) + text[31:]} {
				_, err = open("a", bad)
				if !errors.Is(err, ErrSealed) {
					t.Errorf("%s: %v", what, err)
				}
			}
			_, err = open("b", text)
			if !errors.Is(err, ErrSealed) {
				t.Errorf("for another label: %v", err)
			}
		}
		for what, open := range map[string]func() ([]byte, error){
			"another key":                        func() ([]byte, error) { return other.Open("a", kept) },
			"another host":                       func() ([]byte, error) { return host(k, "two").Open("a", sealed) },
			"another folder's host of that name": func() ([]byte, error) { return host(other, "one").Open("a", sealed) },
			"the API":                            func() ([]byte, error) { return k.Open("a", sealed) },
		} {
			_, err = open()
			if !errors.Is(err, ErrSealed) {
				t.Errorf("%s: %v", what, err)
			}
		}
	}
	for _, bad := range []string{"", "x", strings.Repeat("A", 43), strings.Repeat("*", 43), h.Public() + "AA"} {
		_, err := SealFor(bad, "a", []byte("x"))
		if err == nil {
			t.Errorf("%q is a public key", bad)
		}
	}
	for _, format := range []string{"%v", "%+v", "%#v", "%s"} {
		if text := fmt.Sprintf(format+format, k, h); strings.Contains(text, "0x") || len(text) > 20 {
			t.Errorf("%s prints %s", format, text)
		}
	}
}

func flip(s string) string {
	if s == "A" {
		return "B"
	}
	return "A"
}

func BenchmarkSealFor(b *testing.B) {
	h, err := Random().Host("h")
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		_, err := SealFor(h.Public(), "a", []byte(strings.Repeat("x", 600)))
		if err != nil {
			b.Fatal(err)
		}
	}
}
