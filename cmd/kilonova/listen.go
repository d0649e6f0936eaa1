package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"

	"kilonova/front"
)

// listener is an open one, and how it is to be served.
type listener struct {
	net.Listener
	cfg front.Config
}

// open reads the certificate and listens.
func (c *listenConfig) open() (*listener, error) {
	cfg := front.Config{Limits: c.limits()}
	for _, m := range c.Proxies {
		cfg.Proxies = append(cfg.Proxies, m.Prefix)
	}
	if c.Certificate != "" || c.Key != "" {
		var err error
		cfg.TLS, err = front.LoadCertificate(c.Certificate, c.Key)
		if err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", c.Address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if cfg.TLS == nil && !front.Loopback(l.Addr().String()) {
		slog.Warn("the APIs are open to other machines without TLS: passwords and tokens can be read on the way; give --tls-cert and --tls-key", "listen", l.Addr().String())
	}
	return &listener{l, cfg}, nil
}

func (l *listener) serve(ctx context.Context, h http.Handler) error {
	return front.Serve(ctx, l.Listener, h, l.cfg)
}

// scheme is how the listener's address begins.
func (l *listener) scheme() string {
	if l.cfg.TLS != nil {
		return "https"
	}
	return "http"
}

// imageClient is how a host fetches and stores images: with the machine's authorities and
// that of caFile.
func imageClient(caFile string) (*http.Client, error) {
	if caFile == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(caFile)
	if err != nil {
		return nil, fmt.Errorf("read the authority of the APIs: %w", err)
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, errors.New("--ca-file holds no certificate in PEM")
	}
	return clientWith(&tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}), nil
}

// ownImageClient is the same for the hosts inside `up`, which know the certificate itself.
func (l *listener) ownImageClient(caFile string) (*http.Client, error) {
	if l.cfg.TLS == nil || caFile != "" {
		return imageClient(caFile)
	}
	return clientWith(l.cfg.TLS.Client()), nil
}

func clientWith(cfg *tls.Config) *http.Client {
	t := http.DefaultTransport.(*http.Transport).Clone()
	t.TLSClientConfig = cfg
	// A ticket must not follow a redirect to somebody else.
	return &http.Client{Transport: t, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}
