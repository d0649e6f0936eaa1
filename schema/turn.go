package schema

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
)

const (
	takeTurn = `UPDATE turns SET taken = taken + 1 WHERE name = ?`
	makeTurn = `INSERT INTO turns (name, taken) VALUES (?, 1)`
)

// Turn lets the transactions that name the same thing follow one another: from here to its
// end this one is alone. Call it before the first read of the transaction: MariaDB shows
// what had been committed at that one.
func (tx *Tx) Turn(ctx context.Context, name string) error {
	const longest = 190
	if len(name) > longest {
		sum := sha256.Sum256([]byte(name))
		name = hex.EncodeToString(sum[:])
	}
	got, err := Changed(tx.ExecContext(ctx, takeTurn, name))
	if err == nil && !got {
		_, err = tx.ExecContext(ctx, makeTurn, name)
	}
	if Duplicate(err) { // another transaction made the row meanwhile, and has ended
		_, err = tx.ExecContext(ctx, takeTurn, name)
	}
	if err != nil {
		return fmt.Errorf("take the turn of %s: %w", name, err)
	}
	return nil
}
