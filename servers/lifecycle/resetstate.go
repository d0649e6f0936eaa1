package lifecycle

import "kilonova/work"

// prepareReset takes the vm_state. A resize that was under way is over: the server keeps
// the flavor that it shows.
func prepareReset(b *beginning) (*work.Args, error) {
	b.set["vm_state"], b.set["task_state"] = b.input.(VMState), nil
	m, err := migrationOf(b.ctx, b.tx, b.v)
	if err != nil || m == nil {
		return nil, err
	}
	return nil, b.s.endMigration(b.ctx, b.tx, b.v, m, failedMigration, b.v.Flavor(), b.set)
}
