package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kilonova/computed"
	"kilonova/hostnet"
	"kilonova/hosts"
	"kilonova/private"
	"kilonova/room"
	"kilonova/schema"
	"kilonova/secrets"
	"kilonova/work"
)

func upCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use: "up", Short: "Run the whole cloud in one process", Args: cobra.NoArgs,
		Long: "Run every role in one process: identity, images, networks, the compute API and the\n" +
			"daemon of this machine's hypervisor. When ready it prints one line with its address and\n" +
			"has written clouds.yaml and openrc to the state folder.",
		RunE: func(c *cobra.Command, _ []string) error { return up(c.Context(), p.config) },
	}
	p.set.AddFlags(cmd.Flags(), "up")
	return cmd
}

// up runs the cloud until ctx ends.
func up(ctx context.Context, cfg *config) error {
	dir, err := stateDir(cfg.StateDir)
	if err != nil {
		return err
	}
	unlock, err := lockState(dir)
	if err != nil {
		return err
	}
	defer unlock()
	address, err := cfg.Database.find()
	if err != nil {
		return err
	}
	unlockDB, err := lockDatabase(address, dir, syscall.LOCK_EX)
	if err != nil {
		return err
	}
	defer unlockDB()
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
	c, err := newCloud(ctx, db, cfg.cloud(dir, at, bells, bells))
	if err != nil {
		return err
	}
	hv := &hypervisor{hostConfig: cfg.Host, disk: cfg.Disk, also: prefixes(cfg.API.TenantRanges), peers: hostnet.NewPeers(databaseHost(db.Server()))}
	hv.client, err = l.ownImageClient(cfg.API.Authority)
	if err != nil {
		return err
	}
	agents, err := localAgents(ctx, hv, dir, db, c.hosts, bells)
	if err != nil {
		return err
	}
	return runAll(ctx, l, c, agents, dir, at.local, cfg.authority())
}

// authority is the file by which clients verify the APIs' certificate, "" for plain HTTP.
func (c *config) authority() string {
	file := cmp.Or(c.API.Authority, c.Listen.Certificate)
	if c.Listen.Certificate == "" || file == "" {
		return ""
	}
	path, err := filepath.Abs(file)
	if err != nil {
		return file
	}
	return path
}

// runAll serves, works and says when everything is ready.
func runAll(ctx context.Context, l *listener, c *cloud, agents []*computed.Agent, dir, base, ca string) error {
	err := writeCredentials(dir, base, c.password, ca)
	if room.Full(err) { // they can be written by hand, the cloud cannot
		slog.Warn("the disk is full: clouds.yaml and openrc are as they were", "err", err)
		err = nil
	}
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	start := func(name string, run func(context.Context) error) {
		wg.Add(1)
		go func() {
			defer wg.Done()
			err := run(ctx)
			if err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", name, err))
			}
		}()
	}
	start("cloud", func(ctx context.Context) error { c.run(ctx); return nil })
	start("http", func(ctx context.Context) error { return l.serve(ctx, c.handler) })
	for _, a := range agents {
		start("computed", a.Run)
	}
	for _, a := range agents {
		select {
		case <-a.Ready():
		case <-ctx.Done():
		}
	}
	c.hosts.Forget()
	if ctx.Err() == nil {
		fmt.Printf("kilonova: ready %s\n", base)
	}
	<-ctx.Done()
	wg.Wait()
	err = context.Cause(ctx)
	if errors.Is(err, context.Canceled) {
		return nil
	}
	return err
}

func stateDir(path string) (string, error) {
	dir, err := filepath.Abs(path)
	if err != nil {
		return "", fmt.Errorf("state folder: %w", err)
	}
	_, err = os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		err = private.MakeDir(dir, private.Dir)
	}
	if err != nil {
		return "", fmt.Errorf("make the state folder: %w", err)
	}
	return dir, nil
}

// lockState keeps a second cloud off the same state folder.
func lockState(dir string) (func(), error) {
	return lockFile(dir, "lock", syscall.LOCK_EX, fmt.Sprintf("another kilonova runs on %s", dir))
}

// shareState keeps a cloud in one process off the state folder of others that share it, and
// them off its.
func shareState(dir string) (func(), error) {
	return lockFile(dir, "lock", syscall.LOCK_SH, fmt.Sprintf("another kilonova runs on %s", dir))
}

// lockDatabase does the same with the folder of an SQLite file that is not in the state
// folder: the cloud whose file it is may run there.
func lockDatabase(address, dir string, how int) (func(), error) {
	path := schema.FilePath(address)
	if path != "" {
		path, _ = filepath.Abs(path) // it fails where there is no working folder, which opening tells
	}
	home, err := filepath.EvalSymlinks(dir)
	if path == "" || address == "" || err == nil && filepath.Dir(path) == home || filepath.Dir(path) == dir {
		return func() {}, nil
	}
	if _, err := os.Stat(path); err != nil {
		return func() {}, nil //nolint:nilerr // there is nothing yet that anybody could have
	}
	return lockFile(filepath.Dir(path), "lock", how, "another kilonova runs on "+path)
}

// lockFile locks a file of the state folder, for itself or with others, until the process
// ends or the function that it gives is called. Held by another process, it is refused with
// these words, and which process it is.
func lockFile(dir, name string, how int, held string) (func(), error) {
	f, err := os.OpenFile(filepath.Join(dir, name), os.O_CREATE|os.O_RDWR, private.File)
	if err != nil {
		return nil, fmt.Errorf("lock the state folder: %w", err)
	}
	// A cloud that was just killed may still be on its way out.
	for range 50 {
		err = syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB)
		if err == nil {
			return func() { _ = f.Close() }, signed(f) // closing unlocks
		}
		time.Sleep(100 * time.Millisecond)
	}
	by, _ := io.ReadAll(io.LimitReader(f, 20)) // without it less is said
	_ = f.Close()                              // it is not ours
	if pid, err := strconv.Atoi(strings.TrimSpace(string(by))); err == nil {
		held += fmt.Sprintf(": process %d", pid)
	}
	return nil, errors.New(held)
}

// signed writes into a file that is locked who did that; of several, the last. A full disk
// keeps nobody from starting.
func signed(f *os.File) error {
	err := f.Truncate(0)
	if err == nil {
		_, err = f.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	if err != nil && !room.Full(err) {
		_ = f.Close() // the first error is the one to tell
		return fmt.Errorf("sign the lock: %w", err)
	}
	return nil
}

// openDB opens the database at an address, or the state folder's if there is none.
func openDB(ctx context.Context, dsn, dir string) (*schema.DB, error) {
	if dsn == "" {
		dsn = filepath.Join(dir, "kilonova.db")
	}
	db, err := schema.Open(ctx, dsn)
	if err != nil {
		return nil, err
	}
	err = migrate(ctx, db)
	if err != nil {
		_ = db.Close() // the first error is the one to tell
		return nil, err
	}
	return db, nil
}

// localAgents makes the daemons that run inside `up`: one on libvirt, or many on the
// simulator.
func localAgents(ctx context.Context, hv *hypervisor, dir string, db *schema.DB, hs *hosts.Service, bells *work.Bells) ([]*computed.Agent, error) {
	n, name := 1, hv.name()
	if hv.Driver == driverSim {
		n = hv.SimHosts
	}
	machine, err := machineID(dir)
	if err != nil {
		return nil, err
	}
	key, err := secrets.LoadOrMake(keyFile(dir))
	if err != nil {
		return nil, err
	}
	var out []*computed.Agent
	for i := range n {
		host := name
		if hv.Driver == driverSim {
			host = fmt.Sprintf("sim-%05d", i+1)
		}
		drv, err := hv.open(ctx, dir, host)
		if err != nil {
			return nil, err
		}
		own, err := key.Host(host)
		if err != nil {
			return nil, err
		}
		a, err := computed.New(computed.Config{DB: db, Driver: drv, Host: host, Machine: machine, Key: own, Bell: bells, Wake: bells.Listen(host), Log: slog.Default(), HTTPClient: hv.client,
			Register: func(ctx context.Context, info work.HostInfo) error { return hs.Add(ctx, host, info) }})
		if err != nil {
			return nil, err
		}
		out = append(out, a)
	}
	return out, nil
}

// machineID tells the daemons of this state folder from all others, also after a restart.
func machineID(dir string) (string, error) { return secretFile(filepath.Join(dir, "machine-id")) }

// name is the host's, or the machine's.
func (c *hostConfig) name() string {
	if c.Name != "" {
		return c.Name
	}
	name, err := os.Hostname()
	if err != nil || name == "" {
		return "localhost"
	}
	return name
}
