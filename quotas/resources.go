package quotas

import (
	"slices"

	"kilonova/compat"
)

// resource is one thing that has a limit, with the microversions at which the documents of
// os-quota-sets and os-quota-class-sets have it.
type resource struct {
	name    string
	builtin int
	sets    compat.Range
	classes compat.Range
}

// Where the documents change.
var (
	always       = compat.Range{Min: compat.MinVersion, Max: compat.MaxVersion}
	networkSets  = compat.Range{Min: compat.MinVersion, Max: 35}
	networkClass = compat.Range{Min: compat.MinVersion, Max: 49}
	groupClass   = compat.Range{Min: 50, Max: compat.MaxVersion}
	files        = compat.Range{Min: compat.MinVersion, Max: 56}
)

var resources = []resource{
	{"cores", 20, always, always},
	{"fixed_ips", -1, networkSets, networkClass},
	{"floating_ips", -1, networkSets, networkClass},
	{"injected_file_content_bytes", 10240, files, files},
	{"injected_file_path_bytes", 255, files, files},
	{"injected_files", 5, files, files},
	{"instances", 10, always, always},
	{"key_pairs", 100, always, always},
	{"metadata_items", 128, always, always},
	{"ram", 51200, always, always},
	{"security_group_rules", -1, networkSets, networkClass},
	{"security_groups", -1, networkSets, networkClass},
	{"server_group_members", 10, always, groupClass},
	{"server_groups", 10, always, groupClass},
}

// counted are the resources that servers hold, in the order that messages name them.
var counted = []string{"cores", "instances", "ram"}

func builtin(name string) int {
	i := slices.IndexFunc(resources, func(r resource) bool { return r.name == name })
	if i < 0 {
		return -1
	}
	return resources[i].builtin
}

func known(name string) bool {
	return slices.ContainsFunc(resources, func(r resource) bool { return r.name == name })
}
