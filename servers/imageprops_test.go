package servers

import (
	"fmt"
	"strings"
	"testing"
)

// TestImagePropertiesOfServers: create and rebuild refuse alike, and act on what they take.
func TestImagePropertiesOfServers(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		image := func(name, value string) string {
			return c.newImage(ours+" member", fmt.Sprintf(`"name":"i",%q:%q`, name, value))
		}
		plain := c.image
		id := c.boot("plain")
		for _, tt := range []struct {
			name, value string
			fine        bool
			drive       string
		}{
			{"os_type", "Linux", true, ""}, {"hw_vif_model", "VirtualE1000", true, ""}, {"hw_disk_bus", "floppy", false, ""},
			{"img_config_drive", "optional", true, ""}, {"img_config_drive", "mandatory", true, "True"}, {"img_config_drive", "maybe", false, ""},
		} {
			c.image = image(tt.name, tt.value)
			made, rebuilt := 400, 400
			if tt.fine {
				made, rebuilt = 202, 202
			}
			a := c.want(made, "POST", "/servers", c.createBody("it", ""))
			b := c.act(rebuilt, id, `{"rebuild":{"imageRef":"`+c.image+`"}}`)
			if !tt.fine && (a.body != b.body || !strings.Contains(a.body, "Invalid image metadata. Error: Field value "+tt.value+" is invalid")) {
				t.Errorf("%s=%s: %s, %s", tt.name, tt.value, a.body, b.body)
			}
			if !tt.fine {
				continue
			}
			var told string
			err := c.db.Get(&told, "SELECT args FROM work WHERE kind = 'spawn' ORDER BY id DESC LIMIT 1")
			if err != nil || tt.name == "hw_vif_model" && !strings.Contains(told, `"hw_vif_model":"e1000"`) {
				t.Errorf("%s=%s: the host is told %s, %v", tt.name, tt.value, told, err)
			}
			c.settle()
			for _, one := range []string{a.text("server", "id"), id} {
				if got := c.is(one, "ACTIVE").text("server", "config_drive"); got != tt.drive {
					t.Errorf("%s=%s: config_drive is %q", tt.name, tt.value, got)
				}
			}
			c.want(204, "DELETE", "/servers/"+a.text("server", "id"), "")
			c.settle()
		}
		c.image = plain
	})
}
