package identity

import (
	"context"
	"fmt"
	"net/http"
	"regexp"
	"strings"
)

// basePlaceholder stands, in the URL of an endpoint that kilonova made, for where the
// client reaches this cloud.
const basePlaceholder = "{base}"

// catalogRows are the enabled endpoints of enabled services.
type catalogRows struct {
	version int64
	rows    []catalogRow
}

type catalogRow struct {
	ServiceID string `db:"service_id"`
	Type      string `db:"type"`
	Name      string `db:"name"`
	ID        string `db:"id"`
	Interface string `db:"interface"`
	Region    string `db:"region_id"`
	URL       string `db:"url"`
}

const selectCatalog = `
SELECT e.service_id, s.type, s.name, e.id, e.interface, e.region_id, e.url
FROM identity_endpoints e JOIN identity_services s ON s.id = e.service_id
WHERE e.enabled = 1 AND s.enabled = 1
ORDER BY s.created_at, s.id, e.region_id, e.interface, e.id`

func (s *Service) catalogRows(ctx context.Context) ([]catalogRow, error) {
	err := s.fresh(ctx)
	if err != nil {
		return nil, err
	}
	version := s.version.Load()
	if c := s.endpoints.Load(); c != nil && c.version == version {
		return c.rows, nil
	}
	c := &catalogRows{version: version}
	err = s.db.SelectContext(ctx, &c.rows, selectCatalog)
	if err != nil {
		return nil, fmt.Errorf("read the catalog: %w", err)
	}
	s.endpoints.Store(c)
	return c.rows, nil
}

// catalog shows the services as the token's user reaches them.
func (s *Service) catalog(r *http.Request, t *session) ([]object, error) {
	rows, err := s.catalogRows(r.Context())
	if err != nil {
		return nil, err
	}
	root := s.root(r)
	out := []object{}
	var endpoints []object
	for i, row := range rows {
		if i == 0 || rows[i-1].ServiceID != row.ServiceID {
			endpoints = []object{}
			out = append(out, object{"id": row.ServiceID, "type": row.Type, "name": row.Name})
		}
		if url, ok := endpointURL(row.URL, root, t.claims); ok {
			endpoints = append(endpoints, object{"id": row.ID, "interface": row.Interface,
				"region": orNull(row.Region), "region_id": orNull(row.Region), "url": url})
		}
		out[len(out)-1]["endpoints"] = endpoints
	}
	return out, nil
}

// orNull shows "" as null.
func orNull(s string) any {
	if s == "" {
		return nil
	}
	return s
}

var urlWord = regexp.MustCompile(`[$%]\((\w+)\)s`)

// endpointURL puts the cloud's address and the token's ids into an endpoint's URL. An
// endpoint that needs a project is not there for a token without one.
func endpointURL(url, root string, c *claims) (string, bool) {
	ok := true
	url = urlWord.ReplaceAllStringFunc(url, func(word string) string {
		value := ""
		switch urlWord.FindStringSubmatch(word)[1] {
		case "project_id", "tenant_id":
			value = c.Project
		case "user_id":
			value = c.User
		}
		ok = ok && value != ""
		return value
	})
	return shownURL(url, root), ok
}

func shownURL(url, root string) string {
	if rest, ok := strings.CutPrefix(url, basePlaceholder); ok {
		return root + rest
	}
	return url
}
