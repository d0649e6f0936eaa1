package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"kilonova/computed/libvirt"
	"kilonova/front"
	"kilonova/room"
	"kilonova/schema"
)

// finding is what one check of the doctor says.
type finding struct {
	ok   bool
	what string
	mend string // for a finding that is not ok
	fine bool   // not ok, and yet a cloud runs
}

func doctorCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{
		Use: "doctor", Short: "Say what is wrong with this machine and how to mend it", Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			return examine(c.Context(), c.OutOrStdout(), []func(context.Context) finding{
				checkAccount, p.checkConfig, checkProgram("qemu-img", "qemu-utils"), checkEmulator, checkProgram("dnsmasq", "dnsmasq-base"), checkProgram("ebtables", "ebtables"), checkProgram("nft", "nftables"),
				checkProgram("ip", "iproute2"), checkLibvirt(p.Host.URI), checkKVM, checkMemory, checkDisk(p.StateDir), checkFiles(p.StateDir), checkListen(p.Listen.Address), checkTLS(&p.Listen), checkDB(&p.Database, p.StateDir),
			})
		},
	}
	p.set.AddFlags(cmd.Flags(), "doctor")
	return cmd
}

func (p *process) checkConfig(context.Context) finding {
	open := p.exposed()
	switch {
	case open != "":
		return finding{what: open + ", " + p.file, mend: "chmod 600 " + p.file}
	case p.file == "":
		return finding{ok: true, what: "there is no file of the configuration"}
	}
	return finding{ok: true, what: "the configuration is " + p.file}
}

func examine(ctx context.Context, out io.Writer, checks []func(context.Context) finding) error {
	bad := 0
	for _, check := range checks {
		f := check(ctx)
		switch {
		case f.ok:
			fmt.Fprintf(out, "  ok    %s\n", f.what)
		case f.fine:
			fmt.Fprintf(out, "  note  %s\n        %s\n", f.what, f.mend)
		default:
			bad++
			fmt.Fprintf(out, "  BAD   %s\n        %s\n", f.what, f.mend)
		}
	}
	if bad > 0 {
		return fmt.Errorf("%d things to mend", bad)
	}
	return nil
}

func checkAccount(context.Context) finding {
	if os.Geteuid() == 0 {
		return finding{ok: true, what: "running as root"}
	}
	return finding{fine: true, what: "not running as root",
		mend: "qemu:///system wants root: run with sudo, or use --driver sim, which needs nothing"}
}

func checkProgram(name, pkg string) func(context.Context) finding {
	return func(context.Context) finding {
		at, err := exec.LookPath(name)
		if err != nil {
			at = filepath.Join("/usr/sbin", name)
			_, err = os.Stat(at)
		}
		if err != nil {
			return finding{what: name + " is missing", mend: "install the package that has it (" + pkg + " on Debian)"}
		}
		return finding{ok: true, what: name + " is " + at}
	}
}

func checkEmulator(ctx context.Context) finding {
	f := checkProgram("qemu-system-x86_64", "qemu-system-x86")(ctx)
	return f
}

func checkLibvirt(uri string) func(context.Context) finding {
	return func(context.Context) finding {
		dir, err := os.MkdirTemp("", "kilonova-doctor-")
		if err != nil {
			return finding{what: "no temporary folder can be made", mend: err.Error()}
		}
		defer os.RemoveAll(dir)
		d, err := libvirt.New(libvirt.Config{URI: uri, VirtType: "qemu", StateDir: dir})
		if err != nil {
			return finding{what: "libvirt does not answer: " + err.Error(),
				mend: "install libvirt-daemon-system and start it; without a service manager: virtlogd -d; libvirtd -d"}
		}
		defer d.Close()
		return finding{ok: true, what: "libvirt answers at " + uri}
	}
}

func checkKVM(ctx context.Context) finding {
	err := libvirt.ProveKVM(ctx)
	if err != nil {
		return finding{fine: true, what: "KVM does not work: " + err.Error(),
			mend: "guests run under QEMU's own emulation, which is some ten times slower; for KVM enable virtualization in the firmware or nested virtualization outside"}
	}
	return finding{ok: true, what: "KVM runs a guest"}
}

func checkMemory(context.Context) finding {
	var info syscall.Sysinfo_t
	err := syscall.Sysinfo(&info)
	if err != nil {
		return finding{fine: true, what: "the memory could not be read", mend: err.Error()}
	}
	const least = 1 << 30
	free := info.Freeram * uint64(info.Unit)
	if free < least {
		return finding{fine: true, what: fmt.Sprintf("%d MB of memory free", free>>20), mend: "guests need their flavor's memory; free some"}
	}
	return finding{ok: true, what: fmt.Sprintf("%d MB of memory free", free>>20)}
}

func checkDisk(dir string) func(context.Context) finding {
	return func(context.Context) finding {
		disk, err := room.Of(dir)
		if err != nil {
			return finding{what: "the state folder's disk cannot be read", mend: err.Error()}
		}
		const least = 2 << 30
		if disk.Starved {
			return finding{what: "hardly any more files can be made on the disk of " + dir, mend: "it has no inodes left: remove files, or give --state-dir"}
		}
		if disk.Free < least {
			return finding{what: fmt.Sprintf("%d MB free for %s", disk.Free>>20, dir), mend: "images and guests' disks need room, and stop where --keep-free is left: free some, or give --state-dir"}
		}
		return finding{ok: true, what: fmt.Sprintf("%d GB free for %s", disk.Free>>30, dir)}
	}
}

func checkListen(address string) func(context.Context) finding {
	return func(context.Context) finding {
		l, err := net.Listen("tcp", address)
		if err != nil {
			return finding{fine: true, what: "something listens at " + address + " already", mend: "perhaps a kilonova that runs; else give --listen"}
		}
		_ = l.Close() // it was only tried
		return finding{ok: true, what: address + " is free"}
	}
}

// soon is how long before its end a certificate should be renewed.
const soon = 14 * 24 * time.Hour

func checkTLS(cfg *listenConfig) func(context.Context) finding {
	cert, key := cfg.Certificate, cfg.Key
	return func(context.Context) finding {
		if cert == "" && key == "" {
			if front.Loopback(cfg.Address) {
				return finding{ok: true, what: "no other machine reaches the APIs"}
			}
			return finding{fine: true, what: "other machines reach the APIs at " + cfg.Address + " without TLS", mend: "give --tls-cert and --tls-key, or keep the APIs behind a proxy that has a certificate"}
		}
		c, err := front.LoadCertificate(cert, key)
		if err != nil {
			return finding{what: err.Error(), mend: "both files are PEM, and belong together"}
		}
		if st, err := os.Stat(key); err == nil && st.Mode().Perm()&0o077 != 0 {
			return finding{what: fmt.Sprintf("other accounts can read the key of the certificate, %s (%04o)", key, st.Mode().Perm()), mend: "chmod 600 " + key}
		}
		ends := c.Expires()
		switch {
		case time.Now().After(ends):
			return finding{what: "the certificate ended on " + ends.Format(time.DateOnly), mend: "put a new one in its place; it is read by itself"}
		case time.Until(ends) < soon:
			return finding{fine: true, what: "the certificate ends on " + ends.Format(time.DateOnly), mend: "put a new one in its place; it is read by itself"}
		}
		return finding{ok: true, what: "the certificate is good until " + ends.Format(time.DateOnly)}
	}
}

func checkDB(cfg *databaseConfig, dir string) func(context.Context) finding {
	return func(ctx context.Context) finding {
		file := cfg.File
		dsn, err := cfg.find()
		if err != nil {
			return finding{what: "the database's address is not to be had", mend: err.Error()}
		}
		if dsn == "" {
			dsn = filepath.Join(dir, "kilonova.db")
			_, err = os.Stat(dsn)
			if err != nil {
				return finding{ok: true, what: "the database will be SQLite, in the state folder"}
			}
		}
		db, err := schema.Open(ctx, dsn)
		if err != nil {
			return finding{what: "the database does not answer: " + err.Error(), mend: "check the address and the account"}
		}
		defer db.Close()
		if file != "" {
			if open := checkDBFile(file); !open.ok {
				return open
			}
		}
		if key := checkKey(ctx, db, dir); !key.ok {
			return key
		}
		if db.Plain() {
			return finding{fine: true, what: "what is said to the database at " + db.Server() + " goes over the network as it is", mend: "end the address with ?tls=true"}
		}
		loose, err := db.Undurable(ctx)
		if err != nil {
			return finding{what: "the database answers, but not what its settings are: " + err.Error(), mend: "check the account"}
		}
		if len(loose) > 0 {
			return finding{fine: true, what: "the database can lose answered requests: " + strings.Join(loose, "; "), mend: "set it in the server's configuration"}
		}
		open, err := db.Exposed(ctx)
		if err != nil {
			return finding{what: "the database answers, but not what is open in it: " + err.Error(), mend: "check the account"}
		}
		if len(open) > 0 {
			return finding{fine: true, what: "a stolen database account of a host can harm others: " + strings.Join(open, "; "), mend: "set it in the server's configuration, and revoke what all may do"}
		}
		return finding{ok: true, what: "the database answers, and commits durably"}
	}
}
