package flavors

import (
	"net/http"
	"regexp"

	"kilonova/compat"
)

type accessView struct {
	FlavorID string `json:"flavor_id"`
	TenantID string `json:"tenant_id"`
}

// accessIndex answers GET /flavors/{id}/os-flavor-access.
func (s *Service) accessIndex(w http.ResponseWriter, r *compat.Request) error {
	f, err := find(r.Context(), s.db, r.Var("id"))
	if err != nil {
		return err
	}
	if f.Public {
		return compat.NotFound("Access list not available for public flavors.")
	}
	return s.answerAccess(w, r, f)
}

func (s *Service) answerAccess(w http.ResponseWriter, r *compat.Request, f *Flavor) error {
	projects, err := projectsOf(r.Context(), s.db, f.ID)
	if err != nil {
		return err
	}
	out := make([]accessView, len(projects))
	for i, p := range projects {
		out[i] = accessView{f.FlavorID, p}
	}
	return r.Answer(w, map[string]any{"flavor_access": out})
}

var projectForm = regexp.MustCompile(`^[a-zA-Z0-9-]{1,255}$`)

// tenant reads {"ACTION": {"tenant": ID}}.
func tenant(r *compat.Request, action string) (string, error) {
	var body map[string]*struct {
		Tenant string `json:"tenant"`
	}
	err := r.Decode(&body)
	if err != nil {
		return "", err
	}
	in := body[action]
	if in == nil {
		return "", compat.BadRequest("Invalid input for field/attribute %s. 'tenant' is a required property", action)
	}
	if !projectForm.MatchString(in.Tenant) {
		return "", invalidField("tenant", in.Tenant, "It does not match '^[a-zA-Z0-9-]*$'")
	}
	return in.Tenant, nil
}

// addAccess answers POST /flavors/{id}/action with addTenantAccess.
func (s *Service) addAccess(w http.ResponseWriter, r *compat.Request) error {
	project, err := tenant(r, "addTenantAccess")
	if err != nil {
		return err
	}
	if s.ProjectExists != nil {
		exists, err := s.ProjectExists(r.Context(), project)
		if err != nil {
			return err
		}
		if !exists {
			return compat.BadRequest("Project ID %s is not a valid project.", project)
		}
	}
	f, err := find(r.Context(), s.db, r.Var("id"))
	if err != nil {
		return err
	}
	if f.Public && mindsPublic.Has(r.Version) {
		return compat.Conflict("Can not add access to a public flavor.")
	}
	err = s.allow(r.Context(), f, project)
	if err != nil {
		return err
	}
	return s.answerAccess(w, r, f)
}

// removeAccess answers POST /flavors/{id}/action with removeTenantAccess. The project need
// not exist any more.
func (s *Service) removeAccess(w http.ResponseWriter, r *compat.Request) error {
	project, err := tenant(r, "removeTenantAccess")
	if err != nil {
		return err
	}
	f, err := find(r.Context(), s.db, r.Var("id"))
	if err != nil {
		return err
	}
	err = s.forbid(r.Context(), f, project)
	if err != nil {
		return err
	}
	return s.answerAccess(w, r, f)
}
