package servers

import (
	"fmt"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/schema/schematest"
	"kilonova/servers/lifecycle"
)

// Whatever a document shows, wherever it is kept: a change of it is seen by the next answer,
// made by any process. The statements stand for all that could be written.
func TestKeptDocumentsAreFresh(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		c := newCloud(t, db)
		id, other := c.boot("one"), c.boot("two")
		mine := "(SELECT id FROM servers WHERE uuid = '" + id + "')"
		port := "(SELECT MIN(id) FROM ports WHERE device_id = '" + id + "' AND nic >= 0)"
		changes := []string{
			"INSERT INTO server_tags (server_id, tag) VALUES (" + mine + ", 'a')",
			"UPDATE server_tags SET tag = 'b' WHERE server_id = " + mine,
			"DELETE FROM server_tags WHERE server_id = " + mine,
			"UPDATE networks SET name = 'renamed'",
			"UPDATE networks SET name = 'Renamed'",
			"UPDATE networks SET name = 'Renamed '",
			"UPDATE security_groups SET name = 'renamed'",
			"UPDATE port_addresses SET address = '192.0.2.9' WHERE port_id = " + port,
			"UPDATE ports SET mac_address = 'fa:16:3e:00:00:99' WHERE device_id = '" + id + "' AND nic = 0",
			"DELETE FROM port_security_groups",
			"UPDATE ports SET device_id = '" + other + "', nic = 1 WHERE device_id = '" + id + "' AND nic = 0",
			"UPDATE ports SET nic = -1 WHERE device_id = '" + other + "' AND nic = 1",
			"UPDATE hosts SET disabled = 1",
			"UPDATE hosts SET forced_down = 1",
			"UPDATE servers SET host = 'elsewhere' WHERE uuid = '" + id + "'",
			"UPDATE servers SET deleted = 1 WHERE uuid = '" + other + "'",
		}
		shown := strings.FieldsFunc(lifecycle.Columns, func(r rune) bool { return strings.ContainsRune(", \n", r) })
		for _, column := range shown {
			if value, ok := columnValues[column]; ok {
				changes = append(changes, fmt.Sprintf("UPDATE servers SET %s = %s WHERE uuid = '%s'", column, value, id))
			}
		}
		looks := map[string]string{ours + " member": "2.1", ours + " admin": "2.100"}
		for _, change := range changes {
			for who, version := range looks {
				c.as(who, version, "GET", "/servers/detail", "")
				c.as(who, version, "GET", "/servers/"+id, "")
			}
			_, err := c.db.Exec(change)
			if err != nil {
				t.Fatalf("%s: %v", change, err)
			}
			c.hosts.Forget()
			for who, version := range looks {
				if stale := c.fresh(who, version, id, other); stale != "" {
					t.Errorf("after %s: %s", change, stale)
				}
			}
		}
	})
}

// columnValues change what a document shows of a server.
var columnValues = map[string]string{
	"name": "'x'", "hostname": "'x'", "description": "'x'", "vm_state": "'stopped'", "task_state": "'powering-on'", "power_state": "4",
	"progress": "50", "node": "'x'", "flavor_id": "'x'", "flavor_name": "'x'", "vcpus": "9", "memory_mb": "9", "root_gb": "9",
	"ephemeral_gb": "9", "swap_mb": "9", "extra_specs": `'{"a":"b"}'`, "image_id": "'x'", "metadata": `'{"a":"b"}'`, "key_name": "'x'",
	"user_data": "'eA=='", "config_drive": "1", "access_ip_v4": "'192.0.2.1'", "access_ip_v6": "'2001:db8::1'", "disk_config": "'AUTO'",
	"requested_zone": "'x'", "zone": "'x'", "pinned_zone": "'x'", "launch_index": "7", "reservation_id": "'x'", "root_device_name": "'x'",
	"scheduler_hints": `'{"a":"b"}'`, "trusted_certs": `'["a"]'`, "locked_by": "'owner'", "locked_reason": "'x'", "fault_code": "500",
	"fault_message": "'x'", "fault_details": "'x'", "created_at": "1", "updated_at": "1", "launched_at": "1", "terminated_at": "1",
}

// What is kept has bounds: of bytes, of what is odd, and of ways to ask.
func TestRenderingsAreBounded(t *testing.T) {
	r := newRenderings()
	doc := make([]byte, 1000)
	for i := range int64(40_000) {
		r.put(look{}, []rendering{{sighting: sighting{id: i, revision: 1}, doc: doc}})
	}
	if n := len(r.young) + len(r.old); n > 2*renderingsSize/(len(doc)+renderingCost)+2 {
		t.Errorf("%d documents are kept", n)
	}
	last := []sighting{{id: 39_999, revision: 1}, {id: 39_999, revision: 2}, {id: 0, revision: 1}}
	got := r.get(look{}, last)
	if got[0].doc == nil || got[1].doc != nil || got[2].doc != nil {
		t.Error("the youngest is not kept, or an old revision or the oldest is")
	}
	r.put(look{}, []rendering{{sighting: sighting{id: 50_000}, doc: make([]byte, longestRendering+1)}})
	if r.get(look{}, []sighting{{id: 50_000}})[0].doc != nil {
		t.Error("a huge document is kept")
	}
	for i := range 3 * mostLooks {
		r.get(look{self: fmt.Sprint(i)}, nil)
	}
	if len(r.looks) > mostLooks {
		t.Errorf("%d looks", len(r.looks))
	}
}

// A list that nothing has changed since reads the servers' revisions and nothing else.
func TestUnchangedListIsOneStatement(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		if c.db.Dialect != schema.SQLite {
			t.Skip("the plan is asked of SQLite alone: MariaDB has the same indexes")
		}
		c.boot("one")
		rows, err := c.db.Queryx("EXPLAIN QUERY PLAN "+(&page{query: query{where: []string{"project_id = ?", "deleted = ?"}, args: []any{ours, 0}},
			order: []sortKey{{expr: "created_at", desc: true}, {expr: "id", desc: true}}, limit: 50}).sql("id, revision, "+epoch), ours, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer rows.Close()
		var plan strings.Builder
		for rows.Next() {
			values, err := rows.SliceScan()
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintln(&plan, values[len(values)-1])
		}
		if got := plan.String(); !strings.Contains(got, "COVERING INDEX servers_project") || strings.Contains(got, "TEMP B-TREE") || strings.Contains(got, "SCAN servers\n") {
			t.Errorf("the plan of a list:\n%s", got)
		}
	})
}
