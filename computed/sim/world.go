package sim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kilonova/private"
	"kilonova/work"
)

// World is what outlives a driver: the guests and disks of each host. Drivers of one
// process share it by pointer; worlds of several processes that were opened on the same
// file see each other's changes.
type World struct {
	path string

	mu        sync.Mutex
	hosts     map[string]*hostState
	listeners map[chan work.Instance]string // to host name
}

// hostState is what one host keeps, by UUID of the guest.
type hostState struct {
	Guests map[string]*guest          `json:"guests,omitempty"` // defined
	Disks  map[string]*disks          `json:"disks,omitempty"`
	Saved  map[string]*disks          `json:"saved,omitempty"`
	Ports  map[string]map[string]bool `json:"ports,omitempty"` // port ids
	Images map[string]bool            `json:"images,omitempty"`
}

// guest is a definition and its state.
type guest struct {
	Name     string          `json:"name"`
	State    work.PowerState `json:"state"`
	Memory   bool            `json:"memory,omitempty"` // saved by Suspend
	VCPUs    int             `json:"vcpus"`
	MemoryMB int             `json:"memory_mb"`
	MACs     []string        `json:"macs,omitempty"`
	Disks    []string        `json:"disks,omitempty"`
	Hostname string          `json:"hostname"`
	Stubborn bool            `json:"stubborn,omitempty"`
	Started  time.Time       `json:"started,omitzero"`
}

// disks are a guest's disks and, since it lies beside them, its console.
type disks struct {
	RootGB int  `json:"root_gb"`
	EphGB  int  `json:"eph_gb,omitempty"`
	SwapMB int  `json:"swap_mb,omitempty"`
	Config bool `json:"config,omitempty"`
	Boots  int  `json:"boots,omitempty"`
}

// NewWorld makes an empty world in memory.
func NewWorld() *World {
	return &World{hosts: map[string]*hostState{}, listeners: map[chan work.Instance]string{}}
}

// Open makes a world that is kept in the file at path, which need not exist yet. Each
// change is on disk before the operation returns, so a killed process loses nothing.
func Open(path string) (*World, error) {
	w := NewWorld()
	w.path = path
	err := private.MakeDir(filepath.Dir(path), private.Dir)
	if err != nil {
		return nil, fmt.Errorf("open world: %w", err)
	}
	err = w.with("", func(*hostState) error { return nil })
	if err != nil {
		return nil, fmt.Errorf("open world: %w", err)
	}
	return w, nil
}

// with runs f on a host's state, alone, and keeps what it changed unless it fails.
func (w *World) with(host string, f func(*hostState) error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.path == "" {
		return f(w.host(host))
	}
	lock, err := os.OpenFile(w.path+".lock", os.O_CREATE|os.O_RDWR, private.File)
	if err != nil {
		return fmt.Errorf("lock world: %w", err)
	}
	defer lock.Close() // and with it the lock goes
	err = syscall.Flock(int(lock.Fd()), syscall.LOCK_EX)
	if err != nil {
		return fmt.Errorf("lock world: %w", err)
	}
	data, err := os.ReadFile(w.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("read world: %w", err)
	}
	w.hosts = map[string]*hostState{}
	if len(data) > 0 {
		err := json.Unmarshal(data, &w.hosts)
		if err != nil {
			return fmt.Errorf("read world: %w", err)
		}
	}
	err = f(w.host(host))
	if err != nil {
		return err
	}
	now, err := json.Marshal(w.hosts)
	if err != nil {
		return fmt.Errorf("write world: %w", err)
	}
	if string(now) == string(data) {
		return nil
	}
	err = w.write(now)
	if err != nil {
		return fmt.Errorf("write world: %w", err)
	}
	return nil
}

// write puts a new content in the place of the old one, all or nothing. The old file stays
// beside it, for the next content to be written over: so what shrinks is written on a full
// disk, too, as a hypervisor removes guests there.
func (w *World) write(content []byte) error {
	next := w.path + ".new"
	f, err := os.OpenFile(next, os.O_CREATE|os.O_RDWR, private.File)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	if err == nil {
		err = f.Truncate(int64(len(content)))
	}
	err = errors.Join(err, f.Close())
	if err != nil {
		return err
	}
	err = unix.Renameat2(unix.AT_FDCWD, next, unix.AT_FDCWD, w.path, unix.RENAME_EXCHANGE)
	if err != nil { // there is none yet, or the file system cannot do it
		err = os.Rename(next, w.path)
	}
	return err
}

// host gives a host's state with all its maps.
func (w *World) host(name string) *hostState {
	h := w.hosts[name]
	if h == nil {
		h = &hostState{}
		if name != "" {
			w.hosts[name] = h
		}
	}
	if h.Guests == nil {
		h.Guests = map[string]*guest{}
	}
	if h.Disks == nil {
		h.Disks = map[string]*disks{}
	}
	if h.Saved == nil {
		h.Saved = map[string]*disks{}
	}
	if h.Ports == nil {
		h.Ports = map[string]map[string]bool{}
	}
	if h.Images == nil {
		h.Images = map[string]bool{}
	}
	return h
}

// Left lists what the host keeps of a guest.
func (w *World) Left(host, uuid string) []string {
	var left []string
	err := w.with(host, func(h *hostState) error {
		if h.Guests[uuid] != nil {
			left = append(left, "guest")
		}
		if h.Disks[uuid] != nil {
			left = append(left, "disks")
		}
		if h.Saved[uuid] != nil {
			left = append(left, "saved disks")
		}
		if len(h.Ports[uuid]) > 0 {
			left = append(left, "ports")
		}
		return nil
	})
	if err != nil {
		left = append(left, err.Error())
	}
	return left
}

// Set changes a guest's power state behind the driver's back, as a crash or an operator
// does, and tells the host's drivers. It does nothing where there is no such guest.
func (w *World) Set(host, uuid string, state work.PowerState) error {
	var event *work.Instance
	err := w.with(host, func(h *hostState) error {
		g := h.Guests[uuid]
		if g == nil || g.State == state {
			return nil
		}
		g.State = state
		event = &work.Instance{UUID: uuid, Name: g.Name, State: state}
		return nil
	})
	if err != nil || event == nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	for l, name := range w.listeners {
		if name != host {
			continue
		}
		select {
		case l <- *event:
		default: // the periodic sync sees it
		}
	}
	return nil
}
