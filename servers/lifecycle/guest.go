package lifecycle

import (
	"context"

	"kilonova/schema"
	"kilonova/work"
)

// guest is the server as its host sees it, with its ports as they are in this transaction.
func (s *Service) guest(ctx context.Context, q schema.Querier, v *Server) (*work.Guest, error) {
	ports, err := s.Networks.GuestPorts(ctx, q, v.UUID)
	if err != nil {
		return nil, err
	}
	g := &work.Guest{
		ID: v.ID, UUID: v.UUID, Name: v.Name, Hostname: v.Hostname,
		ProjectID: v.ProjectID, UserID: v.UserID, Flavor: v.Flavor(), Ports: ports,
		ConfigDrive: v.ConfigDrive, LaunchIndex: v.LaunchIndex, ReservationID: v.ReservationID,
		CreatedAt: int64(v.CreatedAt),
	}
	g.ProjectName, g.UserName = s.namesFor(ctx, q, v)
	Decode(v.ImageMeta, &g.Image)
	g.Image.Properties = PresentProperties(g.Image.Properties)
	Decode(v.Metadata, &g.Metadata)
	Decode(v.SecurityGroups, &g.SecurityGroups)
	if v.KeyData != nil {
		g.Key = &work.Key{}
		Decode(*v.KeyData, g.Key)
	}
	if v.Files != nil {
		Decode(*v.Files, &g.Files)
	}
	if v.UserData != nil {
		g.UserData = *v.UserData
	}
	if v.Zone != nil {
		g.AvailabilityZone = *v.Zone
	}
	return g, nil
}

// namesFor gives how the server's project and user are called.
func (s *Service) namesFor(ctx context.Context, q schema.Querier, v *Server) (project, user string) {
	if s.Names == nil {
		return "", ""
	}
	return s.Names.ProjectName(ctx, q, v.ProjectID), s.Names.UserName(ctx, q, v.UserID)
}

// withSource says that the host must fetch the guest's image; queue adds where and by what
// right.
func (s *Service) withSource(g *work.Guest) {
	if g.Image.ID == "" {
		return
	}
	g.Image.Source = &work.Transfer{ImageID: g.Image.ID}
}
