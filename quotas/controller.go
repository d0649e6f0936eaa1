package quotas

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"math"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"kilonova/compat"
	"kilonova/schema"
)

// Register adds the operations of quotas and limits to the API.
func (s *Service) Register(api *compat.Compute) {
	for _, path := range []string{"/os-quota-sets/{id}", "/os-quota-sets/{id}/detail", "/os-quota-sets/{id}/defaults"} {
		api.Target(path, target)
	}
	api.Handle("GET /os-quota-sets/{id}", s.show)
	api.Handle("PUT /os-quota-sets/{id}", s.update)
	api.Handle("DELETE /os-quota-sets/{id}", s.delete)
	api.Handle("GET /os-quota-sets/{id}/detail", s.detail)
	api.Handle("GET /os-quota-sets/{id}/defaults", s.defaults)
	api.Handle("GET /os-quota-class-sets/{id}", s.showClass)
	api.Handle("PUT /os-quota-class-sets/{id}", s.updateClass)
	api.Handle("GET /limits", s.showLimits)
}

// target is the project that the URL names.
func target(r *compat.Request) compat.Target {
	return compat.Target{ProjectID: r.Var("id"), UserID: r.Caller.UserID}
}

// subject gives the project and the user of a request about quotas; the user is empty for
// the whole project. A project that does not exist is a 400 Fault.
func (s *Service) subject(r *compat.Request) (projectID, userID string, err error) {
	projectID = r.Var("id")
	bad := compat.BadRequest("Project ID %s is not a valid project.", clip(projectID))
	if !storable(projectID) {
		return "", "", bad
	}
	if s.ProjectExists != nil {
		exists, err := s.ProjectExists(r.Context(), projectID)
		if err != nil {
			return "", "", err
		}
		if !exists {
			return "", "", bad
		}
	}
	userID, err = user(r)
	return projectID, userID, err
}

// user reads user_id of the query.
func user(r *compat.Request) (string, error) {
	values := r.Query["user_id"]
	if len(values) == 0 || values[0] == "" {
		return "", nil
	}
	if !storable(values[0]) {
		return "", compat.BadRequest("Invalid input for query parameters user_id. Value: %s. It is too long", clip(values[0]))
	}
	return values[0], nil
}

// storable tells whether a column for ids can hold the text.
func storable(id string) bool {
	return id != "" && utf8.ValidString(id) && utf8.RuneCountInString(id) <= 255
}

// clip bounds what a client sent before it goes into a message.
func clip(s string) string {
	const limit = 255
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

// show answers GET /os-quota-sets/{id}.
func (s *Service) show(w http.ResponseWriter, r *compat.Request) error {
	projectID, userID, err := s.subject(r)
	if err != nil {
		return err
	}
	limits, err := readLimits(r.Context(), s.db, projectID, userID)
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"quota_set": document(r, projectID, limits)})
}

// document gives the limits that os-quota-sets has at the request's version; an empty id
// is left out.
func document(r *compat.Request, id string, limits map[string]int) map[string]any {
	doc := map[string]any{}
	for _, res := range resources {
		if res.sets.Has(r.Version) {
			doc[res.name] = limits[res.name]
		}
	}
	if id != "" {
		doc["id"] = id
	}
	return doc
}

// defaults answers GET /os-quota-sets/{id}/defaults.
func (s *Service) defaults(w http.ResponseWriter, r *compat.Request) error {
	projectID, _, err := s.subject(r)
	if err != nil {
		return err
	}
	limits, err := readClass(r.Context(), s.db, defaultClass)
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"quota_set": document(r, projectID, limits)})
}

type detailView struct {
	InUse    int `json:"in_use"`
	Limit    int `json:"limit"`
	Reserved int `json:"reserved"`
}

// detail answers GET /os-quota-sets/{id}/detail.
func (s *Service) detail(w http.ResponseWriter, r *compat.Request) error {
	projectID, userID, err := s.subject(r)
	if err != nil {
		return err
	}
	limits, err := readLimits(r.Context(), s.db, projectID, userID)
	if err != nil {
		return err
	}
	used, err := s.inUse(r.Context(), s.db, projectID, userID)
	if err != nil {
		return err
	}
	doc := map[string]any{"id": projectID}
	for _, res := range resources {
		if res.sets.Has(r.Version) {
			doc[res.name] = detailView{InUse: used[res.name], Limit: limits[res.name]}
		}
	}
	return r.Answer(w, map[string]any{"quota_set": doc})
}

// inUse gives what is used of each resource. As in Nova, what is counted by user or by
// server is not shown here.
func (s *Service) inUse(ctx context.Context, q schema.Querier, projectID, userID string) (map[string]int, error) {
	d, err := s.lockedUsage(ctx, q, projectID, userID)
	if err != nil {
		return nil, err
	}
	out := d.values()
	if s.ServerGroups != nil {
		out["server_groups"], err = s.ServerGroups(ctx, projectID, userID)
	}
	return out, err
}

// update answers PUT /os-quota-sets/{id}.
func (s *Service) update(w http.ResponseWriter, r *compat.Request) error {
	wanted, force, err := readLimitsBody(r, "quota_set", func(res resource) compat.Range { return res.sets })
	if err != nil {
		return err
	}
	projectID, userID, err := s.subject(r)
	if err != nil {
		return err
	}
	var limits map[string]int
	err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		if !force {
			err := s.checkBounds(r.Context(), tx, projectID, userID, wanted)
			if err != nil {
				return err
			}
		}
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			err := upsert(r.Context(), tx, updateLimit, insertLimit, wanted[name], projectID, userID, name)
			if err != nil {
				return err
			}
		}
		var err error
		limits, err = readLimits(r.Context(), tx, projectID, userID)
		return err
	})
	s.seen.forget()
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"quota_set": document(r, "", limits)})
}

// checkBounds gives a 400 Fault for a limit below what is used, or for one of a user that
// is above what the project has left to give.
func (s *Service) checkBounds(ctx context.Context, tx *schema.Tx, projectID, userID string, wanted map[string]int) error {
	used, err := s.inUse(ctx, tx, projectID, userID)
	if err != nil {
		return err
	}
	project, err := readLimits(ctx, tx, projectID, "")
	if err != nil {
		return err
	}
	given, own, err := usersShare(ctx, tx, projectID, userID)
	if err != nil {
		return err
	}
	for _, name := range slices.Sorted(maps.Keys(wanted)) {
		least, most := used[name], -1
		switch {
		case userID == "":
			least = max(least, given[name])
		case project[name] >= 0:
			most = max(project[name]-given[name], 0) + own[name]
		}
		limit := wanted[name]
		if limit >= 0 && limit < least {
			return compat.BadRequest("Quota limit %d for %s must be greater than or equal to already used and reserved %d.", limit, name, least)
		}
		if most >= 0 && (limit < 0 || limit > most) {
			return compat.BadRequest("Quota limit %d for %s must be less than or equal to %d.", limit, name, most)
		}
	}
	return nil
}

// delete answers DELETE /os-quota-sets/{id}: the project, or the user, follows the
// defaults again.
func (s *Service) delete(w http.ResponseWriter, r *compat.Request) error {
	projectID := r.Var("id")
	userID, err := user(r)
	if err != nil {
		return err
	}
	if storable(projectID) {
		err = s.deleteLimits(r.Context(), projectID, userID)
		if err != nil {
			return err
		}
	}
	return r.Answer(w, nil)
}

// classDocument gives the limits that os-quota-class-sets has at the request's version.
func classDocument(r *compat.Request, id string, limits map[string]int) map[string]any {
	doc := map[string]any{}
	for _, res := range resources {
		if res.classes.Has(r.Version) {
			doc[res.name] = limits[res.name]
		}
	}
	if id != "" {
		doc["id"] = id
	}
	return map[string]any{"quota_class_set": doc}
}

// showClass answers GET /os-quota-class-sets/{id}; a class that nobody has set has the
// built-in limits.
func (s *Service) showClass(w http.ResponseWriter, r *compat.Request) error {
	class := r.Var("id")
	stored := class
	if !storable(class) {
		stored = ""
	}
	limits, err := readClass(r.Context(), s.db, stored)
	if err != nil {
		return err
	}
	return r.Answer(w, classDocument(r, strings.ToValidUTF8(class, "?"), limits))
}

// updateClass answers PUT /os-quota-class-sets/{id}.
func (s *Service) updateClass(w http.ResponseWriter, r *compat.Request) error {
	class := r.Var("id")
	if !storable(class) {
		return compat.BadRequest("Invalid input received: quota_class has more than 255 characters.")
	}
	wanted, _, err := readLimitsBody(r, "quota_class_set", func(res resource) compat.Range {
		if res.classes == groupClass {
			return always // a request may name them before an answer does
		}
		return res.classes
	})
	if err != nil {
		return err
	}
	var limits map[string]int
	err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
		for _, name := range slices.Sorted(maps.Keys(wanted)) {
			err := upsert(r.Context(), tx, updateClassLimit, insertClassLimit, wanted[name], class, name)
			if err != nil {
				return err
			}
		}
		var err error
		limits, err = readClass(r.Context(), tx, class)
		return err
	})
	s.seen.forget()
	if err != nil {
		return err
	}
	return r.Answer(w, classDocument(r, "", limits))
}

// readLimitsBody reads {KEY: {RESOURCE: LIMIT, ..., "force": BOOL}}.
func readLimitsBody(r *compat.Request, key string, span func(resource) compat.Range) (map[string]int, bool, error) {
	var body map[string]map[string]json.RawMessage
	err := r.Decode(&body)
	if err != nil {
		return nil, false, err
	}
	in := body[key]
	if in == nil {
		return nil, false, compat.BadRequest("'%s' is a required property", key)
	}
	out, force := map[string]int{}, compat.Bool(false)
	for _, name := range slices.Sorted(maps.Keys(in)) {
		if name == "force" && key == "quota_set" {
			err = json.Unmarshal(in[name], &force)
			if err != nil {
				return nil, false, invalidField(name, in[name], "It is not a boolean")
			}
			continue
		}
		i := slices.IndexFunc(resources, func(res resource) bool { return res.name == name })
		if r.Legacy && i < 0 {
			continue
		}
		if (i < 0 || !span(resources[i]).Has(r.Version)) && !(key == "quota_set" && name == "networks" && networkSets.Has(r.Version)) {
			return nil, false, compat.BadRequest("Invalid input for field/attribute %s. Additional properties are not allowed ('%s' was unexpected)", key, clip(name))
		}
		n, err := limitOf(name, in[name])
		if err != nil {
			return nil, false, err
		}
		if i >= 0 {
			out[name] = n
		}
	}
	return out, bool(force), nil
}

// limitOf reads one limit: an integer or digits, -1 for unlimited.
func limitOf(name string, raw json.RawMessage) (int, error) {
	var n *compat.Int
	err := json.Unmarshal(raw, &n)
	switch {
	case err != nil || n == nil:
		return 0, invalidField(name, raw, "It does not match '^-?[0-9]+$'")
	case *n < -1:
		return 0, invalidField(name, raw, fmt.Sprintf("%d is less than the minimum of -1", *n))
	case *n > math.MaxInt32:
		return 0, invalidField(name, raw, fmt.Sprintf("%d is greater than the maximum of %d", *n, math.MaxInt32))
	}
	return int(*n), nil
}

func invalidField(field string, value json.RawMessage, why string) *compat.Fault {
	return compat.BadRequest("Invalid input for field/attribute %s. Value: %s. %s", field, clip(strings.Trim(string(value), `"`)), why)
}
