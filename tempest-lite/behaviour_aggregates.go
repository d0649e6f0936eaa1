package tempestlite

import (
	"context"
	"fmt"
	"net/http"
	"slices"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/aggregates"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/availabilityzones"
)

// Aggregates of hosts, and the availability zones that they make.

func aggregateChecks() []*Check {
	return []*Check{
		behaviour("aggregates", "metadata", "metadata is laid over what there is, and null takes a key away", 0, aggregateMetadata,
			needs(NeedAdmin), covers("aggregates.set_metadata", "aggregates.show")),
		behaviour("aggregates", "zone-is-metadata", "the availability zone is a key of the metadata", 0, aggregateZoneMetadata,
			needs(NeedAdmin), covers("aggregates.create", "aggregates.update", "aggregates.set_metadata")),
		behaviour("aggregates", "name-taken", "two aggregates cannot have one name", 0, aggregateNameTaken,
			needs(NeedAdmin), covers("aggregates.create", "aggregates.update")),
		behaviour("aggregates", "delete-with-host", "an aggregate goes only when no host is in it", 0, aggregateDeleteWithHost,
			needs(NeedAdmin), covers("aggregates.delete", "aggregates.add_host", "aggregates.remove_host")),
		behaviour("aggregates", "uuid", "an aggregate has a uuid, the same in every answer, from 2.41 on", 41, aggregateUUID,
			needs(NeedAdmin), covers("aggregates.list", "aggregates.show")),
		behaviour("aggregates", "id-no-number", "the id of an aggregate is a number", 0, func(t *T) {
			resp := t.Do(Admin, First, "GET", "/os-aggregates/tempest-lite", nil)
			if t.Want(resp, http.StatusBadRequest) {
				t.CheckFault(resp)
			}
		}, needs(NeedAdmin), covers("aggregates.show")),
		behaviour("aggregates", "zone-without-hosts", "a zone that no host is in is not offered", 0, zoneWithoutHosts,
			needs(NeedAdmin), covers("aggregates.create", "availability_zone.list")),
		behaviour("aggregates", "zone", "a host added to an aggregate with a zone is of that zone, and so are new servers on it", 53, zoneOfHost,
			needs(NeedAdmin, NeedDisturb), alone, covers("aggregates.add_host", "availability_zone.list", "availability_zone.detail", "servers.create")),
		behaviour("aggregates", "two-zones", "a host is of one zone", 53, hostInTwoZones,
			needs(NeedAdmin, NeedDisturb), alone, covers("aggregates.add_host")),
	}
}

func (t *T) newAggregate(opts aggregates.CreateOpts) *aggregates.Aggregate {
	if opts.Name == "" {
		opts.Name = t.Name()
	}
	a, err := aggregates.Create(t.Ctx, t.Compute(Admin, First), opts).Extract()
	t.OK(err)
	t.removeAggregate(a.ID)
	return a
}

func (t *T) aggregate(id int) *aggregates.Aggregate {
	a, err := aggregates.Get(t.Ctx, t.Compute(Admin, First), id).Extract()
	t.OK(err)
	return a
}

func (t *T) setAggregateMetadata(id int, metadata map[string]any) {
	_, err := aggregates.SetMetadata(t.Ctx, t.Compute(Admin, First), id, aggregates.SetMetadataOpts{Metadata: metadata}).Extract()
	t.OK(err)
}

func aggregateMetadata(t *T) {
	id := t.newAggregate(aggregates.CreateOpts{}).ID
	t.setAggregateMetadata(id, map[string]any{"one": "1", "two": "2"})
	t.setAggregateMetadata(id, map[string]any{"two": "two", "three": "3", "one": nil, "none": nil})
	t.Equal("the metadata", t.aggregate(id).Metadata, map[string]string{"two": "two", "three": "3"})
}

func aggregateZoneMetadata(t *T) {
	zone := t.Name()
	id := t.newAggregate(aggregates.CreateOpts{AvailabilityZone: zone}).ID
	check := func(when, zone string, metadata map[string]string) {
		a := t.aggregate(id)
		t.Equal("the zone "+when, a.AvailabilityZone, zone)
		t.Equal("the metadata "+when, a.Metadata, metadata)
	}
	check("as created", zone, map[string]string{"availability_zone": zone})
	t.setAggregateMetadata(id, map[string]any{"availability_zone": zone + "-2"})
	check("as the metadata set it", zone+"-2", map[string]string{"availability_zone": zone + "-2"})
	_, err := aggregates.Update(t.Ctx, t.Compute(Admin, First), id, aggregates.UpdateOpts{AvailabilityZone: zone + "-3"}).Extract()
	t.OK(err)
	check("as updated", zone+"-3", map[string]string{"availability_zone": zone + "-3"})
	// Once there is a zone it can become another, and cannot go.
	_, err = aggregates.SetMetadata(t.Ctx, t.Compute(Admin, First), id, aggregates.SetMetadataOpts{Metadata: map[string]any{"availability_zone": nil}}).Extract()
	t.WantCode(err, http.StatusBadRequest)
}

func aggregateNameTaken(t *T) {
	name := t.newAggregate(aggregates.CreateOpts{}).Name
	again, err := aggregates.Create(t.Ctx, t.Compute(Admin, First), aggregates.CreateOpts{Name: name}).Extract()
	if err == nil {
		t.removeAggregate(again.ID)
	}
	t.WantCode(err, http.StatusConflict)
	other := t.newAggregate(aggregates.CreateOpts{}).ID
	_, err = aggregates.Update(t.Ctx, t.Compute(Admin, First), other, aggregates.UpdateOpts{Name: name}).Extract()
	t.WantCode(err, http.StatusConflict)
}

func aggregateDeleteWithHost(t *T) {
	client, host := t.Compute(Admin, First), t.computeHosts()[0]
	id := t.newAggregate(aggregates.CreateOpts{}).ID
	_, err := aggregates.AddHost(t.Ctx, client, id, aggregates.AddHostOpts{Host: host}).Extract()
	t.OK(err)
	t.Equal("the hosts", t.aggregate(id).Hosts, []string{host})
	t.WantCode(aggregates.Delete(t.Ctx, client, id).ExtractErr(), http.StatusBadRequest)
	_, err = aggregates.RemoveHost(t.Ctx, client, id, aggregates.RemoveHostOpts{Host: host}).Extract()
	t.OK(err)
	t.OK(aggregates.Delete(t.Ctx, client, id).ExtractErr())
	_, err = aggregates.Get(t.Ctx, client, id).Extract()
	t.WantCode(err, http.StatusNotFound)
}

func aggregateUUID(t *T) {
	a := t.newAggregate(aggregates.CreateOpts{})
	path := fmt.Sprintf("/os-aggregates/%d", a.ID)
	before := t.Must(Admin, 40, "GET", path, nil, http.StatusOK)
	t.Equal("the uuid at 2.40", before.Get("aggregate", "uuid"), nil)
	shown := t.Must(Admin, 41, "GET", path, nil, http.StatusOK).Str("aggregate", "uuid")
	if shown == "" {
		t.Errorf("there is no uuid at 2.41")
	}
	list, _ := t.Must(Admin, 41, "GET", "/os-aggregates", nil, http.StatusOK).Get("aggregates").([]any)
	at := slices.IndexFunc(list, func(x any) bool { return fmt.Sprint(dig(x, "id")) == fmt.Sprint(a.ID) })
	if at < 0 {
		t.Fatalf("the aggregate is not in the list")
	}
	t.Equal("the uuid in the list", dig(list[at], "uuid"), shown)
	t.Equal("the name in the list", dig(list[at], "name"), a.Name)
}

// zones are the names of the zones that a project may choose.
func (t *T) zones() []string {
	pages, err := availabilityzones.List(t.Compute(Member, First)).AllPages(t.Ctx)
	t.OK(err)
	all, err := availabilityzones.ExtractAvailabilityZones(pages)
	t.OK(err)
	var names []string
	for _, z := range all {
		if z.ZoneState.Available {
			names = append(names, z.ZoneName)
		}
	}
	return names
}

func zoneWithoutHosts(t *T) {
	zone := t.newAggregate(aggregates.CreateOpts{AvailabilityZone: t.Name()}).AvailabilityZone
	if slices.Contains(t.zones(), zone) {
		t.Errorf("the zone %s is offered, and has no host", zone)
	}
	resp := t.Do(Member, First, "POST", "/servers", t.ServerBody(Member, map[string]any{"availability_zone": zone}))
	if resp.Status == http.StatusAccepted {
		id := resp.Str("server", "id")
		t.Remove("/servers/"+id, t.Cloud.deleteServer(Member, id))
	}
	t.Want(resp, http.StatusBadRequest)
}

// emptyHost is a host that is up and has no servers, so that its zone may change.
func (t *T) emptyHost() string {
	hosts := t.computeHosts()
	resp := t.Must(Admin, 53, "GET", "/os-hypervisors/detail?with_servers=true", nil, http.StatusOK)
	list, _ := resp.Get("hypervisors").([]any)
	for _, h := range list {
		servers, _ := dig(h, "servers").([]any)
		host := fmt.Sprint(dig(h, "service", "host"))
		if len(servers) > 0 {
			hosts = slices.DeleteFunc(hosts, func(x string) bool { return x == host })
		}
	}
	if len(hosts) == 0 {
		t.Skipf("every compute host has servers, and keeps its zone")
	}
	return hosts[0]
}

// zoned puts an empty host into a zone of our own. Those that already are in a zone of
// an aggregate cannot be in another.
func (t *T) zoned() (zone, host string) {
	host = t.emptyHost()
	a := t.newAggregate(aggregates.CreateOpts{AvailabilityZone: t.Name()})
	body := map[string]any{"add_host": map[string]any{"host": host}}
	resp := t.Do(Admin, First, "POST", fmt.Sprintf("/os-aggregates/%d/action", a.ID), body)
	if resp.Status == http.StatusConflict {
		t.Skipf("the host %s is already in a zone of its own", host)
	}
	t.Want(resp, http.StatusOK)
	return a.AvailabilityZone, host
}

func zoneOfHost(t *T) {
	zone, host := t.zoned()
	if !slices.Contains(t.zones(), zone) {
		t.Errorf("the zone %s is not offered", zone)
	}
	detail := t.Must(Admin, First, "GET", "/os-availability-zone/detail", nil, http.StatusOK)
	list, _ := detail.Get("availabilityZoneInfo").([]any)
	at := slices.IndexFunc(list, func(z any) bool { return dig(z, "zoneName") == zone })
	if at < 0 || dig(list[at], "hosts", host, "nova-compute", "active") != true {
		t.Errorf("the details of the zones do not name %s in %s", host, zone)
	}
	server := t.NewServer(Member, First, map[string]any{"availability_zone": zone})
	id := server.Str("server", "id")
	t.Equal("the server's zone", server.Str("server", "OS-EXT-AZ:availability_zone"), zone)
	shown := t.Must(Admin, First, "GET", "/servers/"+id, nil, http.StatusOK)
	t.Equal("the server's host", shown.Str("server", "OS-EXT-SRV-ATTR:host"), host)
	// The zone can go only when no server is on the host any more.
	t.OK(t.Cloud.deleteServer(Member, id)(context.WithoutCancel(t.Ctx)))
}

func hostInTwoZones(t *T) {
	_, host := t.zoned()
	b := t.newAggregate(aggregates.CreateOpts{AvailabilityZone: t.Name()})
	resp := t.Do(Admin, First, "POST", fmt.Sprintf("/os-aggregates/%d/action", b.ID), map[string]any{"add_host": map[string]any{"host": host}})
	if t.Want(resp, http.StatusConflict) {
		t.CheckFault(resp)
	}
}
