package servers

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"kilonova/compat"
	"kilonova/flavors"
	"kilonova/hosts"
	"kilonova/images"
	"kilonova/networks"
	"kilonova/scheduler"
	"kilonova/servers/lifecycle"
	"kilonova/work"
)

// createBody is POST /servers, over all microversions: the schema of the request's version
// has already refused what that version does not know.
type createBody struct {
	Server createServer `json:"server"`
	Hints  hints        `json:"os:scheduler_hints"`
	Hints2 hints        `json:"OS-SCH-HNT:scheduler_hints"`
}

type createServer struct {
	Name             string            `json:"name"`
	FlavorRef        reference         `json:"flavorRef"`
	ImageRef         *string           `json:"imageRef"`
	Networks         json.RawMessage   `json:"networks"`
	SecurityGroups   []namedGroup      `json:"security_groups"`
	KeyName          *string           `json:"key_name"`
	Metadata         map[string]string `json:"metadata"`
	UserData         *string           `json:"user_data"`
	Personality      []work.File       `json:"personality"`
	ConfigDrive      *compat.Bool      `json:"config_drive"`
	AdminPass        string            `json:"adminPass"`
	AccessIPv4       string            `json:"accessIPv4"`
	AccessIPv6       string            `json:"accessIPv6"`
	DiskConfig       string            `json:"OS-DCF:diskConfig"`
	AvailabilityZone *string           `json:"availability_zone"`
	Host             string            `json:"host"`
	Node             string            `json:"hypervisor_hostname"`
	MinCount         *compat.Int       `json:"min_count"`
	MaxCount         *compat.Int       `json:"max_count"`
	ReturnResID      *compat.Bool      `json:"return_reservation_id"`
	Description      *string           `json:"description"`
	Tags             []string          `json:"tags"`
	TrustedCerts     []string          `json:"trusted_image_certificates"`
	Hostname         string            `json:"hostname"`
	BDMv2            []blockDevice     `json:"block_device_mapping_v2"`
	BDMv1            []json.RawMessage `json:"block_device_mapping"`
}

// namedGroup is a security group in a request, which need not name any, and in its answer.
type namedGroup struct {
	Name string `json:"name,omitempty"`
}

// reference is an id, a number, or a URL whose last element is the id.
type reference string

// UnmarshalJSON takes a string or a number.
func (f *reference) UnmarshalJSON(raw []byte) error {
	var text string
	err := json.Unmarshal(raw, &text)
	if err != nil {
		var n json.Number
		err = json.Unmarshal(raw, &n)
		text = n.String()
	}
	if at := strings.LastIndex(text, "/"); at >= 0 {
		text = text[at+1:]
	}
	*f = reference(text)
	return err
}

// plan is a create request whose every part has been looked up and found good.
type plan struct {
	body      *createServer
	hints     hints
	caller    *compat.Caller
	flavor    *flavors.Flavor
	image     *bootImage
	key       *work.Key
	nets      *networks.Plan
	groups    []string
	spec      scheduler.Spec
	same      []string // servers of the hint same_host
	different []string // and of different_host
	min, max  int
	userFiles []work.File
	ephemeral int // GiB, from block devices; -1: the flavor's
	swap      int // MiB, likewise
	adminPass string
}

const (
	ruleForcedHost = "os_compute_api:servers:create:forced_host"
	ruleDest       = "compute:servers:create:requested_destination"
	ruleZeroDisk   = "os_compute_api:servers:create:zero_disk_flavor"
	ruleNetwork    = "os_compute_api:servers:create:attach_network"
	ruleTrusted    = "os_compute_api:servers:create:trusted_certs"
)

// takesDescription is where clients give descriptions; before, a server's is its name.
var takesDescription = compat.Range{Min: 19, Max: compat.MaxVersion}

// create answers POST /servers with 202: the servers exist, in BUILD, or in ERROR where no
// host has room.
func (s *Service) create(w http.ResponseWriter, r *compat.Request) error {
	var body createBody
	err := r.Decode(&body)
	if err != nil {
		return err
	}
	if b := &body.Server; !takesDescription.Has(r.Version) {
		b.Description = &b.Name
	}
	p, err := s.plan(r, &body)
	if err != nil {
		return err
	}
	first, err := s.Life.Launch(r.Context(), p.launch())
	if err != nil {
		return err
	}
	if p.body.ReturnResID != nil && bool(*p.body.ReturnResID) {
		return r.Answer(w, map[string]string{"reservation_id": first.ReservationID})
	}
	w.Header().Set("Location", r.SelfURL("/servers/"+first.UUID))
	return r.Answer(w, map[string]any{"server": createdView(r, first, p)})
}

// created is the answer of create: what a client needs before it asks again.
type created struct {
	ID             string        `json:"id"`
	Links          []compat.Link `json:"links"`
	DiskConfig     string        `json:"OS-DCF:diskConfig"`
	SecurityGroups []namedGroup  `json:"security_groups"`
	AdminPass      string        `json:"adminPass"`
}

func createdView(r *compat.Request, v *lifecycle.Server, p *plan) created {
	groups := p.body.SecurityGroups
	if groups == nil { // others are answered as they were sent
		groups = []namedGroup{{"default"}}
	}
	return created{v.UUID, r.Links("/servers/" + v.UUID), v.DiskConfig, groups, p.adminPass}
}

// plan checks a create request, in Nova's order where clients can tell, and reads all that
// it refers to. It changes nothing.
func (s *Service) plan(r *compat.Request, body *createBody) (*plan, error) {
	b := &body.Server
	p := &plan{body: b, caller: r.Caller, ephemeral: -1, swap: -1, hints: body.Hints.or(body.Hints2)}
	p.adminPass = cmp.Or(b.AdminPass, lifecycle.NewPassword())
	checks := []func(*compat.Request, *plan) error{
		s.planCounts, s.planPlacement, s.planFlavor, s.planImage, s.planDevices, s.planSizes,
		s.planKey, s.planFiles, s.planHints, s.planNetworks,
	}
	for _, check := range checks {
		err := check(r, p)
		if err != nil {
			return nil, err
		}
	}
	return p, nil
}

func (s *Service) planCounts(r *compat.Request, p *plan) error {
	p.min, p.max = 1, 1
	if p.body.MinCount != nil {
		p.min = int(*p.body.MinCount)
		p.max = p.min
	}
	if p.body.MaxCount != nil {
		p.max = int(*p.body.MaxCount)
	}
	if p.body.MinCount == nil && p.body.MaxCount != nil {
		p.min = 1
	}
	if p.min > p.max {
		return compat.BadRequest("min_count must be <= max_count")
	}
	if p.max > 1 && p.body.Hostname != "" {
		return compat.BadRequest("Hostname cannot be specified when creating multiple servers")
	}
	limit, err := s.Quotas.Limit(r.Context(), r.Caller.ProjectID, r.Caller.UserID, "metadata_items")
	if err != nil {
		return err
	}
	if limit >= 0 && len(p.body.Metadata) > limit {
		return compat.Forbidden("Maximum number of metadata items exceeds %d", limit)
	}
	if p.body.TrustedCerts != nil {
		return r.Require(ruleTrusted)
	}
	return nil
}

// planPlacement reads availability_zone in its forms zone, zone:host, zone:host:node and
// zone::node, and host and hypervisor_hostname of 2.74.
func (s *Service) planPlacement(r *compat.Request, p *plan) error {
	b := p.body
	zone := ""
	if b.AvailabilityZone != nil {
		zone = *b.AvailabilityZone
	}
	parts := strings.Split(zone, ":")
	if len(parts) > 3 {
		return compat.BadRequest("Unable to parse availability_zone")
	}
	p.spec.Zone = parts[0]
	if len(parts) > 1 {
		err := r.Require(ruleForcedHost)
		if err != nil {
			return err
		}
		p.spec.Host = parts[1]
		if len(parts) == 3 {
			p.spec.Node = parts[2]
		}
		p.spec.Forced = p.spec.Host != "" || p.spec.Node != ""
	}
	if b.Host != "" || b.Node != "" {
		err := r.Require(ruleDest)
		if err != nil {
			return err
		}
		if p.spec.Forced {
			return compat.BadRequest("A server cannot be forced to a host by availability_zone and requested on one by host at the same time.")
		}
		p.spec.Host, p.spec.Node = b.Host, b.Node
	}
	return s.checkPlacement(r.Context(), p)
}

func (s *Service) checkPlacement(ctx context.Context, p *plan) error {
	if p.spec.Zone == "" && p.spec.Host == "" && p.spec.Node == "" {
		return nil
	}
	all, err := s.Hosts.Snapshot(ctx)
	if err != nil {
		return err
	}
	has := func(match func(*hosts.Host) bool) bool {
		return slices.ContainsFunc(all, func(h hosts.Host) bool { return match(&h) })
	}
	if p.spec.Zone != "" && !has(func(h *hosts.Host) bool { return h.Zone == p.spec.Zone }) {
		return compat.BadRequest("The requested availability zone is not available")
	}
	if p.spec.Host != "" && !has(func(h *hosts.Host) bool { return h.Name == p.spec.Host }) {
		return compat.BadRequest("Compute host %s could not be found.", p.spec.Host)
	}
	if p.spec.Node != "" && !has(func(h *hosts.Host) bool { return h.Node == p.spec.Node }) {
		return compat.BadRequest("Compute host %s could not be found.", p.spec.Node)
	}
	return nil
}

func (s *Service) planFlavor(r *compat.Request, p *plan) error {
	f, err := s.Flavors.Get(r.Context(), r.Caller, string(p.body.FlavorRef))
	if compat.IsNotFound(err) || err == nil && f.Disabled {
		return compat.BadRequest("Flavor %s could not be found.", p.body.FlavorRef)
	}
	p.flavor = f
	return err
}

func (s *Service) planImage(r *compat.Request, p *plan) error {
	ref := ""
	if p.body.ImageRef != nil {
		ref = *p.body.ImageRef
	}
	if ref == "" {
		// A block device may name the image instead; planDevices finds it.
		return nil
	}
	return s.useImage(r, p, ref)
}

func (s *Service) useImage(r *compat.Request, p *plan, id string) error {
	img, err := s.bootImage(r, id, "Can not find requested image")
	if err != nil {
		return err
	}
	p.image = img
	return nil
}

// bootImage is an image that a server can boot from, with what its host gets of it.
type bootImage struct {
	*images.Image
	guest work.Image
}

// bootImage finds an image that is to become a disk; missing is what clients are told of
// one that they do not see.
func (s *Service) bootImage(r *compat.Request, id, missing string) (*bootImage, error) {
	img, err := s.Images.Get(r.Context(), r.Caller, id)
	if compat.IsNotFound(err) {
		return nil, compat.BadRequest("%s", missing)
	}
	if err != nil {
		return nil, err
	}
	guest, err := img.Guest()
	if err != nil {
		return nil, err
	}
	return &bootImage{img, guest}, nil
}

// fits holds the image against the memory and the root disk of a flavor; a root disk of 0
// is as large as the image.
func (i *bootImage) fits(memoryMB, rootGB int) error {
	if memoryMB < int(i.MinRAM) {
		return compat.BadRequest("Flavor's memory is too small for requested image.")
	}
	if rootGB == 0 {
		return nil
	}
	disk := int64(rootGB) * gib
	if least := i.MinDisk * gib; least > disk {
		return compat.BadRequest("Flavor's disk is smaller than the minimum size specified in image metadata. Flavor disk is %d bytes, minimum size is %d bytes.", disk, least)
	}
	if size := max(i.guest.Size, i.guest.VirtualSize); size > disk {
		return compat.BadRequest("Flavor's disk is too small for requested image. Flavor disk is %d bytes, image is %d bytes.", disk, size)
	}
	return nil
}

const gib = 1 << 30

// planSizes holds the image and the devices against the flavor.
func (s *Service) planSizes(r *compat.Request, p *plan) error {
	f, img := p.flavor, p.image
	err := img.fits(f.MemoryMB, f.RootGB)
	if err != nil {
		return err
	}
	if f.RootGB == 0 && r.Require(ruleZeroDisk) != nil {
		return compat.Forbidden("Only volume-backed servers are allowed for flavors with zero disk.")
	}
	if p.ephemeral > f.EphemeralGB {
		return compat.BadRequest("Block Device Mapping is Invalid: Ephemeral disks requested are larger than the instance type allows. If no size is given in one block device mapping, flavor ephemeral size will be used.")
	}
	if p.swap > f.SwapMB {
		return compat.BadRequest("Block Device Mapping is Invalid: Swap drive requested is larger than instance type allows.")
	}
	return lifecycle.CheckImageProperties(p.flavor.Work(), img.Image)
}

func (s *Service) planKey(r *compat.Request, p *plan) error {
	if p.body.KeyName == nil {
		return nil
	}
	var err error
	p.key, err = s.key(r, r.Caller.UserID, *p.body.KeyName)
	return err
}

// key is a user's key pair as a guest gets it.
func (s *Service) key(r *compat.Request, user, name string) (*work.Key, error) {
	k, err := s.Keypairs.Get(r.Context(), user, name)
	if compat.IsNotFound(err) {
		return nil, compat.BadRequest("Invalid key_name provided.")
	}
	if err != nil {
		return nil, err
	}
	return &work.Key{Name: k.Name, Type: k.Type, PublicKey: k.PublicKey}, nil
}

// planFiles holds user data and personality files against their limits.
func (s *Service) planFiles(r *compat.Request, p *plan) error {
	if p.body.UserData != nil {
		_, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(*p.body.UserData), ""))
		if err != nil {
			return compat.BadRequest("Userdata content cannot be decoded")
		}
	}
	p.userFiles = p.body.Personality
	return s.checkFiles(r, p.userFiles)
}

func (s *Service) checkFiles(r *compat.Request, files []work.File) error {
	if len(files) == 0 {
		return nil
	}
	limit := func(resource string) (int, error) {
		return s.Quotas.Limit(r.Context(), r.Caller.ProjectID, r.Caller.UserID, resource)
	}
	count, err := limit("injected_files")
	if err != nil {
		return err
	}
	paths, err := limit("injected_file_path_bytes")
	if err != nil {
		return err
	}
	bytes, err := limit("injected_file_content_bytes")
	if err != nil {
		return err
	}
	if count >= 0 && len(files) > count {
		return compat.Forbidden("Personality file limit exceeded")
	}
	for _, f := range files {
		content, err := base64.StdEncoding.DecodeString(f.Contents)
		if err != nil {
			return compat.BadRequest("Personality content for %s cannot be decoded", f.Path)
		}
		if paths >= 0 && len(f.Path) > paths {
			return compat.Forbidden("Personality file path exceeds maximum length")
		}
		if bytes >= 0 && len(content) > bytes {
			return compat.Forbidden("Personality file content exceeds maximum length")
		}
	}
	return nil
}

func (s *Service) planNetworks(r *compat.Request, p *plan) error {
	req, err := requested(p.body.Networks)
	if err != nil {
		return err
	}
	if req.Mode != "none" && p.body.Networks != nil {
		err := r.Require(ruleNetwork)
		if err != nil {
			return err
		}
	}
	for _, g := range p.body.SecurityGroups {
		if g.Name != "" && !slices.Contains(p.groups, g.Name) {
			p.groups = append(p.groups, g.Name)
		}
	}
	p.nets, err = s.Networks.Plan(r.Context(), r.Caller, req, p.groups, p.max)
	if err != nil {
		return err
	}
	if p.nets.Fits() < p.min {
		return compat.Forbidden("Maximum number of ports exceeded")
	}
	p.max = min(p.max, p.nets.Fits())
	return nil
}

// requested reads the networks field in all its forms.
func requested(raw json.RawMessage) (networks.Requested, error) {
	if len(raw) == 0 || string(raw) == "null" {
		return networks.Requested{Mode: "default"}, nil
	}
	var word string
	if json.Unmarshal(raw, &word) == nil {
		return networks.Requested{Mode: word}, nil
	}
	var list []struct {
		UUID    *string `json:"uuid"`
		Port    *string `json:"port"`
		FixedIP *string `json:"fixed_ip"`
		Tag     string  `json:"tag"`
	}
	err := json.Unmarshal(raw, &list)
	if err != nil {
		return networks.Requested{}, compat.BadRequest("Bad networks format")
	}
	if len(list) == 0 {
		return networks.Requested{Mode: "default"}, nil
	}
	out := networks.Requested{Mode: "list"}
	for _, n := range list {
		one := networks.RequestedNet{Tag: n.Tag}
		switch {
		case n.Port != nil && *n.Port != "":
			one.PortID = *n.Port
		case n.UUID != nil:
			one.NetworkID = *n.UUID
		default:
			return networks.Requested{}, compat.BadRequest("Bad network format: missing 'uuid'")
		}
		if n.FixedIP != nil {
			one.FixedIP = *n.FixedIP
		}
		out.Nets = append(out.Nets, one)
	}
	return out, nil
}

// launch is the request for the life cycle to carry out.
func (p *plan) launch() *lifecycle.Launch {
	return &lifecycle.Launch{Caller: p.caller, Template: p.template(), Nets: p.nets, Spec: p.spec, Same: p.same, Different: p.different,
		Min: p.min, Max: p.max, Tags: p.body.Tags, AdminPass: p.adminPass}
}

// template is what of the row all servers of a request share.
func (p *plan) template() *lifecycle.Server {
	b, f := p.body, p.flavor.Work()
	if p.ephemeral >= 0 {
		f.EphemeralGB = p.ephemeral
	}
	if p.swap >= 0 {
		f.SwapMB = p.swap
	}
	v := &lifecycle.Server{
		ProjectID: p.caller.ProjectID, UserID: p.caller.UserID, Name: b.Name, Hostname: b.Hostname, Description: b.Description,
		FlavorID: f.ID, FlavorName: f.Name, VCPUs: f.VCPUs, MemoryMB: f.MemoryMB, RootGB: f.RootGB,
		EphemeralGB: f.EphemeralGB, SwapMB: f.SwapMB, ExtraSpecs: lifecycle.Encode(lifecycle.OrEmpty(f.ExtraSpecs)),
		ImageID: p.image.ID, ImageMeta: lifecycle.Encode(p.image.guest), Metadata: lifecycle.Encode(lifecycle.OrEmpty(b.Metadata)),
		KeyName: b.KeyName, UserData: b.UserData, ConfigDrive: b.ConfigDrive != nil && bool(*b.ConfigDrive) || lifecycle.WantsConfigDrive(p.image.Properties),
		AccessIPv4: canonical(b.AccessIPv4), AccessIPv6: canonical(b.AccessIPv6), DiskConfig: diskConfig(b.DiskConfig, p.image.Properties),
		SchedulerHints: lifecycle.Encode(p.hints.raw()),
	}
	if p.spec.Zone != "" {
		v.RequestedZone, v.PinnedZone = &p.spec.Zone, &p.spec.Zone
	}
	if p.key != nil {
		v.KeyData = lifecycle.EncodePtr(p.key)
	}
	if len(p.userFiles) > 0 {
		v.Files = lifecycle.EncodePtr(p.userFiles)
	}
	if b.TrustedCerts != nil {
		v.TrustedCerts = lifecycle.EncodePtr(b.TrustedCerts)
	}
	groups := p.groups
	if len(groups) == 0 {
		groups = []string{"default"}
	}
	v.SecurityGroups = lifecycle.Encode(groups)
	return v
}

// canonicalPtr is canonical of an address that may not have been sent.
func canonicalPtr(address *string) *string {
	if address == nil {
		return nil
	}
	a := canonical(*address)
	return &a
}

// canonical writes an address in its shortest form, as Nova does.
func canonical(address string) string {
	a, err := netip.ParseAddr(address)
	if err != nil {
		return address
	}
	return a.String()
}

// diskConfig is AUTO or MANUAL: as asked, else as the image says, else MANUAL.
func diskConfig(asked string, properties map[string]string) string {
	if asked != "" {
		return asked
	}
	auto := cmp.Or(properties["hw_auto_disk_config"], properties["auto_disk_config"])
	if slices.Contains([]string{"true", "1", "yes", "on", "t", "y"}, strings.ToLower(auto)) {
		return "AUTO"
	}
	return "MANUAL"
}
