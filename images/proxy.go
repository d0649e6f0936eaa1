package images

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"kilonova/compat"
)

// maxImageMeta is the compute API's bound on an image's metadata.
const maxImageMeta = 128

// RegisterCompute registers the image proxy of old microversions: images until 2.35, their
// metadata until 2.38. The table of operations knows where they end.
func (s *Service) RegisterCompute(api *compat.Compute) {
	api.Handle("GET /images", s.proxyList(basicView))
	api.Handle("GET /images/detail", s.proxyList(s.detailView))
	api.Handle("GET /images/{id}", s.proxyShow)
	api.Handle("DELETE /images/{id}", s.proxyDelete)
	api.Handle("GET /images/{id}/metadata", s.proxyMetadata)
	api.Handle("POST /images/{id}/metadata", s.proxySetMetadata(true))
	api.Handle("PUT /images/{id}/metadata", s.proxySetMetadata(false))
	api.Handle("GET /images/{id}/metadata/{key}", s.proxyMetaItem)
	api.Handle("PUT /images/{id}/metadata/{key}", s.proxySetMetaItem)
	api.Handle("DELETE /images/{id}/metadata/{key}", s.proxyDeleteMetaItem)
}

// The documents of the compute API, as api_samples/images has them.
type (
	proxyImage struct {
		ID    string        `json:"id"`
		Name  *string       `json:"name"`
		Links []compat.Link `json:"links"`
	}
	proxyDetail struct {
		ID         string             `json:"id"`
		Name       *string            `json:"name"`
		Links      []compat.Link      `json:"links"`
		MinRAM     int64              `json:"minRam"`
		MinDisk    int64              `json:"minDisk"`
		Metadata   map[string]*string `json:"metadata"`
		Created    string             `json:"created"`
		Updated    string             `json:"updated"`
		Status     string             `json:"status"`
		Progress   int                `json:"progress"`
		Size       int64              `json:"OS-EXT-IMG-SIZE:size"`
		Server     *proxyServer       `json:"server,omitempty"`
		DiskConfig string             `json:"OS-DCF:diskConfig,omitempty"`
	}
	proxyServer struct {
		ID    string        `json:"id"`
		Links []compat.Link `json:"links"`
	}
)

func name(img *Image) *string {
	if img.Unnamed {
		return nil
	}
	return &img.Name
}

func (s *Service) imageLinks(r *compat.Request, img *Image) []compat.Link {
	return append(r.Links("/images/"+img.ID), compat.Link{
		Rel: "alternate", Type: "application/vnd.openstack.image",
		Href: s.Base.URL(r.Request) + "/images/" + img.ID})
}

func basicView(s *Service, r *compat.Request, img *Image) any {
	return proxyImage{img.ID, name(img), s.imageLinks(r, img)}
}

// proxyStates maps an image's state to the compute API's word and progress.
var proxyStates = map[string]struct {
	status   string
	progress int
}{
	Active: {"ACTIVE", 100}, Queued: {"SAVING", 25}, Saving: {"SAVING", 50}, Deleted: {"DELETED", 0},
}

func (s *Service) detailView(_ *Service, r *compat.Request, img *Image) any {
	state, ok := proxyStates[img.Status]
	if !ok {
		state.status = "UNKNOWN"
	}
	v := proxyDetail{
		ID: img.ID, Name: name(img), Links: s.imageLinks(r, img), MinRAM: img.MinRAM, MinDisk: img.MinDisk,
		Metadata: img.metadata(), Created: img.CreatedAt.ISO(), Updated: img.UpdatedAt.ISO(),
		Status: state.status, Progress: state.progress,
	}
	if img.HasData() {
		v.Size = img.Size
	}
	if id := img.Properties["instance_uuid"]; id != "" {
		v.Server = &proxyServer{id, r.Links("/servers/" + id)}
	}
	if auto, ok := img.Properties["auto_disk_config"]; ok {
		v.DiskConfig = "MANUAL"
		if slices.Contains([]string{"1", "t", "true", "on", "y", "yes"}, strings.ToLower(strings.TrimSpace(auto))) {
			v.DiskConfig = "AUTO"
		}
	}
	return v
}

// proxyFilters are the compute API's filters, in the image API's words; property-NAME
// filters by the property NAME.
var proxyFilters = map[string]string{
	"name": "name", "status": "status", "changes-since": "updated_at", "server": "instance_uuid",
	"type": "image_type", "minRam": "min_ram", "minDisk": "min_disk",
}

func (s *Service) proxyList(view func(*Service, *compat.Request, *Image) any) compat.Handler {
	return func(w http.ResponseWriter, r *compat.Request) error {
		p, err := proxyPage(r)
		if err != nil {
			return err
		}
		recs, more, err := s.page(r.Context(), r.Caller, p)
		if err != nil {
			return err
		}
		views := make([]any, len(recs))
		for i, rec := range recs {
			views[i] = view(s, r, &rec.Image)
		}
		doc := map[string]any{"images": views}
		if more && len(recs) > 0 {
			path := "/images"
			if strings.HasSuffix(r.Op.Path, "/detail") {
				path = "/images/detail"
			}
			doc["images_links"] = r.NextLink(path, recs[len(recs)-1].ID)
		}
		return r.Answer(w, doc)
	}
}

func proxyPage(r *compat.Request) (*page, error) {
	p, err := parsePage(nil)
	if err != nil {
		return nil, err
	}
	p.limit, p.marker = maxLimit, r.Query.Get("marker")
	if v := r.Query.Get("limit"); v != "" {
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil || n < 0 {
			return nil, compat.BadRequest("limit must be an integer that is not negative")
		}
		if n > 0 {
			p.limit = int(min(n, maxLimit))
		}
	}
	for param, values := range r.Query {
		value := values[len(values)-1]
		filter, known := proxyFilters[param]
		property, isProperty := strings.CutPrefix(param, "property-")
		if !clean(param) || !clean(value) {
			return nil, compat.BadRequest("Invalid filter: %s", clip(param))
		}
		switch {
		case known:
		case isProperty:
			p.property(property, value)
			continue
		default:
			continue
		}
		switch param {
		case "status":
			err = p.proxyStatus(strings.ToLower(value))
		case "changes-since":
			err = p.timeFilter("updated_at", "gte:"+value)
		case "name":
			p.where.add("i.name = ?", value)
		case "server", "type":
			// A server may be named by its address.
			if at := strings.LastIndex(value, "/"); param == "server" && at >= 0 {
				value = value[at+1:]
			}
			p.property(filter, value)
		default:
			err = p.filter(filter, value)
		}
		if err != nil {
			return nil, err
		}
	}
	p.where.add("i.os_hidden = 0")
	p.visible(r.Caller, "", "accepted")
	return p, nil
}

func (p *page) property(name, value string) {
	p.where.add("EXISTS (SELECT 1 FROM image_properties p WHERE p.image_id = i.id AND p.name = ? AND p.value = ?)", name, value)
}

func (p *page) proxyStatus(status string) error {
	if status == Saving {
		p.where.add("i.status IN ('queued', 'saving')") // both are shown as SAVING
		return nil
	}
	return p.filter("status", status)
}

// proxied gives the image that the path names, as the caller sees it.
func (s *Service) proxied(r *compat.Request) (*record, error) {
	id := r.Var("id")
	if !clean(id) {
		return nil, compat.NotFound("Image not found.")
	}
	rec, err := s.see(r.Context(), s.DB, r.Caller, id)
	if compat.IsNotFound(err) {
		return nil, compat.NotFound("Image not found.")
	}
	return rec, err
}

func (s *Service) proxyShow(w http.ResponseWriter, r *compat.Request) error {
	rec, err := s.proxied(r)
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"image": s.detailView(s, r, &rec.Image)})
}

func (s *Service) proxyDelete(w http.ResponseWriter, r *compat.Request) error {
	rec, err := s.proxied(r)
	if err != nil {
		return err
	}
	if rec.Protected || !allowed("delete_image", r.Caller, &rec.Image, "") {
		return compat.Forbidden("You are not allowed to delete the image.")
	}
	err = s.Delete(r.Context(), r.Caller, rec.ID)
	if compat.IsNotFound(err) {
		return compat.NotFound("Image not found.")
	}
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}

func (s *Service) proxyMetadata(w http.ResponseWriter, r *compat.Request) error {
	rec, err := s.proxied(r)
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"metadata": rec.metadata()})
}

// changeMeta alters an image's properties for its owner, within the bounds of both APIs.
func (s *Service) changeMeta(r *compat.Request, fn func(*Image) error) (*record, error) {
	rec, err := s.proxied(r)
	if err != nil {
		return nil, err
	}
	var refused error
	rec, err = s.change(r.Context(), r.Caller, rec.ID, func(rec *record) error {
		if !allowed("modify_image", r.Caller, &rec.Image, "") {
			return compat.Forbidden("You are not allowed to change the image's metadata.")
		}
		before, had := maps.Clone(rec.Properties), rec.countProperties()
		refused = fn(&rec.Image)
		if refused != nil {
			return refused
		}
		if n := rec.countProperties(); n > maxImageMeta && n >= had {
			return compat.Forbidden("Image metadata limit exceeded")
		}
		for key, value := range rec.Properties {
			if old, ok := before[key]; ok && old == value {
				continue
			}
			if utf8.RuneCountInString(value) > 255 {
				return compat.BadRequest("Invalid input for field/attribute %s. Value: %s. '%s' is too long", clip(key), clip(value), clip(value))
			}
			_, base := attributes[key]
			if base || forbidden(key) != nil {
				return compat.Forbidden("Attribute '%s' is reserved.", clip(key))
			}
			err = setProperty(&rec.Image, key, value)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if refused == nil && compat.IsNotFound(err) {
		return nil, compat.NotFound("Image not found.")
	}
	return rec, err
}

// proxySetMetadata merges the body's metadata into the image's, or replaces it.
func (s *Service) proxySetMetadata(merge bool) compat.Handler {
	return func(w http.ResponseWriter, r *compat.Request) error {
		var body struct {
			Metadata map[string]*string `json:"metadata"`
		}
		err := r.Decode(&body)
		if err != nil {
			return err
		}
		if body.Metadata == nil {
			return compat.BadRequest("Invalid input for field/attribute metadata. Value: None. None is not of type 'object'")
		}
		rec, err := s.changeMeta(r, func(img *Image) error {
			if !merge {
				clear(img.Properties)
				img.Null = nil
			}
			for key, value := range body.Metadata {
				if value == nil {
					return mismatch(nil, "string")
				}
				img.Properties[key] = *value
			}
			return nil
		})
		if err != nil {
			return err
		}
		return r.Answer(w, map[string]any{"metadata": rec.metadata()})
	}
}

func (s *Service) proxyMetaItem(w http.ResponseWriter, r *compat.Request) error {
	rec, err := s.proxied(r)
	if err != nil {
		return err
	}
	key := r.Var("key")
	if !rec.hasProperty(key) {
		return compat.NotFound("Metadata item was not found")
	}
	return r.Answer(w, map[string]any{"meta": map[string]*string{key: rec.metadata()[key]}})
}

func (s *Service) proxySetMetaItem(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Meta map[string]*string `json:"meta"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	key := r.Var("key")
	value, ok := body.Meta[key]
	if len(body.Meta) != 1 || !ok || value == nil {
		return compat.BadRequest("Request body and URI mismatch")
	}
	_, err = s.changeMeta(r, func(img *Image) error {
		img.Properties[key] = *value
		return nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"meta": map[string]string{key: *value}})
}

func (s *Service) proxyDeleteMetaItem(w http.ResponseWriter, r *compat.Request) error {
	key := r.Var("key")
	_, err := s.changeMeta(r, func(img *Image) error {
		if !img.hasProperty(key) {
			return compat.NotFound("Invalid metadata key")
		}
		img.removeProperty(key)
		return nil
	})
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
