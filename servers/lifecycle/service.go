package lifecycle

import (
	"context"
	"log/slog"
	"time"

	"github.com/google/uuid"

	"kilonova/hosts"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/work"
)

// Config is what the life cycle needs of the rest of the cloud.
type Config struct {
	DB       *schema.DB
	Clock    schema.Clock
	Log      *slog.Logger
	Bell     work.Bell
	Images   Images
	Networks Ports
	Quotas   *quotas.Service
	Hosts    *hosts.Service

	// Key keeps what the API reads again; one that ends with the process if nil.
	Key *secrets.Key

	// ShutdownTimeout is how long a guest may take to shut down when it is stopped.
	ShutdownTimeout time.Duration
	// MaxAttempts is on how many hosts a spawn is tried.
	MaxAttempts int
	// ResizeConfirmWindow confirms a resize by itself after this time; 0 never does.
	ResizeConfirmWindow time.Duration
	// Names looks up how users and projects are called, for the guest's metadata.
	Names Names
}

// Names says how users and projects are called. Outside of transactions it remembers what it
// has read.
type Names interface {
	UserName(ctx context.Context, q schema.Querier, id string) string
	ProjectName(ctx context.Context, q schema.Querier, id string) string
}

// Service is the life cycle of servers.
type Service struct {
	Config
	holder string // identifies this process in leases
}

// Nova's defaults.
const (
	defaultShutdownTimeout = 60 * time.Second
	softRebootTimeout      = 120 * time.Second
	defaultMaxAttempts     = 3
)

// New makes the service on a migrated database.
func New(cfg Config) *Service {
	if cfg.ShutdownTimeout == 0 {
		cfg.ShutdownTimeout = defaultShutdownTimeout
	}
	if cfg.MaxAttempts == 0 {
		cfg.MaxAttempts = defaultMaxAttempts
	}
	if cfg.Key == nil {
		cfg.Key = secrets.Random()
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	return &Service{Config: cfg, holder: uuid.NewString()}
}
