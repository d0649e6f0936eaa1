package servers

import (
	"errors"
	"net/http"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

type updateBody struct {
	Server struct {
		Name        *string                    `json:"name"`
		AccessIPv4  *string                    `json:"accessIPv4"`
		AccessIPv6  *string                    `json:"accessIPv6"`
		DiskConfig  *string                    `json:"OS-DCF:diskConfig"`
		Description lifecycle.Optional[string] `json:"description"`
		Hostname    *string                    `json:"hostname"`
		Pinned      lifecycle.Optional[string] `json:"pinned_availability_zone"`
	} `json:"server"`
}

// update answers PUT /servers/{id}: it works in every state, also on a locked server, and
// is no change of state.
func (s *Service) update(w http.ResponseWriter, r *compat.Request) error {
	var body updateBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	b, v := &body.Server, of(r)
	for {
		set := lifecycle.Change{}
		for column, value := range map[string]*string{"name": b.Name, "disk_config": b.DiskConfig, "hostname": b.Hostname} {
			if value != nil {
				set[column] = *value
			}
		}
		for column, value := range map[string]*string{"access_ip_v4": b.AccessIPv4, "access_ip_v6": b.AccessIPv6} {
			if value != nil {
				set[column] = canonical(*value)
			}
		}
		b.Description.Into(set, "description")
		err = pin(v, b.Pinned, set)
		if err != nil {
			return err
		}
		err = s.Life.Set(r.Context(), s.DB, v, false, set)
		if err == nil {
			break
		}
		if !errors.Is(err, lifecycle.ErrLostRace) {
			return err
		}
		v, err = s.find(r.Context(), s.DB, r.Caller, v.UUID, false)
		if err != nil {
			return err
		}
	}
	fresh, err := s.find(r.Context(), s.DB, r.Caller, v.UUID, false)
	if err != nil {
		return err
	}
	return s.answerOne(w, r, fresh, viewUpdate, "")
}

// pin reads pinned_availability_zone: null unpins, the server's own zone pins, all else is
// a conflict.
func pin(v *lifecycle.Server, asked lifecycle.Optional[string], set lifecycle.Change) error {
	switch {
	case !asked.Sent:
		return nil
	case asked.Value == nil:
		set["pinned_zone"] = nil
		return nil
	case v.PinnedZone != nil && *v.PinnedZone == *asked.Value:
		return nil
	case v.PinnedZone != nil:
		return compat.Conflict("Cannot change pinned availability zone directly. Unpin first by setting pinned_availability_zone to null.")
	case zoneOf(v) != *asked.Value:
		return compat.Conflict("Server can only be pinned to its current availability zone '%s', but '%s' was requested.", zoneOf(v), *asked.Value)
	}
	set["pinned_zone"] = *asked.Value
	return nil
}
