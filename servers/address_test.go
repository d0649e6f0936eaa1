package servers

import (
	"encoding/hex"
	"fmt"
	"net/netip"
	"strings"
	"testing"

	"kilonova/schema"
	"kilonova/servers/lifecycle"
)

// crowd gives a project servers with an IPv4 and an IPv6 address each, without their hosts.
func (c *cloud) crowd(n int) {
	c.t.Helper()
	like := c.boot("first")
	var network, subnet int64
	err := c.db.QueryRow("SELECT p.network_id, a.subnet_id FROM ports p JOIN port_addresses a ON a.port_id = p.id WHERE p.device_id = ?", like).Scan(&network, &subnet)
	if err != nil {
		c.t.Fatal(err)
	}
	seed, err := lifecycle.Get(c.t.Context(), c.db, like)
	if err != nil {
		c.t.Fatal(err)
	}
	v4, v6 := netip.MustParseAddr("10.77.128.0"), netip.MustParseAddr("fd00::1:0")
	err = c.db.Tx(c.t.Context(), func(tx *schema.Tx) error {
		for i := range n {
			v := *seed
			v.UUID, v.Name, v.Host = newID(), fmt.Sprintf("s%05d", i), nil
			err := lifecycle.Insert(c.t.Context(), tx, &v)
			if err != nil {
				return err
			}
			res, err := tx.ExecContext(c.t.Context(), `INSERT INTO ports (uuid, network_id, project_id, name, description, mac_address, admin_state_up, status, device_id, device_owner,
				nic, nic_tag, made_for_server, host, vnic_type, profile, port_security_enabled, allowed_address_pairs, extra_dhcp_opts, revision, created_at, updated_at)
				VALUES (?, ?, ?, '', '', ?, 1, 'ACTIVE', ?, 'compute:nova', 0, '', 1, '', 'normal', '{}', 1, '[]', '[]', 1, 1, 1)`,
				newID(), network, ours, fmt.Sprintf("fa:16:3f:%02x:%02x:%02x", i>>16, i>>8&255, i&255), v.UUID)
			if err != nil {
				return err
			}
			port, err := res.LastInsertId()
			if err != nil {
				return err
			}
			v4, v6 = v4.Next(), v6.Next()
			for place, a := range []netip.Addr{v4, v6} {
				_, err = tx.ExecContext(c.t.Context(), `INSERT INTO port_addresses (subnet_id, ip, address, version, port_id, place) VALUES (?, ?, ?, ?, ?, ?)`,
					subnet, hex.EncodeToString(a.AsSlice()), a.String(), map[bool]int{true: 4, false: 6}[a.Is4()], port, place)
				if err != nil {
					return err
				}
			}
		}
		return nil
	})
	if err != nil {
		c.t.Fatal(err)
	}
}

// TestAddressFiltersOfManyServers: an address that thousands of servers have in common is no
// statement with thousands of names in it, and pages go on behind it.
func TestAddressFiltersOfManyServers(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		const n = 1200 // more than are named one by one, and than a page has
		c.crowd(n)
		defer c.exec("DELETE FROM servers WHERE name LIKE 's0%'") // they are in nobody's books
		count := func(query string) (int, string) {
			t.Helper()
			total, last := 0, ""
			for marker := ""; ; marker = "&marker=" + last {
				a := c.as(ours+" member", "2.5", "GET", "/servers?sort_key=display_name&sort_dir=asc&"+query+marker, "")
				list, ok := a.get("servers").([]any)
				if !ok {
					t.Fatalf("%s = %d %.300s", query, a.code, a.body)
				}
				for _, one := range list {
					last, _ = one.(map[string]any)["id"].(string)
				}
				total += len(list)
				if len(list) == 0 || !strings.Contains(a.body, "servers_links") {
					return total, last
				}
			}
		}
		for query, want := range map[string]int{
			"ip=10.77":                       n + 1,
			"ip=10.7[67].":                   n + 1,
			"ip=^10.77.12[89]":               511,
			"ip6=fd00::1:":                   n,
			"ip=10.77&ip6=fd00":              n,
			"ip=10.77&name=s0000":            10,
			"ip=10.77&name=^s000[01]":        20,
			"ip=^10.77.128.7$":               1,
			"ip=10.77&ip6=^fd00::1:7$":       1,
			"ip=^10.77.128.7$&ip6=^fd00::1:": 1,
			"ip=172.16":                      0,
			"ip=10.77&limit=500":             n + 1,
		} {
			if got, _ := count(query); got != want {
				t.Errorf("%s: %d servers, want %d", query, got, want)
			}
		}
	})
}
