package tempestlite

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"time"
)

// Some servers (uWSGI, as Nova is often packaged) close each connection after one answer
// and do not say so beforehand: a request that is sent on such a connection is lost, and
// one that is not idempotent cannot simply be sent again.

// keepsAlive tells whether the server at url keeps a connection open after an answer.
func keepsAlive(ctx context.Context, transport http.RoundTripper, url string) (bool, error) {
	reused := false
	trace := &httptrace.ClientTrace{GotConn: func(i httptrace.GotConnInfo) { reused = i.Reused }}
	for range 2 {
		req, err := http.NewRequestWithContext(httptrace.WithClientTrace(ctx, trace), http.MethodGet, url, nil)
		if err != nil {
			return false, fmt.Errorf("asking %s: %w", url, err)
		}
		resp, err := transport.RoundTrip(req)
		if err != nil {
			return false, err
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		time.Sleep(30 * time.Millisecond) // for the closing to arrive
	}
	return reused, nil
}

// mindConnections gives up keeping connections if the server at url does not keep them.
func (c *Cloud) mindConnections(ctx context.Context, url string) error {
	if c.transport.DisableKeepAlives {
		return nil
	}
	keeps, err := keepsAlive(ctx, c.transport, url)
	if err != nil {
		return err
	}
	c.transport.DisableKeepAlives = !keeps
	return nil
}
