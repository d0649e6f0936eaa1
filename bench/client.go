package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// client speaks to one cloud with a token of its administrator.
type client struct {
	base, token, project, password string
	http                           *http.Client
}

func newClient(ctx context.Context, base, stateDir string) (*client, error) {
	pw, err := os.ReadFile(filepath.Join(stateDir, "admin-password"))
	if err != nil {
		return nil, fmt.Errorf("read the administrator's password: %w", err)
	}
	const conns = 64
	c := &client{base: base, password: strings.TrimSpace(string(pw)),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: conns, DisableCompression: true}}}
	return c, c.login(ctx)
}

func (c *client) login(ctx context.Context) error {
	body := fmt.Sprintf(`{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":%q}}},
		"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`, c.password)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, c.base+"/identity/v3/auth/tokens", strings.NewReader(body))
	if err != nil {
		return err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("get a token: %w", err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("get a token: %d %.200s: %w", resp.StatusCode, raw, err)
	}
	var doc struct {
		Token struct {
			Project struct{ ID string }
		}
	}
	c.token = resp.Header.Get("X-Subject-Token")
	err = json.Unmarshal(raw, &doc)
	c.project = doc.Token.Project.ID
	return err
}

// call sends one request and gives the answer's body; other codes than want are errors.
func (c *client) call(ctx context.Context, method, path, version string, body any, want int) ([]byte, error) {
	var in io.Reader
	switch b := body.(type) {
	case nil:
	case []byte:
		in = bytes.NewReader(b)
	default:
		raw, err := json.Marshal(b)
		if err != nil {
			return nil, err
		}
		in = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, in)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-Auth-Token", c.token)
	if in != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if strings.HasSuffix(path, "/file") {
		req.Header.Set("Content-Type", "application/octet-stream")
	}
	if version != "" {
		req.Header.Set("OpenStack-API-Version", "compute "+version)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer resp.Body.Close()
	raw, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	if resp.StatusCode != want {
		return nil, fmt.Errorf("%s %s: %d %.300s", method, path, resp.StatusCode, raw)
	}
	return raw, nil
}

// prepare makes what servers need: an image, a small flavor, and quotas without a limit.
func (c *client) prepare(ctx context.Context) (image, flavor string, err error) {
	raw, err := c.call(ctx, "POST", "/image/v2/images", "", map[string]any{"name": "bench", "disk_format": "raw", "container_format": "bare"}, 201)
	if err != nil {
		return "", "", err
	}
	var img struct{ ID string }
	err = json.Unmarshal(raw, &img)
	if err != nil {
		return "", "", err
	}
	_, err = c.call(ctx, "PUT", "/image/v2/images/"+img.ID+"/file", "", bytes.Repeat([]byte{0}, 1<<16), 204)
	if err != nil {
		return "", "", err
	}
	raw, err = c.call(ctx, "POST", "/v2.1/flavors", "", map[string]any{"flavor": map[string]any{"name": fmt.Sprintf("bench-%d", time.Now().UnixNano()), "ram": 1, "vcpus": 1, "disk": 1}}, 200)
	if err != nil {
		return "", "", err
	}
	var fl struct{ Flavor struct{ ID string } }
	err = json.Unmarshal(raw, &fl)
	if err != nil {
		return "", "", err
	}
	_, err = c.call(ctx, "PUT", "/v2.1/os-quota-sets/"+c.project, "", map[string]any{"quota_set": map[string]any{"instances": -1, "cores": -1, "ram": -1}}, 200)
	if err != nil {
		return "", "", err
	}
	_, err = c.call(ctx, "PUT", "/networking/v2.0/quotas/"+c.project, "", map[string]any{"quota": map[string]any{"port": -1}}, 200)
	return img.ID, fl.Flavor.ID, err
}

// create makes count servers and gives the id of the first.
func (c *client) create(ctx context.Context, image, flavor, name string, count int) (string, error) {
	raw, err := c.call(ctx, "POST", "/v2.1/servers", "2.37", map[string]any{"server": map[string]any{
		"name": name, "imageRef": image, "flavorRef": flavor, "networks": "auto", "min_count": count, "max_count": count}}, 202)
	if err != nil {
		return "", err
	}
	var doc struct{ Server struct{ ID string } }
	err = json.Unmarshal(raw, &doc)
	return doc.Server.ID, err
}

func (c *client) status(ctx context.Context, id string) (string, error) {
	raw, err := c.call(ctx, "GET", "/v2.1/servers/"+id, "", nil, 200)
	if err != nil {
		return "", err
	}
	var doc struct {
		Server struct {
			Status string
			Fault  struct{ Message string }
		}
	}
	err = json.Unmarshal(raw, &doc)
	if doc.Server.Status == "ERROR" {
		return "", fmt.Errorf("server %s: %s", id, doc.Server.Fault.Message)
	}
	return doc.Server.Status, err
}

func (c *client) active(ctx context.Context, id string) error {
	for {
		st, err := c.status(ctx, id)
		if err != nil || st == "ACTIVE" {
			return err
		}
		time.Sleep(time.Millisecond)
	}
}

// allActive waits until no server is in BUILD.
func (c *client) allActive(ctx context.Context) error {
	for {
		raw, err := c.call(ctx, "GET", "/v2.1/servers?status=BUILD&limit=1", "", nil, 200)
		if err != nil {
			return err
		}
		if !bytes.Contains(raw, []byte(`"id"`)) {
			return nil
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// many runs f n times on k clients and gives each one's time.
func many(n, k int, f func(i int) error) ([]time.Duration, error) {
	times := make([]time.Duration, n)
	next := make(chan int)
	var wg sync.WaitGroup
	var once sync.Once
	var first error
	for range k {
		wg.Add(1)
		go func() {
			defer wg.Done()
			for i := range next {
				start := time.Now()
				err := f(i)
				if err != nil {
					once.Do(func() { first = err })
				}
				times[i] = time.Since(start)
			}
		}()
	}
	for i := range n {
		next <- i
	}
	close(next)
	wg.Wait()
	return times, first
}
