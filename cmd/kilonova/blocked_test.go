package main

import (
	"context"
	"encoding/json"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kilonova/hosts"
	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/work"
)

// TestReadsPassBlockedWriters: while more writers than there are connections wait for what
// somebody holds, reads are answered; when it is let go, so are the writers.
func TestReadsPassBlockedWriters(t *testing.T) {
	for name, c := range map[string]struct {
		address func(t *testing.T) string
		hold    []string
	}{
		"sqlite":  {func(t *testing.T) string { return filepath.Join(t.TempDir(), "kilonova.db") }, []string{"BEGIN IMMEDIATE"}},
		"mariadb": {func(t *testing.T) string { return schematest.MySQLAddress(t) }, []string{"BEGIN", "SELECT * FROM servers FOR UPDATE", "SELECT * FROM quota_usages FOR UPDATE"}},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := context.Background()
			address := c.address(t)
			db, other := openBoth(t, address)
			err := hosts.New(db, nil).Add(ctx, "one", work.HostInfo{VCPUs: 64, MemoryMB: 65536, DiskGB: 1000})
			if err == nil {
				_, err = db.Exec("UPDATE hosts SET last_seen = ?", schema.MicrosOf(time.Now().Add(time.Hour)))
			}
			if err != nil {
				t.Fatal(err)
			}
			cloud := newTestCloud(t, db)
			image := cloud.bootable()
			holder, err := other.Conn(ctx)
			if err != nil {
				t.Fatal(err)
			}
			for _, stmt := range c.hold {
				_, err := holder.ExecContext(ctx, stmt)
				if err != nil {
					t.Fatal(err)
				}
			}
			var writers sync.WaitGroup
			var through atomic.Int64
			for range 40 {
				writers.Add(1)
				go func() {
					defer writers.Done()
					defer through.Add(1)
					w := cloud.do("POST", "/v2.1/servers", `{"server": {"name": "x", "imageRef": "`+image+`", "flavorRef": "42"}}`)
					if w.Code != http.StatusAccepted && w.Code != http.StatusForbidden { // the quota is smaller than that
						t.Errorf("a create that had waited: %d %s", w.Code, w.Body)
					}
				}()
			}
			time.Sleep(300 * time.Millisecond)
			for _, path := range []string{"/v2.1/servers/detail", "/v2.1/flavors/detail", "/v2.1/os-quota-sets/" + cloud.owner, "/image/v2/images", "/networking/v2.0/networks", "/identity/v3/projects", "/readyz"} {
				answered := make(chan int, 1)
				go func() { answered <- cloud.do("GET", path, "").Code }()
				select {
				case code := <-answered:
					if code != http.StatusOK {
						t.Errorf("GET %s: %d", path, code)
					}
				case <-time.After(3 * time.Second):
					t.Errorf("GET %s waits behind the writers", path)
				}
			}
			if n := through.Load(); n > 0 {
				t.Errorf("%d writers were not blocked: this shows nothing", n)
			}
			_, err = holder.ExecContext(ctx, "ROLLBACK")
			if err != nil {
				t.Fatal(err)
			}
			holder.Close()
			writers.Wait()
		})
	}
}

// openBoth opens a migrated database as the cloud does, and once more as somebody else.
func openBoth(t *testing.T, address string) (db, other *schema.DB) {
	t.Helper()
	open := func() *schema.DB {
		db, err := schema.Open(context.Background(), address)
		if err == nil {
			err = db.Migrate(context.Background())
		}
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { db.Close() })
		return db
	}
	return open(), open()
}

// bootable makes an image that servers can boot from.
func (c *testCloud) bootable() string {
	c.t.Helper()
	w := c.do("POST", "/image/v2/images", `{"name": "x", "disk_format": "raw", "container_format": "bare"}`)
	var img struct{ ID string }
	err := json.Unmarshal(w.Body.Bytes(), &img)
	if err != nil {
		c.t.Fatalf("make an image: %d %s", w.Code, w.Body)
	}
	w = c.send("PUT", "/image/v2/images/"+img.ID+"/file", strings.NewReader(strings.Repeat("x", 1024)), "application/octet-stream")
	if w.Code != http.StatusNoContent {
		c.t.Fatalf("upload: %d %s", w.Code, w.Body)
	}
	return img.ID
}
