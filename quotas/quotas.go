package quotas

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strconv"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
)

// Service keeps limits and usage. The fields may be set before the first request.
type Service struct {
	// ProjectExists tells whether a project may be given quotas; nil accepts all.
	ProjectExists func(ctx context.Context, projectID string) (bool, error)
	// ServerGroups counts the server groups of a project, or of a user in it when userID
	// is not empty; nil counts none.
	ServerGroups func(ctx context.Context, projectID, userID string) (int, error)

	db    *schema.DB
	clock schema.Clock
	seen  *cache
}

// New makes the service; a nil clock is the machine's.
func New(db *schema.DB, clock schema.Clock) *Service {
	return &Service{db: db, clock: clock, seen: newCache()}
}

// Delta is an amount of what servers hold; RAM is in MB.
type Delta struct {
	Instances int `db:"instances"`
	Cores     int `db:"cores"`
	RAM       int `db:"ram"`
}

// times gives d for n servers.
func (d Delta) times(n int) Delta { return Delta{d.Instances * n, d.Cores * n, d.RAM * n} }

func (d Delta) values() map[string]int {
	return map[string]int{"instances": d.Instances, "cores": d.Cores, "ram": d.RAM}
}

// unlimited stands for the limit -1 where amounts are compared.
const unlimited = 1 << 53

// The limit of a project is read by the update that takes from it. On MariaDB a subquery
// of an update reads what is committed, whatever the transaction saw before, and keeps it
// from changing until the end: a limit that is lowered meanwhile is never missed.
const takeProject = `
UPDATE quota_usages SET instances = instances + ?, cores = cores + ?, ram = ram + ?
WHERE project_id = ? AND user_id = ''
  AND (? <= 0 OR instances + ? <= ` + projectLimit + `)
  AND (? <= 0 OR cores + ? <= ` + projectLimit + `)
  AND (? <= 0 OR ram + ? <= ` + projectLimit + `)`

const projectLimit = `COALESCE(NULLIF(COALESCE(
    (SELECT l.hard_limit FROM quota_limits l WHERE l.project_id = ? AND l.user_id = '' AND l.resource = ?),
    (SELECT c.hard_limit FROM quota_classes c WHERE c.class = 'default' AND c.resource = ?), ?), -1), ?)`

// A user without limits of the own is bound by the project's alone.
const takeUser = `
UPDATE quota_usages SET instances = instances + ?, cores = cores + ?, ram = ram + ?
WHERE project_id = ? AND user_id = ?
  AND (? <= 0 OR instances + ? <= ` + userLimit + `)
  AND (? <= 0 OR cores + ? <= ` + userLimit + `)
  AND (? <= 0 OR ram + ? <= ` + userLimit + `)`

const userLimit = `COALESCE(NULLIF(
    (SELECT l.hard_limit FROM quota_limits l WHERE l.project_id = ? AND l.user_id = ? AND l.resource = ?), -1), ?)`

const makeUsage = `INSERT INTO quota_usages (project_id, user_id) VALUES (?, ?)`

// Take adds d to what the project and the user hold, or says with a 403 Fault which limit
// forbids it. After an error the caller's transaction must not commit. The row of a project
// stays locked until the end of the transaction, so Take belongs near it.
func (s *Service) Take(ctx context.Context, tx *schema.Tx, projectID, userID string, d Delta) error {
	if d == (Delta{}) {
		return nil
	}
	for _, holder := range holders(userID) {
		ok, err := s.takeFor(ctx, tx, projectID, holder, d)
		if err != nil {
			return fmt.Errorf("take quota of project %s: %w", projectID, err)
		}
		if !ok {
			return s.exceeded(ctx, tx, projectID, holder, d, strconv.Itoa(d.Instances))
		}
	}
	return nil
}

// holders are the rows that a user's servers count in, in the order that all transactions
// keep: the project's first.
func holders(userID string) []string {
	if userID == "" {
		return []string{""}
	}
	return []string{"", userID}
}

func (s *Service) takeFor(ctx context.Context, tx *schema.Tx, projectID, userID string, d Delta) (bool, error) {
	statement := takeProject
	args := []any{d.Instances, d.Cores, d.RAM, projectID}
	if userID != "" {
		statement = takeUser
		args = append(args, userID)
	}
	for _, r := range counted {
		n := d.values()[r]
		args = append(args, n, n, projectID)
		if userID == "" {
			args = append(args, r, r, builtin(r), unlimited)
		} else {
			args = append(args, userID, r, unlimited)
		}
	}
	ok, err := schema.Changed(tx.ExecContext(ctx, statement, args...))
	if ok || err != nil {
		return ok, err
	}
	// Either too little is left or there is no row yet. Only the insert can tell: a plain
	// read may not see the row that another transaction has just made.
	_, err = tx.ExecContext(ctx, makeUsage, projectID, userID)
	if schema.Duplicate(err) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return schema.Changed(tx.ExecContext(ctx, statement, args...))
}

const giveUsage = `
UPDATE quota_usages SET instances = instances - ?, cores = cores - ?, ram = ram - ?
WHERE project_id = ? AND user_id = ? AND instances >= ? AND cores >= ? AND ram >= ?`

const clampUsage = `
UPDATE quota_usages SET
  instances = CASE WHEN instances > ? THEN instances - ? ELSE 0 END,
  cores = CASE WHEN cores > ? THEN cores - ? ELSE 0 END,
  ram = CASE WHEN ram > ? THEN ram - ? ELSE 0 END
WHERE project_id = ? AND user_id = ?`

// Give takes d away from what the project and the user hold. What would fall below zero is
// a mistake in the account: it is logged, and zero remains.
func (s *Service) Give(ctx context.Context, tx *schema.Tx, projectID, userID string, d Delta) error {
	if d == (Delta{}) {
		return nil
	}
	for _, holder := range holders(userID) {
		ok, err := schema.Changed(tx.ExecContext(ctx, giveUsage, d.Instances, d.Cores, d.RAM,
			projectID, holder, d.Instances, d.Cores, d.RAM))
		if err == nil && !ok {
			slog.ErrorContext(ctx, "quota usage would fall below zero", "project", projectID, "user", holder, "give", fmt.Sprintf("%+v", d))
			_, err = tx.ExecContext(ctx, clampUsage, d.Instances, d.Instances, d.Cores, d.Cores, d.RAM, d.RAM, projectID, holder)
		}
		if err != nil {
			return fmt.Errorf("give quota of project %s: %w", projectID, err)
		}
	}
	return nil
}

// Fit tells how many servers of the size perServer the project has room for: most, or fewer
// but at least as many as least, or a 403 Fault. In a transaction it locks the project's row, so that
// the Take that follows finds the same room.
func (s *Service) Fit(ctx context.Context, q schema.Querier, projectID string, perServer Delta, least, most int) (int, error) {
	if least >= most {
		return most, nil // there is nothing to choose: Take decides
	}
	used, err := s.lockedUsage(ctx, q, projectID, "")
	if err != nil {
		return 0, err
	}
	limits, err := readLimits(ctx, q, projectID, "")
	if err != nil {
		return 0, err
	}
	n := most
	for _, r := range counted {
		each, limit := perServer.values()[r], limits[r]
		if each <= 0 || limit < 0 {
			continue
		}
		n = min(n, max(limit-used.values()[r], 0)/each)
	}
	if n >= least {
		return n, nil
	}
	return 0, overFault(limits, used, perServer.times(least), perServer.times(most), fmt.Sprintf("%d-%d", least, most))
}

// exceeded says which limits d would break.
func (s *Service) exceeded(ctx context.Context, tx *schema.Tx, projectID, userID string, d Delta, instances string) error {
	used, err := s.lockedUsage(ctx, tx, projectID, userID)
	if err != nil {
		return err
	}
	limits, err := readLimits(ctx, tx, projectID, userID)
	if err != nil {
		return err
	}
	return overFault(limits, used, d, d, instances)
}

// overFault is Nova's text: what needs too much is found by need, and asked is what the
// client wanted. When the numbers have become right meanwhile, all three are named.
func overFault(limits map[string]int, used, need, asked Delta, instances string) *compat.Fault {
	var overs []string
	for _, r := range counted {
		if limit := limits[r]; limit >= 0 && need.values()[r] > 0 && used.values()[r]+need.values()[r] > limit {
			overs = append(overs, r)
		}
	}
	if overs == nil {
		overs = slices.Clone(counted)
	}
	var requested, have, allowed []string
	for _, r := range overs {
		text := strconv.Itoa(asked.values()[r])
		if r == "instances" {
			text = instances
		}
		requested = append(requested, text)
		have = append(have, strconv.Itoa(used.values()[r]))
		allowed = append(allowed, strconv.Itoa(limits[r]))
	}
	list := func(words []string) string { return strings.Join(words, ", ") }
	return compat.Forbidden("Quota exceeded for %s: Requested %s, but already used %s of %s %s",
		list(overs), list(requested), list(have), list(allowed), list(overs))
}
