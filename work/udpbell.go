package work

import (
	"context"
	"fmt"
	"net"
)

// UDPBell rings on other machines with datagrams.
type UDPBell struct{ address func(name string) string }

// NewUDPBell makes a bell; address gives where a name listens, "" for nowhere.
func NewUDPBell(address func(name string) string) *UDPBell { return &UDPBell{address} }

// Ring sends one datagram. It never waits for an answer: a lost one costs a poll.
func (b *UDPBell) Ring(name string) {
	to := b.address(name)
	if to == "" {
		return
	}
	conn, err := net.Dial("udp", to)
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
			if err != nil {
				return
			}
			select {
			case rung <- struct{}{}:
			default:
			}
		}
	}()
	return rung, conn.LocalAddr(), nil
}
