package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"
)

// kvmTime is how long a machine may take to run eight instructions. A /dev/kvm can be
// opened and still hang at the first of them.
const kvmTime = 5 * time.Second

// proofCode is what QEMU exits with when the guest has written proofByte to the debug
// exit device: 2*proofByte + 1.
const (
	proofByte = 0x2a
	proofCode = 2*proofByte + 1
)

// ProveKVM runs a guest of one boot sector under KVM and says why that fails. Neither an
// openable /dev/kvm nor libvirt's capabilities prove that KVM works.
func ProveKVM(ctx context.Context) error {
	dev, err := os.OpenFile("/dev/kvm", os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("prove KVM: %w", err)
	}
	dev.Close()
	return prove(ctx, "kvm", kvmTime)
}

// prove runs the boot sector with the accelerator.
func prove(ctx context.Context, accel string, limit time.Duration) error {
	dir, err := os.MkdirTemp("", "kilonova-kvm-")
	if err != nil {
		return fmt.Errorf("prove %s: %w", accel, err)
	}
	defer os.RemoveAll(dir)
	sector := make([]byte, 512)
	copy(sector, []byte{
		0xba, 0xf4, 0x00, // mov dx, 0xf4
		0xb0, proofByte, // mov al, proofByte
		0xee,       // out dx, al
		0xf4,       // hlt
		0xeb, 0xfd, // jmp to hlt
	})
	sector[510], sector[511] = 0x55, 0xaa
	boot := filepath.Join(dir, "boot")
	err = os.WriteFile(boot, sector, 0o600)
	if err != nil {
		return fmt.Errorf("prove %s: %w", accel, err)
	}
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.Command("qemu-system-x86_64", "-accel", accel, "-machine", "pc", "-m", "16", "-nodefaults",
		"-no-user-config", "-display", "none", "-device", "isa-debug-exit,iobase=0xf4,iosize=1",
		"-drive", "file="+boot+",format=raw,if=ide,readonly=off")
	err = cmd.Start()
	if err != nil {
		return fmt.Errorf("prove %s: %w", accel, err)
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err = <-ended:
	case <-ctx.Done():
		// A process that hangs in the kernel may outlive even this; it is not waited for.
		_ = cmd.Process.Kill()
		return fmt.Errorf("prove %s: the guest did not run within %s", accel, limit)
	}
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == proofCode {
		return nil
	}
	return fmt.Errorf("prove %s: the guest ended otherwise than it should: %w", accel, err)
}
