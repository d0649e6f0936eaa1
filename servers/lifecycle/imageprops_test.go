package lifecycle

import (
	"strings"
	"testing"

	"kilonova/work"
)

// TestImageProperties: what an image may say, in all its spellings, and what hosts are told.
func TestImageProperties(t *testing.T) {
	tests := []struct {
		name, value string
		as, told    string
		complaint   string
	}{
		{"os_type", "Linux", "os_type", "linux", ""}, {"os_type", "WINDOWS", "os_type", "windows", ""}, {"os_type", "beos", "", "", "Field value beos is invalid"},
		{"hw_vif_model", "VirtualE1000", "hw_vif_model", "e1000", ""}, {"hw_vif_model", "VirtualVmxnet3", "hw_vif_model", "vmxnet3", ""},
		{"hw_vif_model", "VIRTIO", "hw_vif_model", "virtio", ""}, {"hw_vif_model", "ne3000", "", "", "Field value ne3000 is invalid"},
		{"hw_disk_bus", "SCSI", "", "", "Field value SCSI is invalid"}, {"hw_disk_bus", "scsi", "hw_disk_bus", "scsi", ""}, {"hw_cdrom_bus", "nvme", "", "", "Field value nvme is invalid"},
		{"hw_scsi_model", "paraVirtual", "hw_scsi_model", "vmpvscsi", ""}, {"hw_scsi_model", "lsiLogicsas", "hw_scsi_model", "lsisas1068", ""},
		{"vmware_adaptertype", "ide", "hw_disk_bus", "ide", ""}, {"vmware_adaptertype", "lsiLogic", "hw_scsi_model", "lsilogic", ""}, {"vmware_adaptertype", "x", "", "", "Field value x is invalid"},
		{"architecture", "amd64", "hw_architecture", "x86_64", ""}, {"hw_architecture", "i586", "hw_architecture", "i686", ""}, {"architecture", "z80", "", "", "Architecture name 'z80' is not valid"},
		{"vm_mode", "HV", "hw_vm_mode", "hvm", ""}, {"hw_vm_mode", "x", "", "", "Virtual machine mode 'x' is not valid"},
		{"hypervisor_type", "xapi", "img_hv_type", "xen", ""}, {"img_hv_type", "QEMU", "img_hv_type", "qemu", ""}, {"img_hv_type", "x", "", "", "Hypervisor virt type 'x' is not valid"},
		{"hw_boot_menu", "YES", "hw_boot_menu", "true", ""}, {"hw_qemu_guest_agent", "nonsense", "hw_qemu_guest_agent", "false", ""},
		{"hw_cpu_cores", " 2 ", "hw_cpu_cores", "2", ""}, {"hw_cpu_cores", "two", "", "", "invalid literal for int() with base 10: 'two'"},
		{"hw_video_model", "VGA", "", "", "Field value VGA is invalid"}, {"hw_watchdog_action", "explode", "", "", "Field value explode is invalid"},
		{"img_config_drive", "always", "", "", "Field value always is invalid"}, {"hw_firmware_type", "efi", "", "", "Field value efi is invalid"},
		{"hypervisor_version_requires", ">=2.6", "img_hv_requested_version", ">=2.6", ""}, {"img_hv_requested_version", "new", "", "", "Version new is not a valid predicate"},
		{"hw_machine_type", "anything", "hw_machine_type", "anything", ""}, {"my_own", "Anything", "my_own", "Anything", ""}, {"hw_unknown", "X", "hw_unknown", "X", ""},
	}
	for _, tt := range tests {
		got, err := readImageProperties(map[string]string{tt.name: tt.value})
		switch {
		case tt.complaint != "":
			if err == nil || !strings.Contains(err.Error(), "Invalid image metadata. Error: "+tt.complaint) {
				t.Errorf("%s=%q: %v, %v; want %q", tt.name, tt.value, got, err, tt.complaint)
			}
		case err != nil || got[tt.as] != tt.told:
			t.Errorf("%s=%q: %v, %v; want %s=%q", tt.name, tt.value, got, err, tt.as, tt.told)
		}
	}
	got, err := readImageProperties(map[string]string{"architecture": "i686", "hw_architecture": "x86_64"})
	if err != nil || got["hw_architecture"] != "x86_64" || len(got) != 1 {
		t.Errorf("of two names: %v, %v", got, err)
	}
}

// TestFlavorsMeetImages: what a flavor forbids an image cannot ask for.
func TestFlavorsMeetImages(t *testing.T) {
	type texts = map[string]string
	tests := []struct {
		specs, properties texts
		vcpus             int
		complaint         string
	}{
		{texts{"hw:serial_port_count": "2"}, texts{"hw_serial_port_count": "2"}, 1, ""},
		{texts{"hw:serial_port_count": "2"}, texts{"hw_serial_port_count": "3"}, 1, "Forbidden to exceed flavor value of number of serial ports"},
		{texts{"hw:serial_port_count": "many"}, nil, 1, "expected an integer, got 'many'"},
		{texts{"hw:pmu": "yes"}, texts{"hw_pmu": "1"}, 1, ""},
		{texts{"hw:pmu": "no"}, texts{"hw_pmu": "1"}, 1, "Flavor m has hw:pmu extra spec explicitly set to False, conflicting with image i which has hw_pmu explicitly set to True."},
		{texts{"hw:vif_multiqueue_enabled": "true"}, texts{"hw_vif_multiqueue_enabled": "no"}, 1, ""},
		{texts{"hw:vif_multiqueue_enabled": "true"}, texts{"hw_vif_multiqueue_enabled": "no"}, 2, "hw:vif_multiqueue_enabled extra spec explicitly set to True"},
		{texts{"hw:cpu_max_sockets": "2"}, texts{"hw_cpu_max_sockets": "2", "hw_cpu_sockets": "2"}, 4, ""},
		{texts{"hw:cpu_max_sockets": "2"}, texts{"hw_cpu_max_sockets": "4"}, 4, "Image vCPU topology limits (sockets=4, cores=0, threads=0) exceeds the limits of the flavor (sockets=2, cores=0, threads=0)"},
		{texts{"hw:cpu_max_cores": "2"}, texts{"hw_cpu_cores": "4"}, 4, "Image vCPU topology (sockets=0, cores=4, threads=0) exceeds the limits of the flavor or image (sockets=65536, cores=2, threads=65536)"},
		{nil, texts{"hw_cpu_max_threads": "1", "hw_cpu_threads": "2"}, 4, "exceeds the limits of the flavor or image"},
		{texts{"hw:cpu_cores": "x"}, nil, 4, "Invalid flavor extra spec. Error: invalid literal for int() with base 10: 'x'"},
	}
	for _, tt := range tests {
		properties, err := readImageProperties(tt.properties)
		if err != nil {
			t.Fatal(err)
		}
		err = Meet(work.Flavor{Name: "m", VCPUs: tt.vcpus, ExtraSpecs: tt.specs}, "i", properties)
		if tt.complaint == "" && err != nil || tt.complaint != "" && (err == nil || !strings.Contains(err.Error(), tt.complaint)) {
			t.Errorf("%v and %v: %v; want %q", tt.specs, tt.properties, err, tt.complaint)
		}
	}
}
