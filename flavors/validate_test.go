package flavors_test

import (
	"fmt"
	"strings"
	"testing"

	"kilonova/flavors"
	"kilonova/flavors/apitest"
	"kilonova/schema"
)

func TestExtraSpecsAreHeldAgainstTheTable(t *testing.T) {
	good := map[string][]string{
		"whatever": {"", "x"}, "my:own": {"x"}, "my:hw:own": {"x"}, "accel:device_profile": {"gpu"},
		"aggregate_instance_extra_specs:ssd": {"true", "<or> a <or> b"}, "capabilities:cpu_info:features": {"<in> avx"},
		"hw:cpu_policy": {"dedicated", "shared", "mixed"}, "hw:cpu_realtime_mask": {"^0", "0-3,^1"}, "hw:cpu_cores": {"1", "64"},
		"hw:numa_cpus.0": {"0-3", "0,1"}, "hw:numa_mem.12": {"512"}, "hw:mem_page_size": {"large", "any", "2048", "2MB", "1GiB"},
		"hw:boot_menu": {"true", "Yes", "0"}, "hw:cpu_realtime": {"on"}, "hw:redirected_usb_ports": {"0", "15"}, "hw:tpm_version": {"2.0"},
		"quota:cpu_quota": {"-1", "5000"}, "quota:disk_read_iops_sec": {"100"}, "quota:vif_inbound_average": {"1"}, "quota:memory_shares_level": {"high"},
		"resources:VCPU": {"0", "2"}, "resources1:CUSTOM_GOLD": {"1"}, "resources_a-b:PCPU": {"1"}, "trait:HW_CPU_X86_AVX": {"required"},
		"trait2:CUSTOM_X": {"forbidden"}, "group_policy": {"none", "isolate"}, "hide_hypervisor_id": {"true"}, "pci_passthrough:alias": {"a1:2", "a1:2,b:1"},
		"hw_rng:allowed": {"True"}, "hw_video:ram_max_mb": {"64"}, "os:secure_boot": {"required"}, "vmware:hw_version": {"vmx-13"},
	}
	for name, values := range good {
		for _, v := range values {
			if err := flavors.ValidateSpec(name, v); err != nil {
				t.Errorf("%s=%s is refused: %v", name, v, err)
			}
		}
	}
	bad := map[string][]string{
		"hw:nope": {"1"}, "quota:nope": {"1"}, "resources:NOPE": {"1"}, "resources:vcpu": {"1"}, "trait:lower": {"required"}, "os:nope": {"x"},
		"hw:cpu_policy": {"", "Dedicated", "x"}, "hw:cpu_cores": {"0", "-1", "x", "1.5"}, "hw:numa_cpus.x": {"1"}, "hw:mem_page_size": {"huge", "2ZB"},
		"hw:boot_menu": {"maybe", ""}, "hw:redirected_usb_ports": {"16"}, "quota:cpu_shares": {"-1"}, "resources:VCPU": {"x"}, "trait:HW_X": {"maybe"},
		"group_policy": {"x"}, "pci_passthrough:alias": {"a1", "a1:x"}, "capabilities:": {"x"}, "accel:nope": {"x"}, "hw:numa_nodes": {"0"},
	}
	for name, values := range bad {
		for _, v := range values {
			err := flavors.ValidateSpec(name, v)
			if err == nil || !strings.Contains(fmt.Sprint(err), "400 Validation failed; ") {
				t.Errorf("%s=%s: %v, want a 400", name, v, err)
			}
		}
	}
}

func TestStatementsUseAnIndex(t *testing.T) {
	each(t, func(t *testing.T, _ *flavors.Service, _ *apitest.API, db *schema.DB) {
		for i := range 40 { // MariaDB reads a table of a few rows whole
			_, err := db.ExecContext(t.Context(), `INSERT INTO flavors (flavorid, name, vcpus, memory_mb, root_gb, ephemeral_gb, swap_mb, created_at)
				VALUES (?, ?, 1, 1, 1, 0, 0, 1)`, fmt.Sprint("id", i), fmt.Sprint("name", i))
			if err != nil {
				t.Fatal(err)
			}
		}
		for statement, args := range flavors.Statements {
			apitest.Indexed(t, db, statement, args...)
		}
	})
}
