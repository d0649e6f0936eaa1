package networks

import (
	"fmt"
	"net/http"
	"strings"

	"github.com/google/uuid"
	"github.com/jmoiron/sqlx"

	"kilonova/compat"
	"kilonova/schema"
)

// server is what a resolved resource of /servers/{id} must tell.
type server interface {
	ServerID() string
	Project() string
}

// RegisterCompute registers the compute API's view of networks: the proxies that ended with
// microversion 2.35, and the security groups and interfaces of servers.
func (s *Service) RegisterCompute(api *compat.Compute) {
	for name, h := range map[string]compat.Handler{
		"GET /os-networks":                              s.novaNetworks,
		"GET /os-networks/{id}":                         s.novaNetwork,
		"GET /os-tenant-networks":                       s.tenantNetworks,
		"GET /os-tenant-networks/{id}":                  s.tenantNetwork,
		"GET /os-floating-ip-pools":                     empty("floating_ip_pools"),
		"GET /os-floating-ips":                          empty("floating_ips"),
		"POST /os-floating-ips":                         noFloatingPool,
		"GET /os-floating-ips/{id}":                     noFloatingIP,
		"DELETE /os-floating-ips/{id}":                  noFloatingIP,
		"GET /os-security-groups":                       s.novaGroups,
		"POST /os-security-groups":                      s.createNovaGroup,
		"GET /os-security-groups/{id}":                  s.novaGroup,
		"PUT /os-security-groups/{id}":                  s.updateNovaGroup,
		"DELETE /os-security-groups/{id}":               s.deleteNovaGroup,
		"POST /os-security-group-rules":                 s.createNovaRule,
		"DELETE /os-security-group-rules/{id}":          s.deleteNovaRule,
		"GET /servers/{id}/os-security-groups":          s.serverGroups,
		"POST /servers/{id}/action addSecurityGroup":    s.groupAction("addSecurityGroup"),
		"POST /servers/{id}/action removeSecurityGroup": s.groupAction("removeSecurityGroup"),
		"GET /servers/{id}/os-interface":                s.interfaces,
		"GET /servers/{id}/os-interface/{port_id}":      s.serverInterface,
	} {
		api.Handle(name, h)
	}
}

func empty(key string) compat.Handler {
	return func(w http.ResponseWriter, r *compat.Request) error {
		return r.Answer(w, map[string]any{key: []any{}})
	}
}

func noFloatingPool(http.ResponseWriter, *compat.Request) error {
	return compat.NotFound("Floating IP pool not found.")
}

func noFloatingIP(_ http.ResponseWriter, r *compat.Request) error {
	id := r.Var("id")
	if uuid.Validate(id) != nil {
		return compat.BadRequest("Invalid ID received %s.", clip(id))
	}
	return compat.NotFound("Floating IP not found for ID %s", id)
}

// novaFields are the keys that nova-network had; only id and label have values still.
var novaFields = []string{
	"bridge", "bridge_interface", "broadcast", "cidr", "cidr_v6", "created_at", "deleted", "deleted_at", "dhcp_server",
	"dhcp_start", "dns1", "dns2", "enable_dhcp", "gateway", "gateway_v6", "host", "injected", "mtu", "multi_host",
	"netmask", "netmask_v6", "priority", "project_id", "rxtx_base", "share_address", "updated_at", "vlan",
	"vpn_private_address", "vpn_public_address", "vpn_public_port",
}

func novaView(n *Network) map[string]any {
	v := map[string]any{"id": n.ID, "label": n.Name}
	for _, name := range novaFields {
		v[name] = nil
	}
	return v
}

func tenantView(n *Network) map[string]any {
	return map[string]any{"id": n.ID, "label": n.Name, "cidr": "None"}
}

const (
	proxyNetworks = `SELECT ` + networkColumns + ` FROM networks n WHERE (n.project_id = ? OR n.shared = 1 OR ?) ORDER BY n.id`
	proxyNetwork  = `SELECT ` + networkColumns + ` FROM networks n WHERE n.uuid = ? AND (n.project_id = ? OR n.shared = 1 OR ?)`
)

func (s *Service) listNova(w http.ResponseWriter, r *compat.Request, all bool, view func(*Network) map[string]any) error {
	var nets []*Network
	err := s.db.SelectContext(r.Context(), &nets, proxyNetworks, r.Caller.ProjectID, all)
	if err != nil {
		return fmt.Errorf("list networks: %w", err)
	}
	out := make([]map[string]any, 0, len(nets))
	for _, n := range nets {
		out = append(out, view(n))
	}
	return r.Answer(w, map[string]any{"networks": out})
}

func (s *Service) showNova(w http.ResponseWriter, r *compat.Request, view func(*Network) map[string]any) error {
	id := r.Var("id")
	var nets []*Network
	if validText(id) {
		err := s.db.SelectContext(r.Context(), &nets, proxyNetwork, id, r.Caller.ProjectID, r.Caller.IsAdmin())
		if err != nil {
			return fmt.Errorf("read network: %w", err)
		}
	}
	if len(nets) == 0 {
		return compat.NotFound("Network not found")
	}
	return r.Answer(w, map[string]any{"network": view(nets[0])})
}

func (s *Service) novaNetworks(w http.ResponseWriter, r *compat.Request) error {
	return s.listNova(w, r, r.Caller.IsAdmin(), novaView)
}

func (s *Service) novaNetwork(w http.ResponseWriter, r *compat.Request) error {
	return s.showNova(w, r, novaView)
}

func (s *Service) tenantNetworks(w http.ResponseWriter, r *compat.Request) error {
	return s.listNova(w, r, false, tenantView)
}

func (s *Service) tenantNetwork(w http.ResponseWriter, r *compat.Request) error {
	return s.showNova(w, r, tenantView)
}

// attached is the port of a server as os-interface shows it.
type attached struct {
	FixedIPs []attachedIP `json:"fixed_ips"`
	MAC      string       `json:"mac_addr"`
	Network  string       `json:"net_id"`
	Port     string       `json:"port_id"`
	State    string       `json:"port_state"`
	Tag      *string      `json:"tag" since:"2.70"`
}

type attachedIP struct {
	Address string `json:"ip_address"`
	Subnet  string `json:"subnet_id"`
}

type attachedList struct {
	Attachments []attached `json:"interfaceAttachments"`
}

type attachedOne struct {
	Attachment attached `json:"interfaceAttachment"`
}

var (
	attachedListView = compat.NewEncoder[attachedList]()
	attachedOneView  = compat.NewEncoder[attachedOne]()
)

func attachedPort(p Port) attached {
	a := attached{MAC: p.MAC, Network: p.NetworkID, Port: p.ID, State: p.Status}
	for _, ip := range p.FixedIPs {
		a.FixedIPs = append(a.FixedIPs, attachedIP{Address: ip.Address, Subnet: ip.SubnetID})
	}
	if p.Tag != "" {
		a.Tag = &p.Tag
	}
	return a
}

// serverPorts gives the ports of the request's server.
func (s *Service) serverPorts(r *compat.Request) ([]Port, error) {
	of, ok := r.Resource.(server)
	if !ok {
		return nil, fmt.Errorf("%s: the resource is no server", r.Op.Name())
	}
	byServer, err := s.OfServers(r.Context(), s.db, []string{of.ServerID()})
	return byServer[of.ServerID()], err
}

func (s *Service) interfaces(w http.ResponseWriter, r *compat.Request) error {
	ports, err := s.serverPorts(r)
	if err != nil {
		return err
	}
	var doc attachedList
	for _, p := range ports {
		doc.Attachments = append(doc.Attachments, attachedPort(p))
	}
	return r.AnswerBytes(w, attachedListView.Append(nil, &doc, compat.At{Version: r.Version}))
}

func (s *Service) serverInterface(w http.ResponseWriter, r *compat.Request) error {
	ports, err := s.serverPorts(r)
	if err != nil {
		return err
	}
	for _, p := range ports {
		if p.ID == r.Var("port_id") {
			doc := attachedOne{attachedPort(p)}
			return r.AnswerBytes(w, attachedOneView.Append(nil, &doc, compat.At{Version: r.Version}))
		}
	}
	of := r.Resource.(server)
	return compat.NotFound("Instance %s does not have a port with id %s", of.ServerID(), clip(r.Var("port_id")))
}

const groupsByUUID = `SELECT ` + groupColumns + ` FROM security_groups g WHERE g.uuid IN (?) ORDER BY g.name, g.id`

// serverGroups answers GET /servers/{id}/os-security-groups.
func (s *Service) serverGroups(w http.ResponseWriter, r *compat.Request) error {
	of, ok := r.Resource.(server)
	if !ok {
		return fmt.Errorf("%s: the resource is no server", r.Op.Name())
	}
	named, err := s.SecurityGroupsOf(r.Context(), s.db, []string{of.ServerID()})
	if err != nil {
		return err
	}
	out := []map[string]any{}
	if list := named[of.ServerID()]; len(list) > 0 {
		ids := make([]string, 0, len(list))
		for _, g := range list {
			ids = append(ids, g.ID)
		}
		query, args, err := sqlx.In(groupsByUUID, ids)
		if err != nil {
			return err
		}
		groups, err := groupsWithRules(r.Context(), s.db, query, args)
		if err != nil {
			return fmt.Errorf("read security groups: %w", err)
		}
		for _, g := range groups {
			out = append(out, novaGroupView(g))
		}
	}
	return r.Answer(w, map[string]any{"security_groups": out})
}

// groupAction answers the actions that add a server to a group and take it out.
func (s *Service) groupAction(key string) compat.Handler {
	return func(w http.ResponseWriter, r *compat.Request) error {
		var body map[string]struct{ Name string }
		err := r.Decode(&body)
		if err != nil {
			return err
		}
		name := body[key].Name
		if strings.TrimSpace(name) == "" {
			return compat.BadRequest("Security group name cannot be empty")
		}
		if !validText(name) {
			return compat.NotFound("Security group %s is not found for project %s", clip(name), r.Caller.ProjectID)
		}
		of, ok := r.Resource.(server)
		if !ok {
			return fmt.Errorf("%s: the resource is no server", r.Op.Name())
		}
		do := s.AddSecurityGroup
		if key == "removeSecurityGroup" {
			do = s.RemoveSecurityGroup
		}
		err = s.db.Tx(r.Context(), func(tx *schema.Tx) error {
			return do(r.Context(), tx, of.ServerID(), of.Project(), name)
		})
		if err != nil {
			return err
		}
		return r.Answer(w, nil)
	}
}
