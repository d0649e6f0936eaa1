package compat

import (
	"bufio"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
)

// TestAcceptIsReadAsTheOriginalsReadIt: testdata/accept.tsv is what their framework answers.
func TestAcceptIsReadAsTheOriginalsReadIt(t *testing.T) {
	file, err := os.Open("testdata/accept.tsv")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	lines := 0
	for in := bufio.NewScanner(file); in.Scan(); {
		accept, want, ok := strings.Cut(in.Text(), "\t")
		if !ok {
			continue
		}
		lines++
		r := httptest.NewRequest("GET", "/", nil)
		r.Header.Set("Accept", accept)
		w := httptest.NewRecorder()
		FrameworkFault(w, r, NotFound("x"))
		got, _, _ := strings.Cut(w.Header().Get("Content-Type"), ";")
		if got != want || w.Code != 404 {
			t.Errorf("Accept: %s: %s, want %s", accept, got, want)
		}
	}
	if lines < 50 {
		t.Errorf("%d headers", lines)
	}
	r := httptest.NewRequest("GET", "/", nil)
	r.Header["Accept"] = []string{"text/plain", "application/json"}
	if got := Accepted(r, "text/html", "application/json"); got != "application/json" {
		t.Errorf("of two headers: %q", got)
	}
	r.Header.Del("Accept")
	if got := Accepted(r, "text/html", "application/json"); got != "text/html" {
		t.Errorf("of none: %q", got)
	}
}

// TestFrameworkFault: the documents byte by byte, with what a client could put into them.
func TestFrameworkFault(t *testing.T) {
	page := func(status, body string) string {
		return "<html>\n <head>\n  <title>" + status + "</title>\n </head>\n <body>\n  <h1>" + status + "</h1>\n  " + body + "\n </body>\n</html>"
	}
	odd := "a <b>x</b> & \"y\" 'z' \u00fc\nline"
	tests := []struct {
		f                     *Fault
		html, message, status string
		plain                 string
	}{
		{BadRequest("%s", odd), "a &lt;b&gt;x&lt;/b&gt; &amp; &quot;y&quot; &#x27;z&#x27; &#252;\nline<br /><br />\n\n\n", odd + "<br /><br />\n\n\n",
			"400 Bad Request", "a x & \"y\" 'z' \u00fc line\n\n   "},
		{&Fault{Code: 405, Message: "no"}, "The method PUT is not allowed for this resource. <br /><br />\n", "The method PUT is not allowed for this resource. <br /><br />\n",
			"405 Method Not Allowed", "The method PUT is not allowed for this resource. \n\n "},
		{&Fault{Code: 415, Message: "why <i>"}, "The request media type application/json is not supported by this server.\n<br /><br />\nwhy &lt;i&gt;",
			"The request media type application/json is not supported by this server.\n<br /><br />\nwhy <i>",
			"415 Unsupported Media Type", "The request media type application/json is not supported by this server. \n\n why "},
		{&Fault{Code: 416, Message: "The start."}, "The Range requested is not available.<br /><br />\nThe start.\n\n", "The Range requested is not available.<br /><br />\nThe start.\n\n",
			"416 Request Range Not Satisfiable", "The Range requested is not available.\n\n The start.  "},
	}
	for _, tt := range tests {
		answer := func(accept string) (kind, body string) {
			r := httptest.NewRequest("PUT", "/", nil)
			r.Header.Set("Content-Type", "application/json")
			r.Header.Set("Accept", accept)
			w := httptest.NewRecorder()
			FrameworkFault(w, r, tt.f)
			if w.Code != tt.f.Code || w.Header().Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s: %d %v", tt.status, w.Code, w.Header())
			}
			return w.Header().Get("Content-Type"), w.Body.String()
		}
		kind, body := answer("*/*")
		if kind != "text/html; charset=UTF-8" || body != page(tt.status, tt.html) {
			t.Errorf("HTML of %s: %s %q", tt.status, kind, body)
		}
		kind, body = answer("text/plain")
		if kind != "text/plain; charset=UTF-8" || body != tt.status+"\n\n"+tt.plain {
			t.Errorf("text of %s: %s %q", tt.status, kind, body)
		}
		kind, body = answer("application/json")
		var doc map[string]string
		err := json.Unmarshal([]byte(body), &doc)
		if kind != "application/json" || err != nil || len(doc) != 3 || doc["message"] != tt.message || doc["code"] != tt.status || doc["title"] != tt.status[4:] {
			t.Errorf("JSON of %s: %s %q", tt.status, kind, body)
		}
	}
}

// FuzzFrameworkFault: nothing that a client says becomes markup.
func FuzzFrameworkFault(f *testing.F) {
	f.Add("text/html", "<script>", "<img>")
	f.Add("*/*", "&lt;\x00\xff", "a/b; c=\"<\"")
	f.Fuzz(func(t *testing.T, accept, message, kind string) {
		for _, code := range []int{400, 405, 415, 416} {
			r := httptest.NewRequest("GET", "/", nil)
			r.Header = http.Header{"Accept": {accept}, "Content-Type": {kind}}
			w := httptest.NewRecorder()
			FrameworkFault(w, r, &Fault{Code: code, Message: message})
			if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") {
				continue
			}
			plain := httptest.NewRecorder()
			FrameworkFault(plain, r, &Fault{Code: code, Message: "-"})
			if strings.Count(w.Body.String(), "<") != strings.Count(plain.Body.String(), "<") {
				t.Errorf("%q", w.Body.String())
			}
		}
	})
}
