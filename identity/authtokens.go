package identity

import (
	"errors"
	"net/http"

	"kilonova/compat"
	"kilonova/schema"
)

// tokenView is a token as clients see it.
type tokenView struct {
	Methods   []string      `json:"methods"`
	User      tokenUser     `json:"user"`
	AuditIDs  []string      `json:"audit_ids"`
	ExpiresAt string        `json:"expires_at"`
	IssuedAt  string        `json:"issued_at"`
	Project   *tokenProject `json:"project,omitempty"`
	IsDomain  *bool         `json:"is_domain,omitempty"`
	Domain    *roleName     `json:"domain,omitempty"`
	System    object        `json:"system,omitempty"`
	Roles     []roleName    `json:"roles,omitempty"`
	Catalog   []object      `json:"catalog,omitempty"`
	AppCred   object        `json:"application_credential,omitempty"`
}

type tokenUser struct {
	ID       string   `json:"id"`
	Name     string   `json:"name"`
	Domain   roleName `json:"domain"`
	Password *string  `json:"password_expires_at"` // never: passwords do not expire
}

type tokenProject struct {
	ID     string   `json:"id"`
	Name   string   `json:"name"`
	Domain roleName `json:"domain"`
}

// view shows a token; the catalog comes later.
func (t *session) view() *tokenView {
	c, f := t.claims, t.facts
	v := &tokenView{
		Methods: c.Methods, AuditIDs: c.AuditIDs, Roles: f.roles,
		User:      tokenUser{ID: f.user.ID, Name: f.user.Name, Domain: roleName{f.user.DomainID, f.user.DomainName}},
		ExpiresAt: isoTime(schema.Micros(c.Expires * microsPerSecond)),
		IssuedAt:  isoTime(schema.Micros(c.IssuedAt * microsPerSecond)),
	}
	switch {
	case c.Project != "":
		v.Project = &tokenProject{ID: f.project.ID, Name: f.project.Name, Domain: roleName{f.project.DomainID, f.project.DomainName}}
		v.IsDomain = new(bool)
	case c.Domain != "":
		v.Domain = &roleName{f.domain.ID, f.domain.Name}
	case c.System != "":
		v.System = object{"all": true}
	}
	if f.appCred != nil {
		v.AppCred = object{"id": f.appCred.ID, "name": f.appCred.Name, "restricted": !f.appCred.Unrestricted}
	}
	return v
}

// answerToken writes a token with its catalog, unless the request wants none.
func (s *Service) answerToken(w http.ResponseWriter, r *http.Request, code int, text string, t *session) error {
	v := t.view()
	if _, without := r.URL.Query()["nocatalog"]; !without && t.claims.scope() != "" {
		var err error
		v.Catalog, err = s.catalog(r, t)
		if err != nil {
			return err
		}
	}
	w.Header().Set("X-Subject-Token", text)
	return compat.WriteJSON(w, code, object{"token": v})
}

// subject checks the token in X-Subject-Token, which the caller must be the user of, an
// administrator or a service. A token that is not good is a 404 Fault.
func (s *Service) subject(r *http.Request, action string) (string, *session, error) {
	text := r.Header.Get("X-Subject-Token")
	grace := expiredWindow
	if v := r.URL.Query().Get("allow_expired"); v == "" || v == "0" || v == "false" {
		grace = 0
	}
	c := compat.CallerFrom(r.Context())
	t, err := s.verify(r.Context(), text, grace)
	if errors.Is(err, errToken) {
		return "", nil, compat.NotFound("Could not find token.")
	}
	if err != nil {
		return "", nil, refused(err)
	}
	if !c.IsAdmin() && !c.Has("service") && c.UserID != t.claims.User {
		return "", nil, forbidden(action)
	}
	return text, t, nil
}

// showToken answers GET and HEAD /v3/auth/tokens.
func (s *Service) showToken(w http.ResponseWriter, r *http.Request) error {
	text, t, err := s.subject(r, "validate_token")
	if err != nil {
		return err
	}
	return s.answerToken(w, r, http.StatusOK, text, t)
}

// revokeToken answers DELETE /v3/auth/tokens: that token alone, not what was made from it.
func (s *Service) revokeToken(w http.ResponseWriter, r *http.Request) error {
	_, t, err := s.subject(r, "revoke_token")
	if err != nil {
		return err
	}
	err = s.change(r.Context(), func(c *change) error {
		return c.revoke(r.Context(), revocation{AuditID: t.claims.AuditIDs[0]})
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

// authCatalog answers GET /v3/auth/catalog.
func (s *Service) authCatalog(w http.ResponseWriter, r *http.Request) error {
	t := sessionFrom(r.Context())
	if t.claims.scope() == "" {
		return forbidden("get_auth_catalog")
	}
	catalog, err := s.catalog(r, t)
	if err != nil {
		return err
	}
	return s.collection(w, r, "catalog", catalog, "")
}

const selectAuthDomains = `
SELECT DISTINCT d.id, d.name, d.description, d.enabled, d.extra
FROM identity_domains d JOIN identity_grants g ON g.target_kind = 'domain' AND g.target_id = d.id
WHERE d.enabled = 1 AND (
  g.actor_kind = 'user' AND g.actor_id = ?
  OR g.actor_kind = 'group' AND g.actor_id IN (SELECT group_id FROM identity_memberships WHERE user_id = ?))
ORDER BY d.id`

// authDomains answers GET /v3/auth/domains: where the caller could get a token for.
func (s *Service) authDomains(w http.ResponseWriter, r *http.Request) error {
	user := compat.CallerFrom(r.Context()).UserID
	var rows []domainRow
	err := s.db.SelectContext(r.Context(), &rows, selectAuthDomains, user, user)
	if err != nil {
		return err
	}
	members := make([]object, 0, len(rows))
	for i := range rows {
		members = append(members, s.domainView(r, &rows[i]))
	}
	return s.collection(w, r, "domains", members, "")
}

// authSystem answers GET /v3/auth/system.
func (s *Service) authSystem(w http.ResponseWriter, r *http.Request) error {
	members := []object{}
	_, err := s.factsOf(r.Context(), scopeKey{user: compat.CallerFrom(r.Context()).UserID, system: true})
	if err == nil {
		members = append(members, object{"all": true})
	} else if !errors.Is(err, errNoAccess) {
		return err
	}
	return s.collection(w, r, "system", members, "")
}

// authProjects answers GET /v3/auth/projects: the enabled ones in which the caller has a role.
func (s *Service) authProjects(w http.ResponseWriter, r *http.Request) error {
	return s.projectsOf(w, r, compat.CallerFrom(r.Context()).UserID, true)
}
