package tempestlite

import (
	"net/http"
	"slices"
	"strings"

	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/flavors"
)

// Flavors: who sees them, how their list is chosen from, and what servers keep of them.

func flavorChecks() []*Check {
	admin := needs(NeedAdmin)
	return []*Check{
		behaviour("flavors", "private", "a private flavor is for those projects alone that have access", 0, privateFlavor, admin,
			covers("flavors.show", "flavors.list", "flavors.addTenantAccess", "flavors.removeTenantAccess")),
		behaviour("flavors", "private-server", "no server is made of a flavor that the project has no access to", 0, privateFlavorServer, admin, covers("servers.create")),
		behaviour("flavors", "access-twice", "access cannot be given twice, nor taken twice", 0, flavorAccessTwice, admin,
			covers("flavors.addTenantAccess", "flavors.removeTenantAccess", "flavors.flavor_access.list")),
		behaviour("flavors", "access-public", "from 2.7 on, access cannot be given to a public flavor", 7, flavorAccessPublic, admin,
			covers("flavors.addTenantAccess", "flavors.flavor_access.list")),
		behaviour("flavors", "is-public", "an administrator lists public flavors, private ones, or all", 0, flavorsByPublic, admin, alone, covers("flavors.list")),
		behaviour("flavors", "names", "name and id are those of one flavor, until it is deleted", 0, flavorNames, admin, covers("flavors.create", "flavors.delete")),
		behaviour("flavors", "ids", "without an id a flavor gets a uuid", 0, flavorIDs, admin, covers("flavors.create")),
		behaviour("flavors", "filters", "minRam and minDisk choose the flavors that are big enough", 0, flavorFilters, admin, alone, covers("flavors.list")),
		behaviour("flavors", "bad-filters", "filters that are no numbers are refused", 0, func(t *T) {
			for _, query := range []string{"minRam=much", "minDisk=much"} {
				t.Want(t.Do(Member, First, "GET", "/flavors?"+query, nil), http.StatusBadRequest)
			}
			t.Want(t.Do(t.Cloud.maker(), First, "GET", "/flavors?is_public=perhaps", nil), http.StatusBadRequest)
		}, admin, covers("flavors.list")),
		behaviour("flavors", "sorted", "the list is sorted as asked, and pages end well among equal keys", 0, flavorsSorted, admin, alone, covers("flavors.detail")),
		behaviour("flavors", "description", "a description is set, changed and taken away", 55, flavorDescription, admin, covers("flavors.create", "flavors.update", "flavors.show")),
		behaviour("flavors", "extra-specs", "extra specs are added to, replaced one by one, and removed", 0, flavorExtraSpecs, admin,
			covers("flavors.extra_specs.create", "flavors.extra_specs.update", "flavors.extra_specs.delete", "flavors.extra_specs.show", "flavors.extra_specs.list")),
		behaviour("flavors", "extra-specs-checked", "from 2.86 on, extra specs of Nova's own must be right", 86, checkedExtraSpecs, admin, covers("flavors.extra_specs.create")),
		behaviour("flavors", "embedded", "a server keeps the values of its flavor when the flavor is deleted", 47, embeddedFlavor, admin, covers("servers.show", "flavors.delete")),
	}
}

// newFlavorOf makes a flavor with the given sizes.
func (t *T) newFlavorOf(v Version, opts flavors.CreateOpts) *flavors.Flavor {
	if opts.Name == "" {
		opts.Name = t.Name()
	}
	if opts.VCPUs == 0 {
		opts.VCPUs = 1
	}
	if opts.RAM == 0 {
		opts.RAM = 64
	}
	if opts.Disk == nil {
		opts.Disk = new(int)
		*opts.Disk = 1
	}
	f, err := flavors.Create(t.Ctx, t.Compute(Admin, v), opts).Extract()
	t.OK(err)
	t.RemovePath(Admin, "/flavors/"+f.ID)
	return f
}

// seesFlavor tells whether a role finds a flavor, by id and in the list.
func (t *T) seesFlavor(as Role, id string, sees bool) {
	_, err := flavors.Get(t.Ctx, t.Compute(as, First), id).Extract()
	if sees {
		t.OK(err)
	} else {
		t.WantCode(err, http.StatusNotFound)
	}
	t.Equal("that the flavor is in the list", slices.Contains(t.flavorIDs(as, flavors.ListOpts{}), id), sees)
}

func (t *T) flavorIDs(as Role, opts flavors.ListOpts) []string {
	page, err := flavors.ListDetail(t.Compute(as, First), opts).AllPages(t.Ctx)
	t.OK(err)
	all, err := flavors.ExtractFlavors(page)
	t.OK(err)
	ids := make([]string, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	return ids
}

func privateFlavor(t *T) {
	id := t.newFlavor(false)
	_, err := flavors.Get(t.Ctx, t.Compute(Admin, First), id).Extract()
	t.OK(err)
	t.seesFlavor(Member, id, false)
	project := t.Cloud.ProjectID(Member)
	_, err = flavors.AddAccess(t.Ctx, t.Compute(Admin, First), id, flavors.AddAccessOpts{Tenant: project}).Extract()
	t.OK(err)
	t.seesFlavor(Member, id, true)
	t.seesFlavor(Other, id, false)
	_, err = flavors.RemoveAccess(t.Ctx, t.Compute(Admin, First), id, flavors.RemoveAccessOpts{Tenant: project}).Extract()
	t.OK(err)
	t.seesFlavor(Member, id, false)
}

func privateFlavorServer(t *T) {
	resp := t.Do(Member, First, "POST", "/servers", t.ServerBody(Member, map[string]any{"flavorRef": t.newFlavor(false)}))
	if resp.Status < 300 {
		id := resp.Str("server", "id")
		t.Remove("/servers/"+id, t.Cloud.deleteServer(Member, id))
	}
	if t.Want(resp, http.StatusBadRequest) {
		t.WantMessage(resp, "could not be found")
	}
}

func flavorAccessTwice(t *T) {
	id, client := t.newFlavor(false), t.Compute(Admin, First)
	give := flavors.AddAccessOpts{Tenant: t.Cloud.ProjectID(Member)}
	list, err := flavors.AddAccess(t.Ctx, client, id, give).Extract()
	t.OK(err)
	t.Equal("the number of projects with access", len(list), 1)
	_, err = flavors.AddAccess(t.Ctx, client, id, give).Extract()
	t.WantCode(err, http.StatusConflict)
	take := flavors.RemoveAccessOpts{Tenant: t.Cloud.ProjectID(Member)}
	list, err = flavors.RemoveAccess(t.Ctx, client, id, take).Extract()
	t.OK(err)
	t.Equal("the number of projects with access", len(list), 0)
	_, err = flavors.RemoveAccess(t.Ctx, client, id, take).Extract()
	t.WantCode(err, http.StatusNotFound)
}

func flavorAccessPublic(t *T) {
	id := t.newFlavor(true)
	_, err := flavors.AddAccess(t.Ctx, t.Compute(Admin, 7), id, flavors.AddAccessOpts{Tenant: t.Cloud.ProjectID(Member)}).Extract()
	t.WantCode(err, http.StatusConflict)
	// Who has access to a public flavor is nothing to ask.
	t.Want(t.Do(Admin, First, "GET", "/flavors/"+id+"/os-flavor-access", nil), http.StatusNotFound)
}

func flavorsByPublic(t *T) {
	public, private := t.newFlavor(true), t.newFlavor(false)
	for _, c := range []struct {
		as              Role
		access          flavors.AccessType
		public, private bool
	}{
		{Admin, flavors.PublicAccess, true, false},
		{Admin, flavors.PrivateAccess, false, true},
		{Admin, flavors.AllAccess, true, true},
		{Member, flavors.PrivateAccess, true, false}, // a member's wish does not count
		{Member, flavors.AllAccess, true, false},
	} {
		ids := t.flavorIDs(c.as, flavors.ListOpts{AccessType: c.access})
		what := "in the list of " + string(c.as) + " with is_public=" + string(c.access)
		t.Equal("that the public flavor is "+what, slices.Contains(ids, public), c.public)
		t.Equal("that the private flavor is "+what, slices.Contains(ids, private), c.private)
	}
}

func flavorNames(t *T) {
	id := t.Name() + ".an id"
	f := t.newFlavorOf(First, flavors.CreateOpts{ID: id})
	t.Equal("the id", f.ID, id)
	body := func(name, id string) map[string]any {
		return map[string]any{"flavor": map[string]any{"name": name, "id": id, "ram": 64, "vcpus": 1, "disk": 1}}
	}
	resp := t.Do(Admin, First, "POST", "/flavors", body(f.Name, t.Name()))
	if t.Want(resp, http.StatusConflict) {
		t.WantMessage(resp, "Flavor with name "+f.Name+" already exists.")
	}
	resp = t.Do(Admin, First, "POST", "/flavors", body(t.Name(), id))
	if t.Want(resp, http.StatusConflict) {
		t.WantMessage(resp, "Flavor with ID "+id+" already exists.")
	}
	client := t.Compute(Admin, First)
	t.OK(flavors.Delete(t.Ctx, client, id).ExtractErr())
	t.WantCode(flavors.Delete(t.Ctx, client, id).ExtractErr(), http.StatusNotFound)
	t.Must(Admin, First, "POST", "/flavors", body(f.Name, id), http.StatusOK)
}

func flavorIDs(t *T) {
	body := map[string]any{"flavor": map[string]any{"name": t.Name(), "id": nil, "ram": "64", "vcpus": "1", "disk": "1"}}
	got := t.Must(Admin, First, "POST", "/flavors", body, http.StatusOK).Str("flavor", "id")
	t.RemovePath(Admin, "/flavors/"+got)
	if len(got) != 36 || strings.Count(got, "-") != 4 {
		t.Errorf("it gets %q, which is no uuid", got)
	}
}

func flavorFilters(t *T) {
	size := func(ram, disk int) string { return t.newFlavorOf(First, flavors.CreateOpts{RAM: ram, Disk: &disk}).ID }
	small, ram, disk := size(64, 1), size(128, 1), size(64, 2)
	for _, c := range []struct {
		opts flavors.ListOpts
		want []string
	}{
		{flavors.ListOpts{MinRAM: 128}, []string{ram}},
		{flavors.ListOpts{MinDisk: 2}, []string{disk}},
		{flavors.ListOpts{MinRAM: 64, MinDisk: 1}, []string{small, ram, disk}},
		{flavors.ListOpts{MinRAM: 65, MinDisk: 2}, nil},
	} {
		ids := t.flavorIDs(Member, c.opts)
		for _, id := range []string{small, ram, disk} {
			t.Equal("that flavor "+id+" is in the list", slices.Contains(ids, id), slices.Contains(c.want, id))
		}
	}
}

func flavorsSorted(t *T) {
	var mine []string
	for range 3 { // of equal size, so that the key does not tell them apart
		mine = append(mine, t.newFlavorOf(First, flavors.CreateOpts{}).ID)
	}
	big := t.newFlavorOf(First, flavors.CreateOpts{RAM: 256}).ID
	ids := t.flavorIDs(Member, flavors.ListOpts{SortKey: "memory_mb", SortDir: "desc", Limit: 1})
	for _, id := range mine {
		if slices.Index(ids, big) > slices.Index(ids, id) {
			t.Errorf("the bigger flavor comes behind a smaller one, where the list is sorted downwards by memory")
		}
		n := len(slices.DeleteFunc(slices.Clone(ids), func(x string) bool { return x != id }))
		t.Equal("how often a flavor is in pages of one", n, 1)
	}
	t.Want(t.Do(Member, First, "GET", "/flavors?sort_key=nothing", nil), http.StatusBadRequest)
	t.Want(t.Do(Member, First, "GET", "/flavors?sort_dir=sideways", nil), http.StatusBadRequest)
}

func flavorDescription(t *T) {
	f := t.newFlavorOf(55, flavors.CreateOpts{Description: "first"})
	t.Equal("the description", f.Description, "first")
	path := "/flavors/" + f.ID
	for _, text := range []any{"second", nil} {
		t.Must(Admin, 55, "PUT", path, map[string]any{"flavor": map[string]any{"description": text}}, http.StatusOK)
		t.Equal("the description", t.Must(Member, 55, "GET", path, nil, 200).Get("flavor", "description"), text)
	}
	if _, has := t.Must(Member, 54, "GET", path, nil, 200).Get("flavor").(map[string]any)["description"]; has {
		t.Errorf("at 2.54 there is a description")
	}
}

func flavorExtraSpecs(t *T) {
	id, client := t.newFlavor(true), t.Compute(Admin, First)
	for _, specs := range []flavors.ExtraSpecsOpts{{"lite:a": "1", "lite:b": "1"}, {"lite:b": "2", "lite:c": "2"}} {
		_, err := flavors.CreateExtraSpecs(t.Ctx, client, id, specs).Extract()
		t.OK(err)
	}
	_, err := flavors.UpdateExtraSpec(t.Ctx, client, id, flavors.ExtraSpecsOpts{"lite:c": "3"}).Extract()
	t.OK(err)
	t.OK(flavors.DeleteExtraSpec(t.Ctx, client, id, "lite:a").ExtractErr())
	t.WantCode(flavors.DeleteExtraSpec(t.Ctx, client, id, "lite:a").ExtractErr(), http.StatusNotFound)
	got, err := flavors.ListExtraSpecs(t.Ctx, t.Compute(Member, First), id).Extract()
	t.OK(err)
	t.Equal("the extra specs", got, map[string]string{"lite:b": "2", "lite:c": "3"})
	_, err = flavors.GetExtraSpec(t.Ctx, t.Compute(Member, First), id, "lite:a").Extract()
	t.WantCode(err, http.StatusNotFound)
	t.Want(t.Do(Admin, First, "PUT", "/flavors/"+id+"/os-extra_specs/lite:b", map[string]any{"lite:c": "4"}), http.StatusBadRequest)
}

func checkedExtraSpecs(t *T) {
	path := "/flavors/" + t.newFlavor(false) + "/os-extra_specs"
	specs := func(key, value string) map[string]any {
		return map[string]any{"extra_specs": map[string]any{key: value}}
	}
	t.Want(t.Do(Admin, 86, "POST", path, specs("hw:cpu_policy", "tempest-lite")), http.StatusBadRequest)
	t.Want(t.Do(Admin, 86, "POST", path, specs("hw:tempest_lite", "1")), http.StatusBadRequest)
	t.Want(t.Do(Admin, 86, "POST", path, specs("hw:cpu_policy", "shared")), http.StatusOK)
	t.Want(t.Do(Admin, 86, "POST", path, specs("tempest:lite", "of our own")), http.StatusOK)
	t.Want(t.Do(Admin, 85, "POST", path, specs("hw:cpu_policy", "tempest-lite")), http.StatusOK)
}

func embeddedFlavor(t *T) {
	f := t.newFlavorOf(First, flavors.CreateOpts{RAM: 96})
	id := t.NewServer(Member, 47, map[string]any{"flavorRef": f.ID}).Str("server", "id")
	t.OK(flavors.Delete(t.Ctx, t.Compute(Admin, First), f.ID).ExtractErr())
	got := t.Must(Member, 47, "GET", "/servers/"+id, nil, http.StatusOK)
	t.within("the server's flavor", got.Get("server", "flavor"),
		map[string]any{"original_name": f.Name, "ram": 96, "vcpus": 1, "disk": 1, "ephemeral": 0, "swap": 0})
	old := t.Must(Member, First, "GET", "/servers/"+id, nil, http.StatusOK)
	t.Equal("the id of the server's flavor at 2.1", old.Str("server", "flavor", "id"), f.ID)
}
