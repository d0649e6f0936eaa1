package tempestlite

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/google/uuid"
	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/blockstorage/v3/volumes"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/groups"
	"github.com/gophercloud/gophercloud/v2/openstack/networking/v2/extensions/security/rules"
	"github.com/gophercloud/gophercloud/v2/openstack/sharedfilesystems/v2/shares"
)

// Values of what hangs below servers. A check that only asks for what has to be refused
// (t.sharing) gets words of the right shape, for which nothing is made.

func subresourceValues() map[string]func(*T) any {
	return map[string]func(*T) any{
		"long_key":          func(*T) any { return strings.Repeat("k", 256) },
		"fifty_one_tags":    func(*T) any { return manyTags(51) },
		"key_of_active":     func(t *T) any { return t.metadataKey(fmt.Sprint(t.Value("active"))) },
		"rescued_with_key":  (*T).rescuedWithKey,
		"locked_with_key":   (*T).lockedWithKey,
		"decorated":         (*T).decorated,
		"tag_of_active":     func(t *T) any { return t.tagOf(fmt.Sprint(t.Value("active"))) },
		"network_label":     (*T).networkLabel,
		"server_port":       func(t *T) any { return t.portOf(fmt.Sprint(t.Value("server"))) },
		"port_of_suspended": func(t *T) any { return t.portOf(fmt.Sprint(t.Value("suspended"))) },
		"active_to_tag":     (*T).activeToTag,
		"port_to_plug":      (*T).portToPlug,
		"attached_port":     (*T).attachedPort,
		"volume_to_attach":  (*T).volumeToAttach,
		"attached_volume":   (*T).attachedVolume,
		"updated_volume":    (*T).updatedVolume,
		"swapped_volume":    (*T).swappedVolume,
		"create_request":    (*T).createRequest,
		"recorded_action":   (*T).recordedAction,
		"server_with_vnc":   (*T).serverWithVNC,
		"console_token":     (*T).consoleToken,
		"share":             (*T).someShare,
		"attached_share":    (*T).attachedShare,

		"floating_ip_pool":    (*T).floatingIPPool,
		"floating_ip":         (*T).floatingIP,
		"security_group":      (*T).securityGroup,
		"security_group_rule": (*T).securityGroupRule,
	}
}

func manyTags(n int) []any {
	tags := make([]any, n)
	for i := range tags {
		tags[i] = fmt.Sprintf("tag-%02d", i)
	}
	return tags
}

const theKey = "tempest-lite"

// metadataKey gives a server a metadata key, and names it.
func (t *T) metadataKey(server string) any {
	if !t.sharing {
		t.Must(Member, First, "POST", "/servers/"+server+"/metadata", map[string]any{"metadata": map[string]any{theKey: "made"}}, 200)
		t.RemovePath(Member, "/servers/"+server+"/metadata/"+theKey)
	}
	return theKey
}

func (t *T) rescuedWithKey() any {
	server := t.Server("ACTIVE")
	t.metadataKey(server)
	t.Must(Member, First, "POST", "/servers/"+server+"/action", map[string]any{"rescue": nil}, 200)
	t.WaitStatus(Member, First, server, "RESCUE")
	return server
}

func (t *T) lockedWithKey() any {
	server := t.Server("ACTIVE")
	t.metadataKey(server)
	t.lock(server)
	return server
}

// lock locks a server until the check has ended.
func (t *T) lock(server string) {
	path := "/servers/" + server + "/action"
	t.Must(Member, First, "POST", path, map[string]any{"lock": nil}, 202)
	t.Cleanup(func(ctx context.Context) {
		_, _ = t.Cloud.send(ctx, request{as: t.Cloud.maker(), version: First, method: "POST", path: path, body: map[string]any{"unlock": nil}})
	})
}

// decorated is a shared server with a metadata key and a tag, which is not to be changed.
func (t *T) decorated() any {
	image, flavor, network := t.Image(), t.Flavor(0), t.Network(Member)
	return t.share("decorated server", func() (any, error) {
		ctx := context.WithoutCancel(t.Ctx)
		id, err := t.Cloud.makeServer(ctx, Member, t.Cloud.Prefix+"-decorated", image, flavor, network)
		if err != nil {
			return nil, err
		}
		_, err = t.Cloud.call(ctx, Member, First, "POST", "/servers/"+id+"/metadata", map[string]any{"metadata": map[string]any{theKey: "made"}}, 200)
		if err == nil && t.Cloud.Max >= 26 {
			_, err = t.Cloud.call(ctx, Member, 26, "PUT", "/servers/"+id+"/tags", map[string]any{"tags": []any{theKey}}, 200)
		}
		return id, err
	})
}

// tagOf gives a server a tag, and names it.
func (t *T) tagOf(server string) any {
	if !t.sharing {
		t.Must(Member, 26, "PUT", "/servers/"+server+"/tags", map[string]any{"tags": []any{theKey, "another"}}, 200)
		t.untag(server)
	}
	return theKey
}

// activeToTag is the server $active, which loses its tags after the check.
func (t *T) activeToTag() any {
	server := fmt.Sprint(t.Value("active"))
	if !t.sharing {
		t.untag(server)
	}
	return server
}

// untag takes all tags off a server when the check has ended.
func (t *T) untag(server string) {
	t.Remove("tags of "+server, func(ctx context.Context) error {
		_, err := t.Cloud.send(ctx, request{as: Member, version: 26, method: "DELETE", path: "/servers/" + server + "/tags"})
		return err
	})
}

// networkLabel is the name by which the shared server's network goes among its addresses.
func (t *T) networkLabel() any {
	resp := t.Must(Member, First, "GET", "/servers/"+fmt.Sprint(t.Value("server"))+"/ips", nil, 200)
	addresses, _ := resp.Get("addresses").(map[string]any)
	for _, label := range slices.Sorted(maps.Keys(addresses)) {
		return label
	}
	t.Skipf("the server has no address")
	return nil
}

// portOf is the id of a server's first port.
func (t *T) portOf(server string) any {
	resp := t.Must(Member, First, "GET", "/servers/"+server+"/os-interface", nil, 200)
	id := resp.Str("interfaceAttachments", 0, "port_id")
	if id == "" {
		t.Skipf("the server has no port")
	}
	return id
}

// attachedPort is a port that is plugged into the server $plugged.
func (t *T) attachedPort() any {
	if t.sharing {
		return uuid.NewString()
	}
	server := fmt.Sprint(t.Value("plugged"))
	port := t.Port()
	t.attachPort(server, port)
	return port
}

// portToPlug is a port for the server $plugged, taken out of it after the check.
func (t *T) portToPlug() any {
	if t.sharing {
		return uuid.NewString()
	}
	server := fmt.Sprint(t.Value("plugged"))
	port := t.Port()
	t.detachAfter(server, port)
	return port
}

// attachPort plugs a port into a server, and takes it out again after the check.
func (t *T) attachPort(server, port string) {
	t.Must(Member, First, "POST", "/servers/"+server+"/os-interface", map[string]any{"interfaceAttachment": map[string]any{"port_id": port}}, 200)
	t.detachAfter(server, port)
}

// detachAfter takes a port out of a server when the check has ended, and waits for it: the
// port cannot be deleted, nor the server be given to others, before.
func (t *T) detachAfter(server, port string) {
	t.Remove("port "+port+" in server "+server, func(ctx context.Context) error {
		path := "/servers/" + server + "/os-interface/" + port
		err := t.Cloud.deleteAs(Member, path)(ctx)
		if gophercloud.ResponseCodeIs(err, http.StatusNotImplemented) {
			return nil // then it was not plugged in either
		}
		if err != nil {
			return err
		}
		return t.Cloud.waitFor(ctx, "interfaces.delete", func() (bool, error) {
			resp, err := t.Cloud.send(ctx, request{as: Member, version: First, method: "GET", path: path})
			return err == nil && resp.Status == http.StatusNotFound, err
		})
	})
}

// waitFor asks until done says so, or the time for a piece of work is over.
func (c *Cloud) waitFor(ctx context.Context, what string, done func() (bool, error)) error {
	ok, err := c.poll(ctx, what, done)
	if err == nil && !ok {
		err = fmt.Errorf("it is not done within %s", c.cfg.Timeout)
	}
	return err
}

// require skips the check where the cloud has not what it takes.
func (t *T) require(n Need) {
	if why := t.Cloud.lack(t.Ctx, n); why != "" {
		t.Skipf("%s", why)
	}
}

// Volume makes an empty volume of 1 GiB, removed after the check.
func (t *T) Volume() string {
	t.require(NeedVolumes)
	cinder, err := openstack.NewBlockStorageV3(t.Cloud.caller.provider, t.Cloud.endpoints)
	if err != nil {
		t.Skipf("%v", err)
	}
	v, err := volumes.Create(t.Ctx, cinder, volumes.CreateOpts{Size: 1, Name: t.Name()}, nil).Extract()
	t.OK(err)
	t.Remove("volume "+v.ID, func(ctx context.Context) error {
		return t.Cloud.waitFor(ctx, "volumes.delete", func() (bool, error) {
			err := volumes.Delete(ctx, cinder, v.ID, nil).ExtractErr()
			if gophercloud.ResponseCodeIs(err, 400) { // still attached
				return false, nil
			}
			return err == nil || gophercloud.ResponseCodeIs(err, 404), ignore404(err)
		})
	})
	t.Eventually("volume "+v.ID+" is available", func() bool {
		now, err := volumes.Get(t.Ctx, cinder, v.ID).Extract()
		t.OK(err)
		return now.Status == "available"
	})
	return v.ID
}

func (t *T) volumeToAttach() any {
	if t.sharing {
		return uuid.NewString()
	}
	return t.Volume()
}

// attachedVolume is a volume that is attached to the server $active.
func (t *T) attachedVolume() any {
	if t.sharing {
		return uuid.NewString()
	}
	server, volume := fmt.Sprint(t.Value("active")), t.Volume()
	path := "/servers/" + server + "/os-volume_attachments"
	t.Must(Member, First, "POST", path, map[string]any{"volumeAttachment": map[string]any{"volumeId": volume}}, 200)
	t.RemovePath(Member, path+"/"+volume)
	t.Eventually("volume "+volume+" is attached", func() bool {
		return t.Do(Member, First, "GET", path+"/"+volume, nil).Str("volumeAttachment", "device") != ""
	})
	return volume
}

// updatedVolume is an attached volume where its attachment can be updated: before 2.85 the
// call swaps volumes, which is for the volume service amid a migration of its own.
func (t *T) updatedVolume() any {
	if !t.sharing && t.Check.Version < 85 {
		t.Skipf("before 2.85 it swaps a volume for another, amid a migration that the volume service has begun")
	}
	return t.Value("attached_volume")
}

// swappedVolume is the same volume where the attachment is updated, and another where the
// call has to be refused: then it is a swap, which members may not ask for.
func (t *T) swappedVolume() any {
	if t.sharing {
		return uuid.NewString()
	}
	return t.Value("updated_volume")
}

// createRequest is the request that created the shared server.
func (t *T) createRequest() any {
	resp := t.Must(Member, First, "GET", "/servers/"+fmt.Sprint(t.Value("server"))+"/os-instance-actions", nil, 200)
	list, _ := resp.Get("instanceActions").([]any)
	return fmt.Sprint(dig(list[len(list)-1], "request_id"))
}

// recordedAction makes the server $active record an action.
func (t *T) recordedAction() any {
	path := "/servers/" + fmt.Sprint(t.Value("active")) + "/action"
	resp := t.Must(Member, First, "POST", path, map[string]any{"lock": nil}, 202)
	t.Must(Member, First, "POST", path, map[string]any{"unlock": nil}, 202)
	return resp.Header.Get("X-Openstack-Request-Id")
}

// serverWithVNC is the shared server where the cloud has VNC consoles.
func (t *T) serverWithVNC() any {
	if !t.sharing {
		t.vncURL()
	}
	return t.Value("server")
}

func (t *T) vncURL() string {
	body := map[string]any{"remote_console": map[string]any{"protocol": "vnc", "type": "novnc"}}
	resp := t.Do(Member, 6, "POST", "/servers/"+fmt.Sprint(t.Value("server"))+"/remote-consoles", body)
	if resp.Status == http.StatusBadRequest {
		t.Skipf("the cloud has no VNC consoles: %s", resp.Message())
	}
	t.Want(resp, 200)
	return resp.Str("remote_console", "url")
}

var tokenInURL = regexp.MustCompile(`token(?:=|%3D)([0-9a-f-]{36})`)

// consoleToken is the token of a console that was asked for, from 2.31 on.
func (t *T) consoleToken() any {
	if t.sharing {
		return uuid.NewString()
	}
	if t.Check.Version < 31 {
		t.Skipf("before 2.31 it answers for RDP consoles alone, and those are no more")
	}
	return t.tokenOfConsole()
}

func (t *T) tokenOfConsole() string {
	url := t.vncURL()
	found := tokenInURL.FindStringSubmatch(url)
	if found == nil {
		t.Fatalf("the console's URL has no token: %s", url)
	}
	return found[1]
}

// someShare is a share of 1 GiB, removed after the check.
func (t *T) someShare() any {
	if t.sharing {
		return uuid.NewString()
	}
	t.require(NeedShares)
	manila, err := openstack.NewSharedFileSystemV2(t.Cloud.caller.provider, t.Cloud.endpoints)
	if err != nil {
		t.Skipf("%v", err)
	}
	s, err := shares.Create(t.Ctx, manila, shares.CreateOpts{ShareProto: "NFS", Size: 1, Name: t.Name()}).Extract()
	t.OK(err)
	t.Remove("share "+s.ID, func(ctx context.Context) error { return shares.Delete(ctx, manila, s.ID).ExtractErr() })
	t.Eventually("share "+s.ID+" is available", func() bool {
		now, err := shares.Get(t.Ctx, manila, s.ID).Extract()
		t.OK(err)
		return now.Status == "available"
	})
	return s.ID
}

// attachedShare is a share that is attached to the server $stopped.
func (t *T) attachedShare() any {
	if t.sharing {
		return uuid.NewString()
	}
	share := t.someShare()
	path := "/servers/" + fmt.Sprint(t.Value("stopped")) + "/shares"
	t.Must(Member, 97, "POST", path, map[string]any{"share": map[string]any{"share_id": share}}, 201)
	t.Remove(path+"/"+fmt.Sprint(share), func(ctx context.Context) error {
		_, err := t.Cloud.send(ctx, request{as: Member, version: 97, method: "DELETE", path: path + "/" + fmt.Sprint(share)})
		return err
	})
	return share
}

// floatingIPPool is the name of an external network.
func (t *T) floatingIPPool() any {
	if t.sharing {
		return "tempest-lite-none"
	}
	resp := t.Must(Member, First, "GET", "/os-floating-ip-pools", nil, 200)
	name := resp.Str("floating_ip_pools", 0, "name")
	if name == "" {
		t.Skipf("the cloud has no external network")
	}
	return name
}

func (t *T) floatingIP() any {
	if t.sharing {
		return uuid.NewString()
	}
	resp := t.Must(Member, First, "POST", "/os-floating-ips", map[string]any{"pool": t.floatingIPPool()}, 200)
	id := fmt.Sprint(resp.Get("floating_ip", "id"))
	t.RemovePath(Member, "/os-floating-ips/"+id)
	return id
}

// securityGroup makes a security group of the member's project.
func (t *T) securityGroup() any {
	if t.sharing {
		return t.share("security group", func() (any, error) {
			id, _ := t.SecurityGroup()
			return id, nil
		})
	}
	id, _ := t.SecurityGroup()
	return id
}

// SecurityGroup makes a security group of the member's project, removed after the check.
func (t *T) SecurityGroup() (id, name string) {
	neutron, err := t.Cloud.networkClient(Member)
	if err != nil {
		t.Skipf("%v", err)
	}
	g, err := groups.Create(t.Ctx, neutron, groups.CreateOpts{Name: t.Name(), Description: "made by tempest-lite"}).Extract()
	t.OK(err)
	t.Remove("security group "+g.ID, func(ctx context.Context) error {
		return t.Cloud.waitFor(ctx, "security groups.delete", func() (bool, error) {
			err := groups.Delete(ctx, neutron, g.ID).ExtractErr()
			if gophercloud.ResponseCodeIs(err, 409) { // a port still has it
				return false, nil
			}
			return err == nil || gophercloud.ResponseCodeIs(err, 404), ignore404(err)
		})
	})
	return g.ID, g.Name
}

func ignore404(err error) error {
	if gophercloud.ResponseCodeIs(err, 404) {
		return nil
	}
	return err
}

func (t *T) securityGroupRule() any {
	if t.sharing {
		return uuid.NewString()
	}
	group, _ := t.SecurityGroup()
	neutron, err := t.Cloud.networkClient(Member)
	t.OK(err)
	r, err := rules.Create(t.Ctx, neutron, rules.CreateOpts{SecGroupID: group, Direction: rules.DirIngress, EtherType: rules.EtherType4, Protocol: rules.ProtocolTCP, PortRangeMin: 22, PortRangeMax: 22, RemoteIPPrefix: "10.0.0.0/8"}).Extract()
	t.OK(err)
	return r.ID
}
