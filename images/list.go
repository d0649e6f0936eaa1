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
	"time"

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

// sortColumns are the keys that a list can be sorted by. The expressions never are null, so
// that pages can go on from any row.
var sortColumns = map[string]string{
	"name": "COALESCE(i.name, '')", "status": "i.status", "container_format": "COALESCE(i.container_format, '')",
	"disk_format": "COALESCE(i.disk_format, '')", "size": "COALESCE(i.size, 0)", "id": "i.uuid",
	"created_at": "i.created_at", "updated_at": "i.updated_at",
}

func sortValue(rec *record, key string) any {
	switch key {
	case "name":
		return rec.Name
	case "status":
		return rec.Status
	case "container_format":
		return rec.ContainerFormat
	case "disk_format":
		return rec.DiskFormat
	case "size":
		return rec.Size
	case "created_at":
		return rec.CreatedAt
	case "updated_at":
		return rec.UpdatedAt
	}
	return rec.ID
}

// page says which images are wanted, in which order, from where on.
type page struct {
	where  where
	keys   []string
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
		n, err := strconv.ParseInt(q.Get("limit"), 10, 64)
		if err != nil || n < 0 {
			return nil, compat.BadRequest("limit param must be an integer that is not negative")
		}
		p.limit = int(min(n, maxLimit))
	}
	var dirs []string
	if q.Has("sort") {
		if q.Has("sort_key") || q.Has("sort_dir") {
			return nil, compat.BadRequest("Old and new sorting syntax cannot be combined")
		}
		for _, part := range strings.Split(q.Get("sort"), ",") {
			key, dir, ok := strings.Cut(strings.TrimSpace(part), ":")
			if !ok {
				dir = "desc"
			}
			p.keys, dirs = append(p.keys, key), append(dirs, dir)
		}
	} else {
		p.keys, dirs = slices.Clone(q["sort_key"]), slices.Clone(q["sort_dir"])
		if len(p.keys) == 0 {
			p.keys = []string{"created_at"}
		}
		switch {
		case len(dirs) == 0:
			dirs = []string{"desc"}
			fallthrough
		case len(dirs) == 1:
			for len(dirs) < len(p.keys) {
				dirs = append(dirs, dirs[0])
			}
		}
	}
	if len(dirs) != len(p.keys) {
		return nil, compat.BadRequest("Number of sort dirs does not match the number of sort keys")
	}
	// The order is made total, as Glance does it, in the direction of the first key.
	for _, key := range []string{"created_at", "id"} {
		if !slices.Contains(p.keys, key) {
			p.keys, dirs = append(p.keys, key), append(dirs, dirs[0])
		}
	}
	seen := map[string]bool{}
	for i, key := range p.keys {
		if _, ok := sortColumns[key]; !ok || seen[key] {
			return nil, compat.BadRequest("Invalid sort key: %s. It must be one of name, status, container_format, disk_format, size, id, created_at, updated_at", clip(key))
		}
		seen[key] = true
		if dirs[i] != "asc" && dirs[i] != "desc" {
			return nil, compat.BadRequest("Invalid sort direction: %s. It must be one of the following: asc, desc.", clip(dirs[i]))
		}
		p.desc = append(p.desc, dirs[i] == "desc")
	}
	return p, nil
}

// orderBy is made of names of ours alone.
func (p *page) orderBy() string {
	parts := make([]string, len(p.keys))
	for i, key := range p.keys {
		parts[i] = sortColumns[key]
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
			ands = append(ands, sortColumns[key]+" "+op+" ?")
			args = append(args, sortValue(marker, key))
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
			return nil, false, compat.BadRequest("Invalid marker: no image found with ID %s", clip(p.marker))
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
			for _, tag := range values {
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

var numeric = map[string]string{
	"size_min": "i.size >= ?", "size_max": "i.size <= ?", "min_ram": "i.min_ram = ?",
	"min_disk": "i.min_disk = ?", "size": "i.size = ?", "virtual_size": "i.virtual_size = ?",
}

func (p *page) filter(name, value string) error {
	if column, ok := listed[name]; ok {
		return p.listFilter(name, column, value)
	}
	if column, ok := exact[name]; ok {
		p.where.add(column+" = ?", value)
		return nil
	}
	if condition, ok := numeric[name]; ok {
		n, err := strconv.ParseInt(value, 10, 64)
		if err != nil {
			return compat.BadRequest("Cannot convert image %s \"%s\" to an integer.", name, clip(value))
		}
		if n < 0 {
			return compat.BadRequest("Image %s must be >= 0 (%d specified).", name, n)
		}
		p.where.add(condition, n)
		return nil
	}
	switch name {
	case "protected", "os_hidden":
		b, err := parseBool(value)
		if err != nil {
			return compat.BadRequest("Invalid value '%s' for '%s' filter. Valid values are case insensitive 'true' or 'false'.", clip(value), name)
		}
		p.where.add("i."+name+" = ?", boolean(b))
		return nil
	case "created_at", "updated_at":
		return p.timeFilter("i."+name, value)
	case "os_hash_algo":
		p.where.add("(CASE WHEN i.hash_value IS NULL THEN '' ELSE 'sha512' END) = ?", value)
		return nil
	}
	p.where.add("EXISTS (SELECT 1 FROM image_properties p WHERE p.image_id = i.id AND p.name = ? AND p.value = ?)", name, value)
	return nil
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

func (p *page) timeFilter(column, value string) error {
	op, rest := splitOperator(value)
	if op == "in" {
		return compat.BadRequest("Unable to filter by unknown operator 'in'.")
	}
	t, err := parseTime(rest)
	if err != nil {
		return compat.BadRequest("Invalid time value: %s", clip(rest))
	}
	// Clients see whole seconds, so a second is what is compared.
	from, to := schema.MicrosOf(t), schema.MicrosOf(t.Add(time.Second))
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

// parseTime reads the forms of ISO 8601 that clients send; without a zone it is UTC.
func parseTime(s string) (time.Time, error) {
	var err error
	for _, form := range []string{time.RFC3339, "2006-01-02T15:04:05", "2006-01-02 15:04:05", "2006-01-02T15:04:05-0700", "2006-01-02T15:04", "2006-01-02"} {
		var t time.Time
		t, err = time.Parse(form, s)
		if err == nil {
			return t.UTC().Truncate(time.Second), nil
		}
	}
	return time.Time{}, err
}
