package servers

import (
	"testing"

	"kilonova/schema/schematest"
)

// BenchmarkDetailOf1000 is a list of 1,000 servers with addresses through the whole
// compute API, but for HTTP itself.
func BenchmarkDetailOf1000(b *testing.B) {
	c := newCloud(b, schematest.SQLite(b))
	c.boot("one")
	_, err := c.db.Exec("UPDATE servers SET name = 'filled'")
	if err != nil {
		b.Fatal(err)
	}
	for range 999 {
		id := newID()
		_, err := c.db.Exec(`INSERT INTO servers (uuid, `+copied+`) SELECT ?, `+copied+` FROM servers WHERE name = 'filled' ORDER BY id LIMIT 1`, id)
		if err != nil {
			b.Fatal(err)
		}
	}
	b.ReportAllocs()
	for b.Loop() {
		a := c.as(ours+" admin", "2.96", "GET", "/servers/detail", "")
		if a.code != 200 {
			b.Fatal(a.body)
		}
		b.SetBytes(int64(len(a.body)))
	}
}

// copied are the columns that the filled rows share.
const copied = `project_id, user_id, name, hostname, vm_state, power_state, generation, host, node, flavor_id, flavor_name, vcpus, memory_mb, root_gb,
	ephemeral_gb, swap_mb, extra_specs, image_id, image_meta, metadata, disk_config, zone, reservation_id, root_device_name, security_groups,
	scheduler_hints, created_at, updated_at, launched_at`
