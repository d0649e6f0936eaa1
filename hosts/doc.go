// Package hosts owns the hypervisor hosts: what they report, whether they are up, what is
// claimed on them, and the compute API's view of them (availability zones, services,
// hypervisors).
package hosts
