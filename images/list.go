package images

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"kilonova/compat"
	"kilonova/schema"
)

const (
	defaultLimit = 25
	maxLimit     = 1000
	maxFilters   = 1000 // values bound in one list
)

// where collects the conditions of a list; values are always bound.
type where struct {
	sql  []string
	args []any
}

func (w *where) add(condition string, args ...any) {
	w.sql = append(w.sql, condition)
	w.args = append(w.args, args...)
}

// sortKey is something that a list can be sorted by. The expression is never null, so that
// pages can go on from any row.
type sortKey struct {
	sql   string
	value func(*record) any
}

// sortKeys in the order in which a refusal names them.
var sortKeys = []struct {
	name string
	sortKey
}{
	{"name", sortKey{"COALESCE(i.name, '')", func(r *record) any { return r.Name }}},
	{"status", sortKey{"i.status", func(r *record) any { return r.Status }}},
	{"container_format", sortKey{"COALESCE(i.container_format, '')", func(r *record) any { return r.ContainerFormat }}},
	{"disk_format", sortKey{"COALESCE(i.disk_format, '')", func(r *record) any { return r.DiskFormat }}},
	{"size", sortKey{"COALESCE(i.size, 0)", func(r *record) any { return r.Size }}},
	{"id", sortKey{"i.uuid", func(r *record) any { return r.ID }}},
	{"created_at", sortKey{"i.created_at", func(r *record) any { return r.CreatedAt }}},
	{"updated_at", sortKey{"i.updated_at", func(r *record) any { return r.UpdatedAt }}},
}

// bySecond are the times as clients are shown them. Where a request names a key after a
// time, two images of one second are equal by the time; where it names none, the moment
// decides, for which there are indexes.
var bySecond = map[string]sortKey{
	"created_at": {"i.created_at - i.created_at % 1000000", func(r *record) any { return r.CreatedAt.Second() }},
	"updated_at": {"i.updated_at - i.updated_at % 1000000", func(r *record) any { return r.UpdatedAt.Second() }},
}

func sortKeyNamed(name string) (sortKey, error) {
	available := make([]string, len(sortKeys))
	for i, k := range sortKeys {
		if k.name == name {
			return k.sortKey, nil
		}
		available[i] = k.name
	}
	return sortKey{}, compat.BadRequest("Invalid sort key: %s. It must be one of the following: %s.", clip(name), strings.Join(available, ", "))
}

// page says which images are wanted, in which order, from where on.
type page struct {
	where  where
	keys   []sortKey
	desc   []bool
	limit  int
	marker string
}

// notFilters are the query parameters of a list that filter nothing.
var notFilters = []string{"limit", "marker", "sort", "sort_key", "sort_dir"}

// list answers GET /v2/images.
func (s *Service) list(w http.ResponseWriter, c *call) error {
	q := c.URL.Query()
	p, err := parsePage(q)
	if err != nil {
		return err
	}
	err = p.filters(q, c.caller)
	if err != nil {
		return err
	}
	recs, more, err := s.page(c.Context(), c.caller, p)
	if err != nil {
		return err
	}
	q.Del("marker")
	first, next := listPath(q), ""
	if more && len(recs) > 0 {
		q.Set("marker", recs[len(recs)-1].ID)
		next = listPath(q)
	}
	compat.WriteBytes(w, http.StatusOK, listDocument(recs, first, next))
	return nil
}

func listPath(q url.Values) string {
	if len(q) == 0 {
		return "/v2/images"
	}
	return "/v2/images?" + q.Encode()
}

// parsePage reads limit, marker and sorting.
func parsePage(q url.Values) (*page, error) {
	p := &page{limit: defaultLimit, marker: q.Get("marker")}
	if q.Has("limit") {
		var err error
		p.limit, err = parseLimit(q.Get("limit"))
		if err != nil {
			return nil, err
		}
	}
	names, dirs, err := parseSort(q)
	if err != nil {
		return nil, err
	}
	return p, p.sortBy(names, dirs)
}

func parseLimit(text string) (int, error) {
	n, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64)
	if err != nil {
		return 0, compat.BadRequest("limit param must be an integer")
	}
	if n < 0 {
		return 0, compat.BadRequest("limit param must be positive")
	}
	return int(min(n, maxLimit)), nil
}

// parseSort reads the keys that a request names, and their directions: one for each, or one
// for all.
func parseSort(q url.Values) (names, dirs []string, err error) {
	if !q.Has("sort") {
		names, dirs = trimmed(q["sort_key"]), trimmed(q["sort_dir"])
		if len(names) == 0 {
			names = []string{"created_at"}
		}
	} else {
		if q.Has("sort_key") || q.Has("sort_dir") {
			return nil, nil, compat.BadRequest("Old and new sorting syntax cannot be combined")
		}
		for _, part := range strings.Split(q.Get("sort"), ",") {
			name, dir, _ := strings.Cut(part, ":")
			if dir == "" {
				dir = "desc"
			}
			names, dirs = append(names, strings.TrimSpace(name)), append(dirs, strings.TrimSpace(dir))
		}
	}
	if len(dirs) == 0 {
		dirs = []string{"desc"}
	}
	if len(dirs) > 1 && len(dirs) != len(names) {
		return nil, nil, compat.BadRequest("Number of sort dirs does not match the number of sort keys")
	}
	return names, dirs, nil
}

func trimmed(values []string) []string {
	out := make([]string, len(values))
	for i, v := range values {
		out[i] = strings.TrimSpace(v)
	}
	return out
}

// sortBy makes the order of names total, as Glance does it: by the time of creation and the
// id, in the direction that was given for all, else with the newest first.
func (p *page) sortBy(names, dirs []string) error {
	common := "desc"
	if len(dirs) == 1 {
		common = dirs[0]
	}
	seen := map[string]bool{}
	for i, name := range append(slices.Clone(names), "created_at", "id") {
		dir := common
		if i < len(names) && len(dirs) > 1 {
			dir = dirs[i]
		}
		key, err := sortKeyNamed(name)
		if err != nil {
			return err
		}
		if dir != "asc" && dir != "desc" {
			return compat.BadRequest("Invalid sort direction: %s", clip(dir))
		}
		if seen[name] {
			continue // what is equal by it already is equal by it again
		}
		seen[name] = true
		if second, isTime := bySecond[name]; isTime && i < len(names)-1 {
			key = second
		}
		p.keys, p.desc = append(p.keys, key), append(p.desc, dir == "desc")
	}
	return nil
}

// orderBy is made of expressions of ours alone.
func (p *page) orderBy() string {
	parts := make([]string, len(p.keys))
	for i, key := range p.keys {
		parts[i] = key.sql
		if p.desc[i] {
			parts[i] += " DESC"
		}
	}
	return strings.Join(parts, ", ")
}

// after adds the condition that a row comes after the marker's, in the list's order.
func (p *page) after(marker *record) {
	var ors []string
	var args []any
	for n := range p.keys {
		var ands []string
		for i, key := range p.keys[:n+1] {
			op := "="
			if i == n {
				op = map[bool]string{true: "<", false: ">"}[p.desc[i]]
			}
			ands = append(ands, key.sql+" "+op+" ?")
			args = append(args, key.value(marker))
		}
		ors = append(ors, "("+strings.Join(ands, " AND ")+")")
	}
	p.where.add("("+strings.Join(ors, " OR ")+")", args...)
}

// page reads one page with three statements, and one more for a marker. more says that
// there are rows after it.
func (s *Service) page(ctx context.Context, c *compat.Caller, p *page) (recs []*record, more bool, err error) {
	if p.marker != "" {
		marker, err := s.see(ctx, s.DB, c, p.marker)
		if compat.IsNotFound(err) {
			return nil, false, compat.BadRequest("No image found with ID %s", clip(p.marker))
		}
		if err != nil {
			return nil, false, err
		}
		p.after(marker)
	}
	if len(p.where.args) > maxFilters+64 {
		return nil, false, compat.BadRequest("The list has too many filters.")
	}
	statement := "SELECT " + columns + " FROM images i WHERE i.deleted_at = 0"
	for _, condition := range p.where.sql {
		statement += " AND " + condition
	}
	statement += " ORDER BY " + p.orderBy() + " LIMIT " + strconv.Itoa(p.limit+1)
	err = s.DB.SelectContext(ctx, &recs, statement, p.where.args...)
	if err != nil {
		return nil, false, fmt.Errorf("list images: %w", err)
	}
	if len(recs) > p.limit {
		recs, more = recs[:p.limit], p.limit > 0
	}
	err = loadChildren(ctx, s.DB, recs)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return nil, false, err
	}
	return recs, more, nil
}

// filters adds the conditions of a list's query and of what the caller sees in lists.
func (p *page) filters(q url.Values, c *compat.Caller) error {
	for name, values := range q {
		if slices.Contains(notFilters, name) || name == "visibility" || name == "member_status" {
			continue
		}
		if name == "tag" {
			for _, tag := range trimmed(values) {
				p.where.add("EXISTS (SELECT 1 FROM image_tags t WHERE t.image_id = i.id AND t.tag = ?)", tag)
			}
			continue
		}
		err := p.filter(name, values[len(values)-1])
		if err != nil {
			return err
		}
	}
	if !q.Has("os_hidden") {
		p.where.add("i.os_hidden = 0")
	}
	visibility, status := q.Get("visibility"), q.Get("member_status")
	if visibility != "" && visibility != "all" && !slices.Contains(visibilities, visibility) {
		return compat.BadRequest("Invalid visibility value: %s", clip(visibility))
	}
	if status == "" {
		status = "accepted"
	}
	if status != "all" && !slices.Contains(memberStatuses, status) {
		return compat.BadRequest("Invalid status: %s", clip(status))
	}
	p.visible(c, visibility, status)
	return nil
}

// visible is Glance's rule for lists: one's own, public ones and those shared with one;
// community images of others only on request. Administrators see all.
func (p *page) visible(c *compat.Caller, visibility, memberStatus string) {
	if !c.IsAdmin() {
		member := "SELECT 1 FROM image_members m WHERE m.image_id = i.id AND m.member = ?"
		args := []any{c.ProjectID, c.ProjectID}
		if memberStatus != "all" {
			member += " AND m.status = ?"
			args = append(args, memberStatus)
		}
		p.where.add("(i.visibility IN ('public', 'community') OR i.owner = ? OR (i.visibility = 'shared' AND EXISTS ("+member+")))", args...)
	}
	switch visibility {
	case "":
		p.where.add("(i.visibility <> 'community' OR i.owner = ?)", c.ProjectID)
	case "all":
	default:
		p.where.add("i.visibility = ?", visibility)
	}
}

// listed are the base attributes whose filters know the operators in: and eq:.
var listed = map[string]string{
	"id": "i.uuid", "name": "i.name", "status": "i.status",
	"container_format": "i.container_format", "disk_format": "i.disk_format",
}

var exact = map[string]string{"owner": "i.owner", "checksum": "i.checksum", "os_hash_value": "i.hash_value"}

// numeric are the attributes that are equal to a number, or within the bounds that a filter
// with _min or _max behind the name gives.
var numeric = map[string]string{"size": "i.size", "virtual_size": "i.virtual_size", "min_ram": "i.min_ram", "min_disk": "i.min_disk"}

func (p *page) filter(name, value string) error {
	if column, ok := listed[name]; ok {
		return p.listFilter(name, column, value)
	}
	if column, ok := exact[name]; ok {
		p.where.add(column+" = ?", value)
		return nil
	}
	if column, op := numberFilter(name); column != "" {
		n, err := strconv.ParseInt(strings.TrimSpace(value), 10, 64)
		if err != nil {
			return compat.BadRequest("Unable to filter on a range with a non-numeric value.")
		}
		p.where.add(column+" "+op+" ?", n)
		return nil
	}
	switch name {
	case "protected", "os_hidden":
		b, err := parseBool(value)
		if err != nil {
			return compat.BadRequest("Invalid value '%s' for '%s' filter. Valid values are 'true' or 'false'.", clip(value), name)
		}
		p.where.add("i."+name+" = ?", boolean(b))
		return nil
	case "created_at", "updated_at":
		return p.timeFilter(name, value)
	case "changes-since":
		return compat.BadRequest("The \"changes-since\" filter is no longer available on v2.")
	case "os_hash_algo":
		p.where.add("(CASE WHEN i.hash_value IS NULL THEN '' ELSE 'sha512' END) = ?", value)
		return nil
	}
	p.property(name, value)
	return nil
}

// numberFilter gives the column and the operator of a filter by number, "" for others.
func numberFilter(name string) (column, op string) {
	for suffix, op := range map[string]string{"_min": ">=", "_max": "<="} {
		base, ok := strings.CutSuffix(name, suffix)
		if ok && numeric[base] != "" {
			return numeric[base], op
		}
	}
	return numeric[name], "="
}

func parseBool(s string) (bool, error) {
	switch strings.ToLower(s) {
	case "true":
		return true, nil
	case "false":
		return false, nil
	}
	return false, strconv.ErrSyntax
}

// operators are the words that may stand before a colon in a filter.
var operators = map[string]string{"eq": "=", "neq": "<>", "gt": ">", "gte": ">=", "lt": "<", "lte": "<=", "in": ""}

// splitOperator takes "in:a,b" apart. Anything else before a colon belongs to the value.
func splitOperator(value string) (op, rest string) {
	word, rest, ok := strings.Cut(value, ":")
	if _, known := operators[word]; ok && known {
		return word, rest
	}
	return "eq", value
}

func (p *page) listFilter(name, column, value string) error {
	op, rest := splitOperator(value)
	var values []string
	switch op {
	case "eq":
		values = []string{rest}
	case "in":
		var err error
		values, err = splitQuoted(rest)
		if err != nil {
			return err
		}
	default:
		return compat.BadRequest("Unable to filter by unknown operator '%s'.", op)
	}
	if len(values) > maxFilters {
		return compat.BadRequest("The filter %s has more than %d values.", name, maxFilters)
	}
	args := make([]any, len(values))
	for i, v := range values {
		if name == "status" && !slices.Contains(statuses, v) {
			return compat.BadRequest("Invalid status: %s", clip(v))
		}
		args[i] = v
	}
	if len(args) == 0 {
		p.where.add("1 = 0")
		return nil
	}
	p.where.add(column+" IN (?"+strings.Repeat(", ?", len(args)-1)+")", args...)
	return nil
}

// splitQuoted splits at commas outside double quotes. A backslash in quotes escapes.
func splitQuoted(list string) ([]string, error) {
	var out []string
	for list != "" {
		if list[0] != '"' {
			v, rest, _ := strings.Cut(list, ",")
			if strings.Contains(v, `"`) {
				return nil, compat.BadRequest("Invalid filter value %s. There is no comma before opening quotation mark.", clip(list))
			}
			if v != "" {
				out = append(out, v)
			}
			list = rest
			continue
		}
		var b strings.Builder
		i := 1
		for ; i < len(list) && list[i] != '"'; i++ {
			if list[i] == '\\' && i+1 < len(list) {
				i++
			}
			b.WriteByte(list[i])
		}
		if i == len(list) {
			return nil, compat.BadRequest("Invalid filter value %s. The quote is not closed.", clip(list))
		}
		out, list = append(out, b.String()), list[i+1:]
		if list != "" && list[0] != ',' {
			return nil, compat.BadRequest("Invalid filter value %s. There is no comma after closing quotation mark.", clip(list))
		}
		list = strings.TrimPrefix(list, ",")
	}
	return out, nil
}

// timeFilter compares a time with what clients are shown of an image's: whole seconds.
func (p *page) timeFilter(name, value string) error {
	op, rest := splitOperator(value)
	if op == "in" {
		return compat.BadRequest("Unable to filter by unknown operator 'in'.")
	}
	t, err := compat.ParseTime(strings.TrimSpace(rest))
	if err != nil {
		return compat.BadRequest("Bad \"%s\" query filter format. Use ISO 8601 DateTime notation.", name)
	}
	column, at := "i."+name, schema.MicrosOf(t)
	from := at.Second()
	if from != at || t.Nanosecond()%1000 != 0 {
		// Between two seconds, of which no image is: those after it are from the next one on.
		from += schema.OneSecond
		switch op {
		case "eq":
			p.where.add("1 = 0")
			return nil
		case "neq":
			return nil
		case "gt":
			op = "gte"
		case "lte":
			op = "lt"
		}
	}
	to := from + schema.OneSecond
	switch op {
	case "eq":
		p.where.add("("+column+" >= ? AND "+column+" < ?)", from, to)
	case "neq":
		p.where.add("("+column+" < ? OR "+column+" >= ?)", from, to)
	case "gt":
		p.where.add(column+" >= ?", to)
	case "gte":
		p.where.add(column+" >= ?", from)
	case "lt":
		p.where.add(column+" < ?", from)
	case "lte":
		p.where.add(column+" < ?", to)
	}
	return nil
}
