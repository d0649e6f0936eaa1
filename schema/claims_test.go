package schema_test

import (
	"fmt"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

// TestClaimsOfAnEarlierRelease: what servers held in one column of their own becomes rows.
func TestClaimsOfAnEarlierRelease(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		ctx := t.Context()
		const before = 160
		err := schema.MigrateDownTo(ctx, db, before)
		if err != nil {
			t.Fatal(err)
		}
		server := func(id, state, task, old string, claimed int) {
			t.Helper()
			host, was := "'h'", "NULL"
			if claimed == 0 {
				host = "NULL"
			}
			if old != "" {
				was = "'" + old + "'"
			}
			_, err := db.ExecContext(ctx, fmt.Sprintf(`INSERT INTO servers (uuid, project_id, user_id, name, hostname, vm_state, task_state, host, node, flavor_id, flavor_name,
				vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, extra_specs, image_id, image_meta, metadata, disk_config, reservation_id, security_groups,
				scheduler_hints, claimed, old_state, created_at, updated_at)
				VALUES ('%s', 'p', 'u', 'n', 'n', '%s', %s, %s, %s, '1', 'f', 2, 1024, 10, 0, 1025, '{}', '', '{}', '{}', 'AUTO', 'r', '[]', '{}', %d, %s, 5, 6)`,
				id, state, task, host, host, claimed, was))
			if err != nil {
				t.Fatal(err)
			}
		}
		const small, large = `{"id":"1","name":"f","vcpus":2,"memory_mb":1024,"root_gb":10,"ephemeral_gb":0,"swap_mb":1025}`,
			`{"id":"2","name":"g","vcpus":1,"memory_mb":4096,"root_gb":20,"ephemeral_gb":5,"swap_mb":0,"extra_specs":{"a":"b"}}`
		resize := func(vm, more string) string {
			return `{"vm_state":"` + vm + `","old":` + small + `,"new":` + large + more + `}`
		}
		server("plain", "active", "NULL", "", 1)
		server("nowhere", "error", "NULL", "", 0)
		server("resizing", "stopped", "'resize_prep'", resize("stopped", ""), 1)
		server("confirming", "resized", "NULL", resize("active", `,"confirming":true`), 1)
		server("rebuilding", "stopped", "'rebuilding'", `{"vm_state":"stopped","image":{"id":"i"}}`, 1)
		_, err = db.ExecContext(ctx, `INSERT INTO work (host, server_id, server_uuid, kind, args, generation, deadline, created_at, state)
			VALUES ('h', 1, 'rebuilding', 'rebuild', '{}', 1, 1, 1, 'queued'), ('h', 1, 'plain', 'hard_reboot', '{}', 1, 1, 1, 'queued')`)
		if err != nil {
			t.Fatal(err)
		}
		err = db.Migrate(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for query, want := range map[string]string{
			"SELECT CONCAT_WS(' ', SUM(vcpus), SUM(memory_mb), SUM(disk_gb), COUNT(*)) FROM claims WHERE server_uuid = 'plain'":       "2 1024 12 1",
			"SELECT CONCAT_WS(' ', SUM(vcpus), SUM(memory_mb), SUM(disk_gb), COUNT(*)) FROM claims WHERE server_uuid = 'resizing'":    "2 4096 25 2",
			"SELECT CONCAT_WS(' ', SUM(vcpus), SUM(memory_mb), SUM(disk_gb), COUNT(*)) FROM claims WHERE server_uuid = 'confirming'":  "2 4096 25 2",
			"SELECT COUNT(*) FROM claims WHERE server_uuid = 'nowhere'":                                                               "0",
			"SELECT CONCAT_WS(' ', status, old_vm_state, source_host, LENGTH(uuid)) FROM migrations WHERE server_uuid = 'resizing'":   "migrating stopped h 36",
			"SELECT CONCAT_WS(' ', status, old_vm_state, source_host, LENGTH(uuid)) FROM migrations WHERE server_uuid = 'confirming'": "confirming active h 36",
			"SELECT COUNT(*) FROM migrations": "2",
			"SELECT COUNT(*) FROM servers s JOIN migrations m ON m.id = s.migration_id AND m.server_uuid = s.uuid":                "2",
			"SELECT CONCAT_WS(' ', operation, vm_state) FROM work WHERE kind = 'rebuild'":                                         "rebuild stopped",
			"SELECT CONCAT_WS('', operation, vm_state) FROM work WHERE kind = 'hard_reboot'":                                      "reboot HARD",
			"SELECT CASE WHEN new_flavor LIKE '%\"a\"%:%\"b\"%' THEN 1 ELSE 0 END FROM migrations WHERE server_uuid = 'resizing'": "1",
		} {
			var got string
			err := db.GetContext(ctx, &got, query)
			if err != nil || got != want {
				t.Errorf("%s = %q, %v; want %q", query, got, err, want)
			}
		}
	})
}
