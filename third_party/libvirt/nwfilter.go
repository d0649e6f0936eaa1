package libvirt

// #include "binding.h"
import "C"

import "unsafe"

// NWFilter is a filter of network traffic.
type NWFilter struct {
	ptr C.virNWFilterPtr
}

// NWFilterDefineXML makes or replaces a filter; guests that run with it get the new rules.
func (c *Connect) NWFilterDefineXML(xmlConfig string) (*NWFilter, error) {
	cXML := C.CString(xmlConfig)
	defer C.free(unsafe.Pointer(cXML))
	var e C.kn_error
	ptr := C.kn_virNWFilterDefineXML(&e, c.ptr, cXML)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &NWFilter{ptr: ptr}, nil
}

// LookupNWFilterByName finds a filter by its name.
func (c *Connect) LookupNWFilterByName(name string) (*NWFilter, error) {
	cName := C.CString(name)
	defer C.free(unsafe.Pointer(cName))
	var e C.kn_error
	ptr := C.kn_virNWFilterLookupByName(&e, c.ptr, cName)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &NWFilter{ptr: ptr}, nil
}

// ListAllNWFilters lists filters; each must be freed. There are no flags yet.
func (c *Connect) ListAllNWFilters(flags uint32) ([]NWFilter, error) {
	var list *C.virNWFilterPtr
	var e C.kn_error
	n := C.kn_virConnectListAllNWFilters(&e, c.ptr, &list, C.uint(flags))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	defer C.free(unsafe.Pointer(list))
	filters := make([]NWFilter, 0, int(n))
	for _, ptr := range unsafe.Slice(list, int(n)) {
		filters = append(filters, NWFilter{ptr: ptr})
	}
	return filters, nil
}

// Free lets go of the filter's handle.
func (f *NWFilter) Free() error {
	var e C.kn_error
	C.kn_virNWFilterFree(&e, f.ptr)
	err := take(&e)
	if err != nil {
		return err
	}
	f.ptr = nil
	return nil
}

// Undefine removes the filter, which no guest may be using.
func (f *NWFilter) Undefine() error {
	var e C.kn_error
	C.kn_virNWFilterUndefine(&e, f.ptr)
	return take(&e)
}

// GetName gives the filter's name.
func (f *NWFilter) GetName() (string, error) {
	var e C.kn_error
	s := C.kn_virNWFilterGetName(&e, f.ptr)
	err := take(&e)
	if err != nil {
		return "", err
	}
	return C.GoString(s), nil
}

// GetXMLDesc describes the filter in XML.
func (f *NWFilter) GetXMLDesc(flags uint32) (string, error) {
	var e C.kn_error
	s := C.kn_virNWFilterGetXMLDesc(&e, f.ptr, C.uint(flags))
	return takeString(s), take(&e)
}
