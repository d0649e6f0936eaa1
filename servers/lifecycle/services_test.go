package lifecycle

import (
	"context"
	"errors"
	"testing"

	"github.com/google/uuid"

	"kilonova/compat"
	"kilonova/images"
	"kilonova/networks"
	"kilonova/schema"
	"kilonova/work"
)

// elsewhere is an image service that may be out of reach.
type elsewhere struct {
	away   error
	images []string // that are there
}

func (e *elsewhere) CreateSnapshot(_ context.Context, _ *schema.Tx, _ *compat.Caller, snap images.Snapshot) (*images.Image, error) {
	e.images = append(e.images, snap.ID)
	return &images.Image{ID: snap.ID}, nil
}

func (e *elsewhere) Fail(context.Context, string, string) error {
	if e.away == nil {
		e.images = nil
	}
	return e.away
}

func (*elsewhere) ReadTransfer(id string, _ images.Job) work.Transfer {
	return work.Transfer{ImageID: id}
}

func (*elsewhere) WriteTransfer(id string, _ images.Job) work.Transfer {
	return work.Transfer{ImageID: id}
}

// TestImagesAreLetGoWhenTheirServiceIsBack: until then the work that asks for it stays on
// record, where whoever runs next finds it.
func TestImagesAreLetGoWhenTheirServiceIsBack(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		ctx := t.Context()
		there := &elsewhere{}
		c.s.Images = there
		v, err := c.s.Launch(ctx, c.wanted("web", 1))
		c.must(err)
		c.settle()
		id := uuid.NewString()
		_, err = c.s.Act(ctx, member, c.server(v.UUID), OpCreateImage, SnapshotWanted{ImageID: id, Name: "snap"})
		c.must(err)
		if len(there.images) != 1 || there.images[0] != id {
			t.Fatalf("images %v, want %s", there.images, id)
		}
		c.exec("UPDATE work SET state = 'failed', result = ?, finished_at = 1", Encode(work.Result{PowerState: work.PoweredOn, Message: "no"}))
		there.away = schema.ErrUnknownOutcome // as good as any that passes
		for range 2 {
			_, _ = c.s.FinishSome(ctx)
			if n := c.count("SELECT COUNT(*) FROM work"); n != 1 || c.server(v.UUID).Task() == "" {
				t.Fatalf("%d pieces of work, the server's task is %q", n, c.server(v.UUID).Task())
			}
		}
		there.away = nil
		_, err = c.s.FinishSome(ctx)
		c.must(err)
		if n := c.count("SELECT COUNT(*) FROM work"); n != 0 || len(there.images) != 0 || c.server(v.UUID).Task() != "" {
			t.Errorf("%d pieces of work, images %v, the server's task is %q", n, there.images, c.server(v.UUID).Task())
		}
	})
}

// noPorts is a network service that has none to give when it comes to it.
type noPorts struct{ Ports }

var errNoPorts = errors.New("no ports today")

func (noPorts) Allocate(context.Context, *schema.Tx, *networks.Plan, networks.Device) ([]networks.Port, error) {
	return nil, errNoPorts
}

// TestServersComeWithTheirPorts: what cannot be bound leaves no server, and nothing taken.
func TestServersComeWithTheirPorts(t *testing.T) {
	each(t, func(t *testing.T, c *cloud) {
		c.s.Networks = noPorts{c.net}
		for _, n := range []int{1, 2 * PieceSize} {
			c.noQuota()
			_, err := c.s.Launch(t.Context(), c.wanted("web", n))
			if !errors.Is(err, errNoPorts) {
				t.Errorf("%d servers without ports: %v", n, err)
			}
			if left := c.count("SELECT COUNT(*) FROM servers") + c.count("SELECT COUNT(*) FROM work") + c.count("SELECT COUNT(*) FROM server_batches"); left != 0 {
				t.Errorf("%d rows are left of %d servers", left, n)
			}
			c.audit()
			c.exec("DELETE FROM quota_limits")
		}
	})
}
