package work_test

import (
	"context"
	"testing"
	"time"

	"kilonova/work"
)

func TestUDPBell(t *testing.T) {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	rung, at, err := work.ListenUDP(ctx, "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	bell := work.NewUDPBell(func(name string) string {
		return map[string]string{"there": at.String(), "bad": "not an address"}[name]
	})
	bell.Ring("unknown") // has no address
	bell.Ring("bad")
	select {
	case <-rung:
		t.Error("a ring for somebody else was heard")
	case <-time.After(20 * time.Millisecond):
	}
	for range 100 {
		bell.Ring("there")
	}
	hear(t, rung, true)
	time.Sleep(20 * time.Millisecond)
	n := len(rung)
	if n > 1 {
		t.Errorf("%d rings wait", n)
	}
	stop()
	for range 2 { // at most one ring waits before the end
		if !open(t, rung) {
			return
		}
	}
	t.Error("the channel stays open after the end")
}

func hear(t *testing.T, rung <-chan struct{}, want bool) {
	t.Helper()
	if open(t, rung) != want {
		t.Fatalf("want a ring: %v", want)
	}
}

func open(t *testing.T, rung <-chan struct{}) bool {
	t.Helper()
	select {
	case _, ok := <-rung:
		return ok
	case <-time.After(5 * time.Second):
		t.Fatal("neither a ring nor the end")
		return false
	}
}
