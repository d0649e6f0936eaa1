package libvirt

// #include "binding.h"
import "C"

import (
	"fmt"
	"sync"
	"unsafe"
)

// ErrorNumber is libvirt's code of an error. It is an error itself, so that
// errors.Is(err, ERR_NO_DOMAIN) works.
type ErrorNumber int

// ErrorDomain is the part of libvirt that an error comes from.
type ErrorDomain int

// ErrorLevel is how bad an error is.
type ErrorLevel int

// The error numbers.
const (
	ERR_OK                      = ErrorNumber(0)
	ERR_INTERNAL_ERROR          = ErrorNumber(1)
	ERR_NO_MEMORY               = ErrorNumber(2)
	ERR_NO_SUPPORT              = ErrorNumber(3)
	ERR_UNKNOWN_HOST            = ErrorNumber(4)
	ERR_NO_CONNECT              = ErrorNumber(5)
	ERR_INVALID_CONN            = ErrorNumber(6)
	ERR_INVALID_DOMAIN          = ErrorNumber(7)
	ERR_INVALID_ARG             = ErrorNumber(8)
	ERR_OPERATION_FAILED        = ErrorNumber(9)
	ERR_XML_ERROR               = ErrorNumber(27)
	ERR_DOM_EXIST               = ErrorNumber(28)
	ERR_OPERATION_DENIED        = ErrorNumber(29)
	ERR_XML_DETAIL              = ErrorNumber(35)
	ERR_INVALID_NETWORK         = ErrorNumber(36)
	ERR_NETWORK_EXIST           = ErrorNumber(37)
	ERR_SYSTEM_ERROR            = ErrorNumber(38)
	ERR_RPC                     = ErrorNumber(39)
	ERR_NO_DOMAIN               = ErrorNumber(42)
	ERR_NO_NETWORK              = ErrorNumber(43)
	ERR_INVALID_MAC             = ErrorNumber(44)
	ERR_AUTH_FAILED             = ErrorNumber(45)
	ERR_OPERATION_INVALID       = ErrorNumber(55)
	ERR_NO_NWFILTER             = ErrorNumber(62)
	ERR_CONFIG_UNSUPPORTED      = ErrorNumber(67)
	ERR_OPERATION_TIMEOUT       = ErrorNumber(68)
	ERR_NO_DOMAIN_SNAPSHOT      = ErrorNumber(72)
	ERR_ARGUMENT_UNSUPPORTED    = ErrorNumber(74)
	ERR_OPERATION_ABORTED       = ErrorNumber(78)
	ERR_NO_DOMAIN_METADATA      = ErrorNumber(80)
	ERR_BLOCK_COPY_ACTIVE       = ErrorNumber(83)
	ERR_OPERATION_UNSUPPORTED   = ErrorNumber(84)
	ERR_AGENT_UNRESPONSIVE      = ErrorNumber(86)
	ERR_RESOURCE_BUSY           = ErrorNumber(87)
	ERR_ACCESS_DENIED           = ErrorNumber(88)
	ERR_XML_INVALID_SCHEMA      = ErrorNumber(92)
	ERR_AGENT_UNSYNCED          = ErrorNumber(97)
	ERR_DEVICE_MISSING          = ErrorNumber(99)
	ERR_AGENT_COMMAND_TIMEOUT   = ErrorNumber(109)
	ERR_AGENT_COMMAND_FAILED    = ErrorNumber(110)
	ERR_NO_SERVER               = ErrorNumber(95)
	ERR_NO_CLIENT               = ErrorNumber(96)
	ERR_MIGRATE_UNSAFE          = ErrorNumber(81)
	ERR_MIGRATE_PERSIST_FAILED  = ErrorNumber(69)
	ERR_STORAGE_VOL_EXIST       = ErrorNumber(90)
	ERR_CPU_INCOMPATIBLE        = ErrorNumber(91)
	ERR_MIGRATE_FINISH_OK       = ErrorNumber(93)
	ERR_INVALID_DOMAIN_SNAPSHOT = ErrorNumber(71)
)

// Error lets an ErrorNumber be the target of errors.Is.
func (n ErrorNumber) Error() string { return fmt.Sprintf("virErrorNumber(%d)", int(n)) }

// Error is an error of libvirt.
type Error struct {
	Code    ErrorNumber
	Domain  ErrorDomain
	Message string
	Level   ErrorLevel
}

// Error gives code, domain and message.
func (e Error) Error() string {
	return fmt.Sprintf("virError(Code=%d, Domain=%d, Message='%s')", e.Code, e.Domain, e.Message)
}

// Is reports whether target is the error's number.
func (e Error) Is(target error) bool {
	n, ok := target.(ErrorNumber)
	return ok && n == e.Code
}

// take makes a Go error of what a wrapper reported, and frees it; nil if the call worked.
func take(e *C.kn_error) error {
	if e.failed == 0 {
		return nil
	}
	err := Error{Code: ErrorNumber(e.code), Domain: ErrorDomain(e.domain), Level: ErrorLevel(e.level)}
	if e.message != nil {
		err.Message = C.GoString(e.message)
		C.free(unsafe.Pointer(e.message))
	}
	return err
}

var loading sync.Mutex

// load loads the library if it is not there yet.
func load() error {
	loading.Lock()
	defer loading.Unlock()
	msg := C.kn_load()
	if msg != nil {
		return Error{Code: ERR_NO_CONNECT, Message: C.GoString(msg), Level: 2}
	}
	return nil
}

// takeString copies a string that libvirt allocated, and frees it.
func takeString(s *C.char) string {
	if s == nil {
		return ""
	}
	defer C.free(unsafe.Pointer(s))
	return C.GoString(s)
}
