package hosts

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/singleflight"

	"kilonova/schema"
	"kilonova/work"
)

// DownAfter is how old a host's last heartbeat may be while it still counts as up, as
// Nova's service_down_time.
const DownAfter = 60 * time.Second

// snapshotAge is how old the scheduler's picture of the hosts may be. A claim is decided
// by the row itself, so an old picture costs a second try and nothing else.
const snapshotAge = time.Second

// longestLook bounds the reading of the picture, which all wait for who need it.
const longestLook = 10 * time.Second

// Host is one hypervisor host, as the scheduler and the API see it.
type Host struct {
	ID                int64         `db:"id"`
	UUID              string        `db:"uuid"`
	Name              string        `db:"name"`
	Node              string        `db:"hypervisor_hostname"`
	HypervisorType    string        `db:"hypervisor_type"`
	HypervisorVersion int           `db:"hypervisor_version"`
	HostIP            string        `db:"host_ip"`
	Arch              string        `db:"arch"`
	CPUInfo           string        `db:"cpu_info"`
	VCPUs             int           `db:"vcpus"`
	MemoryMB          int           `db:"memory_mb"`
	DiskGB            int           `db:"disk_gb"`
	DiskAvailableGB   int           `db:"disk_available_gb"`
	Uptime            string        `db:"uptime"`
	Doorbell          string        `db:"doorbell"`
	LastSeen          schema.Micros `db:"last_seen"`
	PublicKey         string        `db:"public_key"` // "" until a daemon has told it
	VCPUsUsed         int           `db:"vcpus_used"`
	MemoryMBUsed      int           `db:"memory_mb_used"`
	DiskGBUsed        int           `db:"disk_gb_used"`
	Servers           int           `db:"servers"`
	CPURatio          float64       `db:"cpu_ratio"`
	RAMRatio          float64       `db:"ram_ratio"`
	DiskRatio         float64       `db:"disk_ratio"`
	ReservedMemoryMB  int           `db:"reserved_memory_mb"`
	Failures          int           `db:"failures"`
	Zone              string        `db:"zone"`
	Disabled          bool          `db:"disabled"`
	DisabledReason    *string       `db:"disabled_reason"`
	ForcedDown        bool          `db:"forced_down"`
	CreatedAt         schema.Micros `db:"created_at"`
	UpdatedAt         schema.Micros `db:"updated_at"`
}

// Up reports whether the host's heartbeat is fresh and nobody forced it down.
func (h *Host) Up(now schema.Micros) bool {
	return !h.ForcedDown && now-h.LastSeen < schema.Micros(DownAfter.Microseconds())
}

// Need is what a server takes of a host.
type Need struct{ VCPUs, MemoryMB, DiskGB int }

// Plus gives the sum.
func (n Need) Plus(o Need) Need {
	return Need{n.VCPUs + o.VCPUs, n.MemoryMB + o.MemoryMB, n.DiskGB + o.DiskGB}
}

// Minus gives the difference, for a resize.
func (n Need) Minus(o Need) Need {
	return Need{n.VCPUs - o.VCPUs, n.MemoryMB - o.MemoryMB, n.DiskGB - o.DiskGB}
}

// Fits reports whether the host, as pictured, has room.
func (h *Host) Fits(n Need) bool {
	return float64(h.VCPUsUsed+n.VCPUs) <= float64(h.VCPUs)*h.CPURatio &&
		float64(h.MemoryMBUsed+n.MemoryMB) <= float64(h.MemoryMB-h.ReservedMemoryMB)*h.RAMRatio &&
		float64(h.DiskGBUsed+n.DiskGB) <= float64(h.DiskGB)*h.DiskRatio
}

// Service is the hosts of the cloud.
type Service struct {
	db    *schema.DB
	clock schema.Clock

	seen    atomic.Pointer[picture] // nil until the hosts were read
	forgets atomic.Int64            // how often Forget was called
	reading singleflight.Group
}

// picture is what the hosts looked like at a moment. It is never changed.
type picture struct {
	list    []Host
	byName  map[string]*Host
	at      schema.Micros
	forgets int64 // Service.forgets when it was taken
}

// New makes the service on a migrated database.
func New(db *schema.DB, clock schema.Clock) *Service { return &Service{db: db, clock: clock} }

const hostColumns = `id, uuid, name, hypervisor_hostname, hypervisor_type, hypervisor_version,
host_ip, arch, cpu_info, vcpus, memory_mb, disk_gb, disk_available_gb, uptime, doorbell, last_seen, public_key,
vcpus_used, memory_mb_used, disk_gb_used, servers, cpu_ratio, ram_ratio, disk_ratio,
reserved_memory_mb, failures, zone, disabled, disabled_reason, forced_down, created_at, updated_at`

const selectHosts = `SELECT ` + hostColumns + ` FROM hosts ORDER BY id`

// List reads all hosts.
func (s *Service) List(ctx context.Context) ([]Host, error) {
	var out []Host
	err := s.db.SelectContext(ctx, &out, selectHosts)
	if err != nil {
		return nil, fmt.Errorf("list hosts: %w", err)
	}
	return believed(out), nil
}

// believed cuts what hosts say of themselves to what there can be. No host has the name of
// another's node: such a name is the older host's, and its owner is called as the cloud
// calls it.
func believed(list []Host) []Host {
	taken := make(map[string]int64, 2*len(list)) // names, and whose they are
	for i := range list {
		taken[list[i].Name] = list[i].ID
	}
	for i := range list {
		h := &list[i]
		said := work.HostInfo{
			Hostname: h.Node, HypervisorType: h.HypervisorType, HypervisorVersion: h.HypervisorVersion, HostIP: h.HostIP, CPUInfo: h.CPUInfo, Arch: h.Arch,
			VCPUs: h.VCPUs, MemoryMB: h.MemoryMB, DiskGB: h.DiskGB, DiskAvailableGB: h.DiskAvailableGB, Uptime: h.Uptime,
		}.Bounded()
		h.Node, h.HypervisorType, h.HypervisorVersion, h.HostIP, h.CPUInfo, h.Arch = said.Hostname, said.HypervisorType, said.HypervisorVersion, said.HostIP, said.CPUInfo, said.Arch
		h.VCPUs, h.MemoryMB, h.DiskGB, h.DiskAvailableGB, h.Uptime = said.VCPUs, said.MemoryMB, said.DiskGB, said.DiskAvailableGB, said.Uptime
		if owner, ok := taken[h.Node]; h.Node == "" || ok && owner != h.ID {
			h.Node = h.Name
		}
		taken[h.Node] = h.ID
	}
	return list
}

// Snapshot gives a picture of all hosts that is at most a second old. The slice is shared:
// callers do not change it.
func (s *Service) Snapshot(ctx context.Context) ([]Host, error) {
	p, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	return p.list, nil
}

// look gives a picture that is fresh. Those who come while it is taken share it, and its
// error: nobody waits for more than one reading of the hosts.
func (s *Service) look(ctx context.Context) (*picture, error) {
	for {
		forgets := s.forgets.Load()
		p := s.seen.Load()
		if p != nil && p.forgets >= forgets && s.clock.Now()-p.at < schema.Micros(snapshotAge.Microseconds()) {
			return p, nil
		}
		done := s.reading.DoChan("", func() (any, error) { return s.take(context.WithoutCancel(ctx)) })
		select {
		case <-ctx.Done():
			return nil, ctx.Err()
		case res := <-done:
			if res.Err != nil {
				return nil, res.Err
			}
			if p := res.Val.(*picture); p.forgets >= forgets {
				return p, nil
			}
			// It was begun before somebody said Forget.
		}
	}
}

func (s *Service) take(ctx context.Context) (*picture, error) {
	ctx, cancel := context.WithTimeout(ctx, longestLook)
	defer cancel()
	p := &picture{at: s.clock.Now(), forgets: s.forgets.Load(), byName: map[string]*Host{}}
	var err error
	p.list, err = s.List(ctx)
	if err != nil {
		return nil, err
	}
	for i := range p.list {
		p.byName[p.list[i].Name] = &p.list[i]
	}
	s.seen.Store(p)
	return p, nil
}

// Forget makes the next Snapshot read the rows.
func (s *Service) Forget() { s.forgets.Add(1) }

// ByName gives a host from the picture; nil when there is none of that name.
func (s *Service) ByName(ctx context.Context, name string) (*Host, error) {
	p, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	return p.byName[name], nil
}

// Doorbell gives the address at which a host listens for datagrams, "" for none. It is that
// of the last picture, however old: whoever rings has no time to ask.
func (s *Service) Doorbell(name string) string {
	p := s.seen.Load()
	if p == nil || p.byName[name] == nil {
		return ""
	}
	return p.byName[name].Doorbell
}

// PublicKey gives the key with which secrets are sealed for a host, as it is in this
// transaction; "" when no daemon has told one.
func (s *Service) PublicKey(ctx context.Context, q schema.Querier, name string) (string, error) {
	var key string
	err := q.GetContext(ctx, &key, `SELECT public_key FROM hosts WHERE name = ?`, name)
	if errors.Is(err, sql.ErrNoRows) {
		return "", nil
	}
	if err != nil {
		return "", fmt.Errorf("look for the key of host %s: %w", name, err)
	}
	return key, nil
}

const insertHost = `
INSERT INTO hosts (uuid, name, hypervisor_hostname, hypervisor_type, hypervisor_version, host_ip,
  arch, cpu_info, vcpus, memory_mb, disk_gb, disk_available_gb, uptime, doorbell, last_seen,
  started_at, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', ?, 0, ?, ?)`

// Add makes a host's row; an existing one is left alone.
func (s *Service) Add(ctx context.Context, name string, info work.HostInfo) error {
	now := s.clock.Now()
	node := info.Hostname
	if node == "" {
		node = name
	}
	_, err := s.db.ExecContext(ctx, insertHost, uuid.NewString(), name, node, info.HypervisorType,
		info.HypervisorVersion, info.HostIP, info.Arch, orObject(info.CPUInfo), info.VCPUs, info.MemoryMB,
		info.DiskGB, info.DiskAvailableGB, info.Uptime, 0, now, now)
	if err != nil && !schema.Duplicate(err) {
		return fmt.Errorf("add host %s: %w", name, err)
	}
	s.Forget()
	return nil
}

func orObject(s string) string {
	if s == "" {
		return "{}"
	}
	return s
}

const countFailure = `UPDATE hosts SET failures = CASE WHEN ? THEN 0 ELSE failures + 1 END WHERE name = ? AND (? = 0 OR failures > 0)`

// Built remembers how the last build on a host went: the scheduler avoids hosts that fail.
func (s *Service) Built(ctx context.Context, tx *schema.Tx, host string, ok bool) error {
	flag := 0
	if ok {
		flag = 1
	}
	_, err := tx.ExecContext(ctx, countFailure, flag, host, flag)
	if err != nil {
		return fmt.Errorf("count builds of host %s: %w", host, err)
	}
	return nil
}

const disable = `UPDATE hosts SET disabled = ?, disabled_reason = ?, updated_at = ? WHERE name = ?`

// Disable keeps new servers off a host, or lets them on it again.
func (s *Service) Disable(ctx context.Context, name string, off bool, reason string) error {
	ok, err := schema.Changed(s.db.ExecContext(ctx, disable, off, reason, s.clock.Now(), name))
	if err != nil {
		return fmt.Errorf("disable host %s: %w", name, err)
	}
	if !ok {
		return fmt.Errorf("there is no host %s", name)
	}
	s.Forget()
	return nil
}

// Remove deletes the row of a host that holds no server.
func (s *Service) Remove(ctx context.Context, name string) error {
	ok, err := schema.Changed(s.db.ExecContext(ctx, `DELETE FROM hosts WHERE name = ? AND servers = 0`, name))
	if err != nil {
		return fmt.Errorf("remove host %s: %w", name, err)
	}
	if !ok {
		return fmt.Errorf("there is no host %s, or it still holds servers", name)
	}
	s.Forget()
	return nil
}
