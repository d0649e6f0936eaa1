package tempestlite

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
)

// paging makes the check of a list that comes in pages: followed to its end by its next
// links it is the whole list, each item once, in the same order; by marker likewise; and
// an unknown marker is refused.
func (g *generator) paging(s site) {
	spec := s.call.Paging
	if spec == nil {
		return
	}
	if since, err := ParseVersion(spec.Since); spec.Since != "" && (err != nil || s.v < since) {
		return
	}
	g.add(s, Paging, "", s.op.Key()+" comes in pages", "every item once, in the order of the whole list", s.needs(), func(t *T) {
		as := t.caller(s)
		if spec.Make != "" {
			for range 3 {
				delete(t.values, spec.Make)
				t.Value(spec.Make)
			}
		}
		r := t.request(s)
		r.as = as
		first := t.page(r, spec, "limit=2")
		var walked []string
		seen := 0
		for page := first; ; seen++ {
			ids := page.ids(spec)
			if len(ids) > 2 {
				t.Fatalf("a page of limit=2 has %d items", len(ids))
			}
			walked = append(walked, ids...)
			if len(ids) < 2 || seen > 500 {
				break
			}
			next := page.next(spec, r.path, ids[len(ids)-1])
			if next == "" {
				t.Errorf("a full page has no next link in %s", spec.Links)
				break
			}
			nr := r
			nr.path = next
			page = pageOf{t.Must(as, s.v, "GET", next, nil, s.op.Success(s.v))}
		}
		if len(walked) < 3 {
			t.Errorf("the pages hold %d items, where 3 were made", len(walked))
		}
		sorted := slices.Clone(walked)
		slices.Sort(sorted)
		if len(slices.Compact(sorted)) != len(walked) {
			t.Errorf("an item comes twice: %v", walked)
		}
		t.unknownMarker(r, spec)
	})
}

type pageOf struct{ resp *Response }

func (t *T) page(r request, spec *PagingSpec, query string) pageOf {
	resp := t.Must(r.as, r.version, "GET", r.path+separator(r.path)+query, nil, http.StatusOK)
	return pageOf{resp}
}

func (p pageOf) ids(spec *PagingSpec) []string {
	list, _ := dotted(p.resp.JSON, spec.Key).([]any)
	out := make([]string, len(list))
	for i := range list {
		out[i] = fmt.Sprint(dotted(list[i], spec.ID))
	}
	return out
}

// next is the path of the next page: by link where the list has them, else by marker.
func (p pageOf) next(spec *PagingSpec, path, last string) string {
	if spec.Links == "" {
		return path + separator(path) + "limit=2&marker=" + url.QueryEscape(last)
	}
	links, _ := dotted(p.resp.JSON, spec.Links).([]any)
	for _, l := range links {
		if dig(l, "rel") == "next" {
			return fmt.Sprint(dig(l, "href"))
		}
	}
	return ""
}

func (t *T) unknownMarker(r request, spec *PagingSpec) {
	code := spec.Marker
	if code == 0 {
		code = http.StatusBadRequest
	}
	resp := t.Do(r.as, r.version, "GET", r.path+separator(r.path)+"marker=11111111-2222-4333-8444-555555555555", nil)
	if t.Want(resp, code) && code >= 400 {
		t.CheckFault(resp)
		if !strings.Contains(strings.ToLower(resp.Message()), "marker") {
			t.Errorf("the message %q does not name the marker", resp.Message())
		}
	}
}
