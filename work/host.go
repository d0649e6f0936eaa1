package work

// What a host may say of itself. No machine is larger, and no sum of such figures overflows.
const (
	MaxVCPUs   = 1 << 16
	MaxMB      = 1 << 30
	MaxGB      = 1 << 30
	MaxCPUInfo = 16384 // bytes
	MaxWord    = 64    // bytes: a type, an address
	MaxText    = 255   // bytes
)

// Bounded gives what can be believed of it: figures between nothing and the most there is,
// texts that are not too long.
func (i HostInfo) Bounded() HostInfo {
	for _, n := range []struct {
		v    *int
		most int
	}{{&i.HypervisorVersion, 1<<31 - 1}, {&i.VCPUs, MaxVCPUs}, {&i.MemoryMB, MaxMB}, {&i.DiskGB, MaxGB}, {&i.DiskAvailableGB, MaxGB}} {
		*n.v = min(max(*n.v, 0), n.most)
	}
	for _, s := range []struct {
		v    *string
		most int
	}{{&i.Hostname, MaxText}, {&i.HypervisorType, MaxWord}, {&i.HostIP, MaxWord}, {&i.Arch, MaxWord}, {&i.Uptime, MaxText}} {
		*s.v = Clip(*s.v, s.most)
	}
	if i.CPUInfo == "" || len(i.CPUInfo) > MaxCPUInfo {
		i.CPUInfo = "{}"
	}
	return i
}
