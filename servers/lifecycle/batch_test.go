package lifecycle

import (
	"context"
	"errors"
	"testing"

	"kilonova/quotas"
	"kilonova/schema"
)

// TestCreatesOfManyCutOff: a process that ends between two pieces leaves what the keeper
// takes back, over several passes and whatever the user did meanwhile.
func TestCreatesOfManyCutOff(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.noQuota()
		ctx := context.Background()
		p := c.wanted("cut", 3*PieceSize)
		p.begin(c.s.Clock.Now())
		template := p.Template
		var b *batch
		err := c.db.Tx(ctx, func(tx *schema.Tx) error {
			err := c.s.Quotas.Take(ctx, tx, ours, p.Caller.UserID, times(quotas.Delta{Instances: 1, Cores: template.VCPUs, RAM: template.MemoryMB}, 3*PieceSize))
			if err != nil {
				return err
			}
			b, err = c.s.openBatch(ctx, tx, template, 3*PieceSize)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		all, err := c.s.Hosts.Snapshot(ctx)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 { // and then the process ends
			err = c.db.Tx(ctx, func(tx *schema.Tx) error {
				_, err := c.s.makePiece(ctx, tx, p, template, b, 3*PieceSize, PieceSize, all)
				return err
			})
			if err != nil {
				t.Fatal(err)
			}
			b.Left -= PieceSize
		}
		c.audit()
		var list []string
		err = c.db.Select(&list, "SELECT uuid FROM servers WHERE deleted = 0 ORDER BY id DESC LIMIT 2")
		if err != nil || len(list) != 2 {
			t.Fatal(list, err)
		}
		_, err = c.s.Act(ctx, member, c.server(list[0]), OpLock, LockedBy{By: "owner"})
		if err != nil {
			t.Fatal(err)
		}
		err = c.s.End(ctx, member, c.server(list[1]), OpDelete)
		if err != nil {
			t.Fatal(err)
		}
		err = c.s.KeepOnce(ctx)
		if err != nil || c.count("SELECT COUNT(*) FROM servers WHERE deleted = 0 AND task_state <> 'deleting'") == 0 {
			t.Fatalf("a batch within its lease was ended: %v", err)
		}
		c.exec("UPDATE server_batches SET lease_until = 1")
		err = c.s.KeepOnce(ctx)
		if err != nil {
			t.Fatal(err)
		}
		// Should the process have slept only, it goes no further.
		err = c.db.Tx(ctx, func(tx *schema.Tx) error {
			_, err := c.s.makePiece(ctx, tx, p, template, b, 3*PieceSize, PieceSize, all)
			return err
		})
		if !errors.Is(err, errBatchTaken) {
			t.Errorf("a piece of a batch that was ended: %v", err)
		}
		c.settle()
		if n := c.count("SELECT COUNT(*) FROM servers WHERE deleted = 0"); n != 0 || c.count("SELECT COUNT(*) FROM server_batches") != 0 {
			t.Errorf("%d servers are left", n)
		}
		c.audit()
	})
}
