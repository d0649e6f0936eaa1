package hosts

import (
	"net/http"
	"slices"

	"kilonova/compat"
)

// Register adds the handlers of the operations on hosts.
func (s *Service) Register(api *compat.Compute) {
	api.Handle("GET /os-availability-zone", s.zones)
	api.Handle("GET /os-availability-zone/detail", s.zonesDetail)
}

type zoneView struct {
	Name  string    `json:"zoneName"`
	State zoneState `json:"zoneState"`
	Hosts any       `json:"hosts"`
}

type zoneState struct {
	Available bool `json:"available"`
}

// zones lists the zones in which servers can be made; a zone is available while one of its
// hosts is up and enabled.
func (s *Service) zones(w http.ResponseWriter, r *compat.Request) error {
	list, err := s.zoneViews(r, false)
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"availabilityZoneInfo": list})
}

func (s *Service) zonesDetail(w http.ResponseWriter, r *compat.Request) error {
	list, err := s.zoneViews(r, true)
	if err != nil {
		return err
	}
	return r.Answer(w, map[string]any{"availabilityZoneInfo": list})
}

type serviceState struct {
	Active    bool   `json:"active"`
	Available bool   `json:"available"`
	UpdatedAt string `json:"updated_at"`
}

func (s *Service) zoneViews(r *compat.Request, detail bool) ([]zoneView, error) {
	all, err := s.Snapshot(r.Context())
	if err != nil {
		return nil, err
	}
	now := s.clock.Now()
	var names []string
	available := map[string]bool{}
	inside := map[string]map[string]any{}
	for i := range all {
		h := &all[i]
		if !slices.Contains(names, h.Zone) {
			names = append(names, h.Zone)
			inside[h.Zone] = map[string]any{}
		}
		usable := h.Up(now) && !h.Disabled
		available[h.Zone] = available[h.Zone] || usable
		inside[h.Zone][h.Name] = map[string]any{"nova-compute": serviceState{Active: !h.Disabled, Available: h.Up(now), UpdatedAt: h.LastSeen.ISOMicros()}}
	}
	slices.Sort(names)
	out := []zoneView{}
	for _, name := range names {
		v := zoneView{Name: name, State: zoneState{available[name]}}
		if detail {
			v.Hosts = inside[name]
		}
		if available[name] || detail {
			out = append(out, v)
		}
	}
	return out, nil
}
