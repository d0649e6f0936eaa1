package identity

import (
	"cmp"
	"context"
	"database/sql"
	"errors"
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

// query is the WHERE of a list, made of the request's filters, its order and its page.
type query struct {
	where  []string
	args   []any
	values map[string][]string
	limit  int
	marker string // the id of the last one that the client has
	column string // the order is by this, and by the ids where it is the same
	down   bool
	err    error
}

// newQuery reads limit and marker. Pages follow the ids unless sorted says otherwise.
func newQuery(r *http.Request) *query {
	q := &query{values: r.URL.Query(), limit: maxList, column: "id"}
	if v := q.last("limit"); v != "" {
		n, err := strconv.ParseUint(v, 10, 31)
		if err != nil {
			q.wrong("limit", "it is not a number from 0")
		} else if n > 0 {
			q.limit = int(min(n, maxList))
		}
	}
	q.marker = q.last("marker")
	if !validText(q.marker) || len(q.marker) > maxName {
		q.err = cmp.Or(q.err, noMarker(q.marker))
	}
	return q
}

func noMarker(id string) error { return compat.NotFound("Marker %s could not be found.", clip(id)) }

// wrong is the 400 Fault of a value that a parameter cannot have.
func (q *query) wrong(param, why string) {
	q.err = cmp.Or(q.err, error(compat.BadRequest("Invalid input for query parameter '%s': %s.", clip(param), why)))
}

// sorted reads sort_key, one of the columns, and sort_dir. Another key changes nothing, as in
// Keystone none does.
func (q *query) sorted(columns map[string]string) *query {
	if c, ok := columns[q.last("sort_key")]; ok {
		q.column = c
	}
	switch _, asked := q.values["sort_dir"]; {
	case q.last("sort_dir") == "desc":
		q.down = true
	case asked && q.last("sort_dir") != "asc":
		q.wrong("sort_dir", "it is neither asc nor desc")
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
	if !validText(q.last(param)) {
		q.wrong(param, "it holds a character that nothing stored has")
	}
}

// id filters by an id, which is not nothing.
func (q *query) id(param string) *query {
	if _, ok := q.values[param]; ok && !validID(q.last(param)) {
		q.wrong(param, "it is not an id")
	}
	return q.equal(param)
}

// oneOf refuses what is none of a parameter's words.
func (q *query) oneOf(param string, words ...string) *query {
	if _, ok := q.values[param]; ok && !slices.Contains(words, q.last(param)) {
		q.wrong(param, "it is not one of "+strings.Join(words, ", "))
	}
	return q
}

// name filters by a name, which is compared by its key, and by parts of it.
func (q *query) name() *query {
	q.inexact("name", "name", "name_key", foldName)
	if v, ok := q.values["name"]; ok {
		q.valid("name")
		if strings.TrimSpace(q.last("name")) == "" || utf8.RuneCountInString(q.last("name")) > maxName {
			q.wrong("name", "it is not a name of 1 to 255 characters")
		}
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

// enabled filters by a boolean.
func (q *query) enabled() *query {
	if _, ok := q.values["enabled"]; ok {
		q.and("enabled = ?", q.truth("enabled"))
	}
	return q
}

// truth reads a boolean; a parameter without a value is on.
func (q *query) truth(param string) bool {
	switch strings.ToLower(q.last(param)) {
	case "", "1", "t", "true", "on", "y", "yes":
		return true
	case "0", "f", "false", "off", "n", "no":
		return false
	}
	q.wrong(param, "it is not a boolean")
	return false
}

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
			q.wrong(form.param, "it has too many tags")
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

// from makes the page begin after the marker, whose row must be there still.
func (q *query) from(ctx context.Context, s *Service, statement string) error {
	if q.marker == "" {
		return nil
	}
	_, table, _ := strings.Cut(statement, "FROM ") // no list has it among its columns
	var at struct {
		ID    string `db:"id"`
		Value any    `db:"value"`
	}
	err := s.db.GetContext(ctx, &at, "SELECT id, "+q.column+" AS value FROM "+table+" WHERE id = ?", q.marker)
	if errors.Is(err, sql.ErrNoRows) {
		return noMarker(q.marker)
	}
	if err != nil {
		return fmt.Errorf("find the marker of a list: %w", err)
	}
	if text, ok := at.Value.([]byte); ok { // as one driver gives text
		at.Value = string(text)
	}
	after := " > ?"
	if q.down {
		after = " < ?"
	}
	if q.column == "id" {
		q.and("id"+after, at.ID)
	} else {
		q.and("("+q.column+after+" OR "+q.column+" = ? AND id"+after+")", at.Value, at.Value, at.ID)
	}
	return nil
}

func (q *query) order() string {
	way := ""
	if q.down {
		way = " DESC"
	}
	if q.column == "id" {
		return " ORDER BY id" + way
	}
	return " ORDER BY " + q.column + way + ", id" + way
}

// list runs a SELECT with the query's filters and one row more than the page has; it says
// whether there was one.
func list[T any](ctx context.Context, s *Service, q *query, statement string) (rows []T, more bool, err error) {
	if q.err == nil {
		q.err = q.from(ctx, s, statement)
	}
	if q.err != nil {
		return nil, false, q.err
	}
	if len(q.where) > 0 {
		statement += " WHERE " + strings.Join(q.where, " AND ")
	}
	err = s.db.SelectContext(ctx, &rows, statement+q.order()+" LIMIT ?", append(q.args, q.limit+1)...)
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
