package compat

import (
	"bytes"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// Who watches sees each exchange once, however it ends, with what was found out on the way.
func TestEveryExchangeIsSeen(t *testing.T) {
	var seen []*Exchange
	h := Front(Serves("tests", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		Means(r.Context(), "GET /{what}")
		switch r.URL.Path {
		case "/fine":
			WithCaller(r.Context(), &Caller{ProjectID: "p", UserID: "u"})
			w.WriteHeader(http.StatusAccepted)
			_, _ = io.WriteString(w, "four")
		case "/panic":
			panic("secret-marker")
		case "/gone":
			panic(http.ErrAbortHandler)
		}
	})), func(x *Exchange) { seen = append(seen, x) })
	for path, code := range map[string]int{"/fine": 202, "/panic": 500, "/gone": 0, "/silent": 200} {
		seen = nil
		w := httptest.NewRecorder()
		func() {
			defer func() { _ = recover() }()
			h.ServeHTTP(w, httptest.NewRequest("GET", path, nil))
		}()
		if len(seen) != 1 {
			t.Fatalf("%s was seen %d times", path, len(seen))
		}
		x := seen[0]
		if x.Code != code || x.Operation != "GET /{what}" || x.Service != "tests" || x.ID != w.Header().Get("X-Openstack-Request-Id") {
			t.Errorf("%s: %+v", path, x)
		}
		if path == "/fine" && (x.Bytes != 4 || x.Caller.ProjectID != "p") {
			t.Errorf("%s: %+v", path, x)
		}
	}
}

func logLine(t testing.TB, out io.Writer, level slog.Level) http.Handler {
	t.Helper()
	log := slog.New(slog.NewTextHandler(out, nil))
	return Front(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		WithCaller(r.Context(), &Caller{ProjectID: "p-1", UserID: "u-1", Token: "Tops3cret"})
		_, _ = io.WriteString(w, "four")
	}), AccessLog(log, func(*Exchange) slog.Level { return level }))
}

func TestAccessLog(t *testing.T) {
	var out bytes.Buffer
	h := logLine(t, &out, slog.LevelInfo)
	r := httptest.NewRequest("GET", "/a%0Aline?password=Tops3cret&x=%22", nil)
	r.Header.Set("X-Auth-Token", "Tops3cret")
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	said := out.String()
	for _, want := range []string{"method=GET", `path="/a\nline"`, "project=p-1", "user=u-1", "client=192.0.2.1:1234", "code=200", "bytes=4", "ms=", "request_id=" + w.Header().Get("X-Openstack-Request-Id")} {
		if !strings.Contains(said, want) {
			t.Errorf("%s is not in %s", want, said)
		}
	}
	if strings.Contains(said, "Tops3cret") || strings.Count(said, "\n") != 1 {
		t.Errorf("the line: %s", said)
	}
	out.Reset()
	logLine(t, &out, slog.LevelDebug).ServeHTTP(w, r)
	if out.Len() > 0 {
		t.Errorf("below its level: %s", out.String())
	}
}

// BenchmarkAccessLog is what a line costs beside the request.
func BenchmarkAccessLog(b *testing.B) {
	for name, level := range map[string]slog.Level{"on": slog.LevelInfo, "off": slog.LevelDebug} {
		b.Run(name, func(b *testing.B) {
			h := logLine(b, io.Discard, level)
			r := httptest.NewRequest("GET", "/v2.1/servers/0de2ca2f-6e5c-4d0e-9e0f-b3a3a1d0c111", nil)
			b.ReportAllocs()
			for b.Loop() {
				h.ServeHTTP(httptest.NewRecorder(), r)
			}
		})
	}
}
