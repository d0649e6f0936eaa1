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

func apiCommand() *cobra.Command {
	var f upFlags
	var bell string
	cmd := &cobra.Command{
		Use: "api", Short: "Run the HTTP services; as many as you like on one database", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error { return api(c.Context(), &f, bell) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.stateDir, "state-dir", envOr("KILONOVA_STATE", "/var/lib/kilonova"), "folder of images and keys, shared by all API processes")
	f.listen.add(fl)
	f.db.add(fl, "database address (an SQLite file in the state folder if there is none)")
	f.addURLs(fl)
	f.addTenantRanges(fl)
	fl.StringVar(&f.outbound, "outbound", "", `"nat" lets guests reach what their host reaches`)
	fl.StringVar(&f.policy, "policy-file", "", "policy overrides, in oslo.policy's form")
	fl.StringVar(&f.caFile, "ca-file", envOr("KILONOVA_CA_FILE", ""), "authority of the APIs' certificate, in PEM, for clients (the certificate itself if empty)")
	f.disk.add(fl)
	f.disk.addQuota(fl)
	fl.StringVar(&bell, "doorbell", "", "UDP address at which hosts ring when work is done (none if empty: a short poll finds it)")
	return cmd
}

func api(ctx context.Context, f *upFlags, bellAddress string) error {
	if f.disk.badEnv != nil {
		return f.disk.badEnv
	}
	dir, err := stateDir(f.stateDir)
	if err != nil {
		return err
	}
	address, err := f.db.find()
	if err != nil {
		return err
	}
	if schema.IsFile(address) { // whose writers are those of one process
		unlock, err := shareState(dir)
		if err != nil {
			return err
		}
		defer unlock()
	}
	mendFiles(dir)
	l, err := f.listen.open()
	if err != nil {
		return err
	}
	defer l.Close()
	tenants, err := rangesOf("tenant-ranges", f.tenantRanges)
	if err != nil {
		return err
	}
	at, err := addressesOf(l.scheme(), l.Addr().String(), f.publicURL, f.internalURL)
	if err != nil {
		return err
	}
	tidyImages(ctx, dir)
	db, err := openDB(ctx, address, dir)
	if err != nil {
		return err
	}
	defer db.Close()
	bells := work.NewBells()
	ringer := &hostBell{}
	c, err := newCloud(ctx, db, cloudConfig{StateDir: dir, PublicURL: at.public, InternalURL: at.internal,
		Outbound: f.outbound, PolicyFile: f.policy, TenantRanges: tenants, Disk: f.disk, Bell: ringer, Bells: bells})
	if err != nil {
		return err
	}
	ringer.to = work.NewUDPBell(c.hosts.Doorbell)
	if bellAddress != "" {
		err = relay(ctx, bellAddress, bells, work.API)
		if err != nil {
			return err
		}
	}
	return runAll(ctx, l, c, nil, dir, at.local, f.authority())
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

func computedCommand() *cobra.Command {
	var f upFlags
	var host, bell, apiBell string
	cmd := &cobra.Command{
		Use: "computed", Short: "Run the daemon of this hypervisor host", Args: cobra.NoArgs,
		Long: "Run the daemon of this hypervisor host. On MariaDB give it the database account that\n" +
			"`kilonova host add` made for it: it needs no other.",
		RunE: func(c *cobra.Command, _ []string) error { return compute(c.Context(), &f, host, bell, apiBell) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.stateDir, "state-dir", envOr("KILONOVA_STATE", "/var/lib/kilonova"), "folder of disks and the image cache")
	f.db.add(fl, "database address, with the host's own account")
	fl.StringVar(&host, "host", hostName(), "name of this host")
	fl.StringVar(&bell, "doorbell", "", "UDP address at which the API rings when there is work (none if empty)")
	fl.StringVar(&apiBell, "api-doorbell", "", "UDP address at which to ring when work is done (none if empty)")
	fl.StringVar(&f.caFile, "ca-file", envOr("KILONOVA_CA_FILE", ""), "authority of the APIs' certificate, in PEM, beside those of the machine")
	f.driver.add(fl)
	f.disk.add(fl)
	return cmd
}

func compute(ctx context.Context, f *upFlags, host, bell, apiBell string) error {
	if f.disk.badEnv != nil {
		return f.disk.badEnv
	}
	dir, err := stateDir(f.stateDir)
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
	db, err := f.db.open(ctx)
	if err != nil {
		return err
	}
	defer db.Close()
	f.driver.disk = f.disk
	f.driver.peers = hostnet.NewPeers(databaseHost(db.Server()))
	f.driver.client, err = imageClient(f.caFile)
	if err != nil {
		return err
	}
	drv, err := f.driver.open(ctx, dir, host)
	if err != nil {
		return err
	}
	defer drv.Close()
	cfg := computed.Config{DB: db, Driver: drv, Host: host, Machine: machine, Key: key, Log: slog.Default(), HTTPClient: f.driver.client,
		Bell: work.NewUDPBell(func(string) string { return apiBell })}
	if bell != "" {
		rung, at, err := work.ListenUDP(ctx, bell)
		if err != nil {
			return err
		}
		cfg.Wake, cfg.Doorbell = rung, reachable(at.String())
	}
	a, err := computed.New(cfg)
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
