package servers

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/flavors"
	"kilonova/hosts"
	"kilonova/images"
	"kilonova/keypairs"
	"kilonova/networks"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/work"
)

// Config is what the servers need of the rest of the cloud.
type Config struct {
	DB       *schema.DB
	Clock    schema.Clock
	Log      *slog.Logger
	Bell     work.Bell
	Flavors  *flavors.Service
	Keypairs *keypairs.Service
	Images   *images.Service
	Networks *networks.Service
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

// Service is the server resource.
type Service struct {
	Config
	holder     string      // identifies this process in leases
	renderings *renderings // nil keeps none
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
	return &Service{Config: cfg, holder: uuid.NewString(), renderings: newRenderings()}
}

// Register adds the handlers of all operations on servers.
func (s *Service) Register(api *compat.Compute) {
	api.Resolve("servers", s.resolve)

	api.Handle("POST /servers", s.create)
	api.Handle("GET /servers", s.index)
	api.Handle("GET /servers/detail", s.detail)
	api.Handle("GET /servers/{id}", s.show)
	api.Handle("PUT /servers/{id}", s.update)
	api.Handle("DELETE /servers/{id}", s.delete)
	for _, op := range []string{opStart, opStop, opPause, opUnpause, opSuspend, opResume} {
		api.Handle(action(op), s.simple(op))
	}
	api.Handle(action(opForceDelete), s.forceDelete)
	// Servers are deleted at once here, so that none can be restored: this is always the
	// state table's conflict.
	api.Handle(action(opRestore), s.simple(opRestore))
	api.Handle(action("reboot"), s.reboot)
	api.Handle(action(opRebuild), s.rebuild)
	api.Handle(action(opResize), s.resize)
	api.Handle(action(opConfirm), s.confirmResize)
	api.Handle(action(opRevert), s.revertResize)
	api.Handle(action(opCreateImage), s.createImage)
	api.Handle(action(opPassword), s.changePassword)
	api.Handle(action(opConsole), s.consoleOutput)
	api.Handle(action(opResetState), s.resetState)
	api.Handle(action(opLock), s.lock)
	api.Handle(action(opUnlock), s.unlock)
	api.Handle("GET /servers/{id}/diagnostics", s.diagnostics)

	api.Handle("GET /servers/{id}/metadata", s.metadataIndex)
	api.Handle("POST /servers/{id}/metadata", s.metadataMerge)
	api.Handle("PUT /servers/{id}/metadata", s.metadataReplace)
	api.Handle("GET /servers/{id}/metadata/{key}", s.metadataShow)
	api.Handle("PUT /servers/{id}/metadata/{key}", s.metadataSet)
	api.Handle("DELETE /servers/{id}/metadata/{key}", s.metadataDelete)

	api.Handle("GET /servers/{id}/tags", s.tagsIndex)
	api.Handle("PUT /servers/{id}/tags", s.tagsReplace)
	api.Handle("DELETE /servers/{id}/tags", s.tagsClear)
	api.Handle("GET /servers/{id}/tags/{tag}", s.tagShow)
	api.Handle("PUT /servers/{id}/tags/{tag}", s.tagSet)
	api.Handle("DELETE /servers/{id}/tags/{tag}", s.tagDelete)

	api.Handle("GET /servers/{id}/os-volume_attachments", s.attachmentsIndex)
	api.Handle("GET /servers/{id}/os-volume_attachments/{volume_id}", s.attachmentsShow)

	api.Handle("GET /servers/{id}/ips", s.ipsIndex)
	api.Handle("GET /servers/{id}/ips/{label}", s.ipsShow)

	api.Handle("GET /servers/{id}/os-instance-actions", s.actionsIndex)
	api.Handle("GET /servers/{id}/os-instance-actions/{request_id}", s.actionsShow)
}

func action(key string) string { return "POST /servers/{id}/action " + key }

// resolve finds the server that a path names, as the caller may see it. Instance actions
// can be read of deleted servers too, from microversion 2.21.
func (s *Service) resolve(r *compat.Request) (compat.Resource, error) {
	if r.Op.Path == "/servers/{id}" && r.Method == http.MethodGet {
		return s.toShow(r)
	}
	srv, err := s.find(r.Context(), s.DB, r.Caller, r.Var("id"), keepsHistory.Has(r.Version) && readsHistory(r))
	if err != nil {
		return nil, err
	}
	return srv, nil
}

// keepsHistory are the versions at which a deleted server's actions can be read.
var keepsHistory = compat.Range{Min: 21, Max: compat.MaxVersion}

func readsHistory(r *compat.Request) bool {
	return r.Op.Path == "/servers/{id}/os-instance-actions" || r.Op.Path == "/servers/{id}/os-instance-actions/{request_id}"
}

// of gives the server that compat resolved.
func of(r *compat.Request) *Server { return r.Resource.(*Server) }

// notFound is the answer for a server that is not there for this caller.
func notFound(id string) error { return compat.NotFound("Instance %s could not be found.", id) }

func wrap(err error, format string, a ...any) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf(format+": %w", append(a, err)...)
}
