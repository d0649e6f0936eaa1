package main

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kilonova/front"
	"kilonova/hostnet"
	"kilonova/private"
	"kilonova/room"
	"kilonova/settings"
)

// config is all that an operator can set: each setting is a field, whose tags say its flag,
// its key in the file, its default, which commands have it, and what it is for (see
// settings.Set). Nothing about a setting is said anywhere else.
type config struct {
	StateDir  string `name:"state-dir" env:"KILONOVA_STATE" default:"/var/lib/kilonova" for:"up api computed doctor" help:"folder of the database, images, disks and keys; all API processes share one, a host has its own"`
	LogLevel  string `name:"log-level" default:"info" for:"all" oneof:"debug info warn error" help:"what is logged: debug, info, warn or error"`
	AccessLog bool   `name:"access-log" default:"true" for:"up api" help:"log a line for each request, at the level info (those for /healthz and /readyz at debug)"`

	Database databaseConfig `section:"The database"`
	Listen   listenConfig   `section:"Where the APIs listen"`
	API      apiConfig      `section:"The APIs"`
	Disk     diskConfig     `section:"Disk"`
	Bells    bellConfig     `section:"Bells between machines"`
	Host     hostConfig     `section:"Hypervisor hosts"`
}

type databaseConfig struct {
	Address string `name:"db" for:"up api computed doctor db host" secret:"true" help:"database address: of MariaDB or MySQL (on a host the one that \"kilonova host add\" printed), or the path of an SQLite file; up and api make one in the state folder if there is none. With a password in it give --db-file or KILONOVA_DB instead of the flag, which other accounts can read"`
	File    string `name:"db-file" for:"up api computed doctor db host" instead:"db" help:"file with the database address, readable by its owner alone"`
}

type listenConfig struct {
	Address     string     `name:"listen" default:"127.0.0.1:8774" for:"up api doctor" help:"address of the APIs"`
	Certificate string     `name:"tls-cert" for:"up api doctor" help:"certificate of the APIs, in PEM, with what leads to its authority (plain HTTP if empty); read again when it changes"`
	Key         string     `name:"tls-key" for:"up api doctor" help:"key of the certificate, in PEM"`
	Proxies     []machines `name:"trusted-proxy" env:"KILONOVA_TRUSTED_PROXIES" for:"up api" help:"addresses or ranges of reverse proxies whose X-Forwarded headers hold"`
	Open        int        `name:"max-connections" default:"0" min:"0" for:"up api" help:"connections in all (half of what the process may open, at most 8192, if 0)"`
	Silent      int        `name:"max-anonymous" default:"0" min:"0" for:"up api" help:"connections that wait for a client without a token, in all (at most 1024 if 0)"`
	SilentOfOne int        `name:"max-anonymous-per-address" default:"0" min:"0" for:"up api" help:"the same for one address (at most 256 if 0)"`
}

func (c *listenConfig) limits() front.Limits {
	return front.Limits{Open: c.Open, Silent: c.Silent, SilentPerAddress: c.SilentOfOne}
}

type apiConfig struct {
	PublicURL    address  `name:"public-url" for:"up api" help:"address that links and the catalog name (that of each request if empty)"`
	InternalURL  address  `name:"internal-url" for:"up api" help:"address at which compute hosts fetch and store images (the public one if empty, else this machine's)"`
	Authority    string   `name:"ca-file" for:"up api computed" help:"authority of the APIs' certificate, in PEM, for clients and hosts, beside those of the machine (for clients the certificate itself if empty)"`
	Policy       string   `name:"policy-file" for:"up api" help:"policy overrides, in oslo.policy's form"`
	Outbound     string   `name:"outbound" for:"up api" oneof:"- nat" help:"\"nat\" lets guests reach what their host reaches; it turns on forwarding there"`
	TenantRanges []ranges `name:"tenant-ranges" for:"up api" help:"ranges within which projects may choose their subnets"`
}

// diskConfig says how much of the disks users may take.
type diskConfig struct {
	Keep  room.Size `name:"keep-free" for:"up api computed" help:"what of a disk stays free whatever users store, such as 5GiB or 10% (1 GiB if empty, of a small disk a fifth)"`
	Quota room.Size `name:"image-quota" for:"up api" help:"image data that each project may hold, such as 500GiB, 10% of the images' disk, or unlimited (25% if empty)"`
}

type bellConfig struct {
	Own string `name:"doorbell" for:"api computed" help:"UDP address at which this process is rung: api by hosts, when work is done; computed by the API, when there is work (none if empty: a short poll finds it)"`
	API string `name:"api-doorbell" for:"computed" help:"UDP address of the API's doorbell, to ring when work is done (none if empty)"`
}

type hostConfig struct {
	Name        string        `name:"host" for:"up computed" help:"name of this host (the machine's if empty)"`
	Driver      string        `name:"driver" default:"auto" for:"up computed" oneof:"auto libvirt sim" help:"auto (libvirt), libvirt or sim, a simulator"`
	URI         string        `name:"libvirt-uri" default:"qemu:///system" for:"up computed doctor" help:"libvirt's address"`
	VirtType    string        `name:"virt-type" default:"auto" for:"up computed" oneof:"auto kvm qemu" help:"auto (KVM where it is proven to work), kvm or qemu"`
	GuestRanges []ranges      `name:"guest-ranges" for:"up computed" help:"ranges that this host gives to guests, whoever chose them; one within a route of the host takes that part of it"`
	SimHosts    int           `name:"sim-hosts" default:"1" min:"0" max:"99999" for:"up" help:"hosts of the simulator"`
	SimKeep     bool          `name:"sim-keep" default:"true" for:"up computed" help:"the simulator's guests outlive this process"`
	SimFetch    bool          `name:"sim-fetch" default:"false" for:"up computed" help:"the simulator fetches images, as a real host does"`
	SimLatency  time.Duration `name:"sim-latency" default:"0s" min:"0s" for:"up computed" help:"how long the simulator takes for each step"`
}

// ranges is a range of addresses as a network has it.
type ranges struct{ netip.Prefix }

// UnmarshalText refuses an address within a range.
func (r *ranges) UnmarshalText(text []byte) error {
	p, err := netip.ParsePrefix(string(text))
	if err != nil || p != p.Masked() {
		return fmt.Errorf("%q is not a range like 10.0.0.0/8", text)
	}
	r.Prefix = p
	return nil
}

// machines is one machine's address, or a range of them.
type machines struct{ netip.Prefix }

// UnmarshalText reads both.
func (m *machines) UnmarshalText(text []byte) error {
	p, err := prefix(string(text))
	if err != nil {
		return fmt.Errorf("%q is neither an address nor a range", text)
	}
	m.Prefix = p
	return nil
}

func prefix(text string) (netip.Prefix, error) {
	if strings.Contains(text, "/") {
		return netip.ParsePrefix(text)
	}
	a, err := netip.ParseAddr(text)
	if err != nil {
		return netip.Prefix{}, err
	}
	return a.Unmap().Prefix(a.Unmap().BitLen())
}

// prefixes gives what a list of ranges holds.
func prefixes(list []ranges) []netip.Prefix {
	var out []netip.Prefix
	for _, r := range list {
		out = append(out, r.Prefix)
	}
	return out
}

// address is that of a service on the web, without a slash at its end.
type address string

func (a *address) String() string { return string(*a) }

// Set reads an address.
func (a *address) Set(text string) error {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("%q is not an address like http://cloud.example:8774", text)
	}
	*a = address(strings.TrimSuffix(text, "/"))
	return nil
}

// newConfig gives the settings at their defaults.
func newConfig() (*config, *settings.Set) {
	c := &config{}
	for _, p := range hostnet.Private() {
		c.API.TenantRanges = append(c.API.TenantRanges, ranges{p})
		c.Host.GuestRanges = append(c.Host.GuestRanges, ranges{p})
	}
	return c, settings.Of(c)
}

// contradictions are settings that cannot hold together.
func (c *config) contradictions(s *settings.Set) settings.Mistakes {
	var out settings.Mistakes
	refuse := func(when bool, name, format string, a ...any) {
		if when {
			out = append(out, s.Refuse(name, format, a...))
		}
	}
	refuse(c.Listen.Key == "" && c.Listen.Certificate != "", "tls-cert", "a certificate needs its key: give tls-key too")
	refuse(c.Listen.Key != "" && c.Listen.Certificate == "", "tls-key", "a key needs its certificate: give tls-cert too")
	refuse(c.Listen.Open > 0 && c.Listen.Silent > c.Listen.Open, "max-anonymous", "%d is more than max-connections, %d", c.Listen.Silent, c.Listen.Open)
	refuse(c.Listen.Silent > 0 && c.Listen.SilentOfOne > c.Listen.Silent, "max-anonymous-per-address", "%d is more than max-anonymous, %d", c.Listen.SilentOfOne, c.Listen.Silent)
	for _, name := range []string{"sim-hosts", "sim-fetch", "sim-latency"} {
		refuse(c.Host.Driver != driverSim && s.Where(name) != "", name, "only the simulator has this: give driver sim too")
	}
	return out
}

// process is one run of the program: its settings, and where they came from.
type process struct {
	*config
	set  *settings.Set
	file string // of the configuration, "" for none
}

const (
	configVar  = "KILONOVA_CONFIG"
	configFile = "/etc/kilonova/kilonova.yaml"
)

// load reads the environment and the file, below the flags.
func (p *process) load() error {
	p.file = cmp.Or(p.file, os.Getenv(configVar))
	if p.file == "" {
		_, err := os.Stat(configFile)
		if errors.Is(err, fs.ErrNotExist) {
			err = nil
		} else {
			p.file = configFile
		}
		if err != nil {
			return fmt.Errorf("look for the configuration: %w", err)
		}
	}
	var wrong settings.Mistakes
	err := p.set.Load(p.file)
	if err != nil && !errors.As(err, &wrong) {
		return err
	}
	wrong = append(wrong, p.contradictions(p.set)...)
	// No child process inherits the way to the database.
	err = errors.Join(os.Unsetenv(dbVar), os.Unsetenv(dbFileVar))
	if err != nil {
		return fmt.Errorf("take the database address from the environment: %w", err)
	}
	if len(wrong) > 0 {
		return wrong
	}
	return nil
}

// exposed says that other accounts can read a password in the file of the configuration, or
// write that file; it is "" when all is well.
func (p *process) exposed() string {
	if p.file == "" {
		return ""
	}
	st, err := os.Stat(p.file)
	switch {
	case err != nil || !st.Mode().IsRegular():
	case st.Mode().Perm()&0o022 != 0:
		return "other accounts can write the file of the configuration"
	case st.Mode().Perm()&0o077 != 0 && p.set.InFile("db") && secretWord.MatchString(p.Database.Address):
		return "other accounts can read the database's password in the file of the configuration"
	}
	return ""
}

func configCommand(p *process) *cobra.Command {
	cmd := &cobra.Command{Use: "config", Short: "Write and check the file of the configuration"}
	cmd.AddCommand(&cobra.Command{
		Use: "init [FILE]", Short: "Write a file with every setting, its default and what it is for", Args: cobra.MaximumNArgs(1),
		Long: "Write a file with every setting, its default and what it is for, all of it as comments: to the\n" +
			"standard output, or to a new file. up, api and computed read it with --config, " + configVar + ",\n" +
			"or as " + configFile + ".",
		PersistentPreRunE: func(*cobra.Command, []string) error { return nil }, // whatever is set now
		RunE: func(c *cobra.Command, args []string) error {
			_, fresh := newConfig()
			var out strings.Builder
			err := fresh.WriteFile(&out, configHead)
			if err != nil {
				return err
			}
			if len(args) == 0 {
				fmt.Fprint(c.OutOrStdout(), out.String())
				return nil
			}
			return private.Create(args[0], []byte(out.String()))
		},
	}, &cobra.Command{
		Use: "check", Short: "Say what is set and where, and what is wrong with it", Args: cobra.NoArgs,
		Long: "Read the file of the configuration and the environment as up, api and computed do, and say what\n" +
			"they set, or the file and line of each mistake. Whether what they name is there, such as a\n" +
			"certificate or a database, says kilonova doctor.",
		RunE: func(c *cobra.Command, _ []string) error {
			list, where := p.set.Given()
			for i, v := range list {
				fmt.Fprintf(c.OutOrStdout(), "%s: %s = %s\n", where[i], v.Name, v.Text())
			}
			name := p.file
			if name == "" {
				name = "no file"
			}
			fmt.Fprintf(c.OutOrStdout(), "%s: %d settings, no mistakes\n", name, len(list))
			return nil
		},
	})
	return cmd
}

const configHead = `The configuration of kilonova. What begins with # is a comment: each setting stands here with
its default. A flag of the program wins over a variable of the environment, and that over
this file; kilonova config check says what is set, and what is wrong with it.
`

// ready is what comes before each command.
func (p *process) ready() error {
	err := p.load()
	if err != nil {
		return err
	}
	err = setLog(p.LogLevel)
	if open := p.exposed(); err == nil && open != "" {
		slog.Warn(open, "file", p.file, "mend", "chmod 600 "+p.file)
	}
	return err
}
