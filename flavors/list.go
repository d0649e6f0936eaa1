package flavors

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"kilonova/compat"
)

// filter is what a list is asked for.
type filter struct {
	public          *bool // nil: public and private
	minRAM, minDisk int64
	name            *string
	sort            string // a column's expression
	desc            bool
	limit           int
	marker          string
}

// sortColumns are the sort keys that clients may name.
var sortColumns = map[string]string{
	"created_at": "f.created_at", "description": "COALESCE(f.description, '')", "disabled": "f.disabled",
	"ephemeral_gb": "f.ephemeral_gb", "flavorid": "f.flavorid", "id": "f.id", "is_public": "f.is_public",
	"memory_mb": "f.memory_mb", "name": "f.name", "root_gb": "f.root_gb", "rxtx_factor": "f.rxtx_factor",
	"swap": "f.swap_mb", "updated_at": "f.updated_at", "vcpus": "f.vcpus",
	"vcpu_weight": "f.id", // Nova has the column and never fills it
}

// maxPage is the largest page of a list.
const maxPage = 1000

// last is the value of a query parameter that counts: the last one, as in Nova.
func last(values []string) string {
	if len(values) == 0 {
		return ""
	}
	return values[len(values)-1]
}

// readFilter reads the query of a list.
func readFilter(r *compat.Request) (*filter, error) {
	yes := true
	f := &filter{public: &yes, marker: last(r.Query["marker"])}
	var fault *compat.Fault
	f.limit, fault = compat.ParseLimit(r.Query, maxPage)
	if fault != nil {
		return nil, fault
	}
	var err error
	f.minRAM, err = atLeast(r, "minRam")
	if err != nil {
		return nil, err
	}
	f.minDisk, err = atLeast(r, "minDisk")
	if err != nil {
		return nil, err
	}
	if _, asked := r.Query["is_public"]; asked && r.Caller.IsAdmin() {
		f.public, err = parsePublic(last(r.Query["is_public"]))
		if err != nil {
			return nil, err
		}
	}
	if names := r.Query["name"]; filtersNames.Has(r.Version) && len(names) > 0 {
		name := last(names)
		f.name = &name
	}
	return f, f.readSort(r)
}

func (f *filter) readSort(r *compat.Request) error {
	key, dir := last(r.Query["sort_key"]), last(r.Query["sort_dir"])
	if key == "" {
		key = "flavorid"
	}
	f.sort = sortColumns[key]
	if f.sort == "" || key == "rxtx_factor" && filtersNames.Has(r.Version) {
		return compat.BadRequest("Invalid input for query parameters sort_key. Value: %s. '%s' is not one of the keys to sort by", clip(key), clip(key))
	}
	if dir != "" && dir != "asc" && dir != "desc" {
		return compat.BadRequest("Invalid input for query parameters sort_dir. Value: %s. '%s' is not one of ['asc', 'desc']", clip(dir), clip(dir))
	}
	f.desc = dir == "desc"
	return nil
}

func atLeast(r *compat.Request, name string) (int64, error) {
	values, asked := r.Query[name]
	if !asked {
		return 0, nil
	}
	text := strings.TrimSpace(last(values))
	n, err := strconv.ParseInt(text, 10, 64) // out of range gives the nearest number
	if err != nil && !strings.Contains(err.Error(), strconv.ErrRange.Error()) {
		return 0, compat.BadRequest("Invalid %s filter [%s]", name, clip(last(values)))
	}
	return n, nil
}

// words that Nova's strict boolean parser knows.
var words = map[string]bool{
	"1": true, "t": true, "true": true, "on": true, "y": true, "yes": true,
	"0": false, "f": false, "false": false, "off": false, "n": false, "no": false,
}

func parsePublic(text string) (*bool, error) {
	if strings.EqualFold(text, "none") {
		return nil, nil
	}
	v, ok := words[strings.ToLower(strings.TrimSpace(text))]
	if !ok {
		return nil, compat.BadRequest("Invalid is_public filter [%s]", clip(text))
	}
	return &v, nil
}

// hasAccess is true for the private flavors that the project of the bound value may use.
const hasAccess = `EXISTS (SELECT 1 FROM flavor_access a WHERE a.flavor_id = f.id AND a.project_id = ?)`

// list gives a page of the flavors that the caller may see, without their extra specs.
func (s *Service) list(ctx context.Context, c *compat.Caller, f *filter) ([]Flavor, error) {
	out := []Flavor{}
	if f.limit == 0 {
		return out, nil
	}
	where, args := []string{"f.memory_mb >= ?", "f.root_gb >= ?"}, []any{f.minRAM, f.minDisk}
	add := func(condition string, values ...any) {
		where = append(where, condition)
		args = append(args, values...)
	}
	if f.public != nil && *f.public {
		add("(f.is_public = 1 OR "+hasAccess+")", c.ProjectID)
	} else if f.public != nil {
		add("f.is_public = 0")
	}
	if !c.IsAdmin() {
		add("f.disabled = 0")
	}
	if f.name != nil {
		add("f.name = ?", *f.name)
	}
	direction, beyond := "ASC", ">"
	if f.desc {
		direction, beyond = "DESC", "<"
	}
	if f.marker != "" {
		m, err := s.Get(ctx, c, f.marker)
		if compat.IsNotFound(err) {
			return nil, compat.BadRequest("marker [%s] not found", clip(f.marker))
		}
		if err != nil {
			return nil, err
		}
		there := "(SELECT " + f.sort + " FROM flavors f WHERE f.id = ?)"
		add(fmt.Sprintf("(%s %s %s OR %s = %s AND f.id %s ?)", f.sort, beyond, there, f.sort, there, beyond), m.ID, m.ID, m.ID)
	}
	query := "SELECT " + columns + " FROM flavors f WHERE " + strings.Join(where, " AND ") +
		" ORDER BY " + f.sort + " " + direction + ", f.id " + direction + " LIMIT ?"
	err := s.db.SelectContext(ctx, &out, query, append(args, f.limit)...)
	if err != nil {
		return nil, fmt.Errorf("list flavors: %w", err)
	}
	return out, nil
}
