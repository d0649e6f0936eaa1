package main

import (
	"context"
	"fmt"

	"kilonova/compat"
	"kilonova/extensions"
	"kilonova/flavors"
	"kilonova/hosts"
	"kilonova/keypairs"
	"kilonova/quotas"
	"kilonova/servers"
	"kilonova/servers/lifecycle"
)

func (c *cloud) openHosts(context.Context) error {
	c.hosts = hosts.New(c.db, nil)
	return nil
}

// openCompute makes the compute API of the resources that it serves, its own and those that it
// shows of the other services.
func (c *cloud) openCompute(context.Context) error {
	c.flavors = flavors.New(c.db, nil)
	c.flavors.ProjectExists = c.identity.ProjectExists
	c.quotas = quotas.New(c.db, nil)
	c.quotas.ProjectExists = c.identity.ProjectExists
	keys := keypairs.New(c.db, nil, c.quotas)
	c.openLife()
	c.servers = servers.New(servers.Config{
		DB: c.db, Flavors: c.flavors, Keypairs: keys, Images: c.images, Networks: c.networks,
		Quotas: c.quotas, Hosts: c.hosts, Life: c.life,
	})
	c.compute = compat.NewCompute(c.base(""), c.identity.Policy(), c.identity.Authenticate)
	extensions.Register(c.compute)
	for _, resource := range []interface{ Register(c *compat.Compute) }{c.flavors, keys, c.quotas, c.hosts, c.servers} {
		resource.Register(c.compute)
	}
	c.images.RegisterCompute(c.compute)
	c.networks.RegisterCompute(c.compute)
	err := c.compute.Build()
	if err != nil {
		return fmt.Errorf("compute API: %w", err)
	}
	return nil
}

// openLife makes the life cycle of servers, and tells the services below it whom they tell.
func (c *cloud) openLife() {
	c.life = lifecycle.New(lifecycle.Config{
		DB: c.db, Bell: c.cfg.Bell, Images: c.images, Networks: c.networks,
		Quotas: c.quotas, Hosts: c.hosts, Names: c.identity, Key: c.key,
	})
	c.images.Jobs = c.life.Runs
	c.networks.PortsChanged, c.networks.Bell = c.life.PortsChanged, c.cfg.Bell
}
