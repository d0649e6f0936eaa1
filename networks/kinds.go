package networks

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"kilonova/compat"
	"kilonova/schema"
)

// record is a row of a resource that clients see.
type record interface {
	about() about
	view() map[string]any // all attributes, hidden ones too
}

// about is what the generic operations must know of a record.
type about struct {
	key      int64
	id       string
	project  string
	landlord string // the owner of the network that it is on, who may change it too
}

// kind is a resource: its attributes with their policy, and how it is kept.
type kind struct {
	single, plural string // keys of bodies
	path           string
	from, columns  string
	alias          string   // of its own table in from
	shared         string   // SQL: everybody may see the row
	landlord       []string // verbs: what the owner of the network may do to what others have on it, besides reading
	filters        map[string]specialFilter
	tagged         bool
	writers        access // who may make, change and delete it
	attrs          []attribute
	missing        func(id string) *compat.Fault

	// beforeRead and beforeWrite prepare what must be there, outside the transaction.
	beforeRead  func(r *request) error
	beforeWrite func(r *request, v values) error
	// read runs a SELECT of columns and adds what belongs to the rows.
	read   func(ctx context.Context, q schema.Querier, query string, args []any) ([]record, error)
	insert func(r *request, tx *schema.Tx, v values) (id string, err error)
	change func(r *request, tx *schema.Tx, old record, v values) error
	delete func(r *request, tx *schema.Tx, old record) error
}

// attribute finds an attribute by its name; tenant_id is project_id.
func (k *kind) attribute(name string) *attribute {
	if name == "tenant_id" {
		name = "project_id"
	}
	for i := range k.attrs {
		if k.attrs[i].name == name {
			return &k.attrs[i]
		}
	}
	return nil
}

// standard are the attributes that all resources have.
func standard(alias string) []attribute {
	return []attribute{
		{name: "id", column: alias + ".uuid"},
		{name: "project_id", column: alias + ".project_id", post: plugs},
		{name: "description", column: alias + ".description", post: plugs, put: plugs},
		{name: "created_at"}, {name: "updated_at"},
		{name: "revision_number", column: alias + ".revision", form: number},
	}
}

func (s *Service) kinds() []*kind {
	return []*kind{s.networkKind(), s.subnetKind(), s.portKind(), s.groupKind(), s.ruleKind()}
}

// find gives the record of an id as the caller may see it, or the kind's 404 Fault.
func (s *Service) find(ctx context.Context, q schema.Querier, k *kind, c *compat.Caller, id string) (record, error) {
	see := k.visible(c)
	rows, err := k.read(ctx, q, "SELECT "+k.columns+" FROM "+k.from+" WHERE "+k.alias+".uuid = ? AND "+see.sql, append([]any{id}, see.args...))
	if err != nil {
		return nil, fmt.Errorf("read %s %s: %w", k.single, clip(id), err)
	}
	if len(rows) == 0 {
		return nil, k.missing(clip(id))
	}
	return rows[0], nil
}

// owned is find for a change: a 403 Fault for what the caller sees and does not own.
func (s *Service) owned(ctx context.Context, q schema.Querier, k *kind, c *compat.Caller, id, verb string) (record, error) {
	old, err := s.find(ctx, q, k, c, id)
	if err != nil {
		return nil, err
	}
	a := old.about()
	lets := a.landlord == c.ProjectID && slices.Contains(k.landlord, verb)
	if !everything(c) && a.project != c.ProjectID && !lets {
		return nil, forbidden("rule:" + verb + "_" + k.single)
	}
	return old, nil
}

// views renders records with their tags, without what the caller may not see.
func (s *Service) views(r *request, k *kind, rows []record, fields map[string]bool) ([]map[string]any, error) {
	tags := map[string][]string{}
	if k.tagged && len(rows) > 0 && (fields == nil || fields["tags"]) {
		var err error
		tags, err = tagsOf(r.Context(), s.db, rows)
		if err != nil {
			return nil, err
		}
	}
	all := everything(r.caller)
	out := make([]map[string]any, 0, len(rows))
	for _, row := range rows {
		v := row.view()
		if k.tagged {
			v["tags"] = orEmpty(tags[row.about().id])
		}
		v["tenant_id"] = v["project_id"]
		for _, a := range k.attrs {
			if a.hidden && !all {
				delete(v, a.name)
			}
		}
		for name := range v {
			if fields != nil && !fields[name] {
				delete(v, name)
			}
		}
		out = append(out, v)
	}
	return out, nil
}

func orEmpty(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

func (s *Service) answer(w http.ResponseWriter, r *request, k *kind, code int, rows []record, bulk bool) error {
	views, err := s.views(r, k, rows, fieldsOf(r.URL.Query()))
	if err != nil {
		return err
	}
	if bulk {
		return compat.WriteJSON(w, code, map[string]any{k.plural: views})
	}
	return compat.WriteJSON(w, code, map[string]any{k.single: views[0]})
}

// show answers GET /{plural}/{id}.
func (s *Service) show(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		row, err := s.find(r.Context(), s.db, k, r.caller, r.id())
		if err != nil {
			return err
		}
		return s.answer(w, r, k, http.StatusOK, []record{row}, false)
	}
}

// create answers POST /{plural}, for one or for several, all or none.
func (s *Service) create(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		doc, err := readJSON(r.Request)
		if err != nil {
			return err
		}
		bodies, bulk, err := k.bodies(doc)
		if err != nil {
			return err
		}
		all := make([]values, 0, len(bodies))
		for _, body := range bodies {
			v, err := s.acceptNew(k, r, body)
			if err != nil {
				return err
			}
			all = append(all, v)
		}
		var rows []record
		err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
			rows = rows[:0]
			for _, v := range all {
				id, err := k.insert(r, tx, v)
				if err != nil {
					return err
				}
				row, err := s.find(r.Context(), tx, k, adminView, id)
				if err != nil {
					return err
				}
				rows = append(rows, row)
			}
			return nil
		})
		if err != nil {
			return err
		}
		return s.answer(w, r, k, http.StatusCreated, rows, bulk)
	}
}

// adminView reads back what was just made, for whomever.
var adminView = &compat.Caller{Roles: []string{"admin"}}

func (s *Service) acceptNew(k *kind, r *request, body map[string]any) (values, error) {
	for _, alias := range []string{"tenant_id", "project_id"} {
		if body[alias] == nil {
			delete(body, alias)
		}
	}
	v, err := k.accept(r, body)
	if err != nil {
		return nil, err
	}
	project := v.text("project_id", r.caller.ProjectID)
	if project == "" {
		project = r.caller.ProjectID
	}
	if project != r.caller.ProjectID && !everything(r.caller) {
		return nil, badRequest("Specifying 'tenant_id' or 'project_id' other than authenticated tenant in request requires admin privileges")
	}
	v["project_id"] = project
	if k.beforeWrite != nil {
		err = k.beforeWrite(r, v)
	}
	return v, err
}

// update answers PUT /{plural}/{id}.
func (s *Service) update(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		doc, err := readJSON(r.Request)
		if err != nil {
			return err
		}
		body, ok := doc[k.single].(map[string]any)
		if !ok || len(doc) != 1 {
			return badRequest("Unable to find '%s' in request body", k.single)
		}
		_, err = s.owned(r.Context(), s.db, k, r.caller, r.id(), "update")
		if err != nil {
			return err
		}
		v, err := k.accept(r, body)
		if err != nil {
			return err
		}
		var row record
		err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
			old, err := s.owned(r.Context(), tx, k, r.caller, r.id(), "update")
			if err != nil {
				return err
			}
			err = k.change(r, tx, old, v)
			if err != nil {
				return err
			}
			row, err = s.find(r.Context(), tx, k, adminView, r.id())
			return err
		})
		if err != nil {
			return err
		}
		s.ringFor(r)
		return s.answer(w, r, k, http.StatusOK, []record{row}, false)
	}
}

func (s *Service) ringFor(r *request) {
	if r.ring != "" && s.Bell != nil {
		s.Bell.Ring(r.ring)
	}
}

const deleteTags = `DELETE FROM network_tags WHERE resource = ?`

// remove answers DELETE /{plural}/{id}.
func (s *Service) remove(k *kind) handler {
	return func(w http.ResponseWriter, r *request) error {
		err := s.db.Tx(r.Context(), func(tx *schema.Tx) error {
			old, err := s.owned(r.Context(), tx, k, r.caller, r.id(), "delete")
			if err != nil {
				return err
			}
			err = k.delete(r, tx, old)
			if err != nil {
				return err
			}
			_, err = tx.ExecContext(r.Context(), deleteTags, r.id())
			return err
		})
		if err != nil {
			return err
		}
		s.ringFor(r)
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
}

// setter collects the columns of an UPDATE.
type setter struct {
	columns string
	args    []any
}

func (u *setter) set(column string, value any) {
	u.columns += column + " = ?, "
	u.args = append(u.args, value)
}

// plain takes over the attributes that are stored as they come, by attribute and column.
func (u *setter) plain(v values, columns map[string]string) {
	for _, name := range sortedKeys(columns) {
		if v.has(name) {
			u.set(columns[name], v[name])
		}
	}
}

// run updates one row by its key and counts its revision.
func (u *setter) run(ctx context.Context, tx *schema.Tx, table string, key int64, now schema.Micros) error {
	args := append(append([]any{}, u.args...), now, key)
	_, err := tx.ExecContext(ctx, "UPDATE "+table+" SET "+u.columns+"revision = revision + 1, updated_at = ? WHERE id = ?", args...)
	if err != nil {
		return fmt.Errorf("update %s: %w", table, err)
	}
	return nil
}
