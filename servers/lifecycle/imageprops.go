package lifecycle

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kilonova/compat"
	"kilonova/images"
	"kilonova/work"
)

// imageProperty is an image property that means something to a server. Its reader gives the
// value in the one form that hosts know, or what is wrong with it.
type imageProperty struct {
	name string
	read func(value string) (string, error)
}

var (
	buses         = []string{"fdc", "ide", "sata", "scsi", "usb", "virtio", "xen", "lxc", "uml"}
	architectures = []string{"alpha", "armv6", "armv7l", "armv7b", "aarch64", "cris", "i686", "ia64", "lm32", "m68k", "microblaze",
		"microblazeel", "mips", "mipsel", "mips64", "mips64el", "openrisc", "parisc", "parisc64", "ppc", "ppcle", "ppc64", "ppc64le",
		"ppcemb", "s390", "s390x", "sh4", "sh4eb", "sparc", "sparc64", "unicore32", "x86_64", "xtensa", "xtensaeb"}
	hypervisors = []string{"baremetal", "bhyve", "docker", "fake", "hyperv", "ironic", "kqemu", "kvm", "lxc", "lxd", "openvz",
		"parallels", "phyp", "qemu", "test", "uml", "vbox", "vz", "vmware", "xen", "zvm", "prsm"}
)

// imageProperties are the properties that Nova knows, with what it takes for a value. All
// others are the image's own business.
var imageProperties = []imageProperty{
	{"hw_architecture", architecture}, {"hw_emulation_architecture", architecture},
	{"hw_auto_disk_config", anyText},
	{"hw_boot_menu", flag},
	{"hw_cdrom_bus", oneOf(buses...)}, {"hw_disk_bus", oneOf(buses...)}, {"hw_floppy_bus", oneOf(buses...)}, {"hw_rescue_bus", oneOf(buses...)},
	{"hw_cpu_cores", integer}, {"hw_cpu_sockets", integer}, {"hw_cpu_threads", integer},
	{"hw_cpu_max_cores", integer}, {"hw_cpu_max_sockets", integer}, {"hw_cpu_max_threads", integer},
	{"hw_cpu_policy", oneOf("dedicated", "shared", "mixed")},
	{"hw_cpu_thread_policy", oneOf("prefer", "isolate", "require")},
	{"hw_cpu_realtime_mask", anyText},
	{"hw_device_id", integer},
	{"hw_disk_type", anyText},
	{"hw_ephemeral_encryption", flag},
	{"hw_ephemeral_encryption_format", oneOf("plain", "luks", "luksv2")},
	{"hw_ephemeral_encryption_secret_uuid", anyText},
	{"hw_firmware_type", oneOf("uefi", "bios")}, {"hw_firmware_stateless", flag},
	{"hw_input_bus", oneOf("usb", "virtio")},
	{"hw_ipxe_boot", flag},
	{"hw_locked_memory", flag},
	{"hw_machine_type", anyText},
	{"hw_maxphysaddr_mode", oneOf("passthrough", "emulate")}, {"hw_maxphysaddr_bits", integer},
	{"hw_mem_encryption", flag}, {"hw_mem_encryption_model", oneOf("amd-sev", "amd-sev-es", "amd-sev-snp")},
	{"hw_mem_page_size", anyText},
	{"hw_numa_nodes", integer},
	{"hw_pci_numa_affinity_policy", oneOf("required", "legacy", "preferred", "socket")},
	{"hw_pmu", flag},
	{"hw_pointer_model", oneOf("usbtablet")},
	{"hw_qemu_guest_agent", flag},
	{"hw_redirected_usb_ports", integer},
	{"hw_rescue_device", oneOf("cdrom", "disk", "floppy", "fs", "lun")},
	{"hw_rng_model", oneOf("virtio")},
	{"hw_scsi_model", folded(map[string]string{"lsilogicsas": "lsisas1068", "paravirtual": "vmpvscsi"},
		"buslogic", "ibmvscsi", "lsilogic", "lsisas1068", "lsisas1078", "virtio-scsi", "vmpvscsi")},
	{"hw_serial_port_count", integer},
	{"hw_sound_model", oneOf("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio")},
	{"hw_time_hpet", flag},
	{"hw_tpm_model", oneOf("tpm-tis", "tpm-crb")}, {"hw_tpm_version", oneOf("1.2", "2.0")},
	{"hw_usb_model", oneOf("none", "nec-xhci", "qemu-xhci")},
	{"hw_video_model", oneOf("cirrus", "qxl", "vga", "vmvga", "xen", "virtio", "gop", "none", "bochs")}, {"hw_video_ram", integer},
	{"hw_vif_model", folded(map[string]string{"virtuale1000": "e1000", "virtuale1000e": "e1000e", "virtualpcnet32": "pcnet",
		"virtualsriovethernetcard": "sriov", "virtualvmxnet": "vmxnet", "virtualvmxnet3": "vmxnet3"},
		"virtio", "ne2k_pci", "pcnet", "rtl8139", "e1000", "e1000e", "netfront", "spapr-vlan", "lan9118", "sriov", "vmxnet", "vmxnet3", "igb")},
	{"hw_vif_multiqueue_enabled", flag},
	{"hw_viommu_model", oneOf("intel", "smmuv3", "virtio", "auto")},
	{"hw_virtio_packed_ring", flag},
	{"hw_vm_mode", named("Virtual machine mode", map[string]string{"pv": "xen", "hv": "hvm", "baremetal": "hvm"}, "hvm", "xen", "uml", "exe")},
	{"hw_watchdog_action", oneOf("none", "pause", "poweroff", "reset", "disabled")},
	{"img_bdm_v2", flag}, {"img_bittorrent", flag}, {"img_cache_in_nova", flag},
	{"img_compression_level", integer},
	{"img_config_drive", oneOf("optional", "mandatory")},
	{"img_hide_hypervisor_id", flag},
	{"img_hv_requested_version", versionPredicate},
	{"img_hv_type", named("Hypervisor virt type", map[string]string{"xapi": "xen"}, hypervisors...)},
	{"img_linked_clone", flag},
	{"img_owner_id", anyText}, {"img_root_device_name", anyText},
	{"img_signature", anyText}, {"img_signature_certificate_uuid", anyText},
	{"img_signature_hash_method", oneOf("SHA-224", "SHA-256", "SHA-384", "SHA-512")},
	{"img_signature_key_type", oneOf("DSA", "ECC_SECP384R1", "ECC_SECP521R1", "ECC_SECT409K1", "ECC_SECT409R1", "ECC_SECT571K1", "ECC_SECT571R1", "RSA-PSS")},
	{"img_use_agent", flag}, {"img_version", integer},
	{"os_admin_user", anyText}, {"os_command_line", anyText}, {"os_distro", anyText},
	{"os_require_quiesce", flag},
	{"os_secure_boot", oneOf("required", "disabled", "optional")},
	{"os_skip_agent_inject_files_at_boot", flag}, {"os_skip_agent_inject_ssh", flag},
	{"os_type", folded(nil, "linux", "windows")},
}

// legacyProperties are the names that properties had, with those that they have. Where an
// image bears both, the new one counts; a wrong value under either is refused.
var legacyProperties = [][2]string{
	{"architecture", "hw_architecture"}, {"owner_id", "img_owner_id"}, {"vmware_disktype", "hw_disk_type"},
	{"vmware_image_version", "img_version"}, {"vmware_ostype", "os_distro"}, {"auto_disk_config", "hw_auto_disk_config"},
	{"ipxe_boot", "hw_ipxe_boot"}, {"xenapi_device_id", "hw_device_id"}, {"xenapi_image_compression_level", "img_compression_level"},
	{"vmware_linked_clone", "img_linked_clone"}, {"xenapi_use_agent", "img_use_agent"},
	{"xenapi_skip_agent_inject_ssh", "os_skip_agent_inject_ssh"},
	{"xenapi_skip_agent_inject_files_at_boot", "os_skip_agent_inject_files_at_boot"},
	{"cache_in_nova", "img_cache_in_nova"}, {"vm_mode", "hw_vm_mode"}, {"bittorrent", "img_bittorrent"}, {"bdm_v2", "img_bdm_v2"},
	{"root_device_name", "img_root_device_name"}, {"hypervisor_version_requires", "img_hv_requested_version"}, {"hypervisor_type", "img_hv_type"},
}

func anyText(v string) (string, error) { return v, nil }

// flag reads a boolean: what is no word for yes is no.
func flag(v string) (string, error) {
	on, _ := BoolWord(v)
	return strconv.FormatBool(on), nil
}

func integer(v string) (string, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64)
	if err != nil {
		return "", fmt.Errorf("invalid literal for int() with base 10: '%.255s'", v)
	}
	return strconv.FormatInt(n, 10), nil
}

func oneOf(values ...string) func(string) (string, error) {
	return func(v string) (string, error) {
		if !slices.Contains(values, v) {
			return "", fmt.Errorf("Field value %.255s is invalid", v) //nolint:staticcheck // the client's text
		}
		return v, nil
	}
}

// folded is oneOf without case, after older words for a value were replaced.
func folded(older map[string]string, values ...string) func(string) (string, error) {
	strict := oneOf(values...)
	return func(v string) (string, error) {
		v = strings.ToLower(v)
		if newer, ok := older[v]; ok {
			v = newer
		}
		return strict(v)
	}
}

// named is folded with a text of its own.
func named(what string, older map[string]string, values ...string) func(string) (string, error) {
	fold := folded(older, values...)
	return func(v string) (string, error) {
		out, err := fold(v)
		if err != nil {
			return "", fmt.Errorf("%s '%.255s' is not valid", what, v)
		}
		return out, nil
	}
}

var architecture = named("Architecture name", map[string]string{"i386": "i686", "i486": "i686", "i586": "i686", "x86_32": "i686", "x86_32p": "i686", "amd64": "x86_64"}, architectures...)

var predicate = regexp.MustCompile(`^\s*(<=|>=|<|>|!=|==)\s*\d+(\.\w+)*\s*$`)

func versionPredicate(v string) (string, error) {
	for _, part := range strings.Split(v, ",") {
		if !predicate.MatchString(part) {
			return "", fmt.Errorf("Version %.255s is not a valid predicate in field img_hv_requested_version", v) //nolint:staticcheck // the client's text
		}
	}
	return v, nil
}

// readImageProperties gives an image's properties with Nova's in their present names and
// forms, or a 400 Fault for the first of them that is wrong. What it is given stays.
func readImageProperties(given map[string]string) (map[string]string, error) {
	out := maps.Clone(given)
	if out == nil {
		out = map[string]string{}
	}
	put := func(name, value string) error {
		i := slices.IndexFunc(imageProperties, func(p imageProperty) bool { return p.name == name })
		read, err := imageProperties[i].read(value)
		if err != nil {
			return compat.BadRequest("Invalid image metadata. Error: %s", err)
		}
		out[name] = read
		return nil
	}
	for _, names := range legacyProperties {
		value, ok := given[names[0]]
		if !ok {
			continue
		}
		err := put(names[1], value)
		if err != nil {
			return nil, err
		}
		delete(out, names[0])
	}
	if adapter := given["vmware_adaptertype"]; adapter == "ide" {
		out["hw_disk_bus"] = adapter
	} else if adapter != "" {
		out["hw_disk_bus"] = "scsi"
		err := put("hw_scsi_model", adapter)
		if err != nil {
			return nil, err
		}
	}
	for _, p := range imageProperties {
		value, ok := given[p.name]
		if !ok {
			continue
		}
		err := put(p.name, value)
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// CheckImageProperties gives a 400 Fault when a server of the flavor cannot be what the image
// says.
func CheckImageProperties(f work.Flavor, img *images.Image) error {
	properties, err := readImageProperties(img.Properties)
	if err != nil {
		return err
	}
	return Meet(f, img.Name, properties)
}

// PresentProperties is readImageProperties of an image that was checked when it was chosen:
// one that was not, of an older release, keeps what it has.
func PresentProperties(given map[string]string) map[string]string {
	out, err := readImageProperties(given)
	if err != nil {
		return given
	}
	return out
}

// WantsConfigDrive reports whether an image insists on a config drive.
func WantsConfigDrive(properties map[string]string) bool {
	return properties["img_config_drive"] == "mandatory"
}

// BoolWord reads the words that Nova takes for a boolean.
func BoolWord(s string) (value, ok bool) {
	switch strings.ToLower(strings.TrimSpace(s)) {
	case "1", "t", "true", "on", "y", "yes":
		return true, true
	case "0", "f", "false", "off", "n", "no":
		return false, true
	}
	return false, false
}
