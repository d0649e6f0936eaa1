package libvirt

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"time"

	virt "libvirt.org/go/libvirt"

	"kilonova/computed"
	"kilonova/hostnet"
	"kilonova/room"
	"kilonova/work"
)

// Config says where the driver finds things and what guests get. The zero value is fit
// for a host whose libvirtd has its stock configuration.
type Config struct {
	// URI is libvirt's address, qemu:///system if empty.
	URI string
	// StateDir holds the guests' disks and the image cache, /var/lib/kilonova if empty.
	// QEMU runs under another account, so its parents must be traversable.
	StateDir string
	// VirtType is "kvm", "qemu" (emulation) or "auto", which is also the meaning of "":
	// KVM if ProveKVM succeeds.
	VirtType string
	// CPUMode is none, host-model, host-passthrough, maximum or custom with CPUModel. If
	// it is empty, KVM guests get host-model and emulated ones QEMU's default.
	CPUMode  string
	CPUModel string
	// Machine is the machine type of guests whose image names none, "pc" if empty.
	Machine string
	// VNCListen is the address of the guests' VNC servers, 127.0.0.1 if empty.
	VNCListen string
	// HostIP is reported as the host's address, 127.0.0.1 if empty.
	HostIP string
	// ConfigDrive gives the files of a guest's config drive by their paths. Every guest
	// gets one; if ConfigDrive is nil they get none.
	ConfigDrive func(*work.Guest) (map[string][]byte, error)
	// GuestRanges are those that this host gives to guests, whoever chose them;
	// hostnet.Private if nil.
	GuestRanges []netip.Prefix
	// Peers are machines that this one must reach whatever guests do; nil for none.
	Peers *hostnet.Peers
	// NoMetadataAddress leaves 169.254.169.254 off the bridges.
	NoMetadataAddress bool
	// Validate checks domain XML against libvirt's schema, for tests.
	Validate bool
	// Floor is what stays free on the disk of StateDir whatever guests' owners ask for; its
	// default if nil.
	Floor *room.Floor
	// HTTPClient fetches images, http.DefaultClient if nil.
	HTTPClient *http.Client
	// Log gets what the driver has to say, slog.Default() if nil.
	Log *slog.Logger
}

// Driver is a computed.Driver for libvirt.
type Driver struct {
	cfg   Config
	log   *slog.Logger
	cache *computed.ImageCache
	img   qemuImg
	info  hostFacts

	neighbours neighbours

	// The connection is nil while it is being made anew; ready is closed when it is there.
	mu    sync.Mutex
	conn  *virt.Connect
	ready chan struct{}

	lost   chan struct{} // wakes the keeper
	closed chan struct{}
	keeper sync.WaitGroup

	networks sync.Mutex // one change of networks at a time
	events   eventHub
}

// hostFacts do not change while the driver lives.
type hostFacts struct {
	arch    string
	cpuInfo string
	cache   string // cache mode of disks
}

var _ computed.Driver = (*Driver)(nil)

// ErrNotConnected says that libvirtd does not answer.
var ErrNotConnected = errors.New("libvirtd does not answer")

// New connects to libvirt and prepares the state directory.
func New(cfg Config) (*Driver, error) {
	if cfg.URI == "" {
		cfg.URI = "qemu:///system"
	}
	if cfg.StateDir == "" {
		cfg.StateDir = "/var/lib/kilonova"
	}
	if cfg.Machine == "" {
		cfg.Machine = "pc"
	}
	if cfg.VNCListen == "" {
		cfg.VNCListen = "127.0.0.1"
	}
	if cfg.HostIP == "" {
		cfg.HostIP = "127.0.0.1"
	}
	if cfg.GuestRanges == nil {
		cfg.GuestRanges = hostnet.Private()
	}
	if cfg.Peers == nil {
		cfg.Peers = hostnet.NewPeers()
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	dir, err := filepath.Abs(cfg.StateDir)
	if err != nil {
		return nil, fmt.Errorf("find state directory: %w", err)
	}
	cfg.StateDir = dir
	if cfg.Floor == nil {
		cfg.Floor = &room.Floor{Path: dir}
	}

	d := &Driver{
		cfg: cfg, log: cfg.Log, img: defaultQemuImg(),
		ready: make(chan struct{}), lost: make(chan struct{}, 1), closed: make(chan struct{}),
	}
	d.events.init()
	d.neighbours.bin, err = exec.LookPath("nft")
	if err != nil {
		d.log.Warn("nft is not installed: a guest can claim addresses of others on networks with IPv6")
	}
	switch cfg.VirtType {
	case "kvm", "qemu":
	case "", "auto":
		d.cfg.VirtType = d.provenType()
	default:
		return nil, fmt.Errorf("virt type %q is none of auto, kvm, qemu", cfg.VirtType)
	}
	err = d.prepareDirs()
	if err != nil {
		return nil, err
	}
	d.cache, err = computed.NewImageCache(computed.CacheOptions{
		Dir: d.imagesDir(), Client: cfg.HTTPClient, Floor: cfg.Floor,
		Inspect: func(ctx context.Context, path string, img *work.Image) error {
			_, err := d.img.inspect(ctx, path, img.DiskFormat)
			return err
		},
	})
	if err != nil {
		return nil, err
	}
	conn, err := d.dial()
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", cfg.URI, err)
	}
	err = d.learn(conn)
	if err != nil {
		conn.Close()
		return nil, err
	}
	d.conn = conn
	close(d.ready)
	d.keeper.Go(d.keep)
	d.keeper.Go(d.tell)
	d.keeper.Go(d.trimConsoles)
	return d, nil
}

// Name is "libvirt".
func (d *Driver) Name() string { return "libvirt" }

// VirtType says how guests run: "kvm" or "qemu".
func (d *Driver) VirtType() string { return d.cfg.VirtType }

// Close ends the connection; guests go on.
func (d *Driver) Close() error {
	d.mu.Lock()
	select {
	case <-d.closed:
		d.mu.Unlock()
		return nil
	default:
	}
	close(d.closed)
	d.mu.Unlock()
	d.keeper.Wait()
	return nil
}

// eventLoop starts libvirt's event loop, which is one for the whole process and, as
// libvirt has no way to end it, runs until the process ends.
var eventLoop = sync.OnceValue(func() error {
	err := virt.EventRegisterDefaultImpl()
	if err != nil {
		return fmt.Errorf("register event loop: %w", err)
	}
	go func() {
		for {
			err := virt.EventRunDefaultImpl()
			if err != nil {
				slog.Warn("libvirt's event loop", "err", err)
				time.Sleep(time.Second)
			}
		}
	}()
	return nil
})

// dial makes a connection that notices a dead daemon within 15 seconds and tells of it.
func (d *Driver) dial() (*virt.Connect, error) {
	err := eventLoop()
	if err != nil {
		return nil, err
	}
	conn, err := virt.NewConnect(d.cfg.URI)
	if err != nil {
		return nil, err
	}
	err = conn.SetKeepAlive(5, 3)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("set keepalive: %w", err)
	}
	_, err = conn.DomainEventLifecycleRegister(nil, d.onLifecycle)
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("register for events: %w", err)
	}
	err = conn.RegisterCloseCallback(func(*virt.Connect, virt.ConnectCloseReason) { d.wakeKeeper() })
	if err != nil {
		conn.Close()
		return nil, fmt.Errorf("register for the connection's end: %w", err)
	}
	return conn, nil
}

func (d *Driver) wakeKeeper() {
	select {
	case d.lost <- struct{}{}:
	default:
	}
}

// keep holds the connection until Close, making it anew when it is lost.
func (d *Driver) keep() {
	defer d.drop()
	tick := time.NewTicker(5 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-d.closed:
			return
		case <-d.lost:
		case <-tick.C:
		}
		d.mu.Lock()
		conn := d.conn
		d.mu.Unlock()
		if conn != nil && alive(conn) {
			continue
		}
		d.drop()
		d.log.Warn("the connection to libvirtd is lost", "uri", d.cfg.URI)
		conn = d.redial()
		if conn == nil {
			return
		}
		d.log.Info("connected to libvirtd again", "uri", d.cfg.URI)
		d.mu.Lock()
		d.conn = conn
		close(d.ready)
		d.mu.Unlock()
	}
}

// redial tries until it succeeds, or gives nil when the driver is closed.
func (d *Driver) redial() *virt.Connect {
	wait := 50 * time.Millisecond
	for {
		conn, err := d.dial()
		if err == nil {
			return conn
		}
		d.log.Debug("connect to libvirtd", "err", err)
		select {
		case <-d.closed:
			return nil
		case <-time.After(wait):
		}
		wait = min(2*wait, 2*time.Second)
	}
}

// drop lets go of the connection; callers who still use it hold references of their own.
func (d *Driver) drop() {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.conn == nil {
		return
	}
	// Both fail on a lost connection, and then there is nothing to undo.
	_ = d.conn.UnregisterCloseCallback()
	_, _ = d.conn.Close()
	d.conn = nil
	d.ready = make(chan struct{})
}

func alive(c *virt.Connect) bool {
	ok, err := c.IsAlive()
	return err == nil && ok
}

// reconnectWait is how long a call waits for a lost connection.
const reconnectWait = 20 * time.Second

// acquire gives a connection that the caller must Close.
func (d *Driver) acquire(ctx context.Context) (*virt.Connect, error) {
	limit := time.After(reconnectWait)
	for {
		d.mu.Lock()
		conn, ready := d.conn, d.ready
		if conn != nil && alive(conn) {
			err := conn.Ref()
			d.mu.Unlock()
			return conn, err
		}
		d.mu.Unlock()
		wait := time.Duration(0)
		if conn != nil { // lost, and the keeper has not seen it
			d.wakeKeeper()
			ready, wait = nil, 10*time.Millisecond
		}
		var again <-chan time.Time
		if wait > 0 {
			again = time.After(wait)
		}
		select {
		case <-ready:
		case <-again:
		case <-ctx.Done():
			return nil, ctx.Err()
		case <-d.closed:
			return nil, fmt.Errorf("%w: the driver is closed", ErrNotConnected)
		case <-limit:
			return nil, ErrNotConnected
		}
	}
}

// do runs f with a connection, and again when the connection was lost meanwhile, so f
// must be safe to run twice.
func (d *Driver) do(ctx context.Context, f func(*virt.Connect) error) error {
	for attempt := 1; ; attempt++ {
		conn, err := d.acquire(ctx)
		if err != nil {
			return err
		}
		err = f(conn)
		lost := err != nil && !alive(conn)
		// Only our own reference goes; a failure leaves nothing to mend.
		_, _ = conn.Close()
		if !lost || attempt == 3 {
			return err
		}
	}
}

// domain runs f with the guest's domain, or returns ErrNoInstance.
func (d *Driver) domain(ctx context.Context, uuid string, f func(*virt.Domain) error) error {
	if !uuidRE.MatchString(uuid) {
		return fmt.Errorf("%q: %w", uuid, computed.ErrNoInstance)
	}
	return d.do(ctx, func(c *virt.Connect) error {
		dom, err := c.LookupDomainByUUIDString(uuid)
		if errors.Is(err, virt.ERR_NO_DOMAIN) {
			return computed.ErrNoInstance
		}
		if err != nil {
			return fmt.Errorf("look up domain: %w", err)
		}
		defer dom.Free()
		err = f(dom)
		if errors.Is(err, virt.ERR_NO_DOMAIN) { // it went while we looked at it
			return computed.ErrNoInstance
		}
		return err
	})
}

var uuidRE = regexp.MustCompile(`^[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}$`)

// wrap says what was done to which guest.
func wrap(err error, what, uuid string) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s %s: %w", what, uuid, err)
}

// capabilities is what we read of libvirt's description of the host.
type capabilities struct {
	Host struct {
		CPU struct {
			Arch     string `xml:"arch"`
			Model    string `xml:"model"`
			Vendor   string `xml:"vendor"`
			Topology struct {
				Sockets int `xml:"sockets,attr"`
				Cores   int `xml:"cores,attr"`
				Threads int `xml:"threads,attr"`
			} `xml:"topology"`
			Features []struct {
				Name string `xml:"name,attr"`
			} `xml:"feature"`
		} `xml:"cpu"`
	} `xml:"host"`
}

// learn finds out what does not change.
func (d *Driver) learn(c *virt.Connect) error {
	text, err := c.GetCapabilities()
	if err != nil {
		return fmt.Errorf("get capabilities: %w", err)
	}
	var caps capabilities
	err = xml.Unmarshal([]byte(text), &caps)
	if err != nil {
		return fmt.Errorf("read capabilities: %w", err)
	}
	node, err := c.GetNodeInfo()
	if err != nil {
		return fmt.Errorf("get node info: %w", err)
	}
	cpu := caps.Host.CPU
	features := make([]string, 0, len(cpu.Features))
	for _, f := range cpu.Features {
		features = append(features, f.Name)
	}
	info, err := json.Marshal(map[string]any{
		"arch": cpu.Arch, "model": cpu.Model, "vendor": cpu.Vendor, "features": features,
		"topology": map[string]int{
			"cells": int(node.Nodes), "sockets": max(cpu.Topology.Sockets, 1),
			"cores": max(cpu.Topology.Cores, 1), "threads": max(cpu.Topology.Threads, 1),
		},
	})
	if err != nil {
		return fmt.Errorf("describe processor: %w", err)
	}
	d.info = hostFacts{arch: cpu.Arch, cpuInfo: string(info), cache: cacheMode(d.instancesDir())}
	return nil
}

// Host reports the machine and its capacity.
func (d *Driver) Host(ctx context.Context) (work.HostInfo, error) {
	h := work.HostInfo{HostIP: d.cfg.HostIP, Arch: d.info.arch, CPUInfo: d.info.cpuInfo}
	err := d.do(ctx, func(c *virt.Connect) error {
		name, err := c.GetHostname()
		if err != nil {
			return fmt.Errorf("get host name: %w", err)
		}
		kind, err := c.GetType()
		if err != nil {
			return fmt.Errorf("get hypervisor type: %w", err)
		}
		version, err := c.GetVersion()
		if err != nil {
			return fmt.Errorf("get hypervisor version: %w", err)
		}
		node, err := c.GetNodeInfo()
		if err != nil {
			return fmt.Errorf("get node info: %w", err)
		}
		h.Hostname, h.HypervisorType, h.HypervisorVersion = name, kind, int(version)
		h.VCPUs, h.MemoryMB = int(node.Cpus), int(node.Memory/1024)
		return nil
	})
	if err != nil {
		return h, fmt.Errorf("describe host: %w", err)
	}
	held, err := d.held(ctx, work.IsBridge)
	if err != nil {
		return h, err
	}
	h.HeldRanges = hostnet.Encode(held)
	var fs syscall.Statfs_t
	err = syscall.Statfs(d.cfg.StateDir, &fs)
	if err != nil {
		return h, fmt.Errorf("measure %s: %w", d.cfg.StateDir, err)
	}
	h.DiskGB = int(fs.Blocks * uint64(fs.Bsize) >> 30)
	h.DiskAvailableGB = int(fs.Bavail * uint64(fs.Bsize) >> 30)
	h.Uptime = uptime()
	return h, nil
}

// uptime speaks as the program of that name does, or is empty.
func uptime() string {
	up, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return ""
	}
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return ""
	}
	var seconds float64
	_, err = fmt.Sscan(string(up), &seconds)
	if err != nil {
		return ""
	}
	l := strings.Fields(string(load))
	if len(l) < 3 {
		return ""
	}
	s := int(seconds)
	return fmt.Sprintf(" %s up %d days, %2d:%02d,  0 users,  load average: %s, %s, %s",
		time.Now().UTC().Format(time.TimeOnly), s/86400, s/3600%24, s/60%60, l[0], l[1], l[2])
}

// Instances lists the guests that this driver defined.
func (d *Driver) Instances(ctx context.Context) ([]work.Instance, error) {
	var list []work.Instance
	err := d.do(ctx, func(c *virt.Connect) error {
		list = nil
		domains, err := c.ListAllDomains(0)
		if err != nil {
			return err
		}
		for i := range domains {
			inst, ours, err := instance(&domains[i])
			domains[i].Free()
			if errors.Is(err, virt.ERR_NO_DOMAIN) {
				continue // it went meanwhile
			}
			if err != nil {
				return err
			}
			// Another cloud on the same libvirt has guests like ours: this one's have
			// their disks in its folder.
			if ours && d.hasDir(inst.UUID) {
				list = append(list, inst)
			}
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list guests: %w", err)
	}
	return list, nil
}

// instance describes a domain, and says whether it is one of ours.
func instance(dom *virt.Domain) (work.Instance, bool, error) {
	_, err := dom.GetMetadata(virt.DOMAIN_METADATA_ELEMENT, ourNamespace, 0)
	if errors.Is(err, virt.ERR_NO_DOMAIN_METADATA) {
		return work.Instance{}, false, nil
	}
	if err != nil {
		return work.Instance{}, false, fmt.Errorf("get metadata: %w", err)
	}
	name, err := dom.GetName()
	if err != nil {
		return work.Instance{}, false, fmt.Errorf("get name: %w", err)
	}
	uuid, err := dom.GetUUIDString()
	if err != nil {
		return work.Instance{}, false, fmt.Errorf("get uuid: %w", err)
	}
	state, err := powerState(dom)
	if err != nil {
		return work.Instance{}, false, err
	}
	return work.Instance{UUID: uuid, Name: name, State: state}, true, nil
}

// powerStates maps as Nova does; a guest whose memory is saved counts as shut down.
var powerStates = map[virt.DomainState]work.PowerState{
	virt.DOMAIN_NOSTATE:     work.NoState,
	virt.DOMAIN_RUNNING:     work.PoweredOn,
	virt.DOMAIN_BLOCKED:     work.PoweredOn,
	virt.DOMAIN_PAUSED:      work.Paused,
	virt.DOMAIN_SHUTDOWN:    work.Shutdown,
	virt.DOMAIN_SHUTOFF:     work.Shutdown,
	virt.DOMAIN_CRASHED:     work.Crashed,
	virt.DOMAIN_PMSUSPENDED: work.Suspended,
}

func powerState(dom *virt.Domain) (work.PowerState, error) {
	s, _, err := dom.GetState()
	if err != nil {
		return work.NoState, fmt.Errorf("get state: %w", err)
	}
	return powerStates[s], nil
}

// State gives the power state of one guest.
func (d *Driver) State(ctx context.Context, uuid string) (work.PowerState, error) {
	var state work.PowerState
	err := d.domain(ctx, uuid, func(dom *virt.Domain) error {
		s, err := powerState(dom)
		state = s
		return err
	})
	return state, wrap(err, "get state of", uuid)
}
