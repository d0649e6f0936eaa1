package servers

import "testing"

func TestVolumeAttachmentsWithoutVolumes(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		id := c.want(202, "POST", "/servers", c.createBody("web", "")).text("server", "id")
		path := "/servers/" + id + "/os-volume_attachments"
		const volume = "6a1f3c9e-1d1e-4a4e-9d0a-0f3c5e5b7a10"
		tests := []struct {
			who, version, path string
			code               int
			body               string
		}{
			{ours + " member", "2.1", path, 200, `{"volumeAttachments":[]}`},
			{ours + " reader", "2.70", path + "?limit=5&offset=1", 200, `{"volumeAttachments":[]}`},
			{ours + " member", "2.104", path, 200, `{"volumeAttachments":[]}`},
			{ours + " member", "2.1", path + "?limit=x", 400, ""},
			{ours + " nobody", "2.1", path, 403, ""},
			{theirs + " member", "2.1", path, 404, ""},
			{ours + " reader", "2.89", path + "/" + volume, 404, `{"itemNotFound":{"code":404,"message":"Instance ` + id + ` is not attached to volume ` + volume + `"}}`},
			{ours + " nobody", "2.1", path + "/" + volume, 403, ""},
			{theirs + " member", "2.1", path + "/" + volume, 404, ""},
			{ours + " member", "2.1", "/servers/" + volume + "/os-volume_attachments", 404, ""},
		}
		for _, tt := range tests {
			a := c.as(tt.who, tt.version, "GET", tt.path, "")
			if a.code != tt.code || tt.body != "" && a.body != tt.body {
				t.Errorf("%s at %s: GET %s = %d %s; want %d %s", tt.who, tt.version, tt.path, a.code, a.body, tt.code, tt.body)
			}
		}
		c.settle()
	})
}
