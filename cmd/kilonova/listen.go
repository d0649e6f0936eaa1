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
	"net/netip"
	"os"
	"strings"

	"github.com/spf13/pflag"

	"kilonova/front"
)

// listenFlags say where the APIs listen, with which certificate, and what clients may hold.
type listenFlags struct {
	address, cert, key string
	proxies            []string
	limits             front.Limits
}

func (f *listenFlags) add(fl *pflag.FlagSet) {
	fl.StringVar(&f.address, "listen", "127.0.0.1:8774", "address of the APIs")
	fl.StringVar(&f.cert, "tls-cert", envOr("KILONOVA_TLS_CERT", ""), "certificate of the APIs, in PEM, with what leads to its authority (plain HTTP if empty); read again when it changes")
	fl.StringVar(&f.key, "tls-key", envOr("KILONOVA_TLS_KEY", ""), "key of the certificate, in PEM")
	fl.StringSliceVar(&f.proxies, "trusted-proxy", listOr("KILONOVA_TRUSTED_PROXIES"), "address or range of a reverse proxy whose X-Forwarded headers hold")
	fl.IntVar(&f.limits.Open, "max-connections", 0, "connections in all (half of what the process may open, at most 8192, if 0)")
	fl.IntVar(&f.limits.Silent, "max-anonymous", 0, "connections that wait for a client without a token, in all (at most 1024 if 0)")
	fl.IntVar(&f.limits.SilentPerAddress, "max-anonymous-per-address", 0, "the same for one address (at most 256 if 0)")
}

func listOr(name string) []string {
	if v := os.Getenv(name); v != "" {
		return strings.Split(v, ",")
	}
	return nil
}

// listener is an open one, and how it is to be served.
type listener struct {
	net.Listener
	cfg front.Config
}

// open reads the certificate and listens.
func (f *listenFlags) open() (*listener, error) {
	cfg := front.Config{Limits: f.limits}
	for _, text := range f.proxies {
		p, err := prefix(strings.TrimSpace(text))
		if err != nil {
			return nil, fmt.Errorf("--trusted-proxy %q is neither an address nor a range", text)
		}
		cfg.Proxies = append(cfg.Proxies, p)
	}
	if f.cert != "" || f.key != "" {
		var err error
		cfg.TLS, err = front.LoadCertificate(f.cert, f.key)
		if err != nil {
			return nil, err
		}
	}
	l, err := net.Listen("tcp", f.address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	if cfg.TLS == nil && !front.Loopback(l.Addr().String()) {
		slog.Warn("the APIs are open to other machines without TLS: passwords and tokens can be read on the way; give --tls-cert and --tls-key", "listen", l.Addr().String())
	}
	return &listener{l, cfg}, nil
}

func prefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Unmap().Prefix(a.Unmap().BitLen())
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
