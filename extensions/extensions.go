package extensions

import (
	_ "embed"
	"net/http"
	"strings"
	"sync"

	"kilonova/compat"
)

//go:embed extensions.tsv
var table string

// extension is one entry of the list as clients see it.
type extension struct {
	Alias       string        `json:"alias"`
	Name        string        `json:"name"`
	Description string        `json:"description"`
	Links       []compat.Link `json:"links"`
	Namespace   string        `json:"namespace"`
	Updated     string        `json:"updated"`
}

// legacyOnly is an alias that only /v2 lists.
const legacyOnly = "OS-EXT-VIF-NET"

// all reads the table once; one line is alias, name and description, with \n for newlines.
var all = sync.OnceValue(func() []extension {
	var out []extension
	for _, line := range strings.Split(strings.TrimSpace(table), "\n")[1:] {
		f := strings.Split(line, "\t")
		out = append(out, extension{
			Alias: f[0], Name: f[1], Description: strings.ReplaceAll(f[2], `\n`, "\n"), Links: []compat.Link{},
			Namespace: "http://docs.openstack.org/compute/ext/fake_xml", Updated: "2014-12-03T00:00:00Z",
		})
	}
	return out
})

// Register adds the operations of extensions to the API.
func Register(api *compat.Compute) {
	api.Handle("GET /extensions", index)
	api.Handle("GET /extensions/{id}", show)
}

func visible(r *compat.Request) []extension {
	var out []extension
	for _, e := range all() {
		if e.Alias != legacyOnly || r.Legacy {
			out = append(out, e)
		}
	}
	return out
}

// index answers GET /extensions.
func index(w http.ResponseWriter, r *compat.Request) error {
	return r.Answer(w, map[string]any{"extensions": visible(r)})
}

// show answers GET /extensions/{id}.
func show(w http.ResponseWriter, r *compat.Request) error {
	for _, e := range visible(r) {
		if e.Alias == r.Var("id") {
			return r.Answer(w, map[string]any{"extension": e})
		}
	}
	return compat.NotFound("The resource could not be found.")
}
