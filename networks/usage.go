package networks

import (
	"context"
	"fmt"
	"math"

	"kilonova/compat"
	"kilonova/schema"
)

// The resources that a project has a limited number of.
const (
	resNetwork       = "network"
	resSubnet        = "subnet"
	resPort          = "port"
	resSecurityGroup = "security_group"
	resSecurityRule  = "security_group_rule"
)

// defaultQuotas are Neutron's defaults; resources that kilonova does not have yet stand here
// because clients read and set them.
var defaultQuotas = map[string]int{
	resNetwork: 100, resSubnet: 100, resPort: 500, resSecurityGroup: 10, resSecurityRule: 100,
	"router": 10, "floatingip": 50, "subnetpool": -1, "rbac_policy": 10,
}

// unlimited stands for -1 where limits are compared.
const unlimited = math.MaxInt32

func bound(n int) int {
	if n < 0 {
		return unlimited
	}
	return n
}

const takeUsage = `
UPDATE network_usage SET used = used + ?
WHERE project_id = ? AND resource = ? AND used + ? <= COALESCE(
  (SELECT CASE WHEN allowed < 0 THEN 2147483647 ELSE allowed END FROM network_quotas WHERE project_id = ? AND resource = ?), ?)`

const makeUsage = `INSERT INTO network_usage (project_id, resource, used) VALUES (?, ?, 0)`

// takeQuota counts n more of a resource, or gives a 409 Fault (OverQuota). The count and
// the limit meet in one statement, so that requests at the same moment cannot both fit into
// the last place.
func (s *Service) takeQuota(ctx context.Context, tx *schema.Tx, project, resource string, n int) error {
	for attempt := range 2 {
		got, err := schema.Changed(tx.ExecContext(ctx, takeUsage, n, project, resource, n, project, resource, bound(s.limits[resource])))
		if err != nil {
			return fmt.Errorf("count %s: %w", resource, err)
		}
		if got {
			return nil
		}
		if attempt > 0 {
			break
		}
		// The first of its kind has no row yet; when there is one, the limit is what refused.
		_, err = tx.ExecContext(ctx, makeUsage, project, resource)
		if err != nil && !schema.Duplicate(err) {
			return fmt.Errorf("count %s: %w", resource, err)
		}
	}
	return &compat.Fault{Code: 409, Type: "OverQuota", Message: fmt.Sprintf("Quota exceeded for resources: ['%s'].", resource)}
}

const countUsage = `UPDATE network_usage SET used = used + ? WHERE project_id = ? AND resource = ?`

// countAnyway counts n more of a resource whatever its limit: for what a project cannot be
// without.
func countAnyway(ctx context.Context, tx *schema.Tx, project, resource string, n int) error {
	_, err := tx.ExecContext(ctx, makeUsage, project, resource)
	if err != nil && !schema.Duplicate(err) {
		return fmt.Errorf("count %s: %w", resource, err)
	}
	_, err = tx.ExecContext(ctx, countUsage, n, project, resource)
	if err != nil {
		return fmt.Errorf("count %s: %w", resource, err)
	}
	return nil
}

const giveUsage = `UPDATE network_usage SET used = used - ? WHERE project_id = ? AND resource = ? AND used >= ?`

// giveQuota counts n less of a resource.
func giveQuota(ctx context.Context, tx *schema.Tx, project, resource string, n int) error {
	if n == 0 {
		return nil
	}
	_, err := tx.ExecContext(ctx, giveUsage, n, project, resource, n)
	if err != nil {
		return fmt.Errorf("count %s: %w", resource, err)
	}
	return nil
}

const selectUsage = `SELECT resource, used AS n FROM network_usage WHERE project_id = ?`

const selectQuotas = `SELECT resource, allowed AS n FROM network_quotas WHERE project_id = ?`

// countOf reads a table of resource and number for one project.
func countOf(ctx context.Context, q schema.Querier, query, project string) (map[string]int, error) {
	var rows []struct {
		Resource string `db:"resource"`
		N        int    `db:"n"`
	}
	err := q.SelectContext(ctx, &rows, query, project)
	if err != nil {
		return nil, err
	}
	out := make(map[string]int, len(rows))
	for _, r := range rows {
		out[r.Resource] = r.N
	}
	return out, nil
}

const portRoom = `
SELECT COALESCE((SELECT used FROM network_usage WHERE project_id = ? AND resource = 'port'), 0) AS used,
  (SELECT allowed FROM network_quotas WHERE project_id = ? AND resource = 'port') AS allowed`

// portRoom tells how many more ports a project may have now.
func (s *Service) portRoom(ctx context.Context, q schema.Querier, project string) (int, error) {
	var row struct {
		Used    int  `db:"used"`
		Allowed *int `db:"allowed"`
	}
	err := q.GetContext(ctx, &row, portRoom, project, project)
	if err != nil {
		return 0, fmt.Errorf("read the port quota: %w", err)
	}
	limit := s.limits[resPort]
	if row.Allowed != nil {
		limit = *row.Allowed
	}
	return max(bound(limit)-row.Used, 0), nil
}
