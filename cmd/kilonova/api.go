package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/url"
	"syscall"

	"github.com/spf13/cobra"

	"kilonova/computed"
	"kilonova/hostnet"
	"kilonova/schema"
	"kilonova/work"
)

func apiCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use: "api", Short: "Run the HTTP services; as many as you like on one database", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return api(c.Context(), p.config) },
	}
	p.set.AddFlags(cmd.Flags(), "api")
	return cmd
}

func api(ctx context.Context, cfg *config) error {
	dir, err := stateDir(cfg.StateDir)
	if err != nil {
		return err
	}
	address, err := cfg.Database.find()
	if err != nil {
		return err
	}
	if schema.IsFile(address) { // whose writers are those of one process
		unlock, err := shareState(dir)
		if err != nil {
			return err
		}
		defer unlock()
		unlock, err = lockDatabase(address, dir, syscall.LOCK_SH)
		if err != nil {
			return err
		}
		defer unlock()
	}
	mendFiles(dir)
	l, err := cfg.Listen.open()
	if err != nil {
		return err
	}
	defer l.Close()
	at := addressesOf(l.scheme(), l.Addr().String(), cfg.API)
	tidyImages(ctx, dir)
	db, err := openDB(ctx, address, dir)
	if err != nil {
		return err
	}
	defer db.Close()
	bells := work.NewBells()
	ringer := &hostBell{}
	c, err := newCloud(ctx, db, cfg.cloud(dir, at, ringer, bells))
	if err != nil {
		return err
	}
	ringer.to = work.NewUDPBell(c.hosts.Doorbell)
	if cfg.Bells.Own != "" {
		err = relay(ctx, cfg.Bells.Own, bells, work.API)
		if err != nil {
			return err
		}
	}
	return runAll(ctx, l, c, nil, dir, at.local, cfg.authority())
}

// hostBell rings hosts on other machines; it exists before the hosts are known.
type hostBell struct{ to work.Bell }

func (b *hostBell) Ring(name string) {
	if b.to != nil {
		b.to.Ring(name)
	}
}

// relay turns datagrams into rings for a listener in this process.
func relay(ctx context.Context, address string, bells *work.Bells, name string) error {
	rung, at, err := work.ListenUDP(ctx, address)
	if err != nil {
		return err
	}
	slog.Info("doorbell", "address", at.String())
	go func() {
		for range rung {
			bells.Ring(name)
		}
	}()
	return nil
}

func computedCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use: "computed", Short: "Run the daemon of this hypervisor host", Args: cobra.NoArgs,
		Long: "Run the daemon of this hypervisor host. On MariaDB give it the database account that\n" +
			"`kilonova host add` made for it: it needs no other.",
		RunE: func(c *cobra.Command, _ []string) error { return compute(c.Context(), p.config) },
	}
	p.set.AddFlags(cmd.Flags(), "computed")
	return cmd
}

func compute(ctx context.Context, cfg *config) error {
	host := cfg.Host.name()
	dir, err := stateDir(cfg.StateDir)
	if err != nil {
		return err
	}
	unlock, err := lockFile(dir, "computed-"+url.PathEscape(host)+".lock", syscall.LOCK_EX, fmt.Sprintf("another daemon of host %s runs on %s", host, dir))
	if err != nil {
		return err
	}
	defer unlock()
	mendFiles(dir)
	machine, err := machineID(dir)
	if err != nil {
		return err
	}
	key, err := hostKey(dir, host)
	if err != nil {
		return err
	}
	db, err := cfg.Database.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	hv := hypervisor{hostConfig: cfg.Host, disk: cfg.Disk, peers: hostnet.NewPeers(databaseHost(db.Server()))}
	hv.client, err = imageClient(cfg.API.Authority)
	if err != nil {
		return err
	}
	drv, err := hv.open(ctx, dir, host)
	if err != nil {
		return err
	}
	defer drv.Close()
	daemon := computed.Config{DB: db, Driver: drv, Host: host, Machine: machine, Key: key, Log: slog.Default(), HTTPClient: hv.client,
		Bell: work.NewUDPBell(func(string) string { return cfg.Bells.API })}
	if cfg.Bells.Own != "" {
		rung, at, err := work.ListenUDP(ctx, cfg.Bells.Own)
		if err != nil {
			return err
		}
		daemon.Wake, daemon.Doorbell = rung, reachable(at.String())
	}
	a, err := computed.New(daemon)
	if err != nil {
		return err
	}
	go func() {
		select {
		case <-a.Ready():
			fmt.Printf("kilonova: computed ready %s\n", host)
		case <-ctx.Done():
		}
	}()
	return a.Run(ctx)
}
