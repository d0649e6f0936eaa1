package compat

import (
	"net/http"
	"strings"
)

type versionDocument struct {
	ID         string      `json:"id"`
	Status     string      `json:"status"`
	Version    string      `json:"version"`
	MinVersion string      `json:"min_version"`
	Updated    string      `json:"updated"`
	Links      []Link      `json:"links"`
	MediaTypes []mediaType `json:"media-types,omitempty"`
}

type mediaType struct {
	Base string `json:"base"`
	Type string `json:"type"`
}

// choice is a version as the 300 answer to an unversioned path lists it.
type choice struct {
	ID         string      `json:"id"`
	Status     string      `json:"status"`
	Links      []Link      `json:"links"`
	MediaTypes []mediaType `json:"media-types"`
}

// The version documents say the same at every microversion; only links differ.
func computeVersions(root string) []versionDocument {
	return []versionDocument{
		{ID: "v2.0", Status: "DEPRECATED", Updated: "2025-07-04T12:00:00Z",
			Links:      []Link{{Rel: "self", Href: root + "/v2/"}},
			MediaTypes: []mediaType{{"application/json", "application/vnd.openstack.compute+json;version=2"}}},
		{ID: "v2.1", Status: "CURRENT", Version: MaxVersion.String(), MinVersion: MinVersion.String(),
			Updated:    "2013-07-23T11:33:21Z",
			Links:      []Link{{Rel: "self", Href: root + "/v2.1/"}},
			MediaTypes: []mediaType{{"application/json", "application/vnd.openstack.compute+json;version=2.1"}}},
	}
}

// serveDocument answers the paths that need no token; it is false for all others.
func (c *Compute) serveDocument(w http.ResponseWriter, r *http.Request, root string) bool {
	path := r.URL.Path
	versions := computeVersions(root)
	get := r.Method == http.MethodGet || r.Method == http.MethodHead
	switch {
	case !get:
		return false
	case path == "/" || path == "":
		for i := range versions {
			versions[i].MediaTypes = nil
		}
		writeDocumentJSON(w, 200, map[string]any{"versions": versions})
	case path == "/v2" || path == "/v2/":
		writeDocumentJSON(w, 200, map[string]any{"version": described(versions[0])})
	case path == "/v2.1" || path == "/v2.1/":
		writeDocumentJSON(w, 200, map[string]any{"version": described(versions[1])})
	case strings.HasPrefix(path, "/v2/"), strings.HasPrefix(path, "/v2.1/"):
		return false
	default:
		var choices []choice
		for _, v := range versions {
			self := strings.TrimSuffix(v.Links[0].Href, "/") + path
			choices = append(choices, choice{v.ID, v.Status, []Link{{Rel: "self", Href: self}}, v.MediaTypes})
		}
		writeDocumentJSON(w, http.StatusMultipleChoices, map[string]any{"choices": choices})
	}
	return true
}

// serveVersion answers GET /versions/{id} below a version, which needs a token as all
// operations do.
func (c *Compute) serveVersion(w http.ResponseWriter, r *Request, id string) error {
	for _, v := range computeVersions(r.root) {
		if v.ID == id {
			writeDocumentJSON(w, http.StatusOK, map[string]any{"version": described(v)})
			return nil
		}
	}
	return errNotThere
}

// errNotThere is Nova's answer for a thing of a route that exists.
var errNotThere = NotFound("The resource could not be found.")

func described(v versionDocument) versionDocument {
	v.Links = append(v.Links, Link{Rel: "describedby", Type: "text/html", Href: "http://docs.openstack.org/"})
	return v
}

func writeDocumentJSON(w http.ResponseWriter, code int, doc any) {
	w.Header().Set("Content-Type", "application/json")
	writeDocument(w, code, doc)
}
