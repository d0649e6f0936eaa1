package room_test

import (
	"os"
	"path/filepath"
	"testing"

	"kilonova/room"
	"kilonova/room/roomtest"
)

func TestReserveHoldsDisk(t *testing.T) {
	dir := roomtest.Disk(t, "8m")
	r := room.Reserve{Path: filepath.Join(dir, "reserve"), Size: 2 << 20}
	if r.GiveUp() {
		t.Error("nothing was given up")
	}
	before := roomtest.Free(t, dir)
	for range 2 {
		err := r.Take()
		if err != nil || !r.Whole() || before-roomtest.Free(t, dir) < r.Size {
			t.Fatalf("take: %v, held %d, free %d of %d", err, r.Held(), roomtest.Free(t, dir), before)
		}
	}
	empty := roomtest.Fill(t, dir, 0)
	if !r.GiveUp() || roomtest.Free(t, dir) < r.Size || r.GiveUp() {
		t.Errorf("given up: free %d", roomtest.Free(t, dir))
	}
	roomtest.Fill(t, dir, 1<<20)
	err := r.Take()
	if !room.Full(err) || roomtest.Free(t, dir) < 1<<20 {
		t.Errorf("taken where there is no room: %v, free %d", err, roomtest.Free(t, dir))
	}
	empty()
	err = r.Take()
	if err != nil {
		t.Errorf("taken again: %v", err)
	}
	// A copy of the folder may have made a hole of it.
	err = os.Truncate(r.Path, 0)
	if err == nil {
		err = os.Truncate(r.Path, r.Size)
	}
	if err != nil || r.Whole() {
		t.Errorf("a hole holds %d, %v", r.Held(), err)
	}
	err = r.Take()
	if err != nil || !r.Whole() {
		t.Errorf("taken over a hole: %v, %d", err, r.Held())
	}
}
