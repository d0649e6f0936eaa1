package quotas

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kilonova/schema"
)

// defaultClass is the class that all projects follow.
const defaultClass = "default"

const selectLimits = `
SELECT user_id, resource, hard_limit FROM quota_limits WHERE project_id = ? AND user_id IN ('', ?)`

const selectClass = `SELECT resource, hard_limit FROM quota_classes WHERE class = ?`

type limitRow struct {
	UserID    string `db:"user_id"`
	Resource  string `db:"resource"`
	HardLimit int    `db:"hard_limit"`
}

// readClass gives the limits of a class, with the built-in ones where it has none.
func readClass(ctx context.Context, q schema.Querier, class string) (map[string]int, error) {
	out := map[string]int{}
	for _, r := range resources {
		out[r.name] = r.builtin
	}
	var rows []limitRow
	err := q.SelectContext(ctx, &rows, selectClass, class)
	if err != nil {
		return nil, fmt.Errorf("read quota class: %w", err)
	}
	for _, row := range rows {
		out[row.Resource] = row.HardLimit
	}
	return out, nil
}

// readLimits gives the limits in force for a project, or for a user in it.
func readLimits(ctx context.Context, q schema.Querier, projectID, userID string) (map[string]int, error) {
	out, err := readClass(ctx, q, defaultClass)
	if err != nil {
		return nil, err
	}
	var rows []limitRow
	err = q.SelectContext(ctx, &rows, selectLimits, projectID, userID)
	if err != nil {
		return nil, fmt.Errorf("read quota limits: %w", err)
	}
	for _, whole := range []bool{true, false} { // the user's own override the project's
		for _, row := range rows {
			if (row.UserID == "") == whole {
				out[row.Resource] = row.HardLimit
			}
		}
	}
	return out, nil
}

const selectUserLimits = `SELECT user_id, resource, hard_limit FROM quota_limits WHERE project_id = ? AND user_id > ''`

// usersShare adds up what the limits of a project's users give away, by resource, and gives
// those of one user. Unlimited users count nothing.
func usersShare(ctx context.Context, q schema.Querier, projectID, userID string) (all, own map[string]int, err error) {
	var rows []limitRow
	err = q.SelectContext(ctx, &rows, selectUserLimits, projectID)
	if err != nil {
		return nil, nil, fmt.Errorf("read quota limits of users: %w", err)
	}
	all, own = map[string]int{}, map[string]int{}
	for _, row := range rows {
		if row.HardLimit < 0 {
			continue
		}
		all[row.Resource] += row.HardLimit
		if row.UserID == userID {
			own[row.Resource] = row.HardLimit
		}
	}
	return all, own, nil
}

const (
	updateLimit      = `UPDATE quota_limits SET hard_limit = ? WHERE project_id = ? AND user_id = ? AND resource = ?`
	insertLimit      = `INSERT INTO quota_limits (hard_limit, project_id, user_id, resource) VALUES (?, ?, ?, ?)`
	updateClassLimit = `UPDATE quota_classes SET hard_limit = ? WHERE class = ? AND resource = ?`
	insertClassLimit = `INSERT INTO quota_classes (hard_limit, class, resource) VALUES (?, ?, ?)`
)

// upsert changes a row or makes it. Of two that make it at once one changes it after all.
func upsert(ctx context.Context, tx *schema.Tx, update, insert string, args ...any) error {
	ok, err := schema.Changed(tx.ExecContext(ctx, update, args...))
	if err == nil && !ok {
		_, err = tx.ExecContext(ctx, insert, args...)
		if schema.Duplicate(err) {
			_, err = tx.ExecContext(ctx, update, args...)
		}
	}
	if err != nil {
		return fmt.Errorf("set a quota limit: %w", err)
	}
	return nil
}

const (
	deleteProjectLimits = `DELETE FROM quota_limits WHERE project_id = ?`
	deleteUserLimits    = `DELETE FROM quota_limits WHERE project_id = ? AND user_id = ?`
)

// deleteLimits removes the limits of a user in a project, or of the project and its users.
func (s *Service) deleteLimits(ctx context.Context, projectID, userID string) error {
	defer s.seen.forget()
	statement, args := deleteProjectLimits, []any{projectID}
	if userID != "" {
		statement, args = deleteUserLimits, append(args, userID)
	}
	err := s.db.Tx(ctx, func(tx *schema.Tx) error {
		_, err := tx.ExecContext(ctx, statement, args...)
		return err
	})
	if err != nil {
		return fmt.Errorf("delete quota limits: %w", err)
	}
	return nil
}

// Limit gives the limit in force for one resource, -1 for unlimited; userID may be empty.
// It may be a second old where another process has changed it.
func (s *Service) Limit(ctx context.Context, projectID, userID, resource string) (int, error) {
	if !known(resource) {
		return 0, fmt.Errorf("no quota resource %q", resource)
	}
	limits, err := s.limits(ctx, projectID, userID)
	if err != nil {
		return 0, err
	}
	return limits[resource], nil
}

// limits is readLimits through the cache; the map must not be changed.
func (s *Service) limits(ctx context.Context, projectID, userID string) (map[string]int, error) {
	k, now := key{projectID, userID}, s.clock.Now()
	limits, since := s.seen.get(k, now)
	if limits != nil {
		return limits, nil
	}
	limits, err := readLimits(ctx, s.db, projectID, userID)
	if err != nil {
		return nil, err
	}
	s.seen.put(k, limits, now, since)
	return limits, nil
}

const selectUsage = `SELECT instances, cores, ram FROM quota_usages WHERE project_id = ? AND user_id = ?`

// Usage gives what the servers of a project add up to.
func (s *Service) Usage(ctx context.Context, projectID string) (Delta, error) {
	return usage(ctx, s.db, selectUsage, projectID, "")
}

// lockedUsage reads the usage as it is now and, in a transaction, keeps it. SQLite's
// transactions hold the write lock anyway.
func (s *Service) lockedUsage(ctx context.Context, q schema.Querier, projectID, userID string) (Delta, error) {
	statement := selectUsage
	tx, ok := q.(*schema.Tx)
	if ok && tx.Dialect == schema.MySQL {
		statement += " FOR UPDATE"
	}
	return usage(ctx, q, statement, projectID, userID)
}

func usage(ctx context.Context, q schema.Querier, statement, projectID, userID string) (Delta, error) {
	var d Delta
	err := q.GetContext(ctx, &d, statement, projectID, userID)
	if errors.Is(err, sql.ErrNoRows) {
		return Delta{}, nil
	}
	if err != nil {
		return Delta{}, fmt.Errorf("read quota usage of project %s: %w", projectID, err)
	}
	return d, nil
}

const selectAllUsage = `SELECT project_id, user_id, instances, cores, ram FROM quota_usages`

type usageRow struct {
	ProjectID string `db:"project_id"`
	UserID    string `db:"user_id"`
	Delta
}

// AllUsage gives the recorded usage of all projects.
func AllUsage(ctx context.Context, q schema.Querier) (map[string]Delta, error) {
	var rows []usageRow
	err := q.SelectContext(ctx, &rows, selectAllUsage)
	if err != nil {
		return nil, fmt.Errorf("read quota usage: %w", err)
	}
	out := map[string]Delta{}
	for _, row := range rows {
		if row.UserID == "" {
			out[row.ProjectID] = row.Delta
		}
	}
	return out, nil
}

// Audit compares the account with what the servers of each project really add up to, and
// the users' rows with their project's. All differences are in the error; nil is none.
func Audit(ctx context.Context, q schema.Querier, actual func(projectID string) Delta) error {
	var rows []usageRow
	err := q.SelectContext(ctx, &rows, selectAllUsage)
	if err != nil {
		return fmt.Errorf("read quota usage: %w", err)
	}
	users := map[string]Delta{}
	hasUsers := map[string]bool{}
	for _, row := range rows {
		if row.UserID != "" {
			sum := users[row.ProjectID]
			users[row.ProjectID] = Delta{sum.Instances + row.Instances, sum.Cores + row.Cores, sum.RAM + row.RAM}
			hasUsers[row.ProjectID] = true
		}
	}
	slices.SortFunc(rows, func(a, b usageRow) int { return strings.Compare(a.ProjectID, b.ProjectID) })
	var problems []error
	for _, row := range rows {
		if row.UserID != "" {
			continue
		}
		if want := actual(row.ProjectID); row.Delta != want {
			problems = append(problems, fmt.Errorf("project %s: recorded %+v, the servers hold %+v", row.ProjectID, row.Delta, want))
		}
		if hasUsers[row.ProjectID] && users[row.ProjectID] != row.Delta {
			problems = append(problems, fmt.Errorf("project %s: recorded %+v, its users add up to %+v", row.ProjectID, row.Delta, users[row.ProjectID]))
		}
	}
	return errors.Join(problems...)
}
