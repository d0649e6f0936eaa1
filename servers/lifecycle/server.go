package lifecycle

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"

	"kilonova/compat"
	"kilonova/hosts"
	"kilonova/schema"
	"kilonova/work"
)

// Server is a row of the servers table.
type Server struct {
	ID             int64           `db:"id"`
	UUID           string          `db:"uuid"`
	ProjectID      string          `db:"project_id"`
	UserID         string          `db:"user_id"`
	Name           string          `db:"name"`
	Hostname       string          `db:"hostname"`
	Description    *string         `db:"description"`
	VMState        VMState         `db:"vm_state"`
	TaskState      *TaskState      `db:"task_state"`
	PowerState     work.PowerState `db:"power_state"`
	Progress       int             `db:"progress"`
	Generation     int64           `db:"generation"`
	Host           *string         `db:"host"`
	Node           *string         `db:"node"`
	FlavorID       string          `db:"flavor_id"`
	FlavorName     string          `db:"flavor_name"`
	VCPUs          int             `db:"vcpus"`
	MemoryMB       int             `db:"memory_mb"`
	RootGB         int             `db:"root_gb"`
	EphemeralGB    int             `db:"ephemeral_gb"`
	SwapMB         int             `db:"swap_mb"`
	ExtraSpecs     string          `db:"extra_specs"`
	ImageID        string          `db:"image_id"`
	ImageMeta      string          `db:"image_meta"`
	Metadata       string          `db:"metadata"`
	KeyName        *string         `db:"key_name"`
	KeyData        *string         `db:"key_data"`
	UserData       *string         `db:"user_data"`
	Files          *string         `db:"files"`
	ConfigDrive    bool            `db:"config_drive"`
	AccessIPv4     string          `db:"access_ip_v4"`
	AccessIPv6     string          `db:"access_ip_v6"`
	DiskConfig     string          `db:"disk_config"`
	RequestedZone  *string         `db:"requested_zone"`
	Zone           *string         `db:"zone"`
	PinnedZone     *string         `db:"pinned_zone"`
	LaunchIndex    int             `db:"launch_index"`
	ReservationID  string          `db:"reservation_id"`
	RootDeviceName *string         `db:"root_device_name"`
	SecurityGroups string          `db:"security_groups"`
	SchedulerHints string          `db:"scheduler_hints"`
	Placement      *string         `db:"placement"`
	TrustedCerts   *string         `db:"trusted_certs"`
	LockedBy       *string         `db:"locked_by"`
	LockedReason   *string         `db:"locked_reason"`
	Attempts       int             `db:"attempts"`
	TriedHosts     *string         `db:"tried_hosts"`
	MigrationID    *int64          `db:"migration_id"`
	FaultCode      int             `db:"fault_code"`
	FaultMessage   *string         `db:"fault_message"`
	FaultDetails   *string         `db:"fault_details"`
	FaultAt        schema.Micros   `db:"fault_at"`
	CreatedAt      schema.Micros   `db:"created_at"`
	UpdatedAt      schema.Micros   `db:"updated_at"`
	LaunchedAt     schema.Micros   `db:"launched_at"`
	TerminatedAt   schema.Micros   `db:"terminated_at"`
	Deleted        bool            `db:"deleted"`
}

// Columns lists the servers table in the order of Server's fields.
const Columns = `id, uuid, project_id, user_id, name, hostname, description, vm_state, task_state,
power_state, progress, generation, host, node, flavor_id, flavor_name, vcpus, memory_mb, root_gb,
ephemeral_gb, swap_mb, extra_specs, image_id, image_meta, metadata, key_name, key_data, user_data,
files, config_drive, access_ip_v4, access_ip_v6, disk_config, requested_zone, zone, pinned_zone,
launch_index, reservation_id, root_device_name, security_groups, scheduler_hints, placement, trusted_certs,
locked_by, locked_reason, attempts, tried_hosts, migration_id, fault_code, fault_message,
fault_details, fault_at, created_at, updated_at, launched_at, terminated_at, deleted`

// Fields are where the columns go, in the order of columns.
func (v *Server) Fields() []any {
	return []any{
		&v.ID, &v.UUID, &v.ProjectID, &v.UserID, &v.Name, &v.Hostname, &v.Description, &v.VMState, &v.TaskState,
		&v.PowerState, &v.Progress, &v.Generation, &v.Host, &v.Node, &v.FlavorID, &v.FlavorName, &v.VCPUs,
		&v.MemoryMB, &v.RootGB, &v.EphemeralGB, &v.SwapMB, &v.ExtraSpecs, &v.ImageID, &v.ImageMeta, &v.Metadata,
		&v.KeyName, &v.KeyData, &v.UserData, &v.Files, &v.ConfigDrive, &v.AccessIPv4, &v.AccessIPv6, &v.DiskConfig,
		&v.RequestedZone, &v.Zone, &v.PinnedZone, &v.LaunchIndex, &v.ReservationID, &v.RootDeviceName,
		&v.SecurityGroups, &v.SchedulerHints, &v.Placement, &v.TrustedCerts, &v.LockedBy, &v.LockedReason,
		&v.Attempts, &v.TriedHosts, &v.MigrationID, &v.FaultCode, &v.FaultMessage, &v.FaultDetails, &v.FaultAt,
		&v.CreatedAt, &v.UpdatedAt, &v.LaunchedAt, &v.TerminatedAt, &v.Deleted,
	}
}

// PolicyTarget is the server's project.
func (s *Server) PolicyTarget() compat.Target {
	return compat.Target{ProjectID: s.ProjectID, UserID: s.UserID}
}

// ServerID gives the uuid, for packages that work on a resolved server.
func (s *Server) ServerID() string { return s.UUID }

// Project gives the owning project.
func (s *Server) Project() string { return s.ProjectID }

// Task gives the task state, "" for none.
func (s *Server) Task() TaskState {
	if s.TaskState == nil {
		return ""
	}
	return *s.TaskState
}

// HostName gives the host, "" for none.
func (s *Server) HostName() string {
	if s.Host == nil {
		return ""
	}
	return *s.Host
}

// HostID is the opaque name of the host that a project sees: two of its servers with the
// same value are on one host.
func (s *Server) HostID() string {
	if s.HostName() == "" {
		return ""
	}
	sum := sha256.Sum224([]byte(s.ProjectID + s.HostName()))
	return hex.EncodeToString(sum[:])
}

// InstanceName is the domain's name on the hypervisor.
func (s *Server) InstanceName() string { return work.InstanceName(s.ID) }

// Flavor gives the flavor as it was at boot.
func (s *Server) Flavor() work.Flavor {
	f := work.Flavor{ID: s.FlavorID, Name: s.FlavorName, VCPUs: s.VCPUs, MemoryMB: s.MemoryMB,
		RootGB: s.RootGB, EphemeralGB: s.EphemeralGB, SwapMB: s.SwapMB}
	Decode(s.ExtraSpecs, &f.ExtraSpecs)
	return f
}

// needOf is what a flavor takes of a host.
func needOf(f work.Flavor) hosts.Need {
	return hosts.Need{VCPUs: f.VCPUs, MemoryMB: f.MemoryMB, DiskGB: f.RootGB + f.EphemeralGB + (f.SwapMB+1023)/1024}
}

// larger is what a server takes while a resize may still go either way.
func larger(a, b hosts.Need) hosts.Need {
	return hosts.Need{VCPUs: max(a.VCPUs, b.VCPUs), MemoryMB: max(a.MemoryMB, b.MemoryMB), DiskGB: max(a.DiskGB, b.DiskGB)}
}

// Decode reads a JSON column that this package wrote. A column that cannot be read is as
// good as empty: the row must stay usable.
func Decode(column string, into any) {
	if column == "" {
		return
	}
	err := json.Unmarshal([]byte(column), into)
	if err != nil {
		return
	}
}

// Encode writes a JSON column.
func Encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("servers: %T cannot be JSON: %v", v, err)) // only types of ours come here
	}
	return string(b)
}

func EncodePtr(v any) *string {
	s := Encode(v)
	return &s
}
