// Package refusals sends a running cloud what no client should, everywhere, and reads the
// answers: whatever is refused is refused in the words of the API, never in those of the
// language and the libraries that it is written in, and nothing of it is a failure of the server.
package refusals

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"kilonova/compat"
	"kilonova/tests/program"
)

// foreign is what gives away an error of Go's, of a library's or of a database's.
var foreign = []string{"%!", "map[", "<nil>", "[]string", "[]interface", "interface {}", "&{", "strconv.", "json:", "sql:", "uuid:", "url:", "time:", "netip.",
	"net/", "mime:", "http:", "bcrypt", "hex:", "base64:", "ParseAddr", "ParsePrefix", "parsing \"", "parsing time", "cannot unmarshal", "cannot parse", "invalid character",
	"invalid syntax", "value out of range", "invalid UTF-8", "unexpected end of JSON", "unexpected EOF", "illegal base64", "invalid CIDR", "runtime error", "goroutine",
	"context canceled", "context deadline", "no rows in result", "constraint failed", "UNIQUE", "SQLITE", "Error 1", "syntax error", "driver:", ".go:", "kilonova/",
	"jsonschema", "regexp", "strings.", "errors.", "0xc0"}

// texts are what is sent where a text is expected, or something else is.
var texts = []string{"", " ", "%s%d%v", "\x00", "a\x7fb", "é\u2028", "9999-99-99T99:99:99Z", "10.0.0.0/99", "::g", "aa:bb:cc", "====", "../../x", "1e400", "-1",
	"99999999999999999999", "0x10", "NaN", "nothing-of-the-kind", "5d0b0f0e-0000-4000-8000-00000000000g", strings.Repeat("x", 300), strings.Repeat("y", 70000)}

// values are JSON beside them.
var values = []string{`null`, `true`, `0`, `-1`, `1.5`, `1e400`, `123456789012345678901234567890`, `"\ud800"`, `[]`, `[null]`, `[1,"a"]`, `{}`, `{"a":1}`, `[{}]`, `[{"a":null}]`}

// documents are bodies that are broken as a whole.
var documents = []string{``, ` `, `{`, `[`, `nul`, `null`, `1`, `"a"`, `[]`, `{}`, `{"a":}`, `{"a":1}}`, `{"a":1,}`, `{'a':1}`, `{"a":NaN}`, `{"a":1e999999999}`, "{\"a\":\"\xff\"}",
	`{"a":"\u12"}`, "\ufeff{}", strings.Repeat(`[`, 30000), strings.Repeat(`{"a":`, 30000), `<?xml version="1.0"?><a/>`}

func hostileValues() []string {
	out := slices.Clone(values)
	for _, text := range texts {
		raw, err := json.Marshal(text)
		if err != nil {
			panic(err) // strings always encode
		}
		out = append(out, string(raw))
	}
	return out
}

type request struct{ method, path, body, kind, version string }

// cloud is the started program, its administrator's token, and what requests can be about.
type cloud struct {
	base, token string
	ids         *strings.Replacer
}

func (c *cloud) send(r request) (*http.Response, []byte, error) {
	req, err := http.NewRequest(r.method, c.base+r.path, strings.NewReader(r.body))
	if err != nil {
		return nil, nil, err
	}
	req.Header.Set("X-Auth-Token", c.token)
	req.Header.Set("X-OpenStack-Nova-API-Version", cmp.Or(r.version, compat.MaxVersion.String()))
	if r.body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if r.kind != "" {
		req.Header.Set("Content-Type", r.kind)
	}
	a, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, nil, err
	}
	defer a.Body.Close()
	said, err := io.ReadAll(a.Body)
	return a, said, err
}

func (c *cloud) make(t *testing.T, path, body string) map[string]any {
	t.Helper()
	a, said, err := c.send(request{method: "POST", path: path, body: body})
	if err != nil || a.StatusCode >= http.StatusBadRequest {
		t.Fatalf("POST %s: %v %s", path, err, said)
	}
	if token := a.Header.Get("X-Subject-Token"); token != "" {
		c.token = token
	}
	var doc map[string]any
	err = json.Unmarshal(said, &doc)
	if err != nil {
		t.Fatal(err)
	}
	for _, inner := range doc {
		if o, ok := inner.(map[string]any); ok && len(doc) == 1 {
			return o
		}
	}
	return doc
}

// start runs a cloud with one of each kind in it.
func start(t *testing.T) *cloud {
	dir := t.TempDir()
	running, err := program.StartCloud(dir, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(running.Stop)
	password, err := os.ReadFile(filepath.Join(running.State, "admin-password"))
	if err != nil {
		t.Fatal(err)
	}
	c := &cloud{base: running.Base}
	c.make(t, "/identity/v3/auth/tokens", `{"auth":{"identity":{"methods":["password"],"password":{"user":{"name":"admin","domain":{"id":"default"},"password":"`+
		strings.TrimSpace(string(password))+`"}}},"scope":{"project":{"name":"admin","domain":{"id":"default"}}}}}`)
	var pairs []string
	keep := func(name string, made map[string]any) {
		pairs = append(pairs, "{"+name+"}", fmt.Sprint(made["id"]))
	}
	keep("user", c.make(t, "/identity/v3/users", `{"user":{"name":"somebody","password":"secret"}}`))
	for _, kind := range []string{"project", "group", "domain", "role"} {
		keep(kind, c.make(t, "/identity/v3/"+kind+"s", `{"`+kind+`":{"name":"some"}}`))
	}
	keep("service", c.make(t, "/identity/v3/services", `{"service":{"type":"some"}}`))
	c.ids = strings.NewReplacer(pairs...)
	keep("endpoint", c.make(t, "/identity/v3/endpoints", c.ids.Replace(`{"endpoint":{"service_id":"{service}","interface":"public","url":"http://x"}}`)))
	keep("region", c.make(t, "/identity/v3/regions", `{"region":{"id":"some"}}`))
	keep("network", c.make(t, "/networking/v2.0/networks", `{"network":{}}`))
	c.ids = strings.NewReplacer(pairs...)
	keep("subnet", c.make(t, "/networking/v2.0/subnets", c.ids.Replace(`{"subnet":{"network_id":"{network}","cidr":"10.9.0.0/24","ip_version":4}}`)))
	keep("port", c.make(t, "/networking/v2.0/ports", c.ids.Replace(`{"port":{"network_id":"{network}"}}`)))
	keep("security_group", c.make(t, "/networking/v2.0/security-groups", `{"security_group":{"name":"some"}}`))
	keep("image", c.make(t, "/image/v2/images", `{"name":"some","disk_format":"raw","container_format":"bare"}`))
	c.ids = strings.NewReplacer(pairs...)
	a, said, err := c.send(request{"PUT", c.ids.Replace("/image/v2/images/{image}/file"), strings.Repeat("\x00", 4096), "application/octet-stream", ""})
	if err != nil || a.StatusCode != http.StatusNoContent {
		t.Fatalf("upload: %v %s", err, said)
	}
	keep("server", c.make(t, "/v2.1/servers", c.ids.Replace(`{"server":{"name":"some","flavorRef":"1","imageRef":"{image}","networks":"none"}}`)))
	c.ids = strings.NewReplacer(append(pairs, "{server_id}", "{server}")...)
	c.make(t, "/v2.1/os-keypairs", `{"keypair":{"name":"some","public_key":"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIAABAgMEBQYHCAkKCwwNDg8QERITFBUWFxgZGhscHR4f"}}`)
	return c
}

// resource is what a service reads from a body: its members, each with a value that it takes.
type resource struct {
	paths   []string // POST where it ends in a collection's name, else PUT or PATCH
	key     string   // "" where the members are not in an object of their own
	members map[string]string
}

// The bodies that identity, images and networks read. Those of compute are in its schemas.
var resources = []resource{
	{[]string{"POST /identity/v3/auth/tokens"}, "auth", map[string]string{"identity": `{"methods":[]}`, "scope": `"unscoped"`}},
	{[]string{"POST /identity/v3/users", "PATCH /identity/v3/users/{user}"}, "user", map[string]string{"name": `"n"`, "domain_id": `"default"`,
		"default_project_id": `"{project}"`, "enabled": `true`, "description": `"d"`, "options": `{}`, "email": `"a@b"`}},
	{[]string{"POST /identity/v3/projects", "PATCH /identity/v3/projects/{project}"}, "project", map[string]string{"name": `"n"`, "domain_id": `"default"`,
		"parent_id": `"default"`, "enabled": `true`, "description": `"d"`, "tags": `[]`, "is_domain": `false`, "options": `{}`}},
	{[]string{"PUT /identity/v3/projects/{project}/tags"}, "", map[string]string{"tags": `[]`}},
	{[]string{"POST /identity/v3/domains", "PATCH /identity/v3/domains/{domain}"}, "domain", map[string]string{"name": `"n"`, "enabled": `true`, "description": `"d"`, "explicit_domain_id": `"e"`}},
	{[]string{"POST /identity/v3/groups", "PATCH /identity/v3/groups/{group}"}, "group", map[string]string{"name": `"n"`, "domain_id": `"default"`, "description": `"d"`}},
	{[]string{"POST /identity/v3/roles", "PATCH /identity/v3/roles/{role}"}, "role", map[string]string{"name": `"n"`, "domain_id": `null`, "description": `"d"`}},
	{[]string{"POST /identity/v3/services", "PATCH /identity/v3/services/{service}"}, "service", map[string]string{"type": `"t"`, "name": `"n"`, "enabled": `true`, "description": `"d"`}},
	{[]string{"POST /identity/v3/endpoints", "PATCH /identity/v3/endpoints/{endpoint}"}, "endpoint", map[string]string{"service_id": `"{service}"`, "interface": `"public"`,
		"url": `"http://x"`, "region": `"some"`, "region_id": `"some"`, "enabled": `true`}},
	{[]string{"POST /identity/v3/regions", "PATCH /identity/v3/regions/{region}"}, "region", map[string]string{"id": `"r"`, "description": `"d"`, "parent_region_id": `null`}},
	{[]string{"POST /identity/v3/users/{user}/password"}, "user", map[string]string{"password": `"p"`, "original_password": `"p"`}},
	{[]string{"POST /image/v2/images"}, "", map[string]string{"name": `"n"`, "id": `null`, "disk_format": `"raw"`, "container_format": `"bare"`, "visibility": `"private"`, "protected": `false`,
		"min_disk": `0`, "min_ram": `0`, "tags": `[]`, "os_hidden": `false`, "owner": `"o"`, "size": `1`, "hw_video_ram": `"1"`}},
	{[]string{"POST /image/v2/images/{image}/members"}, "", map[string]string{"member": `"m"`}},
	{[]string{"POST /image/v2/images/{image}/import"}, "", map[string]string{"method": `{"name":"glance-direct"}`}},
	{[]string{"POST /networking/v2.0/networks", "PUT /networking/v2.0/networks/{network}"}, "network", map[string]string{"name": `"n"`, "description": `"d"`, "admin_state_up": `true`, "shared": `false`,
		"mtu": `1400`, "router:external": `false`, "provider:network_type": `"local"`, "provider:segmentation_id": `null`, "port_security_enabled": `true`, "dns_domain": `""`, "availability_zone_hints": `[]`, "tenant_id": `"t"`}},
	{[]string{"POST /networking/v2.0/subnets", "PUT /networking/v2.0/subnets/{subnet}"}, "subnet", map[string]string{"name": `"n"`, "network_id": `"{network}"`, "cidr": `"10.8.0.0/24"`, "ip_version": `4`,
		"gateway_ip": `null`, "enable_dhcp": `true`, "dns_nameservers": `["10.8.0.2"]`, "host_routes": `[{"destination":"10.7.0.0/24","nexthop":"10.8.0.3"}]`,
		"allocation_pools": `[{"start":"10.8.0.5","end":"10.8.0.9"}]`, "ipv6_ra_mode": `null`, "ipv6_address_mode": `null`, "subnetpool_id": `null`, "prefixlen": `24`}},
	{[]string{"POST /networking/v2.0/ports", "PUT /networking/v2.0/ports/{port}"}, "port", map[string]string{"name": `"n"`, "network_id": `"{network}"`, "mac_address": `"fa:16:3e:00:00:01"`, "admin_state_up": `true`,
		"device_id": `"d"`, "device_owner": `"o"`, "fixed_ips": `[{"subnet_id":"{subnet}","ip_address":"10.9.0.77"}]`, "security_groups": `["{security_group}"]`,
		"allowed_address_pairs": `[{"ip_address":"10.9.0.78"}]`, "extra_dhcp_opts": `[{"opt_name":"o","opt_value":"v","ip_version":4}]`, "binding:vnic_type": `"normal"`,
		"binding:host_id": `"h"`, "binding:profile": `{}`, "port_security_enabled": `true`, "dns_name": `"d"`}},
	{[]string{"POST /networking/v2.0/security-groups", "PUT /networking/v2.0/security-groups/{security_group}"}, "security_group", map[string]string{"name": `"n"`, "description": `"d"`, "stateful": `true`}},
	{[]string{"POST /networking/v2.0/security-group-rules"}, "security_group_rule", map[string]string{"security_group_id": `"{security_group}"`, "direction": `"ingress"`, "ethertype": `"IPv4"`,
		"protocol": `"tcp"`, "port_range_min": `1`, "port_range_max": `2`, "remote_ip_prefix": `"10.0.0.0/8"`, "remote_group_id": `null`, "description": `"d"`}},
	{[]string{"PUT /networking/v2.0/networks/{network}/tags"}, "", map[string]string{"tags": `[]`}},
	{[]string{"PUT /networking/v2.0/quotas/{project}"}, "quota", map[string]string{"network": `1`, "port": `1`, "security_group": `1`}},
}

// bodies gives a resource's body with each member's value in turn, and each member of those
// within it, taken out or replaced.
func (r resource) bodies() []string {
	whole := func(member, value string) string {
		var b strings.Builder
		for name, usual := range r.members {
			if name == member {
				usual = value
			}
			if usual != "" {
				fmt.Fprintf(&b, `,%q:%s`, name, usual)
			}
		}
		inner := "{" + strings.TrimPrefix(b.String(), ",") + "}"
		if r.key == "" {
			return inner
		}
		return fmt.Sprintf(`{%q:%s}`, r.key, inner)
	}
	var out []string
	for _, name := range slices.Sorted(maps.Keys(r.members)) {
		out = append(out, whole(name, ""))
		for _, value := range append(hostileValues(), within(r.members[name])...) {
			out = append(out, whole(name, value))
		}
	}
	if r.key != "" {
		for _, value := range hostileValues() {
			out = append(out, fmt.Sprintf(`{%q:%s}`, r.key, value))
		}
	}
	return append(out, documents...)
}

// within gives a list's or an object's own members replaced.
func within(value string) []string {
	var out []string
	for _, hostile := range hostileValues() {
		switch {
		case strings.HasPrefix(value, `["`):
			out = append(out, "["+hostile+"]")
		case strings.HasPrefix(value, `[{"`), strings.HasPrefix(value, `{"`):
			for member := range strings.SplitSeq(strings.Trim(value, "[]{}"), ",") {
				name, usual, _ := strings.Cut(member, ":")
				out = append(out, strings.Replace(value, name+":"+usual, name+":"+hostile, 1))
			}
		}
	}
	return out
}

// patches are what an image's update reads.
func patches() []string {
	out := slices.Clone(documents)
	for _, value := range hostileValues() {
		for _, path := range []string{"/name", "/min_disk", "/protected", "/visibility", "/disk_format", "/tags", "/owner", "/new", "/id", "/hw_boot_menu"} {
			out = append(out, `[{"op":"replace","path":"`+path+`","value":`+value+`}]`, `[{"op":"add","path":"`+path+`","value":`+value+`}]`)
		}
		out = append(out, `[{"op":`+value+`,"path":"/name","value":"n"}]`, `[{"op":"remove","path":`+value+`}]`, `[`+value+`]`)
	}
	return out
}

// schemas are the part of compute's table that says which members bodies and queries have.
type schemas struct {
	Schemas         []map[string]any
	Bodies, Queries map[string][]struct {
		Schema int
		Max    string
	}
}

// shapes gives bodies of a schema: each of its members by itself with each value.
func shapes(schema map[string]any, depth int) []string {
	out := hostileValues()
	if depth == 0 {
		return out
	}
	properties, _ := schema["properties"].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(properties)) {
		inner, _ := properties[name].(map[string]any)
		for _, value := range shapes(inner, depth-1) {
			out = append(out, fmt.Sprintf(`{%q:%s}`, name, value))
		}
	}
	if items, ok := schema["items"].(map[string]any); ok {
		for _, value := range shapes(items, depth-1) {
			out = append(out, "["+value+"]")
		}
	}
	return out
}

func computeRequests(t *testing.T) []request {
	raw, err := os.ReadFile("../../compat/contract/schemas.json")
	if err != nil {
		t.Fatal(err)
	}
	var table schemas
	err = json.Unmarshal(raw, &table)
	if err != nil {
		t.Fatal(err)
	}
	concrete := func(path string) string {
		first, rest, _ := strings.Cut(strings.TrimPrefix(path, "/"), "/")
		of := map[string]string{"servers": "{server}", "os-keypairs": "some", "flavors": "1", "images": "{image}"}[first]
		if of == "" {
			of = "nothing"
		}
		rest = strings.Replace(rest, "{id}", of, 1)
		return "/v2.1/" + first + "/" + anyVariable.ReplaceAllString(strings.Replace(rest, "{server_id}", of, 1), "nothing")
	}
	var out []request
	for name, ranges := range table.Bodies {
		words := strings.Fields(name)
		newest := ranges[len(ranges)-1] // it reads what all do
		for _, body := range append(shapes(table.Schemas[newest.Schema], 3), documents...) {
			out = append(out, request{words[0], strings.TrimSuffix(concrete(words[1]), "/"), body, "", newest.Max})
		}
	}
	for name, ranges := range table.Queries {
		words := strings.Fields(name)
		newest := ranges[len(ranges)-1]
		properties, _ := table.Schemas[newest.Schema]["properties"].(map[string]any)
		for _, parameter := range slices.Sorted(maps.Keys(properties)) {
			for _, text := range texts {
				out = append(out, request{words[0], strings.TrimSuffix(concrete(words[1]), "/") + "?" + url.QueryEscape(parameter) + "=" + url.QueryEscape(text[:min(len(text), 2000)]), "", "", newest.Max})
			}
		}
	}
	return out
}

var anyVariable = regexp.MustCompile(`\{\w+\}`)

// lists are what is read by query, of the services that have no schemas.
var lists = map[string][]string{
	"/identity/v3/users":            {"name", "name__contains", "domain_id", "enabled", "limit", "marker", "sort_key", "sort_dir", "password_expires_at"},
	"/identity/v3/projects":         {"name", "tags", "not-tags-any", "parent_id", "is_domain", "limit", "marker"},
	"/identity/v3/role_assignments": {"user.id", "effective", "scope.project.id", "scope.domain.id", "include_subtree"},
	"/identity/v3/regions":          {"parent_region_id", "marker"},
	"/image/v2/images": {"name", "status", "visibility", "owner", "size_min", "size_max", "limit", "marker", "sort", "sort_key", "sort_dir", "created_at", "updated_at", "protected",
		"os_hidden", "tag", "id", "min_disk", "member_status", "property"},
	"/networking/v2.0/networks":             {"name", "mtu", "shared", "limit", "marker", "sort_key", "sort_dir", "page_reverse", "fields", "changed_since", "tags", "revision_number", "nothing"},
	"/networking/v2.0/subnets":              {"cidr", "ip_version", "gateway_ip", "enable_dhcp", "network_id"},
	"/networking/v2.0/ports":                {"fixed_ips", "mac_address", "device_id", "security_groups", "binding:host_id", "status"},
	"/networking/v2.0/security-group-rules": {"protocol", "port_range_min", "remote_ip_prefix", "normalized_cidr", "ethertype"},
}

func otherRequests() []request {
	var out []request
	for _, r := range resources {
		for _, where := range r.paths {
			method, path, _ := strings.Cut(where, " ")
			for _, body := range r.bodies() {
				out = append(out, request{method: method, path: path, body: body})
			}
		}
	}
	for _, body := range patches() {
		out = append(out, request{"PATCH", "/image/v2/images/{image}", body, "application/openstack-images-v2.1-json-patch", ""})
	}
	for path, parameters := range lists {
		for _, p := range parameters {
			for _, text := range texts {
				out = append(out, request{method: "GET", path: path + "?" + url.QueryEscape(p) + "=" + url.QueryEscape(text[:min(len(text), 2000)])})
			}
		}
	}
	for _, path := range []string{"/identity/v3/users/", "/identity/v3/regions/", "/identity/v3/projects/{project}/tags/", "/image/v2/images/", "/networking/v2.0/ports/", "/v2.1/servers/", "/v2.1/flavors/",
		"/v2.1/os-keypairs/", "/v2.1/servers/{server}/metadata/", "/v2.1/servers/{server}/tags/", "/v2.1/os-quota-sets/", "/nothing/"} {
		for _, text := range texts {
			for _, method := range []string{"GET", "PUT", "DELETE", "PATCH", "NONSENSE"} {
				where := path + url.PathEscape(text[:min(len(text), 2000)])
				out = append(out, request{method: method, path: where}, request{method: method, path: where, body: `{"x":1}`})
			}
		}
	}
	for _, kind := range append(slices.Clone(texts[:20]), "application/json; charset=x", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data", "application/json;;") {
		if strings.ContainsAny(kind, "\x00\x7f\u2028") {
			continue // no client can send it
		}
		for _, path := range []string{"/identity/v3/auth/tokens", "/image/v2/images", "/networking/v2.0/networks", "/v2.1/servers"} {
			out = append(out, request{"POST", path, `{"a":1}`, kind, ""})
		}
	}
	return out
}

// TestRefusals sends it all. A short run sends a part.
func TestRefusals(t *testing.T) {
	c := start(t)
	all := append(computeRequests(t), otherRequests()...)
	const inShort = 5
	work := make(chan request)
	var wg sync.WaitGroup
	var refused, told atomic.Int64
	began := time.Now()
	for range 4 {
		wg.Go(func() {
			for r := range work {
				r.path, r.body = c.ids.Replace(r.path), c.ids.Replace(r.body)
				a, said, err := c.send(r)
				problem := ""
				switch {
				case err != nil:
					problem = err.Error()
				case a.StatusCode >= 500 && a.StatusCode != http.StatusNotImplemented:
					problem = "a failure of the server"
				case a.StatusCode >= 400:
					refused.Add(1)
					text := strings.NewReplacer(`\u003c`, "<", `\u003e`, ">", `\u0026`, "&").Replace(string(said))
					for _, word := range foreign {
						if strings.Contains(text, word) && !strings.Contains(r.path+r.body, word) {
							problem = fmt.Sprintf("%q", word)
						}
					}
				}
				if problem != "" && told.Add(1) <= 40 {
					t.Errorf("%s %.200s %.200q: %s: %.600s", r.method, r.path, r.body, problem, said)
				}
			}
		})
	}
	for i, r := range all {
		if !testing.Short() || i%inShort == 0 {
			work <- r
		}
	}
	close(work)
	wg.Wait()
	t.Logf("%d of %d requests refused, %d wrongly, in %v", refused.Load(), len(all), told.Load(), time.Since(began).Round(time.Millisecond))
	if refused.Load() < 1000 {
		t.Errorf("only %d of %d were refused", refused.Load(), len(all))
	}
}
