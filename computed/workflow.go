package computed

import (
	"context"
	"errors"
	"fmt"
	"time"

	"kilonova/diskformat"
	"kilonova/schema"
	"kilonova/work"
)

// Step is one part of a piece of work that can be undone. Do and Undo may each run twice.
type Step struct {
	Name  string
	Phase string // the server's task_state while the step runs; "" leaves it
	Do    func(ctx context.Context) error
	Undo  func(ctx context.Context) error // nil: there is nothing to undo
}

// undoTime bounds how long a failed piece of work may take to undo itself.
const undoTime = 2 * time.Minute

// runSteps does the steps in order. When one fails, it and those before it are undone,
// last first, in a context that outlives a cancelled one: the failing step may have half
// happened. With again, an earlier try may have come further than this one, so that all
// steps are undone. before is asked ahead of each step and stops the work when it says so.
func runSteps(ctx context.Context, steps []Step, again bool, before func(context.Context, *Step) error) error {
	for i := range steps {
		err := before(ctx, &steps[i])
		if err == nil {
			err = schema.Guard(ctx, steps[i].Do)
		}
		if err == nil {
			continue
		}
		err = fmt.Errorf("%s: %w", steps[i].Name, err)
		if cause := context.Cause(ctx); cause != nil && !errors.Is(err, cause) {
			err = errors.Join(err, cause)
		}
		if again {
			return errors.Join(err, undo(ctx, steps))
		}
		return errors.Join(err, undo(ctx, steps[:i+1]))
	}
	return nil
}

func undo(ctx context.Context, steps []Step) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTime)
	defer cancel()
	var problems []error
	for i := len(steps) - 1; i >= 0; i-- {
		if steps[i].Undo == nil {
			continue
		}
		err := schema.Guard(ctx, steps[i].Undo)
		if err != nil {
			problems = append(problems, fmt.Errorf("undo %s: %w", steps[i].Name, err))
		}
	}
	return errors.Join(problems...)
}

// workflow gives the steps of a kind of work.
type workflow func(a *Agent, args *work.Args) []Step

// workflows is what a host can do. Reads stand in reads.go.
var workflows = map[work.Kind]workflow{
	work.Spawn:         spawn,
	work.Delete:        destroy,
	work.Start:         start,
	work.Stop:          stop,
	work.SoftReboot:    softReboot,
	work.HardReboot:    hardReboot,
	work.Pause:         one("pause", Driver.Pause),
	work.Unpause:       one("unpause", Driver.Unpause),
	work.Suspend:       one("suspend", Driver.Suspend),
	work.Resume:        one("resume", Driver.Resume),
	work.Rebuild:       rebuild,
	work.ResizePrep:    resize,
	work.ConfirmResize: one("drop saved disks", Driver.DropSavedDisks),
	work.RevertResize:  revertResize,
	work.Snapshot:      snapshot,
	work.SetPassword:   setPassword,
	work.Replug:        replug,
}

// The task states that a server passes through.
const (
	phaseNetworking = "networking"
	phaseDisks      = "block_device_mapping"
	phaseSpawning   = "spawning"
	phaseRebuildDev = "rebuild_block_device_mapping"
	phaseRebuild    = "rebuild_spawning"
	phaseMigrating  = "resize_migrating"
	phaseMigrated   = "resize_migrated"
	phaseFinish     = "resize_finish"
	phaseSnapshot   = "image_snapshot"
	phaseUploading  = "image_uploading"
)

// one is a workflow of a single driver call.
func one(name string, call func(Driver, context.Context, string) error) workflow {
	return func(a *Agent, args *work.Args) []Step {
		return []Step{{Name: name, Do: func(ctx context.Context) error { return call(a.Driver, ctx, args.Guest.UUID) }}}
	}
}

// fetchImage begins whatever makes a disk of an image. The API has looked at the image; a
// host that is told to boot from an archive or a kernel refuses nonetheless.
func fetchImage(d Driver, g *work.Guest, phase string) Step {
	return Step{Name: "fetch image", Phase: phase, Do: func(ctx context.Context) error {
		err := diskformat.Boots(g.Image.DiskFormat, g.Image.Container)
		if err != nil {
			return fmt.Errorf("image %s: %w: %w", g.Image.ID, ErrImageRefused, err)
		}
		return d.FetchImage(ctx, g)
	}}
}

func spawn(a *Agent, args *work.Args) []Step {
	g, d := &args.Guest, a.Driver
	return []Step{
		fetchImage(d, g, phaseDisks),
		{Name: "plug ports", Phase: phaseNetworking,
			Do:   func(ctx context.Context) error { return d.PlugPorts(ctx, g) },
			Undo: func(ctx context.Context) error { return d.UnplugPorts(ctx, g) }},
		{Name: "create disks", Phase: phaseSpawning,
			Do:   func(ctx context.Context) error { return d.CreateDisks(ctx, g) },
			Undo: func(ctx context.Context) error { return d.DeleteDisks(ctx, g.UUID) }},
		{Name: "define", Do: func(ctx context.Context) error { return d.Define(ctx, g) },
			Undo: func(ctx context.Context) error { return d.Undefine(ctx, g.UUID) }},
		{Name: "start", Do: func(ctx context.Context) error { return d.Start(ctx, g.UUID) },
			Undo: func(ctx context.Context) error { return d.PowerOff(ctx, g.UUID) }},
	}
}

func destroy(a *Agent, args *work.Args) []Step {
	g, d := &args.Guest, a.Driver
	return []Step{
		{Name: "power off", Do: func(ctx context.Context) error { return d.PowerOff(ctx, g.UUID) }},
		{Name: "undefine", Do: func(ctx context.Context) error { return d.Undefine(ctx, g.UUID) }},
		{Name: "unplug ports", Do: func(ctx context.Context) error { return d.UnplugPorts(ctx, g) }},
		{Name: "delete disks", Do: func(ctx context.Context) error { return d.DeleteDisks(ctx, g.UUID) }},
		{Name: "drop saved disks", Do: func(ctx context.Context) error { return d.DropSavedDisks(ctx, g.UUID) }},
	}
}

// start makes the domain anew, as Nova does: what changed on the host since is repaired.
func start(a *Agent, args *work.Args) []Step {
	g, d := &args.Guest, a.Driver
	return []Step{
		{Name: "plug ports", Do: func(ctx context.Context) error { return d.PlugPorts(ctx, g) }},
		{Name: "define", Do: func(ctx context.Context) error { return d.Define(ctx, g) }},
		{Name: "start", Do: func(ctx context.Context) error { return d.Start(ctx, g.UUID) }},
	}
}

func seconds(n int) time.Duration { return time.Duration(n) * time.Second }

func stop(a *Agent, args *work.Args) []Step {
	return []Step{{Name: "shut down", Do: func(ctx context.Context) error {
		return a.Driver.Shutdown(ctx, args.Guest.UUID, seconds(args.ShutdownTimeout))
	}}}
}

func softReboot(a *Agent, args *work.Args) []Step {
	return append([]Step{{Name: "shut down", Phase: "reboot_started", Do: func(ctx context.Context) error {
		return a.Driver.Shutdown(ctx, args.Guest.UUID, seconds(args.ShutdownTimeout))
	}}}, start(a, args)...)
}

func hardReboot(a *Agent, args *work.Args) []Step {
	return append([]Step{{Name: "power off", Phase: "reboot_started_hard", Do: func(ctx context.Context) error {
		return a.Driver.PowerOff(ctx, args.Guest.UUID)
	}}}, start(a, args)...)
}

// goBack brings a guest's old disks, definition and power state back.
func goBack(a *Agent, args *work.Args) func(context.Context) error {
	return func(ctx context.Context) error {
		d, old := a.Driver, args.Old
		if old == nil {
			return nil
		}
		for _, f := range []func() error{
			func() error { return d.PowerOff(ctx, old.UUID) },
			func() error { return d.RestoreDisks(ctx, old.UUID) },
			func() error { return d.Define(ctx, old) },
		} {
			err := f()
			if err != nil {
				return err
			}
		}
		if !args.PowerOn {
			return nil
		}
		return d.Start(ctx, old.UUID)
	}
}

func rebuild(a *Agent, args *work.Args) []Step {
	g, d := &args.Guest, a.Driver
	steps := []Step{
		fetchImage(d, g, ""),
		{Name: "power off", Phase: phaseRebuildDev,
			Do:   func(ctx context.Context) error { return d.PowerOff(ctx, g.UUID) },
			Undo: goBack(a, args)},
		{Name: "save disks", Do: func(ctx context.Context) error { return d.SaveDisks(ctx, g.UUID, false) }},
		{Name: "create disks", Phase: phaseRebuild, Do: func(ctx context.Context) error { return d.CreateDisks(ctx, g) }},
		{Name: "plug ports", Do: func(ctx context.Context) error { return d.PlugPorts(ctx, g) }},
		{Name: "define", Do: func(ctx context.Context) error { return d.Define(ctx, g) }},
	}
	if args.PowerOn {
		steps = append(steps, Step{Name: "start", Do: func(ctx context.Context) error { return d.Start(ctx, g.UUID) }})
	}
	return append(steps, Step{Name: "drop saved disks", Do: func(ctx context.Context) error { return d.DropSavedDisks(ctx, g.UUID) }})
}

func resize(a *Agent, args *work.Args) []Step {
	g, d := &args.Guest, a.Driver
	steps := []Step{
		{Name: "shut down", Phase: phaseMigrating,
			Do:   func(ctx context.Context) error { return d.Shutdown(ctx, g.UUID, seconds(args.ShutdownTimeout)) },
			Undo: goBack(a, args)},
		{Name: "save disks", Do: func(ctx context.Context) error { return d.SaveDisks(ctx, g.UUID, true) }},
		{Name: "resize disks", Phase: phaseMigrated, Do: func(ctx context.Context) error { return d.ResizeDisks(ctx, g) }},
		{Name: "define", Phase: phaseFinish, Do: func(ctx context.Context) error { return d.Define(ctx, g) }},
	}
	if args.PowerOn {
		steps = append(steps, Step{Name: "start", Do: func(ctx context.Context) error { return d.Start(ctx, g.UUID) }})
	}
	return steps
}

// revertResize goes back to the guest that Args.Guest describes.
func revertResize(a *Agent, args *work.Args) []Step {
	g, d := &args.Guest, a.Driver
	steps := []Step{
		{Name: "power off", Do: func(ctx context.Context) error { return d.PowerOff(ctx, g.UUID) }},
		{Name: "restore disks", Do: func(ctx context.Context) error { return d.RestoreDisks(ctx, g.UUID) }},
		{Name: "plug ports", Do: func(ctx context.Context) error { return d.PlugPorts(ctx, g) }},
		{Name: "define", Do: func(ctx context.Context) error { return d.Define(ctx, g) }},
	}
	if args.PowerOn {
		steps = append(steps, Step{Name: "start", Do: func(ctx context.Context) error { return d.Start(ctx, g.UUID) }})
	}
	return steps
}

// replug gives the guest's ports what they became while it runs. There is nothing to undo: what
// could not be changed stays as it was.
func replug(a *Agent, args *work.Args) []Step {
	return []Step{{Name: "plug ports", Do: func(ctx context.Context) error { return a.Driver.PlugPorts(ctx, &args.Guest) }}}
}

func setPassword(a *Agent, args *work.Args) []Step {
	return []Step{{Name: "set password", Do: func(ctx context.Context) error {
		return a.Driver.SetPassword(ctx, args.Guest.UUID, adminUser(&args.Guest), args.Password)
	}}}
}

// adminUser is whose password changes: what the image says, else root, or Administrator
// on Windows.
func adminUser(g *work.Guest) string {
	if u := g.Image.Properties["os_admin_user"]; u != "" {
		return u
	}
	if g.Image.Properties["os_type"] == "windows" {
		return "Administrator"
	}
	return "root"
}
