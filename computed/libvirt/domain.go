package libvirt

import (
	"encoding/xml"
	"errors"
	"fmt"
	"io/fs"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	virt "libvirt.org/go/libvirt"

	"kilonova/computed"
	"kilonova/work"
)

// ourNamespace marks the domains that this driver defined; Nova's metadata alone could be
// a Nova's on the same host.
const (
	ourNamespace  = "urn:kilonova:guest:1"
	novaNamespace = "http://openstack.org/xmlns/libvirt/nova/1.1"
)

// The structs below are the part of libvirt's domain XML that we write.
type (
	domainDoc struct {
		XMLName  xml.Name   `xml:"domain"`
		Type     string     `xml:"type,attr"`
		Name     string     `xml:"name"`
		UUID     string     `xml:"uuid"`
		Metadata metadata   `xml:"metadata"`
		Memory   memorySize `xml:"memory"`
		VCPU     int        `xml:"vcpu"`
		CPUTune  *cpuTune   `xml:"cputune"`
		Sysinfo  sysinfo    `xml:"sysinfo"`
		OS       osDoc      `xml:"os"`
		Features features   `xml:"features"`
		CPU      *cpuDoc    `xml:"cpu"`
		Clock    clockDoc   `xml:"clock"`
		PowerOff string     `xml:"on_poweroff"`
		Reboot   string     `xml:"on_reboot"`
		Crash    string     `xml:"on_crash"`
		Devices  devices    `xml:"devices"`
	}
	memorySize struct {
		Unit string `xml:"unit,attr"`
		Size int    `xml:",chardata"`
	}
	metadata struct {
		Nova novaInstance `xml:"nova:instance"`
		Ours ourGuest     `xml:"kilonova:guest"`
	}
	ourGuest struct {
		NS   string `xml:"xmlns:kilonova,attr"`
		UUID string `xml:"uuid,attr"`
	}
	novaInstance struct {
		NS       string     `xml:"xmlns:nova,attr"`
		Package  novaPkg    `xml:"nova:package"`
		Name     string     `xml:"nova:name"`
		Created  string     `xml:"nova:creationTime"`
		Flavor   novaFlavor `xml:"nova:flavor"`
		Owner    novaOwner  `xml:"nova:owner"`
		Root     *novaRoot  `xml:"nova:root"`
		PortList novaPorts  `xml:"nova:ports"`
	}
	novaPkg struct {
		Version string `xml:"version,attr"`
	}
	novaFlavor struct {
		Name       string          `xml:"name,attr"`
		Memory     int             `xml:"nova:memory"`
		Disk       int             `xml:"nova:disk"`
		Swap       int             `xml:"nova:swap"`
		Ephemeral  int             `xml:"nova:ephemeral"`
		VCPUs      int             `xml:"nova:vcpus"`
		ExtraSpecs []novaExtraSpec `xml:"nova:extraSpecs>nova:extraSpec"`
	}
	novaExtraSpec struct {
		Name  string `xml:"name,attr"`
		Value string `xml:",chardata"`
	}
	novaOwner struct {
		User    novaPrincipal `xml:"nova:user"`
		Project novaPrincipal `xml:"nova:project"`
	}
	novaPrincipal struct {
		UUID string `xml:"uuid,attr"`
		Name string `xml:",chardata"`
	}
	novaRoot struct {
		Type string `xml:"type,attr"`
		UUID string `xml:"uuid,attr"`
	}
	novaPorts struct {
		Ports []novaPort `xml:"nova:port"`
	}
	novaPort struct {
		UUID string   `xml:"uuid,attr"`
		IPs  []novaIP `xml:"nova:ip"`
	}
	novaIP struct {
		Type    string `xml:"type,attr"`
		Address string `xml:"address,attr"`
		Version int    `xml:"ipVersion,attr"`
	}
	cpuTune struct {
		Shares int `xml:"shares,omitempty"`
		Period int `xml:"period,omitempty"`
		Quota  int `xml:"quota,omitempty"`
	}
	sysinfo struct {
		Type   string         `xml:"type,attr"`
		System []sysinfoEntry `xml:"system>entry"`
	}
	sysinfoEntry struct {
		Name  string `xml:"name,attr"`
		Value string `xml:",chardata"`
	}
	osDoc struct {
		Firmware string   `xml:"firmware,attr,omitempty"`
		Type     osType   `xml:"type"`
		Boot     bootDev  `xml:"boot"`
		BootMenu *enabled `xml:"bootmenu"`
		SMBIOS   mode     `xml:"smbios"`
	}
	osType struct {
		Arch    string `xml:"arch,attr"`
		Machine string `xml:"machine,attr"`
		Type    string `xml:",chardata"`
	}
	bootDev struct {
		Dev string `xml:"dev,attr"`
	}
	enabled struct {
		Enable string `xml:"enable,attr"`
	}
	mode struct {
		Mode string `xml:"mode,attr"`
	}
	state struct {
		State string `xml:"state,attr"`
	}
	features struct {
		ACPI   struct{}   `xml:"acpi"`
		APIC   struct{}   `xml:"apic"`
		HyperV *hypervDoc `xml:"hyperv"`
		KVM    *kvmDoc    `xml:"kvm"`
	}
	hypervDoc struct {
		Relaxed   state        `xml:"relaxed"`
		VAPIC     state        `xml:"vapic"`
		Spinlocks spinlocksDoc `xml:"spinlocks"`
	}
	spinlocksDoc struct {
		State   string `xml:"state,attr"`
		Retries int    `xml:"retries,attr"`
	}
	kvmDoc struct {
		Hidden state `xml:"hidden"`
	}
	cpuDoc struct {
		Mode     string    `xml:"mode,attr,omitempty"`
		Match    string    `xml:"match,attr,omitempty"`
		Model    *cpuModel `xml:"model"`
		Topology *topology `xml:"topology"`
	}
	cpuModel struct {
		Fallback string `xml:"fallback,attr"`
		Name     string `xml:",chardata"`
	}
	topology struct {
		Sockets int `xml:"sockets,attr"`
		Cores   int `xml:"cores,attr"`
		Threads int `xml:"threads,attr"`
	}
	clockDoc struct {
		Offset string     `xml:"offset,attr"`
		Timers []timerDoc `xml:"timer"`
	}
	timerDoc struct {
		Name       string `xml:"name,attr"`
		TickPolicy string `xml:"tickpolicy,attr,omitempty"`
		Present    string `xml:"present,attr,omitempty"`
	}
	devices struct {
		Disks       []diskDoc       `xml:"disk"`
		Controllers []controllerDoc `xml:"controller"`
		Interfaces  []interfaceDoc  `xml:"interface"`
		Serial      serialDoc       `xml:"serial"`
		Console     consoleDoc      `xml:"console"`
		Channels    []channelDoc    `xml:"channel"`
		Inputs      []inputDoc      `xml:"input"`
		Graphics    graphicsDoc     `xml:"graphics"`
		Video       videoDoc        `xml:"video"`
		RNG         *rngDoc         `xml:"rng"`
		Watchdog    *watchdogDoc    `xml:"watchdog"`
		Balloon     balloonDoc      `xml:"memballoon"`
	}
	diskDoc struct {
		Type     string     `xml:"type,attr"`
		Device   string     `xml:"device,attr"`
		Driver   diskDriver `xml:"driver"`
		Source   diskSource `xml:"source"`
		Target   diskTarget `xml:"target"`
		ReadOnly *struct{}  `xml:"readonly"`
		IOTune   *ioTune    `xml:"iotune"`
	}
	diskDriver struct {
		Name    string `xml:"name,attr,omitempty"`
		Type    string `xml:"type,attr"`
		Cache   string `xml:"cache,attr,omitempty"`
		IO      string `xml:"io,attr,omitempty"`
		Discard string `xml:"discard,attr,omitempty"`
	}
	diskSource struct {
		File string `xml:"file,attr"`
	}
	diskTarget struct {
		Dev string `xml:"dev,attr"`
		Bus string `xml:"bus,attr"`
	}
	ioTune struct {
		TotalBytes int `xml:"total_bytes_sec,omitempty"`
		ReadBytes  int `xml:"read_bytes_sec,omitempty"`
		WriteBytes int `xml:"write_bytes_sec,omitempty"`
		TotalIOPS  int `xml:"total_iops_sec,omitempty"`
		ReadIOPS   int `xml:"read_iops_sec,omitempty"`
		WriteIOPS  int `xml:"write_iops_sec,omitempty"`
	}
	controllerDoc struct {
		Type  string `xml:"type,attr"`
		Index int    `xml:"index,attr"`
		Model string `xml:"model,attr"`
	}
	interfaceDoc struct {
		Type      string        `xml:"type,attr"`
		MAC       addressAttr   `xml:"mac"`
		Source    networkSource `xml:"source"`
		Target    devAttr       `xml:"target"`
		Model     typeAttr      `xml:"model"`
		MTU       *sizeAttr     `xml:"mtu"`
		Bandwidth *bandwidth    `xml:"bandwidth"`
		Filter    *filterRef    `xml:"filterref"`
	}
	addressAttr struct {
		Address string `xml:"address,attr"`
	}
	networkSource struct {
		Network string `xml:"network,attr"`
	}
	devAttr struct {
		Dev string `xml:"dev,attr"`
	}
	typeAttr struct {
		Type string `xml:"type,attr"`
	}
	sizeAttr struct {
		Size int `xml:"size,attr"`
	}
	bandwidth struct {
		Inbound  *rate `xml:"inbound"`
		Outbound *rate `xml:"outbound"`
	}
	rate struct {
		Average int `xml:"average,attr"`
		Peak    int `xml:"peak,attr,omitempty"`
		Burst   int `xml:"burst,attr,omitempty"`
	}
	filterRef struct {
		Filter string `xml:"filter,attr"`
	}
	serialDoc struct {
		Type   string     `xml:"type,attr"`
		Log    logDoc     `xml:"log"`
		Target portTarget `xml:"target"`
	}
	logDoc struct {
		File   string `xml:"file,attr"`
		Append string `xml:"append,attr"`
	}
	portTarget struct {
		Type string `xml:"type,attr,omitempty"`
		Port int    `xml:"port,attr"`
	}
	consoleDoc struct {
		Type   string     `xml:"type,attr"`
		Log    logDoc     `xml:"log"`
		Target portTarget `xml:"target"`
	}
	channelDoc struct {
		Type   string        `xml:"type,attr"`
		Target channelTarget `xml:"target"`
	}
	channelTarget struct {
		Type string `xml:"type,attr"`
		Name string `xml:"name,attr"`
	}
	inputDoc struct {
		Type string `xml:"type,attr"`
		Bus  string `xml:"bus,attr"`
	}
	graphicsDoc struct {
		Type     string `xml:"type,attr"`
		AutoPort string `xml:"autoport,attr"`
		Listen   string `xml:"listen,attr"`
	}
	videoDoc struct {
		Model typeAttr `xml:"model"`
	}
	rngDoc struct {
		Model   string     `xml:"model,attr"`
		Rate    *rngRate   `xml:"rate"`
		Backend rngBackend `xml:"backend"`
	}
	rngRate struct {
		Bytes  int `xml:"bytes,attr"`
		Period int `xml:"period,attr"`
	}
	rngBackend struct {
		Model string `xml:"model,attr"`
		File  string `xml:",chardata"`
	}
	watchdogDoc struct {
		Model  string `xml:"model,attr"`
		Action string `xml:"action,attr"`
	}
	balloonDoc struct {
		Model string   `xml:"model,attr"`
		Stats statsDoc `xml:"stats"`
	}
	statsDoc struct {
		Period int `xml:"period,attr"`
	}
)

// ErrProperty refuses an image property or extra spec.
var ErrProperty = errors.New("the value is not supported")

// allowed are the values that image properties may have; they end up in the XML.
var allowed = map[string][]string{
	"hw_disk_bus":        {"virtio", "scsi", "sata", "ide", "usb"},
	"hw_cdrom_bus":       {"ide", "sata", "scsi", "usb"},
	"hw_vif_model":       {"virtio", "e1000", "e1000e", "rtl8139", "ne2k_pci", "pcnet", "vmxnet3"},
	"hw_video_model":     {"vga", "cirrus", "qxl", "virtio", "bochs", "none"},
	"hw_scsi_model":      {"virtio-scsi", "lsilogic", "lsisas1078"},
	"hw_rng_model":       {"virtio"},
	"hw_input_bus":       {"usb", "virtio"},
	"hw_watchdog_action": {"disabled", "reset", "poweroff", "pause", "none"},
	"hw_firmware_type":   {"bios", "uefi"},
	"hw_pointer_model":   {"usbtablet", "ps2mouse"},
	"hw_architecture":    {"x86_64"},
	"architecture":       {"x86_64"},
	"os_type":            {"linux", "windows"},
}

var machineRE = regexp.MustCompile(`^(pc|q35|pc-(i440fx|q35)-[0-9]+\.[0-9]+)$`)

// property gives the value of an image property, fallback if absent, or an error.
func property(g *work.Guest, key, fallback string) (string, error) {
	v := g.Image.Properties[key]
	if v == "" {
		return fallback, nil
	}
	if !slices.Contains(allowed[key], v) {
		return "", fmt.Errorf("image property %s=%q: %w", key, v, ErrProperty)
	}
	return v, nil
}

// intSpec gives the value of an extra spec, 0 if absent, or an error.
func intSpec(g *work.Guest, key string) (int, error) {
	v := g.Flavor.ExtraSpecs[key]
	if v == "" {
		return 0, nil
	}
	n, err := strconv.Atoi(v)
	if err != nil || n < -1 {
		return 0, fmt.Errorf("extra spec %s=%q: %w", key, v, ErrProperty)
	}
	return n, nil
}

// intSpecs fills each target from the extra spec of its name.
func intSpecs(g *work.Guest, targets map[string]*int) error {
	for key, to := range targets {
		n, err := intSpec(g, key)
		if err != nil {
			return err
		}
		*to = n
	}
	return nil
}

// domainXML describes the guest. The disks that exist, and their formats, are those of
// our record.
func (d *Driver) domainXML(g *work.Guest) (*domainDoc, error) {
	err := checkUUID(g.UUID)
	if err != nil {
		return nil, err
	}
	for key := range allowed {
		_, err := property(g, key, "")
		if err != nil {
			return nil, err
		}
	}
	info, err := readInfo(d.dir(g.UUID))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("the guest has no disks: %w", computed.ErrNoInstance)
	}
	if err != nil {
		return nil, err
	}
	machine := g.Image.Properties["hw_machine_type"]
	if machine == "" {
		machine = d.cfg.Machine
	}
	if !machineRE.MatchString(machine) {
		return nil, fmt.Errorf("image property hw_machine_type=%q: %w", machine, ErrProperty)
	}
	q35 := strings.Contains(machine, "q35")

	doc := &domainDoc{
		Type: d.cfg.VirtType, Name: g.InstanceName(), UUID: g.UUID,
		Metadata: metadataOf(g),
		Memory:   memorySize{"KiB", g.Flavor.MemoryMB * 1024},
		VCPU:     g.Flavor.VCPUs,
		Sysinfo:  sysinfoOf(g),
		OS: osDoc{
			Type: osType{Arch: "x86_64", Machine: machine, Type: "hvm"},
			Boot: bootDev{"hd"}, SMBIOS: mode{"sysinfo"},
		},
		PowerOff: "destroy", Reboot: "restart", Crash: "destroy",
	}
	err = d.processors(g, doc)
	if err != nil {
		return nil, err
	}
	err = platform(g, doc)
	if err != nil {
		return nil, err
	}
	err = d.disks(g, info, q35, &doc.Devices)
	if err != nil {
		return nil, err
	}
	err = d.interfaces(g, &doc.Devices)
	if err != nil {
		return nil, err
	}
	err = d.otherDevices(g, &doc.Devices)
	if err != nil {
		return nil, err
	}
	return doc, nil
}

func metadataOf(g *work.Guest) metadata {
	m := metadata{
		Nova: novaInstance{
			NS: novaNamespace, Package: novaPkg{"kilonova"}, Name: g.Name,
			Created: time.UnixMicro(g.CreatedAt).UTC().Format(time.DateTime),
			Flavor: novaFlavor{
				Name: g.Flavor.Name, Memory: g.Flavor.MemoryMB, Disk: g.Flavor.RootGB,
				Swap: g.Flavor.SwapMB, Ephemeral: g.Flavor.EphemeralGB, VCPUs: g.Flavor.VCPUs,
			},
			Owner: novaOwner{
				User:    novaPrincipal{g.UserID, g.UserName},
				Project: novaPrincipal{g.ProjectID, g.ProjectName},
			},
		},
		Ours: ourGuest{NS: ourNamespace, UUID: g.UUID},
	}
	if g.Image.ID != "" {
		m.Nova.Root = &novaRoot{Type: "image", UUID: g.Image.ID}
	}
	keys := make([]string, 0, len(g.Flavor.ExtraSpecs))
	for k := range g.Flavor.ExtraSpecs {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	for _, k := range keys {
		m.Nova.Flavor.ExtraSpecs = append(m.Nova.Flavor.ExtraSpecs, novaExtraSpec{k, g.Flavor.ExtraSpecs[k]})
	}
	for _, p := range g.Ports {
		port := novaPort{UUID: p.ID}
		for _, f := range p.Fixed {
			version := 4
			if strings.Contains(f.Address, ":") {
				version = 6
			}
			port.IPs = append(port.IPs, novaIP{"fixed", f.Address, version})
		}
		m.Nova.PortList.Ports = append(m.Nova.PortList.Ports, port)
	}
	return m
}

func sysinfoOf(g *work.Guest) sysinfo {
	return sysinfo{Type: "smbios", System: []sysinfoEntry{
		{"manufacturer", "OpenStack Foundation"},
		{"product", "OpenStack Nova"},
		{"version", "kilonova"},
		{"serial", g.UUID},
		{"uuid", g.UUID},
		{"family", "Virtual Machine"},
	}}
}

// processors fills processor model, topology and shares.
func (d *Driver) processors(g *work.Guest, doc *domainDoc) error {
	mode := d.cfg.CPUMode
	if mode == "" {
		mode = "none"
		if d.cfg.VirtType == "kvm" {
			mode = "host-model"
		}
	}
	cpu := &cpuDoc{}
	switch mode {
	case "none":
	case "custom":
		cpu.Mode, cpu.Match, cpu.Model = "custom", "exact", &cpuModel{"forbid", d.cfg.CPUModel}
	default:
		cpu.Mode = mode
	}
	t := topology{}
	err := intSpecs(g, map[string]*int{
		"hw:cpu_sockets": &t.Sockets, "hw:cpu_cores": &t.Cores, "hw:cpu_threads": &t.Threads,
	})
	if err != nil {
		return err
	}
	if t == (topology{}) {
		t = imageTopology(g)
	}
	t.Cores, t.Threads = max(t.Cores, 1), max(t.Threads, 1)
	if t.Sockets <= 0 {
		t.Sockets = g.Flavor.VCPUs / (t.Cores * t.Threads)
	}
	if t.Sockets*t.Cores*t.Threads != g.Flavor.VCPUs {
		return fmt.Errorf("topology of %d sockets, %d cores, %d threads for %d processors: %w",
			t.Sockets, t.Cores, t.Threads, g.Flavor.VCPUs, ErrProperty)
	}
	cpu.Topology = &t
	doc.CPU = cpu

	tune := cpuTune{}
	err = intSpecs(g, map[string]*int{
		"quota:cpu_shares": &tune.Shares, "quota:cpu_period": &tune.Period, "quota:cpu_quota": &tune.Quota,
	})
	if err != nil {
		return err
	}
	if tune != (cpuTune{}) {
		doc.CPUTune = &tune
	}
	return nil
}

// imageTopology is the topology that the image prefers, where the flavor says nothing and
// the processors can be had in that form; otherwise it is zero.
func imageTopology(g *work.Guest) topology {
	var t topology
	for key, to := range map[string]*int{"hw_cpu_sockets": &t.Sockets, "hw_cpu_cores": &t.Cores, "hw_cpu_threads": &t.Threads} {
		n, err := strconv.Atoi(g.Image.Properties[key])
		if err == nil {
			*to = n
		}
	}
	whole := t.Sockets
	if whole == 0 {
		whole = g.Flavor.VCPUs / max(t.Cores, 1) / max(t.Threads, 1)
	}
	if t.Sockets < 0 || t.Cores < 0 || t.Threads < 0 || whole*max(t.Cores, 1)*max(t.Threads, 1) != g.Flavor.VCPUs {
		return topology{}
	}
	return t
}

// platform fills firmware, features and clock.
func platform(g *work.Guest, doc *domainDoc) error {
	props := g.Image.Properties
	if props["hw_firmware_type"] == "uefi" {
		doc.OS.Firmware = "efi"
	}
	menu, err := boolProperty(props, "hw_boot_menu")
	if err != nil {
		return err
	}
	if menu {
		doc.OS.BootMenu = &enabled{"yes"}
	}
	hidden, err := boolProperty(props, "img_hide_hypervisor_id")
	if err != nil {
		return err
	}
	byFlavor, err := boolProperty(g.Flavor.ExtraSpecs, "hide_hypervisor_id")
	if err != nil {
		return err
	}
	if hidden || byFlavor {
		doc.Features.KVM = &kvmDoc{Hidden: state{"on"}}
	}
	hpet, err := boolProperty(props, "hw_time_hpet")
	if err != nil {
		return err
	}
	present := map[bool]string{true: "yes", false: "no"}[hpet]
	doc.Clock = clockDoc{Offset: "utc", Timers: []timerDoc{
		{Name: "pit", TickPolicy: "delay"}, {Name: "rtc", TickPolicy: "catchup"}, {Name: "hpet", Present: present},
	}}
	if props["os_type"] == "windows" {
		doc.Clock.Offset = "localtime"
		if doc.Type == "kvm" {
			doc.Features.HyperV = &hypervDoc{state{"on"}, state{"on"}, spinlocksDoc{"on", 8191}}
		}
	}
	return nil
}

// busPrefix is how device names begin on a bus.
var busPrefix = map[string]string{"virtio": "vd", "scsi": "sd", "sata": "sd", "usb": "sd", "ide": "hd"}

// disks fills the disks that the record names.
func (d *Driver) disks(g *work.Guest, info *diskInfo, q35 bool, dev *devices) error {
	bus, err := property(g, "hw_disk_bus", "virtio")
	if err != nil {
		return err
	}
	cdBus := "ide"
	if q35 {
		cdBus = "sata"
	}
	cdBus, err = property(g, "hw_cdrom_bus", cdBus)
	if err != nil {
		return err
	}
	if q35 && (bus == "ide" || cdBus == "ide") {
		return fmt.Errorf("an IDE disk on a q35 machine: %w", ErrProperty)
	}
	tune := ioTune{}
	err = intSpecs(g, map[string]*int{
		"quota:disk_total_bytes_sec": &tune.TotalBytes, "quota:disk_read_bytes_sec": &tune.ReadBytes,
		"quota:disk_write_bytes_sec": &tune.WriteBytes, "quota:disk_total_iops_sec": &tune.TotalIOPS,
		"quota:disk_read_iops_sec": &tune.ReadIOPS, "quota:disk_write_iops_sec": &tune.WriteIOPS,
	})
	if err != nil {
		return err
	}
	used := map[string]int{}
	name := func(bus string) string {
		prefix := busPrefix[bus]
		used[prefix]++
		return prefix + string(rune('a'+used[prefix]-1))
	}
	io := ""
	if d.info.cache == "none" {
		io = "native"
	}
	for _, file := range []string{rootDisk, ephDisk, swapDisk} {
		format, ok := info.Formats[file]
		if !ok {
			continue
		}
		disk := diskDoc{
			Type: "file", Device: "disk",
			Driver: diskDriver{Name: "qemu", Type: format, Cache: d.info.cache, IO: io, Discard: "unmap"},
			Source: diskSource{d.file(g.UUID, file)}, Target: diskTarget{name(bus), bus},
		}
		if tune != (ioTune{}) {
			disk.IOTune = &tune
		}
		dev.Disks = append(dev.Disks, disk)
	}
	if format, ok := info.Formats[configDisk]; ok {
		dev.Disks = append(dev.Disks, diskDoc{
			Type: "file", Device: "cdrom", Driver: diskDriver{Name: "qemu", Type: format, Cache: d.info.cache},
			Source: diskSource{d.file(g.UUID, configDisk)}, Target: diskTarget{name(cdBus), cdBus}, ReadOnly: &struct{}{},
		})
	}
	if bus == "scsi" || cdBus == "scsi" {
		model, err := property(g, "hw_scsi_model", "virtio-scsi")
		if err != nil {
			return err
		}
		dev.Controllers = append(dev.Controllers, controllerDoc{Type: "scsi", Model: model})
	}
	return nil
}

// interfaces fills the network interfaces.
func (d *Driver) interfaces(g *work.Guest, dev *devices) error {
	model, err := property(g, "hw_vif_model", "virtio")
	if err != nil {
		return err
	}
	in, out := rate{}, rate{}
	err = intSpecs(g, map[string]*int{
		"quota:vif_inbound_average": &in.Average, "quota:vif_inbound_peak": &in.Peak, "quota:vif_inbound_burst": &in.Burst,
		"quota:vif_outbound_average": &out.Average, "quota:vif_outbound_peak": &out.Peak, "quota:vif_outbound_burst": &out.Burst,
	})
	if err != nil {
		return err
	}
	var limit *bandwidth
	if in.Average > 0 || out.Average > 0 {
		limit = &bandwidth{}
		if in.Average > 0 {
			limit.Inbound = &in
		}
		if out.Average > 0 {
			limit.Outbound = &out
		}
	}
	for _, p := range g.Ports {
		i := interfaceDoc{
			Type: "network", MAC: addressAttr{p.MAC}, Source: networkSource{networkName(&p.Network)},
			Target: devAttr{tapName(p.ID)}, Model: typeAttr{model}, Bandwidth: limit,
		}
		if p.Network.MTU > 0 {
			i.MTU = &sizeAttr{p.Network.MTU}
		}
		i.Filter = &filterRef{Filter: filterName(p.ID)}
		dev.Interfaces = append(dev.Interfaces, i)
	}
	return nil
}

// tapName is the host's name of a port's interface, as Nova and Neutron know it.
func tapName(port string) string { return "tap" + port[:min(11, len(port))] }

// agentChannel is where the guest agent speaks.
const agentChannel = "org.qemu.guest_agent.0"

// otherDevices fills serial console, graphics and the rest.
func (d *Driver) otherDevices(g *work.Guest, dev *devices) error {
	log := logDoc{File: d.file(g.UUID, consoleLog), Append: "on"}
	dev.Serial = serialDoc{Type: "pty", Log: log}
	dev.Console = consoleDoc{Type: "pty", Log: log, Target: portTarget{Type: "serial"}}
	dev.Graphics = graphicsDoc{Type: "vnc", AutoPort: "yes", Listen: d.cfg.VNCListen}
	video, err := property(g, "hw_video_model", "vga")
	if err != nil {
		return err
	}
	dev.Video = videoDoc{typeAttr{video}}
	dev.Balloon = balloonDoc{Model: "virtio", Stats: statsDoc{10}}
	if g.Image.Properties["hw_pointer_model"] != "ps2mouse" {
		bus, err := property(g, "hw_input_bus", "usb")
		if err != nil {
			return err
		}
		dev.Inputs = append(dev.Inputs, inputDoc{"tablet", bus})
	}
	agent, err := boolProperty(g.Image.Properties, "hw_qemu_guest_agent")
	if err != nil {
		return err
	}
	if agent {
		dev.Channels = append(dev.Channels, channelDoc{"unix", channelTarget{"virtio", agentChannel}})
	}
	// As in Nova, the flavor may forbid the random number generator.
	if v := g.Flavor.ExtraSpecs["hw_rng:allowed"]; !strings.EqualFold(v, "false") {
		rng := &rngDoc{Model: "virtio", Backend: rngBackend{"random", "/dev/urandom"}}
		limits := rngRate{}
		err := intSpecs(g, map[string]*int{"hw_rng:rate_bytes": &limits.Bytes, "hw_rng:rate_period": &limits.Period})
		if err != nil {
			return err
		}
		if limits.Bytes > 0 {
			limits.Period = max(limits.Period, 1000)
			rng.Rate = &limits
		}
		dev.RNG = rng
	}
	action := g.Image.Properties["hw_watchdog_action"]
	if action == "" {
		action = g.Flavor.ExtraSpecs["hw:watchdog_action"]
		if action != "" && !slices.Contains(allowed["hw_watchdog_action"], action) {
			return fmt.Errorf("extra spec hw:watchdog_action=%q: %w", action, ErrProperty)
		}
	}
	if action != "" && action != "disabled" {
		dev.Watchdog = &watchdogDoc{"i6300esb", action}
	}
	return nil
}

// liveDomain is what we read of a domain's XML.
type liveDomain struct {
	Disks []struct {
		Device string     `xml:"device,attr"`
		Source diskSource `xml:"source"`
		Target diskTarget `xml:"target"`
		Driver diskDriver `xml:"driver"`
	} `xml:"devices>disk"`
	Interfaces []struct {
		MAC    addressAttr   `xml:"mac"`
		Source networkSource `xml:"source"`
		Target devAttr       `xml:"target"`
		Filter filterRef     `xml:"filterref"`
	} `xml:"devices>interface"`
	Channels []struct {
		Target struct {
			Name string `xml:"name,attr"`
		} `xml:"target"`
	} `xml:"devices>channel"`
	Graphics []struct {
		Type   string `xml:"type,attr"`
		Port   int    `xml:"port,attr"`
		Listen string `xml:"listen,attr"`
	} `xml:"devices>graphics"`
}

func (l *liveDomain) hasAgent() bool {
	for _, c := range l.Channels {
		if c.Target.Name == agentChannel {
			return true
		}
	}
	return false
}

// liveXML reads the running domain's XML, or the definition of one that is off.
func liveXML(dom *virt.Domain) (*liveDomain, error) {
	text, err := dom.GetXMLDesc(0)
	if err != nil {
		return nil, fmt.Errorf("get XML: %w", err)
	}
	var l liveDomain
	err = xml.Unmarshal([]byte(text), &l)
	if err != nil {
		return nil, fmt.Errorf("read XML: %w", err)
	}
	return &l, nil
}
