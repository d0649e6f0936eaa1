package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"kilonova/front"
	"kilonova/schema/schematest"
)

// TestGuessesBehindAProxy lets one client of a proxy guess: its neighbours, the administrator
// among them, go on logging in where the proxy is named, and the log says so where it is not.
func TestGuessesBehindAProxy(t *testing.T) {
	for _, named := range []bool{true, false} {
		out := logged(t)
		c := newTestCloud(t, schematest.SQLite(t))
		cfg := front.Config{}
		if named {
			cfg.Proxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
		}
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		ctx, stop := context.WithCancel(t.Context())
		var serving sync.WaitGroup
		serving.Go(func() { _ = front.Serve(ctx, l, c.handler, cfg) }) // it ends with the test
		login := func(from, password string) int {
			r, err := http.NewRequest("POST", "http://"+l.Addr().String()+"/identity/v3/auth/tokens", strings.NewReader(fmt.Sprintf(
				`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":%q}}}}}`, password)))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Forwarded-For", from)
			r.Header.Set("Content-Type", "application/json")
			a, err := http.DefaultClient.Do(r)
			if err != nil {
				t.Fatal(err)
			}
			a.Body.Close()
			return a.StatusCode
		}
		guesses := map[int]int{}
		for i := range 40 {
			guesses[login("203.0.113.66", fmt.Sprint("guess ", i))]++
		}
		if guesses[401] == 0 || guesses[429] == 0 {
			t.Errorf("guesses: %v", guesses)
		}
		if code := login("203.0.113.7", c.password); named && code != http.StatusCreated {
			t.Errorf("a neighbour's login = %d", code)
		}
		stop()
		serving.Wait()
		if warned := strings.Contains(out.String(), "--trusted-proxy does not name"); warned == named {
			t.Errorf("the proxy named: %v, the log warns: %v", named, warned)
		}
	}
}
