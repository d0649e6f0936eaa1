package images

import (
	"mime"
	"net/http"
	"strings"

	"kilonova/compat"
)

// The media types of a patch: RFC 6902's form, and an older one whose key is the operation.
const (
	patchV21 = "application/openstack-images-v2.1-json-patch"
	patchV20 = "application/openstack-images-v2.0-json-patch"
	maxPatch = 1024 // changes in one patch
)

// operation is one change: it adds, replaces or removes one attribute.
type operation struct {
	op, name string
	value    any
}

// patch answers PATCH /v2/images/{id}: all of its changes happen, or none.
func (s *Service) patch(w http.ResponseWriter, c *call) error {
	kind, _, err := mime.ParseMediaType(c.Header.Get("Content-Type"))
	if err != nil || kind != patchV21 && kind != patchV20 {
		w.Header().Set("Accept-Patch", patchV21+", "+patchV20)
		return &compat.Fault{Code: http.StatusUnsupportedMediaType, Message: "The Content-Type of a patch must be one of " + patchV21 + ", " + patchV20}
	}
	doc, err := readJSON(w, c.Request)
	if err != nil {
		return err
	}
	body, ok := doc.([]any)
	if !ok {
		return compat.BadRequest("Request body must be a JSON array of operation objects.")
	}
	if len(body) > maxPatch {
		return compat.BadRequest("Request body must be a JSON array of at most %d operation objects.", maxPatch)
	}
	ops := make([]operation, 0, len(body))
	for _, raw := range body {
		op, err := parseOperation(raw, kind == patchV20)
		if err != nil {
			return err
		}
		ops = append(ops, op)
	}
	rec, err := s.change(c.Context(), c.caller, c.rec.ID, func(rec *record) error {
		before := rec.countProperties() // the operations change them in place
		for _, op := range ops {
			err := op.apply(&rec.Image, c.caller)
			if err != nil {
				return err
			}
		}
		if rec.countProperties() > before || rec.countProperties() <= maxProperties {
			return checkQuota(&rec.Image)
		}
		return nil
	})
	if err != nil {
		return err
	}
	compat.WriteBytes(w, http.StatusOK, imageDocument(&rec.Image))
	return nil
}

func parseOperation(raw any, old bool) (operation, error) {
	doc, ok := raw.(map[string]any)
	if !ok {
		return operation{}, compat.BadRequest("Operations must be JSON objects.")
	}
	op := operation{}
	var path any
	if old {
		for _, word := range []string{"add", "replace", "remove"} {
			if p, ok := doc[word]; ok {
				if op.op != "" {
					return op, compat.BadRequest("Operation objects must contain only one member named \"add\", \"remove\", or \"replace\".")
				}
				op.op, path = word, p
			}
		}
	} else {
		op.op, _ = doc["op"].(string)
		path = doc["path"]
	}
	switch op.op {
	case "add", "replace":
		op.value, ok = doc["value"]
		if !ok {
			return op, compat.BadRequest("Operation \"%s\" requires a member named \"value\".", op.op)
		}
	case "remove":
	default:
		return op, compat.BadRequest("Operations must be one of \"add\", \"replace\" and \"remove\".")
	}
	pointer, ok := path.(string)
	if !ok {
		return op, compat.BadRequest("Unable to find 'path' in JSON Schema change")
	}
	var err error
	op.name, err = pointed(pointer)
	return op, err
}

// pointed reads a JSON pointer, which here names an attribute as a whole.
func pointed(pointer string) (string, error) {
	name, ok := strings.CutPrefix(pointer, "/")
	if !ok || name == "" {
		return "", compat.BadRequest("Pointer `%s` does not start with \"/\" and a name.", clip(pointer))
	}
	if strings.Contains(name, "/") {
		return "", compat.BadRequest("Invalid JSON pointer for this resource: '%s'", clip(pointer))
	}
	for i := range len(name) {
		if name[i] == '~' && (i+1 == len(name) || name[i+1] != '0' && name[i+1] != '1') {
			return "", compat.BadRequest("Pointer `%s` contains \"~\" not part of a recognized escape sequence.", clip(pointer))
		}
	}
	return strings.ReplaceAll(strings.ReplaceAll(name, "~1", "/"), "~0", "~"), nil
}

// apply makes one change to a copy of the image.
func (o operation) apply(img *Image, c *compat.Caller) error {
	err := forbidden(o.name)
	if err != nil {
		return err
	}
	_, base := attributes[o.name]
	if !base {
		if o.op != "add" && !img.hasProperty(o.name) {
			return compat.Conflict("Property %s does not exist.", clip(o.name))
		}
		if o.op == "remove" {
			img.removeProperty(o.name)
			return nil
		}
		return setProperty(img, o.name, o.value)
	}
	if o.op == "remove" {
		return compat.Forbidden("Property %s may not be removed.", o.name)
	}
	before := *img
	err = attributes[o.name](img, o.value)
	if err != nil {
		return err
	}
	if o.name == "visibility" { // asked for again is asked for
		err = mayShow(c, img)
		if err != nil {
			return err
		}
	}
	switch {
	case before.Owner != img.Owner && !allowed("set_owner", c, img, ""):
		return compat.Forbidden("You are not permitted to change the owner of this image.")
	case img.Status != Queued && (before.DiskFormat != img.DiskFormat || before.ContainerFormat != img.ContainerFormat):
		// What was inspected stays what it was inspected as.
		return compat.Forbidden("Attribute %s can be only replaced for a queued image.", o.name)
	}
	return nil
}
