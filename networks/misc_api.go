package networks

import (
	"fmt"
	"net/http"
	"slices"
	"strings"

	"kilonova/compat"
)

// zone is the one availability zone of networks.
const zone = "nova"

// emptyCollections are resources that clients list and that this release does not have.
var emptyCollections = []string{"routers", "floatingips", "subnetpools", "agents", "address-scopes", "rbac-policies", "trunks"}

func emptyList(plural string) handler {
	return func(w http.ResponseWriter, _ *request) error {
		return compat.WriteJSON(w, http.StatusOK, map[string]any{strings.ReplaceAll(plural, "-", "_"): []any{}})
	}
}

var missingTypes = map[string]string{
	"routers": "Router", "floatingips": "FloatingIP", "subnetpools": "SubnetPool", "agents": "Agent",
	"address-scopes": "AddressScope", "rbac-policies": "RbacPolicy", "trunks": "Trunk",
}

func missingItem(plural string) handler {
	return func(_ http.ResponseWriter, r *request) error {
		name := missingTypes[plural]
		return fault(404, name+"NotFound", "%s %s could not be found.", name, clip(r.id()))
	}
}

// listZones answers GET /availability_zones.
func listZones(w http.ResponseWriter, r *request) error {
	z := map[string]string{"name": zone, "resource": "network", "state": "available"}
	zones := []map[string]string{z}
	for name, vs := range r.URL.Query() {
		if have, ok := z[name]; ok && !slices.Contains(vs, have) {
			zones = []map[string]string{}
		}
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"availability_zones": zones})
}

// extension is an entry of the list that tells clients what they may use.
type extension struct {
	Alias       string   `json:"alias"`
	Name        string   `json:"name"`
	Description string   `json:"description"`
	Updated     string   `json:"updated"`
	Links       []string `json:"links"`
}

// extensions holds only what works: clients change what they send by it.
var extensions = []extension{
	{Alias: "allowed-address-pairs", Name: "Allowed Address Pairs", Description: "Provides allowed address pairs"},
	{Alias: "auto-allocated-topology", Name: "Auto Allocated Topology Services", Description: "Auto Allocated Topology Services."},
	{Alias: "availability_zone", Name: "Availability Zone", Description: "The availability zone extension."},
	{Alias: "binding", Name: "Port Binding", Description: "Expose port bindings of a virtual port to external application"},
	{Alias: "empty-string-filtering", Name: "Empty String Filtering Extension", Description: "Allow filtering by attributes with empty string value"},
	{Alias: "filter-validation", Name: "Filter parameters validation", Description: "Provides validation on filter parameters."},
	{Alias: "ip-substring-filtering", Name: "IP address substring filtering", Description: "Provides IP address substring filtering when listing ports"},
	{Alias: "net-mtu", Name: "Network MTU", Description: "Provides MTU attribute for a network resource."},
	{Alias: "net-mtu-writable", Name: "Network MTU (writable)", Description: "Provides a writable MTU attribute for a network resource."},
	{Alias: "network_availability_zone", Name: "Network Availability Zone", Description: "Availability zone support for network."},
	{Alias: "pagination", Name: "Pagination support", Description: "Extension that indicates that pagination is enabled."},
	{Alias: "port-security", Name: "Port Security", Description: "Provides port security"},
	{Alias: "project-id", Name: "project_id field enabled", Description: "Extension that indicates that project_id field is enabled."},
	{Alias: "provider", Name: "Provider Network", Description: "Expose mapping of virtual networks to physical networks"},
	{Alias: "quota_details", Name: "Quota details management support", Description: "Expose functions for quotas usage statistics per project"},
	{Alias: "quotas", Name: "Quota management support", Description: "Expose functions for quotas management per project"},
	{Alias: "security-group", Name: "security-group", Description: "The security groups extension."},
	{Alias: "security-groups-normalized-cidr", Name: "Normalized CIDR field for security group rules", Description: "Add new field with normalized cidr calculated from the provided cidr to security group rules"},
	{Alias: "sorting", Name: "Sorting support", Description: "Extension that indicates that sorting is enabled."},
	{Alias: "standard-attr-description", Name: "standard-attr-description", Description: "Extension to add descriptions to standard attributes"},
	{Alias: "standard-attr-revisions", Name: "Resource revision numbers", Description: "This extension will display the revision number of neutron resources."},
	{Alias: "standard-attr-tag", Name: "Tag support for resources with standard attribute: network, port, security_group, subnet", Description: "Enables to set tag on resources with standard attribute."},
	{Alias: "standard-attr-timestamp", Name: "Resource timestamps", Description: "Adds created_at and updated_at fields to all Neutron resources that have Neutron standard attributes."},
	{Alias: "stateful-security-group", Name: "Stateful security group", Description: "Indicates if the security group is stateful or not"},
}

func (e extension) shown() extension {
	e.Updated, e.Links = "2026-01-01T00:00:00-00:00", []string{}
	return e
}

// listExtensions answers GET /extensions.
func (s *Service) listExtensions(w http.ResponseWriter, _ *request) error {
	out := make([]extension, 0, len(extensions))
	for _, e := range extensions {
		out = append(out, e.shown())
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"extensions": out})
}

// showExtension answers GET /extensions/{id}.
func (s *Service) showExtension(w http.ResponseWriter, r *request) error {
	for _, e := range extensions {
		if e.Alias == r.id() {
			return compat.WriteJSON(w, http.StatusOK, map[string]any{"extension": e.shown()})
		}
	}
	return fault(404, "ExtensionNotFound", "Extension with alias %s does not exist", clip(r.id()))
}

// topologyProject is the project that a request about its automatic network means.
func topologyProject(r *request) (string, error) {
	id := r.id()
	if id == "None" || id == "null" {
		id = r.caller.ProjectID
	}
	if id != r.caller.ProjectID && !everything(r.caller) {
		return "", forbidden("rule:get_auto_allocated_topology")
	}
	return id, nil
}

// showTopology answers GET /auto-allocated-topology/{id}: the network that servers get when
// they ask for "auto". It exists from the start, so nothing needs to be made.
func (s *Service) showTopology(w http.ResponseWriter, r *request) error {
	project, err := topologyProject(r)
	if err != nil {
		return err
	}
	nets, err := s.available(r.Context(), project)
	if err != nil {
		return fmt.Errorf("find a network: %w", err)
	}
	if len(nets) == 0 {
		return fault(409, "AutoAllocationFailure", "Deployment error: No usable network for project %s.", clip(project))
	}
	id := nets[0].ID
	if slices.Contains(r.URL.Query()["fields"], "dry-run") {
		id = "dry-run=pass"
	}
	return compat.WriteJSON(w, http.StatusOK, map[string]any{"auto_allocated_topology": map[string]string{
		"id": id, "tenant_id": project, "project_id": project}})
}

// deleteTopology answers DELETE /auto-allocated-topology/{id}: nothing was made, so there is
// nothing to take away.
func (s *Service) deleteTopology(_ http.ResponseWriter, r *request) error {
	project, err := topologyProject(r)
	if err != nil {
		return err
	}
	return fault(404, "AutoAllocatedTopologyNotFound", "No auto-allocated topology found for project %s.", clip(project))
}
