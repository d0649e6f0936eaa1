package servers

import (
	"context"
	"net/http"
	"slices"
	"strconv"

	"kilonova/compat"
	"kilonova/networks"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// The views of a server. The same fields start at other versions in the answers of update
// and rebuild, which until 2.74 were shorter.
const (
	viewShow    = "show"
	viewDetail  = "detail"
	viewUpdate  = "update"
	viewRebuild = "rebuild"
)

// The flags that switch fields on, by what the caller may see.
const (
	seeAttributes = "attributes"
	seeHostStatus = "host_status"
)

const (
	ruleAttributes = "os_compute_api:os-extended-server-attributes"
	ruleHostStatus = "os_compute_api:servers:show:host_status"
	ruleExtraSpecs = "os_compute_api:servers:show:flavor-extra-specs"
)

// serverView is a server as clients see it, with the microversions at which each field
// came; the history of the resource can be read off it.
type serverView struct {
	ID         string        `json:"id"`
	Name       string        `json:"name"`
	Status     string        `json:"status"`
	TenantID   string        `json:"tenant_id"`
	UserID     string        `json:"user_id"`
	Metadata   compat.Raw    `json:"metadata"`
	HostID     string        `json:"hostId"`
	Image      compat.Raw    `json:"image"`
	FlavorRef  *flavorRef    `json:"flavor" until:"2.46"`
	Flavor     *flavorView   `api:"flavor" since:"2.47"`
	Created    string        `json:"created"`
	Updated    string        `json:"updated"`
	Addresses  compat.Raw    `json:"addresses"`
	AccessIPv4 string        `json:"accessIPv4"`
	AccessIPv6 string        `json:"accessIPv6"`
	Links      []compat.Link `json:"links"`
	DiskConfig string        `json:"OS-DCF:diskConfig"`
	Progress   *int          `json:"progress,omitnil"`
	Fault      *faultView    `json:"fault,omitnil"`

	Zone        string      `json:"OS-EXT-AZ:availability_zone" since.update:"2.75" since.rebuild:"2.75"`
	ConfigDrive string      `json:"config_drive" since.update:"2.75" since.rebuild:"2.75"`
	KeyName     *string     `json:"key_name" since.update:"2.75" since.rebuild:"2.54"`
	LaunchedAt  *string     `json:"OS-SRV-USG:launched_at" since.update:"2.75" since.rebuild:"2.75"`
	EndedAt     *string     `json:"OS-SRV-USG:terminated_at" since.update:"2.75" since.rebuild:"2.75"`
	Groups      []groupName `json:"security_groups,omitempty" since.update:"2.75" since.rebuild:"2.75"`
	TaskState   *string     `json:"OS-EXT-STS:task_state" since.update:"2.75" since.rebuild:"2.75"`
	VMState     string      `json:"OS-EXT-STS:vm_state" since.update:"2.75" since.rebuild:"2.75"`
	PowerState  int         `json:"OS-EXT-STS:power_state" since.update:"2.75" since.rebuild:"2.75"`
	Volumes     []volumeRef `json:"os-extended-volumes:volumes_attached" since.update:"2.75" since.rebuild:"2.75"`

	Host           *string `json:"OS-EXT-SRV-ATTR:host" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	InstanceName   string  `json:"OS-EXT-SRV-ATTR:instance_name" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	Node           *string `json:"OS-EXT-SRV-ATTR:hypervisor_hostname" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	ReservationID  string  `json:"OS-EXT-SRV-ATTR:reservation_id" since:"2.3" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	LaunchIndex    int     `json:"OS-EXT-SRV-ATTR:launch_index" since:"2.3" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	HostnameAdmin  string  `json:"OS-EXT-SRV-ATTR:hostname" since:"2.3" until:"2.89" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	KernelID       string  `json:"OS-EXT-SRV-ATTR:kernel_id" since:"2.3" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	RamdiskID      string  `json:"OS-EXT-SRV-ATTR:ramdisk_id" since:"2.3" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	RootDeviceName *string `json:"OS-EXT-SRV-ATTR:root_device_name" since:"2.3" show:"attributes" since.update:"2.75" since.rebuild:"2.75"`
	UserDataAdmin  *string `json:"OS-EXT-SRV-ATTR:user_data" since:"2.3" show:"attributes" since.update:"2.75" in:"show,detail,update"`
	UserData       *string `json:"user_data" in:"rebuild" since:"2.57"`

	Locked       bool       `json:"locked" since:"2.9"`
	HostStatus   string     `json:"host_status" since:"2.16" show:"host_status" since.update:"2.75" since.rebuild:"2.75"`
	Description  *string    `json:"description" since:"2.19"`
	Tags         []string   `json:"tags" since:"2.26"`
	TrustedCerts compat.Raw `json:"trusted_image_certificates" since:"2.63"`
	ServerGroups []string   `json:"server_groups" in:"show,update,rebuild" since:"2.71"`
	LockedReason *string    `json:"locked_reason" since:"2.73"`
	Hostname     string     `api:"OS-EXT-SRV-ATTR:hostname" since:"2.90"`
	PinnedZone   *string    `json:"pinned_availability_zone" since:"2.96"`
	Hints        compat.Raw `json:"scheduler_hints" since:"2.100"`
	AdminPass    *string    `json:"adminPass,omitnil" in:"rebuild"`
}

type flavorRef struct {
	ID    string        `json:"id"`
	Links []compat.Link `json:"links"`
}

// flavorView is the flavor as it was at boot.
type flavorView struct {
	VCPUs      int        `json:"vcpus"`
	RAM        int        `json:"ram"`
	Disk       int        `json:"disk"`
	Ephemeral  int        `json:"ephemeral"`
	Swap       int        `json:"swap"`
	Name       string     `json:"original_name"`
	ExtraSpecs compat.Raw `json:"extra_specs,omitempty"`
}

type groupName struct {
	Name string `json:"name"`
}

type volumeRef struct {
	ID       string `json:"id"`
	DeleteOn bool   `json:"delete_on_termination" since:"2.3"`
}

type faultView struct {
	Code    int     `json:"code"`
	Created string  `json:"created"`
	Message string  `json:"message"`
	Details *string `json:"details,omitnil"`
}

var serverEncoder = compat.NewEncoder[serverView](seeAttributes, seeHostStatus)

// beside holds what a view needs of other tables, read for a whole page at once.
type beside struct {
	// Servers of a page share images and hosts: what is shown of them is made once.
	images  map[string]compat.Raw
	hostIDs map[string]string

	ports    map[string][]networks.Port
	tags     map[int64][]string
	show     []string
	specs    bool
	statuses *statuses // nil where they are not shown
}

var hasTags = compat.Range{Min: 26, Max: compat.MaxVersion}

// beside reads what the page's servers have in other tables: a fixed number of statements.
func (s *Service) beside(r *compat.Request, page []lifecycle.Server) (*beside, error) {
	b := &beside{specs: r.May(ruleExtraSpecs), images: map[string]compat.Raw{}, hostIDs: map[string]string{}}
	if r.May(ruleAttributes) {
		b.show = append(b.show, seeAttributes)
	}
	if r.May(ruleHostStatus) {
		b.show, b.statuses = append(b.show, seeHostStatus), &statuses{s, map[string]string{}}
	}
	ids := make([]string, len(page))
	keys := make([]int64, len(page))
	for i := range page {
		ids[i], keys[i] = page[i].UUID, page[i].ID
	}
	var err error
	b.ports, err = s.Networks.OfServers(r.Context(), s.DB, ids)
	if err != nil {
		return nil, err
	}
	if hasTags.Has(r.Version) {
		b.tags, err = s.Life.TagsOf(r.Context(), s.DB, keys)
	}
	return b, err
}

// view fills in the document of one server; which of its fields are sent is the encoder's
// business.
func (s *Service) view(r *compat.Request, v *lifecycle.Server, b *beside, kind string) serverView {
	f := serverView{
		ID: v.UUID, Name: v.Name, Status: v.Status(), TenantID: v.ProjectID, UserID: v.UserID,
		Metadata: compat.Raw(v.Metadata), HostID: b.hostID(v), Image: b.image(r, v),
		Created: v.CreatedAt.ISO(), Updated: v.UpdatedAt.ISO(), Addresses: addresses(v, b.ports[v.UUID], true),
		AccessIPv4: v.AccessIPv4, AccessIPv6: v.AccessIPv6, Links: r.Links("/servers/" + v.UUID),
		DiskConfig: v.DiskConfig, KeyName: v.KeyName, Zone: zoneOf(v), VMState: string(v.VMState),
		PowerState: int(v.PowerState), Volumes: []volumeRef{}, Groups: groupsOf(v, b.ports[v.UUID]),
		Host: v.Host, Node: v.Node, InstanceName: v.InstanceName(), ReservationID: v.ReservationID,
		LaunchIndex: v.LaunchIndex, HostnameAdmin: v.Hostname, Hostname: v.Hostname,
		RootDeviceName: v.RootDeviceName, UserDataAdmin: v.UserData, UserData: v.UserData,
		Locked: v.LockedBy != nil, Description: v.Description, Tags: b.tags[v.ID],
		ServerGroups: []string{}, LockedReason: v.LockedReason, PinnedZone: v.PinnedZone,
		Hints: compat.Raw(v.SchedulerHints), TrustedCerts: compat.Raw("null"),
	}
	if v.ConfigDrive {
		f.ConfigDrive = "True"
	}
	if v.TaskState != nil {
		task := string(*v.TaskState)
		f.TaskState = &task
	}
	if v.LaunchedAt != 0 {
		at := v.LaunchedAt.ISOMicros()
		f.LaunchedAt = &at
	}
	if v.TerminatedAt != 0 {
		at := v.TerminatedAt.ISOMicros()
		f.EndedAt = &at
	}
	if v.TrustedCerts != nil {
		f.TrustedCerts = compat.Raw(*v.TrustedCerts)
	}
	if slices.Contains(statusesWithProgress, f.Status) {
		f.Progress = &v.Progress
	}
	if b.statuses != nil {
		f.HostStatus = b.statuses.of(r.Context(), v.HostName())
	}
	s.viewFlavor(r, v, b, &f)
	f.Fault = faultOfServer(r, v, f.Status)
	return f
}

func (s *Service) viewFlavor(r *compat.Request, v *lifecycle.Server, b *beside, f *serverView) {
	if embedsFlavor.Has(r.Version) {
		f.Flavor = &flavorView{VCPUs: v.VCPUs, RAM: v.MemoryMB, Disk: v.RootGB, Ephemeral: v.EphemeralGB, Swap: v.SwapMB, Name: v.FlavorName}
		if b.specs {
			f.Flavor.ExtraSpecs = compat.Raw(v.ExtraSpecs)
		}
		return
	}
	f.FlavorRef = &flavorRef{v.FlavorID, []compat.Link{{Rel: "bookmark", Href: r.BookmarkURL("/flavors/" + v.FlavorID)}}}
}

var (
	embedsFlavor = compat.Range{Min: 47, Max: compat.MaxVersion}
	embedsImage  = compat.Range{Min: 98, Max: compat.MaxVersion}
)

// image gives imageView, once for each image as it was at boot.
func (b *beside) image(r *compat.Request, v *lifecycle.Server) compat.Raw {
	key := v.ImageID + v.ImageMeta
	raw, ok := b.images[key]
	if !ok {
		raw = imageView(r, v)
		b.images[key] = raw
	}
	return raw
}

// hostID gives HostID, once for each project and host.
func (b *beside) hostID(v *lifecycle.Server) string {
	key := v.ProjectID + "/" + v.HostName()
	id, ok := b.hostIDs[key]
	if !ok {
		id = v.HostID()
		b.hostIDs[key] = id
	}
	return id
}

// imageView is "" for a server without an image, else its id and link, and from 2.98 the
// properties that it had at boot.
func imageView(r *compat.Request, v *lifecycle.Server) compat.Raw {
	if v.ImageID == "" {
		return compat.Raw(`""`)
	}
	link := []compat.Link{{Rel: "bookmark", Href: r.BookmarkURL("/images/" + v.ImageID)}}
	if !embedsImage.Has(r.Version) {
		out := append([]byte(`{"id":`), quote(v.ImageID)...)
		out = append(out, `,"links":[{"rel":"bookmark","href":`...)
		out = append(out, quote(link[0].Href)...)
		return append(out, `}]}`...)
	}
	var img work.Image
	lifecycle.Decode(v.ImageMeta, &img)
	return compat.Raw(lifecycle.Encode(map[string]any{"id": v.ImageID, "links": link, "properties": lifecycle.OrEmpty(img.Properties)}))
}

func quote(s string) []byte { return compat.AppendString(nil, s) }

// zoneOf is the zone of the server's host, else the one that was asked for.
func zoneOf(v *lifecycle.Server) string {
	switch {
	case v.Zone != nil:
		return *v.Zone
	case v.RequestedZone != nil:
		return *v.RequestedZone
	}
	return ""
}

func groupsOf(v *lifecycle.Server, ports []networks.Port) []groupName {
	var out []groupName
	for _, p := range ports {
		for _, g := range p.SecurityGroups {
			if !slices.Contains(out, groupName{g.Name}) {
				out = append(out, groupName{g.Name})
			}
		}
	}
	if out == nil && v.VMState == lifecycle.Building {
		var asked []string
		lifecycle.Decode(v.SecurityGroups, &asked)
		for _, name := range asked {
			out = append(out, groupName{name})
		}
	}
	return out
}

// addresses is the map of network names to fixed addresses; with details also each
// address's type and MAC. It is empty while the server is being built.
func addresses(v *lifecycle.Server, ports []networks.Port, details bool) compat.Raw {
	if v.VMState == lifecycle.Building || len(ports) == 0 {
		return compat.Raw("{}")
	}
	var labels []string
	for _, p := range ports {
		if len(p.FixedIPs) > 0 && !slices.Contains(labels, p.NetworkName) {
			labels = append(labels, p.NetworkName)
		}
	}
	out := []byte{'{'}
	for i, label := range labels {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(append(out, quote(label)...), ':', '[')
		out = appendAddresses(out, label, ports, details)
		out = append(out, ']')
	}
	return append(out, '}')
}

func appendAddresses(out []byte, label string, ports []networks.Port, details bool) []byte {
	n := 0
	for _, p := range ports {
		if p.NetworkName != label {
			continue
		}
		for _, ip := range p.FixedIPs {
			if n > 0 {
				out = append(out, ',')
			}
			n++
			out = append(out, `{"version":`...)
			out = strconv.AppendInt(out, int64(ipVersion(ip.Address)), 10)
			out = append(append(out, `,"addr":`...), quote(ip.Address)...)
			if details {
				out = append(append(out, `,"OS-EXT-IPS:type":"fixed","OS-EXT-IPS-MAC:mac_addr":`...), quote(p.MAC)...)
			}
			out = append(out, '}')
		}
	}
	return out
}

func ipVersion(address string) int {
	for i := range address {
		if address[i] == ':' {
			return 6
		}
	}
	return 4
}

func (s *Service) hostStatus(ctx context.Context, host string) string {
	if host == "" {
		return ""
	}
	h, err := s.Hosts.ByName(ctx, host)
	switch {
	case err != nil || h == nil:
		return "UNKNOWN"
	case h.ForcedDown:
		return "DOWN"
	case h.Disabled:
		return "MAINTENANCE"
	case !h.Up(s.Clock.Now()):
		return "UNKNOWN"
	}
	return "UP"
}

// faultOfServer is shown of servers in ERROR and deleted ones; what lies behind a 500 is
// for administrators (OSSA-2019-003).
func faultOfServer(r *compat.Request, v *lifecycle.Server, status string) *faultView {
	if v.FaultCode == 0 || status != "ERROR" && status != "DELETED" {
		return nil
	}
	f := &faultView{Code: v.FaultCode, Created: v.FaultAt.ISO()}
	if v.FaultMessage != nil {
		f.Message = *v.FaultMessage
	}
	if r.Caller.IsAdmin() || v.FaultCode != http.StatusInternalServerError {
		f.Details = v.FaultDetails
		if f.Details == nil {
			none := ""
			f.Details = &none
		}
	}
	return f
}

// document is one server's in the given view, and what it was made with.
func (s *Service) document(r *compat.Request, v *lifecycle.Server, kind string) (serverView, *beside, error) {
	b, err := s.beside(r, []lifecycle.Server{*v})
	if err != nil {
		return serverView{}, nil, err
	}
	return s.view(r, v, b, kind), b, nil
}

// answerOne writes {"server": ...} in the view of an action.
func (s *Service) answerOne(w http.ResponseWriter, r *compat.Request, v *lifecycle.Server, kind, adminPass string) error {
	doc, b, err := s.document(r, v, kind)
	if err != nil {
		return err
	}
	if adminPass != "" {
		doc.AdminPass = &adminPass
	}
	if !fullAnswers.Has(r.Version) {
		doc.Addresses = addresses(v, b.ports[v.UUID], false)
	}
	return answerDocument(w, r, func(to []byte) []byte { return b.append(to, r, &doc, kind) })
}

// append adds a document as the caller may see it.
func (b *beside) append(to []byte, r *compat.Request, doc *serverView, kind string) []byte {
	return serverEncoder.Append(to, doc, compat.At{Version: r.Version, View: kind, Show: serverEncoder.Show(b.show...)})
}

func answerDocument(w http.ResponseWriter, r *compat.Request, fill func([]byte) []byte) error {
	buf := compat.Buffer()
	defer buf.Free()
	buf.B = append(fill(append(buf.B, `{"server":`...)), '}')
	return r.AnswerBytes(w, buf.B)
}

// fullAnswers are the versions at which update and rebuild answer all that show does.
var fullAnswers = compat.Range{Min: 75, Max: compat.MaxVersion}

// statusesWithProgress show a progress figure.
var statusesWithProgress = []string{"ACTIVE", "BUILD", "REBUILD", "RESIZE", "VERIFY_RESIZE", "MIGRATING"}
