package tempestlite

import (
	"context"
	"fmt"

	"github.com/gophercloud/gophercloud/v2/openstack"
	"github.com/gophercloud/gophercloud/v2/openstack/identity/v3/projects"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// The values of contract/calls.yaml around flavors, quotas and images.

func (t *T) newFlavor(public bool) string {
	body := map[string]any{"flavor": map[string]any{"name": t.Name(), "vcpus": 1, "ram": 64, "disk": 1, "os-flavor-access:is_public": public}}
	id := t.Must(Admin, First, "POST", "/flavors", body, 200).Str("flavor", "id")
	t.RemovePath(Admin, "/flavors/"+id)
	return id
}

func (t *T) freshFlavor() any       { return t.newFlavor(false) }
func (t *T) freshPublicFlavor() any { return t.newFlavor(true) }

func (t *T) flavorWithAccess() any {
	id := t.newFlavor(false)
	t.Must(Admin, First, "POST", "/flavors/"+id+"/action", map[string]any{"addTenantAccess": map[string]any{"tenant": t.Cloud.ProjectID(Member)}}, 200)
	return id
}

// flavorWithSpec is public, so that readers see what it says.
func (t *T) flavorWithSpec() any {
	id := t.newFlavor(true)
	t.Must(Admin, First, "POST", "/flavors/"+id+"/os-extra_specs", map[string]any{"extra_specs": map[string]any{"tempest:lite": "yes"}}, 200)
	return id
}

// freshImage is a private image of the member's with the property tempest.
func (t *T) freshImage() any {
	glance, err := t.Cloud.imageClient(Member)
	if err != nil {
		t.Skipf("%v", err)
	}
	img, err := images.Create(t.Ctx, glance, images.CreateOpts{Name: t.Name(), DiskFormat: "raw", ContainerFormat: "bare", Properties: map[string]string{"tempest": "lite"}}).Extract()
	if err != nil {
		t.Fatalf("making an image: %v", err)
	}
	t.Remove("image "+img.ID, func(ctx context.Context) error { return images.Delete(ctx, glance, img.ID).ExtractErr() })
	return img.ID
}

// spareProject is a project that nothing happens in, for quotas that come and go.
func (t *T) spareProject() any {
	return t.share("spare project", func() (any, error) {
		c, ctx := t.Cloud, context.WithoutCancel(t.Ctx)
		if why := c.lacks(Admin); why != "" {
			return nil, lackError(why)
		}
		admin := c.accounts[Admin]
		id, err := openstack.NewIdentityV3(admin.provider, c.endpoints)
		if err != nil {
			return nil, err
		}
		domain, err := c.domain(admin)
		if err != nil {
			return nil, err
		}
		p, err := projects.Create(ctx, id, projects.CreateOpts{Name: c.Prefix + "-spare", DomainID: domain}).Extract()
		if err != nil {
			return nil, fmt.Errorf("making a project: %w", err)
		}
		c.ledger.add("project "+p.Name, func(ctx context.Context) error { return projects.Delete(ctx, id, p.ID).ExtractErr() })
		return p.ID, nil
	})
}
