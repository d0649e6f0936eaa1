package lifecycle

import (
	"slices"

	"kilonova/compat"
	"kilonova/work"
)

// VMState is Nova's vm_state: where a server rests.
type VMState string

// The vm_states.
const (
	Active     VMState = "active"
	Building   VMState = "building"
	PausedVM   VMState = "paused"
	SuspendVM  VMState = "suspended"
	Stopped    VMState = "stopped"
	Rescued    VMState = "rescued"
	Resized    VMState = "resized"
	SoftDelete VMState = "soft-delete"
	DeletedVM  VMState = "deleted"
	ErrorVM    VMState = "error"
	Shelved    VMState = "shelved"
	Offloaded  VMState = "shelved_offloaded"
)

// TaskState is Nova's task_state: what is being done to a server.
type TaskState string

// The task_states that kilonova sets. computed sets those that a workflow passes through.
const (
	Scheduling       TaskState = "scheduling"
	Spawning         TaskState = "spawning"
	Deleting         TaskState = "deleting"
	PoweringOn       TaskState = "powering-on"
	PoweringOff      TaskState = "powering-off"
	Rebooting        TaskState = "rebooting"
	RebootingHard    TaskState = "rebooting_hard"
	Pausing          TaskState = "pausing"
	Unpausing        TaskState = "unpausing"
	Suspending       TaskState = "suspending"
	Resuming         TaskState = "resuming"
	Rebuilding       TaskState = "rebuilding"
	ResizePrep       TaskState = "resize_prep"
	ResizeReverting  TaskState = "resize_reverting"
	SnapshotPending  TaskState = "image_snapshot_pending"
	UpdatingPassword TaskState = "updating_password"
)

// Statuses is what clients see as "status": by vm_state, and in some by task_state. The
// entry under "" is the default.
var Statuses = map[VMState]map[TaskState]string{
	Active: {"": "ACTIVE",
		Rebooting: "REBOOT", "reboot_pending": "REBOOT", "reboot_started": "REBOOT",
		RebootingHard: "HARD_REBOOT", "reboot_pending_hard": "HARD_REBOOT", "reboot_started_hard": "HARD_REBOOT",
		UpdatingPassword: "PASSWORD",
		Rebuilding:       "REBUILD", "rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD",
		"migrating": "MIGRATING",
		ResizePrep:  "RESIZE", "resize_migrating": "RESIZE", "resize_migrated": "RESIZE", "resize_finish": "RESIZE"},
	Building: {"": "BUILD"},
	Stopped: {"": "SHUTOFF",
		ResizePrep: "RESIZE", "resize_migrating": "RESIZE", "resize_migrated": "RESIZE", "resize_finish": "RESIZE",
		Rebuilding: "REBUILD", "rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD"},
	Resized:    {"": "VERIFY_RESIZE", ResizeReverting: "REVERT_RESIZE"},
	PausedVM:   {"": "PAUSED", "migrating": "MIGRATING"},
	SuspendVM:  {"": "SUSPENDED"},
	Rescued:    {"": "RESCUE"},
	ErrorVM:    {"": "ERROR", Rebuilding: "REBUILD", "rebuild_block_device_mapping": "REBUILD", "rebuild_spawning": "REBUILD"},
	SoftDelete: {"": "SOFT_DELETED"},
	DeletedVM:  {"": "DELETED"},
	Shelved:    {"": "SHELVED"},
	Offloaded:  {"": "SHELVED_OFFLOADED"},
}

// Status is the string that clients read.
func (s *Server) Status() string {
	if s.Deleted {
		return "DELETED"
	}
	byTask, ok := Statuses[s.VMState]
	if !ok {
		return "UNKNOWN"
	}
	if st, ok := byTask[s.Task()]; ok {
		return st
	}
	return byTask[""]
}

// transition is one row of the state table: what allows an action, what it begins, and
// what follows. task_state must be null unless Tasks or AnyTask say otherwise.
type transition struct {
	Name     string      // as conflict messages call the action
	From     []VMState   // nil: any
	Tasks    []TaskState // allowed besides null
	AnyTask  bool
	Unborn   bool // also for servers that never were active (launched_at unset)
	Unlocked bool // the lock does not matter
	Fence    bool // ends work that is under way, though it queues none: such work no longer counts
	LockMute bool // the conflict does not say that a lock is the reason: Nova names only the action
	HasHost  bool
	Task     TaskState // set while the work runs
	Action   string    // the instance action that is recorded
	Events   []string  // and its events, in their order
	Kind     work.Kind // what the host does
	Done     VMState   // afterwards; "" keeps the one before
	Failed   VMState   // after a failure; "" keeps the one before
	Launches bool      // sets launched_at when done
	Asks     bool      // the host is asked something: nothing of the server changes
	Buries   bool      // work that is overdue is taken for done: the host clears up when it is back

	// Prepare changes the row further, takes quota and room, and builds what the host is to
	// know; nil tells it of the guest alone. It may run more than once.
	Prepare func(b *beginning) (*work.Args, error)
	// Settle does, when the host has reported, what the columns above do not say: claims,
	// quota, ports, another vm_state, more work.
	Settle func(x *settling) error
}

// Events of a resize before a host has a part in it.
const (
	conductorMigrate = "conductor_migrate_server"
	coldMigrate      = "cold_migrate"
)

var (
	restStates   = []VMState{Active, Stopped, PausedVM, SuspendVM}
	anyButTasks  = []TaskState{Rebooting, "reboot_pending", "reboot_started", RebootingHard, Resuming, Unpausing, Pausing, Suspending}
	updateStates = []VMState{Active, PausedVM, SuspendVM, Stopped}
)

// transitions is the state table. Everything that says which state allows what, and what
// follows, stands here.
var transitions = map[string]transition{
	OpCreate: {Name: "create", Task: Scheduling, Action: "create", Events: []string{"compute__do_build_and_run_instance"},
		Kind: work.Spawn, Done: Active, Failed: ErrorVM, Launches: true, Settle: settleSpawn},
	OpDelete: {Name: "delete", AnyTask: true, Unborn: true, Task: Deleting, Action: "delete",
		Events: []string{"compute_terminate_instance"}, Kind: work.Delete, Done: DeletedVM, Failed: ErrorVM, Buries: true, Settle: settleDelete},
	OpForceDelete: {Name: "forceDelete", AnyTask: true, Unborn: true, Task: Deleting, Action: "delete",
		Events: []string{"compute_terminate_instance"}, Kind: work.Delete, Done: DeletedVM, Failed: ErrorVM, Buries: true, Settle: settleDelete},
	OpStart: {Name: "start", From: []VMState{Stopped}, HasHost: true, Task: PoweringOn, Action: "start",
		Events: []string{"compute_start_instance"}, Kind: work.Start, Done: Active, Failed: ErrorVM},
	OpStop: {Name: "stop", From: []VMState{Active, ErrorVM}, HasHost: true, Task: PoweringOff, Action: "stop",
		Events: []string{"compute_stop_instance"}, Kind: work.Stop, Done: Stopped, Failed: ErrorVM, Prepare: prepareStop},
	OpRebootSoft: {Name: "reboot", From: []VMState{Active}, Task: Rebooting, Action: "reboot",
		Events: []string{"compute_reboot_instance"}, Kind: work.SoftReboot, Done: Active, Failed: ErrorVM,
		Prepare: prepareReboot, Settle: settleReboot},
	OpRebootHard: {Name: "reboot", From: []VMState{Active, Stopped, PausedVM, SuspendVM, ErrorVM}, Tasks: anyButTasks,
		Task: RebootingHard, Action: "reboot", Events: []string{"compute_reboot_instance"}, Kind: work.HardReboot, Done: Active, Failed: ErrorVM,
		Prepare: prepareReboot, Settle: settleReboot},
	OpPause: {Name: "pause", From: []VMState{Active}, Task: Pausing, Action: "pause",
		Events: []string{"compute_pause_instance"}, Kind: work.Pause, Done: PausedVM, Failed: ErrorVM},
	OpUnpause: {Name: "unpause", From: []VMState{PausedVM}, Task: Unpausing, Action: "unpause",
		Events: []string{"compute_unpause_instance"}, Kind: work.Unpause, Done: Active, Failed: ErrorVM},
	OpSuspend: {Name: "suspend", From: []VMState{Active}, Task: Suspending, Action: "suspend",
		Events: []string{"compute_suspend_instance"}, Kind: work.Suspend, Done: SuspendVM, Failed: ErrorVM},
	OpResume: {Name: "resume", From: []VMState{SuspendVM}, Task: Resuming, Action: "resume",
		Events: []string{"compute_resume_instance"}, Kind: work.Resume, Done: Active, Failed: ErrorVM},
	OpRebuild: {Name: "rebuild", From: []VMState{Active, Stopped, ErrorVM}, Task: Rebuilding, Action: "rebuild",
		Events: []string{"rebuild_server", "compute_rebuild_instance"}, Kind: work.Rebuild, Done: Active, Failed: ErrorVM, Launches: true,
		Prepare: prepareRebuild, Settle: settleRebuild},
	OpResize: {Name: "resize", From: []VMState{Active, Stopped}, HasHost: true, Task: ResizePrep, Action: "resize",
		Events: []string{conductorMigrate, coldMigrate, "compute_prep_resize", "compute_resize_instance", "compute_finish_resize"}, Kind: work.ResizePrep, Done: Resized, Launches: true,
		Prepare: prepareResize, Settle: settleResize},
	OpConfirm: {Name: "confirmResize", From: []VMState{Resized}, Action: "confirmResize",
		Events: []string{"compute_confirm_resize"}, Kind: work.ConfirmResize, Done: Active, Failed: ErrorVM,
		Prepare: prepareConfirm, Settle: settleConfirm},
	OpRevert: {Name: "revertResize", From: []VMState{Resized}, Task: ResizeReverting, Action: "revertResize",
		Events: []string{"compute_revert_resize", "compute_finish_revert_resize"}, Kind: work.RevertResize, Done: Active, Failed: ErrorVM, Launches: true,
		Prepare: prepareRevert, Settle: settleRevert},
	OpCreateImage: {Name: "createImage", From: restStates, Unlocked: true, Task: SnapshotPending, Action: "createImage",
		Events: []string{"compute_snapshot_instance"}, Kind: work.Snapshot, Prepare: prepareSnapshot},
	OpPassword: {Name: "changePassword", LockMute: true, From: []VMState{Active}, Task: UpdatingPassword, Action: "changePassword",
		Events: []string{"compute_set_admin_password"}, Kind: work.SetPassword, Done: Active, Prepare: preparePassword},
	OpMetaUpdate:  {Name: "update metadata", From: updateStates, AnyTask: true},
	OpMetaDelete:  {Name: "delete metadata", From: updateStates, AnyTask: true},
	OpTagUpdate:   {Name: "update tag", From: updateStates, AnyTask: true, Unborn: true, Unlocked: true},
	OpTagsUpdate:  {Name: "update tags", From: updateStates, AnyTask: true, Unborn: true, Unlocked: true},
	OpTagDelete:   {Name: "delete tag", From: updateStates, AnyTask: true, Unborn: true, Unlocked: true},
	OpTagsDelete:  {Name: "delete tags", From: updateStates, AnyTask: true, Unborn: true, Unlocked: true},
	OpConsole:     {Name: "get_console_output", AnyTask: true, Unborn: true, Unlocked: true, HasHost: true, Kind: work.ConsoleOutput, Asks: true},
	OpDiagnostics: {Name: "get_diagnostics", AnyTask: true, Unborn: true, Unlocked: true, HasHost: true, Kind: work.Diagnose, Asks: true},
	OpResetState:  {Name: "resetState", AnyTask: true, Unborn: true, Unlocked: true, Fence: true, Action: "resetState", Prepare: prepareReset},
	OpLock:        {Name: "lock", AnyTask: true, Unborn: true, Unlocked: true, Action: "lock", Events: []string{"api_lock"}, Prepare: prepareLock},
	OpUnlock:      {Name: "unlock", AnyTask: true, Unborn: true, Unlocked: true, Action: "unlock", Events: []string{"api_unlock"}, Prepare: prepareUnlock},
	OpRestore:     {Name: "restore", LockMute: true, From: []VMState{SoftDelete}, Action: "restore"},
}

// moves reports whether the action is a change of state, after which work that was made
// before it changes nothing. Locks, and whatever else queues no work, leave running work be.
func (t transition) moves() bool { return t.Kind != "" || t.Fence }

// Check reports whether the server's state allows the action for this caller: a 409 Fault
// with Nova's text otherwise, lock first, then vm_state, task_state and launched_at.
func (t transition) Check(s *Server, c *compat.Caller) error {
	if s.LockedBy != nil && !t.Unlocked && !c.IsAdmin() {
		if t.LockMute {
			return compat.Conflict("Instance %s is in an invalid state for '%s'", s.UUID, t.Name)
		}
		return compat.Conflict("Instance %s is locked", s.UUID)
	}
	if t.From != nil && !slices.Contains(t.From, s.VMState) {
		return t.conflict(s, "vm_state", string(s.VMState))
	}
	if task := s.Task(); task != "" && !t.AnyTask && !slices.Contains(t.Tasks, task) {
		return t.conflict(s, "task_state", string(task))
	}
	if s.LaunchedAt == 0 && !t.Unborn {
		return t.conflict(s, "launched_at", "None")
	}
	if t.HasHost && s.HostName() == "" {
		return compat.Conflict("Instance %s is not ready", s.UUID)
	}
	return nil
}

// Check is the state table's word on an action: nil, or a Fault.
func Check(op string, v *Server, c *compat.Caller) error { return transitions[op].Check(v, c) }

// Conflict is the Fault of an action that something else of the server forbids.
func Conflict(op string, v *Server, attr, state string) error {
	return transitions[op].conflict(v, attr, state)
}

func (t transition) conflict(s *Server, attr, state string) error {
	return compat.Conflict("Cannot '%s' instance %s while it is in %s %s", t.Name, s.UUID, attr, state)
}
