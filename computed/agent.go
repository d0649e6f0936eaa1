package computed

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/work"
)

// Config is what the daemon of a host needs.
type Config struct {
	DB     *schema.DB
	Driver Driver
	Host   string // the host's name in the database
	// Machine tells this daemon's machine from others, for good: a process that starts on it
	// follows one that was killed there at once, and one from elsewhere must wait until the
	// host has been silent for schema.HostLease. Random if empty.
	Machine string
	// Key opens what is sealed for this host; one that ends with the process if nil.
	Key  *secrets.HostKey
	Bell work.Bell // rings work.API when something is finished; nil for none
	Wake <-chan struct{}
	// Doorbell is the address at which Wake is rung, for the host's row; "" inside `up`.
	Doorbell  string
	Poll      time.Duration // between polls when idle; a second, jittered, if 0
	Heartbeat time.Duration // between heartbeats; 5 s if 0
	Reconcile time.Duration // between comparisons with the hypervisor; a minute if 0
	Clock     schema.Clock
	Log       *slog.Logger
	// Parallel is how many servers are worked on at once; 16 if 0. As many deletes, and as
	// much superseded work, run beside them.
	Parallel   int
	HTTPClient *http.Client
	// Register makes the host's row where the account may; nil where `kilonova host add`
	// has made it.
	Register func(ctx context.Context, info work.HostInfo) error
}

// Agent is the daemon of one host.
type Agent struct {
	Config
	id     string       // this process, in the rows that it claims
	heard  atomic.Int64 // when the last heartbeat was taken, in nanoseconds of this process's clock
	ready  chan struct{}
	slots  chan struct{}
	quick  chan struct{} // slots of deletes and of what is superseded: they wait behind nobody
	idle   chan struct{} // a piece of work ended: there may be room for more
	looked time.Time     // when the servers of running jobs were looked at
	// toldRanges is what the API knows of the host's addresses; nil: nothing yet.
	toldRanges *string

	mu      sync.Mutex
	busy    map[string]*job // by server uuid, or its lane beside a snapshot
	reading map[int64]bool
	strange map[string]bool // guests seen once that are none of ours
}

// job is a piece of work that runs.
type job struct {
	id         int64
	kind       work.Kind
	generation int64
	cancel     context.CancelCauseFunc
}

const (
	defaultPoll      = time.Second
	defaultHeartbeat = 5 * time.Second
	defaultReconcile = time.Minute
	defaultParallel  = 16
)

// Why a job ends early.
var (
	// errSuperseded says that the server went on without this work.
	errSuperseded = errors.New("superseded by newer work")
	errRowGone    = fmt.Errorf("its row is gone: %w", errSuperseded)
	errOverdue    = errors.New("the deadline has passed")
)

// errSilent says that the heartbeats of this daemon were not taken for so long that another
// may have the host.
var errSilent = errors.New("no heartbeat was taken: no work is begun until one is")

// errReplaced says that a newer daemon has taken this host over.
var errReplaced = errors.New("another daemon has started for this host")

// errRevoked says that the host's database account is gone.
var errRevoked = errors.New("the database account of this host was removed")

// New makes the daemon; Run starts it.
func New(cfg Config) (*Agent, error) {
	if cfg.DB == nil || cfg.Driver == nil || cfg.Host == "" {
		return nil, fmt.Errorf("computed: a database, a driver and a host name are needed")
	}
	setDefault(&cfg.Poll, defaultPoll)
	setDefault(&cfg.Heartbeat, defaultHeartbeat)
	setDefault(&cfg.Reconcile, defaultReconcile)
	setDefault(&cfg.Parallel, defaultParallel)
	if cfg.Machine == "" {
		cfg.Machine = uuid.NewString()
	}
	if cfg.Key == nil {
		var err error
		cfg.Key, err = secrets.Random().Host(cfg.Host)
		if err != nil {
			return nil, fmt.Errorf("computed: %w", err)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	if cfg.HTTPClient == nil {
		// A ticket must not follow a redirect to somebody else.
		cfg.HTTPClient = &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	}
	cfg.Log = cfg.Log.With("host", cfg.Host)
	return &Agent{Config: cfg, id: uuid.NewString(), ready: make(chan struct{}), slots: make(chan struct{}, cfg.Parallel),
		quick: make(chan struct{}, cfg.Parallel), idle: make(chan struct{}, 1), busy: map[string]*job{}, reading: map[int64]bool{}, strange: map[string]bool{}}, nil
}

func setDefault[T int | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Ready is closed when the host is on record and the first poll was made.
func (a *Agent) Ready() <-chan struct{} { return a.ready }

// Run works until ctx ends, and then waits for what it began: work that was cancelled goes
// on when the daemon starts again.
func (a *Agent) Run(ctx context.Context) error {
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	err := a.register(ctx)
	if err != nil {
		return err
	}
	var wg sync.WaitGroup
	defer a.release(ctx)
	defer wg.Wait()
	background := func(f func(context.Context)) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			schema.Forever(ctx, a.Log, f)
		}()
	}
	background(func(ctx context.Context) { a.heartbeats(ctx, stop) })
	background(a.reconciles)
	background(a.follow)
	background(a.cleanImages)
	a.poll(ctx, &wg)
	if cause := context.Cause(ctx); errors.Is(cause, errReplaced) || errors.Is(cause, errRevoked) {
		return cause
	}
	return nil
}

// poll asks for work until ctx ends: at once when rung or when work ended, else every
// interval with jitter, so that many hosts do not ask in step.
func (a *Agent) poll(ctx context.Context, wg *sync.WaitGroup) {
	first := true
	for ctx.Err() == nil {
		err := schema.Guard(ctx, func(ctx context.Context) error { return a.pollOnce(ctx, wg) })
		if err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "poll for work", "err", err)
		}
		if first && err == nil {
			close(a.ready)
			first = false
		}
		wait := time.NewTimer(a.Poll*3/4 + rand.N(a.Poll/2))
		select {
		case <-ctx.Done():
		case <-a.Wake:
		case <-a.idle:
		case <-wait.C:
		}
		wait.Stop()
	}
}

type workRow struct {
	ID         int64         `db:"id"`
	ServerUUID string        `db:"server_uuid"`
	Kind       work.Kind     `db:"kind"`
	Generation int64         `db:"generation"`
	State      work.State    `db:"state"`
	ClaimedBy  string        `db:"claimed_by"`
	Attempts   int           `db:"attempts"`
	Deadline   schema.Micros `db:"deadline"`
}

// page is how many rows of the queue are looked at in one go.
const page = 200

// look reads the queue in its order: all of it, or its beginning with what must not wait
// for the rest, which is deletes, reads, and whatever belongs to servers that are worked on.
func (a *Agent) look(ctx context.Context) ([]workRow, error) {
	var rows []workRow
	err := a.ask(ctx, &rows, schema.AskQueue)
	if err != nil || len(rows) < page {
		return rows, wrap(err, "look for work")
	}
	var urgent []workRow
	err = a.ask(ctx, &urgent, schema.AskUrgent)
	if err != nil {
		return nil, fmt.Errorf("look for urgent work: %w", err)
	}
	if busy := a.busyServers(); len(busy) > 0 {
		var more []workRow
		err = a.ask(ctx, &more, schema.AskQueueOf, strings.Join(busy, ","))
		if err != nil {
			return nil, fmt.Errorf("look for superseding work: %w", err)
		}
		urgent = append(urgent, more...)
	}
	rows = append(rows, urgent...)
	slices.SortFunc(rows, func(x, y workRow) int { return cmp.Compare(x.ID, y.ID) })
	return slices.CompactFunc(rows, func(x, y workRow) bool { return x.ID == y.ID }), nil
}

func (a *Agent) busyServers() []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Keys(a.busy))
}

// pollOnce starts what can be started: of each server the oldest piece, reads at once. Full
// slots keep nothing else from being seen.
func (a *Agent) pollOnce(ctx context.Context, wg *sync.WaitGroup) error {
	if !a.holds() {
		return errSilent
	}
	rows, err := a.look(ctx)
	if err != nil {
		return err
	}
	newest, there := map[string]int64{}, map[int64]bool{}
	for i := range rows {
		there[rows[i].ID] = true
		if reads[rows[i].Kind] == nil {
			newest[rows[i].ServerUUID] = max(newest[rows[i].ServerUUID], rows[i].Generation)
		}
	}
	err = a.endUnwanted(ctx, newest, there)
	if err != nil {
		return err
	}
	last := map[string]work.Kind{} // of each lane, what stands before the row
	for i := range rows {
		row := &rows[i]
		if reads[row.Kind] != nil {
			a.startRead(ctx, wg, row)
			continue
		}
		lane := row.ServerUUID
		if row.Kind == work.Replug && last[lane] == work.Snapshot {
			lane += besideSnapshot
		}
		first := last[lane] == ""
		if first || row.Kind != work.Snapshot { // behind other work no snapshot runs yet
			last[lane] = row.Kind
		}
		if !first || a.running(lane) {
			continue
		}
		slots := a.slots
		if row.Kind == work.Delete || row.Kind == work.Replug || row.Generation < newest[row.ServerUUID] {
			slots = a.quick
		}
		a.startJob(ctx, wg, row, lane, slots) // without room it waits: the end of a job polls again
	}
	return nil
}

// besideSnapshot is the lane of a server in which ports follow their changes while a snapshot,
// which may take an hour and minds no ports, is under way.
const besideSnapshot = "/ports"

func (a *Agent) running(server string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.busy[server] != nil
}

// endUnwanted cancels jobs that no longer count: whose row is gone, whose server has newer
// work, or has gone on without any. Deletes go on: nothing can want the guest back.
// So does what ports became.
func (a *Agent) endUnwanted(ctx context.Context, newest map[string]int64, there map[int64]bool) error {
	var servers []string
	a.mu.Lock()
	for id, j := range a.busy {
		switch {
		case j.kind == work.Delete || j.kind == work.Replug:
		case !there[j.id]:
			j.cancel(errRowGone)
		case newest[id] > j.generation:
			j.cancel(errSuperseded)
		default:
			servers = append(servers, id)
		}
	}
	a.mu.Unlock()
	if len(servers) == 0 || time.Since(a.looked) < a.Poll {
		return nil
	}
	a.looked = time.Now()
	var rows []struct {
		UUID       string `db:"uuid"`
		Generation int64  `db:"generation"`
	}
	err := a.ask(ctx, &rows, schema.AskGenerations, strings.Join(servers, ","))
	if err != nil {
		return fmt.Errorf("look at servers: %w", err)
	}
	now := map[string]int64{}
	for _, row := range rows {
		now[row.UUID] = row.Generation
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, id := range servers {
		if j := a.busy[id]; j != nil && j.generation != now[id] {
			j.cancel(errSuperseded)
		}
	}
	return nil
}

// longestWork bounds what is left until a deadline, so that no figure overflows.
const longestWork = 24 * time.Hour

// until gives a context that ends at the row's deadline, as this host's clock has it.
func (a *Agent) until(ctx context.Context, row *workRow) (context.Context, context.CancelFunc) {
	left := min(row.Deadline-a.Clock.Now(), schema.Micros(longestWork.Microseconds()))
	return context.WithTimeoutCause(ctx, time.Duration(left)*time.Microsecond, errOverdue)
}

// startJob runs a piece of work beside the others, if there is room.
func (a *Agent) startJob(ctx context.Context, wg *sync.WaitGroup, row *workRow, lane string, slots chan struct{}) {
	select {
	case slots <- struct{}{}:
	default:
		return
	}
	jobCtx, cancel := context.WithCancelCause(ctx)
	a.mu.Lock()
	a.busy[lane] = &job{row.ID, row.Kind, row.Generation, cancel}
	a.mu.Unlock()
	wg.Add(1)
	go func() {
		defer wg.Done()
		defer func() {
			cancel(nil)
			a.mu.Lock()
			delete(a.busy, lane)
			a.mu.Unlock()
			<-slots
			select {
			case a.idle <- struct{}{}:
			default:
			}
		}()
		timed, stop := a.until(jobCtx, row)
		defer stop()
		err := schema.Guard(timed, func(timed context.Context) error { return a.carryOut(ctx, timed, row) })
		if err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "work", "kind", row.Kind, "server", row.ServerUUID, "err", err)
			pause(ctx, time.Second) // the database may be away: the row is still there
		}
	}()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (a *Agent) startRead(ctx context.Context, wg *sync.WaitGroup, row *workRow) {
	a.mu.Lock()
	again := a.reading[row.ID]
	a.reading[row.ID] = true
	a.mu.Unlock()
	if again {
		return
	}
	wg.Add(1)
	go func() {
		defer wg.Done()
		defer func() {
			a.mu.Lock()
			delete(a.reading, row.ID)
			a.mu.Unlock()
		}()
		timed, stop := a.until(ctx, row)
		defer stop()
		err := schema.Guard(timed, func(timed context.Context) error { return a.carryOut(ctx, timed, row) })
		if err != nil && ctx.Err() == nil {
			a.Log.WarnContext(ctx, "question", "kind", row.Kind, "server", row.ServerUUID, "err", err)
		}
	}()
}

// ask reads what the cloud has for this host.
func (a *Agent) ask(ctx context.Context, dest any, c *schema.HostCall, args ...any) error {
	return a.DB.Ask(ctx, dest, c, a.Host, a.Clock.Now(), args...)
}

// tell changes a row of this host, and tells whether it was there.
func (a *Agent) tell(ctx context.Context, c *schema.HostCall, args ...any) (bool, error) {
	return a.DB.Tell(ctx, c, a.Host, a.Clock.Now(), args...)
}

// carryOut claims a piece of work, does it and reports. An error means that the database
// could not be asked or told: the row stays and is taken up again. jobCtx ends earlier than
// ctx when the work is superseded, its row gone or its deadline past.
func (a *Agent) carryOut(ctx, jobCtx context.Context, row *workRow) error {
	// A row that runs under another id belongs to a process that is gone: one daemon speaks
	// for the host (see register).
	mine, err := a.tell(ctx, schema.TellClaim, a.id, row.Attempts+1, row.ID, row.ClaimedBy)
	if err != nil || !mine {
		return wrap(err, "claim work %d", row.ID)
	}
	var told []toldWork
	err = a.ask(ctx, &told, schema.AskArgs, row.ID)
	if err == nil && len(told) == 0 {
		err = errRowGone
	}
	if err != nil {
		return fmt.Errorf("read work %d: %w", row.ID, err)
	}
	res, done := a.do(jobCtx, row, &told[0])
	if cause := context.Cause(jobCtx); ctx.Err() != nil && !errors.Is(cause, errSuperseded) && !errors.Is(cause, errOverdue) {
		return ctx.Err() // stopping: the work goes on at the next start
	}
	return a.report(context.WithoutCancel(ctx), row, done, res)
}

// reportTries is how often a report is tried while the database is away. After that the
// row is taken up again, and its steps find everything done.
const reportTries = 20

func (a *Agent) report(ctx context.Context, row *workRow, state work.State, res work.Result) error {
	var err error
	for range reportTries {
		_, err = a.tell(ctx, schema.TellFinish, state, res.Encode(row.Kind), row.ID, a.id)
		if err == nil {
			if a.Bell != nil {
				a.Bell.Ring(work.API)
			}
			return nil
		}
		pause(ctx, 250*time.Millisecond)
	}
	return fmt.Errorf("report work %d: %w", row.ID, err)
}

func wrap(err error, format string, args ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(args, err)...)
}
