package libvirt

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	virt "libvirt.org/go/libvirt"

	"kilonova/computed"
	"kilonova/computed/drivertest"
	"kilonova/work"
)

// host is a state directory, an image service and guests' numbers.
type host struct {
	dir   string
	image work.Image
	next  atomic.Int64
}

func newHost(t testing.TB) *host {
	t.Helper()
	needDaemon(t)
	data, err := os.ReadFile(os.Getenv(imageVar))
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Image-Ticket") != "ticket" {
			w.WriteHeader(http.StatusForbidden)
			return
		}
		w.Write(data)
	}))
	t.Cleanup(srv.Close)
	sum := sha512.Sum512(data)
	dir, err := os.MkdirTemp(daemon.dir, "state-")
	if err != nil {
		t.Fatal(err)
	}
	return &host{dir: dir, image: work.Image{
		ID: "11111111-0000-4000-8000-000000000000", DiskFormat: "qcow2", Size: int64(len(data)),
		VirtualSize: 64 << 20, SHA512: hex.EncodeToString(sum[:]),
		Source: &work.Transfer{URL: srv.URL, Ticket: "ticket"},
	}}
}

func (h *host) driver(t testing.TB) *Driver {
	t.Helper()
	d, err := New(Config{
		StateDir: h.dir, VirtType: "qemu", Validate: true, ConfigDrive: configDrive,
		Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
	})
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// configDrive has what the test guest reads.
func configDrive(g *work.Guest) (map[string][]byte, error) {
	meta, err := json.Marshal(map[string]any{"uuid": g.UUID, "name": g.Name, "hostname": g.Hostname, "meta": g.Metadata})
	if err != nil {
		return nil, err
	}
	files := map[string][]byte{
		"openstack/latest/meta_data.json":     meta,
		"openstack/2012-08-10/meta_data.json": meta,
		"ec2/latest/meta-data.json":           []byte("{}"),
		"openstack/latest/user_data": []byte("#!/bin/sh\nmount -o ro /dev/sr0 /mnt; cd /mnt; ls openstack ec2/latest; ip route\n" +
			"echo $(cat openstack/content/* | wc -c) bytes in $(ls openstack/content | wc -l) files\n"),
	}
	for n := range 60 { // a directory of several sectors
		files[fmt.Sprintf("openstack/content/a.file-with_a.longer-name-%03d", n)] = []byte("ten bytes.")
	}
	return files, nil
}

func (h *host) guest(testing.TB) *work.Guest {
	n := h.next.Add(1)
	return &work.Guest{
		ID: n, UUID: fmt.Sprintf("00000000-0000-4000-8000-%012x", n), Name: fmt.Sprintf("guest %d", n),
		Hostname: fmt.Sprintf("guest-%d", n), ProjectID: "p", UserID: "u", CreatedAt: 1_700_000_000_000_000,
		Flavor: work.Flavor{ID: "1", Name: "m1.test", VCPUs: 1, MemoryMB: 128, RootGB: 1},
		Image:  h.image,
		Ports: []work.Port{{
			ID: fmt.Sprintf("%08x-1111-4000-8000-000000000000", n), MAC: fmt.Sprintf("fa:16:3e:00:00:%02x", n),
			Network: work.Network{
				ID: "22222222-0000-4000-8000-000000000000", Name: "net", Bridge: "knbr0", MTU: 1450,
				Subnets: []work.Subnet{{
					ID: "s", CIDR: "10.77.0.0/24", Gateway: "10.77.0.1", DHCP: true, DNS: []string{"10.77.0.1"}, Version: 4,
				}},
			},
			// Addresses are used again soon, as a small network does.
			Fixed: []work.FixedIP{{SubnetID: "s", Address: fmt.Sprintf("10.77.0.%d", 10+n%3)}},
		}},
	}
}

// left lists files, domains and DHCP entries of a guest.
func (h *host) left(t testing.TB, g *work.Guest) []string {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(h.dir, "instances", g.UUID+"*"))
	if err != nil {
		t.Fatal(err)
	}
	temp, err := filepath.Glob(filepath.Join(h.dir, "tmp", "*"))
	if err != nil {
		t.Fatal(err)
	}
	left = append(left, temp...)
	out, err := exec.Command("virsh", "-q", "net-dumpxml", networkName(&g.Ports[0].Network)).Output()
	if err == nil && strings.Contains(string(out), g.Ports[0].MAC) {
		left = append(left, "DHCP entry of "+g.Ports[0].MAC)
	}
	_, err = os.Stat("/sys/class/net/" + tapName(g.Ports[0].ID))
	if err == nil {
		left = append(left, tapName(g.Ports[0].ID))
	}
	return left
}

// compare checks that a snapshot has what the disk has.
func (h *host) compare(t testing.TB, g *work.Guest, path, format string) {
	t.Helper()
	out, err := exec.Command("qemu-img", "compare", "-f", "qcow2", "-F", format,
		filepath.Join(h.dir, "instances", g.UUID, rootDisk), path).CombinedOutput()
	if err != nil {
		t.Errorf("snapshot differs from disk: %v: %s", err, out)
	}
}

// crash kills the guest's QEMU.
func (h *host) crash(t testing.TB, g *work.Guest) {
	t.Helper()
	pid, err := os.ReadFile("/run/libvirt/qemu/" + g.InstanceName() + ".pid")
	if err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("kill", "-9", strings.TrimSpace(string(pid))).CombinedOutput()
	if err != nil {
		t.Fatalf("kill: %v: %s", err, out)
	}
}

func TestDriver(t *testing.T) {
	h := newHost(t)
	drivertest.Run(t, func(t testing.TB) computed.Driver { return h.driver(t) }, drivertest.Options{
		Guest: h.guest, BootTime: 90 * time.Second, Ready: "login:", StopTime: 30 * time.Second,
		Stubborn: func(g *work.Guest) { g.Metadata = map[string]string{"kn_ignore_acpi": "1"} },
		Left:     h.left, CheckSnapshot: h.compare, Crash: h.crash,
	})
	if forwarding(t) {
		t.Error("an isolated network made the host forward packets")
	}
}

// A new libvirtd finds the guests going on, and the driver finds the new libvirtd.
func TestDaemonKilled(t *testing.T) {
	h := newHost(t)
	d := h.driver(t)
	defer d.Close()
	ctx, g := t.Context(), h.guest(t)
	g.Flavor.MemoryMB = 96
	defer d.DeleteDisks(ctx, g.UUID)
	defer d.UnplugPorts(ctx, g)
	defer d.Undefine(ctx, g.UUID)
	defer d.PowerOff(ctx, g.UUID)
	for _, do := range []func() error{
		func() error { return d.CreateDisks(ctx, g) },
		func() error { return d.PlugPorts(ctx, g) },
		func() error { return d.Define(ctx, g) },
		func() error { return d.Start(ctx, g.UUID) },
	} {
		err := do()
		if err != nil {
			t.Fatal(err)
		}
	}
	events := d.Events(ctx)
	err := daemon.cmd.Process.Kill()
	if err != nil {
		t.Fatal(err)
	}
	daemon.cmd.Wait()
	answer := make(chan error, 1)
	go func() { // asked while there is no libvirtd
		state, err := d.State(ctx, g.UUID)
		if err == nil && state != work.PoweredOn {
			err = fmt.Errorf("state %s", state)
		}
		answer <- err
	}()
	time.Sleep(300 * time.Millisecond)
	start := time.Now()
	daemon.cmd, err = launch("libvirtd", "/run/libvirt/libvirt-sock")
	if err != nil {
		t.Fatal(err)
	}
	err = <-answer
	if err != nil {
		t.Errorf("state across the daemon's death: %v", err)
	}
	t.Logf("answered %.2f s after the new libvirtd was launched", time.Since(start).Seconds())
	time.Sleep(time.Second) // libvirtd takes its guests up again in the background
	h.crash(t, g)
	select {
	case e := <-events:
		if e.UUID != g.UUID || e.State != work.Shutdown {
			t.Errorf("event %+v", e)
		}
	case <-time.After(10 * time.Second):
		t.Error("no events from the new libvirtd")
	}
}

// A reboot of the host leaves networks defined but down.
func TestNetworksMended(t *testing.T) {
	h := newHost(t)
	d := h.driver(t)
	defer d.Close()
	ctx, g := t.Context(), h.guest(t)
	g.Ports[0].Network.ID = "33333333-0000-4000-8000-000000000000"
	g.Ports[0].Network.Bridge = "knbr1"
	g.Ports[0].Network.Subnets[0].CIDR = "10.78.0.0/24"
	g.Ports[0].Network.Subnets[0].Gateway = "10.78.0.1"
	g.Ports[0].Fixed[0].Address = "10.78.0.9"
	show := func(args ...string) string {
		out, err := exec.Command("virsh", append([]string{"-q"}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("virsh %v: %v: %s", args, err, out)
		}
		return string(out)
	}
	hosts := func() int { return strings.Count(show("net-dumpxml", "kn-33333333"), "<host mac=") }
	plug := func() {
		t.Helper()
		for range 2 {
			err := d.PlugPorts(ctx, g)
			if err != nil {
				t.Fatal(err)
			}
		}
		if n := hosts(); n != 1 {
			t.Fatalf("%d DHCP entries, want 1", n)
		}
	}
	plug()
	show("net-destroy", "kn-33333333")
	plug()
	addrs, err := exec.Command("ip", "-4", "addr", "show", "dev", "knbr1").Output()
	if err != nil || !strings.Contains(string(addrs), "169.254.169.254/32") || !strings.Contains(string(addrs), "10.78.0.1/24") {
		t.Errorf("addresses of the bridge: %s, %v", addrs, err)
	}
	// The address goes to another port, and the MTU changes.
	g.Ports[0].MAC = "fa:16:3e:00:01:01"
	plug()
	g.Ports[0].Network.MTU = 1400
	plug()
	if x := show("net-dumpxml", "kn-33333333"); !strings.Contains(x, "1400") {
		t.Errorf("the MTU did not change: %s", x)
	}
	for range 2 {
		err := d.UnplugPorts(ctx, g)
		if err != nil {
			t.Fatal(err)
		}
	}
	if n := hosts(); n != 0 {
		t.Errorf("%d DHCP entries after unplug", n)
	}
	if forwarding(t) {
		t.Error("an isolated network made the host forward packets")
	}
	show("net-destroy", "kn-33333333")
	show("net-undefine", "kn-33333333")
}

func TestRefused(t *testing.T) {
	h := newHost(t)
	d := h.driver(t)
	defer d.Close()
	tests := []struct {
		name   string
		change func(*work.Guest)
	}{
		{"hostile machine type", func(g *work.Guest) { g.Image.Properties = map[string]string{"hw_machine_type": "pc' foo='"} }},
		{"unknown disk bus", func(g *work.Guest) { g.Image.Properties = map[string]string{"hw_disk_bus": "floppy"} }},
		{"unknown nic", func(g *work.Guest) { g.Image.Properties = map[string]string{"hw_vif_model": "/etc"} }},
		{"foreign architecture", func(g *work.Guest) { g.Image.Properties = map[string]string{"hw_architecture": "s390x"} }},
		{"impossible topology", func(g *work.Guest) { g.Flavor.ExtraSpecs = map[string]string{"hw:cpu_cores": "3"} }},
		{"share that is no number", func(g *work.Guest) { g.Flavor.ExtraSpecs = map[string]string{"quota:cpu_shares": "many"} }},
		{"half a truth", func(g *work.Guest) { g.Image.Properties = map[string]string{"hw_qemu_guest_agent": "maybe"} }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := h.guest(t)
			tt.change(g)
			defer d.DeleteDisks(t.Context(), g.UUID)
			err := d.CreateDisks(t.Context(), g)
			if err != nil {
				t.Fatal(err)
			}
			err = d.Define(t.Context(), g)
			if err == nil {
				d.Undefine(t.Context(), g.UUID)
				t.Error("defined")
			}
		})
	}
}

// All that an image and a flavor can ask for makes a definition that libvirt takes.
func TestProperties(t *testing.T) {
	h := newHost(t)
	d := h.driver(t)
	defer d.Close()
	tests := []struct {
		name         string
		props, specs map[string]string
		want         string
	}{
		{"q35", map[string]string{"hw_machine_type": "q35"}, nil, "bus='sata'"},
		{"scsi", map[string]string{"hw_disk_bus": "scsi", "hw_cdrom_bus": "scsi", "hw_machine_type": "q35"}, nil, "model='virtio-scsi'"},
		{"ide", map[string]string{"hw_disk_bus": "ide", "hw_vif_model": "e1000"}, nil, "dev='hdb'"},
		{"agent", map[string]string{"hw_qemu_guest_agent": "yes"}, nil, "org.qemu.guest_agent.0"},
		{"windows", map[string]string{"os_type": "windows", "img_hide_hypervisor_id": "true", "hw_watchdog_action": "reset"}, nil, "localtime"},
		{"limits", nil, map[string]string{
			"quota:cpu_shares": "512", "quota:disk_read_iops_sec": "100", "quota:vif_inbound_average": "1000", "hw_rng:rate_bytes": "64",
		}, "<shares>512</shares>"},
		{"topology", nil, map[string]string{"hw:cpu_cores": "2"}, "cores='2'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			g := h.guest(t)
			g.Name = "<&\"'>"
			g.Flavor.VCPUs, g.Flavor.EphemeralGB, g.Flavor.SwapMB = 2, 1, 16
			g.Image.Properties, g.Flavor.ExtraSpecs = tt.props, tt.specs
			defer d.DeleteDisks(t.Context(), g.UUID)
			err := d.CreateDisks(t.Context(), g)
			if err != nil {
				t.Fatal(err)
			}
			err = d.Define(t.Context(), g)
			if err != nil {
				t.Fatal(err)
			}
			defer d.Undefine(t.Context(), g.UUID)
			err = d.domain(t.Context(), g.UUID, func(dom *virt.Domain) error {
				text, err := dom.GetXMLDesc(0)
				if err == nil && !strings.Contains(text, tt.want) {
					t.Errorf("XML lacks %s:\n%s", tt.want, text)
				}
				return err
			})
			if err != nil {
				t.Error(err)
			}
		})
	}
}

// A guest gets its config drive and its address, and the next guest gets the address of
// one that was just deleted.
func TestGuestSeesItsWorld(t *testing.T) {
	h := newHost(t)
	d := h.driver(t)
	defer d.Close()
	ctx := t.Context()
	for range 2 {
		g := h.guest(t)
		g.Ports[0].Fixed[0].Address = "10.77.0.50"
		for _, do := range []func() error{
			func() error { return d.CreateDisks(ctx, g) },
			func() error { return d.PlugPorts(ctx, g) },
			func() error { return d.Define(ctx, g) },
			func() error { return d.Start(ctx, g.UUID) },
		} {
			err := do()
			if err != nil {
				t.Fatal(err)
			}
		}
		var text string
		for range 600 {
			b, err := d.Console(ctx, g.UUID, 1<<20)
			if err == nil {
				text = string(b)
			}
			if strings.Contains(text, "login:") {
				break
			}
			time.Sleep(100 * time.Millisecond)
		}
		for _, want := range []string{
			"KN-CONFIG-DRIVE dev=sr0 fs=iso9660", "KN-META source=config-drive", "KN-HOSTNAME " + g.Hostname,
			"mac=" + g.Ports[0].MAC + " ip=10.77.0.50/24", "mtu=1450", "dns=10.77.0.1",
			"2012-08-10", "meta-data.json", "169.254.169.254 via 10.77.0.1",
			"600 bytes in 60 files",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("console lacks %q", want)
			}
		}
		if strings.Contains(text, "default via") {
			t.Error("a guest of an isolated network has a default route")
		}
		conn, err := net.DialTimeout("tcp", "10.77.0.50:80", 5*time.Second)
		if err != nil {
			t.Errorf("reach guest: %v", err)
		} else {
			conn.Close()
		}
		addr, err := d.VNC(ctx, g.UUID)
		if err != nil || !strings.HasPrefix(addr, "127.0.0.1:59") {
			t.Errorf("VNC at %q, %v", addr, err)
		}
		if t.Failed() {
			t.Logf("console:\n%s", text)
		}
		for _, do := range []func() error{
			func() error { return d.PowerOff(ctx, g.UUID) },
			func() error { return d.Undefine(ctx, g.UUID) },
			func() error { return d.UnplugPorts(ctx, g) },
			func() error { return d.DeleteDisks(ctx, g.UUID) },
		} {
			err := do()
			if err != nil {
				t.Error(err)
			}
		}
	}
}

// With outbound, the host routes for its guests.
func TestNAT(t *testing.T) {
	h := newHost(t)
	d := h.driver(t)
	defer d.Close()
	g := h.guest(t)
	n := &g.Ports[0].Network
	n.ID, n.Bridge, n.Outbound = "44444444-0000-4000-8000-000000000000", "knbr2", "nat"
	n.Subnets[0].CIDR, n.Subnets[0].Gateway = "10.79.0.0/24", "10.79.0.1"
	g.Ports[0].Fixed[0].Address = "10.79.0.9"
	before, err := os.ReadFile("/proc/sys/net/ipv4/ip_forward")
	if err != nil {
		t.Fatal(err)
	}
	defer os.WriteFile("/proc/sys/net/ipv4/ip_forward", before, 0o644) // the namespace's own
	defer exec.Command("virsh", "net-undefine", "kn-44444444").Run()
	defer exec.Command("virsh", "net-destroy", "kn-44444444").Run()
	for range 2 {
		err := d.PlugPorts(t.Context(), g)
		if err != nil {
			t.Fatal(err)
		}
	}
	if !forwarding(t) {
		t.Error("the host does not forward")
	}
}

// What a cloud's user may have uploaded must not reach a guest.
func TestHostileImages(t *testing.T) {
	h := newHost(t)
	d := h.driver(t)
	defer d.Close()
	make := func(args ...string) []byte {
		t.Helper()
		path := filepath.Join(t.TempDir(), "image")
		out, err := exec.Command("qemu-img", append(append([]string{"create", "-q"}, args...), path, "1M")...).CombinedOutput()
		if err != nil {
			t.Fatalf("qemu-img create: %v: %s", err, out)
		}
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	big := filepath.Join(t.TempDir(), "big")
	out, err := exec.Command("qemu-img", "create", "-q", "-f", "qcow2", big, "2G").CombinedOutput()
	if err != nil {
		t.Fatalf("qemu-img create: %v: %s", err, out)
	}
	bigData, err := os.ReadFile(big)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name string
		data []byte
		want error
	}{
		{"backing file", make("-f", "qcow2", "-u", "-F", "raw", "-b", "/etc/passwd"), computed.ErrImageRefused},
		{"data file", make("-f", "qcow2", "-o", "data_file="+filepath.Join(t.TempDir(), "data")), computed.ErrImageRefused},
		{"raw declared as qcow2", bytes.Repeat([]byte("x"), 1<<16), computed.ErrImageRefused},
		{"cut short", bigData[:90], computed.ErrImageRefused},
		{"larger than the root disk", bigData, computed.ErrDiskTooSmall},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { w.Write(tt.data) }))
			defer srv.Close()
			sum := sha512.Sum512(tt.data)
			g := h.guest(t)
			g.Image.SHA512, g.Image.Size = hex.EncodeToString(sum[:]), int64(len(tt.data))
			g.Image.Source = &work.Transfer{URL: srv.URL}
			err := d.CreateDisks(t.Context(), g)
			if !errors.Is(err, tt.want) {
				t.Errorf("create disks: %v, want %v", err, tt.want)
			}
			err = d.DeleteDisks(t.Context(), g.UUID)
			if err != nil {
				t.Error(err)
			}
		})
	}
	removed, err := d.CleanCache(t.Context(), 0)
	if err != nil || len(removed) != 1 {
		t.Errorf("cleaned %v, %v; want the one that was only too large", removed, err)
	}
}
