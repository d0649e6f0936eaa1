package lifecycle

import "kilonova/work"

// LockedBy is who locks a server, and why.
type LockedBy struct {
	By     string
	Reason *string
}

func prepareLock(b *beginning) (*work.Args, error) {
	held := b.input.(LockedBy)
	b.set["locked_by"], b.set["locked_reason"] = held.By, held.Reason
	return nil, nil
}

func prepareUnlock(b *beginning) (*work.Args, error) {
	b.set["locked_by"], b.set["locked_reason"] = nil, nil
	return nil, nil
}
