module kilonova

go 1.26

require libvirt.org/go/libvirt v1.11006.0

replace libvirt.org/go/libvirt => ./third_party/libvirt
