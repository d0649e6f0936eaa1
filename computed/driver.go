package computed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kilonova/work"
)

// Driver is a hypervisor. Every method is idempotent: it looks before it acts, and doing
// it twice is the same as doing it once. Methods that name a guest by uuid return
// ErrNoInstance where there is none, except the undoing ones (UnplugPorts, Undefine,
// DeleteDisks, DropSavedDisks, PowerOff), for which nothing to undo is success. All are
// safe for concurrent use on different guests.
type Driver interface {
	// Name is "libvirt" or "sim".
	Name() string
	// Host reports the machine and its capacity.
	Host(ctx context.Context) (work.HostInfo, error)
	// Instances lists the guests that this driver defined, running or not.
	Instances(ctx context.Context) ([]work.Instance, error)
	// State gives the power state of one guest.
	State(ctx context.Context, uuid string) (work.PowerState, error)

	// FetchImage makes sure that the guest's image is in the host's cache.
	FetchImage(ctx context.Context, g *work.Guest) error
	// CreateDisks makes the root overlay, the ephemeral and swap disks and the config
	// drive. An existing complete set is left alone.
	CreateDisks(ctx context.Context, g *work.Guest) error
	// DeleteDisks removes all that CreateDisks made.
	DeleteDisks(ctx context.Context, uuid string) error
	// SaveDisks keeps the guest's present disks aside, so that RestoreDisks can bring
	// them back; with copyBack the live set stays usable as well (a resize keeps its data,
	// a rebuild does not). The guest is off.
	SaveDisks(ctx context.Context, uuid string, copyBack bool) error
	// RestoreDisks puts saved disks back in the place of the present ones; without saved
	// disks it does nothing.
	RestoreDisks(ctx context.Context, uuid string) error
	// DropSavedDisks removes what SaveDisks kept.
	DropSavedDisks(ctx context.Context, uuid string) error
	// ResizeDisks grows the root disk to g.Flavor.RootGB and fits ephemeral and swap
	// disks. Shrinking fails with ErrDiskTooSmall.
	ResizeDisks(ctx context.Context, g *work.Guest) error

	// PlugPorts makes the networks, DHCP entries and filters that the ports need, and those
	// of a running guest what they are now: an interface without its port falls silent. It
	// refuses ranges that the host itself has or uses (ErrRange). Errors are PortErrors.
	PlugPorts(ctx context.Context, g *work.Guest) error
	// UnplugPorts removes the DHCP entries of the guest's ports; networks stay.
	UnplugPorts(ctx context.Context, g *work.Guest) error

	// Define makes or replaces the guest's persistent definition, not its disks.
	Define(ctx context.Context, g *work.Guest) error
	// Undefine removes the definition, with managed save and NVRAM; the guest is off.
	Undefine(ctx context.Context, uuid string) error

	// Start boots a defined guest; a running one is left alone.
	Start(ctx context.Context, uuid string) error
	// Shutdown asks the guest to shut down, waits for at most timeout, then powers it off.
	Shutdown(ctx context.Context, uuid string, timeout time.Duration) error
	// PowerOff ends the guest at once.
	PowerOff(ctx context.Context, uuid string) error
	// Pause and Unpause freeze and thaw the guest's processors.
	Pause(ctx context.Context, uuid string) error
	Unpause(ctx context.Context, uuid string) error
	// Suspend saves the guest's memory to disk and stops it; Resume starts it from there.
	Suspend(ctx context.Context, uuid string) error
	Resume(ctx context.Context, uuid string) error

	// Snapshot hands a standalone copy of the guest's root disk, in the named disk format
	// (qcow2 or raw), to sink; size is in bytes. The guest may run.
	Snapshot(ctx context.Context, uuid, format string, sink func(r io.Reader, size int64) error) error
	// Console gives the last max bytes of the guest's serial console.
	Console(ctx context.Context, uuid string, max int) ([]byte, error)
	// SetPassword changes a user's password through the guest agent, else ErrNoAgent.
	SetPassword(ctx context.Context, uuid, user, password string) error
	// Diagnostics reports the guest's counters.
	Diagnostics(ctx context.Context, uuid string) (work.Diagnostics, error)

	// Events tells of power changes that nobody here asked for, until ctx ends. A lost
	// event is repaired by the periodic sync.
	Events(ctx context.Context) <-chan work.Instance
	// Close lets go of the hypervisor; guests go on.
	Close() error
}

// Errors that drivers return, wrapped, for callers to test with errors.Is.
var (
	ErrNoInstance   = errors.New("no such guest on this host")
	ErrNoAgent      = errors.New("the guest has no agent")
	ErrNoConsole    = errors.New("the guest has no console log")
	ErrDiskTooSmall = errors.New("the disk cannot shrink")
	ErrImageRefused = errors.New("the image is refused")
	ErrRange        = errors.New("a range that this host cannot give to guests")
)

// PortError says which port could not be plugged, and why.
type PortError struct {
	Port string
	Err  error
}

func (e *PortError) Error() string { return fmt.Sprintf("plug port %s: %v", e.Port, e.Err) }

// Unwrap gives the reason.
func (e *PortError) Unwrap() error { return e.Err }
