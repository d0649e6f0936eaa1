package main

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"

	"kilonova/compat"
	"kilonova/flavors"
	"kilonova/hosts"
	"kilonova/identity"
	"kilonova/images"
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
	AccessLog    bool
	Bell         work.Bell
	Bells        *work.Bells
}

// cloud is the part of the configuration that the HTTP services need.
func (c *config) cloud(dir string, at addresses, bell work.Bell, bells *work.Bells) cloudConfig {
	return cloudConfig{StateDir: dir, PublicURL: at.public, InternalURL: at.internal, Outbound: c.API.Outbound, PolicyFile: c.API.Policy,
		TenantRanges: prefixes(c.API.TenantRanges), Disk: c.Disk, AccessLog: c.AccessLog, Bell: bell, Bells: bells}
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
	servers  *servers.Service
	compute  *compat.Compute
	handler  http.Handler
}

// newCloud opens nothing but what the state folder and the database hold, and makes what
// is missing at a first start: keys, the administrator, flavors, the network.
func newCloud(ctx context.Context, db *schema.DB, cfg cloudConfig) (*cloud, error) {
	c := &cloud{cfg: cfg, db: db}
	for _, step := range []func(context.Context) error{c.openKey, c.openIdentity, c.openImages, c.openHosts, c.openNetworks, c.openCompute, c.bootstrap, c.serve, c.renew} {
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

func (c *cloud) bootstrap(ctx context.Context) error {
	return errors.Join(c.flavors.Seed(ctx), c.networks.Bootstrap(ctx))
}

// renew gives what an earlier release left under way what it needs from this one.
func (c *cloud) renew(ctx context.Context) error { return c.life.RenewReadable(ctx) }

func (c *cloud) base(mount string) compat.Base {
	return compat.Base{Public: c.cfg.PublicURL, Mount: mount}
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
