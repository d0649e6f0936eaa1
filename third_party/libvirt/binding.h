// The part of libvirt's public C interface that this package calls, declared here so that
// no header of libvirt is needed, and one wrapper kn_NAME for each function.
#ifndef KN_BINDING_H
#define KN_BINDING_H

#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

typedef struct _virConnect *virConnectPtr;
typedef struct _virDomain *virDomainPtr;
typedef struct _virNetwork *virNetworkPtr;
typedef struct _virNWFilter *virNWFilterPtr;
typedef struct _virDomainSnapshot *virDomainSnapshotPtr;

typedef struct {
	char model[32];
	unsigned long memory;
	unsigned int cpus;
	unsigned int mhz;
	unsigned int nodes;
	unsigned int sockets;
	unsigned int cores;
	unsigned int threads;
} kn_node_info;

typedef struct {
	unsigned char state;
	unsigned long maxMem;
	unsigned long memory;
	unsigned short nrVirtCpu;
	unsigned long long cpuTime;
} kn_domain_info;

typedef struct {
	unsigned int number;
	int state;
	unsigned long long cpuTime;
	int cpu;
} kn_vcpu_info;

typedef struct {
	long long rx_bytes, rx_packets, rx_errs, rx_drop;
	long long tx_bytes, tx_packets, tx_errs, tx_drop;
} kn_interface_stats;

typedef struct {
	long long rd_req, rd_bytes, wr_req, wr_bytes, errs;
} kn_block_stats;

typedef struct {
	unsigned long long capacity, allocation, physical;
} kn_block_info;

typedef struct {
	int tag;
	unsigned long long val;
} kn_memory_stat;

typedef struct {
	int type;
	unsigned long bandwidth;
	unsigned long long cur;
	unsigned long long end;
} kn_block_job_info;

typedef struct {
	char field[80];
	int type;
	union {
		int i;
		unsigned int ui;
		long long l;
		unsigned long long ul;
		double d;
		char b;
		char *s;
	} value;
} kn_typed_param;

typedef struct {
	int type;
	char *addr;
	unsigned int prefix;
} kn_ip_address;

typedef struct {
	char *name;
	char *hwaddr;
	unsigned int naddrs;
	kn_ip_address *addrs;
} kn_domain_interface;

typedef struct {
	char *iface;
	long long expirytime;
	int type;
	char *mac;
	char *iaid;
	char *ipaddr;
	unsigned int prefix;
	char *hostname;
	char *clientid;
} kn_dhcp_lease;

// kn_error is what virGetLastError said right after a call, message copied.
typedef struct {
	int failed;
	int code;
	int domain;
	int level;
	char *message;
} kn_error;

// KN_CALLS lists the functions that are called: INT ones fail with a negative result,
// PTR ones with NULL. The last two columns are the parameters and the arguments.
#define KN_CALLS(INT, PTR) \
	INT(virGetVersion, (unsigned long *lib, const char *type, unsigned long *ver), (lib, type, ver)) \
	PTR(virConnectPtr, virConnectOpen, (const char *uri), (uri)) \
	PTR(virConnectPtr, virConnectOpenReadOnly, (const char *uri), (uri)) \
	INT(virConnectClose, (virConnectPtr c), (c)) \
	INT(virConnectRef, (virConnectPtr c), (c)) \
	INT(virConnectIsAlive, (virConnectPtr c), (c)) \
	INT(virConnectSetKeepAlive, (virConnectPtr c, int interval, unsigned int count), (c, interval, count)) \
	INT(virConnectGetVersion, (virConnectPtr c, unsigned long *v), (c, v)) \
	INT(virConnectGetLibVersion, (virConnectPtr c, unsigned long *v), (c, v)) \
	PTR(char *, virConnectGetHostname, (virConnectPtr c), (c)) \
	PTR(char *, virConnectGetURI, (virConnectPtr c), (c)) \
	PTR(const char *, virConnectGetType, (virConnectPtr c), (c)) \
	PTR(char *, virConnectGetCapabilities, (virConnectPtr c), (c)) \
	INT(virNodeGetInfo, (virConnectPtr c, kn_node_info *i), (c, i)) \
	PTR(virDomainPtr, virDomainDefineXML, (virConnectPtr c, const char *xml), (c, xml)) \
	PTR(virDomainPtr, virDomainDefineXMLFlags, (virConnectPtr c, const char *xml, unsigned int flags), (c, xml, flags)) \
	PTR(virDomainPtr, virDomainLookupByName, (virConnectPtr c, const char *name), (c, name)) \
	PTR(virDomainPtr, virDomainLookupByUUIDString, (virConnectPtr c, const char *uuid), (c, uuid)) \
	INT(virConnectListAllDomains, (virConnectPtr c, virDomainPtr **out, unsigned int flags), (c, out, flags)) \
	INT(virDomainFree, (virDomainPtr d), (d)) \
	INT(virDomainRef, (virDomainPtr d), (d)) \
	PTR(const char *, virDomainGetName, (virDomainPtr d), (d)) \
	INT(virDomainGetUUIDString, (virDomainPtr d, char *buf), (d, buf)) \
	INT(virDomainCreate, (virDomainPtr d), (d)) \
	INT(virDomainCreateWithFlags, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainShutdown, (virDomainPtr d), (d)) \
	INT(virDomainShutdownFlags, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainReboot, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainReset, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainDestroy, (virDomainPtr d), (d)) \
	INT(virDomainDestroyFlags, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainSuspend, (virDomainPtr d), (d)) \
	INT(virDomainResume, (virDomainPtr d), (d)) \
	INT(virDomainManagedSave, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainHasManagedSaveImage, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainManagedSaveRemove, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainUndefine, (virDomainPtr d), (d)) \
	INT(virDomainUndefineFlags, (virDomainPtr d, unsigned int flags), (d, flags)) \
	INT(virDomainGetState, (virDomainPtr d, int *state, int *reason, unsigned int flags), (d, state, reason, flags)) \
	INT(virDomainIsActive, (virDomainPtr d), (d)) \
	INT(virDomainInjectNMI, (virDomainPtr d, unsigned int flags), (d, flags)) \
	PTR(char *, virDomainGetXMLDesc, (virDomainPtr d, unsigned int flags), (d, flags)) \
	PTR(char *, virDomainGetMetadata, (virDomainPtr d, int type, const char *uri, unsigned int flags), (d, type, uri, flags)) \
	INT(virDomainGetInfo, (virDomainPtr d, kn_domain_info *i), (d, i)) \
	INT(virDomainGetVcpus, (virDomainPtr d, kn_vcpu_info *i, int n, unsigned char *maps, int maplen), (d, i, n, maps, maplen)) \
	INT(virDomainInterfaceStats, (virDomainPtr d, const char *dev, kn_interface_stats *s, size_t size), (d, dev, s, size)) \
	INT(virDomainBlockStats, (virDomainPtr d, const char *disk, kn_block_stats *s, size_t size), (d, disk, s, size)) \
	INT(virDomainGetBlockInfo, (virDomainPtr d, const char *disk, kn_block_info *i, unsigned int flags), (d, disk, i, flags)) \
	INT(virDomainMemoryStats, (virDomainPtr d, kn_memory_stat *s, unsigned int n, unsigned int flags), (d, s, n, flags)) \
	INT(virDomainBlockCopy, (virDomainPtr d, const char *disk, const char *xml, kn_typed_param *p, int n, unsigned int flags), (d, disk, xml, p, n, flags)) \
	INT(virDomainBlockCommit, (virDomainPtr d, const char *disk, const char *base, const char *top, unsigned long bw, unsigned int flags), (d, disk, base, top, bw, flags)) \
	INT(virDomainBlockResize, (virDomainPtr d, const char *disk, unsigned long long size, unsigned int flags), (d, disk, size, flags)) \
	INT(virDomainGetBlockJobInfo, (virDomainPtr d, const char *disk, kn_block_job_info *i, unsigned int flags), (d, disk, i, flags)) \
	INT(virDomainBlockJobAbort, (virDomainPtr d, const char *disk, unsigned int flags), (d, disk, flags)) \
	PTR(virDomainSnapshotPtr, virDomainSnapshotCreateXML, (virDomainPtr d, const char *xml, unsigned int flags), (d, xml, flags)) \
	INT(virDomainSnapshotFree, (virDomainSnapshotPtr s), (s)) \
	INT(virDomainAttachDeviceFlags, (virDomainPtr d, const char *xml, unsigned int flags), (d, xml, flags)) \
	INT(virDomainDetachDeviceFlags, (virDomainPtr d, const char *xml, unsigned int flags), (d, xml, flags)) \
	INT(virDomainUpdateDeviceFlags, (virDomainPtr d, const char *xml, unsigned int flags), (d, xml, flags)) \
	INT(virDomainSetUserPassword, (virDomainPtr d, const char *user, const char *pw, unsigned int flags), (d, user, pw, flags)) \
	INT(virDomainInterfaceAddresses, (virDomainPtr d, kn_domain_interface ***out, unsigned int source, unsigned int flags), (d, out, source, flags)) \
	INT(virConnectDomainEventRegisterAny, (virConnectPtr c, virDomainPtr d, int id, void *cb, void *opaque, void *freecb), (c, d, id, cb, opaque, freecb)) \
	INT(virConnectDomainEventDeregisterAny, (virConnectPtr c, int id), (c, id)) \
	INT(virConnectRegisterCloseCallback, (virConnectPtr c, void *cb, void *opaque, void *freecb), (c, cb, opaque, freecb)) \
	INT(virConnectUnregisterCloseCallback, (virConnectPtr c, void *cb), (c, cb)) \
	PTR(virNWFilterPtr, virNWFilterDefineXML, (virConnectPtr c, const char *xml), (c, xml)) \
	PTR(virNWFilterPtr, virNWFilterLookupByName, (virConnectPtr c, const char *name), (c, name)) \
	INT(virConnectListAllNWFilters, (virConnectPtr c, virNWFilterPtr **out, unsigned int flags), (c, out, flags)) \
	INT(virNWFilterFree, (virNWFilterPtr f), (f)) \
	INT(virNWFilterUndefine, (virNWFilterPtr f), (f)) \
	PTR(const char *, virNWFilterGetName, (virNWFilterPtr f), (f)) \
	PTR(char *, virNWFilterGetXMLDesc, (virNWFilterPtr f, unsigned int flags), (f, flags)) \
	PTR(virNetworkPtr, virNetworkDefineXML, (virConnectPtr c, const char *xml), (c, xml)) \
	PTR(virNetworkPtr, virNetworkLookupByName, (virConnectPtr c, const char *name), (c, name)) \
	PTR(virNetworkPtr, virNetworkLookupByUUIDString, (virConnectPtr c, const char *uuid), (c, uuid)) \
	INT(virConnectListAllNetworks, (virConnectPtr c, virNetworkPtr **out, unsigned int flags), (c, out, flags)) \
	INT(virNetworkFree, (virNetworkPtr n), (n)) \
	PTR(const char *, virNetworkGetName, (virNetworkPtr n), (n)) \
	PTR(char *, virNetworkGetBridgeName, (virNetworkPtr n), (n)) \
	INT(virNetworkCreate, (virNetworkPtr n), (n)) \
	INT(virNetworkDestroy, (virNetworkPtr n), (n)) \
	INT(virNetworkUndefine, (virNetworkPtr n), (n)) \
	INT(virNetworkIsActive, (virNetworkPtr n), (n)) \
	INT(virNetworkSetAutostart, (virNetworkPtr n, int on), (n, on)) \
	INT(virNetworkGetAutostart, (virNetworkPtr n, int *on), (n, on)) \
	INT(virNetworkUpdate, (virNetworkPtr n, unsigned int cmd, unsigned int section, int parent, const char *xml, unsigned int flags), (n, cmd, section, parent, xml, flags)) \
	PTR(char *, virNetworkGetXMLDesc, (virNetworkPtr n, unsigned int flags), (n, flags)) \
	INT(virNetworkGetDHCPLeases, (virNetworkPtr n, const char *mac, kn_dhcp_lease ***out, unsigned int flags), (n, mac, out, flags))

#define KN_UNPAREN(...) __VA_ARGS__

#define KN_INT_PROTO(name, params, args) int kn_##name(kn_error *e, KN_UNPAREN params);
#define KN_PTR_PROTO(ret, name, params, args) ret kn_##name(kn_error *e, KN_UNPAREN params);
KN_CALLS(KN_INT_PROTO, KN_PTR_PROTO)

// kn_load loads the library once; it returns NULL, or what is wrong.
const char *kn_load(void);

int kn_eventRegister(kn_error *e);
int kn_eventRun(kn_error *e);
int kn_registerLifecycle(kn_error *e, virConnectPtr c, virDomainPtr d, uintptr_t id);
int kn_registerClose(kn_error *e, virConnectPtr c, uintptr_t id);
int kn_unregisterClose(kn_error *e, virConnectPtr c);
void kn_freeInterfaces(kn_domain_interface **list, int n);
void kn_freeLeases(kn_dhcp_lease **list, int n);

#endif
