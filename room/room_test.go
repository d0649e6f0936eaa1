package room

import (
	"bytes"
	"context"
	"errors"
	"path/filepath"
	"sync/atomic"
	"syscall"
	"testing"
)

func TestSizes(t *testing.T) {
	const disk = 1000
	for text, want := range map[string]int64{
		"0": 0, "123": 123, "1K": 1024, "1KiB": 1024, "1kb": -1, "1.5KiB": 1536, "2GiB": 2 << 30, "2 GB": 2e9, "3T": 3 << 40,
		"25%": 250, "0%": 0, "100%": 1000, "101%": -1, "-1": -1, "": -1, "G": -1, "1e300P": Unlimited, "NaN": -1, "unlimited": Unlimited, "5G%": -1,
	} {
		var s Size
		err := s.Set(text)
		switch {
		case want < 0 && err == nil:
			t.Errorf("%q is %d", text, s.Of(disk))
		case want >= 0 && (err != nil || s.Of(disk) != want || s.Unset() || s.String() != text):
			t.Errorf("%q is %d, %v, want %d", text, s.Of(disk), err, want)
		}
	}
}

func TestOfAPathThatIsNotThereYet(t *testing.T) {
	dir := t.TempDir()
	here, err := Of(dir)
	if err != nil || here.Size <= 0 || here.Free < 0 || here.Free > here.Size {
		t.Fatalf("%+v, %v", here, err)
	}
	later, err := Of(filepath.Join(dir, "a", "b"))
	if err != nil || later.Size != here.Size {
		t.Errorf("%+v, %v, want the size of %+v", later, err, here)
	}
}

// disk is a file system of 1000 bytes.
type disk struct {
	used    atomic.Int64
	starved bool
}

func (d *disk) space(string) (Space, error) {
	return Space{Size: 1000, Free: 1000 - d.used.Load(), Starved: d.starved}, nil
}

func (d *disk) Write(b []byte) (int, error) {
	d.used.Add(int64(len(b)))
	return len(b), nil
}

func TestFloorHolds(t *testing.T) {
	d := &disk{}
	f := &Floor{Probe: d.space}
	w := f.Writer(d)
	for range 8 {
		_, err := w.Write(make([]byte, 100))
		if err != nil {
			t.Fatal(err)
		}
	}
	_, err := w.Write([]byte{1})
	if !Full(err) || d.used.Load() != 800 { // a fifth of a small disk stays
		t.Errorf("a write at the floor: %v, used %d", err, d.used.Load())
	}
	err = f.Check(0)
	if err != nil {
		t.Errorf("nothing more: %v", err)
	}
	f.Keep = Bytes(100)
	release, err := f.Hold(60)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Check(60); !Full(err) {
		t.Errorf("what another is about to write counts: %v", err)
	}
	release()
	if err := f.Check(60); err != nil {
		t.Errorf("and no more when it is written: %v", err)
	}
	d.starved = true
	if err := f.Check(0); !Full(err) {
		t.Errorf("without files to make: %v", err)
	}
}

func TestWatchEndsWhatOthersWrite(t *testing.T) {
	d := &disk{}
	f := &Floor{Probe: d.space}
	ctx, stop := f.Watch(context.Background())
	d.used.Store(900)
	<-ctx.Done()
	if err := context.Cause(ctx); !Full(err) {
		t.Errorf("at the floor: %v", err)
	}
	stop()
	d.used.Store(0)
	ctx, stop = f.Watch(context.Background())
	stop()
	<-ctx.Done()
	if err := context.Cause(ctx); Full(err) {
		t.Errorf("when it is stopped: %v", err)
	}
}

func TestFull(t *testing.T) {
	for err, want := range map[error]bool{
		ErrFull: true, syscall.ENOSPC: true, syscall.EDQUOT: true, syscall.EIO: false, bytes.ErrTooLarge: false,
		errors.Join(errors.New("a"), syscall.ENOSPC): true,
	} {
		if Full(err) != want {
			t.Errorf("Full(%v) is %v", err, !want)
		}
	}
}
