package images

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"kilonova/compat"
	"kilonova/schema"
)

// Tickets signs and checks the short-lived tickets with which compute hosts read and write
// image data. VerifyTicket gives the subject that the ticket was signed for.
type Tickets interface {
	SignTicket(purpose, subject string, ttl time.Duration) string
	VerifyTicket(purpose, ticket string) (string, error)
}

// Config is what a Service needs. DB, Dir and Auth must be set; a limit of zero takes the
// default that its comment names.
type Config struct {
	DB    *schema.DB
	Clock schema.Clock
	// Dir is the folder of the data files. All processes of one cloud share it.
	Dir  string
	Base compat.Base
	// Auth is the token check, which puts the *compat.Caller into the context.
	Auth func(http.Handler) http.Handler
	// Tickets is nil where no compute host transfers data; without Jobs no ticket is good.
	Tickets Tickets
	Jobs    Jobs
	// InternalURL is the image service's root as compute hosts reach it.
	InternalURL string
	Log         *slog.Logger

	MaxImageSize   int64 // bytes of data; 1 TiB
	MaxVirtualSize int64 // bytes that a guest sees; 16 TiB
	ProjectImages  int64 // images of one project; 10,000
	ProjectBytes   int64 // bytes of data of one project; no limit
	// IdleTimeout ends an upload whose client sends nothing; one minute.
	IdleTimeout time.Duration
}

// Service is the image service. Make one with New, serve Handler, and keep Run running.
type Service struct {
	Config
	wake    chan struct{}
	lock    *os.File
	alone   bool          // no other process had the data folder open at the start
	started schema.Micros // uploads begun before it are another process's
}

const (
	maxProperties = 128
	maxTags       = 128
	maxMembers    = 128
	maxValue      = 65535   // bytes of a property's value, what the column holds
	maxBody       = 1 << 20 // bytes of a JSON body

	// staleAfter is when an upload that is not heard of is over. It is well above the
	// longest silence of one that goes on: a beat a beatEvery, a block an IdleTimeout.
	staleAfter = 5 * time.Minute
	beatEvery  = 10 * time.Second
)

// New opens the data folder, making it if need be. The database must be migrated.
func New(c Config) (*Service, error) {
	if c.DB == nil || c.Dir == "" || c.Auth == nil {
		return nil, errors.New("images: DB, Dir and Auth must be set")
	}
	if c.Log == nil {
		c.Log = slog.Default()
	}
	setDefault(&c.MaxImageSize, 1<<40)
	setDefault(&c.MaxVirtualSize, 16<<40)
	setDefault(&c.ProjectImages, 10000)
	setDefault(&c.ProjectBytes, 1<<62)
	setDefault(&c.IdleTimeout, time.Minute)
	err := checkRoutes()
	if err != nil {
		return nil, err
	}
	s := &Service{Config: c, wake: make(chan struct{}, 1), started: c.Clock.Now()}
	err = os.MkdirAll(c.Dir, 0o700)
	if err != nil {
		return nil, fmt.Errorf("make the image folder: %w", err)
	}
	err = os.Chmod(c.Dir, 0o700)
	if err != nil {
		return nil, fmt.Errorf("close the image folder to others: %w", err)
	}
	s.lock, err = os.OpenFile(filepath.Join(c.Dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open the image folder's lock: %w", err)
	}
	fd := int(s.lock.Fd())
	s.alone = syscall.Flock(fd, syscall.LOCK_EX|syscall.LOCK_NB) == nil
	err = syscall.Flock(fd, syscall.LOCK_SH)
	if err != nil {
		_ = s.lock.Close() // the lock is the error to tell
		return nil, fmt.Errorf("lock the image folder: %w", err)
	}
	return s, nil
}

func setDefault[T int64 | time.Duration](v *T, d T) {
	if *v == 0 {
		*v = d
	}
}

// Close gives the data folder back. Uploads that still run end by themselves.
func (s *Service) Close() error { return s.lock.Close() }

// Run is the keeper: it finishes imports, ends uploads whose process is gone and removes
// files that nothing names. Any number of processes may run one. It returns when ctx ends.
func (s *Service) Run(ctx context.Context) {
	tick := time.NewTicker(30 * time.Second)
	defer tick.Stop()
	sweep := true
	for {
		if sweep {
			err := s.sweep(ctx)
			if err != nil && ctx.Err() == nil {
				s.Log.WarnContext(ctx, "image sweep failed", "err", err)
			}
		}
		err := schema.Guard(ctx, s.importAll)
		if err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "image import failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-s.wake:
			sweep = false
		case <-tick.C:
			sweep = true
		}
	}
}

// poke lets Run look for work at once. A lost poke costs one tick.
func (s *Service) poke() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
