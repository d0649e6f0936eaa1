package keypairs

import (
	"context"

	"kilonova/schema"
	"kilonova/work"
)

// The types of keypairs.
const (
	SSH  = "ssh"
	X509 = "x509"
)

// Keypair is the public half of a key.
type Keypair struct {
	ID          int64         `db:"id"`
	UserID      string        `db:"user_id"`
	Name        string        `db:"name"`
	Type        string        `db:"type"`
	Fingerprint string        `db:"fingerprint"`
	PublicKey   string        `db:"public_key"` // of x509 the certificate, in PEM
	CreatedAt   schema.Micros `db:"created_at"`
}

// Work gives the keypair as hosts know it.
func (k Keypair) Work() work.Key {
	return work.Key{Name: k.Name, Type: k.Type, PublicKey: k.PublicKey}
}

// Limits tells how much a user may have; quotas has the one that kilonova runs with.
type Limits interface {
	Limit(ctx context.Context, projectID, userID, resource string) (int, error)
}

// Service keeps the keypairs.
type Service struct {
	db     *schema.DB
	clock  schema.Clock
	limits Limits
}

// New makes the service; a nil clock is the machine's.
func New(db *schema.DB, clock schema.Clock, limits Limits) *Service {
	return &Service{db: db, clock: clock, limits: limits}
}
