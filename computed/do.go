package computed

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"kilonova/room"
	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/work"
)

// toldWork is what the cloud tells of a piece of work.
type toldWork struct {
	Args   string  `db:"args"`
	Secret *string `db:"secret"` // sealed for this host; NULL where nothing is secret
}

// read gives the work, and what of it no text may show.
func (a *Agent) read(row *workRow, told *toldWork) (work.Args, work.Secrets, error) {
	var args work.Args
	err := json.Unmarshal([]byte(told.Args), &args)
	if err != nil {
		return args, work.Secrets{}, err
	}
	if args.Guest.UUID != row.ServerUUID {
		return args, work.Secrets{}, errors.New("it is another server's")
	}
	if told.Secret == nil {
		// An earlier release kept secrets among the rest.
		whole := args
		return args, whole.TakeSecrets(), nil
	}
	plain, err := a.Key.Open(work.SecretsLabel(row.ServerUUID, row.Generation), *told.Secret)
	var secret work.Secrets
	if err == nil {
		err = json.Unmarshal(plain, &secret)
	}
	if err != nil {
		return args, secret, fmt.Errorf("what is secret of it: %w", err)
	}
	args.GiveSecrets(secret)
	return args, secret, nil
}

// do carries out a claimed piece of work and says how it went.
func (a *Agent) do(ctx context.Context, row *workRow, told *toldWork) (work.Result, work.State) {
	args, secret, err := a.read(row, told)
	if err != nil {
		a.Log.WarnContext(ctx, "work cannot be read", "kind", row.Kind, "server", row.ServerUUID, "err", err)
		return work.Result{Message: "The work could not be read.", Detail: err.Error(), Retry: row.Kind == work.Spawn && errors.Is(err, secrets.ErrSealed)}, work.Failed
	}
	if read := reads[row.Kind]; read != nil {
		return a.answer(ctx, read, &args)
	}
	flow := workflows[row.Kind]
	if flow == nil {
		return work.Result{Message: "This host cannot do that.", Detail: "unknown kind of work " + string(row.Kind)}, work.Failed
	}
	shown := &progress{a: a, row: row}
	err = runSteps(ctx, flow(a, &args), row.Attempts > 0, func(ctx context.Context, s *Step) error {
		shown.is("")
		err := a.before(ctx, row)
		shown.is(s.Phase)
		return err
	})
	shown.is("")
	res := work.Result{PowerState: a.powerState(context.WithoutCancel(ctx), args.Guest.UUID)}
	if err == nil {
		return res, work.Done
	}
	said := secret.Hide(err.Error()) // what is told to a driver or a server may come back in its words
	a.Log.WarnContext(ctx, "work failed", "kind", row.Kind, "server", row.ServerUUID, "attempt", row.Attempts+1, "err", said)
	res.Detail, res.Message, res.Reason = said, messageOf(row.Kind, err), reasonOf(err)
	var port *PortError
	if errors.As(err, &port) {
		res.Ports = []work.PortFailure{{Port: port.Port, Why: port.Err.Error()}}
	}
	res.Retry = row.Kind == work.Spawn && !isAny(err, ErrDiskTooSmall, ErrImageRefused, errSuperseded, errOverdue)
	return res, work.Failed
}

// isAny reports whether err is one of several, which would be the same on another host.
func isAny(err error, targets ...error) bool {
	return slices.ContainsFunc(targets, func(target error) bool { return errors.Is(err, target) })
}

func (a *Agent) answer(ctx context.Context, read func(*Agent, context.Context, *work.Args) (string, error), args *work.Args) (work.Result, work.State) {
	var out string
	err := schema.Guard(ctx, func(ctx context.Context) error {
		var err error
		out, err = read(a, ctx, args)
		return err
	})
	if err != nil {
		return work.Result{Message: "The guest could not be asked.", Detail: err.Error(), Reason: reasonOf(err)}, work.Failed
	}
	return work.Result{Output: out}, work.Done
}

// messages are what people are told; what lies behind goes to administrators alone.
var messages = map[work.Kind]string{
	work.Spawn:       "Build of the server failed on the compute host.",
	work.Delete:      "The server could not be removed from its compute host.",
	work.Rebuild:     "The rebuild failed on the compute host.",
	work.ResizePrep:  "The resize failed on the compute host.",
	work.Snapshot:    "The snapshot failed on the compute host.",
	work.SetPassword: "The password could not be set.",
}

func messageOf(k work.Kind, err error) string {
	switch {
	case errors.Is(err, errSuperseded):
		return "Another operation came first."
	case errors.Is(err, errNoRoomForImage):
		return "There is no room left for the image of the server."
	case room.Full(err):
		return "The compute host has no disk left for that."
	case errors.Is(err, errOverdue):
		return "The compute host did not finish in time."
	case errors.Is(err, ErrNoAgent):
		return "QEMU guest agent is not enabled"
	case errors.Is(err, ErrRange):
		return "The range of the server's network is not free on the compute host."
	case errors.Is(err, ErrDiskTooSmall):
		return "The disk of the flavor is too small."
	case errors.Is(err, ErrImageRefused):
		return "The image is not of a kind that hosts boot from."
	}
	if m, ok := messages[k]; ok {
		return m
	}
	return "The operation failed on the compute host."
}

func reasonOf(err error) string {
	switch {
	case errors.Is(err, ErrNoAgent):
		return work.ReasonNoAgent
	case errors.Is(err, ErrNoConsole):
		return work.ReasonNoConsole
	case errors.Is(err, ErrNoInstance):
		return work.ReasonNoInstance
	case errors.Is(err, ErrDiskTooSmall):
		return work.ReasonDiskTooSmall
	}
	return ""
}

func (a *Agent) powerState(ctx context.Context, uuid string) work.PowerState {
	p := work.NoState
	err := schema.Guard(ctx, func(ctx context.Context) error {
		var err error
		p, err = a.Driver.State(ctx, uuid)
		return err
	})
	if err != nil {
		return work.NoState
	}
	return p
}

// before looks whether the server still wants this work. Deleting goes on whatever
// happens: nothing can want the guest back.
func (a *Agent) before(ctx context.Context, row *workRow) error {
	err := context.Cause(ctx)
	if err != nil {
		return err
	}
	if row.Kind == work.Delete {
		return nil
	}
	var now []struct {
		Generation int64 `db:"generation"`
		Deleted    bool  `db:"deleted"`
	}
	err = a.ask(ctx, &now, schema.AskServer, row.ServerUUID)
	if err != nil {
		return fmt.Errorf("look at the server: %w", err)
	}
	// What ports became is so whatever the server is doing.
	stale := len(now) > 0 && now[0].Generation != row.Generation && row.Kind != work.Replug
	if len(now) == 0 || now[0].Deleted || stale {
		return errSuperseded
	}
	return nil
}

// showAfter is how long a step runs before people are shown that it does. What is over
// sooner is nothing that anybody could see, and costs no write.
const showAfter = 50 * time.Millisecond

// progress shows which step of a piece of work is being done, as the server's task_state.
type progress struct {
	a   *Agent
	row *workRow

	mu  sync.Mutex
	now int // steps that were named
}

// is names the step that begins, "" for none. When it returns, nothing that was named
// before is shown any more.
func (p *progress) is(phase string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.now++
	if phase == "" {
		return
	}
	mine := p.now
	time.AfterFunc(showAfter, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		if p.now != mine {
			return
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		_, err := p.a.tell(ctx, schema.TellTask, phase, p.row.ServerUUID, p.row.Generation)
		if err != nil {
			p.a.Log.WarnContext(ctx, "show progress", "server", p.row.ServerUUID, "err", err) // the work goes on
		}
	})
}
