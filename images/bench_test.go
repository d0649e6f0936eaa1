package images

import (
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"kilonova/schema/schematest"
)

// BenchmarkUpload and BenchmarkDownload go the whole way: HTTP, hashes, quota and disk.
func BenchmarkUpload(b *testing.B) {
	const size = 256 << 20
	c := newCloud(b, schematest.SQLite(b))
	server := httptest.NewServer(c.h)
	defer server.Close()
	b.SetBytes(size)
	for b.Loop() {
		id := c.image(alice, "raw")
		transfer(b, server.URL, http.MethodPut, id, io.LimitReader(zeros{}, size), size)
		c.must(204, alice, "DELETE", "/v2/images/"+id, nil)
	}
}

func BenchmarkDownload(b *testing.B) {
	const size = 256 << 20
	c := newCloud(b, schematest.SQLite(b))
	server := httptest.NewServer(c.h)
	defer server.Close()
	id := c.image(alice, "raw")
	transfer(b, server.URL, http.MethodPut, id, io.LimitReader(zeros{}, size), size)
	b.SetBytes(size)
	for b.Loop() {
		transfer(b, server.URL, http.MethodGet, id, nil, 0)
	}
}

func transfer(b *testing.B, base, method, id string, body io.Reader, size int64) {
	b.Helper()
	r, err := http.NewRequest(method, base+"/v2/images/"+id+"/file", body)
	if err != nil {
		b.Fatal(err)
	}
	r.ContentLength = size
	r.Header.Set("X-Test-Caller", alice)
	r.Header.Set("Content-Type", "application/octet-stream")
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	_, err = io.Copy(io.Discard, res.Body)
	if err != nil || res.StatusCode/100 != 2 {
		b.Fatalf("status %d, %v", res.StatusCode, err)
	}
}

// BenchmarkList is a page of 100 images out of 1,000.
func BenchmarkList(b *testing.B) {
	c := newCloud(b, schematest.SQLite(b))
	for range 1000 {
		c.image(alice, "raw", `"os_type": "linux"`, `"hw_disk_bus": "virtio"`, `"tags": ["a", "b"]`)
	}
	for b.Loop() {
		c.must(200, alice, "GET", "/v2/images?limit=100", nil)
	}
}
