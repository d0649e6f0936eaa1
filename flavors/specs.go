package flavors

import (
	"encoding/json"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"unicode/utf8"

	"kilonova/compat"
)

// specsIndex answers GET /flavors/{id}/os-extra_specs.
func (s *Service) specsIndex(w http.ResponseWriter, r *compat.Request) error {
	f, err := s.Get(r.Context(), r.Caller, r.Var("id"))
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"extra_specs": f.ExtraSpecs})
}

// specsShow answers GET /flavors/{id}/os-extra_specs/{key}.
func (s *Service) specsShow(w http.ResponseWriter, r *compat.Request) error {
	f, err := s.Get(r.Context(), r.Caller, r.Var("id"))
	if err != nil {
		return err
	}
	value, ok := f.ExtraSpecs[r.Var("key")]
	if !ok {
		return noSpec(r)
	}
	return r.Answer(w, map[string]string{r.Var("key"): value})
}

func noSpec(r *compat.Request) *compat.Fault {
	return compat.NotFound("Flavor %s has no extra specs with key %s.", clip(r.Var("id")), clip(r.Var("key")))
}

// specsCreate answers POST /flavors/{id}/os-extra_specs: it merges, and echoes the body.
func (s *Service) specsCreate(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Specs map[string]json.RawMessage `json:"extra_specs"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	if body.Specs == nil {
		return compat.BadRequest("'extra_specs' is a required property")
	}
	err = s.saveSpecs(r, body.Specs)
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"extra_specs": body.Specs})
}

// specsUpdate answers PUT /flavors/{id}/os-extra_specs/{key} and echoes the body.
func (s *Service) specsUpdate(w http.ResponseWriter, r *compat.Request) error {
	var body map[string]json.RawMessage
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	if _, ok := body[r.Var("key")]; !ok || len(body) != 1 {
		return compat.BadRequest("Request body and URI mismatch")
	}
	err = s.saveSpecs(r, body)
	if err != nil {
		return err
	}
	return r.Answer(w, body)
}

// saveSpecs checks extra specs and merges them into the flavor of the request.
func (s *Service) saveSpecs(r *compat.Request, in map[string]json.RawMessage) error {
	texts := map[string]string{}
	names := slices.Sorted(maps.Keys(in))
	for _, name := range names {
		value, err := specText(name, in[name])
		if err != nil {
			return err
		}
		if checksSpecs.Has(r.Version) {
			err = validateSpec(name, value)
			if err != nil {
				return err
			}
		}
		texts[name] = value
	}
	f, err := find(r.Context(), s.db, r.Var("id"))
	if err != nil {
		return err
	}
	return s.setSpecs(r.Context(), f, names, texts)
}

var specForm = regexp.MustCompile(`^[a-zA-Z0-9_:. -]{1,255}$`)

// specText gives the text of a value, which is a string or a number.
func specText(name string, raw json.RawMessage) (string, error) {
	if !specForm.MatchString(name) {
		return "", compat.BadRequest("Invalid input for field/attribute extra_specs. Value: %s. It does not match '^[a-zA-Z0-9-_:. ]{1,255}$'", clip(name))
	}
	var v any
	err := json.Unmarshal(raw, &v)
	if err != nil {
		return "", compat.BadRequest("Malformed request body")
	}
	text, isText := v.(string)
	if _, isNumber := v.(float64); isNumber {
		text, isText = string(raw), true
	}
	if !isText {
		return "", invalidField(name, string(raw), "It is not of type 'string', 'number'")
	}
	if utf8.RuneCountInString(text) > 255 {
		return "", invalidField(name, text, "It is too long")
	}
	return text, nil
}

// specsDelete answers DELETE /flavors/{id}/os-extra_specs/{key}.
func (s *Service) specsDelete(w http.ResponseWriter, r *compat.Request) error {
	f, err := find(r.Context(), s.db, r.Var("id"))
	if err != nil {
		return err
	}
	if !utf8.ValidString(r.Var("key")) {
		return noSpec(r)
	}
	ok, err := s.unsetSpec(r.Context(), f, r.Var("key"))
	if err != nil {
		return err
	}
	if !ok {
		return noSpec(r)
	}
	return r.Answer(w, nil)
}
