package libvirt

import (
	"os/exec"
	"testing"
	"time"
)

// The boot sector proves what it shall under emulation, and whatever /dev/kvm does, the
// answer comes in time.
func TestProve(t *testing.T) {
	_, err := exec.LookPath("qemu-system-x86_64")
	if err != nil {
		t.Skip("no QEMU")
	}
	start := time.Now()
	err = prove(t.Context(), "tcg", 30*time.Second)
	if err != nil {
		t.Error(err)
	}
	t.Logf("emulated: %.2f s", time.Since(start).Seconds())
	start = time.Now()
	err = ProveKVM(t.Context())
	took := time.Since(start)
	if took > kvmTime+2*time.Second {
		t.Errorf("took %s", took)
	}
	t.Logf("KVM: %.2f s, %v", took.Seconds(), err)
	err = prove(t.Context(), "tcg", time.Millisecond)
	if err == nil {
		t.Error("proven within a millisecond")
	}
}
