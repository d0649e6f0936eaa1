package identity

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"math"
	"net"
	"net/http"
	"runtime"
	"strings"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"github.com/hashicorp/golang-lru/v2/expirable"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/time/rate"

	"kilonova/compat"
)

// maxPassword is the longest password, as in Keystone; it is checked before any hashing.
const maxPassword = 4096

// bcryptLimit is how many bytes bcrypt looks at; longer passwords are hashed before.
const bcryptLimit = 72

// hasher hashes and compares passwords, on at most as many processors as there are, so that
// a flood of logins waits for itself and not the rest of the cloud for it.
type hasher struct {
	cost  int
	slots chan struct{}
	dummy []byte // compared with when there is no such user, to take the same time

	// Programs log in again and again with the right password, and bcrypt is slow on
	// purpose. For some minutes a right password is known again by a hash under a key that
	// never leaves this process. A wrong one is never in here and always takes its time.
	proven *expirable.LRU[[32]byte, struct{}]
	key    [32]byte
}

func newHasher(cost int) (*hasher, error) {
	const remembered, lifetime = 4096, 5 * time.Minute
	h := &hasher{cost: cost, slots: make(chan struct{}, runtime.GOMAXPROCS(0)),
		proven: expirable.NewLRU[[32]byte, struct{}](remembered, nil, lifetime)}
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

// slot waits for a processor.
func (h *hasher) slot(ctx context.Context) error {
	select {
	case h.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (h *hasher) hash(ctx context.Context, password string) (string, error) {
	err := h.slot(ctx)
	if err != nil {
		return "", err
	}
	defer func() { <-h.slots }()
	sum, err := bcrypt.GenerateFromPassword(material(password), h.cost)
	if err != nil {
		return "", fmt.Errorf("hash a password: %w", err)
	}
	return string(sum), nil
}

// matches compares a password with a hash; with "" for the hash, which nothing matches, it
// takes as long.
func (h *hasher) matches(ctx context.Context, hash, password string) (bool, error) {
	if len(password) > maxPassword {
		return false, nil
	}
	mac := hmac.New(sha256.New, h.key[:])
	mac.Write([]byte(hash))
	mac.Write([]byte(password)) // a hash has one length, so the two cannot run together
	proof := [32]byte(mac.Sum(nil))
	if _, ok := h.proven.Get(proof); ok && hash != "" {
		return true, nil
	}
	err := h.slot(ctx)
	if err != nil {
		return false, err
	}
	defer func() { <-h.slots }()
	against := []byte(hash)
	if hash == "" {
		against = h.dummy
	}
	ok := bcrypt.CompareHashAndPassword(against, material(password)) == nil && hash != ""
	if ok {
		h.proven.Add(proof, struct{}{})
	}
	return ok, nil
}

// attempts slows down guessing: who fails often, as one user from one address, must wait.
// Names that do not exist are counted like those that do, and successes not at all.
type attempts struct {
	limiters *lru.Cache[string, *rate.Limiter]
}

const (
	attemptsBurst    = 10
	attemptsPerSec   = 0.5
	attemptsWatched  = 8192
	attemptKeyLength = 512
)

func newAttempts() *attempts {
	c, err := lru.New[string, *rate.Limiter](attemptsWatched)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &attempts{c}
}

// attemptKey names a user as the client did, and the client.
func attemptKey(r *http.Request, who ...string) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		host = r.RemoteAddr
	}
	key := host + "\x00" + strings.ToLower(strings.Join(who, "\x00"))
	return key[:min(len(key), attemptKeyLength)]
}

// allow is a 429 Fault when the key has failed too often of late.
func (a *attempts) allow(key string, now time.Time) error {
	l, ok := a.limiters.Get(key)
	if !ok {
		return nil
	}
	missing := 1 - l.TokensAt(now)
	if missing <= 0 {
		return nil
	}
	return &compat.Fault{Code: http.StatusTooManyRequests, Message: unauthenticated,
		RetryAfter: int(math.Ceil(missing / attemptsPerSec))}
}

// failed counts a failure.
func (a *attempts) failed(key string, now time.Time) {
	l, ok := a.limiters.Get(key)
	if !ok {
		l = rate.NewLimiter(attemptsPerSec, attemptsBurst)
		a.limiters.Add(key, l)
	}
	l.AllowN(now, 1)
}
