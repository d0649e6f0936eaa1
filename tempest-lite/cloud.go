package tempestlite

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/config/clouds"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/roles"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/tokens"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/users"
)

// Config says which cloud, and what may be done to it.
type Config struct {
	Cloud      string        // of clouds.yaml; empty takes OS_CLOUD, then the OS_ variables
	ComputeURL string        // instead of the catalogue's, up to and with /v2.1
	Image      string        // boot from this image (name or id) instead of an empty one of our own
	Network    string        // plug servers into this network (name or id) instead of one of our own
	Policy     string        // "auto", "new" (reader and member are enforced) or "legacy"
	Disturb    bool          // compute services may be disabled and forced down
	Keep       bool          // leave what was made
	Timeout    time.Duration // for each piece of work of the cloud, such as a server's start
	Made       *Ledger       // takes down what the run makes; nil if nobody else wants to look
}

// account is a user with a token scoped to a project.
type account struct {
	provider  *gophercloud.ProviderClient
	token     string
	userID    string
	projectID string
}

// Cloud is the cloud under test, with the accounts of this run.
type Cloud struct {
	cfg        Config
	contract   *Contract
	http       *http.Client
	transport  *http.Transport
	computeURL string // without a slash at its end, and without a project id
	endpoints  gophercloud.EndpointOpts
	Prefix     string  // of every name that this run gives
	Max        Version // the highest microversion that both the cloud and the contract have
	CloudMax   string  // what the cloud says of itself
	legacy     bool    // old default policies are in force
	accounts   map[Role]*account
	caller     *account                   // whose credentials the program was given
	bounded    bool                       // quotas are in force that the run could not raise
	makeRoom   func(context.Context) bool // gives a server of the run back to its quota, or waits until another does; false if that leads nowhere
	missing    map[Role]string            // why an account is not there
	refused    map[string]bool            // operations that make what many checks need, and are answered with 501
	ledger     *Ledger
	usual      usualTimes
}

// errSetup marks what keeps the program from running at all: exit status 2.
var errSetup = errors.New("the checks cannot run")

// Connect logs in, looks at what the cloud offers, and makes the accounts of the run.
// Close takes them away again, also after an error of Connect.
func Connect(ctx context.Context, contract *Contract, cfg Config) (*Cloud, error) {
	c := &Cloud{cfg: cfg, contract: contract, accounts: map[Role]*account{}, missing: map[Role]string{}, Prefix: "tempest-lite-" + random(3), ledger: cfg.Made}
	if c.ledger == nil {
		c.ledger = &Ledger{}
	}
	steps := []struct {
		what string
		do   func(context.Context) error
	}{
		{"logging in", c.login},
		{"asking for the versions of the Compute API", c.discover},
		{"making the accounts of the run", c.makeAccounts},
		{"looking which policies are in force", c.probePolicy},
		{"asking for what many checks need", c.probeRefusals},
		{"raising the quotas of the run's projects", c.raiseQuotas},
	}
	for _, s := range steps {
		err := s.do(ctx)
		if err != nil {
			return c, fmt.Errorf("%w: %s: %w", errSetup, s.what, err)
		}
	}
	return c, nil
}

func random(bytes int) string {
	b := make([]byte, bytes)
	_, _ = rand.Read(b) // it never fails
	return hex.EncodeToString(b)
}

func (c *Cloud) login(ctx context.Context) error {
	var auth gophercloud.AuthOptions
	var tlsConfig *tls.Config
	var err error
	if c.cfg.Cloud != "" || os.Getenv("OS_CLOUD") != "" {
		opts := []clouds.ParseOption{}
		if c.cfg.Cloud != "" {
			opts = append(opts, clouds.WithCloudName(c.cfg.Cloud))
		}
		auth, c.endpoints, tlsConfig, err = clouds.Parse(opts...)
	} else {
		auth, tlsConfig, err = fromEnvironment()
		c.endpoints = gophercloud.EndpointOpts{Region: os.Getenv("OS_REGION_NAME")}
	}
	if err != nil {
		return err
	}
	c.transport = http.DefaultTransport.(*http.Transport).Clone()
	c.transport.MaxIdleConnsPerHost = 64
	c.transport.TLSClientConfig = tlsConfig
	c.http = &http.Client{
		Transport: &recorder{next: c.transport, compute: func(u string) bool { return c.computeURL != "" && strings.HasPrefix(u, c.root()) }},
		Timeout:   5 * time.Minute,
		// A redirect is an answer to look at.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	err = c.mindConnections(ctx, auth.IdentityEndpoint)
	if err != nil {
		return err
	}
	auth.AllowReauth = true
	admin, err := c.authenticate(ctx, auth)
	if err != nil {
		return err
	}
	c.caller, c.accounts[Admin] = admin, admin
	if c.cfg.ComputeURL != "" {
		c.computeURL = strings.TrimSuffix(c.cfg.ComputeURL, "/")
		return nil
	}
	client, err := openstack.NewComputeV2(admin.provider, c.endpoints)
	if err != nil {
		return fmt.Errorf("finding the compute service in the catalogue: %w", err)
	}
	c.computeURL = strings.TrimSuffix(client.Endpoint, "/")
	// Old catalogues have the project's id at the end; it is optional, and one URL serves all accounts.
	if rest, ok := strings.CutSuffix(c.computeURL, "/"+admin.projectID); ok {
		c.computeURL = rest
	}
	return nil
}

func (c *Cloud) authenticate(ctx context.Context, auth gophercloud.AuthOptions) (*account, error) {
	provider, err := openstack.NewClient(auth.IdentityEndpoint)
	if err != nil {
		return nil, err
	}
	provider.HTTPClient = *c.http
	provider.UserAgent.Prepend("tempest-lite")
	err = openstack.Authenticate(ctx, provider, auth)
	if err != nil {
		return nil, err
	}
	a := &account{provider: provider, token: provider.Token()}
	result, ok := provider.GetAuthResult().(tokens.CreateResult)
	if !ok {
		return nil, errors.New("the identity service is not of version 3")
	}
	user, err := result.ExtractUser()
	if err != nil {
		return nil, err
	}
	project, err := result.ExtractProject()
	if err != nil {
		return nil, err
	}
	if project == nil {
		return nil, errors.New("the credentials name no project")
	}
	a.userID, a.projectID = user.ID, project.ID
	return a, nil
}

func (c *Cloud) discover(ctx context.Context) error {
	err := c.mindConnections(ctx, c.computeURL+"/")
	if err != nil {
		return err
	}
	resp, err := c.send(ctx, request{as: Anonymous, method: "GET", path: "/"})
	if err != nil {
		return err
	}
	c.CloudMax = resp.Str("version", "version")
	if c.CloudMax == "" {
		return fmt.Errorf("%s/ answers %d and names no microversion", c.computeURL, resp.Status)
	}
	c.Max, err = ParseVersion(c.CloudMax)
	if err != nil {
		return err
	}
	c.Max = min(c.Max, Last)
	return nil
}

// root is the compute endpoint without its version: where the version list is.
func (c *Cloud) root() string { return c.computeURL[:strings.LastIndex(c.computeURL, "/")] }

func (c *Cloud) short(u string) string { return strings.TrimPrefix(u, c.computeURL) }

func (c *Cloud) token(as Role) string {
	if as == Forged {
		return "gAAAAABnobody-issued-this-token"
	}
	if a := c.accounts[as]; a != nil {
		return a.token
	}
	return ""
}

// lacks says why there is no such account, or "".
func (c *Cloud) lacks(as Role) string {
	if as == Anonymous || as == Forged || c.accounts[as] != nil {
		return ""
	}
	if why := c.missing[as]; why != "" {
		return why
	}
	return "there is no account " + string(as)
}

// ProjectID is the project of a role's account. A caller that may only read stands for the member.
func (c *Cloud) ProjectID(as Role) string {
	if as == Member {
		as = c.looker()
	}
	if a := c.accounts[as]; a != nil {
		return a.projectID
	}
	return ""
}

// UserID is the id of the user that a role's account is.
func (c *Cloud) UserID(as Role) string {
	if as == Member {
		as = c.looker()
	}
	if a := c.accounts[as]; a != nil {
		return a.userID
	}
	return ""
}

func (c *Cloud) compute(as Role, v Version) (*gophercloud.ServiceClient, error) {
	if why := c.lacks(as); why != "" {
		return nil, lackError(why)
	}
	return &gophercloud.ServiceClient{
		ProviderClient: c.accounts[as].provider,
		Endpoint:       c.computeURL + "/",
		Type:           "compute",
		Microversion:   v.String(),
	}, nil
}

// accountRoles are the accounts to make: in which project, and with which of the cloud's
// roles; "" is a role of our own that no policy names.
var accountRoles = []struct {
	as      Role
	role    string
	project Role // whose project: Member's or Other's
}{
	{Member, "member", Member},
	{Reader, "reader", Member},
	{Nobody, "", Member},
	{Manager, "manager", Member},
	{Service, "service", Member},
	{Other, "member", Other},
}

// makeAccounts makes two projects and a user for each role. Without an administrator's
// credentials the checks run as the caller, and those that need others are skipped.
func (c *Cloud) makeAccounts(ctx context.Context) error {
	admin := c.accounts[Admin]
	id, err := openstack.NewIdentityV3(admin.provider, c.endpoints)
	if err != nil {
		return err
	}
	domain, err := c.domain(admin)
	if err != nil {
		return err
	}
	made := map[Role]string{}
	for _, as := range []Role{Member, Other} {
		p, err := projects.Create(ctx, id, projects.CreateOpts{Name: c.Prefix + "-" + string(as), DomainID: domain, Description: "made by tempest-lite, removed at its end"}).Extract()
		if gophercloud.ResponseCodeIs(err, http.StatusForbidden) {
			return c.aloneAs(ctx)
		}
		if err != nil {
			return fmt.Errorf("making a project: %w", err)
		}
		c.ledger.add("project "+p.Name, func(ctx context.Context) error { return projects.Delete(ctx, id, p.ID).ExtractErr() })
		made[as] = p.ID
	}
	known, err := c.roles(ctx, id)
	if err != nil {
		return err
	}
	for _, a := range accountRoles {
		roleID := known[a.role]
		if a.role == "" {
			r, err := roles.Create(ctx, id, roles.CreateOpts{Name: c.Prefix}).Extract()
			if err != nil {
				return fmt.Errorf("making a role: %w", err)
			}
			c.ledger.add("role "+r.Name, func(ctx context.Context) error { return roles.Delete(ctx, id, r.ID).ExtractErr() })
			roleID = r.ID
		}
		if roleID == "" {
			c.missing[a.as] = "the cloud has no role " + a.role
			continue
		}
		err = c.makeAccount(ctx, id, a.as, made[a.project], roleID, domain)
		if err != nil {
			return fmt.Errorf("making the account %s: %w", a.as, err)
		}
	}
	if c.accounts[Member] == nil {
		return errors.New("the cloud has no role member")
	}
	return nil
}

// aloneAs makes the caller the only account of the run: as a member, or as a reader where
// the cloud keeps readers from making servers.
func (c *Cloud) aloneAs(ctx context.Context) error {
	delete(c.accounts, Admin)
	c.accounts[Member] = c.caller
	for _, as := range []Role{Admin, Reader, Nobody, Manager, Service, Other} {
		c.missing[as] = "these credentials may not make projects and users"
	}
	// No flavor has this id, so nothing comes of it: either the caller may not, or is told so.
	const none = "11111111-2222-4333-8444-555555555555"
	resp, err := c.send(ctx, request{as: Member, version: First, method: "POST", path: "/servers", body: map[string]any{
		"server": map[string]any{"name": c.Prefix, "imageRef": none, "flavorRef": none},
	}})
	if err != nil {
		return err
	}
	if resp.Status == http.StatusForbidden {
		c.accounts[Reader] = c.caller
		delete(c.accounts, Member)
		c.missing[Member] = "these credentials may only read"
	}
	return nil
}

func (c *Cloud) domain(a *account) (string, error) {
	result, ok := a.provider.GetAuthResult().(tokens.CreateResult)
	if !ok {
		return "", errors.New("the identity service is not of version 3")
	}
	project, err := result.ExtractProject()
	if err != nil {
		return "", err
	}
	return project.Domain.ID, nil
}

func (c *Cloud) roles(ctx context.Context, id *gophercloud.ServiceClient) (map[string]string, error) {
	page, err := roles.List(id, roles.ListOpts{}).AllPages(ctx)
	if err != nil {
		return nil, fmt.Errorf("listing the roles: %w", err)
	}
	all, err := roles.ExtractRoles(page)
	if err != nil {
		return nil, fmt.Errorf("listing the roles: %w", err)
	}
	out := map[string]string{}
	for _, r := range all {
		out[strings.ToLower(r.Name)] = r.ID
	}
	return out, nil
}

func (c *Cloud) makeAccount(ctx context.Context, id *gophercloud.ServiceClient, as Role, project, role, domain string) error {
	password := random(16)
	u, err := users.Create(ctx, id, users.CreateOpts{Name: c.Prefix + "-" + string(as), Password: password, DomainID: domain, DefaultProjectID: project}).Extract()
	if err != nil {
		return err
	}
	c.ledger.add("user "+u.Name, func(ctx context.Context) error { return users.Delete(ctx, id, u.ID).ExtractErr() })
	err = roles.Assign(ctx, id, role, roles.AssignOpts{UserID: u.ID, ProjectID: project}).ExtractErr()
	if err != nil {
		return err
	}
	c.accounts[as], err = c.authenticate(ctx, gophercloud.AuthOptions{
		IdentityEndpoint: c.accounts[Admin].provider.IdentityEndpoint, UserID: u.ID, Password: password, TenantID: project, AllowReauth: true,
	})
	return err
}

// probePolicy asks as a user whose role no policy names: where the old defaults are in
// force, any role of a project may do what its members may.
func (c *Cloud) probePolicy(ctx context.Context) error {
	switch c.cfg.Policy {
	case "new":
		return nil
	case "legacy":
		c.legacy = true
		return nil
	}
	if c.lacks(Nobody) != "" {
		return nil
	}
	resp, err := c.send(ctx, request{as: Nobody, version: First, method: "GET", path: "/servers"})
	if err != nil {
		return err
	}
	c.legacy = resp.Status == http.StatusOK
	return nil
}

// probeRefusals asks for the operations that other checks build on, by their lists, which
// change nothing.
func (c *Cloud) probeRefusals(ctx context.Context) error {
	c.refused = map[string]bool{}
	if c.lacks(Admin) != "" {
		return nil
	}
	for name, path := range map[string]string{
		"aggregates.create":    "/os-aggregates",
		"server_groups.create": "/os-server-groups",
		"services.list":        "/os-services",
		"hypervisors.list":     "/os-hypervisors",
	} {
		resp, err := c.send(ctx, request{as: Admin, version: First, method: "GET", path: path})
		if err != nil {
			return err
		}
		c.refused[name] = resp.Status == http.StatusNotImplemented
	}
	return nil
}

// raiseQuotas lifts the limits of the run's own projects: what many checks beside each
// other use says nothing about quotas, which have checks of their own. A cloud whose quotas
// cannot be set keeps them, and the checks that hit them say so.
func (c *Cloud) raiseQuotas(ctx context.Context) error {
	if c.lacks(Admin) != "" {
		c.bounded = true
		return nil
	}
	const none = -1
	quotas := map[string]any{"instances": none, "cores": none, "ram": none, "key_pairs": none, "server_groups": none, "server_group_members": none}
	for _, as := range []Role{Member, Other} {
		resp, err := c.send(ctx, request{as: Admin, version: First, method: "PUT", path: "/os-quota-sets/" + c.ProjectID(as), body: map[string]any{"quota_set": quotas}})
		if err != nil {
			return err
		}
		c.bounded = c.bounded || resp.Status != http.StatusOK
	}
	return nil
}

// Policies says in words which default policies are in force.
func (c *Cloud) Policies() string {
	if c.lacks(Nobody) != "" && c.lacks(Reader) != "" && c.cfg.Policy != "new" && c.cfg.Policy != "legacy" {
		return "not looked at, since these credentials may not make users"
	}
	if c.legacy {
		return "old defaults (the roles reader and member are not told apart)"
	}
	return "reader, member and manager enforced"
}

// ComputeURL is the compute endpoint that is asked.
func (c *Cloud) ComputeURL() string { return c.computeURL }

// catalogued tells whether the catalogue has a service of one of these types.
func (c *Cloud) catalogued(types ...string) bool {
	result, ok := c.caller.provider.GetAuthResult().(tokens.CreateResult)
	if !ok {
		return false
	}
	catalog, err := result.ExtractServiceCatalog()
	if err != nil {
		return false
	}
	return slices.ContainsFunc(catalog.Entries, func(e tokens.CatalogEntry) bool { return slices.Contains(types, e.Type) && len(e.Endpoints) > 0 })
}

// lack says why the cloud has not what a check needs, or "".
func (c *Cloud) lack(ctx context.Context, n Need) string {
	switch n {
	case NeedAdmin:
		return c.lacks(Admin)
	case NeedNewPolicy:
		if c.legacy {
			return "the cloud has Nova's old default policies in force, under which every role of a project may do what its members may"
		}
		if c.lacks(Member) != "" {
			return "" // the caller is a reader that may not make servers: they are enforced
		}
		return c.lacks(Nobody)
	case NeedManager:
		return c.lacks(Manager)
	case NeedService:
		return c.lacks(Service)
	case NeedVolumes:
		return lackOf(c.catalogued("volumev3", "block-storage", "volume"), "the cloud's catalogue has no volume service")
	case NeedNetworks:
		return lackOf(c.catalogued("network"), "the cloud's catalogue has no network service")
	case NeedImages:
		return lackOf(c.catalogued("image"), "the cloud's catalogue has no image service")
	case NeedShares:
		return lackOf(c.catalogued("sharev2", "shared-file-system", "share"), "the cloud's catalogue has no share service")
	case NeedTwoHosts:
		hosts, err := c.hosts(ctx)
		if err != nil {
			return err.Error()
		}
		return lackOf(len(hosts) >= 2, fmt.Sprintf("the cloud has %d compute host that is up, and this takes two", len(hosts)))
	case NeedDisturb:
		return lackOf(c.cfg.Disturb, "it disables or forces down compute services, which takes --disturb")
	case NeedFloatingIP:
		return lackOf(c.catalogued("network"), "the cloud's catalogue has no network service")
	}
	return ""
}

func lackOf(has bool, why string) string {
	if has {
		return ""
	}
	return why
}

// hosts are the compute services that are enabled and up.
func (c *Cloud) hosts(ctx context.Context) ([]string, error) {
	if why := c.lacks(Admin); why != "" {
		return nil, lackError(why)
	}
	resp, err := c.call(ctx, Admin, First, "GET", "/os-services?binary=nova-compute", nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	var out []string
	list, _ := resp.Get("services").([]any)
	for _, s := range list {
		if dig(s, "state") == "up" && dig(s, "status") == "enabled" {
			out = append(out, fmt.Sprint(dig(s, "host")))
		}
	}
	slices.Sort(out)
	return out, nil
}
