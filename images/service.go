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
	"kilonova/room"
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
	ProjectBytes   int64 // bytes of data of one project; a quarter of the data folder's disk
	// Floor is what of that disk stays free whatever is uploaded; its default if nil.
	Floor *room.Floor
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
	err = s.openDisk()
	if err != nil {
		return nil, err
	}
	s.lock, s.alone, err = lockFolder(c.Dir)
	if err != nil {
		return nil, err
	}
	err = syscall.Flock(int(s.lock.Fd()), syscall.LOCK_SH)
	if err != nil {
		_ = s.lock.Close() // the lock is the error to tell
		return nil, fmt.Errorf("lock the image folder: %w", err)
	}
	return s, nil
}

// lockFolder opens the lock of a data folder, and holds it where no other process has the
// folder open.
func lockFolder(dir string) (lock *os.File, alone bool, err error) {
	lock, err = os.OpenFile(filepath.Join(dir, ".lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, false, fmt.Errorf("open the image folder's lock: %w", err)
	}
	return lock, syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB) == nil, nil
}

// Tidy removes the parts of uploads from a data folder that no process has open: it needs no
// database, and so gives back the room that opening one takes. It says how many there were.
func Tidy(dir string) (int, error) {
	_, err := os.Stat(dir)
	if errors.Is(err, os.ErrNotExist) {
		return 0, nil
	}
	lock, alone, err := lockFolder(dir)
	if err != nil {
		return 0, err
	}
	defer func() { _ = lock.Close() }() // closing unlocks
	if !alone {
		return 0, nil
	}
	parts, err := filepath.Glob(filepath.Join(dir, "*"+partSuffix))
	if err != nil {
		return 0, err
	}
	removed := 0
	var stay []error
	for _, part := range parts {
		err := os.Remove(part)
		if err == nil {
			removed++
		} else if len(stay) < toldFiles {
			stay = append(stay, err)
		}
	}
	return removed, errors.Join(stay...)
}

// openDisk finds out how much of the data folder's disk images may take.
func (s *Service) openDisk() error {
	if s.Floor == nil {
		s.Floor = &room.Floor{Path: s.Dir}
	}
	if s.ProjectBytes != 0 {
		return nil
	}
	disk, err := room.Of(s.Dir)
	if err != nil {
		return err
	}
	s.ProjectBytes = disk.Size / 4
	return nil
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
