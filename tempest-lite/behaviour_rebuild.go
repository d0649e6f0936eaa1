package tempestlite

import (
	"context"
	"encoding/base64"
	"fmt"
	"slices"
	"strings"
)

// What a rebuild keeps of a server, and what it changes.

func rebuildChecks() []*Check {
	speaks := covers("servers.rebuild")
	return []*Check{
		behaviour("rebuild", "keeps", "a rebuild keeps what it is not told to change", 0, rebuildKeeps, speaks),
		behaviour("rebuild", "changes", "a rebuild changes name, metadata and access addresses", 0, rebuildChanges, speaks),
		behaviour("rebuild", "password", "a rebuild answers with the password, given or made", 0, rebuildPassword, speaks),
		behaviour("rebuild", "image", "a rebuild takes another image", 0, rebuildImage, speaks),
		behaviour("rebuild", "location", "the header Location of a rebuild names the server", 0, rebuildLocation, speaks),
		behaviour("rebuild", "description", "a rebuild keeps the description, changes it, and takes it away with null", 19, rebuildDescription, speaks),
		behaviour("rebuild", "key", "a rebuild changes the keypair, and takes it away with null", 54, rebuildKey, speaks),
		behaviour("rebuild", "unknown-key", "a rebuild refuses a keypair that is not there", 54, rebuildUnknownKey, speaks),
		behaviour("rebuild", "user-data", "a rebuild changes the user data, and takes them away with null", 57, rebuildUserData, speaks),
		behaviour("rebuild", "trusted-certificates", "a rebuild changes the trusted image certificates, and takes them away with null", 63, rebuildCertificates, speaks),
		behaviour("rebuild", "hostname", "a rebuild changes the host name", 90, rebuildHostname, speaks),
	}
}

// rebuilt sends a rebuild with more in its body, waits for its end, and hands back the
// answer and what the server looks like then.
func (t *T) rebuilt(id string, v Version, extra map[string]any) (answer, after *Response) {
	body := map[string]any{"imageRef": t.Image()}
	for key, value := range extra {
		body[key] = value
	}
	answer = t.MustAct(Member, v, id, "rebuild", body, 202)
	return answer, t.WaitStatus(Member, v, id, "ACTIVE")
}

func rebuildKeeps(t *T) {
	before := t.NewServer(Member, First, map[string]any{"metadata": map[string]any{"tempest": "lite"}, "accessIPv4": "192.0.2.7"})
	id := before.Str("server", "id")
	_, after := t.rebuilt(id, First, nil)
	for _, key := range []string{"id", "name", "tenant_id", "user_id", "created", "metadata", "accessIPv4", "accessIPv6", "key_name", "image", "flavor",
		"config_drive", "OS-DCF:diskConfig", "OS-EXT-AZ:availability_zone", "security_groups", "hostId"} {
		t.Equal(key, after.Get("server", key), before.Get("server", key))
	}
	if now, was := addressesInFull(after), addressesInFull(before); !slices.Equal(now, was) {
		t.Errorf("the addresses are %v, not %v", now, was)
	}
	if t.stamp(after.Str("server", "updated")).Before(t.stamp(before.Str("server", "updated"))) {
		t.Errorf("updated is %s, before %s", after.Str("server", "updated"), before.Str("server", "updated"))
	}
}

func rebuildChanges(t *T) {
	id := t.NewServer(Member, First, map[string]any{"metadata": map[string]any{"old": "1"}}).Str("server", "id")
	want := map[string]any{
		"name": t.Name(), "metadata": map[string]any{"new": "2"}, "accessIPv4": "192.0.2.8", "accessIPv6": "2001:db8::8", "OS-DCF:diskConfig": "AUTO",
	}
	answer, after := t.rebuilt(id, First, want)
	for key, value := range want {
		t.Equal(key+" in the answer", answer.Get("server", key), value)
		t.Equal(key, after.Get("server", key), value)
	}
	_, after = t.rebuilt(id, First, map[string]any{"metadata": map[string]any{}})
	t.Equal("the metadata after a rebuild with none", after.Get("server", "metadata"), map[string]any{})
}

func rebuildPassword(t *T) {
	id := t.Server("ACTIVE")
	answer, _ := t.rebuilt(id, First, map[string]any{"adminPass": "tempest-lite-pass"})
	if answer.Get("server", "adminPass") == nil {
		t.Skipf("the cloud does not show passwords")
	}
	t.Equal("the password", answer.Get("server", "adminPass"), "tempest-lite-pass")
	answer, _ = t.rebuilt(id, First, nil)
	if made := answer.Str("server", "adminPass"); len(made) < 8 || made == "tempest-lite-pass" {
		t.Errorf("the password that was made is %q", made)
	}
}

// secondImage is another image to boot from.
func (t *T) secondImage() string {
	return t.share("second image", func() (any, error) {
		c, ctx := t.Cloud, context.WithoutCancel(t.Ctx)
		glance, err := c.imageClient(c.maker())
		if err != nil {
			return nil, lackError(err.Error())
		}
		if c.cfg.Image != "" {
			return nil, lackError("only the image that the user names is booted from")
		}
		return c.makeImage(ctx, glance, c.Prefix+"-image-2")
	}).(string)
}

func rebuildImage(t *T) {
	id := t.Server("ACTIVE")
	image := t.secondImage()
	answer, after := t.rebuilt(id, First, map[string]any{"imageRef": image})
	t.Equal("the image in the answer", answer.Get("server", "image", "id"), image)
	t.Equal("the image", after.Get("server", "image", "id"), image)
	_, after = t.rebuilt(id, First, nil)
	t.Equal("the image after a rebuild from the first", after.Get("server", "image", "id"), t.Image())
}

func rebuildLocation(t *T) {
	id := t.Server("ACTIVE")
	answer, _ := t.rebuilt(id, First, nil)
	if location := answer.Header.Get("Location"); !strings.HasSuffix(location, "/servers/"+id) {
		t.Errorf("the header Location is %q", location)
	}
}

func rebuildDescription(t *T) {
	id := t.NewServer(Member, 19, map[string]any{"description": "the first"}).Str("server", "id")
	_, after := t.rebuilt(id, 19, nil)
	t.Equal("the description that was not named", after.Get("server", "description"), "the first")
	answer, after := t.rebuilt(id, 19, map[string]any{"description": "the second"})
	t.Equal("the description in the answer", answer.Get("server", "description"), "the second")
	t.Equal("the description", after.Get("server", "description"), "the second")
	_, after = t.rebuilt(id, 19, map[string]any{"description": nil})
	t.Equal("the description after null", after.Get("server", "description"), nil)
}

func rebuildKey(t *T) {
	id := t.Server("ACTIVE")
	key := t.freshKeypair()
	answer, after := t.rebuilt(id, 54, map[string]any{"key_name": key})
	t.Equal("key_name in the answer", answer.Get("server", "key_name"), key)
	t.Equal("key_name", after.Get("server", "key_name"), key)
	answer, after = t.rebuilt(id, 54, map[string]any{"key_name": nil})
	t.Equal("key_name in the answer to null", answer.Get("server", "key_name"), nil)
	t.Equal("key_name after null", after.Get("server", "key_name"), nil)
}

func rebuildUnknownKey(t *T) {
	id := t.SharedServer(Member)
	resp := t.Act(Member, 54, id, "rebuild", map[string]any{"imageRef": t.Image(), "key_name": "tempest-lite-none"})
	if t.Want(resp, 400) {
		t.WantMessage(resp, "Invalid key_name provided.")
	}
}

func rebuildUserData(t *T) {
	id := t.Server("ACTIVE")
	text := base64.StdEncoding.EncodeToString([]byte("made by tempest-lite"))
	answer, _ := t.rebuilt(id, 57, map[string]any{"user_data": text})
	t.Equal("user_data in the answer", answer.Get("server", "user_data"), text)
	answer, _ = t.rebuilt(id, 57, nil)
	t.Equal("user_data that were not named", answer.Get("server", "user_data"), text)
	answer, _ = t.rebuilt(id, 57, map[string]any{"user_data": nil})
	t.Equal("user_data after null", answer.Get("server", "user_data"), nil)
}

// rebuildCertificates names certificates that are not there: they are looked at only where
// the cloud verifies signatures, and where its driver knows them at all.
func rebuildCertificates(t *T) {
	id := t.Server("ACTIVE")
	certificates := []any{"0b5d2c72-12cc-4ba6-a8d7-3ff5cc1d8cb8", "674736e3-f25c-405c-8362-bbf991e0ce0a"}
	answer := t.MustAct(Member, 63, id, "rebuild", map[string]any{"imageRef": t.Image(), "trusted_image_certificates": certificates}, 202)
	t.Equal("trusted_image_certificates in the answer", answer.Get("server", "trusted_image_certificates"), certificates)
	after := t.WaitStatus(Member, 63, id, "ACTIVE", "ERROR")
	if after.Str("server", "status") == "ERROR" {
		t.Skipf("the cloud cannot use trusted certificates: %v", after.Get("server", "fault", "message"))
	}
	t.Equal("trusted_image_certificates", after.Get("server", "trusted_image_certificates"), certificates)
	_, after = t.rebuilt(id, 63, map[string]any{"trusted_image_certificates": nil})
	t.Equal("trusted_image_certificates after null", after.Get("server", "trusted_image_certificates"), nil)
}

func rebuildHostname(t *T) {
	id := t.NewServer(Member, 90, map[string]any{"hostname": "first"}).Str("server", "id")
	answer, after := t.rebuilt(id, 90, map[string]any{"hostname": "second"})
	t.Equal("the host name in the answer", answer.Get("server", "OS-EXT-SRV-ATTR:hostname"), "second")
	t.Equal("the host name", after.Get("server", "OS-EXT-SRV-ATTR:hostname"), "second")
	name := fmt.Sprint(after.Get("server", "name"))
	_, after = t.rebuilt(id, 90, map[string]any{"name": name + "-b"})
	t.Equal("the host name after a new name", after.Get("server", "OS-EXT-SRV-ATTR:hostname"), "second")
}
