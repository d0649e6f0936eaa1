package work

import "time"

// Kind names what a host is asked to do.
type Kind string

// The kinds of work. Each has a workflow in computed and a deadline in Deadlines.
const (
	Spawn         Kind = "spawn"
	Delete        Kind = "delete"
	Start         Kind = "start"
	Stop          Kind = "stop"
	SoftReboot    Kind = "soft_reboot"
	HardReboot    Kind = "hard_reboot"
	Pause         Kind = "pause"
	Unpause       Kind = "unpause"
	Suspend       Kind = "suspend"
	Resume        Kind = "resume"
	Rebuild       Kind = "rebuild"
	ResizePrep    Kind = "resize"
	ConfirmResize Kind = "confirm_resize"
	RevertResize  Kind = "revert_resize"
	Snapshot      Kind = "snapshot"
	SetPassword   Kind = "set_password"
	Replug        Kind = "replug" // a guest's ports became others; its state is not touched
	ConsoleOutput Kind = "console_output"
	Diagnose      Kind = "diagnostics"
)

// Phases are the task_states that a server passes through while its host works.
var Phases = []string{
	"networking", "block_device_mapping", "spawning",
	"rebuild_block_device_mapping", "rebuild_spawning",
	"reboot_started", "reboot_started_hard",
	"resize_migrating", "resize_migrated", "resize_finish",
	"image_snapshot", "image_uploading",
}

// State is where a work row stands.
type State string

// The life of a work row: queued by the API, running on its host, done or failed with a
// result, and then deleted by the API once the result has been applied.
const (
	Queued  State = "queued"
	Running State = "running"
	Done    State = "done"
	Failed  State = "failed"
)

// Deadlines bound each kind of work: the keeper ends what is older. They cover waiting in
// the queue as well as the doing.
var Deadlines = map[Kind]time.Duration{
	Spawn:         30 * time.Minute,
	Delete:        10 * time.Minute,
	Start:         5 * time.Minute,
	Stop:          5 * time.Minute,
	SoftReboot:    10 * time.Minute,
	HardReboot:    5 * time.Minute,
	Pause:         2 * time.Minute,
	Unpause:       2 * time.Minute,
	Suspend:       10 * time.Minute,
	Resume:        5 * time.Minute,
	Rebuild:       30 * time.Minute,
	ResizePrep:    30 * time.Minute,
	ConfirmResize: 10 * time.Minute,
	RevertResize:  10 * time.Minute,
	Snapshot:      60 * time.Minute,
	SetPassword:   2 * time.Minute,
	Replug:        24 * time.Hour, // for a host that is away: its guests run on under the old rules
	ConsoleOutput: 30 * time.Second,
	Diagnose:      30 * time.Second,
}

// Args is what a host needs to know to carry out a piece of work. Guest is always set;
// the other fields belong to the kinds that their comments name.
type Args struct {
	Guest Guest `json:"guest"`

	// Old is the guest as it was before a resize or rebuild (ResizePrep, RevertResize,
	// ConfirmResize, Rebuild).
	Old *Guest `json:"old,omitempty"`
	// PowerOn says whether the guest shall run when the work is done (Rebuild,
	// ResizePrep, RevertResize).
	PowerOn bool `json:"power_on,omitempty"`
	// ShutdownTimeout is how long a guest may take to shut down by itself, in seconds
	// (Stop, SoftReboot, ResizePrep); 0 means power off at once.
	ShutdownTimeout int `json:"shutdown_timeout,omitempty"`
	// Upload is where a snapshot's data goes (Snapshot).
	Upload *Transfer `json:"upload,omitempty"`
	// Password is the new password of the guest's administrator (SetPassword).
	Password string `json:"password,omitempty"`
	// Length is how many lines of console output to give, 0 for all (ConsoleOutput).
	Length int `json:"length,omitempty"`
}

// Transfer is a signed address from which image data can be read, or to which it can be
// written, without any other credential, until it expires.
type Transfer struct {
	ImageID string `json:"image_id"`
	URL     string `json:"url"`
	Ticket  string `json:"ticket"` // value of the X-Image-Ticket header
}

// Result is what a host says of a piece of work. Message is for people and holds no
// host paths or secrets; Detail may, and is shown to administrators alone.
type Result struct {
	PowerState PowerState `json:"power_state"`
	Message    string     `json:"message,omitempty"`
	Detail     string     `json:"detail,omitempty"`
	// Retry says that another host may succeed where this one failed (Spawn).
	Retry bool `json:"retry,omitempty"`
	// Output is the answer of ConsoleOutput and Diagnose.
	Output string `json:"output,omitempty"`
	// Reason classifies some failures for the API ("no_agent", "no_console", "disk_too_small").
	Reason string `json:"reason,omitempty"`
	// Ports are those that could not be plugged.
	Ports []PortFailure `json:"ports,omitempty"`
	// MinDiskGB and such of a snapshot are known to the API already.
}

// PortFailure says why a port could not be plugged, for administrators.
type PortFailure struct {
	Port string `json:"port"`
	Why  string `json:"why"`
}

// Reasons of Result.Reason.
const (
	ReasonNoAgent      = "no_agent"
	ReasonNoConsole    = "no_console"
	ReasonNoInstance   = "no_instance"
	ReasonDiskTooSmall = "disk_too_small"
)

// PowerState is Nova's power_state number.
type PowerState int

// The power states that clients see; 2 and 5 are unused.
const (
	NoState   PowerState = 0
	PoweredOn PowerState = 1
	Paused    PowerState = 3
	Shutdown  PowerState = 4
	Crashed   PowerState = 6
	Suspended PowerState = 7
)

var powerStateNames = map[PowerState]string{
	NoState: "pending", PoweredOn: "running", Paused: "paused",
	Shutdown: "shutdown", Crashed: "crashed", Suspended: "suspended",
}

// String gives the name that conflict messages use.
func (p PowerState) String() string { return powerStateNames[p] }
