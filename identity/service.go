package identity

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/crypto/bcrypt"

	"kilonova/compat"
	"kilonova/schema"
)

// Config is what a Service needs. DB and KeyDir must be set; a zero elsewhere takes the
// default that its comment names.
type Config struct {
	DB         *schema.DB
	Clock      schema.Clock  // the machine's
	KeyDir     string        // private/private.pem and public/*.pem, made at the first start
	TokenTTL   time.Duration // 4 hours
	PublicURL  string        // "" follows each request's host and forwarded headers
	MountPath  string        // where Handler is mounted: "/identity"
	BcryptCost int           // 10
}

// Service is the identity service of one API process; all of them share the database and
// the key files.
type Service struct {
	cfg      Config
	db       *schema.DB
	keys     *keyRing
	policy   *Policy
	handler  http.Handler
	hasher   *hasher
	attempts *attempts

	// What tokens are checked with; see tokens.go.
	tokens    *lru.Cache[[32]byte, *session]
	facts     *lru.Cache[scopeKey, *facts]
	names     *lru.Cache[string, name]
	roles     atomic.Pointer[roleGraph]
	endpoints atomic.Pointer[catalogRows]
	revoked   revocations
	version   atomic.Int64 // of identity_version, as last read
	polled    atomic.Int64 // when that was, in nanoseconds since started
	started   time.Time
	pollMu    sync.Mutex

	lastTick atomic.Int64 // see tick
}

// How much each process remembers. An entry has about a kilobyte.
const (
	rememberedTokens = 8192
	rememberedFacts  = 8192
	rememberedNames  = 8192
)

// New opens the key files, making them at a first start, and reads the revocations.
func New(ctx context.Context, cfg Config) (*Service, error) {
	if cfg.TokenTTL == 0 {
		cfg.TokenTTL = 4 * time.Hour
	}
	if cfg.MountPath == "" {
		cfg.MountPath = "/identity"
	}
	if cfg.BcryptCost == 0 {
		cfg.BcryptCost = bcrypt.DefaultCost
	}
	cfg.PublicURL = strings.TrimSuffix(cfg.PublicURL, "/")
	s := &Service{cfg: cfg, db: cfg.DB, policy: NewPolicy(), started: time.Now(), attempts: newAttempts()}
	s.revoked.moments = map[string]schema.Micros{}
	var err error
	s.keys, err = openKeys(cfg.KeyDir)
	if err != nil {
		return nil, err
	}
	s.hasher, err = newHasher(cfg.BcryptCost)
	if err != nil {
		return nil, err
	}
	var errs [3]error
	s.tokens, errs[0] = lru.New[[32]byte, *session](rememberedTokens)
	s.facts, errs[1] = lru.New[scopeKey, *facts](rememberedFacts)
	s.names, errs[2] = lru.New[string, name](rememberedNames)
	err = errors.Join(errs[:]...)
	if err != nil {
		return nil, err
	}
	err = errors.Join(s.fillKeys(ctx), s.poll(ctx))
	if err != nil {
		return nil, err
	}
	s.handler = s.routes()
	return s, nil
}

// Policy gives the policy of the compute API, with the overrides that LoadPolicy has read.
func (s *Service) Policy() *Policy { return s.policy }

// LoadPolicy reads an operator's overrides; see Policy.Load.
func (s *Service) LoadPolicy(path string) error { return s.policy.Load(path) }

// Run keeps up with other processes until ctx ends: it reads their changes every second,
// notices new key files, and removes revocations that have outlived every token.
func (s *Service) Run(ctx context.Context) {
	const purgeEvery = time.Hour
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	holder := uuid.NewString()
	var purged time.Time
	for {
		tasks := []func(context.Context) error{s.poll, s.reloadKeys}
		if time.Since(purged) > purgeEvery {
			purged = time.Now()
			tasks = append(tasks, func(ctx context.Context) error { return s.purge(ctx, holder) })
		}
		err := schema.Tasks(ctx, tasks...)
		if err != nil && ctx.Err() == nil {
			slog.WarnContext(ctx, "keeping up identity failed", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// reloadKeys notices new key files. What was accepted before may be by a key that is gone.
func (s *Service) reloadKeys(context.Context) error {
	changed, err := s.keys.reload()
	if err != nil {
		return fmt.Errorf("the old token keys stay in use: %w", err)
	}
	if changed {
		s.tokens.Purge()
	}
	return nil
}

// base is where this service is reached by the client of r.
func (s *Service) base(r *http.Request) string {
	return compat.Base{Public: s.cfg.PublicURL, Mount: s.cfg.MountPath}.URL(r)
}

// root is where all services are reached by the client of r.
func (s *Service) root(r *http.Request) string {
	return compat.Base{Public: s.cfg.PublicURL}.URL(r)
}

// now is the clock's time.
func (s *Service) now() schema.Micros { return s.cfg.Clock.Now() }

// tick is the clock's time, or a microsecond after the last tick: no two changes and tokens
// of this process have the same moment, so it is always known which came first.
func (s *Service) tick() schema.Micros {
	for {
		last := s.lastTick.Load()
		next := max(int64(s.now()), last+1)
		if s.lastTick.CompareAndSwap(last, next) {
			return schema.Micros(next)
		}
	}
}

// newID makes an id in Keystone's form, 32 hexadecimal digits.
func newID() string {
	id := uuid.New()
	return fmt.Sprintf("%x", id[:])
}

// newSecret makes a secret of 64 random bytes in URL-safe characters.
func newSecret() string {
	var raw [64]byte
	_, _ = rand.Read(raw[:]) // never fails: crypto/rand ends the program instead
	return base64.RawURLEncoding.EncodeToString(raw[:])
}
