package servers

import (
	"context"
	"database/sql"
	"fmt"
	"net/http"
	"net/url"
	"regexp"
	"regexp/syntax"
	"slices"
	"strconv"
	"strings"

	"github.com/jmoiron/sqlx"

	"kilonova/compat"
	"kilonova/schema"
	"kilonova/servers/lifecycle"
)

// maxLimit is the largest page.
const maxLimit = 1000

const (
	ruleAllFilters       = "os_compute_api:servers:allow_all_filters"
	ruleIndexAllTenants  = "os_compute_api:servers:index:get_all_tenants"
	ruleDetailAllTenants = "os_compute_api:servers:detail:get_all_tenants"
)

func (s *Service) index(w http.ResponseWriter, r *compat.Request) error {
	p, err := s.page(r, ruleIndexAllTenants)
	if err != nil {
		return err
	}
	page, more, err := s.names(r, p)
	if err != nil {
		return err
	}
	buf := compat.Buffer()
	defer buf.Free()
	b := append(buf.B, `{"servers":[`...)
	last := ""
	for i, v := range page {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(append(b, `{"id":`...), quote(v.UUID)...)
		b = append(append(b, `,"name":`...), quote(v.Name)...)
		b = append(append(b, `,"links":`...), lifecycle.Encode(r.Links("/servers/"+v.UUID))...)
		b = append(b, '}')
		last = v.UUID
	}
	buf.B = closeList(b, r, "/servers", last, more)
	return r.AnswerBytes(w, buf.B)
}

func (s *Service) detail(w http.ResponseWriter, r *compat.Request) error {
	p, err := s.page(r, ruleDetailAllTenants)
	if err != nil {
		return err
	}
	seen, more, err := s.see(r, p)
	if err != nil {
		return err
	}
	list, err := s.documents(r, seen)
	if err != nil {
		return err
	}
	buf := compat.Buffer()
	defer buf.Free()
	b := append(buf.B, `{"servers":[`...)
	last := ""
	for i := range list {
		if list[i].doc == nil {
			continue // it went meanwhile
		}
		if last != "" {
			b = append(b, ',')
		}
		b = append(b, list[i].doc...)
		last = list[i].uuid
	}
	buf.B = closeList(b, r, "/servers/detail", last, more)
	return r.AnswerBytes(w, buf.B)
}

func closeList(b []byte, r *compat.Request, path, last string, more bool) []byte {
	b = append(b, ']')
	if more && last != "" {
		b = append(b, `,"servers_links":`...)
		b = append(b, lifecycle.Encode(r.NextLink(path, last))...)
	}
	return append(b, '}')
}

// query is a list request being turned into SQL. Every value is bound; every name comes
// from the tables below.
type query struct {
	where    []string
	args     []any
	patterns []columnPattern
	none     bool // nothing can match
}

// columnPattern is what a column's text must be like. A client's pattern is matched here, by
// an engine whose time is bounded: the database's own takes seconds for one row
// (OSSA-2014-038).
type columnPattern struct {
	column string
	fits   func(text string) bool
}

// maxPattern bounds a compiled pattern, in instructions; one that is 255 plain characters
// has as many and two.
const maxPattern = 512

// compile reads a client's pattern.
func compile(value string) (*regexp.Regexp, error) {
	tree, err := syntax.Parse(value, syntax.Perl)
	if err == nil {
		var prog *syntax.Prog
		prog, err = syntax.Compile(tree.Simplify())
		if err == nil && len(prog.Inst) > maxPattern {
			return nil, compat.BadRequest("Invalid input for query parameters. Value: %.100s is too long a 'regex'", value)
		}
	}
	if err != nil {
		return nil, compat.BadRequest("Invalid input for query parameters. Value: %.100s is not a 'regex'", value)
	}
	return regexp.Compile(value)
}

func (q *query) and(cond string, args ...any) {
	q.where = append(q.where, cond)
	q.args = append(q.args, args...)
}

// page is which servers a list shows.
type page struct {
	query
	order []sortKey
	limit int
}

// page reads what a list request asks for. One that can show nothing has no limit.
func (s *Service) page(r *compat.Request, allTenantsRule string) (*page, error) {
	limit, f := compat.ParseLimit(r.Query, maxLimit)
	if f != nil {
		return nil, f
	}
	p := &page{limit: limit}
	err := s.scope(r, &p.query, allTenantsRule)
	if err != nil {
		return nil, err
	}
	err = s.filter(r, &p.query)
	if err != nil {
		return nil, err
	}
	p.order, err = sortOf(r)
	if err != nil {
		return nil, err
	}
	err = s.after(r, &p.query, p.order)
	if err == nil && !p.none && limit > 0 {
		err = s.matching(r.Context(), &p.query, p.order, limit+1)
	}
	if p.none {
		p.limit = 0
	}
	return p, err
}

// sql selects the columns, which may be of the servers' revisions too, of one server more
// than the page has, which tells whether there is a next.
func (p *page) sql(columns string) string {
	return "SELECT " + columns + " FROM servers JOIN server_revisions ON server_id = id WHERE " +
		strings.Join(p.where, " AND ") + " ORDER BY " + orderBy(p.order) + " LIMIT " + strconv.Itoa(p.limit+1)
}

// shortView is what the short list shows of a server.
type shortView struct {
	UUID string `db:"uuid"`
	Name string `db:"name"`
}

func (s *Service) names(r *compat.Request, p *page) ([]shortView, bool, error) {
	if p.limit == 0 {
		return nil, false, nil
	}
	var list []shortView
	err := s.DB.SelectContext(r.Context(), &list, p.sql("uuid, name"), p.args...)
	if err != nil {
		return nil, false, fmt.Errorf("list servers: %w", err)
	}
	return list[:min(len(list), p.limit)], len(list) > p.limit, nil
}

// match reports whether a row's texts match all patterns; NULL matches none.
func (q *query) match(texts []sql.NullString) bool {
	for i, p := range q.patterns {
		if !texts[i].Valid || !p.fits(texts[i].String) {
			return false
		}
	}
	return true
}

// matching turns the patterns of a query into the ids of the first n rows that match them.
func (s *Service) matching(ctx context.Context, q *query, order []sortKey, n int) error {
	if len(q.patterns) == 0 {
		return nil
	}
	stmt := "SELECT id"
	for _, p := range q.patterns {
		stmt += ", " + p.column
	}
	stmt += " FROM servers WHERE " + strings.Join(q.where, " AND ") + " ORDER BY " + orderBy(order)
	rows, err := s.DB.QueryContext(ctx, stmt, q.args...)
	if err != nil {
		return fmt.Errorf("match patterns: %w", err)
	}
	defer rows.Close()
	var id int64
	texts := make([]sql.NullString, len(q.patterns))
	fields := []any{&id}
	for i := range texts {
		fields = append(fields, &texts[i])
	}
	var ids []string
	for len(ids) < n && rows.Next() {
		err = rows.Scan(fields...)
		if err != nil {
			return fmt.Errorf("match patterns: %w", err)
		}
		if q.match(texts) {
			ids = append(ids, strconv.FormatInt(id, 10))
		}
	}
	if rows.Err() != nil {
		return fmt.Errorf("match patterns: %w", rows.Err())
	}
	if len(ids) == 0 {
		q.none = true
		return nil
	}
	q.and("id IN (" + strings.Join(ids, ", ") + ")")
	return nil
}

var oneLine = strings.Join(strings.Fields(lifecycle.Columns), " ")

// listColumns are the columns of a page, in the order of columns. What no list shows, or
// this one does not, is not read: a page of a thousand would carry megabytes of it.
func listColumns(image, attributes bool) string {
	out := oneLine
	drop := []string{"key_data", "files", "tried_hosts"}
	if !attributes {
		drop = append(drop, "user_data")
	}
	for _, name := range drop {
		out = strings.Replace(out, " "+name+",", " NULL,", 1)
	}
	if !image {
		out = strings.Replace(out, " image_meta,", " '',", 1)
	}
	return out
}

// scan reads a page by hand: over a thousand rows of fifty columns, finding the fields by
// reflection costs as much as the database does.
func (s *Service) scan(ctx context.Context, stmt string, args []any, limit int) ([]lifecycle.Server, error) {
	rows, err := s.DB.QueryContext(ctx, stmt, args...)
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	list := make([]lifecycle.Server, 0, min(limit+1, 64))
	for rows.Next() {
		list = append(list, lifecycle.Server{})
		err = rows.Scan(list[len(list)-1].Fields()...)
		if err != nil {
			return nil, err
		}
	}
	return list, rows.Err()
}

// last gives the last value of a parameter, which is the one that counts.
func last(q url.Values, name string) (string, bool) {
	vs, ok := q[name]
	if !ok || len(vs) == 0 {
		return "", false
	}
	return vs[len(vs)-1], true
}

// scope limits the list to the caller's project, unless all_tenants is asked for and
// allowed.
func (s *Service) scope(r *compat.Request, q *query, rule string) error {
	all := false
	if word, ok := last(r.Query, "all_tenants"); ok {
		on, known := lifecycle.BoolWord(word)
		if !known && word != "" {
			return compat.BadRequest("Invalid value '%s' for all_tenants.", word)
		}
		all = on || word == ""
	}
	if !all {
		q.and("project_id = ?", r.Caller.ProjectID)
		return nil
	}
	err := r.RequireTo(rule, compat.Target{ProjectID: r.Caller.ProjectID, UserID: r.Caller.UserID})
	if err != nil {
		return err
	}
	for _, name := range []string{"tenant_id", "project_id"} {
		if id, ok := last(r.Query, name); ok {
			q.and("project_id = ?", id)
		}
	}
	return nil
}

// match is how a filter compares.
type match int

const (
	exact match = iota
	pattern
)

// filters are the parameters that compare with a column. Those with a since are open to
// everybody from that version; the others are for administrators.
var filters = map[string]struct {
	column string
	how    match
	open   compat.Range // none: administrators alone
}{
	"name":              {"name", pattern, compat.Since(1)},
	"display_name":      {"name", pattern, compat.Range{}},
	"reservation_id":    {"reservation_id", pattern, compat.Since(1)},
	"image":             {"image_id", exact, compat.Since(1)},
	"image_ref":         {"image_id", exact, compat.Range{}},
	"flavor":            {"flavor_id", exact, compat.Since(1)},
	"hostname":          {"hostname", pattern, compat.Since(90)},
	"key_name":          {"key_name", pattern, compat.Since(83)},
	"availability_zone": {"zone", pattern, compat.Since(83)},
	"vm_state":          {"vm_state", exact, compat.Since(83)},
	"user_id":           {"user_id", exact, compat.Since(83)},
	"host":              {"host", exact, compat.Range{}},
	"node":              {"node", pattern, compat.Range{}},
	"uuid":              {"uuid", exact, compat.Range{}},
	"access_ip_v4":      {"access_ip_v4", pattern, compat.Range{}},
	"access_ip_v6":      {"access_ip_v6", pattern, compat.Range{}},
	"description":       {"description", pattern, compat.Range{}},
	"root_device_name":  {"root_device_name", pattern, compat.Range{}},
	"launch_index":      {"launch_index", pattern, compat.Range{}},
	"progress":          {"progress", pattern, compat.Since(83)},
	"power_state":       {"power_state", pattern, compat.Since(83)},
	"locked_by":         {"locked_by", pattern, compat.Range{}},
	"auto_disk_config":  {"disk_config", pattern, compat.Range{}},
	"created_at":        {"created_at", exact, compat.Since(83)},
	"launched_at":       {"launched_at", exact, compat.Since(83)},
	"terminated_at":     {"terminated_at", exact, compat.Since(83)},
}

// refused are columns that Nova has as relations: an administrator's filter on them is an
// error, everybody else's is ignored.
var refused = []string{"metadata", "system_metadata", "services", "info_cache", "security_groups", "pci_devices", "block_device_mapping"}

func (s *Service) filter(r *compat.Request, q *query) error {
	everything := r.May(ruleAllFilters)
	for name := range r.Query {
		f, ok := filters[name]
		if slices.Contains(refused, name) || strings.HasPrefix(name, "_") {
			if everything {
				return compat.BadRequest("Invalid filter field: %s.", name)
			}
			continue
		}
		if !ok || !everything && (!f.open.Has(r.Version)) {
			continue
		}
		value, _ := last(r.Query, name)
		err := q.column(f.column, f.how, value)
		if err != nil {
			return err
		}
	}
	for _, special := range []func(*compat.Request, *query, bool) error{
		s.filterDeleted, s.filterStatus, s.filterTask, s.filterChanges, s.filterLocked, s.filterDrive, s.filterTags, s.filterAddress,
	} {
		err := special(r, q, everything)
		if err != nil {
			return err
		}
	}
	return nil
}

// timeColumns hold microseconds, which clients name as dates.
var timeColumns = []string{"created_at", "launched_at", "terminated_at"}

func (q *query) column(column string, how match, value string) error {
	switch {
	case slices.Contains(timeColumns, column):
		t, err := compat.ParseTime(value)
		if err != nil {
			q.none = true // no moment is equal to what is none
			return nil    //nolint:nilerr // said above
		}
		second := schema.MicrosOf(t).Second()
		q.and(column+" >= ? AND "+column+" < ?", second, second+schema.OneSecond)
	case how == exact:
		q.and(column+" = ?", value)
	case regexp.QuoteMeta(value) == value:
		// A plain word needs no engine for patterns.
		q.and("INSTR("+column+", ?) > 0", value)
	default:
		re, err := compile(value)
		if err != nil {
			return err
		}
		q.patterns = append(q.patterns, columnPattern{column, re.MatchString})
	}
	return nil
}

func (s *Service) filterDeleted(r *compat.Request, q *query, everything bool) error {
	deleted, asked := false, false
	if word, ok := last(r.Query, "deleted"); ok && everything {
		deleted, _ = lifecycle.BoolWord(word)
		asked = true
	}
	if statusOf(r, "deleted") {
		if !r.Caller.IsAdmin() {
			return compat.Forbidden("Only administrators may list deleted instances")
		}
		deleted, asked = true, true
	}
	_, since := last(r.Query, "changes-since")
	_, before := last(r.Query, "changes-before")
	if (since || before && knowsBefore.Has(r.Version)) && !asked {
		return nil // what changed includes what was deleted
	}
	if since && !deleted {
		return nil
	}
	flag := 0
	if deleted {
		flag = 1
	}
	q.and("deleted = ?", flag)
	return nil
}

func statusOf(r *compat.Request, want string) bool {
	return slices.ContainsFunc(r.Query["status"], func(st string) bool { return strings.EqualFold(st, want) })
}

var (
	refusesStatus = compat.Range{Min: 38, Max: compat.MaxVersion}
	knowsBefore   = compat.Range{Min: 66, Max: compat.MaxVersion}
	knowsLocked   = compat.Range{Min: 73, Max: compat.MaxVersion}
	opensState    = compat.Range{Min: 83, Max: compat.MaxVersion}
	opensIP6      = compat.Range{Min: 5, Max: compat.MaxVersion}
)

// filterStatus turns status names back into the states that show them.
func (s *Service) filterStatus(r *compat.Request, q *query, _ bool) error {
	names, ok := r.Query["status"]
	if !ok {
		return nil
	}
	var alternatives []string
	var args []any
	for _, name := range names {
		cond, a := statesShowing(strings.ToUpper(name))
		if cond == "" {
			continue
		}
		alternatives = append(alternatives, cond)
		args = append(args, a...)
	}
	if len(alternatives) == 0 {
		if refusesStatus.Has(r.Version) {
			return compat.BadRequest("Invalid status value")
		}
		q.none = true
		return nil
	}
	q.and("("+strings.Join(alternatives, " OR ")+")", args...)
	return nil
}

// statesShowing is the condition for a status string; "" when no state shows it.
func statesShowing(name string) (string, []any) {
	var conds []string
	var args []any
	for vm, byTask := range lifecycle.Statuses {
		var tasks, others []any
		for task, shown := range byTask {
			switch {
			case task == "":
			case shown == name:
				tasks = append(tasks, task)
			default:
				others = append(others, task)
			}
		}
		if byTask[""] == name {
			cond := "vm_state = ?"
			args = append(args, vm)
			if len(others) > 0 {
				cond += " AND (task_state IS NULL OR task_state NOT IN (?" + strings.Repeat(", ?", len(others)-1) + "))"
				args = append(args, others...)
			}
			conds = append(conds, "("+cond+")")
		} else if len(tasks) > 0 {
			conds = append(conds, "(vm_state = ? AND task_state IN (?"+strings.Repeat(", ?", len(tasks)-1)+"))")
			args = append(append(args, vm), tasks...)
		}
	}
	return strings.Join(conds, " OR "), args
}

func (s *Service) filterTask(r *compat.Request, q *query, everything bool) error {
	word, ok := last(r.Query, "task_state")
	if !ok || !everything && !opensState.Has(r.Version) {
		return nil
	}
	if word == "" || strings.EqualFold(word, "none") {
		q.and("task_state IS NULL")
		return nil
	}
	q.and("task_state = ?", word)
	return nil
}

// filterChanges compares times by the second, which is all that clients are shown: a server
// has changed since, and before, its own "updated".
func (s *Service) filterChanges(r *compat.Request, q *query, _ bool) error {
	read := func(name string) (schema.Micros, bool, error) {
		text, ok := last(r.Query, name)
		if !ok {
			return 0, false, nil
		}
		t, err := compat.ParseTime(text)
		if err != nil {
			return 0, false, compat.BadRequest("Invalid input for query parameters %s. Value: %s. '%s' is not a 'date-time'", name, text, text)
		}
		return schema.MicrosOf(t), true, nil
	}
	since, hasSince, err := read("changes-since")
	if err != nil {
		return err
	}
	if hasSince {
		q.and("updated_at >= ?", since.Second())
	}
	if !knowsBefore.Has(r.Version) {
		return nil
	}
	before, hasBefore, err := read("changes-before")
	if err != nil {
		return err
	}
	if hasBefore {
		q.and("updated_at < ?", before.Second()+schema.OneSecond)
	}
	if hasSince && hasBefore && since > before {
		return compat.BadRequest("The value of changes-since must be less than or equal to changes-before.")
	}
	return nil
}

func (s *Service) filterLocked(r *compat.Request, q *query, _ bool) error {
	word, ok := last(r.Query, "locked")
	if !ok || !knowsLocked.Has(r.Version) {
		return nil
	}
	on, known := lifecycle.BoolWord(word)
	switch {
	case !known:
		return compat.BadRequest("Unrecognized value '%s', acceptable values are: '0', '1', 'f', 'false', 'n', 'no', 'off', 'on', 't', 'true', 'y', 'yes'", word)
	case on:
		q.and("locked_by IS NOT NULL")
	default:
		q.and("locked_by IS NULL")
	}
	return nil
}

func (s *Service) filterDrive(r *compat.Request, q *query, everything bool) error {
	word, ok := last(r.Query, "config_drive")
	if !ok || !everything && !opensState.Has(r.Version) {
		return nil
	}
	on, _ := lifecycle.BoolWord(word)
	flag := 0
	if on {
		flag = 1
	}
	q.and("config_drive = ?", flag)
	return nil
}

func (s *Service) filterTags(r *compat.Request, q *query, _ bool) error {
	if !hasTags.Has(r.Version) {
		return nil
	}
	const all, anyOf = "(SELECT COUNT(*) FROM server_tags t WHERE t.server_id = servers.id AND t.tag IN (%s)) = %d",
		"(SELECT COUNT(*) FROM server_tags t WHERE t.server_id = servers.id AND t.tag IN (%s)) > 0"
	for _, name := range []string{"tags", "tags-any", "not-tags", "not-tags-any"} {
		text, ok := last(r.Query, name)
		if !ok {
			continue
		}
		var tags []any
		for _, t := range strings.Split(text, ",") {
			if t != "" && !slices.Contains(tags, any(t)) {
				tags = append(tags, t)
			}
		}
		const most = 100
		if len(tags) == 0 || len(tags) > most {
			continue
		}
		marks := "?" + strings.Repeat(", ?", len(tags)-1)
		cond := fmt.Sprintf(anyOf, marks)
		if !strings.HasSuffix(name, "-any") {
			cond = fmt.Sprintf(all, marks, len(tags))
		}
		if strings.HasPrefix(name, "not-") {
			cond = "NOT (" + cond + ")"
		}
		q.and(cond, tags...)
	}
	return nil
}

// mostNamed is how many servers a statement names one by one; no database takes any number.
const mostNamed = 500

func (s *Service) filterAddress(r *compat.Request, q *query, everything bool) error {
	for name, version := range map[string]int{"ip": 4, "ip6": 6} {
		text, ok := last(r.Query, name)
		if !ok || name == "ip6" && !everything && !opensIP6.Has(r.Version) {
			continue
		}
		project := r.Caller.ProjectID
		if _, all := last(r.Query, "all_tenants"); all {
			project = ""
		}
		_, err := compile(text)
		if err != nil {
			return err
		}
		ids, err := s.Networks.ServerIDsByAddress(r.Context(), project, text, version)
		if err != nil {
			return err
		}
		if len(ids) == 0 {
			q.none = true
			return nil
		}
		if len(ids) > mostNamed {
			found := make(map[string]bool, len(ids))
			for _, id := range ids {
				found[id] = true
			}
			q.patterns = append(q.patterns, columnPattern{"uuid", func(id string) bool { return found[id] }})
			continue
		}
		cond, args, err := sqlx.In("uuid IN (?)", ids)
		if err != nil {
			return fmt.Errorf("filter by address: %w", err)
		}
		q.and(cond, args...)
	}
	return nil
}
