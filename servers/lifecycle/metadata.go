package lifecycle

import (
	"context"
	"fmt"

	"kilonova/schema"
)

// SetMetadata replaces a server's items. The compare-and-set on the old text makes two
// writers follow each other: errLostRace says that another was first.
func (s *Service) SetMetadata(ctx context.Context, v *Server, m map[string]string) error {
	ok, err := schema.Changed(s.DB.ExecContext(ctx,
		`UPDATE servers SET metadata = ?, updated_at = ? WHERE id = ? AND deleted = 0 AND metadata = ?`,
		Encode(m), s.Clock.Now(), v.ID, v.Metadata))
	if err != nil {
		return fmt.Errorf("change metadata of server %s: %w", v.UUID, err)
	}
	if !ok {
		return ErrLostRace
	}
	return nil
}
