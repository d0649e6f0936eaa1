package servers

import (
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"

	"kilonova/compat"
	"kilonova/servers/lifecycle"
)

// A list of a thousand servers costs what it takes to find out that nothing has changed:
// each document is kept as it was sent, with the server's revision, which the database
// counts up with everything that a document shows (see the migration of server_revisions).
// What is kept is looked at only after the revision was read anew, so that it is never
// older than an answer from the tables would be.

// look is everything besides the server that decides how its document looks.
type look struct {
	version        compat.Version
	view           string
	attributes     bool
	hosts          bool // their status is shown
	specs          bool
	admin          bool
	self, bookmark string
}

// lookOf is the look of a request for documents of target's owner.
func (s *Service) lookOf(r *compat.Request, view string, target compat.Target) look {
	return look{
		version: r.Version, view: view, admin: r.Caller.IsAdmin(),
		attributes: r.MayTo(ruleAttributes, target), hosts: r.MayTo(ruleHostStatus, target), specs: r.MayTo(ruleExtraSpecs, target),
		self: r.SelfURL(""), bookmark: r.BookmarkURL(""),
	}
}

// sighting is a server as a list or a show first meets it.
type sighting struct {
	id       int64
	revision int64
	epoch    int64 // of the names that documents of many servers show
}

// rendering is a document and what it was true for.
type rendering struct {
	sighting
	uuid       string
	host       string // "" when its status is not shown
	hostStatus string
	doc        []byte
}

const (
	// renderingsSize bounds each of the two generations, in bytes.
	renderingsSize = 16 << 20
	// longestRendering keeps what is odd, such as user data, from taking everything.
	longestRendering = 16 << 10
	// renderingCost is about what an entry takes beside its document.
	renderingCost = 200
	// mostLooks bounds the ways in which documents are asked for.
	mostLooks = 4096
)

type renderingKey struct {
	look int32
	id   int64
}

// renderings keeps documents. When the young ones have filled their room they become the
// old ones, and what nobody asked for since the last time goes.
type renderings struct {
	mu         sync.Mutex
	looks      map[look]int32
	young, old map[renderingKey]rendering
	size       int
}

func newRenderings() *renderings {
	return &renderings{looks: map[look]int32{}, young: map[renderingKey]rendering{}}
}

// number of a look; mu is held.
func (c *renderings) number(p look) int32 {
	n, ok := c.looks[p]
	if !ok {
		if len(c.looks) >= mostLooks {
			c.looks, c.young, c.old, c.size = map[look]int32{}, map[renderingKey]rendering{}, nil, 0
		}
		n = int32(len(c.looks))
		c.looks[p] = n
	}
	return n
}

// get gives the renderings of what was seen, in its order, without a document where there
// is none that is still true.
func (c *renderings) get(p look, seen []sighting) []rendering {
	out := make([]rendering, len(seen))
	if c == nil {
		return out
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.number(p)
	for i, at := range seen {
		key := renderingKey{n, at.id}
		kept, ok := c.young[key]
		if !ok {
			kept, ok = c.old[key]
			if ok && kept.sighting == at {
				delete(c.old, key)
				c.keep(key, kept)
			}
		}
		if ok && kept.sighting == at {
			out[i] = kept
		}
	}
	return out
}

func (c *renderings) put(p look, all []rendering) {
	if c == nil || len(all) == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	n := c.number(p)
	for _, r := range all {
		if len(r.doc) <= longestRendering {
			c.keep(renderingKey{n, r.id}, r)
		}
	}
}

// keep adds to the young ones; mu is held.
func (c *renderings) keep(key renderingKey, r rendering) {
	if was, ok := c.young[key]; ok {
		c.size -= len(was.doc) + renderingCost
	}
	c.young[key] = r
	c.size += len(r.doc) + renderingCost
	if c.size > renderingsSize {
		c.old, c.young, c.size = c.young, map[renderingKey]rendering{}, 0
	}
}

const epoch = "(SELECT n FROM epochs WHERE name = 'names')"

// statuses gives what is shown of hosts, asking for each once.
type statuses struct {
	s     *Service
	known map[string]string
}

func (h *statuses) of(ctx context.Context, host string) string {
	st, ok := h.known[host]
	if !ok {
		st = h.s.hostStatus(ctx, host)
		h.known[host] = st
	}
	return st
}

// see reads which servers a list shows.
func (s *Service) see(r *compat.Request, p *page) ([]sighting, bool, error) {
	if p.limit == 0 {
		return nil, false, nil
	}
	rows, err := s.DB.QueryContext(r.Context(), p.sql("id, revision, "+epoch), p.args...)
	if err != nil {
		return nil, false, fmt.Errorf("list servers: %w", err)
	}
	defer rows.Close()
	seen := make([]sighting, 0, min(p.limit+1, 64))
	for rows.Next() {
		var at sighting
		err = rows.Scan(&at.id, &at.revision, &at.epoch)
		if err != nil {
			return nil, false, fmt.Errorf("list servers: %w", err)
		}
		seen = append(seen, at)
	}
	if rows.Err() != nil {
		return nil, false, fmt.Errorf("list servers: %w", rows.Err())
	}
	more := len(seen) > p.limit
	return seen[:min(len(seen), p.limit)], more, nil
}

// documents gives the documents of what was seen: kept ones, and the others from the tables
// by a fixed number of statements. A server that went meanwhile has none.
func (s *Service) documents(r *compat.Request, seen []sighting) ([]rendering, error) {
	p := s.lookOf(r, viewDetail, r.Target())
	list := s.renderings.get(p, seen)
	hosts := &statuses{s, map[string]string{}}
	at := map[int64]int{} // of the missing
	var missing []string
	for i := range list {
		if list[i].doc != nil && (!p.hosts || hosts.of(r.Context(), list[i].host) == list[i].hostStatus) {
			continue
		}
		list[i].doc = nil
		at[seen[i].id] = i
		missing = append(missing, strconv.FormatInt(seen[i].id, 10))
	}
	if len(missing) == 0 {
		return list, nil
	}
	stmt := "SELECT " + listColumns(embedsImage.Has(r.Version), p.attributes) + " FROM servers WHERE id IN (" + strings.Join(missing, ", ") + ")"
	page, err := s.scan(r.Context(), stmt, nil, len(missing))
	if err != nil {
		return nil, fmt.Errorf("list servers: %w", err)
	}
	b, err := s.beside(r, page)
	if err != nil {
		return nil, err
	}
	if b.statuses != nil {
		b.statuses = hosts // what is shown is what is kept in mind
	}
	buf := compat.Buffer()
	defer buf.Free()
	fresh := make([]rendering, 0, len(page))
	for i := range page {
		v := &page[i]
		doc := s.view(r, v, b, viewDetail)
		buf.B = b.append(buf.B[:0], r, &doc, viewDetail)
		n := at[v.ID]
		list[n] = rendering{sighting: seen[n], uuid: v.UUID, host: v.HostName(), hostStatus: doc.HostStatus, doc: bytes.Clone(buf.B)}
		fresh = append(fresh, list[n])
	}
	s.renderings.put(p, fresh)
	return list, nil
}

const selectSighting = `
SELECT id, uuid, project_id, user_id, revision, ` + epoch + ` AS epoch
FROM server_revisions JOIN servers ON servers.id = server_id WHERE server_uuid = ?`

// shown is a server whose document is kept.
type shown struct {
	target compat.Target
	doc    []byte
}

// met is a server that has no kept document, with what was read before its row.
type met struct {
	*lifecycle.Server
	seen sighting
}

// PolicyTarget is the server's owner.
func (v *shown) PolicyTarget() compat.Target { return v.target }

// toShow finds the server of a show: a kept document if there is one, else the row.
func (s *Service) toShow(r *compat.Request) (compat.Resource, error) {
	var row struct {
		ID        int64  `db:"id"`
		UUID      string `db:"uuid"`
		ProjectID string `db:"project_id"`
		UserID    string `db:"user_id"`
		Revision  int64  `db:"revision"`
		Epoch     int64  `db:"epoch"`
	}
	err := s.DB.GetContext(r.Context(), &row, selectSighting, r.Var("id"))
	if errors.Is(err, sql.ErrNoRows) {
		v, err := s.find(r.Context(), s.DB, r.Caller, r.Var("id"), false) // says that there is none
		if err != nil {
			return nil, err
		}
		return &met{Server: v}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get server %s: %w", r.Var("id"), err)
	}
	target := compat.Target{ProjectID: row.ProjectID, UserID: row.UserID}
	seen := sighting{row.ID, row.Revision, row.Epoch}
	if row.ProjectID == r.Caller.ProjectID || r.Caller.IsAdmin() {
		p := s.lookOf(r, viewShow, target)
		kept := s.renderings.get(p, []sighting{seen})[0]
		if kept.doc != nil && (!p.hosts || s.hostStatus(r.Context(), kept.host) == kept.hostStatus) {
			return &shown{target, kept.doc}, nil
		}
	}
	v, err := s.find(r.Context(), s.DB, r.Caller, r.Var("id"), false)
	if err != nil {
		return nil, err
	}
	return &met{v, seen}, nil
}

// show answers with one server's document.
func (s *Service) show(w http.ResponseWriter, r *compat.Request) error {
	if kept, ok := r.Resource.(*shown); ok {
		return answerDocument(w, r, func(to []byte) []byte { return append(to, kept.doc...) })
	}
	v := r.Resource.(*met)
	doc, b, err := s.document(r, v.Server, viewShow)
	if err != nil {
		return err
	}
	return answerDocument(w, r, func(to []byte) []byte {
		start := len(to)
		to = b.append(to, r, &doc, viewShow)
		s.renderings.put(s.lookOf(r, viewShow, v.PolicyTarget()), []rendering{{
			sighting: v.seen, uuid: v.UUID, host: v.HostName(), hostStatus: doc.HostStatus, doc: bytes.Clone(to[start:]),
		}})
		return to
	})
}
