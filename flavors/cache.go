package flavors

import (
	"sync"

	lru "github.com/hashicorp/golang-lru/v2"

	"kilonova/compat"
	"kilonova/schema"
)

// freshFor is how old a flavor may be that another process has changed, in microseconds.
const freshFor schema.Micros = 1_000_000

// shared is a flavor with all that decides who may see it. A flavor that does not exist
// has ID 0.
type shared struct {
	Flavor
	projects map[string]bool
}

func (f *shared) visibleTo(c *compat.Caller) bool {
	return f.ID != 0 && (f.Public || c.IsAdmin() || c.ProjectID != "" && f.projects[c.ProjectID])
}

type entry struct {
	flavor *shared
	at     schema.Micros
}

// cache keeps flavors for a moment. A write in this process empties it; since keeps what
// was read before the write from coming back after it.
type cache struct {
	mu     sync.Mutex
	list   *lru.Cache[string, entry]
	writes uint64
}

func newCache() *cache {
	list, err := lru.New[string, entry](1024)
	if err != nil {
		panic(err) // the size is a positive constant
	}
	return &cache{list: list}
}

func (c *cache) get(flavorID string, now schema.Micros) (f *shared, since uint64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.list.Get(flavorID)
	if ok && now >= e.at && now-e.at < freshFor {
		return e.flavor, c.writes
	}
	return nil, c.writes
}

func (c *cache) put(flavorID string, f *shared, now schema.Micros, since uint64) {
	if f.ID == 0 {
		return // whoever guesses ids shall not push the real ones out
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if since == c.writes {
		c.list.Add(flavorID, entry{f, now})
	}
}

func (c *cache) forget() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.writes++
	c.list.Purge()
}
