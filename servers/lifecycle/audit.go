package lifecycle

import (
	"context"
	"fmt"

	"kilonova/hosts"
	"kilonova/quotas"
	"kilonova/schema"
)

// Totals is what the servers of the database add up to.
type Totals struct {
	Hosts    map[string]hosts.Need   // claimed, by host
	Claims   map[string]int          // servers that hold a claim, by host
	Projects map[string]quotas.Delta // by project
	Living   []string                // uuids of servers that are not deleted
}

// A migration that no server knows of any more is not under way.
const selectOpenMigrations = `SELECT ` + migrationColumns + ` FROM migrations
WHERE id IN (SELECT migration_id FROM servers WHERE deleted = 0 AND migration_id IS NOT NULL)`

const selectHolding = `SELECT ` + Columns + ` FROM servers WHERE deleted = 0 ORDER BY id`

// Total adds up what servers hold, for comparison with what hosts, quotas and networks have
// on record. It reads every server: it is for operators and tests.
func Total(ctx context.Context, q schema.Querier) (*Totals, error) {
	t := &Totals{Hosts: map[string]hosts.Need{}, Claims: map[string]int{}, Projects: map[string]quotas.Delta{}}
	var list []Server
	err := q.SelectContext(ctx, &list, selectHolding)
	if err != nil {
		return nil, fmt.Errorf("add servers up: %w", err)
	}
	var migrations []migration
	err = q.SelectContext(ctx, &migrations, selectOpenMigrations)
	if err != nil {
		return nil, fmt.Errorf("add servers up: %w", err)
	}
	under := map[string]*migration{}
	for i := range migrations {
		under[migrations[i].ServerUUID] = &migrations[i]
	}
	for i := range list {
		v := &list[i]
		m := under[v.UUID]
		t.Living = append(t.Living, v.UUID)
		if v.Host != nil {
			t.Hosts[*v.Host] = t.Hosts[*v.Host].Plus(v.heldIn(m))
			t.Claims[*v.Host]++
		}
		sum, d := t.Projects[v.ProjectID], v.quotaIn(m)
		t.Projects[v.ProjectID] = quotas.Delta{Instances: sum.Instances + d.Instances, Cores: sum.Cores + d.Cores, RAM: sum.RAM + d.RAM}
	}
	var batches []batch // what they have not made yet is taken already
	err = q.SelectContext(ctx, &batches, `SELECT `+batchColumns+` FROM server_batches`)
	if err != nil {
		return nil, fmt.Errorf("add servers up: %w", err)
	}
	for i := range batches {
		sum, d := t.Projects[batches[i].ProjectID], batches[i].quota()
		t.Projects[batches[i].ProjectID] = quotas.Delta{Instances: sum.Instances + d.Instances, Cores: sum.Cores + d.Cores, RAM: sum.RAM + d.RAM}
	}
	return t, nil
}

// Unsettled counts the servers that something is still being done to.
func Unsettled(ctx context.Context, q schema.Querier) (int, error) {
	var n int
	err := q.GetContext(ctx, &n, `SELECT COUNT(*) FROM servers WHERE deleted = 0 AND (task_state IS NOT NULL OR vm_state = 'building')`)
	return n, wrap(err, "count unsettled servers")
}
