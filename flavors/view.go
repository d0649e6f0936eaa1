package flavors

import (
	"net/http"
	"net/url"
	"strconv"

	"kilonova/compat"
)

// view is a flavor as clients see it. In lists without detail it is id, name, links and,
// since 2.55, description.
type view struct {
	ID          string            `json:"id"`
	Name        string            `json:"name"`
	Links       []compat.Link     `json:"links"`
	Description *string           `json:"description" since:"2.55"`
	RAM         int               `json:"ram" in:"detail,show"`
	Disk        int               `json:"disk" in:"detail,show"`
	VCPUs       int               `json:"vcpus" in:"detail,show"`
	OldSwap     compat.Raw        `json:"swap" in:"detail,show" until:"2.74"` // "" for none
	Swap        int               `api:"swap" in:"detail,show" since:"2.75"`
	Ephemeral   int               `json:"OS-FLV-EXT-DATA:ephemeral" in:"detail,show"`
	Disabled    bool              `json:"OS-FLV-DISABLED:disabled" in:"detail,show" until:"2.101"`
	Public      bool              `json:"os-flavor-access:is_public" in:"detail,show"`
	RXTXFactor  float64           `json:"rxtx_factor" in:"detail,show" until:"2.101"`
	ExtraSpecs  map[string]string `json:"extra_specs" in:"detail,show" since:"2.61" show:"specs"`
}

var (
	encoder = compat.NewEncoder[view]("specs")
	specs   = encoder.Show("specs")
)

const specsRule = "os_compute_api:os-flavor-extra-specs:index"

func viewOf(r *compat.Request, f *Flavor) view {
	swap := compat.Raw(`""`)
	if f.SwapMB > 0 {
		swap = strconv.AppendInt(nil, int64(f.SwapMB), 10)
	}
	return view{
		ID: f.FlavorID, Name: f.Name, Links: r.Links("/flavors/" + url.PathEscape(f.FlavorID)), Description: f.Description,
		RAM: f.MemoryMB, Disk: f.RootGB, VCPUs: f.VCPUs, OldSwap: swap, Swap: f.SwapMB, Ephemeral: f.EphemeralGB,
		Disabled: f.Disabled, Public: f.Public, RXTXFactor: f.RXTXFactor, ExtraSpecs: f.ExtraSpecs,
	}
}

func at(r *compat.Request, name string) compat.At {
	to := compat.At{Version: r.Version, View: name}
	if showsSpecs.Has(r.Version) && r.May(specsRule) {
		to.Show = specs
	}
	return to
}

// answer writes one flavor.
func answer(w http.ResponseWriter, r *compat.Request, f *Flavor) error {
	v := viewOf(r, f)
	buf := compat.Buffer()
	defer buf.Free()
	buf.B = append(buf.B, `{"flavor":`...)
	buf.B = encoder.Append(buf.B, &v, at(r, "show"))
	buf.B = append(buf.B, '}')
	return r.AnswerBytes(w, buf.B)
}

// answerList writes a page, with a link to the next one when it is full.
func answerList(w http.ResponseWriter, r *compat.Request, page []Flavor, name, path string, limit int) error {
	to := at(r, name)
	buf := compat.Buffer()
	defer buf.Free()
	buf.B = append(buf.B, `{"flavors":[`...)
	for i := range page {
		if i > 0 {
			buf.B = append(buf.B, ',')
		}
		v := viewOf(r, &page[i])
		buf.B = encoder.Append(buf.B, &v, to)
	}
	buf.B = append(buf.B, ']')
	if n := len(page); n > 0 && n == limit {
		next := r.NextLink(path, page[n-1].FlavorID)
		buf.B = append(buf.B, `,"flavors_links":[{"rel":"next","href":`...)
		buf.B = append(compat.AppendString(buf.B, next[0].Href), `}]`...)
	}
	buf.B = append(buf.B, '}')
	return r.AnswerBytes(w, buf.B)
}
