package compat

import (
	"net/http"
	"regexp"
	"strconv"
	"strings"
)

// FrameworkFault writes an error as the originals' framework does, wherever a service has
// no document of its own for it: all of the image API's, paths that no service routes,
// bodies that are too large. It is HTML, JSON or plain text, as Accept asks; for nothing in
// particular (*/*) it is HTML, which is what clients of the image API know how to read.
// Whatever of a request gets into HTML is escaped.
func FrameworkFault(w http.ResponseWriter, r *http.Request, f *Fault) {
	title := frameworkTitle(f.Code)
	status := strconv.Itoa(f.Code) + " " + title
	h := w.Header()
	kind := "" // a request that says nothing likes plain text
	if r.Header.Get("Accept") != "" {
		kind = Accepted(r, "text/html", "application/json")
	}
	switch kind {
	case "application/json":
		h.Set("Content-Type", "application/json")
		writeDocument(w, f.Code, map[string]string{
			"message": frameworkText(r, f, asItIs), "code": status, "title": title})
	case "text/html":
		h.Set("Content-Type", "text/html; charset=UTF-8")
		writeBody(w, f.Code, []byte("<html>\n <head>\n  <title>"+status+"</title>\n </head>\n <body>\n  <h1>"+status+"</h1>\n  "+
			frameworkText(r, f, asMarkup)+"\n </body>\n</html>"))
	default:
		h.Set("Content-Type", "text/plain; charset=UTF-8")
		writeBody(w, f.Code, []byte(status+"\n\n"+withoutTags(frameworkText(r, f, asItIs))))
	}
}

// frameworkText is the text of the document: a paragraph and a detail. Of some codes the
// framework has a sentence of its own, and what the service says is the detail.
func frameworkText(r *http.Request, f *Fault, write func(string) string) string {
	switch f.Code {
	case http.StatusMethodNotAllowed:
		return "The method " + write(r.Method) + " is not allowed for this resource. <br /><br />\n"
	case http.StatusUnsupportedMediaType:
		return "The request media type " + write(clip(r.Header.Get("Content-Type"))) + " is not supported by this server.\n<br /><br />\n" + write(f.Message)
	case http.StatusRequestedRangeNotSatisfiable:
		return "The Range requested is not available.<br /><br />\n" + write(f.Message) + "\n\n"
	}
	return write(f.Message) + "<br /><br />\n\n\n"
}

func frameworkTitle(code int) string {
	if code == http.StatusRequestedRangeNotSatisfiable {
		return "Request Range Not Satisfiable"
	}
	return http.StatusText(code)
}

func asItIs(s string) string { return s }

// asMarkup is a text that has no tags, whatever is in it, in any encoding.
func asMarkup(s string) string {
	var b strings.Builder
	for _, c := range s {
		switch {
		case c == '&':
			b.WriteString("&amp;")
		case c == '<':
			b.WriteString("&lt;")
		case c == '>':
			b.WriteString("&gt;")
		case c == '"':
			b.WriteString("&quot;")
		case c == '\'':
			b.WriteString("&#x27;")
		case c > '~':
			b.WriteString("&#" + strconv.Itoa(int(c)) + ";")
		default:
			b.WriteRune(c)
		}
	}
	return b.String()
}

var (
	breakRE   = regexp.MustCompile(`(?is)<br.*?>`)
	commentRE = regexp.MustCompile(`<!--|-->`)
	tagRE     = regexp.MustCompile(`(?s)<.*?>`)
	oneLine   = strings.NewReplacer("\n", " ", "\r", "")
)

func withoutTags(s string) string {
	s = breakRE.ReplaceAllLiteralString(oneLine.Replace(s), "\n")
	return tagRE.ReplaceAllLiteralString(commentRE.ReplaceAllLiteralString(s, ""), "")
}
