package identity

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

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

// equal filters columns by the parameters of the same name, and by the forms such as
// type__contains that Keystone has of every filter.
func (q *query) equal(columns ...string) *query {
	for _, c := range columns {
		q.equalAs(c, c)
	}
	return q
}

func (q *query) equalAs(param, column string) {
	q.inexact(param, column, "LOWER("+column+")", strings.ToLower)
	v, ok := q.values[param]
	if !ok {
		return
	}
	q.valid(param)
	q.and(column+" = ?", v[len(v)-1])
}

func (q *query) valid(param string) {
	if q.err == nil && !validText(q.last(param)) {
		q.err = compat.BadRequest("Invalid input for query parameter '%s'.", clip(param))
	}
}

// name filters by a name, which is compared by its key, and by parts of it.
func (q *query) name() *query {
	q.inexact("name", "name", "name_key", foldName)
	if v, ok := q.values["name"]; ok {
		q.valid("name")
		q.and("name_key = ?", foldName(v[len(v)-1]))
	}
	return q
}

// comparators are the forms of a filter that look at a part of the text.
var comparators = map[string]struct {
	condition string // with the text's place
	args      func(part string) []any
}{
	"contains":   {"INSTR(%s, ?) > 0", func(part string) []any { return []any{part} }},
	"startswith": {"INSTR(%s, ?) = 1", func(part string) []any { return []any{part} }},
	"endswith":   {"SUBSTR(%s, ?) = ?", func(part string) []any { return []any{-utf8.RuneCountInString(part), part} }},
}

// inexact reads param__contains and its kind, with case, and param__icontains, without: then
// folded, which holds the text without case, is compared with what fold makes of the part.
func (q *query) inexact(param, column, folded string, fold func(string) string) {
	for word, c := range comparators {
		for form, of := range map[string]string{param + "__" + word: column, param + "__i" + word: folded} {
			if _, ok := q.values[form]; !ok {
				continue
			}
			q.valid(form)
			part := q.last(form)
			if of == folded {
				part = fold(part)
			}
			if part == "" {
				continue // every text has nothing in it
			}
			q.and(fmt.Sprintf(c.condition, of), c.args(part)...)
		}
	}
}

// enabled filters by a boolean; as in Keystone only "false" and "0" mean false.
func (q *query) enabled() *query {
	if _, ok := q.values["enabled"]; ok {
		q.and("enabled = ?", truth(q.last("enabled")))
	}
	return q
}

func truth(word string) bool { return !strings.EqualFold(word, "false") && word != "0" }

// nothing is the filter by what no user of ours has: they come from no other identity
// provider.
func (q *query) nothing(params ...string) *query {
	for _, p := range params {
		if _, ok := q.values[p]; ok {
			q.valid(p)
			q.and("1 = 0")
		}
	}
	return q
}

// passwordExpiry filters by the end of passwords, OPERATOR:TIME. Ours have none, and what is
// not there is neither before nor after, nor another time.
func (q *query) passwordExpiry() *query {
	const param = "password_expires_at"
	if _, ok := q.values[param]; !ok {
		return q
	}
	word, at, found := strings.Cut(q.last(param), ":")
	if found && len(word) < 4 && strings.Trim(word, "0123456789-") != "" {
		if !slices.Contains([]string{"lt", "lte", "gt", "gte", "eq", "neq"}, word) {
			q.err = cmp.Or(q.err, error(compat.BadRequest("The given operator %s is not valid. It must be one of the following: "+
				"'eq', 'neq', 'lt', 'lte', 'gt', or 'gte'.", clip(word))))
		}
	} else {
		at = q.last(param)
	}
	_, err := time.Parse(time.RFC3339, at)
	if err != nil {
		q.err = cmp.Or(q.err, error(compat.BadRequest("Timestamp not in expected format. The server could not comply with the request "+
			"since it is either malformed or otherwise incorrect. The client is assumed to be in error.")))
	}
	q.and("1 = 0")
	return q
}

// tags filters projects: tags wants all of its, tags-any one, not-tags is without those that
// have all, not-tags-any without those that have any.
func (q *query) tags() *query {
	for _, form := range []struct{ param, joint, not string }{
		{"tags", " AND ", ""}, {"tags-any", " OR ", ""}, {"not-tags", " AND ", "NOT "}, {"not-tags-any", " OR ", "NOT "},
	} {
		if _, ok := q.values[form.param]; !ok {
			continue
		}
		q.valid(form.param)
		wanted := strings.Split(q.last(form.param), ",")
		if len(wanted) > maxTags {
			q.err = cmp.Or(q.err, error(compat.BadRequest("Invalid input for query parameter '%s': it has too many tags.", form.param)))
			return q
		}
		var has []string
		var args []any
		for _, tag := range wanted {
			// A quote that begins a member follows a bracket or a comma; within a member it
			// follows a backslash.
			member := tagMember(tag)
			has = append(has, "(INSTR(tags, ?) = 1 OR INSTR(tags, ?) > 0)")
			args = append(args, "["+member, ","+member)
		}
		q.and(form.not+"("+strings.Join(has, form.joint)+")", args...)
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
