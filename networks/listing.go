package networks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jmoiron/sqlx"

	"kilonova/compat"
)

// condition is a part of a WHERE clause with its arguments.
type condition struct {
	sql  string
	args []any
}

// query is a list request, read from its query string.
type query struct {
	where   []condition
	columns []string // to sort by, the key last
	descend []bool
	limit   int
	marker  string
	reverse bool
	fields  map[string]bool
	params  url.Values
}

// maxFilterValues bounds an IN list that a client makes.
const maxFilterValues = 2000

// controls are the parameters of a list that are no filters.
var controls = map[string]bool{"fields": true, "sort_key": true, "sort_dir": true, "limit": true, "marker": true, "page_reverse": true}

// parse reads the query string of a list. Faults: 400 for a filter that there is not and for
// a value that cannot be.
func (k *kind) parse(r *request) (*query, error) {
	params, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("Malformed query string")
	}
	q := &query{params: params}
	for name, vs := range params {
		if len(vs) > maxFilterValues {
			return nil, badRequest("Too many values for %s", clip(name))
		}
		for _, v := range vs {
			if !utf8.ValidString(v) || strings.ContainsRune(v, 0) {
				return nil, badRequest("Invalid value for %s", clip(name))
			}
		}
	}
	q.fields = fieldsOf(params)
	err = k.addFilters(q, everything(r.caller))
	if err == nil {
		err = k.addOrder(q)
	}
	if err != nil {
		return nil, err
	}
	if params.Has("limit") {
		text := params.Get("limit")
		n, err := strconv.ParseInt(text, 10, 32)
		if err != nil || n < 0 {
			return nil, badRequest("Limit must be an integer 0 or greater and not '%s'", clip(text))
		}
		q.limit = int(n)
	}
	q.marker = params.Get("marker")
	q.reverse, _ = parseBool(params.Get("page_reverse"))
	return q, nil
}

func fieldsOf(params url.Values) map[string]bool {
	var fields map[string]bool
	for _, f := range params["fields"] {
		if f == "" {
			continue
		}
		if fields == nil {
			fields = map[string]bool{}
		}
		fields[f] = true
	}
	return fields
}

// addFilters reads the filters. Those on what only admins see do nothing for others, who could
// guess the value by them.
func (k *kind) addFilters(q *query, all bool) error {
	for _, name := range sortedKeys(q.params) {
		vs := q.params[name]
		if controls[name] {
			continue
		}
		if special := k.special(name); special != nil {
			c, err := special(k, vs)
			if err != nil {
				return err
			}
			q.where = append(q.where, c)
			continue
		}
		a := k.attribute(name)
		if a == nil || a.column == "" {
			return badRequest("['%s'] is invalid attribute for filtering", clip(name))
		}
		if a.hidden && !all {
			continue
		}
		args := make([]any, 0, len(vs))
		for _, v := range vs {
			arg, err := a.filterValue(v)
			if err != nil {
				return err
			}
			args = append(args, arg)
		}
		q.where = append(q.where, condition{a.column + " IN (?)", []any{args}})
	}
	return nil
}

func (a *attribute) filterValue(v string) (any, error) {
	if a.filter != nil {
		return a.filter(v)
	}
	switch a.form {
	case hardware:
		mac, ok := parseMAC(v)
		if ok {
			return mac, nil
		}
		return v, nil // finds nothing
	case boolean:
		b, ok := parseBool(v)
		if !ok {
			return nil, invalidInput("'%s' is not a valid boolean value for %s", clip(v), a.name)
		}
		if b {
			return 1, nil
		}
		return 0, nil
	case number, numNull:
		n, err := strconv.ParseInt(v, 10, 64)
		if err != nil {
			return nil, invalidInput("'%s' is not an integer for %s", clip(v), a.name)
		}
		return n, nil
	}
	return v, nil
}

// specialFilter is a filter that is no attribute's plain value.
type specialFilter func(k *kind, vs []string) (condition, error)

var tagFilters = map[string]specialFilter{
	"tags":         func(k *kind, vs []string) (condition, error) { return k.withTags(vs, true, false) },
	"tags-any":     func(k *kind, vs []string) (condition, error) { return k.withTags(vs, false, false) },
	"not-tags":     func(k *kind, vs []string) (condition, error) { return k.withTags(vs, true, true) },
	"not-tags-any": func(k *kind, vs []string) (condition, error) { return k.withTags(vs, false, true) },
}

func (k *kind) special(name string) specialFilter {
	switch {
	case name == "changed_since":
		return (*kind).changedSince
	case k.tagged && tagFilters[name] != nil:
		return tagFilters[name]
	}
	return k.filters[name]
}

// changedSince is about the time that clients see, which is in whole seconds: what changed a
// moment after it changed at it.
func (k *kind) changedSince(vs []string) (condition, error) {
	t, err := compat.ParseTime(vs[0])
	if err != nil {
		return condition{}, invalidInput("The input changed_since must be in the following format: YYYY-MM-DDTHH:MM:SSZ")
	}
	since := t.Truncate(time.Second)
	if since.Before(t) {
		since = since.Add(time.Second)
	}
	return condition{k.alias + ".updated_at >= ?", []any{since.UnixMicro()}}, nil
}

func (k *kind) withTags(vs []string, all, not bool) (condition, error) {
	tags := map[string]bool{}
	for _, v := range vs {
		for _, tag := range strings.Split(v, ",") {
			tags[tag] = true
		}
	}
	want := 1
	if all {
		want = len(tags)
	}
	sql := fmt.Sprintf("(SELECT COUNT(*) FROM network_tags t WHERE t.resource = %s.uuid AND t.tag IN (?)) >= ?", k.alias)
	if not {
		sql = "NOT " + sql
	}
	return condition{sql, []any{sortedKeys(tags), want}}, nil
}

// withAddresses is fixed_ips=ip_address=A, =subnet_id=S and =ip_address_substr=T: of one kind
// any may match, of different kinds all must.
func (k *kind) withAddresses(vs []string) (condition, error) {
	parts := map[string][]string{}
	for _, v := range vs {
		name, value, ok := strings.Cut(v, "=")
		name, value = strings.TrimSpace(name), strings.TrimSpace(value)
		if !ok || name == "" {
			return condition{}, invalidInput("'%s' is not of the form <key>=[value]", clip(v))
		}
		a, isAddress := parseAddress(value)
		if isAddress {
			value = a.String()
		}
		parts[name] = append(parts[name], value)
	}
	out := condition{sql: "EXISTS (SELECT 1 FROM port_addresses fa JOIN subnets fs ON fs.id = fa.subnet_id WHERE fa.port_id = p.id"}
	for _, name := range sortedKeys(parts) {
		switch name {
		case "ip_address":
			out.sql += " AND fa.address IN (?)"
			out.args = append(out.args, parts[name])
		case "subnet_id":
			out.sql += " AND fs.uuid IN (?)"
			out.args = append(out.args, parts[name])
		case "ip_address_substr":
			var likes []string
			for _, part := range parts[name] {
				likes = append(likes, "fa.address LIKE ? ESCAPE '!'")
				out.args = append(out.args, "%"+likeEscape.Replace(part)+"%")
			}
			out.sql += " AND (" + strings.Join(likes, " OR ") + ")"
		default:
			return condition{}, badRequest("Invalid filter for fixed_ips: '%s'", clip(name))
		}
	}
	out.sql += ")"
	return out, nil
}

var likeEscape = strings.NewReplacer("!", "!!", "%", "!%", "_", "!_")

func (k *kind) inGroups(vs []string) (condition, error) {
	return condition{"EXISTS (SELECT 1 FROM port_security_groups fm JOIN security_groups fg ON fg.id = fm.group_id WHERE fm.port_id = p.id AND fg.uuid IN (?))", []any{vs}}, nil
}

func (k *kind) addOrder(q *query) error {
	keys, dirs := q.params["sort_key"], q.params["sort_dir"]
	if len(dirs) != len(keys) {
		return badRequest("The number of sort_keys and sort_dirs must be same")
	}
	if len(keys) > 8 {
		return badRequest("Too many sort keys")
	}
	for i, name := range keys {
		a := k.attribute(name)
		if a == nil || a.column == "" || a.hidden {
			return badRequest("['%s'] is invalid attribute for sort_keys", clip(name))
		}
		if dirs[i] != "asc" && dirs[i] != "desc" {
			return badRequest("['%s'] is invalid value for sort_dirs, valid value is 'asc' and 'desc'", clip(dirs[i]))
		}
		q.columns, q.descend = append(q.columns, a.column), append(q.descend, dirs[i] == "desc")
	}
	q.columns, q.descend = append(q.columns, k.alias+".id"), append(q.descend, false)
	return nil
}

// visible limits rows to what the caller may see.
func (k *kind) visible(c *compat.Caller) condition {
	if everything(c) {
		return condition{"1 = 1", nil}
	}
	sql, args := k.alias+".project_id = ?", []any{c.ProjectID}
	if len(k.landlord) > 0 {
		sql, args = sql+" OR n.project_id = ?", append(args, c.ProjectID)
	}
	if k.shared != "" {
		sql += " OR " + k.shared
	}
	return condition{"(" + sql + ")", args}
}

const ownNetworks = `SELECT id FROM networks WHERE project_id = ? ORDER BY id LIMIT 10000`

// visibleList is visible for a whole list: the networks of a landlord are named, so that the
// database finds what is on them by an index.
func (s *Service) visibleList(ctx context.Context, k *kind, c *compat.Caller) (condition, error) {
	if everything(c) || k.shared != "" || len(k.landlord) == 0 {
		return k.visible(c), nil
	}
	var keys []int64
	err := s.db.SelectContext(ctx, &keys, ownNetworks, c.ProjectID)
	if err != nil {
		return condition{}, fmt.Errorf("read the caller's networks: %w", err)
	}
	if len(keys) == 0 {
		return condition{k.alias + ".project_id = ?", []any{c.ProjectID}}, nil
	}
	return condition{"(" + k.alias + ".project_id = ? OR " + k.alias + ".network_id IN (?))", []any{c.ProjectID, keys}}, nil
}

// after is the condition for rows that follow the marker in the list's order.
func (s *Service) after(ctx context.Context, k *kind, c *compat.Caller, q *query) (condition, error) {
	see := k.visible(c)
	row := s.db.QueryRowxContext(ctx, "SELECT "+strings.Join(q.columns, ", ")+" FROM "+k.from+" WHERE "+k.alias+".uuid = ? AND "+see.sql,
		append([]any{q.marker}, see.args...)...)
	at, err := row.SliceScan()
	if err != nil || !validText(q.marker) {
		return condition{}, badRequest("Invalid marker: '%s'", clip(q.marker))
	}
	var or []string
	var args []any
	for i := range q.columns {
		var and []string
		for j := range i {
			and = append(and, q.columns[j]+" = ?")
			args = append(args, at[j])
		}
		op := " > ?"
		if q.descend[i] != q.reverse {
			op = " < ?"
		}
		args = append(args, at[i])
		or = append(or, "("+strings.Join(append(and, q.columns[i]+op), " AND ")+")")
	}
	return condition{"(" + strings.Join(or, " OR ") + ")", args}, nil
}

// page reads the rows of a list request.
func (s *Service) page(ctx context.Context, k *kind, c *compat.Caller, q *query) ([]record, error) {
	see, err := s.visibleList(ctx, k, c)
	if err != nil {
		return nil, err
	}
	where := append([]condition{see}, q.where...)
	if q.marker != "" {
		cond, err := s.after(ctx, k, c, q)
		if err != nil {
			return nil, err
		}
		where = append(where, cond)
	}
	var sql []string
	var args []any
	for _, w := range where {
		sql = append(sql, w.sql)
		args = append(args, w.args...)
	}
	var order []string
	for i, col := range q.columns {
		dir := " ASC"
		if q.descend[i] != q.reverse {
			dir = " DESC"
		}
		order = append(order, col+dir)
	}
	tail := "WHERE " + strings.Join(sql, " AND ") + " ORDER BY " + strings.Join(order, ", ")
	if q.limit > 0 {
		tail += " LIMIT " + strconv.Itoa(q.limit)
	}
	text, bound, err := sqlx.In("SELECT "+k.columns+" FROM "+k.from+" "+tail, args...)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", k.plural, err)
	}
	rows, err := k.read(ctx, s.db, text, bound)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", k.plural, err)
	}
	if q.reverse {
		for i, j := 0, len(rows)-1; i < j; i, j = i+1, j-1 {
			rows[i], rows[j] = rows[j], rows[i]
		}
	}
	return rows, nil
}

// list answers GET /{plural}.
func (s *Service) list(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		q, err := k.parse(r)
		if err != nil {
			return err
		}
		if k.beforeRead != nil {
			err = k.beforeRead(r)
			if err != nil {
				return err
			}
		}
		rows, err := s.page(r.Context(), k, r.caller, q)
		if err != nil {
			return err
		}
		views, err := s.views(r, k, rows, q.fields)
		if err != nil {
			return err
		}
		doc := map[string]any{k.plural: views}
		links := s.links(k, r, q, rows)
		if len(links) > 0 {
			doc[k.plural+"_links"] = links
		}
		return compat.WriteJSON(w, http.StatusOK, doc)
	}
}

func (s *Service) links(k *kind, r *request, q *query, rows []record) []any {
	if q.limit == 0 || len(rows) == 0 {
		return nil
	}
	link := func(rel, marker string, reverse bool) any {
		params := url.Values{}
		for name, vs := range q.params {
			params[name] = vs
		}
		params.Set("marker", marker)
		params.Del("page_reverse")
		if reverse {
			params.Set("page_reverse", "True")
		}
		return map[string]string{"rel": rel, "href": s.root(r.Request) + "/v2.0/" + k.path + "?" + params.Encode()}
	}
	var out []any
	full := len(rows) == q.limit
	if (full && !q.reverse) || (q.reverse && q.marker != "") {
		out = append(out, link("next", rows[len(rows)-1].about().id, false))
	}
	if (q.marker != "" && !q.reverse) || (full && q.reverse) {
		out = append(out, link("previous", rows[0].about().id, true))
	}
	return out
}
