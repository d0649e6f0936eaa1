package schema

import (
	"context"
	"fmt"
	"time"
)

const takeLease = `
UPDATE leases SET holder = ?, expires_at = ?
WHERE name = ? AND (holder = ? OR expires_at < ?)`

const makeLease = `INSERT INTO leases (name, holder, expires_at) VALUES (?, ?, ?)`

// Lease takes or renews the named lease for holder, for the given time. It is false while
// another process holds it.
func (db *DB) Lease(ctx context.Context, name, holder string, now Micros, ttl time.Duration) (bool, error) {
	until := now + Micros(ttl.Microseconds())
	got, err := Changed(db.ExecContext(ctx, takeLease, holder, until, name, holder, now))
	if err != nil {
		return false, fmt.Errorf("take lease %s: %w", name, err)
	}
	if got {
		return true, nil
	}
	_, err = db.ExecContext(ctx, makeLease, name, holder, until)
	if Duplicate(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("make lease %s: %w", name, err)
	}
	return true, nil
}
