package front

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Certificate is a TLS certificate with its key, in PEM files that may be replaced while
// the server runs.
type Certificate struct {
	certFile, keyFile string

	mu     sync.Mutex
	cert   *tls.Certificate
	stamp  string
	looked time.Time
}

// lookEvery is how long a replaced certificate may take to be noticed.
const lookEvery = 2 * time.Second

// LoadCertificate reads a certificate, with what leads to its authority, and its key.
func LoadCertificate(certFile, keyFile string) (*Certificate, error) {
	if certFile == "" || keyFile == "" {
		return nil, errors.New("TLS needs both a certificate and a key: --tls-cert and --tls-key")
	}
	c := &Certificate{certFile: certFile, keyFile: keyFile}
	err := c.reload()
	if err != nil {
		return nil, err
	}
	st, err := os.Stat(keyFile)
	if err == nil && st.Mode().Perm()&others != 0 {
		slog.Warn("the key of the TLS certificate can be read by other accounts: chmod 600", "file", keyFile, "mode", st.Mode().Perm())
	}
	return c, nil
}

// others are what a key's mode should give neither its group nor anybody else.
const others = 0o077

// Expires is when the certificate ends.
func (c *Certificate) Expires() time.Time {
	leaf := c.current().Leaf
	if leaf == nil {
		return time.Time{}
	}
	return leaf.NotAfter
}

func (c *Certificate) reload() error {
	stamp := ""
	for _, path := range []string{c.certFile, c.keyFile} {
		st, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("read the TLS certificate: %w", err)
		}
		stamp += fmt.Sprintln(st.Size(), st.ModTime().UnixNano())
	}
	if stamp == c.stamp {
		return nil
	}
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read the TLS certificate: %w", err)
	}
	if c.cert != nil {
		slog.Info("the TLS certificate was replaced")
	}
	c.cert, c.stamp = &cert, stamp
	return nil
}

// current gives the certificate as the files have it. Files that are half replaced leave
// the old one in use.
func (c *Certificate) current() *tls.Certificate {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) > lookEvery {
		c.looked = time.Now()
		err := c.reload()
		if err != nil {
			slog.Warn("the TLS certificate cannot be read again; the old one stays in use", "err", err)
		}
	}
	return c.cert
}

func (c *Certificate) config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return c.current(), nil },
	}
}

// Client is the TLS configuration of a client in the same process: it takes this very
// certificate, whatever names are in it, and else what the machine's authorities vouch for.
func (c *Certificate) Client() *tls.Config {
	return &tls.Config{
		MinVersion:         tls.VersionTLS12,
		InsecureSkipVerify: true, //nolint:gosec // VerifyConnection verifies
		VerifyConnection: func(s tls.ConnectionState) error {
			if len(s.PeerCertificates) == 0 {
				return errors.New("the server has no certificate")
			}
			if bytes.Equal(s.PeerCertificates[0].Raw, c.current().Certificate[0]) {
				return nil // the handshake has proved that the server has its key
			}
			o := x509.VerifyOptions{DNSName: s.ServerName, Intermediates: x509.NewCertPool()}
			for _, between := range s.PeerCertificates[1:] {
				o.Intermediates.AddCert(between)
			}
			_, err := s.PeerCertificates[0].Verify(o)
			return err
		},
	}
}

// Loopback reports whether an address can be reached from this machine alone.
func Loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}
