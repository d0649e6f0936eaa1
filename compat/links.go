package compat

import (
	"net/http"
	"regexp"
	"strings"
)

// Base says where a service is reached from outside: a configured public URL, or else what
// the request itself says.
type Base struct {
	Public string // such as https://cloud.example.org, without a slash at the end; "" follows the request
	Mount  string // the service's path below it, such as "/identity"
}

var hostForm = regexp.MustCompile(`^[A-Za-z0-9._~\-\[\]:]{1,255}$`)

// URL gives the service's root, without a slash at the end. Behind a proxy the forwarded
// headers win over the request's own host; a host that is not one is ignored.
func (b Base) URL(r *http.Request) string {
	if b.Public != "" {
		return b.Public + b.Mount
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	if p := first(r.Header.Get("X-Forwarded-Proto")); p == "http" || p == "https" {
		scheme = p
	}
	host := r.Host
	if h := first(r.Header.Get("X-Forwarded-Host")); hostForm.MatchString(h) {
		host = h
	}
	if !hostForm.MatchString(host) {
		host = "localhost"
	}
	prefix := first(r.Header.Get("X-Forwarded-Prefix"))
	if !strings.HasPrefix(prefix, "/") || strings.HasPrefix(prefix, "//") || strings.ContainsAny(prefix, `"\<>`) {
		prefix = ""
	}
	return scheme + "://" + host + strings.TrimSuffix(prefix, "/") + b.Mount
}

// first is the first entry of a comma list, which the proxy nearest to the client wrote.
func first(list string) string {
	entry, _, _ := strings.Cut(list, ",")
	return strings.TrimSpace(entry)
}

// Link is one entry of a "links" list.
type Link struct {
	Rel  string `json:"rel"`
	Href string `json:"href"`
	Type string `json:"type,omitempty"`
}

// Links gives a resource's self link, with the version, and its bookmark, without. path
// starts with a slash: "/servers/ID".
func (r *Request) Links(path string) []Link {
	return []Link{{Rel: "self", Href: r.SelfURL(path)}, {Rel: "bookmark", Href: r.BookmarkURL(path)}}
}

// SelfURL is the versioned address of a path; it names the project if the request did.
func (r *Request) SelfURL(path string) string {
	return r.root + r.versionPrefix + r.projectPrefix + path
}

// BookmarkURL is the address of a path without the version.
func (r *Request) BookmarkURL(path string) string { return r.root + r.projectPrefix + path }

// NextLink gives the link to the page after the one that ends with marker: the request's
// own address with marker set.
func (r *Request) NextLink(path, marker string) []Link {
	q := ParseQuery(r.URL.RawQuery)
	q.Set("marker", marker)
	return []Link{{Rel: "next", Href: r.SelfURL(path) + "?" + q.Encode()}}
}
