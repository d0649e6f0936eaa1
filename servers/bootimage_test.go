package servers

import (
	"strings"
	"testing"
)

// TestImagesThatNobodyBootsFrom: what is no disk, or a disk that hosts do not take, makes no
// server, whichever way the request names it, and no new disk of one.
func TestImagesThatNobodyBootsFrom(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		fine := c.image
		id := c.boot("it")
		for _, tt := range []struct{ disk, container, status, extra, complaint string }{
			{"qcow2", "ova", "active", "", "Container format ova cannot be booted from"},
			{"vmdk", "ova", "active", "", "Container format ova cannot be booted from"},
			{"qcow2", "ovf", "active", "", "Container format ovf cannot be booted from"},
			{"raw", "docker", "active", "", "Container format docker cannot be booted from"},
			{"raw", "compressed", "active", "", "Container format compressed cannot be booted from"},
			{"aki", "aki", "active", "", "Container format aki cannot be booted from"},
			{"ari", "ari", "active", "", "Container format ari cannot be booted from"},
			{"aki", "bare", "active", "", "Disk format aki cannot be booted from"},
			{"ari", "ami", "active", "", "Disk format ari cannot be booted from"},
			{"vhd", "bare", "active", "", "Disk format vhd cannot be booted from"},
			{"vhdx", "bare", "active", "", "Disk format vhdx cannot be booted from"},
			{"vmdk", "bare", "active", "", "Disk format vmdk cannot be booted from"},
			{"vdi", "bare", "active", "", "Disk format vdi cannot be booted from"},
			{"ploop", "bare", "active", "", "Disk format ploop cannot be booted from"},
			{"raw", "bare", "active", `, "cinder_encryption_key_id": "k"`, "Direct booting of an image uploaded from an encrypted volume is unsupported."},
			{"raw", "bare", "queued", "", "is not active."},
			{"raw", "bare", "deactivated", "", "is not active."},
			{"raw", "bare", "importing", "", "is not active."},
			{"raw", "bare", "active", "", ""}, {"gpt", "bare", "active", "", ""}, {"iso", "bare", "active", "", ""}, {"ami", "ami", "active", "", ""},
		} {
			c.image = c.newImage(ours+" member", `"name": "i"`+tt.extra)
			_, err := c.db.Exec("UPDATE images SET disk_format = ?, container_format = ?, status = ? WHERE uuid = ?", tt.disk, tt.container, tt.status, c.image)
			if err != nil {
				t.Fatal(err)
			}
			code := 400
			if tt.complaint == "" {
				code = 202
			}
			device := `"block_device_mapping_v2":[{"uuid":"` + c.image + `","source_type":"image","destination_type":"local","boot_index":0}]`
			for _, a := range []answer{
				c.do("POST", "/servers", c.createBody("x", "")),
				c.do("POST", "/servers", c.createBody("x", ","+device)),
				c.do("POST", "/servers", `{"server":{"name":"x","imageRef":"","flavorRef":"1",`+device+`}}`),
				c.do("POST", "/servers/"+id+"/action", `{"rebuild":{"imageRef":"`+c.image+`"}}`),
			} {
				if a.code != code || code == 400 && !strings.Contains(a.body, `"badRequest"`) || !strings.Contains(a.body, tt.complaint) {
					t.Errorf("%s in %s, %s: %d %s; want %d %q", tt.disk, tt.container, tt.status, a.code, a.body, code, tt.complaint)
				}
				c.settle()
				if made := a.text("server", "id"); made != "" && made != id {
					c.want(204, "DELETE", "/servers/"+made, "")
					c.settle()
				}
			}
		}
		c.image = fine
	})
}
