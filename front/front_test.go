package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"kilonova/compat"
)

// quick are limits that a test can wait for.
var quick = Limits{
	Head: 300 * time.Millisecond, Idle: 400 * time.Millisecond, Body: 300 * time.Millisecond,
	Silence: 300 * time.Millisecond, Answer: 300 * time.Millisecond,
}

// app checks a token before it reads a body, as all services do.
func app(w http.ResponseWriter, r *http.Request) {
	ctx := r.Context()
	switch {
	case r.URL.Path == "/healthz":
		fmt.Fprint(w, "ok")
		return
	case r.URL.Path == "/from":
		fmt.Fprint(w, r.RemoteAddr)
		return
	case r.URL.Path == "/long":
		fmt.Fprint(w, strings.Repeat("x", 64<<20))
		return
	case r.URL.Path == "/login":
	case r.Header.Get("X-Auth-Token") == "good":
		ctx = compat.WithCaller(ctx, &compat.Caller{})
	default:
		compat.Fail(w, r, compat.TitledFault, compat.Unauthorized("who are you?"))
		return
	}
	raw, err := io.ReadAll(r.Body)
	if err != nil {
		compat.Fail(w, r.WithContext(ctx), compat.TitledFault, err)
		return
	}
	fmt.Fprintf(w, "%d bytes", len(raw))
}

func start(t *testing.T, cfg Config, h http.HandlerFunc) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, l, compat.Front(h), cfg) }()
	t.Cleanup(func() {
		stop()
		err := <-done
		if err != nil {
			t.Errorf("serve: %v", err)
		}
	})
	return l.Addr().String()
}

func dial(t *testing.T, address, say string) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	send(t, c, say)
	return c
}

func send(t *testing.T, c net.Conn, say string) {
	t.Helper()
	_, err := io.WriteString(c, say)
	if err != nil {
		t.Fatalf("say %.40q: %v", say, err)
	}
}

// answer reads what the server says until it hangs up or the time is over.
func answer(c net.Conn, within time.Duration) (said string, hungUp bool) {
	_ = c.SetReadDeadline(time.Now().Add(within))
	raw, err := io.ReadAll(c)
	var ne net.Error
	return string(raw), err == nil || !isTimeout(err, &ne)
}

func isTimeout(err error, ne *net.Error) bool {
	var ok bool
	*ne, ok = err.(net.Error) //nolint:errorlint // a connection's errors are not wrapped
	return ok && (*ne).Timeout()
}

const post = "POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n"

func TestWhoeverKeepsTheServerWaitingIsLeft(t *testing.T) {
	t.Parallel()
	at := start(t, Config{Limits: quick}, app)
	good := "X-Auth-Token: good\r\n"
	for _, c := range []struct {
		name, say string
		status    string // "" for none
		within    time.Duration
	}{
		{"says nothing", "", "", 2 * time.Second},
		{"half a line", "GET /heal", "", 2 * time.Second},
		{"half a head", "GET /healthz HTTP/1.1\r\nHost: x\r\nX-A", "", 2 * time.Second},
		{"no body at login", fmt.Sprintf(post, "/login", "", 1000) + "{", "408", 2 * time.Second},
		{"no chunk at login", "POST /login HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nab", "408", 2 * time.Second},
		{"no body with a token", fmt.Sprintf(post, "/x", good, 1000) + "{", "408", 2 * time.Second},
		{"no body without a token", fmt.Sprintf(post, "/x", "", 1000), "401", 250 * time.Millisecond},
		{"no large body without a token", fmt.Sprintf(post, "/x", "", 1<<30), "401", 250 * time.Millisecond},
		{"no body for one that is not read", fmt.Sprintf(post, "/healthz", "", 1000), "200", 250 * time.Millisecond},
		{"nothing after an answer", "GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n", "200", 2 * time.Second},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			conn := dial(t, at, c.say)
			if c.status != "" {
				_ = conn.SetReadDeadline(time.Now().Add(c.within))
				line, err := bufio.NewReader(conn).ReadString('\n')
				if err != nil || !strings.Contains(line, " "+c.status+" ") {
					t.Fatalf("want %s, got %q %v", c.status, line, err)
				}
			}
			if said, hungUp := answer(conn, 3*time.Second); !hungUp {
				t.Errorf("the connection stays open after %q", said)
			}
		})
	}
}

func TestABodyThatMovesGoesOn(t *testing.T) {
	t.Parallel()
	at := start(t, Config{Limits: quick}, app)
	drip := func(head string) string {
		conn := dial(t, at, head)
		for range 8 {
			time.Sleep(100 * time.Millisecond)
			_, err := io.WriteString(conn, "x")
			if err != nil {
				break
			}
		}
		said, _ := answer(conn, time.Second)
		return said
	}
	good := drip(fmt.Sprintf(post, "/x", "X-Auth-Token: good\r\nConnection: close\r\n", 8))
	if !strings.Contains(good, "200 OK") || !strings.Contains(good, "8 bytes") {
		t.Errorf("with a token, longer than any silence may be: %q", good)
	}
	if said := drip(fmt.Sprintf(post, "/login", "", 8)); !strings.Contains(said, "408") {
		t.Errorf("a login that takes longer than its limit: %q", said)
	}
}

func TestASlowReaderIsWaitedForWhileItReads(t *testing.T) {
	t.Parallel()
	at := start(t, Config{Limits: quick}, app)
	const ask = "GET /long HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	silent := dial(t, at, ask)
	time.Sleep(1500 * time.Millisecond)
	said, _ := answer(silent, 5*time.Second)
	if len(said) > 32<<20 {
		t.Errorf("a client that read nothing for five times the limit was sent %d bytes", len(said))
	}
	slow := dial(t, at, ask)
	total, buf := 0, make([]byte, 4<<20)
	for {
		_ = slow.SetReadDeadline(time.Now().Add(5 * time.Second))
		n, err := io.ReadFull(slow, buf)
		total += n
		if err != nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if total < 64<<20 {
		t.Errorf("a client that went on reading was sent %d bytes", total)
	}
}

func TestPipelining(t *testing.T) {
	t.Parallel()
	at := start(t, Config{Limits: quick}, app)
	ask := fmt.Sprintf(post, "/x", "X-Auth-Token: good\r\n", 3) + "abc"
	last := "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	said, hungUp := answer(dial(t, at, strings.Repeat(ask, 50)+last), 5*time.Second)
	if strings.Count(said, "3 bytes") != 50 || !strings.HasSuffix(said, "ok") || !hungUp {
		t.Errorf("%d of 50 answers, hung up: %v", strings.Count(said, "3 bytes"), hungUp)
	}
	// One answer after another on one connection, with a body that nobody reads between.
	conn := dial(t, at, "")
	r := bufio.NewReader(conn)
	for i := range 5 {
		send(t, conn, fmt.Sprintf(post, "/healthz", "", 3)+"abc")
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
		_, err = io.Copy(io.Discard, resp.Body)
		if err != nil || resp.Close {
			t.Fatalf("request %d: close %v, %v", i, resp.Close, err)
		}
	}
}

// patient are limits that only counting can hold.
var patient = Limits{Head: time.Minute, Idle: time.Minute, Body: time.Minute, Silence: time.Minute, Answer: time.Minute}

func TestSilentConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	limits := patient
	limits.Open, limits.Silent, limits.SilentPerAddress = 60, 40, 20
	at := start(t, Config{Limits: limits}, app)
	trusted := dial(t, at, fmt.Sprintf(post, "/x", "X-Auth-Token: good\r\n", 100))
	time.Sleep(50 * time.Millisecond)
	for _, say := range []string{"", "GET /x HT", fmt.Sprintf(post, "/login", "", 1000) + "{"} {
		var held []net.Conn
		for i := range 100 {
			held = append(held, dial(t, at, say))
			if i%10 == 0 {
				mustAnswer(t, at)
			}
		}
		mustAnswer(t, at)
		left := 0
		for _, c := range held {
			if _, hungUp := answer(c, 20*time.Millisecond); !hungUp {
				left++
			}
			c.Close()
		}
		if left > limits.SilentPerAddress || left < limits.SilentPerAddress/2 {
			t.Errorf("%.10q: %d of 100 are still open, want about %d", say, left, limits.SilentPerAddress)
		}
	}
	send(t, trusted, strings.Repeat("x", 100))
	_ = trusted.SetReadDeadline(time.Now().Add(5 * time.Second))
	line, err := bufio.NewReader(trusted).ReadString('\n')
	if err != nil || !strings.Contains(line, "200") {
		t.Errorf("an upload with a token, silent all the while: %q %v", line, err)
	}
}

func mustAnswer(t *testing.T, at string) {
	t.Helper()
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Get("http://" + at + "/healthz")
	if err != nil {
		t.Fatalf("healthz: %v", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Fatalf("healthz: %d", resp.StatusCode)
	}
}

// Connections that are worked on are never ended for new ones, and what is full says so by
// hanging up.
func TestWorkIsNotEndedForOthers(t *testing.T) {
	t.Parallel()
	limits := patient
	limits.Open, limits.Silent, limits.SilentPerAddress = 4, 4, 4
	release, busy := make(chan struct{}), atomic.Int32{}
	at := start(t, Config{Limits: limits}, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/work" {
			busy.Add(1)
			<-release
		}
		fmt.Fprint(w, "done")
	})
	var working []net.Conn
	for range 4 {
		working = append(working, dial(t, at, "GET /work HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"))
	}
	for busy.Load() < 4 {
		time.Sleep(time.Millisecond)
	}
	if said, hungUp := answer(dial(t, at, ""), 2*time.Second); said != "" || !hungUp {
		t.Errorf("one too many: %q, hung up: %v", said, hungUp)
	}
	close(release)
	for _, c := range working {
		if said, _ := answer(c, 2*time.Second); !strings.HasSuffix(said, "done") {
			t.Errorf("a request under way was answered %q", said)
		}
	}
}

func TestProxies(t *testing.T) {
	t.Parallel()
	limits := patient
	limits.Silent, limits.SilentPerAddress = 40, 5
	limits.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("10.0.0.0/8")}
	at := start(t, Config{Limits: limits}, app)
	for _, c := range []struct{ forwarded, want string }{
		{"203.0.113.7", "203.0.113.7:0"},
		{"6.6.6.6, 203.0.113.7", "203.0.113.7:0"},
		{"6.6.6.6, 203.0.113.7, 10.1.2.3", "203.0.113.7:0"},
		{"2001:db8::1", "[2001:db8::1]:0"},
		{"6.6.6.6, nonsense", "127.0.0.1:"},
		{"", "127.0.0.1:"},
	} {
		said, _ := answer(dial(t, at, "GET /from HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: "+c.forwarded+"\r\nConnection: close\r\n\r\n"), 2*time.Second)
		_, from, _ := strings.Cut(said, "\r\n\r\n")
		if !strings.HasPrefix(from, c.want) {
			t.Errorf("X-Forwarded-For %q: from %q, want %q", c.forwarded, from, c.want)
		}
	}
	// One slow client behind the proxy does not take its neighbours' places.
	login := func(from string) net.Conn {
		return dial(t, at, fmt.Sprintf(post, "/login", "X-Forwarded-For: "+from+"\r\nConnection: close\r\n", 5)+"ab")
	}
	neighbour := login("203.0.113.7")
	for range 20 {
		login("6.6.6.6")
	}
	time.Sleep(50 * time.Millisecond)
	send(t, neighbour, "cde")
	if said, _ := answer(neighbour, 2*time.Second); !strings.Contains(said, "5 bytes") {
		t.Errorf("a neighbour behind the proxy was answered %q", said)
	}
}

func TestForwardedHeadersOfStrangersAreDropped(t *testing.T) {
	t.Parallel()
	for _, proxies := range [][]netip.Prefix{nil, {netip.MustParsePrefix("192.0.2.1/32")}} {
		limits := patient
		limits.Proxies = proxies
		at := start(t, Config{Limits: limits}, func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, r.Header.Get("X-Forwarded-Host"), r.RemoteAddr)
		})
		said, _ := answer(dial(t, at, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-Host: evil\r\nX-Forwarded-For: 1.2.3.4\r\nConnection: close\r\n\r\n"), 2*time.Second)
		if strings.Contains(said, "evil") || strings.Contains(said, "1.2.3.4") {
			t.Errorf("a stranger's headers were believed: %q", said)
		}
	}
}

// certify writes a new certificate for the loopback address.
func certify(t *testing.T, dir, name string) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	cert, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})
	for file, content := range map[string][]byte{"cert.pem": public, "key.pem": pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})} {
		err = os.WriteFile(filepath.Join(dir, file), content, 0o600)
		if err != nil {
			t.Fatal(err)
		}
	}
	return public
}

func TestTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	first := certify(t, dir, "one.example")
	cert, err := LoadCertificate(filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"))
	if err != nil {
		t.Fatal(err)
	}
	at := start(t, Config{Limits: quick, TLS: cert}, app)
	get := func(cfg *tls.Config) error {
		client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
		resp, err := client.Post("https://"+at+"/login", "", bytes.NewReader(make([]byte, 1000)))
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		if err == nil && string(said) != "1000 bytes" {
			return fmt.Errorf("answered %q", said)
		}
		return err
	}
	trusting := func(pem []byte) *tls.Config {
		pool := x509.NewCertPool()
		pool.AppendCertsFromPEM(pem)
		return &tls.Config{RootCAs: pool}
	}
	for name, c := range map[string]struct {
		cfg *tls.Config
		ok  bool
	}{
		"its authority":  {trusting(first), true},
		"no authority":   {&tls.Config{}, false},
		"the process":    {cert.Client(), true},
		"old TLS":        {&tls.Config{RootCAs: trusting(first).RootCAs, MaxVersion: tls.VersionTLS11}, false},
		"a false friend": {trusting(certify(t, t.TempDir(), "one.example")), false},
	} {
		if err := get(c.cfg); (err == nil) != c.ok {
			t.Errorf("%s: %v", name, err)
		}
	}
	if said, hungUp := answer(dial(t, at, "\x16\x03"), 3*time.Second); !hungUp {
		t.Errorf("half a handshake is waited for: %q", said)
	}
	second := certify(t, dir, "two.example")
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		err = get(trusting(second))
		if err == nil {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("the new certificate is not in use: %v", err)
		}
	}
	err = os.WriteFile(filepath.Join(dir, "cert.pem"), []byte("half written"), 0o600)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(lookEvery + 100*time.Millisecond)
	if err := get(trusting(second)); err != nil {
		t.Errorf("a broken file ended a certificate that was good: %v", err)
	}
}

func TestTLSWantsBothFiles(t *testing.T) {
	t.Parallel()
	for _, c := range [][2]string{{"a", ""}, {"", "b"}, {"nowhere", "nowhere"}} {
		_, err := LoadCertificate(c[0], c[1])
		if err == nil {
			t.Errorf("certificate %q and key %q were taken", c[0], c[1])
		}
	}
}
