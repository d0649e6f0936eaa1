package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// certificate makes a certificate of this machine's, its own authority, and gives its files.
func certificate(t *testing.T, until time.Time) (cert, key string) {
	t.Helper()
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	form := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "cloud"}, NotBefore: until.Add(-90 * 24 * time.Hour), NotAfter: until,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, form, form, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := x509.MarshalPKCS8PrivateKey(private)
	if err == nil {
		err = errors.Join(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600),
			os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: raw}), 0o600))
	}
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

// logged gives what the program logs from now on.
func logged(t *testing.T) *bytes.Buffer {
	t.Helper()
	var out bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, nil)))
	t.Cleanup(func() { slog.SetDefault(old) })
	return &out
}

// Hosts take the APIs' certificate for good when its authority is theirs, and show nobody
// else their tickets.
func TestHostsVerifyTheAPIs(t *testing.T) {
	cert, key := certificate(t, time.Now().Add(time.Hour))
	stranger, _ := certificate(t, time.Now().Add(time.Hour))
	f := listenConfig{Address: "127.0.0.1:0", Certificate: cert, Key: key}
	l, err := f.open()
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "elsewhere") }))
	defer elsewhere.Close()
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() {
		served <- l.serve(ctx, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/away" {
				http.Redirect(w, r, elsewhere.URL, http.StatusFound)
				return
			}
			fmt.Fprint(w, "here")
		}))
	}()
	defer func() {
		stop()
		<-served
	}()
	if l.scheme() != "https" {
		t.Errorf("the scheme is %s", l.scheme())
	}
	own, err := l.ownImageClient("")
	if err != nil {
		t.Fatal(err)
	}
	with := func(ca string) *http.Client {
		c, err := imageClient(ca)
		if err != nil {
			t.Fatal(err)
		}
		if c == nil {
			c = &http.Client{}
		}
		return c
	}
	for name, tt := range map[string]struct {
		client *http.Client
		good   bool
	}{
		"its authority":       {with(cert), true},
		"the same process":    {own, true},
		"another authority":   {with(stranger), false},
		"the machine's alone": {with(""), false},
	} {
		resp, err := tt.client.Get("https://" + l.Addr().String() + "/")
		said := ""
		if err == nil {
			raw, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			said = string(raw)
		}
		if (err == nil) != tt.good || tt.good && said != "here" {
			t.Errorf("%s: %q, %v", name, said, err)
		}
		var unknown x509.UnknownAuthorityError
		if !tt.good && !errors.As(err, &unknown) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, client := range []*http.Client{with(cert), own} {
		resp, err := client.Get("https://" + l.Addr().String() + "/away")
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusFound {
			t.Errorf("a redirect was followed: %d", resp.StatusCode)
		}
	}
	for _, bad := range []string{filepath.Join(t.TempDir(), "nothing"), key} {
		_, err := imageClient(bad)
		if err == nil {
			t.Errorf("%s is an authority", bad)
		}
	}
}

func TestAListenerWithoutTLSWarns(t *testing.T) {
	cert, key := certificate(t, time.Now().Add(time.Hour))
	for _, tt := range []struct {
		f     listenConfig
		warns bool
	}{
		{listenConfig{Address: "0.0.0.0:0"}, true}, {listenConfig{Address: "[::]:0"}, true}, {listenConfig{Address: ":0"}, true},
		{listenConfig{Address: "127.0.0.1:0"}, false}, {listenConfig{Address: "0.0.0.0:0", Certificate: cert, Key: key}, false},
	} {
		out := logged(t)
		l, err := tt.f.open()
		if err != nil {
			t.Fatal(err)
		}
		l.Close()
		if strings.Contains(out.String(), "without TLS") != tt.warns {
			t.Errorf("%+v: %s", tt.f, out)
		}
	}
	err := os.Chmod(key, 0o640)
	if err != nil {
		t.Fatal(err)
	}
	out := logged(t)
	l, err := (&listenConfig{Address: "127.0.0.1:0", Certificate: cert, Key: key}).open()
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if !strings.Contains(out.String(), "can be read by other accounts") {
		t.Errorf("a key that others read: %s", out)
	}
}

func TestDoctorLooksAtTLS(t *testing.T) {
	good, goodKey := certificate(t, time.Now().Add(60*24*time.Hour))
	near, nearKey := certificate(t, time.Now().Add(3*24*time.Hour))
	over, overKey := certificate(t, time.Now().Add(-time.Hour))
	open, openKey := certificate(t, time.Now().Add(60*24*time.Hour))
	err := os.Chmod(openKey, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		listen, cert, key, says string
		ok, fine                bool
	}{
		{"127.0.0.1:1", "", "", "no other machine", true, false},
		{"0.0.0.0:1", "", "", "without TLS", false, true},
		{"0.0.0.0:1", good, goodKey, "good until", true, false},
		{"0.0.0.0:1", near, nearKey, "ends on", false, true},
		{"0.0.0.0:1", over, overKey, "ended on", false, false},
		{"0.0.0.0:1", open, openKey, "can read the key", false, false},
		{"0.0.0.0:1", good, overKey, "TLS certificate", false, false},
		{"0.0.0.0:1", good, "", "both a certificate and a key", false, false},
	} {
		f := checkTLS(&listenConfig{Address: tt.listen, Certificate: tt.cert, Key: tt.key})(t.Context())
		if f.ok != tt.ok || f.fine != tt.fine || !strings.Contains(f.what, tt.says) || !f.ok && f.mend == "" {
			t.Errorf("%s: %+v", tt.says, f)
		}
	}
}
