package metadata

import (
	"cmp"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/netip"
	"path"
	"strings"

	"kilonova/work"
)

// The versions of the OpenStack tree, and which files came with which.
var openstackVersions = []string{"2012-08-10", "2013-04-04", "2013-10-17", "2015-10-15", "2016-06-30",
	"2016-10-06", "2017-02-22", "2018-08-27", "2020-10-14", "2025-04-04", latest}

const (
	latest = "latest"

	sinceVendorData  = "2013-10-17"
	sinceRandomSeed  = "2013-04-04"
	sinceNetworkData = "2015-10-15"
	sinceVendorData2 = "2016-10-06"
	sinceDevices     = "2016-06-30"
)

var ec2Versions = []string{"2009-04-04", latest}

// Files gives the config drive of a guest: contents by path, such as
// "openstack/latest/meta_data.json".
func Files(g *work.Guest) (map[string][]byte, error) {
	userData, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(g.UserData), ""))
	if err != nil {
		return nil, fmt.Errorf("user data of server %s: %w", g.UUID, err)
	}
	seed, err := randomSeed()
	if err != nil {
		return nil, err
	}
	out := map[string][]byte{}
	for i, f := range g.Files {
		content, err := base64.StdEncoding.DecodeString(f.Contents)
		if err != nil {
			return nil, fmt.Errorf("file %d of server %s: %w", i, g.UUID, err)
		}
		out[fmt.Sprintf("openstack/content/%04d", i)] = content
	}
	for _, v := range openstackVersions {
		err := addOpenStack(out, g, v, seed, userData)
		if err != nil {
			return nil, err
		}
	}
	ec2, err := json.Marshal(ec2Data(g))
	if err != nil {
		return nil, fmt.Errorf("metadata of server %s: %w", g.UUID, err)
	}
	for _, v := range ec2Versions {
		out[path.Join("ec2", v, "meta-data.json")] = ec2
		if len(userData) > 0 {
			out[path.Join("ec2", v, "user-data")] = userData
		}
	}
	return out, nil
}

func randomSeed() (string, error) {
	const size = 512
	raw := make([]byte, size)
	_, err := rand.Read(raw)
	if err != nil {
		return "", fmt.Errorf("random seed: %w", err)
	}
	return base64.StdEncoding.EncodeToString(raw), nil
}

func addOpenStack(out map[string][]byte, g *work.Guest, version, seed string, userData []byte) error {
	put := func(name string, v any) error {
		b, err := json.Marshal(v)
		if err != nil {
			return fmt.Errorf("%s of server %s: %w", name, g.UUID, err)
		}
		out[path.Join("openstack", version, name)] = b
		return nil
	}
	err := put("meta_data.json", metaData(g, version, seed))
	if err != nil {
		return err
	}
	if len(userData) > 0 {
		out[path.Join("openstack", version, "user_data")] = userData
	}
	if version >= sinceVendorData {
		err = put("vendor_data.json", struct{}{})
	}
	if err == nil && version >= sinceNetworkData {
		err = put("network_data.json", Network(g))
	}
	if err == nil && version >= sinceVendorData2 {
		err = put("vendor_data2.json", struct{}{})
	}
	return err
}

type keyEntry struct {
	Name string `json:"name"`
	Type string `json:"type"`
	Data string `json:"data"`
}

type fileEntry struct {
	Path    string `json:"path"`
	Content string `json:"content_path"`
}

// metaData is meta_data.json of a version; "latest" sorts after every date.
func metaData(g *work.Guest, version, seed string) map[string]any {
	doc := map[string]any{
		"uuid": g.UUID, "name": g.Name, "hostname": g.Hostname, "launch_index": g.LaunchIndex,
		"availability_zone": g.AvailabilityZone,
	}
	if len(g.Metadata) > 0 {
		doc["meta"] = g.Metadata
	}
	if g.Key != nil {
		doc["public_keys"] = map[string]string{g.Key.Name: g.Key.PublicKey}
		doc["keys"] = []keyEntry{{g.Key.Name, g.Key.Type, g.Key.PublicKey}}
	}
	if g.AdminPass != "" {
		doc["admin_pass"] = g.AdminPass
	}
	var files []fileEntry
	for i, f := range g.Files {
		files = append(files, fileEntry{f.Path, fmt.Sprintf("/content/%04d", i)})
	}
	if files != nil {
		doc["files"] = files
	}
	if version >= sinceRandomSeed {
		doc["random_seed"] = seed
	}
	if version >= sinceNetworkData {
		doc["project_id"] = g.ProjectID
	}
	if version >= sinceDevices {
		doc["devices"] = devices(g)
	}
	return doc
}

type device struct {
	Type string   `json:"type"`
	Bus  string   `json:"bus"`
	MAC  string   `json:"mac"`
	Tags []string `json:"tags"`
}

func devices(g *work.Guest) []device {
	out := []device{}
	for _, p := range g.Ports {
		if p.Tag != "" {
			out = append(out, device{"nic", "pci", p.MAC, []string{p.Tag}})
		}
	}
	return out
}

// NetworkData is network_data.json.
type NetworkData struct {
	Links    []link    `json:"links"`
	Networks []network `json:"networks"`
	Services []service `json:"services"`
}

type link struct {
	ID   string `json:"id"`
	Type string `json:"type"`
	VIF  string `json:"vif_id"`
	MTU  int    `json:"mtu"`
	MAC  string `json:"ethernet_mac_address"`
}

type network struct {
	ID        string    `json:"id"`
	Type      string    `json:"type"`
	Link      string    `json:"link"`
	Address   string    `json:"ip_address,omitempty"`
	Netmask   string    `json:"netmask,omitempty"`
	Routes    []route   `json:"routes,omitempty"`
	NetworkID string    `json:"network_id"`
	Services  []service `json:"services,omitempty"`
}

type route struct {
	Network string `json:"network"`
	Netmask string `json:"netmask"`
	Gateway string `json:"gateway"`
}

type service struct {
	Type    string `json:"type"`
	Address string `json:"address"`
}

// Network describes the guest's interfaces and how they get their addresses.
func Network(g *work.Guest) NetworkData {
	doc := NetworkData{Links: []link{}, Networks: []network{}, Services: []service{}}
	for _, p := range g.Ports {
		id := "tap" + p.ID[:min(11, len(p.ID))]
		doc.Links = append(doc.Links, link{id, "bridge", p.ID, p.Network.MTU, p.MAC})
		subnets := map[string]work.Subnet{}
		for _, s := range p.Network.Subnets {
			subnets[s.ID] = s
		}
		for _, ip := range p.Fixed {
			n := network{ID: fmt.Sprintf("network%d", len(doc.Networks)), Link: id, NetworkID: p.Network.ID}
			doc.Networks = append(doc.Networks, fill(n, ip, subnets[ip.SubnetID]))
			for _, dns := range subnets[ip.SubnetID].DNS {
				doc.Services = append(doc.Services, service{"dns", dns})
			}
		}
	}
	return doc
}

// fill says how one address is obtained: by DHCP, or fixed with its routes.
func fill(n network, ip work.FixedIP, s work.Subnet) network {
	n.Type = "ipv4"
	any4, prefix := "0.0.0.0", "0.0.0.0"
	if strings.Contains(ip.Address, ":") {
		n.Type, any4, prefix = "ipv6", "::", "::"
	}
	if s.DHCP && n.Type == "ipv4" {
		n.Type = "ipv4_dhcp"
		return n
	}
	n.Address = ip.Address
	p, err := netip.ParsePrefix(s.CIDR)
	if err == nil {
		n.Netmask = netmask(p)
	}
	if router := cmp.Or(s.Gateway, s.Router); router != "" {
		n.Routes = []route{{any4, prefix, router}}
	}
	return n
}

// netmask writes a prefix length as a mask: 255.255.0.0, or ffff:: for IPv6.
func netmask(p netip.Prefix) string {
	size := 4
	if p.Addr().Is6() {
		size = 16
	}
	raw := make([]byte, size)
	for i := range p.Bits() {
		raw[i/8] |= 0x80 >> (i % 8)
	}
	a, _ := netip.AddrFromSlice(raw) // 4 and 16 bytes are always an address
	return a.String()
}

// ec2Data is meta-data.json of the EC2 tree.
func ec2Data(g *work.Guest) map[string]any {
	doc := map[string]any{
		"ami-id": "ami-00000001", "ami-launch-index": g.LaunchIndex, "ami-manifest-path": "FIXME",
		"hostname": g.Hostname, "local-hostname": g.Hostname, "public-hostname": g.Hostname,
		"instance-action": "none", "instance-id": fmt.Sprintf("i-%08x", g.ID), "instance-type": g.Flavor.Name,
		"placement":            map[string]string{"availability-zone": g.AvailabilityZone},
		"reservation-id":       g.ReservationID,
		"security-groups":      g.SecurityGroups,
		"public-ipv4":          "",
		"local-ipv4":           firstIPv4(g),
		"block-device-mapping": map[string]string{"ami": "vda", "root": "/dev/vda"},
	}
	if g.Key != nil {
		doc["public-keys"] = map[string]any{"0": map[string]string{"_name": "0=" + g.Key.Name, "openssh-key": g.Key.PublicKey}}
	}
	return doc
}

func firstIPv4(g *work.Guest) string {
	for _, p := range g.Ports {
		for _, ip := range p.Fixed {
			if !strings.Contains(ip.Address, ":") {
				return ip.Address
			}
		}
	}
	return ""
}
