package flavors

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"kilonova/compat"
)

// value is what an extra spec may be set to.
type value func(text string) *compat.Fault

// namespaces are those whose keys are all known: another key in one is refused.
var namespaces = regexp.MustCompile(`^(accel|aggregate_instance_extra_specs|capabilities|hw|hw_rng|hw_video|os|` +
	`pci_passthrough|quota|resources` + group + `|trait` + group + `|vmware)$`)

// group is the optional suffix of a granular resource request.
const group = `([0-9]+|_[a-zA-Z0-9_-]{1,64})?`

// knownSpecs are the extra specs that are validated from 2.86 on, each with its values; the
// first form that matches a key counts.
var knownSpecs = []struct {
	form  *regexp.Regexp
	value value
}{
	{spec(`accel:device_profile`), text},
	{spec(`aggregate_instance_extra_specs:.+`), text},
	{spec(`capabilities:.+`), text},
	{spec(`hw:cpu_policy`), oneOf("dedicated", "shared", "mixed")},
	{spec(`hw:cpu_thread_policy`), oneOf("prefer", "isolate", "require")},
	{spec(`hw:emulator_threads_policy`), oneOf("isolate", "share")},
	{spec(`hw:cpu_dedicated_mask`), like(`\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*`)},
	{spec(`hw:cpu_realtime_mask`), like(`\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*`)},
	{spec(`hw:cpu_(max_)?(sockets|cores|threads)`), integer(1, none)},
	{spec(`hw:numa_nodes`), integer(1, none)},
	{spec(`hw:numa_cpus\.\d+`), like(`\^?\d+(-\d+)?(,\^?\d+(-\d+)?)*`)},
	{spec(`hw:numa_mem\.\d+`), integer(1, none)},
	{spec(`hw:mem_page_size`), like(`large|small|any|\d+([kKMGT]i?)?(b|bit|B)?`)},
	{spec(`hw:(cpu_realtime|locked_memory|boot_menu|vif_multiqueue_enabled|pmu|hide_hypervisor_id|virtio_packed_ring|` +
		`mem_encryption|ephemeral_encryption)`), boolean},
	{spec(`hw:mem_encryption_model`), oneOf("amd-sev", "amd-sev-es", "amd-sev-snp")},
	{spec(`hw:pci_numa_affinity_policy`), oneOf("required", "preferred", "legacy", "socket")},
	{spec(`hw:pmem`), like(`[a-zA-Z0-9_]+(,[a-zA-Z0-9_]+)*`)},
	{spec(`hw:serial_port_count`), integer(0, none)},
	{spec(`hw:tpm_model`), oneOf("tpm-tis", "tpm-crb")},
	{spec(`hw:tpm_version`), oneOf("1.2", "2.0")},
	{spec(`hw:tpm_secret_security`), oneOf("user", "host", "deployment")},
	{spec(`hw:watchdog_action`), oneOf("none", "pause", "poweroff", "reset", "disabled")},
	{spec(`hw:viommu_model`), oneOf("intel", "smmuv3", "virtio", "auto")},
	{spec(`hw:sound_model`), oneOf("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "virtio")},
	{spec(`hw:usb_model`), oneOf("none", "nec-xhci", "qemu-xhci")},
	{spec(`hw:redirected_usb_ports`), integer(0, 15)},
	{spec(`hw:ephemeral_encryption_format`), oneOf("luks", "plain")},
	{spec(`hw:maxphysaddr_mode`), oneOf("passthrough", "emulate")},
	{spec(`hw:maxphysaddr_bits`), integer(0, none)},
	{spec(`hw_rng:allowed`), boolean},
	{spec(`hw_rng:rate_(bytes|period)`), integer(0, none)},
	{spec(`hw_video:ram_max_mb`), integer(0, none)},
	{spec(`os:secure_boot`), oneOf("disabled", "required")},
	{spec(`pci_passthrough:alias`), like(`[^:]+:\d+(\s*,\s*[^:]+:\d+)*`)},
	{spec(`quota:cpu_(shares|period)`), integer(0, none)},
	{spec(`quota:cpu_quota`), integer(none, none)},
	{spec(`quota:(cpu|memory|disk_io|vif)_shares_level`), oneOf("custom", "high", "normal", "low")},
	{spec(`quota:(cpu|memory|disk_io|vif)_(limit|reservation|shares_share)`), integer(none, none)},
	{spec(`quota:disk_(read|write|total)_(bytes|iops)_sec`), integer(0, none)},
	{spec(`quota:vif_(inbound|outbound)_(average|peak|burst)`), integer(0, none)},
	{spec(`resources` + group + `:(` + resourceClasses + `|CUSTOM_[A-Z0-9_]+)`), integer(0, none)},
	{spec(`trait` + group + `:[A-Z][A-Z0-9_]*`), oneOf("required", "forbidden")},
	{spec(`group_policy`), oneOf("isolate", "none")},
	{spec(`hide_hypervisor_id`), boolean},
	{spec(`vmware:(hw_version|storage_policy)`), text},
}

// resourceClasses are the standard ones of placement.
const resourceClasses = `VCPU|PCPU|MEMORY_MB|DISK_GB|PCI_DEVICE|SRIOV_NET_VF|NUMA_SOCKET|NUMA_CORE|NUMA_THREAD|` +
	`NUMA_MEMORY_MB|IPV4_ADDRESS|VGPU|VGPU_DISPLAY_HEAD|NET_BW_EGR_KILOBIT_PER_SEC|NET_BW_IGR_KILOBIT_PER_SEC|` +
	`NET_PACKET_RATE_KILOPACKET_PER_SEC|NET_PACKET_RATE_EGR_KILOPACKET_PER_SEC|NET_PACKET_RATE_IGR_KILOPACKET_PER_SEC|` +
	`MEM_ENCRYPTION_CONTEXT|FPGA|PGPU`

// validateSpec gives a 400 Fault for a key of a known namespace that is not one of the
// known, and for a value that its key does not take. Other namespaces are the operator's.
func validateSpec(name, given string) error {
	for _, s := range knownSpecs {
		if !s.form.MatchString(name) {
			continue
		}
		fault := s.value(given)
		if fault != nil {
			return fault
		}
		return nil
	}
	namespace, _, ok := strings.Cut(name, ":")
	if ok && namespaces.MatchString(namespace) {
		return compat.BadRequest("Validation failed; extra spec '%s' does not appear to be a valid extra spec.", name)
	}
	return nil
}

func spec(form string) *regexp.Regexp { return regexp.MustCompile(`^(?:` + form + `)$`) }

func text(string) *compat.Fault { return nil }

func oneOf(values ...string) value {
	return func(given string) *compat.Fault {
		if slices.Contains(values, given) {
			return nil
		}
		return compat.BadRequest("Validation failed; '%s' is not one of %s.", given, strings.Join(values, ", "))
	}
}

func like(form string) value {
	re := spec(form)
	return func(given string) *compat.Fault {
		if re.MatchString(given) {
			return nil
		}
		return compat.BadRequest("Validation failed; '%s' is not of the format '%s'.", given, form)
	}
}

// none is no bound of an integer.
const none = -1 << 62

func integer(least, most int) value {
	return func(given string) *compat.Fault {
		n, err := strconv.Atoi(strings.TrimSpace(given))
		switch {
		case err != nil:
			return compat.BadRequest("Validation failed; '%s' is not a valid integer value.", given)
		case least != none && n < least:
			return compat.BadRequest("Validation failed; '%s' is less than the min value of '%d'.", given, least)
		case most != none && n > most:
			return compat.BadRequest("Validation failed; '%s' is greater than the max value of '%d'.", given, most)
		}
		return nil
	}
}

func boolean(given string) *compat.Fault {
	if _, ok := words[strings.ToLower(strings.TrimSpace(given))]; ok {
		return nil
	}
	return compat.BadRequest("Validation failed; '%s' is not a valid boolean-like value.", given)
}
