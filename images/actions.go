package images

import (
	"net/http"
	"slices"
	"unicode/utf8"

	"kilonova/compat"
	"kilonova/schema"
)

const (
	moveImage   = `UPDATE images SET status = ?, updated_at = ?, revision = revision + 1 WHERE id = ? AND status = ? AND deleted_at = 0`
	beginImport = `
UPDATE images SET status = 'importing', failure = '', updated_at = ?, revision = revision + 1
WHERE id = ? AND status = 'uploading' AND upload = '' AND staged_file <> '' AND deleted_at = 0`
)

func (s *Service) deactivate(w http.ResponseWriter, c *call) error {
	return s.move(w, c, Active, Deactivated, "deactivate")
}

func (s *Service) reactivate(w http.ResponseWriter, c *call) error {
	return s.move(w, c, Deactivated, Active, "reactivate")
}

// move changes the state of an image that has its data; to is where it may be already.
func (s *Service) move(w http.ResponseWriter, c *call, from, to, word string) error {
	if c.rec.Status != to {
		ok, err := schema.Changed(s.DB.ExecContext(c.Context(), moveImage, to, s.Clock.Now(), c.rec.Key, from))
		if err != nil {
			return err
		}
		if !ok {
			return compat.Forbidden("Not allowed to %s image in status '%s'", word, c.rec.Status)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// startImport hands staged data to the keeper. The row is the job: it survives a restart.
func (s *Service) startImport(w http.ResponseWriter, c *call) error {
	body, err := readObject(w, c.Request)
	if err != nil {
		return err
	}
	method, ok := body["method"].(map[string]any)
	if !ok {
		return compat.BadRequest("Input does not contain 'method' field.")
	}
	name, ok := method["name"].(string)
	if !ok {
		return compat.BadRequest("Input does not contain 'name' field.")
	}
	// No other method exists here: nothing is ever fetched from an address that a client gives.
	if name != "glance-direct" {
		return compat.BadRequest("Unknown import method name '%s'.", clip(name))
	}
	if c.rec.Status != Uploading {
		return compat.Conflict("Only images with status 'uploading' can be imported; the status is '%s'.", c.rec.Status)
	}
	ok, err = schema.Changed(s.DB.ExecContext(c.Context(), beginImport, s.Clock.Now(), c.rec.Key))
	if err != nil {
		return err
	}
	if !ok {
		return compat.Conflict("The data of image %s is not staged yet.", c.rec.ID)
	}
	s.poke()
	w.WriteHeader(http.StatusAccepted)
	return nil
}

func (s *Service) addTag(w http.ResponseWriter, c *call) error {
	tag := c.param("tag")
	if utf8.RuneCountInString(tag) > 255 || !clean(tag) {
		return compat.BadRequest("Tag is not valid or longer than 255 characters.")
	}
	_, err := s.change(c.Context(), c.caller, c.rec.ID, func(rec *record) error {
		if slices.Contains(rec.Tags, tag) {
			return nil
		}
		if len(rec.Tags) >= maxTags {
			return compat.TooLarge("The limit has been exceeded on the number of allowed image tags. Attempted: %d, Maximum: %d", len(rec.Tags)+1, maxTags)
		}
		rec.Tags = append(rec.Tags, tag)
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Service) removeTag(w http.ResponseWriter, c *call) error {
	tag := c.param("tag")
	_, err := s.change(c.Context(), c.caller, c.rec.ID, func(rec *record) error {
		i := slices.Index(rec.Tags, tag)
		if i < 0 {
			return compat.NotFound("Image %s has no tag '%s'.", rec.ID, clip(tag))
		}
		rec.Tags = slices.Delete(rec.Tags, i, i+1)
		return nil
	})
	if err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}
