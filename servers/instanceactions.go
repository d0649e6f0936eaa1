package servers

import (
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"kilonova/compat"
	"kilonova/networks"
	"kilonova/schema"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

type actionRow struct {
	ID        int64         `db:"id"`
	RequestID string        `db:"request_id"`
	Action    string        `db:"action"`
	UserID    string        `db:"user_id"`
	ProjectID string        `db:"project_id"`
	Message   *string       `db:"message"`
	StartTime schema.Micros `db:"start_time"`
	UpdatedAt schema.Micros `db:"updated_at"`
}

type eventRow struct {
	Event      string        `db:"event"`
	Host       *string       `db:"host"`
	StartTime  schema.Micros `db:"start_time"`
	FinishTime schema.Micros `db:"finish_time"`
	Result     *string       `db:"result"`
	Traceback  *string       `db:"traceback"`
	Details    *string       `db:"details"`
}

type actionView struct {
	Action       string      `json:"action"`
	InstanceUUID string      `json:"instance_uuid"`
	RequestID    string      `json:"request_id"`
	UserID       string      `json:"user_id"`
	ProjectID    string      `json:"project_id"`
	StartTime    string      `json:"start_time"`
	Message      *string     `json:"message"`
	UpdatedAt    string      `json:"updated_at" since:"2.58"`
	Events       []eventView `json:"events,omitnil" show:"events"`
}

type eventView struct {
	Event      string  `json:"event"`
	StartTime  string  `json:"start_time"`
	FinishTime *string `json:"finish_time"`
	Result     *string `json:"result"`
	Traceback  *string `json:"traceback" show:"traceback"`
	Host       string  `json:"host" since:"2.62" show:"traceback"` // "" for what no host did
	HostID     string  `json:"hostId" since:"2.62"`
	Details    *string `json:"details" since:"2.84" show:"details"`
}

const (
	seeEvents    = "events"
	seeTraceback = "traceback"
	seeDetails   = "details"

	ruleEvents       = "os_compute_api:os-instance-actions:events"
	ruleEventDetails = "os_compute_api:os-instance-actions:events:details"
)

var (
	actionEncoder = compat.NewEncoder[actionView](seeEvents, seeTraceback, seeDetails)
	pagesActions  = compat.Range{Min: 58, Max: compat.MaxVersion}
	eventsForAll  = compat.Range{Min: 51, Max: compat.MaxVersion}
)

func actionViewOf(v *lifecycle.Server, a *actionRow) actionView {
	return actionView{Action: a.Action, InstanceUUID: v.UUID, RequestID: a.RequestID, UserID: a.UserID,
		ProjectID: a.ProjectID, StartTime: a.StartTime.ISOMicros(), Message: a.Message, UpdatedAt: a.UpdatedAt.ISOMicros()}
}

const selectActions = `SELECT id, request_id, action, user_id, project_id, message, start_time, updated_at
FROM instance_actions WHERE server_uuid = ?`

func (s *Service) actionsIndex(w http.ResponseWriter, r *compat.Request) error {
	v := of(r)
	stmt, args := selectActions, []any{v.UUID}
	limit := maxLimit
	if pagesActions.Has(r.Version) {
		var f *compat.Fault
		limit, f = compat.ParseLimit(r.Query, maxLimit)
		if f != nil {
			return f
		}
		q := &query{}
		err := s.filterActions(r, q, v)
		if err != nil {
			return err
		}
		for _, cond := range q.where {
			stmt += " AND " + cond
		}
		args = append(args, q.args...)
	}
	var rows []actionRow
	err := s.DB.SelectContext(r.Context(), &rows, fmt.Sprintf("%s ORDER BY id DESC LIMIT %d", stmt, limit), args...)
	if err != nil {
		return fmt.Errorf("list actions of server %s: %w", v.UUID, err)
	}
	b := []byte(`{"instanceActions":[`)
	at := compat.At{Version: r.Version}
	for i := range rows {
		if i > 0 {
			b = append(b, ',')
		}
		doc := actionViewOf(v, &rows[i])
		b = actionEncoder.Append(b, &doc, at)
	}
	b = append(b, ']')
	if len(rows) == limit && limit > 0 && pagesActions.Has(r.Version) { // a full page; the next may be empty
		b = append(b, `,"links":`...)
		b = append(b, lifecycle.Encode(r.NextLink("/servers/"+v.UUID+"/os-instance-actions", rows[len(rows)-1].RequestID))...)
	}
	return r.AnswerBytes(w, append(b, '}'))
}

func (s *Service) filterActions(r *compat.Request, q *query, v *lifecycle.Server) error {
	err := s.filterChanges(r, q, true)
	if err != nil {
		return err
	}
	marker, ok := last(r.Query, "marker")
	if !ok {
		return nil
	}
	a, err := s.actionOf(r, v, marker)
	if err != nil {
		return err
	}
	if a == nil {
		return compat.BadRequest("Marker %s could not be found.", marker)
	}
	q.and("id < ?", a.ID)
	return nil
}

func (s *Service) actionOf(r *compat.Request, v *lifecycle.Server, requestID string) (*actionRow, error) {
	var a actionRow
	err := s.DB.GetContext(r.Context(), &a, selectActions+" AND request_id = ? ORDER BY id LIMIT 1", v.UUID, requestID)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("get action %s: %w", requestID, err)
	}
	return &a, nil
}

const selectEvents = `SELECT event, host, start_time, finish_time, result, traceback, details
FROM instance_events WHERE action_id = ? ORDER BY id`

func (s *Service) actionsShow(w http.ResponseWriter, r *compat.Request) error {
	v := of(r)
	a, err := s.actionOf(r, v, r.Var("request_id"))
	if err != nil {
		return err
	}
	if a == nil {
		return compat.NotFound("Action for request_id %s on instance %s not found", r.Var("request_id"), v.UUID)
	}
	var show []string
	if r.May(ruleEvents) {
		show = append(show, seeEvents, seeTraceback)
	} else if eventsForAll.Has(r.Version) {
		show = append(show, seeEvents)
	}
	if r.May(ruleEventDetails) {
		show = append(show, seeDetails)
	}
	var rows []eventRow
	err = s.DB.SelectContext(r.Context(), &rows, selectEvents, a.ID)
	if err != nil {
		return fmt.Errorf("list events of action %s: %w", a.RequestID, err)
	}
	doc := actionViewOf(v, a)
	doc.Events = []eventView{}
	for i := range rows {
		doc.Events = append(doc.Events, eventViewOf(v, &rows[i]))
	}
	b := actionEncoder.Append([]byte(`{"instanceAction":`), &doc, compat.At{Version: r.Version, Show: actionEncoder.Show(show...)})
	return r.AnswerBytes(w, append(b, '}'))
}

func eventViewOf(v *lifecycle.Server, e *eventRow) eventView {
	doc := eventView{Event: e.Event, StartTime: e.StartTime.ISOMicros(), Result: e.Result, Traceback: e.Traceback, Details: e.Details}
	if e.FinishTime != 0 {
		at := e.FinishTime.ISOMicros()
		doc.FinishTime = &at
	}
	if e.Host != nil {
		there := lifecycle.Server{ProjectID: v.ProjectID, Host: e.Host}
		doc.Host, doc.HostID = *e.Host, there.HostID()
	}
	return doc
}

func (s *Service) ipsIndex(w http.ResponseWriter, r *compat.Request) error {
	ports, err := s.portsOf(r)
	if err != nil {
		return err
	}
	return r.AnswerBytes(w, append(append([]byte(`{"addresses":`), addresses(of(r), ports, false)...), '}'))
}

func (s *Service) ipsShow(w http.ResponseWriter, r *compat.Request) error {
	ports, err := s.portsOf(r)
	if err != nil {
		return err
	}
	label := r.Var("label")
	if of(r).VMState == lifecycle.Building || !slices.ContainsFunc(ports, func(p networks.Port) bool { return p.NetworkName == label }) {
		return compat.NotFound("Network label '%s' was not found", label)
	}
	b := append(append([]byte{'{'}, quote(label)...), ':', '[')
	return r.AnswerBytes(w, append(appendAddresses(b, label, ports, false), ']', '}'))
}

func (s *Service) portsOf(r *compat.Request) ([]networks.Port, error) {
	id := of(r).UUID
	m, err := s.Networks.OfServers(r.Context(), s.DB, []string{id})
	return m[id], err
}

// consoleOutput asks the host for the end of the guest's serial console.
func (s *Service) consoleOutput(w http.ResponseWriter, r *compat.Request) error {
	var body struct {
		Get *struct {
			Length *compat.Int `json:"length"`
		} `json:"os-getConsoleOutput"`
	}
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	v := of(r)
	err = lifecycle.Check(lifecycle.OpConsole, v, r.Caller)
	if err != nil {
		return err
	}
	args := work.Args{Guest: work.Guest{ID: v.ID, UUID: v.UUID}}
	if body.Get != nil && body.Get.Length != nil {
		args.Length = int(*body.Get.Length)
		if args.Length == 0 {
			return r.Answer(w, map[string]string{"output": ""})
		}
		args.Length = max(args.Length, 0) // -1 asks for everything
	}
	res, err := s.Life.Ask(r.Context(), v, lifecycle.OpConsole, args)
	if err != nil {
		return err
	}
	switch res.Reason {
	case work.ReasonNoConsole:
		return compat.NotFound("Guest does not have a console available.")
	case work.ReasonNoInstance:
		return compat.NotFound("Instance %s could not be found.", v.UUID)
	}
	return r.Answer(w, map[string]string{"output": printable(res.Output)})
}

// printable drops what XML and terminals choke on, as Nova does: what a guest prints is
// hostile.
func printable(s string) string {
	return strings.Map(func(c rune) rune {
		if c == '\n' || c == '\t' || c == '\r' || c >= ' ' && c != 0x7f && c != 0xfffd {
			return c
		}
		return -1
	}, strings.ToValidUTF8(s, ""))
}

// diagnostics asks the host for the guest's counters: the libvirt driver's own names until
// 2.47, a fixed form from 2.48.
func (s *Service) diagnostics(w http.ResponseWriter, r *compat.Request) error {
	v := of(r)
	err := lifecycle.Check(lifecycle.OpDiagnostics, v, r.Caller)
	if err != nil {
		return err
	}
	if v.PowerState != work.PoweredOn {
		return lifecycle.Conflict(lifecycle.OpDiagnostics, v, "power state", v.PowerState.String())
	}
	res, err := s.Life.Ask(r.Context(), v, lifecycle.OpDiagnostics, work.Args{Guest: work.Guest{ID: v.ID, UUID: v.UUID}})
	if err != nil {
		return err
	}
	var d work.Diagnostics
	err = json.Unmarshal([]byte(res.Output), &d)
	if err != nil {
		return fmt.Errorf("read diagnostics of server %s: %w", v.UUID, err)
	}
	if fixedDiagnostics.Has(r.Version) {
		return r.Answer(w, diagnosticsDocument(v, &d))
	}
	return r.Answer(w, legacyDiagnostics(&d))
}

var fixedDiagnostics = compat.Range{Min: 48, Max: compat.MaxVersion}

func diagnosticsDocument(v *lifecycle.Server, d *work.Diagnostics) map[string]any {
	cpus, nics, disks := []any{}, []any{}, []any{}
	for _, c := range d.CPUs {
		cpus = append(cpus, map[string]any{"id": c.ID, "time": c.Time, "utilisation": nil})
	}
	for _, n := range d.NICs {
		nics = append(nics, map[string]any{"mac_address": n.MAC, "rx_octets": n.RxBytes, "rx_packets": n.RxPackets,
			"rx_errors": n.RxErrors, "rx_drop": n.RxDrop, "rx_rate": nil, "tx_octets": n.TxBytes,
			"tx_packets": n.TxPackets, "tx_errors": n.TxErrors, "tx_drop": n.TxDrop, "tx_rate": nil})
	}
	for _, k := range d.Disks {
		disks = append(disks, map[string]any{"read_bytes": k.ReadBytes, "read_requests": k.ReadRequests,
			"write_bytes": k.WriteBytes, "write_requests": k.WriteRequests, "errors_count": k.Errors})
	}
	return map[string]any{"state": d.State, "driver": d.Driver, "hypervisor": d.Hypervisor, "hypervisor_os": d.HypervisorOS,
		"uptime": d.UptimeS, "config_drive": v.ConfigDrive, "num_cpus": len(cpus), "num_nics": len(nics), "num_disks": len(disks),
		"cpu_details": cpus, "nic_details": nics, "disk_details": disks,
		"memory_details": map[string]any{"maximum": d.MemoryMB, "used": d.MemoryUsedMB}}
}

func legacyDiagnostics(d *work.Diagnostics) map[string]any {
	out := map[string]any{"memory": d.MemoryMB * 1024}
	for _, c := range d.CPUs {
		out[fmt.Sprintf("cpu%d_time", c.ID)] = c.Time
	}
	for i, n := range d.NICs {
		p := fmt.Sprintf("vnet%d_", i)
		out[p+"rx"], out[p+"rx_packets"], out[p+"rx_errors"], out[p+"rx_drop"] = n.RxBytes, n.RxPackets, n.RxErrors, n.RxDrop
		out[p+"tx"], out[p+"tx_packets"], out[p+"tx_errors"], out[p+"tx_drop"] = n.TxBytes, n.TxPackets, n.TxErrors, n.TxDrop
	}
	for _, k := range d.Disks {
		p := k.Device + "_"
		out[p+"read"], out[p+"read_req"], out[p+"write"], out[p+"write_req"], out[p+"errors"] = k.ReadBytes, k.ReadRequests, k.WriteBytes, k.WriteRequests, k.Errors
	}
	return out
}
