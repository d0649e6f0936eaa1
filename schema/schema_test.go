package schema_test

import (
	"context"
	"testing"
	"time"

	"kilonova/schema"
	"kilonova/schema/schematest"
)

func TestMigrateTwiceAndLease(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		ctx := context.Background()
		err := db.Migrate(ctx)
		if err != nil {
			t.Fatalf("second migration: %v", err)
		}
		now := schema.MicrosOf(time.Unix(1000, 0))
		steps := []struct {
			holder string
			after  time.Duration
			want   bool
		}{
			{"a", 0, true}, {"b", time.Second, false}, {"a", 2 * time.Second, true},
			{"b", 11 * time.Second, false}, {"b", 13 * time.Second, true}, {"a", 14 * time.Second, false},
		}
		for _, s := range steps {
			got, err := db.Lease(ctx, "keeper", s.holder, now+schema.MicrosOf(time.UnixMicro(s.after.Microseconds())), 10*time.Second)
			if err != nil || got != s.want {
				t.Errorf("lease for %s after %v = %v, %v; want %v", s.holder, s.after, got, err, s.want)
			}
		}
	})
}
