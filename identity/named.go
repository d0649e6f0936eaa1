package identity

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// ProjectNamed gives the id of a project of the default domain, "" when there is none.
func (s *Service) ProjectNamed(ctx context.Context, name string) (string, error) {
	var id string
	err := s.cfg.DB.GetContext(ctx, &id, selectProjectNamed, DefaultDomain, foldName(name))
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("find project %s: %w", name, err)
	}
	return id, nil
}
