package tempestlite

import (
	"encoding/json"
	"fmt"
	"math"
	"net/http"
	"net/url"
	"time"
)

// Simple tenant usage: its arithmetic, its window, its pages.

func usageChecks() []*Check {
	return []*Check{
		behaviour("usage", "arithmetic", "a project's usage is the sum of its servers' hours times their sizes", 0, usageArithmetic, alone, covers("simple_tenant_usage.show", "simple_tenant_usage.list")),
		behaviour("usage", "deleted", "a deleted server keeps the hours that it had", 0, usageOfDeleted, covers("simple_tenant_usage.show")),
		behaviour("usage", "window", "servers count within the window alone", 0, usageWindow, covers("simple_tenant_usage.show")),
		behaviour("usage", "dates", "dates that are none, or in the wrong order, are refused", 0, usageDates, covers("simple_tenant_usage.show", "simple_tenant_usage.list")),
		behaviour("usage", "pages", "the servers of a usage come in pages", 40, usagePages, alone, covers("simple_tenant_usage.show")),
	}
}

const usageTime = "2006-01-02T15:04:05"

// usage asks for a project's usage from an hour ago until later.
func (t *T) usage(as Role, v Version, more string) *Response {
	now := time.Now().UTC()
	q := url.Values{"start": {now.Add(-time.Hour).Format(usageTime)}, "end": {now.Add(time.Hour).Format(usageTime)}}
	return t.Must(as, v, "GET", "/os-simple-tenant-usage/"+t.Cloud.ProjectID(Member)+"?"+q.Encode()+more, nil, http.StatusOK)
}

func float(v any) float64 {
	n, _ := v.(json.Number)
	f, _ := n.Float64()
	return f
}

func usageArithmetic(t *T) {
	t.SharedServer(Member)
	answer := t.usage(Member, First, "")
	total := answer.Get("tenant_usage")
	servers, _ := dig(total, "server_usages").([]any)
	if len(servers) == 0 {
		t.Fatalf("the usage names no servers")
	}
	sums := map[string]float64{}
	for _, s := range servers {
		hours := float(dig(s, "hours"))
		sums["total_hours"] += hours
		sums["total_vcpus_usage"] += hours * float(dig(s, "vcpus"))
		sums["total_memory_mb_usage"] += hours * float(dig(s, "memory_mb"))
		sums["total_local_gb_usage"] += hours * float(dig(s, "local_gb"))
		t.Equal("the server's tenant_id", dig(s, "tenant_id"), t.Cloud.ProjectID(Member))
		if hours < 0 || hours > 2 {
			t.Errorf("server %v has %v hours within two", dig(s, "name"), hours)
		}
	}
	for name, sum := range sums {
		if got := float(dig(total, name)); math.Abs(got-sum) > 1e-6*math.Max(1, sum) {
			t.Errorf("%s is %v, where its servers add up to %v", name, got, sum)
		}
	}
	t.Equal("the project", dig(total, "tenant_id"), t.Cloud.ProjectID(Member))
}

// usageOf is the part of a usage that is about a server; nil if there is none.
func usageOf(answer *Response, id string) any {
	servers, _ := answer.Get("tenant_usage", "server_usages").([]any)
	for _, s := range servers {
		if dig(s, "instance_id") == id {
			return s
		}
	}
	return nil
}

func usageOfDeleted(t *T) {
	id := t.NewServer(Member, First, nil).Str("server", "id")
	var alive any
	t.Eventually("the usage names the new server", func() bool { // it counts in whole seconds
		alive = usageOf(t.usage(Member, First, ""), id)
		return alive != nil
	})
	t.Equal("the state", dig(alive, "state"), "active")
	t.Equal("ended_at", dig(alive, "ended_at"), nil)
	t.Equal("the memory", dig(alive, "memory_mb"), t.Must(Member, First, "GET", "/flavors/"+t.Flavor(0), nil, 200).Get("flavor", "ram"))
	t.Must(Member, First, "DELETE", "/servers/"+id, nil, http.StatusNoContent)
	t.WaitGone(Member, id)
	gone := usageOf(t.usage(Member, First, ""), id)
	if gone == nil {
		t.Fatalf("the deleted server is not in the usage")
	}
	t.Equal("the state", dig(gone, "state"), "terminated")
	if dig(gone, "ended_at") == nil {
		t.Errorf("the deleted server has no ended_at")
	}
}

func usageWindow(t *T) {
	id := t.SharedServer(Member)
	path := "/os-simple-tenant-usage/" + t.Cloud.ProjectID(Member)
	old := t.Must(Member, First, "GET", path+"?start=2001-01-01T00:00:00&end=2001-01-02T00:00:00", nil, http.StatusOK)
	if usageOf(old, id) != nil {
		t.Errorf("a server of today is in the usage of 2001")
	}
}

func usageDates(t *T) {
	path := "/os-simple-tenant-usage/" + t.Cloud.ProjectID(Member)
	for _, query := range []string{"start=yesterday&end=2001-01-01T00:00:00", "start=2001-13-01T00:00:00&end=2002-01-01T00:00:00"} {
		resp := t.Do(Member, First, "GET", path+"?"+query, nil)
		if t.Want(resp, http.StatusBadRequest) {
			t.CheckFault(resp)
		}
	}
	turned := t.Do(Member, First, "GET", path+"?start=2002-01-01T00:00:00&end=2001-01-01T00:00:00", nil)
	if t.Want(turned, http.StatusBadRequest) {
		t.WantMessage(turned, "Invalid start time. The start time cannot occur after the end time.")
	}
}

func usagePages(t *T) {
	t.SharedServer(Member)
	t.NewServer(Member, First, nil)
	seen := map[string]bool{}
	answer := t.usage(Member, 40, "&limit=1")
	for page := 0; page < 1000; page++ {
		servers, _ := answer.Get("tenant_usage", "server_usages").([]any)
		if len(servers) > 1 {
			t.Fatalf("a page of limit=1 has %d servers", len(servers))
		}
		for _, s := range servers {
			id := fmt.Sprint(dig(s, "instance_id"))
			if seen[id] {
				t.Errorf("server %s comes twice", id)
			}
			seen[id] = true
		}
		next := ""
		links, _ := answer.Get("tenant_usage_links").([]any)
		if len(links) > 0 {
			next = fmt.Sprint(dig(links[0], "href"))
		}
		if next == "" {
			break
		}
		answer = t.Must(Member, 40, "GET", next, nil, http.StatusOK)
	}
	if len(seen) < 2 {
		t.Errorf("the pages hold %d servers, where two run", len(seen))
	}
}
