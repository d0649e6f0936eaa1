package flavors

import (
	"context"
	"fmt"
	"maps"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/work"
)

// Flavor is a size of servers.
type Flavor struct {
	ID          int64             `db:"id"`       // our key
	FlavorID    string            `db:"flavorid"` // the id that clients know
	Name        string            `db:"name"`
	Description *string           `db:"description"`
	VCPUs       int               `db:"vcpus"`
	MemoryMB    int               `db:"memory_mb"`
	RootGB      int               `db:"root_gb"`
	EphemeralGB int               `db:"ephemeral_gb"`
	SwapMB      int               `db:"swap_mb"`
	RXTXFactor  float64           `db:"rxtx_factor"`
	Public      bool              `db:"is_public"`
	Disabled    bool              `db:"disabled"`
	ExtraSpecs  map[string]string `db:"-"`
	CreatedAt   schema.Micros     `db:"created_at"`
}

// Work gives the flavor as hosts know it.
func (f Flavor) Work() work.Flavor {
	return work.Flavor{
		ID: f.FlavorID, Name: f.Name, VCPUs: f.VCPUs, MemoryMB: f.MemoryMB, RootGB: f.RootGB,
		EphemeralGB: f.EphemeralGB, SwapMB: f.SwapMB, ExtraSpecs: maps.Clone(f.ExtraSpecs),
	}
}

// Service keeps the flavors. The fields may be set before the first request.
type Service struct {
	// ProjectExists tells whether a project may be given access; nil accepts all.
	ProjectExists func(ctx context.Context, projectID string) (bool, error)

	db    *schema.DB
	clock schema.Clock
	seen  *cache
}

// New makes the service; a nil clock is the machine's.
func New(db *schema.DB, clock schema.Clock) *Service {
	return &Service{db: db, clock: clock, seen: newCache()}
}

// Get returns the flavor that clients know as flavorID, or a 404 Fault where there is none
// that the caller may use. It may be a second old where another process has changed it.
func (s *Service) Get(ctx context.Context, c *compat.Caller, flavorID string) (*Flavor, error) {
	now := s.clock.Now()
	found, since := s.seen.get(flavorID, now)
	if found == nil {
		var err error
		found, err = s.load(ctx, flavorID)
		if err != nil {
			return nil, err
		}
		s.seen.put(flavorID, found, now, since)
	}
	if !found.visibleTo(c) {
		return nil, notFound(flavorID)
	}
	f := found.Flavor
	f.ExtraSpecs = maps.Clone(f.ExtraSpecs)
	return &f, nil
}

func notFound(flavorID string) *compat.Fault {
	return compat.NotFound("Flavor %s could not be found.", clip(flavorID))
}

// clip bounds what a client sent before it goes into a message.
func clip(s string) string {
	const limit = 255
	if len(s) > limit {
		return s[:limit] + "..."
	}
	return s
}

// first are the flavors of a new cloud: DevStack's, and the smallest that the test image
// fits.
var first = []Flavor{
	{FlavorID: "42", Name: "m1.nano", VCPUs: 1, MemoryMB: 128, RootGB: 1},
	{FlavorID: "1", Name: "m1.tiny", VCPUs: 1, MemoryMB: 512, RootGB: 1},
	{FlavorID: "2", Name: "m1.small", VCPUs: 1, MemoryMB: 2048, RootGB: 20},
	{FlavorID: "3", Name: "m1.medium", VCPUs: 2, MemoryMB: 4096, RootGB: 40},
	{FlavorID: "4", Name: "m1.large", VCPUs: 4, MemoryMB: 8192, RootGB: 80},
	{FlavorID: "5", Name: "m1.xlarge", VCPUs: 8, MemoryMB: 16384, RootGB: 160},
}

const markSeeded = `INSERT INTO flavor_seeds (id, seeded_at) VALUES (1, ?)`

// Seed makes the flavors of a new cloud, once: one that is deleted later stays deleted.
// Several processes may call it at once.
func (s *Service) Seed(ctx context.Context) error {
	now := s.clock.Now()
	err := s.db.Tx(ctx, func(tx *schema.Tx) error {
		_, err := tx.ExecContext(ctx, markSeeded, now)
		if schema.Duplicate(err) {
			return nil
		}
		if err != nil {
			return err
		}
		for _, f := range first {
			f.Public, f.RXTXFactor, f.CreatedAt = true, 1, now
			_, err = insert(ctx, tx, &f)
			if err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("make the first flavors: %w", err)
	}
	s.seen.forget()
	return nil
}
