package lifecycle

import (
	"context"
	"fmt"
	"slices"

	"github.com/jmoiron/sqlx"

	"kilonova/scheduler"
	"kilonova/schema"
)

// placement is what a create request asked of the host, kept with the server: whoever
// places it anew asks the same. The zone stands in pinned_zone, which clients can change.
type placement struct {
	Host   string `json:"host,omitempty"` // zone:host, or host of 2.74
	Node   string `json:"node,omitempty"` // zone::node, or hypervisor_hostname
	Forced bool   `json:"forced,omitempty"`
	Arch   string `json:"arch,omitempty"`
	// Same and Different are the servers of the hints same_host and different_host: where
	// they are is looked up when it matters, since they may move.
	Same      []string `json:"same,omitempty"`
	Different []string `json:"different,omitempty"`
}

func (v *Server) placement() placement {
	var p placement
	if v.Placement != nil {
		Decode(*v.Placement, &p)
	}
	return p
}

// placementOf is what is kept of a request; nil when it asked nothing.
func placementOf(p *Launch) *string {
	kept := placement{Host: p.Spec.Host, Node: p.Spec.Node, Forced: p.Spec.Forced, Arch: p.Spec.Arch, Same: p.Same, Different: p.Different}
	text := Encode(kept)
	if text == "{}" {
		return nil
	}
	return &text
}

// specFor is how a server that exists is placed anew: as its create asked, where its flavor
// fits, on no host that failed already.
func (s *Service) specFor(ctx context.Context, q schema.Querier, v *Server) (scheduler.Spec, error) {
	p := v.placement()
	spec := scheduler.Spec{Need: needOf(v.Flavor()), Zone: deref(v.PinnedZone), Host: p.Host, Node: p.Node, Forced: p.Forced, Arch: p.Arch}
	if v.TriedHosts != nil {
		Decode(*v.TriedHosts, &spec.Avoid)
	}
	return spec, s.hint(ctx, q, v.ProjectID, p.Same, p.Different, &spec)
}

// hint turns the servers of same_host and different_host into hosts: one statement for both.
func (s *Service) hint(ctx context.Context, q schema.Querier, project string, same, different []string, spec *scheduler.Spec) error {
	if len(same)+len(different) == 0 {
		return nil
	}
	where, err := hostsOf(ctx, q, project, append(slices.Clone(same), different...))
	if err != nil {
		return err
	}
	if len(same) > 0 {
		spec.SameHost = []string{}
	}
	for _, id := range same {
		if h := where[id]; h != "" {
			spec.SameHost = append(spec.SameHost, h)
		}
	}
	for _, id := range different {
		if h := where[id]; h != "" {
			spec.Avoid = append(spec.Avoid, h)
		}
	}
	return nil
}

// hostsOf gives the hosts of a project's servers, by uuid.
func hostsOf(ctx context.Context, q schema.Querier, project string, ids []string) (map[string]string, error) {
	stmt, args, err := sqlx.In(`SELECT uuid, COALESCE(host, '') AS host FROM servers WHERE project_id = ? AND deleted = 0 AND uuid IN (?)`, project, ids)
	if err != nil {
		return nil, fmt.Errorf("look servers up: %w", err)
	}
	var rows []struct {
		UUID string `db:"uuid"`
		Host string `db:"host"`
	}
	err = q.SelectContext(ctx, &rows, stmt, args...)
	if err != nil {
		return nil, fmt.Errorf("look servers up: %w", err)
	}
	out := map[string]string{}
	for _, row := range rows {
		out[row.UUID] = row.Host
	}
	return out, nil
}
