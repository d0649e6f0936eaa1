package identity

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"kilonova/compat"
)

// maxList is how many rows a list has when the client asks for no number; then the answer
// says that it is truncated, as Keystone's do.
const maxList = 10000

// query is the WHERE of a list, made of the request's filters, and its page.
type query struct {
	where  []string
	args   []any
	values map[string][]string
	limit  int
	err    error
}

// newQuery reads limit and marker. Pages follow the ids.
func newQuery(r *http.Request) *query {
	q := &query{values: r.URL.Query(), limit: maxList}
	if v := q.last("limit"); v != "" {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			q.err = compat.BadRequest("Invalid input for query parameter 'limit': it is not a number from 0.")
		} else if n > 0 {
			q.limit = int(min(n, maxList))
		}
	}
	if v := q.last("marker"); v != "" {
		if !validText(v) || len(v) > maxName {
			q.err = compat.NotFound("Could not find the marker: %s.", clip(v))
		}
		q.and("id > ?", v)
	}
	return q
}

func (q *query) last(key string) string {
	v := q.values[key]
	if len(v) == 0 {
		return ""
	}
	return v[len(v)-1]
}

// and adds a condition; it is SQL of ours, with the client's values bound.
func (q *query) and(condition string, args ...any) {
	q.where = append(q.where, condition)
	q.args = append(q.args, args...)
}

// equal filters a column by the parameters of the same name.
func (q *query) equal(columns ...string) *query {
	for _, c := range columns {
		q.equalAs(c, c)
	}
	return q
}

func (q *query) equalAs(param, column string) {
	v, ok := q.values[param]
	if !ok {
		return
	}
	q.valid(param)
	q.and(column+" = ?", v[len(v)-1])
}

func (q *query) valid(param string) {
	if q.err == nil && !validText(q.last(param)) {
		q.err = compat.BadRequest("Invalid input for query parameter '%s'.", param)
	}
}

// name filters by name, and by the forms such as name__contains.
func (q *query) name() *query {
	q.equal("name")
	for suffix, pattern := range map[string]string{"contains": "%%%s%%", "startswith": "%s%%", "endswith": "%%%s"} {
		for _, param := range []string{"name__" + suffix, "name__i" + suffix} {
			if _, ok := q.values[param]; !ok {
				continue
			}
			q.valid(param)
			literal := strings.NewReplacer("!", "!!", "%", "!%", "_", "!_").Replace(q.last(param))
			q.and("name LIKE ? ESCAPE '!'", fmt.Sprintf(pattern, literal))
		}
	}
	return q
}

// enabled filters by a boolean; as in Keystone only "false" and "0" mean false.
func (q *query) enabled() *query {
	if _, ok := q.values["enabled"]; ok {
		v := strings.ToLower(q.last("enabled"))
		q.and("enabled = ?", v != "false" && v != "0")
	}
	return q
}

// list runs a SELECT with the query's filters and one row more than the page has; it says
// whether there was one.
func list[T any](ctx context.Context, s *Service, q *query, statement string) (rows []T, more bool, err error) {
	if q.err != nil {
		return nil, false, q.err
	}
	if len(q.where) > 0 {
		statement += " WHERE " + strings.Join(q.where, " AND ")
	}
	err = s.db.SelectContext(ctx, &rows, statement+" ORDER BY id LIMIT ?", append(q.args, q.limit+1)...)
	if err != nil {
		return nil, false, fmt.Errorf("list: %w", err)
	}
	if len(rows) > q.limit {
		return rows[:q.limit], true, nil
	}
	return rows, false, nil
}

// collection answers with a list in Keystone's form; last is the id to go on after, ""
// when nothing follows.
func (s *Service) collection(w http.ResponseWriter, r *http.Request, key string, members []object, last string) error {
	if members == nil {
		members = []object{}
	}
	self := s.base(r) + r.URL.EscapedPath()
	links := object{"self": self, "previous": nil, "next": nil}
	doc := object{key: members, "links": links}
	if last != "" {
		q := r.URL.Query()
		if q.Get("limit") == "" || q.Get("limit") == "0" {
			doc["truncated"] = true
		}
		q.Set("marker", last)
		links["next"] = self + "?" + q.Encode()
	}
	return compat.WriteJSON(w, http.StatusOK, doc)
}

// answerList shows rows as members of a collection.
func answerList[T any](s *Service, w http.ResponseWriter, r *http.Request, key string, q *query, statement string, show func(*T) (object, string)) error {
	rows, more, err := list[T](r.Context(), s, q, statement)
	if err != nil {
		return err
	}
	members := make([]object, 0, len(rows))
	last := ""
	for i := range rows {
		var o object
		o, last = show(&rows[i])
		members = append(members, o)
	}
	if !more {
		last = ""
	}
	return s.collection(w, r, key, members, last)
}
