package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"net/http"
	"net/netip"
	"runtime"
	"sync"
	"time"

	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/crypto/bcrypt"

	"kilonova/compat"
)

// maxPassword is the longest password, as in Keystone; it is checked before any hashing.
const maxPassword = 4096

// bcryptLimit is how many bytes bcrypt looks at; longer passwords are hashed before.
const bcryptLimit = 72

// hasher hashes and compares passwords. bcrypt is slow on purpose, so comparing what anybody
// may send has half of the processors, and a flood of logins waits for itself; hashing what
// callers with a token have set has a place of its own beside.
type hasher struct {
	cost  int
	turns *turns        // of comparing
	own   chan struct{} // of hashing
	dummy []byte        // compared with when there is no such user, to take the same time

	// Programs log in again and again with the right password. For some minutes one is known
	// again by a hash under a key that never leaves this process. A wrong one is never in
	// here and always takes its time.
	proven *expirable.LRU[[32]byte, struct{}]
	key    [32]byte

	// Of many who send one and the same at a time, one is checked and the others hear of it.
	mu      sync.Mutex
	looking map[[32]byte]chan struct{}
}

func newHasher(cost int) (*hasher, error) {
	const remembered, lifetime = 4096, 5 * time.Minute
	h := &hasher{cost: cost, turns: newTurns(max(1, runtime.GOMAXPROCS(0)/2)), own: make(chan struct{}, 1),
		looking: map[[32]byte]chan struct{}{}, proven: expirable.NewLRU[[32]byte, struct{}](remembered, nil, lifetime)}
	_, _ = rand.Read(h.key[:]) // never fails: crypto/rand ends the program instead
	var err error
	h.dummy, err = bcrypt.GenerateFromPassword([]byte(rand.Text()), cost)
	if err != nil {
		return nil, fmt.Errorf("hash a password: %w", err)
	}
	return h, nil
}

// material is what bcrypt gets for a password.
func material(password string) []byte {
	if len(password) <= bcryptLimit {
		return []byte(password)
	}
	sum := sha256.Sum256([]byte(password))
	return []byte(base64.StdEncoding.EncodeToString(sum[:]))
}

func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	select {
	case h.own <- struct{}{}:
	case <-ctx.Done():
		return "", ctx.Err()
	}
	defer func() { <-h.own }()
	sum, err := bcrypt.GenerateFromPassword(material(password), h.cost)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return string(sum), nil
}

// proof is by what a guess is known again.
func (h *hasher) proof(g guess) [32]byte {
	mac := hmac.New(sha256.New, h.key[:])
	for _, part := range []string{g.hash, g.account, g.secret} {
		mac.Write(binary.BigEndian.AppendUint64(nil, uint64(len(part))))
		mac.Write([]byte(part))
	}
	return [32]byte(mac.Sum(nil))
}

func (h *hasher) isProven(hash string, proof [32]byte) bool {
	_, ok := h.proven.Get(proof)
	return ok && hash != ""
}

// compare compares a password with a hash; with "" for the hash, which nothing matches, it
// takes as long. The caller has a slot.
func (h *hasher) compare(hash, password string, proof [32]byte) bool {
	against := []byte(hash)
	if hash == "" {
		against = h.dummy
	}
	ok := bcrypt.CompareHashAndPassword(against, material(password)) == nil && hash != ""
	if ok {
		h.proven.Add(proof, struct{}{})
	}
	return ok
}

// first makes the caller the one who looks at a proof, until done is called; if somebody
// else is, it waits for that one and gives nil.
func (h *hasher) first(ctx context.Context, proof [32]byte) (done func(), err error) {
	h.mu.Lock()
	other, busy := h.looking[proof]
	if !busy {
		h.looking[proof] = make(chan struct{})
	}
	h.mu.Unlock()
	if busy {
		select {
		case <-other:
			return nil, nil
		case <-ctx.Done():
			return nil, tooMany(1) // nobody waits for this answer any more
		}
	}
	return func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		close(h.looking[proof])
		delete(h.looking, proof)
	}, nil
}

func tooMany(seconds int) error {
	return &compat.Fault{Code: http.StatusTooManyRequests, Message: unauthenticated, RetryAfter: max(1, seconds)}
}

// guess is one try to prove an account by a secret.
type guess struct {
	account string // as it is counted: what the database has under the name, or the name
	address string // of the client
	hash    string // "" when there is no such account
	secret  string
}

// clientAddress is whom guesses are counted for: an address, or of IPv6 the part that one
// customer has.
func clientAddress(r *http.Request) string {
	const customer = 64
	at, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	address := at.Addr().Unmap().WithZone("")
	if address.Is6() {
		prefix, err := address.Prefix(customer)
		if err == nil {
			return prefix.String()
		}
	}
	return address.String()
}

// try checks a guess. The 429 Fault says that its account was guessed at too often from
// there, whether or not this one is right.
func (s *Service) try(ctx context.Context, g guess) (bool, error) {
	err := s.attempts.allow(g, s.now().Time())
	if err != nil {
		return false, err
	}
	if len(g.secret) > maxPassword {
		// It is nobody's, so it costs nothing and tells nothing. Nor does it count: a flood of
		// these is as cheap for who sends it.
		return false, nil
	}
	proof := s.hasher.proof(g)
	for !s.hasher.isProven(g.hash, proof) {
		done, err := s.hasher.first(ctx, proof)
		if err != nil {
			return false, err
		}
		if done != nil {
			defer done()
			return s.inTurn(ctx, g, proof)
		}
		err = s.attempts.allow(g, s.now().Time()) // the other one was counted
		if err != nil {
			return false, err
		}
	}
	s.attempts.succeeded(g)
	return true, nil
}

// inTurn checks a guess when its turn comes. It is counted before it is looked at, so that
// a thousand at once are no more than a thousand one after another.
func (s *Service) inTurn(ctx context.Context, g guess, proof [32]byte) (bool, error) {
	err := s.hasher.turns.enter(ctx, g.address)
	if err != nil {
		return false, err
	}
	defer s.hasher.turns.leave()
	now := s.now().Time()
	err = s.attempts.allow(g, now) // others were counted while this one waited
	if err != nil {
		return false, err
	}
	s.attempts.take(g, now)
	if !s.hasher.compare(g.hash, g.secret, proof) {
		return false, nil
	}
	s.attempts.giveBack(g)
	s.attempts.succeeded(g)
	return true, nil
}
