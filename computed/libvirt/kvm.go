package libvirt

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"kilonova/private"
)

// kvmTime is how long a machine may take to run a boot sector. A /dev/kvm can be opened
// and still hang.
const kvmTime = 5 * time.Second

// proofCode is what QEMU exits with when the guest has written proofByte to the debug
// exit device: 2*proofByte + 1.
const (
	proofByte = 0x2a
	proofCode = 2*proofByte + 1
)

// bootCode enters protected mode, takes an interrupt and returns from it, and writes
// proofByte. Simpler code is no proof: there are machines whose KVM runs real mode and
// then fails at the first iret of protected mode.
var bootCode = []byte{
	0xfa,       // cli
	0x31, 0xc0, // xor ax, ax
	0x8e, 0xd8, // mov ds, ax
	0x66, 0x0f, 0x01, 0x16, 0x58, 0x7c, // lgdt [0x7c58]
	0x0f, 0x20, 0xc0, // mov eax, cr0
	0x0c, 0x01, // or al, 1
	0x0f, 0x22, 0xc0, // mov cr0, eax
	0x66, 0xea, 0x1b, 0x7c, 0x00, 0x00, 0x08, 0x00, // jmp 8:0x7c1b
	0x66, 0xb8, 0x10, 0x00, // mov ax, 0x10
	0x8e, 0xd8, // mov ds, ax
	0x8e, 0xd0, // mov ss, ax
	0xbc, 0x00, 0x70, 0x00, 0x00, // mov esp, 0x7000
	0x0f, 0x01, 0x1d, 0x66, 0x7c, 0x00, 0x00, // lidt [0x7c66]
	0xcd, 0x00, // int 0
	0x66, 0xba, 0xf4, 0x00, // mov dx, 0xf4
	0xb0, proofByte, // mov al, proofByte
	0xee,       // out dx, al
	0xf4,       // hlt
	0xeb, 0xfd, // jmp to hlt
	0xcf,                   // 0x7c3b: iret
	0x90, 0x90, 0x90, 0x90, // up to 0x7c40
	0, 0, 0, 0, 0, 0, 0, 0, // the GDT: nothing,
	0xff, 0xff, 0, 0, 0, 0x9b, 0xcf, 0, // flat code,
	0xff, 0xff, 0, 0, 0, 0x93, 0xcf, 0, // flat data
	0x17, 0x00, 0x40, 0x7c, 0x00, 0x00, // 0x7c58: its size and address
	0x3b, 0x7c, 0x08, 0x00, 0x00, 0x8e, 0x00, 0x00, // the IDT: a gate to 8:0x7c3b
	0x07, 0x00, 0x5e, 0x7c, 0x00, 0x00, // 0x7c66: its size and address
}

// provenType is kvm where that is proven to work, else qemu. The proof of a machine whose
// KVM hangs takes seconds, so what it said is kept until the machine boots again.
func (d *Driver) provenType() string {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	note := filepath.Join(d.cfg.StateDir, "kvm-proof")
	if err == nil {
		said, err := os.ReadFile(note)
		kind, ok := strings.CutPrefix(string(said), string(boot))
		if err == nil && ok && (kind == "kvm" || kind == "qemu") {
			return kind
		}
	}
	kind := "kvm"
	err = ProveKVM(context.Background()) // bounded by itself
	if err != nil {
		d.log.Info("guests are emulated", "reason", err)
		kind = "qemu"
	}
	if len(boot) > 0 && private.MakeDir(d.cfg.StateDir, private.Pass) == nil {
		_ = os.WriteFile(note, []byte(string(boot)+kind), 0o600) // without it the next start proves again
	}
	return kind
}

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
	copy(sector, bootCode)
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
