package lifecycle

import (
	"context"

	"kilonova/compat"
	"kilonova/images"
	"kilonova/networks"
	"kilonova/schema"
	"kilonova/work"
)

// What the life cycle asks of other services has three moments. What a server is to have is
// reserved before its transaction, under a name that a second attempt finds again (the plan
// of the ports, the id of a snapshot's image). It is bound in the transaction, and so with the
// server or not at all. It is let go in a transaction too; what cannot be done in one is done
// before the row of work goes that asks for it, and done again when the process ended between.

// Ports are the network service's, of servers.
type Ports interface {
	// Allocate binds what a plan reserved to a new server. It does nothing outside tx.
	Allocate(ctx context.Context, tx *schema.Tx, p *networks.Plan, d networks.Device) ([]networks.Port, error)
	// BindHost says on which host a server's ports are.
	BindHost(ctx context.Context, tx *schema.Tx, serverID, host string) error
	// SetActive says that a server's ports are plugged, or are not.
	SetActive(ctx context.Context, q schema.Querier, serverID string, active bool) error
	// Plugged keeps which ports a host could not plug; none says that all is well.
	Plugged(ctx context.Context, tx *schema.Tx, serverID string, failures []work.PortFailure) error
	// GuestPorts are a server's ports as its host is told of them.
	GuestPorts(ctx context.Context, q schema.Querier, serverID string) ([]work.Port, error)
	// Release lets a server's ports go. It may be done twice.
	Release(ctx context.Context, tx *schema.Tx, serverID string) error
}

// Images are the image service's, of guests' disks and snapshots.
type Images interface {
	// CreateSnapshot makes the image that a snapshot fills, under the id that it is given. It
	// does nothing outside tx.
	CreateSnapshot(ctx context.Context, tx *schema.Tx, c *compat.Caller, snap images.Snapshot) (*images.Image, error)
	// Fail lets the image of a snapshot go, unless it has its data. It may be done twice, and is
	// done before the row of work goes that was to fill it.
	Fail(ctx context.Context, id, reason string) error
	// ReadTransfer and WriteTransfer say where an image's data is, and by what right a piece of
	// work may fetch or store it.
	ReadTransfer(imageID string, j images.Job) work.Transfer
	WriteTransfer(imageID string, j images.Job) work.Transfer
}

// The services of the same program are what they are to be.
var (
	_ Ports  = (*networks.Service)(nil)
	_ Images = (*images.Service)(nil)
)
