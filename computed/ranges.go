package computed

import (
	"context"
	"fmt"

	"kilonova/schema"
)

// reportRanges tells the API which addresses this host has and routes, when that changed:
// it goes with the heartbeat, whose row stays as small as it was.
func (a *Agent) reportRanges(ctx context.Context, ranges string) error {
	if a.toldRanges != nil && *a.toldRanges == ranges {
		return nil
	}
	_, err := a.tell(ctx, schema.TellRanges, ranges, a.daemon())
	if err != nil {
		return fmt.Errorf("report this host's addresses: %w", err)
	}
	a.toldRanges = &ranges
	return nil
}
