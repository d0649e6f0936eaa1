package main

import (
	"context"
	"log/slog"
	"net/http"
	"path/filepath"
	"strings"

	"kilonova/images"
	"kilonova/room"
)

// floor is what stays free on the disk of path.
func (c *diskConfig) floor(path string) *room.Floor { return &room.Floor{Path: path, Keep: c.Keep} }

// projectBytes is the quota in bytes, 0 for the default.
func (c *diskConfig) projectBytes(path string) (int64, error) {
	if c.Quota.Unset() {
		return 0, nil
	}
	disk, err := room.Of(path)
	if err != nil {
		return 0, err
	}
	// Nothing at all is a quota too.
	return max(c.Quota.Of(disk.Size), 1), nil
}

func imagesDir(stateDir string) string { return filepath.Join(stateDir, "images") }

// tidyImages gives back what uploads of an earlier process left half done. That comes before
// the database is opened, which needs room.
func tidyImages(ctx context.Context, stateDir string) {
	n, err := images.Tidy(imagesDir(stateDir))
	if n > 0 {
		slog.InfoContext(ctx, "removed what broken uploads left", "files", n)
	}
	if err != nil {
		slog.WarnContext(ctx, "broken uploads may have left data", "err", err)
	}
}

// waits reports whether a request can wait while there is hardly any disk: whatever neither
// reads nor deletes, but for logging in.
func waits(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodDelete:
		return false
	}
	return !strings.HasPrefix(r.URL.Path, identityPath+"/v3/auth/")
}
