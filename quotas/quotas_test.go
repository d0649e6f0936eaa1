package quotas_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"kilonova/compat"
	"kilonova/flavors/apitest"
	"kilonova/quotas"
	"kilonova/schema"
	"kilonova/schema/schematest"
)

// TestNeverOverCommitted: eight takers of one project get what the limit allows and not one
// more, on both databases.
func TestNeverOverCommitted(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		ctx := context.Background()
		s := quotas.New(db, nil)
		var got, refused atomic.Int64
		var wg sync.WaitGroup
		for range 8 {
			wg.Add(1)
			go func() {
				defer wg.Done()
				for range 5 {
					err := db.Tx(ctx, func(tx *schema.Tx) error {
						return s.Take(ctx, tx, "p", "u", quotas.Delta{Instances: 1, Cores: 1, RAM: 512})
					})
					var f *compat.Fault
					switch {
					case err == nil:
						got.Add(1)
					case errors.As(err, &f) && f.Code == 403:
						refused.Add(1)
					default:
						t.Error(err)
					}
				}
			}()
		}
		wg.Wait()
		used, err := s.Usage(ctx, "p")
		if err != nil || got.Load() != 10 || refused.Load() != 30 || used != (quotas.Delta{Instances: 10, Cores: 10, RAM: 5120}) {
			t.Errorf("%d taken, %d refused, %+v on record, %v", got.Load(), refused.Load(), used, err)
		}
	})
}

func TestQuotaSets(t *testing.T) {
	schematest.Each(t, func(t *testing.T, db *schema.DB) {
		s := quotas.New(db, nil)
		s.ProjectExists = func(_ context.Context, id string) (bool, error) { return id != "nowhere", nil }
		api := apitest.New(t, func(c *compat.Compute) { s.Register(c) })
		tests := []struct {
			name, who, version, method, path, body string
			code                                   int
			want, forbid                           string
		}{
			{"defaults", "u@p", "2.1", "GET", "/os-quota-sets/p/defaults", "", 200, `"floating_ips"`, "error"},
			{"fewer from 2.36", "u@p", "2.36", "GET", "/os-quota-sets/p", "", 200, `"injected_files"`, "floating_ips"},
			{"fewer from 2.57", "u@p", "2.57", "GET", "/os-quota-sets/p", "", 200, `"cores":20`, "injected_files"},
			{"detail", "u@p", "2.57", "GET", "/os-quota-sets/p/detail", "", 200, `"in_use":0`, "injected"},
			{"another project's", "u@p", "2.1", "GET", "/os-quota-sets/q", "", 403, "forbidden", "cores"},
			{"by a member", "u@p", "2.1", "PUT", "/os-quota-sets/p", `{"quota_set":{"cores":1}}`, 403, "forbidden", "cores\":"},
			{"by an admin", "admin@a", "2.1", "PUT", "/os-quota-sets/p", `{"quota_set":{"cores":"7"}}`, 200, `"cores":7`, `"id"`},
			{"unknown project", "admin@a", "2.1", "PUT", "/os-quota-sets/nowhere", `{"quota_set":{"cores":1}}`, 400, "nowhere is not a valid project", "cores\":"},
			{"too low", "admin@a", "2.1", "PUT", "/os-quota-sets/p", `{"quota_set":{"cores":-2}}`, 400, "badRequest", "cores\":7"},
			{"beyond int32", "admin@a", "2.1", "PUT", "/os-quota-sets/p", `{"quota_set":{"cores":99999999999}}`, 400, "badRequest", "cores\":7"},
			{"unknown key", "admin@a", "2.57", "PUT", "/os-quota-sets/p", `{"quota_set":{"injected_files":1}}`, 400, "unexpected", "cores\":7"},
			{"limits", "u@p", "2.1", "GET", "/limits", "", 200, `"maxTotalCores":7`, "error"},
			{"limits from 2.57", "u@p", "2.57", "GET", "/limits", "", 200, `"maxTotalInstances":10`, "maxPersonality"},
			{"limits of another", "u@p", "2.1", "GET", "/limits?tenant_id=q", "", 403, "forbidden", "maxTotal"},
			{"class", "admin@a", "2.50", "PUT", "/os-quota-class-sets/default", `{"quota_class_set":{"instances":3}}`, 200, `"instances":3`, "error"},
			{"class counts", "u@q", "2.1", "GET", "/limits", "", 200, `"maxTotalInstances":3`, "error"},
			{"back to the defaults", "admin@a", "2.1", "DELETE", "/os-quota-sets/p", "", 202, "", "x"},
			{"which they are", "u@p", "2.1", "GET", "/os-quota-sets/p", "", 200, `"cores":20`, "error"},
		}
		for _, tt := range tests {
			got := api.Do(t, apitest.As(tt.who, tt.version, tt.method, tt.path, tt.body))
			if got.Code != tt.code || !strings.Contains(got.Body.String(), tt.want) || strings.Contains(got.Body.String(), tt.forbid) {
				t.Errorf("%s = %d %s; want %d with %q, without %q", tt.name, got.Code, got.Body, tt.code, tt.want, tt.forbid)
			}
		}
	})
}
