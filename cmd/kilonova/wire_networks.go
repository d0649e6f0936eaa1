package main

import (
	"context"

	"kilonova/networks"
)

func (c *cloud) openNetworks(context.Context) error {
	own := newReserved(c.hosts, c.cfg.InternalURL, c.db.Server())
	var err error
	c.networks, err = networks.New(networks.Config{
		DB: c.db, Base: c.base(networkPath), Auth: c.identity.Authenticate, Outbound: c.cfg.Outbound,
		ProjectExists: c.identity.ProjectExists, Owner: c.owner, TenantRanges: c.cfg.TenantRanges, Reserved: own.ranges,
	})
	return err
}
