package identity

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) projectRoutes() []route {
	return []route{
		{"GET", "/v3/projects", readers, "list_projects", s.listProjects},
		{"POST", "/v3/projects", admins, "create_project", s.createProject},
		{"GET", "/v3/projects/{id}", anyToken, "get_project", s.showProject},
		{"PATCH", "/v3/projects/{id}", admins, "update_project", s.updateProject},
		{"DELETE", "/v3/projects/{id}", admins, "delete_project", s.deleteProject},
		{"GET", "/v3/projects/{id}/tags", anyToken, "list_project_tags", s.listTags},
		{"PUT", "/v3/projects/{id}/tags", admins, "update_project_tags", s.replaceTags},
		{"DELETE", "/v3/projects/{id}/tags", admins, "delete_project_tags", s.deleteTags},
		{"GET", "/v3/projects/{id}/tags/{tag}", anyToken, "get_project_tag", s.showTag},
		{"PUT", "/v3/projects/{id}/tags/{tag}", admins, "create_project_tag", s.addTag},
		{"DELETE", "/v3/projects/{id}/tags/{tag}", admins, "delete_project_tag", s.deleteTag},
		{"GET", "/v3/users/{user}/projects", self, "list_user_projects", s.userProjects},
	}
}

type projectRow struct {
	ID       string `db:"id"`
	DomainID string `db:"domain_id"`
	ParentID string `db:"parent_id"`
	named
	Description string        `db:"description"`
	Enabled     bool          `db:"enabled"`
	Tags        string        `db:"tags"`
	Extra       string        `db:"extra"`
	CreatedAt   schema.Micros `db:"created_at"`
}

const (
	selectProjects = `
SELECT id, domain_id, parent_id, name, description, enabled, tags, extra
FROM identity_projects`
	selectProject = selectProjects + ` WHERE id = ?`
	// Domains in the form of the projects that act as domains.
	selectDomainProjects = `
SELECT id, domain_id, parent_id, name, description, enabled, tags, extra
FROM (SELECT id, '' AS domain_id, '' AS parent_id, name, name_key, description, enabled, '[]' AS tags, extra FROM identity_domains) d`
	insertProject = `
INSERT INTO identity_projects (id, domain_id, parent_id, name, name_key, description, enabled, tags, extra, created_at)
VALUES (:id, :domain_id, :parent_id, :name, :name_key, :description, :enabled, :tags, :extra, :created_at)`
	updateProject = `
UPDATE identity_projects
SET name = :name, name_key = :name_key, description = :description, enabled = :enabled, tags = :tags, extra = :extra
WHERE id = :id`
	deleteProject       = `DELETE FROM identity_projects WHERE id = ?`
	deleteProjectGrants = `DELETE FROM identity_grants WHERE target_kind = 'project' AND target_id = ?`
	clearDefaultProject = `UPDATE identity_users SET default_project_id = '' WHERE default_project_id = ?`
	countChildren       = `SELECT COUNT(*) FROM identity_projects WHERE parent_id = ?`
)

func (p *projectRow) tags() []string {
	tags := []string{}
	err := json.Unmarshal([]byte(p.Tags), &tags)
	if err != nil {
		return []string{}
	}
	return tags
}

// setTags keeps them sorted, as Keystone shows them.
func (p *projectRow) setTags(tags []string) {
	tags = slices.Clone(tags)
	slices.Sort(tags)
	raw, err := json.Marshal(append([]string{}, tags...))
	if err != nil {
		raw = []byte("[]") // strings always encode
	}
	p.Tags = string(raw)
}

// tagMember is a tag as a member of the list that setTags writes.
func tagMember(tag string) string {
	raw, err := json.Marshal(tag)
	if err != nil {
		return "" // strings always encode
	}
	return string(raw)
}

const maxTags = 80

// readTags checks the rule of all tags in OpenStack: no slash and no comma.
func readTags(f *fields) []string {
	tags := f.texts("tags", maxTags)
	if slices.ContainsFunc(tags, func(t string) bool { return strings.ContainsAny(t, "/,") }) {
		f.wrong("tags", "a tag holds a slash or a comma")
	}
	return tags
}

func (s *Service) projectView(r *http.Request, p *projectRow) object {
	return view(p.Extra, object{"id": p.ID, "name": p.Name, "domain_id": p.DomainID, "parent_id": p.ParentID,
		"description": p.Description, "enabled": p.Enabled, "is_domain": false, "tags": p.tags(),
		"options": object{}, "links": s.self(r, "projects", p.ID)})
}

func (s *Service) listProjects(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r).name().enabled().id("domain_id").id("parent_id").tags()
	statement := selectProjects
	_, asked := q.values["is_domain"]
	domains := asked && q.truth("is_domain")
	if domains {
		statement = selectDomainProjects
	}
	return answerList(s, w, r, "projects", q, statement, func(p *projectRow) (object, string) {
		v := s.projectView(r, p)
		if domains {
			v["is_domain"], v["domain_id"], v["parent_id"] = true, nil, nil
		}
		return v, p.ID
	})
}

func (s *Service) showProject(w http.ResponseWriter, r *http.Request) error {
	p, err := s.visibleProject(r, "get_project")
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"project": s.projectView(r, p)})
}

// visibleProject gives the path's project to those who may see it: its own tokens too.
func (s *Service) visibleProject(r *http.Request, action string) (*projectRow, error) {
	id := pathVar(r, "id")
	if !isReader(r) && id != compat.CallerFrom(r.Context()).ProjectID {
		return nil, forbidden(action)
	}
	var p projectRow
	return &p, find(r.Context(), s.db, &p, "project", selectProject, id)
}

// callerDomain is the domain of what a caller creates without naming one.
func callerDomain(r *http.Request) string {
	if d := compat.CallerFrom(r.Context()).DomainID; d != "" {
		return d
	}
	return DefaultDomain
}

// homeless makes a 404 Fault of a row that was refused because its domain does not exist.
func homeless(err error, domain string) error {
	if schema.ForeignKey(err) {
		return missing("domain", domain)
	}
	return err
}

func (s *Service) createProject(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "project")
	if err != nil {
		return err
	}
	f := fields{in: in}
	p := projectRow{ID: newID(), named: f.named(), DomainID: f.id("domain_id"), ParentID: f.id("parent_id"),
		Description: f.text("description", maxText), Enabled: f.boolean("enabled", true), CreatedAt: s.now()}
	p.setTags(readTags(&f))
	if in["is_domain"] != nil && f.boolean("is_domain", false) {
		f.wrong("is_domain", "a domain is made at /v3/domains")
	}
	p.Extra = f.extra("", "is_domain")
	if f.err != nil {
		return f.err
	}
	err = s.settleParent(r, &p)
	if err != nil {
		return err
	}
	err = s.insert(r.Context(), insertProject, &p)
	if schema.ForeignKey(err) {
		return homeless(err, p.DomainID)
	}
	if err != nil {
		return taken(err, "project", p.Name)
	}
	return compat.WriteJSON(w, http.StatusCreated, object{"project": s.projectView(r, &p)})
}

// settleParent finds the domain from the parent, or the parent from the domain.
func (s *Service) settleParent(r *http.Request, p *projectRow) error {
	if p.ParentID == "" || p.ParentID == p.DomainID {
		if p.DomainID == "" {
			p.DomainID = callerDomain(r)
		}
		p.ParentID = p.DomainID
		return nil
	}
	var parent projectRow
	err := find(r.Context(), s.db, &parent, "project", selectProject, p.ParentID)
	if compat.IsNotFound(err) && p.DomainID == "" {
		p.DomainID = p.ParentID // the parent may be a domain; the foreign key tells
		return nil
	}
	if err != nil {
		return err
	}
	if p.DomainID != "" && p.DomainID != parent.DomainID {
		return compat.BadRequest("Cannot create project, the parent (%s) is in another domain.", p.ParentID)
	}
	if !parent.Enabled {
		return compat.Forbidden("Cannot create project since its parent %s is disabled.", p.ParentID)
	}
	p.DomainID = parent.DomainID
	return nil
}

// editProject changes the path's project under the version's lock.
func (s *Service) editProject(r *http.Request, edit func(*projectRow) error) (*projectRow, error) {
	var p projectRow
	err := s.change(r.Context(), func(c *change) error {
		p = projectRow{}
		err := find(r.Context(), c, &p, "project", selectProject, pathVar(r, "id"))
		if err == nil {
			err = edit(&p)
		}
		if err != nil {
			return err
		}
		err = execNamed(r.Context(), c, updateProject, &p)
		if err != nil {
			return taken(err, "project", p.Name)
		}
		if p.Enabled {
			return nil
		}
		return c.revoke(r.Context(), revocation{Scope: "project:" + p.ID})
	})
	return &p, err
}

// updateProject answers PATCH; disabling the project ends all tokens for it.
func (s *Service) updateProject(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "project")
	if err != nil {
		return err
	}
	p, err := s.editProject(r, func(p *projectRow) error {
		f := fields{in: in}
		if f.has("name") {
			p.named = f.named()
		}
		if f.has("description") {
			p.Description = f.text("description", maxText)
		}
		if f.has("tags") {
			p.setTags(readTags(&f))
		}
		p.Enabled = f.boolean("enabled", p.Enabled)
		f.unchanged("domain_id", p.DomainID)
		f.unchanged("parent_id", p.ParentID)
		f.unchanged("id", p.ID)
		if f.boolean("is_domain", false) {
			f.wrong("is_domain", "it cannot be changed")
		}
		p.Extra = f.extra(p.Extra)
		return f.err
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"project": s.projectView(r, p)})
}

// unchanged refuses another value for what cannot be changed.
func (f *fields) unchanged(key, value string) {
	v := f.get(key)
	if f.has(key) && v != value {
		f.wrong(key, "it cannot be changed")
	}
}

func (s *Service) deleteProject(w http.ResponseWriter, r *http.Request) error {
	id := pathVar(r, "id")
	err := s.change(r.Context(), func(c *change) error {
		var p projectRow
		err := find(r.Context(), c, &p, "project", selectProject, id)
		if err != nil {
			return err
		}
		var children int
		err = c.GetContext(r.Context(), &children, countChildren, id)
		if err != nil {
			return fmt.Errorf("count the children of project %s: %w", id, err)
		}
		if children > 0 {
			return compat.Forbidden("Cannot delete project %s since it is not a leaf in the hierarchy.", id)
		}
		for _, statement := range []string{deleteProjectGrants, clearDefaultProject, deleteProject} {
			_, err = c.ExecContext(r.Context(), statement, id)
			if err != nil {
				return fmt.Errorf("delete project %s: %w", id, err)
			}
		}
		return c.revoke(r.Context(), revocation{Scope: "project:" + id})
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

const whereUserHasRole = `
id IN (SELECT target_id FROM identity_grants WHERE target_kind = 'project' AND (
  actor_kind = 'user' AND actor_id = ?
  OR actor_kind = 'group' AND actor_id IN (SELECT group_id FROM identity_memberships WHERE user_id = ?)))`

const whereDomainEnabled = `domain_id IN (SELECT id FROM identity_domains WHERE enabled = 1)`

// projectsOf lists the projects in which a user has a role.
func (s *Service) projectsOf(w http.ResponseWriter, r *http.Request, user string, usable bool) error {
	q := newQuery(r).name().enabled().equal("domain_id", "parent_id")
	q.and(whereUserHasRole, user, user)
	if usable {
		q.and("enabled = 1")
		q.and(whereDomainEnabled)
	}
	return answerList(s, w, r, "projects", q, selectProjects, func(p *projectRow) (object, string) {
		return s.projectView(r, p), p.ID
	})
}

// userProjects answers GET /v3/users/{id}/projects.
func (s *Service) userProjects(w http.ResponseWriter, r *http.Request) error {
	err := s.mustExist(r.Context(), s.db, "user", pathVar(r, "user"))
	if err != nil {
		return err
	}
	return s.projectsOf(w, r, pathVar(r, "user"), false)
}

func (s *Service) listTags(w http.ResponseWriter, r *http.Request) error {
	p, err := s.visibleProject(r, "list_project_tags")
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"tags": p.tags(), "links": s.self(r, "projects", p.ID, "tags")})
}

func (s *Service) showTag(w http.ResponseWriter, r *http.Request) error {
	p, err := s.visibleProject(r, "get_project_tag")
	if err != nil {
		return err
	}
	if tag := pathVar(r, "tag"); !slices.Contains(p.tags(), tag) {
		return missing("project tag", tag)
	}
	return noContent(w)
}

// replaceTags answers PUT /v3/projects/{id}/tags, whose body has no outer key.
func (s *Service) replaceTags(w http.ResponseWriter, r *http.Request) error {
	in, err := readObject(r)
	if err != nil {
		return err
	}
	p, err := s.editProject(r, func(p *projectRow) error {
		f := fields{in: in}
		p.setTags(readTags(&f))
		return f.err
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"tags": p.tags(), "links": s.self(r, "projects", p.ID, "tags")})
}

func (s *Service) deleteTags(w http.ResponseWriter, r *http.Request) error {
	_, err := s.editProject(r, func(p *projectRow) error {
		p.setTags(nil)
		return nil
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

func (s *Service) addTag(w http.ResponseWriter, r *http.Request) error {
	_, err := s.editProject(r, func(p *projectRow) error {
		list := []any{pathVar(r, "tag")}
		for _, t := range p.tags() {
			list = append(list, t)
		}
		f := fields{in: object{"tags": list}}
		p.setTags(readTags(&f))
		return f.err
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusCreated)
	return nil
}

func (s *Service) deleteTag(w http.ResponseWriter, r *http.Request) error {
	tag := pathVar(r, "tag")
	_, err := s.editProject(r, func(p *projectRow) error {
		tags := p.tags()
		if !slices.Contains(tags, tag) {
			return missing("project tag", tag)
		}
		p.setTags(slices.DeleteFunc(tags, func(t string) bool { return t == tag }))
		return nil
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

var existence = map[string]string{
	"user":    `SELECT id FROM identity_users WHERE id = ?`,
	"group":   `SELECT id FROM identity_groups WHERE id = ?`,
	"project": `SELECT id FROM identity_projects WHERE id = ?`,
	"domain":  `SELECT id FROM identity_domains WHERE id = ?`,
	"role":    `SELECT id FROM identity_roles WHERE id = ?`,
	"service": `SELECT id FROM identity_services WHERE id = ?`,
}

// mustExist is the 404 Fault for what does not.
func (s *Service) mustExist(ctx context.Context, q schema.Querier, kind, id string) error {
	var found string
	return find(ctx, q, &found, kind, existence[kind], id)
}
