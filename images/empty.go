package images

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/google/uuid"

	"kilonova/compat"
)

// emptyList is a collection of which there is nothing here. What a list of it may be asked
// is checked nonetheless: a client's mistake is one, whatever there is to list.
type emptyList struct {
	key, path string
	sortKeys  []string
	// values are what filters take that do not take any text.
	values map[string][]string
	// marker is the error of a marker, since nothing is there to begin at.
	marker func(string) error
}

var tasksList = emptyList{
	key: "tasks", path: "/v2/tasks",
	sortKeys: []string{"id", "type", "status", "owner", "expires_at", "created_at", "updated_at"},
	values:   map[string][]string{"status": {"pending", "processing", "success", "failure"}, "type": {"import"}},
	marker: func(marker string) error {
		_, err := uuid.Parse(marker)
		if err != nil {
			return compat.BadRequest("Invalid marker format")
		}
		return compat.BadRequest("No task found with ID %s", marker)
	},
}

var namespacesList = emptyList{
	key: "namespaces", path: "/v2/metadefs/namespaces",
	sortKeys: []string{"id", "namespace", "display_name", "description", "visibility", "protected", "owner", "created_at", "updated_at"},
	values:   map[string][]string{"visibility": {"public", "private"}},
	marker: func(marker string) error {
		return compat.NotFound("Metadata definition namespace=%s was not found.", clip(marker))
	},
}

func (l *emptyList) handle(_ *Service, w http.ResponseWriter, c *call) error {
	q := c.URL.Query()
	err := l.check(q)
	if err != nil {
		return err
	}
	q.Del("marker")
	first := l.path
	if len(q) > 0 {
		first += "?" + q.Encode()
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{
		l.key: []any{}, "first": first, "schema": strings.Replace(l.path, "/v2/", "/v2/schemas/", 1)})
}

func (l *emptyList) check(q url.Values) error {
	if q.Has("sort_dir") && q.Get("sort_dir") != "asc" && q.Get("sort_dir") != "desc" {
		return compat.BadRequest("Invalid sort direction: %s", clip(q.Get("sort_dir")))
	}
	for name, values := range l.values {
		if given := q.Get(name); given != "" && !slices.Contains(values, given) {
			return compat.BadRequest("Invalid %s value: %s", name, clip(given))
		}
	}
	if q.Has("limit") {
		_, err := parseLimit(q.Get("limit"))
		if err != nil {
			return err
		}
	}
	if q.Has("sort_key") && !slices.Contains(l.sortKeys, q.Get("sort_key")) {
		return compat.BadRequest("Sort key supplied was not valid.")
	}
	if q.Get("marker") != "" {
		return l.marker(q.Get("marker"))
	}
	return nil
}
