package metadata

import (
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"kilonova/work"
)

func guest() *work.Guest {
	return &work.Guest{
		ID: 7, UUID: "5ec0de00-0000-4000-8000-000000000007", Name: "web", Hostname: "web", ProjectID: "p",
		Metadata: map[string]string{"role": "db"}, Key: &work.Key{Name: "k", Type: "ssh", PublicKey: "ssh-ed25519 AAAA"},
		UserData: base64.StdEncoding.EncodeToString([]byte("#!/bin/sh\n")), AdminPass: "secret",
		Files:  []work.File{{Path: "/etc/banner", Contents: base64.StdEncoding.EncodeToString([]byte("hi"))}},
		Flavor: work.Flavor{Name: "m1.nano"},
		Ports: []work.Port{{ID: "aaaaaaaa-bbbb", MAC: "fa:16:3e:00:00:01", Tag: "front",
			Network: work.Network{ID: "n", MTU: 1450, Subnets: []work.Subnet{{ID: "s", CIDR: "10.0.0.0/20", Gateway: "10.0.0.1"}}},
			Fixed:   []work.FixedIP{{SubnetID: "s", Address: "10.0.0.5"}}}},
	}
}

func TestFilesByVersion(t *testing.T) {
	files, err := Files(guest())
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		path, want, forbid string
	}{
		{"openstack/latest/meta_data.json", `"project_id":"p"`, "nothing"},
		{"openstack/latest/meta_data.json", `"admin_pass":"secret"`, "nothing"},
		{"openstack/latest/meta_data.json", `"tags":["front"]`, "nothing"},
		{"openstack/2012-08-10/meta_data.json", `"hostname":"web"`, "random_seed"},
		{"openstack/2013-04-04/meta_data.json", `"random_seed":"`, "project_id"},
		{"openstack/latest/network_data.json", `"netmask":"255.255.240.0"`, "nothing"},
		{"openstack/latest/user_data", "#!/bin/sh", "nothing"},
		{"openstack/content/0000", "hi", "nothing"},
		{"ec2/latest/meta-data.json", `"instance-id":"i-00000007"`, "secret"},
		{"openstack/latest/vendor_data2.json", "{}", "nothing"},
	}
	for _, tt := range tests {
		got := string(files[tt.path])
		if !strings.Contains(got, tt.want) || strings.Contains(got, tt.forbid) {
			t.Errorf("%s = %s: want %q, without %q", tt.path, got, tt.want, tt.forbid)
		}
	}
	if _, ok := files["openstack/2012-08-10/network_data.json"]; ok {
		t.Error("network_data.json came with 2015-10-15 and stands in 2012-08-10")
	}
}

func TestNetworkDataByDHCP(t *testing.T) {
	g := guest()
	g.Ports[0].Network.Subnets[0].DHCP = true
	b, err := json.Marshal(Network(g))
	if err != nil {
		t.Fatal(err)
	}
	if got := string(b); !strings.Contains(got, `"type":"ipv4_dhcp"`) || strings.Contains(got, "ip_address") {
		t.Errorf("network data %s: want DHCP without an address", got)
	}
}
