package tempestlite

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/gophercloud/gophercloud/v2"
	"github.com/gophercloud/gophercloud/v2/openstack/compute/v2/servers"
	"github.com/gophercloud/gophercloud/v2/openstack/image/v2/images"
)

// Images made of servers: what they say of themselves, and what can be done with them.

func imageChecks() []*Check {
	snapshot := []func(*Check){needs(NeedImages), covers("servers.createImage")}
	backup := []func(*Check){needs(NeedImages), covers("servers.createBackup")}
	return []*Check{
		behaviour("images", "snapshot", "the image of a server says what it was made of", 0, snapshotSays, snapshot...),
		behaviour("images", "named-in-header", "up to 2.44 the header Location names the image, and the answer is empty", 0, imageInHeader, snapshot...),
		behaviour("images", "named-in-body", "from 2.45 on the answer names the image, and there is no Location", 45, imageInBody, snapshot...),
		behaviour("images", "active", "the image of a server is active when the server is at rest again", 0, func(t *T) {
			t.active(t.snapshot(t.Server("ACTIVE"), "ACTIVE"))
		}, snapshot...),
		behaviour("images", "snapshot-boots", "servers are created and rebuilt from a snapshot", 0, snapshotBoots, needs(NeedImages), covers("servers.createImage", "servers.rebuild", "servers.create")),
		snapshotIn("stopped", "SHUTOFF"), snapshotIn("paused", "PAUSED"), snapshotIn("suspended", "SUSPENDED"),
		behaviour("images", "snapshot-of-locked", "a lock does not keep a server from being imaged", 0, snapshotOfLocked, snapshot...),
		behaviour("images", "backup", "a backup says what it was made of", 0, backupSays, backup...),
		behaviour("images", "backup-rotation", "no more backups of a type are kept than the rotation says, the newest", 45, backupRotation, backup...),
		behaviour("images", "backup-none", "a backup with a rotation of 0 is not kept", 45, backupNone, backup...),
	}
}

// imageService is a client of the image service for the member.
func (t *T) imageService() *gophercloud.ServiceClient {
	glance, err := t.Cloud.imageClient(Member)
	if err != nil {
		t.Skipf("%v", err)
	}
	return glance
}

// image is what the image service says of an image.
func (t *T) image(id string) *images.Image {
	img, err := images.Get(t.Ctx, t.imageService(), id).Extract()
	t.OK(err)
	return img
}

// snapshot makes an image of a server, and waits until the server is at rest again.
func (t *T) snapshot(id, status string) *images.Image {
	resp := t.MustAct(Member, First, id, "createImage", map[string]any{"name": t.Name()}, 202)
	image := t.RemoveImageOf(Member, resp)
	t.WaitStatus(Member, First, id, status)
	return t.image(image)
}

// active skips the check where the driver makes no real images: the server is at rest, and
// the image was never written.
func (t *T) active(img *images.Image) {
	if img.Status == images.ImageStatusQueued {
		t.Skipf("the compute driver writes no images: that of a server stays queued")
	}
	t.Equal("the image's status", img.Status, images.ImageStatusActive)
}

func (t *T) imageSays(img *images.Image, want map[string]string) {
	for key, value := range want {
		t.Equal("the image's property "+key, img.Properties[key], value)
	}
}

func snapshotSays(t *T) {
	id := t.Server("ACTIVE")
	name := t.Name()
	resp := t.MustAct(Member, First, id, "createImage", map[string]any{"name": name, "metadata": map[string]any{"tempest_lite": "yes"}}, 202)
	img := t.image(t.RemoveImageOf(Member, resp))
	t.Equal("the image's name", img.Name, name)
	t.Equal("the image's owner", img.Owner, t.Cloud.ProjectID(Member))
	t.Equal("the image's visibility", img.Visibility, "private")
	t.imageSays(img, map[string]string{
		"image_type": "snapshot", "instance_uuid": id, "base_image_ref": t.Image(), "user_id": t.Cloud.UserID(Member), "tempest_lite": "yes",
	})
	t.WaitStatus(Member, First, id, "ACTIVE")
	t.looksRight(id)
}

func imageInHeader(t *T) {
	id := t.Server("ACTIVE")
	v := min(t.Cloud.Max, 44)
	resp := t.MustAct(Member, v, id, "createImage", map[string]any{"name": t.Name()}, 202)
	image := t.RemoveImageOf(Member, resp)
	t.Equal("the body", strings.TrimSpace(string(resp.Body)), "")
	if location := resp.Header.Get("Location"); !strings.HasSuffix(location, "/images/"+image) || !strings.HasPrefix(location, "http") {
		t.Errorf("the header Location is %q, not the URL of an image", location)
	}
	t.WaitStatus(Member, First, id, "ACTIVE")
}

func imageInBody(t *T) {
	id := t.Server("ACTIVE")
	resp := t.MustAct(Member, 45, id, "createImage", map[string]any{"name": t.Name()}, 202)
	t.RemoveImageOf(Member, resp)
	t.Equal("the header Location", resp.Header.Get("Location"), "")
	t.WaitStatus(Member, First, id, "ACTIVE")
}

func snapshotBoots(t *T) {
	id := t.Server("ACTIVE")
	img := t.snapshot(id, "ACTIVE")
	t.active(img)
	other := t.NewServer(Member, First, map[string]any{"imageRef": img.ID})
	t.Equal("the image of the server created from it", other.Get("server", "image", "id"), img.ID)
	t.OK(servers.Rebuild(t.Ctx, t.Compute(Member, First), other.Str("server", "id"), servers.RebuildOpts{ImageRef: t.Image()}).Err)
	back := t.WaitStatus(Member, First, other.Str("server", "id"), "ACTIVE")
	t.Equal("the image after rebuilding from the first", back.Get("server", "image", "id"), t.Image())
	t.OK(servers.Rebuild(t.Ctx, t.Compute(Member, First), other.Str("server", "id"), servers.RebuildOpts{ImageRef: img.ID}).Err)
	again := t.WaitStatus(Member, First, other.Str("server", "id"), "ACTIVE")
	t.Equal("the image after rebuilding from the snapshot", again.Get("server", "image", "id"), img.ID)
}

func snapshotIn(word, status string) *Check {
	return behaviour("images", "snapshot-of-"+word, "a server that is "+word+" is imaged, and stays so", 0, func(t *T) {
		id := t.Server(status)
		img := t.snapshot(id, status)
		t.imageSays(img, map[string]string{"image_type": "snapshot", "instance_uuid": id})
		t.looksRight(id)
	}, needs(NeedImages), covers("servers.createImage"))
}

func snapshotOfLocked(t *T) {
	id := t.lockable().(string)
	t.OK(servers.Lock(t.Ctx, t.Compute(Member, First), id).ExtractErr())
	t.snapshot(id, "ACTIVE")
}

// backup makes one, and waits until it is there.
func (t *T) backup(id, kind string, rotation int) *images.Image {
	resp := t.MustAct(Member, 45, id, "createBackup", map[string]any{"name": t.Name(), "backup_type": kind, "rotation": rotation}, 202)
	image := t.RemoveImageOf(Member, resp)
	t.WaitStatus(Member, First, id, "ACTIVE")
	img := t.image(image)
	t.Sleep(time.Until(img.CreatedAt.Add(1100 * time.Millisecond))) // the image service orders them by the second
	return img
}

func backupSays(t *T) {
	id := t.Server("ACTIVE")
	resp := t.MustAct(Member, First, id, "createBackup", map[string]any{
		"name": t.Name(), "backup_type": "weekly", "rotation": "2", "metadata": map[string]any{"tempest_lite": "yes"},
	}, 202)
	image := t.RemoveImageOf(Member, resp)
	if location := resp.Header.Get("Location"); !strings.HasSuffix(location, "/images/"+image) {
		t.Errorf("the header Location is %q, not the URL of an image", location)
	}
	img := t.image(image)
	t.imageSays(img, map[string]string{
		"image_type": "backup", "backup_type": "weekly", "instance_uuid": id, "base_image_ref": t.Image(), "tempest_lite": "yes",
	})
	t.WaitStatus(Member, First, id, "ACTIVE")
}

func backupRotation(t *T) {
	id := t.Server("ACTIVE")
	other := t.backup(id, "weekly", 2)
	oldest := t.backup(id, "daily", 2)
	kept := []*images.Image{other, t.backup(id, "daily", 2), t.backup(id, "daily", 2)}
	t.imageGone(oldest.ID, "the oldest backup is deleted")
	for i, img := range kept {
		_, err := images.Get(t.Ctx, t.imageService(), img.ID).Extract()
		if err != nil {
			t.Errorf("backup %d of those to keep is not there: %v", i, err)
		}
	}
}

func (t *T) imageGone(id, what string) {
	glance := t.imageService()
	t.Eventually(what, func() bool {
		img, err := images.Get(t.Ctx, glance, id).Extract()
		return gophercloud.ResponseCodeIs(err, http.StatusNotFound) || err == nil && fmt.Sprint(img.Status) == "deleted"
	})
}

func backupNone(t *T) {
	id := t.Server("ACTIVE")
	resp := t.MustAct(Member, 45, id, "createBackup", map[string]any{"name": t.Name(), "backup_type": "daily", "rotation": 0}, 202)
	image := t.RemoveImageOf(Member, resp)
	t.imageGone(image, "the backup is deleted")
	t.WaitStatus(Member, First, id, "ACTIVE")
}
