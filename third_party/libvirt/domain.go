package libvirt

// #include "binding.h"
import "C"

import "unsafe"

// Domain is a guest.
type Domain struct {
	ptr C.virDomainPtr
}

// DomainSnapshot is a snapshot of a domain.
type DomainSnapshot struct {
	ptr C.virDomainSnapshotPtr
}

// DomainState is what a domain is doing.
type DomainState int

// The states of a domain.
const (
	DOMAIN_NOSTATE     = DomainState(0)
	DOMAIN_RUNNING     = DomainState(1)
	DOMAIN_BLOCKED     = DomainState(2)
	DOMAIN_PAUSED      = DomainState(3)
	DOMAIN_SHUTDOWN    = DomainState(4)
	DOMAIN_SHUTOFF     = DomainState(5)
	DOMAIN_CRASHED     = DomainState(6)
	DOMAIN_PMSUSPENDED = DomainState(7)
)

// DomainShutoffReason is why a domain is shut off.
type DomainShutoffReason int

// The reasons of DOMAIN_SHUTOFF.
const (
	DOMAIN_SHUTOFF_UNKNOWN       = DomainShutoffReason(0)
	DOMAIN_SHUTOFF_SHUTDOWN      = DomainShutoffReason(1)
	DOMAIN_SHUTOFF_DESTROYED     = DomainShutoffReason(2)
	DOMAIN_SHUTOFF_CRASHED       = DomainShutoffReason(3)
	DOMAIN_SHUTOFF_MIGRATED      = DomainShutoffReason(4)
	DOMAIN_SHUTOFF_SAVED         = DomainShutoffReason(5)
	DOMAIN_SHUTOFF_FAILED        = DomainShutoffReason(6)
	DOMAIN_SHUTOFF_FROM_SNAPSHOT = DomainShutoffReason(7)
	DOMAIN_SHUTOFF_DAEMON        = DomainShutoffReason(8)
)

// DomainDefineFlags changes how a domain is defined.
type DomainDefineFlags uint

// DOMAIN_DEFINE_VALIDATE checks the XML against the schema.
const DOMAIN_DEFINE_VALIDATE = DomainDefineFlags(1)

// DomainCreateFlags changes how a domain is started.
type DomainCreateFlags uint

// The ways to start a domain.
const (
	DOMAIN_NONE               = DomainCreateFlags(0)
	DOMAIN_START_PAUSED       = DomainCreateFlags(1)
	DOMAIN_START_AUTODESTROY  = DomainCreateFlags(2)
	DOMAIN_START_BYPASS_CACHE = DomainCreateFlags(4)
	DOMAIN_START_FORCE_BOOT   = DomainCreateFlags(8)
	DOMAIN_START_VALIDATE     = DomainCreateFlags(16)
)

// DomainShutdownFlags says how a guest is asked to shut down.
type DomainShutdownFlags uint

// The ways to ask a guest to shut down.
const (
	DOMAIN_SHUTDOWN_DEFAULT        = DomainShutdownFlags(0)
	DOMAIN_SHUTDOWN_ACPI_POWER_BTN = DomainShutdownFlags(1)
	DOMAIN_SHUTDOWN_GUEST_AGENT    = DomainShutdownFlags(2)
)

// DomainRebootFlagValues says how a guest is asked to reboot.
type DomainRebootFlagValues uint

// The ways to ask a guest to reboot.
const (
	DOMAIN_REBOOT_DEFAULT        = DomainRebootFlagValues(0)
	DOMAIN_REBOOT_ACPI_POWER_BTN = DomainRebootFlagValues(1)
	DOMAIN_REBOOT_GUEST_AGENT    = DomainRebootFlagValues(2)
)

// DomainDestroyFlags changes how a domain is ended.
type DomainDestroyFlags uint

// The ways to end a domain.
const (
	DOMAIN_DESTROY_DEFAULT  = DomainDestroyFlags(0)
	DOMAIN_DESTROY_GRACEFUL = DomainDestroyFlags(1)
)

// DomainUndefineFlagsValues says what goes with the definition.
type DomainUndefineFlagsValues uint

// What goes, or stays, with the definition.
const (
	DOMAIN_UNDEFINE_MANAGED_SAVE         = DomainUndefineFlagsValues(1)
	DOMAIN_UNDEFINE_SNAPSHOTS_METADATA   = DomainUndefineFlagsValues(2)
	DOMAIN_UNDEFINE_NVRAM                = DomainUndefineFlagsValues(4)
	DOMAIN_UNDEFINE_KEEP_NVRAM           = DomainUndefineFlagsValues(8)
	DOMAIN_UNDEFINE_CHECKPOINTS_METADATA = DomainUndefineFlagsValues(16)
)

// DomainSaveRestoreFlags changes how memory is saved.
type DomainSaveRestoreFlags uint

// The ways to save memory.
const (
	DOMAIN_SAVE_BYPASS_CACHE = DomainSaveRestoreFlags(1)
	DOMAIN_SAVE_RUNNING      = DomainSaveRestoreFlags(2)
	DOMAIN_SAVE_PAUSED       = DomainSaveRestoreFlags(4)
)

// DomainXMLFlags says which XML GetXMLDesc gives.
type DomainXMLFlags uint

// The kinds of XML.
const (
	DOMAIN_XML_SECURE     = DomainXMLFlags(1)
	DOMAIN_XML_INACTIVE   = DomainXMLFlags(2)
	DOMAIN_XML_UPDATE_CPU = DomainXMLFlags(4)
	DOMAIN_XML_MIGRATABLE = DomainXMLFlags(8)
)

// DomainModificationImpact says what a change changes.
type DomainModificationImpact uint

// A change is of the present state, the live domain or the persistent one.
const (
	DOMAIN_AFFECT_CURRENT = DomainModificationImpact(0)
	DOMAIN_AFFECT_LIVE    = DomainModificationImpact(1)
	DOMAIN_AFFECT_CONFIG  = DomainModificationImpact(2)
)

// DomainDeviceModifyFlags says what a change of a device changes.
type DomainDeviceModifyFlags uint

// A device is changed in the present state, the live domain or the persistent one.
const (
	DOMAIN_DEVICE_MODIFY_CURRENT = DomainDeviceModifyFlags(0)
	DOMAIN_DEVICE_MODIFY_LIVE    = DomainDeviceModifyFlags(1)
	DOMAIN_DEVICE_MODIFY_CONFIG  = DomainDeviceModifyFlags(2)
	DOMAIN_DEVICE_MODIFY_FORCE   = DomainDeviceModifyFlags(4)
)

// DomainMetadataType is a kind of metadata.
type DomainMetadataType int

// The kinds of metadata.
const (
	DOMAIN_METADATA_DESCRIPTION = DomainMetadataType(0)
	DOMAIN_METADATA_TITLE       = DomainMetadataType(1)
	DOMAIN_METADATA_ELEMENT     = DomainMetadataType(2)
)

// DomainBlockCopyFlags changes how a disk is copied.
type DomainBlockCopyFlags uint

// The ways to copy a disk.
const (
	DOMAIN_BLOCK_COPY_SHALLOW       = DomainBlockCopyFlags(1)
	DOMAIN_BLOCK_COPY_REUSE_EXT     = DomainBlockCopyFlags(2)
	DOMAIN_BLOCK_COPY_TRANSIENT_JOB = DomainBlockCopyFlags(4)
)

// DomainBlockCommitFlags changes how an overlay is merged.
type DomainBlockCommitFlags uint

// The ways to merge an overlay.
const (
	DOMAIN_BLOCK_COMMIT_SHALLOW = DomainBlockCommitFlags(1)
	DOMAIN_BLOCK_COMMIT_DELETE  = DomainBlockCommitFlags(2)
	DOMAIN_BLOCK_COMMIT_ACTIVE  = DomainBlockCommitFlags(4)
)

// DomainBlockResizeFlags changes the unit of BlockResize.
type DomainBlockResizeFlags uint

// DOMAIN_BLOCK_RESIZE_BYTES says that the size is in bytes.
const DOMAIN_BLOCK_RESIZE_BYTES = DomainBlockResizeFlags(1)

// DomainBlockJobAbortFlags changes how a job ends.
type DomainBlockJobAbortFlags uint

// The ways to end a job.
const (
	DOMAIN_BLOCK_JOB_ABORT_ASYNC = DomainBlockJobAbortFlags(1)
	DOMAIN_BLOCK_JOB_ABORT_PIVOT = DomainBlockJobAbortFlags(2)
)

// DomainBlockJobInfoFlags changes what GetBlockJobInfo gives.
type DomainBlockJobInfoFlags uint

// DomainBlockJobType is a kind of block job.
type DomainBlockJobType int

// The kinds of block jobs.
const (
	DOMAIN_BLOCK_JOB_TYPE_UNKNOWN       = DomainBlockJobType(0)
	DOMAIN_BLOCK_JOB_TYPE_PULL          = DomainBlockJobType(1)
	DOMAIN_BLOCK_JOB_TYPE_COPY          = DomainBlockJobType(2)
	DOMAIN_BLOCK_JOB_TYPE_COMMIT        = DomainBlockJobType(3)
	DOMAIN_BLOCK_JOB_TYPE_ACTIVE_COMMIT = DomainBlockJobType(4)
)

// DomainSnapshotCreateFlags changes how a snapshot is made.
type DomainSnapshotCreateFlags uint

// The ways to make a snapshot.
const (
	DOMAIN_SNAPSHOT_CREATE_NO_METADATA = DomainSnapshotCreateFlags(4)
	DOMAIN_SNAPSHOT_CREATE_DISK_ONLY   = DomainSnapshotCreateFlags(16)
	DOMAIN_SNAPSHOT_CREATE_REUSE_EXT   = DomainSnapshotCreateFlags(32)
	DOMAIN_SNAPSHOT_CREATE_QUIESCE     = DomainSnapshotCreateFlags(64)
	DOMAIN_SNAPSHOT_CREATE_ATOMIC      = DomainSnapshotCreateFlags(128)
)

// DomainSetUserPasswordFlags changes what SetUserPassword is given.
type DomainSetUserPasswordFlags uint

// DOMAIN_PASSWORD_ENCRYPTED says that the password is hashed already.
const DOMAIN_PASSWORD_ENCRYPTED = DomainSetUserPasswordFlags(1)

// DomainMemoryStatTags names a memory counter.
type DomainMemoryStatTags int

// The memory counters, in KiB.
const (
	DOMAIN_MEMORY_STAT_SWAP_IN        = DomainMemoryStatTags(0)
	DOMAIN_MEMORY_STAT_SWAP_OUT       = DomainMemoryStatTags(1)
	DOMAIN_MEMORY_STAT_MAJOR_FAULT    = DomainMemoryStatTags(2)
	DOMAIN_MEMORY_STAT_MINOR_FAULT    = DomainMemoryStatTags(3)
	DOMAIN_MEMORY_STAT_UNUSED         = DomainMemoryStatTags(4)
	DOMAIN_MEMORY_STAT_AVAILABLE      = DomainMemoryStatTags(5)
	DOMAIN_MEMORY_STAT_ACTUAL_BALLOON = DomainMemoryStatTags(6)
	DOMAIN_MEMORY_STAT_RSS            = DomainMemoryStatTags(7)
	DOMAIN_MEMORY_STAT_USABLE         = DomainMemoryStatTags(8)
	DOMAIN_MEMORY_STAT_LAST_UPDATE    = DomainMemoryStatTags(9)
	DOMAIN_MEMORY_STAT_NR             = DomainMemoryStatTags(13)
)

// DomainInterfaceAddressesSource is who is asked for addresses.
type DomainInterfaceAddressesSource uint

// Who is asked for addresses.
const (
	DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE = DomainInterfaceAddressesSource(0)
	DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT = DomainInterfaceAddressesSource(1)
	DOMAIN_INTERFACE_ADDRESSES_SRC_ARP   = DomainInterfaceAddressesSource(2)
)

// DomainInfo is a domain's state and size; memory in KiB, CpuTime in nanoseconds.
type DomainInfo struct {
	State     DomainState
	MaxMem    uint64
	Memory    uint64
	NrVirtCpu uint
	CpuTime   uint64
}

// DomainVcpuInfo is the use of one virtual processor.
type DomainVcpuInfo struct {
	Number  uint32
	State   int32
	CpuTime uint64
	Cpu     int32
	CpuMap  []bool
}

// DomainInterfaceStats are the counters of an interface.
type DomainInterfaceStats struct {
	RxBytesSet   bool
	RxBytes      int64
	RxPacketsSet bool
	RxPackets    int64
	RxErrsSet    bool
	RxErrs       int64
	RxDropSet    bool
	RxDrop       int64
	TxBytesSet   bool
	TxBytes      int64
	TxPacketsSet bool
	TxPackets    int64
	TxErrsSet    bool
	TxErrs       int64
	TxDropSet    bool
	TxDrop       int64
}

// DomainBlockStats are the counters of a disk.
type DomainBlockStats struct {
	RdBytesSet         bool
	RdBytes            int64
	RdReqSet           bool
	RdReq              int64
	RdTotalTimesSet    bool
	RdTotalTimes       int64
	WrBytesSet         bool
	WrBytes            int64
	WrReqSet           bool
	WrReq              int64
	WrTotalTimesSet    bool
	WrTotalTimes       int64
	FlushReqSet        bool
	FlushReq           int64
	FlushTotalTimesSet bool
	FlushTotalTimes    int64
	ErrsSet            bool
	Errs               int64
}

// DomainBlockInfo is the size of a disk.
type DomainBlockInfo struct {
	Capacity   uint64
	Allocation uint64
	Physical   uint64
}

// DomainMemoryStat is one memory counter; Tag is a DomainMemoryStatTags.
type DomainMemoryStat struct {
	Tag int32
	Val uint64
}

// DomainBlockCopyParameters tunes BlockCopy.
type DomainBlockCopyParameters struct {
	BandwidthSet   bool
	Bandwidth      uint64
	GranularitySet bool
	Granularity    uint
	BufSizeSet     bool
	BufSize        uint64
}

// DomainBlockJobInfo is how far a block job is.
type DomainBlockJobInfo struct {
	Type      DomainBlockJobType
	Bandwidth uint64
	Cur       uint64
	End       uint64
}

// DomainIPAddress is an address of an interface.
type DomainIPAddress struct {
	Type   IPAddrType
	Addr   string
	Prefix uint
}

// DomainInterface is an interface with its addresses.
type DomainInterface struct {
	Name   string
	Hwaddr string
	Addrs  []DomainIPAddress
}

// Free lets go of the domain's handle.
func (d *Domain) Free() error {
	var e C.kn_error
	C.kn_virDomainFree(&e, d.ptr)
	err := take(&e)
	if err != nil {
		return err
	}
	d.ptr = nil
	return nil
}

// Ref takes one more reference, to be given up by Free.
func (d *Domain) Ref() error {
	var e C.kn_error
	C.kn_virDomainRef(&e, d.ptr)
	return take(&e)
}

// GetName gives the domain's name.
func (d *Domain) GetName() (string, error) {
	var e C.kn_error
	s := C.kn_virDomainGetName(&e, d.ptr)
	err := take(&e)
	if err != nil {
		return "", err
	}
	return C.GoString(s), nil
}

// GetUUIDString gives the domain's UUID.
func (d *Domain) GetUUIDString() (string, error) {
	var buf [37]C.char
	var e C.kn_error
	C.kn_virDomainGetUUIDString(&e, d.ptr, &buf[0])
	err := take(&e)
	if err != nil {
		return "", err
	}
	return C.GoString(&buf[0]), nil
}

// Create starts the domain, from its saved memory if there is some.
func (d *Domain) Create() error {
	var e C.kn_error
	C.kn_virDomainCreate(&e, d.ptr)
	return take(&e)
}

// CreateWithFlags starts the domain.
func (d *Domain) CreateWithFlags(flags DomainCreateFlags) error {
	var e C.kn_error
	C.kn_virDomainCreateWithFlags(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// Shutdown asks the guest to shut down.
func (d *Domain) Shutdown() error {
	var e C.kn_error
	C.kn_virDomainShutdown(&e, d.ptr)
	return take(&e)
}

// ShutdownFlags asks the guest to shut down.
func (d *Domain) ShutdownFlags(flags DomainShutdownFlags) error {
	var e C.kn_error
	C.kn_virDomainShutdownFlags(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// Reboot asks the guest to reboot.
func (d *Domain) Reboot(flags DomainRebootFlagValues) error {
	var e C.kn_error
	C.kn_virDomainReboot(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// Reset presses the guest's reset button.
func (d *Domain) Reset(flags uint32) error {
	var e C.kn_error
	C.kn_virDomainReset(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// Destroy ends the domain at once.
func (d *Domain) Destroy() error {
	var e C.kn_error
	C.kn_virDomainDestroy(&e, d.ptr)
	return take(&e)
}

// DestroyFlags ends the domain at once.
func (d *Domain) DestroyFlags(flags DomainDestroyFlags) error {
	var e C.kn_error
	C.kn_virDomainDestroyFlags(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// Suspend freezes the domain.
func (d *Domain) Suspend() error {
	var e C.kn_error
	C.kn_virDomainSuspend(&e, d.ptr)
	return take(&e)
}

// Resume thaws the domain.
func (d *Domain) Resume() error {
	var e C.kn_error
	C.kn_virDomainResume(&e, d.ptr)
	return take(&e)
}

// ManagedSave saves the domain's memory to disk and ends it.
func (d *Domain) ManagedSave(flags DomainSaveRestoreFlags) error {
	var e C.kn_error
	C.kn_virDomainManagedSave(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// ManagedSaveRemove drops the saved memory.
func (d *Domain) ManagedSaveRemove(flags uint32) error {
	var e C.kn_error
	C.kn_virDomainManagedSaveRemove(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// Undefine removes the persistent definition.
func (d *Domain) Undefine() error {
	var e C.kn_error
	C.kn_virDomainUndefine(&e, d.ptr)
	return take(&e)
}

// UndefineFlags removes the persistent definition.
func (d *Domain) UndefineFlags(flags DomainUndefineFlagsValues) error {
	var e C.kn_error
	C.kn_virDomainUndefineFlags(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// InjectNMI sends the guest a non-maskable interrupt.
func (d *Domain) InjectNMI(flags uint32) error {
	var e C.kn_error
	C.kn_virDomainInjectNMI(&e, d.ptr, C.uint(flags))
	return take(&e)
}

// HasManagedSaveImage reports whether there is saved memory.
func (d *Domain) HasManagedSaveImage(flags uint32) (bool, error) {
	var e C.kn_error
	r := C.kn_virDomainHasManagedSaveImage(&e, d.ptr, C.uint(flags))
	return r == 1, take(&e)
}

// IsActive reports whether the domain runs.
func (d *Domain) IsActive() (bool, error) {
	var e C.kn_error
	r := C.kn_virDomainIsActive(&e, d.ptr)
	return r == 1, take(&e)
}

// GetState gives the state and its reason.
func (d *Domain) GetState() (DomainState, int, error) {
	var state, reason C.int
	var e C.kn_error
	C.kn_virDomainGetState(&e, d.ptr, &state, &reason, 0)
	return DomainState(state), int(reason), take(&e)
}

// GetXMLDesc describes the domain in XML.
func (d *Domain) GetXMLDesc(flags DomainXMLFlags) (string, error) {
	var e C.kn_error
	s := C.kn_virDomainGetXMLDesc(&e, d.ptr, C.uint(flags))
	return takeString(s), take(&e)
}

// GetMetadata gives the metadata of a kind; uri names the element.
func (d *Domain) GetMetadata(tipus DomainMetadataType, uri string, flags DomainModificationImpact) (string, error) {
	var cURI *C.char
	if uri != "" {
		cURI = C.CString(uri)
		defer C.free(unsafe.Pointer(cURI))
	}
	var e C.kn_error
	s := C.kn_virDomainGetMetadata(&e, d.ptr, C.int(tipus), cURI, C.uint(flags))
	return takeString(s), take(&e)
}

// GetInfo gives the domain's state and size.
func (d *Domain) GetInfo() (*DomainInfo, error) {
	var i C.kn_domain_info
	var e C.kn_error
	C.kn_virDomainGetInfo(&e, d.ptr, &i)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &DomainInfo{
		State: DomainState(i.state), MaxMem: uint64(i.maxMem), Memory: uint64(i.memory),
		NrVirtCpu: uint(i.nrVirtCpu), CpuTime: uint64(i.cpuTime),
	}, nil
}

// GetVcpus gives the use of each virtual processor. CpuMap is left empty.
func (d *Domain) GetVcpus() ([]DomainVcpuInfo, error) {
	info, err := d.GetInfo()
	if err != nil {
		return nil, err
	}
	if info.NrVirtCpu == 0 {
		return nil, nil
	}
	list := make([]C.kn_vcpu_info, info.NrVirtCpu)
	var e C.kn_error
	n := C.kn_virDomainGetVcpus(&e, d.ptr, &list[0], C.int(len(list)), nil, 0)
	err = take(&e)
	if err != nil {
		return nil, err
	}
	vcpus := make([]DomainVcpuInfo, 0, int(n))
	for _, v := range list[:n] {
		vcpus = append(vcpus, DomainVcpuInfo{
			Number: uint32(v.number), State: int32(v.state), CpuTime: uint64(v.cpuTime), Cpu: int32(v.cpu),
		})
	}
	return vcpus, nil
}

// InterfaceStats gives the counters of the interface with the device name path.
func (d *Domain) InterfaceStats(path string) (*DomainInterfaceStats, error) {
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	var s C.kn_interface_stats
	var e C.kn_error
	C.kn_virDomainInterfaceStats(&e, d.ptr, cPath, &s, C.size_t(unsafe.Sizeof(s)))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	stats := &DomainInterfaceStats{}
	set := func(have *bool, to *int64, v C.longlong) { // -1 means unknown
		*have = v != -1
		if v != -1 {
			*to = int64(v)
		}
	}
	set(&stats.RxBytesSet, &stats.RxBytes, s.rx_bytes)
	set(&stats.RxPacketsSet, &stats.RxPackets, s.rx_packets)
	set(&stats.RxErrsSet, &stats.RxErrs, s.rx_errs)
	set(&stats.RxDropSet, &stats.RxDrop, s.rx_drop)
	set(&stats.TxBytesSet, &stats.TxBytes, s.tx_bytes)
	set(&stats.TxPacketsSet, &stats.TxPackets, s.tx_packets)
	set(&stats.TxErrsSet, &stats.TxErrs, s.tx_errs)
	set(&stats.TxDropSet, &stats.TxDrop, s.tx_drop)
	return stats, nil
}

// BlockStats gives the counters of a disk, named by target or path.
func (d *Domain) BlockStats(path string) (*DomainBlockStats, error) {
	cPath := C.CString(path)
	defer C.free(unsafe.Pointer(cPath))
	var s C.kn_block_stats
	var e C.kn_error
	C.kn_virDomainBlockStats(&e, d.ptr, cPath, &s, C.size_t(unsafe.Sizeof(s)))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	stats := &DomainBlockStats{}
	set := func(have *bool, to *int64, v C.longlong) { // -1 means unknown
		*have = v != -1
		if v != -1 {
			*to = int64(v)
		}
	}
	set(&stats.RdReqSet, &stats.RdReq, s.rd_req)
	set(&stats.RdBytesSet, &stats.RdBytes, s.rd_bytes)
	set(&stats.WrReqSet, &stats.WrReq, s.wr_req)
	set(&stats.WrBytesSet, &stats.WrBytes, s.wr_bytes)
	set(&stats.ErrsSet, &stats.Errs, s.errs)
	return stats, nil
}

// GetBlockInfo gives the size of a disk, named by target or path.
func (d *Domain) GetBlockInfo(disk string, flags uint32) (*DomainBlockInfo, error) {
	cDisk := C.CString(disk)
	defer C.free(unsafe.Pointer(cDisk))
	var i C.kn_block_info
	var e C.kn_error
	C.kn_virDomainGetBlockInfo(&e, d.ptr, cDisk, &i, C.uint(flags))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &DomainBlockInfo{Capacity: uint64(i.capacity), Allocation: uint64(i.allocation), Physical: uint64(i.physical)}, nil
}

// MemoryStats gives up to nrStats memory counters.
func (d *Domain) MemoryStats(nrStats uint32, flags uint32) ([]DomainMemoryStat, error) {
	if nrStats == 0 {
		return nil, nil
	}
	list := make([]C.kn_memory_stat, nrStats)
	var e C.kn_error
	n := C.kn_virDomainMemoryStats(&e, d.ptr, &list[0], C.uint(nrStats), C.uint(flags))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	stats := make([]DomainMemoryStat, 0, int(n))
	for _, s := range list[:n] {
		stats = append(stats, DomainMemoryStat{Tag: int32(s.tag), Val: uint64(s.val)})
	}
	return stats, nil
}

// The types of typed parameters.
const (
	typedUint   = 2
	typedUllong = 4
)

// BlockCopy starts a job that copies a disk to the one that destxml describes.
func (d *Domain) BlockCopy(disk string, destxml string, params *DomainBlockCopyParameters, flags DomainBlockCopyFlags) error {
	cDisk := C.CString(disk)
	defer C.free(unsafe.Pointer(cDisk))
	cXML := C.CString(destxml)
	defer C.free(unsafe.Pointer(cXML))
	list := make([]C.kn_typed_param, 0, 3)
	add := func(name string, typ C.int) *C.kn_typed_param {
		list = append(list, C.kn_typed_param{_type: typ})
		p := &list[len(list)-1]
		for i, b := range []byte(name) {
			p.field[i] = C.char(b)
		}
		return p
	}
	if params.BandwidthSet {
		*(*C.ulonglong)(unsafe.Pointer(&add("bandwidth", typedUllong).value)) = C.ulonglong(params.Bandwidth)
	}
	if params.GranularitySet {
		*(*C.uint)(unsafe.Pointer(&add("granularity", typedUint).value)) = C.uint(params.Granularity)
	}
	if params.BufSizeSet {
		*(*C.ulonglong)(unsafe.Pointer(&add("buf-size", typedUllong).value)) = C.ulonglong(params.BufSize)
	}
	var e C.kn_error
	C.kn_virDomainBlockCopy(&e, d.ptr, cDisk, cXML, unsafe.SliceData(list), C.int(len(list)), C.uint(flags))
	return take(&e)
}

// BlockCommit starts a job that merges the overlay top, or all, into base.
func (d *Domain) BlockCommit(disk string, base string, top string, bandwidth uint64, flags DomainBlockCommitFlags) error {
	cDisk := C.CString(disk)
	defer C.free(unsafe.Pointer(cDisk))
	var cBase, cTop *C.char
	if base != "" {
		cBase = C.CString(base)
		defer C.free(unsafe.Pointer(cBase))
	}
	if top != "" {
		cTop = C.CString(top)
		defer C.free(unsafe.Pointer(cTop))
	}
	var e C.kn_error
	C.kn_virDomainBlockCommit(&e, d.ptr, cDisk, cBase, cTop, C.ulong(bandwidth), C.uint(flags))
	return take(&e)
}

// BlockResize tells a running guest that its disk grew.
func (d *Domain) BlockResize(disk string, size uint64, flags DomainBlockResizeFlags) error {
	cDisk := C.CString(disk)
	defer C.free(unsafe.Pointer(cDisk))
	var e C.kn_error
	C.kn_virDomainBlockResize(&e, d.ptr, cDisk, C.ulonglong(size), C.uint(flags))
	return take(&e)
}

// GetBlockJobInfo says how far the job of a disk is; all zero when there is none.
func (d *Domain) GetBlockJobInfo(disk string, flags DomainBlockJobInfoFlags) (*DomainBlockJobInfo, error) {
	cDisk := C.CString(disk)
	defer C.free(unsafe.Pointer(cDisk))
	var i C.kn_block_job_info
	var e C.kn_error
	C.kn_virDomainGetBlockJobInfo(&e, d.ptr, cDisk, &i, C.uint(flags))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &DomainBlockJobInfo{
		Type: DomainBlockJobType(i._type), Bandwidth: uint64(i.bandwidth), Cur: uint64(i.cur), End: uint64(i.end),
	}, nil
}

// BlockJobAbort ends the job of a disk.
func (d *Domain) BlockJobAbort(disk string, flags DomainBlockJobAbortFlags) error {
	cDisk := C.CString(disk)
	defer C.free(unsafe.Pointer(cDisk))
	var e C.kn_error
	C.kn_virDomainBlockJobAbort(&e, d.ptr, cDisk, C.uint(flags))
	return take(&e)
}

// CreateSnapshotXML makes a snapshot.
func (d *Domain) CreateSnapshotXML(xml string, flags DomainSnapshotCreateFlags) (*DomainSnapshot, error) {
	cXML := C.CString(xml)
	defer C.free(unsafe.Pointer(cXML))
	var e C.kn_error
	ptr := C.kn_virDomainSnapshotCreateXML(&e, d.ptr, cXML, C.uint(flags))
	err := take(&e)
	if err != nil {
		return nil, err
	}
	return &DomainSnapshot{ptr: ptr}, nil
}

// Free lets go of the snapshot's handle.
func (s *DomainSnapshot) Free() error {
	var e C.kn_error
	C.kn_virDomainSnapshotFree(&e, s.ptr)
	err := take(&e)
	if err != nil {
		return err
	}
	s.ptr = nil
	return nil
}

// AttachDeviceFlags adds a device.
func (d *Domain) AttachDeviceFlags(xml string, flags DomainDeviceModifyFlags) error {
	cXML := C.CString(xml)
	defer C.free(unsafe.Pointer(cXML))
	var e C.kn_error
	C.kn_virDomainAttachDeviceFlags(&e, d.ptr, cXML, C.uint(flags))
	return take(&e)
}

// DetachDeviceFlags asks for a device to be removed.
func (d *Domain) DetachDeviceFlags(xml string, flags DomainDeviceModifyFlags) error {
	cXML := C.CString(xml)
	defer C.free(unsafe.Pointer(cXML))
	var e C.kn_error
	C.kn_virDomainDetachDeviceFlags(&e, d.ptr, cXML, C.uint(flags))
	return take(&e)
}

// UpdateDeviceFlags changes a device.
func (d *Domain) UpdateDeviceFlags(xml string, flags DomainDeviceModifyFlags) error {
	cXML := C.CString(xml)
	defer C.free(unsafe.Pointer(cXML))
	var e C.kn_error
	C.kn_virDomainUpdateDeviceFlags(&e, d.ptr, cXML, C.uint(flags))
	return take(&e)
}

// SetUserPassword changes a password through the guest agent.
func (d *Domain) SetUserPassword(user string, password string, flags DomainSetUserPasswordFlags) error {
	cUser := C.CString(user)
	defer C.free(unsafe.Pointer(cUser))
	cPassword := C.CString(password)
	defer C.free(unsafe.Pointer(cPassword))
	var e C.kn_error
	C.kn_virDomainSetUserPassword(&e, d.ptr, cUser, cPassword, C.uint(flags))
	return take(&e)
}

// ListAllInterfaceAddresses lists the guest's interfaces and their addresses.
func (d *Domain) ListAllInterfaceAddresses(src DomainInterfaceAddressesSource) ([]DomainInterface, error) {
	var list **C.kn_domain_interface
	var e C.kn_error
	n := C.kn_virDomainInterfaceAddresses(&e, d.ptr, &list, C.uint(src), 0)
	err := take(&e)
	if err != nil {
		return nil, err
	}
	defer C.kn_freeInterfaces(list, n)
	ifaces := make([]DomainInterface, 0, int(n))
	for _, i := range unsafe.Slice(list, int(n)) {
		iface := DomainInterface{Name: C.GoString(i.name), Hwaddr: C.GoString(i.hwaddr)}
		for _, a := range unsafe.Slice(i.addrs, int(i.naddrs)) {
			iface.Addrs = append(iface.Addrs, DomainIPAddress{
				Type: IPAddrType(a._type), Addr: C.GoString(a.addr), Prefix: uint(a.prefix),
			})
		}
		ifaces = append(ifaces, iface)
	}
	return ifaces, nil
}
