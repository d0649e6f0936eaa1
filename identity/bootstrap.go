package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Bootstrap is what a cloud cannot be administered without.
type Bootstrap struct {
	AdminPassword string // of a new user admin; one that exists keeps the password it has
	Region        string
	Services      []CatalogService
}

// CatalogService is a service of this cloud, at a path below where clients reach it.
type CatalogService struct {
	Type string // compute
	Name string // nova
	Path string // /compute/v2.1
}

// firstRoles are the roles that every cloud has; each implies the one after it in chain.
var (
	firstRoles = []string{"admin", "manager", "member", "reader", "service"}
	chain      = []string{"admin", "manager", "member", "reader"}
)

// Bootstrap makes what is missing of: the domain Default, the projects admin and service,
// the roles, the user admin with the role admin in the project and the system, the region,
// and the services with their endpoints. What exists stays as it is, but for the paths of
// endpoints that it made.
func (s *Service) Bootstrap(ctx context.Context, b Bootstrap) error {
	hash := ""
	admin, err := s.findLogin(ctx, reference{domainID: DefaultDomain, name: "admin"})
	if err == nil && admin.ID == "" {
		hash, err = s.hasher.hash(ctx, b.AdminPassword)
	}
	if err != nil {
		return fmt.Errorf("bootstrap identity: %w", err)
	}
	err = s.change(ctx, func(c *change) error {
		m := &maker{c: c, ctx: ctx}
		m.people(hash)
		m.regionNamed(b.Region)
		for _, service := range b.Services {
			m.service(service, b.Region)
		}
		return m.err
	})
	if err != nil {
		return fmt.Errorf("bootstrap identity: %w", err)
	}
	return nil
}

// maker makes rows that are missing; after an error it does nothing more.
type maker struct {
	c   *change
	ctx context.Context
	err error
}

// find gives the id that a query finds, "" for none.
func (m *maker) find(query string, args ...any) string {
	if m.err != nil {
		return ""
	}
	var id string
	err := m.c.GetContext(m.ctx, &id, query, args...)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		m.err = err
	}
	return id
}

func (m *maker) insert(statement string, row any) {
	if m.err == nil {
		m.err = execNamed(m.ctx, m.c, statement, row)
	}
}

const (
	selectUserNamed   = `SELECT id FROM identity_users WHERE domain_id = ? AND name_key = ?`
	selectRoleNamed   = `SELECT id FROM identity_roles WHERE name_key = ?`
	selectServiceOf   = `SELECT id FROM identity_services WHERE type = ? AND name = ?`
	selectEndpointOf  = `SELECT id FROM identity_endpoints WHERE service_id = ? AND interface = ?`
	selectDomainByID  = `SELECT id FROM identity_domains WHERE id = ?`
	updateEndpointURL = `UPDATE identity_endpoints SET url = ? WHERE id = ? AND url LIKE '{base}%' AND url <> ?`
)

func (m *maker) people(hash string) {
	now := m.c.s.now()
	if m.find(selectDomainByID, DefaultDomain) == "" {
		m.insert(insertDomain, &domainRow{ID: DefaultDomain, named: named{Name: "Default"}, Description: "The default domain",
			Enabled: true, Extra: "{}", CreatedAt: now})
	}
	project := m.project("admin", "Bootstrap project for initializing the cloud.")
	m.project("service", "Users of the cloud's own services.")
	roles := map[string]string{}
	for _, name := range firstRoles {
		roles[name] = m.find(selectRoleNamed, foldName(name))
		if roles[name] == "" {
			roles[name] = newID()
			m.insert(insertRole, &roleRow{ID: roles[name], named: named{Name: name}, Extra: "{}", CreatedAt: now})
			if i := slices.Index(chain, name); i > 0 && m.err == nil {
				_, m.err = m.c.ExecContext(m.ctx, insertImplied, roles[chain[i-1]], roles[name])
			}
		}
	}
	if m.find(selectUserNamed, DefaultDomain, foldName("admin")) != "" {
		return
	}
	user := newID()
	m.insert(insertUser, &userRow{ID: user, DomainID: DefaultDomain, named: named{Name: "admin"}, Enabled: true,
		PasswordHash: hash, Extra: "{}", CreatedAt: now})
	for kind, id := range map[string]string{"project": project, "system": systemID} {
		if m.err == nil {
			m.err = m.c.grant(m.ctx, &grantRow{"user", user, kind, id, roles["admin"]})
		}
	}
}

func (m *maker) project(name, description string) string {
	id := m.find(selectProjectNamed, DefaultDomain, foldName(name))
	if id == "" {
		id = newID()
		m.insert(insertProject, &projectRow{ID: id, DomainID: DefaultDomain, ParentID: DefaultDomain, named: named{Name: name},
			Description: description, Enabled: true, Tags: "[]", Extra: "{}", CreatedAt: m.c.s.now()})
	}
	return id
}

func (m *maker) regionNamed(id string) {
	if id != "" && m.find(existsRegion, id) == "" {
		m.insert(insertRegion, &regionRow{ID: id, Extra: "{}"})
	}
}

func (m *maker) service(in CatalogService, region string) {
	now := m.c.s.tick() // the catalog is in this order
	id := m.find(selectServiceOf, in.Type, in.Name)
	if id == "" {
		id = newID()
		m.insert(insertService, &serviceRow{ID: id, Type: in.Type, Name: in.Name, Enabled: true, Extra: "{}", CreatedAt: now})
	}
	url := basePlaceholder + "/" + strings.TrimPrefix(in.Path, "/")
	for _, kind := range []string{"public", "internal", "admin"} {
		endpoint := m.find(selectEndpointOf, id, kind)
		if endpoint == "" {
			m.insert(insertEndpoint, &endpointRow{ID: newID(), ServiceID: id, Interface: kind, Region: region, URL: url,
				Enabled: true, Extra: "{}", CreatedAt: now})
		} else if m.err == nil {
			_, m.err = m.c.ExecContext(m.ctx, updateEndpointURL, url, endpoint, url)
		}
	}
}
