package libvirt

// #cgo LDFLAGS: -ldl
// #include "binding.h"
import "C"

import (
	"sync"
	"unsafe"
)

// Connect is a connection to a hypervisor.
type Connect struct {
	ptr C.virConnectPtr
}

// ConnectCloseReason says why a connection was closed.
type ConnectCloseReason int

// The reasons of a close callback.
const (
	CONNECT_CLOSE_REASON_ERROR     = ConnectCloseReason(0)
	CONNECT_CLOSE_REASON_EOF       = ConnectCloseReason(1)
	CONNECT_CLOSE_REASON_KEEPALIVE = ConnectCloseReason(2)
	CONNECT_CLOSE_REASON_CLIENT    = ConnectCloseReason(3)
)

// ConnectListAllDomainsFlags narrows ListAllDomains.
type ConnectListAllDomainsFlags uint

// The domains that ListAllDomains lists; none means all.
const (
	CONNECT_LIST_DOMAINS_ACTIVE     = ConnectListAllDomainsFlags(1)
	CONNECT_LIST_DOMAINS_INACTIVE   = ConnectListAllDomainsFlags(2)
	CONNECT_LIST_DOMAINS_PERSISTENT = ConnectListAllDomainsFlags(4)
	CONNECT_LIST_DOMAINS_TRANSIENT  = ConnectListAllDomainsFlags(8)
)

// ConnectListAllNetworksFlags narrows ListAllNetworks.
type ConnectListAllNetworksFlags uint

// The networks that ListAllNetworks lists; none means all.
const (
	CONNECT_LIST_NETWORKS_INACTIVE = ConnectListAllNetworksFlags(1)
	CONNECT_LIST_NETWORKS_ACTIVE   = ConnectListAllNetworksFlags(2)
)

// NodeInfo describes the machine; Memory is in KiB.
type NodeInfo struct {
	Model   string
	Memory  uint64
	Cpus    uint
	MHz     uint
	Nodes   uint32
	Sockets uint32
	Cores   uint32
	Threads uint32
}

// GetVersion gives the version of the library, major*1000000 + minor*1000 + release.
func GetVersion() (uint32, error) {
	err := load()
	if err != nil {
		return 0, err
	}
	var v C.ulong
	var e C.kn_error
	C.kn_virGetVersion(&e, &v, nil, nil)
	return uint32(v), take(&e)
}

// NewConnect opens a connection. Without libvirt on this machine it fails with
// ERR_NO_CONNECT.
func NewConnect(uri string) (*Connect, error) {
	return open(uri, func(e *C.kn_error, u *C.char) C.virConnectPtr { return C.kn_virConnectOpen(e, u) })
}

// NewConnectReadOnly opens a connection that can only look.
func NewConnectReadOnly(uri string) (*Connect, error) {
	return open(uri, func(e *C.kn_error, u *C.char) C.virConnectPtr { return C.kn_virConnectOpenReadOnly(e, u) })
}

func open(uri string, f func(*C.kn_error, *C.char) C.virConnectPtr) (*Connect, error) {
	err := load()
	if err != nil {
		return nil, err
	}
	var cURI *C.char
	if uri != "" {
		cURI = C.CString(uri)
		defer C.free(unsafe.Pointer(cURI))
	}
	var e C.kn_error
	ptr := f(&e, cURI)
	err = take(&e)
	if err != nil {
		return nil, err
	}
	return &Connect{ptr: ptr}, nil
}

// Close gives up one reference to the connection; the result is how many are left.
func (c *Connect) Close() (int, error) {
	var e C.kn_error
	left := int(C.kn_virConnectClose(&e, c.ptr))
	err := take(&e)
	if err != nil {
		return left, err
	}
	if left == 0 {
		c.ptr = nil
	}
	return left, nil
}

// Ref takes one more reference, to be given up by Close.
func (c *Connect) Ref() error {
	var e C.kn_error
	C.kn_virConnectRef(&e, c.ptr)
	return take(&e)
}

// IsAlive reports whether the connection still works.
func (c *Connect) IsAlive() (bool, error) {
	var e C.kn_error
	r := C.kn_virConnectIsAlive(&e, c.ptr)
	return r == 1, take(&e)
}

// SetKeepAlive makes the connection close count*interval seconds after the other side
// stops answering. It needs a running event loop.
func (c *Connect) SetKeepAlive(interval int, count uint) error {
	var e C.kn_error
	C.kn_virConnectSetKeepAlive(&e, c.ptr, C.int(interval), C.uint(count))
	return take(&e)
}

// GetVersion gives the hypervisor's version.
func (c *Connect) GetVersion() (uint32, error) {
	var v C.ulong
	var e C.kn_error
	C.kn_virConnectGetVersion(&e, c.ptr, &v)
	return uint32(v), take(&e)
}

// GetLibVersion gives the version of the daemon's libvirt.
func (c *Connect) GetLibVersion() (uint32, error) {
	var v C.ulong
	var e C.kn_error
	C.kn_virConnectGetLibVersion(&e, c.ptr, &v)
	return uint32(v), take(&e)
}

// GetHostname gives the name of the hypervisor's machine.
func (c *Connect) GetHostname() (string, error) {
	var e C.kn_error
	s := C.kn_virConnectGetHostname(&e, c.ptr)
	return takeString(s), take(&e)
}

// GetURI gives the connection's address.
func (c *Connect) GetURI() (string, error) {
	var e C.kn_error
	s := C.kn_virConnectGetURI(&e, c.ptr)
	return takeString(s), take(&e)
}

// GetType gives the name of the hypervisor driver, such as QEMU.
func (c *Connect) GetType() (string, error) {
	var e C.kn_error
	s := C.kn_virConnectGetType(&e, c.ptr)
	err := take(&e)
	if err != nil {
		return "", err
	}
	return C.GoString(s), nil
}

// GetCapabilities describes machine and hypervisor in XML.
func (c *Connect) GetCapabilities() (string, error) {
	var e C.kn_error
	s := C.kn_virConnectGetCapabilities(&e, c.ptr)
	return takeString(s), take(&e)
}

// GetNodeInfo describes the machine.
func (c *Connect) GetNodeInfo() (*NodeInfo, error) {
	var i C.kn_node_info
	var e C.kn_error
	C.kn_virNodeGetInfo(&e, c.ptr, &i)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &NodeInfo{
		Model: C.GoString(&i.model[0]), Memory: uint64(i.memory), Cpus: uint(i.cpus), MHz: uint(i.mhz),
		Nodes: uint32(i.nodes), Sockets: uint32(i.sockets), Cores: uint32(i.cores), Threads: uint32(i.threads),
	}, nil
}

// DomainDefineXML makes or replaces a persistent domain.
func (c *Connect) DomainDefineXML(xmlConfig string) (*Domain, error) {
	return c.DomainDefineXMLFlags(xmlConfig, 0)
}

// DomainDefineXMLFlags makes or replaces a persistent domain.
func (c *Connect) DomainDefineXMLFlags(xmlConfig string, flags DomainDefineFlags) (*Domain, error) {
	cXML := C.CString(xmlConfig)
	defer C.free(unsafe.Pointer(cXML))
	var e C.kn_error
	ptr := C.kn_virDomainDefineXMLFlags(&e, c.ptr, cXML, C.uint(flags))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &Domain{ptr: ptr}, nil
}

// LookupDomainByName finds a domain by its name.
func (c *Connect) LookupDomainByName(id string) (*Domain, error) {
	cName := C.CString(id)
	defer C.free(unsafe.Pointer(cName))
	var e C.kn_error
	ptr := C.kn_virDomainLookupByName(&e, c.ptr, cName)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &Domain{ptr: ptr}, nil
}

// LookupDomainByUUIDString finds a domain by its UUID.
func (c *Connect) LookupDomainByUUIDString(uuid string) (*Domain, error) {
	cUUID := C.CString(uuid)
	defer C.free(unsafe.Pointer(cUUID))
	var e C.kn_error
	ptr := C.kn_virDomainLookupByUUIDString(&e, c.ptr, cUUID)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &Domain{ptr: ptr}, nil
}

// ListAllDomains lists domains; each must be freed.
func (c *Connect) ListAllDomains(flags ConnectListAllDomainsFlags) ([]Domain, error) {
	var list *C.virDomainPtr
	var e C.kn_error
	n := C.kn_virConnectListAllDomains(&e, c.ptr, &list, C.uint(flags))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(list))
	domains := make([]Domain, 0, int(n))
	for _, ptr := range unsafe.Slice(list, int(n)) {
		domains = append(domains, Domain{ptr: ptr})
	}
	return domains, nil
}

// NetworkDefineXML makes or replaces a persistent network.
func (c *Connect) NetworkDefineXML(xmlConfig string) (*Network, error) {
	cXML := C.CString(xmlConfig)
	defer C.free(unsafe.Pointer(cXML))
	var e C.kn_error
	ptr := C.kn_virNetworkDefineXML(&e, c.ptr, cXML)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &Network{ptr: ptr}, nil
}

// LookupNetworkByName finds a network by its name.
func (c *Connect) LookupNetworkByName(name string) (*Network, error) {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	var e C.kn_error
	ptr := C.kn_virNetworkLookupByName(&e, c.ptr, cName)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &Network{ptr: ptr}, nil
}

// LookupNetworkByUUIDString finds a network by its UUID.
func (c *Connect) LookupNetworkByUUIDString(uuid string) (*Network, error) {
	cUUID := C.CString(uuid)
	defer C.free(unsafe.Pointer(cUUID))
	var e C.kn_error
	ptr := C.kn_virNetworkLookupByUUIDString(&e, c.ptr, cUUID)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &Network{ptr: ptr}, nil
}

// ListAllNetworks lists networks; each must be freed.
func (c *Connect) ListAllNetworks(flags ConnectListAllNetworksFlags) ([]Network, error) {
	var list *C.virNetworkPtr
	var e C.kn_error
	n := C.kn_virConnectListAllNetworks(&e, c.ptr, &list, C.uint(flags))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(list))
	networks := make([]Network, 0, int(n))
	for _, ptr := range unsafe.Slice(list, int(n)) {
		networks = append(networks, Network{ptr: ptr})
	}
	return networks, nil
}

// CloseCallback is told that a connection was lost.
type CloseCallback func(conn *Connect, reason ConnectCloseReason)

// RegisterCloseCallback has callback called when the connection is lost. A connection
// has at most one.
func (c *Connect) RegisterCloseCallback(callback CloseCallback) error {
	id := callbacks.add(callback)
	var e C.kn_error
	C.kn_registerClose(&e, c.ptr, C.uintptr_t(id))
	err := take(&e)
	if err != nil {
		callbacks.remove(id)
		return err
	}
	callbacks.bind(closeKey(c.ptr), id)
	return nil
}

// UnregisterCloseCallback ends RegisterCloseCallback.
func (c *Connect) UnregisterCloseCallback() error {
	var e C.kn_error
	C.kn_unregisterClose(&e, c.ptr)
	// A connection that is lost refuses, but will not call either.
	callbacks.unbind(closeKey(c.ptr))
	return take(&e)
}

// EventRegisterDefaultImpl installs libvirt's own event loop. It must be called before
// the first connection is made.
func EventRegisterDefaultImpl() error {
	err := load()
	if err != nil {
		return err
	}
	var e C.kn_error
	C.kn_eventRegister(&e)
	return take(&e)
}

// EventRunDefaultImpl runs one turn of the event loop.
func EventRunDefaultImpl() error {
	var e C.kn_error
	C.kn_eventRun(&e)
	return take(&e)
}

// DomainEventType is what happened to a domain.
type DomainEventType int

// The lifecycle events.
const (
	DOMAIN_EVENT_DEFINED     = DomainEventType(0)
	DOMAIN_EVENT_UNDEFINED   = DomainEventType(1)
	DOMAIN_EVENT_STARTED     = DomainEventType(2)
	DOMAIN_EVENT_SUSPENDED   = DomainEventType(3)
	DOMAIN_EVENT_RESUMED     = DomainEventType(4)
	DOMAIN_EVENT_STOPPED     = DomainEventType(5)
	DOMAIN_EVENT_SHUTDOWN    = DomainEventType(6)
	DOMAIN_EVENT_PMSUSPENDED = DomainEventType(7)
	DOMAIN_EVENT_CRASHED     = DomainEventType(8)
)

// DomainEventLifecycle is a change of a domain's state.
type DomainEventLifecycle struct {
	Event  DomainEventType
	Detail int
}

// DomainEventLifecycleCallback is told of changes; d is valid during the call only.
type DomainEventLifecycleCallback func(c *Connect, d *Domain, event *DomainEventLifecycle)

// DomainEventLifecycleRegister has callback called for each change of dom, or of any
// domain when dom is nil.
func (c *Connect) DomainEventLifecycleRegister(dom *Domain, callback DomainEventLifecycleCallback) (int, error) {
	id := callbacks.add(callback)
	var d C.virDomainPtr
	if dom != nil {
		d = dom.ptr
	}
	var e C.kn_error
	n := int(C.kn_registerLifecycle(&e, c.ptr, d, C.uintptr_t(id)))
	err := take(&e)
	if err != nil {
		callbacks.remove(id)
		return -1, err
	}
	callbacks.bind(eventKey{c.ptr, n}, id)
	return n, nil
}

// DomainEventDeregister ends a registration.
func (c *Connect) DomainEventDeregister(callbackId int) error {
	var e C.kn_error
	C.kn_virConnectDomainEventDeregisterAny(&e, c.ptr, C.int(callbackId))
	// A connection that is lost refuses, but will not call either.
	callbacks.unbind(eventKey{c.ptr, callbackId})
	return take(&e)
}

type (
	closeKey C.virConnectPtr
	eventKey struct {
		conn C.virConnectPtr
		id   int
	}
)

// registry holds Go callbacks by number, since C may not hold Go pointers.
type registry struct {
	mu    sync.Mutex
	next  uintptr
	funcs map[uintptr]any
	names map[any]uintptr // eventKey or closeKey to number
}

var callbacks = registry{funcs: map[uintptr]any{}, names: map[any]uintptr{}}

func (r *registry) add(f any) uintptr {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.next++
	r.funcs[r.next] = f
	return r.next
}

func (r *registry) remove(id uintptr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.funcs, id)
}

func (r *registry) get(id uintptr) any {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.funcs[id]
}

// bind remembers under which name a number can be removed. A name that an earlier
// connection at the same address left behind is replaced.
func (r *registry) bind(name any, id uintptr) {
	r.mu.Lock()
	defer r.mu.Unlock()
	old, ok := r.names[name]
	if ok {
		delete(r.funcs, old)
	}
	r.names[name] = id
}

func (r *registry) unbind(name any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	id, ok := r.names[name]
	if !ok {
		return
	}
	delete(r.funcs, id)
	delete(r.names, name)
}

//export knLifecycle
func knLifecycle(c C.virConnectPtr, d C.virDomainPtr, event, detail C.int, id C.uintptr_t) {
	f, ok := callbacks.get(uintptr(id)).(DomainEventLifecycleCallback)
	if !ok {
		return
	}
	f(&Connect{ptr: c}, &Domain{ptr: d}, &DomainEventLifecycle{Event: DomainEventType(event), Detail: int(detail)})
}

//export knClosed
func knClosed(c C.virConnectPtr, reason C.int, id C.uintptr_t) {
	f, ok := callbacks.get(uintptr(id)).(CloseCallback)
	if !ok {
		return
	}
	f(&Connect{ptr: c}, ConnectCloseReason(reason))
}
