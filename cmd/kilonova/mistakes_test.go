package main

import (
	"strings"
	"testing"

	"kilonova/schema/schematest"
)

// goSpeech is what gives away a message that the language made and not the service.
var goSpeech = []string{
	"%!", "map[", "<nil>", "[]string", "[]byte", "&{", "strconv.", "json:", "invalid character", "cannot unmarshal", "unexpected end of JSON",
	"sql:", "runtime error", "interface {}", "invalid UTF-8", "parse \\\"", "netip.", "ParseAddr", "ParsePrefix", "time.Time", "parsing time",
	"unknown field", "EOF", "no rows in result", "UNIQUE constraint", "Duplicate entry", "goroutine", "uuid: ", "invalid UUID length", "illegal base64",
}

// Whatever clients send, the answer is a refusal in the service's own words, and nothing
// that an operator has to look at.
func TestClientsMistakes(t *testing.T) {
	c := newTestCloud(t, schematest.SQLite(t))
	said := logged(t)
	const wrongID = "%E2%98%83%27%22%3Cb%3E%25s"
	bodies := []string{"", "{", "[]", "null", "5", `"x"`, "{}", `{"\u0000":1}`, "\xff\xfe", `{"a":1}{`, strings.Repeat("[", 3000), `{"a":1e999}`}
	wrappers := map[string]string{
		"/v2.1/servers": "server", "/v2.1/flavors": "flavor", "/v2.1/os-keypairs": "keypair",
		"/identity/v3/projects": "project", "/identity/v3/users": "user", "/identity/v3/auth/tokens": "auth", "/identity/v3/roles": "role",
		"/identity/v3/domains": "domain", "/identity/v3/groups": "group", "/identity/v3/services": "service", "/identity/v3/endpoints": "endpoint",
		"/identity/v3/regions": "region", "/image/v2/images": "", "/networking/v2.0/networks": "network", "/networking/v2.0/subnets": "subnet",
		"/networking/v2.0/ports": "port", "/networking/v2.0/security-groups": "security_group", "/networking/v2.0/security-group-rules": "security_group_rule",
	}
	values := []string{"null", "5", "-1", "1e400", "99999999999999999999", "true", `""`, `"` + strings.Repeat("x", 300) + `"`, "[]", "{}", `[{"a":[{}]}]`, `"\ud800"`, `"a\u0000b"`}
	fields := []string{"name", "id", "description", "enabled", "flavorRef", "imageRef", "networks", "ram", "vcpus", "public_key", "min_count", "user_data",
		"config_drive", "metadata", "domain_id", "parent_id", "password", "default_project_id", "options", "identity", "scope", "type", "url", "interface",
		"service_id", "visibility", "min_disk", "disk_format", "tags", "kernel_id", "cidr", "ip_version", "gateway_ip", "allocation_pools", "dns_nameservers",
		"host_routes", "network_id", "fixed_ips", "mac_address", "allowed_address_pairs", "security_groups", "device_id", "mtu", "shared", "direction",
		"protocol", "port_range_min", "remote_ip_prefix", "ethertype", "extra_dhcp_opts", "admin_state_up"}
	queries := []string{"limit=x", "limit=-1", "limit=99999999999999999999", "marker=" + wrongID, "sort_key=%00", "sort_dir=up", "name=%ff", "created_at=gt:x", "changes-since=x",
		"changed_since=x", "status=%00", "ip=(", "name=(", "fields=%ff", "id=%ff", "enabled=%ff", "size_min=x", "tags=%00", "a;b=c", "%zz"}
	refused := 0
	check := func(method, path, body string) {
		t.Helper()
		w := c.do(method, path, body)
		if w.Code < 400 {
			return // not a mistake here
		}
		refused++
		if w.Code >= 500 && w.Code != 501 {
			t.Errorf("%s %s %.120q = %d %.300s", method, path, body, w.Code, w.Body)
		}
		for _, word := range goSpeech {
			if strings.Contains(w.Body.String(), word) && !strings.Contains(body, word) {
				t.Errorf("%s %s %.120q = %d with %q: %.300s", method, path, body, w.Code, word, w.Body)
			}
		}
	}
	for path, wrapper := range wrappers {
		for _, body := range bodies {
			check("POST", path, body)
		}
		for _, field := range fields {
			for _, value := range values {
				doc := `{"` + field + `":` + value + `}`
				if wrapper != "" {
					doc = `{"` + wrapper + `":` + doc + `}`
				}
				check("POST", path, doc)
			}
		}
		for _, query := range queries {
			check("GET", path+"?"+query, "")
		}
		for _, method := range []string{"GET", "PUT", "PATCH", "DELETE"} {
			check(method, path+"/"+wrongID, "{")
		}
	}
	t.Logf("%d requests were refused", refused)
	if refused < 5000 {
		t.Error("too few are mistakes for this to show anything")
	}
	for line := range strings.Lines(said.String()) {
		if strings.Contains(line, "level=ERROR") || strings.Contains(line, "level=WARN") {
			t.Errorf("a client's mistake is logged as %s", line)
		}
	}
}
