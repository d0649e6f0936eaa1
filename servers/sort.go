package servers

import (
	"strings"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

// sortKey is a column to sort by; expr is never NULL, so that pages meet without a gap.
type sortKey struct {
	expr string
	desc bool
	of   func(*lifecycle.Server) any
}

func text(p *string) any {
	if p == nil {
		return ""
	}
	return *p
}

// sortable are the sort keys; admin keys show where a server runs.
var sortable = map[string]struct {
	expr  string
	of    func(*lifecycle.Server) any
	admin bool
}{
	"access_ip_v4":        {"access_ip_v4", func(v *lifecycle.Server) any { return v.AccessIPv4 }, false},
	"access_ip_v6":        {"access_ip_v6", func(v *lifecycle.Server) any { return v.AccessIPv6 }, false},
	"auto_disk_config":    {"disk_config", func(v *lifecycle.Server) any { return v.DiskConfig }, false},
	"availability_zone":   {"COALESCE(zone, '')", func(v *lifecycle.Server) any { return text(v.Zone) }, false},
	"config_drive":        {"config_drive", func(v *lifecycle.Server) any { return v.ConfigDrive }, false},
	"created_at":          {"created_at", func(v *lifecycle.Server) any { return v.CreatedAt }, false},
	"display_description": {"COALESCE(description, '')", func(v *lifecycle.Server) any { return text(v.Description) }, false},
	"display_name":        {"name", func(v *lifecycle.Server) any { return v.Name }, false},
	"host":                {"COALESCE(host, '')", func(v *lifecycle.Server) any { return text(v.Host) }, true},
	"hostname":            {"hostname", func(v *lifecycle.Server) any { return v.Hostname }, false},
	"image_ref":           {"image_id", func(v *lifecycle.Server) any { return v.ImageID }, false},
	"instance_type_id":    {"flavor_id", func(v *lifecycle.Server) any { return v.FlavorID }, false},
	"kernel_id":           {"''", func(*lifecycle.Server) any { return "" }, false},
	"key_name":            {"COALESCE(key_name, '')", func(v *lifecycle.Server) any { return text(v.KeyName) }, false},
	"launch_index":        {"launch_index", func(v *lifecycle.Server) any { return v.LaunchIndex }, false},
	"launched_at":         {"launched_at", func(v *lifecycle.Server) any { return v.LaunchedAt }, false},
	"locked":              {"(locked_by IS NOT NULL)", func(v *lifecycle.Server) any { return v.LockedBy != nil }, false},
	"locked_by":           {"COALESCE(locked_by, '')", func(v *lifecycle.Server) any { return text(v.LockedBy) }, false},
	"node":                {"COALESCE(node, '')", func(v *lifecycle.Server) any { return text(v.Node) }, true},
	"power_state":         {"power_state", func(v *lifecycle.Server) any { return v.PowerState }, false},
	"progress":            {"progress", func(v *lifecycle.Server) any { return v.Progress }, false},
	"project_id":          {"project_id", func(v *lifecycle.Server) any { return v.ProjectID }, false},
	"ramdisk_id":          {"''", func(*lifecycle.Server) any { return "" }, false},
	"root_device_name":    {"COALESCE(root_device_name, '')", func(v *lifecycle.Server) any { return text(v.RootDeviceName) }, false},
	"task_state":          {"COALESCE(task_state, '')", func(v *lifecycle.Server) any { return string(v.Task()) }, false},
	"terminated_at":       {"terminated_at", func(v *lifecycle.Server) any { return v.TerminatedAt }, false},
	"updated_at":          {"updated_at", func(v *lifecycle.Server) any { return v.UpdatedAt }, false},
	"user_id":             {"user_id", func(v *lifecycle.Server) any { return v.UserID }, false},
	"uuid":                {"uuid", func(v *lifecycle.Server) any { return v.UUID }, false},
	"vm_state":            {"vm_state", func(v *lifecycle.Server) any { return string(v.VMState) }, false},
}

// sortOf reads sort_key and sort_dir; the order always ends with the row's key, so that it
// is total. Keys that the schema lets pass and we do not know are ignored, as Nova does.
func sortOf(r *compat.Request) ([]sortKey, error) {
	keys, dirs := r.Query["sort_key"], r.Query["sort_dir"]
	for _, d := range dirs {
		if d != "asc" && d != "desc" {
			return nil, compat.BadRequest("Unknown sort direction, must be one of: asc, desc")
		}
	}
	if len(dirs) > max(len(keys), 1) {
		return nil, compat.BadRequest("Invalid input received: Sort direction size exceeds sort key size")
	}
	dir := func(i int) bool {
		switch {
		case i < len(dirs):
			return dirs[i] != "asc"
		case len(dirs) > 0:
			return dirs[len(dirs)-1] != "asc"
		}
		return true
	}
	var out []sortKey
	for i, name := range keys {
		k, ok := sortable[name]
		if !ok {
			continue
		}
		if k.admin && !r.Caller.IsAdmin() {
			return nil, compat.Forbidden("Only administrators can sort servers by %s", name)
		}
		out = append(out, sortKey{k.expr, dir(i), k.of})
	}
	if len(keys) == 0 {
		out = append(out, sortKey{"created_at", dir(0), sortable["created_at"].of})
	}
	return append(out, sortKey{"id", out == nil || out[0].desc, func(v *lifecycle.Server) any { return v.ID }}), nil
}

func orderBy(order []sortKey) string {
	var parts []string
	for _, k := range order {
		if k.desc {
			parts = append(parts, k.expr+" DESC")
		} else {
			parts = append(parts, k.expr)
		}
	}
	return strings.Join(parts, ", ")
}

// after starts the page behind the marker: rows that sort after it, key by key.
func (s *Service) after(r *compat.Request, q *query, order []sortKey) error {
	marker, ok := last(r.Query, "marker")
	if !ok {
		return nil
	}
	v, err := lifecycle.Get(r.Context(), s.DB, marker)
	if err != nil {
		return err
	}
	if v == nil || v.ProjectID != r.Caller.ProjectID && !r.Caller.IsAdmin() {
		return compat.BadRequest("marker [%s] not found", marker)
	}
	var alternatives []string
	var args []any
	for i, k := range order {
		cond := ""
		for _, before := range order[:i] {
			cond += before.expr + " = ? AND "
			args = append(args, before.of(v))
		}
		op := " > ?"
		if k.desc {
			op = " < ?"
		}
		alternatives = append(alternatives, "("+cond+k.expr+op+")")
		args = append(args, k.of(v))
	}
	q.and("("+strings.Join(alternatives, " OR ")+")", args...)
	return nil
}
