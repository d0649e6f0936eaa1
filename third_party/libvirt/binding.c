#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

#include "binding.h"
#include "_cgo_export.h"

// The functions found in the library; NULL before kn_load and where it lacks one.
#define KN_INT_VAR(name, params, args) static int(*p_##name) params;
#define KN_PTR_VAR(ret, name, params, args) static ret(*p_##name) params;
KN_CALLS(KN_INT_VAR, KN_PTR_VAR)

typedef struct {
	int code;
	int domain;
	char *message;
	int level;
} last_error; // the head of virError; the rest is not read

static int (*p_virInitialize)(void);
static last_error *(*p_virGetLastError)(void);
static void (*p_virResetLastError)(void);
static void (*p_virSetErrorFunc)(void *, void (*)(void *, void *));
static int (*p_virEventRegisterDefaultImpl)(void);
static int (*p_virEventRunDefaultImpl)(void);
static void (*p_virDomainInterfaceFree)(kn_domain_interface *);
static void (*p_virNetworkDHCPLeaseFree)(kn_dhcp_lease *);

// libvirt prints errors on stderr unless it is given a function that does not.
static void silent(void *data, void *error) {}

static char load_error[256];
static int loaded;

const char *kn_load(void) {
	if (loaded)
		return NULL;
	void *h = dlopen("libvirt.so.0", RTLD_NOW | RTLD_GLOBAL);
	if (h == NULL) {
		snprintf(load_error, sizeof load_error, "libvirt is not installed on this machine: %s", dlerror());
		return load_error;
	}
#define FIND(name) *(void **)&p_##name = dlsym(h, #name);
#define KN_INT_FIND(name, params, args) FIND(name)
#define KN_PTR_FIND(ret, name, params, args) FIND(name)
	KN_CALLS(KN_INT_FIND, KN_PTR_FIND)
	FIND(virInitialize)
	FIND(virGetLastError)
	FIND(virResetLastError)
	FIND(virSetErrorFunc)
	FIND(virEventRegisterDefaultImpl)
	FIND(virEventRunDefaultImpl)
	FIND(virDomainInterfaceFree)
	FIND(virNetworkDHCPLeaseFree)
	if (p_virInitialize == NULL || p_virGetLastError == NULL || p_virResetLastError == NULL ||
	    p_virSetErrorFunc == NULL || p_virConnectOpen == NULL) {
		dlclose(h);
		snprintf(load_error, sizeof load_error, "libvirt.so.0 lacks functions that every libvirt has");
		return load_error;
	}
	if (p_virInitialize() < 0) {
		snprintf(load_error, sizeof load_error, "libvirt could not be initialized");
		return load_error;
	}
	p_virSetErrorFunc(NULL, silent);
	loaded = 1;
	return NULL;
}

static void set_error(kn_error *e, int code, const char *message) {
	e->failed = 1;
	e->code = code;
	e->domain = 0;
	e->level = 2;
	e->message = strdup(message);
}

// take_error copies the thread's last error; it must run in the C function that failed.
static void take_error(kn_error *e) {
	last_error *l = p_virGetLastError();
	if (l == NULL || l->code == 0) {
		set_error(e, 1, "libvirt gave no reason");
		return;
	}
	set_error(e, l->code, l->message ? l->message : "");
	e->domain = l->domain;
	e->level = l->level;
}

static int absent(kn_error *e, void *p, const char *name) {
	if (p != NULL)
		return 0;
	char text[200];
	snprintf(text, sizeof text, "this libvirt has no function %s", name);
	set_error(e, 3, text); // VIR_ERR_NO_SUPPORT
	return 1;
}

#define KN_INT_CALL(name, params, args) \
	int kn_##name(kn_error *e, KN_UNPAREN params) { \
		if (absent(e, (void *)p_##name, #name)) \
			return -1; \
		p_virResetLastError(); \
		int r = p_##name args; \
		if (r < 0) \
			take_error(e); \
		return r; \
	}
#define KN_PTR_CALL(ret, name, params, args) \
	ret kn_##name(kn_error *e, KN_UNPAREN params) { \
		if (absent(e, (void *)p_##name, #name)) \
			return NULL; \
		p_virResetLastError(); \
		ret r = p_##name args; \
		if (r == NULL) \
			take_error(e); \
		return r; \
	}
KN_CALLS(KN_INT_CALL, KN_PTR_CALL)

int kn_eventRegister(kn_error *e) {
	if (absent(e, (void *)p_virEventRegisterDefaultImpl, "virEventRegisterDefaultImpl"))
		return -1;
	int r = p_virEventRegisterDefaultImpl();
	if (r < 0)
		take_error(e);
	return r;
}

int kn_eventRun(kn_error *e) {
	if (absent(e, (void *)p_virEventRunDefaultImpl, "virEventRunDefaultImpl"))
		return -1;
	int r = p_virEventRunDefaultImpl();
	if (r < 0)
		take_error(e);
	return r;
}

// The opaque pointer of a callback is the number of a Go callback, not an address.
static int on_lifecycle(virConnectPtr c, virDomainPtr d, int event, int detail, void *opaque) {
	knLifecycle(c, d, event, detail, (uintptr_t)opaque);
	return 0;
}

static void on_close(virConnectPtr c, int reason, void *opaque) {
	knClosed(c, reason, (uintptr_t)opaque);
}

int kn_registerLifecycle(kn_error *e, virConnectPtr c, virDomainPtr d, uintptr_t id) {
	return kn_virConnectDomainEventRegisterAny(e, c, d, 0, (void *)on_lifecycle, (void *)id, NULL);
}

int kn_registerClose(kn_error *e, virConnectPtr c, uintptr_t id) {
	return kn_virConnectRegisterCloseCallback(e, c, (void *)on_close, (void *)id, NULL);
}

int kn_unregisterClose(kn_error *e, virConnectPtr c) {
	return kn_virConnectUnregisterCloseCallback(e, c, (void *)on_close);
}

void kn_freeInterfaces(kn_domain_interface **list, int n) {
	for (int i = 0; i < n; i++)
		if (p_virDomainInterfaceFree != NULL)
			p_virDomainInterfaceFree(list[i]);
	free(list);
}

void kn_freeLeases(kn_dhcp_lease **list, int n) {
	for (int i = 0; i < n; i++)
		if (p_virNetworkDHCPLeaseFree != NULL)
			p_virNetworkDHCPLeaseFree(list[i]);
	free(list);
}
