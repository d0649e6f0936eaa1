package networks

import (
	"context"
	"fmt"
	"net/http"
	"strconv"

	"kilonova/compat"
	"kilonova/schema"
)

// quotaProject answers GET /quotas/tenant and /quotas/project, which tell whose quotas the
// caller asks for.
func quotaProject(name, key string) handler {
	return func(w http.ResponseWriter, r *request) error {
		return compat.WriteJSON(w, http.StatusOK, map[string]any{name: map[string]string{key: r.caller.ProjectID}})
	}
}

// ownQuota lets a project read its own quotas and admins all.
func ownQuota(r *request) error {
	if !everything(r.caller) && r.id() != r.caller.ProjectID {
		return forbidden("rule:get_quota")
	}
	return nil
}

// quotas gives a project's limits.
func (s *Service) quotas(ctx context.Context, q schema.Querier, project string) (map[string]int, error) {
	own, err := countOf(ctx, q, selectQuotas, project)
	if err != nil {
		return nil, fmt.Errorf("read quotas: %w", err)
	}
	out := map[string]int{}
	for name, n := range s.limits {
		out[name] = n
		if v, ok := own[name]; ok {
			out[name] = v
		}
	}
	return out, nil
}

// showQuotas answers GET /quotas/{id}.
func (s *Service) showQuotas(w http.ResponseWriter, r *request) error {
	err := ownQuota(r)
	if err != nil {
		return err
	}
	all, err := s.quotas(r.Context(), s.db, r.id())
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"quota": all})
}

// defaultQuotas answers GET /quotas/{id}/default.
func (s *Service) defaultQuotas(w http.ResponseWriter, r *request) error {
	err := ownQuota(r)
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"quota": s.limits})
}

// quotaDetails answers GET /quotas/{id}/details.
func (s *Service) quotaDetails(w http.ResponseWriter, r *request) error {
	err := ownQuota(r)
	if err != nil {
		return err
	}
	all, err := s.quotas(r.Context(), s.db, r.id())
	if err != nil {
		return err
	}
	used, err := countOf(r.Context(), s.db, selectUsage, r.id())
	if err != nil {
		return fmt.Errorf("read usage: %w", err)
	}
	details := map[string]any{}
	for name, limit := range all {
		details[name] = map[string]int{"limit": limit, "used": used[name], "reserved": 0}
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"quota": details})
}

const allQuotas = `SELECT project_id, resource, allowed FROM network_quotas ORDER BY project_id LIMIT 100000`

// listQuotas answers GET /quotas: the projects that have quotas of their own.
func (s *Service) listQuotas(w http.ResponseWriter, r *request) error {
	var rows []struct {
		Project  string `db:"project_id"`
		Resource string `db:"resource"`
		Allowed  int    `db:"allowed"`
	}
	err := s.db.SelectContext(r.Context(), &rows, allQuotas)
	if err != nil {
		return fmt.Errorf("list quotas: %w", err)
	}
	out := []map[string]any{}
	for _, row := range rows {
		if len(out) == 0 || out[len(out)-1]["project_id"] != row.Project {
			one := map[string]any{"project_id": row.Project, "tenant_id": row.Project}
			for name, n := range s.limits {
				one[name] = n
			}
			out = append(out, one)
		}
		out[len(out)-1][row.Resource] = row.Allowed
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"quotas": out})
}

const (
	setQuota  = `UPDATE network_quotas SET allowed = ? WHERE project_id = ? AND resource = ?`
	makeQuota = `INSERT INTO network_quotas (project_id, resource, allowed) VALUES (?, ?, ?)`
)

// updateQuotas answers PUT /quotas/{id}. With check_limit a limit below what is used is
// refused.
func (s *Service) updateQuotas(w http.ResponseWriter, r *request) error {
	doc, err := readJSON(r.Request)
	if err != nil {
		return err
	}
	limits, check, err := readQuotas(doc)
	if err != nil {
		return err
	}
	err = s.knownProject(r.Context(), r.id())
	if err != nil {
		return err
	}
	var all map[string]int
	err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		used, err := countOf(r.Context(), tx, selectUsage, r.id())
		if err != nil {
			return fmt.Errorf("read usage: %w", err)
		}
		for _, name := range sortedKeys(limits) {
			n := limits[name]
			if check && n >= 0 && used[name] > n {
				return fault(400, "InvalidQuotaValue", "Change would make usage less than 0 for the following resources: ['%s'].", name)
			}
			err = storeQuota(r.Context(), tx, r.id(), name, n)
			if err != nil {
				return err
			}
		}
		all, err = s.quotas(r.Context(), tx, r.id())
		return err
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"quota": all})
}

func storeQuota(ctx context.Context, tx *schema.Tx, project, resource string, n int) error {
	got, err := schema.Changed(tx.ExecContext(ctx, setQuota, n, project, resource))
	if err == nil && !got {
		_, err = tx.ExecContext(ctx, makeQuota, project, resource, n)
	}
	if err != nil {
		return fmt.Errorf("store quota: %w", err)
	}
	return nil
}

func readQuotas(doc map[string]any) (limits map[string]int, check bool, err error) {
	body, ok := doc["quota"].(map[string]any)
	if !ok || len(doc) != 1 {
		return nil, false, badRequest("Unable to find 'quota' in request body")
	}
	limits = map[string]int{}
	for name, value := range body {
		switch name {
		case "check_limit", "force":
			b, ok := parseBool(fmt.Sprint(value))
			if !ok {
				return nil, false, badRequest("Invalid input for %s. Reason: '%s' cannot be converted to boolean.", name, clip(compat.PythonText(value)))
			}
			check = check || (b && name == "check_limit")
			continue
		case "tenant_id", "project_id":
			continue
		}
		if _, known := defaultQuotas[name]; !known {
			return nil, false, badRequest("Unrecognized attribute(s) '%s'", clip(name))
		}
		n, err := strconv.ParseInt(fmt.Sprint(value), 10, 32)
		if err != nil || n < -1 {
			return nil, false, badRequest("Invalid input for %s. Reason: quota limit '%s' must be an integer between -1 and 2147483647.", name, clip(compat.PythonText(value)))
		}
		limits[name] = int(n)
	}
	return limits, check, nil
}

func (s *Service) knownProject(ctx context.Context, id string) error {
	if s.cfg.ProjectExists == nil {
		return nil
	}
	ok, err := s.cfg.ProjectExists(ctx, id)
	if err != nil {
		return fmt.Errorf("look for project %s: %w", clip(id), err)
	}
	if !ok {
		return fault(404, "ProjectNotFound", "Project %s could not be found.", clip(id))
	}
	return nil
}

const deleteQuota = `DELETE FROM network_quotas WHERE project_id = ?`

// deleteQuotas answers DELETE /quotas/{id}: the defaults count again.
func (s *Service) deleteQuotas(w http.ResponseWriter, r *request) error {
	res, err := s.db.ExecContext(r.Context(), deleteQuota, r.id())
	got, err := schema.Changed(res, err)
	if err != nil {
		return fmt.Errorf("delete quotas: %w", err)
	}
	if !got {
		return fault(404, "TenantQuotaNotFound", "Quota for tenant %s could not be found.", clip(r.id()))
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
