package main

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"kilonova/schema/schematest"
)

// accepts are the Accept headers that clients send, and what the originals' framework
// answers them in where it answers by itself.
var accepts = []struct {
	client string
	sent   bool
	header string
	kind   string
	pecan  bool // networks' framework, which offers plain text first, takes JSON for the choice
}{
	{"nothing", false, "", "text/plain", false},
	{"openstacksdk's actions", true, "", "text/plain", false},
	{"curl, python-glanceclient, requests, Go's client", true, "*/*", "text/html", false},
	{"keystoneauth, openstackclient, gophercloud, Terraform", true, "application/json", "application/json", true},
	{"Horizon's browser code", true, "application/json, text/plain, */*", "text/html", false},
	{"jQuery", true, "application/json, text/javascript, */*; q=0.01", "application/json", true},
	{"Firefox", true, "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html", false},
	{"Chrome", true, "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7", "text/html", false},
	{"a download", true, "application/octet-stream", "text/plain", false},
	{"wget of text", true, "text/plain", "text/plain", false},
	{"one who likes both", true, "application/json, text/html", "text/html", false},
	{"one who likes JSON more", true, "text/html;q=0.4, application/json;q=0.5", "application/json", true},
	{"one who wants no HTML", true, "text/html;q=0, */*;q=0.1", "application/json", false},
	{"one who wants nothing", true, "*/*;q=0", "text/plain", false},
	{"compute's own kind", true, "application/vnd.openstack.compute+json", "text/plain", false},
	{"no sense", true, "json", "text/html", false},
}

// The forms of errors.
const (
	framework = "framework" // follows Accept
	fault     = "fault"     // {"itemNotFound": {"code": 404, ...}}
	titled    = "titled"    // {"error": {"code": 404, "title": ...}}
	neutron   = "neutron"   // {"NeutronError": {"type": ...}}
	flask     = "flask"     // a page, whatever is asked for
	message   = "message"   // {"message": ...}
	pecan     = "pecan"     // framework, but {"code": 404, ...} as JSON, and that only as the first choice
)

// TestErrorsFollowAccept drives every form of error of every service with every Accept.
func TestErrorsFollowAccept(t *testing.T) {
	c := newTestCloud(t, schematest.SQLite(t))
	large := strings.Repeat(" ", 120000)
	tests := []struct {
		method, path, body string
		stranger           bool // has no token
		code               int
		form, says         string
	}{
		{"GET", "/v2.1/servers/nothing", "", false, 404, fault, "itemNotFound"},
		{"POST", "/v2.1/servers", "{", false, 400, fault, "badRequest"},
		{"GET", "/compute/v2.1/images/nothing", "", false, 404, fault, "Image not found."},
		{"GET", "/v2/flavors/nothing", "", false, 404, fault, "itemNotFound"},
		{"GET", "/v2.1/servers", "", true, 401, titled, "authentication"},
		{"GET", "/v2.1/nothing", "", false, 404, framework, "The resource could not be found."},
		{"PATCH", "/v2.1/servers", "", false, 404, framework, "The resource could not be found."},
		{"POST", "/v2.1/servers", large, false, 413, framework, "Request is too large."},

		{"GET", "/identity/v3/projects/nothing", "", false, 404, titled, "Could not find project"},
		{"POST", "/identity/v3/projects", "{", false, 400, titled, ""},
		{"GET", "/identity/v3/projects", "", true, 401, titled, "authentication"},
		{"POST", "/identity/v3/auth/tokens", `{"auth": {}}`, true, 400, titled, ""},
		{"GET", "/identity/v3/nothing", "", false, 404, flask, "<p>The requested URL was not found"},
		{"PUT", "/identity/v3/projects", "{}", false, 405, message, "not allowed for the requested URL"},
		{"POST", "/identity/v3/projects", large, false, 413, framework, "Request is too large."},

		{"GET", "/image/v2/images/nothing", "", false, 404, framework, "No image found with ID nothing"},
		{"GET", "/image/v2/images?visibility=" + "%3Cb%3E", "", false, 400, framework, "Invalid visibility value"},
		{"POST", "/image/v2/images", "{", false, 400, framework, "Malformed JSON"},
		{"POST", "/image/v2/images", `{"status": "active"}`, false, 403, framework, "is read-only"},
		{"PATCH", "/image/v2/images/{image}", "[]", false, 415, framework, "The request media type application/json is not supported by this server."},
		{"GET", "/image/v2/images", "", true, 401, framework, "could not verify that you are authorized"},
		{"GET", "/image/v2/nothing", "", false, 404, framework, "The resource could not be found."},
		{"PUT", "/image/v2/images", "", false, 405, framework, "The method PUT is not allowed"},

		{"GET", "/networking/v2.0/networks/nothing", "", false, 404, neutron, "NetworkNotFound"},
		{"POST", "/networking/v2.0/networks", "{", false, 400, neutron, ""},
		{"GET", "/networking/v2.0/networks", "", true, 401, titled, "authentication"},
		{"GET", "/networking/v2.0/nothing", "", false, 404, neutron, "HTTPNotFound"},
		{"PATCH", "/networking/v2.0/networks", "", false, 405, neutron, "HTTPMethodNotAllowed"},
		{"GET", "/networking/nothing", "", true, 404, pecan, "The resource could not be found."},
		{"POST", "/networking/", "", true, 405, pecan, "The method POST is not allowed"},
	}
	var made struct{ ID string }
	err := json.Unmarshal(c.do("POST", "/image/v2/images", `{"name": "i"}`).Body.Bytes(), &made)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range tests {
		for _, a := range accepts {
			r := httptest.NewRequest(tt.method, "http://cloud"+strings.ReplaceAll(tt.path, "{image}", made.ID), strings.NewReader(tt.body))
			r.Header.Set("Content-Type", "application/json")
			if a.sent {
				r.Header.Set("Accept", a.header)
			}
			if !tt.stranger {
				r.Header.Set("X-Auth-Token", c.token)
			}
			w := httptest.NewRecorder()
			c.handler.ServeHTTP(w, r)
			form, says := tt.form, tt.says
			if form == pecan {
				form = framework
				if a.pecan {
					form, says = pecan, ""
				}
			}
			complaint := wrongForm(w, form, a.kind, says)
			if w.Code != tt.code || complaint != "" {
				t.Errorf("%s %s for %s (%q): %d %s %.300s; want %d, %s", tt.method, tt.path, a.client, a.header, w.Code, w.Header().Get("Content-Type"), w.Body, tt.code, complaint)
			}
		}
	}
}

// wrongForm says what is wrong with an answer of a form to one who likes a kind; "" is none.
func wrongForm(w *httptest.ResponseRecorder, form, kind, says string) string {
	got, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
	body := w.Body.String()
	want := kind
	if form != framework && form != pecan {
		want = map[bool]string{true: "text/html", false: "application/json"}[form == flask]
	}
	switch {
	case got != want:
		return want
	case w.Header().Get("X-Content-Type-Options") != "nosniff":
		return "nosniff"
	case !strings.Contains(body, says):
		return says
	case got == "text/html":
		return unless(strings.HasPrefix(body, "<") && strings.Contains(body, http.StatusText(w.Code)), "a page")
	case got == "text/plain":
		return unless(strings.Contains(body, http.StatusText(w.Code)+"\n\n"), "a status line")
	}
	var doc map[string]any
	err := json.Unmarshal(w.Body.Bytes(), &doc)
	if err != nil {
		return "JSON"
	}
	code, _ := doc["code"].(string)
	inner := func(key string) map[string]any {
		m, _ := doc[key].(map[string]any)
		return m
	}
	number := float64(w.Code)
	switch form {
	case framework:
		return unless(len(doc) == 3 && doc["title"] == http.StatusText(w.Code) && strings.HasSuffix(code, http.StatusText(w.Code)), "message, code and title")
	case fault:
		for name := range doc {
			return unless(len(doc) == 1 && inner(name)["code"] == number && inner(name)["message"] != nil, "a named fault")
		}
	case titled:
		return unless(len(doc) == 1 && inner("error")["code"] == number && inner("error")["title"] == http.StatusText(w.Code), "a titled error")
	case neutron:
		return unless(len(doc) == 1 && inner("NeutronError")["type"] != nil && inner("NeutronError")["detail"] == "", "a NeutronError")
	case message:
		return unless(len(doc) == 1 && doc["message"] != nil, "a message")
	case pecan:
		return unless(len(doc) == 3 && doc["code"] == number && doc["title"] == http.StatusText(w.Code), "code, title and description")
	}
	return form
}

func unless(ok bool, complaint string) string {
	if ok {
		return ""
	}
	return complaint
}
