package tempestlite

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/imagedata"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/networks"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/ports"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/subnets"
)

// fixtures are the things that checks share. Each is made when the first check wants it,
// once, and stands in the cloud's ledger.
type fixtures struct {
	cloud *Cloud

	mu      sync.Mutex
	shared  map[string]*sharedValue
	counter int
	makers  map[string]func(*T) any
	pool    pool
}

type sharedValue struct {
	mu    sync.Mutex
	tries int
	value any
	err   error
}

// triesToShare is how often a shared value is made anew after an answer that may be another
// the next time: one such answer shall not fail all that share the value.
const triesToShare = 3

// settled tells whether what came of the making holds for all checks.
func (s *sharedValue) settled() bool {
	return s.tries > 0 && (s.tries >= triesToShare || !transient(s.err))
}

// transient tells whether an error is the cloud's, and not its last word: no answer, or a 5xx.
func transient(err error) bool {
	var refused refusedError
	var lack lackError
	if err == nil || errors.As(err, &refused) || errors.As(err, &lack) {
		return false
	}
	var answer answerError
	if errors.As(err, &answer) {
		return answer.resp.Status >= 500
	}
	var code gophercloud.ErrUnexpectedResponseCode
	if errors.As(err, &code) {
		return code.Actual >= 500
	}
	var wire net.Error
	var broken brokenError
	return errors.As(err, &wire) || errors.As(err, &broken)
}

func newFixtures(c *Cloud) *fixtures {
	f := &fixtures{cloud: c, shared: map[string]*sharedValue{}, pool: pool{free: map[shelf][]string{}}, makers: valueMakers()}
	c.makeRoom = f.makeRoom
	return f
}

// refusedError carries the cloud's 501 out of the making of a shared thing.
type refusedError struct{ op, why string }

func (e refusedError) Error() string { return "the cloud refuses " + e.op + ": " + e.why }

// brokenError says that the cloud gave no answer, or a 5xx.
type brokenError string

func (e brokenError) Error() string { return string(e) }

// answerError is an answer with another code than is due, in the words of the checks.
type answerError struct {
	resp *Response
	path string
	due  int
}

func (e answerError) Error() string {
	return fmt.Sprintf("%s %s answers %d, not %d: %s", e.resp.Method, e.path, e.resp.Status, e.due, e.resp.Message())
}

// Unwrap gives gophercloud's error for the code.
func (e answerError) Unwrap() error {
	return gophercloud.ErrUnexpectedResponseCode{Method: e.resp.Method, URL: e.resp.URL, Expected: []int{e.due}, Actual: e.resp.Status, Body: e.resp.Body}
}

// lackError says that a thing cannot be made on this cloud, which is no fault of it.
type lackError string

func (e lackError) Error() string { return string(e) }

// once makes a shared value the first time that it is asked for, and again where the cloud
// failed to answer. Where the making ends the
// check instead, ended says why.
func (f *fixtures) once(name string, make func() (any, error), ended func() error) (any, error) {
	f.mu.Lock()
	s := f.shared[name]
	if s == nil {
		s = &sharedValue{}
		f.shared[name] = s
	}
	f.mu.Unlock()
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.settled() {
		return s.value, s.err
	}
	s.tries++
	whole := false
	defer func() {
		if !whole { // nobody after may take the empty value for real
			s.err = ended()
		}
	}()
	s.value, s.err = make()
	whole = true
	return s.value, s.err
}

// Name is a name that nothing else has.
func (t *T) Name() string {
	t.fix.mu.Lock()
	defer t.fix.mu.Unlock()
	t.fix.counter++
	return fmt.Sprintf("%s-%d", t.Cloud.Prefix, t.fix.counter)
}

// share is once for a check: what cannot be made ends it.
func (t *T) share(name string, make func() (any, error)) any {
	v, err := t.fix.once(name, make, t.ended)
	var refused refusedError
	var lack lackError
	switch {
	case errors.As(err, &lack):
		t.Skipf("%s", lack)
	case errors.As(err, &refused):
		t.mu.Lock()
		t.refused, t.refusal = refused.why, refused.op
		t.mu.Unlock()
		runtime.Goexit()
	case err != nil:
		t.Fatalf("making the shared %s: %v", name, err)
	}
	return v
}

// ended is why the check has ended early, as an error for those that wait for what it made.
func (t *T) ended() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.refused != "":
		return refusedError{op: t.refusal, why: t.refused}
	case t.skipped != "":
		return lackError(t.skipped)
	case len(t.faults) > 0:
		last := t.faults[len(t.faults)-1]
		if n := len(t.exchanges); n > 0 && (t.exchanges[n-1].Status == 0 || t.exchanges[n-1].Status >= 500) {
			return brokenError(last)
		}
		return errors.New(last)
	}
	return errors.New("it was broken off")
}

// call makes a request outside of any check, for fixtures, and wants the code.
func (c *Cloud) call(ctx context.Context, as Role, v Version, method, path string, body any, code int) (*Response, error) {
	resp, err := c.send(ctx, request{as: as, version: v, method: method, path: path, body: body})
	if err != nil {
		return nil, err
	}
	if resp.Status == http.StatusNotImplemented {
		data, _ := json.Marshal(body)
		return nil, refusedError{op: c.contract.match(method, path, string(data)), why: resp.Message()}
	}
	if c.exceeds(resp) {
		return nil, lackError(noRoom + resp.Message())
	}
	if resp.Status != code {
		return resp, answerError{resp, path, code}
	}
	return resp, nil
}

// Flavor is the id of a flavor of the run: n is 0 for the least (1 vcpu, 64 MiB, 1 GiB),
// 1 for one with twice the memory. Without an administrator's credentials two flavors of
// the cloud stand for them.
func (t *T) Flavor(n int) string {
	return t.share(fmt.Sprintf("flavor %d", n), func() (any, error) { return t.Cloud.makeFlavor(context.WithoutCancel(t.Ctx), n) }).(string)
}

func (c *Cloud) makeFlavor(ctx context.Context, n int) (any, error) {
	if c.lacks(Admin) != "" {
		resp, err := c.call(ctx, c.looker(), First, "GET", "/flavors?sort_key=memory_mb&limit=2", nil, 200)
		if err != nil {
			return nil, err
		}
		if id := resp.Str("flavors", n, "id"); id != "" {
			return id, nil
		}
		return nil, lackError("the cloud has no two flavors, and these credentials may not make any")
	}
	body := map[string]any{"flavor": map[string]any{"name": fmt.Sprintf("%s-flavor-%d", c.Prefix, n), "vcpus": 1, "ram": 64 << n, "disk": 1}}
	resp, err := c.call(ctx, Admin, First, "POST", "/flavors", body, 200)
	if err != nil {
		return nil, err
	}
	id := resp.Str("flavor", "id")
	c.ledger.add("flavor "+id, c.deleteAs(Admin, "/flavors/"+id))
	return id, nil
}

// deleteAs is a ledger's way to remove a thing of the Compute API.
func (c *Cloud) deleteAs(as Role, path string) func(context.Context) error {
	return func(ctx context.Context) error {
		resp, err := c.send(ctx, request{as: as, version: First, method: "DELETE", path: path})
		if err != nil {
			return err
		}
		if resp.Status == http.StatusNotFound {
			return c.reallyGone(ctx, as, path)
		}
		if resp.Status >= 300 {
			return gophercloud.ErrUnexpectedResponseCode{Method: "DELETE", URL: c.computeURL + path, Expected: []int{204}, Actual: resp.Status, Body: resp.Body}
		}
		return nil
	}
}

// reallyGone is nil unless a thing is still shown whose deletion was answered with 404.
func (c *Cloud) reallyGone(ctx context.Context, as Role, path string) error {
	resp, err := c.send(ctx, request{as: as, version: First, method: "GET", path: path})
	if err == nil && resp.Status == http.StatusOK {
		return fmt.Errorf("DELETE %s answers 404, and it is still there", path)
	}
	return err
}

// Image is the id of an image to boot from.
func (t *T) Image() string {
	return t.share("image", func() (any, error) {
		c, ctx := t.Cloud, context.WithoutCancel(t.Ctx)
		glance, err := c.imageClient(c.maker())
		if err != nil {
			return nil, lackError(err.Error())
		}
		if c.cfg.Image != "" {
			return findImage(ctx, glance, c.cfg.Image)
		}
		return c.makeImage(ctx, glance, c.Prefix+"-image")
	}).(string)
}

// maker is who makes what both projects use.
func (c *Cloud) maker() Role {
	if c.lacks(Admin) == "" {
		return Admin
	}
	return Member
}

// looker is who looks at what every role of the project may see.
func (c *Cloud) looker() Role {
	if c.lacks(Member) != "" {
		return Reader
	}
	return Member
}

func (c *Cloud) imageClient(as Role) (*gophercloud.ServiceClient, error) {
	if why := c.lacks(as); why != "" {
		return nil, lackError(why)
	}
	return openstack.NewImageV2(c.accounts[as].provider, c.endpoints)
}

// networkClient speaks to the network service as a role.
func (c *Cloud) networkClient(as Role) (*gophercloud.ServiceClient, error) {
	if why := c.lacks(as); why != "" {
		return nil, lackError(why)
	}
	return openstack.NewNetworkV2(c.accounts[as].provider, c.endpoints)
}

func findImage(ctx context.Context, glance *gophercloud.ServiceClient, name string) (string, error) {
	page, err := images.List(glance, images.ListOpts{Status: images.ImageStatusActive}).AllPages(ctx)
	if err != nil {
		return "", err
	}
	all, err := images.ExtractImages(page)
	if err != nil {
		return "", err
	}
	for _, i := range all {
		if i.ID == name || i.Name == name {
			return i.ID, nil
		}
	}
	return "", fmt.Errorf("there is no active image %q", name)
}

// makeImage uploads an image of a KiB of zeros: enough for the API, and for a guest that
// runs and does nothing.
func (c *Cloud) makeImage(ctx context.Context, glance *gophercloud.ServiceClient, name string) (string, error) {
	visibility := images.ImageVisibilityPrivate
	if c.lacks(Admin) == "" {
		visibility = images.ImageVisibilityPublic
	}
	img, err := images.Create(ctx, glance, images.CreateOpts{Name: name, DiskFormat: "raw", ContainerFormat: "bare", Visibility: &visibility}).Extract()
	if err != nil {
		return "", err
	}
	c.ledger.add("image "+name, func(ctx context.Context) error { return images.Delete(ctx, glance, img.ID).ExtractErr() })
	return img.ID, imagedata.Upload(ctx, glance, img.ID, zeros(1024)).ExtractErr()
}

// Network is the id of a network of the role's project, with a subnet.
func (t *T) Network(as Role) string {
	return t.share("network of "+string(as), func() (any, error) {
		return t.Cloud.makeNetwork(context.WithoutCancel(t.Ctx), as)
	}).(string)
}

func (c *Cloud) makeNetwork(ctx context.Context, as Role) (any, error) {
	neutron, err := c.networkClient(as)
	if err != nil {
		return nil, lackError(err.Error())
	}
	if c.cfg.Network != "" {
		return findNetwork(ctx, neutron, c.cfg.Network)
	}
	n, err := networks.Create(ctx, neutron, networks.CreateOpts{Name: c.Prefix + "-net"}).Extract()
	if err != nil {
		return nil, err
	}
	c.ledger.add("network "+n.Name, func(ctx context.Context) error { return networks.Delete(ctx, neutron, n.ID).ExtractErr() })
	cidr := "10.213.0.0/22"
	if as == Other {
		cidr = "10.213.4.0/22"
	}
	_, err = subnets.Create(ctx, neutron, subnets.CreateOpts{NetworkID: n.ID, IPVersion: gophercloud.IPv4, CIDR: cidr, Name: c.Prefix + "-subnet"}).Extract()
	return n.ID, err
}

func findNetwork(ctx context.Context, neutron *gophercloud.ServiceClient, name string) (string, error) {
	page, err := networks.List(neutron, networks.ListOpts{}).AllPages(ctx)
	if err != nil {
		return "", err
	}
	all, err := networks.ExtractNetworks(page)
	if err != nil {
		return "", err
	}
	for _, n := range all {
		if n.ID == name || n.Name == name {
			return n.ID, nil
		}
	}
	return "", fmt.Errorf("there is no network %q", name)
}

// Port makes a port in the member's network, removed after the check.
func (t *T) Port() string {
	network := t.Network(Member)
	neutron, err := t.Cloud.networkClient(Member)
	if err != nil {
		t.Skipf("%v", err)
	}
	p, err := ports.Create(t.Ctx, neutron, ports.CreateOpts{NetworkID: network, Name: t.Name()}).Extract()
	if err != nil {
		t.Fatalf("making a port: %v", err)
	}
	t.Remove("port "+p.ID, func(ctx context.Context) error { return ports.Delete(ctx, neutron, p.ID).ExtractErr() })
	return p.ID
}

// Remove puts a thing that the check has made into the ledger, and takes it away when the
// check has ended.
func (t *T) Remove(what string, remove func(context.Context) error) {
	early := t.Cloud.ledger.add(what, remove)
	if t.sharing {
		return // it stays until the run has ended
	}
	t.Cleanup(func(ctx context.Context) {
		if !t.Cloud.cfg.Keep {
			_ = early(ctx) // the ledger still has it, and tells at the end
		}
	})
}

// RemovePath is Remove for a thing of the Compute API.
func (t *T) RemovePath(as Role, path string) { t.Remove(path, t.Cloud.deleteAs(as, path)) }

// ServerBody is a body that creates a small server, at any microversion; extra keys are
// laid over it.
func (t *T) ServerBody(as Role, extra map[string]any) map[string]any {
	server := map[string]any{
		"name": t.Name(), "imageRef": t.Image(), "flavorRef": t.Flavor(0),
		"networks": []any{map[string]any{"uuid": t.Network(as)}},
	}
	for key, value := range extra {
		server[key] = value
	}
	return map[string]any{"server": server}
}

// NewServer creates a server, waits until it runs, and deletes it after the check. Its
// answer is that of GET /servers/{id} at v.
func (t *T) NewServer(as Role, v Version, extra map[string]any) *Response {
	created := t.Must(as, v, "POST", "/servers", t.ServerBody(as, extra), 202)
	id := created.Str("server", "id")
	t.RemovePath(as, "/servers/"+id)
	return t.WaitStatus(as, v, id, "ACTIVE")
}

// answersToLose is how many answers of the 5xx kind, one after the other, end a waiting: one
// says little of the server that is waited for.
const answersToLose = 3

// WaitStatus waits until a server has one of the statuses and no task, and hands back its
// answer at v.
func (t *T) WaitStatus(as Role, v Version, id string, statuses ...string) *Response {
	var resp *Response
	status := strings.Join(statuses, " or ")
	lost := 0
	t.Eventually("server "+id+" becomes "+status, func() bool {
		resp = t.Do(as, v, "GET", "/servers/"+id, nil)
		if lost++; resp.Status >= 500 && lost < answersToLose {
			return false
		}
		if resp.Status != 200 {
			t.Fatalf("GET /servers/%s answers %d while it should become %s: %s", id, resp.Status, status, resp.Message())
		}
		lost = 0
		now := resp.Str("server", "status")
		if resp.Get("server", "OS-EXT-STS:task_state") != nil {
			return false // also in ERROR: a reboot may lead out of it
		}
		if now == "ERROR" && !slices.Contains(statuses, now) {
			t.Fatalf("server %s goes to ERROR where %s is due: %v", id, status, resp.Get("server", "fault", "message"))
		}
		// A server that is offloaded leaves its host a moment after its status says so.
		left := now != "SHELVED_OFFLOADED" || resp.Str("server", "hostId") == ""
		return slices.Contains(statuses, now) && left
	})
	return resp
}

// WaitGone waits until a server is not there.
func (t *T) WaitGone(as Role, id string) {
	t.Eventually("server "+id+" is deleted", func() bool {
		return t.Do(as, First, "GET", "/servers/"+id, nil).Status == 404
	})
}

// SharedServer is the id of a server that runs, belongs to a role's project, and is not to
// be changed.
func (t *T) SharedServer(as Role) string {
	image, flavor, network := t.Image(), t.Flavor(0), t.Network(as)
	return t.share("server of "+string(as), func() (any, error) {
		return t.Cloud.makeServer(context.WithoutCancel(t.Ctx), as, t.Cloud.Prefix+"-server-of-"+string(as), image, flavor, network)
	}).(string)
}

// LockedServer is the id of a shared server that its project has locked.
func (t *T) LockedServer() string {
	image, flavor, network := t.Image(), t.Flavor(0), t.Network(Member)
	return t.share("locked server", func() (any, error) {
		ctx := context.WithoutCancel(t.Ctx)
		id, err := t.Cloud.makeServer(ctx, Member, t.Cloud.Prefix+"-locked", image, flavor, network)
		if err != nil {
			return nil, err
		}
		// As the administrator: then a member's unlock is refused too, and the server stays as it is.
		_, err = t.Cloud.call(ctx, t.Cloud.maker(), First, "POST", "/servers/"+id+"/action", map[string]any{"lock": nil}, 202)
		return id, err
	}).(string)
}

func (c *Cloud) makeServer(ctx context.Context, as Role, name, image, flavor, network string) (string, error) {
	body := map[string]any{"server": map[string]any{
		"name": name, "imageRef": image, "flavorRef": flavor, "networks": []any{map[string]any{"uuid": network}},
	}}
	resp, err := c.call(ctx, as, First, "POST", "/servers", body, 202)
	if err != nil {
		return "", err
	}
	id := resp.Str("server", "id")
	c.ledger.add("server "+id, c.deleteServer(as, id))
	return id, c.waitStatus(ctx, as, id, "ACTIVE")
}

// deleteServer removes a server and waits until it is gone, so that its network can go too.
func (c *Cloud) deleteServer(as Role, id string) func(context.Context) error {
	return func(ctx context.Context) error {
		who := as
		if c.lacks(Admin) == "" {
			who = Admin // it may be locked
		}
		err := c.deleteAs(who, "/servers/"+id)(ctx)
		if gophercloud.ResponseCodeIs(err, http.StatusConflict) && who != Admin { // who locked it may unlock it
			_, _ = c.send(ctx, request{as: who, version: First, method: "POST", path: "/servers/" + id + "/action", body: map[string]any{"unlock": nil}})
			err = c.deleteAs(who, "/servers/"+id)(ctx)
		}
		if err != nil {
			return err
		}
		gone, err := c.poll(ctx, "servers.delete", func() (bool, error) {
			resp, err := c.send(ctx, request{as: who, version: First, method: "GET", path: "/servers/" + id})
			return err == nil && (resp.Status == http.StatusNotFound || resp.Str("server", "status") == "DELETED"), err
		})
		if err == nil && !gone {
			err = fmt.Errorf("server %s is not gone within %s", id, c.cfg.Timeout)
		}
		return err
	}
}

// waitStatus waits for a server outside of any check.
func (c *Cloud) waitStatus(ctx context.Context, as Role, id, status string) error {
	now, lost := "", 0
	ok, err := c.poll(ctx, "to "+status, func() (bool, error) {
		resp, err := c.call(ctx, as, First, "GET", "/servers/"+id, nil, 200)
		if lost++; transient(err) && lost < answersToLose {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		lost = 0
		now = resp.Str("server", "status")
		if resp.Get("server", "OS-EXT-STS:task_state") != nil {
			return false, nil
		}
		if now == "ERROR" && status != "ERROR" {
			return false, fmt.Errorf("server %s goes to ERROR: %v", id, resp.Get("server", "fault", "message"))
		}
		return now == status, nil
	})
	if err == nil && !ok {
		err = fmt.Errorf("server %s is %s, not %s, after %s", id, now, status, c.cfg.Timeout)
	}
	return err
}
