package servers

import (
	"encoding/json"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

// hints are the scheduler hints of a create request, of which these are acted upon; others
// are kept and shown.
type hints map[string]json.RawMessage

const (
	maxHintIDs   = 100
	maxHintBytes = 65_535 // as many as the database keeps
)

func (h hints) or(other hints) hints {
	if h == nil {
		return other
	}
	return h
}

func (h hints) raw() map[string]json.RawMessage {
	if h == nil {
		return map[string]json.RawMessage{}
	}
	return h
}

// ids reads a hint that is one id or a list of them.
func (h hints) ids(name string) ([]string, error) {
	raw, ok := h[name]
	if !ok {
		return nil, nil
	}
	var one string
	if json.Unmarshal(raw, &one) == nil {
		return []string{one}, nil
	}
	var many []string
	err := json.Unmarshal(raw, &many)
	if err != nil || len(many) > maxHintIDs {
		return nil, compat.BadRequest("Invalid input for field/attribute %s. Value: %.100s. It must be an id or a list of at most %d ids", name, raw, maxHintIDs)
	}
	return many, nil
}

// planHints reads same_host and different_host.
func (s *Service) planHints(r *compat.Request, p *plan) error {
	if n := len(lifecycle.Encode(p.hints.raw())); n > maxHintBytes {
		return compat.BadRequest("Invalid input for field/attribute os:scheduler_hints. It has %d bytes, more than %d", n, maxHintBytes)
	}
	same, err := p.hints.ids("same_host")
	if err != nil {
		return err
	}
	different, err := p.hints.ids("different_host")
	if err != nil {
		return err
	}
	groups, err := p.hints.ids("group")
	if err != nil {
		return err
	}
	if len(groups) > 0 {
		return compat.BadRequest("Instance group %s could not be found.", groups[0])
	}
	p.same, p.different = same, different
	return nil
}
