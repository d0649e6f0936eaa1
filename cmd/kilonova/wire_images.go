package main

import (
	"context"

	"kilonova/images"
)

func (c *cloud) openImages(context.Context) error {
	dir := imagesDir(c.cfg.StateDir)
	quota, err := c.cfg.Disk.projectBytes(dir)
	if err != nil {
		return err
	}
	c.images, err = images.New(images.Config{
		DB: c.db, Dir: dir, Floor: c.cfg.Disk.floor(dir), ProjectBytes: quota, Base: c.base(imagePath), Auth: c.identity.AuthenticateAs(images.WriteFault),
		Tickets: c.identity, InternalURL: c.cfg.InternalURL + imagePath,
	})
	return err
}
