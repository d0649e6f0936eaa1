package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"kilonova/compat"
	"kilonova/extensions"
	"kilonova/flavors"
	"kilonova/hosts"
	"kilonova/identity"
	"kilonova/images"
	"kilonova/keypairs"
	"kilonova/networks"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/servers"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// cloudConfig is what the HTTP services need.
type cloudConfig struct {
	StateDir    string
	PublicURL   string // "" follows each request
	InternalURL string // where compute hosts reach the services
	Outbound    string // "" or "nat"
	PolicyFile  string
	// TenantRanges are what projects may use for their subnets; the default if nil.
	TenantRanges []netip.Prefix
	Disk         diskConfig
	Bell         work.Bell
	Bells        *work.Bells
}

// cloud is the part of the configuration that the HTTP services need.
func (c *config) cloud(dir string, at addresses, bell work.Bell, bells *work.Bells) cloudConfig {
	return cloudConfig{StateDir: dir, PublicURL: at.public, InternalURL: at.internal, Outbound: c.API.Outbound, PolicyFile: c.API.Policy,
		TenantRanges: prefixes(c.API.TenantRanges), Disk: c.Disk, Bell: bell, Bells: bells}
}

// cloud is the HTTP services and what runs beside them.
type cloud struct {
	cfg      cloudConfig
	db       *schema.DB
	identity *identity.Service
	images   *images.Service
	networks *networks.Service
	flavors  *flavors.Service
	quotas   *quotas.Service
	hosts    *hosts.Service
	life     *lifecycle.Service
	key      *secrets.Key
	password string
	owner    string // the project that owns what the cloud makes for all
	handler  http.Handler
}

// The paths at which one listener carries all services.
const (
	identityPath = "/identity"
	imagePath    = "/image"
	networkPath  = "/networking"
	computePath  = "/compute"
)

// catalog lists the services that clients find.
func catalog() []identity.CatalogService {
	return []identity.CatalogService{
		{Type: "identity", Name: "keystone", Path: identityPath},
		{Type: "compute", Name: "nova", Path: computePath + "/v2.1"},
		{Type: "image", Name: "glance", Path: imagePath},
		{Type: "network", Name: "neutron", Path: networkPath},
	}
}

// newCloud opens nothing but what the state folder and the database hold, and makes what
// is missing at a first start: keys, the administrator, flavors, the network.
func newCloud(ctx context.Context, db *schema.DB, cfg cloudConfig) (*cloud, error) {
	c := &cloud{cfg: cfg, db: db}
	for _, step := range []func(context.Context) error{c.openKey, c.openIdentity, c.openServices, c.bootstrap, c.route, c.renew} {
		err := step(ctx)
		if err != nil {
			return nil, err
		}
	}
	return c, nil
}

func (c *cloud) openKey(ctx context.Context) error {
	var err error
	c.key, err = openKey(ctx, c.db, c.cfg.StateDir)
	return err
}

func (c *cloud) openIdentity(ctx context.Context) error {
	password, err := secretFile(filepath.Join(c.cfg.StateDir, "admin-password"))
	if err != nil {
		return err
	}
	c.password = password
	c.identity, err = identity.New(ctx, identity.Config{
		DB: c.db, KeyDir: filepath.Join(c.cfg.StateDir, "jws-keys"), PublicURL: c.cfg.PublicURL, MountPath: identityPath,
	})
	if err != nil {
		return err
	}
	if c.cfg.PolicyFile != "" {
		err = c.identity.LoadPolicy(c.cfg.PolicyFile)
		if err != nil {
			return err
		}
	}
	err = c.identity.Bootstrap(ctx, identity.Bootstrap{AdminPassword: c.password, Region: "RegionOne", Services: catalog()})
	if err != nil {
		return err
	}
	c.owner, err = c.identity.ProjectNamed(ctx, "admin")
	return err
}

// renew gives what an earlier release left under way what it needs from this one.
func (c *cloud) renew(ctx context.Context) error { return c.life.RenewReadable(ctx) }

func (c *cloud) base(mount string) compat.Base {
	return compat.Base{Public: c.cfg.PublicURL, Mount: mount}
}

func (c *cloud) openServices(ctx context.Context) error {
	dir := imagesDir(c.cfg.StateDir)
	quota, err := c.cfg.Disk.projectBytes(dir)
	if err != nil {
		return err
	}
	c.images, err = images.New(images.Config{
		DB: c.db, Dir: dir, Floor: c.cfg.Disk.floor(dir), ProjectBytes: quota, Base: c.base(imagePath), Auth: c.identity.AuthenticateAs(images.WriteFault),
		Tickets: c.identity, InternalURL: c.cfg.InternalURL + imagePath,
	})
	if err != nil {
		return err
	}
	c.hosts = hosts.New(c.db, nil)
	own := newReserved(c.hosts, c.cfg.InternalURL, c.db.Server())
	c.networks, err = networks.New(networks.Config{
		DB: c.db, Base: c.base(networkPath), Auth: c.identity.Authenticate, Outbound: c.cfg.Outbound,
		ProjectExists: c.identity.ProjectExists, Owner: c.owner, TenantRanges: c.cfg.TenantRanges, Reserved: own.ranges,
	})
	if err != nil {
		return err
	}
	c.flavors = flavors.New(c.db, nil)
	c.flavors.ProjectExists = c.identity.ProjectExists
	c.quotas = quotas.New(c.db, nil)
	c.quotas.ProjectExists = c.identity.ProjectExists
	return nil
}

func (c *cloud) bootstrap(ctx context.Context) error {
	return errors.Join(c.flavors.Seed(ctx), c.networks.Bootstrap(ctx))
}

func (c *cloud) route(context.Context) error {
	compute := compat.NewCompute(c.base(""), c.identity.Policy(), c.identity.Authenticate)
	keys := keypairs.New(c.db, nil, c.quotas)
	c.life = lifecycle.New(lifecycle.Config{
		DB: c.db, Bell: c.cfg.Bell, Images: c.images, Networks: c.networks,
		Quotas: c.quotas, Hosts: c.hosts, Names: c.identity, Key: c.key,
	})
	c.images.Jobs = c.life.Runs
	c.networks.PortsChanged, c.networks.Bell = c.life.PortsChanged, c.cfg.Bell
	c.flavors.Register(compute)
	keys.Register(compute)
	c.quotas.Register(compute)
	extensions.Register(compute)
	c.images.RegisterCompute(compute)
	c.networks.RegisterCompute(compute)
	c.hosts.Register(compute)
	servers.New(servers.Config{
		DB: c.db, Flavors: c.flavors, Keypairs: keys, Images: c.images, Networks: c.networks,
		Quotas: c.quotas, Hosts: c.hosts, Life: c.life,
	}).Register(compute)
	err := compute.Build()
	if err != nil {
		return fmt.Errorf("compute API: %w", err)
	}
	mounts := map[string]http.Handler{computePath: compute.Mounted(computePath)}
	for path, h := range map[string]http.Handler{identityPath: c.identity.Handler(), imagePath: c.images.Handler(), networkPath: c.networks.Handler()} {
		mounts[path] = mounted(path, h)
	}
	health := map[string]http.HandlerFunc{
		"/healthz": func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "ok") },
		"/readyz":  c.ready,
	}
	c.handler = compat.Front(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if h := health[r.URL.Path]; h != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
			h(w, r)
			return
		}
		if waits(r) {
			r = r.WithContext(c.db.Spare(r.Context()))
		}
		first, _, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
		if h := mounts["/"+first]; h != nil {
			h.ServeHTTP(w, r)
			return
		}
		compute.ServeHTTP(w, r)
	}))
	return nil
}

func mounted(path string, h http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		u := *r.URL
		u.Path = strings.TrimPrefix(u.Path, path)
		u.RawPath = strings.TrimPrefix(u.RawPath, path)
		if u.Path == "" {
			u.Path = "/"
		}
		inner := new(http.Request)
		*inner = *r
		inner.URL = &u
		h.ServeHTTP(w, inner)
	})
}

// readyWait is how long a database may take to answer, for the services to be called ready.
const readyWait = 2 * time.Second

func (c *cloud) ready(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), readyWait)
	defer cancel()
	err := c.db.Answers(ctx)
	if err != nil {
		w.Header().Set("Retry-After", "1")
		http.Error(w, "the database does not answer", http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ready")
}

// run does what belongs beside the HTTP services until ctx ends.
func (c *cloud) run(ctx context.Context) {
	var wg sync.WaitGroup
	for _, f := range []func(context.Context){
		c.identity.Run, c.images.Run, c.life.Keep,
		func(ctx context.Context) { c.life.Finish(ctx, c.cfg.Bells.Listen(work.API)) },
		func(ctx context.Context) { c.db.WatchHostAccounts(ctx, slog.Default()) },
		func(ctx context.Context) { c.db.KeepSpare(ctx, slog.Default()) },
	} {
		wg.Add(1)
		go func() {
			defer wg.Done()
			schema.Forever(ctx, slog.Default(), f)
		}()
	}
	wg.Wait()
}

func migrate(ctx context.Context, db *schema.DB) error {
	err := db.Migrate(ctx)
	if err != nil || db.Dialect != schema.MySQL {
		return err
	}
	return db.RefreshHostAccounts(ctx)
}
