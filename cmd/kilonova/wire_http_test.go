package main

import (
	"bytes"
	"log/slog"
	"net/http"
	"strings"
	"testing"

	"kilonova/schema/schematest"
	"kilonova/work"
)

// Every service says which of its operations a request was, and nothing of a client's own
// gets into that name.
func TestTheAccessLogNamesOperations(t *testing.T) {
	var out bytes.Buffer
	old := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug})))
	t.Cleanup(func() { slog.SetDefault(old) })
	bells := work.NewBells()
	bare, err := newCloud(t.Context(), schematest.SQLite(t), cloudConfig{StateDir: t.TempDir(), InternalURL: "http://127.0.0.1:1", Bell: bells, Bells: bells, AccessLog: true})
	if err != nil {
		t.Fatal(err)
	}
	c := loggedIn(t, bare)
	for call, want := range map[string]string{
		"GET /v2.1/servers/nothing":                     `service=compute operation="GET /servers/{id}" version=2.1 project=` + c.owner,
		"GET /compute/v2.1/servers/detail":              `service=compute operation="GET /servers/detail"`,
		"GET /v2.1/nothing":                             `service=compute operation="" version=2.1`,
		"GET /identity/v3/users/nothing":                `service=identity operation="GET /v3/users/{user}"`,
		"GET /image/v2/images/nothing":                  `service=image operation="GET /v2/images/{id}"`,
		"GET /networking/v2.0/ports/nothing":            `service=network operation="GET /v2.0/ports/{id}"`,
		"GET /networking/v2.0/nothing":                  `service=network operation=""`,
		"GET /image":                                    `service=image operation=""`,
		"GET /healthz":                                  `level=DEBUG msg=request method=GET path=/healthz service=health operation=healthz`,
		"GET /readyz":                                   `service=health operation=readyz`,
		"DELETE /v2.1/servers/nothing?secret=Tops3cret": `operation="DELETE /servers/{id}"`,
	} {
		out.Reset()
		method, path, _ := strings.Cut(call, " ")
		c.do(method, path, "")
		said := out.String()
		if strings.Count(said, "msg=request") != 1 || !strings.Contains(said, want) {
			t.Errorf("%s: %s; want %s", call, said, want)
		}
		if strings.Contains(said, "Tops3cret") || strings.Contains(said, c.token) {
			t.Errorf("%s tells a secret: %s", call, said)
		}
	}
	out.Reset()
	token := c.token
	c.token = ""
	w := c.do("POST", "/identity/v3/auth/tokens", `{"auth": {"identity": {"methods": ["password"], "password": {"user": {"id": "x", "password": "Tops3cret"}}}}}`)
	if w.Code != http.StatusUnauthorized || !strings.Contains(out.String(), `operation="POST /v3/auth/tokens"`) || strings.Contains(out.String(), "Tops3cret") {
		t.Errorf("a login: %d %s", w.Code, out.String())
	}
	out.Reset()
	c.token = token
	c.do("POST", "/v2.1/servers/x/action", `{"os-start": null}`)
	c.do("POST", "/v2.1/servers/x/action", `{"Tops3cret": null}`)
	if said := out.String(); !strings.Contains(said, `operation="POST /servers/{id}/action os-start"`) || strings.Contains(said, "Tops3cret") {
		t.Errorf("actions: %s", said)
	}
}

func TestTheAccessLogIsForThoseWhoWantIt(t *testing.T) {
	alone(t)
	for line, want := range map[string]bool{"up": true, "api --access-log=false": false} {
		p, err := loaded(t, "", line)
		if err != nil || p.cloud("", addresses{}, nil, nil).AccessLog != want {
			t.Errorf("%s: %v", line, err)
		}
	}
	if n := len((&cloud{}).watchers()); n != 0 {
		t.Errorf("%d watch", n)
	}
}
