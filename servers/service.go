package servers

import (
	"context"
	"net/http"

	"kilonova/compat"
	"kilonova/flavors"
	"kilonova/hosts"
	"kilonova/images"
	"kilonova/keypairs"
	"kilonova/networks"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/servers/lifecycle"
)

// Config is what the servers need of the rest of the cloud.
type Config struct {
	DB       *schema.DB
	Clock    schema.Clock
	Flavors  *flavors.Service
	Keypairs *keypairs.Service
	Images   *images.Service
	Networks *networks.Service
	Quotas   *quotas.Service
	Hosts    *hosts.Service

	// Life is what changes servers.
	Life *lifecycle.Service
}

// Service is the server resource on the wire.
type Service struct {
	Config
	renderings *renderings // nil keeps none
}

// New makes the service.
func New(cfg Config) *Service { return &Service{Config: cfg, renderings: newRenderings()} }

// Register adds the handlers of all operations on servers.
func (s *Service) Register(api *compat.Compute) {
	api.Resolve("servers", s.resolve)

	api.Handle("POST /servers", s.create)
	api.Handle("GET /servers", s.index)
	api.Handle("GET /servers/detail", s.detail)
	api.Handle("GET /servers/{id}", s.show)
	api.Handle("PUT /servers/{id}", s.update)
	api.Handle("DELETE /servers/{id}", s.delete)
	for _, op := range []string{lifecycle.OpStart, lifecycle.OpStop, lifecycle.OpPause, lifecycle.OpUnpause, lifecycle.OpSuspend, lifecycle.OpResume} {
		api.Handle(action(op), s.simple(op))
	}
	api.Handle(action(lifecycle.OpForceDelete), s.forceDelete)
	// Servers are deleted at once here, so that none can be restored: this is always the
	// state table's conflict.
	api.Handle(action(lifecycle.OpRestore), s.simple(lifecycle.OpRestore))
	api.Handle(action("reboot"), s.reboot)
	api.Handle(action(lifecycle.OpRebuild), s.rebuild)
	api.Handle(action(lifecycle.OpResize), s.resize)
	api.Handle(action(lifecycle.OpConfirm), s.confirmResize)
	api.Handle(action(lifecycle.OpRevert), s.revertResize)
	api.Handle(action(lifecycle.OpCreateImage), s.createImage)
	api.Handle(action(lifecycle.OpPassword), s.changePassword)
	api.Handle(action(lifecycle.OpConsole), s.consoleOutput)
	api.Handle(action(lifecycle.OpResetState), s.resetState)
	api.Handle(action(lifecycle.OpLock), s.lock)
	api.Handle(action(lifecycle.OpUnlock), s.unlock)
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
func of(r *compat.Request) *lifecycle.Server { return r.Resource.(*lifecycle.Server) }

// find reads one server that the caller may see: an admin sees every project's.
func (s *Service) find(ctx context.Context, q schema.Querier, c *compat.Caller, id string, alsoDeleted bool) (*lifecycle.Server, error) {
	const longestID = 255
	if len(id) > longestID {
		return nil, compat.NotFound("Instance could not be found")
	}
	srv, err := lifecycle.Get(ctx, q, id)
	if err != nil {
		return nil, err
	}
	if srv == nil || srv.Deleted && !alsoDeleted || srv.ProjectID != c.ProjectID && !c.IsAdmin() {
		return nil, lifecycle.NotFound(id)
	}
	return srv, nil
}
