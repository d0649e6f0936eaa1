package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"regexp"

	"kilonova/compat"
	"kilonova/schema"
)

func (s *Service) catalogRoutes() []route {
	return []route{
		{"GET", "/v3/services", readers, "list_services", s.listServices},
		{"POST", "/v3/services", admins, "create_service", s.createService},
		{"GET", "/v3/services/{id}", readers, "get_service", s.showService},
		{"PATCH", "/v3/services/{id}", admins, "update_service", s.updateService},
		{"DELETE", "/v3/services/{id}", admins, "delete_service", s.deleteService},
		{"GET", "/v3/endpoints", readers, "list_endpoints", s.listEndpoints},
		{"POST", "/v3/endpoints", admins, "create_endpoint", s.createEndpoint},
		{"GET", "/v3/endpoints/{id}", readers, "get_endpoint", s.showEndpoint},
		{"PATCH", "/v3/endpoints/{id}", admins, "update_endpoint", s.updateEndpoint},
		{"DELETE", "/v3/endpoints/{id}", admins, "delete_endpoint", s.deleteEndpoint},
		{"GET", "/v3/regions", anyToken, "list_regions", s.listRegions},
		{"POST", "/v3/regions", admins, "create_region", s.createRegion},
		{"PUT", "/v3/regions/{id}", admins, "create_region", s.putRegion},
		{"GET", "/v3/regions/{id}", anyToken, "get_region", s.showRegion},
		{"PATCH", "/v3/regions/{id}", admins, "update_region", s.updateRegion},
		{"DELETE", "/v3/regions/{id}", admins, "delete_region", s.deleteRegion},
	}
}

type serviceRow struct {
	ID          string        `db:"id"`
	Type        string        `db:"type"`
	Name        string        `db:"name"`
	Description string        `db:"description"`
	Enabled     bool          `db:"enabled"`
	Extra       string        `db:"extra"`
	CreatedAt   schema.Micros `db:"created_at"`
}

type endpointRow struct {
	ID        string        `db:"id"`
	ServiceID string        `db:"service_id"`
	Interface string        `db:"interface"`
	Region    string        `db:"region_id"`
	URL       string        `db:"url"`
	Enabled   bool          `db:"enabled"`
	Extra     string        `db:"extra"`
	CreatedAt schema.Micros `db:"created_at"`
}

const (
	selectServices = `SELECT id, type, name, description, enabled, extra FROM identity_services`
	selectService  = selectServices + ` WHERE id = ?`
	insertService  = `
INSERT INTO identity_services (id, type, name, description, enabled, extra, created_at)
VALUES (:id, :type, :name, :description, :enabled, :extra, :created_at)`
	updateService = `
UPDATE identity_services SET type = :type, name = :name, description = :description, enabled = :enabled, extra = :extra
WHERE id = :id`
	deleteService   = `DELETE FROM identity_services WHERE id = ?`
	selectEndpoints = `SELECT id, service_id, interface, region_id, url, enabled, extra FROM identity_endpoints`
	selectEndpoint  = selectEndpoints + ` WHERE id = ?`
	insertEndpoint  = `
INSERT INTO identity_endpoints (id, service_id, interface, region_id, url, enabled, extra, created_at)
VALUES (:id, :service_id, :interface, :region_id, :url, :enabled, :extra, :created_at)`
	updateEndpoint = `
UPDATE identity_endpoints
SET service_id = :service_id, interface = :interface, region_id = :region_id, url = :url, enabled = :enabled, extra = :extra
WHERE id = :id`
	deleteEndpoint = `DELETE FROM identity_endpoints WHERE id = ?`
)

// remove deletes the path's row of a kind that changes the catalog.
func (s *Service) remove(w http.ResponseWriter, r *http.Request, kind, statement string) error {
	id := pathVar(r, "id")
	if !validID(id) {
		return missing(kind, id)
	}
	err := s.change(r.Context(), func(c *change) error {
		ok, err := schema.Changed(c.ExecContext(r.Context(), statement, id))
		if err != nil {
			return fmt.Errorf("delete %s %s: %w", kind, id, err)
		}
		if !ok {
			return missing(kind, id)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return noContent(w)
}

// store writes a row of the catalog inside a change.
func (c *change) store(ctx context.Context, kind, statement string, row any) error {
	err := execNamed(ctx, c, statement, row)
	if err != nil {
		return fmt.Errorf("store %s: %w", kind, err)
	}
	return nil
}

func (s *Service) serviceView(r *http.Request, row *serviceRow) object {
	return view(row.Extra, object{"id": row.ID, "type": row.Type, "name": row.Name, "description": row.Description,
		"enabled": row.Enabled, "links": s.self(r, "services", row.ID)})
}

func (s *Service) listServices(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r).equal("type", "name").enabled()
	return answerList(s, w, r, "services", q, selectServices, func(row *serviceRow) (object, string) {
		return s.serviceView(r, row), row.ID
	})
}

func (s *Service) showService(w http.ResponseWriter, r *http.Request) error {
	var row serviceRow
	err := find(r.Context(), s.db, &row, "service", selectService, pathVar(r, "id"))
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"service": s.serviceView(r, &row)})
}

func editService(f *fields, row *serviceRow) error {
	if f.has("type") || row.Type == "" {
		row.Type = f.name("type")
	}
	if f.has("name") {
		row.Name = f.text("name", maxName)
	}
	if f.has("description") {
		row.Description = f.text("description", maxText)
	}
	row.Enabled = f.boolean("enabled", row.Enabled)
	row.Extra = f.extra(row.Extra)
	return f.err
}

func (s *Service) createService(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "service")
	if err != nil {
		return err
	}
	row := serviceRow{ID: newID(), Enabled: true, CreatedAt: s.now()}
	err = editService(&fields{in: in}, &row)
	if err != nil {
		return err
	}
	err = s.change(r.Context(), func(c *change) error { return c.store(r.Context(), "service", insertService, &row) })
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusCreated, object{"service": s.serviceView(r, &row)})
}

func (s *Service) updateService(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "service")
	if err != nil {
		return err
	}
	var row serviceRow
	err = s.change(r.Context(), func(c *change) error {
		row = serviceRow{}
		err := find(r.Context(), c, &row, "service", selectService, pathVar(r, "id"))
		if err == nil {
			err = editService(&fields{in: in}, &row)
		}
		if err != nil {
			return err
		}
		return c.store(r.Context(), "service", updateService, &row)
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"service": s.serviceView(r, &row)})
}

func (s *Service) deleteService(w http.ResponseWriter, r *http.Request) error {
	return s.remove(w, r, "service", deleteService)
}

func (s *Service) endpointView(r *http.Request, row *endpointRow) object {
	return view(row.Extra, object{"id": row.ID, "service_id": row.ServiceID, "interface": row.Interface,
		"region": orNull(row.Region), "region_id": orNull(row.Region), "url": shownURL(row.URL, s.root(r)),
		"enabled": row.Enabled, "links": s.self(r, "endpoints", row.ID)})
}

func (s *Service) listEndpoints(w http.ResponseWriter, r *http.Request) error {
	q := newQuery(r).equal("service_id", "interface", "region_id").enabled().oneOf("interface", "public", "internal", "admin")
	q.equalAs("region", "region_id")
	return answerList(s, w, r, "endpoints", q, selectEndpoints, func(row *endpointRow) (object, string) {
		return s.endpointView(r, row), row.ID
	})
}

func (s *Service) showEndpoint(w http.ResponseWriter, r *http.Request) error {
	var row endpointRow
	err := find(r.Context(), s.db, &row, "endpoint", selectEndpoint, pathVar(r, "id"))
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"endpoint": s.endpointView(r, &row)})
}

// urlForm is what an endpoint's URL looks like, placeholders for ids included.
var urlForm = regexp.MustCompile(`^https?://[^\s"<>\\{}]+$|^wss?://[^\s"<>\\{}]+$`)

const maxURL = 2048

func editEndpoint(f *fields, row *endpointRow) error {
	if f.has("service_id") || row.ServiceID == "" {
		row.ServiceID = f.id("service_id")
	}
	if f.has("interface") || row.Interface == "" {
		row.Interface = f.text("interface", maxName)
	}
	if f.has("url") || row.URL == "" {
		row.URL = f.text("url", maxURL)
		if !urlForm.MatchString(row.URL) {
			f.wrong("url", "it is not an absolute URL")
		}
	}
	for _, key := range []string{"region", "region_id"} {
		if f.has(key) {
			row.Region = f.text(key, maxName)
		}
	}
	switch {
	case row.ServiceID == "":
		f.wrong("service_id", "it is empty or missing")
	case row.Interface != "public" && row.Interface != "internal" && row.Interface != "admin":
		f.wrong("interface", "it is not one of public, internal and admin")
	}
	for _, m := range urlWord.FindAllStringSubmatch(row.URL, -1) {
		if m[1] != "project_id" && m[1] != "tenant_id" && m[1] != "user_id" {
			f.wrong("url", "it holds a placeholder that is not known")
		}
	}
	row.Enabled = f.boolean("enabled", row.Enabled)
	row.Extra = f.extra(row.Extra)
	return f.err
}

// storeEndpoint writes an endpoint whose service and region exist; "region", the older
// member, makes its region when there is none.
func (s *Service) storeEndpoint(r *http.Request, c *change, in object, statement string, row *endpointRow) error {
	err := s.mustExist(r.Context(), c, "service", row.ServiceID)
	if compat.IsNotFound(err) {
		return compat.BadRequest("Service %s does not exist.", clip(row.ServiceID))
	}
	if err == nil && row.Region != "" {
		var found string
		err = c.GetContext(r.Context(), &found, existsRegion, row.Region)
		if errors.Is(err, sql.ErrNoRows) {
			if in["region"] == nil {
				return compat.BadRequest("Region %s does not exist.", clip(row.Region))
			}
			err = c.store(r.Context(), "region", insertRegion, &regionRow{ID: row.Region, Extra: "{}"})
		}
	}
	if err != nil {
		return err
	}
	return c.store(r.Context(), "endpoint", statement, row)
}

func (s *Service) createEndpoint(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "endpoint")
	if err != nil {
		return err
	}
	row := endpointRow{ID: newID(), Enabled: true, CreatedAt: s.now()}
	err = editEndpoint(&fields{in: in}, &row)
	if err != nil {
		return err
	}
	err = s.change(r.Context(), func(c *change) error { return s.storeEndpoint(r, c, in, insertEndpoint, &row) })
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusCreated, object{"endpoint": s.endpointView(r, &row)})
}

func (s *Service) updateEndpoint(w http.ResponseWriter, r *http.Request) error {
	in, err := readBody(r, "endpoint")
	if err != nil {
		return err
	}
	var row endpointRow
	err = s.change(r.Context(), func(c *change) error {
		row = endpointRow{}
		err := find(r.Context(), c, &row, "endpoint", selectEndpoint, pathVar(r, "id"))
		if err == nil {
			err = editEndpoint(&fields{in: in}, &row)
		}
		if err != nil {
			return err
		}
		return s.storeEndpoint(r, c, in, updateEndpoint, &row)
	})
	if err != nil {
		return err
	}
	return compat.WriteJSON(w, http.StatusOK, object{"endpoint": s.endpointView(r, &row)})
}

func (s *Service) deleteEndpoint(w http.ResponseWriter, r *http.Request) error {
	return s.remove(w, r, "endpoint", deleteEndpoint)
}
