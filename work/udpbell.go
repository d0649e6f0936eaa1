package work

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"time"
)

// UDPBell rings on other machines with datagrams.
type UDPBell struct{ address func(name string) string }

// NewUDPBell makes a bell; address gives where a name listens, "" for nowhere.
func NewUDPBell(address func(name string) string) *UDPBell { return &UDPBell{address} }

// Ring sends one datagram. It never waits for an answer: a lost one costs a poll.
func (b *UDPBell) Ring(name string) {
	// An address and nothing that would have to be looked up: hosts name it themselves,
	// and a ring must not wait.
	to, err := netip.ParseAddrPort(b.address(name))
	if err != nil {
		return
	}
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(to))
	if err != nil {
		return
	}
	_, _ = conn.Write([]byte{1}) // a lost ring costs a polling interval
	_ = conn.Close()             // nothing is buffered
}

// ListenUDP gives a channel that rings when a datagram comes, until ctx ends.
func ListenUDP(ctx context.Context, address string) (<-chan struct{}, net.Addr, error) {
	conn, err := (&net.ListenConfig{}).ListenPacket(ctx, "udp", address)
	if err != nil {
		return nil, nil, fmt.Errorf("listen for rings: %w", err)
	}
	rung := make(chan struct{}, 1)
	go func() {
		<-ctx.Done()
		_ = conn.Close() // ends the reading below
	}()
	go func() {
		defer close(rung)
		buf := make([]byte, 16)
		for {
			_, _, err := conn.ReadFrom(buf)
			if ctx.Err() != nil {
				return
			}
			if err != nil {
				time.Sleep(time.Second) // such as no memory: polling finds the work
				continue
			}
			select {
			case rung <- struct{}{}:
			default:
			}
		}
	}()
	return rung, conn.LocalAddr(), nil
}
