package libvirt

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"time"

	"kilonova/work"
)

// What libvirt's filters cannot see is whose address a neighbour advertisement is about: a guest
// could say from its own address that it is another's, or the gateway. nftables can, so each
// guarded port has a chain there beside its filter. The kernel knows which chain by the name of
// the port's interface, which may come and go.
type neighbours struct {
	bin string // nft; "" where there is none, and nothing is done
}

const neighbourTable = "bridge kilonova"

// skeleton is what all ports share. Making it again changes nothing.
const skeleton = `add table ` + neighbourTable + `
add map ` + neighbourTable + ` ports { type ifname : verdict; }
add chain ` + neighbourTable + ` advertised { type filter hook prerouting priority -310; }
flush chain ` + neighbourTable + ` advertised
add rule ` + neighbourTable + ` advertised meta l4proto ipv6-icmp @th,0,8 136 iifname vmap @ports
`

// chainOf names a port's chain.
func chainOf(port string) string {
	return "port_" + strings.ReplaceAll(port, "-", "_")
}

// set keeps a port to advertisements of its own addresses and pairs, less those of drops; in
// one change, so that there is no moment without.
func (n neighbours) set(ctx context.Context, p *work.Port, drops []netip.Prefix) error {
	if p.Unguarded {
		return n.drop(ctx, p.ID)
	}
	_, all, err := speakers(p)
	if err != nil {
		return err
	}
	var macs []string
	for _, s := range all {
		macs = append(macs, s.mac)
	}
	own, err := hardware(p.MAC)
	if err != nil {
		return err
	}
	chain := neighbourTable + " " + chainOf(p.ID)
	script := skeleton + "add chain " + chain + "\nflush chain " + chain + "\n"
	target := func(r netip.Prefix, verdict string) {
		if r.Addr().Is6() {
			script += fmt.Sprintf("add rule %s @th,64,128 %s %s\n", chain, hexRange(r), verdict)
		}
	}
	for _, r := range drops {
		target(r, "drop")
	}
	for _, s := range all {
		target(s.ip, "return")
	}
	slices.Sort(macs)
	for _, mac := range slices.Compact(append(macs, own)) {
		a, err := linkLocal(mac)
		if err != nil {
			return err
		}
		target(netip.PrefixFrom(a, 128), "return")
	}
	script += fmt.Sprintf("add rule %s drop\nadd element %s ports { %q : jump %s }\n", chain, neighbourTable, tapName(p.ID), chainOf(p.ID))
	return n.run(ctx, script)
}

// drop forgets a port; one that is not known is no error.
func (n neighbours) drop(ctx context.Context, port string) error {
	err := checkUUID(port)
	if err != nil {
		return err
	}
	chain, element := chainOf(port), fmt.Sprintf("%s ports { %q : jump %s }\n", neighbourTable, tapName(port), chainOf(port))
	return n.run(ctx, skeleton+"add chain "+neighbourTable+" "+chain+"\nadd element "+element+"delete element "+element+
		"flush chain "+neighbourTable+" "+chain+"\ndelete chain "+neighbourTable+" "+chain+"\n")
}

func (n neighbours) run(ctx context.Context, script string) error {
	if n.bin == "" {
		return nil
	}
	const limit = 20 * time.Second
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	cmd := exec.CommandContext(ctx, n.bin, "-f", "-")
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C"}
	cmd.Stdin = strings.NewReader(script)
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	err := cmd.Run()
	if err != nil {
		return fmt.Errorf("nft: %w: %.300s", err, strings.TrimSpace(said.String()))
	}
	return nil
}

// hexRange is a range of IPv6 addresses as a number, or two.
func hexRange(r netip.Prefix) string {
	first, last := r.Masked().Addr().As16(), r.Masked().Addr().As16()
	for bit := r.Bits(); bit < 128; bit++ {
		last[bit/8] |= 1 << (7 - bit%8)
	}
	if first == last {
		return "0x" + hex.EncodeToString(first[:])
	}
	return "0x" + hex.EncodeToString(first[:]) + "-0x" + hex.EncodeToString(last[:])
}
