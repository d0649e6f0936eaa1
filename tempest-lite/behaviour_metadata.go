package tempestlite

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/tags"
)

// Metadata and tags of servers: what several calls come to together.

func metadataChecks() []*Check {
	var all []string
	for _, op := range []string{"list", "create", "replace", "show", "update", "delete"} {
		all = append(all, "servers.metadata."+op)
	}
	return []*Check{
		behaviour("metadata", "create-merges", "keys are added to those that are there, and the answer has all", 0, metadataMerges, covers(all[1])),
		behaviour("metadata", "replace-replaces", "a replacement leaves only its own keys, or none", 0, metadataReplaces, covers(all[2])),
		behaviour("metadata", "one-key", "one key is set, overwritten, read and deleted", 0, metadataOneKey, covers(all[3:]...)),
		behaviour("metadata", "key-of-the-url", "a body must name the key of its URL", 0, metadataKeyMismatch, covers(all[4])),
		behaviour("metadata", "missing-key", "a key that is not there is 404", 0, metadataMissing, covers(all[3], all[5])),
		behaviour("metadata", "characters", "keys may hold letters, digits, spaces and -_:. only; values anything", 0, metadataCharacters, covers(all[1])),
		behaviour("metadata", "lengths", "keys have 1 to 255 characters, values 0 to 255", 0, metadataLengths, covers(all[1])),
		behaviour("metadata", "quota", "more keys than the quota of metadata items are 403", 0, metadataQuota, covers(all[1], all[2])),
		behaviour("metadata", "locked", "a locked server's metadata can be read, and changed by administrators alone", 0, metadataLocked, covers(all...), needs(NeedAdmin)),
		behaviour("metadata", "stopped", "a stopped server's metadata can be changed", 0, metadataStopped, covers(all[1])),
	}
}

// metadataServer is a server to itself that loses its metadata after the check.
func (t *T) metadataServer(status string) (*gophercloud.ServiceClient, string) {
	id := t.Server(status)
	t.Remove("metadata of server "+id, func(ctx context.Context) error {
		_, err := t.Cloud.send(ctx, request{as: t.Cloud.maker(), version: First, method: "PUT", path: "/servers/" + id + "/metadata", body: map[string]any{"metadata": map[string]any{}}})
		return err
	})
	return t.Compute(Member, First), id
}

func (t *T) wantMetadata(client *gophercloud.ServiceClient, id string, want map[string]string) {
	list, err := servers.Metadata(t.Ctx, client, id).Extract()
	t.OK(err)
	t.Equal("the metadata", list, want)
	server, err := servers.Get(t.Ctx, client, id).Extract()
	t.OK(err)
	t.Equal("the metadata of the server", server.Metadata, want)
}

func metadataMerges(t *T) {
	client, id := t.metadataServer("ACTIVE")
	_, err := servers.UpdateMetadata(t.Ctx, client, id, servers.MetadataOpts{"a": "1", "b": "2"}).Extract()
	t.OK(err)
	all, err := servers.UpdateMetadata(t.Ctx, client, id, servers.MetadataOpts{"b": "3", "c": "4"}).Extract()
	t.OK(err)
	want := map[string]string{"a": "1", "b": "3", "c": "4"}
	t.Equal("the answer", all, want)
	t.wantMetadata(client, id, want)
}

func metadataReplaces(t *T) {
	client, id := t.metadataServer("ACTIVE")
	_, err := servers.UpdateMetadata(t.Ctx, client, id, servers.MetadataOpts{"a": "1", "b": "2"}).Extract()
	t.OK(err)
	all, err := servers.ResetMetadata(t.Ctx, client, id, servers.MetadataOpts{"b": "3"}).Extract()
	t.OK(err)
	t.Equal("the answer", all, map[string]string{"b": "3"})
	t.wantMetadata(client, id, map[string]string{"b": "3"})
	all, err = servers.ResetMetadata(t.Ctx, client, id, servers.MetadataOpts{}).Extract()
	t.OK(err)
	t.Equal("the answer to an empty replacement", all, map[string]string{})
	t.wantMetadata(client, id, map[string]string{})
}

func metadataOneKey(t *T) {
	client, id := t.metadataServer("ACTIVE")
	for _, value := range []string{"first", "second"} {
		set, err := servers.CreateMetadatum(t.Ctx, client, id, servers.MetadatumOpts{"key": value}).Extract()
		t.OK(err)
		t.Equal("the answer", set, map[string]string{"key": value})
		got, err := servers.Metadatum(t.Ctx, client, id, "key").Extract()
		t.OK(err)
		t.Equal("the item", got, map[string]string{"key": value})
	}
	_, err := servers.UpdateMetadata(t.Ctx, client, id, servers.MetadataOpts{"other": "stays"}).Extract()
	t.OK(err)
	t.OK(servers.DeleteMetadatum(t.Ctx, client, id, "key").ExtractErr())
	t.wantMetadata(client, id, map[string]string{"other": "stays"})
}

func metadataKeyMismatch(t *T) {
	path := "/servers/" + t.SharedServer(Member) + "/metadata/key"
	resp := t.Do(Member, First, "PUT", path, map[string]any{"meta": map[string]any{"other": "x"}})
	if t.Want(resp, 400) {
		t.CheckFault(resp)
		t.WantMessage(resp, "Request body and URI mismatch")
	}
}

func metadataMissing(t *T) {
	path := "/servers/" + t.SharedServer(Member) + "/metadata/tempest-lite-none"
	for _, method := range []string{"GET", "DELETE"} {
		resp := t.Do(Member, First, method, path, nil)
		if t.Want(resp, 404) {
			t.CheckFault(resp)
			t.WantMessage(resp, "Metadata item was not found")
		}
	}
}

func metadataCharacters(t *T) {
	client, id := t.metadataServer("ACTIVE")
	want := map[string]string{"Camel Case-0_1:2.3": "naïve ✓ 雪 \"quoted\" <b>&amp;", "lower": " spaces around "}
	got, err := servers.UpdateMetadata(t.Ctx, client, id, servers.MetadataOpts(want)).Extract()
	t.OK(err)
	t.Equal("the answer", got, want)
	t.wantMetadata(client, id, want)
	one, err := servers.Metadatum(t.Ctx, client, id, "Camel%20Case-0_1:2.3").Extract()
	t.OK(err)
	t.Equal("the number of items in the answer for one", len(one), 1)
	for _, key := range []string{"a/b", "a,b", "a@b", "ключ", "a\nb"} {
		resp := t.Do(Member, First, "POST", "/servers/"+id+"/metadata", map[string]any{"metadata": map[string]any{key: "x"}})
		if t.Want(resp, 400) {
			t.CheckFault(resp)
		}
	}
}

func metadataLengths(t *T) {
	client, id := t.metadataServer("ACTIVE")
	longest := strings.Repeat("k", 255)
	want := map[string]string{longest: strings.Repeat("v", 255), "k": ""}
	got, err := servers.UpdateMetadata(t.Ctx, client, id, servers.MetadataOpts(want)).Extract()
	t.OK(err)
	t.Equal("the answer", got, want)
	for _, bad := range []map[string]any{{"": "x"}, {longest + "k": "x"}, {"k": strings.Repeat("v", 256)}} {
		resp := t.Do(Member, First, "POST", "/servers/"+id+"/metadata", map[string]any{"metadata": bad})
		if t.Want(resp, 400) {
			t.CheckFault(resp)
		}
	}
	t.wantMetadata(client, id, want)
}

func metadataQuota(t *T) {
	limits := t.Must(Member, First, "GET", "/limits", nil, 200)
	most := 0
	_, _ = fmt.Sscan(fmt.Sprint(limits.Get("limits", "absolute", "maxServerMeta")), &most)
	if most < 0 || most > 1000 {
		t.Skipf("the quota of metadata items is %d", most)
	}
	server := t.SharedServer(Member)
	items := map[string]any{}
	for i := range most + 1 {
		items[fmt.Sprintf("key-%d", i)] = "x"
	}
	for _, method := range []string{"POST", "PUT"} {
		resp := t.Do(Member, First, method, "/servers/"+server+"/metadata", map[string]any{"metadata": items})
		if t.Want(resp, 403) {
			t.CheckFault(resp)
			t.WantMessage(resp, fmt.Sprintf("Maximum number of metadata items exceeds %d", most))
		}
	}
}

func metadataLocked(t *T) {
	client, id := t.metadataServer("ACTIVE")
	_, err := servers.UpdateMetadata(t.Ctx, client, id, servers.MetadataOpts{"key": "x"}).Extract()
	t.OK(err)
	t.lock(id)
	path := "/servers/" + id + "/metadata"
	for _, call := range []struct {
		method, path string
		body         any
	}{
		{"POST", path, map[string]any{"metadata": map[string]any{"key": "y"}}},
		{"PUT", path, map[string]any{"metadata": map[string]any{"key": "y"}}},
		{"PUT", path + "/key", map[string]any{"meta": map[string]any{"key": "y"}}},
		{"DELETE", path + "/key", nil},
	} {
		resp := t.Do(Member, First, call.method, call.path, call.body)
		if t.Want(resp, 409) {
			t.CheckFault(resp)
			t.WantMessage(resp, "Instance "+id+" is locked")
		}
	}
	t.wantMetadata(client, id, map[string]string{"key": "x"})
	t.Must(Admin, First, "POST", path, map[string]any{"metadata": map[string]any{"key": "z"}}, 200)
	t.wantMetadata(client, id, map[string]string{"key": "z"})
}

func metadataStopped(t *T) {
	client, id := t.metadataServer("SHUTOFF")
	_, err := servers.UpdateMetadata(t.Ctx, client, id, servers.MetadataOpts{"key": "x"}).Extract()
	t.OK(err)
	t.wantMetadata(client, id, map[string]string{"key": "x"})
}

func tagChecks() []*Check {
	var all []string
	for _, op := range []string{"list", "replace", "clear", "show", "update", "delete"} {
		all = append(all, "servers.tags."+op)
	}
	return []*Check{
		behaviour("tags", "replace", "a replacement leaves only its own tags; one that comes twice counts once", 26, tagsReplace, covers(all[1], all[0])),
		behaviour("tags", "one-tag", "a new tag is 201 with its place, one that is there 204", 26, tagsOne, covers(all[3:]...)),
		behaviour("tags", "clear", "all tags go at once, also where there are none", 26, tagsClear, covers(all[2])),
		behaviour("tags", "fifty", "a server has up to 50 tags", 26, tagsFifty, covers(all[1], all[4])),
		behaviour("tags", "characters", "a tag has 1 to 60 characters, but no comma and no slash", 26, tagsCharacters, covers(all[4])),
		behaviour("tags", "locked", "the tags of a locked server can be changed", 26, tagsLocked, covers(all...)),
		behaviour("tags", "in-the-server", "a server shows its tags from 2.26 on", 26, tagsInServer, covers(all[1])),
		behaviour("tags", "filters", "servers are found by the tags that they have and have not", 26, tagFilters, covers("servers.list")),
	}
}

// taggedServer is a server to itself that loses its tags after the check.
func (t *T) taggedServer() string {
	id := t.Server("ACTIVE")
	t.untag(id)
	return id
}

func (t *T) wantTags(id string, want ...string) {
	got, err := tags.List(t.Ctx, t.Compute(Member, 26), id).Extract()
	t.OK(err)
	slices.Sort(got)
	slices.Sort(want)
	t.Equal("the tags", got, want)
}

func (t *T) setTags(id string, list ...string) []string {
	// gophercloud sends no empty list.
	resp := t.Must(Member, 26, "PUT", "/servers/"+id+"/tags", map[string]any{"tags": append([]string{}, list...)}, 200)
	got := []string{}
	answered, _ := resp.Get("tags").([]any)
	for _, tag := range answered {
		got = append(got, fmt.Sprint(tag))
	}
	slices.Sort(got)
	return got
}

func tagsReplace(t *T) {
	id := t.taggedServer()
	t.Equal("the answer", t.setTags(id, "b", "a", "b"), []string{"a", "b"})
	t.wantTags(id, "a", "b")
	t.Equal("the answer", t.setTags(id, "c"), []string{"c"})
	t.wantTags(id, "c")
	t.setTags(id)
	t.wantTags(id)
}

func tagsOne(t *T) {
	id := t.taggedServer()
	path := "/servers/" + id + "/tags/tempest-lite"
	t.Want(t.Do(Member, 26, "GET", path, nil), 404)
	created := t.Must(Member, 26, "PUT", path, nil, 201)
	if place := created.Header.Get("Location"); !strings.HasSuffix(place, path) {
		t.Errorf("the header Location is %q, and does not end with %s", place, path)
	}
	t.Equal("the length of the answer", len(created.Body), 0)
	again := t.Must(Member, 26, "PUT", path, nil, 204)
	t.Equal("the header Location of the second answer", again.Header.Get("Location"), "")
	t.Must(Member, 26, "GET", path, nil, 204)
	t.wantTags(id, "tempest-lite")
	t.Must(Member, 26, "DELETE", path, nil, 204)
	for _, method := range []string{"GET", "DELETE"} {
		resp := t.Do(Member, 26, method, path, nil)
		if t.Want(resp, 404) {
			t.CheckFault(resp)
			t.WantMessage(resp, "tempest-lite")
		}
	}
	t.wantTags(id)
}

func tagsClear(t *T) {
	id := t.taggedServer()
	client := t.Compute(Member, 26)
	t.setTags(id, "a", "b")
	for range 2 {
		t.OK(tags.DeleteAll(t.Ctx, client, id).ExtractErr())
		t.wantTags(id)
	}
}

func tagsFifty(t *T) {
	id := t.taggedServer()
	fifty := make([]string, 50)
	for i := range fifty {
		fifty[i] = fmt.Sprintf("tag-%02d", i)
	}
	t.setTags(id, fifty...)
	t.wantTags(id, fifty...)
	resp := t.Do(Member, 26, "PUT", "/servers/"+id+"/tags/one-more", nil)
	if t.Want(resp, 400) {
		t.CheckFault(resp)
		t.WantMessage(resp, "exceeded the per-server limit 50")
	}
	t.wantTags(id, fifty...)
}

func tagsCharacters(t *T) {
	id := t.taggedServer()
	client := t.Compute(Member, 26)
	longest := strings.Repeat("t", 60)
	t.OK(tags.Add(t.Ctx, client, id, longest).ExtractErr())
	t.OK(tags.Add(t.Ctx, client, id, "with%20space").ExtractErr())
	t.wantTags(id, longest, "with space")
	for _, bad := range []string{"a%2Cb", longest + "t"} {
		resp := t.Do(Member, 26, "PUT", "/servers/"+id+"/tags/"+bad, nil)
		if t.Want(resp, 400) {
			t.CheckFault(resp)
		}
	}
	t.Equal("the answer", t.setTags(id, "тег ✓", "UPPER"), []string{"UPPER", "тег ✓"})
	t.wantTags(id, "UPPER", "тег ✓")
}

func tagsLocked(t *T) {
	id := t.taggedServer()
	t.lock(id)
	t.setTags(id, "a")
	t.Must(Member, 26, "PUT", "/servers/"+id+"/tags/b", nil, 201)
	t.Must(Member, 26, "DELETE", "/servers/"+id+"/tags/a", nil, 204)
	t.wantTags(id, "b")
	t.Must(Member, 26, "DELETE", "/servers/"+id+"/tags", nil, 204)
}

func tagsInServer(t *T) {
	id := t.taggedServer()
	t.setTags(id, "a")
	t.Equal("tags at 2.26", t.Must(Member, 26, "GET", "/servers/"+id, nil, 200).Get("server", "tags"), []any{"a"})
	before, _ := t.Must(Member, 25, "GET", "/servers/"+id, nil, 200).Get("server").(map[string]any)
	if _, has := before["tags"]; has {
		t.Errorf("the server has a key tags at 2.25")
	}
}

func tagFilters(t *T) {
	one, two := t.taggedServer(), t.taggedServer()
	x, y := t.Name(), t.Name()
	t.setTags(one, x, y)
	t.setTags(two, x)
	both := []string{one, two}
	slices.Sort(both)
	for query, want := range map[string][]string{
		"tags=" + x:                                  both,
		"tags=" + x + "," + y:                        {one},
		"tags-any=" + y + ",tempest-lite-none":       {one},
		"tags-any=" + x + "," + y:                    both,
		"tags=tempest-lite-none":                     {},
		"tags=" + x + "&not-tags=" + y:               {two},
		"tags=" + x + "&not-tags=" + x + "," + y:     {two},
		"tags=" + x + "&not-tags-any=" + y + ",none": {two},
		"tags=" + x + "&not-tags-any=" + x + "," + y: {},
	} {
		resp := t.Do(Member, 26, "GET", "/servers?"+query, nil)
		if !t.Want(resp, http.StatusOK) {
			continue
		}
		got := []string{}
		list, _ := resp.Get("servers").([]any)
		for _, s := range list {
			got = append(got, fmt.Sprint(dig(s, "id")))
		}
		slices.Sort(got)
		t.Equal("the list of "+query, got, want)
	}
}
