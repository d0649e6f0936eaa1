package networks

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
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

// parse reads the query string of a list. What it does not know it ignores, as Neutron
// does. Faults: 400 for a value that cannot be.
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
	if text := params.Get("limit"); text != "" {
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
	for name, vs := range q.params {
		if special := specialFilters[name]; special != nil {
			c, err := special(k, vs)
			if err != nil {
				return err
			}
			q.where = append(q.where, c)
			continue
		}
		a := k.attribute(name)
		if a == nil || a.column == "" || (a.hidden && !all) {
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
	switch a.form {
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

// specialFilters are those that are no attribute's plain value.
var specialFilters = map[string]func(k *kind, vs []string) (condition, error){
	"tags":            func(k *kind, vs []string) (condition, error) { return k.withTags(vs, true, false) },
	"tags-any":        func(k *kind, vs []string) (condition, error) { return k.withTags(vs, false, false) },
	"not-tags":        func(k *kind, vs []string) (condition, error) { return k.withTags(vs, true, true) },
	"not-tags-any":    func(k *kind, vs []string) (condition, error) { return k.withTags(vs, false, true) },
	"fixed_ips":       (*kind).withAddresses,
	"security_groups": (*kind).inGroups,
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
	if k.single != "port" {
		return condition{"1 = 1", nil}, nil
	}
	parts := map[string][]string{}
	for _, v := range vs {
		name, value, _ := strings.Cut(v, "=")
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
	if k.single != "port" {
		return condition{"1 = 1", nil}, nil
	}
	return condition{"EXISTS (SELECT 1 FROM port_security_groups fm JOIN security_groups fg ON fg.id = fm.group_id WHERE fm.port_id = p.id AND fg.uuid IN (?))", []any{vs}}, nil
}

func (k *kind) addOrder(q *query) error {
	keys, dirs := q.params["sort_key"], q.params["sort_dir"]
	if len(dirs) > 0 && len(dirs) != len(keys) {
		return badRequest("The number of sort_keys and sort_dirs must be same")
	}
	if len(keys) > 8 {
		return badRequest("Too many sort keys")
	}
	for i, name := range keys {
		a := k.attribute(name)
		if a == nil || a.column == "" || a.hidden {
			return badRequest("'%s' is an invalid attribute for sort keys", clip(name))
		}
		desc := false
		if len(dirs) > 0 {
			switch dirs[i] {
			case "asc":
			case "desc":
				desc = true
			default:
				return badRequest("The value for sort_dir must be 'asc' or 'desc', not '%s'", clip(dirs[i]))
			}
		}
		q.columns, q.descend = append(q.columns, a.column), append(q.descend, desc)
	}
	q.columns, q.descend = append(q.columns, k.alias+".id"), append(q.descend, false)
	return nil
}

// visible limits rows to what the caller may see.
func (k *kind) visible(c *compat.Caller) condition {
	switch {
	case everything(c):
		return condition{"1 = 1", nil}
	case k.shared != "":
		return condition{"(" + k.alias + ".project_id = ? OR " + k.shared + ")", []any{c.ProjectID}}
	}
	return condition{k.alias + ".project_id = ?", []any{c.ProjectID}}
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
	where := append([]condition{k.visible(c)}, q.where...)
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
