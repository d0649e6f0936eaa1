package main

import (
	"context"
	"path/filepath"

	"kilonova/identity"
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
