package tempestlite

import (
	"context"
	"net/http"
)

// Volumes and snapshots of the member's project, made through the compute service's own
// proxies of old.

func (t *T) proxiedVolume() any {
	body := map[string]any{"volume": map[string]any{"size": 1, "display_name": t.Name()}}
	return t.proxied("/os-volumes", "volume", body)
}

func (t *T) proxiedSnapshot() any {
	volume, made := t.values["proxied_volume"]
	if !made {
		volume = t.proxiedVolume()
		t.values["proxied_volume"] = volume
	}
	body := map[string]any{"snapshot": map[string]any{"volume_id": volume, "display_name": t.Name()}}
	return t.proxied("/os-snapshots", "snapshot", body)
}

func (t *T) proxied(collection, key string, body any) any {
	if why := t.Cloud.lack(t.Ctx, NeedVolumes); why != "" {
		t.Skipf("%s", why)
	}
	id := t.Must(Member, First, "POST", collection, body, 200).Str(key, "id")
	path := collection + "/" + id
	c := t.Cloud
	t.Remove(path, func(ctx context.Context) error {
		err := c.deleteAs(Member, path)(ctx)
		for err == nil && ctx.Err() == nil {
			var resp *Response
			resp, err = c.send(ctx, request{as: Member, version: First, method: "GET", path: path})
			if err == nil && resp.Status == http.StatusNotFound {
				return nil
			}
		}
		return err
	})
	t.Eventually(path+" is available", func() bool {
		return t.Must(Member, First, "GET", path, nil, 200).Str(key, "status") == "available"
	})
	return id
}
