package flavors

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"regexp"
	"strconv"
	"strings"

	"github.com/google/uuid"

	"kilonova/compat"
)

// Register adds the operations of flavors to the API.
func (s *Service) Register(api *compat.Compute) {
	api.Handle("GET /flavors", s.index)
	api.Handle("GET /flavors/detail", s.detail)
	api.Handle("GET /flavors/{id}", s.show)
	api.Handle("POST /flavors", s.create)
	api.Handle("PUT /flavors/{id}", s.update)
	api.Handle("DELETE /flavors/{id}", s.delete)
	api.Handle("GET /flavors/{id}/os-flavor-access", s.accessIndex)
	api.Handle("POST /flavors/{id}/action addTenantAccess", s.addAccess)
	api.Handle("POST /flavors/{id}/action removeTenantAccess", s.removeAccess)
	api.Handle("GET /flavors/{id}/os-extra_specs", s.specsIndex)
	api.Handle("POST /flavors/{id}/os-extra_specs", s.specsCreate)
	api.Handle("GET /flavors/{id}/os-extra_specs/{key}", s.specsShow)
	api.Handle("PUT /flavors/{id}/os-extra_specs/{key}", s.specsUpdate)
	api.Handle("DELETE /flavors/{id}/os-extra_specs/{key}", s.specsDelete)
}

// Where requests change.
var (
	mindsPublic  = compat.Since(7)  // giving access to a public flavor is a conflict
	isDescribed  = compat.Since(55) // create takes a description
	showsSpecs   = compat.Since(61) // views have the extra specs
	checksSpecs  = compat.Since(86)
	filtersNames = compat.Since(102) // and nothing has a rxtx_factor any more
)

// index answers GET /flavors.
func (s *Service) index(w http.ResponseWriter, r *compat.Request) error {
	page, limit, err := s.page(r)
	if err != nil {
		return err
	}
	return answerList(w, r, page, "list", "/flavors", limit)
}

// detail answers GET /flavors/detail.
func (s *Service) detail(w http.ResponseWriter, r *compat.Request) error {
	page, limit, err := s.page(r)
	if err != nil {
		return err
	}
	if showsSpecs.Has(r.Version) && r.May(specsRule) {
		err = s.fillSpecs(r.Context(), page)
		if err != nil {
			return err
		}
	}
	return answerList(w, r, page, "detail", "/flavors/detail", limit)
}

func (s *Service) page(r *compat.Request) ([]Flavor, int, error) {
	f, err := readFilter(r)
	if err != nil {
		return nil, 0, err
	}
	page, err := s.list(r.Context(), r.Caller, f)
	return page, f.limit, err
}

// show answers GET /flavors/{id}.
func (s *Service) show(w http.ResponseWriter, r *compat.Request) error {
	f, err := s.Get(r.Context(), r.Caller, r.Var("id"))
	if err != nil {
		return err
	}
	return answer(w, r, f)
}

// number is a value that clients may send as a number or as a string; it keeps its text.
type number string

// UnmarshalJSON reads 5, "5" and null.
func (n *number) UnmarshalJSON(raw []byte) error {
	text := string(raw)
	if strings.HasPrefix(text, `"`) {
		return json.Unmarshal(raw, (*string)(n))
	}
	if text == "null" {
		return nil
	}
	var v json.Number
	err := json.Unmarshal(raw, &v)
	if err != nil {
		return err
	}
	*n = number(v)
	return nil
}

// within reads an integer that must lie between least and the largest of a column; missing
// gives least.
func (n *number) within(field string, least int) (int, error) {
	if n == nil {
		return least, nil
	}
	text := clip(string(*n))
	v, err := strconv.Atoi(text)
	switch {
	case err != nil:
		return 0, invalidField(field, text, fmt.Sprintf("'%s' does not match '^[0-9]+$'", text))
	case v < least:
		return 0, invalidField(field, text, fmt.Sprintf("%d is less than the minimum of %d", v, least))
	case v > math.MaxInt32:
		return 0, invalidField(field, text, fmt.Sprintf("%d is greater than the maximum of %d", v, math.MaxInt32))
	}
	return v, nil
}

func invalidField(field, value, why string) *compat.Fault {
	return compat.BadRequest("Invalid input for field/attribute %s. Value: %s. %s", field, clip(value), why)
}

type createBody struct {
	Flavor *struct {
		Name        string       `json:"name"`
		ID          *number      `json:"id"`
		RAM         *number      `json:"ram"`
		VCPUs       *number      `json:"vcpus"`
		Disk        *number      `json:"disk"`
		Ephemeral   *number      `json:"OS-FLV-EXT-DATA:ephemeral"`
		Swap        *number      `json:"swap"`
		RXTXFactor  *number      `json:"rxtx_factor"`
		Public      *compat.Bool `json:"os-flavor-access:is_public"`
		Description *string      `json:"description"`
	} `json:"flavor"`
}

var idForm = regexp.MustCompile(`^[a-zA-Z0-9._-]([a-zA-Z0-9. _-]{0,253}[a-zA-Z0-9._-])?$`)

// flavor checks the body and gives the flavor that it asks for.
func (b *createBody) flavor(v compat.Version) (*Flavor, error) {
	in := b.Flavor
	if in == nil {
		return nil, compat.BadRequest("'flavor' is a required property")
	}
	f := &Flavor{Name: in.Name, Public: in.Public == nil || bool(*in.Public), RXTXFactor: 1, ExtraSpecs: map[string]string{}}
	if strings.TrimSpace(in.Name) == "" || len([]rune(in.Name)) > 255 {
		return nil, compat.BadRequest("An invalid 'name' value was provided. The name must be: printable characters. Can not start or end with whitespace.")
	}
	for _, required := range []struct {
		field string
		given *number
	}{{"disk", in.Disk}, {"ram", in.RAM}, {"vcpus", in.VCPUs}} {
		if required.given == nil {
			return nil, compat.BadRequest("Invalid input for field/attribute flavor. '%s' is a required property", required.field)
		}
	}
	for _, n := range []struct {
		field string
		given *number
		least int
		to    *int
	}{
		{"ram", in.RAM, 1, &f.MemoryMB}, {"vcpus", in.VCPUs, 1, &f.VCPUs}, {"disk", in.Disk, 0, &f.RootGB},
		{"OS-FLV-EXT-DATA:ephemeral", in.Ephemeral, 0, &f.EphemeralGB}, {"swap", in.Swap, 0, &f.SwapMB},
	} {
		var err error
		*n.to, err = n.given.within(n.field, n.least)
		if err != nil {
			return nil, err
		}
	}
	if in.RXTXFactor != nil && !filtersNames.Has(v) {
		var err error
		f.RXTXFactor, err = strconv.ParseFloat(string(*in.RXTXFactor), 64)
		if err != nil || !(f.RXTXFactor > 0 && f.RXTXFactor <= 3.40282e+38) {
			return nil, invalidField("rxtx_factor", string(*in.RXTXFactor), "It must be a positive number")
		}
	}
	if isDescribed.Has(v) {
		f.Description = in.Description
	}
	if in.ID != nil {
		f.FlavorID = string(*in.ID)
	}
	if f.FlavorID == "" || f.FlavorID == "auto" {
		f.FlavorID = uuid.NewString()
	}
	if !idForm.MatchString(f.FlavorID) {
		return nil, invalidField("id", f.FlavorID, "It must be 1 to 255 letters, digits, spaces, dots, dashes and underscores, and not begin or end with a space")
	}
	return f, checkDescription(f.Description)
}

// checkDescription bounds what a column holds.
func checkDescription(text *string) error {
	const limit = 65535
	if text != nil && len(*text) > limit {
		return invalidField("description", *text, "It is too long")
	}
	return nil
}

// create answers POST /flavors.
func (s *Service) create(w http.ResponseWriter, r *compat.Request) error {
	var body createBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	f, err := body.flavor(r.Version)
	if err != nil {
		return err
	}
	f.CreatedAt = s.clock.Now()
	_, err = insert(r.Context(), s.db, f)
	if err != nil {
		return err
	}
	s.seen.forget()
	return answer(w, r, f)
}

// update answers PUT /flavors/{id}, which changes the description and nothing else.
func (s *Service) update(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Flavor *struct {
			Description json.RawMessage `json:"description"`
		} `json:"flavor"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	if body.Flavor == nil || body.Flavor.Description == nil {
		return compat.BadRequest("Invalid input for field/attribute flavor. 'description' is a required property")
	}
	var text *string
	err = json.Unmarshal(body.Flavor.Description, &text)
	if err != nil {
		return invalidField("description", string(body.Flavor.Description), "It is not of type 'string', 'null'")
	}
	err = checkDescription(text)
	if err != nil {
		return err
	}
	f, err := find(r.Context(), s.db, r.Var("id"))
	if err != nil {
		return err
	}
	err = s.describe(r.Context(), f.FlavorID, text)
	if err != nil {
		return err
	}
	changed, err := s.Get(r.Context(), r.Caller, f.FlavorID)
	if err != nil {
		return err
	}
	return answer(w, r, changed)
}

// delete answers DELETE /flavors/{id}.
func (s *Service) delete(w http.ResponseWriter, r *compat.Request) error {
	err := s.remove(r.Context(), r.Var("id"))
	if err != nil {
		return err
	}
	return r.Answer(w, nil)
}
