package identity

import (
	"hash/maphash"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
)

// attempts slows down guessing: who fails often, as one account from one address, must wait,
// and so must whoever fails as an account that many addresses guess at, unless it has been
// that account from there before. Accounts that do not exist are counted like those that do,
// and successes not at all.
//
// The counts stand in places of a fixed number that are chosen by a hash which nobody outside
// knows. So they take the same memory whatever comes in, and no flood of other names and
// addresses makes room by having this one forgotten; all that it can do is to share its
// places. Each has two, and the lesser counts: who shares one with somebody that guesses is
// not held up for it, and the flood is checked too slowly (hasher) to fill many.
type attempts struct {
	seed     maphash.Seed
	pairs    places
	accounts places
	familiar *lru.Cache[uint64, struct{}] // pairs that have succeeded: only who knows a secret adds one
}

// places are counters that run down by themselves: each holds when it will be at nothing, in
// nanoseconds.
type places struct {
	burst   int
	every   time.Duration
	emptyAt []atomic.Int64
}

const (
	placesWatched = 1 << 16
	pairsRemember = 8192
)

func newPlaces(burst int, every time.Duration) places {
	return places{burst, every, make([]atomic.Int64, placesWatched)}
}

func newAttempts() *attempts {
	c, err := lru.New[uint64, struct{}](pairsRemember)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &attempts{
		seed: maphash.MakeSeed(), familiar: c,
		pairs: newPlaces(10, 2*time.Second), accounts: newPlaces(100, time.Second),
	}
}

// of gives the two places of a hash.
func (p *places) of(hash uint64) [2]*atomic.Int64 {
	one, other := hash%placesWatched, hash>>32%placesWatched
	if one == other {
		other ^= 1
	}
	return [2]*atomic.Int64{&p.emptyAt[one], &p.emptyAt[other]}
}

// left is how long it takes until one more failure may be counted.
func (p *places) left(hash uint64, now time.Time) time.Duration {
	two := p.of(hash)
	count := time.Duration(min(two[0].Load(), two[1].Load()) - now.UnixNano())
	full := time.Duration(p.burst) * p.every
	if count > 2*full {
		return 0 // more than can be counted: the clock was set back
	}
	return count - full + p.every
}

func (p *places) add(hash uint64, now time.Time) {
	for _, place := range p.of(hash) {
		p.addTo(place, now)
	}
}

func (p *places) addTo(place *atomic.Int64, now time.Time) {
	for {
		was := place.Load()
		from := max(was, now.UnixNano())
		if time.Duration(was-now.UnixNano()) > 2*time.Duration(p.burst)*p.every {
			from = now.UnixNano()
		}
		if place.CompareAndSwap(was, from+int64(p.every)) {
			return
		}
	}
}

func (p *places) remove(hash uint64) {
	for _, place := range p.of(hash) {
		place.Add(-int64(p.every))
	}
}

func (a *attempts) hashes(g guess) (pair, account uint64) {
	return maphash.String(a.seed, g.address+"\x00"+g.account), maphash.String(a.seed, g.account)
}

// allow is a 429 Fault when there have been too many failures of late.
func (a *attempts) allow(g guess, now time.Time) error {
	pair, account := a.hashes(g)
	left := a.pairs.left(pair, now)
	if !a.familiar.Contains(pair) {
		left = max(left, a.accounts.left(account, now))
	}
	if left <= 0 {
		return nil
	}
	return tooMany(int((left + time.Second - 1) / time.Second))
}

// take counts a failure.
func (a *attempts) take(g guess, now time.Time) {
	pair, account := a.hashes(g)
	a.pairs.add(pair, now)
	a.accounts.add(account, now)
}

// giveBack takes back what was counted before it turned out to be right.
func (a *attempts) giveBack(g guess) {
	pair, account := a.hashes(g)
	a.pairs.remove(pair)
	a.accounts.remove(account)
}

func (a *attempts) succeeded(g guess) {
	pair, _ := a.hashes(g)
	a.familiar.Add(pair, struct{}{})
}
