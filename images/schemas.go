package images

import (
	"net/http"

	"kilonova/compat"
)

// minors are the features that exist here: v2.6 is the import API, v2.7 hidden images and
// the second hash. The newer ones (several stores, caches, locations) do not.
var minors = []string{"v2.7", "v2.6", "v2.5", "v2.4", "v2.3", "v2.2", "v2.1", "v2.0"}

// versions answers the version document, to anybody.
func (s *Service) versions(code int) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		href := s.Base.URL(r) + "/v2/"
		list := make([]any, len(minors))
		for i, id := range minors {
			status := "SUPPORTED"
			if i == 0 {
				status = "CURRENT"
			}
			list[i] = map[string]any{"id": id, "status": status, "links": []any{map[string]string{"rel": "self", "href": href}}}
		}
		err := compat.WriteJSON(w, code, map[string]any{"versions": list})
		if err != nil {
			fail(w, r, err)
		}
	})
}

type object = map[string]any

func typed(description string, kinds ...string) object {
	p := object{"description": description}
	if len(kinds) == 1 {
		p["type"] = kinds[0]
	} else {
		p["type"] = kinds
	}
	return p
}

func with(p object, more object) object {
	for k, v := range more {
		p[k] = v
	}
	return p
}

func fixedBy(p object) object { return with(p, object{"readOnly": true}) }

func orNull(values []string) []any {
	list := []any{nil}
	for _, v := range values {
		list = append(list, v)
	}
	return list
}

var uuidPattern = uuidRE.String()

func selfLink() []any { return []any{object{"rel": "self", "href": "{self}"}} }

// imageSchema is what glanceclient builds its model from before its first call.
var imageSchema = object{
	"name": "image",
	"properties": object{
		"id":               with(typed("An identifier for the image", "string"), object{"pattern": uuidPattern}),
		"name":             with(typed("Descriptive name for the image", "null", "string"), object{"maxLength": 255}),
		"status":           fixedBy(with(typed("Status of the image", "string"), object{"enum": statuses})),
		"visibility":       with(typed("Scope of image accessibility", "string"), object{"enum": visibilities}),
		"protected":        typed("If true, image will not be deletable.", "boolean"),
		"os_hidden":        typed("If true, image will not appear in default image list response.", "boolean"),
		"checksum":         fixedBy(with(typed("md5 hash of image contents.", "null", "string"), object{"maxLength": 32})),
		"os_hash_algo":     fixedBy(with(typed("Algorithm to calculate the os_hash_value", "null", "string"), object{"maxLength": 64})),
		"os_hash_value":    fixedBy(with(typed("Hexdigest of the image contents using the algorithm specified by the os_hash_algo", "null", "string"), object{"maxLength": 128})),
		"owner":            with(typed("Owner of the image", "null", "string"), object{"maxLength": 255}),
		"size":             fixedBy(typed("Size of image file in bytes", "null", "integer")),
		"virtual_size":     fixedBy(typed("Virtual size of image in bytes", "null", "integer")),
		"container_format": with(typed("Format of the container", "null", "string"), object{"enum": orNull(containerFormats)}),
		"disk_format":      with(typed("Format of the disk", "null", "string"), object{"enum": orNull(diskFormats)}),
		"created_at":       fixedBy(typed("Date and time of image registration", "string")),
		"updated_at":       fixedBy(typed("Date and time of the last image modification", "string")),
		"tags":             with(typed("List of strings related to the image", "array"), object{"items": object{"type": "string", "maxLength": 255}}),
		"direct_url":       fixedBy(typed("URL to access the image file kept in external store", "string")),
		"min_ram":          typed("Amount of ram (in MB) required to boot image.", "integer"),
		"min_disk":         typed("Amount of disk space (in GB) required to boot image.", "integer"),
		"self":             fixedBy(typed("An image self url", "string")),
		"file":             fixedBy(typed("An image file url", "string")),
		"schema":           fixedBy(typed("An image schema url", "string")),
	},
	"additionalProperties": object{"type": "string"},
	"links": []any{
		object{"rel": "self", "href": "{self}"},
		object{"rel": "enclosure", "href": "{file}"},
		object{"rel": "describedby", "href": "{schema}"},
	},
}

func init() {
	properties := imageSchema["properties"].(object)
	for name, p := range documented {
		properties[name] = p.schema()
	}
}

var memberSchema = object{
	"name": "member",
	"properties": object{
		"created_at": typed("Date and time of image member creation", "string"),
		"updated_at": typed("Date and time of last modification of image member", "string"),
		"image_id":   with(typed("An identifier for the image", "string"), object{"pattern": uuidPattern}),
		"member_id":  typed("An identifier for the image member (tenantId)", "string"),
		"status":     with(typed("The status of this image member", "string"), object{"enum": memberStatuses}),
		"schema":     fixedBy(object{"type": "string"}),
	},
}

var taskSchema = object{
	"name": "task",
	"properties": object{
		"id": typed("An identifier for the task", "string"), "type": typed("The type of task represented by this content", "string"),
		"status": typed("The current status of this task", "string"), "owner": typed("An identifier for the owner of this task", "string"),
	},
}

// collection is the schema of a list of items.
func collection(name, key string, item object) object {
	return object{
		"name": name,
		"properties": object{
			key:      object{"type": "array", "items": item},
			"first":  object{"type": "string"},
			"next":   object{"type": "string"},
			"schema": object{"type": "string"},
		},
		"links": []any{
			object{"rel": "first", "href": "{first}"},
			object{"rel": "next", "href": "{next}"},
			object{"rel": "describedby", "href": "{schema}"},
		},
	}
}

var schemas = map[string]object{
	"image": imageSchema, "images": collection("images", "images", imageSchema),
	"member": memberSchema, "members": collection("members", "members", memberSchema),
	"task": taskSchema, "tasks": collection("tasks", "tasks", taskSchema),
}

func (s *Service) schema(w http.ResponseWriter, c *call) error {
	doc, ok := schemas[c.param("schema")]
	if !ok {
		return compat.NotFound("Schema not found.")
	}
	return compat.WriteJSON(w, http.StatusOK, doc)
}

// metadefs are the catalogue of property definitions: there is none, so its schemas are
// those of empty collections.
var metadefs = map[string]bool{
	"namespace": true, "namespaces": true, "object": true, "objects": true, "property": true, "properties": true,
	"resource_type": true, "resource_types": true, "tag": true, "tags": true,
}

func (s *Service) metadefSchema(w http.ResponseWriter, c *call) error {
	name := c.param("schema")
	if !metadefs[name] {
		return compat.NotFound("Schema not found.")
	}
	return compat.WriteJSON(w, http.StatusOK, object{
		"name": name, "properties": object{}, "additionalProperties": object{"type": "string"}, "links": selfLink()})
}
