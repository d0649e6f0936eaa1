package lifecycle

import (
	"context"
	"fmt"

	"kilonova/schema"
	"kilonova/work"
)

// A host keeps each guest to its ports' addresses. When a port of a guest that it has is
// changed or deleted, it is told so by a piece of work that goes beside the server's state:
// no generation fences it, and it waits for its turn behind other work of the server. One
// that is queued still is brought up to date in place of a second.

const (
	// lockServer lets what builds arguments for the server's host at the same time go first or
	// come after: the last piece of work has the last word.
	lockServer = `UPDATE servers SET generation = generation WHERE uuid = ?`
	renewPlug  = `UPDATE work SET args = ? WHERE server_uuid = ? AND host = ? AND kind = ? AND state = 'queued'`
)

// PortsChanged tells a server's host in the transaction that changes its ports, and gives the
// host's name; "" when there is no guest anywhere.
func (s *Service) PortsChanged(ctx context.Context, tx *schema.Tx, serverID string) (string, error) {
	_, err := tx.ExecContext(ctx, lockServer, serverID)
	if err != nil {
		return "", fmt.Errorf("lock server %s: %w", serverID, err)
	}
	v, err := Get(ctx, tx, serverID)
	if err != nil || v == nil || v.Deleted || v.HostName() == "" {
		return "", err
	}
	ports, err := s.Networks.GuestPorts(ctx, tx, v.UUID)
	if err != nil {
		return "", err
	}
	args := work.Args{Guest: work.Guest{ID: v.ID, UUID: v.UUID, Name: v.Name, ProjectID: v.ProjectID, UserID: v.UserID, Ports: ports}}
	renewed, err := schema.Changed(tx.ExecContext(ctx, renewPlug, Encode(args), v.UUID, v.HostName(), work.Replug))
	if err != nil {
		return "", fmt.Errorf("renew what the host of server %s is told: %w", v.UUID, err)
	}
	if !renewed {
		_, err = s.queue(ctx, tx, v, "", work.Replug, args, 0)
	}
	return v.HostName(), err
}

// replugged keeps what a host says of changed ports, if it has the server still.
func (s *Service) replugged(ctx context.Context, tx *schema.Tx, v *Server, f *finished, ok bool, res work.Result) error {
	if v == nil || v.Deleted || v.HostName() != f.Host || !ok && len(res.Ports) == 0 {
		return nil
	}
	return s.Networks.Plugged(ctx, tx, v.UUID, failuresOf(ok, res))
}

// plugs tells which work ends with the guest's ports in place.
func plugs(k work.Kind) bool {
	switch k {
	case work.Start, work.SoftReboot, work.HardReboot, work.Rebuild, work.RevertResize:
		return true
	}
	return false
}

// keepPlugged keeps what work that plugs ports says of them. A spawn that went well says so by
// the ports' state, when it settles.
func (s *Service) keepPlugged(ctx context.Context, tx *schema.Tx, v *Server, k work.Kind, ok bool, res work.Result) error {
	if ok && !plugs(k) || !ok && len(res.Ports) == 0 {
		return nil
	}
	return s.Networks.Plugged(ctx, tx, v.UUID, failuresOf(ok, res))
}

func failuresOf(ok bool, res work.Result) []work.PortFailure {
	if ok {
		return nil
	}
	return res.Ports
}
