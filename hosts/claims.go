package hosts

import (
	"context"
	"fmt"
	"strings"

	"kilonova/schema"
)

// Purpose is what a server holds room of a host for.
type Purpose string

// The purposes. A server has at most one claim of each on a host.
const (
	ForServer Purpose = "server" // to be there
	ForResize Purpose = "resize" // to become larger, or smaller again
)

// A claim is decided by the host's row, however many API processes schedule at once.
const takeRoom = `
UPDATE hosts SET vcpus_used = vcpus_used + ?, memory_mb_used = memory_mb_used + ?,
  disk_gb_used = disk_gb_used + ?, servers = servers + ?, updated_at = ?
WHERE name = ? AND disabled = 0 AND forced_down = 0
  AND vcpus_used + ? <= vcpus * cpu_ratio
  AND memory_mb_used + ? <= (memory_mb - reserved_memory_mb) * ram_ratio
  AND disk_gb_used + ? <= disk_gb * disk_ratio`

const insertClaim = `
INSERT INTO claims (server_uuid, host, purpose, vcpus, memory_mb, disk_gb, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)`

// Claim takes room on a host for a server; false when there is not enough.
func (s *Service) Claim(ctx context.Context, tx *schema.Tx, server, host string, purpose Purpose, need Need) (bool, error) {
	now := s.clock.Now()
	ok, err := schema.Changed(tx.ExecContext(ctx, takeRoom, need.VCPUs, need.MemoryMB, need.DiskGB, counts(purpose), now, host,
		need.VCPUs, need.MemoryMB, need.DiskGB))
	if err != nil {
		return false, fmt.Errorf("claim room on host %s: %w", host, err)
	}
	if !ok {
		return false, nil
	}
	return true, insert(ctx, tx, server, host, purpose, need, now)
}

func insert(ctx context.Context, tx *schema.Tx, server, host string, purpose Purpose, need Need, now schema.Micros) error {
	_, err := tx.ExecContext(ctx, insertClaim, server, host, purpose, need.VCPUs, need.MemoryMB, need.DiskGB, now)
	if err != nil {
		return fmt.Errorf("keep the claim of server %s on host %s: %w", server, host, err)
	}
	return nil
}

// counts is what a claim adds to the number of a host's servers.
func counts(p Purpose) int {
	if p == ForServer {
		return 1
	}
	return 0
}

// claim is a row of claims.
type claim struct {
	ID       int64   `db:"id"`
	Host     string  `db:"host"`
	Purpose  Purpose `db:"purpose"`
	VCPUs    int     `db:"vcpus"`
	MemoryMB int     `db:"memory_mb"`
	DiskGB   int     `db:"disk_gb"`
}

const (
	selectClaims = `SELECT id, host, purpose, vcpus, memory_mb, disk_gb FROM claims WHERE server_uuid = ? ORDER BY id`
	giveRoom     = `
UPDATE hosts SET vcpus_used = vcpus_used - ?, memory_mb_used = memory_mb_used - ?,
  disk_gb_used = disk_gb_used - ?, servers = servers - ?, updated_at = ?
WHERE name = ?`
)

// Release gives back all that a server holds, of every host.
func (s *Service) Release(ctx context.Context, tx *schema.Tx, server string) error {
	return s.settle(ctx, tx, server, "", Need{})
}

// Settle leaves a server with need on one host, whatever it held. It asks for no room:
// need is no more than the server holds there.
func (s *Service) Settle(ctx context.Context, tx *schema.Tx, server, host string, need Need) error {
	return s.settle(ctx, tx, server, host, need)
}

// settle gives back the sum of the server's claims, but for need on the host that keeps it.
func (s *Service) settle(ctx context.Context, tx *schema.Tx, server, keeps string, need Need) error {
	var rows []claim
	err := tx.SelectContext(ctx, &rows, selectClaims, server)
	if err != nil {
		return fmt.Errorf("read the claims of server %s: %w", server, err)
	}
	if len(rows) == 0 {
		return nil
	}
	ids := make([]string, len(rows))
	var order []string
	sums, servers := map[string]Need{}, map[string]int{}
	for i, c := range rows {
		ids[i] = fmt.Sprint(c.ID)
		if _, met := sums[c.Host]; !met {
			order = append(order, c.Host)
		}
		sums[c.Host] = sums[c.Host].Plus(Need{c.VCPUs, c.MemoryMB, c.DiskGB})
		servers[c.Host] += counts(c.Purpose)
	}
	_, err = tx.ExecContext(ctx, "DELETE FROM claims WHERE id IN ("+strings.Join(ids, ", ")+")")
	if err != nil {
		return fmt.Errorf("end the claims of server %s: %w", server, err)
	}
	now := s.clock.Now()
	for _, host := range order {
		sum, n := sums[host], servers[host]
		if host == keeps {
			sum, n = sum.Minus(need), n-1
			err = insert(ctx, tx, server, host, ForServer, need, now)
			if err != nil {
				return err
			}
		}
		if sum == (Need{}) && n == 0 {
			continue
		}
		_, err = tx.ExecContext(ctx, giveRoom, sum.VCPUs, sum.MemoryMB, sum.DiskGB, n, now, host)
		if err != nil {
			return fmt.Errorf("give back room on host %s: %w", host, err)
		}
	}
	return nil
}

const selectClaimed = `
SELECT host, SUM(vcpus) AS vcpus, SUM(memory_mb) AS memory_mb, SUM(disk_gb) AS disk_gb,
  SUM(CASE WHEN purpose = 'server' THEN 1 ELSE 0 END) AS servers
FROM claims GROUP BY host`

// Claimed is what the claims on a host add up to.
type Claimed struct {
	Need
	Servers int
}

// AllClaimed adds the claims up, by host, for comparison with what the hosts have on record.
func AllClaimed(ctx context.Context, q schema.Querier) (map[string]Claimed, error) {
	var rows []struct {
		Host     string `db:"host"`
		VCPUs    int    `db:"vcpus"`
		MemoryMB int    `db:"memory_mb"`
		DiskGB   int    `db:"disk_gb"`
		Servers  int    `db:"servers"`
	}
	err := q.SelectContext(ctx, &rows, selectClaimed)
	if err != nil {
		return nil, fmt.Errorf("add claims up: %w", err)
	}
	out := map[string]Claimed{}
	for _, r := range rows {
		out[r.Host] = Claimed{Need{r.VCPUs, r.MemoryMB, r.DiskGB}, r.Servers}
	}
	return out, nil
}
