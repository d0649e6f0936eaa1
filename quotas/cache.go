package quotas

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"kilonova/schema"
)

// freshFor is how old a limit may be that another process has changed, in microseconds.
const freshFor schema.Micros = 1_000_000

type key struct{ projectID, userID string }

type entry struct {
	limits map[string]int
	at     schema.Micros
}

// cache keeps limits for a moment. A write in this process empties it; since keeps what
// was read before the write from coming back after it.
type cache struct {
	mu     sync.Mutex
	list   *lru.Cache[key, entry]
	writes uint64
}

func newCache() *cache {
	list, err := lru.New[key, entry](4096)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &cache{list: list}
}

func (c *cache) get(k key, now schema.Micros) (limits map[string]int, since uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.list.Get(k)
	if ok && now >= e.at && now-e.at < freshFor {
		return e.limits, c.writes
	}
	return nil, c.writes
}

func (c *cache) put(k key, limits map[string]int, now schema.Micros, since uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if since == c.writes {
		c.list.Add(k, entry{limits, now})
	}
}

func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	c.list.Purge()
}
