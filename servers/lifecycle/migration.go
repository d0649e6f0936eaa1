package lifecycle

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/hosts"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/work"
)

// migrationKind is what takes a server elsewhere.
type migrationKind string

const resizing migrationKind = "resize"

// migrationStatus is Nova's status of a migration.
type migrationStatus string

// The statuses. Of the first four a server has at most one migration: its migration_id.
const (
	migrating  migrationStatus = "migrating"
	migrated   migrationStatus = "finished" // to be confirmed or reverted
	confirming migrationStatus = "confirming"
	reverting  migrationStatus = "reverting"

	confirmed       migrationStatus = "confirmed"
	reverted        migrationStatus = "reverted"
	failedMigration migrationStatus = "error"
)

// migration is a row of migrations: from where and what a server goes, and to where and what.
type migration struct {
	ID         int64           `db:"id"`
	ServerUUID string          `db:"server_uuid"`
	Status     migrationStatus `db:"status"`
	Old        string          `db:"old_flavor"` // JSON: work.Flavor
	New        string          `db:"new_flavor"`
	OldVMState VMState         `db:"old_vm_state"`
}

const migrationColumns = `id, server_uuid, status, old_flavor, new_flavor, old_vm_state`

func (m *migration) from() (f work.Flavor) { Decode(m.Old, &f); return f }

func (m *migration) to() (f work.Flavor) { Decode(m.New, &f); return f }

// migrationOf is the migration of the server that is under way, nil for none.
func migrationOf(ctx context.Context, q schema.Querier, v *Server) (*migration, error) {
	if v.MigrationID == nil {
		return nil, nil
	}
	var m migration
	err := q.GetContext(ctx, &m, `SELECT `+migrationColumns+` FROM migrations WHERE id = ?`, *v.MigrationID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the migration of server %s: %w", v.UUID, err)
	}
	return &m, nil
}

const insertMigration = `
INSERT INTO migrations (uuid, server_uuid, project_id, user_id, kind, status, source_host, source_node, dest_host, dest_node,
  old_flavor, new_flavor, old_vm_state, created_at, updated_at)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`

// openMigration begins one, to another flavor on the server's own host.
func (s *Service) openMigration(ctx context.Context, tx *schema.Tx, c *compat.Caller, v *Server, kind migrationKind, to work.Flavor) (int64, error) {
	now := s.Clock.Now()
	res, err := tx.ExecContext(ctx, insertMigration, uuid.NewString(), v.UUID, c.ProjectID, c.UserID, kind, migrating,
		v.HostName(), deref(v.Node), v.HostName(), deref(v.Node), Encode(v.Flavor()), Encode(to), v.VMState, now, now)
	if err != nil {
		return 0, fmt.Errorf("record the migration of server %s: %w", v.UUID, err)
	}
	id, err := res.LastInsertId()
	return id, wrap(err, "record the migration of server %s", v.UUID)
}

// advance gives a migration another status, from the one that was read.
func (s *Service) advance(ctx context.Context, tx *schema.Tx, m *migration, to migrationStatus) error {
	ok, err := schema.Changed(tx.ExecContext(ctx, `UPDATE migrations SET status = ?, updated_at = ? WHERE id = ? AND status = ?`,
		to, s.Clock.Now(), m.ID, m.Status))
	if err != nil {
		return fmt.Errorf("move migration %d to %s: %w", m.ID, to, err)
	}
	if !ok {
		return ErrLostRace
	}
	m.Status = to
	return nil
}

// endMigration leaves the server with one flavor, and with what that takes of host and
// quota: a migration that failed shows in its status, and holds nothing.
func (s *Service) endMigration(ctx context.Context, tx *schema.Tx, v *Server, m *migration, as migrationStatus, with work.Flavor, set Change) error {
	set["migration_id"] = nil
	flavorColumns(set, with)
	err := s.advance(ctx, tx, m, as)
	if err != nil {
		return err
	}
	err = s.Hosts.Settle(ctx, tx, v.UUID, v.HostName(), needOf(with))
	if err != nil {
		return err
	}
	rest := v.quotaIn(m)
	rest.Instances, rest.Cores, rest.RAM = 0, rest.Cores-with.VCPUs, rest.RAM-with.MemoryMB
	return s.Quotas.Give(ctx, tx, v.ProjectID, v.UserID, rest)
}

// quotaIn is what the server counts for in its project: in a migration the larger of both
// flavors.
func (v *Server) quotaIn(m *migration) quotas.Delta {
	d := quotas.Delta{Instances: 1, Cores: v.VCPUs, RAM: v.MemoryMB}
	if m != nil {
		from, to := m.from(), m.to()
		d.Cores, d.RAM = max(from.VCPUs, to.VCPUs), max(from.MemoryMB, to.MemoryMB)
	}
	return d
}

// heldIn is what the server holds of its host.
func (v *Server) heldIn(m *migration) hosts.Need {
	if m != nil {
		return larger(needOf(m.from()), needOf(m.to()))
	}
	return needOf(v.Flavor())
}

func flavorColumns(set Change, f work.Flavor) {
	set["flavor_id"], set["flavor_name"], set["vcpus"], set["memory_mb"] = f.ID, f.Name, f.VCPUs, f.MemoryMB
	set["root_gb"], set["ephemeral_gb"], set["swap_mb"], set["extra_specs"] = f.RootGB, f.EphemeralGB, f.SwapMB, Encode(OrEmpty(f.ExtraSpecs))
}
