package tempestlite

import (
	"net/http"
	"slices"

	"github.com/google/uuid"
)

// Diagnostics, console tokens and volumes of servers: what the tables cannot say.

func subresourceChecks() []*Check {
	return []*Check{
		behaviour("diagnostics", "shape", "from 2.48 on diagnostics have the same keys for each driver", 48, diagnosticsShape, needs(NeedAdmin), covers("servers.diagnostics")),
		behaviour("diagnostics", "before-2.48", "before 2.48 diagnostics are what the driver says", 47, diagnosticsFree, needs(NeedAdmin), covers("servers.diagnostics")),
		behaviour("consoles", "token", "the token in a console's URL leads to the console's host and port, from 2.31 on", 31, consoleTokenLeads, needs(NeedAdmin), covers("console_auth_tokens.show", "servers.remote_consoles.create")),
		behaviour("consoles", "token-before-2.31", "before 2.31 a token of a console is not told", 30, consoleTokenEarly, needs(NeedAdmin), covers("console_auth_tokens.show")),
		behaviour("consoles", "unknown-token", "a token that nobody issued is 404", 31, consoleTokenUnknown, needs(NeedAdmin), covers("console_auth_tokens.show")),
		behaviour("consoles", "token-query", "an unknown query parameter is refused from 2.99 on", 99, consoleTokenQuery, needs(NeedAdmin), covers("console_auth_tokens.show")),
		behaviour("volumes", "unknown", "a volume that is not attached is 404", 85, unknownAttachment, needs(NeedVolumes), covers("servers.volume_attachments.delete", "servers.volume_attachments.update")),
	}
}

func diagnosticsShape(t *T) {
	server := t.SharedServer(Member)
	resp := t.Must(Admin, 48, "GET", "/servers/"+server+"/diagnostics", nil, 200)
	body, _ := resp.JSON.(map[string]any)
	t.Equal("the keys", keysOf(body), []string{"config_drive", "cpu_details", "disk_details", "driver", "hypervisor", "hypervisor_os",
		"memory_details", "nic_details", "num_cpus", "num_disks", "num_nics", "state", "uptime"})
	t.Equal("the state", body["state"], "running")
	for _, part := range []struct {
		key  string
		keys []string
	}{
		{"cpu_details", []string{"id", "time", "utilisation"}},
		{"disk_details", []string{"errors_count", "read_bytes", "read_requests", "write_bytes", "write_requests"}},
		{"nic_details", []string{"mac_address", "rx_drop", "rx_errors", "rx_octets", "rx_packets", "rx_rate", "tx_drop", "tx_errors", "tx_octets", "tx_packets", "tx_rate"}},
	} {
		list, ok := body[part.key].([]any)
		if !ok {
			t.Errorf("%s is no list: %v", part.key, body[part.key])
		}
		for _, item := range list {
			one, _ := item.(map[string]any)
			t.Equal("the keys of "+part.key, keysOf(one), part.keys)
		}
	}
	memory, _ := body["memory_details"].(map[string]any)
	t.Equal("the keys of memory_details", keysOf(memory), []string{"maximum", "used"})
}

func diagnosticsFree(t *T) {
	resp := t.Must(Admin, 47, "GET", "/servers/"+t.SharedServer(Member)+"/diagnostics", nil, 200)
	body, isObject := resp.JSON.(map[string]any)
	if !isObject || slices.Contains(keysOf(body), "num_cpus") {
		t.Errorf("the answer is not the driver's own: %.200s", resp.Body)
	}
}

func consoleTokenLeads(t *T) {
	token := t.tokenOfConsole()
	resp := t.Must(Admin, 31, "GET", "/os-console-auth-tokens/"+token, nil, 200)
	console, _ := resp.Get("console").(map[string]any)
	t.Equal("the keys", keysOf(console), []string{"host", "instance_uuid", "internal_access_path", "port"})
	t.Equal("the server", console["instance_uuid"], t.SharedServer(Member))
	t.Want(t.Do(Member, 31, "GET", "/os-console-auth-tokens/"+token, nil), http.StatusForbidden)
}

func consoleTokenEarly(t *T) {
	token := t.tokenOfConsole()
	resp := t.Do(Admin, 30, "GET", "/os-console-auth-tokens/"+token, nil)
	t.Want(resp, 400, 401) // 401 where there are RDP consoles still
}

func consoleTokenUnknown(t *T) {
	resp := t.Do(Admin, 31, "GET", "/os-console-auth-tokens/"+uuid.NewString(), nil)
	if t.Want(resp, http.StatusNotFound) {
		t.CheckFault(resp)
	}
}

func consoleTokenQuery(t *T) {
	resp := t.Do(Admin, 99, "GET", "/os-console-auth-tokens/"+uuid.NewString()+"?"+strangeKey+"=x", nil)
	if t.Want(resp, http.StatusBadRequest) {
		t.CheckFault(resp)
	}
}

func unknownAttachment(t *T) {
	volume := t.Volume()
	path := "/servers/" + t.SharedServer(Member) + "/os-volume_attachments/" + volume
	for _, call := range []struct {
		method string
		body   any
	}{{"GET", nil}, {"DELETE", nil}, {"PUT", map[string]any{"volumeAttachment": map[string]any{"volumeId": volume}}}} {
		resp := t.Do(Member, 85, call.method, path, call.body)
		if t.Want(resp, http.StatusNotFound) {
			t.CheckFault(resp)
		}
	}
}
