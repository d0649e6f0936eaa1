package tempestlite

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/hypervisors"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/services"
)

// The services of the cloud, and the hypervisors that they look after.

func serviceChecks() []*Check {
	admin := needs(NeedAdmin)
	disturb := needs(NeedAdmin, NeedDisturb)
	return []*Check{
		behaviour("services", "filters", "the list of services is filtered by host and binary", 0, serviceFilters, admin, covers("services.list")),
		behaviour("services", "ids", "a service is named by a number before 2.53, by a uuid from then on", 53, serviceIDs, admin, covers("services.list")),
		behaviour("services", "wrong-updates", "an update of a service that says too little or too much is refused", 53, serviceWrongUpdates,
			admin, covers("services.update")),
		behaviour("services", "not-compute", "only compute services are updated", 53, serviceNotCompute, admin, covers("services.update")),
		behaviour("services", "disable", "a disabled host says why, and takes no new servers until it is enabled", 74, serviceDisable,
			disturb, alone, covers("services.update", "services.list", "hypervisors.show", "servers.create")),
		behaviour("services", "disable-by-host", "before 2.53 a service is disabled and enabled by host and binary", 0, serviceDisableByHost,
			disturb, alone, covers("services.update")),
		behaviour("services", "force-down", "a service that is forced down counts as down", 11, serviceForceDown,
			disturb, alone, covers("services.update", "services.list", "hypervisors.list")),
		behaviour("services", "force-down-by-id", "from 2.53 on a service is forced down by its id", 53, serviceForceDownByID,
			disturb, alone, covers("services.update")),

		behaviour("hypervisors", "of-services", "each hypervisor belongs to a compute service, and has its state", 53, hypervisorsOfServices,
			admin, covers("hypervisors.detail", "hypervisors.list", "services.list")),
		behaviour("hypervisors", "with-servers", "with_servers shows a server under the hypervisor that it runs on", 75, hypervisorsWithServers,
			admin, covers("hypervisors.list", "hypervisors.detail", "hypervisors.show")),
		behaviour("hypervisors", "servers", "before 2.53 the servers of hypervisors are asked by a part of their name", 0, hypervisorServers,
			admin, covers("hypervisors.servers.list", "hypervisors.search")),
		behaviour("hypervisors", "pattern", "the list is filtered by a part of the name", 53, hypervisorPattern, admin, covers("hypervisors.list", "hypervisors.detail")),
		behaviour("hypervisors", "pages", "the hypervisors come in pages, each once", 53, func(t *T) { hypervisorPages(t, 53) },
			admin, covers("hypervisors.list")),
		behaviour("hypervisors", "pages-by-number", "before 2.53 the marker of the pages is a number", 33, func(t *T) { hypervisorPages(t, 33) },
			admin, covers("hypervisors.list")),
		behaviour("hypervisors", "bad-uuid", "from 2.53 on an id that is no uuid is refused", 53, func(t *T) {
			_, err := hypervisors.Get(t.Ctx, t.Compute(Admin, 53), "1").Extract()
			t.WantCode(err, http.StatusBadRequest)
		}, admin, covers("hypervisors.show")),
		behaviour("hypervisors", "statistics", "the statistics are the sums of the hypervisors", 0, hypervisorStatistics, alone, admin, covers("hypervisors.statistics")),
	}
}

func (t *T) serviceList(v Version, query string) []any {
	list, _ := t.Must(Admin, v, "GET", "/os-services"+query, nil, http.StatusOK).Get("services").([]any)
	return list
}

// computeService is what the list says of the compute service of a host.
func (t *T) computeService(v Version, host string) any {
	list := t.serviceList(v, "?binary=nova-compute&host="+url.QueryEscape(host))
	if len(list) != 1 {
		t.Fatalf("the host %s has %d compute services", host, len(list))
	}
	return list[0]
}

func serviceFilters(t *T) {
	host := t.computeHosts()[0]
	all := t.serviceList(First, "")
	for _, f := range []struct{ binary, host string }{{"nova-compute", ""}, {"", host}, {"nova-compute", host}, {"tempest-lite-none", ""}, {"", "tempest-lite-none"}} {
		query := url.Values{}
		want := slices.Clone(all)
		if f.binary != "" {
			query.Set("binary", f.binary)
			want = slices.DeleteFunc(want, func(s any) bool { return dig(s, "binary") != f.binary })
		}
		if f.host != "" {
			query.Set("host", f.host)
			want = slices.DeleteFunc(want, func(s any) bool { return dig(s, "host") != f.host })
		}
		t.Equal("the ids of the list with "+query.Encode(), idsOf(t.serviceList(First, "?"+query.Encode())), idsOf(want))
	}
}

func idsOf(list []any) []string {
	out := make([]string, len(list))
	for i := range list {
		out[i] = fmt.Sprint(dig(list[i], "id"))
	}
	slices.Sort(out)
	return out
}

func serviceIDs(t *T) {
	host := t.computeHosts()[0]
	old, now := fmt.Sprint(dig(t.computeService(52, host), "id")), fmt.Sprint(dig(t.computeService(53, host), "id"))
	if strings.Trim(old, "0123456789") != "" {
		t.Errorf("the id at 2.52 is %q, no number", old)
	}
	if len(now) != 36 {
		t.Errorf("the id at 2.53 is %q, no uuid", now)
	}
	for _, method := range []string{"PUT", "DELETE"} {
		var body any
		if method == "PUT" {
			body = map[string]any{"status": "enabled"}
		}
		t.Want(t.Do(Admin, 53, method, "/os-services/tempest-lite-no-uuid", body), http.StatusBadRequest)
	}
}

// serviceWrongUpdates asks for nothing that would change a service that is enabled.
func serviceWrongUpdates(t *T) {
	id := fmt.Sprint(dig(t.computeService(53, t.computeHosts()[0]), "id"))
	for _, body := range []map[string]any{
		{},
		{"status": "enabled", "disabled_reason": "tempest-lite"},
		{"disabled_reason": "tempest-lite"},
	} {
		resp := t.Do(Admin, 53, "PUT", "/os-services/"+id, body)
		if t.Want(resp, http.StatusBadRequest) {
			t.CheckFault(resp)
		}
	}
}

func serviceNotCompute(t *T) {
	for _, s := range t.serviceList(53, "") {
		if dig(s, "binary") == "nova-compute" || dig(s, "status") != "enabled" {
			continue
		}
		_, err := services.Update(t.Ctx, t.Compute(Admin, 53), fmt.Sprint(dig(s, "id")), services.UpdateOpts{Status: services.ServiceEnabled}).Extract()
		t.WantCode(err, http.StatusBadRequest)
		return
	}
	t.Skipf("the cloud lists no services but those of compute hosts")
}

// restoreService puts a compute service back as a check has found it, whatever happens.
func (t *T) restoreService(host, what string, put func(context.Context) (*Response, error)) {
	t.Remove(what+" of "+host, func(ctx context.Context) error {
		resp, err := put(ctx)
		if err == nil && resp.Status != http.StatusOK {
			return gophercloud.ErrUnexpectedResponseCode{Method: "PUT", URL: resp.URL, Expected: []int{http.StatusOK}, Actual: resp.Status, Body: resp.Body}
		}
		return err
	})
}

func (t *T) updateService(id string, body map[string]any) *Response {
	return t.Must(Admin, 53, "PUT", "/os-services/"+id, body, http.StatusOK)
}

// restoreByID enables a service and lets it be up, by its id.
func (t *T) restoreByID(host, id string, body map[string]any) {
	c := t.Cloud
	t.restoreService(host, "disturbance", func(ctx context.Context) (*Response, error) {
		return c.send(ctx, request{as: Admin, version: 53, method: "PUT", path: "/os-services/" + id, body: body})
	})
}

func serviceDisable(t *T) {
	host := t.computeHosts()[0]
	id := fmt.Sprint(dig(t.computeService(53, host), "id"))
	enable := map[string]any{"status": "enabled"}
	t.restoreByID(host, id, enable)
	const reason = "tempest-lite looks whether this is heeded"
	answer := t.updateService(id, map[string]any{"status": "disabled", "disabled_reason": reason})
	t.Equal("the status in the answer", answer.Str("service", "status"), "disabled")
	t.Equal("the reason in the answer", answer.Str("service", "disabled_reason"), reason)
	listed := t.computeService(53, host)
	t.Equal("the status in the list", dig(listed, "status"), "disabled")
	t.Equal("the reason in the list", dig(listed, "disabled_reason"), reason)
	t.Equal("the state in the list", dig(listed, "state"), "up")
	t.hypervisorsSay(host, "status", "disabled")
	t.createOn(host, "ERROR")

	answer = t.updateService(id, enable)
	t.Equal("the status in the answer", answer.Str("service", "status"), "enabled")
	t.Equal("the reason once it is enabled", answer.Get("service", "disabled_reason"), nil)
	t.hypervisorsSay(host, "status", "enabled")
	t.createOn(host, "ACTIVE")
}

// hypervisorsSay wants a value of every hypervisor of a host.
func (t *T) hypervisorsSay(host, key, want string) {
	list, _ := t.Must(Admin, 53, "GET", "/os-hypervisors/detail", nil, http.StatusOK).Get("hypervisors").([]any)
	for _, h := range list {
		if dig(h, "service", "host") == host {
			t.Equal(fmt.Sprintf("%s of the hypervisor %v", key, dig(h, "hypervisor_hostname")), dig(h, key), want)
		}
	}
}

// createOn asks the scheduler for a server on a host, and waits for what becomes of it.
func (t *T) createOn(host, status string) {
	body := t.ServerBody(Member, map[string]any{"host": host})
	body["server"].(map[string]any)["networks"] = "none" // the administrator has no network in this project
	id := t.Must(Admin, 74, "POST", "/servers", body, http.StatusAccepted).Str("server", "id")
	t.Remove("/servers/"+id, t.Cloud.deleteServer(Admin, id))
	t.WaitStatus(Admin, First, id, status)
}

func serviceDisableByHost(t *T) {
	host := t.computeHosts()[0]
	enable := map[string]any{"host": host, "binary": "nova-compute"}
	c := t.Cloud
	t.restoreService(host, "disabling", func(ctx context.Context) (*Response, error) {
		return c.send(ctx, request{as: Admin, version: First, method: "PUT", path: "/os-services/enable", body: enable})
	})
	answer := t.Must(Admin, First, "PUT", "/os-services/disable", enable, http.StatusOK)
	t.Equal("the answer to disable", answer.Get("service"), map[string]any{"host": host, "binary": "nova-compute", "status": "disabled"})
	t.Equal("the status in the list", dig(t.computeService(First, host), "status"), "disabled")
	why := map[string]any{"host": host, "binary": "nova-compute", "disabled_reason": "tempest-lite"}
	answer = t.Must(Admin, First, "PUT", "/os-services/disable-log-reason", why, http.StatusOK)
	t.Equal("the reason in the answer", answer.Str("service", "disabled_reason"), "tempest-lite")
	t.Equal("the reason in the list", dig(t.computeService(First, host), "disabled_reason"), "tempest-lite")
	t.Want(t.Do(Admin, First, "PUT", "/os-services/disable-log-reason", enable), http.StatusBadRequest)
	answer = t.Must(Admin, First, "PUT", "/os-services/enable", enable, http.StatusOK)
	t.Equal("the status in the answer", answer.Str("service", "status"), "enabled")
	listed := t.computeService(First, host)
	t.Equal("the status in the list", dig(listed, "status"), "enabled")
	t.Equal("the reason in the list", dig(listed, "disabled_reason"), nil)
}

func serviceForceDown(t *T) {
	host := t.computeHosts()[0]
	put := func(down bool) map[string]any {
		return map[string]any{"host": host, "binary": "nova-compute", "forced_down": down}
	}
	c := t.Cloud
	t.restoreService(host, "forced down", func(ctx context.Context) (*Response, error) {
		return c.send(ctx, request{as: Admin, version: 11, method: "PUT", path: "/os-services/force-down", body: put(false)})
	})
	t.Want(t.Do(Admin, 10, "PUT", "/os-services/force-down", map[string]any{"host": host, "binary": "nova-compute"}), http.StatusNotFound)
	answer := t.Must(Admin, 11, "PUT", "/os-services/force-down", put(true), http.StatusOK)
	t.Equal("forced_down in the answer", answer.Get("service", "forced_down"), true)
	listed := t.computeService(11, host)
	t.Equal("the state", dig(listed, "state"), "down")
	t.Equal("forced_down", dig(listed, "forced_down"), true)
	t.Equal("the status", dig(listed, "status"), "enabled")
	t.hypervisorsSay(host, "state", "down")
	t.Must(Admin, 11, "PUT", "/os-services/force-down", put(false), http.StatusOK)
	t.Equal("the state afterwards", dig(t.computeService(11, host), "state"), "up")
}

func serviceForceDownByID(t *T) {
	host := t.computeHosts()[0]
	id := fmt.Sprint(dig(t.computeService(53, host), "id"))
	t.restoreByID(host, id, map[string]any{"forced_down": false})
	answer := t.updateService(id, map[string]any{"forced_down": true})
	t.Equal("forced_down in the answer", answer.Get("service", "forced_down"), true)
	t.Equal("the state in the answer", answer.Str("service", "state"), "down")
	t.Equal("the state in the list", dig(t.computeService(53, host), "state"), "down")
	answer = t.updateService(id, map[string]any{"forced_down": false})
	t.Equal("the state afterwards", answer.Str("service", "state"), "up")
}

func hypervisorsOfServices(t *T) {
	byHost := map[any]any{}
	for _, s := range t.serviceList(53, "?binary=nova-compute") {
		byHost[dig(s, "host")] = s
	}
	detail, _ := t.Must(Admin, 53, "GET", "/os-hypervisors/detail", nil, http.StatusOK).Get("hypervisors").([]any)
	for _, h := range detail {
		s := byHost[dig(h, "service", "host")]
		if s == nil {
			t.Errorf("the hypervisor %v is of the host %v, which has no compute service", dig(h, "hypervisor_hostname"), dig(h, "service", "host"))
			continue
		}
		t.Equal("the id of the service", dig(h, "service", "id"), dig(s, "id"))
		t.Equal("the status", dig(h, "status"), dig(s, "status"))
		t.Equal("the state", dig(h, "state"), dig(s, "state"))
	}
	list, _ := t.Must(Admin, 53, "GET", "/os-hypervisors", nil, http.StatusOK).Get("hypervisors").([]any)
	t.Equal("the ids of the list without details", idsOf(list), idsOf(detail))
}

// place is where the shared server runs, as an administrator sees it.
func (t *T) place() (id, host, hypervisor string) {
	id = t.SharedServer(Member)
	server := t.Must(Admin, First, "GET", "/servers/"+id, nil, http.StatusOK)
	return id, server.Str("server", "OS-EXT-SRV-ATTR:host"), server.Str("server", "OS-EXT-SRV-ATTR:hypervisor_hostname")
}

// holders are those hypervisors that show a server. They are more than one where a host
// has several: the servers shown are those of the host.
func holders(list []any, id string) []any {
	return slices.DeleteFunc(slices.Clone(list), func(h any) bool {
		servers, _ := dig(h, "servers").([]any)
		return !slices.ContainsFunc(servers, func(s any) bool { return dig(s, "uuid") == id })
	})
}

// named finds the hypervisor with a name; nil if it is not there.
func named(list []any, name string) any {
	at := slices.IndexFunc(list, func(h any) bool { return dig(h, "hypervisor_hostname") == name })
	return dig(list, at)
}

func hypervisorsWithServers(t *T) {
	id, host, name := t.place()
	for _, path := range []string{"/os-hypervisors", "/os-hypervisors/detail"} {
		list, _ := t.Must(Admin, 75, "GET", path+"?with_servers=true", nil, http.StatusOK).Get("hypervisors").([]any)
		holding := holders(list, id)
		if named(holding, name) == nil {
			t.Errorf("%s does not show the server under %s", path, name)
		}
		for _, h := range holding {
			if service := dig(h, "service"); service != nil {
				t.Equal("the host of a hypervisor that shows the server", dig(service, "host"), host)
			}
		}
		for _, h := range list {
			if _, ok := dig(h, "servers").([]any); !ok {
				t.Errorf("the hypervisor %v has no list of servers at 2.75", dig(h, "hypervisor_hostname"))
			}
		}
		unasked, _ := t.Must(Admin, 75, "GET", path, nil, http.StatusOK).Get("hypervisors").([]any)
		for _, h := range unasked {
			if dig(h, "servers") != nil {
				t.Errorf("the hypervisor %v shows its servers, which nobody asked for", dig(h, "hypervisor_hostname"))
			}
		}
		one := t.Must(Admin, 75, "GET", fmt.Sprintf("/os-hypervisors/%v?with_servers=true", dig(named(list, name), "id")), nil, http.StatusOK)
		t.Equal("the number of hypervisors of the name that show the server", len(holders([]any{one.Get("hypervisor")}, id)), 1)
	}
}

func hypervisorServers(t *T) {
	id, _, name := t.place()
	list, _ := t.Must(Admin, First, "GET", "/os-hypervisors/"+url.PathEscape(name)+"/servers", nil, http.StatusOK).Get("hypervisors").([]any)
	if named(holders(list, id), name) == nil {
		t.Errorf("the server is not shown under %s", name)
	}
	part := name[:max(1, len(name)-1)]
	found, _ := t.Must(Admin, First, "GET", "/os-hypervisors/"+url.PathEscape(part)+"/search", nil, http.StatusOK).Get("hypervisors").([]any)
	if named(found, name) == nil {
		t.Errorf("a search for %s does not find %s", part, name)
	}
}

func hypervisorPattern(t *T) {
	name := fmt.Sprint(t.someHypervisorName())
	for _, path := range []string{"/os-hypervisors", "/os-hypervisors/detail"} {
		list, _ := t.Must(Admin, 53, "GET", path+"?hypervisor_hostname_pattern="+url.QueryEscape(name), nil, http.StatusOK).Get("hypervisors").([]any)
		if len(list) == 0 {
			t.Errorf("%s: nothing has %s in its name", path, name)
		}
		for _, h := range list {
			if !strings.Contains(fmt.Sprint(dig(h, "hypervisor_hostname")), name) {
				t.Errorf("%s: %v has not %s in its name", path, dig(h, "hypervisor_hostname"), name)
			}
		}
		t.Want(t.Do(Admin, 53, "GET", path+"?hypervisor_hostname_pattern=tempest-lite-none", nil), http.StatusNotFound)
		for _, more := range []string{"&limit=1", "&marker=11111111-2222-4333-8444-555555555555"} {
			t.Want(t.Do(Admin, 53, "GET", path+"?hypervisor_hostname_pattern="+url.QueryEscape(name)+more, nil), http.StatusBadRequest)
		}
	}
}

// hypervisorPages looks at the first pages and the last: the cloud may have thousands.
func hypervisorPages(t *T, v Version) {
	spec := &PagingSpec{Key: "hypervisors", ID: "id", Links: "hypervisors_links"}
	r := request{as: Admin, version: v, method: "GET", path: "/os-hypervisors"}
	all := pageOf{t.Must(Admin, v, "GET", r.path, nil, http.StatusOK)}.ids(spec)
	if len(all) == 0 {
		t.Skipf("the cloud has no hypervisor")
	}
	page := t.page(r, spec, "limit=1")
	for _, want := range all[:min(3, len(all))] {
		t.Equal("the page of limit=1", page.ids(spec), []string{want})
		next := page.next(spec, r.path, want)
		if next == "" {
			t.Fatalf("a full page has no next link")
		}
		page = pageOf{t.Must(Admin, v, "GET", next, nil, http.StatusOK)}
	}
	last := t.page(r, spec, "limit=1&marker="+all[len(all)-1])
	t.Equal("the page after the last", last.ids(spec), []string{})
	if last.resp.Get(spec.Links) != nil {
		t.Errorf("the page after the last has a next link")
	}
	marker := "2000000000"
	if v >= 53 {
		marker = "11111111-2222-4333-8444-555555555555"
	}
	unknown := t.Do(Admin, v, "GET", "/os-hypervisors?marker="+marker, nil)
	if t.Want(unknown, http.StatusBadRequest) {
		t.WantMessage(unknown, "marker ["+marker+"] not found")
	}
}

// hypervisorStatistics adds up what does not change while servers come and go.
func hypervisorStatistics(t *T) {
	pages, err := hypervisors.List(t.Compute(Admin, First), nil).AllPages(t.Ctx)
	t.OK(err)
	all, err := hypervisors.ExtractHypervisors(pages)
	t.OK(err)
	statistics, err := hypervisors.GetStatistics(t.Ctx, t.Compute(Admin, First)).Extract()
	t.OK(err)
	count, cpus, memory := 0, 0, 0
	for _, h := range all {
		if h.Status == "enabled" { // disabled ones do not count
			count++
			cpus += h.VCPUs
			memory += h.MemoryMB
		}
	}
	t.Equal("the count", statistics.Count, count)
	t.Equal("the processors", statistics.VCPUs, cpus)
	t.Equal("the memory", statistics.MemoryMB, memory)
}
