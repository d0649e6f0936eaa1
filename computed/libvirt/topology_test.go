package libvirt

import (
	"testing"

	"kilonova/work"
)

// TestImageTopology: the image's wish counts where the processors can be had in that form.
func TestImageTopology(t *testing.T) {
	type texts = map[string]string
	tests := []struct {
		vcpus      int
		properties texts
		want       topology
	}{
		{4, nil, topology{}}, {4, texts{"hw_cpu_cores": "2"}, topology{Cores: 2}}, {4, texts{"hw_cpu_cores": "2", "hw_cpu_threads": "2"}, topology{Cores: 2, Threads: 2}},
		{4, texts{"hw_cpu_sockets": "4"}, topology{Sockets: 4}}, {4, texts{"hw_cpu_sockets": "2"}, topology{}}, {4, texts{"hw_cpu_cores": "3"}, topology{}},
		{4, texts{"hw_cpu_sockets": "-1", "hw_cpu_cores": "-4"}, topology{}}, {4, texts{"hw_cpu_cores": "x"}, topology{}}, {1, texts{"hw_cpu_cores": "9999999999"}, topology{}},
	}
	for _, tt := range tests {
		got := imageTopology(&work.Guest{Flavor: work.Flavor{VCPUs: tt.vcpus}, Image: work.Image{Properties: tt.properties}})
		if got != tt.want {
			t.Errorf("%d processors, %v: %+v, want %+v", tt.vcpus, tt.properties, got, tt.want)
		}
	}
}
