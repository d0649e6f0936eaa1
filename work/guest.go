package work

import "fmt"

// Guest is a server as a hypervisor host sees it: everything needed to make its disks,
// network ports, config drive and domain, and nothing else of the cloud.
type Guest struct {
	ID               int64             `json:"id"` // the server's integer key; names the domain
	UUID             string            `json:"uuid"`
	Name             string            `json:"name"`
	Hostname         string            `json:"hostname"`
	ProjectID        string            `json:"project_id"`
	ProjectName      string            `json:"project_name,omitempty"`
	UserID           string            `json:"user_id"`
	UserName         string            `json:"user_name,omitempty"`
	Flavor           Flavor            `json:"flavor"`
	Image            Image             `json:"image"`
	Ports            []Port            `json:"ports"`
	Metadata         map[string]string `json:"metadata,omitempty"`
	Key              *Key              `json:"key,omitempty"`
	UserData         string            `json:"user_data,omitempty"` // base64, as the client sent it
	AdminPass        string            `json:"admin_pass,omitempty"`
	Files            []File            `json:"files,omitempty"`
	ConfigDrive      bool              `json:"config_drive"`
	AvailabilityZone string            `json:"availability_zone,omitempty"`
	LaunchIndex      int               `json:"launch_index"`
	ReservationID    string            `json:"reservation_id,omitempty"`
	SecurityGroups   []string          `json:"security_groups,omitempty"`
	CreatedAt        int64             `json:"created_at"` // UTC microseconds
}

// InstanceName is the domain's name, as Nova's default template makes it.
func (g *Guest) InstanceName() string { return InstanceName(g.ID) }

// InstanceName gives the domain name of the server with the integer key id.
func InstanceName(id int64) string { return fmt.Sprintf("instance-%08x", id) }

// Flavor is the size of a guest.
type Flavor struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	VCPUs       int               `json:"vcpus"`
	MemoryMB    int               `json:"memory_mb"`
	RootGB      int               `json:"root_gb"` // 0: as large as the image
	EphemeralGB int               `json:"ephemeral_gb"`
	SwapMB      int               `json:"swap_mb"`
	ExtraSpecs  map[string]string `json:"extra_specs,omitempty"`
}

// Image is what a guest boots from.
type Image struct {
	ID          string            `json:"id"`
	Name        string            `json:"name,omitempty"`
	DiskFormat  string            `json:"disk_format"` // raw or qcow2, as declared and proven
	Container   string            `json:"container,omitempty"`
	Size        int64             `json:"size"` // bytes
	VirtualSize int64             `json:"virtual_size"`
	SHA512      string            `json:"sha512"` // os_hash_value
	MinDiskGB   int               `json:"min_disk_gb"`
	Properties  map[string]string `json:"properties,omitempty"` // hw_*, os_*, ...
	Source      *Transfer         `json:"source,omitempty"`
}

// Key is the ssh or x509 key that the guest shall accept.
type Key struct {
	Name      string `json:"name"`
	Type      string `json:"type"` // ssh or x509
	PublicKey string `json:"public_key"`
}

// File is a personality file: Contents is base64.
type File struct {
	Path     string `json:"path"`
	Contents string `json:"contents"`
}

// Port is one network interface of a guest.
type Port struct {
	ID      string    `json:"id"`
	MAC     string    `json:"mac"`
	Tag     string    `json:"tag,omitempty"`
	Network Network   `json:"network"`
	Fixed   []FixedIP `json:"fixed_ips"`
	// Unguarded says that port security is off: the guest may speak as whoever it likes.
	Unguarded bool `json:"unguarded,omitempty"`
	// Pairs are the addresses beside its own that the guest may speak as.
	Pairs []AddressPair `json:"allowed_address_pairs,omitempty"`
}

// AddressPair is an allowed address pair of a port.
type AddressPair struct {
	IP  string `json:"ip_address"` // an address or a range
	MAC string `json:"mac_address"`
}

// Network is what a host must have before it can plug a port.
type Network struct {
	ID      string   `json:"id"`
	Name    string   `json:"name"`
	Bridge  string   `json:"bridge"` // Linux bridge name, at most 15 characters
	MTU     int      `json:"mtu"`
	Subnets []Subnet `json:"subnets"`
	// Outbound is "" (guests reach each other and the host) or "nat".
	Outbound string `json:"outbound,omitempty"`
}

// Subnet is an address range on a network.
type Subnet struct {
	ID      string   `json:"id"`
	CIDR    string   `json:"cidr"`
	Gateway string   `json:"gateway,omitempty"` // held by the host's bridge
	Router  string   `json:"router,omitempty"`  // in place of Gateway: held by somebody else
	DHCP    bool     `json:"dhcp"`
	DNS     []string `json:"dns,omitempty"`
	Version int      `json:"ip_version"`
}

// FixedIP is an address of a port.
type FixedIP struct {
	SubnetID string `json:"subnet_id"`
	Address  string `json:"address"`
}

// HostInfo is what a hypervisor host says of itself.
type HostInfo struct {
	Hostname          string `json:"hostname"` // hypervisor_hostname
	HypervisorType    string `json:"hypervisor_type"`
	HypervisorVersion int    `json:"hypervisor_version"` // e.g. 7002022 for QEMU 7.2.22
	HostIP            string `json:"host_ip"`
	CPUInfo           string `json:"cpu_info"` // a JSON object
	Arch              string `json:"arch"`
	VCPUs             int    `json:"vcpus"`
	MemoryMB          int    `json:"memory_mb"`
	DiskGB            int    `json:"disk_gb"`
	DiskAvailableGB   int    `json:"disk_available_gb"`
	Uptime            string `json:"uptime"`
	// HeldRanges are the prefixes that the host has addresses in, routes to and neighbours
	// at, as hostnet.Encode writes them.
	HeldRanges string `json:"held_ranges"`
}

// Instance is a domain that a hypervisor holds.
type Instance struct {
	UUID  string
	Name  string
	State PowerState
}

// Diagnostics are the counters of a guest, in the shape of microversion 2.48.
type Diagnostics struct {
	State        string     `json:"state"` // running, paused, shutdown, ...
	Driver       string     `json:"driver"`
	Hypervisor   string     `json:"hypervisor"`
	HypervisorOS string     `json:"hypervisor_os"`
	UptimeS      int64      `json:"uptime"`
	CPUs         []CPUStat  `json:"cpus"`
	NICs         []NICStat  `json:"nics"`
	Disks        []DiskStat `json:"disks"`
	MemoryMB     int        `json:"memory_mb"`
	MemoryUsedMB int        `json:"memory_used_mb"`
}

// CPUStat is the use of one virtual processor; times in nanoseconds.
type CPUStat struct {
	ID   int   `json:"id"`
	Time int64 `json:"time"`
}

// NICStat is the traffic of one interface.
type NICStat struct {
	MAC       string `json:"mac"`
	RxBytes   int64  `json:"rx_bytes"`
	RxPackets int64  `json:"rx_packets"`
	RxErrors  int64  `json:"rx_errors"`
	RxDrop    int64  `json:"rx_drop"`
	TxBytes   int64  `json:"tx_bytes"`
	TxPackets int64  `json:"tx_packets"`
	TxErrors  int64  `json:"tx_errors"`
	TxDrop    int64  `json:"tx_drop"`
}

// DiskStat is the traffic of one disk.
type DiskStat struct {
	Device        string `json:"device"`
	ReadBytes     int64  `json:"read_bytes"`
	ReadRequests  int64  `json:"read_requests"`
	WriteBytes    int64  `json:"write_bytes"`
	WriteRequests int64  `json:"write_requests"`
	Errors        int64  `json:"errors"`
}
